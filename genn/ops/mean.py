"""The mean over any axes, and the sum, which is a mean times a number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from genn.ir import Graph, Node
from genn.ops.affine import average, collapse, function_module, strides
from genn.ops.base import Call, Case, Lowered, Shape, Stats, in_tensor, out_tensor, register, suffix
from genn.ops.elementwise import Mul
from genn.ops.pool import Averaging, finish


@register
class Mean(Averaging):
    """inputs: x, rank 6 at most.  Mean over ``axes``: summed from 0 in the order of the axes, then one division."""

    name = "mean"
    aten = ("aten.mean.default", "aten.mean.dim", "aten.sum.default", "aten.sum.dim_IntList")
    doc = "mean, sum over any dimensions"

    class Attrs(NamedTuple):
        axes: tuple[int, ...]
        keepdim: bool = False

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        rank = len(b.shape(a["self"]))
        dim = a.get("dim")
        dims = [dim] if isinstance(dim, int) else list(dim or range(rank))
        axes = tuple(sorted(int(d) % max(1, rank) for d in dims))
        y = b.emit("mean", [a["self"]], self.Attrs(axes if rank else (), bool(a.get("keepdim", False))))
        if "sum" not in str(node.target):
            return y
        count = math.prod(b.shape(a["self"])) // math.prod(b.shape(y))
        return b.emit("mul", [y, b.scalar_or_ref(count)], Mul.Attrs())

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        if attrs.keepdim:
            return [tuple(1 if i in attrs.axes else n for i, n in enumerate(shapes[0]))]
        return [tuple(n for i, n in enumerate(shapes[0]) if i not in attrs.axes)]

    def _rows(self, attrs, x: np.ndarray) -> np.ndarray:
        """(S, *kept, summed)"""
        axes = [a + 1 for a in attrs.axes]
        kept = [i for i in range(x.ndim) if i not in axes]
        return np.transpose(x, (*kept, *axes)).reshape(*(x.shape[i] for i in kept), -1)

    def ref_f(self, attrs, x):
        rows = self._rows(attrs, x)
        acc = np.zeros(rows.shape[:-1], np.float32)
        for k in range(rows.shape[-1]):
            acc = acc + rows[..., k]
        return (acc / np.float32(rows.shape[-1])).reshape((len(x), *self.shape(attrs, x.shape[1:])[0]))

    def ref_q(self, node, graph, x):
        rows, xq, rule = self._rows(node.attrs, x), in_tensor(node, graph).q, node.quant["rule"]
        assert xq is not None
        acc = rows.sum(axis=-1) - rows.shape[-1] * xq.zero_point
        y = out_tensor(node, graph)
        return rule.apply(acc, rule.mult[0], y.q).reshape((len(x), *y.shape))

    @staticmethod
    def _count(node: Node, graph: Graph) -> int:
        return math.prod(in_tensor(node, graph).shape[a] for a in node.attrs.axes)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        if graph.scheme == "float32":
            return
        count = self._count(node, graph)
        rule = average(in_tensor(node, graph), out_tensor(node, graph), np.array([count]), count)
        node.quant.update(rule=rule, bound=rule.bound, error=rule.error)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        params: dict[str, Any] = {}
        shape, axes = in_tensor(node, graph).shape, node.attrs.axes
        step, count = strides(shape), self._count(node, graph)
        for prefix, own in (("", [i for i in range(len(shape)) if i not in axes]), ("sum_", list(axes))):
            walk = collapse([shape[i] for i in own], [step[i] for i in own], rank=3)
            params |= {f"{prefix}dims": walk[0], f"{prefix}step": walk[1]}
        ends = "_f32" if graph.scheme == "float32" else ""
        params |= {"divisor": float(count)} if ends else finish(node, graph, count)
        return Lowered(self.header, [Call(f"genn_mean_{suffix(graph)}", f"genn_mean{ends}", params, ("in0", "out0"))])

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        for axes, keep, shape in [((2, 3), False, (1, 3, 7, 7)), ((2, 3), True, (1, 3, 5, 4)), ((1,), False, (1, 6, 5)),
                                  ((-1,), True, (1, 6, 5)), ((1, 3), False, (1, 2, 3, 4)), ((2,), False, (1, 3, 1, 2)),
                                  ((1, 3, 5), True, (1, 2, 3, 4, 2, 3)), ((0,), False, (1, 5)),
                                  ((1,), False, (1, 1000))]:
            module = function_module(lambda x, axes=axes, keep=keep: x.mean(axes, keep))
            yield Case(module, [shape], f"{axes} {keep}")
        yield Case(function_module(lambda x: (x.mean(), x.sum(), x.sum((1, 2), True))), [(1, 3, 4)], "all, sums")
