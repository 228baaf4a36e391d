/* The walks of genn_sparse.h for ARMv6-M, Cortex-M0 and M0+.
 *
 * A group of int8: LDM 3, places 6, inputs 8, values 6, MULS and ADDS 8, base 1 = 32 cycles; two share the loop's 3.
 * int16: LDM 4, places 7, inputs 8, values 4, MULS and ADD 8, base 1 = 32 too.  A byte is taken out of a word and doubled by two
 * shifts, which drag the bit below it along: the first three places of an int16 group are below 128.
 */
#ifndef GENN_SPARSE_V6M_H
#define GENN_SPARSE_V6M_H

#include "genn_common.h"

#define GENN_SPARSE_WALK_S8

/* r2: places, r3: values, both of the four entries; r4 and r5: free. */
#define GENN_SPARSE_ENTRY_S8                                                                                           \
    "uxtb r4, r2\n"                                                                                                    \
    "ldrsb r4, [%[x], r4]\n"                                                                                           \
    "sxtb r5, r3\n"                                                                                                    \
    "muls r4, r5\n"                                                                                                    \
    "adds %[sum], r4\n"
#define GENN_SPARSE_GROUP_S8                                                                                           \
    "ldmia %[w]!, {r2, r3}\n" GENN_SPARSE_ENTRY_S8 "lsrs r2, #8\n"                                                     \
    "asrs r3, #8\n" GENN_SPARSE_ENTRY_S8 "lsrs r2, #8\n"                                                               \
    "asrs r3, #8\n" GENN_SPARSE_ENTRY_S8 "lsrs r2, #8\n"                                                               \
    "asrs r3, #8\n"                                                                                                    \
    "ldrsb r4, [%[x], r2]\n"                                                                                           \
    "muls r4, r3\n"                                                                                                    \
    "adds %[sum], r4\n"                                                                                                \
    "adds %[x], r2\n"

GENN_INLINE const uint32_t *genn_sparse_walk_s8(const int8_t *x, const uint32_t *w, int32_t groups, int32_t *acc)
{
    const uint32_t *end = w + groups * 2;
    int32_t sum = *acc;

    if (groups & 1)
        __asm__ volatile(".syntax unified\n" GENN_SPARSE_GROUP_S8
                         : [x] "+l"(x), [w] "+l"(w), [sum] "+l"(sum)
                         :
                         : "cc", "memory", "r2", "r3", "r4", "r5");
    while (w != end)
        __asm__ volatile(".syntax unified\n" GENN_SPARSE_GROUP_S8 GENN_SPARSE_GROUP_S8
                         : [x] "+l"(x), [w] "+l"(w), [sum] "+l"(sum)
                         :
                         : "cc", "memory", "r2", "r3", "r4", "r5");
    *acc = sum;
    return w;
}

/* r2: places, r3 and r4: values; r5 and r6: free. */
#define GENN_SPARSE_ENTRY_S16(shift, value)                                                                            \
    "lsls r5, r2, #" #shift "\n"                                                                                       \
    "lsrs r5, #23\n"                                                                                                   \
    "ldrsh r5, [%[x], r5]\n" value "muls r5, r6\n"                                                                     \
    "add %[sum], r5\n"
#define GENN_SPARSE_GROUP_S16                                                                                          \
    "ldmia %[w]!, {r2, r3, r4}\n" GENN_SPARSE_ENTRY_S16(24, "sxth r6, r3\n")                                           \
        GENN_SPARSE_ENTRY_S16(16, "asrs r6, r3, #16\n") GENN_SPARSE_ENTRY_S16(8, "sxth r6, r4\n") "lsrs r2, #23\n"     \
    "ldrsh r5, [%[x], r2]\n"                                                                                           \
    "asrs r6, r4, #16\n"                                                                                               \
    "muls r5, r6\n"                                                                                                    \
    "add %[sum], r5\n"                                                                                                 \
    "adds %[x], r2\n"

GENN_INLINE const uint32_t *genn_sparse_walk_s16(const int16_t *x, const uint32_t *w, int32_t groups, int32_t *acc)
{
    const uint32_t *end = w + groups * 3;
    int32_t sum = *acc;

    if (groups & 1)
        __asm__ volatile(".syntax unified\n" GENN_SPARSE_GROUP_S16
                         : [x] "+l"(x), [w] "+l"(w), [sum] "+h"(sum)
                         :
                         : "cc", "memory", "r2", "r3", "r4", "r5", "r6");
    while (w != end)
        __asm__ volatile(".syntax unified\n" GENN_SPARSE_GROUP_S16 GENN_SPARSE_GROUP_S16
                         : [x] "+l"(x), [w] "+l"(w), [sum] "+h"(sum)
                         :
                         : "cc", "memory", "r2", "r3", "r4", "r5", "r6");
    *acc = sum;
    return w;
}

#if !defined(__OPTIMIZE_SIZE__) /* GCC -Os keeps r8-r11 to itself: the portable tiles take over */
#define GENN_SPARSE_TILE_S8

