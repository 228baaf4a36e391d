/* int8 convolution for cores with the DSP instructions where flash counts (genn/kernels/dsp_conv.py).
 *
 * As genn_conv_dsp.h, but two pixels at a time are widened, two outputs of them summed, and every layer shares the code.
 *
 * Weights: per pair of outputs a word for every two taps, and a halfword for a last odd one; a last single output as bytes.
 * c: per pair raw and B's bias (genn_common_dsp.h) and the multipliers of A << 16 | B; a single output's bias, multiplier.
 */
#ifndef GENN_CONV_SMALL_DSP_H
#define GENN_CONV_SMALL_DSP_H

#include "genn_common_dsp.h"

/* The workspace holds the columns under two pixels, then their outputs. */
struct genn_conv_small_s8 {
    int32_t offset;
    int16_t zero_point, lo, hi, pad_h, pad_w;
    uint16_t in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, dil_h, pool_h, pool_w, shift;
};

/* What two outputs of two pixels need besides weights and inputs: c and y advance. */
struct genn_conv_small_pair_s8 {
    const int32_t *c;
    int8_t *y;
    int32_t pitch, taps, offset, shift;
    uint32_t lo, hi; /* each four times */
};

/* Two outputs of two pixels, whose inputs start at x and x1; returns where the weights go on.  13 cycles for 8 products:
 * three loads in a run 4, four SMLAD, SXTB16, 4 for the loop; 45 to requantize, clamp and store four outputs. */
#if defined(GENN_DSP)
GENN_NAKED const int8_t *genn_conv_small_two_s8(GENN_REGISTER const int16_t *x, GENN_REGISTER const int16_t *x1,
                                                GENN_REGISTER const int8_t *w,
                                                GENN_REGISTER struct genn_conv_small_pair_s8 *s)
{
    __asm__ volatile("push {r3-r8, lr}\n"
                     "ldr r12, [r3]\n"
                     "ldm r12, {r4, r5}\n"
                     "mov r6, r4\n"
                     "mov r7, r5\n"
                     "ldr r3, [r3, #12]\n"
                     "subs r3, r3, #2\n"
                     "blt 1f\n"
                     "0:\n"
                     "ldr r8, [r0], #4\n"
                     "ldr r12, [r1], #4\n"
                     "ldr lr, [r2], #4\n"
                     "smlad r4, lr, r8, r4\n"
                     "smlad r6, lr, r12, r6\n"
                     "sxtb16 lr, lr\n"
                     "smlad r5, lr, r8, r5\n"
                     "smlad r7, lr, r12, r7\n"
                     "subs r3, r3, #2\n"
                     "bge 0b\n"
                     "1:\n"
                     "adds r3, r3, #1\n"
                     "blt 2f\n"
                     "ldrsh r8, [r0]\n"
                     "ldrsh r12, [r1]\n"
                     "ldrsh lr, [r2], #2\n"
                     "smlabb r4, lr, r8, r4\n"
                     "smlabb r6, lr, r12, r6\n"
                     "sxtb lr, lr\n"
                     "smlabb r5, lr, r8, r5\n"
                     "smlabb r7, lr, r12, r7\n"
                     "2:\n"
                     "mov r0, r2\n"
                     "ldr r2, [sp]\n"
                     "ldr r1, [r2]\n"
                     "ldr r3, [r2, #20]\n"
                     "ldr r12, [r2, #16]\n"
                     "ldr lr, [r1, #8]\n"
                     "adds r1, r1, #12\n"
                     "str r1, [r2]\n"
                     "subs r4, r4, r5\n"
                     "subs r6, r6, r7\n"
                     "asrs r4, r4, #8\n"
                     "asrs r6, r6, #8\n"
                     "smlawt r4, r4, lr, r12\n"
                     "smlawb r5, r5, lr, r12\n"
                     "smlawt r6, r6, lr, r12\n"
                     "smlawb r7, r7, lr, r12\n"
                     "asrs r4, r4, r3\n"
                     "asrs r5, r5, r3\n"
                     "asrs r6, r6, r3\n"
                     "asrs r7, r7, r3\n"
                     "ssat r4, #8, r4\n"
                     "ssat r5, #8, r5\n"
                     "ssat r6, #8, r6\n"
                     "ssat r7, #8, r7\n"
                     "bfi r4, r5, #8, #8\n"
                     "bfi r6, r7, #8, #8\n"
                     "pkhbt r4, r4, r6, lsl #16\n"
                     "ldr r6, [r2, #24]\n"
                     "ldr r7, [r2, #28]\n"
                     "ssub8 r5, r4, r6\n"
                     "sel r4, r4, r6\n"
                     "ssub8 r5, r7, r4\n"
                     "sel r4, r4, r7\n"
                     "ldr r1, [r2, #4]\n"
                     "ldr r3, [r2, #8]\n"
                     "lsrs r6, r4, #16\n"
                     "strh r6, [r1, r3]\n"
                     "strh r4, [r1], #2\n"
                     "str r1, [r2, #4]\n"
                     "pop {r3-r8, pc}\n");
}
#else
GENN_INLINE const int8_t *genn_conv_small_two_s8(const int16_t *x, const int16_t *x1, const int8_t *w,
                                                 struct genn_conv_small_pair_s8 *s)
{
    const int32_t lo = genn_pair_low((int32_t)(s->lo & 255)), hi = genn_pair_low((int32_t)(s->hi & 255));

