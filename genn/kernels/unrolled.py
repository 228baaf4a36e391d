"""Sparse linear layers as code, where time counts most and flash has room (ckernels/genn_linear_unrolled.h)."""

from __future__ import annotations

import numpy as np

from genn.ir import NP_DTYPE, Graph, Node
from genn.kernels.base import Goal, Kernel, goal_of, register
from genn.ops.base import Call, Lowered, registry, suffix

PLACES = {"armv7em": {"int8": 4096, "int16": 2048}, "armv6m": {"int8": 256}}  # inputs that an instruction reaches
ROW_BYTES, TAP_BYTES = 40, {"int8": 10, "int16": 12}  # of code
MOST = 60_000  # taps of a layer, for the compiler's sake
ROOM = 0.75  # of the flash, which all weights and this code may fill


def row_code(row: np.ndarray, sfx: str, reach: int) -> list[str]:
    """The taps of one row of weights (K,), four a line."""
    out, base = [], 0
    taps: list[str] = []

    def flush() -> None:
        while taps:
            n = 4 if len(taps) >= 4 else 1
            out.append(f"    GENN_{'FOUR' if n == 4 else 'ONE'}_{sfx}({', '.join(taps[:n])})")
            del taps[:n]

    for k in np.flatnonzero(row).tolist():
        if k >= base + reach:
            flush()
            step = (k - base) // reach * reach
            out.append(f"    GENN_ON({step})")
            base += step
        taps.append(f"{'sub' if row[k] < 0 else 'add'}, {k - base}, {abs(int(row[k]))}")
    flush()
    return out


def possible(node: Node, graph: Graph, goal: Goal) -> bool:
    """True for a linear layer whose zeros are left out, and not too many weights."""
    gaps = node.op == "linear" and node.quant.get("sparse") and not node.quant.get("nm")
    return bool(gaps and graph.scheme in TAP_BYTES and 0 < np.count_nonzero(node.quant["w"]) <= MOST)


def spend(graph: Graph) -> None:
    """Choose the layers of a quantized graph that become code: in running order, as many as flash has room for."""
    goal = goal_of(graph)
    known = graph.scheme in PLACES.get(goal.isa, {}) and goal.only is None and goal.optimize == "time"
    weighty = [n for n in graph.nodes if "w" in n.quant]
    left = goal.flash * ROOM - sum(_stored(n, graph) for n in weighty)
    for node in weighty:
        if goal.only == LinearUnrolled.name or (known and possible(node, graph, goal)):
            w = node.quant["w"]
            more = ROW_BYTES * len(w) + TAP_BYTES[graph.scheme] * np.count_nonzero(w) - _stored(node, graph)
            node.quant["unrolled"] = goal.only is not None or more <= left
            left -= more if node.quant["unrolled"] else 0


def _stored(node: Node, graph: Graph) -> float:
    """About the bytes of a layer's weights, as they are stored so far."""
    item = NP_DTYPE[graph.scheme].itemsize
    w = node.quant["w"]
    return float(np.count_nonzero(w) * (item + 1.2) if node.quant.get("sparse") else w.size * item)


@register
class LinearUnrolled(Kernel):
    """A function for each row."""

    name, op, schemes, isas = "linear-unrolled", "linear", ("int8", "int16"), ("armv7em", "armv6m")

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return bool(node.quant.get("unrolled")) and possible(node, graph, goal)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable, w, sfx = registry["linear"].lower(node, graph), node.quant["w"], suffix(graph)
        kind = sfx.upper()
        reach = PLACES.get(goal.isa, {}).get(graph.scheme, 256)
        code = []
        for o, row in enumerate(w):
            code += [f"GENN_ROW_{kind}($_row{o})", "{", *row_code(row, kind, reach), "    GENN_ROW_END", "}", ""]
        names = ", ".join(f"$_row{o}" for o in range(len(w)))
        code.append(f"static const genn_row_{sfx} $_rows[{len(w)}] = {{{names}}};")
        consts = {k: v for k, v in portable.consts.items() if k != "count"}
        call = portable.calls[0]
        args = ("in0", "code.rows", *(f"c.{k}" for k in consts), "out0")
        call = Call(f"genn_linear_unrolled_{sfx}", call.struct, call.params, args)
        return Lowered("genn_linear_unrolled.h", [call], consts=consts, code="\n".join(code))


