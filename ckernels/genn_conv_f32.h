/* float32 convolution in tiles of pixels and outputs, for cores with an FPU: each weight loaded serves four pixels.
 *
 * A tile is 4 pixels x `block` outputs, at most 5: 20 sums, 5 weights, 4 inputs and 3 products fill the 32 registers.  The
 * pixels are neighbours of an output row or, with a fused maximum pool, those of one window; past the end the last one is
 * taken again.  Every sum keeps its order.  Weights: blocks of `block` outputs of a group interleaved ([taps][block]), the
 * last block as wide as what is left.
 *
 * The taps of a tile are segments: runs of neighbours in memory, found once and used for all outputs.  Taps outside the
 * input are left out by the definition; here they are multiplied by zeros, which is the same: weights are finite, and a sum
 * is never -0, so adding +0 or -0 keeps it.
 */
#ifndef GENN_CONV_F32_H
#define GENN_CONV_F32_H

#include "genn_conv.h"

#define GENN_TILE 4
#define GENN_TILE_BLOCK 5

/* segments: of a tile at most. */
struct genn_conv_tile_f32 {
    GENN_CONV_SHAPE;
    int32_t block, segments, clamp;
    float lo, hi;
};

/* What the sums of a tile are made from: `count` segments of `taps` neighbours, which lie at x + at[s][pixel]. */
struct genn_tile_f32 {
    const float *x;
    int32_t (*at)[GENN_TILE];
    int32_t count, taps;
};

/* sums[pixel * width + t] += every tap in order; w is a block [taps][width]. */
GENN_INLINE void genn_tile_sums_f32(const struct genn_tile_f32 *tile, const float *w, int32_t width, float *sums)
{
    for (int32_t s = 0; s < tile->count; s++)
        for (int32_t k = 0; k < tile->taps; k++, w += width)
            for (int32_t i = 0; i < GENN_TILE; i++) {
                const float v = tile->x[tile->at[s][i] + k];
                for (int32_t t = 0; t < width; t++)
                    sums[i * width + t] = sums[i * width + t] + w[t] * v;
            }
}

#if defined(GENN_VFP_F32) && defined(__OPTIMIZE__) /* without optimization too few registers are free */
#define GENN_TILE_ASM
/* The same for the usual widths.  One tap of 4 pixels x 5 outputs takes 6 (VLDM) + 4 * 2 (inputs) + 20 VMUL + 20 VADD = 54
 * cycles, 2.7 a MAC, and half of the loop's 4; no result is used by the instruction right behind it, which would wait.
 * Sums are in s0-s19, weights in s20-s24, products in s25-s27, inputs in s28-s31. */
#define GENN_TILE_MUL(p, w, x) "vmul.f32 s" #p ", s" #w ", s" #x "\n"
#define GENN_TILE_ADD(a, p) "vadd.f32 s" #a ", s" #a ", s" #p "\n"
#define GENN_TILE_PIXEL4(x, a, b, c, d)                                                                                \
    GENN_TILE_MUL(25, 20, x) GENN_TILE_MUL(26, 21, x) GENN_TILE_MUL(27, 22, x) GENN_TILE_ADD(a, 25)                    \
    GENN_TILE_MUL(25, 23, x) GENN_TILE_ADD(b, 26) GENN_TILE_ADD(c, 27) GENN_TILE_ADD(d, 25)
#define GENN_TILE_PIXEL5(x, a, b, c, d, e)                                                                             \
    GENN_TILE_MUL(25, 20, x) GENN_TILE_MUL(26, 21, x) GENN_TILE_MUL(27, 22, x) GENN_TILE_ADD(a, 25)                    \
    GENN_TILE_MUL(25, 23, x) GENN_TILE_ADD(b, 26) GENN_TILE_MUL(26, 24, x) GENN_TILE_ADD(c, 27)                        \
    GENN_TILE_ADD(d, 25) GENN_TILE_ADD(e, 26)
#define GENN_TILE_INPUTS "vldmia r4!, {s28}\n vldmia r5!, {s29}\n vldmia r6!, {s30}\n vldmia r8!, {s31}\n"
#define GENN_TILE_TAP4                                                                                                 \
    "vldmia %[w]!, {s20-s23}\n" GENN_TILE_INPUTS GENN_TILE_PIXEL4(28, 0, 1, 2, 3) GENN_TILE_PIXEL4(29, 4, 5, 6, 7)     \
    GENN_TILE_PIXEL4(30, 8, 9, 10, 11) GENN_TILE_PIXEL4(31, 12, 13, 14, 15)
