/* int8 inner products for cores without a dot product or a long multiply (ARMv6-M): eight or four output rows at once.
 *
 * Weights: a group of eight (four) rows is stored [tap][row], each byte is weight + 128, so that one word holds the
 * weights of four rows as digits d0..d3, all positive.  Times the input x, three pieces of that word are added up
 * modulo 2^32, each cut out by one instruction:
 *
 *     p += x * (d0 + 2^8 d1)    UXTH        h += x * (d2 + 2^8 d3)    LSRS #16
 *     r += x * (d3 + 2^8 d2 + 2^16 d1 + 2^24 d0)    REV
 *
 * Three registers of 32 bits hold four sums A0..A3 of 24 bits, and genn_unpack_v6m takes them apart (it says how).
 * The converter proves |A| < 2^23 from the weights.  The offset of 128 goes by the sum of all x, which is counted along.
 * Rows that are left over (one to three) are stored plainly, one behind another.
 */
#ifndef GENN_DOT_V6M_H
#define GENN_DOT_V6M_H

#include "genn_common.h"

/* The taps one sum goes over: bytes at .. at + run of each of `height` rows; run > 0, height > 0. */
struct genn_patch_v6m {
    const void *const *rows;
    int32_t height, at, run;
};

/* Four rows of a packed group of `width`: exact sums without bias.  What the tuned functions below must equal.
 * (Not (uint8_t)w - 128: gcc 12 makes VPDPBUSD of that and loses the 128.) */
GENN_INLINE void genn_dot_plain_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t width, int32_t *acc)
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

#if defined(__ARM_ARCH_6M__)

/* s = {p, r, h} of four rows, sx = the sum of all x.  With the offsets gone, modulo 2^32:
 *     p = A0 + 2^8 A1,  h = A2 + 2^8 A3,  r - 2^24 p - 2^8 h = A3 + 2^16 (A1 - A3)
 * The last gives the low 16 bits of A3; h - 2^8 A3 then has A2 in its low 24 bits, which are all it has; so A3 is exact,
 * gives the low 16 bits of A1, and these A0 and A1 in the same way. */
