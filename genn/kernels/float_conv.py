"""float32 convolution for cores with an FPU: tiles of four pixels by up to five outputs (ckernels/genn_conv_f32.h)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.ops import weights
from genn.ops.base import Array, Lowered, in_tensor, out_tensor, registry

if TYPE_CHECKING:
    from genn.ops.conv import Conv2d

BLOCK = 5  # outputs of a tile at most: GENN_TILE_BLOCK


def block_width(outputs: int) -> int:
    """Outputs of a tile: 5, or 4 where that leaves fewer odd ones; both have a loop of their own."""
    return outputs if outputs < BLOCK else BLOCK if outputs % BLOCK <= outputs % (BLOCK - 1) else BLOCK - 1


@register
class ConvTile(Kernel):
    """Dense convolution with more than one output a group; depthwise and sparse layers keep the portable kernel."""

    name, op, schemes = "conv2d-tile-f32", "conv2d", ("float32",)
    isas = ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        many = out_tensor(node, graph).shape[3] // node.attrs.groups > 1
        return many and not node.quant["sparse"] and (goal.fpu or goal.only is not None) and goal.optimize != "flash"

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        op: Conv2d = registry["conv2d"]  # type: ignore[assignment]
        portable = op.lower(node, graph)
        call, groups = portable.calls[0], node.attrs.groups
        _, kh, kw, _ = in_tensor(node, graph, 1).shape
        whole = groups == 1 and node.attrs.dilation[1] == 1 and not call.params["padded"]
        segments = kh if whole else kh * kw
        outputs = out_tensor(node, graph).shape[3] // groups
        params = {"block": block_width(outputs), "segments": segments, **call.params}
        values = weights.interleave(node.quant["w"], [outputs] * groups, params["block"])
        workspace = 16 * segments + (4 * kw * in_tensor(node, graph).shape[3] if params["padded"] else 0)
        args = ("in0", "w", "c.bias", "ws", "out0")
        call = replace(call, function="genn_conv_tile_f32", struct="genn_conv_tile_f32", params=params, args=args)
        return Lowered("genn_conv_f32.h", [call], Array("float", values), portable.consts, workspace)
