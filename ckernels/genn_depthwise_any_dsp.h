/* Depthwise convolution of any shape for cores with the DSP instructions, int8 and int16 (genn/kernels/dsp_depthwise.py).
 *
 * For each pixel a table of where its taps lie is made once; then four channels at a time walk it.  Weights are stored
 * [C / 4][tap][4], for int8 two taps at a time (genn_depthwise_at_s8), and those of the last C % 4 channels [c][tap].  In a
 * 5 x 5 kernel about 4.5 cycles a product.
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

/* Where the taps of the pixel (oy, ox) lie.  Outside of the input, which starts at x, they lie at y, the pixel's own
 * outputs, which hold the padding then: each of them is read before it is written.  Or y is null, and so are they. */
#define GENN_DEPTHWISE_TABLE(name, type, params)                                                                       \
    GENN_INLINE void name(const struct params *p, const type *x, int32_t oy, int32_t ox, int32_t padding, type *y,     \
                          const type **taps)                                                                           \
    {                                                                                                                  \
        int inside = 1;                                                                                                \
                                                                                                                       \
        for (int32_t ky = 0; ky < p->k_h; ky++)                                                                        \
            for (int32_t kx = 0; kx < p->k_w; kx++) {                                                                  \
                const int32_t iy = oy * p->stride_h - p->pad_h + ky * p->dil_h;                                        \
                const int32_t ix = ox * p->stride_w - p->pad_w + kx * p->dil_w;                                        \
                const int in = iy >= 0 && iy < p->in_h && ix >= 0 && ix < p->in_w;                                     \
                *taps++ = in ? x + (iy * p->in_w + ix) * p->in_c : y;                                                  \
                inside &= in;                                                                                          \
            }                                                                                                          \
        for (int32_t c = inside || y == 0 ? p->in_c : 0; c < p->in_c; c++) {                                           \
            GENN_NO_LIBCALL;                                                                                           \
            y[c] = (type)padding;                                                                                      \
        }                                                                                                              \
    }

GENN_DEPTHWISE_TABLE(genn_depthwise_table_s8, int8_t, genn_depthwise_any_s8)
GENN_DEPTHWISE_TABLE(genn_depthwise_table_s16, int16_t, genn_depthwise_any_s16)

/* Place of tap i of channel k of four in the 4 * taps bytes of their weights: two taps are eight bytes, as SXTB16 takes
 * them apart into a pair for each channel; a last tap without a partner is four bytes. */
GENN_INLINE int32_t genn_depthwise_at_s8(int32_t taps, int32_t i, int32_t k)
{
    return (i | 1) < taps ? 8 * (i / 2) + 4 * (k & 1) + 2 * (i & 1) + k / 2 : 4 * i + k;
}

#if defined(GENN_DSP)
/* The loop over a pixel's channels, four at a time: taps in r0, parameters in r2, bytes of channels done in r3. */
#define GENN_DEPTHWISE_FOURS                                                                                           \
    "push {r4-r11, lr}\n"                                                                                              \
    "push {r0, r2, r3}\n"                                                                                              \
    "movs r3, #0\n"                                                                                                    \
    "0:\n"
#define GENN_DEPTHWISE_NEXT(bytes)                                                                                     \
    "adds r3, r3, #" bytes "\n"                                                                                        \
    "ldm sp, {r0, r2, r4}\n"                                                                                           \
    "cmp r3, r4\n"                                                                                                     \
    "blt 0b\n"                                                                                                         \
    "add sp, sp, #12\n"                                                                                                \
    "pop {r4-r11, pc}\n"
#endif

/* What the channels of a pixel need besides taps and weights. */
struct genn_depthwise_pixel_s8 {
    int32_t taps;
    const int32_t *bias;
    const int16_t *mult;
    int8_t *y;
    int32_t offset, shift;
    uint32_t lo, hi; /* each four times */
};

#if defined(GENN_DSP)
/* The first `channels` of a pixel, four at a time; y may be among the taps.  29 cycles for eight products: 9 load, 8 widen,
 * 4 make pairs, 4 multiply, 4 are the loop; 18 for the four products of a last tap; 60 to begin, requantize, clamp and
 * store. */
