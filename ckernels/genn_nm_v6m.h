/* The walks of genn_nm.h for ARMv6-M, Cortex-M0 and M0+.
 *
 * int8: one MULS makes both products of a pair.  (a + b * 2^16) * (y + x * 2^16) is a y + (a x + b y) * 2^16 modulo 2^32, and
 * no weight is -128: |a y| < 2^15 and |a x + b y| < 2^15.  So ASRS #16 leaves a x + b y, or one less where a y is negative,
 * and then the bit that it shifted out last, the carry, is one: ADCS adds both.
 * A unit of words: place 1, load 2, MULS, ASRS, ADCS 3, places on 1; a block 26, its two LDM 7, the table 1, half of the
 * loop's 3: 35.5 cycles, 4.4 a weight.  Bytes are put together first, 5 a unit: 54.5, 6.8 a weight.
 * int16: inputs and weights are halves of words, to be taken out: 11 a unit, 56 a block, 7.2 a weight.
 */
#ifndef GENN_NM_V6M_H
#define GENN_NM_V6M_H

#include "genn_common.h"

#define GENN_NM_BYTES_S8
#define GENN_NM_WORDS_S8
#define GENN_NM_WORDS_S16
#define GENN_NM_SWAP_S8 1

#define GENN_NM_ON "lsrs r2, #8\n" /* r2: places; r5 becomes the unit's pair */
#define GENN_NM_PAIR "uxtb r5, r2\nldr r5, [%[t], r5]\n"
#define GENN_NM_LAST "ldr r5, [%[t], r2]\n"
#define GENN_NM_SUM(w) "muls r5, " w "\nasrs r5, #16\nadcs %[sum], r5\n"
#define GENN_NM_ON256 "adds %[t], #128\nadds %[t], #128\n"

/* far: what leads to the next unit's table, or nothing; next: to the next block's, from there. */
#define GENN_NM_BLOCK_WORDS(far, next)                                                                                 \
    "ldmia %[w]!, {r2, r3, r4}\n" GENN_NM_PAIR GENN_NM_SUM("r3") GENN_NM_ON far GENN_NM_PAIR GENN_NM_SUM("r4")         \
    GENN_NM_ON far "ldmia %[w]!, {r3, r4}\n" GENN_NM_PAIR GENN_NM_SUM("r3") GENN_NM_ON far GENN_NM_LAST                \
    GENN_NM_SUM("r4") next

/* r3: the pairs of two units, byte 0 and 2, then 1 and 3; r4 and r5: free. */
#define GENN_NM_EVEN "lsls r4, r3, #8\nasrs r4, #24\nlsls r4, #16\nsxtb r5, r3\nadds r4, r5\n"
#define GENN_NM_ODD "asrs r3, #8\nsxtb r4, r3\nasrs r3, #16\nlsls r3, #16\nadds r4, r3\n"
#define GENN_NM_BLOCK_BYTES(far, next)                                                                                 \
    "ldmia %[w]!, {r2, r3}\n" GENN_NM_EVEN GENN_NM_PAIR GENN_NM_SUM("r4") GENN_NM_ON far                              \
    GENN_NM_ODD GENN_NM_PAIR GENN_NM_SUM("r4") GENN_NM_ON far                                                          \
    "ldmia %[w]!, {r3}\n" GENN_NM_EVEN GENN_NM_PAIR GENN_NM_SUM("r4") GENN_NM_ON far                                  \
    GENN_NM_ODD GENN_NM_LAST GENN_NM_SUM("r4") next

/* r3: a unit's weights; the sum is in a high register. */
#define GENN_NM_HALVES                                                                                                 \
    "sxth r4, r5\nsxth r6, r3\nmuls r4, r6\nadd %[sum], r4\nasrs r5, #16\nasrs r3, #16\nmuls r5, r3\nadd %[sum], r5\n"
#define GENN_NM_BLOCK_S16(far, next)                                                                                 \
    "ldmia %[w]!, {r2, r3}\n" GENN_NM_PAIR GENN_NM_HALVES GENN_NM_ON far                                               \
    "ldmia %[w]!, {r3}\n" GENN_NM_PAIR GENN_NM_HALVES GENN_NM_ON far                                                   \
    "ldmia %[w]!, {r3}\n" GENN_NM_PAIR GENN_NM_HALVES GENN_NM_ON far                                                   \
    "ldmia %[w]!, {r3}\n" GENN_NM_LAST GENN_NM_HALVES next

#define GENN_NM_RUN(text, ...)                                                                                         \
    __asm__ volatile(".syntax unified\n" text : __VA_ARGS__ : : "cc", "memory", GENN_NM_USED)
#define GENN_NM_INT8 [t] "+l"(table), [w] "+l"(w), [sum] "+l"(sum)
#define GENN_NM_INT16 [t] "+l"(table), [w] "+l"(w), [sum] "+h"(sum)

#define GENN_NM_FUNCTION(name, words, text, ...)                                                                       \
    GENN_INLINE const uint32_t *name(const uint32_t *table, const uint32_t *w, int32_t blocks, int32_t unit,           \
                                     int32_t *acc)                                                                     \
    {                                                                                                                  \
        int32_t sum = *acc;                                                                                            \
                                                                                                                       \
        if (unit == 4)                                                                                                 \
            GENN_NM_WALK(words, text(, "adds %[t], #96\n"), __VA_ARGS__);                                              \
        else if (unit == 8)                                                                                            \
            GENN_NM_WALK(words, text(, GENN_NM_ON256), __VA_ARGS__);                                                   \
        else                                                                                                           \
            GENN_NM_WALK(words, text(GENN_NM_ON256, GENN_NM_ON256), __VA_ARGS__);                                      \
        *acc = sum;                                                                                                    \
        return w;                                                                                                      \
    }
#define GENN_NM_USED "r2", "r3", "r4", "r5"
GENN_NM_FUNCTION(genn_nm_bytes_s8, 3, GENN_NM_BLOCK_BYTES, GENN_NM_INT8)
GENN_NM_FUNCTION(genn_nm_words_s8, 5, GENN_NM_BLOCK_WORDS, GENN_NM_INT8)
#undef GENN_NM_USED
#define GENN_NM_USED "r2", "r3", "r4", "r5", "r6"
GENN_NM_FUNCTION(genn_nm_words_s16, 5, GENN_NM_BLOCK_S16, GENN_NM_INT16)

#endif
