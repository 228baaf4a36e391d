/* softmax and log_softmax along any axis: x is (outer, n, inner), rows run over n (genn/ops/softmax.py).
 *
 * Integers: exp(x - max) is 2**-t by a polynomial, the sum a uint32, and a row has one reciprocal (by subtract and shift)
 * or logarithm.  No division and no 64-bit product: ARMv6-M would call a library for them.  y may be x.
 */
#ifndef GENN_SOFTMAX_H
#define GENN_SOFTMAX_H

#include "genn_math.h"

struct genn_softmax_f32 {
    int32_t outer, n, inner;
};

GENN_INLINE float genn_row_max_f32(const float *x, int32_t n, int32_t step)
{
    float m = x[0];

    for (int32_t i = 1; i < n; i++)
        m = x[i * step] > m ? x[i * step] : m;
    return m;
}

GENN_INLINE void genn_softmax_f32(const struct genn_softmax_f32 *p, const float *x, float *y)
{
    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t j = 0; j < p->inner; j++) {
            const float *xr = x + o * p->n * p->inner + j;
            float *yr = y + o * p->n * p->inner + j;
            const float m = genn_row_max_f32(xr, p->n, p->inner);
            float sum = 0.0f;
            for (int32_t i = 0; i < p->n; i++) {
                const float e = genn_expf(xr[i * p->inner] - m);
                yr[i * p->inner] = e;
                sum = sum + e;
            }
            for (int32_t i = 0; i < p->n; i++)
                yr[i * p->inner] = yr[i * p->inner] / sum;
        }
    }
}

GENN_INLINE void genn_log_softmax_f32(const struct genn_softmax_f32 *p, const float *x, float *y)
{
    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t j = 0; j < p->inner; j++) {
            const float *xr = x + o * p->n * p->inner + j;
            float *yr = y + o * p->n * p->inner + j;
            const float m = genn_row_max_f32(xr, p->n, p->inner);
            float sum = 0.0f;
            for (int32_t i = 0; i < p->n; i++)
                sum = sum + genn_expf(xr[i * p->inner] - m);
            sum = genn_logf(sum);
            for (int32_t i = 0; i < p->n; i++)
                yr[i * p->inner] = (xr[i * p->inner] - m) - sum;
        }
    }
}

/* d = max - x; t = (d * mult + half) >> shift in steps of 2**-15; above d = limit, exp is nothing. */
struct genn_softmax_q {
    int32_t outer, n, inner, limit, mult, half, shift, up, out_mult, out_offset, out_shift, lo, hi;
};

/* y = (offset - log2(sum) * (ln(2) / output step) - (min(d, d_limit) * d_mult >> d_shift)) >> 8; the logarithm's integer
 * and fraction (16 bits) have a factor each. */
struct genn_log_softmax_q {
    int32_t outer, n, inner, limit, mult, half, shift, up;
    int32_t d_limit, d_mult, d_shift, whole_mult, frac_mult, frac_shift, offset, lo, hi;
};

/* exp of -d input steps, 2**(17 + up) being one: 2**17 * 2**-f by a polynomial in the fraction f, then the integer. */
GENN_SHARED uint32_t genn_softmax_exp(uint32_t d, uint32_t mult, uint32_t half, uint32_t shift, uint32_t up)
{
    const uint32_t t = (d * mult + half) >> shift;
    const uint32_t f = t & 0x7fffu;
    uint32_t v = 6976u - ((895u * f) >> 15);

    v = 31386u - ((v * f) >> 15);
    v = 90841u - ((v * f) >> 15);
    v = 131072u - ((v * f) >> 15);
    return (v << up) >> (t >> 15);
}

/* round(2**31 / d), at most 65535, for d in [2**15, 2**16]. */
GENN_SHARED uint32_t genn_recip(uint32_t d)
{
    uint32_t rest = 32768u, q = 0;

    for (int32_t i = 0; i < 16; i++) {
        rest <<= 1;
        q <<= 1;
        if (rest >= d) {
            rest -= d;
            q |= 1u;
        }
    }
    return q < 65535u && rest + rest >= d ? q + 1u : q;
}

/* log2(1 + f / 2**15) * 2**16 for f in [0, 2**15]. */
GENN_INLINE uint32_t genn_log2_frac(uint32_t f)
{
    uint32_t a = 8090u - ((1734u * f) >> 15);

    a = 18320u - ((a * f) >> 15);
    a = 30033u - ((a * f) >> 15);
    a = 47073u - ((a * f) >> 15);
    a = 94539u - ((a * f) >> 15);
    return (a * f) >> 15;
}

/* How far to shift v >= 2**17 right so that 16 bits are left. */
GENN_INLINE uint32_t genn_excess_bits(uint32_t v)
{
    uint32_t n = 0;

    for (uint32_t step = 8; step > 0; step >>= 1) {
        if (v >> (n + step + 15u))
            n += step;
    }
    return v >> (n + 16u) ? n + 1u : n;
}

