"""The C of streamed regions: a row function for each layer, and the loops in which the last layer pulls.

A streamed layer's function makes one row: ``NAME_lNN_OP(arena, from, to, rows, top)`` reads ``rows`` rows that lie one
behind another at arena offset ``from``, takes ``top`` rows of padding above them, and writes its row at offset ``to``.
``NAME_sNN(arena)``, NN the last layer's number, runs the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genn.ir import Graph
from genn.streaming import Region, row_bytes

HEADER = "genn_stream.h"
ROW_ARGUMENTS = "unsigned char *arena, int32_t from, int32_t to, int32_t rows, int32_t top"
# How the kernels' parameter structs call the input's height and the padding above it.
HEIGHT, TOP = ("in_h", "h"), ("pad_h", "top")


@dataclass(frozen=True)
class Placed:
    """A region in the generated C: its layers' indices and symbols, and where its memory starts in the arena."""

    region: Region
    first: int
    symbols: tuple[str, ...]
    symbol: str
    offset: int

    @property
    def workspace(self) -> int:
        """Arena offset of the kernels' workspace."""
        return self.offset

    @property
    def last(self) -> int:
        return self.first + len(self.symbols) - 1


def arguments(streamed: bool) -> str:
    """The parameters of a layer's function."""
    return ROW_ARGUMENTS if streamed else "unsigned char *arena"


def row_parameters(region: Region, k: int, fields: Sequence[str]) -> list[str]:
    """Statements that fit a copy ``p`` of layer k's parameters to one row's window; none where no row is padded."""
    if not region.windows[k].padded:
        return ["    (void)rows;", "    (void)top;"]
    height = next(f for f in HEIGHT if f in fields)
    above = next(f for f in TOP if f in fields)
    return [f"    p0.{height} = rows;", f"    p0.{above} = top;"]


def source(placed: Placed, graph: Graph, offsets: dict[str, int]) -> str:
    """The functions that run a region, the first layers' first."""
    r, n = placed.region, len(placed.symbols)
    rows = [row_bytes(graph[node.outputs[0]]) for node in r.nodes]
    lines = [placed.offset + at for at in r.offsets[:-1]]
    start, end = offsets[r.nodes[0].inputs[0]], offsets[r.nodes[-1].outputs[0]]
    row_in = row_bytes(graph[r.nodes[0].inputs[0]])
    out = []
    for k in range(n - 1):
        out += [
            f"/* Rows of layer {placed.first + k} up to `end`, into a line buffer of {r.windows[k + 1].kept}. */",
            f"static void {placed.symbol}_rows{k}(unsigned char *arena, struct genn_line *line, int32_t end)",
            "{",
            f"    for (; line[{k}].made < end; line[{k}].made++) {{",
            *_row(placed, k, f"line[{k}].made", lines, rows, start, row_in),
            f"            {lines[k]} + (line[{k}].made - line[{k}].first) * {rows[k]}, in.end - in.first, in.top);",
            "    }",
            "}",
            "",
        ]
    total = sum(r.lines)
    out += [
        f"/* Layers {placed.first} to {placed.last}, row by row, with {total} bytes of line buffers. */",
        f"GENN_LAYER void {placed.symbol}(unsigned char *arena)",
        "{",
        f"    struct genn_line line[{n - 1}];",
        "",
        *(f"    line[{k}].first = line[{k}].made = 0;" for k in range(n - 1)),
        f"    for (int32_t row = 0; row < {r.windows[-1].rows_out}; row++) {{",
        *_row(placed, n - 1, "row", lines, rows, start, row_in),
        f"            {end} + row * {rows[-1]}, in.end - in.first, in.top);",
        "    }",
        "}",
    ]
    return "\n".join(out)


def _row(
    placed: Placed, k: int, row: str, lines: list[int], rows: list[int], start: int, row_in: int
) -> list[str]:
    """Make sure of the input of one row of layer k, and call it as far as its input."""
    w = placed.region.windows[k]
    out = [
        f"        const struct genn_rows in = genn_rows_under({row}, {w.stride}, {w.pad}, {w.reach}, {w.rows_in});",
        "",
    ]
    if k == 0:
        return [*out, f"        {placed.symbols[0]}(arena, {start} + in.first * {row_in},"]
    return [
        *out,
        f"        genn_line_advance(arena + {lines[k - 1]}, &line[{k - 1}], in.first, {rows[k - 1]});",
        f"        {placed.symbol}_rows{k - 1}(arena, line, in.end);",
        f"        {placed.symbols[k]}(arena, {lines[k - 1]},",
    ]


