/* Grouped convolution on ARMv6-M, int8 and int16, with a fused maximum pool; depthwise has a kernel of its own.
 *
 * A group's taps do not lie in one piece: they are gathered for each pixel, then all of the group's outputs read them.
 * Weights: each group's rows as genn_dot_v6m*.h reads them, from a word's first byte on.  Workspace: a group's sums, with a
 * pool twice, then its taps.
 */
#ifndef GENN_CONV_GROUPS_V6M_H
#define GENN_CONV_GROUPS_V6M_H

#include "genn_conv_v6m.h"

struct genn_conv_groups_v6m {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups;
    int32_t pool_h, pool_w, padded, zero_point, narrow, offset, lo, hi, shift;
};

/* The taps of the window at iy0, ix0; x is the group's first channel of the sample. */
GENN_INLINE void genn_gather_group_v6m(const struct genn_conv_groups_v6m *p, const void *x, int32_t iy0, int32_t ix0, void *to,
                                       int32_t item)
{
    const int32_t ci = p->in_c / p->groups;

    for (int32_t ky = 0, iy = iy0; ky < p->k_h; ky++, iy += p->dil_h)
        for (int32_t kx = 0, ix = ix0; kx < p->k_w; kx++, ix += p->dil_w) {
            const int inside = !p->padded || (iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w);
            const char *from = (const char *)x + (iy * p->in_w + ix) * p->in_c * item;
            to = genn_copy_v6m(to, inside ? from : 0, ci, p->zero_point, item);
        }
}

/* One output row of the sample x, its first output at y. */
GENN_INLINE void genn_conv_groups_row_v6m(const struct genn_conv_groups_v6m *p, const void *x, int32_t oy, const void *w,
                                          const uint32_t *constants, int32_t *best, void *y, enum genn_kind_v6m kind)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};
    const int32_t item = genn_item_v6m(kind), ci = p->in_c / p->groups, co = p->out_c / p->groups;
    const int32_t area = p->pool_h * p->pool_w, taps = p->k_h * p->k_w * ci, stored = (co * taps * item + 3) / 4 * 4;
    int32_t *const acc = area > 1 ? best + co : best;
    void *const column = acc + co;
    const void *const gathered = column;
    struct genn_patch_v6m patch = {&gathered, 1, 0, taps * item, 0};

    for (int32_t ox = 0; ox < p->out_w; ox++, y = (char *)y + p->out_c * item)
        for (int32_t g = 0; g < p->groups; g++) {
            for (int32_t i = 0; i < area; i++) {
                const int32_t iy0 = (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h;
                const int32_t ix0 = (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w;
                genn_gather_group_v6m(p, (const char *)x + g * ci * item, iy0, ix0, column, item);
                if (kind == GENN_S16_V6M)
                    patch.offset = genn_offset_v6m_s16(&patch);
                genn_dot_v6m(&patch, (const char *)w + g * stored, 0, co, taps, i == 0 ? best : acc, kind);
                if (i > 0)
                    genn_largest_v6m(best, acc, co);
            }
            genn_finish_v6m(&f, best, constants, g * co, co, y, kind);
        }
}

GENN_INLINE void genn_conv_groups_v6m(const struct genn_conv_groups_v6m *p, const void *x, const void *w,
                                      const uint32_t *constants, int32_t *best, void *y, enum genn_kind_v6m kind)
{
    const int32_t item = genn_item_v6m(kind);

    for (int32_t n = 0; n < p->n; n++, x = (const char *)x + p->in_h * p->in_w * p->in_c * item)
        for (int32_t oy = 0; oy < p->out_h; oy++, y = (char *)y + p->out_w * p->out_c * item)
            genn_conv_groups_row_v6m(p, x, oy, w, constants, best, y, kind);
}

GENN_KERNEL void genn_conv_groups_v6m_s8(const struct genn_conv_groups_v6m *p, const int8_t *x, const int8_t *w,
                                         const uint32_t *constants, int32_t *best, int8_t *y)
{
    genn_conv_groups_v6m(p, x, w, constants, best, y, GENN_S8_V6M);
}

GENN_KERNEL void genn_conv_groups_v6m_s8_wide(const struct genn_conv_groups_v6m *p, const int8_t *x, const int8_t *w,
                                              const uint32_t *constants, int32_t *best, int8_t *y)
{
    genn_conv_groups_v6m(p, x, w, constants, best, y, GENN_S8_WIDE_V6M);
}

GENN_KERNEL void genn_conv_groups_v6m_s16(const struct genn_conv_groups_v6m *p, const int16_t *x, const int16_t *w,
                                          const uint32_t *constants, int32_t *best, int16_t *y)
{
    genn_conv_groups_v6m(p, x, w, constants, best, y, GENN_S16_V6M);
}

#endif
