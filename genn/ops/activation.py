"""Elementwise functions: exact integer bounds and slopes where they are piecewise linear, tables where they are not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from genn import fmath, numerics
from genn.errors import ModelError
from genn.ir import Graph, Node, QParams
from genn.ops import lut, weights
from genn.ops.base import INF, Array, Call, Case, Lowered, Op, Shape, Stats, in_tensor, out_tensor, register, suffix
from genn.ops.rows import Window

F = np.float32
SHAPES: tuple[Shape, ...] = ((1, 1), (1, 37), (1, 5, 9), (1, 3, 1, 1), (1, 4, 7, 3))
UNIT_INTERVAL = {"int8": QParams(8, 1.0 / 256, -128), "int16": QParams(16, 2.0**-15)}
SYMMETRIC_UNIT = {"int8": QParams(8, 1.0 / 128, 0), "int16": QParams(16, 2.0**-15)}


class Plain(NamedTuple):
    """Attributes of a function that has none."""


class Elementwise(Op):
    """What all of them share: the output has the input's shape and may take its place."""

    family = "activation"
    header = "genn_activation.h"
    inplace = True
    Attrs: ClassVar[Any] = Plain

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        return b.emit(self.name, [a["self"]], self.attrs(a))

    def attrs(self, arguments: Mapping[str, Any]) -> Any:
        """ATen arguments to Attrs."""
        return self.Attrs()

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [shapes[0]]

    def window(self, node: Node, graph: Graph) -> Window | None:
        return Window.plain(in_tensor(node, graph).shape[1])


@register
class Clamp(Elementwise):
    """y = min(max(x, lo), hi): ReLU, ReLU6, Hardtanh.  In float32 ``x > lo ? x : lo``, so NaN becomes a bound."""

    name = "clamp"
    aten = tuple(
        f"aten.{n}{s}.default"
        for n in ("relu", "relu6", "hardtanh", "clamp", "clip", "clamp_min", "clamp_max")
        for s in ("", "_")
    )
    doc = "ReLU, ReLU6, Hardtanh, clamp"
    keeps_q = True

    class Attrs(NamedTuple):
        lo: float = -INF
        hi: float = INF

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        kind = str(node.target).split(".")[-2].rstrip("_")
        lo, hi = {"relu": (0.0, None), "relu6": (0.0, 6.0)}.get(kind) or (a.get("min"), a.get("max"))
        if kind == "hardtanh":
            lo, hi = a["min_val"], a["max_val"]
        high = INF if hi is None else float(hi)
        return b.emit(self.name, [a["self"]], self.Attrs(min(-INF if lo is None else float(lo), high), high))

    def ref_f(self, attrs, x):
        return weights.clamp_f(x, attrs.lo, attrs.hi)

    def ref_q(self, node, graph, x):
        return np.clip(x, *numerics.clamp_bounds(out_tensor(node, graph).q, node.attrs.lo, node.attrs.hi))

    def lower(self, node: Node, graph: Graph) -> Lowered:
        y, (lo, hi) = out_tensor(node, graph), node.attrs
        params: dict[str, Any] = {"n": y.size}
        if graph.scheme == "float32":
            clamp = (1 if lo > -INF else 0) | (2 if hi < INF else 0)
            params |= {"clamp": clamp, "lo": lo if clamp & 1 else 0.0, "hi": hi if clamp & 2 else 0.0}
        else:
            params["lo"], params["hi"] = numerics.clamp_bounds(y.q, lo, hi)
        kernel = f"genn_clip_{suffix(graph)}"
        return Lowered(self.header, [Call(kernel, kernel, params, ("in0", "out0"))])

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch
        from torch import nn

        for module in (nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Hardtanh(-0.25, 1.5), nn.Hardtanh(0.5, 2.0)):
            for shape in SHAPES if isinstance(module, nn.ReLU) else SHAPES[2:]:
                yield Case(module, [shape], f"{module} {shape}")
        yield Case(nn.Sequential(nn.ReLU(inplace=True), nn.ReLU6(inplace=True)), [(1, 8)], "in place")
        for bounds in ({"min": -0.5}, {"max": 0.75}, {"min": -1, "max": 1}):
            yield Case(_function(torch.clamp, bounds), [(1, 6, 2)], f"clamp {bounds}")
        a, b = sorted(float(v) for v in rng.normal(size=2))
        yield Case(nn.Hardtanh(a, b + 0.1), [(1, int(rng.integers(1, 50)))], "random bounds")


