/* The text of genn_conv_sparse.h for one scheme; included once for each. */

#if !defined(GENN_MULT)
#define GENN_MULT
#define GENN_MULT_NAME
#endif
#define GENN_PARAMS const struct GENN_SPARSE_NAME(genn_conv_) *p

/* Whole windows (without a pool: pixels) of a tile; 1 where a window takes several tiles or does not divide one. */
GENN_INLINE int32_t GENN_SPARSE_NAME(genn_sparse_windows_)(GENN_PARAMS)
{
    const int32_t area = p->pool_h * p->pool_w;

    return GENN_PIXELS % area == 0 ? GENN_PIXELS / area : 1;
}

/* The tile from output ox of row oy on or, where a window takes several tiles, from its pixel `first` on. */
GENN_INLINE void GENN_SPARSE_NAME(genn_sparse_find_)(GENN_PARAMS, int32_t oy, int32_t ox, int32_t first,
                                                     struct genn_sparse_pixels *at)
{
    const int32_t area = p->pool_h * p->pool_w, windows = GENN_SPARSE_NAME(genn_sparse_windows_)(p);

    for (int32_t i = 0; i < GENN_PIXELS; i++) {
        const int32_t window = windows > 1 && ox + i / area >= p->out_w ? p->out_w - 1 : windows > 1 ? ox + i / area : ox;
        const int32_t j = windows > 1 ? i % area : first + i < area ? first + i : area - 1;
        at->iy[i] = (oy * p->pool_h + j / p->pool_w) * p->stride_h - p->pad_h;
        at->ix[i] = (window * p->pool_w + j % p->pool_w) * p->stride_w - p->pad_w;
    }
}

/* n neighbours to the places of one pixel. */
GENN_INLINE GENN_TYPE *GENN_SPARSE_NAME(genn_sparse_spread_)(const GENN_TYPE *from, int32_t n, GENN_TYPE *to)
{
    for (; n >= 4; n -= 4, from += 4, to += 4 * GENN_PIXELS) {
        const GENN_TYPE a = from[0], b = from[1], c = from[2], d = from[3];
        to[0] = a;
        to[GENN_PIXELS] = b;
        to[2 * GENN_PIXELS] = c;
        to[3 * GENN_PIXELS] = d;
    }
    for (; n > 0; n--, to += GENN_PIXELS)
        *to = *from++;
    return to;
}

/* patch[tap * GENN_PIXELS + i] = tap under pixel i; x is the group's first channel of the sample. */
GENN_INLINE void GENN_SPARSE_NAME(genn_sparse_gather_)(GENN_PARAMS, const struct genn_sparse_pixels *at, const GENN_TYPE *x,
                                                       GENN_TYPE *patch)
{
    const int32_t ci = p->in_c / p->groups;

    for (int32_t i = 0; i < GENN_PIXELS; i++) {
        const int32_t ix0 = at->ix[i];
        const int across = !p->padded || (ix0 >= 0 && ix0 + (p->k_w - 1) * p->dil_w < p->in_w);
        GENN_TYPE *to = patch + i;

        for (int32_t ky = 0; ky < p->k_h; ky++) {
            const int32_t iy = at->iy[i] + ky * p->dil_h;
            const int in_row = !p->padded || (iy >= 0 && iy < p->in_h);
            const int32_t row = iy * p->in_w * p->in_c; /* how rows follow each other in memory */

            if (p->groups == 1 && p->dil_w == 1 && in_row && across) {
                to = GENN_SPARSE_NAME(genn_sparse_spread_)(x + (row + ix0 * p->in_c), p->k_w * ci, to);
                continue;
            }
            for (int32_t kx = 0; kx < p->k_w; kx++) {
                const int32_t ix = ix0 + kx * p->dil_w;
                if (in_row && (!p->padded || (ix >= 0 && ix < p->in_w))) {
                    to = GENN_SPARSE_NAME(genn_sparse_spread_)(x + (row + ix * p->in_c), ci, to);
                    continue;
                }
                for (int32_t c = 0; c < ci; c++, to += GENN_PIXELS)
                    *to = (GENN_TYPE)(GENN_OUTSIDE);
            }
        }
    }
}

