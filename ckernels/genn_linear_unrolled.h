/* Linear with stored-sparse int8 or int16 weights as code: a function for each row, in the generated source.
 *
 * A row is a list of taps: add or sub, the place of the input, counted from x, and the weight's magnitude.  GENN_FOUR_S8 and
 * GENN_FOUR_S16 take four of them, GENN_ONE_* one; GENN_ON moves x on where places end.  Nothing is left to decode.  A
 * function a row, for compilers take long over one function of thousands of taps.
 *
 * ARMv7E-M: four loads behind each other 5, four moves, four MLA or MLS: 13 cycles, 3.25 a weight, 10 bytes (int16 12).
 * ARMv6-M, int8: place 1, load 2, weight 1, MULS, ADDS or SUBS 2: 6 cycles, 10 bytes.
 */
#ifndef GENN_LINEAR_UNROLLED_H
#define GENN_LINEAR_UNROLLED_H

#include "genn_linear.h"

typedef int32_t (*genn_row_s8)(const int8_t *x, int32_t acc);
typedef int32_t (*genn_row_s16)(const int16_t *x, int32_t acc);

#define GENN_ROW_S8(name) static GENN_LAYER int32_t name(const int8_t *x, int32_t acc)
#define GENN_ROW_S16(name) static GENN_LAYER int32_t name(const int16_t *x, int32_t acc)
#define GENN_ON(inputs) x += inputs;
#define GENN_ROW_END                                                                                                   \
    (void)x;                                                                                                           \
    return acc;

#if defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_ISA_THUMB) && defined(__OPTIMIZE__)
#define GENN_TAPS_add "mla"
#define GENN_TAPS_sub "mls"
#define GENN_TAPS(text)                                                                                                \
    __asm__ volatile(text : [acc] "+r"(acc) : [x] "r"(x) : "cc", "memory", "r2", "r3", "r4", "r5", "r6");
/* load: the instruction and its register; size: bytes of an input; move: what brings a weight to r6. */
#define GENN_TAP_LOAD(load, place, size) load ", [%[x], #" #place "*" size "]\n"
#define GENN_TAP_SUM(op, r, move, w) move " r6, #" #w "\n" GENN_TAPS_##op " %[acc], " r ", r6, %[acc]\n"
#define GENN_TAPS4(load, size, move, o0, p0, w0, o1, p1, w1, o2, p2, w2, o3, p3, w3)                                   \
    GENN_TAPS(GENN_TAP_LOAD(load " r2", p0, size) GENN_TAP_LOAD(load " r3", p1, size)                                  \
                  GENN_TAP_LOAD(load " r4", p2, size) GENN_TAP_LOAD(load " r5", p3, size)                              \
                      GENN_TAP_SUM(o0, "r2", move, w0) GENN_TAP_SUM(o1, "r3", move, w1)                                \
                          GENN_TAP_SUM(o2, "r4", move, w2) GENN_TAP_SUM(o3, "r5", move, w3))
#define GENN_TAPS1(load, size, move, op, place, w)                                                                     \
    GENN_TAPS(GENN_TAP_LOAD(load " r2", place, size) GENN_TAP_SUM(op, "r2", move, w))
#define GENN_FOUR_S8(...) GENN_TAPS4("ldrsb", "1", "movs", __VA_ARGS__)
#define GENN_ONE_S8(...) GENN_TAPS1("ldrsb", "1", "movs", __VA_ARGS__)
#define GENN_FOUR_S16(...) GENN_TAPS4("ldrsh", "2", "movw", __VA_ARGS__)
#define GENN_ONE_S16(...) GENN_TAPS1("ldrsh", "2", "movw", __VA_ARGS__)
#elif defined(__ARM_ARCH_6M__) && defined(__OPTIMIZE__)
/* Code made for another core has places that MOVS cannot hold. */
#define GENN_ONE_S8(op, place, w)                                                                                      \
    {                                                                                                                  \
        if (place < 256)                                                                                               \
            __asm__ volatile(".syntax unified\n"                                                                       \
                             "movs r2, #" #place "\nldrsb r2, [%[x], r2]\nmovs r3, #" #w "\nmuls r2, r3\n"             \
                             #op "s %[acc], r2"                                                                        \
                             : [acc] "+l"(acc) : [x] "l"(x) : "cc", "memory", "r2", "r3");                             \
        else                                                                                                           \
            acc = acc GENN_SIGN_##op(w) * x[place];                                                                    \
    }
#endif

#define GENN_SIGN_add +
#define GENN_SIGN_sub -
#define GENN_FOUR(one, o0, p0, w0, o1, p1, w1, o2, p2, w2, o3, p3, w3)                                                 \
    one(o0, p0, w0) one(o1, p1, w1) one(o2, p2, w2) one(o3, p3, w3)
#if !defined(GENN_ONE_S8)
#define GENN_ONE_S8(op, place, w) acc = acc GENN_SIGN_##op(w) * x[place];
#endif
#if !defined(GENN_ONE_S16)
#define GENN_ONE_S16(op, place, w) acc = acc GENN_SIGN_##op(w) * x[place];
#endif
#if !defined(GENN_FOUR_S8)
#define GENN_FOUR_S8(...) GENN_FOUR(GENN_ONE_S8, __VA_ARGS__)
#endif
#if !defined(GENN_FOUR_S16)
#define GENN_FOUR_S16(...) GENN_FOUR(GENN_ONE_S16, __VA_ARGS__)
#endif

GENN_KERNEL void genn_linear_unrolled_s8(const struct genn_linear_s8 *p, const int8_t *GENN_RESTRICT x,
                                         const genn_row_s8 *rows, const int32_t *GENN_RESTRICT bias,
                                         const int16_t *GENN_RESTRICT mult, int8_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out)
        for (int32_t o = 0; o < p->out; o++) {
            GENN_NO_LIBCALL; /* GCC 12 for ARMv6-M takes its own clone of this function for one without effects */
            y[o] = (int8_t)genn_requantize(rows[o](x, bias[o]), mult[o], p->shift, p->offset, p->lo, p->hi);
        }
}

GENN_KERNEL void genn_linear_unrolled_s16(const struct genn_linear_s16 *p, const int16_t *GENN_RESTRICT x,
                                          const genn_row_s16 *rows, const int32_t *GENN_RESTRICT bias,
                                          int16_t *GENN_RESTRICT y)
{
    for (int32_t r = 0; r < p->rows; r++, x += p->in, y += p->out)
        for (int32_t o = 0; o < p->out; o++) {
            GENN_NO_LIBCALL;
            y[o] = (int16_t)genn_clamp_s32(rows[o](x, bias[o]) >> p->shift, p->lo, p->hi);
        }
}

#endif