GENN_NAKED void genn_depthwise_channels_s8(GENN_REGISTER const int8_t *const *taps, GENN_REGISTER const int8_t *w,
                                           GENN_REGISTER const struct genn_depthwise_pixel_s8 *s,
                                           GENN_REGISTER int32_t channels)
{
    __asm__ volatile(GENN_DEPTHWISE_FOURS
                     "ldrd r10, r11, [r2]\n"
                     "add r4, r11, r3, lsl #2\n"
                     "ldm r4, {r4-r7}\n"
                     "lsrs r10, r10, #1\n"
                     "beq 2f\n"
                     "1:\n"
                     "ldrd r8, r9, [r0], #8\n"
                     "ldr r8, [r8, r3]\n"
                     "ldr r9, [r9, r3]\n"
                     "ldr r11, [r1], #8\n"
                     "sxtb16 lr, r8\n"
                     "sxtb16 r8, r8, ror #8\n"
                     "sxtb16 r2, r9\n"
                     "sxtb16 r9, r9, ror #8\n"
                     "pkhbt r12, lr, r2, lsl #16\n"
                     "pkhtb lr, r2, lr, asr #16\n"
                     "sxtb16 r2, r11\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlad r4, r12, r2, r4\n"
                     "smlad r6, lr, r11, r6\n"
                     "ldr r11, [r1, #-4]\n"
                     "pkhbt r12, r8, r9, lsl #16\n"
                     "pkhtb r8, r9, r8, asr #16\n"
                     "sxtb16 r2, r11\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlad r5, r12, r2, r5\n"
                     "smlad r7, r8, r11, r7\n"
                     "subs r10, r10, #1\n"
                     "bne 1b\n"
                     "2:\n"
                     "ldr r2, [sp, #4]\n"
                     "ldr r10, [r2]\n"
                     "lsls r10, r10, #31\n"
                     "beq 3f\n"
                     "ldr r8, [r0]\n"
                     "ldr r9, [r1], #4\n"
                     "ldr r8, [r8, r3]\n"
                     "sxtb16 r11, r9\n"
                     "sxtb16 r12, r8\n"
                     "sxtb16 r8, r8, ror #8\n"
                     "sxtb16 r9, r9, ror #8\n"
                     "smlabb r4, r12, r11, r4\n"
                     "smlatt r6, r12, r11, r6\n"
                     "smlabb r5, r8, r9, r5\n"
                     "smlatt r7, r8, r9, r7\n"
                     "3:\n"
                     "adds r2, r2, #8\n"
                     "ldm r2, {r0, r2, r8-r11}\n"
                     "add r0, r0, r3, lsl #1\n"
                     "ldr r12, [r0]\n"
                     "ldr lr, [r0, #4]\n"
                     "smlawb r4, r4, r12, r8\n"
                     "smlawt r5, r5, r12, r8\n"
                     "smlawb r6, r6, lr, r8\n"
                     "smlawt r7, r7, lr, r8\n"
                     "asrs r4, r4, r9\n"
                     "asrs r5, r5, r9\n"
                     "asrs r6, r6, r9\n"
                     "asrs r7, r7, r9\n"
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
                     "str r4, [r2, r3]\n"
                     GENN_DEPTHWISE_NEXT("4"));
}
#else
GENN_INLINE void genn_depthwise_channels_s8(const int8_t *const *taps, const int8_t *w, const struct genn_depthwise_pixel_s8 *s,
                                            int32_t channels)
{
    const int32_t lo = genn_pair_low((int32_t)(s->lo & 255)), hi = genn_pair_low((int32_t)(s->hi & 255));

    for (int32_t c = 0; c < channels; c++) {
        int32_t acc = s->bias[c];
        for (int32_t i = 0; i < s->taps; i++)
            acc += w[c / 4 * 4 * s->taps + genn_depthwise_at_s8(s->taps, i, c % 4)] * taps[i][c];
        s->y[c] = genn_finish_s8(acc, s->mult[c], s->shift, s->offset, lo, hi);
    }
}
#endif

