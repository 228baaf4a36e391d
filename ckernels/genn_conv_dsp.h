/* int8 convolution for cores with the DSP instructions (genn/kernels/dsp_conv.py).
 *
 * One row of outputs at a time.  The input under some of its pixels is widened to int16 columns, [column][kh][channel], so
 * that the taps of a pixel lie one behind another, those of the next pixel `stride` columns further, and padding is
 * nothing but the zero point.  Whole fours of a pixel's channels are stored as 0 2 1 3, as SXTB16 delivers them; the
 * weights have the same order.  Then two pixels by four outputs are summed at once: each word of inputs serves four rows,
 * each word of weights two pixels.
 *
 * Weights: per four outputs, for every two taps the words of both pairs of rows, and for a last odd tap one word; then
 * two outputs alike; a last one as bytes.  `c`: per pair of rows raw and B's bias (genn_common_dsp.h), then the
 * multipliers of A << 16 | B; for fours both pairs' biases, then both multipliers.
 */
#ifndef GENN_CONV_DSP_H
#define GENN_CONV_DSP_H

#include "genn_conv_columns_dsp.h"

/* ---- outputs, one call for four -------------------------------------------------------------------------------- */

#if defined(GENN_DSP)
/* steps (at least one) of two taps of two pixels and four rows: acc[8] += the rows' weights times x, and times the input
 * acc[8] bytes behind x.  22 cycles for 16 products: loads in runs of three and one 6, eight SMLAD, two SXTB16, 6 for the
 * loop, whose end is on the stack. */
GENN_NAKED void genn_conv_block_dsp_s8(GENN_REGISTER const int16_t *x, GENN_REGISTER const int8_t *w,
                                       GENN_REGISTER uint32_t *acc, GENN_REGISTER int32_t steps)
{
    __asm__ volatile("push {r2, r4-r11, lr}\n"
                     "add r3, r0, r3, lsl #2\n"
                     "push {r3}\n"
                     "ldm r2, {r4-r11}\n"
                     "ldr r2, [r2, #32]\n"
                     "add r2, r2, r0\n"
                     "0:\n"
                     "ldr r3, [r0], #4\n"
                     "ldr r12, [r2], #4\n"
                     "ldr lr, [r1], #4\n"
                     "smlad r4, lr, r3, r4\n"
                     "smlad r8, lr, r12, r8\n"
                     "sxtb16 lr, lr\n"
                     "smlad r5, lr, r3, r5\n"
                     "smlad r9, lr, r12, r9\n"
                     "ldr lr, [r1], #4\n"
                     "smlad r6, lr, r3, r6\n"
                     "smlad r10, lr, r12, r10\n"
                     "sxtb16 lr, lr\n"
                     "smlad r7, lr, r3, r7\n"
                     "smlad r11, lr, r12, r11\n"
                     "ldr r3, [sp]\n"
                     "cmp r0, r3\n"
                     "bne 0b\n"
                     "pop {r3}\n"
                     "pop {r2}\n"
                     "stm r2, {r4-r11}\n"
                     "pop {r4-r11, pc}\n");
}
#else
GENN_INLINE void genn_conv_block_dsp_s8(const int16_t *x, const int8_t *w, uint32_t *acc, int32_t steps)
{
    const int16_t *x1 = x + acc[8] / 2;

    for (; steps > 0; steps--, x += 2, x1 += 2)
        for (int32_t i = 0; i < 2; i++, w += 4)
            for (int32_t k = 0; k < 2; k++) {
                genn_pair_add(genn_pair_at(w, k), x[k], acc + 2 * i);
                genn_pair_add(genn_pair_at(w, k), x1[k], acc + 4 + 2 * i);
            }
}
#endif

