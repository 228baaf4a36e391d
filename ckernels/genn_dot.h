/* Inner products shared by linear and convolution: dense runs for one or four output rows.
 *
 * Weights of the integer kernels are row-major (one output's weights contiguous); `stride` is the distance between rows.
 */
#ifndef GENN_DOT_H
#define GENN_DOT_H

#include "genn_common.h"
#if defined(__arm__) && !defined(__ARM_FP)
#define GENN_SOFT_F32
#include "genn_softfloat.h"
#endif

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

/* FPv4-SP: eight neighbours in one VLDM, 9 cycles where eight VLDR take 16.  VLDM wants ascending registers, so each
 * helper names its own. */
#if defined(__ARM_FP) && defined(__ARM_ARCH_ISA_THUMB) && !defined(__ARM_NEON) && __ARM_ARCH_ISA_THUMB == 2
#define GENN_VFP_F32
#define GENN_VLDM8(name, r0, r1, r2, r3, r4, r5, r6, r7)                                                                \
    GENN_INLINE const float *name(const float *from, float *v)                                                         \
    {                                                                                                                   \
        register float a __asm__(r0), b __asm__(r1), c __asm__(r2), d __asm__(r3);                                     \
        register float e __asm__(r4), f __asm__(r5), g __asm__(r6), h __asm__(r7);                                     \
        const float *next = from;                                                                                      \
        __asm__("vldmia %0!, {" r0 "-" r7 "}"                                                                          \
                : "+r"(next), "=t"(a), "=t"(b), "=t"(c), "=t"(d), "=t"(e), "=t"(f), "=t"(g), "=t"(h)                   \
                : "m"(*(const float(*)[8])from));                                                                      \
        v[0] = a, v[1] = b, v[2] = c, v[3] = d, v[4] = e, v[5] = f, v[6] = g, v[7] = h;                                \
        return next;                                                                                                   \
    }
GENN_VLDM8(genn_load_w8_f32, "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15")
GENN_VLDM8(genn_load_x8_f32, "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31")

/* Eight outputs, eight taps a turn: 9 (x) + 8 * (9 (w) + 8 VMUL + 8 VADD) + 4 (loop) = 213 cycles, 3.33 a MAC.  VMUL
 * and VADD are 2 cycles where VFMA is 3, and round twice, as float32 is defined. */
GENN_INLINE const float *genn_dot8_f32(const float *x, const float *w, int32_t n, float *acc)
{
    float a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3], a4 = acc[4], a5 = acc[5], a6 = acc[6], a7 = acc[7];
    float v[8], u[8];

#define GENN_MULADD8_F32(xk)                                                                                           \
    (w = genn_load_w8_f32(w, v), a0 += v[0] * (xk), a1 += v[1] * (xk), a2 += v[2] * (xk), a3 += v[3] * (xk),            \
     a4 += v[4] * (xk), a5 += v[5] * (xk), a6 += v[6] * (xk), a7 += v[7] * (xk))
    for (; n >= 8; n -= 8) {
        x = genn_load_x8_f32(x, u);
        GENN_MULADD8_F32(u[0]);
        GENN_MULADD8_F32(u[1]);
        GENN_MULADD8_F32(u[2]);
        GENN_MULADD8_F32(u[3]);
        GENN_MULADD8_F32(u[4]);
        GENN_MULADD8_F32(u[5]);
        GENN_MULADD8_F32(u[6]);
        GENN_MULADD8_F32(u[7]);
    }
    for (; n > 0; n--, x++)
        GENN_MULADD8_F32(*x);
#undef GENN_MULADD8_F32
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3, acc[4] = a4, acc[5] = a5, acc[6] = a6, acc[7] = a7;
    return w;
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
#elif defined(GENN_VFP_F32)
    if (width == 8)
        return genn_dot8_f32(x, w, n, acc);
#elif defined(GENN_SOFT_F32)
    for (int32_t t = 0; t < width; t++)
        acc[t] = genn_soft_dot(x, w + t, n, width, acc[t]);
    return w + n * width;
#endif
    for (int32_t k = 0; k < n; k++) {
        GENN_UNROLL
        for (int32_t t = 0; t < width; t++)
            acc[t] = acc[t] + w[t] * x[k];
        w += width;
    }
    return w;
}

#endif
