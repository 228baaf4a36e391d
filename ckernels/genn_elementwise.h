/* Elementwise arithmetic of two tensors with broadcasting, and of one tensor with a scalar, the clamp fused.
 *
 * Operands are walked over the output's box (see genn_move.h); a step of 0 repeats an element.  The output is written in
 * order, each element after its operands were read, so it may take the place of an operand of its own size.
 */
#ifndef GENN_ELEMENTWISE_H
#define GENN_ELEMENTWISE_H

#include "genn_move.h"

struct genn_elementwise_f32 {
    int32_t dims[6], a_step[6], b_step[6], clamp;
    float lo, hi;
};

/* y = clamp((mult_a * a + mult_b * b + offset) >> shift), a and b shifted right by pre_a, pre_b with rounding first. */
struct genn_add {
    int32_t dims[6], a_step[6], b_step[6], mult_a, pre_a, mult_b, pre_b, shift, offset, lo, hi;
};

/* y = clamp(((a - zero_a) * (b - zero_b) * mult + offset) >> shift) */
struct genn_mul {
    int32_t dims[6], a_step[6], b_step[6], zero_a, zero_b, mult, shift, offset, lo, hi;
};

/* y = clamp((mult * x + offset) >> shift), x shifted right by pre with rounding first: x + k, x - k, k - x, x * k. */
struct genn_scalar {
    int32_t n, mult, pre, shift, offset, lo, hi;
};

GENN_INLINE void genn_add_f32(const struct genn_elementwise_f32 *p, const float *a, const float *b, float *y)
{
    GENN_BOX(p->dims)
    *y++ = genn_clamp_f32(a[GENN_BOX_AT(p->a_step)] + b[GENN_BOX_AT(p->b_step)], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_sub_f32(const struct genn_elementwise_f32 *p, const float *a, const float *b, float *y)
{
    GENN_BOX(p->dims)
    *y++ = genn_clamp_f32(a[GENN_BOX_AT(p->a_step)] - b[GENN_BOX_AT(p->b_step)], p->clamp, p->lo, p->hi);
}

GENN_INLINE void genn_mul_f32(const struct genn_elementwise_f32 *p, const float *a, const float *b, float *y)
{
    GENN_BOX(p->dims)
    *y++ = genn_clamp_f32(a[GENN_BOX_AT(p->a_step)] * b[GENN_BOX_AT(p->b_step)], p->clamp, p->lo, p->hi);
}

GENN_INLINE int32_t genn_add_one(const struct genn_add *p, int32_t a, int32_t b)
{
    GENN_NO_LIBCALL; /* x - x would become memset, x + 0 memcpy */
    const int32_t v = genn_affine(a, p->mult_a, p->pre_a) + genn_affine(b, p->mult_b, p->pre_b) + p->offset;
    return genn_clamp_s32(v >> p->shift, p->lo, p->hi);
}

GENN_INLINE int32_t genn_mul_one(const struct genn_mul *p, int32_t a, int32_t b)
{
    GENN_NO_LIBCALL;
    const int32_t v = (a - p->zero_a) * (b - p->zero_b) * p->mult + p->offset;
    return genn_clamp_s32(v >> p->shift, p->lo, p->hi);
}

GENN_INLINE int32_t genn_scalar_one(const struct genn_scalar *p, int32_t x)
{
    GENN_NO_LIBCALL;
    return genn_clamp_s32((genn_affine(x, p->mult, p->pre) + p->offset) >> p->shift, p->lo, p->hi);
}

GENN_INLINE void genn_add_s16(const struct genn_add *p, const int16_t *a, const int16_t *b, int16_t *y)
{
    GENN_BOX(p->dims)
    *y++ = (int16_t)genn_add_one(p, a[GENN_BOX_AT(p->a_step)], b[GENN_BOX_AT(p->b_step)]);
}

GENN_INLINE void genn_add_s8(const struct genn_add *p, const int8_t *a, const int8_t *b, int8_t *y)
{
    GENN_BOX(p->dims)
    *y++ = (int8_t)genn_add_one(p, a[GENN_BOX_AT(p->a_step)], b[GENN_BOX_AT(p->b_step)]);
}

GENN_INLINE void genn_mul_s16(const struct genn_mul *p, const int16_t *a, const int16_t *b, int16_t *y)
{
    GENN_BOX(p->dims)
    *y++ = (int16_t)genn_mul_one(p, a[GENN_BOX_AT(p->a_step)], b[GENN_BOX_AT(p->b_step)]);
}

GENN_INLINE void genn_mul_s8(const struct genn_mul *p, const int8_t *a, const int8_t *b, int8_t *y)
{
    GENN_BOX(p->dims)
    *y++ = (int8_t)genn_mul_one(p, a[GENN_BOX_AT(p->a_step)], b[GENN_BOX_AT(p->b_step)]);
}

GENN_INLINE void genn_scalar_s16(const struct genn_scalar *p, const int16_t *x, int16_t *y)
{
    for (int32_t i = 0; i < p->n; i++)
        y[i] = (int16_t)genn_scalar_one(p, x[i]);
}

GENN_INLINE void genn_scalar_s8(const struct genn_scalar *p, const int8_t *x, int8_t *y)
{
    for (int32_t i = 0; i < p->n; i++)
        y[i] = (int8_t)genn_scalar_one(p, x[i]);
}

#endif
