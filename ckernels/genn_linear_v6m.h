/* Linear on ARMv6-M: int8 rows in groups of eight and four (genn_dot_v6m.h). */
#ifndef GENN_LINEAR_V6M_H
#define GENN_LINEAR_V6M_H

#include "genn_dot_v6m.h"

struct genn_linear_v6m_s8 {
    int32_t rows, in, out, shift, offset, lo, hi;
};

GENN_KERNEL void genn_linear_v6m_s8(const struct genn_linear_v6m_s8 *p, const int8_t *x, const int8_t *w,
                                    const int32_t *bias, const int16_t *mult, int8_t *y)
{
    const int32_t in = p->in;

    for (int32_t r = 0; r < p->rows; r++, x += in) {
        const void *row = x;
        const struct genn_patch_v6m patch = {&row, 1, 0, in};
        const int8_t *wp = w;
        int32_t acc[8];
        for (int32_t o = 0, n; o < p->out; o += n, wp += n * in) {
            n = genn_dot_group_v6m_s8(&patch, wp, p->out - o, acc);
            for (int32_t t = 0; t < n; t++)
                *y++ = (int8_t)genn_requantize(acc[t] + bias[o + t], mult[o + t], p->shift, p->offset, p->lo, p->hi);
        }
    }
}

#endif
