"""Kernels of layers in block floating point (genn/ops/block.py, ckernels/genn_block.h), on every core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import ISA, Goal, Kernel, register
from genn.ops import registry
from genn.ops.base import Array, Lowered, in_tensor
from genn.ops.block import digits
from genn.report import Table

if TYPE_CHECKING:
    from genn.codegen import Layer


def errors(layers: Sequence[Layer]) -> list[Table]:
    """What ``--float-mode block`` measured and proved of each layer; no table where it was not asked for."""
    rows: list[list[Any]] = []
    for layer in layers:
        q, node = layer.node.quant, layer.node
        if "block_rms" in q:
            taken = q.get("block")
            rows.append(
                [
                    layer.index,
                    node.source.fqn or node.name,
                    "block" if taken else "exact",
                    taken,
                    q["block_rms"],
                    q["float_rms"],
                    q["block_bound"],
                ]
            )
    columns = [
        "#",
        "layer",
        "mode",
        "input bits",
        "RMS error in block mode",
        "RMS error of float32",
        "largest error proven",
    ]
    return [Table("block floating point: errors of sums, on the calibration data", columns, rows)] if rows else []


class _Block(Kernel):
    """Takes exactly the layers whose meaning is block floating point."""

    schemes = ("float32",)
    isas = ("generic", *ISA.values())
    alone = True
    prefix: str

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return "block" in node.quant

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        q = node.quant
        call = registry[node.op].lower(node, graph).calls[0]
        params = {"bits": q["block"], **call.params}
        args = ("in0", "w", "c.bias", "c.exponent", "ws", "out0")
        call = replace(call, function=self.prefix, struct=self.prefix, params=params, args=args)
        consts = {"bias": Array("float", q["b"]), "exponent": Array("int16_t", q["we"])}
        weights = Array("uint32_t", np.ascontiguousarray(digits(q["wm"])).ravel())
        patches = q["wm"].shape[1] * math.prod(node.attrs.pool) if node.op == "conv2d" else 0
        return Lowered("genn_block.h", [call], weights, consts, 4 * (in_tensor(node, graph).size + patches))


@register
class LinearBlock(_Block):
    name, op, prefix = "linear-block-f32", "linear", "genn_bfp_linear_f32"


@register
class ConvBlock(_Block):
    name, op, prefix = "conv2d-block-f32", "conv2d", "genn_bfp_conv_f32"
