/* Exponential units, softplus, log-sigmoid and mish in float32 (genn/ops/smooth.py); integers read tables.
 *
 * Element i of y depends on element i of x alone, so y may be x.
 */
#ifndef GENN_SMOOTH_H
#define GENN_SMOOTH_H

#include "genn_activation.h"

struct genn_elu_f32 {
    int32_t n;
    float scale, bend, rate;
};

struct genn_softplus_f32 {
    int32_t n;
    float beta, inverse;
};

struct genn_log_sigmoid_f32 {
    int32_t n;
};

struct genn_mish_f32 {
    int32_t n;
};

GENN_INLINE void genn_elu_f32(const struct genn_elu_f32 *p, const float *x, float *y)
{
    for (int32_t i = 0; i < p->n; i++)
        y[i] = x[i] > 0.0f ? p->scale * x[i] : p->bend * (genn_expf(p->rate * x[i]) - 1.0f);
}

/* log(1 + exp(-|x|)) */
GENN_INLINE float genn_log1pexpf(float x)
{
    return genn_logf(1.0f + genn_expf(-genn_absf(x)));
}

GENN_INLINE void genn_softplus_f32(const struct genn_softplus_f32 *p, const float *x, float *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        const float z = p->beta * x[i];
        y[i] = ((z > 0.0f ? z : 0.0f) + genn_log1pexpf(z)) * p->inverse;
    }
}

GENN_INLINE void genn_log_sigmoid_f32(const struct genn_log_sigmoid_f32 *p, const float *x, float *y)
{
    for (int32_t i = 0; i < p->n; i++)
        y[i] = (x[i] < 0.0f ? x[i] : 0.0f) - genn_log1pexpf(x[i]);
}

GENN_INLINE float genn_mishf(float x)
{
    float e, n;

    if (x > 20.0f)
        return x;
    if (x < -104.0f)
        return -0.0f;
    e = genn_expf(x);
    n = e * (e + 2.0f);
    return x * n / (n + 2.0f);
}

GENN_INLINE void genn_mish_f32(const struct genn_mish_f32 *p, const float *x, float *y)
{
    for (int32_t i = 0; i < p->n; i++)
        y[i] = genn_mishf(x[i]);
}

#endif
