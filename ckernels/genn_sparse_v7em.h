/* The walks of genn_sparse.h for ARMv7E-M: Cortex-M4, M7, M33.
 *
 * int8: a group is 3 UXTB and an LSR for the places, 5 for four LDRSB behind each other, 1 for the base, 2 SXTB16 for the
 * values and 4 SMLAxy, 17 cycles; two groups' words come in one LDM (5), and four groups share the loop's 4: 41 cycles for 8
 * entries.  int16 needs no SXTB16: 14 and an LDM of 4; two groups share the loop: 40.
 * float32: VMOV brings the inputs over, 4, products and sums are 8, words 1 + 5 for a group; no result is used by the
 * instruction right behind it.
 */
#ifndef GENN_SPARSE_V7EM_H
#define GENN_SPARSE_V7EM_H

#include "genn_common.h"

#define GENN_SPARSE_WALK_S8

/* The places of group word d in r4-r6 and r8. */
#define GENN_SPARSE_PLACES(d)                                                                                          \
    "uxtb r4, " d "\n"                                                                                                 \
    "uxtb r5, " d ", ror #8\n"                                                                                         \
    "uxtb r6, " d ", ror #16\n"                                                                                        \
    "lsr r8, " d ", #24\n"

#define GENN_SPARSE_GROUP_S8(d, v)                                                                                     \
    GENN_SPARSE_PLACES(d)                                                                                              \
    "ldrsb r4, [%[x], r4]\n"                                                                                           \
    "ldrsb r5, [%[x], r5]\n"                                                                                           \
    "ldrsb r6, [%[x], r6]\n"                                                                                           \
    "ldrsb " d ", [%[x], r8]\n"                                                                                        \
    "add %[x], %[x], r8\n"                                                                                             \
    "sxtb16 r8, " v "\n"                                                                                               \
    "sxtb16 " v ", " v ", ror #8\n"                                                                                    \
    "smlabb %[sum], r4, r8, %[sum]\n"                                                                                  \
    "smlabb %[sum], r5, " v ", %[sum]\n"                                                                               \
    "smlabt %[sum], r6, r8, %[sum]\n"                                                                                  \
    "smlabt %[sum], " d ", " v ", %[sum]\n"
#define GENN_SPARSE_PAIR_S8                                                                                            \
    "ldmia %[w]!, {r0, r1, r2, r3}\n" GENN_SPARSE_GROUP_S8("r0", "r1") GENN_SPARSE_GROUP_S8("r2", "r3")

