"""What moves, sums and averages share: walks over boxes in few loops, and the rules for sums and means of integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genn import numerics
from genn.errors import ModelError
from genn.ir import QParams, Tensor
from genn.numerics import INT32_MAX

MIN_DIRECT = 1 << 12  # smallest multiplier with which an average's cheap int8 rule is precise enough
DIMS = 6  # loops of the strided kernels
Steps = tuple[int, ...]


def strides(shape: Sequence[int]) -> list[int]:
    """Element steps of a contiguous array of ``shape``."""
    return [int(math.prod(shape[i + 1 :])) for i in range(len(shape))]


def collapse(dims: Sequence[int], *steps: Sequence[int], rank: int = DIMS) -> list[Steps]:
    """The same walk in the fewest loops: size-1 dimensions dropped, adjacent ones merged where every step allows.

    Returns [dims, *steps], each padded in front to ``rank``; ModelError if more loops than that are left.
    """
    out: list[list[int]] = []
    for item in zip(dims, *steps, strict=True):
        if item[0] == 1:
            continue
        if out and all(a == b * item[0] for a, b in zip(out[-1][1:], item[1:], strict=True)):
            out[-1] = [out[-1][0] * item[0], *item[1:]]
        else:
            out.append(list(item))
    if len(out) > rank:
        raise ModelError(f"the access pattern needs {len(out)} nested loops, {rank} is the most")
    out = [[1] + [0] * len(steps)] * (rank - len(out)) + out
    return [tuple(int(row[i]) for row in out) for i in range(1 + len(steps))]


@dataclass(frozen=True)
class Affine:
    """Constants of ``y = clamp((sum(mult[i] * round(x[i] / 2**pre[i])) + offset) >> shift, lo, hi)``.

    bound: proven largest magnitude of any partial sum.  error: bound on the distance, in output steps, between y and
    the exact real result of the stored operands, before saturation (rounding's 0.5 included).
    """

    mult: tuple[int, ...]
    pre: tuple[int, ...]
    shift: int
    offset: int
    bound: int
    error: float

    def apply(self, xs: Sequence[np.ndarray], lo: int, hi: int) -> np.ndarray:
        """The rule on int64 arrays that broadcast."""
        acc: Any = np.int64(self.offset)
        for x, m, pre in zip(xs, self.mult, self.pre, strict=True):
            acc = acc + ((x + ((1 << pre) >> 1)) >> pre) * m
        return np.clip(acc >> self.shift, lo, hi)


def affine(y: Tensor, terms: Sequence[tuple[QParams, float]], const: float = 0.0) -> Affine:
    """Constants for ``y = sum(factor * x) + const`` of reals; coarsens ``y.q`` where finer than operands allow.

    terms: (QParams of the stored operand, real factor).  int16 factors other than +1 and -1 need a single term.
    """
    return _affine_int8(y, terms, const) if y.dtype == "int8" else _affine_int16(y, terms, const)


def _affine_int8(y: Tensor, terms: Sequence[tuple[QParams, float]], const: float) -> Affine:
    """16-bit multipliers; the shift is as large as they and 32-bit sums allow, 22 at most."""
    assert y.q is not None
    top = max(abs(f) * float(q.scale) for q, f in terms)
    if top > 64 * float(y.q.scale):
        y.q = replace(y.q, scale=top / 64)
    sy, budget = float(y.q.scale), 1 << 30
    while True:
        mult, shift = numerics.multiplier_pair([f * float(q.scale) / sy for q, f in terms], budget)
        half = (1 << shift) >> 1
        offset = math.floor((y.q.zero_point + const / sy) * 2.0**shift + 0.5) + half
        offset -= sum(m * q.zero_point for m, (q, _) in zip(mult, terms, strict=True))
        bound = sum(abs(m) for m in mult) * 128 + abs(offset)
        if bound <= INT32_MAX:
            break
        budget >>= 1
        if budget < 1 << 12:
            raise ModelError(f"the constant {const} is too large for the calibrated output range")
    error = 0.5 + (255 * len(mult) + 1) * 2.0 ** -(shift + 1)
    return Affine(tuple(mult), (0,) * len(mult), shift, offset, bound, error)


def _affine_int16(y: Tensor, terms: Sequence[tuple[QParams, float]], const: float) -> Affine:
    """Operands aligned to one power of two, the finest of theirs that 32-bit sums allow; then one rounding shift."""
    assert y.q is not None
    if any(abs(f) != 1 for _, f in terms):
        return _scale_int16(y, terms[0][0], terms[0][1], const)
    fy = y.q.shift
    f = min(max(q.shift for q, _ in terms), fy + 30)
    while True:
        fy = min(fy, f)  # a result finer than its operands has no meaning
        shift = f - fy
        mult = [round(s) << max(0, f - q.shift) for q, s in terms]
        pre = [min(max(0, q.shift - f), 30) for q, _ in terms]
        offset = math.floor(const * 2.0**f + 0.5) + ((1 << shift) >> 1)
        bound = sum(abs(m) << (q.bits - 1) for m, (q, _) in zip(mult, terms, strict=True)) + abs(offset)
        if bound <= INT32_MAX:
            break
        f -= 1
    _coarsen_int16(y, fy)
    lost = (sum(p > 0 for p in pre) + (const != 0)) * 2.0 ** -(shift + 1)
    return Affine(tuple(mult), tuple(pre), shift, offset, bound, 0.5 + lost)


def _scale_int16(y: Tensor, q: QParams, factor: float, const: float) -> Affine:
    """One operand times a 15-bit integer that stands for ``factor`` (const must be 0)."""
    assert y.q is not None and const == 0
    if factor == 0:
        return Affine((0,), (0,), 0, 0, 0, 0.5)
    bits = math.floor(math.log2(32767 / abs(factor)))
    fy = min(y.q.shift, q.shift + bits)
    bits = min(bits, 30 - q.shift + fy)
    m, shift = math.floor(factor * 2.0**bits + 0.5), q.shift + bits - fy
    _coarsen_int16(y, fy)
    half = (1 << shift) >> 1
    reach = 1 << (q.bits - 1)
    return Affine((m,), (0,), shift, half, reach * abs(m) + half, 0.5 + reach * 2.0 ** -(shift + 1))


def _coarsen_int16(y: Tensor, fy: int) -> None:
    assert y.q is not None
    if fy != y.q.shift:
        y.q = replace(y.q, scale=2.0**-fy)


def rescale(y: Tensor, x: Tensor) -> Affine | None:
    """How stored x become stored y of the same real value; None where the integers are the same."""
    assert x.q is not None and y.q is not None
    return None if x.q.same(y.q) else affine(y, [(x.q, 1.0)])


@dataclass(frozen=True)
class Average:
    """Constants that turn a sum of centred integers into an average; ``mult`` has one entry per divisor.

    pre < 0: ``clamp((sum * mult + offset) >> shift)``; else ``numerics.requantize(sum << pre, ..)``.
    bound: proven largest magnitude of any intermediate.  error: bound on |y - exact| in output steps.
    """

    mult: np.ndarray
    pre: int
    shift: int
    offset: int
    bound: int
    error: float

    def apply(self, acc: np.ndarray, mult: np.ndarray, q: QParams) -> np.ndarray:
        if self.pre < 0:
            return np.clip((acc * mult + self.offset) >> self.shift, q.qmin, q.qmax)
        return numerics.requantize(acc << self.pre, mult, self.shift, self.offset, q.qmin, q.qmax)


def average(x: Tensor, y: Tensor, divisors: np.ndarray, count: int) -> Average:
    """Constants for sums of at most ``count`` elements over each of ``divisors``; may coarsen ``y.q``."""
    assert x.q is not None and y.q is not None
    reach = count * max(x.q.qmax - x.q.zero_point, x.q.zero_point - x.q.qmin)
    partial = reach + count * abs(x.q.zero_point)  # sums start from minus count * zero point
    if partial > INT32_MAX:
        raise ModelError(f"a sum of {count} elements does not fit 32 bits", fix="average in two steps, or use float32")
    divisors = np.ravel(divisors)
    ratio = float(x.q.scale) / float(y.q.scale) / divisors
    if y.dtype == "int8" and float(ratio.max()) <= 64:
        for shift in range(numerics.MAX_SHIFT, 0, -1):
            mult = np.floor(ratio * 2.0**shift + 0.5).astype(np.int64)
            offset = (y.q.zero_point << shift) + ((1 << shift) >> 1)
            bound = reach * int(mult.max()) + abs(offset)
            if bound <= INT32_MAX:
                break
        if int(mult.min()) >= MIN_DIRECT:
            return Average(mult, -1, shift, offset, max(bound, partial), 0.5 + 128 / float(mult.min()))
    pre = max(0, (INT32_MAX // max(1, partial)).bit_length() - 1)
    top = float(ratio.max()) / 2.0**pre
    if top > 0.499:  # an output finer than the sum's steps has no meaning
        grow = top / 0.499 if y.dtype == "int8" else 2.0 ** math.ceil(math.log2(top / 0.499))
        y.q = replace(y.q, scale=float(y.q.scale) * grow)
        ratio = ratio / grow
    r = numerics.requant_params(ratio / 2.0**pre, y.q.zero_point)
    error = 0.5 + 2.0**-r.shift + float(1 << y.q.bits) * 0.5 / float(max(1, r.mult.min()))
    return Average(r.mult, pre, r.shift, r.offset, max(partial << pre, (reach << pre >> 16) * int(r.mult.max())), error)


def function_module(function: Any) -> Any:
    """A torch module whose forward is ``function``."""
    from torch import nn

    class Lambda(nn.Module):
        def forward(self, *xs):
            return function(*xs)

    return Lambda()
