/* Convolution on ARMv6-M, with a fused maximum pool: int8 outputs in groups of eight and four (genn_dot_v6m.h).
 *
 * One function makes one output row from pointers to the input rows under it, which may lie anywhere.  Where all taps of a
 * pixel lie inside the input they are read in place, one run of bytes a row; else (and where the converter found the runs too
 * short) they are gathered first.  Workspace: the largest sums of the pool's window (out_c words), then the gathered taps.
 */
#ifndef GENN_CONV_V6M_H
#define GENN_CONV_V6M_H

#include "genn_dot_v6m.h"

#define GENN_CONV_ROWS_V6M 24 /* input rows under one output row, at most */

/* padded: some tap may fall outside; gather: every pixel's taps are gathered.  groups is 1. */
struct genn_conv_v6m_s8 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
    int32_t pool_h, pool_w, padded, gather, zero_point, shift, offset, lo, hi;
};

/* Pointers to the input rows under output row oy, 0 where there is only padding. */
GENN_INLINE void genn_conv_rows_v6m(const struct genn_conv_v6m_s8 *p, const void *x, int32_t oy, int32_t item, const void **rows)
{
    const int32_t row = p->in_w * p->in_c * item, reach = (p->pool_h - 1) * p->stride_h + (p->k_h - 1) * p->dil_h + 1;
    int32_t iy = oy * p->pool_h * p->stride_h - p->pad_h;

    for (int32_t i = 0; i < reach; i++, iy++)
        rows[i] = !p->padded || (iy >= 0 && iy < p->in_h) ? (const char *)x + iy * row : 0;
}

/* The taps of the pixel whose first is at column ix0 of rows[0] (0: the row is padding), one behind another. */
GENN_INLINE void genn_gather_v6m_s8(const struct genn_conv_v6m_s8 *p, const void *const *rows, int32_t ix0, int8_t *to)
{
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const int8_t *row = rows[ky * p->dil_h];
#if !defined(GENN_FLASH)
        if ((!p->padded || (row && ix0 >= 0 && ix0 + p->k_w <= p->in_w)) && p->dil_w == 1) {
            GENN_UNROLL
            for (int32_t k = 0; k < p->k_w * p->in_c; k++) {
                *to++ = row[ix0 * p->in_c + k];
                GENN_NO_LIBCALL;
            }
            continue;
        }
#endif
        for (int32_t kx = 0, ix = ix0; kx < p->k_w; kx++, ix += p->dil_w)
            for (int32_t c = 0; c < p->in_c; c++) {
                *to++ = !p->padded || (row && ix >= 0 && ix < p->in_w) ? row[ix * p->in_c + c] : (int8_t)p->zero_point;
                GENN_NO_LIBCALL;
            }
    }
}

/* Sums of one pixel for all outputs: stored, or, behind the first of a pool's window, merged into the largest. */
GENN_INLINE void genn_conv_pixel_v6m_s8(const struct genn_conv_v6m_s8 *p, const struct genn_patch_v6m *x, const int8_t *w,
                                        int32_t *best, int first)
{
    const int32_t taps = p->k_h * p->k_w * p->in_c;
    int32_t acc[8];

    for (int32_t o = 0, n; o < p->out_c; o += n, w += n * taps) {
        n = genn_dot_group_v6m_s8(x, w, p->out_c - o, first ? best + o : acc);
        if (!first)
            for (int32_t t = 0; t < n; t++)
                if (acc[t] > best[o + t])
                    best[o + t] = acc[t];
    }
}

/* One output row.  rows: the pool_h * stride_h rows and what the kernel reaches beyond, 0 where there is only padding. */
GENN_INLINE int8_t *genn_conv_row_v6m_s8(const struct genn_conv_v6m_s8 *p, const void *const *rows, const int8_t *w,
                                         const int32_t *bias, const int16_t *mult, int32_t *best, int8_t *y)
{
    const int32_t run = p->k_w * p->in_c;
    int8_t *const taps = (int8_t *)(best + p->out_c);
    const void *const gathered = taps;

    for (int32_t x = -p->pad_w; x < p->out_w * p->pool_w * p->stride_w - p->pad_w; x += p->pool_w * p->stride_w) {
        for (int32_t py = 0; py < p->pool_h; py++)
            for (int32_t px = 0; px < p->pool_w; px++) {
                const void *const *from = rows + py * p->stride_h;
                const int32_t ix0 = x + px * p->stride_w;
                const int inside = !p->padded || (ix0 >= 0 && ix0 + p->k_w <= p->in_w && from[0] && from[p->k_h - 1]);
                struct genn_patch_v6m patch = {from, p->k_h, ix0 * p->in_c, run};
                if (p->gather || !inside) {
                    genn_gather_v6m_s8(p, from, ix0, taps);
                    patch = (struct genn_patch_v6m){&gathered, 1, 0, p->k_h * run};
                }
                genn_conv_pixel_v6m_s8(p, &patch, w, best, py + px == 0);
            }
        for (int32_t o = 0; o < p->out_c; o++)
            *y++ = (int8_t)genn_requantize(best[o] + bias[o], mult[o], p->shift, p->offset, p->lo, p->hi);
    }
    return y;
}

GENN_KERNEL void genn_conv_v6m_s8(const struct genn_conv_v6m_s8 *p, const int8_t *x, const int8_t *w, const int32_t *bias,
                                  const int16_t *mult, int32_t *best, int8_t *y)
{
    const void *rows[GENN_CONV_ROWS_V6M];

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++) {
            genn_conv_rows_v6m(p, x, oy, 1, rows);
            y = genn_conv_row_v6m_s8(p, rows, w, bias, mult, best, y);
        }
}

#endif