GENN_KERNEL void genn_depthwise_any_s8(const struct genn_depthwise_any_s8 *p, const int8_t *GENN_RESTRICT x,
                                       const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                       const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    const int8_t *taps[GENN_DEPTHWISE_TABLE_DSP];
    const int32_t fours = p->in_c / 4 * 4;
    struct genn_depthwise_pixel_s8 s;

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
                genn_depthwise_table_s8(p, x, oy, ox, p->zero_point, y, taps);
                s.y = y;
                if (fours)
                    genn_depthwise_channels_s8(taps, w, &s, fours);
                for (int32_t c = fours; c < p->in_c; c++) {
                    const int8_t *wc = w + c * s.taps;
                    int32_t acc = bias[c];
                    for (int32_t i = 0; i < s.taps; i++)
                        acc += wc[i] * taps[i][c];
                    y[c] = genn_finish_s8(acc, mult[c], p->shift, p->offset, p->lo, p->hi);
                }
            }
}

/* What the channels of a pixel need besides taps and weights. */
struct genn_depthwise_pixel_s16 {
    int32_t taps;
    const int32_t *bias;
    int16_t *y;
    int32_t shift;
    uint32_t lo, hi; /* each twice */
};

#if defined(GENN_DSP)
/* The first channels of a pixel, eight bytes at a time; y may be among the taps.  27 cycles for eight products: 15 load, 8
 * multiply, 4 are the loop; 18 for the four products of a last tap; 60 to begin, shift, clamp and store. */
#define GENN_DEPTHWISE_TAP_S16(at)                                                                                     \
    "add " at ", " at ", r3\n"                                                                                         \
    "ldr r10, [r1], #8\n"                                                                                              \
    "ldr r9, [" at "]\n"                                                                                               \
    "ldr " at ", [" at ", #4]\n"                                                                                       \
    "ldr r11, [r1, #-4]\n"                                                                                             \
    "smlabb r4, r9, r10, r4\n"                                                                                         \
    "smlatt r5, r9, r10, r5\n"                                                                                         \
    "smlabb r6, " at ", r11, r6\n"                                                                                     \
    "smlatt r7, " at ", r11, r7\n"
GENN_NAKED void genn_depthwise_channels_s16(GENN_REGISTER const int16_t *const *taps, GENN_REGISTER const int16_t *w,
                                            GENN_REGISTER const struct genn_depthwise_pixel_s16 *s,
                                            GENN_REGISTER int32_t bytes)
{
    __asm__ volatile(GENN_DEPTHWISE_FOURS
                     "ldrd r12, r11, [r2]\n"
                     "add r4, r11, r3, lsl #1\n"
                     "ldm r4, {r4-r7}\n"
                     "lsrs r12, r12, #1\n"
                     "beq 2f\n"
                     "1:\n"
                     "ldrd r8, lr, [r0], #8\n" GENN_DEPTHWISE_TAP_S16("r8") GENN_DEPTHWISE_TAP_S16("lr")
                     "subs r12, r12, #1\n"
                     "bne 1b\n"
                     "2:\n"
                     "ldr r2, [sp, #4]\n"
                     "ldr r12, [r2], #8\n"
                     "lsls r12, r12, #31\n"
                     "beq 3f\n"
                     "ldr r8, [r0]\n" GENN_DEPTHWISE_TAP_S16("r8")
                     "3:\n"
                     "ldm r2, {r8-r11}\n"
                     "asrs r4, r4, r9\n"
                     "asrs r5, r5, r9\n"
                     "asrs r6, r6, r9\n"
                     "asrs r7, r7, r9\n"
                     "ssat r4, #16, r4\n"
                     "ssat r5, #16, r5\n"
                     "ssat r6, #16, r6\n"
                     "ssat r7, #16, r7\n"
                     "pkhbt r4, r4, r5, lsl #16\n"
                     "pkhbt r6, r6, r7, lsl #16\n"
                     "ssub16 r5, r4, r10\n"
                     "sel r4, r4, r10\n"
                     "ssub16 r5, r11, r4\n"
                     "sel r4, r4, r11\n"
                     "ssub16 r5, r6, r10\n"
                     "sel r6, r6, r10\n"
                     "ssub16 r5, r11, r6\n"
                     "sel r6, r6, r11\n"
                     "add r8, r8, r3\n"
                     "str r4, [r8]\n"
                     "str r6, [r8, #4]\n"
                     GENN_DEPTHWISE_NEXT("8"));
}
#else
GENN_INLINE void genn_depthwise_channels_s16(const int16_t *const *taps, const int16_t *w,
                                             const struct genn_depthwise_pixel_s16 *s, int32_t bytes)
{
    const int32_t lo = (int32_t)((s->lo & 65535) ^ 32768) - 32768, hi = (int32_t)((s->hi & 65535) ^ 32768) - 32768;

    for (int32_t c = 0; c < bytes / 2; c++) {
        int32_t acc = s->bias[c];
        for (int32_t i = 0; i < s->taps; i++)
            acc += w[(c / 4 * s->taps + i) * 4 + c % 4] * taps[i][c];
        s->y[c] = (int16_t)genn_clamp_s32(acc >> s->shift, lo, hi);
    }
}
#endif

