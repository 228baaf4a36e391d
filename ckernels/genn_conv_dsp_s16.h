/* int16 convolution for cores with the DSP instructions (genn/kernels/dsp_conv_s16.py): as genn_conv_dsp.h, without packing.
 *
 * The taps of a pixel lie one behind another, in columns copied from the input, [column][kh][channel], or in the input
 * itself where a kernel one row high needs no padding (`direct`).  Two pixels by four outputs are summed at once.
 *
 * Weights: per four outputs, for every two taps the words of the four rows, and a last odd tap's four halfwords; what is
 * left of the outputs alike.
 */
#ifndef GENN_CONV_DSP_S16_H
#define GENN_CONV_DSP_S16_H

#include "genn_common_dsp.h"

#define GENN_CONV_ROWS_DSP_S16 16 /* kernel rows at most */

/* tile: pixels copied at once, even.  The workspace holds their columns (unless direct), then, with a pool, a line of output.  unroll: steps of the inner loop, 1 to 32. */
struct genn_conv_dsp_s16 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups, pool_h,
        pool_w, padded, shift, lo, hi, tile, unroll, direct;
};

/* ---- columns ---------------------------------------------------------------------------------------------------- */

GENN_INLINE void genn_conv_copy_dsp_s16(const int16_t *GENN_RESTRICT x, int32_t n, int16_t *GENN_RESTRICT t)
{
    int32_t i = 0;

#if defined(GENN_DSP)
    for (; i + 2 <= n; i += 2) {
        genn_store_word(t + i, genn_load_word(x + i));
        GENN_NO_LIBCALL;
    }
#endif
    for (; i < n; i++) {
        t[i] = x[i];
        GENN_NO_LIBCALL;
    }
}

GENN_INLINE void genn_conv_outside_dsp_s16(int16_t *t, int32_t columns, int32_t ci, int32_t step)
{
    for (; columns > 0; columns--, t += step)
        for (int32_t k = 0; k < ci; k++) {
            t[k] = 0;
            GENN_NO_LIBCALL;
        }
}

/* `columns` columns from ix on, of channels from c on, a kernel row at a time; rows[ky] is the input row under kernel row
 * ky, null outside of the input. */
GENN_INLINE void genn_conv_columns_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *const *rows, int32_t ix,
                                           int32_t c, int32_t columns, int16_t *t)
{
    const int32_t ci = p->in_c / p->groups, step = p->k_h * ci;
    const int32_t left = p->padded ? genn_columns_outside(-ix, columns) : 0;
    const int32_t right = p->padded ? genn_columns_outside(ix + columns - p->in_w, columns) : 0;

    for (int32_t ky = 0; ky < p->k_h; ky++, t += ci) {
        if (p->padded && rows[ky] == 0) {
            genn_conv_outside_dsp_s16(t, columns, ci, step);
            continue;
        }
        const int16_t *x = rows[ky] + (ix + left) * p->in_c + c;
        int16_t *to = t + left * step;

        if (p->padded) {
            genn_conv_outside_dsp_s16(t, left, ci, step);
            genn_conv_outside_dsp_s16(t + (columns - right) * step, right, ci, step);
        }
        for (int32_t n = columns - left - right; n > 0; n--, x += p->in_c, to += step)
            genn_conv_copy_dsp_s16(x, ci, to);
    }
}

/* ---- one pixel -------------------------------------------------------------------------------------------------- */

GENN_INLINE int16_t genn_conv_finish_dsp_s16(const struct genn_conv_dsp_s16 *p, uint32_t acc)
{
    return (int16_t)genn_clamp_s32((int32_t)acc >> p->shift, p->lo, p->hi);
}

/* `rows` rows (at most four) of `pixels` (1 or 2) pixels, `next` apart: w holds their weights. */
GENN_INLINE void genn_conv_rows_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *x, int32_t next, int32_t pixels,
                                        const int16_t *w, int32_t taps, int32_t rows, const int32_t *bias, int16_t *y)
{
    uint32_t acc[8];

    for (int32_t i = 0; i < rows * pixels; i++)
        acc[i] = (uint32_t)bias[i / pixels];
#pragma GCC unroll 2
    for (int32_t steps = taps / 2; steps > 0; steps--, x += 2)
        for (int32_t i = 0; i < rows; i++, w += 2)
            for (int32_t j = 0; j < pixels; j++) {
                uint32_t *sum = acc + i * pixels + j;
#if defined(GENN_DSP)
                *sum = genn_smlad(genn_load_word(w), genn_load_word(x + j * next), *sum);
#else
                *sum += (uint32_t)(w[0] * x[j * next]) + (uint32_t)(w[1] * x[j * next + 1]);
#endif
            }
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = 0; j < pixels; j++) {
            if (taps % 2)
                acc[i * pixels + j] += (uint32_t)(w[i] * x[j * next]);
            y[j * p->out_c + i] = genn_conv_finish_dsp_s16(p, acc[i * pixels + j]);
        }
}

