/* int8 depthwise 3 x 3 convolution for cores with the DSP instructions (genn/kernels/dsp_depthwise.py).
 *
 * Four channels of four input rows at a time are turned into columns of int16, [channel][column][row]: SMLAD wants two taps
 * of one channel in a word, and NHWC has two channels there.  With stride 1 they give two rows of outputs, otherwise one,
 * and the fourth row is not used.
 *
 * Weights: nine bytes a channel, in the order genn_depthwise_place_s8 gives.
 */
#ifndef GENN_DEPTHWISE_DSP_H
#define GENN_DEPTHWISE_DSP_H

#include "genn_common_dsp.h"

#if defined(GENN_DSP) && defined(__GNUC__) && !defined(__clang__) && defined(__OPTIMIZE__)
#define GENN_DEPTHWISE_ASM_DSP
#endif

/* two: rows of outputs come in twos.  The padding before the first row is at most 1, so that the second or the third of the
 * four rows is always inside; stride_w is at most 3.  The workspace holds the columns of four channels. */
struct genn_depthwise_dsp_s8 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, stride_h, stride_w, pad_h, pad_w, zero_point, shift, offset, lo, hi, two;
};

/* Place of tap (ky, kx) among the nine bytes: as SXTB16 takes two words of them apart into rows 0 and 1 of the columns, and
 * row 2. */
GENN_INLINE int32_t genn_depthwise_place_s8(int32_t ky, int32_t kx)
{
    static const uint8_t place[9] = {0, 1, 4, 2, 3, 6, 5, 7, 8};

    return place[3 * ky + kx];
}

