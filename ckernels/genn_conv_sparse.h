/* Convolution with stored-sparse weights: rows of (delta, value) over the taps of one group, for every scheme.
 *
 * The taps of one pixel are gathered (a pointwise layer reads them in place), then every row of weights walks them.
 */
#ifndef GENN_CONV_SPARSE_H
#define GENN_CONV_SPARSE_H

#include "genn_conv.h"

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
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->out_c)
                for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
                    const int32_t iy0 = (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h;
                    const int32_t ix0 = (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w;
                    const float *wp = w;
                    const uint8_t *dp = delta;
                    for (int32_t o = 0, g = 0; g < p->groups; g++) {
                        const float *taps = genn_conv_gather_f32(p, x + g * ci, iy0, ix0, patch);
                        for (int32_t t = 0; t < co; t++, o++) {
                            const float sum = genn_sparse_f32(taps, wp, dp, count[o], bias[o]);
                            const float v = genn_clamp_f32(sum, p->clamp, p->lo, p->hi);
                            if (i == 0 || v > y[o]) /* of a pool's window the largest */
                                y[o] = v;
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
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->out_c)
                for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
                    const int32_t iy0 = (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h;
                    const int32_t ix0 = (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w;
                    const int16_t *wp = w;
                    const uint8_t *dp = delta;
                    for (int32_t o = 0, g = 0; g < p->groups; g++) {
                        const int16_t *taps = genn_conv_gather_s16(p, x + g * ci, iy0, ix0, patch);
                        for (int32_t t = 0; t < co; t++, o++) {
                            const int32_t acc = genn_sparse_s16(taps, wp, dp, count[o], bias[o]);
                            const int16_t v = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
                            if (i == 0 || v > y[o]) /* of a pool's window the largest */
                                y[o] = v;
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
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->out_c)
                for (int32_t i = 0; i < p->pool_h * p->pool_w; i++) {
                    const int32_t iy0 = (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h;
                    const int32_t ix0 = (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w;
                    const int8_t *wp = w;
                    const uint8_t *dp = delta;
                    for (int32_t o = 0, g = 0; g < p->groups; g++) {
                        const int8_t *taps = genn_conv_gather_s8(p, x + g * ci, iy0, ix0, patch);
                        for (int32_t t = 0; t < co; t++, o++) {
                            const int32_t acc = genn_sparse_s8(taps, wp, dp, count[o], bias[o]);
                            const int8_t v = (int8_t)genn_requantize(acc, mult[o], p->shift, p->offset, p->lo, p->hi);
                            if (i == 0 || v > y[o]) /* of a pool's window the largest */
                                y[o] = v;
                            wp += count[o];
                            dp += count[o];
                        }
                    }
                }
}

#endif
