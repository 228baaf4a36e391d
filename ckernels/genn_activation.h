/* Elementwise functions: clamp, ReLU with slopes, tables, and the smooth ones in float32 (genn/ops/activation.py).
 *
 * Element i of y depends on element i of x alone, so y may be x.  int8: a table of 256.  int16: a table and linear
 * interpolation, or multiplier and shift.
 */
#ifndef GENN_ACTIVATION_H
#define GENN_ACTIVATION_H

#include "genn_math.h"

/* clamp: a set of GENN_CLAMP_LO, GENN_CLAMP_HI. */
struct genn_clip_f32 {
    int32_t n, clamp;
    float lo, hi;
};

struct genn_clip_s16 {
    int32_t n, lo, hi;
};

struct genn_clip_s8 {
    int32_t n, lo, hi;
};

GENN_INLINE void genn_clip_f32(const struct genn_clip_f32 *p, const float *x, float *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->clamp == 0 || p->lo >= p->hi) /* a copy or a constant */
            GENN_NO_LIBCALL;
        y[i] = genn_clamp_f32(x[i], p->clamp, p->lo, p->hi);
    }
}

GENN_INLINE void genn_clip_s16(const struct genn_clip_s16 *p, const int16_t *x, int16_t *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->lo == p->hi || (p->lo == -32768 && p->hi == 32767))
            GENN_NO_LIBCALL;
        y[i] = (int16_t)genn_clamp_s32(x[i], p->lo, p->hi);
    }
}

GENN_INLINE void genn_clip_s8(const struct genn_clip_s8 *p, const int8_t *x, int8_t *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (p->lo == p->hi || (p->lo == -128 && p->hi == 127))
            GENN_NO_LIBCALL;
        y[i] = (int8_t)genn_clamp_s32(x[i], p->lo, p->hi);
    }
}

/* One slope per channel for values that are not positive; leaky ReLU has one channel. */
struct genn_prelu_f32 {
    int32_t outer, channels, inner;
};

/* Positive and other values are each scaled as (v * mult + offset) >> shift, v = x - zero. */
struct genn_prelu_s16 {
    int32_t outer, channels, inner, zero, pos_mult, pos_shift, pos_offset, neg_shift, neg_offset, lo, hi;
};

struct genn_prelu_s8 {
    int32_t outer, channels, inner, zero, pos_mult, pos_shift, pos_offset, neg_shift, neg_offset, lo, hi;
};

GENN_INLINE void genn_prelu_f32(const struct genn_prelu_f32 *p, const float *x, const float *slope, float *y)
{
    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t c = 0; c < p->channels; c++) {
            for (int32_t i = 0; i < p->inner; i++) {
                GENN_NO_LIBCALL; /* a slope of 1 */
                y[i] = x[i] > 0.0f ? x[i] : x[i] * slope[c];
            }
            x += p->inner;
            y += p->inner;
        }
    }
}

GENN_INLINE void genn_prelu_s16(const struct genn_prelu_s16 *p, const int16_t *x, const int16_t *mult, int16_t *y)
{
    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t c = 0; c < p->channels; c++) {
            for (int32_t i = 0; i < p->inner; i++) {
                const int32_t v = x[i] - p->zero;
                const int32_t r = v > 0 ? (v * p->pos_mult + p->pos_offset) >> p->pos_shift
                                        : (v * mult[c] + p->neg_offset) >> p->neg_shift;
                GENN_NO_LIBCALL; /* a slope of 1 or 0 */
                y[i] = (int16_t)genn_clamp_s32(r, p->lo, p->hi);
            }
            x += p->inner;
            y += p->inner;
        }
    }
}

GENN_INLINE void genn_prelu_s8(const struct genn_prelu_s8 *p, const int8_t *x, const int16_t *mult, int8_t *y)
{
    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t c = 0; c < p->channels; c++) {
            for (int32_t i = 0; i < p->inner; i++) {
                const int32_t v = x[i] - p->zero;
                const int32_t r = v > 0 ? (v * p->pos_mult + p->pos_offset) >> p->pos_shift
                                        : (v * mult[c] + p->neg_offset) >> p->neg_shift;
                GENN_NO_LIBCALL; /* a slope of 1 or 0 */
                y[i] = (int8_t)genn_clamp_s32(r, p->lo, p->hi);
            }
            x += p->inner;
            y += p->inner;
        }
    }
}

struct genn_lut_s8 {
    int32_t n;
};

GENN_INLINE void genn_lut_s8(const struct genn_lut_s8 *p, const int8_t *x, const int8_t *table, int8_t *y)
{
    for (int32_t i = 0; i < p->n; i++)
        y[i] = table[x[i] + 128];
}

/* Segments of 2**shift inputs from lo to hi; the function is constant outside.  table has one entry per segment + 1. */
struct genn_interp_s16 {
    int32_t n, lo, hi, shift;
};

GENN_INLINE void genn_interp_s16(const struct genn_interp_s16 *p, const int16_t *x, const int16_t *table, int16_t *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        const int32_t u = genn_clamp_s32(x[i], p->lo, p->hi) - p->lo;
        const int16_t *t = table + (u >> p->shift);
        const int32_t part = u & ((1 << p->shift) - 1);
        y[i] = (int16_t)(t[0] + (((t[1] - t[0]) * part + ((1 << p->shift) >> 1)) >> p->shift));
    }
}

/* The smooth functions in float32. */
struct genn_map_f32 {
    int32_t n;
};

#define GENN_MAP_F32(name)                                                                                             \
    GENN_INLINE void genn_##name##_f32(const struct genn_map_f32 *p, const float *x, float *y)                         \
    {                                                                                                                  \
        for (int32_t i = 0; i < p->n; i++)                                                                             \
            y[i] = genn_##name##f(x[i]);                                                                               \
    }

GENN_INLINE float genn_hardsigmoidf(float x)
{
    return x <= -3.0f ? 0.0f : x >= 3.0f ? 1.0f : (x + 3.0f) * 0.166666672f;
}

GENN_INLINE float genn_hardswishf(float x)
{
    return x <= -3.0f ? 0.0f : x >= 3.0f ? x : x * (x + 3.0f) * 0.166666672f;
}

GENN_INLINE float genn_siluf(float x)
{
    return x < -128.0f ? -0.0f : x * genn_sigmoidf(x);
}

GENN_INLINE float genn_geluf(float x)
{
    return x < -16.0f ? -0.0f : 0.5f * x * (1.0f + genn_erff(x * 0.707106769f));
}

/* x / 2 * (1 + tanh(u)) is x * sigmoid(2u), u = sqrt(2 / pi) * (x + 0.044715 x**3). */
GENN_INLINE float genn_gelu_tanhf(float x)
{
    return x < -16.0f ? -0.0f : x * genn_sigmoidf(1.59576917f * (x + 0.0447149985f * x * x * x));
}

GENN_MAP_F32(hardsigmoid)
GENN_MAP_F32(hardswish)
GENN_MAP_F32(silu)
GENN_MAP_F32(gelu)
GENN_MAP_F32(gelu_tanh)
GENN_MAP_F32(sigmoid)
GENN_MAP_F32(tanh)

#endif