/* The outputs of channel o for gathered patches; returns where the next row of weights begins. */
GENN_INLINE const uint32_t *GENN_SPARSE_NAME(genn_sparse_channel_)(GENN_PARAMS, const uint32_t *w, const GENN_SUM *bias,
                                                                   GENN_MULT const uint16_t *count, GENN_TYPE *patches,
                                                                   int32_t ox, int32_t o, GENN_TYPE *y)
{
    const int32_t area = p->pool_h * p->pool_w, tiles = (area + GENN_PIXELS - 1) / GENN_PIXELS;
    const int32_t windows = GENN_SPARSE_NAME(genn_sparse_windows_)(p);
    const int32_t size = p->k_h * p->k_w * (p->in_c / p->groups) * GENN_PIXELS;
    const uint32_t *next = w;
    GENN_SUM sums[GENN_PIXELS], best = 0;

    for (int32_t t = 0; t < tiles; t++) {
        GENN_UNROLL
        for (int32_t i = 0; i < GENN_PIXELS; i++)
            sums[i] = bias[o];
        next = GENN_SPARSE_NAME(genn_sparse_tile_)(patches + t * size, w, count[o], sums);
        if (windows > 1) {
            GENN_UNROLL
            for (int32_t i = 0; i < GENN_PIXELS; i++) {
                best = i % area == 0 || sums[i] > best ? sums[i] : best;
                if (i % area == area - 1 && ox + i / area < p->out_w)
                    y[(ox + i / area) * p->out_c + o] = (GENN_TYPE)GENN_FINISH(best);
            }
            return next;
        }
        GENN_UNROLL
        for (int32_t i = 0; i < GENN_PIXELS; i++)
            best = (t == 0 && i == 0) || sums[i] > best ? sums[i] : best;
    }
    y[ox * p->out_c + o] = (GENN_TYPE)GENN_FINISH(best);
    return next;
}

/* One output row; x is the sample, y the row. */
GENN_INLINE void GENN_SPARSE_NAME(genn_conv_sparse_row_)(GENN_PARAMS, const GENN_TYPE *x, const uint32_t *w,
                                                         const GENN_SUM *bias, GENN_MULT const uint16_t *count,
                                                         GENN_TYPE *patches, int32_t oy, GENN_TYPE *y)
{
    const int32_t area = p->pool_h * p->pool_w, ci = p->in_c / p->groups, co = p->out_c / p->groups;

    for (int32_t ox = 0; ox < p->out_w; ox += GENN_SPARSE_NAME(genn_sparse_windows_)(p)) {
        const uint32_t *row = w;
        for (int32_t g = 0; g < p->groups; g++) {
            for (int32_t first = 0; first < area; first += GENN_PIXELS) {
                struct genn_sparse_pixels at;
                GENN_SPARSE_NAME(genn_sparse_find_)(p, oy, ox, first, &at);
                GENN_SPARSE_NAME(genn_sparse_gather_)(p, &at, x + g * ci, patches + first * (p->k_h * p->k_w * ci));
            }
            for (int32_t o = g * co; o < (g + 1) * co; o++)
                row = GENN_SPARSE_NAME(genn_sparse_channel_)(p, row, bias, GENN_MULT_NAME count, patches, ox, o, y);
        }
    }
}

/* patches: workspace for the taps of a tile, or of all tiles of a pool's window. */
GENN_KERNEL void GENN_SPARSE_NAME(genn_conv_sparse_)(GENN_PARAMS, const GENN_TYPE *GENN_RESTRICT x, const uint32_t *w,
                                                     const GENN_SUM *bias, GENN_MULT const uint16_t *count,
                                                     GENN_TYPE *GENN_RESTRICT patches, GENN_TYPE *GENN_RESTRICT y)
{
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++, y += p->out_w * p->out_c)
            GENN_SPARSE_NAME(genn_conv_sparse_row_)(p, x, w, bias, GENN_MULT_NAME count, patches, oy, y);
}

#undef GENN_SFX
#undef GENN_TYPE
#undef GENN_SUM
#undef GENN_PIXELS
#undef GENN_OUTSIDE
#undef GENN_FINISH
#undef GENN_MULT
#undef GENN_MULT_NAME
#undef GENN_PARAMS