GENN_INLINE void genn_unpack_v6m(const uint32_t *s, uint32_t sx, int32_t *acc)
{
    const uint32_t p = s[0] - sx * 0x8080u, h = s[2] - sx * 0x8080u;
    const uint32_t r = s[1] - sx * 0x80808080u - (p << 24) - (h << 8);
    const int32_t a2 = (int32_t)((h - (r << 8)) << 8) >> 8, a3 = (int32_t)(h - (uint32_t)a2) >> 8;
    const uint32_t low = ((r - (uint32_t)a3) >> 16) + (uint32_t)a3;
    const int32_t a0 = (int32_t)((p - (low << 8)) << 8) >> 8, a1 = (int32_t)(p - (uint32_t)a0) >> 8;

    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* r0 weights, r1 end of the row's taps, r2 minus the taps left, r3 x, r4 and r5 weight words, r6 product, r7 sum of x;
 * r8-r12 and lr the sums.  On the stack: next row, last row, offset of the end, minus run, where the loop is entered. */
#define GENN_ENTER_V6M(mask, tap)                                                                                      \
    ".syntax unified\n"                                                                                                \
    "push {r2, r4-r7}\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n push {r4-r7}\n"                          \
    "ldmia r0!, {r3-r6}\n lsls r4, r4, #2\n adds r4, r4, r3\n adds r5, r5, r6\n rsbs r6, r6, #0\n"                     \
    "movs r7, #" mask "\n ands r7, r7, r6\n movs r0, #" tap "\n muls r7, r0, r7\n push {r3-r7}\n"                      \
    "mov r0, r1\n movs r7, #0\n mov r8, r7\n mov r9, r7\n mov r10, r7\n mov r11, r7\n mov r12, r7\n mov lr, r7\n"
#define GENN_ROW_V6M                                                                                                   \
    "1: ldr r5, [sp]\n ldmia r5!, {r1}\n str r5, [sp]\n ldr r3, [sp, #8]\n adds r1, r1, r3\n ldr r2, [sp, #12]\n"
#define GENN_JUMP_V6M "ldr r4, [sp, #16]\n add pc, r4\n nop\n" /* into the loop, past the taps that are not there */
#define GENN_NEXT_V6M "bne 2b\n ldr r4, [sp]\n ldr r5, [sp, #4]\n cmp r4, r5\n bne 1b\n"
#define GENN_LEAVE_V6M                                                                                                 \
    "ldr r0, [sp, #36]\n mov r1, r8\n mov r2, r9\n mov r3, r10\n stmia r0!, {r1-r3}\n"                                 \
    "mov r1, r11\n mov r2, r12\n mov r3, lr\n stmia r0!, {r1-r3}\n str r7, [r0]\n add sp, #20\n pop {r4-r7}\n"         \
    "mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n pop {r2, r4-r7}\n"
/* The statement saves and restores r4-r11 itself: the compiler may need r7 as its frame pointer. */
#define GENN_CALL_V6M(text)                                                                                            \
    do {                                                                                                               \
        register const struct genn_patch_v6m *r0_ __asm__("r0") = x;                                                   \
        register const void *r1_ __asm__("r1") = w;                                                                    \
        register uint32_t *r2_ __asm__("r2") = out;                                                                    \
        __asm__ volatile(text : "+r"(r0_), "+r"(r1_), "+r"(r2_) : : "r3", "r12", "lr", "cc", "memory");                \
    } while (0)

#define GENN_WORD_S8_V6M(word, p, r, h)                                                                                \
    "uxth r6, " word "\n muls r6, r3, r6\n add " p ", r6\n"                                                            \
    "rev r6, " word "\n muls r6, r3, r6\n add " r ", r6\n"                                                             \
    "lsrs " word ", " word ", #16\n muls " word ", r3, " word "\n add " h ", " word "\n"

/* 25.5 cycles a tap of eight rows: load 3 + 2, sums 18 + 1, step 1, branch 2 / 4. */
#define GENN_TAP8_S8_V6M                                                                                               \
    "ldmia r0!, {r4, r5}\n ldrsb r3, [r1, r2]\n add r7, r7, r3\n" GENN_WORD_S8_V6M("r4", "r8", "r9", "r10")            \
        GENN_WORD_S8_V6M("r5", "r11", "r12", "lr") "adds r2, r2, #1\n"
/* 15.5 cycles a tap of four rows; 17 where flash counts and the loop is not unrolled. */
#define GENN_TAP4_S8_V6M                                                                                               \
    "ldmia r0!, {r4}\n ldrsb r3, [r1, r2]\n add r7, r7, r3\n" GENN_WORD_S8_V6M("r4", "r8", "r9", "r10")                \
        "adds r2, r2, #1\n"

#if defined(GENN_FLASH)
#define GENN_LOOP4_S8_V6M "2:" GENN_TAP4_S8_V6M
#else
#define GENN_LOOP4_S8_V6M                                                                                              \
    GENN_JUMP_V6M "2:" GENN_TAP4_S8_V6M GENN_TAP4_S8_V6M GENN_TAP4_S8_V6M GENN_TAP4_S8_V6M

GENN_SHARED void genn_sums8_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, uint32_t *out)
{
    GENN_CALL_V6M(GENN_ENTER_V6M("3", "44") GENN_ROW_V6M GENN_JUMP_V6M
                  "2:" GENN_TAP8_S8_V6M GENN_TAP8_S8_V6M GENN_TAP8_S8_V6M GENN_TAP8_S8_V6M GENN_NEXT_V6M GENN_LEAVE_V6M);
}

GENN_INLINE void genn_dot8_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc)
{
    uint32_t s[7];

    genn_sums8_v6m_s8(x, w, s);
    genn_unpack_v6m(s, s[6], acc);
    genn_unpack_v6m(s + 3, s[6], acc + 4);
}
#endif

GENN_SHARED void genn_sums4_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, uint32_t *out)
{
    GENN_CALL_V6M(GENN_ENTER_V6M("3", "26") GENN_ROW_V6M GENN_LOOP4_S8_V6M GENN_NEXT_V6M GENN_LEAVE_V6M);
}

GENN_KERNEL void genn_dot4_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc)
{
    uint32_t s[7];

    genn_sums4_v6m_s8(x, w, s);
    genn_unpack_v6m(s, s[6], acc);
}

#else /* any other core: the same bytes, the same sums */

GENN_INLINE void genn_dot8_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc)
{
    genn_dot_plain_v6m_s8(x, w, 8, acc);
    genn_dot_plain_v6m_s8(x, w + 4, 8, acc + 4);
}

GENN_INLINE void genn_dot4_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t *acc)
{
    genn_dot_plain_v6m_s8(x, w, 4, acc);
}

#endif

/* The next group of `left` rows: their sums, and how many rows it has.  Where flash counts there are fewer kinds. */
GENN_INLINE int32_t genn_group_v6m_s8(const struct genn_patch_v6m *x, const int8_t *w, int32_t left, int32_t *acc)
{
#if !defined(GENN_FLASH)
    if (left >= 8) {
        genn_dot8_v6m_s8(x, w, acc);
        return 8;
    }
#endif
    if (left >= 4) {
        genn_dot4_v6m_s8(x, w, acc);
        return 4;
    }
#if !defined(GENN_FLASH)
    if (left >= 2) {
        genn_dot2_v6m_s8(x, w, acc);
        return 2;
    }
#endif
    acc[0] = genn_dot1_v6m_s8(x, w);
    return 1;
}

#endif
