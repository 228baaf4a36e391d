/* Convolution in NHWC: grouped and depthwise, for float32, int16 and int8.  Conv1d is one row high.
 *
 * Weights are OHWI.  float32 interleaves blocks of 8 outputs (the last block of a group as wide as what is left), depthwise
 * stores [kh][kw][C] in every scheme.
 * `padded` is 0 when no tap can fall outside the input, and the compiler drops every check.
 *
 * A maximum pool may be fused (pool_h x pool_w, stride the same; 1 x 1 is none): out_h and out_w are what is left after it.
 * Requantization and clamp are monotone, so the largest accumulator of a window gives the largest output, once.
 */
#ifndef GENN_CONV_H
#define GENN_CONV_H

#include "genn_dot.h"

#define GENN_CONV_SHAPE                                                                                                \
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups, \
        pool_h, pool_w, padded

struct genn_conv_f32 {
    GENN_CONV_SHAPE;
    int32_t clamp;
    float lo, hi;
};

struct genn_conv_s16 {
    GENN_CONV_SHAPE;
    int32_t split, pre, shift, lo, hi;
};

struct genn_conv_s8 {
    GENN_CONV_SHAPE;
    int32_t zero_point, shift, offset, lo, hi;
};

/* ---- float32 ---------------------------------------------------------------------------------------------------- */

/* One pixel, one block of `width` outputs; x is the group's first channel of the sample, w the block's weights. */
GENN_INLINE void genn_conv_block_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x,
                                     const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, int32_t iy0, int32_t ix0,
                                     float *GENN_RESTRICT acc, int32_t width)
{
    const int32_t ci = p->in_c / p->groups;

    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        acc[t] = bias[t];
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        const float *row = x + iy * p->in_w * p->in_c;
        const float *wr = w + ky * p->k_w * ci * width;

        if (p->padded && (iy < 0 || iy >= p->in_h))
            continue;
        if (p->groups == 1 && p->dil_w == 1 && (!p->padded || (ix0 >= 0 && ix0 + p->k_w <= p->in_w))) {
            (void)genn_dot_f32(row + ix0 * p->in_c, wr, p->k_w * ci, width, acc);
            continue;
        }
        for (int32_t kx = 0; kx < p->k_w; kx++) {
            const int32_t ix = ix0 + kx * p->dil_w;
            if (!p->padded || (ix >= 0 && ix < p->in_w))
                (void)genn_dot_f32(row + ix * p->in_c, wr + kx * ci * width, ci, width, acc);
        }
    }
}

/* The same for every pixel of a pool's window: the largest sums, clamped. */
GENN_INLINE void genn_conv_pool_f32(const struct genn_conv_f32 *p, const float *x, const float *w, const float *bias,
                                    int32_t iy0, int32_t ix0, float *y, int32_t width)
{
    float best[8], acc[8];

    genn_conv_block_f32(p, x, w, bias, iy0, ix0, best, width);
    for (int32_t i = 1; i < p->pool_h * p->pool_w; i++) {
        genn_conv_block_f32(p, x, w, bias, iy0 + i / p->pool_w * p->stride_h, ix0 + i % p->pool_w * p->stride_w, acc, width);
        GENN_UNROLL
        for (int32_t t = 0; t < width; t++)
            best[t] = acc[t] > best[t] ? acc[t] : best[t];
    }
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        y[t] = genn_clamp_f32(best[t], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_conv_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x, const float *GENN_RESTRICT w,
                               const float *GENN_RESTRICT bias, float *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const int32_t iy0 = oy * p->pool_h * p->stride_h - p->pad_h;
                    const int32_t ix0 = ox * p->pool_w * p->stride_w - p->pad_w;
                    const float *xg = x + g * ci, *wg = w + g * co * taps, *bg = bias + g * co;
                    int32_t o = 0;
                    for (; o + 8 <= co; o += 8)
                        genn_conv_pool_f32(p, xg, wg + o * taps, bg + o, iy0, ix0, y + o, 8);
                    if (co % 8)
                        genn_conv_pool_f32(p, xg, wg + o * taps, bg + o, iy0, ix0, y + o, co % 8);
                }
}

