/* What every kernel stands on: integer types, inlining, saturation and the one requantization rule.
 *
 * The integer semantics are defined by genn/numerics.py; this file says the same in C99.  Right shifts of negative
 * values are arithmetic on every compiler we know (implementation-defined in C99, checked below).
 */
#ifndef GENN_COMMON_H
#define GENN_COMMON_H

#include <stdint.h>

#if (-1 >> 1) != -1
#error "GENN needs arithmetic right shifts of negative integers"
#endif
#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GENN packs weights as little-endian words"
#endif
#endif

/* float32 has one meaning: no fused multiply-add, whatever the compiler's default is.  GCC 12's vectorizer makes
 * vfmaddsub of a multiplication and an addition of constants of mixed signs even then, so it must not have them.
 * The generated source defines GENN_FLOAT32 in float32 networks. */
#if !defined(GENN_FLOAT32)
#elif defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#if defined(__FMA__)
#pragma GCC target("no-fma,no-avx512f")
#endif
#endif

/* Nor may GCC 12 have AVX-512 in integer networks: at -O3 its masks for taps in the padding are wrong in some sums. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__) && !defined(GENN_FLOAT32)
#pragma GCC target("no-avx512f")
#endif

#if defined(__GNUC__)
#define GENN_INLINE static inline __attribute__((always_inline, unused))
#define GENN_SHARED static __attribute__((noinline, unused))
#else
#define GENN_INLINE static inline
#define GENN_SHARED static
#endif

#if defined(__clang__)
#define GENN_LAYER __attribute__((noinline))
#define GENN_UNROLL _Pragma("clang loop unroll_count(8)")
#elif defined(__GNUC__)
#define GENN_LAYER __attribute__((noinline, noclone))
#define GENN_UNROLL _Pragma("GCC unroll 8")
#else
#define GENN_LAYER
#define GENN_UNROLL
#endif

#if defined(__GNUC__)
#define GENN_RESTRICT __restrict__
#else
#define GENN_RESTRICT restrict
#endif

/* In the body of a copying loop: keeps the compiler from turning it into a call of memcpy or memset. */
#if defined(__GNUC__)
#define GENN_NO_LIBCALL __asm__ volatile("")
#else
#define GENN_NO_LIBCALL ((void)0)
#endif

/* A kernel's entry point: specialised for each layer, or, where flash counts, one function that all layers share. */
#if defined(GENN_FLASH)
#define GENN_KERNEL GENN_SHARED
#else
#define GENN_KERNEL GENN_INLINE
#endif

/* At the end of a layer function: one that turns out to do nothing is still called, and has its symbol. */
#define GENN_LAYER_END GENN_NO_LIBCALL

/* Which bounds a fused clamp has. */
#define GENN_CLAMP_LO 1
#define GENN_CLAMP_HI 2

GENN_INLINE float genn_clamp_f32(float v, int32_t clamp, float lo, float hi)
{
    if (clamp & GENN_CLAMP_LO)
        v = v > lo ? v : lo;
    if (clamp & GENN_CLAMP_HI)
        v = v < hi ? v : hi;
    return v;
}

GENN_INLINE int32_t genn_clamp_s32(int32_t v, int32_t lo, int32_t hi)
{
    v = v < lo ? lo : v;
    return v > hi ? hi : v;
}

/* floor(acc * mult / 65536) for a positive 16-bit mult, in 32-bit arithmetic (ARMv6-M has no high multiply). */
GENN_INLINE int32_t genn_mulhi16(int32_t acc, int32_t mult)
{
    const int32_t high = (acc >> 16) * mult;
    const uint32_t low = ((uint32_t)acc & 0xffffu) * (uint32_t)mult;
    return high + (int32_t)(low >> 16);
}

/* The int8 rule: accumulator to stored integer (genn.numerics.requantize). */
GENN_INLINE int32_t genn_requantize(int32_t acc, int32_t mult, int32_t shift, int32_t offset, int32_t lo, int32_t hi)
{
    return genn_clamp_s32((genn_mulhi16(acc, mult) + offset) >> shift, lo, hi);
}

#endif
