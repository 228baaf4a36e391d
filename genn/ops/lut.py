"""Tables for functions of one variable in integers, because a microcontroller without FPU cannot afford anything else.

int8: one entry per input.  int16: piecewise linear over the part of the input range where the function moves.
Tables are computed at conversion in float64; the error is found by trying every input, and is stated in output steps
(LSB) against the real value of the function, the half step of rounding included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genn.ir import QParams

Real = Callable[[np.ndarray], np.ndarray]
MIN_LOG2, MAX_LOG2 = 4, 10  # segments of an int16 table


def inputs(q: QParams) -> np.ndarray:
    """Every integer a tensor with QParams ``q`` can hold, ascending."""
    return np.arange(q.qmin, q.qmax + 1, dtype=np.int64)


def exact(f: Real, x: QParams, y: QParams) -> np.ndarray:
    """The real value of ``f`` at every input, in output steps, saturated to the output's range: float64."""
    with np.errstate(all="ignore"):
        real = f(x.dequantize(inputs(x)))
    return np.clip(real / float(y.scale) + y.zero_point, y.qmin, y.qmax)


def table_s8(f: Real, x: QParams, y: QParams) -> tuple[np.ndarray, float]:
    """``f`` rounded half up at each of the 256 int8 inputs (index: input + 128), and its error in LSB (0.5)."""
    want = exact(f, x, y)
    table = np.clip(np.floor(want + 0.5), y.qmin, y.qmax).astype(np.int64)
    return table, float(np.abs(table - want).max())


@dataclass(frozen=True)
class Interpolation:
    """A function on int16: ``table`` at ends of segments of 2**shift inputs in [lo, hi], constant outside.

    error: largest |y - real| in LSB over all inputs.
    """

    table: np.ndarray
    lo: int
    hi: int
    shift: int
    error: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The integers that ``genn_interp_s16`` gives for int64 ``x``."""
        u = np.clip(x, self.lo, self.hi) - self.lo
        i, part = u >> self.shift, u & ((1 << self.shift) - 1)
        left = self.table[i]
        return left + (((self.table[i + 1] - left) * part + ((1 << self.shift) >> 1)) >> self.shift)


def interpolation(f: Real, x: QParams, y: QParams) -> Interpolation:
    """The smallest table (2**4 to 2**10 segments) that is off by at most one from the correctly rounded output.

    If none is, the one with the least error.  The table covers [-2**(r-1), 2**(r-1)) with the least r outside of which
    the rounded function is constant, so that a wide input range costs sigmoid no precision.
    """
    xs, want = inputs(x), exact(f, x, y)
    rounded = np.floor(want + 0.5)
    r = x.bits
    while r > 1 and _constant_outside(xs, rounded, 1 << (r - 2)):
        r -= 1
    lo, best = -(1 << (r - 1)), None
    for k in range(min(MIN_LOG2, r), min(MAX_LOG2, r) + 1):
        width = 1 << (r - k)
        at = lo + width * np.arange((1 << k) + 1)
        with np.errstate(all="ignore"):
            real = f(x.dequantize(at)) / float(y.scale) + y.zero_point
        # A chord lies on one side of a curve; moving the ends by half its greatest distance halves the error.
        bend = np.diff(real, 2, prepend=real[:1], append=real[-1:]) / 16 if k > 1 else np.zeros_like(real)
        bend[0] = bend[-1] = 0
        for ends in (real, real - bend):
            table = np.clip(np.floor(ends + 0.5), y.qmin, y.qmax).astype(np.int64)
            made = Interpolation(table, lo, -lo - 1, r - k, 0.0)
            got = made(xs)
            error = float(np.abs(got - want).max())
            if best is None or error < best.error:
                best = Interpolation(table, lo, -lo - 1, r - k, error)
            if np.abs(got - rounded).max() <= 1:
                return Interpolation(table, lo, -lo - 1, r - k, error)
    assert best is not None
    return best


def _constant_outside(xs: np.ndarray, rounded: np.ndarray, half: int) -> bool:
    """True if clamping the input to [-half, half) changes no rounded output."""
    clamped = np.clip(xs, -half, half - 1)
    return bool(np.array_equal(rounded, rounded[clamped - xs[0]]))
