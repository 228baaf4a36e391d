/* Row streaming: what lies between two layers is a line buffer with as many rows as the next row needs.
 *
 * The rows of a window lie one behind another from the buffer's start; rows that are no longer needed leave at its front.
 */
#ifndef GENN_STREAM_H
#define GENN_STREAM_H

#include "genn_common.h"

/* A line buffer holds rows first to made - 1 of what it stands for. */
struct genn_line {
    int32_t first, made;
};

/* The input rows of an output row: first to end - 1, with `top` rows of padding above them. */
struct genn_rows {
    int32_t first, end, top;
};

GENN_INLINE int32_t genn_min_s32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The first input row of an output row. */
GENN_INLINE int32_t genn_rows_first(int32_t row, int32_t stride, int32_t pad)
{
    const int32_t first = row * stride - pad;

    return first < 0 ? 0 : first;
}

GENN_INLINE struct genn_rows genn_rows_under(int32_t row, int32_t stride, int32_t pad, int32_t reach, int32_t rows_in)
{
    const int32_t first = row * stride - pad, end = first + reach;
    struct genn_rows r;

    r.first = first < 0 ? 0 : first;
    r.end = end > rows_in ? rows_in : end;
    r.top = first < 0 ? -first : 0;
    return r;
}

#if defined(__GNUC__)
typedef uint32_t genn_line_word __attribute__((may_alias));
#else
typedef unsigned char genn_line_word;
#endif

/* Make room for a row: drop those before `first`, which nobody needs any more (it may lie beyond the rows made so far).
 * Those behind move to the buffer's start.  Rows of whole words move as words. */
GENN_INLINE void genn_line_advance(unsigned char *buffer, struct genn_line *line, int32_t first, int32_t row_bytes)
{
    const int32_t least = genn_min_s32(first, line->made);
    const int32_t drop = (least - line->first) * row_bytes, keep = (line->made - least) * row_bytes;

    if (drop <= 0)
        return;
    if (row_bytes % 4 == 0) {
        genn_line_word *to = (genn_line_word *)(void *)buffer;
        const genn_line_word *from = (const genn_line_word *)(const void *)(buffer + drop);
        for (int32_t i = 0; i < keep / (int32_t)sizeof *to; i++) {
            to[i] = from[i];
            GENN_NO_LIBCALL;
        }
    } else {
        for (int32_t i = 0; i < keep; i++) {
            buffer[i] = buffer[i + drop];
            GENN_NO_LIBCALL;
        }
    }
    line->first = least;
}

#endif
