/* Block floating point: float32 layers as exact integer inner products, each sum rounded once (genn/ops/block.py).
 *
 * Inputs and weights are integers of at most 25 bits and a sign, one exponent for a layer's whole input and one for each row
 * of weights.  An integer is stored as two digits, high * 2^13 + low, in the halves of a word, so that every core multiplies
 * 16 by 16 bits; the sums of 32 taps stay within 32 bits, and go into 64 bits then.
 *
 * Cycles a tap: Cortex-M0+ 20 (two loads 4, four halves 4, four MULS and ADDS 9, loop 3), M4 about 12.
 */
#ifndef GENN_BLOCK_H
#define GENN_BLOCK_H

#include "genn_conv.h"

#define GENN_BLOCK_BITS 25 /* of a weight */
#define GENN_BLOCK_TAPS 32 /* between two additions to the 64-bit sum */

union genn_block_word {
    float f;
    uint32_t u;
};

/* bits: of an input. */
struct genn_bfp_linear_f32 {
    int32_t rows, in, out, bits, clamp;
    float lo, hi;
};

struct genn_bfp_conv_f32 {
    GENN_CONV_SHAPE;
    int32_t bits, clamp;
    float lo, hi;
};

GENN_INLINE uint32_t genn_block_bits(float f)
{
    union genn_block_word v;

    v.f = f;
    return v.u;
}

/* n floats as integers of `bits` bits, packed; returns their exponent E: x = m * 2^(E - 126 - bits). */
GENN_SHARED GENN_LAYER int32_t genn_block_pack(const float *x, int32_t n, int32_t bits, uint32_t *to)
{
    uint32_t largest = 0;
    int32_t top;

    for (int32_t i = 0; i < n; i++) {
        const uint32_t size = genn_block_bits(x[i]) << 1;
        largest = size > largest ? size : largest;
    }
    top = (int32_t)(largest >> 24);
    top = top ? top : 1;
    for (int32_t i = 0; i < n; i++) {
        const uint32_t u = genn_block_bits(x[i]);
        int32_t e = (int32_t)(u << 1 >> 24), m = (int32_t)(u & 0x7fffffu) | (e ? 0x800000 : 0), drop, low;
        drop = top - (e ? e : 1) + 24 - bits;
        if (drop > 25)
            m = 0;
        else if (drop > 0)
            m = (m + (1 << (drop - 1))) >> drop;
        else
            m = (int32_t)((uint32_t)m << -drop);
        m = u >> 31 ? -m : m;
        low = ((m + 4096) & 8191) - 4096;
        to[i] = (uint32_t)((m - low) >> 13) << 16 | ((uint32_t)low & 0xffffu);
    }
    return top;
}

/* sums: low, middle and high += the products of the digits of n packed integers. */
#if defined(__ARM_ARCH_6M__) && defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) /* -Os gives no high registers out */
GENN_INLINE void genn_block_digits(const uint32_t *x, const uint32_t *w, int32_t n, int32_t *sums)
{
    register const uint32_t *end __asm__("r12") = x + n;
    register int32_t low __asm__("r8") = sums[0], middle __asm__("r9") = sums[1], high __asm__("r10") = sums[2];

    __asm__ volatile(".syntax unified\n"
                     "1: ldmia %[x]!, {r2}\n ldmia %[w]!, {r3}\n"
                     "sxth r4, r2\n asrs r2, #16\n sxth r5, r3\n asrs r3, #16\n"
                     "mov r6, r4\n muls r6, r5\n add %[low], r6\n"
                     "muls r4, r3\n add %[middle], r4\n"
                     "muls r5, r2\n add %[middle], r5\n"
                     "muls r2, r3\n add %[high], r2\n"
                     "cmp %[x], %[end]\n bne 1b\n"
                     : [x] "+l"(x), [w] "+l"(w), [low] "+h"(low), [middle] "+h"(middle), [high] "+h"(high)
                     : [end] "h"(end)
                     : "cc", "memory", "r2", "r3", "r4", "r5", "r6");
    sums[0] = low, sums[1] = middle, sums[2] = high;
}
#else
GENN_INLINE void genn_block_digits(const uint32_t *x, const uint32_t *w, int32_t n, int32_t *sums)
{
    int32_t low = sums[0], middle = sums[1], high = sums[2];

    GENN_UNROLL
    for (int32_t i = 0; i < n; i++) {
        const int32_t ah = (int32_t)x[i] >> 16, al = (int16_t)(uint16_t)x[i];
        const int32_t bh = (int32_t)w[i] >> 16, bl = (int16_t)(uint16_t)w[i];
        low += al * bl;
        middle += al * bh;
        middle += ah * bl;
        high += ah * bh;
    }
    sums[0] = low, sums[1] = middle, sums[2] = high;
}
#endif