#if defined(GENN_SOFT_BY_HAND)
#define GENN_SOFT_TAPS 16
/* One channel under one pixel on ARMv6-M: its inputs, brought together, are an inner product with its weights.  Outside
 * there are zeros, whose products leave a sum as it is. */
GENN_INLINE float genn_depthwise_soft(const struct genn_conv_f32 *p, const float *x, const float *w, int32_t iy0, int32_t ix0,
                                      float acc)
{
    float taps[GENN_SOFT_TAPS];
    int32_t n = 0;

    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        const int in_row = !p->padded || (uint32_t)iy < (uint32_t)p->in_h;
        int32_t ix = ix0, at = (iy * p->in_w + ix0) * p->in_c;
        for (int32_t kx = 0; kx < p->k_w; kx++, ix += p->dil_w, at += p->dil_w * p->in_c) {
            if (n == GENN_SOFT_TAPS) {
                acc = genn_soft_dot(taps, w, n, p->in_c, acc);
                w += n * p->in_c;
                n = 0;
            }
            taps[n++] = in_row && (!p->padded || (uint32_t)ix < (uint32_t)p->in_w) ? x[at] : 0.0f;
        }
    }
    return genn_soft_dot(taps, w, n, p->in_c, acc);
}
#endif

GENN_INLINE void genn_depthwise_block_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x,
                                          const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, int32_t iy0,
                                          int32_t ix0, float *GENN_RESTRICT acc, int32_t width)
{
#if defined(GENN_SOFT_BY_HAND)
    for (int32_t t = 0; t < width; t++)
        acc[t] = genn_depthwise_soft(p, x + t, w + t, iy0, ix0, bias[t]);
#else
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        acc[t] = bias[t];
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        if (p->padded && (iy < 0 || iy >= p->in_h))
            continue;
        for (int32_t kx = 0; kx < p->k_w; kx++) {
            const int32_t ix = ix0 + kx * p->dil_w;
            const float *wt = w + (ky * p->k_w + kx) * p->in_c;
            const float *xt = x + (iy * p->in_w + ix) * p->in_c;
            if (p->padded && (ix < 0 || ix >= p->in_w))
                continue;
            GENN_UNROLL
            for (int32_t t = 0; t < width; t++)
                acc[t] = acc[t] + wt[t] * xt[t];
        }
    }
#endif
}

GENN_INLINE void genn_depthwise_pool_f32(const struct genn_conv_f32 *p, const float *x, const float *w, const float *bias,
                                         int32_t iy0, int32_t ix0, float *y, int32_t width)
{
    float best[8], acc[8];

    genn_depthwise_block_f32(p, x, w, bias, iy0, ix0, best, width);
    for (int32_t i = 1; i < p->pool_h * p->pool_w; i++) {
        genn_depthwise_block_f32(p, x, w, bias, iy0 + i / p->pool_w * p->stride_h, ix0 + i % p->pool_w * p->stride_w, acc,
                                 width);
        GENN_UNROLL
        for (int32_t t = 0; t < width; t++)
            best[t] = acc[t] > best[t] ? acc[t] : best[t];
    }
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        y[t] = genn_clamp_f32(best[t], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_depthwise_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x,
                                    const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, float *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c) {
                const int32_t iy0 = oy * p->pool_h * p->stride_h - p->pad_h;
                const int32_t ix0 = ox * p->pool_w * p->stride_w - p->pad_w;
                int32_t c = 0;
                for (; c + 8 <= p->in_c; c += 8)
                    genn_depthwise_pool_f32(p, x + c, w + c, bias + c, iy0, ix0, y + c, 8);
                if (p->in_c % 8)
                    genn_depthwise_pool_f32(p, x + c, w + c, bias + c, iy0, ix0, y + c, p->in_c % 8);
            }
}

