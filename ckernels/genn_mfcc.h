/* Mel-frequency cepstral coefficients of a wave of 16-bit samples, in 32-bit integers (genn/frontends/fixed.py).
 *
 * Frame by frame: window, a Fourier transform of 200 complex points (the even and the odd samples), the power of 201
 * bins, 128 mel bands, their levels in 1/32 dB.  When the loudest is known, what lies 80 dB under it is cut off and
 * cosines make 40 coefficients.  No product needs more than 32 bits, which ARMv6-M has no instruction for.
 */
#ifndef GENN_MFCC_H
#define GENN_MFCC_H

#include "genn_common.h"

#define GENN_MFCC_FFT 400
#define GENN_MFCC_HALF 200
#define GENN_MFCC_HOP 200
#define GENN_MFCC_BANDS 128
#define GENN_MFCC_COEFFICIENTS 40
#define GENN_MFCC_LEAST (-3200)
#define GENN_MFCC_RANGE 2560

/* frame_step, coefficient_step: elements between neighbours in the output. */
struct genn_mfcc {
    int32_t samples, frames, frame_step, coefficient_step, shift, offset, lo, hi;
};

struct genn_mfcc_f32 {
    int32_t samples, frames, frame_step, coefficient_step;
};

/* What is between the frames: levels comes last and has GENN_MFCC_BANDS values a frame. */
struct genn_mfcc_work {
    int32_t a[2 * GENN_MFCC_HALF], b[2 * GENN_MFCC_HALF];
    uint32_t high[GENN_MFCC_BANDS + 2], low[GENN_MFCC_BANDS + 2];
    int16_t levels[1];
};

/* a * w / 2**15 rounded half up: |a| < 2**30, w of 16 bits. */
GENN_INLINE int32_t genn_mfcc_multiply(int32_t a, int32_t w)
{
#if defined(__ARM_FEATURE_DSP)
    return (int32_t)(((int64_t)a * w + (1 << 14)) >> 15); /* one SMULL */
#endif
    return (a >> 16) * w * 2 + (((a & 0xffff) * w + (1 << 14)) >> 15);
}

/* How many bits x has. */
GENN_INLINE int32_t genn_mfcc_bits(uint32_t x)
{
    int32_t n = 0;

#if defined(__ARM_FEATURE_CLZ)
    return x ? 32 - __builtin_clz(x) : 0;
#endif
    for (int32_t step = 16; step > 0; step >>= 1)
        if (x >> step) {
            x >>= step;
            n += step;
        }
    return n + (int32_t)x;
}

/* to = (re + i im) * exp(-2 pi i index / 400); index 0 leaves it as it is. */
GENN_INLINE void genn_mfcc_turn(int32_t *to, int32_t re, int32_t im, int32_t index, const int16_t *cosines)
{
    if (index != 0) {
        const int32_t c = cosines[index], s = cosines[index < 100 ? index + 300 : index - 100];
        const int32_t turned = genn_mfcc_multiply(re, c) + genn_mfcc_multiply(im, s);
        im = genn_mfcc_multiply(im, c) - genn_mfcc_multiply(re, s);
        re = turned;
    }
    to[0] = re;
    to[1] = im;
}

