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

/* Hosts with vector registers keep a block of 8 outputs in one vector; each lane adds in the defined order. */
#if defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON))
#define GENN_VECTOR_F32
typedef float genn_f32x8 __attribute__((vector_size(32), aligned(4), may_alias));

/* A macro: a function with such a parameter has another ABI with and without AVX. */
#define GENN_MULADD_F32X8(acc, w, x) ((acc) + *(const genn_f32x8 *)(w) * (genn_f32x8){x, x, x, x, x, x, x, x})

/* Four blocks at once, so that one addition need not wait for the other; the blocks' weights lie n * 8 apart. */
GENN_INLINE void genn_dot32_f32(const float *x, const float *w, int32_t n, const float *bias, float *acc)
{
    const float *w1 = w + n * 8, *w2 = w1 + n * 8, *w3 = w2 + n * 8;
    genn_f32x8 a0 = *(const genn_f32x8 *)bias, a1 = *(const genn_f32x8 *)(bias + 8);
    genn_f32x8 a2 = *(const genn_f32x8 *)(bias + 16), a3 = *(const genn_f32x8 *)(bias + 24);

    for (int32_t k = 0; k < n; k++) {
        const float v = x[k];
        a0 = GENN_MULADD_F32X8(a0, w + k * 8, v);
        a1 = GENN_MULADD_F32X8(a1, w1 + k * 8, v);
        a2 = GENN_MULADD_F32X8(a2, w2 + k * 8, v);
        a3 = GENN_MULADD_F32X8(a3, w3 + k * 8, v);
    }
    *(genn_f32x8 *)acc = a0;
    *(genn_f32x8 *)(acc + 8) = a1;
    *(genn_f32x8 *)(acc + 16) = a2;
    *(genn_f32x8 *)(acc + 24) = a3;
}
#endif

/* `width` outputs at once; their weights lie interleaved: w[k * width + t].  Each output's sum keeps its order. */
GENN_INLINE const float *genn_dot_f32(const float *x, const float *w, int32_t n, int32_t width, float *acc)
{
#if defined(GENN_VECTOR_F32)
    if (width == 8) {
        genn_f32x8 a = *(genn_f32x8 *)acc;
        for (int32_t k = 0; k < n; k++, w += 8) {
            const float v = x[k];
            a = GENN_MULADD_F32X8(a, w, v);
        }
        *(genn_f32x8 *)acc = a;
        return w;
    }
#endif
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
