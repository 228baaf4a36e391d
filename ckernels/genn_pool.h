/* Pooling over NHWC windows, and mean over any axes.
 *
 * An average is the sum of the window's elements that lie inside the input, in the order of rows, columns; then one
 * division (float32) or one rescaling (integers) by the window's own divisor.  Divisors that differ from window to window
 * are looked up in tables made at conversion, so nothing is divided in integer code.
 */
#ifndef GENN_POOL_H
#define GENN_POOL_H

#include "genn_common.h"

/* clip: 1 if some window hangs over the edge. */
struct genn_max_pool2d {
    int32_t n, h, w, c, oh, ow, kh, kw, sh, sw, top, left, dh, dw, clip;
};

/* Windows that all lie inside and share one divisor. */
struct genn_avg_pool2d_f32 {
    int32_t n, h, w, c, oh, ow, kh, kw, sh, sw;
    float divisor;
};

/* pre >= 0: genn_requantize of sum << pre; pre < 0: clamp((sum * mult + offset) >> shift).
 * bias: minus taps * zero point. */
struct genn_avg_pool2d {
    int32_t n, h, w, c, oh, ow, kh, kw, sh, sw, bias, mult, pre, shift, offset, lo, hi;
};

/* Any windows: rows and cols hold {start, end, class} per output row and column; the divisor or multiplier of a window is
 * entry class(row) * classes + class(column) of a table. */
struct genn_window_pool2d_f32 {
    int32_t n, h, w, c, oh, ow, classes;
};

/* zero: minus the zero point. */
struct genn_window_pool2d {
    int32_t n, h, w, c, oh, ow, classes, zero, pre, shift, offset, lo, hi;
};

/* Three nested dimensions that stay, three that are summed, each with its step in the input. */
struct genn_mean_f32 {
    int32_t dims[3], step[3], sum_dims[3], sum_step[3];
    float divisor;
};

struct genn_mean {
    int32_t dims[3], step[3], sum_dims[3], sum_step[3], bias, mult, pre, shift, offset, lo, hi;
};

/* The taps start, start + step, .. (count of them) cut to those inside [0, size). */
GENN_INLINE void genn_clip_window(int32_t *start, int32_t *count, int32_t step, int32_t size)
{
    while (*start < 0) {
        *start += step;
        --*count;
    }
    while (*start + (*count - 1) * step >= size)
        --*count;
}

/* An average's last step (genn.ops.pool.Average). */
GENN_INLINE int32_t genn_average(int32_t sum, int32_t mult, int32_t pre, int32_t shift, int32_t offset, int32_t lo,
                                 int32_t hi)
{
    if (pre < 0)
        return genn_clamp_s32((sum * mult + offset) >> shift, lo, hi);
    return genn_requantize(sum * (1 << pre), mult, shift, offset, lo, hi);
}

/* WIDE: what a maximum is held in; 32 bits for integers, which saves extending it again and again. */
#define GENN_MAX_POOL2D(SUFFIX, TYPE, WIDE)                                                                            \
    GENN_INLINE WIDE genn_max_window_##SUFFIX(const TYPE *x, int32_t rows, int32_t cols, int32_t down, int32_t right)  \
    {                                                                                                                  \
        WIDE best = x[0];                                                                                              \
        for (int32_t i = 0; i < rows; i++)                                                                             \
            for (int32_t j = i == 0 ? 1 : 0; j < cols; j++) {                                                          \
                const WIDE v = x[i * down + j * right];                                                                \
                best = v > best ? v : best;                                                                            \
            }                                                                                                          \
        return best;                                                                                                   \
    }                                                                                                                  \
                                                                                                                       \
    GENN_INLINE void genn_max_pool2d_##SUFFIX(const struct genn_max_pool2d *p, const TYPE *GENN_RESTRICT x,            \
                                              TYPE *GENN_RESTRICT y)                                                   \
    {                                                                                                                  \
        for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)                                        \
            for (int32_t oy = 0; oy < p->oh; oy++)                                                                     \
                for (int32_t ox = 0; ox < p->ow; ox++) {                                                               \
                    int32_t top = oy * p->sh - p->top, left = ox * p->sw - p->left, rows = p->kh, cols = p->kw;        \
                    if (p->clip) {                                                                                     \
                        genn_clip_window(&top, &rows, p->dh, p->h);                                                    \
                        genn_clip_window(&left, &cols, p->dw, p->w);                                                   \
                    }                                                                                                  \
                    const TYPE *in = x + (top * p->w + left) * p->c;                                                   \
                    for (int32_t ch = 0; ch < p->c; ch++) {                                                            \
                        if (p->kh * p->kw == 1)                                                                        \
                            GENN_NO_LIBCALL;                                                                           \
                        *y++ = (TYPE)genn_max_window_##SUFFIX(in + ch, rows, cols, p->dh * p->w * p->c, p->dw * p->c); \
                    }                                                                                                  \
                }                                                                                                      \
    }