/* One stage of the transform: n points left, stride done; a becomes b. */
GENN_INLINE void genn_mfcc_stage(const int32_t *a, int32_t *b, int32_t radix, int32_t n, int32_t stride,
                                 const int16_t *cosines)
{
    const int32_t m = n / radix, step = 2 * stride * m;
    const int32_t cos1 = cosines[80], cos2 = cosines[160], sin1 = cosines[20], sin2 = cosines[60];

    for (int32_t p = 0; p < m; p++)
        for (int32_t q = 0; q < stride; q++) {
            const int32_t *x = a + 2 * (q + stride * p);
            int32_t *y = b + 2 * (q + stride * radix * p);
            const int32_t turn = 2 * p * stride, next = 2 * stride;

            if (radix == 2) {
                genn_mfcc_turn(y, x[0] + x[step], x[1] + x[step + 1], 0, cosines);
                genn_mfcc_turn(y + next, x[0] - x[step], x[1] - x[step + 1], turn, cosines);
            } else if (radix == 4) {
                const int32_t *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step;
                const int32_t s0 = x[0] + x2[0], s1 = x[1] + x2[1], d0 = x[0] - x2[0], d1 = x[1] - x2[1];
                const int32_t t0 = x1[0] + x3[0], t1 = x1[1] + x3[1], e0 = x1[1] - x3[1], e1 = x3[0] - x1[0];

                genn_mfcc_turn(y, s0 + t0, s1 + t1, 0, cosines);
                genn_mfcc_turn(y + next, d0 + e0, d1 + e1, turn, cosines);
                genn_mfcc_turn(y + 2 * next, s0 - t0, s1 - t1, 2 * turn, cosines);
                genn_mfcc_turn(y + 3 * next, d0 - e0, d1 - e1, 3 * turn, cosines);
            } else {
                const int32_t *x1 = x + step, *x2 = x1 + step, *x3 = x2 + step, *x4 = x3 + step;
                const int32_t s0 = x1[0] + x4[0], s1 = x1[1] + x4[1], d0 = x1[0] - x4[0], d1 = x1[1] - x4[1];
                const int32_t t0 = x2[0] + x3[0], t1 = x2[1] + x3[1], e0 = x2[0] - x3[0], e1 = x2[1] - x3[1];
                const int32_t m0 = x[0] + (genn_mfcc_multiply(s0, cos1) + genn_mfcc_multiply(t0, cos2));
                const int32_t m1 = x[1] + (genn_mfcc_multiply(s1, cos1) + genn_mfcc_multiply(t1, cos2));
                const int32_t k0 = x[0] + (genn_mfcc_multiply(s0, cos2) + genn_mfcc_multiply(t0, cos1));
                const int32_t k1 = x[1] + (genn_mfcc_multiply(s1, cos2) + genn_mfcc_multiply(t1, cos1));
                const int32_t u0 = genn_mfcc_multiply(d1, sin1) + genn_mfcc_multiply(e1, sin2);
                const int32_t u1 = -(genn_mfcc_multiply(d0, sin1) + genn_mfcc_multiply(e0, sin2));
                const int32_t v0 = genn_mfcc_multiply(d1, sin2) + genn_mfcc_multiply(e1, -sin1);
                const int32_t v1 = -(genn_mfcc_multiply(d0, sin2) + genn_mfcc_multiply(e0, -sin1));

                genn_mfcc_turn(y, x[0] + (s0 + t0), x[1] + (s1 + t1), 0, cosines);
                genn_mfcc_turn(y + next, m0 + u0, m1 + u1, turn, cosines);
                genn_mfcc_turn(y + 2 * next, k0 + v0, k1 + v1, 2 * turn, cosines);
                genn_mfcc_turn(y + 3 * next, k0 - v0, k1 - v1, 3 * turn, cosines);
                genn_mfcc_turn(y + 4 * next, m0 - u0, m1 - u1, 4 * turn, cosines);
            }
        }
}

/* The frame centred on sample `at`, windowed, transformed, and split into 201 bins in b (a has room for 200 only, so
 * bin 200 stands in `last`). */
GENN_INLINE void genn_mfcc_spectrum(const int16_t *x, int32_t samples, int32_t at, int32_t *a, int32_t *b,
                                    int32_t *last, const int16_t *cosines)
{
    for (int32_t n = 0; n < GENN_MFCC_FFT; n++) {
        int32_t i = at + n - GENN_MFCC_HALF;

        i = i < 0 ? -i : i;
        i = i >= samples ? 2 * (samples - 1) - i : i;
        a[n] = (x[i] * ((32768 - cosines[n]) >> 1) + (1 << 8)) >> 9;
    }
    genn_mfcc_stage(a, b, 4, 200, 1, cosines);
    genn_mfcc_stage(b, a, 5, 50, 4, cosines);
    genn_mfcc_stage(a, b, 5, 10, 20, cosines);
    genn_mfcc_stage(b, a, 2, 2, 100, cosines);
    for (int32_t k = 0; k <= GENN_MFCC_HALF; k++) {
        const int32_t *p = a + 2 * (k < GENN_MFCC_HALF ? k : 0), *q = a + 2 * (k > 0 ? GENN_MFCC_HALF - k : 0);
        int32_t *to = k < GENN_MFCC_HALF ? b + 2 * k : last;

        genn_mfcc_turn(to, p[1] + q[1], q[0] - p[0], k, cosines);
        to[0] += p[0] + q[0];
        to[1] += p[1] - q[1];
    }
}

