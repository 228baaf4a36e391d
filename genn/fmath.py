"""exp, log, sigmoid, tanh and erf in float32, as in ``genn_math.h``, so that every machine gives the same bits.

Each function takes and returns a float32 array of any shape and uses only + - * / and integer operations on the bits,
in the order of the C.  NaN in gives NaN out (which NaN is not defined).  Errors are in units in the last place (ULP) of
the exact result, over all float32 inputs whose result is a normal number, measured by ``tests/test_activation.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps

import numpy as np

F = np.float32
Function = Callable[[np.ndarray], np.ndarray]

# Bounds; the worst of every float with 2**-12 <= |x| < 2**7 (log, tanh: of all): exp 0.990, log 0.829, sigmoid 2.402,
# tanh 1.330, erf 1.439.
MAX_ULP = {"exp": 1.0, "log": 1.0, "sigmoid": 2.5, "tanh": 1.5, "erf": 1.5}

_MAGIC = np.array(12582912.0, F)  # 1.5 * 2**23: adding it rounds to an integer
_SQRT_HALF = np.uint32(0x3F3504F3)
_SIGN = np.uint32(0x80000000)


def _quiet(f: Function) -> Function:
    """Take anything as float32, without NumPy's warnings about the branches that ``where`` then drops."""

    @wraps(f)
    def wrapper(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return f(np.asarray(x, F))

    return wrapper


def _bits(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, F).view(np.uint32)


def _from_bits(u: np.ndarray) -> np.ndarray:
    return np.asarray(u, np.uint32).view(F)


def _signed(magnitude: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return _from_bits(_bits(magnitude) | (_bits(sign) & _SIGN))


def _horner(x: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Highest power first; the first step is a product with a constant."""
    y = np.full_like(x, F(coefficients[0]))
    for c in coefficients[1:]:
        y = y * x + F(c)
    return y


@_quiet
def exp(x: np.ndarray) -> np.ndarray:
    """e**x within 1 ULP.  Above 88.72283: inf; results below 2**-126 are denormal numbers, below -104: 0."""
    inside = np.where((x >= F(-104.0)) & (x <= F(88.72283)), x, F(0))
    t = inside * F(1.44269504) + _MAGIC
    k = _bits(t).astype(np.int64) - int(_bits(_MAGIC))
    n = t - _MAGIC
    r = inside - n * F(0.693359375)
    r = r - n * F(-2.12194440e-4)
    p = _horner(r, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                    5.0000001201e-1))  # fmt: skip
    p = p * (r * r) + r
    p = p + F(1.0)
    large = k >= -125
    scaled = _from_bits((_bits(p).astype(np.int64) + (np.where(large, k, k + 64) << 23)).astype(np.uint32))
    y = np.where(large, scaled, scaled * F(5.42101086e-20))
    y = np.where(x > F(88.72283), F(np.inf), np.where(x < F(-104.0), F(0), y))
    return np.where(np.isnan(x), x, y)


@_quiet
def log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm within 1 ULP, of denormal numbers too.  log(0) = -inf, of negative numbers NaN."""
    tiny = x < F(1.17549435e-38)
    u = _bits(np.where(tiny, x * F(8388608.0), x)) - _SQRT_HALF
    k = np.where(tiny, -23, 0) + (u.view(np.int32) >> 23)
    f = _from_bits((u & np.uint32(0x007FFFFF)) + _SQRT_HALF) - F(1.0)
    e = k.astype(F)
    z = f * f
    p = _horner(f, (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1))  # fmt: skip
    p = (p * f) * z
    p = p + e * F(-2.12194440e-4)
    p = p - F(0.5) * z
    y = (f + p) + e * F(0.693359375)
    y = np.where(x > F(3.40282347e38), x, y)
    return np.where(x > 0, y, np.where(x < 0, F(np.nan), np.where(x == 0, F(-np.inf), x)))


@_quiet
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) within 2.5 ULP, of very negative x too; exactly 1 from about 17, 0 below -104."""
    e = exp(_from_bits(_bits(x) | _SIGN))
    return np.where(x < 0, e, F(1.0)) / (F(1.0) + e)


@_quiet
def tanh(x: np.ndarray) -> np.ndarray:
    """Hyperbolic tangent within 1.5 ULP; exactly +-1 from about 9.02; tanh(-0) = -0."""
    a = np.abs(x)
    z = a * a
    near = _horner(z, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
    near = a + a * (z * near)
    far = F(1.0) - F(2.0) / (exp(a + a) + F(1.0))
    return _signed(np.where(a > F(0.625), far, near), x)


@_quiet
def erf(x: np.ndarray) -> np.ndarray:
    """Error function within 1.5 ULP; exactly +-1 from about 3.92; erf(-0) = -0."""
    a = np.abs(x)
    z = a * a
    near = _horner(z, (-6.0133932857e-4, 4.9980008043e-3, -2.6770232245e-2, 1.1281926930e-1, -3.7612506747e-1,
                       1.2837915123e-1))  # fmt: skip
    near = a + a * near
    b = np.where(a < F(4.0), a, F(4.0))
    far = _horner(b, (-2.1392395138e-4, 3.2144514844e-3, -2.2888341919e-2, 1.0525930673e-1, 6.3572025299e-1,
                      1.2851378322e-1))  # fmt: skip
    far = F(1.0) - exp(-(b + b * far))
    return _signed(np.where(a > F(0.921875), far, near), x)
