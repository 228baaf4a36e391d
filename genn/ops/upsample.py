"""Upsampling: where an output pixel lies in the input is known at conversion, so C reads tables and never divides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from genn import numerics
from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops.affine import function_module
from genn.ops.base import (
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

F = np.float32


class Attrs(NamedTuple):
    """out: rows and columns; step: input pixels per output pixel along each, a float32; mode as in ``places``."""

    out: tuple[int, int]
    step: tuple[float, float]
    mode: str


def places(out: int, step: float, mode: str) -> np.ndarray:
    """Where each of ``out`` outputs lies on an axis, in pixels: torch's float32 formula, its rounding included.

    mode: ``nearest`` (the pixel's left edge), ``exact`` (its centre), ``centers`` (bilinear), ``corners`` (bilinear
    with align_corners).
    """
    o, s = np.arange(out, dtype=F), F(step)
    if mode == "nearest":
        return o * s
    if mode == "exact":
        return (o + F(0.5)) * s
    return s * o if mode == "corners" else np.maximum(s * (o + F(0.5)) - F(0.5), F(0))


def step_of(size: int, out: int, scale: float | None, mode: str) -> float:
    """torch's step: from the user's scale factor where there is one, else from the sizes."""
    if out == size and mode in ("centers", "corners"):
        return 1.0
    if mode == "corners":
        return float(F(size - 1) / F(out - 1)) if out > 1 else 0.0
    return float(F(1.0 / scale)) if scale else float(F(size) / F(out))


class Upsample(Op):
    """What both kinds share: the front end, the shape, QParams that stay (every output lies between inputs)."""

    family = "resize"
    header = "genn_upsample.h"
    keeps_q = True
    Attrs = Attrs

    def mode(self, target: str, arguments: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def load(self, b, node) -> Any:
        a, target = b.arguments(node), str(node.target)
        one, mode = "1d" in target, self.mode(target, a)
        like = a["input"] if "input" in a else a["self"]
        x = b.to2d(like) if one else b.nhwc(like)
        out = tuple(int(d) for d in node.meta["val"].shape[2:])
        out = (1, *out) if one else out
        given = a.get("scale_factors") or [a.get("scales_h"), a.get("scales_w", a.get("scales"))]
        scales: Sequence[Any] = [None, given[-1]] if one else given
        _, h, w, _ = b.shape(x)
        step = tuple(step_of(n, o, s, mode) for n, o, s in zip((h, w), out, scales, strict=True))
        y = b.emit(self.name, [x], self.Attrs((out[0], out[1]), (step[0], step[1]), mode))
        return b.from2d(y, like) if one else b.nchw(y)

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        n, h, w, c = shapes[0]
        if max(h, w, *attrs.out) > 0x7FFF:
            raise ModelError("upsampling of more than 32767 rows or columns is not supported")
        return [(n, *attrs.out, c)]

    def _params(self, node: Node, graph: Graph) -> dict[str, Any]:
        (n, h, w, c), (_, oh, ow, _) = in_tensor(node, graph).shape, out_tensor(node, graph).shape
        return {"n": n, "h": h, "w": w, "c": c, "oh": oh, "ow": ow}


@register
class UpsampleNearest(Upsample):
    """inputs: x NHWC.  y[oy, ox] is the pixel of x that torch takes, from a table of rows and one of columns."""

    name = "upsample_nearest"
    aten = tuple(
        f"aten.{n}{d}d.{o}"
        for n in ("upsample_nearest", "_upsample_nearest_exact")
        for d in (1, 2)
        for o in ("vec", "default")
    )
    doc = "Upsample, interpolate: nearest and nearest-exact, to any size"

    def mode(self, target, arguments):
        return "exact" if "exact" in target else "nearest"

    def _index(self, attrs: Attrs, shape: Shape) -> list[np.ndarray]:
        made = []
        for size, out, step in zip(shape[1:3], attrs.out, attrs.step, strict=True):
            made.append(np.minimum(np.floor(places(out, step, attrs.mode)).astype(np.int64), size - 1))
        return made

    def ref_f(self, attrs, x):
        rows, cols = self._index(attrs, x.shape[1:])
        return x[:, :, rows][:, :, :, cols]

    def ref_q(self, node, graph, x):
        return self.ref_f(node.attrs, x)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        rows, cols = self._index(node.attrs, in_tensor(node, graph).shape)
        consts = {"rows": Array("uint16_t", rows), "cols": Array("uint16_t", cols)}
        args = ("in0", "c.rows", "c.cols", "out0")
        call = Call(f"genn_upsample_nearest_{suffix(graph)}", "genn_upsample", self._params(node, graph), args)
        return Lowered(self.header, [call], consts=consts)

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        for args, shape in [((None, 2), (1, 3, 4, 5)), (((7, 3), None), (1, 2, 3, 4)), ((None, (1.5, 3)), (1, 5, 5, 2)),
                            (((5, 5), None), (1, 1, 1, 1)), ((None, 2.3), (1, 2, 7, 6)), (((2, 9), None), (3, 5, 4))]:
            for mode in ("nearest", "nearest-exact"):
                if len(shape) == 4:
                    yield Case(nn.Upsample(*args, mode=mode), [shape], f"{mode} {args}")
        yield Case(nn.Upsample(scale_factor=3), [(1, 4, 5)], "1d")
        yield Case(nn.Upsample(size=11, mode="nearest-exact"), [(1, 2, 4)], "1d exact")
        size = tuple(int(v) for v in rng.integers(1, 14, 2))
        yield Case(nn.Upsample(size), [(1, 3, *(int(v) for v in rng.integers(1, 9, 2)))], "random")


@register
class UpsampleBilinear(Upsample):
    """inputs: x NHWC.  Between the two columns of each of two rows, then between the results (``numerics.blend``).

    Integers: weights of 15 bits, both of a pair adding up to 2**15; what comes between has 16 bits in both schemes.
    """

    name = "upsample_bilinear"
    aten = tuple(f"aten.upsample_{n}.{o}" for n in ("linear1d", "bilinear2d") for o in ("vec", "default"))
    doc = "Upsample, interpolate: linear and bilinear, align_corners or not"

    def mode(self, target, arguments):
        return "corners" if arguments["align_corners"] else "centers"

    def _axes(self, attrs: Attrs, shape: Shape) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Per axis: the lower and the higher neighbour, and the share of the higher one (float32)."""
        made = []
        for size, out, step in zip(shape[1:3], attrs.out, attrs.step, strict=True):
            at = places(out, step, attrs.mode)
            low = np.minimum(np.floor(at).astype(np.int64), size - 1)
            share = np.clip(at - low.astype(F), F(0), F(1)).astype(F)
            made.append((low, np.minimum(low + 1, size - 1), share))
        return made

    def ref_f(self, attrs, x):
        (top, bottom, down), (left, right, over) = self._axes(attrs, x.shape[1:])
        down, over = down[:, None, None], over[:, None]
        up, back = F(1) - down, F(1) - over
        a = x[:, :, top][:, :, :, left] * back + x[:, :, top][:, :, :, right] * over
        b = x[:, :, bottom][:, :, :, left] * back + x[:, :, bottom][:, :, :, right] * over
        return a * up + b * down

    def ref_q(self, node, graph, x):
        (top, bottom, down), (left, right, over) = self._axes(node.attrs, x.shape[1:])
        down, over = numerics.blend_weight(down)[:, None, None], numerics.blend_weight(over)[:, None]
        first, second = self._shifts(graph)
        a = numerics.blend(x[:, :, top][:, :, :, left], x[:, :, top][:, :, :, right], over, first)
        b = numerics.blend(x[:, :, bottom][:, :, :, left], x[:, :, bottom][:, :, :, right], over, first)
        return numerics.blend(a, b, down, second)

    @staticmethod
    def _shifts(graph: Graph) -> tuple[int, int]:
        extra = 8 if graph.scheme == "int8" else 0  # bits that the value between has below the point
        return numerics.BLEND_BITS - extra, numerics.BLEND_BITS + extra

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        if graph.scheme == "float32":
            return
        q = quantized(in_tensor(node, graph))
        first, second = self._shifts(graph)
        reach = 1 << (q.bits - 1 + numerics.BLEND_BITS)
        between = reach << (numerics.BLEND_BITS - first)
        node.quant["bound"] = max(reach + ((1 << first) >> 1), between + ((1 << second) >> 1))
        # a weight is off by 2**-16 of the distance of two inputs, twice; the value between and the result are rounded
        node.quant["error"] = 0.5 + 0.5 * 2.0 ** -(numerics.BLEND_BITS - first) + 2.0 ** (q.bits - numerics.BLEND_BITS)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        axes = dict(zip(("rows", "cols"), self._axes(node.attrs, in_tensor(node, graph).shape), strict=True))
        params, sfx = self._params(node, graph), suffix(graph)
        if graph.scheme == "float32":
            consts = {k: Array("uint16_t", np.stack([low, high], axis=1)) for k, (low, high, _) in axes.items()}
            shares = {k: np.stack([F(1) - share, share], axis=1) for k, (_, _, share) in axes.items()}
            consts |= {"down": Array("float", shares["rows"]), "over": Array("float", shares["cols"])}
            args = ("in0", *(f"c.{k}" for k in consts), "out0")
            return Lowered(self.header, [Call(f"genn_{self.name}_f32", "genn_upsample", params, args)], consts=consts)
        consts = {
            k: Array("uint16_t", np.stack([low, high, numerics.blend_weight(share)], axis=1))
            for k, (low, high, share) in axes.items()
        }
        params["first"], params["second"] = self._shifts(graph)
        call = Call(f"genn_{self.name}_{sfx}", "genn_upsample_bilinear", params, ("in0", "c.rows", "c.cols", "out0"))
        return Lowered(self.header, [call], consts=consts)

    def macs(self, node: Node, graph: Graph) -> int:
        return 6 * out_tensor(node, graph).size

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch.nn.functional as functional
        from torch import nn

        for args, shape in [((None, 2), (1, 3, 4, 5)), (((7, 3), None), (1, 2, 3, 4)), ((None, (1.5, 3)), (1, 5, 5, 2)),
                            (((5, 5), None), (1, 2, 1, 1)), ((None, 2.3), (1, 2, 7, 6)),
                            (((3, 4), None), (1, 3, 9, 8))]:
            for corners in (False, True):
                module = nn.Upsample(*args, mode="bilinear", align_corners=corners)
                yield Case(module, [shape], f"align_corners={corners} {args}")
        yield Case(nn.Upsample(scale_factor=3, mode="linear"), [(1, 4, 5)], "1d")
        yield Case(nn.Upsample(size=11, mode="linear", align_corners=True), [(1, 2, 4)], "1d align_corners")
        like = function_module(lambda x, y: functional.interpolate(x, y.shape[2:], mode="bilinear") + y)
        yield Case(like, [(1, 3, 3, 2), (1, 3, 8, 7)], "to another's size")
        size = tuple(int(v) for v in rng.integers(1, 14, 2))
        module = nn.Upsample(size, mode="bilinear")
        yield Case(module, [(1, 3, *(int(v) for v in rng.integers(1, 9, 2)))], "random")