GENN_INLINE const uint32_t *genn_sparse_walk_s8(const int8_t *x, const uint32_t *w, int32_t groups, int32_t *acc)
{
    const uint32_t *end = w + groups * 2;
    int32_t sum = *acc;

    if (groups & 1)
        __asm__ volatile("ldmia %[w]!, {r0, r1}\n" GENN_SPARSE_GROUP_S8("r0", "r1")
                         : [x] "+r"(x), [w] "+r"(w), [sum] "+r"(sum)
                         :
                         : "memory", "r0", "r1", "r4", "r5", "r6", "r8");
    if (groups & 2)
        __asm__ volatile(GENN_SPARSE_PAIR_S8
                         : [x] "+r"(x), [w] "+r"(w), [sum] "+r"(sum)
                         :
                         : "memory", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8");
    while (w != end)
        __asm__ volatile(GENN_SPARSE_PAIR_S8 GENN_SPARSE_PAIR_S8
                         : [x] "+r"(x), [w] "+r"(w), [sum] "+r"(sum)
                         :
                         : "memory", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8");
    *acc = sum;
    return w;
}

#define GENN_SPARSE_GROUP_S16                                                                                          \
    "ldmia %[w]!, {r0, r1, r2}\n" GENN_SPARSE_PLACES("r0")                                                             \
    "ldrsh r4, [%[x], r4, lsl #1]\n"                                                                                   \
    "ldrsh r5, [%[x], r5, lsl #1]\n"                                                                                   \
    "ldrsh r6, [%[x], r6, lsl #1]\n"                                                                                   \
    "ldrsh r0, [%[x], r8, lsl #1]\n"                                                                                   \
    "add %[x], %[x], r8, lsl #1\n"                                                                                     \
    "smlabb %[sum], r4, r1, %[sum]\n"                                                                                  \
    "smlabt %[sum], r5, r1, %[sum]\n"                                                                                  \
    "smlabb %[sum], r6, r2, %[sum]\n"                                                                                  \
    "smlabt %[sum], r0, r2, %[sum]\n"

GENN_INLINE const uint32_t *genn_sparse_walk_s16(const int16_t *x, const uint32_t *w, int32_t groups, int32_t *acc)
{
    const uint32_t *end = w + groups * 3;
    int32_t sum = *acc;

    if (groups & 1)
        __asm__ volatile(GENN_SPARSE_GROUP_S16
                         : [x] "+r"(x), [w] "+r"(w), [sum] "+r"(sum)
                         :
                         : "memory", "r0", "r1", "r2", "r4", "r5", "r6", "r8");
    while (w != end)
        __asm__ volatile(GENN_SPARSE_GROUP_S16 GENN_SPARSE_GROUP_S16
                         : [x] "+r"(x), [w] "+r"(w), [sum] "+r"(sum)
                         :
                         : "memory", "r0", "r1", "r2", "r4", "r5", "r6", "r8");
    *acc = sum;
    return w;
}

#define GENN_SPARSE_TILE_S8

/* Four pixels an entry: place 1, word 1, 2 SXTB16, 4 SMLAxy; with LDM, values, base and loop 41 cycles a group, 2.6 a MAC. */
#define GENN_SPARSE_TILE_ENTRY_S8(place, half, value)                                                                  \
    place "ldr r4, [%[x], r4, lsl #2]\n"                                                                              \
    "sxtb16 r5, r4\n"                                                                                                  \
    "sxtb16 r4, r4, ror #8\n"                                                                                          \
    "smlab" half " %[a], r5, " value ", %[a]\n"                                                                        \
    "smlab" half " %[b], r4, " value ", %[b]\n"                                                                        \
    "smlat" half " %[c], r5, " value ", %[c]\n"                                                                        \
    "smlat" half " %[d], r4, " value ", %[d]\n"

GENN_SHARED GENN_LAYER
const uint32_t *genn_sparse_tile_s8(const int8_t *x, const uint32_t *w, int32_t groups, int32_t *sums)
{
    const uint32_t *end = w + groups * 2;
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];

    while (w != end)
        __asm__ volatile("ldmia %[w]!, {r0, r1}\n"
                         "sxtb16 r6, r1\n"
                         "sxtb16 r1, r1, ror #8\n" /* entries 1 and 3 */
                         GENN_SPARSE_TILE_ENTRY_S8("uxtb r4, r0\n", "b", "r6")
                         GENN_SPARSE_TILE_ENTRY_S8("uxtb r4, r0, ror #8\n", "b", "r1")
                         GENN_SPARSE_TILE_ENTRY_S8("uxtb r4, r0, ror #16\n", "t", "r6")
                         GENN_SPARSE_TILE_ENTRY_S8("lsr r4, r0, #24\n", "t", "r1")
                         "lsr r0, r0, #24\n"
                         "add %[x], %[x], r0, lsl #2\n"
                         : [x] "+r"(x), [w] "+r"(w), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d)
                         :
                         : "memory", "r0", "r1", "r4", "r5", "r6");
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return w;
}

/* Two pixels an entry: place 1, word 1 or 2, 2 SMLAxy; 24 cycles a group, 3 a MAC. */
GENN_SHARED GENN_LAYER
const uint32_t *genn_sparse_tile_s16(const int16_t *x, const uint32_t *w, int32_t groups, int32_t *sums)
{
    const uint32_t *end = w + groups * 3;
    int32_t a = sums[0], b = sums[1];

    while (w != end)
        __asm__ volatile("ldmia %[w]!, {r0, r1, r2}\n" GENN_SPARSE_PLACES("r0")
                         "ldr r4, [%[x], r4, lsl #2]\n"
                         "ldr r5, [%[x], r5, lsl #2]\n"
                         "ldr r6, [%[x], r6, lsl #2]\n"
                         "ldr r0, [%[x], r8, lsl #2]\n"
                         "add %[x], %[x], r8, lsl #2\n"
                         "smlabb %[a], r4, r1, %[a]\n"
                         "smlatb %[b], r4, r1, %[b]\n"
                         "smlabt %[a], r5, r1, %[a]\n"
                         "smlatt %[b], r5, r1, %[b]\n"
                         "smlabb %[a], r6, r2, %[a]\n"
                         "smlatb %[b], r6, r2, %[b]\n"
                         "smlabt %[a], r0, r2, %[a]\n"
                         "smlatt %[b], r0, r2, %[b]\n"
                         : [x] "+r"(x), [w] "+r"(w), [a] "+r"(a), [b] "+r"(b)
                         :
                         : "memory", "r0", "r1", "r2", "r4", "r5", "r6", "r8");
    sums[0] = a, sums[1] = b;
    return w;
}

#if defined(GENN_VFP_F32)
#define GENN_SPARSE_WALK_F32

/* r0 holds the group's places and gets the next group's, which the words always have: a row is followed by another's or by
 * the one word behind the last. */
