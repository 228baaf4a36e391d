"""Kernels for ARMv6-M (Cortex-M0, M0+): several weights in a word, several products of it modulo 2**32.

int8: four weights a word, three products (ckernels/genn_dot_v6m.h); int16: two and two (ckernels/genn_dot_v6m_s16.h).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genn.ir import NP_DTYPE, Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.numerics import MULT_BITS
from genn.ops.base import CTYPE, Array, Call, Lowered, in_tensor, out_tensor, registry, suffix

CONV_ROWS = 24  # GENN_CONV_ROWS_V6M
LIMIT = 1 << 23  # what a sum of int8 products must stay below to be taken out of the packed sums
LIMIT3 = 1 << 20  # the same where the inputs of three pixels are packed too
LEAST_PIECE = 64  # columns of a row that is cut into pieces: shorter ones cost more than they save
LEAST_OUTPUTS = {"int8": 2, "int16": 6}  # of a group of a convolution, to be faster than the portable kernel
THREES = 0.7  # the share of pixels made three at a time from which that is faster than eight outputs of one


def plain(node: Node) -> bool:
    """True for dense weights whose sums are in one piece."""
    return not node.quant["sparse"] and not node.quant.get("split")


def packs(node: Node, graph: Graph, limit: int = LIMIT) -> bool:
    """True where the packed sums of dense weights are exact.

    int8: no sum of inputs times a row, without its bias, reaches ``limit``, and every weight plus 128 is a byte.
    int16: always, for sums fit 32 bits.
    """
    magnitude = np.abs(node.quant["w"])
    small = int(magnitude.sum(axis=1).max(initial=0)) * 128 < limit and int(magnitude.max(initial=0)) <= 127
    return plain(node) and (small or graph.scheme == "int16")


def finished(node: Node, graph: Graph, goal: Goal, function: str, struct: str, workspace: bool) -> Lowered:
    """The node lowered to ``function`` of its kind (genn_finish_v6m.h says what those are), still without weights.

    The parameters are the portable call's, less what ``struct`` has no use for.  int8 constants are wide where time
    counts most or the biases are not narrow: three cycles an output less for four bytes more.
    """
    q = node.quant
    p = dict(registry[node.op].lower(node, graph).calls[0].params)
    fields = {"narrow": 0, "offset": 0, **{k: v for k, v in p.items() if k not in ("groups", "split", "pre")}}
    kind = suffix(graph)
    if graph.scheme == "int16":
        words = q["b"]
    elif goal.optimize == "time" or q.get("narrow") is None:
        kind, words = "s8_wide", np.stack([q["requant"].mult, q["b"]], axis=1).ravel()
    else:
        fields["narrow"] = q["narrow"]
        words = (q["b"] >> q["narrow"]) << MULT_BITS | q["requant"].mult
    args = ("in0", "w", "c.finish", *(("ws",) if workspace else ()), "out0")
    call = Call(f"{function}_{kind}", struct, fields, args)
    return Lowered(f"{function}.h", [call], consts={"finish": Array("uint32_t", words & 0xFFFFFFFF)})


def pack_rows(w: np.ndarray, scheme: str, smallest: bool) -> Array:
    """Weights (O, K) in the order the kernels read.

    Groups of rows are stored [tap][row], what is left row by row.  int8: groups of eight, then four, each weight plus
    128.  int16: of six, then two, every other weight, from the first on, plus 32768: the low half of a word.
    smallest: only groups of four or two, as where flash counts.
    """
    widths = {"int8": (8, 4), "int16": (6, 2)}[scheme][smallest:]
    dtype = NP_DTYPE[scheme]
    unsigned = np.dtype(f"u{dtype.itemsize}")
    parts, o = [], 0
    for width in widths:
        while len(w) - o >= width:
            group = w[o : o + width].T.copy()
            if scheme == "int8":
                group += 128
            else:
                group[:, 0::2] += 32768
            parts.append(group.ravel().astype(unsigned).view(dtype))
            o += width
    parts.append(w[o:].ravel().astype(dtype))
    return Array(CTYPE[scheme], np.concatenate(parts))


@register
class LinearV6M(Kernel):
    """Dense linear."""

    name, op, schemes = "linear-v6m", "linear", ("int8", "int16")
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return packs(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        lowered = finished(node, graph, goal, "genn_linear_v6m", "genn_linear_v6m", False)
        lowered.weights = pack_rows(node.quant["w"], graph.scheme, goal.optimize == "flash")
        return lowered


def piece(w: np.ndarray) -> int:
    """The most columns of weights (O, K), all or a multiple of four, whose sums stay below LIMIT; 0: not worth it."""
    k = w.shape[1]
    for pieces in range(1, k // LEAST_PIECE + 1):
        chunk = -(-k // pieces)
        chunk = k if pieces == 1 else -(-chunk // 4) * 4
        if max(int(np.abs(w[:, i : i + chunk]).sum(axis=1).max(initial=0)) for i in range(0, k, chunk)) * 128 < LIMIT:
            return chunk
    return 0


@register
class LinearPiecesV6M(Kernel):
    """Dense int8 linear whose rows must be cut for the packed sums to be exact."""

    name, op, schemes = "linear-pieces-v6m", "linear", ("int8",)
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        w = node.quant["w"]
        return plain(node) and goal.optimize != "flash" and int(np.abs(w).max(initial=0)) <= 127 and piece(w) > 0

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        w = node.quant["w"]
        chunk = piece(w)
        lowered = finished(node, graph, goal, "genn_linear_pieces_v6m", "genn_linear_pieces_v6m", False)
        call = lowered.calls[0]
        lowered.calls = [replace(call, params={**call.params, "chunk": chunk})]
        parts = [pack_rows(w[:, i : i + chunk], graph.scheme, False).values for i in range(0, w.shape[1], chunk)]
        lowered.weights = Array(CTYPE[graph.scheme], np.concatenate(parts))
        return lowered


@register
class Conv3V6M(Kernel):
    """int8 convolution of three pixels at a time, which takes workspace: where time counts most."""

    name, op, schemes = "conv2d-three-v6m", "conv2d", ("int8",)
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        a, forced = node.attrs, goal.only == self.name
        one = a.groups == 1 and a.dilation == (1, 1) and out_tensor(node, graph).shape[3] >= 4
        possible = one and few_rows(node, graph) and packs(node, graph, LIMIT3)
        return possible and (forced or (goal.optimize == "time" and threes(node, graph) >= THREES))

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        lowered, p = convolution(node, graph, goal, "genn_conv3_v6m")
        if one_row(node, graph):
            p |= {"in_h": 1, "in_w": p["in_h"] * p["in_w"], "out_h": 1, "out_w": p["out_h"] * p["out_w"]}
        sums = (6 if p["pool_h"] > 1 else 3) + (p["pool_w"] > 1)
        lowered.workspace = 4 * (sums * p["out_c"] + 2 + 2 * p["k_h"] * p["k_w"] * p["in_c"])
        lowered.weights = pack_rows(node.quant["w"], graph.scheme, True)
        return lowered


def one_row(node: Node, graph: Graph) -> bool:
    """True for a pointwise convolution that can take its image as one row."""
    a, (_, k_h, k_w, _) = node.attrs, in_tensor(node, graph, 1).shape
    return (k_h, k_w, *a.stride, *a.pool) == (1,) * 6 and not any(a.pad)


def threes(node: Node, graph: Graph) -> float:
    """The share of a convolution's pixels, before its pool, that genn_conv3_row_v6m makes three at a time."""
    a, x, y = node.attrs, in_tensor(node, graph).shape, out_tensor(node, graph).shape
    _, k_h, k_w, _ = in_tensor(node, graph, 1).shape
    if one_row(node, graph):
        return y[1] * y[2] // 3 * 3 / (y[1] * y[2])
    columns, c, made = y[2] * a.pool[1], 0, 0
    while c < columns:
        first = c * a.stride[1] - a.pad[2]
        three = c + 3 <= columns and first >= 0 and first + 2 * a.stride[1] + k_w <= x[2]
        made, c = made + 3 * three, c + (3 if three else 1)
    reach = (a.pool[0] - 1) * a.stride[0] + k_h
    tops = [oy * a.pool[0] * a.stride[0] - a.pad[0] for oy in range(y[1])]
    return made / columns * sum(top >= 0 and top + reach <= x[1] for top in tops) / len(tops)


