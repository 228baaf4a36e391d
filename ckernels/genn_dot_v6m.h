/* int8 inner products for cores without a dot product or a long multiply (ARMv6-M): eight or four output rows at once.
 *
 * Weights: a group of eight (four) rows is stored [tap][row], each byte is weight + 128, so that one word holds the
 * weights of four rows as digits d0..d3, none negative.  Times the input x, three pieces of that word are added up
 * modulo 2^32, each cut out by one instruction:
 *
 *     p += x * (d0 + 2^8 d1)    UXTH        h += x * (d2 + 2^8 d3)    LSRS #16
 *     r += x * (d3 + 2^8 d2 + 2^16 d1 + 2^24 d0)    REV
 *
 * Three registers of 32 bits hold four sums A0..A3 of 24 bits; the converter proves |A| < 2^23 from the weights.  The offset of
 * 128 goes by the sum of all x, which is counted along.  What is then left, modulo 2^32, are
 *
 *     p = A0 + 2^8 A1,    h = A2 + 2^8 A3,    r - 2^24 p - 2^8 h = A3 + 2^16 (A1 - A3)
 *
 * The last gives the low 16 bits of A3; h - 2^8 A3 then has A2 in its low 24 bits, which are all it has; so A3 is exact,
 * gives the low 16 bits of A1, and these A0 and A1 in the same way.
 * Rows that are left over (one to three) are stored plainly, one behind another.
 */
#ifndef GENN_DOT_V6M_H
#define GENN_DOT_V6M_H

#include "genn_common.h"

/* The taps one sum goes over: bytes at .. at + run of each of `height` rows, both positive.  int16: 2^15 times their sum. */
struct genn_patch_v6m {
    const void *const *rows;
    int32_t height, at, run;
    uint32_t offset;
};

#if defined(__ARM_ARCH_6M__)

/* In the functions below: r0 weights, r1 end of a row's taps, r2 minus the taps left, r3 the input x; on the stack the next
 * row, the first, the last, the offset of the end, minus run, where the loop is entered.  They are given the patch, the
 * weights, where the sums go, and how many groups of rows; they save r4-r11 themselves, for r7 may be a frame pointer. */
#define GENN_CALL_V6M(text)                                                                                            \
    do {                                                                                                               \
        register const struct genn_patch_v6m *r0_ __asm__("r0") = x;                                                   \
        register const void *r1_ __asm__("r1") = w;                                                                    \
        register int32_t *r2_ __asm__("r2") = acc;                                                                     \
        register int32_t r3_ __asm__("r3") = groups;                                                                   \
        __asm__ volatile(".syntax unified\n" text                                                                      \
                         : "+r"(r0_), "+r"(r1_), "+r"(r2_), "+r"(r3_) : : "r12", "lr", "cc", "memory");                \
    } while (0)
#define GENN_SAVE_LOW_V6M "push {r2-r7}\n"
#define GENN_SAVE_HIGH_V6M "mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n push {r4-r7}\n"
#define GENN_ENTRY_V6M(mask, bytes) "movs r7, #" mask "\n ands r7, r7, r6\n movs r0, #" bytes "\n muls r7, r0, r7\n"
#define GENN_FRAME_V6M(entry)                                                                                          \
    "ldmia r0!, {r3-r6}\n lsls r4, r4, #2\n adds r4, r4, r3\n adds r5, r5, r6\n rsbs r6, r6, #0\n" entry               \
    "push {r3-r7}\n push {r3}\n mov r0, r1\n"
#define GENN_ROW_V6M                                                                                                   \
    "1: ldr r4, [sp]\n ldmia r4!, {r1}\n str r4, [sp]\n ldr r3, [sp, #12]\n adds r1, r1, r3\n ldr r2, [sp, #16]\n"
#define GENN_JUMP_V6M "ldr r4, [sp, #20]\n add pc, r4\n nop\n" /* into the loop, past the taps that are not there */
#define GENN_NEXT_V6M "bne 2b\n ldr r4, [sp]\n ldr r5, [sp, #8]\n cmp r4, r5\n bne 1b\n"
#define GENN_AGAIN_V6M(groups)                                                                                         \
    "ldr r1, [sp, #4]\n str r1, [sp]\n ldr r1, [sp, #" groups "]\n subs r1, r1, #1\n str r1, [sp, #" groups "]\n"      \
    "beq 4f\n b 3b\n 4: add sp, #24\n"