GENN_MAX_POOL2D(f32, float, float)
GENN_MAX_POOL2D(s16, int16_t, int32_t)
GENN_MAX_POOL2D(s8, int8_t, int32_t)

GENN_INLINE float genn_sum_window_f32(const float *x, int32_t rows, int32_t cols, int32_t down, int32_t right)
{
    float sum = x[0];

    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = i == 0 ? 1 : 0; j < cols; j++)
            sum += x[i * down + j * right];
    return sum;
}

GENN_INLINE void genn_avg_pool2d_f32(const struct genn_avg_pool2d_f32 *p, const float *GENN_RESTRICT x,
                                     float *GENN_RESTRICT y)
{
    for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)
        for (int32_t oy = 0; oy < p->oh; oy++)
            for (int32_t ox = 0; ox < p->ow; ox++) {
                const float *in = x + (oy * p->sh * p->w + ox * p->sw) * p->c;
                for (int32_t ch = 0; ch < p->c; ch++) {
                    if (p->kh * p->kw == 1)
                        GENN_NO_LIBCALL;
                    *y++ = genn_sum_window_f32(in + ch, p->kh, p->kw, p->w * p->c, p->c) / p->divisor;
                }
            }
}

GENN_INLINE void genn_window_pool2d_f32(const struct genn_window_pool2d_f32 *p, const float *GENN_RESTRICT x,
                                        const uint16_t *GENN_RESTRICT rows, const uint16_t *GENN_RESTRICT cols,
                                        const float *GENN_RESTRICT divisor, float *GENN_RESTRICT y)
{
    for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)
        for (int32_t oy = 0; oy < p->oh; oy++)
            for (int32_t ox = 0; ox < p->ow; ox++) {
                const uint16_t *r = rows + 3 * oy, *q = cols + 3 * ox;
                const float *in = x + (r[0] * p->w + q[0]) * p->c;
                const float d = divisor[r[2] * p->classes + q[2]];
                for (int32_t ch = 0; ch < p->c; ch++)
                    *y++ = genn_sum_window_f32(in + ch, r[1] - r[0], q[1] - q[0], p->w * p->c, p->c) / d;
            }
}

GENN_INLINE void genn_mean_f32(const struct genn_mean_f32 *p, const float *GENN_RESTRICT x, float *GENN_RESTRICT y)
{
    for (int32_t i = 0; i < p->dims[0]; i++)
        for (int32_t j = 0; j < p->dims[1]; j++)
            for (int32_t k = 0; k < p->dims[2]; k++) {
                const float *in = x + i * p->step[0] + j * p->step[1] + k * p->step[2];
                float sum = 0.0f;
                for (int32_t a = 0; a < p->sum_dims[0]; a++)
                    for (int32_t b = 0; b < p->sum_dims[1]; b++)
                        for (int32_t c = 0; c < p->sum_dims[2]; c++)
                            sum += in[a * p->sum_step[0] + b * p->sum_step[1] + c * p->sum_step[2]];
                *y++ = sum / p->divisor;
            }
}

