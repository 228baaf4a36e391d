/* int8 convolution on ARMv6-M where time counts most: three pixels of a row by four outputs at once.
 *
 * Weights: groups of four rows as in genn_dot_v6m.h.  Inputs: a tap of three pixels becomes two words, modulo 2^32,
 *
 *     u = x0 + 2^21 x1        v = x2 + 2^10 x1
 *
 * and times a weight, two products for three.  The four weights of a word are not taken apart either: it is multiplied as it
 * is and shifted right by 8, 16 and 24, and the sums s0..s3 of these give those of the single digits, s0 - 2^8 s1 and so on.
 * So 8 products do for 12, and 8 registers hold 12 sums A of 21 bits (the converter proves |A| < 2^20 from the weights):
 * u's sum has A0 in its low 21 bits, then 11 bits of A1; these leave A2 in the low 21 bits of v's, then the other bits of A1.
 * Pixels that are left over, or at the border, go by the functions of genn_dot_v6m.h.
 */
#ifndef GENN_CONV3_V6M_H
#define GENN_CONV3_V6M_H

#include "genn_conv_v6m.h"

/* Sums of one pixel for all outputs. */
GENN_INLINE void genn_pixel_v6m(const struct genn_patch_v6m *x, const int8_t *w, int32_t taps, int32_t rows, int32_t *acc)
{
    genn_dot4_v6m_s8(x, w, acc, rows / 4);
    for (int32_t o = rows / 4 * 4; o < rows; o++)
        acc[o] = genn_dot1_v6m_s8(x, w + o * taps);
}

#if defined(__ARM_ARCH_6M__)

/* u and v of the `run` inputs at x and of those one and two steps (bytes) on; their sums are added to sums[0] and sums[1].
 * 18 cycles a tap. */
GENN_SHARED void genn_pack3_v6m(const int8_t *x, int32_t step, int32_t run, uint32_t *to, uint32_t *sums)
{
    register const int8_t *r0_ __asm__("r0") = x;
    register int32_t r1_ __asm__("r1") = step;
    register int32_t r2_ __asm__("r2") = run;
    register uint32_t *r3_ __asm__("r3") = to;
    register uint32_t *r4_ __asm__("r4") = sums;
    __asm__ volatile(".syntax unified\n"
                     "push {r4-r7}\n mov r4, r8\n mov r5, r9\n push {r4, r5}\n"
                     "movs r7, r3\n rsbs r3, r2, #0\n adds r0, r0, r2\n adds r2, r0, r1\n adds r1, r1, r2\n"
                     "movs r4, #0\n mov r8, r4\n mov r9, r4\n"
                     "1: ldrsb r4, [r0, r3]\n ldrsb r5, [r2, r3]\n ldrsb r6, [r1, r3]\n"
                     "lsls r5, r5, #10\n adds r6, r6, r5\n lsls r5, r5, #11\n adds r4, r4, r5\n stmia r7!, {r4, r6}\n"
                     "add r8, r4\n add r9, r6\n adds r3, r3, #1\n bne 1b\n"
                     "mov r6, r8\n mov r7, r9\n pop {r4, r5}\n mov r8, r4\n mov r9, r5\n"
                     "ldr r3, [sp]\n ldmia r3!, {r4, r5}\n adds r4, r4, r6\n adds r5, r5, r7\n subs r3, #8\n"
                     "stmia r3!, {r4, r5}\n pop {r4-r7}\n"
                     : "+r"(r0_), "+r"(r1_), "+r"(r2_), "+r"(r3_), "+r"(r4_) : : "cc", "memory");
}

/* What the sums of three pixels are made of: `packed` holds the sums of u and v, then u and v of each tap; stride: bytes from
 * one pixel's sums to the next one's. */
struct genn_triple_v6m {
    const uint32_t *packed;
    const void *w;
    int32_t *acc;
    int32_t groups, taps, stride;
};

