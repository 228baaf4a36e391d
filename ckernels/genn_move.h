/* Data movement: strided copies (transpose, pad, concat, copy), the same with a change of scale, and filling.
 *
 * A move walks a box of at most six dimensions, element steps given for both sides.  Every size and step is a constant
 * of the calling layer function, so loops over size 1 vanish.  The steps are what the Python side collapsed them to.
 */
#ifndef GENN_MOVE_H
#define GENN_MOVE_H

#include "genn_common.h"

struct genn_move {
    int32_t dims[6], from[6], to[6];
};

/* y = clamp((((x + round) >> pre) * mult + offset) >> shift); round is half of 1 << pre, 0 for pre == 0. */
struct genn_rescale {
    int32_t dims[6], from[6], to[6], mult, pre, shift, offset, lo, hi;
};

struct genn_fill_f32 {
    int32_t n;
    float value;
};

struct genn_fill {
    int32_t n, value;
};

/* Six nested loops with counters i0..i5 over a box, and the position of the present element under given steps. */
#define GENN_BOX(dims)                                                                                                 \
    for (int32_t i0 = 0; i0 < (dims)[0]; i0++)                                                                         \
        for (int32_t i1 = 0; i1 < (dims)[1]; i1++)                                                                     \
            for (int32_t i2 = 0; i2 < (dims)[2]; i2++)                                                                 \
                for (int32_t i3 = 0; i3 < (dims)[3]; i3++)                                                             \
                    for (int32_t i4 = 0; i4 < (dims)[4]; i4++)                                                         \
                        for (int32_t i5 = 0; i5 < (dims)[5]; i5++)
#define GENN_BOX_AT(step)                                                                                              \
    (i0 * (step)[0] + i1 * (step)[1] + i2 * (step)[2] + i3 * (step)[3] + i4 * (step)[4] + i5 * (step)[5])

/* A stored integer scaled and moved to another zero point; the bound of every step was proven at conversion. */
GENN_INLINE int32_t genn_affine(int32_t x, int32_t mult, int32_t pre)
{
    return ((x + ((1 << pre) >> 1)) >> pre) * mult;
}

GENN_INLINE void genn_move_f32(const struct genn_move *p, const float *GENN_RESTRICT x, float *GENN_RESTRICT y)
{
    GENN_BOX(p->dims)
    {
        GENN_NO_LIBCALL;
        y[GENN_BOX_AT(p->to)] = x[GENN_BOX_AT(p->from)];
    }
}

GENN_INLINE void genn_move_s16(const struct genn_move *p, const int16_t *GENN_RESTRICT x, int16_t *GENN_RESTRICT y)
{
    GENN_BOX(p->dims)
    {
        GENN_NO_LIBCALL;
        y[GENN_BOX_AT(p->to)] = x[GENN_BOX_AT(p->from)];
    }
}

GENN_INLINE void genn_move_s8(const struct genn_move *p, const int8_t *GENN_RESTRICT x, int8_t *GENN_RESTRICT y)
{
    GENN_BOX(p->dims)
    {
        GENN_NO_LIBCALL;
        y[GENN_BOX_AT(p->to)] = x[GENN_BOX_AT(p->from)];
    }
}

GENN_INLINE void genn_rescale_s16(const struct genn_rescale *p, const int16_t *GENN_RESTRICT x, int16_t *GENN_RESTRICT y)
{
    GENN_BOX(p->dims)
    {
        GENN_NO_LIBCALL;
        const int32_t v = genn_affine(x[GENN_BOX_AT(p->from)], p->mult, p->pre) + p->offset;
        y[GENN_BOX_AT(p->to)] = (int16_t)genn_clamp_s32(v >> p->shift, p->lo, p->hi);
    }
}

GENN_INLINE void genn_rescale_s8(const struct genn_rescale *p, const int8_t *GENN_RESTRICT x, int8_t *GENN_RESTRICT y)
{
    GENN_BOX(p->dims)
    {
        GENN_NO_LIBCALL;
        const int32_t v = genn_affine(x[GENN_BOX_AT(p->from)], p->mult, p->pre) + p->offset;
        y[GENN_BOX_AT(p->to)] = (int8_t)genn_clamp_s32(v >> p->shift, p->lo, p->hi);
    }
}

GENN_INLINE void genn_fill_f32(const struct genn_fill_f32 *p, float *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        GENN_NO_LIBCALL;
        y[i] = p->value;
    }
}

GENN_INLINE void genn_fill_s16(const struct genn_fill *p, int16_t *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        GENN_NO_LIBCALL;
        y[i] = (int16_t)p->value;
    }
}

GENN_INLINE void genn_fill_s8(const struct genn_fill *p, int8_t *y)
{
    for (int32_t i = 0; i < p->n; i++) {
        GENN_NO_LIBCALL;
        y[i] = (int8_t)p->value;
    }
}

#endif
