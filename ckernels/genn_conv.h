/* Convolution in NHWC: grouped, depthwise and stored-sparse, for float32, int16 and int8.  Conv1d is one row high.
 *
 * Weights are OHWI.  float32 interleaves blocks of 8 outputs (the last block of a group as wide as what is left), depthwise
 * stores [kh][kw][C] in every scheme, sparse stores rows of (delta, value) over the taps of one group.
 * `padded` is 0 when no tap can fall outside the input, and the compiler drops every check.
 */
#ifndef GENN_CONV_H
#define GENN_CONV_H

#include "genn_dot.h"

#define GENN_CONV_SHAPE                                                                                                \
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups, \
        padded

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
                                     float *GENN_RESTRICT y, int32_t width)
{
    const int32_t ci = p->in_c / p->groups;
    float acc[8];

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
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        y[t] = genn_clamp_f32(acc[t], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_conv_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x, const float *GENN_RESTRICT w,
                               const float *GENN_RESTRICT bias, float *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const int32_t iy0 = oy * p->stride_h - p->pad_h, ix0 = ox * p->stride_w - p->pad_w;
                    const float *xg = x + g * ci, *wg = w + g * co * taps, *bg = bias + g * co;
                    int32_t o = 0;
                    for (; o + 8 <= co; o += 8)
                        genn_conv_block_f32(p, xg, wg + o * taps, bg + o, iy0, ix0, y + o, 8);
                    if (co % 8)
                        genn_conv_block_f32(p, xg, wg + o * taps, bg + o, iy0, ix0, y + o, co % 8);
                }
}

GENN_INLINE void genn_depthwise_block_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x,
                                          const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, int32_t iy0,
                                          int32_t ix0, float *GENN_RESTRICT y, int32_t width)
{
    float acc[8];

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
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        y[t] = genn_clamp_f32(acc[t], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_depthwise_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x,
                                    const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, float *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c) {
                const int32_t iy0 = oy * p->stride_h - p->pad_h, ix0 = ox * p->stride_w - p->pad_w;
                int32_t c = 0;
                for (; c + 8 <= p->in_c; c += 8)
                    genn_depthwise_block_f32(p, x + c, w + c, bias + c, iy0, ix0, y + c, 8);
                if (p->in_c % 8)
                    genn_depthwise_block_f32(p, x + c, w + c, bias + c, iy0, ix0, y + c, p->in_c % 8);
            }
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

GENN_INLINE void genn_conv_s16(const struct genn_conv_s16 *p, const int16_t *GENN_RESTRICT x,
                               const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias, int16_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const int32_t iy0 = oy * p->stride_h - p->pad_h, ix0 = ox * p->stride_w - p->pad_w;
                    const int16_t *xg = x + g * ci, *wg = w + g * co * taps;
                    const int32_t *bg = bias + g * co;
                    int32_t o = 0;
                    for (; p->split == 0 && o + 4 <= co; o += 4) {
                        int32_t acc[4] = {bg[o], bg[o + 1], bg[o + 2], bg[o + 3]};
                        genn_conv_taps_s16(p, xg, wg + o * taps, taps, iy0, ix0, 4, acc);
                        for (int32_t t = 0; t < 4; t++)
                            y[o + t] = (int16_t)genn_clamp_s32(acc[t] >> p->shift, p->lo, p->hi);
                    }
                    for (; o < co; o++) {
                        int32_t acc = bg[o];
                        if (p->split)
                            acc = genn_conv_split_s16(p, xg, wg + o * taps, iy0, ix0, acc);
                        else
                            genn_conv_taps_s16(p, xg, wg + o * taps, taps, iy0, ix0, 1, &acc);
                        y[o] = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
                    }
                }
}

