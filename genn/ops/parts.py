"""Parts of tensors: what indexing with numbers and slices takes, and what split, chunk and unbind return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops.affine import collapse, function_module, strides
from genn.ops.base import Case, Lowered, Op, Shape, in_tensor, register
from genn.ops.move import move_call
from genn.ops.rows import Window


@register
class Slice(Op):
    """inputs: x, rank 6 at most.  y[i0, ..] is x[begin[0] + step[0] * i0, ..], ``size`` elements along each axis."""

    name, family = "slice", "move"
    aten = (
        "aten.slice.Tensor",
        "aten.select.int",
        "aten.narrow.default",
        "aten.split.Tensor",
        "aten.split_with_sizes.default",
        "aten.split.sizes",
        "aten.chunk.default",
        "aten.unbind.int",
    )
    header = "genn_move.h"
    doc = "x[a:b:c], x[i], narrow, split, chunk, unbind"
    keeps_q = True

    class Attrs(NamedTuple):
        begin: tuple[int, ...]
        step: tuple[int, ...]
        size: tuple[int, ...]

    def load(self, b, node) -> Any:
        a, target = b.arguments(node), str(node.target)
        x = a.get("self", a.get("input"))
        dims = b.shape(x)
        axis = int(a["dim"]) % len(dims)
        n = dims[axis]
        if "select" in target:
            return self._without_axis(b, x, axis, int(a["index"]) % n)
        if "unbind" in target:
            return [self._without_axis(b, x, axis, i) for i in range(n)]
        if "slice" in target:
            begin, end, step = slice(a.get("start"), a.get("end"), int(a.get("step") or 1)).indices(n)
            return self._part(b, x, axis, begin, len(range(begin, end, step)), step)
        if "narrow" in target:
            return self._part(b, x, axis, int(a["start"]) % n, int(a["length"]))
        # split, split_with_sizes, chunk: torch worked the sizes out already
        sizes = [int(part.shape[axis]) for part in node.meta["val"]]
        return [self._part(b, x, axis, sum(sizes[:i]), size) for i, size in enumerate(sizes)]

    def _part(self, b: Any, x: Any, axis: int, begin: int, size: int, step: int = 1) -> Any:
        dims = b.shape(x)
        if size == 0:
            raise ModelError(f"a slice of {dims} along axis {axis} leaves nothing")
        if size == dims[axis]:
            return x
        start, steps, sizes = [0] * len(dims), [1] * len(dims), list(dims)
        start[axis], steps[axis], sizes[axis] = begin, step, size
        return b.emit("slice", [x], self.Attrs(tuple(start), tuple(steps), tuple(sizes)))

    def _without_axis(self, b: Any, x: Any, axis: int, index: int) -> Any:
        part = self._part(b, x, axis, index, 1)
        return b.reshape(part, (*b.shape(part)[:axis], *b.shape(part)[axis + 1 :]))

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [tuple(attrs.size)]

    def ref_f(self, attrs, x):
        cut = (slice(i, i + s * (n - 1) + 1, s) for i, s, n in zip(*attrs, strict=True))
        return x[(slice(None), *cut)]

    def ref_q(self, node, graph, x):
        return self.ref_f(node.attrs, x)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        step, a = strides(in_tensor(node, graph).shape), node.attrs
        walk = collapse(a.size, [k * s for k, s in zip(a.step, step, strict=True)], strides(a.size))
        start = sum(i * s for i, s in zip(a.begin, step, strict=True))
        return Lowered(self.header, [move_call(graph, node, (f"in0+{start}", "out0"), walk, None)])

    def window(self, node: Node, graph: Graph) -> Window | None:
        a = node.attrs
        return Window(a.step[1], -a.begin[1], 1, in_tensor(node, graph).shape[1], a.size[1])

    def one_row(self, node: Node, graph: Graph, window: Window) -> Node:
        a = node.attrs
        return replace(node, attrs=a._replace(begin=(0, 0, *a.begin[2:]), size=(1, 1, *a.size[2:])))

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch

        uses: list[tuple[str, Any, Shape]] = [
            ("[:, 1:]", lambda x: x[:, 1:], (1, 3, 4, 5)), ("[..., :-2]", lambda x: x[..., :-2], (1, 3, 5)),
            ("[:, ::2, 1:4:2]", lambda x: x[:, ::2, 1:4:2], (1, 5, 6)), ("[:, -1]", lambda x: x[:, -1], (1, 4, 3)),
            ("[:, :, 2, 1:]", lambda x: x[:, :, 2, 1:], (1, 2, 4, 3)), ("[0]", lambda x: x[0], (1, 6)),
            ("[..., None, 0]", lambda x: x[..., None, 0], (1, 6)), ("[:99]", lambda x: x[:, :99], (1, 6)),
            ("narrow", lambda x: x.narrow(2, -3, 2), (1, 2, 7)), ("split", lambda x: x.split(2, -1), (1, 3, 5)),
            ("split sizes", lambda x: torch.split(x, [1, 3], 1), (1, 4, 2)),
            ("chunk", lambda x: torch.cat(x.chunk(3, 1)[::-1], 1), (1, 7, 2)),
            ("unbind", lambda x: x.unbind(1), (1, 3, 2)),
        ]
        for label, function, shape in uses:
            yield Case(function_module(function), [shape], label)
