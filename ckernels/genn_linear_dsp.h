/* Linear for cores with the DSP instructions: eight outputs at a time, then pairs, then one (genn/kernels/dsp_linear.py).
 *
 * int8 weights of a block of rows: for each group of four columns k the words of columns (k, k + 2) of all pairs, then
 * those of (k + 1, k + 3), as SXTB16 delivers the inputs; then the remaining columns one by one.  A last single row is
 * plain bytes.  Nothing is padded, and the input is read as it lies.
 */
#ifndef GENN_LINEAR_DSP_H
#define GENN_LINEAR_DSP_H

#include "genn_common_dsp.h"

/* chunk: columns after which row A's sums are taken out of the raw ones; center: what A's bias there lacks. */
struct genn_linear_dsp_s8 {
    int32_t rows, in, out, shift, offset, lo, hi, chunk, center;
};

#if defined(GENN_DSP)

/* One group: four columns of eight rows.  r0 input, r1 weights less 4, r4-r11 sums (raw, B, raw, B, ...).
 * 39 cycles for 32 products: 16 SMLAD, 8 SXTB16, 2 SXTB16 of inputs, 9 loads in runs of 3, 2, 3 and 1, as registers are
 * free (a run of n costs n + 1). */
#define GENN_LINEAR_PAIR_S8(w, x, raw, low)                                                                            \
    "smlad " raw ", " w ", " x ", " raw "\n"                                                                           \
    "sxtb16 " w ", " w "\n"                                                                                            \
    "smlad " low ", " w ", " x ", " low "\n"
#define GENN_LINEAR_GROUP_S8                                                                                           \
    "ldr r2, [r0], #4\n"                                                                                               \
    "ldr r3, [r1, #4]\n"                                                                                               \
    "ldr r12, [r1, #8]\n"                                                                                              \
    "sxtb16 lr, r2\n"                                                                                                  \
    GENN_LINEAR_PAIR_S8("r3", "lr", "r4", "r5")                                                                        \
    GENN_LINEAR_PAIR_S8("r12", "lr", "r6", "r7")                                                                       \
    "ldr r3, [r1, #12]\n"                                                                                              \
    "ldr r12, [r1, #16]\n"                                                                                             \
    GENN_LINEAR_PAIR_S8("r3", "lr", "r8", "r9")                                                                        \
    GENN_LINEAR_PAIR_S8("r12", "lr", "r10", "r11")                                                                     \
    "sxtb16 r2, r2, ror #8\n"                                                                                          \
    "ldr r3, [r1, #20]\n"                                                                                              \
    "ldr r12, [r1, #24]\n"                                                                                             \
    "ldr lr, [r1, #28]\n"                                                                                              \
    GENN_LINEAR_PAIR_S8("r3", "r2", "r4", "r5")                                                                        \
    GENN_LINEAR_PAIR_S8("r12", "r2", "r6", "r7")                                                                       \
    GENN_LINEAR_PAIR_S8("lr", "r2", "r8", "r9")                                                                        \
    "ldr r3, [r1, #32]!\n"                                                                                             \
    GENN_LINEAR_PAIR_S8("r3", "r2", "r10", "r11")

#if defined(GENN_FLASH)
#define GENN_LINEAR_UNROLL_S8 "0:\n" GENN_LINEAR_GROUP_S8
#else
/* Four groups a turn, entered where the remainder asks for. */
#define GENN_LINEAR_UNROLL_S8                                                                                          \
    "ands r2, r2, #3\n"                                                                                                \
    "beq 0f\n"                                                                                                         \
    "cmp r2, #2\n"                                                                                                     \
    "blo 1f\n"                                                                                                         \
    "beq 2f\n"                                                                                                         \
    "b 3f\n"                                                                                                           \
    "0:\n" GENN_LINEAR_GROUP_S8                                                                                        \
    "3:\n" GENN_LINEAR_GROUP_S8                                                                                        \
    "2:\n" GENN_LINEAR_GROUP_S8                                                                                        \
    "1:\n" GENN_LINEAR_GROUP_S8
#endif

/* groups (at least one) of four columns: acc[8] += the block's weights times x.  The end is kept on the stack, for want
 * of a register: 6 cycles a turn. */
GENN_NAKED void genn_linear_block_s8(GENN_REGISTER const int8_t *x, GENN_REGISTER const int8_t *w,
                                     GENN_REGISTER int32_t groups, GENN_REGISTER uint32_t *acc)
{
    __asm__ volatile("push {r3-r11, lr}\n"
                     "ldm r3, {r4-r11}\n"
                     "subs r1, r1, #4\n"
                     "add lr, r1, r2, lsl #5\n"
                     "push {lr}\n"
                     GENN_LINEAR_UNROLL_S8
                     "ldr r3, [sp]\n"
                     "cmp r1, r3\n"
                     "bne 0b\n"
                     "add sp, sp, #4\n"
                     "pop {r3}\n"
                     "stm r3, {r4-r11}\n"
                     "pop {r4-r11, pc}\n");
}

#else