/* One pair of rows, one pixel. */
GENN_INLINE void genn_conv_dot_dsp_s8(const int16_t *x, const int8_t *w, int32_t taps, uint32_t *acc)
{
    for (int32_t n = taps / 2; n > 0; n--, x += 2, w += 4) {
#if defined(GENN_DSP)
        const uint32_t v = genn_load_word(x), pair = genn_load_word(w);
        acc[0] = genn_smlad(pair, v, acc[0]);
        acc[1] = genn_smlad(genn_sxtb16(pair), v, acc[1]);
#else
        genn_pair_add(genn_pair_at(w, 0), x[0], acc);
        genn_pair_add(genn_pair_at(w, 1), x[1], acc);
#endif
    }
    if (taps % 2)
        genn_pair_add(genn_pair_at(w, 0), x[0], acc);
}

/* A single row: fours of taps stored as 0 2 1 3, then the rest. */
GENN_INLINE int32_t genn_conv_single_dsp_s8(const int16_t *x, const int8_t *w, int32_t taps, int32_t acc)
{
    for (int32_t n = taps / 4; n > 0; n--, x += 4, w += 4) {
#if defined(GENN_DSP)
        const uint32_t v = genn_load_word(w);
        acc = (int32_t)genn_smlad(genn_sxtb16(v), genn_load_word(x), (uint32_t)acc);
        acc = (int32_t)genn_smlad(genn_sxtb16_odd(v), genn_load_word(x + 2), (uint32_t)acc);
#else
        acc += w[0] * x[0] + w[2] * x[1] + w[1] * x[2] + w[3] * x[3];
#endif
    }
    for (int32_t k = 0; k < taps % 4; k++)
        acc += w[k] * x[k];
    return acc;
}

GENN_INLINE void genn_conv_pair_dsp_s8(const struct genn_conv_dsp_s8 *p, uint32_t *acc, int32_t mults, int8_t *y)
{
    const int32_t a = genn_pair_take(acc), b = (int32_t)acc[1];

    y[0] = genn_finish_s8(a, mults >> 16, p->shift, p->offset, p->lo, p->hi);
    y[1] = genn_finish_s8(b, (int16_t)mults, p->shift, p->offset, p->lo, p->hi);
}

/* Four outputs of two pixels, whose outputs lie out_c apart. */
GENN_INLINE void genn_conv_four_dsp_s8(const struct genn_conv_dsp_s8 *p, const int16_t *x, const int8_t *w, const int32_t *c,
                                       int8_t *y)
{
    const int32_t ci = p->in_c / p->groups, taps = p->k_h * p->k_w * ci, next = p->stride_w * p->k_h * ci;
    uint32_t acc[9];

    for (int32_t i = 0; i < 4; i++)
        acc[i] = acc[4 + i] = (uint32_t)c[i];
    acc[8] = (uint32_t)(2 * next);
    if (taps >= 2)
        genn_conv_block_dsp_s8(x, w, acc, taps / 2);
    x += taps - 1;
    w += 4 * (taps - 1);
    for (int32_t i = 0; i < 4; i++) {
        if (taps % 2)
            genn_pair_add(genn_pair_at(w, i % 2), x[i / 2 * next], acc + 2 * i);
        genn_conv_pair_dsp_s8(p, acc + 2 * i, c[4 + i % 2], y + i / 2 * p->out_c + i % 2 * 2);
    }
}

/* What is left of the outputs after the fours, for one pixel. */
GENN_INLINE void genn_conv_last_dsp_s8(const struct genn_conv_dsp_s8 *p, const int16_t *x, const int8_t *w, const int32_t *c,
                                     int8_t *y)
{
    const int32_t co = p->out_c / p->groups, taps = p->k_h * p->k_w * (p->in_c / p->groups);

    if (co & 2) {
        uint32_t acc[2] = {(uint32_t)c[0], (uint32_t)c[1]};
        genn_conv_dot_dsp_s8(x, w, taps, acc);
        genn_conv_pair_dsp_s8(p, acc, c[2], y);
        y += 2;
        w += 2 * taps;
        c += 3;
    }
    if (co & 1)
        y[0] = genn_finish_s8(genn_conv_single_dsp_s8(x, w, taps, c[0]), c[1], p->shift, p->offset, p->lo, p->hi);
}

/* ---- two pixels: assembly for the compiler that folds the parameters into it -------------------------------------- */

