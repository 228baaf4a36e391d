/* Stored-sparse rows: how they are packed, and the walks that add a row's products up.
 *
 * A row is a number of groups of four entries.  A group is a word of four unsigned bytes, the places of the entries counted
 * from the group's base, then the entries' values: one word for int8, two for int16, four for float32.  The base of a row's
 * first group is the row's first input, and each group's fourth place is the base of the next.  Entries come in rising
 * order of place; what a gap or a row's end leaves over of a group has the value zero.
 *
 * A walk returns where the next row begins.
 */
#ifndef GENN_SPARSE_H
#define GENN_SPARSE_H

#include "genn_dot.h"

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && defined(__OPTIMIZE__)
#include "genn_sparse_v7em.h"
#elif defined(__ARM_ARCH_6M__) && defined(__OPTIMIZE__)
#include "genn_sparse_v6m.h"
#endif

GENN_INLINE float genn_word_f32(uint32_t word)
{
    union {
        uint32_t u;
        float f;
    } v;

    v.u = word;
    return v.f;
}

/* Entry i of a group: its place; its value. */
GENN_INLINE int32_t genn_sparse_place(const uint32_t *group, int32_t i)
{
    return (int32_t)(group[0] >> (8 * i) & 255u);
}

GENN_INLINE int32_t genn_sparse_value_s8(const uint32_t *group, int32_t i)
{
    return (int8_t)(uint8_t)(group[1] >> (8 * i));
}

GENN_INLINE int32_t genn_sparse_value_s16(const uint32_t *group, int32_t i)
{
    return (int16_t)(uint16_t)(group[1 + i / 2] >> (16 * (i % 2)));
}

#if !defined(GENN_SPARSE_WALK_S8)
GENN_INLINE const uint32_t *genn_sparse_walk_s8(const int8_t *x, const uint32_t *w, int32_t groups, int32_t *acc)
{
    int32_t sum = *acc;

    for (; groups > 0; groups--, w += 2) {
        GENN_UNROLL
        for (int32_t i = 0; i < 4; i++)
            sum += genn_sparse_value_s8(w, i) * x[genn_sparse_place(w, i)];
        x += genn_sparse_place(w, 3);
    }
    *acc = sum;
    return w;
}

GENN_INLINE const uint32_t *genn_sparse_walk_s16(const int16_t *x, const uint32_t *w, int32_t groups, int32_t *acc)
{
    int32_t sum = *acc;

    for (; groups > 0; groups--, w += 3) {
        GENN_UNROLL
        for (int32_t i = 0; i < 4; i++)
            sum += genn_sparse_value_s16(w, i) * x[genn_sparse_place(w, i)];
        x += genn_sparse_place(w, 3);
    }
    *acc = sum;
    return w;
}
#endif

#if defined(GENN_SOFT_F32)
#define GENN_SPARSE_WALK_F32

/* Four groups at a time become a dense inner product, whose sum need not be packed in between.  `stride`: of the places. */
GENN_INLINE const uint32_t *genn_sparse_soft(const float *x, int32_t stride, const uint32_t *w, int32_t groups, float *acc)
{
    float xs[16], ws[16];

    while (groups > 0) {
        int32_t n = 0;
        for (; groups > 0 && n < 16; groups--, n += 4, w += 5) {
            for (int32_t i = 0; i < 4; i++) {
                xs[n + i] = x[genn_sparse_place(w, i) * stride];
                ws[n + i] = genn_word_f32(w[1 + i]);
            }
            x += genn_sparse_place(w, 3) * stride;
        }
        *acc = genn_soft_dot(xs, ws, n, 1, *acc);
    }
    return w;
}

GENN_INLINE const uint32_t *genn_sparse_walk_f32(const float *x, const uint32_t *w, int32_t groups, float *acc)
{
    return genn_sparse_soft(x, 1, w, groups, acc);
}
#endif

#if !defined(GENN_SPARSE_WALK_F32)
GENN_INLINE const uint32_t *genn_sparse_walk_f32(const float *x, const uint32_t *w, int32_t groups, float *acc)
{
    float sum = *acc;

    for (; groups > 0; groups--, w += 5) {
        GENN_UNROLL
        for (int32_t i = 0; i < 4; i++)
            sum = sum + genn_word_f32(w[1 + i]) * x[genn_sparse_place(w, i)];
        x += genn_sparse_place(w, 3);
    }
    *acc = sum;
    return w;
}
#endif

/* The same for the tiles of genn_conv_sparse.h: x[tap * pixels + i] is the tap of pixel i. */
#if !defined(GENN_SPARSE_TILE_S8)
GENN_INLINE const uint32_t *genn_sparse_tile_s8(const int8_t *x, const uint32_t *w, int32_t groups, int32_t *sums)
{
    for (; groups > 0; groups--, w += 2) {
        for (int32_t i = 0; i < 4; i++)
            for (int32_t t = 0; t < 4; t++)
                sums[t] += genn_sparse_value_s8(w, i) * x[genn_sparse_place(w, i) * 4 + t];
        x += genn_sparse_place(w, 3) * 4;
    }
    return w;
}

GENN_INLINE const uint32_t *genn_sparse_tile_s16(const int16_t *x, const uint32_t *w, int32_t groups, int32_t *sums)
{
    for (; groups > 0; groups--, w += 3) {
        for (int32_t i = 0; i < 4; i++)
            for (int32_t t = 0; t < 2; t++)
                sums[t] += genn_sparse_value_s16(w, i) * x[genn_sparse_place(w, i) * 2 + t];
        x += genn_sparse_place(w, 3) * 2;
    }
    return w;
}
#endif

#if defined(GENN_SOFT_F32)
#define GENN_SPARSE_TILE_F32

GENN_INLINE const uint32_t *genn_sparse_tile_f32(const float *x, const uint32_t *w, int32_t groups, float *sums)
{
    (void)genn_sparse_soft(x, 2, w, groups, sums);
    return genn_sparse_soft(x + 1, 2, w, groups, sums + 1);
}
#endif

#if !defined(GENN_SPARSE_TILE_F32)
GENN_INLINE const uint32_t *genn_sparse_tile_f32(const float *x, const uint32_t *w, int32_t groups, float *sums)
{
    for (; groups > 0; groups--, w += 5) {
        for (int32_t i = 0; i < 4; i++)
            for (int32_t t = 0; t < 2; t++)
                sums[t] = sums[t] + genn_word_f32(w[1 + i]) * x[genn_sparse_place(w, i) * 2 + t];
        x += genn_sparse_place(w, 3) * 2;
    }
    return w;
}
#endif

#endif
