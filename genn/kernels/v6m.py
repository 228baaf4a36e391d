"""Kernels for ARMv6-M (Cortex-M0, M0+): several weights in a word, several products of it modulo 2**32.

int8: four weights a word, three products (ckernels/genn_dot_v6m.h); int16: two and two (ckernels/genn_dot_v6m_s16.h).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genn.ir import NP_DTYPE, Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.numerics import MULT_BITS
from genn.ops.base import CTYPE, Array, Call, Lowered, in_tensor, out_tensor, registry, suffix

CONV_ROWS = 24  # GENN_CONV_ROWS_V6M
LIMIT = 1 << 23  # what a sum of int8 products must stay below to be taken out of the packed sums


def plain(node: Node, graph: Graph) -> bool:
    """True for dense weights whose int16 sums are in one piece, whose int8 biases are narrow."""
    q = node.quant
    return not q["sparse"] and (not q["split"] if graph.scheme == "int16" else q.get("narrow") is not None)


def packs(node: Node, graph: Graph) -> bool:
    """True where the packed sums of dense weights are exact.

    int8: no sum of inputs times a row, without its bias, reaches LIMIT, and every weight plus 128 is a byte.
    int16: always, for sums fit 32 bits.
    """
    magnitude = np.abs(node.quant["w"])
    small = int(magnitude.sum(axis=1).max(initial=0)) * 128 < LIMIT and int(magnitude.max(initial=0)) <= 127
    return plain(node, graph) and (small or graph.scheme == "int16")


def constants(node: Node, graph: Graph, params: dict[str, Any]) -> tuple[dict[str, Array], str, dict[str, Any]]:
    """The layer's constants by name, their one name as an argument, and the call's parameters with their fields.

    int8: one word an output, bias / 2**narrow above the multiplier.  int16: the biases.
    """
    q = node.quant
    fields = {k: v for k, v in params.items() if k not in ("groups", "split", "pre")}
    if graph.scheme == "int16":
        return {"bias": Array("int32_t", q["b"])}, "c.bias", {"narrow": 0, "offset": 0, **fields}
    words = ((q["b"] >> q["narrow"]) << MULT_BITS | q["requant"].mult) & 0xFFFFFFFF
    return {"scale": Array("uint32_t", words)}, "c.scale", {"narrow": q["narrow"], **fields}


def pack_rows(w: np.ndarray, scheme: str, optimize: str) -> Array:
    """Weights (O, K) in the order the kernels read.

    Groups of rows are stored [tap][row], what is left row by row.  int8: groups of eight, then four (only four where
    flash counts), each weight plus 128.  int16: of six, then two (only two), every other weight, from the first on,
    plus 32768: the low half of a word.
    """
    widths = {"int8": (8, 4), "int16": (6, 2)}[scheme][optimize == "flash" :]
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
        portable = registry["linear"].lower(node, graph)
        consts, name, params = constants(node, graph, dict(portable.calls[0].params))
        call = Call(f"genn_linear_v6m_{suffix(graph)}", "genn_linear_v6m", params, ("in0", "w", name, "out0"))
        return Lowered("genn_linear_v6m.h", [call], pack_rows(node.quant["w"], graph.scheme, goal.optimize), consts)


@register
class ConvV6M(Kernel):
    """Dense convolution of one group, pointwise included, with its maximum pool."""

    name, op, schemes = "conv2d-v6m", "conv2d", ("int8", "int16")
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return node.attrs.groups == 1 and few_rows(node, graph) and packs(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        call, consts = conv_call(node, graph, "genn_conv_v6m")
        p = call.params
        taps = p["k_h"] * p["k_w"] * p["in_c"] * NP_DTYPE[graph.scheme].itemsize
        sums = (2 if p["pool_h"] * p["pool_w"] > 1 else 1) * p["out_c"]
        workspace = 4 * sums + (taps if p["padded"] or p["gather"] else 0)
        packed = pack_rows(node.quant["w"], graph.scheme, goal.optimize)
        return Lowered("genn_conv_v6m.h", [call], packed, consts, workspace)


@register
class DepthwiseV6M(Kernel):
    """Depthwise convolution with one output a channel, with its maximum pool."""

    name, op, schemes = "depthwise-v6m", "conv2d", ("int8", "int16")
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        each = node.attrs.groups == in_tensor(node, graph).shape[3] == out_tensor(node, graph).shape[3]
        return each and plain(node, graph) and few_rows(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        call, consts = conv_call(node, graph, "genn_depthwise_v6m")
        p = call.params
        words = (2 if p["pool_h"] * p["pool_w"] > 1 else 1) * (p["in_c"] + 1) + p["k_h"] * p["k_w"]
        padding = p["in_c"] * NP_DTYPE[graph.scheme].itemsize if p["padded"] else 0
        weights = Array(CTYPE[graph.scheme], node.quant["w"].T.ravel())  # [tap][channel]
        return Lowered("genn_depthwise_v6m.h", [call], weights, consts, 4 * words + padding)


def few_rows(node: Node, graph: Graph) -> bool:
    """True where the input rows under one output row have room in the kernels' array of pointers."""
    a, k_h = node.attrs, in_tensor(node, graph, 1).shape[1]
    return bool((a.pool[0] - 1) * a.stride[0] + (k_h - 1) * a.dilation[0] + 1 <= CONV_ROWS)


def conv_call(node: Node, graph: Graph, function: str) -> tuple[Call, dict[str, Array]]:
    """The call of ``function``, with a ``struct genn_conv_v6m``, and its constants.

    gather: taps cannot, or had better not, be read in place: each row of them costs about 24 cycles for each group of
    outputs, while gathering costs about five a tap, once.
    """
    consts, name, p = constants(node, graph, {"zero_point": 0, **registry["conv2d"].lower(node, graph).calls[0].params})
    run, groups = p["k_w"] * p["in_c"], -(-p["out_c"] // 8)
    scattered = p["dil_w"] > 1 or (p["dil_h"] > 1 and p["k_h"] > 1)
    p["gather"] = int(scattered or (p["k_h"] > 1 and 5 * run < 24 * groups))
    return Call(f"{function}_{suffix(graph)}", "genn_conv_v6m", p, ("in0", "w", name, "ws", "out0")), consts
