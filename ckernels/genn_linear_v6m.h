/* Linear on ARMv6-M, int8 and int16: a few rows at a time (genn_dot_v6m*.h). */
#ifndef GENN_LINEAR_V6M_H
#define GENN_LINEAR_V6M_H

#include "genn_finish_v6m.h"

struct genn_linear_v6m {
    int32_t rows, in, out, narrow, offset, lo, hi, shift;
};

GENN_KERNEL void genn_linear_v6m_s8(const struct genn_linear_v6m *p, const int8_t *x, const int8_t *w,
                                    const uint32_t *constants, int8_t *y)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const void *row = x;
        const struct genn_patch_v6m patch = {&row, 1, 0, p->in, 0};
        int32_t acc[8], o = 0;
        for (; o + 8 <= p->out; o += 8) {
            genn_dot_v6m_s8(&patch, w + o * p->in, 8, p->in, acc);
            genn_finish_v6m_s8(&f, acc, constants + o, 8, y + o);
        }
        if (o < p->out) {
            genn_dot_v6m_s8(&patch, w + o * p->in, p->out - o, p->in, acc);
            genn_finish_v6m_s8(&f, acc, constants + o, p->out - o, y + o);
        }
    }
}

GENN_KERNEL void genn_linear_v6m_s16(const struct genn_linear_v6m *p, const int16_t *x, const int16_t *w,
                                     const int32_t *bias, int16_t *y)
{
    const struct genn_finish_v6m f = {0, 0, p->lo, p->hi, p->shift};

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const void *row = x;
        struct genn_patch_v6m patch = {&row, 1, 0, 2 * p->in, 0};
        int32_t acc[6], o = 0;
        patch.offset = genn_offset_v6m_s16(&patch);
        for (; o + 6 <= p->out; o += 6) {
            genn_dot_v6m_s16(&patch, w + o * p->in, 6, p->in, acc);
            genn_finish_v6m_s16(&f, acc, bias + o, 6, y + o);
        }
        if (o < p->out) {
            genn_dot_v6m_s16(&patch, w + o * p->in, p->out - o, p->in, acc);
            genn_finish_v6m_s16(&f, acc, bias + o, p->out - o, y + o);
        }
    }
}

#endif
