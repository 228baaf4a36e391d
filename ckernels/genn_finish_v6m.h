/* From sums to stored outputs on ARMv6-M, for linear, convolution and depthwise. */
#ifndef GENN_FINISH_V6M_H
#define GENN_FINISH_V6M_H

#include "genn_dot_v6m.h"
#include "genn_dot_v6m_s16.h"

/* int16 has neither multipliers nor an offset: its rounding constant is part of the bias. */
struct genn_finish_v6m {
    const int32_t *bias;
    const int16_t *mult;
    int32_t shift, offset, lo, hi;
};

/* Outputs o .. o + n - 1 from the sums acc[0] .. acc[n - 1]. */
GENN_KERNEL void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, int32_t o, int32_t n, int8_t *y)
{
    const int32_t *bias = f->bias + o;
    const int16_t *mult = f->mult + o;

    y += o;
    for (int32_t t = 0; t < n; t++)
        y[t] = (int8_t)genn_requantize(acc[t] + bias[t], mult[t], f->shift, f->offset, f->lo, f->hi);
}

GENN_KERNEL void genn_finish_v6m_s16(const struct genn_finish_v6m *f, const int32_t *acc, int32_t o, int32_t n, int16_t *y)
{
    const int32_t *bias = f->bias + o;

    y += o;
    for (int32_t t = 0; t < n; t++)
        y[t] = (int16_t)genn_clamp_s32((acc[t] + bias[t]) >> f->shift, f->lo, f->hi);
}

/* The largest sums of a pool's window so far. */
GENN_KERNEL void genn_largest_v6m(int32_t *best, const int32_t *acc, int32_t n)
{
    for (int32_t t = 0; t < n; t++)
        if (acc[t] > best[t])
            best[t] = acc[t];
}

#endif