#define GENN_SPARSE_GROUP_F32                                                                                          \
    GENN_SPARSE_PLACES("r0")                                                                                           \
    "vldmia %[w]!, {s4-s7}\n"                                                                                          \
    "ldr r4, [%[x], r4, lsl #2]\n"                                                                                     \
    "ldr r5, [%[x], r5, lsl #2]\n"                                                                                     \
    "ldr r6, [%[x], r6, lsl #2]\n"                                                                                     \
    "ldr r1, [%[x], r8, lsl #2]\n"                                                                                     \
    "ldr r0, [%[w]], #4\n"                                                                                             \
    "vmov s8, s9, r4, r5\n"                                                                                            \
    "vmov s10, s11, r6, r1\n"                                                                                          \
    "vmul.f32 s4, s4, s8\n"                                                                                            \
    "vmul.f32 s5, s5, s9\n"                                                                                            \
    "vadd.f32 %[sum], %[sum], s4\n"                                                                                    \
    "vmul.f32 s6, s6, s10\n"                                                                                           \
    "vadd.f32 %[sum], %[sum], s5\n"                                                                                    \
    "vmul.f32 s7, s7, s11\n"                                                                                           \
    "vadd.f32 %[sum], %[sum], s6\n"                                                                                    \
    "add %[x], %[x], r8, lsl #2\n"                                                                                     \
    "vadd.f32 %[sum], %[sum], s7\n"

GENN_INLINE const uint32_t *genn_sparse_walk_f32(const float *x, const uint32_t *w, int32_t groups, float *acc)
{
    float sum = *acc;
    const uint32_t *fours = w + groups / 4 * 20 + 1, *end = w + groups * 5 + 1;

    __asm__ volatile("ldr r0, [%[w]], #4\n"
                     "cmp %[w], %[fours]\n"
                     "beq 2f\n"
                     "1:\n" GENN_SPARSE_GROUP_F32 GENN_SPARSE_GROUP_F32 GENN_SPARSE_GROUP_F32 GENN_SPARSE_GROUP_F32
                     "cmp %[w], %[fours]\n"
                     "bne 1b\n"
                     "2: cmp %[w], %[end]\n"
                     "beq 4f\n"
                     "3:\n" GENN_SPARSE_GROUP_F32
                     "cmp %[w], %[end]\n"
                     "bne 3b\n"
                     "4:\n"
                     : [x] "+r"(x), [w] "+r"(w), [sum] "+t"(sum)
                     : [fours] "r"(fours), [end] "r"(end)
                     : "memory", "r0", "r1", "r4", "r5", "r6", "r8", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11");
    *acc = sum;
    return w - 1;
}

#define GENN_SPARSE_TILE_F32

/* Two pixels an entry: place 1, VLDM 3, 2 VMUL, 2 VADD; 46 cycles a group, 5.8 a MAC. */
GENN_SHARED GENN_LAYER
const uint32_t *genn_sparse_tile_f32(const float *x, const uint32_t *w, int32_t groups, float *sums)
{
    const uint32_t *end = w + groups * 5;
    float a = sums[0], b = sums[1];

    while (w != end)
        __asm__ volatile("ldr r0, [%[w]], #4\n"
                         "vldmia %[w]!, {s4-s7}\n" GENN_SPARSE_PLACES("r0")
                         "add r4, %[x], r4, lsl #3\n"
                         "add r5, %[x], r5, lsl #3\n"
                         "add r6, %[x], r6, lsl #3\n"
                         "add %[x], %[x], r8, lsl #3\n"
                         "vldmia r4, {s8-s9}\n"
                         "vldmia r5, {s10-s11}\n"
                         "vldmia r6, {s12-s13}\n"
                         "vldmia %[x], {s14-s15}\n"
                         "vmul.f32 s8, s8, s4\n"
                         "vmul.f32 s9, s9, s4\n"
                         "vadd.f32 %[a], %[a], s8\n"
                         "vadd.f32 %[b], %[b], s9\n"
                         "vmul.f32 s10, s10, s5\n"
                         "vmul.f32 s11, s11, s5\n"
                         "vadd.f32 %[a], %[a], s10\n"
                         "vadd.f32 %[b], %[b], s11\n"
                         "vmul.f32 s12, s12, s6\n"
                         "vmul.f32 s13, s13, s6\n"
                         "vadd.f32 %[a], %[a], s12\n"
                         "vadd.f32 %[b], %[b], s13\n"
                         "vmul.f32 s14, s14, s7\n"
                         "vmul.f32 s15, s15, s7\n"
                         "vadd.f32 %[a], %[a], s14\n"
                         "vadd.f32 %[b], %[b], s15\n"
                         : [x] "+r"(x), [w] "+r"(w), [a] "+t"(a), [b] "+t"(b)
                         :
                         : "memory", "r0", "r4", "r5", "r6", "r8", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11",
                           "s12", "s13", "s14", "s15");
    sums[0] = a, sums[1] = b;
    return w;
}
#endif

#endif