#define GENN_TILE_TAP5                                                                                                 \
    "vldmia %[w]!, {s20-s24}\n" GENN_TILE_INPUTS GENN_TILE_PIXEL5(28, 0, 1, 2, 3, 4)                                   \
    GENN_TILE_PIXEL5(29, 5, 6, 7, 8, 9) GENN_TILE_PIXEL5(30, 10, 11, 12, 13, 14)                                       \
    GENN_TILE_PIXEL5(31, 15, 16, 17, 18, 19)
#define GENN_TILE_FUNCTION(name, tap, all)                                                                             \
    GENN_SHARED GENN_LAYER void name(const struct genn_tile_f32 *tile, const float *w, float *sums)                    \
    {                                                                                                                  \
        const int32_t(*at)[GENN_TILE] = (const int32_t(*)[GENN_TILE])tile->at;                                         \
        int32_t count = tile->count, n;                                                                                \
        __asm__ volatile("vldmia %[sums], " all "\n"                                                                   \
                         "1: ldmia %[at]!, {r4, r5, r6, r8}\n"                                                         \
                         "add r4, %[x], r4, lsl #2\n"                                                                  \
                         "add r5, %[x], r5, lsl #2\n"                                                                  \
                         "add r6, %[x], r6, lsl #2\n"                                                                  \
                         "add r8, %[x], r8, lsl #2\n"                                                                  \
                         "adds %[n], %[taps], #1\n"                                                                    \
                         "lsrs %[n], %[n], #1\n"                                                                       \
                         "tst %[taps], #1\n"                                                                           \
                         "bne 3f\n"                                                                                    \
                         "2: " tap "3: " tap "subs %[n], %[n], #1\n"                                                   \
                         "bne 2b\n"                                                                                    \
                         "subs %[count], %[count], #1\n"                                                               \
                         "bne 1b\n"                                                                                    \
                         "vstmia %[sums], " all "\n"                                                                   \
                         : [at] "+r"(at), [w] "+r"(w), [count] "+r"(count), [n] "=&r"(n)                               \
                         : [x] "r"(tile->x), [taps] "r"(tile->taps), [sums] "r"(sums)                                  \
                         : "cc", "memory", "r4", "r5", "r6", "r8", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7",     \
                           "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15", "s16", "s17", "s18", "s19", "s20",    \
                           "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31");               \
    }
GENN_TILE_FUNCTION(genn_tile4_f32, GENN_TILE_TAP4, "{s0-s15}")
GENN_TILE_FUNCTION(genn_tile5_f32, GENN_TILE_TAP5, "{s0-s19}")
#endif

/* The sums of one block of `width` outputs, from the bias on. */
GENN_INLINE void genn_tile_block_f32(const struct genn_tile_f32 *tile, const float *w, const float *bias, int32_t width,
                                     float *sums)
{
    for (int32_t t = 0; t < width; t++) {
        GENN_UNROLL
        for (int32_t i = 0; i < GENN_TILE; i++)
            sums[i * width + t] = bias[t];
    }
#if defined(GENN_TILE_ASM)
    if (width == 5) {
        genn_tile5_f32(tile, w, sums);
        return;
    }
    if (width == 4) {
        genn_tile4_f32(tile, w, sums);
        return;
    }
#endif
    genn_tile_sums_f32(tile, w, width, sums);
}

/* The offset of input row iy within a sample: the one place that says how rows follow each other in memory. */
GENN_INLINE int32_t genn_tile_row_f32(const struct genn_conv_tile_f32 *p, int32_t iy)
{
    return iy * p->in_w * p->in_c;
}

/* Finds the segments of the tile whose pixels' windows begin at (iy[i], ix[i]); `zeros` is an offset too. */
GENN_INLINE void genn_tile_find_f32(const struct genn_conv_tile_f32 *p, struct genn_tile_f32 *tile, int32_t zeros,
                                    const int32_t *iy, const int32_t *ix)
{
    int run = p->groups == 1 && p->dil_w == 1; /* a row of the kernel is one segment */
    int32_t s = 0;

    for (int32_t i = 0; i < GENN_TILE && p->padded; i++)
        run = run && ix[i] >= 0 && ix[i] + p->k_w <= p->in_w;
    tile->taps = (run ? p->k_w : 1) * (p->in_c / p->groups);
    for (int32_t ky = 0; ky < p->k_h; ky++)
        for (int32_t kx = 0; kx < (run ? 1 : p->k_w); kx++, s++)
            for (int32_t i = 0; i < GENN_TILE; i++) {
                const int32_t y = iy[i] + ky * p->dil_h, x = ix[i] + kx * p->dil_w;
                const int in = !p->padded || (y >= 0 && y < p->in_h && x >= 0 && x < p->in_w);
                tile->at[s][i] = in ? genn_tile_row_f32(p, y) + x * p->in_c : zeros;
            }
    tile->count = s;
}

/* One block of the outputs of one tile: its `pixels` first ones at y, or, pooled, one part of the window of pixel y. */
GENN_INLINE void genn_tile_store_f32(const struct genn_conv_tile_f32 *p, const float *sums, int32_t pixels, int first,
                                     int32_t width, float *y)
{
    if (p->pool_h * p->pool_w == 1) {
        for (int32_t i = 0; i < GENN_TILE && i < pixels; i++)
            for (int32_t t = 0; t < width; t++)
                y[i * p->out_c + t] = genn_clamp_f32(sums[i * width + t], p->clamp, p->lo, p->hi);
        return;
    }
    for (int32_t t = 0; t < width; t++) { /* the clamp is monotone: it may go first */
        float best = sums[t];
        GENN_UNROLL
        for (int32_t i = 1; i < GENN_TILE; i++)
            best = sums[i * width + t] > best ? sums[i * width + t] : best;
        best = genn_clamp_f32(best, p->clamp, p->lo, p->hi);
        if (first || best > y[t])
            y[t] = best;
    }
}

/* Every output of one tile whose segments are found. */
GENN_INLINE void genn_tile_outputs_f32(const struct genn_conv_tile_f32 *p, struct genn_tile_f32 *tile, const float *w,
                                       const float *bias, int32_t pixels, int first, float *y)
{
    const float *x = tile->x;
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, taps = p->k_h * p->k_w * ci;
    float sums[GENN_TILE * GENN_TILE_BLOCK];

    for (int32_t g = 0; g < p->groups; g++, tile->x += ci) {
        int32_t o = 0;
        for (; o + p->block <= co; o += p->block, w += p->block * taps, bias += p->block, y += p->block) {
            genn_tile_block_f32(tile, w, bias, p->block, sums);
            genn_tile_store_f32(p, sums, pixels, first, p->block, y);
        }
        if (co % p->block) {
            genn_tile_block_f32(tile, w, bias, co % p->block, sums);
            genn_tile_store_f32(p, sums, pixels, first, co % p->block, y);
        }
        w += co % p->block * taps, bias += co % p->block, y += co % p->block;
    }
    tile->x = x;
}

/* `pixels` outputs from row oy on, at y: the windows of one pooled row, or the pixels of any number of rows. */
GENN_INLINE void genn_conv_tile_row_f32(const struct genn_conv_tile_f32 *p, struct genn_tile_f32 *tile, int32_t zeros,
                                        const float *w, const float *bias, int32_t oy, int32_t pixels, float *y)
{
    const int32_t area = p->pool_h * p->pool_w;
    int32_t iy[GENN_TILE], ix[GENN_TILE];

    for (int32_t ox = 0, step = area == 1 ? GENN_TILE : 1; ox < pixels; ox += step, y += step * p->out_c)
        for (int32_t first = 0; first < area; first += GENN_TILE) {
            for (int32_t i = 0; i < GENN_TILE; i++) {
                const int32_t j = first + i < area ? first + i : area - 1;
                const int32_t at = ox + i < pixels ? ox + i : pixels - 1;
                const int32_t row = area > 1 ? oy * p->pool_h + j / p->pool_w : oy + at / p->out_w;
                const int32_t px = area > 1 ? ox * p->pool_w + j % p->pool_w : at % p->out_w;
                iy[i] = row * p->stride_h - p->pad_h;
                ix[i] = px * p->stride_w - p->pad_w;
            }
            genn_tile_find_f32(p, tile, zeros, iy, ix);
            genn_tile_outputs_f32(p, tile, w, bias, pixels - ox, first == 0, y);
        }
}

/* ws: the tile's segments, then, where taps fall outside, k_w * in_c zeros. */
GENN_INLINE void genn_conv_tile_f32(const struct genn_conv_tile_f32 *p, const float *GENN_RESTRICT x,
                                    const float *GENN_RESTRICT w, const float *GENN_RESTRICT bias, void *ws,
                                    float *GENN_RESTRICT y)
{
    const int32_t rows = p->pool_h * p->pool_w == 1 ? p->out_h : 1; /* not pooled, a tile may span rows */
    struct genn_tile_f32 tile;
    float *zeros = (float *)((int32_t(*)[GENN_TILE])ws + p->segments);

    tile.at = (int32_t(*)[GENN_TILE])ws;
    for (int32_t i = 0; p->padded && i < p->k_w * p->in_c; i++) {
        zeros[i] = 0.0f;
        GENN_NO_LIBCALL;
    }
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c) {
        tile.x = x;
        for (int32_t oy = 0; oy < p->out_h; oy += rows, y += rows * p->out_w * p->out_c)
            genn_conv_tile_row_f32(p, &tile, (int32_t)(zeros - x), w, bias, oy, rows * p->out_w, y);
    }
}

#endif