/* Four pixels an entry: place 2, word 2, four times byte, MULS and ADD (high registers hold the sums) 14, value 1.5; with
 * LDM, base and loop 88 cycles a group, 5.5 a MAC.  r2: places, r3: values. */
#define GENN_SPARSE_TILE_ENTRY_S8(place, value)                                                                        \
    place "ldr r4, [%[x], r4]\n" value                                                                                \
    "sxtb r6, r4\n"                                                                                                    \
    "muls r6, r5\n"                                                                                                    \
    "add %[a], r6\n"                                                                                                   \
    "asrs r4, #8\n"                                                                                                    \
    "sxtb r6, r4\n"                                                                                                    \
    "muls r6, r5\n"                                                                                                    \
    "add %[b], r6\n"                                                                                                   \
    "asrs r4, #8\n"                                                                                                    \
    "sxtb r6, r4\n"                                                                                                    \
    "muls r6, r5\n"                                                                                                    \
    "add %[c], r6\n"                                                                                                   \
    "asrs r4, #8\n"                                                                                                    \
    "muls r4, r5\n"                                                                                                    \
    "add %[d], r4\n"
#define GENN_SPARSE_PLACE4(shift) "lsls r4, r2, #" #shift "\nlsrs r4, #22\n"

GENN_SHARED GENN_LAYER
const uint32_t *genn_sparse_tile_s8(const int8_t *x, const uint32_t *w, int32_t groups, int32_t *sums)
{
    register const uint32_t *end __asm__("r12") = w + groups * 2;
    register int32_t a __asm__("r8") = sums[0], b __asm__("r9") = sums[1];
    register int32_t c __asm__("r10") = sums[2], d __asm__("r11") = sums[3];

    if (groups)
        __asm__ volatile(".syntax unified\n"
                         "1: ldmia %[w]!, {r2, r3}\n"
                         GENN_SPARSE_TILE_ENTRY_S8(GENN_SPARSE_PLACE4(24), "sxtb r5, r3\n")
                         GENN_SPARSE_TILE_ENTRY_S8(GENN_SPARSE_PLACE4(16), "asrs r3, #8\n sxtb r5, r3\n")
                         GENN_SPARSE_TILE_ENTRY_S8(GENN_SPARSE_PLACE4(8), "asrs r3, #8\n sxtb r5, r3\n")
                         GENN_SPARSE_TILE_ENTRY_S8("lsrs r2, #22\n mov r4, r2\n", "asrs r5, r3, #8\n")
                         "add %[x], r2\n"
                         "cmp %[w], %[end]\n"
                         "bne 1b\n"
                         : [x] "+l"(x), [w] "+l"(w), [a] "+h"(a), [b] "+h"(b), [c] "+h"(c), [d] "+h"(d)
                         : [end] "h"(end)
                         : "cc", "memory", "r2", "r3", "r4", "r5", "r6");
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return w;
}

/* Two pixels an entry: place 2, word 2, two times half, MULS and ADD 6, value 1; 48 cycles a group, 6 a MAC.  r2: places,
 * r3: two values. */
#define GENN_SPARSE_TILE_ENTRY_S16(place, value)                                                                       \
    place "ldr r5, [%[x], r5]\n" value                                                                                \
    "sxth r6, r5\n"                                                                                                    \
    "muls r6, r4\n"                                                                                                    \
    "add %[a], r6\n"                                                                                                   \
    "asrs r5, #16\n"                                                                                                   \
    "muls r5, r4\n"                                                                                                    \
    "add %[b], r5\n"

GENN_SHARED GENN_LAYER
const uint32_t *genn_sparse_tile_s16(const int16_t *x, const uint32_t *w, int32_t groups, int32_t *sums)
{
    register const uint32_t *end __asm__("r12") = w + groups * 3;
    register int32_t a __asm__("r8") = sums[0], b __asm__("r9") = sums[1];

    if (groups)
        __asm__ volatile(".syntax unified\n"
                         "1: ldmia %[w]!, {r2, r3}\n"
                         GENN_SPARSE_TILE_ENTRY_S16("lsls r5, r2, #24\n lsrs r5, #22\n", "sxth r4, r3\n")
                         GENN_SPARSE_TILE_ENTRY_S16("lsls r5, r2, #16\n lsrs r5, #22\n", "asrs r4, r3, #16\n")
                         "ldmia %[w]!, {r3}\n"
                         GENN_SPARSE_TILE_ENTRY_S16("lsls r5, r2, #8\n lsrs r5, #22\n", "sxth r4, r3\n")
                         GENN_SPARSE_TILE_ENTRY_S16("lsrs r2, #22\n mov r5, r2\n", "asrs r4, r3, #16\n")
                         "add %[x], r2\n"
                         "cmp %[w], %[end]\n"
                         "bne 1b\n"
                         : [x] "+l"(x), [w] "+l"(w), [a] "+h"(a), [b] "+h"(b)
                         : [end] "h"(end)
                         : "cc", "memory", "r2", "r3", "r4", "r5", "r6");
    sums[0] = a, sums[1] = b;
    return w;
}
#endif

#endif
