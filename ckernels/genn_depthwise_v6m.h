/* Depthwise convolution on ARMv6-M, with a fused maximum pool: two channels at a time.
 *
 * A pixel's taps become a list of where channel 0 lies: in the input rows, or, outside of them, in a vector of padding.  So
 * pixels at the border cost what the others do, and the rows may lie anywhere in the arena.  Weights are stored [tap][channel].
 * Workspace: a sum for each channel and one more, with a pool twice; the list; the vector of padding.
 */
#ifndef GENN_DEPTHWISE_V6M_H
#define GENN_DEPTHWISE_V6M_H

#include "genn_conv_v6m.h"

/* What goes into the sums of one pixel.  The list holds distances in bytes from base and ends before `last`; stride is the
 * bytes of all channels; entry the bytes of code that the tuned loop begins behind. */
struct genn_taps_v6m {
    const int32_t *list, *last;
    const void *w;
    int32_t stride;
    int32_t *out;
    int32_t entry;
    const void *base;
};

#define GENN_TAPS_UNROLL_V6M 3

#if defined(__ARM_ARCH_6M__)

/* r0 weights - base, r1 the list, r2 and r3 base + offsets of two channels, r4 tap, r6 and r7 factors; r8 and r9 the sums, r10
 * bytes of all channels, r11 the list's end, r12 where sums go, lr base + bytes of all channels.
 * Two channels' tap: 2 + 2 * (4 + 2) + 1 = 15 cycles, the branch 3 / 3. */
#define GENN_TAP2_V6M(load)                                                                                            \
    "ldmia r1!, {r4}\n" load " r6, [r4, r2]\n" load " r7, [r0, r2]\n muls r6, r7, r6\n add r8, r6\n"                   \
    load " r6, [r4, r3]\n" load " r7, [r0, r3]\n muls r6, r7, r6\n add r9, r6\n add r0, r10\n"
#if defined(GENN_FLASH)
#define GENN_TAPS_V6M(load) "2:" GENN_TAP2_V6M(load)
#else
#define GENN_TAPS_V6M(load)                                                                                            \
    "ldr r4, [sp, #8]\n add pc, r4\n nop\n 2:" GENN_TAP2_V6M(load) GENN_TAP2_V6M(load) GENN_TAP2_V6M(load)
#endif
#define GENN_DEPTHWISE_V6M(name, load, item)                                                                           \
    GENN_SHARED void name(const struct genn_taps_v6m *t)                                                               \
    {                                                                                                                  \
        register const struct genn_taps_v6m *r0_ __asm__("r0") = t;                                                    \
        __asm__ volatile(".syntax unified\n"                                                                           \
                         "push {r4-r7}\n mov r4, r8\n mov r5, r9\n mov r6, r10\n mov r7, r11\n push {r4-r7}\n"         \
                         "ldmia r0!, {r1-r7}\n mov r11, r2\n mov r10, r4\n mov r12, r5\n adds r4, r4, r7\n mov lr, r4\n" \
                         "subs r4, r3, r7\n mov r5, r6\n movs r3, r1\n push {r3-r5}\n"                                \
                         "movs r2, r7\n adds r3, r7, #" item "\n"                                                      \
                         "1: cmp r3, lr\n bne 3f\n movs r3, r2\n" /* the last of an odd number: twice the same */       \
                         "3: ldr r1, [sp]\n ldr r0, [sp, #4]\n movs r4, #0\n mov r8, r4\n mov r9, r4\n"                 \
                         GENN_TAPS_V6M(load) "cmp r1, r11\n bne 2b\n"                                                  \
                         "mov r4, r12\n mov r6, r8\n mov r7, r9\n stmia r4!, {r6, r7}\n mov r12, r4\n"                 \
                         "adds r2, #2 * " item "\n adds r3, #2 * " item "\n cmp r2, lr\n blo 1b\n"                     \
                         "add sp, #12\n pop {r4-r7}\n mov r8, r4\n mov r9, r5\n mov r10, r6\n mov r11, r7\n"           \
                         "pop {r4-r7}\n"                                                                               \
                         : "+r"(r0_) : : "r1", "r2", "r3", "r12", "lr", "cc", "memory");                               \
    }
#define GENN_TAP2_BYTES_V6M 20 /* of code */

#else /* any other core: the same sums */

#define GENN_DEPTHWISE_V6M(name, type, item)                                                                           \
    GENN_INLINE void name(const struct genn_taps_v6m *t)                                                               \
    {                                                                                                                  \
        const int32_t channels = t->stride / item;                                                                     \
        for (int32_t c = 0; c < channels; c++) {                                                                       \
            const type *w = (const type *)t->w + c;                                                                    \
            int32_t acc = 0;                                                                                           \
            for (const int32_t *at = t->list; at < t->last; at++, w += channels)                                       \
                acc += (int32_t)*w * ((const type *)(const void *)((const char *)t->base + *at))[c];                   \
            t->out[c] = acc;                                                                                           \
        }                                                                                                              \
    }
#define GENN_TAP2_BYTES_V6M 0

#endif

