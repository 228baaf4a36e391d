"""softmax and log_softmax along one axis, in integers without division or floats: a polynomial, a sum, one reciprocal.

The integer meaning (``genn_softmax.h`` says the same): with d = max - x,

* exp(-d * scale) = 2**-t, t in steps of 2**-15, by a polynomial of degree 4 in the fraction (relative error 1e-5),
* the sum in uint32, every term scaled by 2**(17 + up) with ``up`` as large as the row's length allows,
* the sum rounded to 16 bits; softmax multiplies by its reciprocal (16 bits), log_softmax adds its logarithm.

Error against float64 of the same integers: softmax int8 0.51 LSB of 1/256, int16 3 LSB of 2**-15; log_softmax int8
0.6 LSB (at output steps of 2**-6 or more), int16 1.5 LSB (at output steps of 2**-13 or more).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from genn import fmath
from genn.errors import ModelError
from genn.ir import Graph, Node, QParams
from genn.ops.activation import UNIT_INTERVAL
from genn.ops.base import Call, Case, Lowered, Op, Shape, Stats, in_tensor, out_tensor, register, suffix

F = np.float32
GUARD = 8  # fraction bits of log_softmax's sum
FINEST_LOG = 2.0**-15  # a finer output step means an output that is all but zero
MAX_ROW = (1 << 15) - 1


class RowWise(Op):
    """What softmax and log_softmax share: rows along ``axis``, and exp and its sum in integers."""

    family = "softmax"
    header = "genn_softmax.h"

    class Attrs(NamedTuple):
        axis: int = -1

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        rank = max(1, len(b.shape(a["self"])))
        return b.emit(self.name, [a["self"]], self.Attrs(int(a["dim"]) % rank))

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [shapes[0]]

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        x = in_tensor(node, graph)
        if graph.scheme == "float32":
            return
        assert x.q is not None
        n = x.shape[node.attrs.axis]
        if n > MAX_ROW:
            raise ModelError(f"{self.name} over {n} elements", str(node.source or node.name),
                             f"at most {MAX_ROW} in integers; use --scheme float32")  # fmt: skip
        node.quant.update(_exp_params(x.q, n))

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        module = {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}[self.name]
        cases: list[tuple[Shape, int]] = [
            ((1, 1), 1), ((1, 10), -1), ((1, 2), 1), ((1, 257), 1), ((1, 5, 3), 1), ((1, 5, 3), 2), ((1, 4, 1, 6), 2),
            ((1, 3, 4, 5), 1), ((1, 3, 4, 5), -2), ((1, 3, 4, 5), 3), ((7,), 0),
        ]  # fmt: skip
        for shape, dim in [*cases, ((1, int(rng.integers(2, 40)), int(rng.integers(1, 9))), int(rng.integers(1, 3)))]:
            yield Case(module(dim), [shape], f"{shape} dim {dim}")


@register
class Softmax(RowWise):
    """y = exp(x - max) / sum of exp(x - max) along ``axis``."""

    name = "softmax"
    aten = ("aten.softmax.int", "aten._softmax.default", "aten.special_softmax.default")
    doc = "Softmax along any axis"

    def ref_f(self, attrs, x):
        with np.errstate(all="ignore"):
            rows = np.moveaxis(np.asarray(x, F), attrs.axis + 1, 0)
            e = fmath.exp(rows - _row_max(rows))
            return np.moveaxis(e / _ordered_sum(e), 0, attrs.axis + 1)

    def qparams(self, node: Node, graph: Graph, stats: Mapping[str, Stats]) -> QParams:
        return UNIT_INTERVAL[graph.scheme]

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        super().prepare(node, graph, stats, options)
        y = out_tensor(node, graph).q
        if y is None:
            return
        # From steps of 2**-15 to the output's; plain shifts where its scale is a power of two.
        ratio, shift = 2.0**-15 / float(y.scale), 0
        while shift < 22 and not (ratio * 2.0**shift).is_integer() and ratio * 2.0 ** (shift + 1) < 32767:
            shift += 1
        mult = min(32767, math.floor(ratio * 2.0**shift + 0.5))
        node.quant.update(out_mult=mult, out_shift=shift, out_offset=(y.zero_point << shift) + ((1 << shift) >> 1))

    def ref_q(self, node, graph, x):
        q, y = node.quant, out_tensor(node, graph).q
        assert y is not None
        e, total, _ = _exp_sum(q, np.moveaxis(x, node.attrs.axis + 1, 0))
        excess = _excess_bits(total)
        recip = np.minimum(65535, ((1 << 32) + _round_shift(total, excess)) // (2 * _round_shift(total, excess)))
        e = np.minimum(_round_shift(e, q["up"] + 1), 65535)
        v = _round_shift(e * recip, 15 + excess - q["up"])
        v = (v * q["out_mult"] + q["out_offset"]) >> q["out_shift"]
        return np.moveaxis(np.clip(v, y.qmin, y.qmax), 0, node.attrs.axis + 1)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        return _lowered(self, node, graph, "genn_softmax", ("out_mult", "out_offset", "out_shift"))


@register
class LogSoftmax(RowWise):
    """y = (x - max) - log(sum of exp(x - max)) along ``axis``."""

    name = "log_softmax"
    aten = ("aten.log_softmax.int", "aten._log_softmax.default", "aten.special_log_softmax.default")
    doc = "LogSoftmax along any axis"

    def ref_f(self, attrs, x):
        with np.errstate(all="ignore"):
            rows = np.moveaxis(np.asarray(x, F), attrs.axis + 1, 0)
            d = rows - _row_max(rows)
            return np.moveaxis(d - fmath.log(_ordered_sum(fmath.exp(d))), 0, attrs.axis + 1)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        super().prepare(node, graph, stats, options)
        x, y = in_tensor(node, graph), out_tensor(node, graph)
        if x.q is None or y.q is None:
            return
        if float(y.q.scale) < FINEST_LOG:
            y.q = replace(y.q, scale=FINEST_LOG)
        sx, sy = float(x.q.scale), float(y.q.scale)
        span = 2.0 ** (y.q.bits + 1)  # so many output steps saturate for certain
        ratio = min(sx / sy, span)
        d_mult, d_shift = _scale_up(ratio * 2.0**GUARD)
        frac_mult, frac_shift = _scale_up(math.log(2) / sy * 2.0 ** (GUARD - 16))
        node.quant.update(
            d_limit=min((1 << x.q.bits) - 1, math.ceil(span / ratio)), d_mult=d_mult, d_shift=d_shift,
            whole_mult=math.floor(math.log(2) / sy * 2.0**GUARD + 0.5), frac_mult=frac_mult, frac_shift=frac_shift,
            offset=(y.q.zero_point << GUARD) + (1 << (GUARD - 1)),
        )  # fmt: skip

    def ref_q(self, node, graph, x):
        q, y = node.quant, out_tensor(node, graph).q
        assert y is not None
        _, total, d = _exp_sum(q, np.moveaxis(x, node.attrs.axis + 1, 0))
        excess = _excess_bits(total)
        frac = _log2_frac(_round_shift(total, excess) - 32768)
        base = q["offset"] - (excess - q["up"] - 2) * q["whole_mult"] - ((frac * q["frac_mult"]) >> q["frac_shift"])
        v = (base - ((np.minimum(d, q["d_limit"]) * q["d_mult"]) >> q["d_shift"])) >> GUARD
        return np.moveaxis(np.clip(v, y.qmin, y.qmax), 0, node.attrs.axis + 1)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        names = ("d_limit", "d_mult", "d_shift", "whole_mult", "frac_mult", "frac_shift", "offset")
        return _lowered(self, node, graph, "genn_log_softmax", names)


# -- float ---------------------------------------------------------------------------------------------------------
def _row_max(rows: np.ndarray) -> np.ndarray:
    """``m = v > m ? v : m`` along axis 0."""
    m = rows[0]
    for v in rows[1:]:
        m = np.where(v > m, v, m)
    return m


def _ordered_sum(e: np.ndarray) -> np.ndarray:
    """The sum along axis 0, one term after another."""
    total = np.zeros(e.shape[1:], F)
    for v in e:
        total = total + v
    return total


# -- integers --------------------------------------------------------------------------------------------------------
def _exp_params(q: QParams, n: int) -> dict[str, int]:
    """Constants of exp for input QParams and rows of ``n``: t = (d * mult + half) >> shift for d <= limit."""
    up = 15 - n.bit_length()  # n * 2**(17 + up) < 2**32
    step = float(q.scale) * math.log2(math.e) * 2.0**15
    top = (1 << (31 - q.bits)) - 1  # with this, d * mult + half stays below 2**32 for every d
    shift = 31
    while shift > 0 and step * 2.0**shift > top:
        shift -= 1
    mult = min(math.floor(step * 2.0**shift + 0.5), 1 << 24)
    half = (1 << shift) >> 1
    d = np.arange(1 << q.bits, dtype=np.int64)
    fits = (((d * mult + half) >> shift) >> 15 <= 17 + up) & (d * mult + half < 1 << 32)
    limit = int(np.argmin(fits)) - 1 if not fits.all() else len(d) - 1
    return {"up": up, "mult": mult, "half": half, "shift": shift, "limit": limit}


def _exp_sum(q: Mapping[str, Any], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """exp of every element (2**(17 + up) is one), the sums along axis 0, and d = max - x."""
    d = rows.max(axis=0) - rows
    near = np.minimum(d, q["limit"])
    t = (near * q["mult"] + q["half"]) >> q["shift"]
    f = t & 0x7FFF
    v = 6976 - ((895 * f) >> 15)
    v = 31386 - ((v * f) >> 15)
    v = 90841 - ((v * f) >> 15)
    v = 131072 - ((v * f) >> 15)
    e = np.where(d <= q["limit"], (v << q["up"]) >> (t >> 15), 0)
    return e, e.sum(axis=0), d


def _excess_bits(v: np.ndarray) -> np.ndarray:
    """How far to shift v right so that 16 bits are left."""
    return np.frexp(v.astype(np.float64))[1].astype(np.int64) - 16


def _round_shift(v: np.ndarray, shift: Any) -> np.ndarray:
    return ((v >> (shift - 1)) + 1) >> 1


def _log2_frac(f: np.ndarray) -> np.ndarray:
    """log2(1 + f / 2**15) * 2**16 for f in [0, 2**15], within 2."""
    a = 8090 - ((1734 * f) >> 15)
    for c in (18320, 30033, 47073, 94539):
        a = c - ((a * f) >> 15)
    return (a * f) >> 15


def _scale_up(factor: float) -> tuple[int, int]:
    """(mult, shift) with factor ~ mult / 2**shift, mult as large as 16 bits allow (larger only where shift is 0)."""
    shift = 31
    while shift > 0 and factor * 2.0**shift > 65535:
        shift -= 1
    return math.floor(factor * 2.0**shift + 0.5), shift


def _lowered(op: RowWise, node: Node, graph: Graph, kernel: str, names: tuple[str, ...]) -> Lowered:
    x, y, axis = in_tensor(node, graph), out_tensor(node, graph), node.attrs.axis
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    params: dict[str, Any] = {"outer": outer, "n": x.shape[axis], "inner": inner}
    struct = "genn_softmax_f32"
    if graph.scheme != "float32":
        assert y.q is not None
        params |= {k: node.quant[k] for k in ("limit", "mult", "half", "shift", "up", *names)}
        params |= {"lo": y.q.qmin, "hi": y.q.qmax}
        struct = f"{kernel}_q"
    return Lowered(op.header, [Call(f"{kernel}_{suffix(graph)}", struct, params, ("in0", "out0"))])
