/* The walks of genn_nm.h for ARMv7E-M: Cortex-M4, M7, M33.
 *
 * A block is four pairs: places 4 (UXTAB makes addresses of them, so that a far unit's base is the load's own offset), four
 * loads behind each other 5, four SMLAD, the table's next block 1, half of the loop's 4.  int8 adds an LDM of three words, 4,
 * and four SXTB16: 24 cycles, 3.0 a weight; int16 an LDM of five, 6: 22, 2.75.
 */
#ifndef GENN_NM_V7EM_H
#define GENN_NM_V7EM_H

#include "genn_common.h"

#define GENN_NM_BYTES_S8
#define GENN_NM_WORDS_S16

/* r0: places; the pairs come to r4-r6 and r8.  o1 to o3: where units 1 to 3 of the block begin. */
#define GENN_NM_PAIRS(o1, o2, o3)                                                                                      \
    "uxtab r4, %[t], r0\n"                                                                                             \
    "uxtab r5, %[t], r0, ror #8\n"                                                                                     \
    "uxtab r6, %[t], r0, ror #16\n"                                                                                    \
    "uxtab r8, %[t], r0, ror #24\n"                                                                                    \
    "ldr r4, [r4]\n"                                                                                                   \
    "ldr r5, [r5, #" o1 "]\n"                                                                                          \
    "ldr r6, [r6, #" o2 "]\n"                                                                                          \
    "ldr r8, [r8, #" o3 "]\n"                                                                                          \
    "add %[t], %[t], %[step]\n"

#define GENN_NM_BLOCK_S8(o1, o2, o3)                                                                                   \
    "ldmia %[w]!, {r0, r1, r2}\n" GENN_NM_PAIRS(o1, o2, o3)                                                            \
    "sxtb16 r0, r1\n"                                                                                                  \
    "sxtb16 r1, r1, ror #8\n"                                                                                          \
    "smlad %[sum], r4, r0, %[sum]\n"                                                                                   \
    "smlad %[sum], r5, r1, %[sum]\n"                                                                                   \
    "sxtb16 r0, r2\n"                                                                                                  \
    "sxtb16 r2, r2, ror #8\n"                                                                                          \
    "smlad %[sum], r6, r0, %[sum]\n"                                                                                   \
    "smlad %[sum], r8, r2, %[sum]\n"

#define GENN_NM_BLOCK_S16(o1, o2, o3)                                                                                  \
    "ldmia %[w]!, {r0, r1, r2, r3, r12}\n" GENN_NM_PAIRS(o1, o2, o3)                                                   \
    "smlad %[sum], r4, r1, %[sum]\n"                                                                                   \
    "smlad %[sum], r5, r2, %[sum]\n"                                                                                   \
    "smlad %[sum], r6, r3, %[sum]\n"                                                                                   \
    "smlad %[sum], r8, r12, %[sum]\n"

#define GENN_NM_RUN(text, ...)                                                                                         \
    __asm__ volatile(text                                                                                              \
                     : [t] "+r"(table), [w] "+r"(w), [sum] "+r"(sum)                                                   \
                     : [step] "r"(step)                                                                                \
                     : "memory", "r0", "r1", "r2", "r4", "r5", "r6", "r8", __VA_ARGS__)

GENN_INLINE const uint32_t *genn_nm_bytes_s8(const uint32_t *table, const uint32_t *w, int32_t blocks, int32_t unit,
                                             int32_t *acc)
{
    const int32_t step = genn_nm_step(unit);
    int32_t sum = *acc;

    if (unit == 16)
        GENN_NM_WALK(3, GENN_NM_BLOCK_S8("256", "512", "768"), "cc");
    else
        GENN_NM_WALK(3, GENN_NM_BLOCK_S8("0", "0", "0"), "cc");
    *acc = sum;
    return w;
}

GENN_INLINE const uint32_t *genn_nm_words_s16(const uint32_t *table, const uint32_t *w, int32_t blocks, int32_t unit,
                                              int32_t *acc)
{
    const int32_t step = genn_nm_step(unit);
    int32_t sum = *acc;

    if (unit == 16)
        GENN_NM_WALK(5, GENN_NM_BLOCK_S16("256", "512", "768"), "r3", "r12");
    else
        GENN_NM_WALK(5, GENN_NM_BLOCK_S16("0", "0", "0"), "r3", "r12");
    *acc = sum;
    return w;
}

#endif