#if defined(GENN_DSP) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#define GENN_CONV_PAIRS_DSP

/* Two taps of two pixels and four rows.  r0 input, r1 weights, r4-r7 the sums of the first pixel (raw, B, raw, B), r8-r11
 * those of the second, whose input lies `next` bytes further.  15 cycles for 16 products: four loads in a run 5, eight
 * SMLAD, two SXTB16. */
#define GENN_CONV_STEP_S8                                                                                              \
    "ldr.w r3, [r0, %[next]]\n"                                                                                        \
    "ldr r2, [r0], #4\n"                                                                                               \
    "ldr lr, [r1, #4]\n"                                                                                               \
    "ldr r12, [r1], #8\n"                                                                                              \
    "smlad r4, r12, r2, r4\n"                                                                                          \
    "smlad r8, r12, r3, r8\n"                                                                                          \
    "sxtb16 r12, r12\n"                                                                                                \
    "smlad r5, r12, r2, r5\n"                                                                                          \
    "smlad r9, r12, r3, r9\n"                                                                                          \
    "smlad r6, lr, r2, r6\n"                                                                                           \
    "smlad r10, lr, r3, r10\n"                                                                                         \
    "sxtb16 lr, lr\n"                                                                                                  \
    "smlad r7, lr, r2, r7\n"                                                                                           \
    "smlad r11, lr, r3, r11\n"

/* A last odd tap: the halves of one word are the two pairs. */
#define GENN_CONV_ODD_S8                                                                                               \
    "ldrsh r2, [r0]\n"                                                                                                 \
    "ldrsh r3, [r0, %[next]]\n"                                                                                        \
    "ldr r12, [r1], #4\n"                                                                                              \
    "smlabb r4, r12, r2, r4\n"                                                                                         \
    "smlatb r6, r12, r2, r6\n"                                                                                         \
    "smlabb r8, r12, r3, r8\n"                                                                                         \
    "smlatb r10, r12, r3, r10\n"                                                                                       \
    "sxtb16 r12, r12\n"                                                                                                \
    "smlabb r5, r12, r2, r5\n"                                                                                         \
    "smlatb r7, r12, r2, r7\n"                                                                                         \
    "smlabb r9, r12, r3, r9\n"                                                                                         \
    "smlatb r11, r12, r3, r11\n"

/* Steps of the loop, from which the first `unroll` are left; each has 56 bytes. */
#define GENN_CONV_STEPS_S8(n) ".if %c[unroll] >= " n "\n" GENN_CONV_STEP_S8 ".endif\n"
#define GENN_CONV_EIGHT_S8(a, b, c, d, e, f, g, h)                                                                     \
    GENN_CONV_STEPS_S8(a) GENN_CONV_STEPS_S8(b) GENN_CONV_STEPS_S8(c) GENN_CONV_STEPS_S8(d) GENN_CONV_STEPS_S8(e)      \
    GENN_CONV_STEPS_S8(f) GENN_CONV_STEPS_S8(g) GENN_CONV_STEPS_S8(h)

/* The sums of rows A and B of one pair and pixel to saturated outputs: A still times 256, hence offset (r2) and shift. */
#define GENN_CONV_FINISH_S8(a, b, mult)                                                                                \
    "subs " a ", " a ", " b "\n"                                                                                       \
    "smlawt " a ", " a ", " mult ", r2\n"                                                                              \
    "smlawb " b ", " b ", " mult ", r3\n"                                                                              \
    "ssat " a ", #8, " a ", asr %[shift_a]\n"                                                                          \
    "ssat " b ", #8, " b ", asr %[shift_b]\n"

#define GENN_CONV_PACK_S8(y0, y1, y2, y3)                                                                              \
    "bfi " y0 ", " y1 ", #8, #8\n"                                                                                     \
    "bfi " y0 ", " y2 ", #16, #8\n"                                                                                    \
    "bfi " y0 ", " y3 ", #24, #8\n"

