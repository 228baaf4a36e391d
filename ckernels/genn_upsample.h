/* Upsampling in NHWC: nearest and bilinear, from tables of rows and columns made at conversion (genn/ops/upsample.py).
 *
 * Output rows are made in order; each needs one row of the input (nearest) or two neighbours (bilinear).
 */
#ifndef GENN_UPSAMPLE_H
#define GENN_UPSAMPLE_H

#include "genn_common.h"

struct genn_upsample {
    int32_t n, h, w, c, oh, ow;
};

/* first, second: the shifts of genn_blend across the columns and the rows. */
struct genn_upsample_bilinear {
    int32_t n, h, w, c, oh, ow, first, second;
};

#define GENN_UPSAMPLE_NEAREST(SUFFIX, TYPE)                                                                            \
    GENN_INLINE void genn_upsample_nearest_##SUFFIX(const struct genn_upsample *p, const TYPE *GENN_RESTRICT x,        \
                                                    const uint16_t *GENN_RESTRICT rows,                                \
                                                    const uint16_t *GENN_RESTRICT cols, TYPE *GENN_RESTRICT y)         \
    {                                                                                                                  \
        for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)                                        \
            for (int32_t oy = 0; oy < p->oh; oy++) {                                                                   \
                const TYPE *row = x + rows[oy] * p->w * p->c;                                                          \
                for (int32_t ox = 0; ox < p->ow; ox++) {                                                               \
                    const TYPE *in = row + cols[ox] * p->c;                                                            \
                    for (int32_t ch = 0; ch < p->c; ch++) {                                                            \
                        GENN_NO_LIBCALL;                                                                               \
                        *y++ = in[ch];                                                                                 \
                    }                                                                                                  \
                }                                                                                                      \
            }                                                                                                          \
    }

GENN_UPSAMPLE_NEAREST(f32, float)
GENN_UPSAMPLE_NEAREST(s16, int16_t)
GENN_UPSAMPLE_NEAREST(s8, int8_t)

/* rows, cols: {lower, higher} neighbour; down, over: their shares. */
GENN_INLINE void genn_upsample_bilinear_f32(const struct genn_upsample *p, const float *GENN_RESTRICT x,
                                            const uint16_t *GENN_RESTRICT rows, const uint16_t *GENN_RESTRICT cols,
                                            const float *GENN_RESTRICT down, const float *GENN_RESTRICT over,
                                            float *GENN_RESTRICT y)
{
    for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)
        for (int32_t oy = 0; oy < p->oh; oy++) {
            const float *top = x + rows[2 * oy] * p->w * p->c, *bottom = x + rows[2 * oy + 1] * p->w * p->c;
            const float up = down[2 * oy], below = down[2 * oy + 1];
            for (int32_t ox = 0; ox < p->ow; ox++) {
                const int32_t left = cols[2 * ox] * p->c, right = cols[2 * ox + 1] * p->c;
                const float back = over[2 * ox], ahead = over[2 * ox + 1];
                for (int32_t ch = 0; ch < p->c; ch++) {
                    const float a = top[left + ch] * back + top[right + ch] * ahead;
                    const float b = bottom[left + ch] * back + bottom[right + ch] * ahead;
                    *y++ = a * up + b * below;
                }
            }
        }
}

/* Between a and b, weight / 2**15 of the way, with 15 - shift bits below the point (genn.numerics.blend). */
GENN_INLINE int32_t genn_blend(int32_t a, int32_t b, int32_t weight, int32_t shift)
{
    return (a * (32768 - weight) + b * weight + ((1 << shift) >> 1)) >> shift;
}

/* rows, cols: {lower, higher neighbour, weight of the higher one}. */
#define GENN_UPSAMPLE_BILINEAR(SUFFIX, TYPE)                                                                           \
    GENN_INLINE void genn_upsample_bilinear_##SUFFIX(                                                                  \
        const struct genn_upsample_bilinear *p, const TYPE *GENN_RESTRICT x, const uint16_t *GENN_RESTRICT rows,       \
        const uint16_t *GENN_RESTRICT cols, TYPE *GENN_RESTRICT y)                                                     \
    {                                                                                                                  \
        for (int32_t image = 0; image < p->n; image++, x += p->h * p->w * p->c)                                        \
            for (int32_t oy = 0; oy < p->oh; oy++) {                                                                   \
                const TYPE *top = x + rows[3 * oy] * p->w * p->c, *bottom = x + rows[3 * oy + 1] * p->w * p->c;        \
                const int32_t down = rows[3 * oy + 2];                                                                 \
                for (int32_t ox = 0; ox < p->ow; ox++) {                                                               \
                    const int32_t left = cols[3 * ox] * p->c, right = cols[3 * ox + 1] * p->c;                         \
                    const int32_t over = cols[3 * ox + 2];                                                             \
                    for (int32_t ch = 0; ch < p->c; ch++) {                                                            \
                        const int32_t a = genn_blend(top[left + ch], top[right + ch], over, p->first);                 \
                        const int32_t b = genn_blend(bottom[left + ch], bottom[right + ch], over, p->first);           \
                        *y++ = (TYPE)genn_blend(a, b, down, p->second);                                                \
                    }                                                                                                  \
                }                                                                                                      \
            }                                                                                                          \
    }

GENN_UPSAMPLE_BILINEAR(s16, int16_t)
GENN_UPSAMPLE_BILINEAR(s8, int8_t)

#endif
