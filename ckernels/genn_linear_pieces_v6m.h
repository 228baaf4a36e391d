/* int8 linear on ARMv6-M for rows whose sums do not fit the packing: pieces of `chunk` columns, which do (genn_dot_v6m.h).
 *
 * Weights: all rows of the first piece as genn_linear_v6m.h reads them, then those of the next, and so on.
 */
#ifndef GENN_LINEAR_PIECES_V6M_H
#define GENN_LINEAR_PIECES_V6M_H

#include "genn_finish_v6m.h"

struct genn_linear_pieces_v6m {
    int32_t rows, in, out, narrow, offset, lo, hi, shift, chunk;
};

GENN_INLINE void genn_linear_pieces_v6m(const struct genn_linear_pieces_v6m *p, const int8_t *x, const int8_t *w,
                                        const uint32_t *constants, int8_t *y, enum genn_kind_v6m kind)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const void *row = x;
        struct genn_patch_v6m patch = {&row, 1, 0, 0, 0};
        for (int32_t o = 0; o < p->out; o += 8) {
            const int32_t n = p->out - o < 8 ? p->out - o : 8;
            int32_t acc[8], part[8];
            for (patch.at = 0; patch.at < p->in; patch.at += p->chunk) {
                patch.run = p->in - patch.at < p->chunk ? p->in - patch.at : p->chunk;
                genn_dot_v6m_s8(&patch, w + p->out * patch.at + o * patch.run, n, patch.run, part);
                for (int32_t i = 0; i < n; i++)
                    acc[i] = patch.at == 0 ? part[i] : acc[i] + part[i];
            }
            genn_finish_v6m(&f, acc, constants, o, n, y, kind);
        }
    }
}

GENN_KERNEL void genn_linear_pieces_v6m_s8(const struct genn_linear_pieces_v6m *p, const int8_t *x, const int8_t *w,
                                           const uint32_t *constants, int8_t *y)
{
    genn_linear_pieces_v6m(p, x, w, constants, y, GENN_S8_V6M);
}

GENN_KERNEL void genn_linear_pieces_v6m_s8_wide(const struct genn_linear_pieces_v6m *p, const int8_t *x, const int8_t *w,
                                                const uint32_t *constants, int8_t *y)
{
    genn_linear_pieces_v6m(p, x, w, constants, y, GENN_S8_WIDE_V6M);
}

#endif
