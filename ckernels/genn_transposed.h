/* Transposed convolution in NHWC (genn/ops/transposed.py): every output pixel gathers the inputs that reach it.
 *
 * Weights are OHWI; float32 interleaves blocks of 8 outputs, as in genn_conv.h.  rows and cols hold, for each output row
 * and column, {first tap, number of taps, input under the first}; from one tap to the next it is `step` taps on and
 * `back` inputs back.  The tables leave out what lies outside the input, so nothing is checked here.
 */
#ifndef GENN_TRANSPOSED_H
#define GENN_TRANSPOSED_H

#include "genn_dot.h"

struct genn_transposed_f32 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, groups, step_h, step_w, back_h, back_w, clamp;
    float lo, hi;
};

struct genn_transposed_s16 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, groups, step_h, step_w, back_h, back_w, shift, lo, hi;
};

struct genn_transposed_s8 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, groups, step_h, step_w, back_h, back_w, zero_point,
        shift, offset, lo, hi;
};

/* One pixel, one block of `width` outputs; x is the group's first channel of the sample, w the block's weights. */
GENN_INLINE void genn_transposed_block_f32(const struct genn_transposed_f32 *p, const float *x, const float *w,
                                           const float *bias, const uint16_t *row, const uint16_t *col, float *y,
                                           int32_t width)
{
    const int32_t ci = p->in_c / p->groups;
    float acc[8];

    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        acc[t] = bias[t];
    for (int32_t i = 0; i < row[1]; i++)
        for (int32_t j = 0; j < col[1]; j++) {
            const int32_t tap = (row[0] + i * p->step_h) * p->k_w + col[0] + j * p->step_w;
            const int32_t at = (row[2] - i * p->back_h) * p->in_w + col[2] - j * p->back_w;
            (void)genn_dot_f32(x + at * p->in_c, w + tap * ci * width, ci, width, acc);
        }
    GENN_UNROLL
    for (int32_t t = 0; t < width; t++)
        y[t] = genn_clamp_f32(acc[t], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_transposed_f32(const struct genn_transposed_f32 *p, const float *GENN_RESTRICT x,
                                     const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias,
                                     const uint16_t *GENN_RESTRICT rows, const uint16_t *GENN_RESTRICT cols,
                                     float *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const uint16_t *row = rows + 3 * oy, *col = cols + 3 * ox;
                    const float *xg = x + g * ci, *wg = w + g * co * taps, *bg = bias + g * co;
                    int32_t o = 0;
                    for (; o + 8 <= co; o += 8)
                        genn_transposed_block_f32(p, xg, wg + o * taps, bg + o, row, col, y + o, 8);
                    if (co % 8)
                        genn_transposed_block_f32(p, xg, wg + o * taps, bg + o, row, col, y + o, co % 8);
                }
}

/* `rows` (1 or 4) outputs whose weights lie `taps` apart; zero_point is taken off every input: a quarter of a cycle a
 * product where four rows share it. */
#define GENN_TRANSPOSED_TAPS(SUFFIX, TYPE)                                                                             \
    GENN_INLINE void genn_transposed_dot_##SUFFIX(const TYPE *x, const TYPE *w, int32_t taps, int32_t n,               \
                                                  int32_t zero_point, int32_t rows, int32_t *acc)                      \
    {                                                                                                                  \
        int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];                                                    \
        for (int32_t k = 0; k < n; k++, w++) {                                                                         \
            const int32_t v = x[k] - zero_point;                                                                       \
            a0 += w[0] * v;                                                                                            \
            if (rows == 4) {                                                                                           \
                a1 += w[taps] * v;                                                                                     \
                a2 += w[2 * taps] * v;                                                                                 \
                a3 += w[3 * taps] * v;                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
        acc[0] = a0;                                                                                                   \
        acc[1] = a1;                                                                                                   \
        acc[2] = a2;                                                                                                   \
        acc[3] = a3;                                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    /* One pixel: sums of all taps that reach it, on top of the bias. */                                               \
    GENN_INLINE void genn_transposed_taps_##SUFFIX(const struct genn_transposed_##SUFFIX *p, const TYPE *x,            \
                                                   const TYPE *w, int32_t taps, int32_t zero_point,                    \
                                                   const int32_t *bias, const uint16_t *row, const uint16_t *col,      \
                                                   int32_t rows, int32_t *acc)                                         \
    {                                                                                                                  \
        const int32_t ci = p->in_c / p->groups;                                                                        \
        for (int32_t t = 0; t < 4; t++)                                                                                \
            acc[t] = t < rows ? bias[t] : 0;                                                                           \
        for (int32_t i = 0; i < row[1]; i++)                                                                           \
            for (int32_t j = 0; j < col[1]; j++) {                                                                     \
                const int32_t tap = (row[0] + i * p->step_h) * p->k_w + col[0] + j * p->step_w;                        \
                const int32_t at = (row[2] - i * p->back_h) * p->in_w + col[2] - j * p->back_w;                        \
                genn_transposed_dot_##SUFFIX(x + at * p->in_c, w + tap * ci, taps, ci, zero_point, rows, acc);         \
            }                                                                                                          \
    }

GENN_TRANSPOSED_TAPS(s16, int16_t)
GENN_TRANSPOSED_TAPS(s8, int8_t)

GENN_INLINE void genn_transposed_s16(const struct genn_transposed_s16 *p, const int16_t *GENN_RESTRICT x,
                                     const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                     const uint16_t *GENN_RESTRICT rows, const uint16_t *GENN_RESTRICT cols,
                                     int16_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const uint16_t *row = rows + 3 * oy, *col = cols + 3 * ox;
                    const int16_t *xg = x + g * ci, *wg = w + g * co * taps;
                    int32_t acc[4], o = 0;
                    for (; o + 4 <= co; o += 4) {
                        genn_transposed_taps_s16(p, xg, wg + o * taps, taps, 0, bias + g * co + o, row, col, 4, acc);
                        for (int32_t t = 0; t < 4; t++)
                            y[o + t] = (int16_t)genn_clamp_s32(acc[t] >> p->shift, p->lo, p->hi);
                    }
                    for (; o < co; o++) {
                        genn_transposed_taps_s16(p, xg, wg + o * taps, taps, 0, bias + g * co + o, row, col, 1, acc);
                        y[o] = (int16_t)genn_clamp_s32(acc[0] >> p->shift, p->lo, p->hi);
                    }
                }
}

