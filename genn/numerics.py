"""The integer semantics, once: how accumulators become stored integers.  C (``genn_common.h``) and tests follow it.

Everything here is exact integer arithmetic on NumPy int64 arrays; floats appear only where a conversion-time constant
(multiplier, shift) is derived from real scales, and each derivation states its error.

The one int8 rule, ``requantize``, is cheap on both cores: with a 16-bit multiplier ``m``, a shift ``s`` common to the
layer and ``c = (zero_point << s) + (1 << (s - 1))``::

    y = clamp((((acc * m) >> 16) + c) >> s, lo, hi)

which is SMLAWB and SSAT with a built-in shift on ARMv7E-M, and two 16-bit products on ARMv6-M, which has no high
multiply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genn.errors import GennError

INT32_MAX = (1 << 31) - 1
MULT_BITS = 15  # multipliers are positive int16
NARROW_BITS = 17  # of an int8 layer's biases: with a 15-bit multiplier, one word an output
NARROW_ERROR = 1 / 16  # of an output step: what rounding a bias may cost
MAX_SHIFT = 22  # (128 << 22) + rounding + any product stays inside int32
BLEND_BITS = 15  # the two weights of an interpolation add up to 1 << BLEND_BITS


@dataclass(frozen=True)
class Requant:
    """Constants of the int8 rule for one layer: ``mult`` (int16 per channel), common ``shift``, ``offset`` = c above.

    error: bound on |y - exact rounding's real argument| in output units for any |y| <= 128, rounding (0.5) included.
    """

    mult: np.ndarray
    shift: int
    offset: int
    error: float


def requant_params(scales: np.ndarray, zero_point: int) -> Requant:
    """Multipliers and the common shift for real ``scales`` (> 0, < 0.5 each) of one layer.

    Source of the error bound: |m/2**(16+s) - scale| <= 2**-(17+s), so an output of magnitude v (128 plus the zero
    point's 128 at most) moves by at most v/2/m; dropping 16 bits first moves it by less than 2**-s; rounding by 0.5.
    """
    scales = np.atleast_1d(np.asarray(scales, np.float64))
    top = float(scales.max(initial=0.0))
    if not top < 0.5 or np.any(scales < 0):
        raise GennError(f"requantization scale {top} is outside [0, 0.5)")
    shift = MAX_SHIFT
    while shift > 0 and np.floor(top * 2.0 ** (16 + shift) + 0.5) > (1 << MULT_BITS) - 1:
        shift -= 1
    mult = np.minimum(np.floor(scales * 2.0 ** (16 + shift) + 0.5), (1 << MULT_BITS) - 1).astype(np.int64)
    offset = (zero_point << shift) + ((1 << shift) >> 1)
    live = mult[mult > 0]
    error = 0.5 + 2.0**-shift + (256 * 0.5 / float(live.min()) if live.size else 0.0)
    return Requant(mult, shift, offset, error)


def requantize(acc: np.ndarray, mult: np.ndarray, shift: int, offset: int, lo: int, hi: int) -> np.ndarray:
    """int32 accumulators to stored integers in [lo, hi]; ``mult`` broadcasts over the last axis."""
    high = (np.asarray(acc, np.int64) * mult) >> 16
    return np.clip((high + offset) >> shift, lo, hi)


def blend_weight(share: np.ndarray) -> np.ndarray:
    """Integer weights for real shares in [0, 1] of the second of two values; off by at most 2**-16 of one."""
    return np.floor(np.asarray(share, np.float64) * (1 << BLEND_BITS) + 0.5).astype(np.int64)


def blend(a: np.ndarray, b: np.ndarray, weight: np.ndarray, shift: int) -> np.ndarray:
    """Linear interpolation: ``(a * (2**15 - weight) + b * weight) / 2**shift`` rounded half up, never outside a..b.

    A shift below BLEND_BITS leaves bits below the point for the next interpolation.  For |a|, |b| <= 2**15 every step
    fits int32.
    """
    return (a * ((1 << BLEND_BITS) - weight) + b * weight + ((1 << shift) >> 1)) >> shift


def narrow_bias(bias: np.ndarray, factor: float) -> tuple[np.ndarray, int | None]:
    """int8 biases rounded to NARROW_BITS-bit multiples of a power of two, and its exponent.

    factor: the largest real scale from accumulators to outputs.  Where a bias would move an output by more than
    NARROW_ERROR of a step, they stay as they are and the exponent is None.
    """
    shift = max(0, int(np.abs(bias).max(initial=0)).bit_length() - (NARROW_BITS - 1))
    half = (1 << shift) >> 1
    rounded = np.minimum((bias + half) >> shift, (1 << (NARROW_BITS - 1)) - 1) << shift
    if float(np.abs(rounded - bias).max(initial=0)) * factor > NARROW_ERROR:
        return bias, None
    return rounded, shift


def accumulator_bound(weights: np.ndarray, bias: np.ndarray, xmin: int, xmax: int) -> int:
    """Largest |partial sum| any input in [xmin, xmax] can give: weights int64 (outputs, K), bias int64 (outputs,).

    Every prefix of the sum obeys it too, because the bound adds magnitudes.
    """
    reach = np.maximum(np.abs(weights * xmin), np.abs(weights * xmax)).sum(axis=1) + np.abs(bias)
    return int(reach.max(initial=0))


def multiplier_pair(ratios: list[float], budget: int = 1 << 30, magnitude: int = 1 << 8) -> tuple[list[int], int]:
    """Integer multipliers and one shift s with ratio[i] ~ mult[i] / 2**s, for a sum of a few terms |x| <= magnitude.

    The multipliers are as large as 15 bits and ``budget`` (for the sum of all |mult| * magnitude) allow.
    Returns (multipliers, shift).  Error of each ratio: at most 2**-(shift + 1).
    """
    shift = MAX_SHIFT
    while shift > 0:
        mult = [int(np.floor(abs(r) * 2.0**shift + 0.5)) for r in ratios]
        if max(mult) <= (1 << MULT_BITS) - 1 and sum(mult) * magnitude < budget:
            break
        shift -= 1
    mult = [int(np.floor(abs(r) * 2.0**shift + 0.5)) for r in ratios]
    if max(mult) > (1 << MULT_BITS) - 1:
        raise GennError(f"scale ratio {max(map(abs, ratios))} is too large for a 16-bit multiplier")
    return [m if r >= 0 else -m for m, r in zip(mult, ratios, strict=True)], shift


def clamp_bounds(q, lo: float, hi: float) -> tuple[int, int]:
    """The stored integers that the real bounds [lo, hi] of a fused clamp mean under QParams ``q``."""
    scale = float(q.scale)
    qlo = q.qmin if np.isneginf(lo) else int(np.floor(lo / scale + 0.5)) + q.zero_point
    qhi = q.qmax if np.isposinf(hi) else int(np.floor(hi / scale + 0.5)) + q.zero_point
    qlo, qhi = (int(np.clip(v, q.qmin, q.qmax)) for v in (qlo, qhi))
    return qlo, max(qlo, qhi)