/* The larger accumulators of a pool's window so far and of one more pixel. */
GENN_INLINE void genn_conv_best(int32_t *best, const int32_t *acc, int32_t rows)
{
    for (int32_t t = 0; t < rows; t++)
        best[t] = acc[t] > best[t] ? acc[t] : best[t];
}

/* ---- int16: padding is zero, so taps outside the input are left out ---------------------------------------------- */

/* One pixel, `rows` (1 or 4) outputs whose weight rows lie `taps` apart. */
GENN_INLINE void genn_conv_taps_s16(const struct genn_conv_s16 *p, const int16_t *x, const int16_t *w, int32_t taps,
                                    int32_t iy0, int32_t ix0, int32_t rows, int32_t *acc)
{
    const int32_t ci = p->in_c / p->groups;
    const int run = p->groups == 1 && p->dil_w == 1 && (!p->padded || (ix0 >= 0 && ix0 + p->k_w <= p->in_w));

    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        const int32_t n = run ? p->k_w * ci : ci;

        if (p->padded && (iy < 0 || iy >= p->in_h))
            continue;
        for (int32_t kx = 0; kx < (run ? 1 : p->k_w); kx++) {
            const int32_t ix = ix0 + kx * p->dil_w;
            const int16_t *xt = x + (iy * p->in_w + ix) * p->in_c, *wt = w + (ky * p->k_w + kx) * ci;
            if (!run && p->padded && (ix < 0 || ix >= p->in_w))
                continue;
            if (rows == 4)
                genn_dot4_s16(xt, wt, taps, n, acc);
            else
                acc[0] = genn_dot_s16(xt, wt, n, acc[0]);
        }
    }
}

/* One output whose sum is cut into groups of `split` taps, each shifted right by `pre` before it is added. */
GENN_INLINE int32_t genn_conv_split_s16(const struct genn_conv_s16 *p, const int16_t *x, const int16_t *w, int32_t iy0,
                                        int32_t ix0, int32_t total)
{
    const int32_t ci = p->in_c / p->groups, half = (1 << p->pre) >> 1;
    int32_t acc = 0, left = p->split;

    for (int32_t ky = 0; ky < p->k_h; ky++)
        for (int32_t kx = 0; kx < p->k_w; kx++)
            for (int32_t c = 0; c < ci; c++, w++) {
                const int32_t iy = iy0 + ky * p->dil_h, ix = ix0 + kx * p->dil_w;
                if (!p->padded || (iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w))
                    acc += (int32_t)*w * x[(iy * p->in_w + ix) * p->in_c + c];
                if (--left == 0) {
                    total += (acc + half) >> p->pre;
                    acc = 0;
                    left = p->split;
                }
            }
    return left == p->split ? total : total + ((acc + half) >> p->pre);
}

/* One pixel of the output: for `rows` (1 or 4) outputs, the largest sums of the pool's window that starts at iy0, ix0. */
GENN_INLINE void genn_conv_window_s16(const struct genn_conv_s16 *p, const int16_t *x, const int16_t *w, int32_t taps,
                                     const int32_t *bias, int32_t iy0, int32_t ix0, int32_t rows, int32_t *best)
{
    for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
        const int32_t iy = iy0 + i / p->pool_w * p->stride_h, ix = ix0 + i % p->pool_w * p->stride_w;
        int32_t acc[4], *sums = i == 0 ? best : acc;

        for (int32_t t = 0; t < rows; t++)
            sums[t] = bias[t];
        if (p->split)
            sums[0] = genn_conv_split_s16(p, x, w, iy, ix, sums[0]);
        else
            genn_conv_taps_s16(p, x, w, taps, iy, ix, rows, sums);
        if (i > 0)
            genn_conv_best(best, acc, rows);
    }
}

