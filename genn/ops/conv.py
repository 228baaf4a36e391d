"""Convolution: Conv1d and Conv2d with stride, padding, dilation and groups, depthwise included; dense or sparse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from genn.ir import NP_DTYPE, Graph, Node
from genn.ops import sparse, weights
from genn.ops.base import (
    CTYPE,
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
from genn.ops.rows import Window


def same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """torch's ``padding='same'``: the odd one goes behind."""
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return total[0] // 2, total[0] - total[0] // 2, total[1] // 2, total[1] - total[1] // 2


def largest(acc: np.ndarray, pool: tuple[int, int]) -> np.ndarray:
    """Maximum of each window of sums (S, N, H, W, C), stride = window, compared in the order of rows and columns."""
    ph, pw = pool
    h, w = acc.shape[2] // ph * ph, acc.shape[3] // pw * pw
    best = acc[:, :, 0:h:ph, 0:w:pw]
    for i in range(1, ph * pw):
        v = acc[:, :, i // pw : h : ph, i % pw : w : pw]
        best = np.where(v > best, v, best)
    return best


@register
class Conv2d(Op):
    """inputs: x (N, H, W, C), weight (O, kh, kw, C / groups), bias (O,); pad is (top, bottom, left, right).

    pool: a maximum pool behind it, window and stride (ph, pw): largest sum of each window, then clamp, requantize.
    """

    name, family = "conv2d", "conv"
    aten = ("aten.conv2d.default", "aten.conv2d.padding", "aten.conv1d.default", "aten.conv1d.padding")
    header = "genn_conv.h"
    doc = "Conv1d, Conv2d: stride, padding, dilation, groups, depthwise, with a fused clamp and maximum pool"

    class Attrs(NamedTuple):
        stride: tuple[int, int] = (1, 1)
        pad: tuple[int, int, int, int] = (0, 0, 0, 0)
        dilation: tuple[int, int] = (1, 1)
        groups: int = 1
        lo: float = -INF
        hi: float = INF
        pool: tuple[int, int] = (1, 1)

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        w = b.const_value(a["weight"])
        one_d = w.ndim == 3
        if one_d:
            w = w[:, :, None, :]

        def pair(value) -> tuple[int, int]:
            value = [value] if isinstance(value, int) else list(value)
            value = value * 2 if len(value) == 1 and not one_d else value
            return (1, int(value[0])) if one_d else (int(value[0]), int(value[1]))

        stride, dilation = pair(a["stride"]), pair(a["dilation"])
        padding = a["padding"]
        if isinstance(padding, str):
            pad = same_padding(w.shape[2:], dilation) if padding == "same" else (0, 0, 0, 0)
        else:
            ph, pw = pair(padding)
            pad = (0, 0, pw, pw) if one_d else (ph, ph, pw, pw)
        bias = b.const_value(a["bias"]) if a.get("bias") is not None else np.zeros(len(w), np.float32)
        x = b.to2d(a["input"]) if one_d else b.nhwc(a["input"])
        y = b.emit(
            "conv2d",
            [x, b.const("weight", np.transpose(w, (0, 2, 3, 1))), b.const("bias", bias)],
            self.Attrs(stride, pad, dilation, int(a["groups"])),
        )
        return b.from2d(y, a["input"]) if one_d else b.nchw(y)

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        (n, h, w, _), (o, kh, kw, _) = shapes[0], shapes[1]
        t, bottom, left, r = attrs.pad
        oh = (h + t + bottom - attrs.dilation[0] * (kh - 1) - 1) // attrs.stride[0] + 1
        ow = (w + left + r - attrs.dilation[1] * (kw - 1) - 1) // attrs.stride[1] + 1
        return [(n, oh // attrs.pool[0], ow // attrs.pool[1], o)]

    def _windows(self, attrs, x: np.ndarray, kernel: tuple[int, int], fill: Any) -> Iterator[tuple[int, np.ndarray]]:
        """For each tap (kh, kw) in order: its index, the input under it for every output pixel, (S, N, OH, OW, C)."""
        t, b, left, r = attrs.pad
        (kh, kw), (dh, dw), (sh, sw) = kernel, attrs.dilation, attrs.stride
        x = np.pad(x, ((0, 0), (0, 0), (t, b), (left, r), (0, 0)), constant_values=fill)
        oh, ow = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
        for ky in range(kh):
            for kx in range(kw):
                yield (
                    ky * kw + kx,
                    x[:, :, ky * dh : ky * dh + (oh - 1) * sh + 1 : sh, kx * dw : kx * dw + (ow - 1) * sw + 1 : sw],
                )

    def ref_f(self, attrs, x, w, b):
        w, b = w[0], b[0]
        o, kh, kw, ci = w.shape
        co = o // attrs.groups
        w = w.reshape(o, kh * kw, ci)
        acc: np.ndarray | None = None
        for tap, xt in self._windows(attrs, x, (kh, kw), np.float32(0)):
            if acc is None:
                acc = np.broadcast_to(b + np.float32(0), (*xt.shape[:-1], o)).astype(np.float32)
            if ci == 1 and co == 1:
                acc = acc + xt * w[:, tap, 0]
                continue
            for g in range(attrs.groups):
                part = acc[..., g * co : (g + 1) * co]
                for c in range(ci):
                    part = part + xt[..., g * ci + c, None] * w[g * co : (g + 1) * co, tap, c]
                acc[..., g * co : (g + 1) * co] = part
        assert acc is not None
        return weights.clamp_f(largest(acc, attrs.pool), attrs.lo, attrs.hi)

    def ref_q(self, node, graph, x, w, b):
        q, attrs = node.quant, node.attrs
        _, kh, kw, ci = w.shape[1:]
        o, co = len(q["w"]), len(q["w"]) // attrs.groups
        fill = quantized(in_tensor(node, graph)).zero_point
        taps = np.stack([xt for _, xt in self._windows(attrs, x, (kh, kw), fill)], axis=-2)
        out = []
        for g in range(attrs.groups):
            patch = taps[..., g * ci : (g + 1) * ci].reshape(*taps.shape[:-2], kh * kw * ci).astype(np.float64)
            wg = q["w"][g * co : (g + 1) * co].astype(np.float64)
            n, pre = q.get("split") or patch.shape[-1], q.get("pre", 0)
            parts = (
                (patch[..., k : k + n] @ wg[:, k : k + n].T).astype(np.int64) for k in range(0, patch.shape[-1], n)
            )
            out.append(sum((part + ((1 << pre) >> 1)) >> pre for part in parts))
        acc = largest(np.concatenate(out, axis=-1).reshape(*taps.shape[:-2], o) + q["b"], attrs.pool)
        return weights.finish(node, graph, acc, attrs.lo, attrs.hi)

    def _matrix(self, node: Node, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
        w, b = (graph[i].const for i in node.inputs[1:3])
        assert w is not None and b is not None
        return w.reshape(len(w), -1), b

    def _depthwise(self, node: Node, graph: Graph) -> bool:
        c = in_tensor(node, graph).shape[3]
        return (
            node.attrs.groups == c == out_tensor(node, graph).shape[3]
            and not node.quant["sparse"]
            and not node.quant.get("split")
        )

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        weights.prepare(node, graph, *self._matrix(node, graph), stats, options)

    def input_bits(self, node, graph, stats, tensor):
        if tensor != node.inputs[0]:
            return None
        w, b = self._matrix(node, graph)
        return {bits: weights.int16_error(w, b, stats[tensor], bits) for bits in range(10, 17)}

    def lower(self, node: Node, graph: Graph) -> Lowered:
        a, x, y, w = node.attrs, in_tensor(node, graph), out_tensor(node, graph), in_tensor(node, graph, 1)
        kh, kw, ci = w.shape[1:]
        t, _, left, _ = a.pad
        reach_h = (y.shape[1] * a.pool[0] - 1) * a.stride[0] - t + a.dilation[0] * (kh - 1)
        reach_w = (y.shape[2] * a.pool[1] - 1) * a.stride[1] - left + a.dilation[1] * (kw - 1)
        padded = t > 0 or left > 0 or reach_h >= x.shape[1] or reach_w >= x.shape[2]
        params: dict[str, Any] = {
            "n": x.shape[0],
            "in_h": x.shape[1],
            "in_w": x.shape[2],
            "in_c": x.shape[3],
            "out_h": y.shape[1],
            "out_w": y.shape[2],
            "out_c": y.shape[3],
            "k_h": kh,
            "k_w": kw,
            "stride_h": a.stride[0],
            "stride_w": a.stride[1],
            "pad_h": t,
            "pad_w": left,
            "dil_h": a.dilation[0],
            "dil_w": a.dilation[1],
            "groups": a.groups,
            "pool_h": a.pool[0],
            "pool_w": a.pool[1],
            "padded": int(padded),
        }
        if graph.scheme == "int8":
            params["zero_point"] = x.q.zero_point if x.q else 0
        params |= weights.finish_params(node, graph, a.lo, a.hi)
        sfx = suffix(graph)
        packed, consts, names = weights.pack(node, graph, [y.shape[3] // a.groups] * a.groups)
        if self._depthwise(node, graph):
            packed = Array(CTYPE[graph.scheme], node.quant["w"].T.ravel())
            return Lowered(
                self.header,
                [Call(f"genn_depthwise_{sfx}", f"genn_conv_{sfx}", params, ("in0", *names, "out0"))],
                packed,
                consts,
            )
        if node.quant["sparse"]:
            pixels = sparse.PIXELS[graph.scheme]
            tiles = -(-a.pool[0] * a.pool[1] // pixels)
            workspace = tiles * pixels * kh * kw * ci * NP_DTYPE[x.dtype].itemsize
            call = Call(f"genn_conv_sparse_{sfx}", f"genn_conv_{sfx}", params, ("in0", *names, "ws", "out0"))
            return Lowered("genn_conv_sparse.h", [call], packed, consts, workspace)
        return Lowered(
            self.header, [Call(f"genn_conv_{sfx}", f"genn_conv_{sfx}", params, ("in0", *names, "out0"))], packed, consts
        )

    def window(self, node: Node, graph: Graph) -> Window | None:
        a, x, y, w = node.attrs, in_tensor(node, graph), out_tensor(node, graph), in_tensor(node, graph, 1)
        if "block" in node.quant:
            return None  # its exponent is that of all rows
        reach = (a.pool[0] - 1) * a.stride[0] + (w.shape[1] - 1) * a.dilation[0] + 1
        return Window(a.pool[0] * a.stride[0], a.pad[0], reach, x.shape[1], y.shape[1])

    def one_row(self, node: Node, graph: Graph, window: Window) -> Node:
        pad = (window.pad, window.below, *node.attrs.pad[2:])
        return replace(node, attrs=node.attrs._replace(pad=pad))

    def macs(self, node: Node, graph: Graph) -> int:
        w = in_tensor(node, graph, 1)
        return out_tensor(node, graph).size * (w.size // w.shape[0]) * node.attrs.pool[0] * node.attrs.pool[1]

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch
        from torch import nn

        def case2(c, o, k, hw, **kw) -> Case:
            return Case(nn.Conv2d(c, o, k, **kw), [(1, c, *hw)], f"2d {c}->{o} k{k} {hw} {kw}")

        yield case2(1, 1, 1, (1, 1))
        yield case2(3, 8, 3, (7, 9), padding=1)
        yield case2(2, 5, (3, 2), (8, 6), stride=(2, 1), padding=(1, 0))
        yield case2(4, 6, 3, (9, 9), groups=2, dilation=2, padding=2)
        yield case2(6, 6, 3, (6, 5), groups=6, padding=1, stride=2)
        yield case2(3, 9, 3, (5, 5), groups=3, padding=1, bias=False)
        yield case2(5, 11, 1, (3, 4))
        yield case2(2, 3, (2, 4), (6, 7), padding="same")
        yield case2(2, 4, 5, (3, 3), padding=3)
        yield case2(9, 9, (1, 5), (1, 12), groups=9)
        for net, hw in ((nn.Conv2d(3, 9, 3, padding=1), (9, 7)), (nn.Conv2d(6, 6, 3, stride=2, groups=6), (13, 12)),
                        (nn.Conv2d(1, 5, 5), (10, 11))):
            yield Case(nn.Sequential(net, nn.ReLU(), nn.MaxPool2d(2)), [(1, net.in_channels, *hw)], f"pool {hw}")
        yield Case(nn.Sequential(nn.Conv1d(3, 10, 4), nn.MaxPool1d(3)), [(1, 3, 17)], "1d pool")
        yield Case(nn.Conv1d(3, 4, 3, stride=2, padding=1), [(1, 3, 11)], "1d")
        yield Case(nn.Conv1d(4, 4, 4, padding="same", groups=4, dilation=2), [(1, 4, 13)], "1d depthwise same")
        yield Case(nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU()), [(1, 2, 1)], "1d relu")
        for pad, hw in ((1, (6, 6)), (0, (5, 7))):
            layer = nn.Conv2d(8, 12, 3, padding=pad, groups=2 if pad else 1)
            layer.weight.data *= torch.from_numpy(rng.random(tuple(layer.weight.shape)) < 0.15)
            yield Case(layer, [(1, 8, *hw)], f"2d sparse pad {pad}")
            yield Case(nn.Sequential(layer, nn.MaxPool2d((2, 1))), [(1, 8, *hw)], f"2d sparse pool pad {pad}")
        pointwise = nn.Conv2d(300, 4, 1)
        pointwise.weight.data *= torch.from_numpy(rng.random((4, 300, 1, 1)) < 0.02)
        yield Case(pointwise, [(1, 300, 2, 2)], "2d sparse pointwise, gaps over 255")
        c, o, k = (int(v) for v in rng.integers(1, 7, 3))
        yield case2(
            c,
            o,
            k,
            (int(rng.integers(k, 12)), int(rng.integers(k, 12))),
            stride=int(rng.integers(1, 3)),
            padding=int(rng.integers(0, k)),
        )
