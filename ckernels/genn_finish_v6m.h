/* From sums to stored outputs on ARMv6-M, for linear, convolution and depthwise. */
#ifndef GENN_FINISH_V6M_H
#define GENN_FINISH_V6M_H

#include "genn_dot_v6m.h"
#include "genn_dot_v6m_s16.h"

/* int16 has no offset: its rounding constant is part of the bias. */
struct genn_finish_v6m {
    int32_t offset, lo, hi, shift;
};

#if defined(__ARM_ARCH_6M__)

/* genn_requantize, one function for all layers: r0 sums, r1 biases, r2 multipliers, r3 outputs, r7 the shift; r8 hi, r9 the
 * outputs' end, r12 offset, lr lo.  28 cycles an output: loads 2 + 2 + 3, bias 1, product 6, offset and shift 2, clamp 6, store 3,
 * branch 3. */
GENN_SHARED void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, const int32_t *bias,
                                    const int16_t *mult, int32_t n, int8_t *y)
{
    register const int32_t *r0_ __asm__("r0") = acc;
    register const int32_t *r1_ __asm__("r1") = bias;
    register const int16_t *r2_ __asm__("r2") = mult;
    register int8_t *r3_ __asm__("r3") = y;
    register const struct genn_finish_v6m *r4_ __asm__("r4") = f;
    register int8_t *r5_ __asm__("r5") = y + n;
    __asm__ volatile(".syntax unified\n"
                     "push {r6, r7}\n mov r6, r8\n mov r7, r9\n push {r6, r7}\n mov r9, r5\n"
                     "ldmia r4, {r4-r7}\n mov r12, r4\n mov lr, r5\n mov r8, r6\n"
                     "1: ldmia r0!, {r4}\n ldmia r1!, {r5}\n adds r4, r4, r5\n ldrh r5, [r2]\n adds r2, r2, #2\n"
                     "uxth r6, r4\n muls r6, r5, r6\n lsrs r6, r6, #16\n asrs r4, r4, #16\n muls r4, r5, r4\n adds r4, r4, r6\n"
                     "add r4, r12\n asrs r4, r4, r7\n"
                     "cmp r4, lr\n bge 2f\n mov r4, lr\n 2: cmp r4, r8\n ble 3f\n mov r4, r8\n"
                     "3: strb r4, [r3]\n adds r3, r3, #1\n cmp r3, r9\n bne 1b\n"
                     "pop {r6, r7}\n mov r8, r6\n mov r9, r7\n pop {r6, r7}\n"
                     : "+r"(r0_), "+r"(r1_), "+r"(r2_), "+r"(r3_), "+r"(r4_), "+r"(r5_)
                     : : "r12", "lr", "cc", "memory");
}

#else /* any other core */

/* Outputs y[0] .. y[n - 1]. */
GENN_INLINE void genn_finish_v6m_s8(const struct genn_finish_v6m *f, const int32_t *acc, const int32_t *bias,
                                    const int16_t *mult, int32_t n, int8_t *y)
{
    for (int32_t t = 0; t < n; t++)
        y[t] = (int8_t)genn_requantize(acc[t] + bias[t], mult[t], f->shift, f->offset, f->lo, f->hi);
}

#endif

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