GENN_INLINE void genn_conv_s16(const struct genn_conv_s16 *p, const int16_t *GENN_RESTRICT x,
                               const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias, int16_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const int32_t iy0 = oy * p->pool_h * p->stride_h - p->pad_h;
                    const int32_t ix0 = ox * p->pool_w * p->stride_w - p->pad_w;
                    const int16_t *xg = x + g * ci, *wg = w + g * co * taps;
                    const int32_t *bg = bias + g * co;
                    int32_t o = 0, best[4];
                    for (; p->split == 0 && o + 4 <= co; o += 4) {
                        genn_conv_window_s16(p, xg, wg + o * taps, taps, bg + o, iy0, ix0, 4, best);
                        for (int32_t t = 0; t < 4; t++)
                            y[o + t] = (int16_t)genn_clamp_s32(best[t] >> p->shift, p->lo, p->hi);
                    }
                    for (; o < co; o++) {
                        genn_conv_window_s16(p, xg, wg + o * taps, taps, bg + o, iy0, ix0, 1, best);
                        y[o] = (int16_t)genn_clamp_s32(best[0] >> p->shift, p->lo, p->hi);
                    }
                }
}

/* One channel under one pixel of the window. */
GENN_INLINE int32_t genn_depthwise_taps_s16(const struct genn_conv_s16 *p, const int16_t *x, const int16_t *w, int32_t iy0,
                                            int32_t ix0, int32_t acc)
{
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        if (p->padded && (iy < 0 || iy >= p->in_h))
            continue;
        for (int32_t kx = 0; kx < p->k_w; kx++) {
            const int32_t ix = ix0 + kx * p->dil_w;
            if (!p->padded || (ix >= 0 && ix < p->in_w))
                acc += (int32_t)w[(ky * p->k_w + kx) * p->in_c] * x[(iy * p->in_w + ix) * p->in_c];
        }
    }
    return acc;
}

GENN_INLINE void genn_depthwise_s16(const struct genn_conv_s16 *p, const int16_t *GENN_RESTRICT x,
                                    const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                    int16_t *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c)
                for (int32_t c = 0; c < p->in_c; c++) {
                    int32_t best = -2147483647;
                    for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
                        const int32_t iy0 = (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h;
                        const int32_t ix0 = (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w;
                        const int32_t acc = genn_depthwise_taps_s16(p, x + c, w + c, iy0, ix0, bias[c]);
                        genn_conv_best(&best, &acc, 1);
                    }
                    y[c] = (int16_t)genn_clamp_s32(best >> p->shift, p->lo, p->hi);
                }
}

/* ---- int8: padding is the zero point, which the bias already holds for every tap ---------------------------------- */

/* Taps outside the input: their x is the zero point. */
GENN_INLINE void genn_conv_outside_s8(const int8_t *w, int32_t taps, int32_t n, int32_t zero_point, int32_t rows, int32_t *acc)
{
    if (zero_point == 0)
        return;
    for (int32_t t = 0; t < rows; t++, w += taps) {
        int32_t sum = 0;
        for (int32_t k = 0; k < n; k++)
            sum += w[k];
        acc[t] += sum * zero_point;
    }
}

/* One pixel, `rows` (1 or 4) outputs whose weight rows lie `taps` apart. */
GENN_INLINE void genn_conv_taps_s8(const struct genn_conv_s8 *p, const int8_t *x, const int8_t *w, int32_t taps, int32_t iy0,
                                   int32_t ix0, int32_t rows, int32_t *acc)
{
    const int32_t ci = p->in_c / p->groups;
    const int run = p->groups == 1 && p->dil_w == 1 && (!p->padded || (ix0 >= 0 && ix0 + p->k_w <= p->in_w));

    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        const int32_t n = run ? p->k_w * ci : ci;

        if (p->padded && (iy < 0 || iy >= p->in_h)) {
            genn_conv_outside_s8(w + ky * p->k_w * ci, taps, p->k_w * ci, p->zero_point, rows, acc);
            continue;
        }
        for (int32_t kx = 0; kx < (run ? 1 : p->k_w); kx++) {
            const int32_t ix = ix0 + kx * p->dil_w;
            const int8_t *xt = x + (iy * p->in_w + ix) * p->in_c, *wt = w + (ky * p->k_w + kx) * ci;
            if (!run && p->padded && (ix < 0 || ix >= p->in_w))
                genn_conv_outside_s8(wt, taps, ci, p->zero_point, rows, acc);
            else if (rows == 4)
                genn_dot4_s8(xt, wt, taps, n, acc);
            else
                acc[0] = genn_dot_s8(xt, wt, n, acc[0]);
        }
    }
}

