/* exp, log, tanh, sigmoid and erf in float32 from + - * / and integer operations on the bits: the same bits everywhere.
 *
 * genn/fmath.py says the same in NumPy, operation for operation, and states the errors.  libm is not used because
 * its results differ between hosts, FPU and soft float.  NaN in gives NaN out; which NaN is not defined.
 */
#ifndef GENN_MATH_H
#define GENN_MATH_H

#include "genn_common.h"

union genn_float_bits {
    float f;
    uint32_t u;
};

GENN_INLINE uint32_t genn_bits(float x)
{
    union genn_float_bits v;
    v.f = x;
    return v.u;
}

GENN_INLINE float genn_from_bits(uint32_t u)
{
    union genn_float_bits v;
    v.u = u;
    return v.f;
}

GENN_INLINE float genn_absf(float x)
{
    return genn_from_bits(genn_bits(x) & 0x7fffffffu);
}

/* |mag| with the sign of `sign`; mag is not negative. */
GENN_INLINE float genn_signf(float mag, float sign)
{
    return genn_from_bits(genn_bits(mag) | (genn_bits(sign) & 0x80000000u));
}

/* exp(x) = 2**n * exp(r) with |r| <= ln(2) / 2; adding 1.5 * 2**23 rounds x / ln(2) to the integer n. */
GENN_SHARED float genn_expf(float x)
{
    const float magic = 12582912.0f;
    float t, n, r, p;
    int32_t k;

    if (x > 88.72283f)
        return genn_from_bits(0x7f800000u);
    if (x < -104.0f)
        return 0.0f;
    if (!(x <= 88.72283f))
        return x;
    t = x * 1.44269504f + magic;
    k = (int32_t)(genn_bits(t) - genn_bits(magic));
    n = t - magic;
    r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    if (k >= -125)
        return genn_from_bits(genn_bits(p) + ((uint32_t)k << 23));
    /* The result may be denormal: one rounded product with 2**-64 after an exact step. */
    return genn_from_bits(genn_bits(p) + ((uint32_t)(k + 64) << 23)) * 5.42101086e-20f;
}

/* log(x) = e * ln(2) + log(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)). */
GENN_SHARED float genn_logf(float x)
{
    uint32_t u;
    float e, f, z, p;
    int32_t k = 0;

    if (!(x > 0.0f))
        return x < 0.0f ? genn_from_bits(0x7fc00000u) : x == 0.0f ? genn_from_bits(0xff800000u) : x;
    if (x > 3.40282347e38f)
        return x;
    if (x < 1.17549435e-38f) {
        x = x * 8388608.0f;
        k = -23;
    }
    /* Subtracting the bits of sqrt(1/2) makes the exponent field count from there. */
    u = genn_bits(x) - 0x3f3504f3u;
    k = k + ((int32_t)u >> 23);
    f = genn_from_bits((u & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    e = (float)k;
    z = f * f;
    p = 7.0376836292e-2f;
    p = p * f + -1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f + -1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f + -1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f + -2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = (p * f) * z;
    p = p + e * -2.12194440e-4f;
    p = p - 0.5f * z;
    f = f + p;
    return f + e * 0.693359375f;
}

/* 1 / (1 + exp(-x)), for x < 0 as exp(x) / (1 + exp(x)) so that small results keep their precision. */
GENN_SHARED float genn_sigmoidf(float x)
{
    const float e = genn_expf(genn_from_bits(genn_bits(x) | 0x80000000u));

    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* An odd polynomial near zero, 1 - 2 / (exp(2|x|) + 1) beyond. */
GENN_SHARED float genn_tanhf(float x)
{
    const float a = genn_absf(x);
    float y;

    if (a > 0.625f) {
        y = 1.0f - 2.0f / (genn_expf(a + a) + 1.0f);
    } else {
        const float z = a * a;
        y = -5.70498872745e-3f;
        y = y * z + 2.06390887954e-2f;
        y = y * z + -5.37397155531e-2f;
        y = y * z + 1.33314422036e-1f;
        y = y * z + -3.33332819422e-1f;
        y = a + a * (z * y);
    }
    return genn_signf(y, x);
}

/* The error function: an odd polynomial near zero, 1 - exp(-polynomial) beyond. */
GENN_SHARED float genn_erff(float x)
{
    float a = genn_absf(x);
    float y;

    if (a > 0.921875f) {
        a = a < 4.0f ? a : 4.0f;
        y = -2.1392395138e-4f;
        y = y * a + 3.2144514844e-3f;
        y = y * a + -2.2888341919e-2f;
        y = y * a + 1.0525930673e-1f;
        y = y * a + 6.3572025299e-1f;
        y = y * a + 1.2851378322e-1f;
        y = 1.0f - genn_expf(-(a + a * y));
    } else {
        const float z = a * a;
        y = -6.0133932857e-4f;
        y = y * z + 4.9980008043e-3f;
        y = y * z + -2.6770232245e-2f;
        y = y * z + 1.1281926930e-1f;
        y = y * z + -3.7612506747e-1f;
        y = y * z + 1.2837915123e-1f;
        y = a + a * y;
    }
    return genn_signf(y, x);
}

#endif
