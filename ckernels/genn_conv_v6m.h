/* Convolution on ARMv6-M, int8 and int16, with a fused maximum pool.
 *
 * One function makes one output row from pointers to the input rows under it, which may lie anywhere.  Where all taps of a
 * pixel lie inside the input they are read in place, one run of bytes a row; else (and where the converter found the runs too
 * short) they are gathered first.  Workspace: a pixel's sums (out_c words), with a pool twice, then the gathered taps.
 */
#ifndef GENN_CONV_V6M_H
#define GENN_CONV_V6M_H

#include "genn_finish_v6m.h"

#define GENN_CONV_ROWS_V6M 24 /* input rows under one output row, at most */

/* groups is 1, or for depthwise in_c.  padded: some tap may fall outside; gather: every pixel's taps are gathered. */
struct genn_conv_v6m {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
    int32_t pool_h, pool_w, padded, gather, zero_point, narrow, offset, lo, hi, shift;
};

/* Pointers to the input rows under output row oy, 0 where there is only padding. */
GENN_INLINE void genn_conv_rows_v6m(const struct genn_conv_v6m *p, const void *x, int32_t oy, int32_t item, const void **rows)
{
    const int32_t row = p->in_w * p->in_c * item, reach = (p->pool_h - 1) * p->stride_h + (p->k_h - 1) * p->dil_h + 1;
    int32_t iy = oy * p->pool_h * p->stride_h - p->pad_h;

    for (int32_t i = 0; i < reach; i++, iy++)
        rows[i] = !p->padded || (iy >= 0 && iy < p->in_h) ? (const char *)x + iy * row : 0;
}

/* n inputs from `from`, or of padding where it is 0. */
GENN_INLINE void *genn_copy_v6m(void *to, const void *from, int32_t n, int32_t zero_point, int32_t item)
{
    GENN_UNROLL
    for (int32_t k = 0; k < n; k++) {
        if (item == 1)
            ((int8_t *)to)[k] = from ? ((const int8_t *)from)[k] : (int8_t)zero_point;
        else
            ((int16_t *)to)[k] = from ? ((const int16_t *)from)[k] : 0;
        GENN_NO_LIBCALL;
    }
    return (char *)to + n * item;
}

/* The taps of the pixel whose first is at column ix0 of rows[0], one behind another. */
GENN_INLINE void genn_gather_v6m(const struct genn_conv_v6m *p, const void *const *rows, int32_t ix0, void *to, int32_t item)
{
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const char *row = rows[ky * p->dil_h];
#if !defined(GENN_FLASH)
        if ((!p->padded || (row && ix0 >= 0 && ix0 + p->k_w <= p->in_w)) && p->dil_w == 1) {
            to = genn_copy_v6m(to, row + ix0 * p->in_c * item, p->k_w * p->in_c, 0, item);
            continue;
        }
#endif
        for (int32_t kx = 0, ix = ix0; kx < p->k_w; kx++, ix += p->dil_w) {
            const int inside = !p->padded || (row && ix >= 0 && ix < p->in_w);
            to = genn_copy_v6m(to, inside ? row + ix * p->in_c * item : 0, p->in_c, p->zero_point, item);
        }
    }
}

/* Sums of one output pixel, the largest of its pool's window; rows: those under its output row, x: its first column. */
GENN_INLINE void genn_conv_window_v6m(const struct genn_conv_v6m *p, const void *const *rows, int32_t x, const void *w,
                                      int32_t *best, enum genn_kind_v6m kind)
{
    const int32_t item = genn_item_v6m(kind), run = p->k_w * p->in_c * item, taps = p->k_h * p->k_w * p->in_c;
    int32_t *const acc = p->pool_h * p->pool_w > 1 ? best + p->out_c : best;
    void *const column = acc + p->out_c;
    const void *const gathered = column;

    for (int32_t py = 0; py < p->pool_h; py++, rows += p->stride_h)
        for (int32_t px = 0; px < p->pool_w; px++) {
            const int32_t ix0 = x + px * p->stride_w;
            const int inside = !p->padded || (ix0 >= 0 && ix0 + p->k_w <= p->in_w && rows[0] && rows[p->k_h - 1]);
            const int first = py + px == 0;
            struct genn_patch_v6m patch = {rows, p->k_h, ix0 * p->in_c * item, run, 0};
            if (p->gather || !inside) {
                genn_gather_v6m(p, rows, ix0, column, item);
                patch = (struct genn_patch_v6m){&gathered, 1, 0, taps * item, 0};
            }
            if (kind == GENN_S16_V6M)
                patch.offset = genn_offset_v6m_s16(&patch);
            genn_dot_v6m(&patch, w, 0, p->out_c, taps, first ? best : acc, kind);
            if (!first)
                genn_largest_v6m(best, acc, p->out_c);
        }
}

/* One output row, its first output at y. */
GENN_INLINE void genn_conv_row_v6m(const struct genn_conv_v6m *p, const void *const *rows, const void *w,
                                   const uint32_t *constants, int32_t *best, void *y, enum genn_kind_v6m kind)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};

    for (int32_t ox = 0; ox < p->out_w; ox++) {
        genn_conv_window_v6m(p, rows, ox * p->pool_w * p->stride_w - p->pad_w, w, best, kind);
        genn_finish_v6m(&f, best, constants, 0, p->out_c, (char *)y + ox * p->out_c * genn_item_v6m(kind), kind);
    }
}

GENN_INLINE void genn_conv_v6m(const struct genn_conv_v6m *p, const void *x, const void *w, const uint32_t *constants,
                               int32_t *best, void *y, enum genn_kind_v6m kind)
{
    const void *rows[GENN_CONV_ROWS_V6M];
    const int32_t item = genn_item_v6m(kind);

    for (int32_t n = 0; n < p->n; n++, x = (const char *)x + p->in_h * p->in_w * p->in_c * item)
        for (int32_t oy = 0; oy < p->out_h; oy++, y = (char *)y + p->out_w * p->out_c * item) {
            genn_conv_rows_v6m(p, x, oy, item, rows);
            genn_conv_row_v6m(p, rows, w, constants, best, y, kind);
        }
}

GENN_KERNEL void genn_conv_v6m_s8(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w, const uint32_t *constants,
                                  int32_t *best, int8_t *y)
{
    genn_conv_v6m(p, x, w, constants, best, y, GENN_S8_V6M);
}

GENN_KERNEL void genn_conv_v6m_s8_wide(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w,
                                       const uint32_t *constants, int32_t *best, int8_t *y)
{
    genn_conv_v6m(p, x, w, constants, best, y, GENN_S8_WIDE_V6M);
}

GENN_KERNEL void genn_conv_v6m_s16(const struct genn_conv_v6m *p, const int16_t *x, const int16_t *w, const uint32_t *constants,
                                   int32_t *best, int16_t *y)
{
    genn_conv_v6m(p, x, w, constants, best, y, GENN_S16_V6M);
}

#endif
