"""The C of streamed regions: a row function for each layer, and the loops in which the last layer pulls.

A streamed layer's function makes one row: ``NAME_lNN_OP(arena, row, to, from0, .., rows, top)`` reads ``rows`` rows
that lie one behind another at arena offset ``from0`` (of further inputs at ``from1`` ..), takes ``top`` rows of
padding above them, and writes its row, number ``row``, at offset ``to``.  ``NAME_sNN(arena)``, NN the last layer's
number, runs the region.
"""

from __future__ import annotations

from dataclasses import dataclass

from genn.ir import Graph
from genn.ops.base import Call
from genn.ops.rows import Window
from genn.stream_trace import readers
from genn.streaming import Region, row_bytes

HEADER = "genn_stream.h"
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

    def window(self, index: int) -> Window:
        """How the layer with this index reads rows."""
        return self.region.windows[index - self.first]


def arguments(window: Window | None) -> str:
    """The parameters of a layer's function; window: of a layer that streams."""
    if window is None:
        return "unsigned char *arena"
    sources = "".join(f"int32_t from{i}, " for i in range(len(window.inputs)))
    return f"unsigned char *arena, int32_t row, int32_t to, {sources}int32_t rows, int32_t top"


def fitted(window: Window | None, call: Call) -> bool:
    """True if a layer's parameters depend on the row: some window reaches into padding, and no table says how far."""
    return window is not None and window.padded and any(f in call.params for f in TOP)


def row_parameters(window: Window, call: Call) -> list[str]:
    """Statements that fit a copy ``p0`` of a layer's parameters to one row's window."""
    unused = [] if any("@" in a for a in call.args) else ["    (void)row;"]
    if not fitted(window, call):
        return [*unused, "    (void)rows;", "    (void)top;"]
    height = next(f for f in HEIGHT if f in call.params)
    above = next(f for f in TOP if f in call.params)
    return [*unused, f"    p0.{height} = rows;", f"    p0.{above} = top;"]


def source(placed: Placed, graph: Graph, offsets: dict[str, int]) -> str:
    """The functions that run a region, the first layers' first."""
    r, last = placed.region, len(placed.symbols) - 1
    out = []
    for k in range(last):
        out += [
            f"/* Rows of layer {placed.first + k} up to `end`, into a line buffer of {r.rows[k]}. */",
            f"static void {placed.symbol}_rows{k}(unsigned char *arena, struct genn_line *line, int32_t end)",
            "{",
            f"    for (; line[{k}].made < end; line[{k}].made++) {{",
            *_row(placed, k, graph, offsets),
            "    }",
            "}",
            "",
        ]
    out += [
        f"/* Layers {placed.first} to {placed.last}, row by row, with {sum(r.lines)} bytes of line buffers. */",
        f"GENN_LAYER void {placed.symbol}(unsigned char *arena)",
        "{",
        f"    struct genn_line line[{last + 1}];",
        "",
        *(f"    line[{k}].first = line[{k}].made = 0;" for k in range(last + 1)),
        f"    for (; line[{last}].made < {r.windows[-1].rows_out}; line[{last}].made++) {{",
        *_row(placed, last, graph, offsets),
        "    }",
        "}",
    ]
    return "\n".join(out)


def _row(placed: Placed, k: int, graph: Graph, offsets: dict[str, int]) -> list[str]:
    """One row of layer k: the rows it needs, room for it in its line buffer, and the call."""
    r, pad = placed.region, " " * 12
    node, w, maker = r.nodes[k], r.windows[k], {n.outputs[0]: i for i, n in enumerate(r.nodes)}
    under = f"genn_rows_under(line[{k}].made, {w.stride}, {w.pad}, {w.reach}, {w.rows_in})"
    out = [f"        const struct genn_rows in = {under};", ""]
    out += [f"        {placed.symbol}_rows{p}(arena, line, in.end);" for p in r.sources[k]]
    to = f"line[{k}].made * {row_bytes(graph[node.outputs[0]])}"
    if k < len(r.nodes) - 1:
        at, size = placed.offset + r.offsets[k], row_bytes(graph[node.outputs[0]])
        out.append(f"        genn_line_advance(arena + {at}, &line[{k}], {_needed(r, k)}, {size});")
        to = f"{at} + (line[{k}].made - line[{k}].first) * {size}"
    else:
        to = f"{offsets[node.outputs[0]]} + {to}"
    args = [to]
    for name in (node.inputs[i] for i in w.inputs):
        size = row_bytes(graph[name])
        if name in maker:
            p = maker[name]
            args.append(f"{placed.offset + r.offsets[p]} + (in.first - line[{p}].first) * {size}")
        else:
            args.append(f"{offsets[name]} + in.first * {size}")
    args = [f"arena, line[{k}].made, {args[0]}", *args[1:], "in.end - in.first, in.top"]
    return [*out, f"        {placed.symbols[k]}(" + f",\n{pad}".join(args) + ");"]


def _needed(r: Region, k: int) -> str:
    """The lowest row behind layer k that one of its readers still needs."""
    rows = []
    for reader in readers(r.sources)[k]:
        w = r.windows[reader]
        rows.append(f"genn_rows_first(line[{reader}].made, {w.stride}, {w.pad})")
    text = rows[0]
    for other in rows[1:]:
        text = f"genn_min_s32({text}, {other})"
    return text