#define GENN_AVERAGES(SUFFIX, TYPE)                                                                                    \
    GENN_INLINE int32_t genn_sum_window_##SUFFIX(const TYPE *x, int32_t rows, int32_t cols, int32_t down,              \
                                                 int32_t right, int32_t sum)                                           \
    {                                                                                                                  \
        for (int32_t i = 0; i < rows; i++)                                                                             \
            for (int32_t j = 0; j < cols; j++)                                                                         \
                sum += x[i * down + j * right];                                                                        \
        return sum;                                                                                                    \
    }                                                                                                                  \
                                                                                                                       \
    GENN_INLINE void genn_avg_pool2d_##SUFFIX(const struct genn_avg_pool2d *p, const TYPE *GENN_RESTRICT x,            \
                                              TYPE *GENN_RESTRICT y)                                                   \
    {                                                                                                                  \
        for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)                                        \
            for (int32_t oy = 0; oy < p->oh; oy++)                                                                     \
                for (int32_t ox = 0; ox < p->ow; ox++) {                                                               \
                    const TYPE *in = x + (oy * p->sh * p->w + ox * p->sw) * p->c;                                      \
                    for (int32_t ch = 0; ch < p->c; ch++) {                                                            \
                        const int32_t sum =                                                                            \
                            genn_sum_window_##SUFFIX(in + ch, p->kh, p->kw, p->w * p->c, p->c, p->bias);               \
                        if (p->kh * p->kw == 1)                                                                        \
                            GENN_NO_LIBCALL;                                                                           \
                        *y++ = (TYPE)genn_average(sum, p->mult, p->pre, p->shift, p->offset, p->lo, p->hi);            \
                    }                                                                                                  \
                }                                                                                                      \
    }                                                                                                                  \
                                                                                                                       \
    GENN_INLINE void genn_window_pool2d_##SUFFIX(                                                                      \
        const struct genn_window_pool2d *p, const TYPE *GENN_RESTRICT x, const uint16_t *GENN_RESTRICT rows,           \
        const uint16_t *GENN_RESTRICT cols, const int32_t *GENN_RESTRICT mult, TYPE *GENN_RESTRICT y)                  \
    {                                                                                                                  \
        for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)                                        \
            for (int32_t oy = 0; oy < p->oh; oy++)                                                                     \
                for (int32_t ox = 0; ox < p->ow; ox++) {                                                               \
                    const uint16_t *r = rows + 3 * oy, *q = cols + 3 * ox;                                             \
                    const int32_t high = r[1] - r[0], wide = q[1] - q[0];                                              \
                    const TYPE *in = x + (r[0] * p->w + q[0]) * p->c;                                                  \
                    const int32_t m = mult[r[2] * p->classes + q[2]], bias = high * wide * p->zero;                    \
                    for (int32_t ch = 0; ch < p->c; ch++) {                                                            \
                        const int32_t sum =                                                                            \
                            genn_sum_window_##SUFFIX(in + ch, high, wide, p->w * p->c, p->c, bias);                    \
                        *y++ = (TYPE)genn_average(sum, m, p->pre, p->shift, p->offset, p->lo, p->hi);                  \
                    }                                                                                                  \
                }                                                                                                      \
    }                                                                                                                  \
                                                                                                                       \
    GENN_INLINE void genn_mean_##SUFFIX(const struct genn_mean *p, const TYPE *GENN_RESTRICT x,                        \
                                        TYPE *GENN_RESTRICT y)                                                         \
    {                                                                                                                  \
        for (int32_t i = 0; i < p->dims[0]; i++)                                                                       \
            for (int32_t j = 0; j < p->dims[1]; j++)                                                                   \
                for (int32_t k = 0; k < p->dims[2]; k++) {                                                             \
                    const TYPE *in = x + i * p->step[0] + j * p->step[1] + k * p->step[2];                             \
                    int32_t sum = p->bias;                                                                             \
                    GENN_NO_LIBCALL;                                                                                   \
                    for (int32_t a = 0; a < p->sum_dims[0]; a++)                                                       \
                        for (int32_t b = 0; b < p->sum_dims[1]; b++)                                                   \
                            for (int32_t c = 0; c < p->sum_dims[2]; c++)                                               \
                                sum += in[a * p->sum_step[0] + b * p->sum_step[1] + c * p->sum_step[2]];               \
                    *y++ = (TYPE)genn_average(sum, p->mult, p->pre, p->shift, p->offset, p->lo, p->hi);                \
                }                                                                                                      \
    }

GENN_AVERAGES(s16, int16_t)
GENN_AVERAGES(s8, int8_t)

#endif