/* v / 2**shift, rounded half up without overflow; 1 <= shift <= 32. */
GENN_INLINE uint32_t genn_round_shift(uint32_t v, uint32_t shift)
{
    return ((v >> (shift - 1u)) + 1u) >> 1;
}

GENN_INLINE int32_t genn_load_q(const void *x, int32_t i, int32_t wide)
{
    return wide ? ((const int16_t *)x)[i] : ((const int8_t *)x)[i];
}

GENN_INLINE void genn_store_q(void *y, int32_t i, int32_t v, int32_t wide)
{
    if (wide)
        ((int16_t *)y)[i] = (int16_t)v;
    else
        ((int8_t *)y)[i] = (int8_t)v;
}

GENN_INLINE int32_t genn_row_max_q(const void *x, int32_t at, int32_t n, int32_t step, int32_t wide)
{
    int32_t m = genn_load_q(x, at, wide);

    for (int32_t i = 1; i < n; i++) {
        const int32_t v = genn_load_q(x, at + i * step, wide);
        m = v > m ? v : m;
    }
    return m;
}

GENN_INLINE void genn_softmax_q(const struct genn_softmax_q *p, const void *x, void *y, int32_t wide)
{
    const uint32_t mult = (uint32_t)p->mult, half = (uint32_t)p->half, shift = (uint32_t)p->shift;
    const uint32_t up = (uint32_t)p->up;

    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t j = 0; j < p->inner; j++) {
            const int32_t at = o * p->n * p->inner + j;
            const int32_t m = genn_row_max_q(x, at, p->n, p->inner, wide);
            uint32_t sum = 0, excess, recip;
            for (int32_t i = 0; i < p->n; i++) {
                const int32_t d = m - genn_load_q(x, at + i * p->inner, wide);
                if (d <= p->limit)
                    sum += genn_softmax_exp((uint32_t)d, mult, half, shift, up);
            }
            excess = genn_excess_bits(sum);
            recip = genn_recip(genn_round_shift(sum, excess));
            for (int32_t i = 0; i < p->n; i++) {
                const int32_t d = m - genn_load_q(x, at + i * p->inner, wide);
                uint32_t e = 0;
                int32_t v;
                if (d <= p->limit)
                    e = genn_round_shift(genn_softmax_exp((uint32_t)d, mult, half, shift, up), up + 1u);
                e = e < 65535u ? e : 65535u;
                v = (int32_t)genn_round_shift(e * recip, 15u + excess - up); /* of 2**15 */
                v = (v * p->out_mult + p->out_offset) >> p->out_shift;
                genn_store_q(y, at + i * p->inner, genn_clamp_s32(v, p->lo, p->hi), wide);
            }
        }
    }
}

GENN_INLINE void genn_log_softmax_q(const struct genn_log_softmax_q *p, const void *x, void *y, int32_t wide)
{
    const uint32_t mult = (uint32_t)p->mult, half = (uint32_t)p->half, shift = (uint32_t)p->shift;
    const uint32_t up = (uint32_t)p->up;

    for (int32_t o = 0; o < p->outer; o++) {
        for (int32_t j = 0; j < p->inner; j++) {
            const int32_t at = o * p->n * p->inner + j;
            const int32_t m = genn_row_max_q(x, at, p->n, p->inner, wide);
            uint32_t sum = 0, excess, frac;
            int32_t base;
            for (int32_t i = 0; i < p->n; i++) {
                const int32_t d = m - genn_load_q(x, at + i * p->inner, wide);
                if (d <= p->limit)
                    sum += genn_softmax_exp((uint32_t)d, mult, half, shift, up);
            }
            excess = genn_excess_bits(sum);
            frac = genn_log2_frac(genn_round_shift(sum, excess) - 32768u);
            base = p->offset - (int32_t)(excess - up - 2u) * p->whole_mult;
            base = base - (int32_t)((frac * (uint32_t)p->frac_mult) >> p->frac_shift);
            for (int32_t i = 0; i < p->n; i++) {
                int32_t d = m - genn_load_q(x, at + i * p->inner, wide);
                d = d < p->d_limit ? d : p->d_limit;
                d = base - (int32_t)(((uint32_t)d * (uint32_t)p->d_mult) >> p->d_shift);
                genn_store_q(y, at + i * p->inner, genn_clamp_s32(d >> 8, p->lo, p->hi), wide);
            }
        }
    }
}

GENN_INLINE void genn_softmax_s8(const struct genn_softmax_q *p, const int8_t *x, int8_t *y)
{
    genn_softmax_q(p, x, y, 0);
}

GENN_INLINE void genn_softmax_s16(const struct genn_softmax_q *p, const int16_t *x, int16_t *y)
{
    genn_softmax_q(p, x, y, 1);
}

GENN_INLINE void genn_log_softmax_s8(const struct genn_log_softmax_q *p, const int8_t *x, int8_t *y)
{
    genn_log_softmax_q(p, x, y, 0);
}

GENN_INLINE void genn_log_softmax_s16(const struct genn_log_softmax_q *p, const int16_t *x, int16_t *y)
{
    genn_log_softmax_q(p, x, y, 1);
}

#endif