#define GENN_LOAD_HIGH_V6M "pop {r4-r7}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n"
#define GENN_LOAD_LOW_V6M "pop {r2-r7}\n"

#define GENN_WORD_S8_V6M(word, t, p, r, h)                                                                             \
    "uxth " t ", " word "\n muls " t ", r3, " t "\n add " p ", " t "\n"                                                \
    "rev " t ", " word "\n muls " t ", r3, " t "\n add " r ", " t "\n"                                                 \
    "lsrs " word ", " word ", #16\n muls " word ", r3, " word "\n add " h ", " word "\n"

/* 25.5 cycles a tap of eight rows: load 3 + 2, sums 18 + 1, step 1, branch 2 / 4. */
#define GENN_TAP8_S8_V6M                                                                                               \
    "ldmia r0!, {r4, r5}\n ldrsb r3, [r1, r2]\n add r7, r7, r3\n"                                                      \
        GENN_WORD_S8_V6M("r4", "r6", "r8", "r9", "r10") GENN_WORD_S8_V6M("r5", "r6", "r11", "r12", "lr")               \
    "adds r2, r2, #1\n"
/* 15.5 cycles a tap of four rows; 17 where flash counts and the loop is not unrolled. */
#define GENN_TAP4_S8_V6M                                                                                               \
    "ldmia r0!, {r4}\n ldrsb r3, [r1, r2]\n add r7, r7, r3\n" GENN_WORD_S8_V6M("r4", "r5", "r12", "lr", "r6")          \
    "adds r2, r2, #1\n"

/* From r7, the sum of x, to its multiples that come off: 0x8080 times in r5, 0x80808080 times in r7. */
#define GENN_OFFSETS_V6M "lsls r5, r7, #8\n adds r5, r5, r7\n lsls r5, r5, #7\n lsls r7, r5, #16\n adds r7, r7, r5\n"
/* The four sums, as said above, from p, r, h (these without their offsets in r2, r1, r4) to the address in r6. */
#define GENN_UNPACK_V6M(p, r, h)                                                                                       \
    "mov r2, " p "\n subs r2, r2, r5\n mov r1, " r "\n subs r1, r1, r7\n mov r4, " h "\n subs r4, r4, r5\n"            \
    "lsls r3, r2, #24\n subs r1, r1, r3\n lsls r3, r4, #8\n subs r1, r1, r3\n"                                         \
    "lsls r3, r1, #8\n subs r3, r4, r3\n lsls r3, r3, #8\n asrs r3, r3, #8\n subs r4, r4, r3\n asrs r4, r4, #8\n"      \
    "subs r1, r1, r4\n lsrs r1, r1, #16\n adds r1, r1, r4\n"                                                           \
    "lsls r1, r1, #8\n subs r1, r2, r1\n lsls r1, r1, #8\n asrs r1, r1, #8\n subs r2, r2, r1\n asrs r2, r2, #8\n"

#if defined(GENN_FLASH)
#define GENN_LOOP4_S8_V6M "2:" GENN_TAP4_S8_V6M
#define GENN_ENTRY4_S8_V6M ""
#else
#define GENN_LOOP4_S8_V6M                                                                                              \
    GENN_JUMP_V6M "2:" GENN_TAP4_S8_V6M GENN_TAP4_S8_V6M GENN_TAP4_S8_V6M GENN_TAP4_S8_V6M
#define GENN_ENTRY4_S8_V6M GENN_ENTRY_V6M("3", "26")

GENN_SHARED void genn_dot8_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc, int32_t groups)
{
    GENN_CALL_V6M(GENN_SAVE_LOW_V6M GENN_SAVE_HIGH_V6M GENN_FRAME_V6M(GENN_ENTRY_V6M("3", "44"))
                  "3: movs r7, #0\n mov r8, r7\n mov r9, r7\n mov r10, r7\n mov r11, r7\n mov r12, r7\n mov lr, r7\n"
                  GENN_ROW_V6M GENN_JUMP_V6M
                  "2:" GENN_TAP8_S8_V6M GENN_TAP8_S8_V6M GENN_TAP8_S8_V6M GENN_TAP8_S8_V6M GENN_NEXT_V6M
                  GENN_OFFSETS_V6M "ldr r6, [sp, #40]\n"
                  GENN_UNPACK_V6M("r8", "r9", "r10") "stmia r6!, {r1-r4}\n"
                  GENN_UNPACK_V6M("r11", "r12", "lr") "stmia r6!, {r1-r4}\n str r6, [sp, #40]\n"
                  GENN_AGAIN_V6M("44") GENN_LOAD_HIGH_V6M GENN_LOAD_LOW_V6M);
}
#endif