GENN_INLINE int32_t genn_mfcc_magnitude(const int32_t *bin)
{
    const int32_t re = bin[0] < 0 ? -bin[0] : bin[0], im = bin[1] < 0 ? -bin[1] : bin[1];
    const int32_t n = genn_mfcc_bits((uint32_t)(re > im ? re : im));

    return n < 15 ? 15 : n;
}

/* 10 log10 of an energy of 2**-12 * (high * 2**12 + low) on exponent `frame`, in 1/32 dB. */
GENN_INLINE int32_t genn_mfcc_level(uint32_t high, uint32_t low, int32_t frame, const uint16_t *logs, int32_t octave)
{
    const uint32_t whole = high + (low >> 12), part = low & 0xfffu;
    const int32_t size = whole ? 12 + genn_mfcc_bits(whole) : genn_mfcc_bits(part);
    uint32_t top;
    int32_t level, index;

    if (size == 0)
        return GENN_MFCC_LEAST;
    if (size > 34)
        top = whole >> (size - 34);
    else if (size > 22)
        top = (whole << (34 - size)) | (part >> (size - 22));
    else
        top = ((whole << 12) | part) << (22 - size);
    index = (int32_t)(top >> 15) & 63;
    level = logs[index] + (int32_t)(((uint32_t)(logs[index + 1] - logs[index]) * ((top & 0x7fffu) << 1)) >> 16);
    level = (octave * (size - 1 - 55 + 2 * (frame - 15) + 2) + level + (1 << 7)) >> 8;
    return level > GENN_MFCC_LEAST ? level : GENN_MFCC_LEAST;
}

/* The levels of all frames, none further than GENN_MFCC_RANGE below the loudest of them. */
GENN_SHARED void genn_mfcc_levels(int32_t samples, int32_t frames, const int16_t *GENN_RESTRICT x,
                                     const int16_t *GENN_RESTRICT cosines, const uint8_t *GENN_RESTRICT band,
                                     const uint16_t *GENN_RESTRICT rising, const uint16_t *GENN_RESTRICT logs,
                                     int32_t octave, struct genn_mfcc_work *GENN_RESTRICT ws)
{
    int32_t loudest = GENN_MFCC_LEAST, last[2];
    int16_t *level = ws->levels;

    for (int32_t t = 0; t < frames; t++) {
        int32_t frame = 15;

        genn_mfcc_spectrum(x, samples, t * GENN_MFCC_HOP, ws->a, ws->b, last, cosines);
        for (int32_t k = 0; k <= GENN_MFCC_HALF; k++) {
            const int32_t n = genn_mfcc_magnitude(k < GENN_MFCC_HALF ? ws->b + 2 * k : last);
            frame = n > frame ? n : frame;
        }
        for (int32_t j = 0; j < GENN_MFCC_BANDS + 2; j++) {
            GENN_NO_LIBCALL;
            ws->high[j] = 0;
            ws->low[j] = 0;
        }
        for (int32_t k = 0; k <= GENN_MFCC_HALF; k++) {
            const int32_t *bin = k < GENN_MFCC_HALF ? ws->b + 2 * k : last;
            const int32_t own = genn_mfcc_magnitude(bin), down = 2 * (frame - own) + 2;
            const int32_t re = bin[0] >> (own - 15), im = bin[1] >> (own - 15);
            const uint32_t power = ((uint32_t)(re * re) + (uint32_t)(im * im)) >> (down > 31 ? 31 : down);
            const uint32_t whole = power >> 16, part = power & 0xffffu, up = rising[k], rest = 32768u - up;
            const int32_t j = band[k];

            ws->high[j + 1] += whole * up;
            ws->low[j + 1] += (part * up) >> 4;
            ws->high[j] += whole * rest;
            ws->low[j] += (part * rest) >> 4;
        }
        for (int32_t j = 1; j <= GENN_MFCC_BANDS; j++) {
            const int32_t now = genn_mfcc_level(ws->high[j], ws->low[j], frame, logs, octave);

            loudest = now > loudest ? now : loudest;
            *level++ = (int16_t)now;
        }
    }
    loudest -= GENN_MFCC_RANGE;
    for (level = ws->levels; frames > 0; frames--)
        for (int32_t j = 0; j < GENN_MFCC_BANDS; j++, level++)
            *level = *level > loudest ? *level : (int16_t)loudest;
}