#define GENN_CONV_CLAMP_S8(y)                                                                                          \
    "ssub8 r2, " y ", r12\n"                                                                                           \
    "sel " y ", " y ", r12\n"                                                                                          \
    "ssub8 r2, lr, " y "\n"                                                                                            \
    "sel " y ", " y ", lr\n"

/* All fours of outputs of `pairs` (at least one) pairs of pixels.  On the stack: 0 end of the whole steps' input, 4 c and
 * 8 y as they advance, 12 x, 16 offset, 20 end of y, 24 pairs left, 28 w, 32 c.  About 55 cycles a four besides its steps. */
GENN_INLINE void genn_conv_fours_dsp_s8(const struct genn_conv_dsp_s8 *p, const int16_t *x, const int8_t *w,
                                        const int32_t *c, int32_t pairs, int8_t *y)
{
    const int32_t ci = p->in_c / p->groups, taps = p->k_h * p->k_w * ci;
    register const int16_t *r0 __asm__("r0") = x;
    register const int8_t *r1 __asm__("r1") = w;
    register const int32_t *r2 __asm__("r2") = c;
    register int8_t *r3 __asm__("r3") = y;
    register int32_t r12 __asm__("r12") = pairs;

    __asm__ volatile("push {r4-r11}\n"
                     "sub sp, sp, #36\n"
                     "str r12, [sp, #24]\n"
                     "strd r1, r2, [sp, #28]\n"
                     "movw r12, %[offset_low]\n"
                     "movt r12, %[offset_high]\n"
                     "str r12, [sp, #16]\n"
                     "9:\n"
                     "add lr, r3, %[width]\n"
                     "strd r2, r3, [sp, #4]\n"
                     "str r0, [sp, #12]\n"
                     "str lr, [sp, #20]\n"
                     "movw lr, #%c[taps] / 2 * 4\n"
                     "add lr, lr, r0\n"
                     "str lr, [sp]\n"
                     "8:\n"
                     "ldm r2!, {r4-r7}\n"
                     "str r2, [sp, #4]\n"
                     "mov r8, r4\n"
                     "mov r9, r5\n"
                     "mov r10, r6\n"
                     "mov r11, r7\n"
                     ".if %c[taps] >= 2\n"
                     ".if %c[taps] / 2 %% %c[unroll]\n"
                     "b 7f - %c[taps] / 2 %% %c[unroll] * 56\n"
                     ".endif\n"
                     "6:\n"
                     GENN_CONV_EIGHT_S8("32", "31", "30", "29", "28", "27", "26", "25")
                     GENN_CONV_EIGHT_S8("24", "23", "22", "21", "20", "19", "18", "17")
                     GENN_CONV_EIGHT_S8("16", "15", "14", "13", "12", "11", "10", "9")
                     GENN_CONV_EIGHT_S8("8", "7", "6", "5", "4", "3", "2", "1")
                     "7:\n"
                     ".if %c[taps] / 2 > %c[unroll]\n"
                     "ldr r2, [sp]\n"
                     "cmp r0, r2\n"
                     "bne 6b\n"
                     ".endif\n"
                     ".endif\n"
                     ".if %c[taps] %% 2\n" GENN_CONV_ODD_S8 ".endif\n"
                     "ldr r2, [sp, #4]\n"
                     "ldr r3, [sp, #16]\n"
                     "ldm r2!, {r12, lr}\n"
                     "str r2, [sp, #4]\n"
                     "lsl r2, r3, #8\n"
                     GENN_CONV_FINISH_S8("r4", "r5", "r12")
                     GENN_CONV_FINISH_S8("r6", "r7", "lr")
                     GENN_CONV_FINISH_S8("r8", "r9", "r12")
                     GENN_CONV_FINISH_S8("r10", "r11", "lr")
                     GENN_CONV_PACK_S8("r4", "r5", "r6", "r7")
                     GENN_CONV_PACK_S8("r8", "r9", "r10", "r11")
                     ".if %c[lo] != -128 || %c[hi] != 127\n"
                     "mov r12, #(%c[lo] & 255) * 0x1010101\n"
                     "mov lr, #(%c[hi] & 255) * 0x1010101\n"
                     GENN_CONV_CLAMP_S8("r4")
                     GENN_CONV_CLAMP_S8("r8")
                     ".endif\n"
                     "ldr r3, [sp, #8]\n"
                     "ldr r2, [sp, #4]\n"
                     "ldr r0, [sp, #12]\n"
                     "ldr lr, [sp, #20]\n"
                     "str r8, [r3, %[pitch]]\n"
                     "str r4, [r3], #4\n"
                     "str r3, [sp, #8]\n"
                     "cmp r3, lr\n"
                     "bne 8b\n"
                     "ldr r12, [sp, #24]\n"
                     "ldr r1, [sp, #28]\n"
                     "ldr r2, [sp, #32]\n"
                     "add r0, r0, 2 * %c[next]\n"
                     "add r3, r3, 2 * %c[pitch] - %c[width]\n"
                     "subs r12, r12, #1\n"
                     "str r12, [sp, #24]\n"
                     "bne 9b\n"
                     "add sp, sp, #36\n"
                     "pop {r4-r11}\n"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r12)
                     : [next] "i"(2 * p->stride_w * p->k_h * ci), [taps] "i"(taps), [unroll] "i"(p->unroll),
                       [offset_low] "i"(p->offset & 0xffff), [offset_high] "i"((p->offset >> 16) & 0xffff),
                       [shift_a] "i"(p->shift + 8), [shift_b] "i"(p->shift), [lo] "i"(p->lo), [hi] "i"(p->hi),
                       [width] "i"(p->out_c / p->groups / 4 * 4), [pitch] "i"(p->out_c)
                     : "lr", "cc", "memory");
}

