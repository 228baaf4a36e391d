/* Linear for cores with the DSP instructions: eight outputs at a time, then pairs, then one (genn/kernels/dsp_linear.py).
 *
 * int8 weights of a block of rows: for each group of four columns k the words of columns (k, k + 2) of all pairs, then
 * those of (k + 1, k + 3), as SXTB16 delivers the inputs; then the remaining columns one by one.  A last single row is
 * plain bytes.  Where flash counts all blocks are pairs.  Nothing is padded, and the input is read as it lies.
 */
#ifndef GENN_LINEAR_DSP_H
#define GENN_LINEAR_DSP_H

#include "genn_common_dsp.h"

/* chunk: columns after which row A's sums are taken out of the raw ones; all where flash
 * counts; center: what A's bias there lacks. */
struct genn_linear_dsp_s8 {
    int32_t offset, center;
    int16_t lo, hi;
    uint16_t rows, in, out, shift, chunk;
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

/* n columns of one pair of rows, the same with one word for four: acc as in genn_pair_add.  16 cycles for 8 products. */
#if defined(GENN_DSP)
GENN_NAKED void genn_linear_pair_s8(GENN_REGISTER const int8_t *x, GENN_REGISTER const int8_t *w, GENN_REGISTER int32_t n,
                                    GENN_REGISTER uint32_t *acc)
{
    __asm__ volatile("push {r4-r7, lr}\n"
                     "ldrd r6, r7, [r3]\n"
                     "subs r2, r2, #4\n"
                     "blt 1f\n"
                     "0:\n"
                     "ldr r4, [r0], #4\n"
                     "ldr r5, [r1, #4]\n"
                     "ldr r12, [r1], #8\n"
                     "sxtb16 lr, r4\n"
                     "sxtb16 r4, r4, ror #8\n"
                     GENN_LINEAR_PAIR_S8("r12", "lr", "r6", "r7")
                     GENN_LINEAR_PAIR_S8("r5", "r4", "r6", "r7")
                     "subs r2, r2, #4\n"
                     "bge 0b\n"
                     "1:\n"
                     "adds r2, r2, #4\n"
                     "beq 3f\n"
                     "2:\n"
                     "ldrsb r4, [r0], #1\n"
                     "ldrsh r5, [r1], #2\n"
                     "smlabb r6, r5, r4, r6\n"
                     "sxtb r5, r5\n"
                     "smlabb r7, r5, r4, r7\n"
                     "subs r2, r2, #1\n"
                     "bne 2b\n"
                     "3:\n"
                     "strd r6, r7, [r3]\n"
                     "pop {r4-r7, pc}\n");
}
#else
GENN_INLINE void genn_linear_pair_s8(const int8_t *x, const int8_t *w, int32_t n, uint32_t *acc)
{
    for (; n >= 4; n -= 4, x += 4)
        for (int32_t k = 0; k < 2; k++, w += 4) {
            genn_pair_add(genn_pair_at(w, 0), x[k], acc);
            genn_pair_add(genn_pair_at(w, 1), x[k + 2], acc);
        }
    for (; n > 0; n--, x++, w += 2)
        genn_pair_add(genn_pair_at(w, 0), x[0], acc);
}
#endif

GENN_INLINE int32_t genn_linear_row_s8(const int8_t *x, const int8_t *w, int32_t n, int32_t acc)
{
#if defined(GENN_DSP) && !defined(GENN_FLASH)
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

/* n columns of four pairs of rows: their weights come from w on. */
GENN_INLINE void genn_linear_columns_s8(const int8_t *x, const int8_t *w, int32_t n, uint32_t *acc)
{
    const int32_t groups = n / 4;

    if (groups > 0)
        genn_linear_block_s8(x, w, groups, acc);
    w += 32 * groups;
    for (int32_t k = 4 * groups; k < n; k++, w += 8)
        for (int32_t i = 0; i < 4; i++)
            genn_pair_add(genn_pair_at(w, i), x[k], acc + 2 * i);
}

GENN_INLINE void genn_linear_chunk_s8(const int8_t *x, const int8_t *w, int32_t n, int32_t pairs, uint32_t *acc)
{
    if (pairs == 4)
        genn_linear_columns_s8(x, w, n, acc);
    else
        genn_linear_pair_s8(x, w, n, acc);
}

#if defined(GENN_FLASH)
#define GENN_LINEAR_COLUMNS_S8(p) ((p)->in)
#else
#define GENN_LINEAR_COLUMNS_S8(p) ((p)->chunk)
#endif

/* `pairs` (4 or 1) pairs of rows for one input row; y and c stand at the first of them. */
GENN_INLINE void genn_linear_pairs_s8(const struct genn_linear_dsp_s8 *p, const int8_t *x, const int8_t *w, int32_t pairs,
                                      const int32_t *c, int8_t *y)
{
    const int32_t chunk = GENN_LINEAR_COLUMNS_S8(p);
    uint32_t acc[8];
    int32_t sum[4] = {0, 0, 0, 0}, k = 0; /* of row A in the chunks before the last */

    for (int32_t i = 0; i < pairs; i++) {
        acc[2 * i] = (uint32_t)c[3 * i];
        acc[2 * i + 1] = (uint32_t)c[3 * i + 1];
        GENN_NO_LIBCALL;
    }
    for (; p->in - k > chunk; k += chunk) {
        genn_linear_chunk_s8(x + k, w + 2 * pairs * k, chunk, pairs, acc);
        for (int32_t i = 0; i < pairs; i++)
            sum[i] += genn_pair_take(acc + 2 * i);
    }
    genn_linear_chunk_s8(x + k, w + 2 * pairs * k, p->in - k, pairs, acc);
    for (int32_t i = 0; i < pairs; i++, y += 2, c += 3) {
        const int32_t a = p->center + genn_pair_high(acc + 2 * i), b = (int32_t)acc[2 * i + 1];

        y[0] = genn_finish_s8(p->in > chunk ? sum[i] + a : a, c[2] >> 16, p->shift, p->offset, p->lo, p->hi);
        y[1] = genn_finish_s8(b, (int16_t)c[2], p->shift, p->offset, p->lo, p->hi);
    }
}

/* c: for a pair of rows 256 * (A - center) + B (modulo 2^32) of their biases, B's, and the multipliers of A << 16 | B; for a
 * last single row bias and multiplier. */
GENN_KERNEL void genn_linear_dsp_s8(const struct genn_linear_dsp_s8 *p, const int8_t *GENN_RESTRICT x,
                                    const int8_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT c, int8_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const int8_t *wp = w;
        const int32_t *cp = c;
        int32_t o = 0;
#if !defined(GENN_FLASH)
        for (; o + 8 <= p->out; o += 8, wp += 8 * p->in, cp += 12)
            genn_linear_pairs_s8(p, x, wp, 4, cp, y + o);
#endif
        for (; o + 2 <= p->out; o += 2, wp += 2 * p->in, cp += 3)
            genn_linear_pairs_s8(p, x, wp, 1, cp, y + o);
        if (p->out % 2)
            y[p->out - 1] = genn_finish_s8(genn_linear_row_s8(x, wp, p->in, cp[0]), cp[1], p->shift, p->offset, p->lo, p->hi);
    }
}

/* ---- int16: per two columns the words of all rows of a block ------------------------------------------------------- */

struct genn_linear_dsp_s16 {
    int16_t lo, hi;
    uint16_t rows, in, out, shift;
};

#if defined(GENN_DSP)

#define GENN_LINEAR_ROW_S16(w, acc) "smlad " acc ", " w ", r2, " acc "\n"

/* Two columns of eight rows: 20 cycles for 16 products, as 9 words come in runs of four, three and two. */
#define GENN_LINEAR_STEP_S16                                                                                           \
    "ldr r2, [r0], #4\n"                                                                                               \
    "ldr r3, [r1, #4]\n"                                                                                               \
    "ldr r12, [r1, #8]\n"                                                                                              \
    "ldr lr, [r1, #12]\n"                                                                                              \
    GENN_LINEAR_ROW_S16("r3", "r4")                                                                                    \
    GENN_LINEAR_ROW_S16("r12", "r5")                                                                                   \
    GENN_LINEAR_ROW_S16("lr", "r6")                                                                                    \
    "ldr r3, [r1, #16]\n"                                                                                              \
    "ldr r12, [r1, #20]\n"                                                                                             \
    "ldr lr, [r1, #24]\n"                                                                                              \
    GENN_LINEAR_ROW_S16("r3", "r7")                                                                                    \
    GENN_LINEAR_ROW_S16("r12", "r8")                                                                                   \
    GENN_LINEAR_ROW_S16("lr", "r9")                                                                                    \
    "ldr r3, [r1, #28]\n"                                                                                              \
    "ldr r12, [r1, #32]!\n"                                                                                            \
    GENN_LINEAR_ROW_S16("r3", "r10")                                                                                   \
    GENN_LINEAR_ROW_S16("r12", "r11")

#if defined(GENN_FLASH)
#define GENN_LINEAR_UNROLL_S16 "0:\n" GENN_LINEAR_STEP_S16
#else
#define GENN_LINEAR_UNROLL_S16                                                                                         \
    "ands r2, r2, #3\n"                                                                                                \
    "beq 0f\n"                                                                                                         \
    "cmp r2, #2\n"                                                                                                     \
    "blo 1f\n"                                                                                                         \
    "beq 2f\n"                                                                                                         \
    "b 3f\n"                                                                                                           \
    "0:\n" GENN_LINEAR_STEP_S16                                                                                        \
    "3:\n" GENN_LINEAR_STEP_S16                                                                                        \
    "2:\n" GENN_LINEAR_STEP_S16                                                                                        \
    "1:\n" GENN_LINEAR_STEP_S16
#endif

/* steps (at least one) of two columns: acc[8] += the block's weights times x. */
GENN_NAKED void genn_linear_block_s16(GENN_REGISTER const int16_t *x, GENN_REGISTER const int16_t *w,
                                      GENN_REGISTER int32_t steps, GENN_REGISTER uint32_t *acc)
{
    __asm__ volatile("push {r3-r11, lr}\n"
                     "ldm r3, {r4-r11}\n"
                     "subs r1, r1, #4\n"
                     "add lr, r1, r2, lsl #5\n"
                     "push {lr}\n"
                     GENN_LINEAR_UNROLL_S16
                     "ldr r3, [sp]\n"
                     "cmp r1, r3\n"
                     "bne 0b\n"
                     "add sp, sp, #4\n"
                     "pop {r3}\n"
                     "stm r3, {r4-r11}\n"
                     "pop {r4-r11, pc}\n");
}
#endif

/* The same for blocks of `rows` rows. */
GENN_INLINE void genn_linear_steps_s16(const int16_t *x, const int16_t *w, int32_t steps, int32_t rows, uint32_t *acc)
{
    for (; steps > 0; steps--, x += 2)
        for (int32_t i = 0; i < rows; i++, w += 2) {
#if defined(GENN_DSP)
            acc[i] = genn_smlad(genn_load_word(w), genn_load_word(x), acc[i]);
#else
            acc[i] += (uint32_t)(w[0] * x[0]) + (uint32_t)(w[1] * x[1]);
#endif
        }
}

/* A block of `rows` (8, 2 or 1) rows for one input row. */
GENN_INLINE void genn_linear_rows_s16(const struct genn_linear_dsp_s16 *p, const int16_t *x, const int16_t *w, int32_t rows,
                                      const int32_t *bias, int16_t *y)
{
    const int32_t steps = p->in / 2;
    uint32_t acc[8];

    for (int32_t i = 0; i < rows; i++)
        acc[i] = (uint32_t)bias[i];
#if defined(GENN_DSP)
    if (rows == 8 && steps > 0)
        genn_linear_block_s16(x, w, steps, acc);
    else
#endif
        genn_linear_steps_s16(x, w, steps, rows, acc);
    w += 2 * steps * rows;
    for (int32_t i = 0; i < rows; i++) {
        if (p->in % 2)
            acc[i] += (uint32_t)(w[i] * x[p->in - 1]);
        y[i] = (int16_t)genn_clamp_s32((int32_t)acc[i] >> p->shift, p->lo, p->hi);
    }
}

GENN_KERNEL void genn_linear_dsp_s16(const struct genn_linear_dsp_s16 *p, const int16_t *GENN_RESTRICT x,
                                     const int16_t *GENN_RESTRICT w, const int32_t *GENN_RESTRICT bias,
                                     int16_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out) {
        const int16_t *wp = w;
        int32_t o = 0;
        for (; o + 8 <= p->out; o += 8, wp += 8 * p->in)
            genn_linear_rows_s16(p, x, wp, 8, bias + o, y + o);
        for (; o + 2 <= p->out; o += 2, wp += 2 * p->in)
            genn_linear_rows_s16(p, x, wp, 2, bias + o, y + o);
        if (o < p->out)
            genn_linear_rows_s16(p, x, wp, 1, bias + o, y + o);
    }
}

#endif