GENN_INLINE void genn_linear_block_s8(const int8_t *x, const int8_t *w, int32_t groups, uint32_t *acc)
{
    for (int32_t g = 0; g < groups; g++, x += 4)
        for (int32_t k = 0; k < 2; k++)
            for (int32_t pair = 0; pair < 4; pair++, w += 4) {
                genn_pair_add(genn_pair_at(w, 0), x[k], acc + 2 * pair);
                genn_pair_add(genn_pair_at(w, 1), x[k + 2], acc + 2 * pair);
            }
}

#endif

/* One pair of rows, the same with one word for four. */
GENN_INLINE void genn_linear_pair_s8(const int8_t *x, const int8_t *w, int32_t groups, uint32_t *acc)
{
#if defined(GENN_DSP)
    uint32_t raw = acc[0], low = acc[1];

    for (; groups > 0; groups--, x += 4, w += 8) {
        const uint32_t v = genn_load_word(x), w0 = genn_load_word(w), w1 = genn_load_word(w + 4);
        const uint32_t even = genn_sxtb16(v), odd = genn_sxtb16_odd(v);
        raw = genn_smlad(w1, odd, genn_smlad(w0, even, raw));
        low = genn_smlad(genn_sxtb16(w1), odd, genn_smlad(genn_sxtb16(w0), even, low));
    }
    acc[0] = raw;
    acc[1] = low;
#else
    for (int32_t g = 0; g < groups; g++, x += 4)
        for (int32_t k = 0; k < 2; k++, w += 4) {
            genn_pair_add(genn_pair_at(w, 0), x[k], acc);
            genn_pair_add(genn_pair_at(w, 1), x[k + 2], acc);
        }
#endif
}

GENN_INLINE int32_t genn_linear_row_s8(const int8_t *x, const int8_t *w, int32_t n, int32_t acc)
{
#if defined(GENN_DSP)
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        const uint32_t v = genn_load_word(x), u = genn_load_word(w);
        acc = (int32_t)genn_smlad(genn_sxtb16(v), genn_sxtb16(u), (uint32_t)acc);
        acc = (int32_t)genn_smlad(genn_sxtb16_odd(v), genn_sxtb16_odd(u), (uint32_t)acc);
    }
#endif
    for (int32_t k = 0; k < n; k++)
        acc += (int32_t)x[k] * w[k];
    return acc;
}

/* n columns of `pairs` (4 or 1) pairs of rows: their weights come from w on.  acc as in genn_pair_add. */
GENN_INLINE void genn_linear_columns_s8(const int8_t *x, const int8_t *w, int32_t n, int32_t pairs, uint32_t *acc)
{
    const int32_t groups = n / 4;

    if (groups > 0 && pairs == 4)
        genn_linear_block_s8(x, w, groups, acc);
    else
        genn_linear_pair_s8(x, w, groups, acc);
    w += 8 * pairs * groups;
    for (int32_t k = 4 * groups; k < n; k++, w += 2 * pairs)
        for (int32_t i = 0; i < pairs; i++)
            genn_pair_add(genn_pair_at(w, i), x[k], acc + 2 * i);
}

/* `pairs` pairs of rows for one input row; y, bias and mult stand at the first of them. */
GENN_INLINE void genn_linear_pairs_s8(const struct genn_linear_dsp_s8 *p, const int8_t *x, const int8_t *w, int32_t pairs,
                                      const int32_t *bias, const int16_t *mult, int8_t *y)
{
    uint32_t acc[8];
    int32_t sum[4] = {p->center, p->center, p->center, p->center};

    for (int32_t i = 0; i < 2 * pairs; i++)
        acc[i] = (uint32_t)bias[i];
    for (int32_t k = 0; k < p->in; k += p->chunk) {
        const int32_t n = p->in - k < p->chunk ? p->in - k : p->chunk;
        genn_linear_columns_s8(x + k, w + 2 * pairs * k, n, pairs, acc);
        for (int32_t i = 0; i < pairs; i++)
            sum[i] += genn_pair_take(acc + 2 * i);
    }
    for (int32_t i = 0; i < pairs; i++, y += 2, mult += 2) {
        y[0] = genn_finish_s8(sum[i], mult[0], p->shift, p->offset, p->lo, p->hi);
        y[1] = genn_finish_s8((int32_t)acc[2 * i + 1], mult[1], p->shift, p->offset, p->lo, p->hi);
    }
}

/* bias: for a pair of rows 256 * (A - center) + B (modulo 2^32), B; for a last single row itself. */
GENN_KERNEL void genn_linear_dsp_s8(const struct genn_linear_dsp_s8 *p, const int8_t *GENN_RESTRICT x,
                                    const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                    const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const int8_t *wp = w;
        int32_t o = 0;
        for (; o + 8 <= p->out; o += 8, wp += 8 * p->in)
            genn_linear_pairs_s8(p, x, wp, 4, bias + o, mult + o, y + o);
        for (; o + 2 <= p->out; o += 2, wp += 2 * p->in)
            genn_linear_pairs_s8(p, x, wp, 1, bias + o, mult + o, y + o);
        if (o < p->out)
            y[o] = genn_finish_s8(genn_linear_row_s8(x, wp, p->in, bias[o]), mult[o], p->shift, p->offset, p->lo, p->hi);
    }
}

#endif
