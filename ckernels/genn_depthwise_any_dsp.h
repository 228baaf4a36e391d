/* Depthwise convolution of any shape for cores with the DSP instructions, int8 and int16 (genn/kernels/dsp_depthwise.py).
 *
 * For each pixel a table of where its taps lie is made once; then four channels at a time walk it.  Weights are stored
 * [kh][kw][C], as the portable kernel has them.  About 5 cycles a product: of 20 for a tap and four channels 4 find the
 * tap, 4 load, 4 widen the words (int8), 4 multiply, 4 are the loop.
 */
#ifndef GENN_DEPTHWISE_ANY_DSP_H
#define GENN_DEPTHWISE_ANY_DSP_H

#include "genn_common_dsp.h"

#define GENN_DEPTHWISE_TABLE_DSP 64 /* taps of a kernel at most */

#define GENN_DEPTHWISE_SHAPE_DSP                                                                                       \
    int32_t n, in_h, in_w, in_c, out_h, out_w, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w

struct genn_depthwise_any_s8 {
    GENN_DEPTHWISE_SHAPE_DSP;
    int32_t zero_point, shift, offset, lo, hi;
};

struct genn_depthwise_any_s16 {
    GENN_DEPTHWISE_SHAPE_DSP;
    int32_t shift, lo, hi;
};

/* Where the taps of the pixel (oy, ox) lie: null outside of the input, which starts at x. */
#define GENN_DEPTHWISE_TABLE(name, type, params)                                                                       \
    GENN_INLINE void name(const struct params *p, const type *x, int32_t oy, int32_t ox, const type **taps)            \
    {                                                                                                                  \
        for (int32_t ky = 0; ky < p->k_h; ky++)                                                                        \
            for (int32_t kx = 0; kx < p->k_w; kx++) {                                                                  \
                const int32_t iy = oy * p->stride_h - p->pad_h + ky * p->dil_h;                                        \
                const int32_t ix = ox * p->stride_w - p->pad_w + kx * p->dil_w;                                        \
                const int in = iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w;                                     \
                *taps++ = in ? x + (iy * p->in_w + ix) * p->in_c : 0;                                                  \
            }                                                                                                          \
    }

GENN_DEPTHWISE_TABLE(genn_depthwise_table_s8, int8_t, genn_depthwise_any_s8)
GENN_DEPTHWISE_TABLE(genn_depthwise_table_s16, int16_t, genn_depthwise_any_s16)

/* What four channels of a pixel need besides taps and weights. */
struct genn_depthwise_four_s8 {
    uint32_t outside; /* the zero point four times */
    int32_t pitch, taps;
    const int32_t *bias;
    const int16_t *mult;
    int8_t *y;
    int32_t offset, shift;
    uint32_t lo, hi; /* each four times */
};

#if defined(GENN_DSP)
/* Channels c to c + 3 of a pixel; w are the first one's weights.  23 cycles for four products: the tap's address 7, two
 * loads of words 4, 4 to widen, 4 multiplications, 4 for the loop; 45 to requantize, clamp and store. */
GENN_NAKED void genn_depthwise_channels_s8(GENN_REGISTER const int8_t *const *taps, GENN_REGISTER const int8_t *w,
                                           GENN_REGISTER const struct genn_depthwise_four_s8 *s, GENN_REGISTER int32_t c)
{
    __asm__ volatile("push {r2, r4-r11, lr}\n"
                     "ldm r2, {r8-r11}\n"
                     "add r4, r11, r3, lsl #2\n"
                     "ldm r4, {r4-r7}\n"
                     "0:\n"
                     "ldr r11, [r0], #4\n"
                     "mov r12, r8\n"
                     "cmp r11, #0\n"
                     "it ne\n"
                     "ldrne r12, [r11, r3]\n"
                     "ldr r11, [r1]\n"
                     "add r1, r1, r9\n"
                     "sxtb16 lr, r12\n"
                     "sxtb16 r12, r12, ror #8\n"
                     "sxtb16 r2, r11\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlabb r4, lr, r2, r4\n"
                     "smlabb r5, r12, r11, r5\n"
                     "smlatt r6, lr, r2, r6\n"
                     "smlatt r7, r12, r11, r7\n"
                     "subs r10, r10, #1\n"
                     "bne 0b\n"
                     "pop {r2}\n"
                     "add r2, r2, #16\n"
                     "ldm r2, {r0, r1, r8-r11}\n"
                     "add r0, r0, r3, lsl #1\n"
                     "ldr r2, [r0]\n"
                     "ldr r12, [r0, #4]\n"
                     "smlawb r4, r4, r2, r8\n"
                     "smlawt r5, r5, r2, r8\n"
                     "smlawb r6, r6, r12, r8\n"
                     "smlawt r7, r7, r12, r8\n"
                     "asr r4, r4, r9\n"
                     "asr r5, r5, r9\n"
                     "asr r6, r6, r9\n"
                     "asr r7, r7, r9\n"
                     "ssat r4, #8, r4\n"
                     "ssat r5, #8, r5\n"
                     "ssat r6, #8, r6\n"
                     "ssat r7, #8, r7\n"
                     "bfi r4, r5, #8, #8\n"
                     "bfi r4, r6, #16, #8\n"
                     "bfi r4, r7, #24, #8\n"
                     "ssub8 r5, r4, r10\n"
                     "sel r4, r4, r10\n"
                     "ssub8 r5, r11, r4\n"
                     "sel r4, r4, r11\n"
                     "str r4, [r1, r3]\n"
                     "pop {r4-r11, pc}\n");
}
#else
GENN_INLINE void genn_depthwise_channels_s8(const int8_t *const *taps, const int8_t *w, const struct genn_depthwise_four_s8 *s,
                                            int32_t c)
{
    const int32_t lo = genn_pair_low((int32_t)(s->lo & 255)), hi = genn_pair_low((int32_t)(s->hi & 255));

    for (int32_t k = 0; k < 4; k++) {
        int32_t acc = s->bias[c + k];
        for (int32_t i = 0; i < s->taps; i++)
            acc += w[i * s->pitch + k] * (taps[i] ? taps[i][c + k] : genn_pair_low((int32_t)(s->outside & 255)));
        s->y[c + k] = genn_finish_s8(acc, s->mult[c + k], s->shift, s->offset, lo, hi);
    }
}
#endif