GENN_INLINE int32_t genn_depthwise_columns_of(const struct genn_depthwise_dsp_s8 *p)
{
    return (p->out_w - 1) * p->stride_w + 3;
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

/* The columns of `count` channels from c on; rows[r] is null outside of the input. */
GENN_INLINE void genn_depthwise_gather_s8(const struct genn_depthwise_dsp_s8 *p, const int8_t *const *rows, int32_t c,
                                          int32_t count, int16_t *t)
{
    const int32_t columns = genn_depthwise_columns_of(p);

    for (int32_t k = 0; k < count; k++)
        for (int32_t i = 0; i < columns; i++)
            for (int32_t r = 0; r < 4; r++, t++) {
                const int32_t ix = i - p->pad_w;
                const int in = rows[r] && ix >= 0 && ix < p->in_w;
                *t = in ? rows[r][ix * p->in_c + c + k] : (int16_t)p->zero_point;
            }
}

#if defined(GENN_DEPTHWISE_ASM_DSP)
/* Two bytes' pairs (rows a and b) of four channels: 0 and 2 from the even ones, 1 and 3 from the odd. */
GENN_INLINE void genn_depthwise_pairs_s8(uint32_t a, uint32_t b, int32_t pitch, int16_t *t)
{
    const uint32_t a02 = genn_sxtb16(a), a13 = genn_sxtb16_odd(a), b02 = genn_sxtb16(b), b13 = genn_sxtb16_odd(b);

    genn_store_word(t, genn_pkhbt(a02, b02));
    genn_store_word(t + pitch, genn_pkhbt(a13, b13));
    genn_store_word(t + 2 * pitch, genn_pkhtb(b02, a02));
    genn_store_word(t + 3 * pitch, genn_pkhtb(b13, a13));
}

/* Columns of four rows inside the input's width: 38 cycles for 16 elements: 5 load, 8 widen, 8 pair, 8 store, 4 step. */
GENN_INLINE void genn_depthwise_fours_s8(const int8_t *const *rows, int32_t at, int32_t columns, int32_t step,
                                         int32_t pitch, int16_t *t)
{
    const int8_t *r0 = rows[0] + at, *r1 = rows[1] + at, *r2 = rows[2] + at, *r3 = rows[3] + at;

    for (; columns > 0; columns--, t += 4, r0 += step, r1 += step, r2 += step, r3 += step) {
        const uint32_t a = genn_load_word(r0), b = genn_load_word(r1), c = genn_load_word(r2), d = genn_load_word(r3);
        genn_depthwise_pairs_s8(a, b, pitch, t);
        genn_depthwise_pairs_s8(c, d, pitch, t + 2);
    }
}

/* Columns of four rows outside of it. */
GENN_INLINE void genn_depthwise_outside_s8(int32_t columns, uint32_t outside, int32_t pitch, int16_t *t)
{
    for (; columns > 0; columns--, t += 4)
        for (int32_t k = 0; k < 4; k++) {
            genn_store_word(t + k * pitch, outside);
            genn_store_word(t + k * pitch + 2, outside);
        }
}

/* The columns of four rows and channels.  full[r] is rows[r], or another row where that is null (`edge`). */
GENN_INLINE void genn_depthwise_columns_s8(const struct genn_depthwise_dsp_s8 *p, const int8_t *const *rows,
                                           const int8_t *const *full, int edge, int32_t c, int16_t *t)
{
    const int32_t columns = genn_depthwise_columns_of(p);
    const uint32_t outside = (uint32_t)(p->zero_point & 65535) * 0x10001u;
    const int32_t behind = columns - p->pad_w - p->in_w, right = behind > 0 ? behind : 0;
    const int32_t inside = columns - p->pad_w - right, pitch = 4 * columns;

    genn_depthwise_outside_s8(p->pad_w, outside, pitch, t);
    genn_depthwise_fours_s8(full, c, inside, p->in_c, pitch, t + 4 * p->pad_w);
    genn_depthwise_outside_s8(right, outside, pitch, t + 4 * (p->pad_w + inside));
    for (int32_t r = 0; edge && r < 4; r++)
        for (int32_t i = r; rows[r] == 0 && i < 4 * pitch; i += 4)
            t[i] = (int16_t)p->zero_point;
}
#endif

/* ---- outputs ---------------------------------------------------------------------------------------------------- */

#if defined(GENN_DEPTHWISE_ASM_DSP)

#define GENN_DEPTHWISE_CLAMP_S8(y)                                                                                     \
    ".if %c[lo] != -128\n"                                                                                             \
    "cmp " y ", %[lo]\n"                                                                                               \
    "it lt\n"                                                                                                          \
    "movlt " y ", %[lo]\n"                                                                                             \
    ".endif\n"                                                                                                         \
    ".if %c[hi] != 127\n"                                                                                              \
    "cmp " y ", %[hi]\n"                                                                                               \
    "it gt\n"                                                                                                          \
    "movgt " y ", %[hi]\n"                                                                                             \
    ".endif\n"

/* A column (words in r1, r3: rows 0 and 1, rows 2 and 3) for a pixel of the upper and of the lower row of outputs. */
#define GENN_DEPTHWISE_COLUMN_S8(first, second, upper, lower, upper_from, lower_from)                                  \
    "smlad " upper ", r1, " first ", " upper_from "\n"                                                                 \
    "smlatb " lower ", r1, " first ", " lower_from "\n"                                                                \
    "smlabt " upper ", r3, " second ", " upper "\n"                                                                    \
    "smlad " lower ", r3, " second ", " lower "\n"
#define GENN_DEPTHWISE_SATURATE_S8(acc)                                                                                \
    "smlawb " acc ", " acc ", r1, r3\n"                                                                                \
    "ssat " acc ", #8, " acc ", asr %[shift]\n"                                                                        \
    GENN_DEPTHWISE_CLAMP_S8(acc)

/* Per channel: its weights to r4-r9 (per kernel column rows 0 and 1, then 1 and 2), bias, multiplier and the pointers to
 * the stack: 0 bias, 4 mult, 8 offset, 12 end of the columns, 16 y, 20 weights, 24 bias, 28 mult, 32 channels left. */
#define GENN_DEPTHWISE_BEGIN_S8                                                                                        \
    "push {r4-r11}\n"                                                                                                  \
    "sub sp, sp, #36\n"                                                                                                \
    "movw r4, %[offset_low]\n"                                                                                         \
    "movt r4, %[offset_high]\n"                                                                                        \
    "str r4, [sp, #8]\n"                                                                                               \
    "movs r11, #4\n"                                                                                                   \
    "9:\n"                                                                                                             \
    "ldr r4, [r1]\n"                                                                                                   \
    "ldr r8, [r1, #4]\n"                                                                                               \
    "ldrsb r9, [r1, #8]\n"                                                                                             \
    "ldr r10, [r3], #4\n"                                                                                              \
    "ldrsh lr, [r12], #2\n"                                                                                            \
    "adds r1, r1, #9\n"                                                                                                \
    "str r10, [sp]\n"                                                                                                  \
    "str lr, [sp, #4]\n"                                                                                               \
    "str r2, [sp, #16]\n"                                                                                              \
    "str r1, [sp, #20]\n"                                                                                              \
    "str r3, [sp, #24]\n"                                                                                              \
    "str r12, [sp, #28]\n"                                                                                             \
    "str r11, [sp, #32]\n"                                                                                             \
    "sxtb16 r6, r4, ror #8\n"                                                                                          \
    "sxtb16 r4, r4\n"                                                                                                  \
    "sxtb16 r7, r8, ror #8\n"                                                                                          \
    "sxtb16 r8, r8\n"                                                                                                  \
    "lsls r5, r7, #16\n"                                                                                               \
    "pkhtb r5, r5, r4, asr #16\n"                                                                                      \
    "pkhtb r7, r7, r6, asr #16\n"                                                                                      \
    "lsls r9, r9, #16\n"                                                                                               \
    "pkhtb r9, r9, r8, asr #16\n"
#define GENN_DEPTHWISE_END_S8                                                                                          \
    "ldr r2, [sp, #16]\n"                                                                                              \
    "ldr r1, [sp, #20]\n"                                                                                              \
    "ldr r3, [sp, #24]\n"                                                                                              \
    "ldr r12, [sp, #28]\n"                                                                                             \
    "ldr r11, [sp, #32]\n"                                                                                             \
    "adds r2, r2, #1\n"                                                                                                \
    "add r0, r0, %[gap]\n"                                                                                             \
    "subs r11, r11, #1\n"                                                                                              \
    "bne 9b\n"                                                                                                         \
    "add sp, sp, #36\n"                                                                                                \
    "pop {r4-r11}\n"
#define GENN_DEPTHWISE_OPERANDS_S8                                                                                     \
    [width] "i"(p->out_w), [pitch] "i"(p->out_w * p->in_c), [channels] "i"(p->in_c), [step] "i"(8 * p->stride_w),      \
        [gap] "i"(8 * (3 - p->stride_w)), [offset_low] "i"(p->offset & 0xffff),                                        \
        [offset_high] "i"((p->offset >> 16) & 0xffff), [shift] "i"(p->shift), [lo] "i"(p->lo), [hi] "i"(p->hi)

/* Two rows of outputs of four channels, 3 x 3, stride 1.  Two pixels take 61 cycles for 36 products: 24 multiplications,
 * 11 words in runs of two and three 16, 8 to requantize, 4 stores, 8 for the loop; a last one 36. */
GENN_INLINE void genn_depthwise_two_s8(const struct genn_depthwise_dsp_s8 *p, const int16_t *t, const int8_t *w,
                                       const int32_t *bias, const int16_t *mult, int8_t *y)
{
    register const int16_t *r0 __asm__("r0") = t;
    register const int8_t *r1 __asm__("r1") = w;
    register int8_t *r2 __asm__("r2") = y;
    register const int32_t *r3 __asm__("r3") = bias;
    register const int16_t *r12 __asm__("r12") = mult;

    __asm__ volatile(GENN_DEPTHWISE_BEGIN_S8
                     ".if %c[width] >= 2\n"
                     "movw r3, #%c[width] / 2 * 16\n"
                     "add r3, r3, r0\n"
                     "str r3, [sp, #12]\n"
                     "8:\n"
                     "ldr r1, [r0]\n"
                     "ldr r3, [r0, #4]\n"
                     "ldr r12, [sp]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r4", "r5", "r10", "r11", "r12", "r12")
                     "mov lr, r12\n"
                     "ldr r1, [r0, #8]\n"
                     "ldr r3, [r0, #12]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r6", "r7", "r10", "r11", "r10", "r11")
                     GENN_DEPTHWISE_COLUMN_S8("r4", "r5", "r12", "lr", "r12", "lr")
                     "ldr r1, [r0, #16]\n"
                     "ldr r3, [r0, #20]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r8", "r9", "r10", "r11", "r10", "r11")
                     GENN_DEPTHWISE_COLUMN_S8("r6", "r7", "r12", "lr", "r12", "lr")
                     "ldr r1, [r0, #24]\n"
                     "ldr r3, [r0, #28]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r8", "r9", "r12", "lr", "r12", "lr")
                     "ldr r1, [sp, #4]\n"
                     "ldr r3, [sp, #8]\n"
                     GENN_DEPTHWISE_SATURATE_S8("r10")
                     GENN_DEPTHWISE_SATURATE_S8("r11")
                     GENN_DEPTHWISE_SATURATE_S8("r12")
                     GENN_DEPTHWISE_SATURATE_S8("lr")
                     "ldr r1, [sp, #12]\n"
                     "adds r0, r0, #16\n"
                     "strb r10, [r2]\n"
                     "strb r12, [r2, %[channels]]\n"
                     "strb r11, [r2, %[pitch]]\n"
                     "strb lr, [r2, %c[pitch] + %c[channels]]\n"
                     "add r2, r2, 2 * %c[channels]\n"
                     "cmp r0, r1\n"
                     "bne 8b\n"
                     ".endif\n"
                     ".if %c[width] %% 2\n"
                     "ldr r1, [r0]\n"
                     "ldr r3, [r0, #4]\n"
                     "ldr r12, [sp]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r4", "r5", "r10", "r11", "r12", "r12")
                     "ldr r1, [r0, #8]\n"
                     "ldr r3, [r0, #12]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r6", "r7", "r10", "r11", "r10", "r11")
                     "ldr r1, [r0, #16]\n"
                     "ldr r3, [r0, #20]\n"
                     GENN_DEPTHWISE_COLUMN_S8("r8", "r9", "r10", "r11", "r10", "r11")
                     "ldr r1, [sp, #4]\n"
                     "ldr r3, [sp, #8]\n"
                     GENN_DEPTHWISE_SATURATE_S8("r10")
                     GENN_DEPTHWISE_SATURATE_S8("r11")
                     "adds r0, r0, #8\n"
                     "strb r10, [r2]\n"
                     "strb r11, [r2, %[pitch]]\n"
                     ".endif\n"
                     GENN_DEPTHWISE_END_S8
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r12)
                     : GENN_DEPTHWISE_OPERANDS_S8
                     : "lr", "cc", "memory");
}

