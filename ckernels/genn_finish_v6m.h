/* From sums to stored outputs on ARMv6-M, for linear, convolution and depthwise. */
#ifndef GENN_FINISH_V6M_H
#define GENN_FINISH_V6M_H

#include "genn_dot_v6m.h"
#include "genn_dot_v6m_s16.h"

/* int8: an output's constants are one word, bias / 2^narrow in the upper 17 bits, the multiplier in the others.  int16 has
 * neither `offset`, for its rounding constant is part of the bias, nor `narrow`. */
struct genn_finish_v6m {
    int32_t narrow, offset, lo, hi, shift;
};

#if defined(__ARM_ARCH_6M__)

/* genn_requantize, one function for all layers: r0 sums, r1 constants, r2 narrow, r3 outputs, r7 the shift; r8 hi, r9 the
 * outputs' end, r12 offset, lr lo.  29 cycles an output: loads 2 + 2, bias 3, product 8, offset and shift 2, clamp 6, store 3,
 * branch 3. */
GENN_SHARED void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants, int32_t n,
                                    int8_t *y)
{
    register const int32_t *r0_ __asm__("r0") = acc;
    register const uint32_t *r1_ __asm__("r1") = constants;
    register const struct genn_finish_v6m *r2_ __asm__("r2") = f;
    register int8_t *r3_ __asm__("r3") = y;
    register int8_t *r4_ __asm__("r4") = y + n;
    __asm__ volatile(".syntax unified\n"
                     "push {r5-r7}\n mov r6, r8\n mov r7, r9\n push {r6, r7}\n mov r9, r4\n"
                     "ldmia r2, {r2, r4-r7}\n mov r12, r4\n mov lr, r5\n mov r8, r6\n"
                     "1: ldmia r0!, {r4}\n ldmia r1!, {r5}\n asrs r6, r5, #15\n lsls r6, r6, r2\n adds r4, r4, r6\n"
                     "lsls r5, r5, #17\n lsrs r5, r5, #17\n uxth r6, r4\n muls r6, r5, r6\n lsrs r6, r6, #16\n"
                     "asrs r4, r4, #16\n muls r4, r5, r4\n adds r4, r4, r6\n add r4, r12\n asrs r4, r4, r7\n"
                     "cmp r4, lr\n bge 2f\n mov r4, lr\n 2: cmp r4, r8\n ble 3f\n mov r4, r8\n"
                     "3: strb r4, [r3]\n adds r3, r3, #1\n cmp r3, r9\n bne 1b\n"
                     "pop {r6, r7}\n mov r8, r6\n mov r9, r7\n pop {r5-r7}\n"
                     : "+r"(r0_), "+r"(r1_), "+r"(r2_), "+r"(r3_), "+r"(r4_) : : "r12", "lr", "cc", "memory");
}

#else /* any other core */

/* Outputs y[0] .. y[n - 1]. */
GENN_INLINE void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, const uint32_t *constants, int32_t n,
                                    int8_t *y)
{
    for (int32_t t = 0; t < n; t++) {
        const int32_t bias = ((int32_t)constants[t] >> 15) * (1 << f->narrow), mult = (int32_t)(constants[t] & 0x7fffu);
        y[t] = (int8_t)genn_requantize(acc[t] + bias, mult, f->shift, f->offset, f->lo, f->hi);
    }
}

#endif

/* Outputs y[0] .. y[n - 1]. */
GENN_KERNEL void genn_finish_v6m_s16(const struct genn_finish_v6m *f, const int32_t *acc, const int32_t *bias, int32_t n,
                                     int16_t *y)
{
    for (int32_t t = 0; t < n; t++)
        y[t] = (int16_t)genn_clamp_s32((acc[t] + bias[t]) >> f->shift, f->lo, f->hi);
}

/* The largest sums of a pool's window so far. */
GENN_KERNEL void genn_largest_v6m(int32_t *best, const int32_t *acc, int32_t n)
{
    for (int32_t t = 0; t < n; t++)
        if (acc[t] > best[t])
            best[t] = acc[t];
}

#endif
