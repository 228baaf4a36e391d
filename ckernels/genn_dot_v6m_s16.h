/* int16 inner products for ARMv6-M: six output rows at once, or two.
 *
 * Weights: a group of six (two) rows is stored [tap][row]; a word holds two rows, the low half as weight + 32768, so that a
 * shift alone gives the high one.  Times the input x, both are added up modulo 2^32:
 *
 *     low += x * word        high += x * (word >> 16)
 *
 * Then the high row's sum is `high`, the low row's low - 2^16 high - 2^15 (sum of all x): five instructions for two products
 * and no condition, for a sum is proven to fit 32 bits.  A row that is left over is stored plainly.
 */
#ifndef GENN_DOT_V6M_S16_H
#define GENN_DOT_V6M_S16_H

#include "genn_dot_v6m.h"

/* Sum of all x, modulo 2^32.  `at` and `run` of a patch are bytes here too. */
GENN_KERNEL uint32_t genn_sum_v6m_s16(const struct genn_patch_v6m *x)
{
    uint32_t sum = 0;

    for (int32_t i = 0; i < x->height; i++) {
        const int16_t *xi = (const int16_t *)(const void *)((const char *)x->rows[i] + x->at), *end = xi + x->run / 2;
        while (xi < end) {
            const int32_t v = *xi++;
            sum += (uint32_t)v;
        }
    }
    return sum;
}

GENN_KERNEL int32_t genn_dot1_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w)
{
    int32_t acc = 0;

    for (int32_t i = 0; i < x->height; i++) {
        const int16_t *xi = (const int16_t *)(const void *)((const char *)x->rows[i] + x->at), *end = xi + x->run / 2;
        while (xi < end)
            acc += (int32_t)*w++ * *xi++;
    }
    return acc;
}

#if defined(__ARM_ARCH_6M__)

#define GENN_WORD_S16_V6M(word, low, high)                                                                             \
    "asrs r7, " word ", #16\n muls r7, r3, r7\n add " high ", r7\n muls " word ", r3, " word "\n add " low ", " word "\n"

/* 22.5 cycles a tap of six rows: load 4 + 2, sums 15, step 1, branch 2 / 4. */
#define GENN_TAP6_S16_V6M                                                                                              \
    "ldmia r0!, {r4-r6}\n ldrsh r3, [r1, r2]\n" GENN_WORD_S16_V6M("r4", "r8", "r9")                                    \
        GENN_WORD_S16_V6M("r5", "r10", "r11") GENN_WORD_S16_V6M("r6", "r12", "lr") "adds r2, r2, #2\n"
/* 10.5 cycles a tap of two rows; 12 where flash counts. */
#define GENN_TAP2_S16_V6M                                                                                              \
    "ldmia r0!, {r4}\n ldrsh r3, [r1, r2]\n" GENN_WORD_S16_V6M("r4", "r8", "r9") "adds r2, r2, #2\n"

#if defined(GENN_FLASH)
#define GENN_LOOP2_S16_V6M "2:" GENN_TAP2_S16_V6M
#else
#define GENN_LOOP2_S16_V6M                                                                                             \
    GENN_JUMP_V6M "2:" GENN_TAP2_S16_V6M GENN_TAP2_S16_V6M GENN_TAP2_S16_V6M GENN_TAP2_S16_V6M

GENN_SHARED void genn_sums6_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, uint32_t *out)
{
    GENN_CALL_V6M(GENN_ENTER_V6M("6", "18") GENN_ROW_V6M GENN_JUMP_V6M "2:" GENN_TAP6_S16_V6M GENN_TAP6_S16_V6M
                      GENN_TAP6_S16_V6M GENN_TAP6_S16_V6M GENN_NEXT_V6M GENN_LEAVE_V6M);
}
#endif

GENN_SHARED void genn_sums2_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, uint32_t *out)
{
    GENN_CALL_V6M(GENN_ENTER_V6M("6", "8") GENN_ROW_V6M GENN_LOOP2_S16_V6M GENN_NEXT_V6M GENN_LEAVE_V6M);
}

/* `width` rows, 2 or 6. */
GENN_INLINE void genn_dotn_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t width, uint32_t sx, int32_t *acc)
{
    uint32_t s[7];

#if !defined(GENN_FLASH)
    if (width == 6)
        genn_sums6_v6m_s16(x, w, s);
    else
#endif
        genn_sums2_v6m_s16(x, w, s);
    for (int32_t t = 0; t < width; t += 2) {
        acc[t] = (int32_t)(s[t] - (s[t + 1] << 16) - (sx << 15));
        acc[t + 1] = (int32_t)s[t + 1];
    }
}

#else /* any other core: the same bytes, the same sums */

GENN_INLINE void genn_dotn_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t width, uint32_t sx, int32_t *acc)
{
    (void)sx;
    for (int32_t t = 0; t < width; t++) {
        const int16_t *wt = w + t;
        acc[t] = 0;
        for (int32_t i = 0; i < x->height; i++) {
            const int16_t *xi = (const int16_t *)(const void *)((const char *)x->rows[i] + x->at);
            for (int32_t k = 0; k < x->run / 2; k++, wt += width)
                acc[t] += (int32_t)(t % 2 ? *wt : (int16_t)(*wt ^ INT16_MIN)) * xi[k];
        }
    }
}

#endif

/* The next group of `left` rows: their sums, and how many rows it has. */
GENN_INLINE int32_t genn_group_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t left, uint32_t sx,
                                       int32_t *acc)
{
#if !defined(GENN_FLASH)
    if (left >= 6) {
        genn_dotn_v6m_s16(x, w, 6, sx, acc);
        return 6;
    }
#endif
    if (left >= 2) {
        genn_dotn_v6m_s16(x, w, 2, sx, acc);
        return 2;
    }
    acc[0] = genn_dot1_v6m_s16(x, w);
    return 1;
}

#endif
