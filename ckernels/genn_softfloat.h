/* float32 inner products on cores without an FPU: the bits of IEEE 754, with one function instead of two calls a tap.
 *
 * The sum stays unpacked: m * 2^(e - 155) with m signed, 2^28 <= |m| <= 2^29 and its five lowest bits, the guard bits, zero;
 * 0 is m = 0 with an exponent below all others.  Two's complement spares every case of signs: shifting right rounds down, so
 * a set bit 0 ("something was lost") and rounding half to even by adding mean the same for both signs.
 *
 * A product that could be subnormal, infinite or NaN is added with the compiler's own arithmetic, one tap at a time.  A sum
 * of two floats that comes out subnormal is exact, and so needs no rounding of its own.
 */
#ifndef GENN_SOFTFLOAT_H
#define GENN_SOFTFLOAT_H

#include "genn_common.h"
#if defined(__ARM_ARCH_6M__) && defined(__arm__) && defined(__OPTIMIZE__)
#define GENN_SOFT_BY_HAND
#include "genn_softfloat_v6m.h"
#endif

#define GENN_SOFT_ZERO (-1000) /* the exponent of 0 */

union genn_soft_bits {
    float f;
    uint32_t u;
};

GENN_INLINE uint32_t genn_soft_bits(float f)
{
    union genn_soft_bits v;

    v.f = f;
    return v.u;
}

/* The product of two mantissas of 24 bits, shifted right by 19: 28 or 29 bits; what was lost sets bit 0. */
GENN_INLINE uint32_t genn_soft_product(uint32_t a, uint32_t b)
{
#if defined(__ARM_ARCH_6M__) /* 32 bits are all that MULS gives: four products of 16 and 8 bits */
    const uint32_t ah = a >> 8, al = a & 255u, bh = b >> 8, bl = b & 255u;
    const uint32_t low = al * bl, middle = ah * bl + al * bh + (low >> 8), top = ah * bh + (middle >> 8);
    return top >> 3 | (uint32_t)((top << 29 | middle << 24 | low << 24) != 0);
#else
    const uint64_t p = (uint64_t)(a << 8) * (b << 5);
    return (uint32_t)(p >> 32) | (uint32_t)((uint32_t)p != 0);
#endif
}

/* How far m, not 0, must go left to have 29 bits, its sign left out; -1: one to the right. */
GENN_INLINE int32_t genn_soft_room(int32_t m)
{
    const uint32_t size = (uint32_t)(m ^ m >> 31);
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__)
    return __builtin_clz(size | 1u) - 3;
#else
    int32_t room = 0;

    if (size >> 29)
        return -1;
    for (uint32_t left = size | 1u; !(left >> 28); left <<= 1)
        room++;
    return room;
#endif
}

/* Half to even at the five guard bits. */
GENN_INLINE int32_t genn_soft_round(int32_t m)
{
    return (m + 15 + (m >> 5 & 1)) & ~31;
}

GENN_INLINE void genn_soft_unpack(uint32_t bits, int32_t *m, int32_t *e)
{
    uint32_t size = bits & 0x7fffffu;

    *e = (int32_t)(bits >> 23 & 255u);
    if (*e)
        size |= 0x800000u;
    else
        *e = size ? 1 : GENN_SOFT_ZERO;
    for (; size && !(size >> 23); size <<= 1)
        --*e;
    *m = (int32_t)(size << 5);
    if (bits >> 31)
        *m = -*m;
}

GENN_INLINE float genn_soft_pack(int32_t m, int32_t e)
{
    union genn_soft_bits v;
    uint32_t size = (uint32_t)(m < 0 ? -m : m) >> 5;

    v.u = 0;
    if (m == 0)
        return v.f;
    if (size >> 24) {
        size >>= 1;
        e++;
    }
    if (e <= 0)
        v.u = size >> (1 - e);
    else if (e >= 255)
        v.u = 0x7f800000u;
    else
        v.u = (size & 0x7fffffu) | (uint32_t)e << 23;
    if (m < 0)
        v.u |= 0x80000000u;
    return v.f;
}

/* acc + w * x by the compiler's arithmetic, on an unpacked sum; false where the sum is infinite or NaN, which it stays. */
GENN_INLINE int genn_soft_unusual(float w, float x, int32_t *m, int32_t *e, float *acc)
{
    *acc = genn_soft_pack(*m, *e) + w * x;
    if ((genn_soft_bits(*acc) & 0x7f800000u) == 0x7f800000u)
        return 0;
    genn_soft_unpack(genn_soft_bits(*acc), m, e);
    return 1;
}

#if !defined(GENN_SOFT_BY_HAND)
/* Adds one tap and returns 1; 0 where the tap or the sum is not usual. */
GENN_INLINE int genn_soft_tap(uint32_t ux, uint32_t uw, int32_t *sum, int32_t *exponent)
{
    const uint32_t ex = ux << 1 >> 24, ew = uw << 1 >> 24;
    int32_t m = *sum, e = *exponent, pe = (int32_t)(ex + ew) - 126, pm, d, shifted;
    uint32_t p;

    if (ux << 1 == 0 || uw << 1 == 0)
        return 1;
    if (ex - 1u >= 254u || ew == 0 || pe < 3 || pe > 250 || e > 250)
        return 0;
    p = genn_soft_product((ux & 0x7fffffu) | 0x800000u, (uw & 0x7fffffu) | 0x800000u);
    if (!(p >> 28)) {
        p <<= 1; /* exact: what was lost still is below the guard bits' half */
        pe--;
    }
    pm = genn_soft_round((int32_t)p);
    if ((ux ^ uw) >> 31)
        pm = -pm;
    d = e - pe;
    if (d < 0) { /* the larger exponent's is m */
        const int32_t t = m;
        m = pm;
        pm = t;
        e = pe;
        d = -d;
    }
    if (d <= 27) {
        shifted = pm >> d;
        m += shifted * (1 << d) == pm ? shifted : shifted | 1;
        if (m) {
            d = genn_soft_room(m);
            m = d < 0 ? m >> 1 | (m & 1) : (int32_t)((uint32_t)m << d);
            e -= d;
            m = genn_soft_round(m);
        } else {
            e = GENN_SOFT_ZERO;
        }
    }
    *sum = m;
    *exponent = e;
    return 1;
}
#endif

/* acc + w[0] * x[0] + w[stride] * x[1] + ..., each product and each sum rounded; acc is finite and not -0. */
GENN_SHARED GENN_LAYER float genn_soft_dot(const float *x, const float *w, int32_t n, int32_t stride, float acc)
{
    const float *end = x + n;
    int32_t m, e;

    genn_soft_unpack(genn_soft_bits(acc), &m, &e);
    while (x != end) {
#if defined(GENN_SOFT_BY_HAND)
        struct genn_soft_taps taps = {x, w, end, 4 * stride, 0, 0, 0};
        taps.m = m;
        taps.e = e - 3;
        genn_soft_run(&taps);
        x = taps.x;
        w = taps.w;
        m = taps.m;
        e = taps.e + 3;
        if (!taps.stopped)
            break;
#else
        x++;
        w += stride;
        if (genn_soft_tap(genn_soft_bits(x[-1]), genn_soft_bits(*(w - stride)), &m, &e))
            continue;
#endif
        if (!genn_soft_unusual(*(w - stride), x[-1], &m, &e, &acc)) {
            for (; x != end; x++, w += stride)
                acc = acc + *w * *x;
            return acc;
        }
    }
    return genn_soft_pack(m, e);
}

#endif
