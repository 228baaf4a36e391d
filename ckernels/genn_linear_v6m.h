/* Linear on ARMv6-M: int8 rows in groups of eight and four, int16 rows in groups of six and two (genn_dot_v6m*.h). */
#ifndef GENN_LINEAR_V6M_H
#define GENN_LINEAR_V6M_H

#include "genn_finish_v6m.h"

struct genn_linear_v6m_s8 {
    int32_t rows, in, out, shift, offset, lo, hi;
};

struct genn_linear_v6m_s16 {
    int32_t rows, in, out, shift, lo, hi;
};

GENN_KERNEL void genn_linear_v6m_s8(const struct genn_linear_v6m_s8 *p, const int8_t *x, const int8_t *w,
                                    const int32_t *bias, const int16_t *mult, int8_t *y)
{
    const struct genn_finish_v6m f = {bias, mult, p->shift, p->offset, p->lo, p->hi};

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const void *row = x;
        const struct genn_patch_v6m patch = {&row, 1, 0, p->in};
        int32_t acc[8];
        for (int32_t o = 0, at = 0, n; o < p->out; o += n, at += n * p->in) {
            n = genn_group_v6m_s8(&patch, w + at, p->out - o, acc);
            genn_finish_v6m_s8(&f, acc, o, n, y);
        }
    }
}

GENN_KERNEL void genn_linear_v6m_s16(const struct genn_linear_v6m_s16 *p, const int16_t *x, const int16_t *w,
                                     const int32_t *bias, int16_t *y)
{
    const struct genn_finish_v6m f = {bias, 0, p->shift, 0, p->lo, p->hi};

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const void *row = x;
        const struct genn_patch_v6m patch = {&row, 1, 0, 2 * p->in};
        const uint32_t sx = genn_sum_v6m_s16(&patch);
        int32_t acc[6];
        for (int32_t o = 0, at = 0, n; o < p->out; o += n, at += n * p->in) {
            n = genn_group_v6m_s16(&patch, w + at, p->out - o, sx, acc);
            genn_finish_v6m_s16(&f, acc, o, n, y);
        }
    }
}

#endif
