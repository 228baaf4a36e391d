"""Elementwise add, sub and mul with torch's broadcasting: one walk over the output's box, operands repeated by step 0.

A constant operand is stored in the scheme's type with a scale of its own; a constant scalar becomes part of the integer
rule and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from genn import numerics
from genn.errors import ModelError
from genn.ir import Graph, Node, QParams, Tensor
from genn.numerics import INT32_MAX
from genn.ops.affine import Affine, affine, collapse, function_module, strides
from genn.ops.base import CTYPE, INF, Array, Call, Case, Lowered, Op, Shape, Stats, out_tensor, register, suffix
from genn.ops.rows import Window
from genn.ops.weights import clamp_f, finish_params


def broadcast(shapes: tuple[Shape, ...]) -> Shape:
    """torch's broadcast shape."""
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise ModelError(f"shapes {shapes} do not broadcast") from None


def aligned(x: np.ndarray, rank: int) -> np.ndarray:
    """(S, *shape) with size-1 axes put in after the sample axis, up to ``rank`` axes besides it."""
    return x.reshape((len(x), *[1] * (rank + 1 - x.ndim), *x.shape[1:]))


def broadcast_steps(shape: Shape, out: Shape) -> list[int]:
    """Element steps of an operand of ``shape`` on a walk over ``out``; 0 where it repeats."""
    full = (1,) * (len(out) - len(shape)) + tuple(shape)
    return [s if n > 1 else 0 for n, s in zip(full, strides(full), strict=True)]


def _rows(shape: Shape) -> int:
    """Rows of an operand as it broadcasts to an image NHWC."""
    return shape[-3] if len(shape) > 2 else 1


class Attrs(NamedTuple):
    """Bounds of the fused clamp."""

    lo: float = -INF
    hi: float = INF