GENN_INLINE void genn_transposed_s8(const struct genn_transposed_s8 *p, const int8_t *GENN_RESTRICT x,
                                    const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                    const int16_t *GENN_RESTRICT mult, const uint16_t *GENN_RESTRICT rows,
                                    const uint16_t *GENN_RESTRICT cols, int8_t *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++, y += co) {
                    const uint16_t *row = rows + 3 * oy, *col = cols + 3 * ox;
                    const int8_t *xg = x + g * ci, *wg = w + g * co * taps;
                    const int32_t *bg = bias + g * co, zero = p->zero_point;
                    const int16_t *mg = mult + g * co;
                    int32_t acc[4], o = 0;
                    for (; o + 4 <= co; o += 4) {
                        genn_transposed_taps_s8(p, xg, wg + o * taps, taps, zero, bg + o, row, col, 4, acc);
                        for (int32_t t = 0; t < 4; t++)
                            y[o + t] = (int8_t)genn_requantize(acc[t], mg[o + t], p->shift, p->offset, p->lo, p->hi);
                    }
                    for (; o < co; o++) {
                        genn_transposed_taps_s8(p, xg, wg + o * taps, taps, zero, bg + o, row, col, 1, acc);
                        y[o] = (int8_t)genn_requantize(acc[0], mg[o], p->shift, p->offset, p->lo, p->hi);
                    }
                }
}

#endif
