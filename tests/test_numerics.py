"""The integer rules against exact arithmetic, and against the C that must say the same."""

from __future__ import annotations

import ctypes
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genn import numerics, paths
from genn.errors import GennError
from genn.ir import QParams


@settings(max_examples=300, deadline=None)
@given(st.floats(1e-7, 0.499), st.integers(-128, 127), st.integers(-(2**31) + 1, 2**31 - 1))
@example(1e-05, -128, -50600)  # just below the range: it saturates
def test_requantize_is_within_its_stated_error_of_exact_arithmetic(scale: float, zero: int, acc: int) -> None:
    r = numerics.requant_params(np.array([scale]), zero)
    got = int(numerics.requantize(np.array([acc]), r.mult, r.shift, r.offset, -128, 127)[0])
    exact = min(max(Fraction(acc) * Fraction(scale) + zero, Fraction(-128)), Fraction(127))  # it saturates too
    assert abs(got - exact) <= Fraction(r.error)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1e-6, 0.49), min_size=2, max_size=5), st.integers(-128, 127))
def test_channels_within_a_factor_of_32_keep_ten_bits_of_multiplier(scales: list[float], zero: int) -> None:
    scales = [max(s, max(scales) / 32) for s in scales]
    r = numerics.requant_params(np.array(scales), zero)
    assert r.mult.max() <= 32767
    if r.shift < numerics.MAX_SHIFT:
        assert r.mult.min() >= 511
        assert r.error <= 0.76 + 2.0**-r.shift


def test_scales_outside_the_rule_are_refused() -> None:
    for bad in (0.5, 3.0, -0.1, float("nan")):
        with pytest.raises(GennError):
            numerics.requant_params(np.array([bad]), 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=4))
def test_multiplier_pair_keeps_its_error(ratios: list[float]) -> None:
    mult, shift = numerics.multiplier_pair(ratios)
    for m, r in zip(mult, ratios, strict=True):
        assert abs(m / 2**shift - r) <= 2.0 ** -(shift + 1) + 1e-12
    assert sum(map(abs, mult)) * 256 < 1 << 30


def test_accumulator_bound_is_reached_by_the_worst_input() -> None:
    rng = np.random.default_rng(0)
    w, b = rng.integers(-127, 128, (5, 40)), rng.integers(-1000, 1000, 5)
    bound = numerics.accumulator_bound(w, b, -128, 127)
    worst = np.where(w > 0, 127, -128)
    other = np.where(w > 0, -128, 127)
    reached = max(abs((w * worst).sum(1) + b).max(), abs((w * other).sum(1) + b).max())
    assert reached <= bound <= reached * 1.02 + 2000


def test_clamp_bounds() -> None:
    q = QParams(8, 0.1, -28)
    assert numerics.clamp_bounds(q, 0.0, float("inf")) == (-28, 127)
    assert numerics.clamp_bounds(q, 0.0, 6.0) == (-28, 32)
    assert numerics.clamp_bounds(q, -float("inf"), float("inf")) == (-128, 127)
    assert numerics.clamp_bounds(q, 50.0, 60.0) == (127, 127)


C = """
#include "genn_common.h"
void many(const int32_t *acc, int32_t n, int32_t mult, int32_t shift, int32_t offset, int32_t lo, int32_t hi,
          int32_t *y)
{
    for (int32_t i = 0; i < n; i++)
        y[i] = genn_requantize(acc[i], mult, shift, offset, lo, hi);
}
"""


def test_c_requantizes_as_numpy_does(tmp_path: Path) -> None:
    (tmp_path / "r.c").write_text(C)
    so = tmp_path / "r.so"
    subprocess.run(
        ["cc", "-std=c99", "-O2", "-shared", "-fPIC", f"-I{paths.kernels_dir()}", tmp_path / "r.c", "-o", so],
        check=True,
    )
    lib = ctypes.CDLL(str(so))
    rng = np.random.default_rng(1)
    acc = np.concatenate(
        [
            rng.integers(-(2**31), 2**31, 100_000),
            rng.integers(-300, 300, 1000),
            [-(2**31), 2**31 - 1, 0, -1, 1, 65535, 65536, -65536, -65537],
        ]
    ).astype(np.int32)
    for _ in range(20):
        r = numerics.requant_params(np.array([10 ** rng.uniform(-7, -0.4)]), int(rng.integers(-128, 128)))
        y = np.empty_like(acc)
        lib.many(
            acc.ctypes.data_as(ctypes.c_void_p),
            len(acc),
            int(r.mult[0]),
            r.shift,
            r.offset,
            -128,
            127,
            y.ctypes.data_as(ctypes.c_void_p),
        )
        assert np.array_equal(y, numerics.requantize(acc, r.mult, r.shift, r.offset, -128, 127))


@given(st.lists(st.integers(-(2**28), 2**28), min_size=1, max_size=9), st.floats(1e-7, 0.4))
def test_narrow_biases_move_no_output_by_more_than_they_may(bias: list[int], factor: float) -> None:
    wide = np.array(bias, np.int64)
    rounded, shift = numerics.narrow_bias(wide, factor)
    if shift is None:
        assert np.array_equal(rounded, wide)
        return
    assert np.abs(rounded - wide).max() * factor <= numerics.NARROW_ERROR
    assert np.array_equal(rounded >> shift << shift, rounded)
    assert np.abs(rounded >> shift).max() <= 1 << (numerics.NARROW_BITS - 1)


def test_biases_of_17_bits_stay_as_they_are() -> None:
    bias = np.array([65535, -65535, 0, 5])
    rounded, shift = numerics.narrow_bias(bias, 0.4)
    assert shift == 0
    assert np.array_equal(rounded, bias)
