/* The loop of genn_softfloat.h for ARMv6-M, by hand: compilers keep too many values in high registers here.
 *
 * Cycles of a usual tap on a Cortex-M0+: loads and pointers 8, exponents and their checks 12, mantissas 10, product 18,
 * rounding 8, sign 3, alignment 15, sum 2, normalization 6, rounding and keeping the sum 7, loop 3: about 92.
 */
#ifndef GENN_SOFTFLOAT_V6M_H
#define GENN_SOFTFLOAT_V6M_H

#include <stdint.h>

/* The taps from x on, up to end; stride in bytes; m and e as in genn_softfloat.h, but e is 3 less.  stopped: the tap at
 * x[-1] is not added, it or the sum is not usual. */
struct genn_soft_taps {
    const float *x, *w, *end;
    int32_t stride, m, e, stopped;
};

/* Bits lost to the right of `value` by shifting it right by r4 set its bit 0; r5 and r6 are free. */
#define GENN_SOFT_ALIGN(value, done)                                                                                   \
    "cmp r4, #27\n"                                                                                                    \
    "bhi " done "\n"                                                                                                   \
    "movs r5, " value "\n"                                                                                             \
    "asrs " value ", r4\n"                                                                                             \
    "movs r6, " value "\n"                                                                                             \
    "lsls r6, r4\n"                                                                                                    \
    "cmp r6, r5\n"                                                                                                     \
    "beq 4f\n"                                                                                                         \
    "movs r5, #1\n"                                                                                                    \
    "orrs " value ", r5\n"

/* r8: x, r9: w, r10: m, r11: e, r12: end, lr: stride.  It saves r8-r11 itself: GCC -Os gives none of them out. */
GENN_INLINE void genn_soft_run(struct genn_soft_taps *taps)
{
    register struct genn_soft_taps *r0 __asm__("r0") = taps;

    __asm__ volatile(".syntax unified\n"
                     "mov r1, r8\n mov r2, r9\n mov r3, r10\n mov r4, r11\n push {r0, r1, r2, r3, r4}\n"
                     "ldmia r0!, {r1, r2, r3, r4, r5, r6}\n"
                     "mov r8, r1\n mov r9, r2\n mov r12, r3\n mov lr, r4\n mov r10, r5\n mov r11, r6\n"
                     "1:\n"
                     "mov r0, r8\n ldmia r0!, {r2}\n mov r8, r0\n"        /* r2 = x */
                     "mov r1, r9\n ldr r3, [r1]\n add r9, lr\n"           /* r3 = w */
                     "lsls r0, r2, #1\n beq 8f\n lsrs r0, #24\n beq 9f\n" /* 0 is skipped, subnormals stop */
                     "cmp r0, #255\n beq 9f\n mov r1, r11\n cmp r1, #247\n bgt 9f\n" /* as a sum that may soon overflow */
                     "lsls r1, r3, #1\n beq 8f\n lsrs r1, #24\n beq 9f\n"
                     "adds r0, r1\n subs r0, #129\n cmp r0, #247\n bhi 9f\n" /* r0 = exponent of the product, 3 less */
                     "movs r1, r2\n eors r1, r3\n"                           /* r1 = sign */
                     "movs r6, #128\n lsls r6, #8\n"
                     "uxtb r4, r2\n lsls r2, #9\n lsrs r2, #17\n adds r2, r6\n" /* 16 and 8 bits of the mantissas */
                     "uxtb r5, r3\n lsls r3, #9\n lsrs r3, #17\n adds r3, r6\n"
                     "movs r6, r4\n muls r6, r5\n"
                     "muls r4, r3\n muls r5, r2\n muls r2, r3\n"
                     "adds r4, r5\n lsrs r5, r6, #8\n adds r4, r5\n"
                     "lsrs r5, r4, #8\n adds r2, r5\n" /* r2 = the top 32 bits of 48 */
                     "orrs r6, r4\n lsls r6, #24\n lsls r5, r2, #29\n orrs r6, r5\n lsrs r2, #3\n"
                     "subs r5, r6, #1\n sbcs r6, r5\n orrs r2, r6\n" /* bit 0: something was lost */
                     "lsrs r5, r2, #28\n bne 2f\n"
                     "subs r0, #1\n lsls r2, #1\n"
                     "2: movs r5, #15\n lsrs r6, r2, #6\n adcs r2, r5\n lsrs r2, #5\n lsls r2, #5\n"
                     "asrs r1, #31\n eors r2, r1\n subs r2, r1\n" /* r2 = the product */
                     "mov r1, r10\n mov r3, r11\n subs r4, r3, r0\n bmi 3f\n"
                     GENN_SOFT_ALIGN("r2", "8f") "b 4f\n"
                     "3: rsbs r4, r4, #0\n movs r3, r0\n"
                     GENN_SOFT_ALIGN("r1", "7f")
                     "4: adds r1, r2\n beq 6f\n"
                     "asrs r2, r1, #31\n eors r2, r1\n lsrs r4, r2, #28\n beq 5f\n" /* r2 = size without sign */
                     "lsrs r4, #1\n beq 2f\n"
                     "lsrs r2, r1, #1\n bcc 3f\n movs r4, #2\n orrs r1, r4\n" /* one to the right, keeping what is lost */
                     "3: asrs r1, #1\n adds r3, #1\n"
                     "2: movs r5, #15\n asrs r4, r1, #6\n adcs r1, r5\n lsrs r1, #5\n lsls r1, #5\n"
                     "mov r10, r1\n mov r11, r3\n"
                     "8: cmp r8, r12\n bne 1b\n movs r6, #0\n b 10f\n"
                     "5: subs r3, #1\n lsls r1, #1\n lsls r2, #1\n lsrs r4, r2, #28\n beq 5b\n b 2b\n"
                     "6: movs r3, #125\n lsls r3, #3\n rsbs r3, r3, #0\n mov r10, r1\n mov r11, r3\n b 8b\n" /* sum 0 */
                     "7: mov r10, r2\n mov r11, r3\n b 8b\n" /* the sum so far is nothing beside the product */
                     "9: movs r6, #1\n"
                     "10: pop {r0, r1, r2, r3, r4}\n"
                     "mov r5, r8\n str r5, [r0]\n mov r5, r9\n str r5, [r0, #4]\n"
                     "mov r5, r10\n str r5, [r0, #16]\n mov r5, r11\n str r5, [r0, #20]\n str r6, [r0, #24]\n"
                     "mov r8, r1\n mov r9, r2\n mov r10, r3\n mov r11, r4\n"
                     : "+r"(r0)
                     :
                     : "cc", "memory", "r1", "r2", "r3", "r4", "r5", "r6", "r12", "lr");
}

#endif
