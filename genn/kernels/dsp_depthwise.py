"""Depthwise convolution for cores with the DSP instructions (genn_depthwise_dsp.h, genn_depthwise_any_dsp.h)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import CTYPE, Array, Lowered, in_tensor, out_tensor, registry, suffix

TAPS = 64  # GENN_DEPTHWISE_TABLE_DSP
UNROLLED = 16  # taps that the compiler unrolls
REACH = 4095  # of a store's immediate offset
COLUMNS = 256  # of a row at most: 32 bytes of workspace each
NINE = (0, 1, 3, 4, 2, 6, 5, 7, 8)  # taps (3 ky + kx) of a 3 x 3 kernel in the order of their bytes


def depthwise(node: Node, graph: Graph) -> bool:
    """True for a dense layer with one filter a channel, one accumulator an output, and no pool."""
    x, y, w = in_tensor(node, graph).shape, out_tensor(node, graph).shape, in_tensor(node, graph, 1).shape
    one = node.attrs.groups == x[3] == y[3] and w[3] == 1 and node.attrs.pool == (1, 1)
    return one and not node.quant["sparse"] and not node.quant.get("split")


def fields(node: Node, graph: Graph, *without: str) -> dict[str, Any]:
    """The portable kernel's parameters without those of no use here."""
    params = registry["conv2d"].lower(node, graph).calls[0].params
    drop = ("out_c", "groups", "pool_h", "pool_w", "padded", *without)
    return {k: v for k, v in params.items() if k not in drop}


@register
class DepthwiseDspS8(Kernel):
    """Dense int8 depthwise 3 x 3 convolution without dilation, by columns."""

    name, op, schemes, isas = "conv2d-depthwise-dsp-s8", "conv2d", ("int8",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        a, y = node.attrs, out_tensor(node, graph).shape
        return (
            goal.optimize != "flash"
            and depthwise(node, graph)
            and in_tensor(node, graph, 1).shape[1:3] == (3, 3)
            and a.dilation == (1, 1)
            and max(a.pad[:2]) <= 1
            and a.stride[1] <= 3
            and a.pad[2] <= (y[2] - 1) * a.stride[1] + 3 <= COLUMNS
            and y[3] <= REACH
            and 0 < node.quant["requant"].shift < 32
        )

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        p = fields(node, graph, "k_h", "k_w", "dil_h", "dil_w")
        p["two"] = int(p["stride_h"] == p["stride_w"] == 1 and p["out_h"] > 1 and (p["out_w"] + 1) * p["in_c"] <= REACH)
        call = replace(
            portable.calls[0],
            function="genn_depthwise_dsp_s8",
            struct="genn_depthwise_dsp_s8",
            params=p,
            args=("in0", "w", "c.bias", "c.mult", "ws", "out0"),
        )
        workspace = 8 * min(4, p["in_c"]) * ((p["out_w"] - 1) * p["stride_w"] + 3)
        packed = Array("int8_t", node.quant["w"][:, NINE].ravel())
        return Lowered("genn_depthwise_dsp.h", [call], packed, portable.consts, workspace)


class DepthwiseAny(Kernel):
    """Dense depthwise convolution of any shape."""

    op, isas = "conv2d", ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return depthwise(node, graph) and node.quant["w"].shape[1] <= TAPS

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        w = node.quant["w"]
        fours, taps = len(w) // 4 * 4, w.shape[1]
        form = "unrolled" if graph.scheme == "int16" and goal.optimize == "time" and taps <= UNROLLED else "any"
        call = replace(
            portable.calls[0],
            function=f"genn_depthwise_{form}_{suffix(graph)}",
            struct=f"genn_depthwise_any_{suffix(graph)}",
            params=fields(node, graph, "split", "pre"),
        )
        stored = np.concatenate([self.pack(w[:fours].reshape(-1, 4, taps)).ravel(), w[fours:].ravel()])
        packed = Array(CTYPE[graph.scheme], stored)
        return Lowered("genn_depthwise_any_dsp.h", [call], packed, portable.consts)

    def pack(self, four: np.ndarray) -> np.ndarray:
        """The weights (n, 4, taps) of four channels each as the kernel has them."""
        raise NotImplementedError(self.name)


@register
class DepthwiseAnyS8(DepthwiseAny):
    name, schemes = "conv2d-depthwise-any-dsp-s8", ("int8",)

    def pack(self, four: np.ndarray) -> np.ndarray:
        """Two taps at a time, as genn_depthwise_at_s8 says; a last one by itself."""
        n, _, taps = four.shape
        even = taps // 2 * 2
        two = four[..., :even].reshape(n, 2, 2, even // 2, 2)  # channel 2 high + low, tap 2 i + j
        pairs, last = two.transpose(0, 3, 2, 4, 1), four[..., even:]
        return np.concatenate([pairs.reshape(n, 4 * even), last.reshape(n, 4 * (taps - even))], axis=1)


@register
class DepthwiseAnyS16(DepthwiseAny):
    name, schemes = "conv2d-depthwise-any-dsp-s16", ("int16",)

    def pack(self, four: np.ndarray) -> np.ndarray:
        """Tap by tap."""
        return four.transpose(0, 2, 1)
