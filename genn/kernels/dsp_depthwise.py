"""int8 depthwise convolution for cores with the DSP instructions, by columns (ckernels/genn_depthwise_dsp.h)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import Array, Lowered, in_tensor, out_tensor, registry

TAPS = 64  # GENN_DEPTHWISE_TAPS_DSP
REACH = 4095  # of a store's immediate offset
COLUMNS = 256  # of a row at most: 32 bytes of workspace each for 3 x 3
NINE = (0, 1, 3, 4, 2, 6, 5, 7, 8)  # taps (3 ky + kx) of a 3 x 3 kernel as genn_depthwise_two_s8 unpacks them


def pack(w: np.ndarray, kernel: tuple[int, int]) -> np.ndarray:
    """Weights (C, kh * kw) in the order of the kernel: by channel, then kx, ky, or NINE for 3 x 3."""
    if kernel == (3, 3):
        return w[:, NINE].ravel()
    return w.reshape(-1, *kernel).transpose(0, 2, 1).ravel()


@register
class DepthwiseDspS8(Kernel):
    """Dense int8 depthwise convolution without a pool."""

    name, op, schemes, isas = "conv2d-depthwise-dsp-s8", "conv2d", ("int8",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        a, (outputs, kh, kw, ci) = node.attrs, in_tensor(node, graph, 1).shape
        x, y = in_tensor(node, graph).shape, out_tensor(node, graph).shape
        columns = (y[2] - 1) * a.stride[1] + (kw - 1) * a.dilation[1] + 1
        return (
            not node.quant["sparse"]
            and a.groups == outputs == x[3]
            and ci == 1
            and a.pool == (1, 1)
            and (kh + kh % 2) * kw <= TAPS
            and kh < 16
            and columns <= COLUMNS
            and node.quant["requant"].shift > 0
        )

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        p, a = dict(portable.calls[0].params), node.attrs
        kernel = (p["k_h"], p["k_w"])
        p["two"] = int(
            kernel == (3, 3)
            and p["stride_h"] == p["stride_w"] == p["dil_h"] == p["dil_w"] == 1
            and p["out_h"] > 1
            and (p["out_w"] + 1) * p["in_c"] <= REACH
        )
        height = 4 if p["two"] else kernel[0] + kernel[0] % 2
        p["quick"] = int(height == 4 and p["dil_h"] == 1 and max(a.pad[:2]) <= 1)
        columns = (p["out_w"] - 1) * p["stride_w"] + (kernel[1] - 1) * p["dil_w"] + 1
        call = replace(
            portable.calls[0],
            function="genn_depthwise_dsp_s8",
            struct="genn_depthwise_dsp_s8",
            params={k: v for k, v in p.items() if k not in ("out_c", "groups", "pool_h", "pool_w")},
            args=("in0", "w", "c.bias", "c.mult", "ws", "out0"),
        )
        packed = Array("int8_t", pack(node.quant["w"], kernel))
        workspace = 2 * min(4, p["in_c"]) * columns * height
        return Lowered("genn_depthwise_dsp.h", [call], packed, portable.consts, workspace)
