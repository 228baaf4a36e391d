"""int16 convolution for cores with the DSP instructions: two pixels by four outputs (ckernels/genn_conv_dsp_s16.h)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.kernels.dsp_conv import REACH, ROWS, UNROLL, geometry
from genn.ops.base import Array, Lowered, in_tensor, registry


def pack_s16(w: np.ndarray) -> np.ndarray:
    """Weights (O, K) of one group, K in the columns' order, as genn_conv_dsp_s16 reads them."""
    rows, k = w.shape
    parts, even = [], k // 2 * 2
    for o in range(0, rows, 4):
        block = w[o : o + 4]
        parts += [block[:, :even].reshape(len(block), k // 2, 2).transpose(1, 0, 2).ravel(), block[:, even:].ravel()]
    return np.concatenate(parts)


@register
class ConvDspS16(Kernel):
    """Dense int16 convolution with one accumulator an output, and its maximum pool."""

    name, op, schemes, isas = "conv2d-dsp-s16", "conv2d", ("int16",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
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

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        params = {k: v for k, v in portable.calls[0].params.items() if k not in ("split", "pre")}
        params, workspace = geometry(params, 2, False)
        q, groups = node.quant, node.attrs.groups
        params["unroll"] = max(1, min(q["w"].shape[1] // 2, UNROLL[goal.optimize]))
        params["direct"] = int(params["k_h"] == groups == 1 and not params["padded"])
        if params["direct"]:
            width, pooled = params["out_w"] * params["pool_w"], params["pool_h"] * params["pool_w"] > 1
            params["tile"] = width + width % 2
            workspace = 2 * params["tile"] * params["out_c"] if pooled else 0
        outputs, kh, kw, ci = in_tensor(node, graph, 1).shape
        w = q["w"].reshape(outputs, kh, kw, ci).transpose(0, 2, 1, 3).reshape(groups, outputs // groups, -1)
        call = replace(
            portable.calls[0],
            function="genn_conv_dsp_s16",
            struct="genn_conv_dsp_s16",
            params=params,
            args=("in0", "w", "c.bias", "ws" if workspace else "0", "out0"),
        )
        packed = Array("int16_t", np.concatenate([pack_s16(group) for group in w]))
        return Lowered("genn_conv_dsp_s16.h", [call], packed, portable.consts, workspace)