/* What is left of the outputs after the fours, for two pixels. */
GENN_INLINE void genn_conv_rest_dsp_s8(const struct genn_conv_dsp_s8 *p, const int16_t *x, const int8_t *w, const int32_t *c,
                                   int8_t *y)
{
    const int32_t co = p->out_c / p->groups, taps = p->k_h * p->k_w * (p->in_c / p->groups);
    const int16_t *x1 = x + p->stride_w * p->k_h * (p->in_c / p->groups);

    if (co & 2) {
        uint32_t a[2] = {(uint32_t)c[0], (uint32_t)c[1]}, b[2] = {a[0], a[1]};
        int32_t k = 0;
        _Pragma("GCC unroll 2")
        for (; k + 2 <= taps; k += 2) {
            const uint32_t v0 = genn_load_word(x + k), v1 = genn_load_word(x1 + k), pair = genn_load_word(w + 2 * k);
            const uint32_t low = genn_sxtb16(pair);
            a[0] = genn_smlad(pair, v0, a[0]);
            b[0] = genn_smlad(pair, v1, b[0]);
            a[1] = genn_smlad(low, v0, a[1]);
            b[1] = genn_smlad(low, v1, b[1]);
        }
        if (k < taps) {
            genn_pair_add(genn_pair_at(w, k), x[k], a);
            genn_pair_add(genn_pair_at(w, k), x1[k], b);
        }
        genn_conv_pair_dsp_s8(p, a, c[2], y);
        genn_conv_pair_dsp_s8(p, b, c[2], y + p->out_c);
        w += 2 * taps;
        c += 3;
        y += 2;
    }
    if (co & 1) {
        y[0] = genn_finish_s8(genn_conv_single_dsp_s8(x, w, taps, c[0]), c[1], p->shift, p->offset, p->lo, p->hi);
        y[p->out_c] = genn_finish_s8(genn_conv_single_dsp_s8(x1, w, taps, c[0]), c[1], p->shift, p->offset, p->lo, p->hi);
    }
}
#endif