class Binary(Op):
    """What add, sub and mul share: shapes, constants, the walk, and which operand the output may take the place of."""

    family = "elementwise"
    header = "genn_elementwise.h"
    inplace = True
    Attrs = Attrs
    symmetric: ClassVar[bool] = False  # constants without a zero point

    def function(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The operation on float32 arrays, one rounding."""
        raise NotImplementedError

    def scalar_rule(self, node: Node, graph: Graph, at: int, value: float) -> Affine:
        """The integer rule where operand ``at`` is the scalar ``value``."""
        raise NotImplementedError

    def tensor_rule(self, node: Node, graph: Graph, qs: list[QParams]) -> Any:
        """The integer rule of two stored operands."""
        raise NotImplementedError

    def rule_ref(self, rule: Any, xs: list[np.ndarray], lo: int, hi: int) -> np.ndarray:
        raise NotImplementedError

    def rule_params(self, rule: Any) -> dict[str, Any]:
        raise NotImplementedError

    # -- front end -------------------------------------------------------------------------------------------------
    def binary(self, b: Any, first: Any, second: Any) -> Any:
        """Emit the operation on tensors, constants and numbers."""
        return b.emit(self.name, [b.scalar_or_ref(first), b.scalar_or_ref(second)], self.Attrs())

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [broadcast(shapes)]

    # -- meaning ---------------------------------------------------------------------------------------------------
    def ref_f(self, attrs, *xs):
        rank = max(x.ndim for x in xs) - 1
        a, b = (aligned(x, rank) for x in xs)
        return clamp_f(self.function(a, b).astype(np.float32), attrs.lo, attrs.hi)

    def ref_q(self, node, graph, *xs):
        q, y = node.quant, out_tensor(node, graph)
        lo, hi = numerics.clamp_bounds(y.q, node.attrs.lo, node.attrs.hi)
        if q["scalar"] is not None:
            return q["rule"].apply([aligned(xs[1 - q["scalar"]], len(y.shape))], lo, hi)
        parts = [aligned(q["const"].get(i, x), len(y.shape)) for i, x in enumerate(xs)]
        return self.rule_ref(q["rule"], parts, lo, hi)

    # -- quantization ----------------------------------------------------------------------------------------------
    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        consts = {i: c for i, n in enumerate(node.inputs) if (c := graph[n].const) is not None}
        if len(consts) == len(node.inputs):
            raise ModelError(f"{self.name} of two constants was not folded")
        if graph.scheme == "float32":
            return
        at = next((i for i, c in consts.items() if c.size == 1), None)
        node.quant["scalar"] = at
        if at is not None:
            rule: Any = self.scalar_rule(node, graph, at, float(consts[at].ravel()[0]))
        else:
            qs = {i: self.const_qparams(c, graph.scheme) for i, c in consts.items()}
            node.quant["const"] = {i: qs[i].quantize(c)[None] for i, c in consts.items()}
            operands: Any = [qs[i] if i in qs else graph[n].q for i, n in enumerate(node.inputs)]
            rule = self.tensor_rule(node, graph, operands)
        node.quant.update(rule=rule, bound=rule.bound, error=rule.error)

    def const_qparams(self, value: np.ndarray, scheme: str) -> QParams:
        """QParams of a constant operand from its own range."""
        from genn.quantize import choose_qparams

        lo, hi = float(value.min()), float(value.max())
        if self.symmetric and scheme == "int8":
            return QParams(8, max(abs(lo), abs(hi), 1e-30) / 127)
        return choose_qparams(Stats(lo, hi, 0.0), scheme)

    # -- C ---------------------------------------------------------------------------------------------------------
    def inplace_inputs(self, node: Node, graph: Graph) -> tuple[int, ...]:
        size = out_tensor(node, graph).size
        return tuple(i for i, n in enumerate(node.inputs) if graph[n].const is None and graph[n].size == size)

    def window(self, node: Node, graph: Graph) -> Window | None:
        """Operands have the output's rows, or none of their own and are repeated in every one."""
        rows = out_tensor(node, graph).shape[1]
        own = tuple(i for i, n in enumerate(node.inputs) if _rows(graph[n].shape) == rows)
        fits = rows > 1 and own and all(graph[node.inputs[i]].const is None for i in own)
        fits = fits and all(_rows(graph[n].shape) == 1 for i, n in enumerate(node.inputs) if i not in own)
        return Window.plain(rows, own) if fits else None

    def lower(self, node: Node, graph: Graph) -> Lowered:
        y, q, attrs = out_tensor(node, graph), node.quant, node.attrs
        if graph.scheme != "float32":
            lo, hi = numerics.clamp_bounds(y.q, attrs.lo, attrs.hi)
        if graph.scheme != "float32" and q["scalar"] is not None:
            rule: Affine = q["rule"]
            params: dict[str, Any] = {"n": y.size, "mult": rule.mult[0], "pre": rule.pre[0], "shift": rule.shift,
                                      "offset": rule.offset, "lo": lo, "hi": hi}
            args: tuple[str, ...] = (f"in{1 - q['scalar']}", "out0")
            return Lowered(self.header, [Call(f"genn_scalar_{suffix(graph)}", "genn_scalar", params, args)])
        operands = [graph[n] for n in node.inputs]
        walk = collapse(y.shape, *(broadcast_steps(t.shape, y.shape) for t in operands))
        params = dict(zip(("dims", "a_step", "b_step"), walk, strict=True))
        lowered, names = Lowered(self.header, []), []
        for i, t in enumerate(operands):
            if t.const is not None:
                values = t.const if graph.scheme == "float32" else q["const"][i]
                lowered.consts[f"k{i}"] = Array(CTYPE[graph.scheme], values)
            names.append(f"in{i}" if t.const is None else f"c.k{i}")
        if graph.scheme == "float32":
            params |= finish_params(node, graph, attrs.lo, attrs.hi)
            struct, function = "genn_elementwise_f32", f"genn_{self.name}_f32"
        else:
            params |= self.rule_params(q["rule"]) | {"lo": lo, "hi": hi}
            struct = "genn_mul" if self.name == "mul" else "genn_add"
            function = f"{struct}_{suffix(graph)}"
        lowered.calls.append(Call(function, struct, params, (*names, "out0")))
        return lowered

    # -- tests -----------------------------------------------------------------------------------------------------
    def _cases(self, rng: np.random.Generator, op: Any) -> Iterator[Case]:
        import torch

        for a, c in [((1, 6), (1, 6)), ((1, 3, 4, 5), (1, 3, 4, 5)), ((1, 3, 4, 5), (1, 3, 1, 1)), ((1, 1), (1, 7)),
                     ((1, 4, 5), (1, 1, 5)), ((1, 3, 1, 5), (1, 1, 4, 1)), ((1, 2, 3), (1, 1, 1)),
                     ((1, 2, 1, 3, 1), (1, 1, 2, 1, 4)), ((1, 1, 1, 1), (1, 1, 1, 1))]:
            yield Case(function_module(op), [a, c], f"{a} {c}")
        for shape in [(5,), (1, 4, 5), (3, 1, 1), (1,), (4, 1), ()]:
            k = torch.from_numpy(np.asarray(rng.normal(size=shape) * 3, np.float32))
            yield Case(function_module(lambda x, k=k: op(x, k)), [(1, 3, 4, 5)], f"constant {shape}")
            yield Case(function_module(lambda x, k=k: op(k, x)), [(1, 3, 4, 5)], f"constant {shape} first")
        for value in (0, 2, -0.37, 11.5):
            yield Case(function_module(lambda x, v=value: op(x, v)), [(1, 3, 5)], f"scalar {value}")
            yield Case(function_module(lambda x, v=value: op(v, x)), [(1, 3, 5)], f"scalar {value} first")
        yield Case(function_module(lambda x: op(x, x)), [(1, 9)], "with itself")
        yield Case(function_module(lambda x, z: torch.relu(op(x, z))), [(1, 3, 5), (1, 3, 5)], "relu fused")
        yield Case(function_module(lambda x, z: op(x, 40 * z)), [(1, 3, 5), (1, 3, 5)], "scales far apart")


class Sum(Binary):
    """Add and sub: a sum of two stored integers with a multiplier each (int16: shifts)."""

    signs: ClassVar[tuple[float, float]]

    def scalar_rule(self, node, graph, at, value):
        q = graph[node.inputs[1 - at]].q
        return affine(out_tensor(node, graph), [(q, self.signs[1 - at])], self.signs[at] * value)

    def tensor_rule(self, node, graph, qs):
        return affine(out_tensor(node, graph), list(zip(qs, self.signs, strict=True)))

    def rule_ref(self, rule, xs, lo, hi):
        return rule.apply(xs, lo, hi)

    def rule_params(self, rule):
        return {"mult_a": rule.mult[0], "pre_a": rule.pre[0], "mult_b": rule.mult[1], "pre_b": rule.pre[1],
                "shift": rule.shift, "offset": rule.offset}

    def scaled(self, b: Any, value: Any, alpha: Any) -> Any:
        """``alpha * value``: folded for numbers and constants, else a multiplication."""
        if alpha in (None, 1):
            return value
        if not isinstance(value, str):
            return value * alpha
        return b.emit("mul", [value, b.scalar_or_ref(alpha)], Attrs())


@register
class Add(Sum):
    """inputs: a, b, torch's broadcasting.  y = clamp(a + b, lo, hi)."""

    name = "add"
    aten = ("aten.add.Tensor", "aten.add.Scalar", "aten.add_.Tensor", "aten.add_.Scalar")
    doc = "a + b with broadcasting, scalars and alpha, with a fused clamp"
    signs = (1.0, 1.0)

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        return self.binary(b, a["self"], self.scaled(b, a["other"], a.get("alpha")))

    def function(self, a, b):
        return a + b

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch

        yield from self._cases(rng, lambda x, z: x + z)
        yield Case(function_module(lambda x, z: torch.add(x, z, alpha=-2.5)), [(1, 6), (1, 6)], "alpha")
        yield Case(function_module(lambda x, z: (x * 1).add_(z)), [(1, 6), (1, 6)], "in place")


@register
class Sub(Sum):
    """inputs: a, b, torch's broadcasting.  y = clamp(a - b, lo, hi)."""

    name = "sub"
    aten = ("aten.sub.Tensor", "aten.sub.Scalar", "aten.sub_.Tensor", "aten.sub_.Scalar", "aten.rsub.Tensor",
            "aten.rsub.Scalar", "aten.subtract.Tensor")
    doc = "a - b with broadcasting, scalars and alpha, with a fused clamp"
    signs = (1.0, -1.0)

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        if "rsub" in str(node.target):
            return self.binary(b, a["other"], self.scaled(b, a["self"], a.get("alpha")))
        return self.binary(b, a["self"], self.scaled(b, a["other"], a.get("alpha")))

    def function(self, a, b):
        return a - b

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch

        yield from self._cases(rng, lambda x, z: x - z)
        yield Case(function_module(lambda x: torch.rsub(x, 1, alpha=2)), [(1, 6)], "rsub")
        yield Case(function_module(lambda x, z: (x * 1).sub_(z, alpha=2)), [(1, 6), (1, 6)], "in place")


class MulRule(NamedTuple):
    """Constants of ``clamp(((a - zero_a) * (b - zero_b) * mult + offset) >> shift)``; bound and error as in Affine."""

    zeros: tuple[int, int]
    mult: int
    shift: int
    offset: int
    bound: int
    error: float


@register
class Mul(Binary):
    """inputs: a, b, torch's broadcasting.  y = clamp(a * b, lo, hi)."""

    name = "mul"
    aten = ("aten.mul.Tensor", "aten.mul.Scalar", "aten.mul_.Tensor", "aten.mul_.Scalar", "aten.multiply.Tensor",
            "aten.div.Tensor", "aten.div.Scalar", "aten.div_.Tensor", "aten.div_.Scalar", "aten.true_divide.Tensor",
            "aten.divide.Tensor", "aten.neg.default", "aten.square.default", "aten.pow.Tensor_Scalar")
    doc = "a * b with broadcasting and scalars, division by constants, negation, squares; with a fused clamp"
    symmetric = True

    def load(self, b, node) -> Any:
        a, target = b.arguments(node), str(node.target)
        x = a["self"]
        if "neg" in target:
            return self.binary(b, x, -1.0)
        if "square" in target:
            return self.binary(b, x, x)
        if "pow" in target:
            if a["exponent"] not in (1, 2):
                raise ModelError(f"the power {a['exponent']} is not supported", fix="only x ** 2 is")
            return self.binary(b, x, x) if a["exponent"] == 2 else x
        if "div" in target:
            divisor = b.scalar_or_ref(a["other"])
            if not b.is_const(divisor):
                raise ModelError("division by a tensor that is computed at run time is not supported",
                                 fix="divide by a constant")
            value = np.asarray(b.const_value(divisor), np.float32)
            if not np.all(value):
                raise ModelError("division by zero")
            return self.binary(b, x, b.const("reciprocal", (np.float32(1) / value).astype(np.float32)))
        return self.binary(b, x, a["other"])

    def function(self, a, b):
        return a * b

    def scalar_rule(self, node, graph, at, value):
        return affine(out_tensor(node, graph), [(graph[node.inputs[1 - at]].q, value)])

    def tensor_rule(self, node, graph, qs):
        y = out_tensor(node, graph)
        return mul_int8(y, *qs) if graph.scheme == "int8" else mul_int16(y, *qs)

    def rule_ref(self, rule, xs, lo, hi):
        acc = (xs[0] - rule.zeros[0]) * (xs[1] - rule.zeros[1]) * rule.mult
        return np.clip((acc + rule.offset) >> rule.shift, lo, hi)

    def rule_params(self, rule):
        return {"zero_a": rule.zeros[0], "zero_b": rule.zeros[1], "mult": rule.mult, "shift": rule.shift,
                "offset": rule.offset}

    def macs(self, node: Node, graph: Graph) -> int:
        return out_tensor(node, graph).size

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch

        yield from self._cases(rng, lambda x, z: x * z)
        yield Case(function_module(lambda x: x / 3), [(1, 6)], "divided")
        yield Case(function_module(lambda x: x / torch.tensor([1.5, -2.0, 7.0])), [(1, 4, 3)], "divided by a vector")
        yield Case(function_module(lambda x: -x), [(1, 6)], "negated")
        yield Case(function_module(lambda x: x**2), [(1, 6)], "squared")
        yield Case(function_module(lambda x: (x + 0.5).mul_(2)), [(1, 6)], "in place")


def mul_int8(y: Tensor, a: QParams, b: QParams) -> MulRule:
    """A 14-bit multiplier, so that 17-bit products of centred operands stay inside 31 bits."""
    assert y.q is not None
    if float(a.scale) * float(b.scale) > float(y.q.scale):  # an output step finer than the step of a product
        y.q = replace(y.q, scale=float(a.scale) * float(b.scale))
    reach = math.prod(max(q.qmax - q.zero_point, q.zero_point - q.qmin) for q in (a, b))
    mult, shift = numerics.multiplier_pair([float(a.scale) * float(b.scale) / float(y.q.scale)], magnitude=reach)
    offset = (y.q.zero_point << shift) + ((1 << shift) >> 1)
    bound = reach * mult[0] + abs(offset)
    assert bound <= INT32_MAX
    return MulRule((a.zero_point, b.zero_point), mult[0], shift, offset, bound, 0.5 + reach * 2.0 ** -(shift + 1))


def mul_int16(y: Tensor, a: QParams, b: QParams) -> MulRule:
    """The product's scale is a power of two already: one rounding shift."""
    assert y.q is not None
    f = a.shift + b.shift
    fy = min(f, max(y.q.shift, f - 30))
    if fy != y.q.shift:
        y.q = replace(y.q, scale=2.0**-fy)
    half = (1 << (f - fy)) >> 1
    return MulRule((0, 0), 1, f - fy, half, (1 << (a.bits + b.bits - 2)) + half, 0.5)