GENN_KERNEL void genn_depthwise_any_s8(const struct genn_depthwise_any_s8 *p, const int8_t *GENN_RESTRICT x,
                                       const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                       const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    const int8_t *taps[GENN_DEPTHWISE_TABLE_DSP];
    const int32_t fours = p->in_c / 4 * 4;
    struct genn_depthwise_four_s8 s;

    s.outside = (uint32_t)(p->zero_point & 255) * 0x1010101u;
    s.pitch = p->in_c;
    s.taps = p->k_h * p->k_w;
    s.bias = bias;
    s.mult = mult;
    s.offset = p->offset;
    s.shift = p->shift;
    s.lo = (uint32_t)(p->lo & 255) * 0x1010101u;
    s.hi = (uint32_t)(p->hi & 255) * 0x1010101u;
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c) {
                genn_depthwise_table_s8(p, x, oy, ox, taps);
                s.y = y;
                for (int32_t c = 0; c < fours; c += 4)
                    genn_depthwise_channels_s8(taps, w + c, &s, c);
                for (int32_t c = fours; c < p->in_c; c++) {
                    int32_t acc = bias[c];
                    for (int32_t i = 0; i < s.taps; i++)
                        acc += w[i * p->in_c + c] * (taps[i] ? taps[i][c] : p->zero_point);
                    y[c] = genn_finish_s8(acc, mult[c], p->shift, p->offset, p->lo, p->hi);
                }
            }
}

GENN_INLINE int16_t genn_depthwise_finish_s16(const struct genn_depthwise_any_s16 *p, int32_t acc)
{
    return (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
}

GENN_KERNEL void genn_depthwise_any_s16(const struct genn_depthwise_any_s16 *p, const int16_t *GENN_RESTRICT x,
                                        const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                        int16_t *GENN_RESTRICT y)
{
    const int16_t *taps[GENN_DEPTHWISE_TABLE_DSP];
#if defined(GENN_DSP)
    const int32_t fours = p->in_c / 4 * 4;
#else
    const int32_t fours = 0;
#endif

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c) {
                genn_depthwise_table_s16(p, x, oy, ox, taps);
#if defined(GENN_DSP)
                for (int32_t c = 0; c < fours; c += 4) {
                    const int16_t *wc = w + c;
                    int32_t a0 = bias[c], a1 = bias[c + 1], a2 = bias[c + 2], a3 = bias[c + 3];
                    for (int32_t i = 0; i < p->k_h * p->k_w; i++, wc += p->in_c) {
                        if (taps[i] == 0)
                            continue;
                        const uint32_t v01 = genn_load_word(taps[i] + c), v23 = genn_load_word(taps[i] + c + 2);
                        const uint32_t u01 = genn_load_word(wc), u23 = genn_load_word(wc + 2);
                        a0 = genn_smlabb(v01, u01, a0);
                        a1 = genn_smlatt(v01, u01, a1);
                        a2 = genn_smlabb(v23, u23, a2);
                        a3 = genn_smlatt(v23, u23, a3);
                    }
                    y[c] = genn_depthwise_finish_s16(p, a0);
                    y[c + 1] = genn_depthwise_finish_s16(p, a1);
                    y[c + 2] = genn_depthwise_finish_s16(p, a2);
                    y[c + 3] = genn_depthwise_finish_s16(p, a3);
                }
#endif
                for (int32_t c = fours; c < p->in_c; c++) {
                    const int16_t *wc = w + c;
                    int32_t acc = bias[c];
                    for (int32_t i = 0; i < p->k_h * p->k_w; i++, wc += p->in_c)
                        acc += taps[i] ? *wc * taps[i][c] : 0;
                    y[c] = genn_depthwise_finish_s16(p, acc);
                }
            }
}

#endif