GENN_SHARED void genn_dot4_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc, int32_t groups)
{
    GENN_CALL_V6M(GENN_SAVE_LOW_V6M GENN_FRAME_V6M(GENN_ENTRY4_S8_V6M)
                  "3: movs r7, #0\n mov r12, r7\n mov lr, r7\n movs r6, #0\n"
                  GENN_ROW_V6M GENN_LOOP4_S8_V6M GENN_NEXT_V6M
                  GENN_OFFSETS_V6M GENN_UNPACK_V6M("r12", "lr", "r6") "ldr r6, [sp, #24]\n stmia r6!, {r1-r4}\n"
                  "str r6, [sp, #24]\n" GENN_AGAIN_V6M("28") GENN_LOAD_LOW_V6M);
}

#else /* any other core: the same bytes, the same sums */

/* Four rows of groups of `width`.  (Not (uint8_t)w - 128: gcc 12 makes VPDPBUSD of that and loses the 128.) */
GENN_INLINE void genn_dot_four_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t width, int32_t *acc)
{
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;

    for (int32_t i = 0; i < x->height; i++) {
        const int8_t *xi = (const int8_t *)x->rows[i] + x->at;
        for (int32_t k = 0; k < x->run; k++, w += width) {
            const int32_t v = xi[k];
            a0 += (int8_t)(w[0] ^ -128) * v;
            a1 += (int8_t)(w[1] ^ -128) * v;
            a2 += (int8_t)(w[2] ^ -128) * v;
            a3 += (int8_t)(w[3] ^ -128) * v;
        }
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

GENN_INLINE void genn_dot8_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc, int32_t groups)
{
    for (; groups > 0; groups--, acc += 8, w += 8 * x->height * x->run) {
        genn_dot_four_v6m_s8(x, w, 8, acc);
        genn_dot_four_v6m_s8(x, w + 4, 8, acc + 4);
    }
}

GENN_INLINE void genn_dot4_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc, int32_t groups)
{
    for (; groups > 0; groups--, acc += 4, w += 4 * x->height * x->run)
        genn_dot_four_v6m_s8(x, w, 4, acc);
}

#endif

/* Rows that are left over: one, or two that share the loads of x. */
GENN_KERNEL int32_t genn_dot1_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w)
{
    int32_t acc = 0;

    for (int32_t i = 0; i < x->height; i++) {
        const int8_t *xi = (const int8_t *)x->rows[i] + x->at + x->run;
        w += x->run;
        for (int32_t k = -x->run; k != 0; k++)
            acc += (int32_t)w[k] * xi[k];
    }
    return acc;
}

GENN_INLINE void genn_dot2_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc)
{
    const int8_t *w1 = w + x->height * x->run;
    int32_t a0 = 0, a1 = 0;

    for (int32_t i = 0; i < x->height; i++) {
        const int8_t *xi = (const int8_t *)x->rows[i] + x->at + x->run;
        w += x->run;
        w1 += x->run;
        for (int32_t k = -x->run; k != 0; k++) {
            const int32_t v = xi[k];
            a0 += w[k] * v;
            a1 += w1[k] * v;
        }
    }
    acc[0] = a0;
    acc[1] = a1;
}

/* Sums, without bias, of `rows` rows of `taps` packed weights.  Where flash counts there are fewer kinds of groups. */
GENN_KERNEL void genn_dot_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t rows, int32_t taps, int32_t *acc)
{
    int32_t o = 0;

#if defined(GENN_FLASH)
    const int32_t fours = rows / 4;
#else
    const int32_t fours = rows % 8 / 4;
    if (rows >= 8) {
        genn_dot8_v6m_s8(x, w, acc, rows / 8);
        o = rows / 8 * 8;
    }
#endif
    if (fours) {
        genn_dot4_v6m_s8(x, w + o * taps, acc + o, fours);
        o += 4 * fours;
    }
#if !defined(GENN_FLASH)
    if (rows - o >= 2) {
        genn_dot2_v6m_s8(x, w + o * taps, acc + o);
        o += 2;
    }
#endif
    for (; o < rows; o++)
        acc[o] = genn_dot1_v6m_s8(x, w + o * taps);
}

#endif