/* One pixel of the output: for `rows` (1 or 4) outputs, the largest sums of the pool's window that starts at iy0, ix0. */
GENN_INLINE void genn_conv_window_s8(const struct genn_conv_s8 *p, const int8_t *x, const int8_t *w, int32_t taps,
                                     const int32_t *bias, int32_t iy0, int32_t ix0, int32_t rows, int32_t *best)
{
    for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
        const int32_t iy = iy0 + i / p->pool_w * p->stride_h, ix = ix0 + i % p->pool_w * p->stride_w;
        int32_t acc[4], *sums = i == 0 ? best : acc;

        for (int32_t t = 0; t < rows; t++)
            sums[t] = bias[t];
        genn_conv_taps_s8(p, x, w, taps, iy, ix, rows, sums);
        if (i > 0)
            genn_conv_best(best, acc, rows);
    }
}

GENN_INLINE void genn_conv_s8(const struct genn_conv_s8 *p, const int8_t *GENN_RESTRICT x, const int8_t *GENN_RESTRICT w,
                              const int32_t *GENN_RESTRICT bias, const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const int32_t iy0 = oy * p->pool_h * p->stride_h - p->pad_h;
                    const int32_t ix0 = ox * p->pool_w * p->stride_w - p->pad_w;
                    const int8_t *xg = x + g * ci, *wg = w + g * co * taps;
                    const int32_t *bg = bias + g * co;
                    const int16_t *mg = mult + g * co;
                    int32_t o = 0, best[4];
                    for (; o + 4 <= co; o += 4) {
                        genn_conv_window_s8(p, xg, wg + o * taps, taps, bg + o, iy0, ix0, 4, best);
                        for (int32_t t = 0; t < 4; t++)
                            y[o + t] = (int8_t)genn_requantize(best[t], mg[o + t], p->shift, p->offset, p->lo, p->hi);
                    }
                    for (; o < co; o++) {
                        genn_conv_window_s8(p, xg, wg + o * taps, taps, bg + o, iy0, ix0, 1, best);
                        y[o] = (int8_t)genn_requantize(best[0], mg[o], p->shift, p->offset, p->lo, p->hi);
                    }
                }
}

/* One channel under one pixel of the window. */
GENN_INLINE int32_t genn_depthwise_taps_s8(const struct genn_conv_s8 *p, const int8_t *x, const int8_t *w, int32_t iy0,
                                           int32_t ix0, int32_t acc)
{
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int32_t iy = iy0 + ky * p->dil_h;
        const int outside = p->padded && (iy < 0 || iy >= p->in_h);
        for (int32_t kx = 0; kx < p->k_w; kx++) {
            const int32_t ix = ix0 + kx * p->dil_w;
            const int32_t v = w[(ky * p->k_w + kx) * p->in_c];
            if (outside || (p->padded && (ix < 0 || ix >= p->in_w)))
                acc += v * p->zero_point;
            else
                acc += v * x[(iy * p->in_w + ix) * p->in_c];
        }
    }
    return acc;
}

GENN_INLINE void genn_depthwise_s8(const struct genn_conv_s8 *p, const int8_t *GENN_RESTRICT x,
                                   const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                   const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c)
                for (int32_t c = 0; c < p->in_c; c++) {
                    int32_t best = -2147483647;
                    for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
                        const int32_t iy0 = (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h;
                        const int32_t ix0 = (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w;
                        const int32_t acc = genn_depthwise_taps_s8(p, x + c, w + c, iy0, ix0, bias[c]);
                        genn_conv_best(&best, &acc, 1);
                    }
                    y[c] = (int8_t)genn_requantize(best, mult[c], p->shift, p->offset, p->lo, p->hi);
                }
}

#endif