@register
class ConvV6M(Kernel):
    """Dense convolution of one group, pointwise included, with its maximum pool."""

    name, op, schemes = "conv2d-v6m", "conv2d", ("int8", "int16")
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return node.attrs.groups == 1 and few_rows(node, graph) and packs(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        lowered, p = convolution(node, graph, goal, "genn_conv_v6m")
        taps = p["k_h"] * p["k_w"] * p["in_c"] * NP_DTYPE[graph.scheme].itemsize
        sums = (2 if p["pool_h"] * p["pool_w"] > 1 else 1) * p["out_c"]
        lowered.workspace = 4 * sums + (taps if p["padded"] or p["gather"] else 0)
        lowered.weights = pack_rows(node.quant["w"], graph.scheme, goal.optimize == "flash")
        return lowered


@register
class ConvGroupsV6M(Kernel):
    """Dense convolution of several groups with more than a channel each, with its maximum pool."""

    name, op, schemes = "conv2d-groups-v6m", "conv2d", ("int8", "int16")
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        groups, outputs = node.attrs.groups, out_tensor(node, graph).shape[3]
        each = groups == in_tensor(node, graph).shape[3] == outputs
        enough = outputs // groups >= LEAST_OUTPUTS[graph.scheme] or goal.only == self.name
        return groups > 1 and not each and enough and packs(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        lowered = finished(node, graph, goal, "genn_conv_groups_v6m", "genn_conv_groups_v6m", True)
        p = {"zero_point": 0, **lowered.calls[0].params, "groups": node.attrs.groups}
        lowered.calls = [replace(lowered.calls[0], params=p)]
        rows = p["out_c"] // p["groups"]
        sums = (2 if p["pool_h"] * p["pool_w"] > 1 else 1) * rows
        w, item = node.quant["w"], NP_DTYPE[graph.scheme].itemsize
        lowered.workspace = 4 * sums + w.shape[1] * item
        parts = [pack_rows(w[o : o + rows], graph.scheme, goal.optimize == "flash") for o in range(0, len(w), rows)]
        words = [np.pad(part.values, (0, -part.values.size % (4 // item))) for part in parts]
        lowered.weights = Array(parts[0].ctype, np.concatenate(words))
        return lowered


@register
class DepthwiseV6M(Kernel):
    """Depthwise convolution with one output a channel, with its maximum pool."""

    name, op, schemes = "depthwise-v6m", "conv2d", ("int8", "int16")
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        each = node.attrs.groups == in_tensor(node, graph).shape[3] == out_tensor(node, graph).shape[3]
        return each and plain(node) and few_rows(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        lowered, p = convolution(node, graph, goal, "genn_depthwise_v6m")
        words = (2 if p["pool_h"] * p["pool_w"] > 1 else 1) * (p["in_c"] + 1) + p["k_h"] * p["k_w"]
        padding = p["in_c"] * NP_DTYPE[graph.scheme].itemsize if p["padded"] else 0
        lowered.workspace = 4 * words + padding
        lowered.weights = Array(CTYPE[graph.scheme], node.quant["w"].T.ravel())  # [tap][channel]
        return lowered


def few_rows(node: Node, graph: Graph) -> bool:
    """True where the input rows under one output row have room in the kernels' array of pointers."""
    a, k_h = node.attrs, in_tensor(node, graph, 1).shape[1]
    return bool((a.pool[0] - 1) * a.stride[0] + (k_h - 1) * a.dilation[0] + 1 <= CONV_ROWS)


def convolution(node: Node, graph: Graph, goal: Goal, function: str) -> tuple[Lowered, dict[str, Any]]:
    """The node lowered to ``function`` with a ``struct genn_conv_v6m``, still without weights; the struct's fields.

    gather: taps cannot, or had better not, be read in place: each row of them costs about 24 cycles for each group of
    outputs, while gathering costs about five a tap, once (where flash counts far more, for its loop is short).
    """
    lowered = finished(node, graph, goal, function, "genn_conv_v6m", True)
    call = lowered.calls[0]
    p: dict[str, Any] = {"zero_point": 0, **call.params}
    run, groups = p["k_w"] * p["in_c"], -(-p["out_c"] // 8)
    scattered = p["dil_w"] > 1 or (p["dil_h"] > 1 and p["k_h"] > 1)
    short = p["k_h"] > 1 and 5 * run < 24 * groups and goal.optimize != "flash"
    p["gather"] = int(scattered or short)
    lowered.calls = [replace(call, params=p)]
    return lowered, p