    for (int32_t i = 0; i < 2; i++, x = x1) {
        uint32_t acc[2] = {(uint32_t)s->c[0], (uint32_t)s->c[1]};
        for (int32_t k = 0; k < s->taps; k++)
            genn_pair_add(genn_pair_at(w, k), x[k], acc);
        s->y[i * s->pitch] = genn_finish_s8(genn_pair_take(acc), s->c[2] >> 16, s->shift, s->offset, lo, hi);
        s->y[i * s->pitch + 1] = genn_finish_s8((int32_t)acc[1], (int16_t)s->c[2], s->shift, s->offset, lo, hi);
    }
    s->c += 3;
    s->y += 2;
    return w + 2 * s->taps;
}
#endif

/* Columns of the input from row iy and column ix on, for two pixels: fours of channels as 0 2 1 3, the rest in order. */
GENN_PART void genn_conv_small_columns_s8(const struct genn_conv_small_s8 *p, const int8_t *x, int32_t iy, int32_t ix, int16_t *t)
{
    for (int32_t i = p->stride_w + p->k_w; i > 0; i--, ix++)
        for (int32_t ky = 0; ky < p->k_h; ky++) {
            const int32_t y = iy + ky * p->dil_h;
            const int in = y >= 0 && y < p->in_h && ix >= 0 && ix < p->in_w;
            const int8_t *from = x + (y * p->in_w + ix) * p->in_c;
            int32_t c = p->in_c;
#if defined(GENN_DSP)
            for (; in && c >= 4; c -= 4, from += 4, t += 4) {
                const uint32_t v = genn_load_word(from);
                genn_store_word(t, genn_sxtb16(v));
                genn_store_word(t + 2, genn_sxtb16_odd(v));
            }
#else
            for (; in && c >= 4; c -= 4, from += 4, t += 4) {
                t[0] = from[0];
                t[1] = from[2];
                t[2] = from[1];
                t[3] = from[3];
            }
#endif
            for (; c > 0; c--) {
                *t++ = in ? *from++ : p->zero_point;
                GENN_NO_LIBCALL;
            }
        }
}

/* All outputs of two pixels, out_c apart. */
GENN_PART void genn_conv_small_pixels_s8(const struct genn_conv_small_s8 *p, const int16_t *x, const int8_t *w, const int32_t *c,
                                         int8_t *y)
{
    const int16_t *x1 = x + p->stride_w * p->k_h * p->in_c;
    struct genn_conv_small_pair_s8 s;

    s.c = c;
    s.y = y;
    s.pitch = p->out_c;
    s.taps = p->k_h * p->k_w * p->in_c;
    s.offset = p->offset;
    s.shift = p->shift;
    s.lo = (uint32_t)(p->lo & 255) * 0x1010101u;
    s.hi = (uint32_t)(p->hi & 255) * 0x1010101u;
    for (int32_t o = p->out_c; o > 1; o -= 2)
        w = genn_conv_small_two_s8(x, x1, w, &s);
    for (int32_t i = 0; p->out_c % 2 && i < 2; i++, x = x1) {
        int32_t acc = s.c[0];
        for (int32_t k = 0; k < s.taps; k++)
            acc += w[k] * x[k];
        s.y[i * p->out_c] = genn_finish_s8(acc, s.c[1], p->shift, p->offset, p->lo, p->hi);
    }
}

GENN_KERNEL void genn_conv_small_s8(const struct genn_conv_small_s8 *p, const int8_t *GENN_RESTRICT x,
                                    const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT c, int16_t *GENN_RESTRICT ws,
                                    int8_t *GENN_RESTRICT y)
{
    const int32_t width = p->out_w * p->pool_w, pooled = p->pool_h * p->pool_w > 1;
    int8_t *pair = (int8_t *)(ws + (p->stride_w + p->k_w) * p->k_h * p->in_c);

    for (int32_t oy = 0; oy < p->out_h; oy++, y += p->out_w * p->out_c)
        for (int32_t i = 0; i < p->pool_h; i++) {
            int8_t *to = y;
            int32_t column = 0; /* of the pool's window */
            for (int32_t ox = 0; ox < width; ox += 2) {
                const int direct = !pooled && ox + 2 <= width;
                genn_conv_small_columns_s8(p, x, (oy * p->pool_h + i) * p->stride_h - p->pad_h, ox * p->stride_w - p->pad_w,
                                           ws);
                genn_conv_small_pixels_s8(p, ws, w, c, direct ? to : pair);
                if (direct)
                    to += 2 * p->out_c;
                for (int32_t k = 0; !direct && k < 2 && ox + k < width; k++) {
                    for (int32_t o = 0; o < p->out_c; o++) {
                        const int8_t v = pair[k * p->out_c + o];
                        if (i + column == 0 || v > to[o])
                            to[o] = v;
                        GENN_NO_LIBCALL;
                    }
                    if (++column == p->pool_w) {
                        column = 0;
                        to += p->out_c;
                    }
                }
            }
        }
}

#endif