/* r0 weights, r1 packed inputs, r2 weight word, r3 u, r4 v, r5 product; sums of u in r6, r8, r10, r12, of v in r7, r9, r11, lr.
 * 29.25 cycles a tap of four rows and three pixels: load 2 + 3, sums 12 + 11, branch 5 / 4. */
#define GENN_DIGIT_V6M(shift, x, sum) "lsrs r5, r2, #" shift "\n muls r5, " x ", r5\n add " sum ", r5\n"
#define GENN_TAP12_V6M                                                                                                 \
    "ldmia r0!, {r2}\n ldmia r1!, {r3, r4}\n" GENN_DIGIT_V6M("24", "r3", "r12") GENN_DIGIT_V6M("16", "r3", "r10")      \
        GENN_DIGIT_V6M("8", "r3", "r8") "movs r5, r2\n muls r5, r3, r5\n add r6, r6, r5\n"                             \
    GENN_DIGIT_V6M("24", "r4", "lr") GENN_DIGIT_V6M("16", "r4", "r11") GENN_DIGIT_V6M("8", "r4", "r9")                 \
    "muls r2, r4, r2\n add r7, r7, r2\n"
/* From the sums of u and v in r2 and r4 three pixels' sums of one row, to the address in r1 and on. */
#define GENN_THREE_V6M                                                                                                 \
    "ldr r3, [sp, #12]\n subs r2, r2, r3\n ldr r3, [sp, #16]\n subs r4, r4, r3\n"                                      \
    "lsls r3, r2, #11\n asrs r3, r3, #11\n subs r2, r2, r3\n asrs r2, r2, #21\n lsls r5, r2, #10\n subs r4, r4, r5\n"  \
    "lsls r5, r4, #11\n asrs r5, r5, #11\n subs r4, r4, r5\n asrs r4, r4, #10\n adds r4, r4, r2\n"                     \
    "str r3, [r1]\n ldr r2, [sp, #28]\n str r4, [r1, r2]\n lsls r2, r2, #1\n str r5, [r1, r2]\n adds r1, r1, #4\n"
#define GENN_LOWER_V6M(u, v, next_u, next_v)                                                                           \
    "mov r2, " u "\n mov r3, " next_u "\n lsls r3, r3, #8\n subs r2, r2, r3\n"                                         \
    "mov r4, " v "\n mov r3, " next_v "\n lsls r3, r3, #8\n subs r4, r4, r3\n" GENN_THREE_V6M

/* On the stack: end and start of the inputs, where the loop is entered, the offsets of u and v, sums, groups, stride. */
GENN_SHARED void genn_dot3_v6m(const struct genn_triple_v6m *t)
{
    register const struct genn_triple_v6m *r0_ __asm__("r0") = t;
    __asm__ volatile(".syntax unified\n push {r4-r7}\n" GENN_SAVE_HIGH_V6M
                     "ldmia r0!, {r1-r6}\n push {r3, r4, r6}\n movs r0, r2\n ldmia r1!, {r2, r3}\n"
                     "lsls r2, r2, #7\n lsls r3, r3, #7\n push {r2, r3}\n"
                     "rsbs r6, r5, #0\n" "movs r7, #3\n ands r7, r7, r6\n movs r6, #50\n muls r7, r6, r7\n"
                     "lsls r5, r5, #3\n adds r2, r1, r5\n movs r3, r1\n push {r2, r3, r7}\n"
                     "3: movs r6, #0\n movs r7, #0\n mov r8, r7\n mov r9, r7\n mov r10, r7\n mov r11, r7\n mov r12, r7\n"
                     "mov lr, r7\n ldr r1, [sp, #4]\n ldr r5, [sp, #8]\n add pc, r5\n nop\n"
                     "2: .rept 4\n" GENN_TAP12_V6M ".endr\n ldr r5, [sp]\n cmp r1, r5\n bne 2b\n"
                     "ldr r1, [sp, #20]\n" GENN_LOWER_V6M("r6", "r7", "r8", "r9") GENN_LOWER_V6M("r8", "r9", "r10", "r11")
                     GENN_LOWER_V6M("r10", "r11", "r12", "lr") "mov r2, r12\n mov r4, lr\n" GENN_THREE_V6M
                     "str r1, [sp, #20]\n ldr r1, [sp, #24]\n subs r1, r1, #1\n str r1, [sp, #24]\n beq 4f\n b 3b\n"
                     "4: add sp, #32\n" GENN_LOAD_HIGH_V6M "pop {r4-r7}\n"
                     : "+r"(r0_) : : "r1", "r2", "r3", "r12", "lr", "cc", "memory");
}