/* One row of outputs of four channels, 3 x 3, stride of columns up to 3: 30 cycles a pixel. */
GENN_INLINE void genn_depthwise_one_s8(const struct genn_depthwise_dsp_s8 *p, const int16_t *t, const int8_t *w,
                                       const int32_t *bias, const int16_t *mult, int8_t *y)
{
    register const int16_t *r0 __asm__("r0") = t;
    register const int8_t *r1 __asm__("r1") = w;
    register int8_t *r2 __asm__("r2") = y;
    register const int32_t *r3 __asm__("r3") = bias;
    register const int16_t *r12 __asm__("r12") = mult;

    __asm__ volatile(GENN_DEPTHWISE_BEGIN_S8
                     "movw r3, #%c[width] * %c[step]\n"
                     "add r3, r3, r0\n"
                     "str r3, [sp, #12]\n"
                     "8:\n"
                     "ldr r1, [r0]\n"
                     "ldr r3, [r0, #4]\n"
                     "ldr r12, [sp]\n"
                     "ldr lr, [r0, #8]\n"
                     "smlad r10, r1, r4, r12\n"
                     "smlabt r10, r3, r5, r10\n"
                     "smlad r10, lr, r6, r10\n"
                     "ldr r1, [r0, #12]\n"
                     "ldr r3, [r0, #16]\n"
                     "ldr r12, [r0, #20]\n"
                     "smlabt r10, r1, r7, r10\n"
                     "smlad r10, r3, r8, r10\n"
                     "smlabt r10, r12, r9, r10\n"
                     "ldr r1, [sp, #4]\n"
                     "ldr r3, [sp, #8]\n"
                     "ldr r12, [sp, #12]\n"
                     GENN_DEPTHWISE_SATURATE_S8("r10")
                     "add r0, r0, %[step]\n"
                     "strb r10, [r2]\n"
                     "add r2, r2, %[channels]\n"
                     "cmp r0, r12\n"
                     "bne 8b\n"
                     GENN_DEPTHWISE_END_S8
                     : "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3), "+r"(r12)
                     : GENN_DEPTHWISE_OPERANDS_S8
                     : "lr", "cc", "memory");
}
#endif

