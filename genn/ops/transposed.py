"""Transposed convolution: each output pixel gathers the taps that reach it, so nothing is scattered and no zero is met.

Which taps those are depends on the row and the column alone; two tables made at conversion say it, border included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from genn import numerics
from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops import weights
from genn.ops.base import (
    INF,
    Array,
    Call,
    Case,
    Lowered,
    Op,
    Shape,
    Stats,
    in_tensor,
    out_tensor,
    quantized,
    register,
    suffix,
)


class Axis(NamedTuple):
    """One axis: input i under tap k belongs to output ``i * stride + k * dilation - pad``."""

    size: int
    out: int
    taps: int
    stride: int
    dilation: int
    pad: int

    def reach(self, tap: int) -> tuple[slice, slice]:
        """The inputs that tap ``tap`` sends somewhere inside, and the outputs it sends them to."""
        at = tap * self.dilation - self.pad
        first = max(0, -(at // self.stride))
        last = min(self.size - 1, (self.out - 1 - at) // self.stride)
        if last < first:
            return slice(0, 0), slice(0, 0)
        begin = first * self.stride + at
        return slice(first, last + 1), slice(begin, last * self.stride + at + 1, self.stride)

    def steps(self) -> tuple[int, int]:
        """From one tap of an output to its next: taps onwards, inputs back."""
        common = math.gcd(self.stride, self.dilation)
        return self.stride // common, self.dilation // common

    def table(self) -> np.ndarray:
        """(out, 3): the first tap of each output, how many it has, and the input under the first."""
        hits: list[list[tuple[int, int]]] = [[] for _ in range(self.out)]
        for tap in range(self.taps):
            ins, outs = self.reach(tap)
            for i, o in zip(range(ins.start, ins.stop), range(outs.start, outs.stop, outs.step or 1), strict=True):
                hits[o].append((tap, i))
        return np.array([(h[0][0], len(h), h[0][1]) if h else (0, 0, 0) for h in hits])


@register
class ConvTranspose2d(Op):
    """inputs: x (N, H, W, C), weight (O, kh, kw, C / groups), bias (O,).

    Input i under tap k adds to output i * stride + k * dilation - pad; pad (top, bottom, left, right) is what is cut
    off there, or negative: what is added.  float32 sums: the bias, then the taps that reach it in order (kh, kw, ci).
    """

    name, family = "conv_transpose2d", "conv"
    aten = ("aten.conv_transpose2d.input", "aten.conv_transpose1d.default")
    header = "genn_transposed.h"
    doc = "ConvTranspose1d, ConvTranspose2d: stride, padding, output_padding, dilation, groups, with a fused clamp"

    class Attrs(NamedTuple):
        stride: tuple[int, int] = (1, 1)
        pad: tuple[int, int, int, int] = (0, 0, 0, 0)
        dilation: tuple[int, int] = (1, 1)
        groups: int = 1
        lo: float = -INF
        hi: float = INF

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        w, one, groups = b.const_value(a["weight"]), "1d" in str(node.target), int(a["groups"])

        def pair(name: str, unit: int) -> tuple[int, int]:
            value = [int(v) for v in a[name]]
            return (unit, value[-1]) if one else (value[0], value[-1])

        w = w[:, :, None, :] if one else w
        c, co, kh, kw = w.shape
        ci = c // groups
        # torch has (C, O / groups, kh, kw), groups along C
        w = w.reshape(groups, ci, co, kh, kw).transpose(0, 2, 3, 4, 1).reshape(groups * co, kh, kw, ci)
        (ph, pw), (more_h, more_w) = pair("padding", 0), pair("output_padding", 0)
        attrs = self.Attrs(pair("stride", 1), (ph, ph - more_h, pw, pw - more_w), pair("dilation", 1), groups)
        bias = b.const_value(a["bias"]) if a.get("bias") is not None else np.zeros(len(w), np.float32)
        x = b.to2d(a["input"]) if one else b.nhwc(a["input"])
        y = b.emit(self.name, [x, b.const("weight", w), b.const("bias", bias)], attrs)
        return b.from2d(y, a["input"]) if one else b.nchw(y)

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        (n, h, w, _), (o, kh, kw, _) = shapes[0], shapes[1]
        t, bottom, left, r = attrs.pad
        oh = (h - 1) * attrs.stride[0] + attrs.dilation[0] * (kh - 1) + 1 - t - bottom
        ow = (w - 1) * attrs.stride[1] + attrs.dilation[1] * (kw - 1) + 1 - left - r
        if min(oh, ow) < 1 or max(oh, ow, kh, kw) > 0xFFFF:
            raise ModelError(f"transposed convolution of {h} x {w} pixels to {oh} x {ow} is not supported")
        return [(n, oh, ow, o)]

    def _axes(self, attrs: Any, x: Shape, w: Shape) -> tuple[Axis, Axis]:
        _, oh, ow, _ = self.shape(attrs, x, w)[0]
        rows, cols = (
            Axis(x[1 + i], out, w[1 + i], attrs.stride[i], attrs.dilation[i], attrs.pad[2 * i])
            for i, out in enumerate((oh, ow))
        )
        return rows, cols

    def ref_f(self, attrs, x, w, b):
        w, b = w[0], b[0]
        o, kh, kw, ci = w.shape
        co = o // attrs.groups
        rows, cols = self._axes(attrs, x.shape[1:], w.shape)
        y = np.empty((len(x), x.shape[1], rows.out, cols.out, o), np.float32)
        y[...] = b + np.float32(0)
        for ky in range(kh):
            for kx in range(kw):
                (iy, oy), (ix, ox) = rows.reach(ky), cols.reach(kx)
                for g in range(attrs.groups):
                    outs = slice(g * co, (g + 1) * co)
                    part = y[:, :, oy, ox, outs]
                    for c in range(ci):
                        part = part + x[:, :, iy, ix, g * ci + c, None] * w[outs, ky, kx, c]
                    y[:, :, oy, ox, outs] = part
        return weights.clamp_f(y, attrs.lo, attrs.hi)

    def ref_q(self, node, graph, x, w, b):
        q, attrs, shape = node.quant, node.attrs, w.shape[1:]
        (o, kh, kw, ci), co = shape, shape[0] // attrs.groups
        rows, cols = self._axes(attrs, x.shape[1:], shape)
        wq = q["w"].reshape(shape).astype(np.float64)
        x = (x - quantized(in_tensor(node, graph)).zero_point).astype(np.float64)
        acc = np.empty((len(x), x.shape[1], rows.out, cols.out, o), np.int64)
        acc[...] = q["b"]
        for ky in range(kh):
            for kx in range(kw):
                (iy, oy), (ix, ox) = rows.reach(ky), cols.reach(kx)
                for g in range(attrs.groups):
                    outs = slice(g * co, (g + 1) * co)
                    part = x[:, :, iy, ix, g * ci : (g + 1) * ci] @ wq[outs, ky, kx].T
                    acc[:, :, oy, ox, outs] += part.astype(np.int64)
        return weights.finish(node, graph, acc, attrs.lo, attrs.hi)

    def _matrix(self, node: Node, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
        w, b = (graph[i].const for i in node.inputs[1:3])
        assert w is not None and b is not None
        return w.reshape(len(w), -1), b

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        """As of a convolution, but dense, in one accumulator, and with the input's zero point taken off each input.

        It cannot be part of the bias, because which taps a pixel has depends on where it lies.
        """
        w, b = self._matrix(node, graph)
        weights.prepare(node, graph, w, b, stats, {**options, "sparse": "never"}, split_unit=w.shape[1])
        q = node.quant
        if graph.scheme != "int8":
            return
        x = quantized(in_tensor(node, graph))
        q["b"] = q["b"] + x.zero_point * q["w"].sum(axis=1)
        q["bound"] = numerics.accumulator_bound(q["w"], q["b"], x.qmin - x.zero_point, x.qmax - x.zero_point)
        if q["bound"] > numerics.INT32_MAX:
            raise ModelError(f"{w.shape[1]} products an output do not fit 32 bits", fix="use --scheme float32 or int16")

    def input_bits(self, node, graph, stats, tensor):
        if tensor != node.inputs[0]:
            return None
        w, b = self._matrix(node, graph)
        return {bits: weights.int16_error(w, b, stats[tensor], bits) for bits in range(10, 17)}

    def lower(self, node: Node, graph: Graph) -> Lowered:
        a, x, y, w = node.attrs, in_tensor(node, graph), out_tensor(node, graph), in_tensor(node, graph, 1)
        rows, cols = self._axes(a, x.shape, w.shape)
        (step_h, back_h), (step_w, back_w) = rows.steps(), cols.steps()
        params: dict[str, Any] = {
            "n": x.shape[0],
            "in_h": x.shape[1],
            "in_w": x.shape[2],
            "in_c": x.shape[3],
            "out_h": y.shape[1],
            "out_w": y.shape[2],
            "out_c": y.shape[3],
            "k_h": w.shape[1],
            "k_w": w.shape[2],
            "groups": a.groups,
            "step_h": step_h,
            "step_w": step_w,
            "back_h": back_h,
            "back_w": back_w,
        }
        if graph.scheme == "int8":
            params["zero_point"] = quantized(x).zero_point
        finish = weights.finish_params(node, graph, a.lo, a.hi)
        params |= {k: v for k, v in finish.items() if k not in ("split", "pre")}
        packed, consts, names = weights.pack(node, graph, [y.shape[3] // a.groups] * a.groups)
        consts |= {"rows": Array("uint16_t", rows.table()), "cols": Array("uint16_t", cols.table())}
        args = ("in0", *names, "c.rows", "c.cols", "out0")
        kernel = f"genn_transposed_{suffix(graph)}"
        return Lowered(self.header, [Call(kernel, kernel, params, args)], packed, consts)

    def macs(self, node: Node, graph: Graph) -> int:
        x, w = in_tensor(node, graph), in_tensor(node, graph, 1)
        rows, cols = self._axes(node.attrs, x.shape, w.shape)
        reached = int(rows.table()[:, 1].sum() * cols.table()[:, 1].sum())
        return x.shape[0] * reached * w.shape[0] * w.shape[3]

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        def case2(c, o, k, hw, **kw) -> Case:
            return Case(nn.ConvTranspose2d(c, o, k, **kw), [(1, c, *hw)], f"2d {c}->{o} k{k} {hw} {kw}")

        yield case2(1, 1, 1, (1, 1))
        yield case2(3, 9, 2, (4, 5), stride=2)
        yield case2(4, 6, 4, (5, 4), stride=2, padding=1)
        yield case2(2, 5, 3, (3, 6), stride=2, padding=1, output_padding=1)
        yield case2(4, 8, 3, (4, 4), groups=2, padding=2)
        yield case2(6, 6, 4, (3, 5), groups=6, stride=2, padding=1, bias=False)
        yield case2(3, 4, (3, 2), (5, 3), stride=(1, 3), output_padding=(0, 2))
        yield case2(2, 3, 3, (4, 5), dilation=2, stride=3, output_padding=2)
        yield case2(2, 3, 3, (3, 4), dilation=2, stride=2)
        yield case2(3, 13, 2, (2, 2), stride=5, output_padding=(4, 3))
        yield Case(nn.ConvTranspose2d(3, 4, 3, stride=2), [(3, 4, 4)], "2d without a batch")
        net = nn.Sequential(nn.ConvTranspose2d(5, 7, 4, 2, 1, bias=False), nn.BatchNorm2d(7), nn.ReLU6())
        yield Case(net.eval(), [(1, 5, 3, 3)], "2d, batch normalization and clamp folded")
        yield Case(nn.ConvTranspose1d(3, 5, 4, stride=2, padding=1), [(1, 3, 9)], "1d")
        yield Case(nn.ConvTranspose1d(4, 4, 3, stride=3, groups=4), [(1, 4, 5)], "1d depthwise")
        c, o, k, s = (int(v) for v in rng.integers(1, 6, 4))
        yield case2(c, o, k, (int(rng.integers(1, 9)), int(rng.integers(1, 9))), stride=s, output_padding=s - 1)
