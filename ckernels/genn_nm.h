/* Rows with at most N of every M weights: how they are packed, and the walks that add a row's products up.
 *
 * A unit is the inputs that hold two weights: 4 of 2:4, two groups of 4 of 1:4, two groups of 8 of 1:8.  A table holds, for
 * each unit of the input, every pair of inputs that two weights can meet: 6, 16 or 64 words of two halves.  It is made once
 * and serves all rows, so a pair of weights costs one place, one load and, where there is SMLAD, one instruction for both
 * products.  A tile is the inputs whose table is held at a time; weights come tile by tile, row behind row.
 *
 * A row's block is four units: a word of four unsigned bytes, the places of their pairs, in bytes, counted from the block's
 * first entry (1:8: from the unit's), then the weights, in one of two forms.  Bytes: two words for two units each, whose
 * pairs are bytes 0 and 2 and bytes 1 and 3.  Words: one for each unit, first + second * 65536.  What a row's end leaves over
 * of a block has weights of zero.
 */
#ifndef GENN_NM_H
#define GENN_NM_H

#include "genn_common.h"

#define GENN_NM_UNIT 16 /* the largest */

/* Bytes of a block's entries. */
GENN_INLINE int32_t genn_nm_step(int32_t unit)
{
    return unit == 4 ? 96 : unit * unit * 4;
}

/* All of a row's blocks, two a turn; `text` is one, which the core's GENN_NM_RUN runs. */
#define GENN_NM_WALK(words, text, ...)                                                                                 \
    do {                                                                                                               \
        const uint32_t *end = w + blocks * (words);                                                                    \
        if (blocks & 1)                                                                                                \
            GENN_NM_RUN(text, __VA_ARGS__);                                                                            \
        while (w != end)                                                                                               \
            GENN_NM_RUN(text text, __VA_ARGS__);                                                                       \
    } while (0)
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && defined(__OPTIMIZE__)
#include "genn_nm_v7em.h"
#elif defined(__ARM_ARCH_6M__) && defined(__OPTIMIZE__)
#include "genn_nm_v6m.h"
#endif
#if !defined(GENN_NM_SWAP_S8)
#define GENN_NM_SWAP_S8 0 /* 1: a pair of int8 inputs is second + first * 65536, what the walks of ARMv6-M multiply */
#endif

/* A pair's word is the sum of its first input's part and its second's. */
GENN_INLINE uint32_t genn_nm_first(int32_t x, int swap)
{
    return swap ? (uint32_t)x << 16 : (uint32_t)x & 0xffffu;
}

GENN_INLINE uint32_t genn_nm_second(int32_t x, int swap)
{
    return swap ? (uint32_t)x : (uint32_t)x << 16;
}

/* The words of a unit of 2:4. */
GENN_INLINE void genn_nm_six(int32_t x0, int32_t x1, int32_t x2, int32_t x3, int swap, uint32_t *to)
{
    const uint32_t f0 = genn_nm_first(x0, swap), f1 = genn_nm_first(x1, swap), f2 = genn_nm_first(x2, swap);
    const uint32_t s2 = genn_nm_second(x2, swap), s3 = genn_nm_second(x3, swap);

    to[0] = f0 + genn_nm_second(x1, swap);
    to[1] = f0 + s2;
    to[2] = f0 + s3;
    to[3] = f1 + s2;
    to[4] = f1 + s3;
    to[5] = f2 + s3;
}

