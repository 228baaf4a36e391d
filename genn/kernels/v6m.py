"""int8 kernels for ARMv6-M (Cortex-M0, M0+): four weights a word, three multiplications (ckernels/genn_dot_v6m.h)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import Array, Call, Lowered, in_tensor, out_tensor, registry

CONV_ROWS = 24  # GENN_CONV_ROWS_V6M
LIMIT = 1 << 23  # what a sum without its bias must stay below to be taken out of the packed sums


def sums_fit(w: np.ndarray) -> bool:
    """True where no sum of int8 inputs times a row of ``w`` (O, K) can reach LIMIT; an int8 digit holds each weight."""
    reach = int(np.abs(w).sum(axis=1).max(initial=0)) * 128
    return reach < LIMIT and int(np.abs(w).max(initial=0)) <= 127


def pack_rows(w: np.ndarray, optimize: str) -> np.ndarray:
    """Weights (O, K) as int8 in the order genn_dot_v6m.h reads.

    Groups of eight rows (not where flash counts), then of four, are stored [tap][row] with 128 added; what is left row
    by row as it is.
    """
    parts, o = [], 0
    for width in (4,) if optimize == "flash" else (8, 4):
        while len(w) - o >= width:
            parts.append((w[o : o + width].T.ravel() + 128).astype(np.uint8))
            o += width
    parts.append(w[o:].ravel().astype(np.int8).view(np.uint8))
    return np.concatenate(parts).view(np.int8)


@register
class LinearV6M(Kernel):
    """Dense int8 linear."""

    name, op, schemes = "linear-v6m-s8", "linear", ("int8",)
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return not node.quant["sparse"] and sums_fit(node.quant["w"])

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["linear"].lower(node, graph)
        call = replace(portable.calls[0], function="genn_linear_v6m_s8", struct="genn_linear_v6m_s8")
        packed = Array("int8_t", pack_rows(node.quant["w"], goal.optimize))
        return Lowered("genn_linear_v6m.h", [call], packed, portable.consts)


@register
class ConvV6M(Kernel):
    """Dense int8 convolution of one group, pointwise included, with its maximum pool."""

    name, op, schemes = "conv2d-v6m-s8", "conv2d", ("int8",)
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return plain_conv(node, graph) and sums_fit(node.quant["w"])

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        call = conv_call(portable.calls[0], "genn_conv_v6m_s8")
        workspace = 4 * call.params["out_c"] + (taps_bytes(call) if gathers(call) else 0)
        packed = Array("int8_t", pack_rows(node.quant["w"], goal.optimize))
        return Lowered("genn_conv_v6m.h", [call], packed, portable.consts, workspace)


@register
class DepthwiseV6M(Kernel):
    """int8 depthwise convolution with one output a channel, with its maximum pool."""

    name, op, schemes = "depthwise-v6m-s8", "conv2d", ("int8",)
    isas = ("armv6m",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return plain_depthwise(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        call = conv_call(portable.calls[0], "genn_depthwise_v6m_s8", "genn_conv_v6m_s8")
        return Lowered("genn_depthwise_v6m.h", [call], portable.weights, portable.consts, depthwise_workspace(call))


def rows_reached(attrs: Any, k_h: int) -> int:
    """Input rows under one output row."""
    return (attrs.pool[0] - 1) * attrs.stride[0] + (k_h - 1) * attrs.dilation[0] + 1


def plain_conv(node: Node, graph: Graph) -> bool:
    """True for a dense convolution of one group whose output rows reach few enough input rows."""
    k_h = in_tensor(node, graph, 1).shape[1]
    one = node.attrs.groups == 1 and not node.quant["sparse"]
    return one and rows_reached(node.attrs, k_h) <= CONV_ROWS


def plain_depthwise(node: Node, graph: Graph) -> bool:
    """True where every channel is convolved with one filter of its own and output rows reach few enough input rows."""
    c, k_h = in_tensor(node, graph).shape[3], in_tensor(node, graph, 1).shape[1]
    each = node.attrs.groups == c == out_tensor(node, graph).shape[3] and not node.quant["sparse"]
    return each and not node.quant.get("split") and rows_reached(node.attrs, k_h) <= CONV_ROWS


def depthwise_workspace(call: Call, item: int = 1) -> int:
    """Sums, with a pool twice; a word for each tap; a vector of padding."""
    p = call.params
    sums = (2 if p["pool_h"] * p["pool_w"] > 1 else 1) * (p["in_c"] + 1)
    return int(4 * sums + 4 * p["k_h"] * p["k_w"] + (item * p["in_c"] if p["padded"] else 0))


def conv_call(portable: Call, function: str, struct: str | None = None) -> Call:
    """The call of ``genn_conv_v6m_*`` from the portable kernel's: ``gather`` says that taps cannot, or had better not,
    be read in place: a row of them costs about 24 cycles a group of eight outputs, to gather one tap about five."""
    p = dict(portable.params)
    del p["groups"]
    run, groups = p["k_w"] * p["in_c"], -(-p["out_c"] // 8)
    scattered = p["dil_w"] > 1 or (p["dil_h"] > 1 and p["k_h"] > 1)
    p["gather"] = int(scattered or (p["k_h"] > 1 and 5 * run < 24 * groups))
    args = (*portable.args[:-1], "ws", "out0")
    return replace(portable, function=function, struct=struct or function, params=p, args=args)


def gathers(call: Call) -> bool:
    """True where some pixel's taps are copied into the workspace."""
    return bool(call.params["padded"] or call.params["gather"])


def taps_bytes(call: Call, item: int = 1) -> int:
    """Bytes of one pixel's taps."""
    return int(call.params["k_h"] * call.params["k_w"] * call.params["in_c"] * item)
