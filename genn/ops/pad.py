"""Padding with a constant, and cropping: a strided copy into what was filled before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops.affine import collapse, function_module, rescale, strides
from genn.ops.base import Call, Case, Lowered, Op, Shape, Stats, in_tensor, out_tensor, register, suffix
from genn.ops.move import move_call, note
from genn.ops.rows import Window


@register
class Pad(Op):
    """inputs: x.  ``pads``: elements before and after each axis, set to ``value``; negative ones cut off."""

    name, family = "pad", "move"
    aten = ("aten.pad.default", "aten.constant_pad_nd.default")
    header = "genn_move.h"
    doc = "F.pad with a constant, ZeroPad, ConstantPad; negative sizes crop"

    class Attrs(NamedTuple):
        pads: tuple[tuple[int, int], ...]
        value: float = 0.0

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        if a.get("mode", "constant") != "constant":
            raise ModelError(f"padding mode {a['mode']!r} is not supported", fix="pad with a constant")
        sizes = [int(p) for p in a["pad"]]
        rank = len(b.shape(a["self"]))
        pairs = list(zip(sizes[::2], sizes[1::2], strict=True))[::-1]
        pads = ((0, 0),) * (rank - len(pairs)) + tuple(pairs)
        if not any(any(p) for p in pads):
            return a["self"]
        value = float(a.get("value") or 0.0)
        pooled = all("max_pool2d" in str(user.target) for user in node.users)
        sides = all(p == (0, 0) for p in pads[:-2]) and min(min(p) for p in pads) >= 0
        if not math.isfinite(value) and not (value < 0 and pooled and sides):
            raise ModelError(f"padding with {value} is supported only around images that max_pool2d alone reads")
        return b.emit("pad", [a["self"]], self.Attrs(pads, value))

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        out = tuple(n + before + after for n, (before, after) in zip(shapes[0], attrs.pads, strict=True))
        if min(out, default=1) < 1:
            raise ModelError(f"padding {shapes[0]} by {attrs.pads} leaves nothing")
        return [out]

    def _apply(self, pads, x, value):
        cut = tuple(slice(max(0, -b), n + min(0, a)) for n, (b, a) in zip(x.shape[1:], pads, strict=True))
        grow = [(0, 0), *((max(0, b), max(0, a)) for b, a in pads)]
        return np.pad(x[(slice(None), *cut)], grow, constant_values=value)

    def ref_f(self, attrs, x):
        return self._apply(attrs.pads, x, np.float32(attrs.value))

    def ref_q(self, node, graph, x):
        y, rule = out_tensor(node, graph), node.quant["rule"]
        assert y.q is not None
        x = x if rule is None else rule.apply([x], y.q.qmin, y.q.qmax)
        return self._apply(node.attrs.pads, x, node.quant["value"])

    def qparams(self, node, graph, stats):
        """The input's QParams if they can express the value, else from calibration."""
        q = in_tensor(node, graph).q
        assert q is not None
        value = node.attrs.value
        fits = abs(float(q.dequantize(q.quantize(np.array(value)))) - value) <= 0.51 * float(q.scale)
        return q if fits or not self._grows(node) else super().qparams(node, graph, stats)

    @staticmethod
    def _grows(node: Node) -> bool:
        return any(max(p) > 0 for p in node.attrs.pads)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        y = out_tensor(node, graph)
        if y.q is None:
            return
        rule = rescale(y, in_tensor(node, graph))
        node.quant.update(rule=rule, value=int(y.q.quantize(np.array(node.attrs.value))))
        note(node, [rule])

    def lower(self, node: Node, graph: Graph) -> Lowered:
        x, y, pads = in_tensor(node, graph), out_tensor(node, graph), node.attrs.pads
        inner = [n + min(0, b) + min(0, a) for n, (b, a) in zip(x.shape, pads, strict=True)]
        start_x = sum(max(0, -b) * s for (b, _), s in zip(pads, strides(x.shape), strict=True))
        start_y = sum(max(0, b) * s for (b, _), s in zip(pads, strides(y.shape), strict=True))
        calls = []
        if self._grows(node) or "rows" in node.quant:
            value = float(node.attrs.value) if graph.scheme == "float32" else node.quant["value"]
            struct = "genn_fill_f32" if graph.scheme == "float32" else "genn_fill"
            calls.append(Call(f"genn_fill_{suffix(graph)}", struct, {"n": y.size, "value": value}, ("out0",)))
        if min(inner, default=1) > 0:
            walk = collapse(inner, strides(x.shape), strides(y.shape))
            args = (f"in0+{start_x}", f"out0+{start_y}")
            calls.append(move_call(graph, node, args, walk, node.quant.get("rule")))
        return Lowered(self.header, calls)

    def window(self, node: Node, graph: Graph) -> Window | None:
        """A row of the input, or none."""
        (n, rows, *_), x = node.attrs.pads, in_tensor(node, graph).shape
        return Window(1, rows[0], 1, x[1], x[1] + sum(rows), gaps=True) if n == (0, 0) else None

    def one_row(self, node: Node, graph: Graph, window: Window) -> Node:
        """Filled whole, because some rows are nothing else; ``rows``: where there are such."""
        n, rows, *inner = node.attrs.pads
        quant = node.quant | ({"rows": True} if max(rows) > 0 else {})
        return replace(node, attrs=node.attrs._replace(pads=(n, (0, 0), *inner)), quant=quant)

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch.nn.functional as F

        for pad, shape, value in [
            ((1, 2), (1, 3, 5), 0.0), ((1, 0, 2, 1), (1, 3, 4, 5), 0.0), ((0, 3, 1, 0), (1, 1, 1, 1), 0.0),
            ((1, 1, 1, 1), (1, 2, 3, 3), 0.5), ((2, 2), (1, 7), 9.0), ((-1, 2, 1, -2), (1, 2, 4, 5), 0.0),
            ((-1, -1), (1, 2, 6), 0.0), ((0, 0, 0, 0, 1, 2), (1, 3, 2, 2), 0.0),
        ]:
            module = function_module(lambda x, pad=pad, value=value: F.pad(x, pad, value=value))
            yield Case(module, [shape], f"pad {pad} {value}")
