"""Moves (transpose, reshape, concat, copy): meaning stays, places change, so one strided copy serves them all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops.affine import Affine, Steps, collapse, function_module, rescale, strides
from genn.ops.base import CTYPE, Array, Call, Case, Lowered, Op, Shape, Stats, in_tensor, out_tensor, register, suffix
from genn.ops.rows import Window


def move_call(graph: Graph, node: Node, args: tuple[str, str], walk: list[Steps], rule: Affine | None) -> Call:
    """The kernel call that walks [dims, from, to], with a change of scale if ``rule``."""
    params: dict[str, Any] = dict(zip(("dims", "from", "to"), walk, strict=True))
    if rule is None:
        return Call(f"genn_move_{suffix(graph)}", "genn_move", params, args)
    q = out_tensor(node, graph).q
    assert q is not None
    params |= {"mult": rule.mult[0], "pre": rule.pre[0], "shift": rule.shift, "offset": rule.offset}
    return Call(f"genn_rescale_{suffix(graph)}", "genn_rescale", params | {"lo": q.qmin, "hi": q.qmax}, args)


def copy_all(node: Node, graph: Graph) -> Lowered:
    """The whole input, element by element."""
    walk = collapse([out_tensor(node, graph).size], [1], [1])
    return Lowered("genn_move.h", [move_call(graph, node, ("in0", "out0"), walk, None)])


def note(node: Node, rules: Sequence[Affine | None]) -> None:
    """Proof and error of the node, over all its rules."""
    live = [r for r in rules if r is not None]
    if live:
        node.quant.update(bound=max(r.bound for r in live), error=max(r.error for r in live))


# -- operators ---------------------------------------------------------------------------------------------------------
@register
class Transpose(Op):
    """inputs: x, rank 6 at most.  y[i0, i1, ..] has x's axis ``perm[k]`` as its axis k."""

    name, family = "transpose", "move"
    aten = (
        "aten.permute.default",
        "aten.transpose.int",
        "aten.swapaxes.default",
        "aten.movedim.int",
        "aten.movedim.intlist",
        "aten.t.default",
        "aten.numpy_T.default",
        "aten.mT.default",
        "aten.channel_shuffle.default",
        "aten.native_channel_shuffle.default",
        "aten.pixel_shuffle.default",
        "aten.pixel_unshuffle.default",
    )
    header = "genn_move.h"
    doc = "permute, transpose, movedim, swapaxes, .T, .mT, ChannelShuffle, PixelShuffle, PixelUnshuffle"
    keeps_q = True

    class Attrs(NamedTuple):
        perm: tuple[int, ...]

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        x = a["self"]
        axes = list(range(len(b.shape(x))))
        if "shuffle" in str(node.target):
            return self._shuffle(b, x, str(node.target), a)
        if "dims" in a:
            perm = a["dims"]
        elif "source" in a:
            perm = _moved(len(axes), a["source"], a["destination"])
        elif "dim0" in a or "axis0" in a:
            i, j = (a["dim0"], a["dim1"]) if "dim0" in a else (a["axis0"], a["axis1"])
            perm = list(axes)
            perm[i], perm[j] = axes[j], axes[i]
        elif "mT" in str(node.target):
            perm = [*axes[:-2], axes[-1], axes[-2]]
        else:
            perm = axes[::-1]
        return b.emit("transpose", [x], self.Attrs(tuple(int(p) % max(1, len(axes)) for p in perm)))

    def _shuffle(self, b: Any, x: Any, target: str, a: Mapping[str, Any]) -> Any:
        """Axes split, exchanged and put together again."""
        shape = b.shape(x)
        if "channel" in target:
            n, c, *rest = shape
            split, order = (n, int(a["groups"]), c // int(a["groups"]), *rest), (0, 2, 1, *range(3, len(rest) + 3))
            return b.reshape(b.transpose(b.reshape(x, split), order), shape)
        *lead, c, h, w = shape
        front = tuple(range(len(lead)))
        if "unshuffle" in target:
            r = int(a["downscale_factor"])
            split, inner, out = (*lead, c, h // r, r, w // r, r), (0, 2, 4, 1, 3), (*lead, c * r * r, h // r, w // r)
        else:
            r = int(a["upscale_factor"])
            split, inner, out = (*lead, c // r // r, r, r, h, w), (0, 3, 1, 4, 2), (*lead, c // r // r, h * r, w * r)
        order = (*front, *(len(front) + i for i in inner))
        return b.reshape(b.transpose(b.reshape(x, split), order), out)

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [tuple(shapes[0][p] for p in attrs.perm)]

    def ref_f(self, attrs, x):
        return np.transpose(x, (0, *(p + 1 for p in attrs.perm)))

    def ref_q(self, node, graph, x):
        return self.ref_f(node.attrs, x)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        x, y = in_tensor(node, graph), out_tensor(node, graph)
        step = strides(x.shape)
        walk = collapse(y.shape, [step[p] for p in node.attrs.perm], strides(y.shape))
        return Lowered(self.header, [move_call(graph, node, ("in0", "out0"), walk, None)])

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch
        from torch import nn

        for perm, shape in [
            ((0, 2, 1), (1, 3, 5)),
            ((0, 2, 3, 1), (1, 3, 4, 5)),
            ((0, 3, 1, 2), (1, 3, 4, 5)),
            ((0, 1, 3, 2), (1, 1, 7, 2)),
            ((0, 4, 3, 2, 1), (1, 2, 3, 4, 5)),
            ((0, 1), (1, 6)),
            ((0, 5, 3, 1, 4, 2), (1, 2, 3, 2, 3, 2)),
            ((0, 3, 2, 1), (1, 4, 1, 3)),
        ]:
            yield Case(function_module(lambda x, perm=perm: x.permute(perm)), [shape], f"permute {perm}")
            # Read in both orders, the permutation cannot move into the interface: this one runs.
            yield Case(
                function_module(lambda x, perm=perm: torch.cat([x.flatten(1), x.permute(perm).flatten(1)], 1)),
                [shape],
                f"permute {perm} beside the original",
            )
        yield Case(function_module(lambda x: x.transpose(-1, -2)), [(1, 4, 7)], "transpose")
        yield Case(function_module(lambda x: x.movedim(1, -1)), [(1, 4, 3, 2)], "movedim")
        yield Case(function_module(lambda x: x.movedim((1, 2), (3, 1))), [(1, 4, 3, 2)], "movedim of two")
        yield Case(function_module(lambda x: x.swapaxes(1, 3)), [(1, 4, 3, 2)], "swapaxes")
        yield Case(function_module(lambda x: x.mT), [(1, 4, 3, 2)], "mT")
        for module in (nn.ChannelShuffle(3), nn.PixelShuffle(2), nn.PixelUnshuffle(2)):
            yield Case(nn.Sequential(nn.Conv2d(2, 12, 1), module), [(1, 2, 4, 6)], f"{module}")
        yield Case(nn.PixelShuffle(3), [(9, 2, 2)], "pixel shuffle without a batch")


def _moved(rank: int, source: Any, destination: Any) -> list[int]:
    """The permutation that torch.movedim applies."""
    source, destination = (
        [int(v) % rank for v in (s if isinstance(s, list | tuple) else [s])] for s in (source, destination)
    )
    rest = iter(i for i in range(rank) if i not in source)
    place = dict(zip(destination, source, strict=True))
    return [place[i] if i in place else next(rest) for i in range(rank)]


@register
class Reshape(Op):
    """inputs: x.  The same elements in the same order under ``shape``: no code."""

    name, family = "reshape", "move"
    aten = (
        "aten.view.default",
        "aten.reshape.default",
        "aten.flatten.using_ints",
        "aten.squeeze.default",
        "aten.squeeze.dim",
        "aten.squeeze.dims",
        "aten.unsqueeze.default",
        "aten.unflatten.int",
        "aten.ravel.default",
        "aten.view_as.default",
        "aten.reshape_as.default",
        "aten._unsafe_view.default",
    )
    header = "genn_move.h"
    doc = "view, reshape, flatten, unflatten, squeeze, unsqueeze"
    keeps_q, view = True, True

    class Attrs(NamedTuple):
        shape: tuple[int, ...]

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        # torch worked the shape out already; that the example has one says it is static
        shape = tuple(int(s) for s in node.meta["val"].shape)
        return a["self"] if shape == tuple(b.shape(a["self"])) else b.emit("reshape", [a["self"]], self.Attrs(shape))

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        if math.prod(attrs.shape) != math.prod(shapes[0]):
            raise ModelError(f"shape {shapes[0]} cannot be viewed as {attrs.shape}")
        return [tuple(attrs.shape)]

    def ref_f(self, attrs, x):
        return x.reshape((len(x), *attrs.shape))

    def ref_q(self, node, graph, x):
        return self.ref_f(node.attrs, x)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        """For a reshape that must not share its input's bytes: a copy."""
        return copy_all(node, graph)

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        yield Case(function_module(lambda x: x.flatten(1)), [(1, 3, 4, 5)], "flatten")
        yield Case(function_module(lambda x: x.flatten(1, 2)), [(1, 3, 4, 5)], "flatten two")
        yield Case(function_module(lambda x: x.view(1, 4, -1)), [(1, 2, 6)], "view")
        yield Case(function_module(lambda x: x.reshape(1, 2, 3, 2)), [(1, 12)], "reshape")
        yield Case(function_module(lambda x: x.transpose(1, 2).reshape(1, -1)), [(1, 3, 4)], "reshape of a transpose")
        yield Case(function_module(lambda x: x.squeeze(2)), [(1, 3, 1, 5)], "squeeze")
        yield Case(function_module(lambda x: x.squeeze((2, 3))), [(1, 3, 1, 1)], "squeeze two")
        yield Case(function_module(lambda x: x.unsqueeze(-1)), [(1, 3, 4)], "unsqueeze")
        yield Case(function_module(lambda x: x.unflatten(1, (2, 3))), [(1, 6, 4)], "unflatten")


@register
class Copy(Op):
    """inputs: x, or a constant that is an output.  The same values in a place of their own."""

    name, family = "copy", "move"
    aten = ("aten.contiguous.default", "aten.clone.default")
    header = "genn_move.h"
    doc = "contiguous, clone, detach (no code in the end)"
    keeps_q, inplace = True, False

    class Attrs(NamedTuple):
        pass

    def load(self, b, node) -> Any:
        return b.arguments(node)["self"]

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [shapes[0]]

    def ref_f(self, attrs, x):
        return x

    def ref_q(self, node, graph, x):
        y = out_tensor(node, graph)
        assert y.q is not None
        return x if in_tensor(node, graph).const is None else y.q.quantize(x)

    def qparams(self, node, graph, stats):
        from genn.quantize import choose_qparams

        q = in_tensor(node, graph).q
        return q if q is not None else choose_qparams(stats[node.outputs[0]], graph.scheme)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        lowered, x, y = copy_all(node, graph), in_tensor(node, graph), out_tensor(node, graph)
        if x.const is not None:
            lowered.consts["k0"] = Array(CTYPE[graph.scheme], x.const if y.q is None else y.q.quantize(x.const))
            lowered.calls[0] = replace(lowered.calls[0], args=("c.k0", "out0"))
        return lowered

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch

        yield Case(function_module(lambda x: x.permute(0, 2, 1).contiguous()), [(1, 3, 5)], "contiguous")
        fixed = torch.arange(6.0).view(2, 3)
        yield Case(function_module(lambda x: (x * 2, fixed)), [(1, 4)], "a constant as an output")


@register
class Concat(Op):
    """inputs: any number of tensors, constants among them, alike but for their size along ``axis``."""

    name, family = "concat", "move"
    aten = (
        "aten.cat.default",
        "aten.concat.default",
        "aten.concatenate.default",
        "aten.stack.default",
        "aten.hstack.default",
    )
    header = "genn_move.h"
    doc = "cat, concat, stack, hstack"

    class Attrs(NamedTuple):
        axis: int

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        xs = [x for x in a["tensors"] if math.prod(b.shape(x)) > 0]  # torch skips empty tensors
        rank = len(b.shape(xs[0]))
        if "hstack" in str(node.target):
            return b.emit("concat", xs, self.Attrs(min(1, rank - 1)))
        axis = int(a.get("dim", 0))
        if "stack" in str(node.target):
            axis %= rank + 1
            reshape = Reshape.Attrs((*b.shape(xs[0])[:axis], 1, *b.shape(xs[0])[axis:]))
            xs = [b.emit("reshape", [x], reshape) for x in xs]
        else:
            axis %= rank
        return xs[0] if len(xs) == 1 else b.emit("concat", xs, self.Attrs(axis))

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        first = shapes[0]
        return [(*first[: attrs.axis], sum(s[attrs.axis] for s in shapes), *first[attrs.axis + 1 :])]

    def ref_f(self, attrs, *xs):
        n = max(len(x) for x in xs)
        return np.concatenate([np.broadcast_to(x, (n, *x.shape[1:])) for x in xs], axis=attrs.axis + 1)

    def ref_q(self, node, graph, *xs):
        y = out_tensor(node, graph)
        assert y.q is not None
        parts = [
            node.quant["const"][i]
            if r is None and i in node.quant["const"]
            else x
            if r is None
            else r.apply([x], y.q.qmin, y.q.qmax)
            for i, (x, r) in enumerate(zip(xs, node.quant["rules"], strict=True))
        ]
        return self.ref_f(node.attrs, *parts)

    def qparams(self, node, graph, stats):
        """The inputs' QParams if they are the same, else from calibration, whose range is the union of theirs."""
        qs = [t.q for t in graph.activations(node)]
        return (
            qs[0]
            if qs and all(q is not None and q.same(qs[0]) for q in qs) and len(qs) == len(node.inputs)
            else super().qparams(node, graph, stats)
        )

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        y = out_tensor(node, graph)
        if y.q is None:
            return
        acts = graph.activations(node)
        while True:  # a rule may coarsen the output, which the others then see
            before, rules = y.q, {t.name: rescale(y, t) for t in acts}
            if before.same(y.q):
                break
        consts = {i: graph[name].const for i, name in enumerate(node.inputs)}
        node.quant["const"] = {i: y.q.quantize(c)[None] for i, c in consts.items() if c is not None}
        node.quant["rules"] = [rules.get(name) for name in node.inputs]
        note(node, node.quant["rules"])

    def slices(self, node: Node, graph: Graph) -> dict[int, int]:
        """Parts that lie in one piece in the result and keep their integers."""
        y = out_tensor(node, graph)
        rules = node.quant.get("rules", [None] * len(node.inputs))
        if math.prod(y.shape[: node.attrs.axis]) != 1:
            return {}
        found, at = {}, 0
        for i, name in enumerate(node.inputs):
            if graph[name].const is None and rules[i] is None:
                found[i] = at
            at += graph[name].nbytes
        return found

    def window(self, node: Node, graph: Graph) -> Window | None:
        """Parts side by side in a row, none of them a constant."""
        inside = node.attrs.axis in (2, 3) and all(graph[n].const is None for n in node.inputs)
        return Window.plain(out_tensor(node, graph).shape[1], tuple(range(len(node.inputs)))) if inside else None

    def lower(self, node: Node, graph: Graph) -> Lowered:
        y, axis = out_tensor(node, graph), node.attrs.axis
        rows, at = math.prod(y.shape[:axis]), 0
        width = math.prod(y.shape[axis:])
        lowered = Lowered(self.header, [])
        for i, name in enumerate(node.inputs):
            part = graph[name]
            n = part.size // rows
            source = f"in{i}"
            if part.const is not None:
                values = part.const if graph.scheme == "float32" else node.quant["const"][i]
                lowered.consts[f"k{i}"] = Array(CTYPE[graph.scheme], values)
                source = f"c.k{i}"
            walk = collapse([rows, n], [n, 1], [width, 1])
            rule = node.quant["rules"][i] if "rules" in node.quant else None
            lowered.calls.append(move_call(graph, node, (source, f"out0+{at}"), walk, rule))
            at += n
        return lowered

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch

        cases: list[tuple[int, list[Shape]]] = [
            (1, [(1, 3, 4), (1, 2, 4)]),
            (-1, [(1, 3, 4), (1, 3, 1), (1, 3, 2)]),
            (1, [(1, 5), (1, 1)]),
            (2, [(1, 2, 3, 4), (1, 2, 1, 4)]),
            (1, [(1, 2, 3, 4), (1, 5, 3, 4), (1, 1, 3, 4)]),
        ]
        for dim, shapes in cases:
            yield Case(function_module(lambda *xs, dim=dim: torch.cat(xs, dim)), shapes, f"cat {dim}")
        yield Case(function_module(lambda x: torch.cat([x, 3 * x, x], 1)), [(1, 4)], "cat of two scales, one twice")
        half = torch.full((1, 2), 0.5)
        yield Case(function_module(lambda x: torch.cat([x, half], 1)), [(1, 4)], "cat with a constant")
        yield Case(function_module(lambda *xs: torch.stack(xs, 1)), [(1, 3, 4), (1, 3, 4)], "stack")
