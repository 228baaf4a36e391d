"""int8 convolution for cores with the DSP instructions (genn_conv_dsp.h, where flash counts genn_conv_small_dsp.h)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from genn.ir import Graph, Node
from genn.kernels import dsp_pack
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import Array, Lowered, in_tensor, out_tensor, registry

ROWS = 16  # GENN_CONV_ROWS_DSP
REACH = 4095  # of an address's immediate offset
SHIFTS = range(1, 15)  # 256 times a sum and the offset meet below 2**31 before the shift
TILE_BYTES = 2048  # of widened columns, unless two pixels need more
UNROLL = {"time": 32, "balanced": 4, "flash": 1}  # steps (two taps) of the inner loop
ORDER = (0, 2, 1, 3)  # of four channels in a column, and of the four taps in a word of a single row


def pack_s8(w: np.ndarray, unit: int) -> np.ndarray:
    """Weights (O, K) of one group, K in the columns' order, as bytes: ``unit`` (4 or 2) rows, then 2, then a last one.

    A last row's fours of taps are ORDERed where the unit is 4.
    """
    rows, k = w.shape
    parts, o, even = [], 0, k // 2 * 2
    for size in (unit, 2):
        while rows - o >= size:
            pair = dsp_pack.pairs(w[o : o + size])
            parts += [pair[:, :even].reshape(len(pair), k // 2, 2).transpose(1, 0, 2), pair[:, even:].T]
            o += size
    if rows % 2:
        whole = k // 4 * 4 if unit == 4 else 0
        last = w[-1].astype(np.int8)
        parts += [last[:whole].reshape(-1, 4)[:, ORDER], last[whole:]]
    return dsp_pack.as_bytes(*parts)


def columns_order(w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Weights (O, kh * kw * ci) in the order of the widened columns: kw, kh, ci, fours of channels as ORDER."""
    kh, kw, ci = shape
    taps = w.reshape(len(w), kh, kw, ci).transpose(0, 2, 1, 3)
    whole = ci // 4 * 4
    order = np.arange(ci)
    order[:whole] = order[:whole].reshape(-1, 4)[:, ORDER].ravel()
    return taps[..., order].reshape(len(w), -1)


def tile_pixels(width: int, stride: int, kernel: int, column_bytes: int) -> int:
    """Pixels to widen at once, even: the whole row if it fits TILE_BYTES, else as many as do, two at least."""
    whole = width + width % 2
    fit = (TILE_BYTES // column_bytes - kernel) // stride + 1
    return max(2, min(whole, fit // 2 * 2))


def pointwise_row(p: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the rows of a pointwise layer joined to one long one; those of other layers unchanged."""
    if p["k_h"] == p["k_w"] == p["stride_h"] == p["stride_w"] == p["pool_h"] == p["pool_w"] == 1 and not p["padded"]:
        return p | {"in_w": p["in_h"] * p["in_w"], "out_w": p["out_h"] * p["out_w"], "in_h": 1, "out_h": 1}
    return p


def geometry(params: dict[str, Any], item: int, spare: bool) -> tuple[dict[str, Any], int]:
    """The kernel's parameters, its tile included, and its workspace in bytes for outputs of ``item`` bytes.

    spare: a last odd pixel needs room for two.
    """
    p = pointwise_row(params)
    width = p["out_w"] * p["pool_w"]
    column = 2 * p["k_h"] * p["in_c"] // p["groups"]
    p["tile"] = tile_pixels(width, p["stride_w"], p["k_w"], column)
    workspace = ((p["tile"] - 1) * p["stride_w"] + p["k_w"]) * column
    pooled = p["pool_h"] * p["pool_w"] > 1
    line = width + width % 2 if pooled else 2 if spare and width % 2 else 0
    return p, workspace + line * p["out_c"] * item


def accepted(node: Node, graph: Graph) -> bool:
    """True for a dense convolution of more than one output a group whose sums fit the packing."""
    a, (outputs, kh, _, ci) = node.attrs, in_tensor(node, graph, 1).shape
    return (
        not node.quant["sparse"]
        and outputs > a.groups
        and kh <= ROWS
        and a.dilation[1] == 1
        and 2 * a.stride[1] * kh * ci <= REACH
        and outputs <= REACH
        and node.quant["w"].shape[1] < 1 << 14
        and node.quant["requant"].shift in SHIFTS
        and dsp_pack.columns_exact(node, graph, 1 << 30) == (node.quant["w"].shape[1], 0)
    )


def one_group(node: Node, graph: Graph) -> bool:
    """True for one sample and one group whose sizes fit the 16-bit fields of the parameters where flash counts."""
    x, y = in_tensor(node, graph).shape, out_tensor(node, graph).shape
    return bool(x[0] == node.attrs.groups == 1 and max(x[1] * x[2], x[3], y[1] * y[2], y[3]) < 1 << 15)


@register
class ConvDspS8(Kernel):
    """Dense int8 convolution, with its maximum pool, for speed."""

    name, op, schemes, isas = "conv2d-dsp-s8", "conv2d", ("int8",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return goal.optimize != "flash" and accepted(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["conv2d"].lower(node, graph)
        q, groups = node.quant, node.attrs.groups
        params, workspace = geometry(dict(portable.calls[0].params), 1, True)
        params["unroll"] = max(1, min(q["w"].shape[1] // 2, UNROLL[goal.optimize]))
        w = columns_order(q["w"], in_tensor(node, graph, 1).shape[1:])
        parts = np.split(np.arange(len(w)), groups)
        call = replace(
            portable.calls[0],
            function="genn_conv_dsp_s8",
            struct="genn_conv_dsp_s8",
            params=params,
            args=("in0", "w", "c.c", "ws", "out0"),
        )
        constants = [dsp_pack.constants_s8(q["b"][o], q["requant"].mult[o], 0, 4) for o in parts]
        packed = Array("int8_t", np.concatenate([pack_s8(w[o], 4) for o in parts]))
        return Lowered("genn_conv_dsp.h", [call], packed, {"c": Array("int32_t", np.concatenate(constants))}, workspace)


@register
class ConvSmallDspS8(Kernel):
    """The same where flash counts, of one group."""

    name, op, schemes, isas = "conv2d-small-dsp-s8", "conv2d", ("int8",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return goal.optimize == "flash" and one_group(node, graph) and accepted(node, graph)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable, q = registry["conv2d"].lower(node, graph), node.quant
        p = pointwise_row(dict(portable.calls[0].params))
        p = {k: v for k, v in p.items() if k not in ("n", "dil_w", "groups", "padded")}
        call = replace(
            portable.calls[0],
            function="genn_conv_small_s8",
            struct="genn_conv_small_s8",
            params=p,
            args=("in0", "w", "c.c", "ws", "out0"),
        )
        packed = Array("int8_t", pack_s8(columns_order(q["w"], in_tensor(node, graph, 1).shape[1:]), 2))
        consts = {"c": Array("int32_t", dsp_pack.constants_s8(q["b"], q["requant"].mult, 0, 2))}
        workspace = 2 * (p["stride_w"] + p["k_w"]) * p["k_h"] * p["in_c"] + 2 * p["out_c"]
        return Lowered("genn_conv_small_dsp.h", [call], packed, consts, workspace)