/* One coefficient of one frame, times 2**20. */
GENN_INLINE int32_t genn_mfcc_coefficient(const int16_t *GENN_RESTRICT level, const int16_t *GENN_RESTRICT dct)
{
    int32_t acc = 0;

    GENN_UNROLL
    for (int32_t j = 0; j < GENN_MFCC_BANDS; j++)
        acc += dct[j] * level[j];
    return acc;
}

#define GENN_MFCC(SUFFIX, TYPE)                                                                                        \
    GENN_INLINE void genn_mfcc_##SUFFIX(                                                                               \
        const struct genn_mfcc *p, const int16_t *GENN_RESTRICT x, const int16_t *GENN_RESTRICT cosines,               \
        const uint8_t *GENN_RESTRICT band, const uint16_t *GENN_RESTRICT rising, const uint16_t *GENN_RESTRICT logs,   \
        const int32_t *GENN_RESTRICT octave, const int16_t *GENN_RESTRICT dct, const int32_t *GENN_RESTRICT mean,      \
        const int16_t *GENN_RESTRICT mult, void *GENN_RESTRICT ws, TYPE *GENN_RESTRICT y)                              \
    {                                                                                                                  \
        struct genn_mfcc_work *w = ws;                                                                                 \
                                                                                                                       \
        genn_mfcc_levels(p->samples, p->frames, x, cosines, band, rising, logs, octave[0], w);                         \
                                                                                                                       \
        for (int32_t t = 0; t < p->frames; t++)                                                                        \
            for (int32_t c = 0; c < GENN_MFCC_COEFFICIENTS; c++) {                                                     \
                const int32_t acc = genn_mfcc_coefficient(w->levels + t * GENN_MFCC_BANDS, dct + c * GENN_MFCC_BANDS); \
                y[t * p->frame_step + c * p->coefficient_step] =                                                       \
                    (TYPE)genn_requantize(acc - mean[c], mult[c], p->shift, p->offset, p->lo, p->hi);                  \
            }                                                                                                          \
    }

GENN_MFCC(s8, int8_t)
GENN_MFCC(s16, int16_t)

GENN_INLINE void genn_mfcc_f32(const struct genn_mfcc_f32 *p, const int16_t *GENN_RESTRICT x,
                               const int16_t *GENN_RESTRICT cosines, const uint8_t *GENN_RESTRICT band,
                               const uint16_t *GENN_RESTRICT rising, const uint16_t *GENN_RESTRICT logs,
                               const int32_t *GENN_RESTRICT octave, const int16_t *GENN_RESTRICT dct,
                               const int32_t *GENN_RESTRICT mean, const float *GENN_RESTRICT scale,
                               void *GENN_RESTRICT ws, float *GENN_RESTRICT y)
{
    struct genn_mfcc_work *w = ws;

    genn_mfcc_levels(p->samples, p->frames, x, cosines, band, rising, logs, octave[0], w);
    for (int32_t t = 0; t < p->frames; t++)
        for (int32_t c = 0; c < GENN_MFCC_COEFFICIENTS; c++) {
            const int32_t acc = genn_mfcc_coefficient(w->levels + t * GENN_MFCC_BANDS, dct + c * GENN_MFCC_BANDS);
            y[t * p->frame_step + c * p->coefficient_step] = (float)(acc - mean[c]) * scale[c];
        }
}

#endif