#if defined(__ARM_ARCH_6M__)
GENN_DEPTHWISE_V6M(genn_depthwise_sums_v6m_s8, "ldrsb", "1")
GENN_DEPTHWISE_V6M(genn_depthwise_sums_v6m_s16, "ldrsh", "2")
#else
GENN_DEPTHWISE_V6M(genn_depthwise_sums_v6m_s8, int8_t, 1)
GENN_DEPTHWISE_V6M(genn_depthwise_sums_v6m_s16, int16_t, 2)
#endif

/* Distances from base to the taps of the pixel whose first is at column ix0 of rows[0]; all lies in one arena. */
GENN_INLINE void genn_taps_v6m(const struct genn_conv_v6m *p, const void *const *rows, int32_t ix0, int32_t item,
                               const void *padding, const void *base, int32_t *list)
{
    for (int32_t ky = 0; ky < p->k_h; ky++) {
        const char *row = rows[ky * p->dil_h];
        for (int32_t kx = 0, ix = ix0; kx < p->k_w; kx++, ix += p->dil_w) {
            const char *at = !p->padded || (row && ix >= 0 && ix < p->in_w) ? row + ix * p->in_c * item : padding;
            *list++ = (int32_t)(at - (const char *)base);
        }
    }
}

/* Sums of one output pixel in all channels, the largest of its pool's window. */
GENN_INLINE void genn_depthwise_window_v6m(const struct genn_conv_v6m *p, const void *const *rows, int32_t x, const void *w,
                                           int32_t *best, int32_t item)
{
    const int32_t c = p->in_c, taps = p->k_h * p->k_w;
    const int32_t skip = (GENN_TAPS_UNROLL_V6M - taps % GENN_TAPS_UNROLL_V6M) % GENN_TAPS_UNROLL_V6M * GENN_TAP2_BYTES_V6M;
    int32_t *const sums = p->pool_h * p->pool_w > 1 ? best + c + 1 : best, *const list = sums + c + 1;

    for (int32_t py = 0; py < p->pool_h; py++, rows += p->stride_h)
        for (int32_t px = 0; px < p->pool_w; px++) {
            const int first = py + px == 0;
            const struct genn_taps_v6m t = {list, list + taps, w, c * item, first ? best : sums, skip, best};
            genn_taps_v6m(p, rows, x + px * p->stride_w, item, list + taps, best, list);
            if (item == 1)
                genn_depthwise_sums_v6m_s8(&t);
            else
                genn_depthwise_sums_v6m_s16(&t);
            if (!first)
                genn_largest_v6m(best, sums, c);
        }
}

/* One output row, its first output at y; rows as for genn_conv_row_v6m. */
GENN_INLINE void genn_depthwise_row_v6m(const struct genn_conv_v6m *p, const void *const *rows, const void *w,
                                        const uint32_t *constants, int32_t *best, void *y, enum genn_kind_v6m kind)
{
    const struct genn_finish_v6m f = {p->narrow, p->offset, p->lo, p->hi, p->shift};
    const int32_t item = genn_item_v6m(kind);

    for (int32_t ox = 0; ox < p->out_w; ox++) {
        genn_depthwise_window_v6m(p, rows, ox * p->pool_w * p->stride_w - p->pad_w, w, best, item);
        genn_finish_v6m(&f, best, constants, 0, p->in_c, (char *)y + ox * p->in_c * item, kind);
    }
}

GENN_INLINE void genn_depthwise_v6m(const struct genn_conv_v6m *p, const void *x, const void *w, const uint32_t *constants,
                                    int32_t *best, void *y, enum genn_kind_v6m kind)
{
    const void *rows[GENN_CONV_ROWS_V6M];
    const int32_t item = genn_item_v6m(kind), sums = (p->pool_h * p->pool_w > 1 ? 2 : 1) * (p->in_c + 1);

    if (p->padded) /* the vector of padding, behind sums and list */
        (void)genn_copy_v6m(best + sums + p->k_h * p->k_w, 0, p->in_c, p->zero_point, item);
    for (int32_t n = 0; n < p->n; n++, x = (const char *)x + p->in_h * p->in_w * p->in_c * item)
        for (int32_t oy = 0; oy < p->out_h; oy++, y = (char *)y + p->out_w * p->in_c * item) {
            genn_conv_rows_v6m(p, x, oy, item, rows);
            genn_depthwise_row_v6m(p, rows, w, constants, best, y, kind);
        }
}

GENN_KERNEL void genn_depthwise_v6m_s8(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w,
                                       const uint32_t *constants, int32_t *best, int8_t *y)
{
    genn_depthwise_v6m(p, x, w, constants, best, y, GENN_S8_V6M);
}

GENN_KERNEL void genn_depthwise_v6m_s8_wide(const struct genn_conv_v6m *p, const int8_t *x, const int8_t *w,
                                            const uint32_t *constants, int32_t *best, int8_t *y)
{
    genn_depthwise_v6m(p, x, w, constants, best, y, GENN_S8_WIDE_V6M);
}

GENN_KERNEL void genn_depthwise_v6m_s16(const struct genn_conv_v6m *p, const int16_t *x, const int16_t *w,
                                        const uint32_t *constants, int32_t *best, int16_t *y)
{
    genn_depthwise_v6m(p, x, w, constants, best, y, GENN_S16_V6M);
}

#endif
