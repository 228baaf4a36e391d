/* int16 convolution for cores with the DSP instructions where flash counts (genn/kernels/dsp_conv_s16.py): two pixels at a
 * time are copied to columns, two outputs of them summed, and every layer shares the code.
 *
 * Weights: per pair of outputs for every two taps the words of both rows, and a last odd tap's two halfwords; a last single
 * output as it is.
 */
#ifndef GENN_CONV_SMALL_DSP_S16_H
#define GENN_CONV_SMALL_DSP_S16_H

#include "genn_common_dsp.h"

/* The workspace holds the columns under two pixels, then their outputs. */
struct genn_conv_small_s16 {
    int16_t lo, hi, pad_h, pad_w;
    uint16_t in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, dil_h, pool_h, pool_w, shift;
};

/* Sums of two rows for the pixels at x and x1: acc[0..1] of the first, acc[2..3] of the second.  13 cycles for 8 products:
 * four loads in a run 5, four SMLAD, 4 for the loop. */
#if defined(GENN_DSP)
GENN_NAKED void genn_conv_small_sums_s16(GENN_REGISTER const int16_t *x, GENN_REGISTER const int16_t *x1,
                                         GENN_REGISTER const int16_t *w, GENN_REGISTER int32_t taps,
                                         GENN_REGISTER uint32_t *acc)
{
    __asm__ volatile("push {r4-r9, lr}\n"
                     "ldr r8, [sp, #28]\n"
                     "ldm r8, {r4-r7}\n"
                     "subs r3, r3, #2\n"
                     "blt 1f\n"
                     "0:\n"
                     "ldr r8, [r0], #4\n"
                     "ldr r12, [r1], #4\n"
                     "ldr r9, [r2, #4]\n"
                     "ldr lr, [r2], #8\n"
                     "smlad r4, lr, r8, r4\n"
                     "smlad r6, lr, r12, r6\n"
                     "smlad r5, r9, r8, r5\n"
                     "smlad r7, r9, r12, r7\n"
                     "subs r3, r3, #2\n"
                     "bge 0b\n"
                     "1:\n"
                     "adds r3, r3, #1\n"
                     "blt 2f\n"
                     "ldrsh r8, [r0]\n"
                     "ldrsh r12, [r1]\n"
                     "ldr lr, [r2]\n"
                     "smlabb r4, lr, r8, r4\n"
                     "smlatb r5, lr, r8, r5\n"
                     "smlabb r6, lr, r12, r6\n"
                     "smlatb r7, lr, r12, r7\n"
                     "2:\n"
                     "ldr r8, [sp, #28]\n"
                     "stm r8, {r4-r7}\n"
                     "pop {r4-r9, pc}\n");
}
#else
GENN_INLINE void genn_conv_small_sums_s16(const int16_t *x, const int16_t *x1, const int16_t *w, int32_t taps, uint32_t *acc)
{
    for (int32_t k = 0; k < taps; k++)
        for (int32_t i = 0; i < 2; i++) {
            const int32_t v = k / 2 * 2 + 1 < taps ? w[k / 2 * 4 + 2 * i + k % 2] : w[2 * k + i];
            acc[i] += (uint32_t)(v * x[k]);
            acc[2 + i] += (uint32_t)(v * x1[k]);
        }
}
#endif

/* Columns of the input from row iy and column ix on, for two pixels. */
GENN_PART void genn_conv_small_columns_s16(const struct genn_conv_small_s16 *p, const int16_t *x, int32_t iy, int32_t ix,
                                           int16_t *t)
{
    for (int32_t i = p->stride_w + p->k_w; i > 0; i--, ix++)
        for (int32_t ky = 0; ky < p->k_h; ky++) {
            const int32_t y = iy + ky * p->dil_h;
            const int in = y >= 0 && y < p->in_h && ix >= 0 && ix < p->in_w;
            const int16_t *from = x + (y * p->in_w + ix) * p->in_c;
            for (int32_t c = p->in_c; c > 0; c--) {
                *t++ = in ? *from++ : (int16_t)0;
                GENN_NO_LIBCALL;
            }
        }
}

/* All outputs of two pixels, out_c apart. */
GENN_PART void genn_conv_small_pixels_s16(const struct genn_conv_small_s16 *p, const int16_t *x, const int16_t *w,
                                          const int32_t *bias, int16_t *y)
{
    const int32_t taps = p->k_h * p->k_w * p->in_c;
    const int16_t *x1 = x + p->stride_w * p->k_h * p->in_c;

    for (int32_t o = p->out_c; o > 0; o -= 2, w += 2 * taps, bias += 2, y += 2) {
        const int32_t rows = o > 1 ? 2 : 1;
        uint32_t acc[4] = {(uint32_t)bias[0], (uint32_t)bias[rows - 1], (uint32_t)bias[0], (uint32_t)bias[rows - 1]};
        if (rows == 2) {
            genn_conv_small_sums_s16(x, x1, w, taps, acc);
        } else {
            for (int32_t k = 0; k < taps; k++) {
                acc[0] += (uint32_t)(w[k] * x[k]);
                acc[2] += (uint32_t)(w[k] * x1[k]);
            }
        }
        for (int32_t i = 0; i < 2; i++)
            for (int32_t r = 0; r < rows; r++)
                y[i * p->out_c + r] = (int16_t)genn_clamp_s32((int32_t)acc[2 * i + r] >> p->shift, p->lo, p->hi);
    }
}

GENN_KERNEL void genn_conv_small_s16(const struct genn_conv_small_s16 *p, const int16_t *GENN_RESTRICT x,
                                     const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                     int16_t *GENN_RESTRICT ws, int16_t *GENN_RESTRICT y)
{
    const int32_t width = p->out_w * p->pool_w, pooled = p->pool_h * p->pool_w > 1;
    int16_t *pair = ws + (p->stride_w + p->k_w) * p->k_h * p->in_c;

    for (int32_t oy = 0; oy < p->out_h; oy++, y += p->out_w * p->out_c)
        for (int32_t i = 0; i < p->pool_h; i++) {
            int16_t *to = y;
            int32_t column = 0; /* of the pool's window */
            for (int32_t ox = 0; ox < width; ox += 2) {
                const int direct = !pooled && ox + 2 <= width;
                genn_conv_small_columns_s16(p, x, (oy * p->pool_h + i) * p->stride_h - p->pad_h, ox * p->stride_w - p->pad_w,
                                           ws);
                genn_conv_small_pixels_s16(p, ws, w, bias, direct ? to : pair);
                if (direct)
                    to += 2 * p->out_c;
                for (int32_t k = 0; !direct && k < 2 && ox + k < width; k++) {
                    for (int32_t o = 0; o < p->out_c; o++) {
                        const int16_t v = pair[k * p->out_c + o];
                        if (i + column == 0 || v > to[o])
                            to[o] = v;
                        GENN_NO_LIBCALL;
                    }
                    if (++column == p->pool_w) {
                        column = 0;
                        to += p->out_c;
                    }
                }
            }
        }
}

#endif