/* One row that is left over. */
GENN_INLINE void genn_dot3_rest_v6m(const struct genn_triple_v6m *t, const int8_t *w, int32_t *acc)
{
    const uint32_t *x = t->packed + 2, *const end = x + 2 * t->taps;
    uint32_t u = 0, v = 0;

    while (x < end) {
        const uint32_t weight = (uint32_t)(int32_t)*w++;
        u += weight * *x++;
        v += weight * *x++;
    }
    const int32_t a0 = (int32_t)(u << 11) >> 11, low = (int32_t)(u - (uint32_t)a0) >> 21;
    v -= (uint32_t)low << 10;
    const int32_t a2 = (int32_t)(v << 11) >> 11;
    acc[0] = a0;
    acc[t->stride / 4] = low + ((int32_t)(v - (uint32_t)a2) >> 10);
    acc[t->stride / 2] = a2;
}

/* Sums of three pixels for all outputs, acc[pixel][output]; the patch is the first's, the others lie one and two steps on. */
GENN_INLINE void genn_pixels3_v6m(const struct genn_patch_v6m *x, int32_t step, const int8_t *w, int32_t taps, int32_t rows,
                                  int32_t *acc, uint32_t *packed)
{
    const struct genn_triple_v6m t = {packed, w, acc, rows / 4, taps, 4 * rows};

    packed[0] = packed[1] = 0;
    for (int32_t i = 0; i < x->height; i++)
        genn_pack3_v6m((const int8_t *)x->rows[i] + x->at, step, x->run, packed + 2 + 2 * i * x->run, packed);
    genn_dot3_v6m(&t);
    for (int32_t o = rows / 4 * 4; o < rows; o++)
        genn_dot3_rest_v6m(&t, w + o * taps, acc + o);
}

#else /* any other core: the same bytes, the same sums */

GENN_INLINE void genn_pixels3_v6m(const struct genn_patch_v6m *x, int32_t step, const int8_t *w, int32_t taps, int32_t rows,
                                  int32_t *acc, uint32_t *packed)
{
    (void)packed;
    for (int32_t i = 0; i < 3; i++) {
        const struct genn_patch_v6m patch = {x->rows, x->height, x->at + i * step, x->run, 0};
        genn_pixel_v6m(&patch, w, taps, rows, acc + i * rows);
    }
}

#endif

/* Sums of the pixel (or, n = 3, the pixels) from column ix0 of rows[0] on. */
GENN_INLINE void genn_conv3_sums_v6m(const struct genn_conv_v6m *p, const void *const *rows, int32_t ix0, int32_t n,
                                     const int8_t *w, int32_t *acc, uint32_t *packed)
{
    const int32_t taps = p->k_h * p->k_w * p->in_c;
    const void *const column = packed;
    struct genn_patch_v6m patch = {rows, p->k_h, ix0 * p->in_c, p->k_w * p->in_c, 0};

    if (n == 3) {
        genn_pixels3_v6m(&patch, p->stride_w * p->in_c, w, taps, p->out_c, acc, packed);
        return;
    }
    if (p->padded && !(ix0 >= 0 && ix0 + p->k_w <= p->in_w && rows[0] && rows[p->k_h - 1])) {
        genn_gather_v6m(p, rows, ix0, packed, 1);
        patch = (struct genn_patch_v6m){&column, 1, 0, taps, 0};
    }
    genn_pixel_v6m(&patch, w, taps, p->out_c, acc);
}

