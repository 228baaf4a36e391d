"""Smooth activations with parameters of their own: exponential units, softplus and mish, built on exp and log."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from genn import fmath
from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops.activation import Smooth
from genn.ops.base import Call, Lowered, out_tensor, register

F = np.float32


class Curve(Smooth):
    """In float32 a kernel that takes the attributes as parameters; quantized a table, as of every smooth function."""

    header = "genn_smooth.h"

    def lower(self, node: Node, graph: Graph) -> Lowered:
        if graph.scheme != "float32":
            return super().lower(node, graph)
        params = {"n": out_tensor(node, graph).size, **{k: float(v) for k, v in node.attrs._asdict().items()}}
        kernel = f"genn_{self.name}_f32"
        return Lowered(self.header, [Call(kernel, kernel, params, ("in0", "out0"))])


@register
class ELU(Curve):
    """y = scale * x where x > 0, else bend * (exp(rate * x) - 1)."""

    name = "elu"
    aten = tuple(f"aten.{n}{s}.default" for n in ("elu", "selu", "celu") for s in ("", "_"))
    doc = "ELU, SELU, CELU"

    class Attrs(NamedTuple):
        scale: float = 1.0
        bend: float = 1.0
        rate: float = 1.0

    def load(self, b, node) -> Any:
        a, target = b.arguments(node), str(node.target)
        if "selu" in target:
            attrs = self.Attrs(1.0507009873554805, 1.0507009873554805 * 1.6732632423543772)
        elif "celu" in target:
            alpha = float(a["alpha"])
            attrs = self.Attrs(1.0, alpha, 1 / alpha if alpha else float("inf"))
        else:
            scale = float(a["scale"])
            attrs = self.Attrs(scale, scale * float(a["alpha"]), float(a["input_scale"]))
        if not all(np.isfinite(v) for v in attrs):
            raise ModelError(f"{target} has parameters that are no numbers: {tuple(attrs)}")
        return b.emit(self.name, [a["self"]], attrs)

    def real(self, attrs, x):
        return np.where(x > 0, attrs.scale * x, attrs.bend * np.expm1(attrs.rate * np.minimum(x, 0)))

    def ref_f(self, attrs, x):
        with np.errstate(all="ignore"):
            return np.where(x > 0, F(attrs.scale) * x, F(attrs.bend) * (fmath.exp(F(attrs.rate) * x) - F(1)))

    def modules(self):
        from torch import nn

        return [nn.ELU(), nn.ELU(0.3, inplace=True), nn.SELU(), nn.CELU(0.7)]


@register
class Softplus(Curve):
    """y = log(1 + exp(beta * x)) / beta, as max(beta * x, 0) + log(1 + exp(-|beta * x|)).

    torch's threshold, above which it returns x, changes less than the rounding of float32 where it is 17 or more.
    """

    name = "softplus"
    aten = ("aten.softplus.default",)
    doc = "Softplus"

    class Attrs(NamedTuple):
        beta: float = 1.0
        inverse: float = 1.0

    def attrs(self, arguments):
        beta, threshold = float(arguments["beta"]), float(arguments["threshold"])
        if not np.isfinite(beta) or beta == 0 or threshold < 17:
            raise ModelError(f"softplus with beta {beta} and threshold {threshold} is not supported",
                             fix="use a finite beta and a threshold of 17 or more (torch's default is 20)")
        return self.Attrs(beta, 1 / beta)

    def real(self, attrs, x):
        return np.logaddexp(0, attrs.beta * x) / attrs.beta

    def ref_f(self, attrs, x):
        z = F(attrs.beta) * x
        return (np.where(z > 0, z, F(0)) + fmath.log(F(1) + fmath.exp(-np.abs(z)))) * F(attrs.inverse)

    def modules(self):
        from torch import nn

        return [nn.Softplus(), nn.Softplus(beta=2.5), nn.Softplus(beta=-1.5)]


@register
class LogSigmoid(Curve):
    """y = log(1 / (1 + exp(-x))), as min(x, 0) - log(1 + exp(-|x|))."""

    name = "log_sigmoid"
    aten = ("aten.log_sigmoid.default",)
    doc = "LogSigmoid"

    def real(self, attrs, x):
        return -np.logaddexp(0, -x)

    def ref_f(self, attrs, x):
        return np.where(x < 0, x, F(0)) - fmath.log(F(1) + fmath.exp(-np.abs(x)))

    def modules(self):
        from torch import nn

        return [nn.LogSigmoid()]


@register
class Mish(Curve):
    """y = x * tanh(log(1 + exp(x))), as x * n / (n + 2) with n = e * (e + 2), e = exp(x); x above 20, -0 below -104."""

    name = "mish"
    aten = ("aten.mish.default", "aten.mish_.default")
    doc = "Mish"

    def real(self, attrs, x):
        return x * np.tanh(np.logaddexp(0, x))

    def ref_f(self, attrs, x):
        with np.errstate(all="ignore"):
            e = fmath.exp(np.minimum(x, F(20)))
            n = e * (e + F(2))
            return np.where(x > 20, x, np.where(x < -104, F(-0.0), x * n / (n + F(2))))

    def modules(self):
        from torch import nn

        return [nn.Mish(), nn.Mish(inplace=True)]
