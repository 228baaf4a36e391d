/* Linear on ARMv6-M, int8 and int16: a few rows at a time (genn_dot_v6m*.h). */
#ifndef GENN_LINEAR_V6M_H
#define GENN_LINEAR_V6M_H

#include "genn_finish_v6m.h"

struct genn_linear_v6m {
    int32_t rows, in, out, narrow, offset, lo, hi, shift;
};

/* Outputs are made as many at a time as the largest group of rows has. */
GENN_INLINE void genn_linear_v6m(const struct genn_linear_v6m *p, const void *x, const void *w, const uint32_t *constants,
                                 void *y, enum genn_kind_v6m kind)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};
    const int32_t item = genn_item_v6m(kind), group = kind == GENN_S16_V6M ? 6 : 8;

    for (int32_t r = 0; r < p->rows; r++, x = (const char *)x + p->in * item, y = (char *)y + p->out * item) {
        const void *row = x;
        struct genn_patch_v6m patch = {&row, 1, 0, p->in * item, 0};
        int32_t acc[8], o = 0;
        if (kind == GENN_S16_V6M)
            patch.offset = genn_offset_v6m_s16(&patch);
        for (; o + group <= p->out; o += group) {
            genn_dot_v6m(&patch, w, o, group, p->in, acc, kind);
            genn_finish_v6m(&f, acc, constants, o, group, y, kind);
        }
        if (o < p->out) {
            genn_dot_v6m(&patch, w, o, p->out - o, p->in, acc, kind);
            genn_finish_v6m(&f, acc, constants, o, p->out - o, y, kind);
        }
    }
}

GENN_KERNEL void genn_linear_v6m_s8(const struct genn_linear_v6m *p, const int8_t *x, const int8_t *w,
                                    const uint32_t *constants, int8_t *y)
{
    genn_linear_v6m(p, x, w, constants, y, GENN_S8_V6M);
}

GENN_KERNEL void genn_linear_v6m_s8_wide(const struct genn_linear_v6m *p, const int8_t *x, const int8_t *w,
                                         const uint32_t *constants, int8_t *y)
{
    genn_linear_v6m(p, x, w, constants, y, GENN_S8_WIDE_V6M);
}

GENN_KERNEL void genn_linear_v6m_s16(const struct genn_linear_v6m *p, const int16_t *x, const int16_t *w,
                                     const uint32_t *constants, int16_t *y)
{
    genn_linear_v6m(p, x, w, constants, y, GENN_S16_V6M);
}

#endif