/* acc + the inner product of n packed integers. */
GENN_SHARED GENN_LAYER int64_t genn_block_dot(const uint32_t *x, const uint32_t *w, int32_t n, int64_t acc)
{
    for (; n > 0; n -= GENN_BLOCK_TAPS, x += GENN_BLOCK_TAPS, w += GENN_BLOCK_TAPS) {
        int32_t sums[3] = {0, 0, 0};

        genn_block_digits(x, w, n < GENN_BLOCK_TAPS ? n : GENN_BLOCK_TAPS, sums);
        acc += (int64_t)((uint64_t)(int64_t)sums[2] << 26) + (int64_t)((uint64_t)(int64_t)sums[1] << 13) + sums[0];
    }
    return acc;
}

/* Shifts of 64 bits by 0 to 63; libgcc's own would be calls. */
GENN_INLINE uint64_t genn_block_left(uint64_t v, int32_t n)
{
    uint32_t high = (uint32_t)(v >> 32), low = (uint32_t)v;

    if (n >= 32) {
        high = low;
        low = 0;
        n -= 32;
    }
    if (n) {
        high = high << n | low >> (32 - n);
        low <<= n;
    }
    return (uint64_t)high << 32 | low;
}

/* `fill`: what comes in from the left, 0 or all ones. */
GENN_INLINE uint64_t genn_block_right(uint64_t v, int32_t n, uint32_t fill)
{
    uint32_t high = (uint32_t)(v >> 32), low = (uint32_t)v;

    if (n >= 32) {
        low = high;
        high = fill;
        n -= 32;
    }
    if (n) {
        low = low >> n | high << (32 - n);
        high = high >> n | fill << (32 - n);
    }
    return (uint64_t)high << 32 | low;
}

GENN_INLINE uint64_t genn_block_size(int64_t m)
{
    return m < 0 ? 0u - (uint64_t)m : (uint64_t)m;
}

GENN_INLINE int32_t genn_block_length(uint64_t size)
{
    uint32_t part = (uint32_t)(size >> 32);
    int32_t n = 0;

    if (part)
        n = 32;
    else
        part = (uint32_t)size;
    for (int32_t step = 16; step; step >>= 1)
        if (part >> step) {
            part >>= step;
            n += step;
        }
    return n + (int32_t)part;
}

/* Shifts m so that its highest bit is bit 60; 0 has an exponent below all others. */
GENN_INLINE void genn_block_normalize(int64_t *m, int32_t *e)
{
    const int32_t shift = 61 - genn_block_length(genn_block_size(*m));

    *m = (int64_t)genn_block_left((uint64_t)*m, *m ? shift : 0);
    *e = *m ? *e - shift : -10000;
}

/* acc * 2^e + bias, rounded once, half to even; |acc| < 2^60, bias is not -0. */
GENN_SHARED GENN_LAYER float genn_block_round(int64_t acc, int32_t e, float bias)
{
    const uint32_t ub = genn_block_bits(bias), tb = ub << 1 >> 24;
    int64_t b = (int32_t)((ub & 0x7fffffu) | (tb ? 0x800000u : 0u)), shifted;
    int32_t eb = (int32_t)(tb ? tb : 1) - 150, shift;
    union genn_block_word y;
    uint64_t size, q;

    b = ub >> 31 ? -b : b;
    genn_block_normalize(&acc, &e);
    genn_block_normalize(&b, &eb);
    if (eb > e) {
        const int64_t t = acc;
        const int32_t te = e;
        acc = b;
        b = t;
        e = eb;
        eb = te;
    }
    shift = e - eb > 62 ? 62 : e - eb;
    shifted = (int64_t)genn_block_right((uint64_t)b, shift, b < 0 ? 0xffffffffu : 0u);
    acc += shifted | ((int64_t)genn_block_left((uint64_t)shifted, shift) != b); /* bit 0: something was lost */
    size = genn_block_size(acc);
    y.u = 0;
    if (size == 0)
        return y.f;
    shift = genn_block_length(size) - 24;
    if (shift < -149 - e)
        shift = -149 - e;
    if (shift > 62)
        q = 0;
    else if (shift > 0)
        q = genn_block_right(size + genn_block_left(1, shift - 1) - 1 + (genn_block_right(size, shift, 0) & 1), shift, 0);
    else
        q = genn_block_left(size, -shift);
    if (e + shift + 149 >= 255)
        y.u = 0x7f800000u;
    else
        y.u = ((uint32_t)(e + shift + 149) << 23) + (uint32_t)q;
    if (y.u > 0x7f800000u)
        y.u = 0x7f800000u;
    if (acc < 0)
        y.u |= 0x80000000u;
    return y.f;
}

