/* Linear with stored-sparse weights: count[o] groups of entries a row (genn_sparse.h). */
#ifndef GENN_LINEAR_SPARSE_H
#define GENN_LINEAR_SPARSE_H

#include "genn_linear.h"
#include "genn_sparse.h"

GENN_KERNEL void genn_linear_sparse_f32(const struct genn_linear_f32 *p, const float *GENN_RESTRICT x,
                                        const uint32_t *GENN_RESTRICT w, const float *GENN_RESTRICT bias,
                                        const uint16_t *GENN_RESTRICT count, float *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const uint32_t *row = w;
        for (int32_t o = 0; o < p->out; o++) {
            float acc = bias[o];
            row = genn_sparse_walk_f32(x, row, count[o], &acc);
            y[o] = genn_clamp_f32(acc, p->clamp, p->lo, p->hi);
        }
    }
}

GENN_KERNEL void genn_linear_sparse_s16(const struct genn_linear_s16 *p, const int16_t *GENN_RESTRICT x,
                                        const uint32_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                        const uint16_t *GENN_RESTRICT count, int16_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const uint32_t *row = w;
        for (int32_t o = 0; o < p->out; o++) {
            int32_t acc = bias[o];
            row = genn_sparse_walk_s16(x, row, count[o], &acc);
            y[o] = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
        }
    }
}

GENN_KERNEL void genn_linear_sparse_s8(const struct genn_linear_s8 *p, const int8_t *GENN_RESTRICT x,
                                       const uint32_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                       const int16_t *GENN_RESTRICT mult, const uint16_t *GENN_RESTRICT count,
                                       int8_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const uint32_t *row = w;
        for (int32_t o = 0; o < p->out; o++) {
            int32_t acc = bias[o];
            row = genn_sparse_walk_s8(x, row, count[o], &acc);
            y[o] = (int8_t)genn_requantize(acc, mult[o], p->shift, p->offset, p->lo, p->hi);
        }
    }
}

#endif