/* One pixel of one channel from its columns, `row` 0 or 1 of the outputs. */
GENN_INLINE int8_t genn_depthwise_pixel_s8(const struct genn_depthwise_dsp_s8 *p, const int16_t *t, const int8_t *w, int32_t row,
                                           int32_t bias, int32_t mult)
{
    int32_t acc = bias;

    for (int32_t ky = 0; ky < 3; ky++)
        for (int32_t kx = 0; kx < 3; kx++)
            acc += w[genn_depthwise_place_s8(ky, kx)] * t[4 * kx + ky + row];
    return genn_finish_s8(acc, mult, p->shift, p->offset, p->lo, p->hi);
}

/* Two rows of outputs (or one) of `count` channels. */
GENN_INLINE void genn_depthwise_outputs_s8(const struct genn_depthwise_dsp_s8 *p, const int16_t *t, const int8_t *w,
                                           const int32_t *bias, const int16_t *mult, int32_t count, int8_t *y)
{
    for (int32_t k = 0; k < count; k++, t += 4 * genn_depthwise_columns_of(p), w += 9)
        for (int32_t row = 0; row < (p->two ? 2 : 1); row++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                y[(row * p->out_w + ox) * p->in_c + k] =
                    genn_depthwise_pixel_s8(p, t + 4 * ox * p->stride_w, w, row, bias[k], mult[k]);
}

/* Two rows of outputs (or one) from the four input rows, four channels at a time. */
GENN_INLINE void genn_depthwise_row_s8(const struct genn_depthwise_dsp_s8 *p, const int8_t *const *rows, const int8_t *w,
                                       const int32_t *bias, const int16_t *mult, int16_t *t, int8_t *y)
{
    int32_t c = 0;

#if defined(GENN_DEPTHWISE_ASM_DSP)
    const int8_t *full[4], *const some = rows[1] ? rows[1] : rows[2];
    int edge = 0;
    for (int32_t r = 0; r < 4; r++) {
        full[r] = rows[r] ? rows[r] : some;
        edge |= rows[r] == 0;
    }
    for (; c + 4 <= p->in_c; c += 4) {
        genn_depthwise_columns_s8(p, rows, full, edge, c, t);
        if (p->two)
            genn_depthwise_two_s8(p, t, w + 9 * c, bias + c, mult + c, y + c);
        else
            genn_depthwise_one_s8(p, t, w + 9 * c, bias + c, mult + c, y + c);
    }
#endif
    for (; c < p->in_c; c += 4) {
        const int32_t count = p->in_c - c < 4 ? p->in_c - c : 4;
        genn_depthwise_gather_s8(p, rows, c, count, t);
        genn_depthwise_outputs_s8(p, t, w + 9 * c, bias + c, mult + c, count, y + c);
    }
}

GENN_INLINE void genn_depthwise_dsp_s8(const struct genn_depthwise_dsp_s8 *p, const int8_t *GENN_RESTRICT x,
                                       const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                       const int16_t *GENN_RESTRICT mult, int16_t *GENN_RESTRICT ws, int8_t *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c, y += p->out_h * p->out_w * p->in_c)
        for (int32_t i = 0; i < p->out_h; i += p->two ? 2 : 1) {
            const int32_t oy = p->two && i + 2 > p->out_h ? p->out_h - 2 : i; /* a last odd row: one is done again */
            const int8_t *rows[4];
            for (int32_t r = 0; r < 4; r++) {
                const int32_t iy = oy * p->stride_h - p->pad_h + r;
                rows[r] = iy < 0 || iy >= p->in_h ? 0 : x + iy * p->in_w * p->in_c;
            }
            genn_depthwise_row_s8(p, rows, w, bias, mult, ws, y + oy * p->out_w * p->in_c);
        }
}

#endif