/* ws: one word for each input; exponent: of each row of weights. */
GENN_KERNEL void genn_bfp_linear_f32(const struct genn_bfp_linear_f32 *p, const float *GENN_RESTRICT x,
                                     const uint32_t *GENN_RESTRICT w, const float *GENN_RESTRICT bias,
                                       const int16_t *GENN_RESTRICT exponent, uint32_t *GENN_RESTRICT ws,
                                       float *GENN_RESTRICT y)
{
    const int32_t e = genn_block_pack(x, p->rows * p->in, p->bits, ws) - (252 + GENN_BLOCK_BITS + p->bits);

    for (int32_t r = 0; r < p->rows; r++)
        for (int32_t o = 0; o < p->out; o++) {
            const int64_t acc = genn_block_dot(ws + r * p->in, w + o * p->in, p->in, 0);
            *y++ = genn_clamp_f32(genn_block_round(acc, e + exponent[o], bias[o]), p->clamp, p->lo, p->hi);
        }
}

/* The taps under one pixel whose window begins at (iy0, ix0), zeros outside; x is the group's first channel. */
GENN_INLINE void genn_bfp_gather(const struct genn_bfp_conv_f32 *p, const uint32_t *x, int32_t iy0, int32_t ix0,
                                 uint32_t *patch)
{
    const int32_t ci = p->in_c / p->groups;

    for (int32_t ky = 0; ky < p->k_h; ky++)
        for (int32_t kx = 0; kx < p->k_w; kx++) {
            const int32_t iy = iy0 + ky * p->dil_h, ix = ix0 + kx * p->dil_w;
            const int in = !p->padded || (iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w);
            const int32_t at = (iy * p->in_w + ix) * p->in_c;
            for (int32_t c = 0; c < ci; c++) {
                *patch++ = in ? x[at + c] : 0;
                GENN_NO_LIBCALL;
            }
        }
}

/* Of a pool's window the largest sum is rounded: the outputs' order is that of the sums. */
GENN_KERNEL void genn_bfp_conv_f32(const struct genn_bfp_conv_f32 *p, const float *GENN_RESTRICT x,
                                   const uint32_t *GENN_RESTRICT w, const float *GENN_RESTRICT bias,
                                   const int16_t *GENN_RESTRICT exponent, uint32_t *GENN_RESTRICT ws,
                                   float *GENN_RESTRICT y)
{
    const int32_t ci = p->in_c / p->groups, co = p->out_c / p->groups, size = p->in_h * p->in_w * p->in_c;
    const int32_t taps = p->k_h * p->k_w * ci, area = p->pool_h * p->pool_w;
    const int32_t e = genn_block_pack(x, p->n * size, p->bits, ws) - (252 + GENN_BLOCK_BITS + p->bits);
    uint32_t *patches = ws + p->n * size;

    for (int32_t n = 0; n < p->n; n++, ws += size)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++)
                for (int32_t g = 0; g < p->groups; g++) {
                    for (int32_t i = 0; i < area; i++)
                        genn_bfp_gather(p, ws + g * ci, (oy * p->pool_h + i / p->pool_w) * p->stride_h - p->pad_h,
                                        (ox * p->pool_w + i % p->pool_w) * p->stride_w - p->pad_w, patches + i * taps);
                    for (int32_t o = g * co; o < (g + 1) * co; o++) {
                        int64_t best = genn_block_dot(patches, w + o * taps, taps, 0);
                        for (int32_t i = 1; i < area; i++) {
                            const int64_t acc = genn_block_dot(patches + i * taps, w + o * taps, taps, 0);
                            best = acc > best ? acc : best;
                        }
                        *y++ = genn_clamp_f32(genn_block_round(best, e + exponent[o], bias[o]), p->clamp, p->lo, p->hi);
                    }
                }
}

#endif