GENN_INLINE void genn_conv_pixel_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *x, const int16_t *w,
                                         const int32_t *bias, int16_t *y)
{
    const int32_t co = p->out_c / p->groups, taps = p->k_h * p->k_w * (p->in_c / p->groups);
    int32_t o = 0;

    for (; o + 4 <= co; o += 4)
        genn_conv_rows_dsp_s16(p, x, 0, 1, w + o * taps, taps, 4, bias + o, y + o);
    if (o < co)
        genn_conv_rows_dsp_s16(p, x, 0, 1, w + o * taps, taps, co % 4, bias + o, y + o);
}

/* ---- two pixels: assembly for the compiler that folds the parameters into it -------------------------------------- */

#if defined(GENN_DSP) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#define GENN_CONV_PAIRS_DSP_S16

/* Two taps of two pixels and four rows; registers as in genn_conv_dsp.h.  16 cycles for 16 products: six loads in runs of
 * four and two 8, eight SMLAD.  56 bytes of code. */
#define GENN_CONV_STEPS_S16(n)                                                                                         \
    ".if %c[unroll] >= " n "\n"                                                                                        \
    "ldr.w r3, [r0, %[next]]\n"                                                                                        \
    "ldr r2, [r0], #4\n"                                                                                               \
    "ldr r12, [r1, #4]\n"                                                                                              \
    "ldr lr, [r1], #8\n"                                                                                               \
    "smlad r5, r12, r2, r5\n"                                                                                          \
    "smlad r9, r12, r3, r9\n"                                                                                          \
    "smlad r4, lr, r2, r4\n"                                                                                           \
    "smlad r8, lr, r3, r8\n"                                                                                           \
    "ldr r12, [r1, #4]\n"                                                                                              \
    "ldr lr, [r1], #8\n"                                                                                               \
    "smlad r7, r12, r2, r7\n"                                                                                          \
    "smlad r11, r12, r3, r11\n"                                                                                        \
    "smlad r6, lr, r2, r6\n"                                                                                           \
    "smlad r10, lr, r3, r10\n"                                                                                         \
    ".endif\n"
#define GENN_CONV_EIGHT_S16(a, b, c, d, e, f, g, h)                                                                    \
    GENN_CONV_STEPS_S16(a) GENN_CONV_STEPS_S16(b) GENN_CONV_STEPS_S16(c) GENN_CONV_STEPS_S16(d) GENN_CONV_STEPS_S16(e) \
    GENN_CONV_STEPS_S16(f) GENN_CONV_STEPS_S16(g) GENN_CONV_STEPS_S16(h)

/* A last odd tap: two words hold the four rows. */
#define GENN_CONV_ODD_S16                                                                                              \
    "ldrsh r2, [r0]\n"                                                                                                 \
    "ldrsh r3, [r0, %[next]]\n"                                                                                        \
    "ldr r12, [r1, #4]\n"                                                                                              \
    "ldr lr, [r1], #8\n"                                                                                               \
    "smlabb r4, lr, r2, r4\n"                                                                                          \
    "smlatb r5, lr, r2, r5\n"                                                                                          \
    "smlabb r6, r12, r2, r6\n"                                                                                         \
    "smlatb r7, r12, r2, r7\n"                                                                                         \
    "smlabb r8, lr, r3, r8\n"                                                                                          \
    "smlatb r9, lr, r3, r9\n"                                                                                          \
    "smlabb r10, r12, r3, r10\n"                                                                                       \
    "smlatb r11, r12, r3, r11\n"

/* Shift and clamp in one instruction where the bounds are a power of two's. */
#define GENN_CONV_CLAMP_S16(a)                                                                                         \
    ".if %c[lo] == 0 && (%c[hi] & (%c[hi] + 1)) == 0\n"                                                                \
    "usat " a ", %c[bits], " a ", asr %[shift]\n"                                                                      \
    ".elseif %c[lo] == -1 - %c[hi] && (%c[hi] & (%c[hi] + 1)) == 0\n"                                                  \
    "ssat " a ", %c[bits] + 1, " a ", asr %[shift]\n"                                                                  \
    ".else\n"                                                                                                          \
    "asr " a ", " a ", %[shift]\n"                                                                                     \
    "movw r2, %c[lo] & 65535\n"                                                                                        \
    "sxth r2, r2\n"                                                                                                    \
    "cmp " a ", r2\n"                                                                                                  \
    "it lt\n"                                                                                                          \
    "movlt " a ", r2\n"                                                                                                \
    "movw r2, %c[hi] & 65535\n"                                                                                        \
    "sxth r2, r2\n"                                                                                                    \
    "cmp " a ", r2\n"                                                                                                  \
    "it gt\n"                                                                                                          \
    "movgt " a ", r2\n"                                                                                                \
    ".endif\n"

