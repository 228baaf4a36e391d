/* Linear with at most N of every M weights (genn_nm.h). */
#ifndef GENN_LINEAR_NM_H
#define GENN_LINEAR_NM_H

#include "genn_nm.h"

/* tile: of inputs, a multiple of four units. */
struct genn_linear_nm_s8 {
    int32_t rows, in, out, tile, shift, offset, lo, hi;
};

struct genn_linear_nm_s16 {
    int32_t rows, in, out, tile, shift, lo, hi;
};

/* sums: workspace, one for each output, then a tile's table. */
GENN_INLINE void genn_linear_nm_s8(const struct genn_linear_nm_s8 *p, int32_t unit, int words, const int8_t *x,
                                   const uint32_t *w, const int32_t *bias, const int16_t *mult, int32_t *sums, int8_t *y)
{
    uint32_t *table = (uint32_t *)sums + p->out;

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const uint32_t *row = w;
        for (int32_t o = 0; o < p->out; o++)
            sums[o] = bias[o];
        for (int32_t k = 0; k < p->in; k += p->tile) {
            const int32_t n = p->in - k < p->tile ? p->in - k : p->tile, blocks = (n + 4 * unit - 1) / (4 * unit);
            genn_nm_table_s8(x + k, n, unit, table);
            for (int32_t o = 0; o < p->out; o++) {
                if (words)
                    row = genn_nm_words_s8(table, row, blocks, unit, sums + o);
                else
                    row = genn_nm_bytes_s8(table, row, blocks, unit, sums + o);
            }
        }
        for (int32_t o = 0; o < p->out; o++)
            y[o] = (int8_t)genn_requantize(sums[o], mult[o], p->shift, p->offset, p->lo, p->hi);
    }
}

GENN_INLINE void genn_linear_nm_s16(const struct genn_linear_nm_s16 *p, int32_t unit, const int16_t *x, const uint32_t *w,
                                    const int32_t *bias, int32_t *sums, int16_t *y)
{
    uint32_t *table = (uint32_t *)sums + p->out;

    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const uint32_t *row = w;
        for (int32_t o = 0; o < p->out; o++)
            sums[o] = bias[o];
        for (int32_t k = 0; k < p->in; k += p->tile) {
            const int32_t n = p->in - k < p->tile ? p->in - k : p->tile, blocks = (n + 4 * unit - 1) / (4 * unit);
            genn_nm_table_s16(x + k, n, unit, table);
            for (int32_t o = 0; o < p->out; o++)
                row = genn_nm_words_s16(table, row, blocks, unit, sums + o);
        }
        for (int32_t o = 0; o < p->out; o++)
            y[o] = (int16_t)genn_clamp_s32(sums[o] >> p->shift, p->lo, p->hi);
    }
}

/* One entry point for each pattern and form, so that those that share a function share no other's code. */
#define GENN_LINEAR_NM_S8(name, unit, words)                                                                           \
    GENN_KERNEL void name(const struct genn_linear_nm_s8 *p, const int8_t *GENN_RESTRICT x,                            \
                          const uint32_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,                          \
                          const int16_t *GENN_RESTRICT mult, int32_t *sums, int8_t *GENN_RESTRICT y)                   \
    {                                                                                                                  \
        genn_linear_nm_s8(p, unit, words, x, w, bias, mult, sums, y);                                                  \
    }
#define GENN_LINEAR_NM_S16(name, unit)                                                                                 \
    GENN_KERNEL void name(const struct genn_linear_nm_s16 *p, const int16_t *GENN_RESTRICT x,                          \
                          const uint32_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias, int32_t *sums,           \
                          int16_t *GENN_RESTRICT y)                                                                    \
    {                                                                                                                  \
        genn_linear_nm_s16(p, unit, x, w, bias, sums, y);                                                              \
    }
GENN_LINEAR_NM_S8(genn_linear_2of4_bytes_s8, 4, 0)
GENN_LINEAR_NM_S8(genn_linear_1of4_bytes_s8, 8, 0)
GENN_LINEAR_NM_S8(genn_linear_1of8_bytes_s8, 16, 0)
GENN_LINEAR_NM_S8(genn_linear_2of4_words_s8, 4, 1)
GENN_LINEAR_NM_S8(genn_linear_1of4_words_s8, 8, 1)
GENN_LINEAR_NM_S8(genn_linear_1of8_words_s8, 16, 1)
GENN_LINEAR_NM_S16(genn_linear_2of4_words_s16, 4)
GENN_LINEAR_NM_S16(genn_linear_1of4_words_s16, 8)
GENN_LINEAR_NM_S16(genn_linear_1of8_words_s16, 16)

#endif
