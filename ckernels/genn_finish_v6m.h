/* From sums to stored outputs on ARMv6-M, for linear, convolution and depthwise. */
#ifndef GENN_FINISH_V6M_H
#define GENN_FINISH_V6M_H

#include "genn_dot_v6m.h"
#include "genn_dot_v6m_s16.h"

/* What a kernel works on, known where it is inlined.  The constants of an output are
 *   S8        one word: bias / 2^narrow in the upper 17 bits, the multiplier in the others
 *   S8_WIDE   two words: the multiplier, the bias
 *   S16       the bias, which holds the rounding constant too */
enum genn_kind_v6m { GENN_S8_V6M, GENN_S8_WIDE_V6M, GENN_S16_V6M };

/* narrow: S8 only; offset: not S16. */
struct genn_finish_v6m {
    int32_t narrow, offset, lo, hi, shift;
};

#if defined(__ARM_ARCH_6M__)

/* genn_requantize for n > 0 outputs, one function for all layers: r0 sums, r1 constants, r2 narrow, r3 outputs, r4 the sum,
 * r5 the multiplier, r7 the shift; r8 hi, r9 the outputs' end, r12 offset, lr lo.  29 cycles an output, wide 26: loads 2 + 2, bias 3,
 * product 8 (wide: 2 + 3, 1, 6), offset and shift 2, clamp 6, store 3, branch 3. */
#define GENN_FINISH_V6M(constants_)                                                                                    \
    register const int32_t *r0_ __asm__("r0") = acc;                                                                   \
    register const uint32_t *r1_ __asm__("r1") = constants;                                                            \
    register const struct genn_finish_v6m *r2_ __asm__("r2") = f;                                                      \
    register int8_t *r3_ __asm__("r3") = y;                                                                            \
    register int8_t *r4_ __asm__("r4") = y + n;                                                                        \
    __asm__ volatile(".syntax unified\n"                                                                               \
                     "push {r5-r7}\n mov r6, r8\n mov r7, r9\n push {r6, r7}\n mov r9, r4\n"                           \
                     "ldmia r2, {r2, r4-r7}\n mov r12, r4\n mov lr, r5\n mov r8, r6\n"                                 \
                     "1: ldmia r0!, {r4}\n" constants_ "uxth r6, r4\n muls r6, r5, r6\n lsrs r6, r6, #16\n"            \
                     "asrs r4, r4, #16\n muls r4, r5, r4\n adds r4, r4, r6\n add r4, r12\n asrs r4, r4, r7\n"          \
                     "cmp r4, lr\n bge 2f\n mov r4, lr\n 2: cmp r4, r8\n ble 3f\n mov r4, r8\n"                       \
                     "3: strb r4, [r3]\n adds r3, r3, #1\n cmp r3, r9\n bne 1b\n"                                     \
                     "pop {r6, r7}\n mov r8, r6\n mov r9, r7\n pop {r5-r7}\n"                                         \
                     : "+r"(r0_), "+r"(r1_), "+r"(r2_), "+r"(r3_), "+r"(r4_) : : "r12", "lr", "cc", "memory")

GENN_SHARED void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants, int32_t n,
                                    int8_t *y)
{
    GENN_FINISH_V6M("ldmia r1!, {r5}\n asrs r6, r5, #15\n lsls r6, r6, r2\n adds r4, r4, r6\n"
                    "lsls r5, r5, #17\n lsrs r5, r5, #17\n");
}

GENN_SHARED void genn_finish_v6m_s8_wide(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants,
                                         int32_t n, int8_t *y)
{
    GENN_FINISH_V6M("ldmia r1!, {r5, r6}\n adds r4, r4, r6\n");
}

#else /* any other core */

GENN_INLINE void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants, int32_t n,
                                    int8_t *y)
{
    for (int32_t t = 0; t < n; t++) {
        const int32_t bias = ((int32_t)constants[t] >> 15) * (1 << f->narrow), mult = (int32_t)(constants[t] & 0x7fffu);
        y[t] = (int8_t)genn_requantize(acc[t] + bias, mult, f->shift, f->offset, f->lo, f->hi);
    }
}

GENN_INLINE void genn_finish_v6m_s8_wide(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants,
                                         int32_t n, int8_t *y)
{
    for (int32_t t = 0; t < n; t++) {
        const int32_t mult = (int32_t)constants[2 * t], bias = (int32_t)constants[2 * t + 1];
        y[t] = (int8_t)genn_requantize(acc[t] + bias, mult, f->shift, f->offset, f->lo, f->hi);
    }
}

#endif

GENN_KERNEL void genn_finish_v6m_s16(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants, int32_t n,
                                     int16_t *y)
{
    for (int32_t t = 0; t < n; t++)
        y[t] = (int16_t)genn_clamp_s32((acc[t] + (int32_t)constants[t]) >> f->shift, f->lo, f->hi);
}

/* Outputs o .. o + n - 1 of y from the sums acc[0] .. acc[n - 1]. */
GENN_INLINE void genn_finish_v6m(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants, int32_t o,
                                 int32_t n, void *y, enum genn_kind_v6m kind)
{
    if (kind == GENN_S8_V6M)
        genn_finish_v6m_s8(f, acc, constants + o, n, (int8_t *)y + o);
    else if (kind == GENN_S8_WIDE_V6M)
        genn_finish_v6m_s8_wide(f, acc, constants + 2 * o, n, (int8_t *)y + o);
    else
        genn_finish_v6m_s16(f, acc, constants + o, n, (int16_t *)y + o);
}

/* Bytes of an input or an output. */
GENN_INLINE int32_t genn_item_v6m(enum genn_kind_v6m kind)
{
    return kind == GENN_S16_V6M ? 2 : 1;
}

/* Sums, without bias, of `rows` rows of `taps` packed weights from row o on. */
GENN_INLINE void genn_dot_v6m(const struct genn_patch_v6m *x, const void *w, int32_t o, int32_t rows, int32_t taps,
                              int32_t *acc, enum genn_kind_v6m kind)
{
    if (kind == GENN_S16_V6M)
        genn_dot_v6m_s16(x, (const int16_t *)w + o * taps, rows, taps, acc);
    else
        genn_dot_v6m_s8(x, (const int8_t *)w + o * taps, rows, taps, acc);
}

/* The largest sums of a pool's window so far. */
GENN_KERNEL void genn_largest_v6m(int32_t *best, const int32_t *acc, int32_t n)
{
    for (int32_t t = 0; t < n; t++)
        if (acc[t] > best[t])
            best[t] = acc[t];
}

#endif