GENN_INLINE void genn_depthwise_s16(const struct genn_conv_s16 *p, const int16_t *GENN_RESTRICT x,
                                    const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                    int16_t *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c)
                for (int32_t c = 0; c < p->in_c; c++) {
                    int32_t acc = bias[c];
                    for (int32_t ky = 0; ky < p->k_h; ky++) {
                        const int32_t iy = oy * p->stride_h - p->pad_h + ky * p->dil_h;
                        if (p->padded && (iy < 0 || iy >= p->in_h))
                            continue;
                        for (int32_t kx = 0; kx < p->k_w; kx++) {
                            const int32_t ix = ox * p->stride_w - p->pad_w + kx * p->dil_w;
                            if (!p->padded || (ix >= 0 && ix < p->in_w))
                                acc += (int32_t)w[(ky * p->k_w + kx) * p->in_c + c] * x[(iy * p->in_w + ix) * p->in_c + c];
                        }
                    }
                    y[c] = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
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

GENN_INLINE void genn_conv_s8(const struct genn_conv_s8 *p, const int8_t *GENN_RESTRICT x, const int8_t *GENN_RESTRICT w,
                              const int32_t *GENN_RESTRICT bias, const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const int32_t iy0 = oy * p->stride_h - p->pad_h, ix0 = ox * p->stride_w - p->pad_w;
                    const int8_t *xg = x + g * ci, *wg = w + g * co * taps;
                    const int32_t *bg = bias + g * co;
                    const int16_t *mg = mult + g * co;
                    int32_t o = 0;
                    for (; o + 4 <= co; o += 4) {
                        int32_t acc[4] = {bg[o], bg[o + 1], bg[o + 2], bg[o + 3]};
                        genn_conv_taps_s8(p, xg, wg + o * taps, taps, iy0, ix0, 4, acc);
                        for (int32_t t = 0; t < 4; t++)
                            y[o + t] = (int8_t)genn_requantize(acc[t], mg[o + t], p->shift, p->offset, p->lo, p->hi);
                    }
                    for (; o < co; o++) {
                        int32_t acc = bg[o];
                        genn_conv_taps_s8(p, xg, wg + o * taps, taps, iy0, ix0, 1, &acc);
                        y[o] = (int8_t)genn_requantize(acc, mg[o], p->shift, p->offset, p->lo, p->hi);
                    }
                }
}

GENN_INLINE void genn_depthwise_s8(const struct genn_conv_s8 *p, const int8_t *GENN_RESTRICT x,
                                   const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                   const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c)
                for (int32_t c = 0; c < p->in_c; c++) {
                    int32_t acc = bias[c];
                    for (int32_t ky = 0; ky < p->k_h; ky++) {
                        const int32_t iy = oy * p->stride_h - p->pad_h + ky * p->dil_h;
                        const int outside = p->padded && (iy < 0 || iy >= p->in_h);
                        for (int32_t kx = 0; kx < p->k_w; kx++) {
                            const int32_t ix = ox * p->stride_w - p->pad_w + kx * p->dil_w;
                            const int32_t v = w[(ky * p->k_w + kx) * p->in_c + c];
                            if (outside || (p->padded && (ix < 0 || ix >= p->in_w)))
                                acc += v * p->zero_point;
                            else
                                acc += v * x[(iy * p->in_w + ix) * p->in_c + c];
                        }
                    }
                    y[c] = (int8_t)genn_requantize(acc, mult[c], p->shift, p->offset, p->lo, p->hi);
                }
}

/* ---- stored-sparse: one pixel's taps are gathered (a pointwise layer reads them in place), then every row walks them - */