GENN_KERNEL void genn_depthwise_any_s16(const struct genn_depthwise_any_s16 *p, const int16_t *GENN_RESTRICT x,
                                        const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                        int16_t *GENN_RESTRICT y)
{
    const int16_t *taps[GENN_DEPTHWISE_TABLE_DSP];
    const int32_t fours = p->in_c / 4 * 4;
    struct genn_depthwise_pixel_s16 s;

    s.taps = p->k_h * p->k_w;
    s.bias = bias;
    s.shift = p->shift;
    s.lo = (uint32_t)(p->lo & 65535) * 0x10001u;
    s.hi = (uint32_t)(p->hi & 65535) * 0x10001u;
    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c) {
                genn_depthwise_table_s16(p, x, oy, ox, 0, y, taps);
                s.y = y;
                if (fours)
                    genn_depthwise_channels_s16(taps, w, &s, 2 * fours);
                for (int32_t c = fours; c < p->in_c; c++) {
                    const int16_t *wc = w + c * s.taps;
                    int32_t acc = bias[c];
                    for (int32_t i = 0; i < s.taps; i++)
                        acc += wc[i] * taps[i][c];
                    y[c] = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
                }
            }
}

#if defined(GENN_DSP)
/* For few taps and -O time: the compiler unrolls their loop.  About 4.5 cycles a product in a 3 x 3 kernel. */
GENN_KERNEL void genn_depthwise_unrolled_s16(const struct genn_depthwise_any_s16 *p, const int16_t *GENN_RESTRICT x,
                                             const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                             int16_t *GENN_RESTRICT y)
{
    const int16_t *taps[GENN_DEPTHWISE_TABLE_DSP];
    const int32_t count = p->k_h * p->k_w, fours = p->in_c / 4 * 4;

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++)
            for (int32_t ox = 0; ox < p->out_w; ox++, y += p->in_c) {
                genn_depthwise_table_s16(p, x, oy, ox, 0, 0, taps);
                for (int32_t c = 0; c < fours; c += 4) {
                    const int16_t *wc = w + c * count;
                    int32_t a0 = bias[c], a1 = bias[c + 1], a2 = bias[c + 2], a3 = bias[c + 3];
                    for (int32_t i = 0; i < count; i++, wc += 4) {
                        if (taps[i] == 0)
                            continue;
                        const uint32_t v01 = genn_load_word(taps[i] + c), v23 = genn_load_word(taps[i] + c + 2);
                        const uint32_t u01 = genn_load_word(wc), u23 = genn_load_word(wc + 2);
                        a0 = genn_smlabb(v01, u01, a0);
                        a1 = genn_smlatt(v01, u01, a1);
                        a2 = genn_smlabb(v23, u23, a2);
                        a3 = genn_smlatt(v23, u23, a3);
                    }
                    y[c] = (int16_t)genn_clamp_s32(a0 >> p->shift, p->lo, p->hi);
                    y[c + 1] = (int16_t)genn_clamp_s32(a1 >> p->shift, p->lo, p->hi);
                    y[c + 2] = (int16_t)genn_clamp_s32(a2 >> p->shift, p->lo, p->hi);
                    y[c + 3] = (int16_t)genn_clamp_s32(a3 >> p->shift, p->lo, p->hi);
                }
                for (int32_t c = fours; c < p->in_c; c++) {
                    const int16_t *wc = w + c * count;
                    int32_t acc = bias[c];
                    for (int32_t i = 0; i < count; i++)
                        acc += taps[i] ? wc[i] * taps[i][c] : 0;
                    y[c] = (int16_t)genn_clamp_s32(acc >> p->shift, p->lo, p->hi);
                }
            }
}
#else
#define genn_depthwise_unrolled_s16 genn_depthwise_any_s16
#endif

#endif
