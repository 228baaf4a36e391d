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

/* 2^15 times the sum of all x, modulo 2^32.  `at` and `run` of a patch are bytes here too. */
GENN_KERNEL uint32_t genn_offset_v6m_s16(const struct genn_patch_v6m *x)
{
    int32_t sum = 0;

    for (int32_t i = 0; i < x->height; i++) {
        const int16_t *xi = (const int16_t *)(const void *)((const char *)x->rows[i] + x->at), *end = xi + x->run / 2;
        while (xi < end)
            sum += *xi++;
    }
    return (uint32_t)sum << 15;
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

#define GENN_WORD_S16_V6M(word, t, low, high)                                                                          \
    "asrs " t ", " word ", #16\n muls " t ", r3, " t "\n add " high ", " t "\n"                                        \
    "muls " word ", r3, " word "\n add " low ", " word "\n"

/* 22.5 cycles a tap of six rows: load 4 + 2, sums 15, step 1, branch 2 / 4. */
#define GENN_TAP6_S16_V6M                                                                                              \
    "ldmia r0!, {r4-r6}\n ldrsh r3, [r1, r2]\n" GENN_WORD_S16_V6M("r4", "r7", "r8", "r9")                              \
        GENN_WORD_S16_V6M("r5", "r7", "r10", "r11") GENN_WORD_S16_V6M("r6", "r7", "r12", "lr") "adds r2, r2, #2\n"
/* 10.5 cycles a tap of two rows; 12 where flash counts. */
#define GENN_TAP2_S16_V6M                                                                                              \
    "ldmia r0!, {r4}\n ldrsh r3, [r1, r2]\n" GENN_WORD_S16_V6M("r4", "r5", "r6", "r7") "adds r2, r2, #2\n"
/* The two sums, with the offset in r5, to the address in r6. */
#define GENN_UNPACK_S16_V6M(low, high)                                                                                 \
    "mov r2, " high "\n lsls r3, r2, #16\n mov r1, " low "\n subs r1, r1, r3\n subs r1, r1, r5\n stmia r6!, {r1, r2}\n"

#if defined(GENN_FLASH)
#define GENN_LOOP2_S16_V6M "2:" GENN_TAP2_S16_V6M
#define GENN_ENTRY2_S16_V6M ""
#else
#define GENN_LOOP2_S16_V6M                                                                                             \
    GENN_JUMP_V6M "2:" GENN_TAP2_S16_V6M GENN_TAP2_S16_V6M GENN_TAP2_S16_V6M GENN_TAP2_S16_V6M
#define GENN_ENTRY2_S16_V6M GENN_ENTRY_V6M("6", "8")

GENN_SHARED void genn_dot6_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t *acc, int32_t groups)
{
    GENN_CALL_V6M(GENN_SAVE_LOW_V6M GENN_SAVE_HIGH_V6M "ldr r4, [r0, #16]\n push {r4}\n"
                  GENN_FRAME_V6M(GENN_ENTRY_V6M("6", "18"))
                  "3: movs r7, #0\n mov r8, r7\n mov r9, r7\n mov r10, r7\n mov r11, r7\n mov r12, r7\n mov lr, r7\n"
                  GENN_ROW_V6M GENN_JUMP_V6M
                  "2:" GENN_TAP6_S16_V6M GENN_TAP6_S16_V6M GENN_TAP6_S16_V6M GENN_TAP6_S16_V6M GENN_NEXT_V6M
                  "ldr r5, [sp, #24]\n ldr r6, [sp, #44]\n" GENN_UNPACK_S16_V6M("r8", "r9")
                  GENN_UNPACK_S16_V6M("r10", "r11") GENN_UNPACK_S16_V6M("r12", "lr") "str r6, [sp, #44]\n"
                  GENN_AGAIN_V6M("48") "add sp, #4\n" GENN_LOAD_HIGH_V6M GENN_LOAD_LOW_V6M);
}
#endif

GENN_SHARED void genn_dot2_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t *acc, int32_t groups)
{
    GENN_CALL_V6M(GENN_SAVE_LOW_V6M "ldr r4, [r0, #16]\n push {r4}\n" GENN_FRAME_V6M(GENN_ENTRY2_S16_V6M)
                  "3: movs r6, #0\n movs r7, #0\n" GENN_ROW_V6M GENN_LOOP2_S16_V6M GENN_NEXT_V6M
                  "mov r1, r6\n ldr r5, [sp, #24]\n ldr r6, [sp, #28]\n" GENN_UNPACK_S16_V6M("r1", "r7")
                  "str r6, [sp, #28]\n" GENN_AGAIN_V6M("32") "add sp, #4\n" GENN_LOAD_LOW_V6M);
}

#else /* any other core: the same bytes, the same sums */

/* Groups of `width` rows. */
GENN_INLINE void genn_dot_group_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t width, int32_t *acc,
                                        int32_t groups)
{
    for (; groups > 0; groups--, acc += width, w += width * x->height * (x->run / 2))
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

GENN_INLINE void genn_dot6_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t *acc, int32_t groups)
{
    genn_dot_group_v6m_s16(x, w, 6, acc, groups);
}

GENN_INLINE void genn_dot2_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t *acc, int32_t groups)
{
    genn_dot_group_v6m_s16(x, w, 2, acc, groups);
}

#endif

/* Sums, without bias, of `rows` rows of `taps` packed weights. */
GENN_KERNEL void genn_dot_v6m_s16(const struct genn_patch_v6m *x, const int16_t *w, int32_t rows, int32_t taps, int32_t *acc)
{
    int32_t o = 0;

#if defined(GENN_FLASH)
    const int32_t twos = rows / 2;
#else
    const int32_t twos = rows % 6 / 2;
    if (rows >= 6) {
        genn_dot6_v6m_s16(x, w, acc, rows / 6);
        o = rows / 6 * 6;
    }
#endif
    if (twos) {
        genn_dot2_v6m_s16(x, w + o * taps, acc + o, twos);
        o += 2 * twos;
    }
    if (o < rows)
        acc[o] = genn_dot1_v6m_s16(x, w + o * taps);
}

#endif
