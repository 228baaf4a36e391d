/* Inner products shared by linear and convolution: dense runs for one or four output rows, and stored-sparse rows.
 *
 * Dense weights of the integer kernels are row-major (one output's weights contiguous); `stride` is the distance
 * between rows.  Sparse rows are entries (delta, value): the position in the input advances by an unsigned 8-bit delta
 * before each product; gaps over 255 hold an entry of value zero.
 */
#ifndef GENN_DOT_H
#define GENN_DOT_H

#include "genn_common.h"

GENN_INLINE int32_t genn_dot_s8(const int8_t *x, const int8_t *w, int32_t n, int32_t acc)
{
    for (int32_t k = 0; k < n; k++)
        acc += (int32_t)w[k] * x[k];
    return acc;
}

GENN_INLINE void genn_dot4_s8(const int8_t *x, const int8_t *w, int32_t stride, int32_t n, int32_t *acc)
{
    const int8_t *w1 = w + stride, *w2 = w1 + stride, *w3 = w2 + stride;
    int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];

    for (int32_t k = 0; k < n; k++) {
        const int32_t v = x[k];
        a0 += w[k] * v;
        a1 += w1[k] * v;
        a2 += w2[k] * v;
        a3 += w3[k] * v;
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

GENN_INLINE int32_t genn_dot_s16(const int16_t *x, const int16_t *w, int32_t n, int32_t acc)
{
    for (int32_t k = 0; k < n; k++)
        acc += (int32_t)w[k] * x[k];
    return acc;
}

GENN_INLINE void genn_dot4_s16(const int16_t *x, const int16_t *w, int32_t stride, int32_t n, int32_t *acc)
{
    const int16_t *w1 = w + stride, *w2 = w1 + stride, *w3 = w2 + stride;
    int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];

    for (int32_t k = 0; k < n; k++) {
        const int32_t v = x[k];
        a0 += w[k] * v;
        a1 += w1[k] * v;
        a2 += w2[k] * v;
        a3 += w3[k] * v;
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* `width` outputs at once; their weights lie interleaved: w[k * width + t].  Each output's sum keeps its order. */
GENN_INLINE const float *genn_dot_f32(const float *x, const float *w, int32_t n, int32_t width, float *acc)
{
    for (int32_t k = 0; k < n; k++) {
        GENN_UNROLL
        for (int32_t t = 0; t < width; t++)
            acc[t] = acc[t] + w[t] * x[k];
        w += width;
    }
    return w;
}

GENN_INLINE int32_t genn_sparse_s8(const int8_t *x, const int8_t *w, const uint8_t *delta, int32_t n, int32_t acc)
{
    for (int32_t i = 0; i < n; i++) {
        x += delta[i];
        acc += (int32_t)w[i] * *x;
    }
    return acc;
}

GENN_INLINE int32_t genn_sparse_s16(const int16_t *x, const int16_t *w, const uint8_t *delta, int32_t n, int32_t acc)
{
    for (int32_t i = 0; i < n; i++) {
        x += delta[i];
        acc += (int32_t)w[i] * *x;
    }
    return acc;
}

GENN_INLINE float genn_sparse_f32(const float *x, const float *w, const uint8_t *delta, int32_t n, float acc)
{
    for (int32_t i = 0; i < n; i++) {
        x += delta[i];
        acc = acc + w[i] * *x;
    }
    return acc;
}

#endif
