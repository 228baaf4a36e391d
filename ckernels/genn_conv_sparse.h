/* Convolution with stored-sparse weights (genn_sparse.h): rows of entries over the taps of one group.
 *
 * The taps of a tile of pixels are gathered side by side (int8: four pixels, else two), so that each entry loaded serves all
 * of them.  A tile is neighbours of an output row or, with a fused maximum pool, pixels of one window, whose tiles are
 * gathered together; past the end the last pixel is taken again.
 *
 * genn_conv_sparse_any.h has the one text for all schemes: GENN_SFX names the scheme, GENN_TYPE and GENN_SUM are the types of
 * inputs and sums, GENN_OUTSIDE is what taps outside the input hold, GENN_FINISH makes the output of a sum of channel o.
 */
#ifndef GENN_CONV_SPARSE_H
#define GENN_CONV_SPARSE_H

#include "genn_conv.h"
#include "genn_sparse.h"

#define GENN_SPARSE_PASTE(base, sfx) base##sfx
#define GENN_SPARSE_NAMED(base, sfx) GENN_SPARSE_PASTE(base, sfx)
#define GENN_SPARSE_NAME(base) GENN_SPARSE_NAMED(base, GENN_SFX)

/* Where the windows of a tile's pixels begin in the input. */
struct genn_sparse_pixels {
    int32_t iy[4], ix[4];
};

#define GENN_SFX f32
#define GENN_TYPE float
#define GENN_SUM float
#define GENN_PIXELS 2
#define GENN_OUTSIDE 0
#define GENN_FINISH(sum) genn_clamp_f32(sum, p->clamp, p->lo, p->hi)
#include "genn_conv_sparse_any.h"

#define GENN_SFX s16
#define GENN_TYPE int16_t
#define GENN_SUM int32_t
#define GENN_PIXELS 2
#define GENN_OUTSIDE 0
#define GENN_FINISH(sum) genn_clamp_s32((sum) >> p->shift, p->lo, p->hi)
#include "genn_conv_sparse_any.h"

#define GENN_SFX s8
#define GENN_TYPE int8_t
#define GENN_SUM int32_t
#define GENN_PIXELS 4
#define GENN_OUTSIDE p->zero_point
#define GENN_FINISH(sum) genn_requantize(sum, mult[o], p->shift, p->offset, p->lo, p->hi)
#define GENN_MULT const int16_t *mult,
#define GENN_MULT_NAME mult,
#include "genn_conv_sparse_any.h"

#endif