/* The table of the n inputs from x on; what the last unit lacks is zero.  Four second inputs at a time fit in registers. */
#define GENN_NM_TABLE(name, type, swap)                                                                                \
    GENN_INLINE void name(const type *x, int32_t n, int32_t unit, uint32_t *to)                                        \
    {                                                                                                                  \
        const int32_t half = unit / 2;                                                                                 \
        type rest[GENN_NM_UNIT];                                                                                       \
                                                                                                                       \
        for (; n > 0; n -= unit, x += unit, to += genn_nm_step(unit) / 16) {                                           \
            if (n < unit) {                                                                                            \
                for (int32_t i = 0; i < unit; i++)                                                                     \
                    rest[i] = i < n ? x[i] : 0;                                                                        \
                x = rest;                                                                                              \
            }                                                                                                          \
            if (unit == 4)                                                                                             \
                genn_nm_six(x[0], x[1], x[2], x[3], swap, to);                                                         \
            for (int32_t b = 0; unit > 4 && b < half; b += 4) {                                                        \
                const uint32_t s0 = genn_nm_second(x[half + b], swap), s1 = genn_nm_second(x[half + b + 1], swap);     \
                const uint32_t s2 = genn_nm_second(x[half + b + 2], swap), s3 = genn_nm_second(x[half + b + 3], swap); \
                uint32_t *at = to + b;                                                                                 \
                for (int32_t a = 0; a < half; a++, at += half) {                                                       \
                    const uint32_t first = genn_nm_first(x[a], swap);                                                  \
                    at[0] = first + s0;                                                                                \
                    at[1] = first + s1;                                                                                \
                    at[2] = first + s2;                                                                                \
                    at[3] = first + s3;                                                                                \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
GENN_NM_TABLE(genn_nm_table_s8, int8_t, GENN_NM_SWAP_S8)
GENN_NM_TABLE(genn_nm_table_s16, int16_t, 0)

/* The table's word of unit u of a block. */
GENN_INLINE uint32_t genn_nm_entry(const uint32_t *table, uint32_t places, int32_t u, int32_t unit)
{
    return table[(places >> (8 * u) & 255u) / 4u + (uint32_t)(unit == 16 ? 64 * u : 0)];
}

GENN_INLINE int32_t genn_nm_low(uint32_t word)
{
    return (int16_t)(uint16_t)word;
}

/* The other half of low + high * 65536. */
GENN_INLINE int32_t genn_nm_high(uint32_t word)
{
    return (int32_t)(word - (uint32_t)genn_nm_low(word)) >> 16;
}

/* What one pair of weights adds; an entry's halves are not a sum, but beside each other. */
GENN_INLINE int32_t genn_nm_products(uint32_t entry, int32_t first, int32_t second, int swap)
{
    if (swap)
        return first * genn_nm_high(entry) + second * genn_nm_low(entry);
    return first * genn_nm_low(entry) + second * ((int32_t)entry >> 16);
}

/* The walks: acc plus the products of a row's blocks; each returns where the next row's begin. */
#if !defined(GENN_NM_BYTES_S8)
GENN_INLINE const uint32_t *genn_nm_bytes_s8(const uint32_t *table, const uint32_t *w, int32_t blocks, int32_t unit,
                                             int32_t *acc)
{
    for (; blocks > 0; blocks--, w += 3, table += genn_nm_step(unit) / 4)
        for (int32_t u = 0; u < 4; u++) {
            const uint32_t pair = w[1 + u / 2] >> (8 * (u % 2)), entry = genn_nm_entry(table, w[0], u, unit);
            *acc += genn_nm_products(entry, (int8_t)(uint8_t)pair, (int8_t)(uint8_t)(pair >> 16), GENN_NM_SWAP_S8);
        }
    return w;
}
#endif

#if !defined(GENN_NM_WORDS_S8)
GENN_INLINE const uint32_t *genn_nm_words_s8(const uint32_t *table, const uint32_t *w, int32_t blocks, int32_t unit,
                                             int32_t *acc)
{
    for (; blocks > 0; blocks--, w += 5, table += genn_nm_step(unit) / 4)
        for (int32_t u = 0; u < 4; u++)
            *acc += genn_nm_products(genn_nm_entry(table, w[0], u, unit), genn_nm_low(w[1 + u]),
                                     genn_nm_high(w[1 + u]), GENN_NM_SWAP_S8);
    return w;
}
#endif

/* int16: words whose halves are beside each other, as SMLAD takes them. */
#if !defined(GENN_NM_WORDS_S16)
GENN_INLINE const uint32_t *genn_nm_words_s16(const uint32_t *table, const uint32_t *w, int32_t blocks, int32_t unit,
                                              int32_t *acc)
{
    for (; blocks > 0; blocks--, w += 5, table += genn_nm_step(unit) / 4)
        for (int32_t u = 0; u < 4; u++)
            *acc += genn_nm_products(genn_nm_entry(table, w[0], u, unit), genn_nm_low(w[1 + u]),
                                     (int32_t)w[1 + u] >> 16, 0);
    return w;
}
#endif

#endif
