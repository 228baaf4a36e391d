/* Linear (fully connected): y[r][o] = clamp(b[o] + sum over k of w[o][k] * x[r][k]), dense. */
#ifndef GENN_LINEAR_H
#define GENN_LINEAR_H

#include "genn_dot.h"

struct genn_linear_f32 {
    int32_t rows, in, out, clamp;
    float lo, hi;
};

/* split: length of the groups of K whose partial sums are shifted right by `pre` before they are added (0: none).
 * The rounding constant of the last shift is part of the bias. */
struct genn_linear_s16 {
    int32_t rows, in, out, split, pre, shift, lo, hi;
};

struct genn_linear_s8 {
    int32_t rows, in, out, shift, offset, lo, hi;
};

/* Dense float weights: blocks of 8 outputs interleaved, the last block as wide as what is left. */
GENN_INLINE const float *genn_linear_block_f32(const struct genn_linear_f32 *p, const float *GENN_RESTRICT x,
                                               const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias,
                                               float *GENN_RESTRICT y, int32_t width)
{
    float acc[8];

    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        acc[t] = bias[t];
    w = genn_dot_f32(x, w, p->in, width, acc);
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        y[t] = genn_clamp_f32(acc[t], p->clamp, p->lo, p->hi);
    return w;
}

GENN_INLINE void genn_linear_f32(const struct genn_linear_f32 *p, const float *GENN_RESTRICT x,
                                 const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, float *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++) {
        const float *wp = w;
        int32_t o = 0;
#if defined(GENN_VECTOR_F32)
        for (; o + 32 <= p->out; o += 32, wp += 32 * p->in) {
            genn_dot32_f32(x, wp, p->in, bias + o, y + o);
            for (int32_t t = o; t < o + 32; t++)
                y[t] = genn_clamp_f32(y[t], p->clamp, p->lo, p->hi);
        }
#endif
        for (; o + 8 <= p->out; o += 8)
            wp = genn_linear_block_f32(p, x, wp, bias + o, y + o, 8);
        if (p->out % 8)
            (void)genn_linear_block_f32(p, x, wp, bias + o, y + o, p->out % 8);
        x += p->in;
        y += p->out;
    }
}

GENN_INLINE int32_t genn_linear_split_s16(const struct genn_linear_s16 *p, const int16_t *x, const int16_t *w,
                                          int32_t bias)
{
    int32_t total = bias;

    for (int32_t k = 0; k < p->in; k += p->split) {
        const int32_t n = p->in - k < p->split ? p->in - k : p->split;
        total += (genn_dot_s16(x + k, w + k, n, 0) + ((1 << p->pre) >> 1)) >> p->pre;
    }
    return total;
}

GENN_INLINE void genn_linear_s16(const struct genn_linear_s16 *p, const int16_t *GENN_RESTRICT x,
                                 const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                 int16_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++) {
        int32_t o = 0;
        if (p->split == 0) {
            for (; o + 4 <= p->out; o += 4) {
                int32_t acc[4] = {bias[o], bias[o + 1], bias[o + 2], bias[o + 3]};
                genn_dot4_s16(x, w + o * p->in, p->in, p->in, acc);
                for (int32_t t = 0; t < 4; t++)
                    y[o + t] = (int16_t)genn_clamp_s32(acc[t] >> p->shift, p->lo, p->hi);
            }
        }
        for (; o < p->out; o++) {
            const int16_t *row = w + o * p->in;
            const int32_t acc =
                p->split ? genn_linear_split_s16(p, x, row, bias[o]) : genn_dot_s16(x, row, p->in, bias[o]);
            y[o] = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
        }
        x += p->in;
        y += p->out;
    }
}

GENN_INLINE void genn_linear_s8(const struct genn_linear_s8 *p, const int8_t *GENN_RESTRICT x,
                                const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++) {
        int32_t o = 0;
        for (; o + 4 <= p->out; o += 4) {
            int32_t acc[4] = {bias[o], bias[o + 1], bias[o + 2], bias[o + 3]};
            genn_dot4_s8(x, w + o * p->in, p->in, p->in, acc);
            for (int32_t t = 0; t < 4; t++)
                y[o + t] = (int8_t)genn_requantize(acc[t], mult[o + t], p->shift, p->offset, p->lo, p->hi);
        }
        for (; o < p->out; o++) {
            const int32_t acc = genn_dot_s8(x, w + o * p->in, p->in, bias[o]);
            y[o] = (int8_t)genn_requantize(acc, mult[o], p->shift, p->offset, p->lo, p->hi);
        }
        x += p->in;
        y += p->out;
    }
}

#endif