#define GENN_CONV_GATHER(name, type, params, outside)                                                                     \
    GENN_INLINE const type *name(const struct params *p, const type *x, int32_t iy0, int32_t ix0, type *patch)            \
    {                                                                                                                     \
        const int32_t ci = p->in_c / p->groups;                                                                           \
        type *to = patch;                                                                                                 \
                                                                                                                          \
        if (p->k_h == 1 && p->k_w == 1 && !p->padded)                                                                     \
            return x + (iy0 * p->in_w + ix0) * p->in_c;                                                                   \
        for (int32_t ky = 0; ky < p->k_h; ky++)                                                                           \
            for (int32_t kx = 0; kx < p->k_w; kx++) {                                                                     \
                const int32_t iy = iy0 + ky * p->dil_h, ix = ix0 + kx * p->dil_w;                                         \
                const int in = !p->padded || (iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w);                        \
                for (int32_t c = 0; c < ci; c++) {                                                                        \
                    *to++ = in ? x[(iy * p->in_w + ix) * p->in_c + c] : (type)(outside);                                  \
                    GENN_NO_LIBCALL;                                                                                      \
                }                                                                                                         \
            }                                                                                                             \
        return patch;                                                                                                     \
    }

GENN_CONV_GATHER(genn_conv_gather_f32, float, genn_conv_f32, 0)
GENN_CONV_GATHER(genn_conv_gather_s16, int16_t, genn_conv_s16, 0)
GENN_CONV_GATHER(genn_conv_gather_s8, int8_t, genn_conv_s8, p->zero_point)

GENN_INLINE void genn_conv_sparse_f32(const struct genn_conv_f32 *p, const float *GENN_RESTRICT x, const float *w,
                                      const float *bias, const uint8_t *delta, const uint16_t *count, float *patch,
                                      float *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++) {
                const float *wp = w;
                const uint8_t *dp = delta;
                for (int32_t o = 0, g = 0; g < p->groups; g++) {
                    const float *taps = genn_conv_gather_f32(p, x + g * ci, oy * p->stride_h - p->pad_h,
                                                             ox * p->stride_w - p->pad_w, patch);
                    for (int32_t t = 0; t < co; t++, o++, y++) {
                        *y = genn_clamp_f32(genn_sparse_f32(taps, wp, dp, count[o], bias[o]), p->clamp, p->lo, p->hi);
                        wp += count[o];
                        dp += count[o];
                    }
                }
            }
}

GENN_INLINE void genn_conv_sparse_s16(const struct genn_conv_s16 *p, const int16_t *GENN_RESTRICT x, const int16_t *w,
                                      const int32_t *bias, const uint8_t *delta, const uint16_t *count, int16_t *patch,
                                      int16_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++) {
                const int16_t *wp = w;
                const uint8_t *dp = delta;
                for (int32_t o = 0, g = 0; g < p->groups; g++) {
                    const int16_t *taps = genn_conv_gather_s16(p, x + g * ci, oy * p->stride_h - p->pad_h,
                                                               ox * p->stride_w - p->pad_w, patch);
                    for (int32_t t = 0; t < co; t++, o++, y++) {
                        const int32_t acc = genn_sparse_s16(taps, wp, dp, count[o], bias[o]);
                        *y = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
                        wp += count[o];
                        dp += count[o];
                    }
                }
            }
}

GENN_INLINE void genn_conv_sparse_s8(const struct genn_conv_s8 *p, const int8_t *GENN_RESTRICT x, const int8_t *w,
                                     const int32_t *bias, const int16_t *mult, const uint8_t *delta, const uint16_t *count,
                                     int8_t *patch, int8_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++) {
                const int8_t *wp = w;
                const uint8_t *dp = delta;
                for (int32_t o = 0, g = 0; g < p->groups; g++) {
                    const int8_t *taps = genn_conv_gather_s8(p, x + g * ci, oy * p->stride_h - p->pad_h,
                                                             ox * p->stride_w - p->pad_w, patch);
                    for (int32_t t = 0; t < co; t++, o++, y++) {
                        const int32_t acc = genn_sparse_s8(taps, wp, dp, count[o], bias[o]);
                        *y = (int8_t)genn_requantize(acc, mult[o], p->shift, p->offset, p->lo, p->hi);
                        wp += count[o];
                        dp += count[o];
                    }
                }
            }
}

#endif
