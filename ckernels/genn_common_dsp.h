/* What the integer kernels for cores with the DSP instructions (ARMv7E-M, ARMv8-M Main) share.
 *
 * Two output rows A and B of int8 weights are stored as halfwords 256 * A + B, so that one SMLAD of a word and a word of
 * two inputs adds to the `raw` sum of both rows, and SXTB16 leaves B alone for a second SMLAD: four products of two
 * columns for three instructions and four bytes.  At the end sum(A x) = (raw - sum(B x)) >> 8: raw may wrap, since
 * |sum(A x)| < 2^23 is proven when the weights are packed.  Portable C does the same sums one column at a time.
 *
 * Inner loops that need every register are assembly in naked functions: no compiler spills there, at any -O, and all
 * layers share them.
 */
#ifndef GENN_COMMON_DSP_H
#define GENN_COMMON_DSP_H

#include "genn_common.h"

/* A piece of a kernel: part of the layer's own code, or, where flash counts, a function. */
#if defined(GENN_FLASH)
#define GENN_PART GENN_SHARED
#else
#define GENN_PART GENN_INLINE
#endif

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#define GENN_DSP

/* A function of assembly only; its parameters are the registers r0 to r3.  The compiler sees no body, so it must not
 * reason about one. */
#if defined(__clang__)
#define GENN_NAKED static __attribute__((naked, noinline, unused))
#else
#define GENN_NAKED static __attribute__((naked, noinline, noipa, unused))
#endif
#define GENN_REGISTER __attribute__((unused))

/* Words of arrays of smaller elements: LDR reads from any address, which LDM and LDRD do not. */
typedef uint32_t genn_word __attribute__((may_alias, aligned(1)));

GENN_INLINE uint32_t genn_load_word(const void *at)
{
    return *(const genn_word *)at;
}

GENN_INLINE void genn_store_word(void *at, uint32_t v)
{
    *(genn_word *)at = v;
}

GENN_INLINE uint32_t genn_smlad(uint32_t a, uint32_t b, uint32_t acc)
{
    uint32_t sum;
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

/* The products of the low halves, and of the high ones. */
GENN_INLINE int32_t genn_smlabb(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t sum;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

GENN_INLINE int32_t genn_smlatt(uint32_t a, uint32_t b, int32_t acc)
{
    int32_t sum;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

/* Bytes 0 and 2 as two int16. */
GENN_INLINE uint32_t genn_sxtb16(uint32_t v)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(v));
    return pair;
}

/* Bytes 1 and 3. */
GENN_INLINE uint32_t genn_sxtb16_odd(uint32_t v)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(v));
    return pair;
}

GENN_INLINE int32_t genn_smlawb(int32_t acc, int32_t mult, int32_t offset)
{
    int32_t sum;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(sum) : "r"(acc), "r"(mult), "r"(offset));
    return sum;
}

/* The low halves of two words, and the high ones; the first one's half comes first. */
GENN_INLINE uint32_t genn_pkhbt(uint32_t first, uint32_t second)
{
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(first), "r"(second));
    return pair;
}

GENN_INLINE uint32_t genn_pkhtb(uint32_t second, uint32_t first)
{
    uint32_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(second), "r"(first));
    return pair;
}

/* The larger of each of four int8. */
GENN_INLINE uint32_t genn_max4(uint32_t a, uint32_t b)
{
    uint32_t most;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(most) : "r"(a), "r"(b) : "cc");
    return most;
}

/* The larger of each of two int16. */
GENN_INLINE uint32_t genn_max2(uint32_t a, uint32_t b)
{
    uint32_t most;
    __asm__("ssub16 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(most) : "r"(a), "r"(b) : "cc");
    return most;
}

GENN_INLINE int32_t genn_ssat8(int32_t v)
{
    int32_t clamped;
    __asm__("ssat %0, #8, %1" : "=r"(clamped) : "r"(v));
    return clamped;
}
#endif

/* How many of a tile's `columns` lie outside of the input when `beyond` columns lie before it, or behind it. */
GENN_INLINE int32_t genn_columns_outside(int32_t beyond, int32_t columns)
{
    return beyond < 0 ? 0 : beyond < columns ? beyond : columns;
}

/* Element i of packed pairs: 256 * A + B. */
GENN_INLINE int32_t genn_pair_at(const int8_t *w, int32_t i)
{
    return w[2 * i + 1] * 256 + (w[2 * i] & 0xff);
}

/* Its B. */
GENN_INLINE int32_t genn_pair_low(int32_t pair)
{
    return ((pair & 0xff) ^ 0x80) - 0x80;
}

/* One column of one pair of rows: acc[0] is the raw sum, acc[1] that of row B. */
GENN_INLINE void genn_pair_add(int32_t pair, int32_t x, uint32_t *acc)
{
    acc[0] += (uint32_t)(pair * x);
    acc[1] += (uint32_t)(genn_pair_low(pair) * x);
}

/* Row A's sum in the raw one. */
GENN_INLINE int32_t genn_pair_high(const uint32_t *acc)
{
    return (int32_t)(acc[0] - acc[1]) >> 8;
}

/* Takes it out. */
GENN_INLINE int32_t genn_pair_take(uint32_t *acc)
{
    const int32_t sum = genn_pair_high(acc);

    acc[0] = acc[1];
    return sum;
}

/* genn_requantize with SMLAWB and SSAT. */
GENN_INLINE int8_t genn_finish_s8(int32_t acc, int32_t mult, int32_t shift, int32_t offset, int32_t lo, int32_t hi)
{
#if defined(GENN_DSP) && defined(GENN_FLASH)
    return (int8_t)genn_clamp_s32(genn_smlawb(acc, mult, offset) >> shift, lo, hi);
#elif defined(GENN_DSP)
    const int32_t v = genn_ssat8(genn_smlawb(acc, mult, offset) >> shift);

    if (lo == -128 && hi == 127)
        return (int8_t)v;
    return (int8_t)genn_clamp_s32(v, lo, hi);
#else
    return (int8_t)genn_requantize(acc, mult, shift, offset, lo, hi);
#endif
}

#endif
