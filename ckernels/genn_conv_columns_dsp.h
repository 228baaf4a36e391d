/* What the int8 convolution for cores with the DSP instructions does besides sums: widening its input to columns, and the
 * maximum pool of its output (genn_conv_dsp.h).
 */
#ifndef GENN_CONV_COLUMNS_DSP_H
#define GENN_CONV_COLUMNS_DSP_H

#include "genn_common_dsp.h"

#define GENN_CONV_ROWS_DSP 16 /* kernel rows at most */

/* tile: pixels widened at once, even.  The workspace holds their columns, then, where a pool or an odd width needs it,
 * a line of output.  unroll: steps of the inner loop, 1 to 32. */
struct genn_conv_dsp_s8 {
    int32_t n, in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w, groups, pool_h,
        pool_w, padded, zero_point, shift, offset, lo, hi, tile, unroll;
};

/* ---- widening --------------------------------------------------------------------------------------------------- */

/* Channels of one pixel: whole fours as 0 2 1 3, the rest in order. */
GENN_INLINE void genn_conv_channels_dsp_s8(const int8_t *GENN_RESTRICT x, int32_t ci, int16_t *GENN_RESTRICT t)
{
    for (int32_t n = ci / 4; n > 0; n--, x += 4, t += 4) {
#if defined(GENN_DSP)
        const uint32_t v = genn_load_word(x);
        genn_store_word(t, genn_sxtb16(v));
        genn_store_word(t + 2, genn_sxtb16_odd(v));
#else
        t[0] = x[0];
        t[1] = x[2];
        t[2] = x[1];
        t[3] = x[3];
#endif
    }
    for (int32_t i = 0; i < ci % 4; i++)
        t[i] = x[i];
}

/* n pixels of `ci` channels outside of the input, `t_step` apart. */
GENN_INLINE void genn_conv_outside_dsp_s8(int16_t *t, int32_t n, int32_t ci, int32_t t_step, int32_t zero_point)
{
    for (; n > 0; n--, t += t_step)
        for (int32_t i = 0; i < ci; i++) {
            t[i] = (int16_t)zero_point;
            GENN_NO_LIBCALL;
        }
}

/* n pixels of `ci` channels, `x_step` and `t_step` apart. */
GENN_INLINE void genn_conv_widen_dsp_s8(const int8_t *GENN_RESTRICT x, int32_t n, int32_t x_step, int32_t ci,
                                        int16_t *GENN_RESTRICT t, int32_t t_step)
{
#if defined(GENN_DSP)
    for (; x_step == 1 && n >= 4; n -= 4, x += 4, t += 4 * t_step) {
        const uint32_t v = genn_load_word(x), even = genn_sxtb16(v), odd = genn_sxtb16_odd(v);
        t[0] = (int16_t)even;
        t[t_step] = (int16_t)odd;
        t[2 * t_step] = (int16_t)(even >> 16);
        t[3 * t_step] = (int16_t)(odd >> 16);
    }
#endif
    for (; n > 0; n--, x += x_step, t += t_step)
        genn_conv_channels_dsp_s8(x, ci, t);
}

/* `columns` columns from ix on, of channels from c on, a kernel row at a time; rows[ky] is the input row under kernel row
 * ky, null outside of the input. */
GENN_INLINE void genn_conv_columns_dsp_s8(const struct genn_conv_dsp_s8 *p, const int8_t *const *rows, int32_t ix, int32_t c,
                                          int32_t columns, int16_t *t)
{
    const int32_t ci = p->in_c / p->groups, step = p->k_h * ci;
    const int32_t left = p->padded ? genn_columns_outside(-ix, columns) : 0;
    const int32_t right = p->padded ? genn_columns_outside(ix + columns - p->in_w, columns) : 0;

    for (int32_t ky = 0; ky < p->k_h; ky++, t += ci) {
        if (p->padded && rows[ky] == 0) {
            genn_conv_outside_dsp_s8(t, columns, ci, step, p->zero_point);
            continue;
        }
        if (p->padded && left + right > 0) {
            genn_conv_outside_dsp_s8(t, left, ci, step, p->zero_point);
            genn_conv_outside_dsp_s8(t + (columns - right) * step, right, ci, step, p->zero_point);
            genn_conv_widen_dsp_s8(rows[ky] + (ix + left) * p->in_c + c, columns - left - right, p->in_c, ci,
                                   t + left * step, step);
        } else {
            genn_conv_widen_dsp_s8(rows[ky] + ix * p->in_c + c, columns, p->in_c, ci, t, step);
        }
    }
}

/* ---- pool ------------------------------------------------------------------------------------------------------- */

/* Pools a row of pixels into y, which already holds the rows before it in the window unless it is the first. */
GENN_INLINE void genn_conv_pool_row_dsp_s8(const struct genn_conv_dsp_s8 *p, const int8_t *line, int first, int8_t *y)
{
    for (int32_t ox = 0; ox < p->out_w; ox++, y += p->out_c, line += p->pool_w * p->out_c) {
        int32_t o = 0;
#if defined(GENN_DSP)
        for (; o + 4 <= p->out_c; o += 4) {
            uint32_t best = genn_load_word(line + o);
            for (int32_t i = 1; i < p->pool_w; i++)
                best = genn_max4(best, genn_load_word(line + i * p->out_c + o));
            genn_store_word(y + o, first ? best : genn_max4(best, genn_load_word(y + o)));
        }
#endif
        for (; o < p->out_c; o++) {
            int8_t best = first ? line[o] : y[o];
            for (int32_t i = 0; i < p->pool_w; i++)
                best = line[i * p->out_c + o] > best ? line[i * p->out_c + o] : best;
            y[o] = best;
        }
    }
}

#endif