/* `pairs` pairs of pixels of one group; x is the first one's first tap, a pixel's outputs lie out_c apart. */
GENN_INLINE void genn_conv_pixels_dsp_s8(const struct genn_conv_dsp_s8 *p, const int16_t *x, const int8_t *w,
                                         const int32_t *c, int32_t pairs, int8_t *y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;
    const int32_t next = p->stride_w * p->k_h * ci;
#if defined(GENN_CONV_PAIRS_DSP)
    const int32_t fours = co / 4;

    if (fours > 0)
        genn_conv_fours_dsp_s8(p, x, w, c, pairs, y);
    for (; co % 4 && pairs > 0; pairs--, x += 2 * next, y += 2 * p->out_c)
        genn_conv_rest_dsp_s8(p, x, w + 4 * fours * taps, c + 6 * fours, y + 4 * fours);
#else
    for (; pairs > 0; pairs--, x += 2 * next, y += 2 * p->out_c) {
        const int8_t *wp = w;
        const int32_t *cp = c;
        int32_t o = 0;
        for (; o + 4 <= co; o += 4, wp += 4 * taps, cp += 6)
            genn_conv_four_dsp_s8(p, x, wp, cp, y + o);
        for (int32_t i = 0; co % 4 && i < 2; i++)
            genn_conv_last_dsp_s8(p, x + i * next, wp, cp, y + o + i * p->out_c);
    }
#endif
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* One row of `width` pixels; rows[ky] are the input rows under it.  y takes an even number of them, or a last odd
 * one goes through `spare`, which has room for two. */
GENN_INLINE void genn_conv_row_dsp_s8(const struct genn_conv_dsp_s8 *p, const int8_t *const *rows, const int8_t *w,
                                  const int32_t *c, int16_t *t, int32_t width, int8_t *spare, int8_t *y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;
    const int32_t constants = co / 4 * 6 + (co & 2) / 2 * 3 + (co & 1) * 2;

    for (int32_t g = 0; g < p->groups; g++, w += co * taps, c += constants, y += co)
        for (int32_t ox = 0; ox < width; ox += p->tile) {
            int32_t n = width - ox < p->tile ? width - ox : p->tile;
            const int16_t *x = t;
            int8_t *to = y + ox * p->out_c;

            genn_conv_columns_dsp_s8(p, rows, ox * p->stride_w - p->pad_w, g * ci, (n - 1) * p->stride_w + p->k_w, t);
            while (n > 0) { /* once, and once more for an odd pixel */
                const int odd = n == 1 && spare;
                const int32_t pairs = odd ? 1 : spare ? n / 2 : (n + 1) / 2;

                genn_conv_pixels_dsp_s8(p, x, w, c, pairs, odd ? spare : to);
                for (int32_t o = 0; odd && o < co; o++) {
                    to[o] = spare[o];
                    GENN_NO_LIBCALL;
                }
                n -= 2 * pairs;
                x += 2 * pairs * p->stride_w * p->k_h * ci;
                to += 2 * pairs * p->out_c;
            }
        }
}

GENN_INLINE void genn_conv_dsp_s8(const struct genn_conv_dsp_s8 *p, const int8_t *GENN_RESTRICT x,
                                  const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT c, int16_t *GENN_RESTRICT ws,
                                  int8_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups;
    int8_t *line = (int8_t *)(ws + ((p->tile - 1) * p->stride_w + p->k_w) * p->k_h * ci);
    const int8_t *rows[GENN_CONV_ROWS_DSP];

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++, y += p->out_w * p->out_c)
            for (int32_t i = 0; i < p->pool_h; i++) {
                const int32_t iy0 = (oy * p->pool_h + i) * p->stride_h - p->pad_h;
                for (int32_t ky = 0; ky < p->k_h; ky++) {
                    const int32_t iy = iy0 + ky * p->dil_h;
                    rows[ky] = p->padded && (iy < 0 || iy >= p->in_h) ? 0 : x + iy * p->in_w * p->in_c;
                }
                if (p->pool_h * p->pool_w == 1) {
                    genn_conv_row_dsp_s8(p, rows, w, c, ws, p->out_w, line, y);
                } else {
                    genn_conv_row_dsp_s8(p, rows, w, c, ws, p->out_w * p->pool_w, 0, line);
                    genn_conv_pool_row_dsp_s8(p, line, i == 0, y);
                }
            }
}

#endif