/* All fours of outputs of `pairs` (at least one) pairs of pixels.  On the stack: 0 end of the whole steps' input, 4 bias
 * and 8 y as they advance, 12 x, 16 end of y, 20 pairs left, 24 w, 28 bias. */
GENN_INLINE void genn_conv_fours_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *x, const int16_t *w,
                                         const int32_t *bias, int32_t pairs, int16_t *y)
{
    const int32_t ci = p->in_c / p->groups, taps = p->k_h * p->k_w * ci;
    register const int16_t *r0 __asm__("r0") = x;
    register const int16_t *r1 __asm__("r1") = w;
    register const int32_t *r2 __asm__("r2") = bias;
    register int16_t *r3 __asm__("r3") = y;
    register int32_t r12 __asm__("r12") = pairs;

    __asm__ volatile("push {r4-r11}\n"
                     "sub sp, sp, #32\n"
                     "str r12, [sp, #20]\n"
                     "strd r1, r2, [sp, #24]\n"
                     "9:\n"
                     "add lr, r3, %[width]\n"
                     "strd r2, r3, [sp, #4]\n"
                     "str r0, [sp, #12]\n"
                     "str lr, [sp, #16]\n"
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
                     GENN_CONV_EIGHT_S16("32", "31", "30", "29", "28", "27", "26", "25")
                     GENN_CONV_EIGHT_S16("24", "23", "22", "21", "20", "19", "18", "17")
                     GENN_CONV_EIGHT_S16("16", "15", "14", "13", "12", "11", "10", "9")
                     GENN_CONV_EIGHT_S16("8", "7", "6", "5", "4", "3", "2", "1")
                     "7:\n"
                     ".if %c[taps] / 2 > %c[unroll]\n"
                     "ldr r2, [sp]\n"
                     "cmp r0, r2\n"
                     "bne 6b\n"
                     ".endif\n"
                     ".endif\n"
                     ".if %c[taps] %% 2\n" GENN_CONV_ODD_S16 ".endif\n"
                     GENN_CONV_CLAMP_S16("r4") GENN_CONV_CLAMP_S16("r5")
                     GENN_CONV_CLAMP_S16("r6") GENN_CONV_CLAMP_S16("r7")
                     GENN_CONV_CLAMP_S16("r8") GENN_CONV_CLAMP_S16("r9")
                     GENN_CONV_CLAMP_S16("r10") GENN_CONV_CLAMP_S16("r11")
                     "pkhbt r4, r4, r5, lsl #16\n"
                     "pkhbt r6, r6, r7, lsl #16\n"
                     "pkhbt r8, r8, r9, lsl #16\n"
                     "pkhbt r10, r10, r11, lsl #16\n"
                     "ldr r3, [sp, #8]\n"
                     "ldr r2, [sp, #4]\n"
                     "ldr r0, [sp, #12]\n"
                     "ldr lr, [sp, #16]\n"
                     "str r8, [r3, %[pitch]]\n"
                     "str r10, [r3, %c[pitch] + 4]\n"
                     "str r6, [r3, #4]\n"
                     "str r4, [r3], #8\n"
                     "str r3, [sp, #8]\n"
                     "cmp r3, lr\n"
                     "bne 8b\n"
                     "ldr r12, [sp, #20]\n"
                     "ldr r1, [sp, #24]\n"
                     "ldr r2, [sp, #28]\n"
                     "add r0, r0, 2 * %c[next]\n"
                     "add r3, r3, 2 * %c[pitch] - %c[width]\n"
                     "subs r12, r12, #1\n"
                     "str r12, [sp, #20]\n"
                     "bne 9b\n"
                     "add sp, sp, #32\n"
                     "pop {r4-r11}\n"
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r12)
                     : [next] "i"(2 * p->stride_w * (p->direct ? 1 : p->k_h) * ci), [taps] "i"(taps),
                       [unroll] "i"(p->unroll), [shift] "i"(p->shift), [lo] "i"(p->lo), [hi] "i"(p->hi),
                       [bits] "i"(32 - __builtin_clz((uint32_t)(p->hi | 1))), [width] "i"(p->out_c / p->groups / 4 * 8),
                       [pitch] "i"(2 * p->out_c)
                     : "lr", "cc", "memory");
}
#endif