class Sloped(Elementwise):
    """x where positive, else x * slope; the slope is constant or per channel.

    int16 (and int8 with several slopes): multiplier of 15 bits and rounding shift.  int8 with one slope: a table.
    """

    def slopes(self, node: Node, graph: Graph) -> tuple[np.ndarray, int]:
        """Slopes as float32 (channels,), and the axis they run along (-1: one slope)."""
        raise NotImplementedError(self.name)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        slopes, axis = self.slopes(node, graph)
        node.quant.update(slopes=slopes, axis=axis)
        if graph.scheme == "float32":
            return
        x, y = in_tensor(node, graph), out_tensor(node, graph)
        assert x.q is not None and y.q is not None
        wide = slopes.astype(np.float64)
        if graph.scheme == "int8" and axis < 0:
            node.quant["table"], node.quant["error"] = lut.table_s8(lambda v: np.where(v > 0, v, v * wide[0]), x.q, y.q)
            return
        ratio = float(x.q.scale) / float(y.q.scale)
        top = ratio * max(1.0, float(np.abs(wide).max()))
        if top > 32767:  # an output step far finer than the input's says nothing
            factor = 2.0 ** math.ceil(math.log2(top / 32767))
            y.q = replace(y.q, scale=float(y.q.scale) * factor)
            ratio /= factor
        pos = _scaling(np.array([ratio]), y.q.zero_point)
        neg = _scaling(wide * ratio, y.q.zero_point)
        node.quant.update(pos=pos, neg=neg)
        reach = (1 << x.q.bits) - 1
        node.quant["error"] = 0.5 + max(
            float(np.abs(m / 2.0**s - r).max()) * min(reach, (1 << y.q.bits) / max(float(np.abs(r).max()), 1e-30))
            for (m, s, _), r in ((pos, np.array([ratio])), (neg, wide * ratio))
        )

    def ref_q(self, node, graph, x, *_):
        q = node.quant
        if "table" in q:
            return q["table"][x + 128]
        xq, y = in_tensor(node, graph).q, out_tensor(node, graph).q
        assert xq is not None and y is not None
        (pm, ps, po), (nm, ns, no) = q["pos"], q["neg"]
        v = x - xq.zero_point
        made = np.where(v > 0, (v * pm + po) >> ps, (v * _along(nm, q["axis"], x.ndim) + no) >> ns)
        return np.clip(made, y.qmin, y.qmax)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        q, x, y = node.quant, in_tensor(node, graph), out_tensor(node, graph)
        if "table" in q:
            return _lut(self.header, q["table"], y.size)
        axis, shape = q["axis"], x.shape
        n = len(q["slopes"])
        inner = math.prod(shape[axis + 1 :]) if axis >= 0 else y.size
        params: dict[str, Any] = {"outer": y.size // (n * inner), "channels": n, "inner": inner}
        kernel = f"genn_prelu_{suffix(graph)}"
        if graph.scheme == "float32":
            consts = {"slope": Array("float", q["slopes"])}
        else:
            assert x.q is not None and y.q is not None
            (pm, ps, po), (nm, ns, no) = q["pos"], q["neg"]
            params |= {"zero": x.q.zero_point, "pos_mult": int(pm[0]), "pos_shift": ps, "pos_offset": po,
                       "neg_shift": ns, "neg_offset": no, "lo": y.q.qmin, "hi": y.q.qmax}  # fmt: skip
            consts = {"slope": Array("int16_t", nm)}
        return Lowered(self.header, [Call(kernel, kernel, params, ("in0", "c.slope", "out0"))], consts=consts)


@register
class LeakyReLU(Sloped):
    """y = x where x > 0, else x * slope."""

    name = "leaky_relu"
    aten = ("aten.leaky_relu.default", "aten.leaky_relu_.default")
    doc = "LeakyReLU"

    class Attrs(NamedTuple):
        slope: float = 0.01

    def attrs(self, arguments):
        return self.Attrs(float(arguments["negative_slope"]))

    def slopes(self, node, graph):
        return np.array([node.attrs.slope], F), -1

    def ref_f(self, attrs, x):
        return np.where(x > 0, x, x * F(attrs.slope))

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        for slope in (0.01, 0.2, 0.0, 1.0, -0.5, 3.0, float(rng.random())):
            yield Case(nn.LeakyReLU(slope), [(1, 5, 3)], f"slope {slope:g}")
        for shape in SHAPES:
            yield Case(nn.LeakyReLU(0.1, inplace=True), [shape], f"{shape}")


@register
class PReLU(Sloped):
    """inputs: x, alpha (channels,), constant.  y = x where x > 0, else x * alpha[channel]; axis -1: one alpha."""

    name = "prelu"
    aten = ("aten.prelu.default", "aten._prelu_kernel.default")
    doc = "PReLU, one slope or one per channel"

    class Attrs(NamedTuple):
        axis: int = 1

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        alpha = b.const_value(a["weight"]).reshape(-1)
        axis = -1 if len(alpha) == 1 else 1
        shape = b.shape(a["self"])
        if axis == 1 and (len(shape) < 2 or shape[1] != len(alpha)):
            raise ModelError(f"PReLU has {len(alpha)} slopes for an input of shape {list(shape)}")
        return b.emit(self.name, [a["self"], b.const("alpha", alpha)], self.Attrs(axis))

    def slopes(self, node, graph):
        alpha = graph[node.inputs[1]].const
        assert alpha is not None
        return alpha.astype(F), node.attrs.axis

    def ref_f(self, attrs, x, alpha):
        return np.where(x > 0, x, x * _along(alpha[0], attrs.axis, x.ndim))

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch
        from torch import nn

        for shape in SHAPES:
            yield Case(nn.PReLU(), [shape], f"one {shape}")
            layer = nn.PReLU(shape[1])
            layer.weight.data = torch.from_numpy(rng.normal(0.2, 0.3, shape[1]).astype(F))
            yield Case(layer, [shape], f"per channel {shape}")


class Smooth(Elementwise):
    """A function given by ``real`` (float64) and, in the same terms as C, by ``ref_f``.  Quantized: a table."""

    fixed: ClassVar[Mapping[str, QParams] | None] = None  # output QParams per scheme where the range is known
    kernel: ClassVar[str] = ""

    def real(self, attrs: Any, x: np.ndarray) -> np.ndarray:
        """The mathematical function in float64."""
        raise NotImplementedError(self.name)

    def qparams(self, node: Node, graph: Graph, stats: Mapping[str, Stats]) -> QParams:
        """The function's whole range where it is known, unless calibration needs at most half of it: a bit gained."""
        seen = super().qparams(node, graph, stats)
        whole = self.fixed[graph.scheme] if self.fixed else seen
        return whole if float(seen.scale) > 0.5 * float(whole.scale) else seen

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        x, y = in_tensor(node, graph).q, out_tensor(node, graph).q
        if graph.scheme == "float32":
            return
        assert x is not None and y is not None

        def real(v: np.ndarray) -> np.ndarray:
            return self.real(node.attrs, v)

        if graph.scheme == "int8":
            node.quant["table"], node.quant["error"] = lut.table_s8(real, x, y)
        else:
            node.quant["interp"] = lut.interpolation(real, x, y)
            node.quant["error"] = node.quant["interp"].error

    def ref_q(self, node, graph, x):
        return node.quant["table"][x + 128] if graph.scheme == "int8" else node.quant["interp"](x)

    def kernel_name(self, attrs: Any) -> str:
        return self.name

    def lower(self, node: Node, graph: Graph) -> Lowered:
        y = out_tensor(node, graph)
        if graph.scheme == "int8":
            return _lut(self.header, node.quant["table"], y.size)
        if graph.scheme == "float32":
            call = Call(f"genn_{self.kernel_name(node.attrs)}_f32", "genn_map_f32", {"n": y.size}, ("in0", "out0"))
            return Lowered(self.header, [call])
        t = node.quant["interp"]
        params = {"n": y.size, "lo": t.lo, "hi": t.hi, "shift": t.shift}
        call = Call("genn_interp_s16", "genn_interp_s16", params, ("in0", "c.table", "out0"))
        return Lowered(self.header, [call], consts={"table": Array("int16_t", t.table)})

    def modules(self) -> list[Any]:
        """Torch modules of this function, one per variant."""
        raise NotImplementedError(self.name)

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        for module in self.modules():
            for shape in (*SHAPES, (1, int(rng.integers(1, 300)))):
                yield Case(module, [shape], f"{module} {shape}")


@register
class Sigmoid(Smooth):
    """y = 1 / (1 + exp(-x))."""

    name = "sigmoid"
    aten = ("aten.sigmoid.default", "aten.sigmoid_.default", "aten.special_expit.default")
    doc = "Sigmoid"
    fixed = UNIT_INTERVAL

    def real(self, attrs, x):
        return 1 / (1 + np.exp(-x))

    def ref_f(self, attrs, x):
        return fmath.sigmoid(x)

    def modules(self):
        from torch import nn

        return [nn.Sigmoid()]


@register
class Tanh(Smooth):
    """y = tanh(x)."""

    name = "tanh"
    aten = ("aten.tanh.default", "aten.tanh_.default")
    doc = "Tanh"
    fixed = SYMMETRIC_UNIT

    def real(self, attrs, x):
        return np.tanh(x)

    def ref_f(self, attrs, x):
        return fmath.tanh(x)

    def modules(self):
        from torch import nn

        return [nn.Tanh()]


@register
class Hardsigmoid(Smooth):
    """y = min(max(x + 3, 0), 6) / 6."""

    name = "hardsigmoid"
    aten = ("aten.hardsigmoid.default", "aten.hardsigmoid_.default")
    doc = "Hardsigmoid"
    fixed = UNIT_INTERVAL

    def real(self, attrs, x):
        return np.clip(x / 6 + 0.5, 0, 1)

    def ref_f(self, attrs, x):
        return np.where(x <= -3, F(0), np.where(x >= 3, F(1), (x + F(3)) * F(0.166666672)))

    def modules(self):
        from torch import nn

        return [nn.Hardsigmoid(), nn.Hardsigmoid(inplace=True)]


@register
class Hardswish(Smooth):
    """y = x * hardsigmoid(x)."""

    name = "hardswish"
    aten = ("aten.hardswish.default", "aten.hardswish_.default")
    doc = "Hardswish"

    def real(self, attrs, x):
        return x * np.clip(x / 6 + 0.5, 0, 1)

    def ref_f(self, attrs, x):
        return np.where(x <= -3, F(0), np.where(x >= 3, x, x * (x + F(3)) * F(0.166666672)))

    def modules(self):
        from torch import nn

        return [nn.Hardswish(), nn.Hardswish(inplace=True)]


@register
class SiLU(Smooth):
    """y = x * sigmoid(x); -0 below -128."""

    name = "silu"
    aten = ("aten.silu.default", "aten.silu_.default")
    doc = "SiLU (swish)"

    def real(self, attrs, x):
        return x / (1 + np.exp(-x))

    def ref_f(self, attrs, x):
        return np.where(x < -128, F(-0.0), x * fmath.sigmoid(x))

    def modules(self):
        from torch import nn

        return [nn.SiLU(), nn.SiLU(inplace=True)]


@register
class GELU(Smooth):
    """y = x / 2 * (1 + erf(x / sqrt(2))), or with ``approximate`` "tanh" torch's formula; -0 below -16."""

    name = "gelu"
    aten = ("aten.gelu.default", "aten.gelu_.default")
    doc = "GELU, exact and tanh"

    class Attrs(NamedTuple):
        approximate: str = "none"

    def attrs(self, arguments):
        approximate = str(arguments.get("approximate") or "none")
        if approximate not in ("none", "tanh"):
            raise ModelError(f"GELU has approximate={approximate!r}", fix="use 'none' or 'tanh'")
        return self.Attrs(approximate)

    def real(self, attrs, x):
        if attrs.approximate == "tanh":
            return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return x / 2 * (1 + np.array([math.erf(v) for v in (x * math.sqrt(0.5)).tolist()]))

    def ref_f(self, attrs, x):
        with np.errstate(all="ignore"):
            if attrs.approximate == "tanh":
                y = x * fmath.sigmoid(F(1.59576917) * (x + F(0.0447149985) * x * x * x))
            else:
                y = F(0.5) * x * (F(1.0) + fmath.erf(x * F(0.707106769)))
        return np.where(x < -16, F(-0.0), y)

    def kernel_name(self, attrs):
        return "gelu_tanh" if attrs.approximate == "tanh" else "gelu"

    def modules(self):
        from torch import nn

        return [nn.GELU(), nn.GELU(approximate="tanh")]


def _scaling(ratios: np.ndarray, zero_point: int) -> tuple[np.ndarray, int, int]:
    """(multipliers, shift, offset) with v * ratio + zero_point ~ (v * mult + offset) >> shift, rounding half up.

    |ratio| <= 32767; multipliers are as large as 15 bits and MAX_SHIFT allow and share the shift, so a ratio's error
    is at most 2**-(shift + 1).  With |v| <= 2**15 and zero_point = 0, or |v| < 2**8, everything stays inside int32.
    """
    shift = numerics.MAX_SHIFT
    limit = (1 << numerics.MULT_BITS) - 1
    while shift > 0 and np.floor(np.abs(ratios).max() * 2.0**shift + 0.5) > limit:
        shift -= 1
    mult = np.clip(np.floor(ratios * 2.0**shift + 0.5), -limit, limit).astype(np.int64)
    while shift > 0 and not np.any(mult & 1):  # powers of two become plain shifts
        mult >>= 1
        shift -= 1
    return mult, shift, (zero_point << shift) + ((1 << shift) >> 1)


def _along(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """``values`` shaped to broadcast along ``axis`` of arrays with a leading sample axis; axis -1: one value."""
    return values.reshape([-1 if i == axis + 1 else 1 for i in range(ndim)]) if axis >= 0 else values[0]


def _lut(header: str, table: np.ndarray, n: int) -> Lowered:
    call = Call("genn_lut_s8", "genn_lut_s8", {"n": n}, ("in0", "c.table", "out0"))
    return Lowered(header, [call], consts={"table": Array("int8_t", table)})


def _function(f: Any, kwargs: Mapping[str, Any]) -> Any:
    """A torch module that applies ``f`` with keyword arguments."""
    from torch import nn

    class Function(nn.Module):
        def forward(self, x):
            return f(x, **kwargs)

    return Function()
