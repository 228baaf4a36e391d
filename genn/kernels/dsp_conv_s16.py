"""int16 convolution for cores with the DSP instructions (genn_conv_dsp_s16.h, genn_conv_small_dsp_s16.h)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.kernels.dsp_conv import REACH, ROWS, UNROLL, geometry, one_group, pointwise_row
from genn.ops.base import Array, Lowered, in_tensor, registry


def pack_s16(w: np.ndarray, unit: int) -> np.ndarray:
    """Weights (O, K) of one group, K in the columns' order: blocks of ``unit`` rows, two taps at a time."""
    rows, k = w.shape
    parts, even = [], k // 2 * 2
    for o in range(0, rows, unit):
        block = w[o : o + unit]
        parts += [block[:, :even].reshape(len(block), k // 2, 2).transpose(1, 0, 2).ravel(), block[:, even:].ravel()]
    return np.concatenate(parts)


def accepted(node: Node, graph: Graph) -> bool:
    """True for a dense convolution of more than one output a group, with one accumulator an output."""
    a, (outputs, kh, _, ci) = node.attrs, in_tensor(node, graph, 1).shape
    return (
        not node.quant["sparse"]
        and not node.quant["split"]
        and outputs > a.groups
        and kh <= ROWS
        and a.dilation[1] == 1
        and 4 * a.stride[1] * kh * ci <= REACH
        and 4 * outputs + 4 <= REACH
        and node.quant["w"].shape[1] < 1 << 14
        and 1 <= node.quant["shift"] <= 31
    )


def columns_order(node: Node, graph: Graph) -> np.ndarray:
    """Weights (groups, O / groups, K) in the order of the columns: kw, kh, ci."""
    outputs, kh, kw, ci = in_tensor(node, graph, 1).shape
    groups = node.attrs.groups
    taps: np.ndarray = node.quant["w"].reshape(outputs, kh, kw, ci).transpose(0, 2, 1, 3)
    return taps.reshape(groups, outputs // groups, -1)


@register
class ConvDspS16(Kernel):
    """Dense int16 convolution, with its maximum pool, for speed."""

    name, op, schemes, isas = "conv2d-dsp-s16", "conv2d", ("int16",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return goal.optimize != "flash" and accepted(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        params = {k: v for k, v in portable.calls[0].params.items() if k not in ("split", "pre")}
        params, workspace = geometry(params, 2, False)
        params["unroll"] = max(1, min(node.quant["w"].shape[1] // 2, UNROLL[goal.optimize]))
        params["direct"] = int(params["k_h"] == node.attrs.groups == 1 and not params["padded"])
        if params["direct"]:
            width, pooled = params["out_w"] * params["pool_w"], params["pool_h"] * params["pool_w"] > 1
            params["tile"] = width + width % 2
            workspace = 2 * params["tile"] * params["out_c"] if pooled else 0
        call = replace(
            portable.calls[0],
            function="genn_conv_dsp_s16",
            struct="genn_conv_dsp_s16",
            params=params,
            args=("in0", "w", "c.bias", "ws" if workspace else "0", "out0"),
        )
        packed = Array("int16_t", np.concatenate([pack_s16(group, 4) for group in columns_order(node, graph)]))
        return Lowered("genn_conv_dsp_s16.h", [call], packed, portable.consts, workspace)


@register
class ConvSmallDspS16(Kernel):
    """The same where flash counts, of one group."""

    name, op, schemes, isas = "conv2d-small-dsp-s16", "conv2d", ("int16",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return goal.optimize == "flash" and one_group(node, graph) and accepted(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        p = pointwise_row(dict(portable.calls[0].params))
        p = {k: v for k, v in p.items() if k not in ("n", "dil_w", "groups", "padded", "split", "pre")}
        call = replace(
            portable.calls[0],
            function="genn_conv_small_s16",
            struct="genn_conv_small_s16",
            params=p,
            args=("in0", "w", "c.bias", "ws", "out0"),
        )
        packed = Array("int16_t", pack_s16(columns_order(node, graph)[0], 2))
        workspace = 2 * (p["stride_w"] + p["k_w"]) * p["k_h"] * p["in_c"] + 4 * p["out_c"]
        return Lowered("genn_conv_small_dsp_s16.h", [call], packed, portable.consts, workspace)