/* `pairs` pairs of pixels of one group; x is the first one's first tap, `next` the way to the next one's. */
GENN_INLINE void genn_conv_pixels_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *x, int32_t next, const int16_t *w,
                                          const int32_t *bias, int32_t pairs, int16_t *y)
{
#if defined(GENN_CONV_PAIRS_DSP_S16)
    const int32_t co = p->out_c / p->groups, taps = p->k_h * p->k_w * (p->in_c / p->groups), done = co / 4 * 4;

    if (done > 0)
        genn_conv_fours_dsp_s16(p, x, w, bias, pairs, y);
    for (; co % 4 && pairs > 0; pairs--, x += 2 * next, y += 2 * p->out_c)
        genn_conv_rows_dsp_s16(p, x, next, 2, w + done * taps, taps, co % 4, bias + done, y + done);
#else
    for (pairs *= 2; pairs > 0; pairs--, x += next, y += p->out_c)
        genn_conv_pixel_dsp_s16(p, x, w, bias, y);
#endif
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* One row of `width` pixels; rows[ky] are the input rows under it.  y takes an even number of them, unless `exact`. */
GENN_INLINE void genn_conv_row_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *const *rows, const int16_t *w,
                                       const int32_t *bias, int16_t *t, int32_t width, int exact, int16_t *y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups;
    const int32_t next = p->stride_w * (p->direct ? 1 : p->k_h) * ci;

    for (int32_t g = 0; g < p->groups; g++, w += co * p->k_h * p->k_w * ci, bias += co, y += co)
        for (int32_t ox = 0; ox < width; ox += p->tile) {
            int32_t n = width - ox < p->tile ? width - ox : p->tile;
            const int16_t *x = p->direct ? rows[0] + ox * next : t;
            int16_t *to = y + ox * p->out_c;

            if (!p->direct)
                genn_conv_columns_dsp_s16(p, rows, ox * p->stride_w - p->pad_w, g * ci, (n - 1) * p->stride_w + p->k_w, t);
            while (n > 0) { /* pairs, then an odd one */
                const int odd = n == 1 && exact;
                const int32_t pairs = odd ? 1 : exact ? n / 2 : (n + 1) / 2;

                if (odd)
                    genn_conv_pixel_dsp_s16(p, x, w, bias, to);
                else
                    genn_conv_pixels_dsp_s16(p, x, next, w, bias, pairs, to);
                n -= 2 * pairs;
                x += 2 * pairs * next;
                to += 2 * pairs * p->out_c;
            }
        }
}

/* Pools a row of pixels into y, which already holds the rows before it in the window unless it is the first. */
GENN_INLINE void genn_conv_pool_row_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *line, int first, int16_t *y)
{
    for (int32_t ox = 0; ox < p->out_w; ox++, y += p->out_c, line += p->pool_w * p->out_c) {
        int32_t o = 0;
#if defined(GENN_DSP)
        for (; o + 2 <= p->out_c; o += 2) {
            uint32_t best = genn_load_word(line + o);
            for (int32_t i = 1; i < p->pool_w; i++)
                best = genn_max2(best, genn_load_word(line + i * p->out_c + o));
            genn_store_word(y + o, first ? best : genn_max2(best, genn_load_word(y + o)));
        }
#endif
        for (; o < p->out_c; o++) {
            int16_t best = first ? line[o] : y[o];
            for (int32_t i = 0; i < p->pool_w; i++)
                best = line[i * p->out_c + o] > best ? line[i * p->out_c + o] : best;
            y[o] = best;
        }
    }
}

GENN_INLINE void genn_conv_dsp_s16(const struct genn_conv_dsp_s16 *p, const int16_t *GENN_RESTRICT x,
                                   const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                   int16_t *GENN_RESTRICT ws, int16_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups;
    /* without pooling and columns there is no workspace, and nothing may be added to no pointer, not even zero */
    const int32_t columns = p->direct ? 0 : ((p->tile - 1) * p->stride_w + p->k_w) * p->k_h * ci;
    int16_t *line = columns ? ws + columns : ws;
    const int16_t *rows[GENN_CONV_ROWS_DSP_S16];

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++, y += p->out_w * p->out_c)
            for (int32_t i = 0; i < p->pool_h; i++) {
                const int32_t iy0 = (oy * p->pool_h + i) * p->stride_h - p->pad_h;
                for (int32_t ky = 0; ky < p->k_h; ky++) {
                    const int32_t iy = iy0 + ky * p->dil_h;
                    rows[ky] = p->padded && (iy < 0 || iy >= p->in_h) ? 0 : x + iy * p->in_w * p->in_c;
                }
                if (p->pool_h * p->pool_w == 1) {
                    genn_conv_row_dsp_s16(p, rows, w, bias, ws, p->out_w, 1, y);
                } else {
                    genn_conv_row_dsp_s16(p, rows, w, bias, ws, p->out_w * p->pool_w, 0, line);
                    genn_conv_pool_row_dsp_s16(p, line, i == 0, y);
                }
            }
}

#endif