/* How many pixels can be made at once from column ix0 on, of `left`: three where all their taps lie inside. */
GENN_INLINE int32_t genn_conv3_pixels_v6m(const struct genn_conv_v6m *p, const void *const *rows, int32_t ix0, int32_t left)
{
    const int32_t last = (p->pool_h - 1) * p->stride_h + p->k_h - 1;
    const int inside = !p->padded || (ix0 >= 0 && ix0 + 2 * p->stride_w + p->k_w <= p->in_w && rows[0] && rows[last]);

    return left >= 3 && inside ? 3 : 1;
}

/* One output row.  Workspace: sums of three pixels, with a pool of several rows twice; with one of several columns the largest
 * of a window; the packed inputs. */
GENN_INLINE void genn_conv3_row_v6m(const struct genn_conv_v6m *p, const void *const *rows, const int8_t *w,
                                    const uint32_t *constants, int32_t *acc, int8_t *y, enum genn_kind_v6m kind)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};
    const int32_t columns = p->out_w * p->pool_w;
    int32_t *const more = p->pool_h > 1 ? acc + 3 * p->out_c : acc, *const best = more + 3 * p->out_c;
    uint32_t *const packed = (uint32_t *)(p->pool_w > 1 ? best + p->out_c : best);

    for (int32_t c = 0, at = 0, n; c < columns; c += n) {
        const int32_t ix0 = c * p->stride_w - p->pad_w;
        n = genn_conv3_pixels_v6m(p, rows, ix0, columns - c);
        genn_conv3_sums_v6m(p, rows, ix0, n, w, acc, packed);
        for (int32_t py = 1; py < p->pool_h; py++) {
            genn_conv3_sums_v6m(p, rows + py * p->stride_h, ix0, n, w, more, packed);
            genn_largest_v6m(acc, more, n * p->out_c);
        }
        for (int32_t i = 0; i < n; i++) {
            int32_t *sums = acc + i * p->out_c;
            if (p->pool_w > 1) {
                for (int32_t o = 0; at == 0 && o < p->out_c; o++) {
                    best[o] = sums[o];
                    GENN_NO_LIBCALL;
                }
                if (at > 0)
                    genn_largest_v6m(best, sums, p->out_c);
                if (++at < p->pool_w)
                    continue;
                at = 0;
                sums = best;
            }
            genn_finish_v6m(&f, sums, constants, 0, p->out_c, y, kind);
            y += p->out_c;
        }
    }
}

GENN_INLINE void genn_conv3_v6m(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w, const uint32_t *constants,
                                int32_t *acc, int8_t *y, enum genn_kind_v6m kind)
{
    const void *rows[GENN_CONV_ROWS_V6M];

    for (int32_t n = 0; n < p->n; n++, x += p->in_h * p->in_w * p->in_c)
        for (int32_t oy = 0; oy < p->out_h; oy++, y += p->out_w * p->out_c) {
            genn_conv_rows_v6m(p, x, oy, 1, rows);
            genn_conv3_row_v6m(p, rows, w, constants, acc, y, kind);
        }
}

GENN_KERNEL void genn_conv3_v6m_s8(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w, const uint32_t *constants,
                                   int32_t *acc, int8_t *y)
{
    genn_conv3_v6m(p, x, w, constants, acc, y, GENN_S8_V6M);
}

GENN_KERNEL void genn_conv3_v6m_s8_wide(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w,
                                        const uint32_t *constants, int32_t *acc, int8_t *y)
{
    genn_conv3_v6m(p, x, w, constants, acc, y, GENN_S8_WIDE_V6M);
}

#endif
