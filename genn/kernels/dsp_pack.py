"""Packed weights for the DSP kernels, and the proofs that packing two int8 rows into halfwords is exact."""

from __future__ import annotations

import numpy as np

from genn.ir import Graph, Node
from genn.ops.base import in_tensor, quantized

PAIR_LIMIT = 1 << 23  # of the sum of row A: 256 times it must fit 32 bits


def columns_exact(node: Node, graph: Graph, unit: int) -> tuple[int, int]:
    """(columns, center): how row A's sums come out of the raw ones exactly; (0, 0) where they cannot.

    Rows 0 and 1, 2 and 3, ... are stored as 256 * A + B.  That is exact where the sum over A's columns stays in
    [-2**23, 2**23); only whole sums count, on the way to them the raw sum may wrap.  A sum that exceeds it is taken
    less ``center``, which the bias of A is less; where that is not enough, in chunks of ``columns``, a multiple of
    ``unit``, the bias being part of the first.
    """
    w, b, x = node.quant["w"], node.quant["b"], quantized(in_tensor(node, graph))
    if w.min(initial=0) < -127 or w.max(initial=0) > 127:
        return 0, 0
    first, k = slice(0, len(w) // 2 * 2, 2), w.shape[1]
    w, b = w[first], b[first]
    for parts in range(1, 1 + max(1, k // unit)):
        size = k if parts == 1 else -(-k // parts // unit) * unit
        low, high = sum_range(w[:, :size], b, x.qmin, x.qmax)
        center = min(max(0, high - PAIR_LIMIT + 1), low + PAIR_LIMIT) if low < 0 else max(0, high - PAIR_LIMIT + 1)
        reaches = [(low - center, high - center)]
        reaches += [sum_range(w[:, at : at + size], 0 * b, x.qmin, x.qmax) for at in range(size, k, size)]
        if all(lo >= -PAIR_LIMIT and hi < PAIR_LIMIT for lo, hi in reaches):
            return size, center
    return 0, 0


def sum_range(w: np.ndarray, b: np.ndarray, xmin: int, xmax: int) -> tuple[int, int]:
    """Least and greatest sum w @ x + b over all inputs in [xmin, xmax] and all rows."""
    low = (np.minimum(w * xmin, w * xmax).sum(axis=1) + b).min(initial=0)
    high = (np.maximum(w * xmin, w * xmax).sum(axis=1) + b).max(initial=0)
    return int(low), int(high)


def pairs(w: np.ndarray) -> np.ndarray:
    """Rows (2n, K) as halfwords 256 * A + B, (n, K)."""
    return (256 * w[0::2] + w[1::2]).astype("<i2")


def pair_bias(b: np.ndarray, center: int) -> np.ndarray:
    """For each pair of rows the start of the raw sum, 256 * (A - center) + B modulo 2**32, and B; a last row as is."""
    out = np.array(b, np.int64)
    even = len(b) // 2 * 2
    out[0:even:2] = 256 * (out[0:even:2] - center) + out[1:even:2]
    return (out + (1 << 31)) % (1 << 32) - (1 << 31)


def constants_s8(b: np.ndarray, mult: np.ndarray, center: int, unit: int) -> np.ndarray:
    """Biases (O,) and multipliers (O,) as the kernels' int32: for each ``unit`` (4 or 2) rows their pairs' biases, then
    their multipliers, A << 16 | B; the rest in twos, a last row's bias and multiplier."""
    rows, even, parts, o = len(b), len(b) // 2 * 2, [], 0
    raw = pair_bias(b, center)
    both = mult[0:even:2] << 16 | mult[1:even:2]
    for size in (unit, 2):
        while even - o >= size:
            parts += [raw[o : o + size], both[o // 2 : (o + size) // 2]]
            o += size
    if rows % 2:
        parts += [raw[-1:], mult[-1:]]
    return np.concatenate(parts)


def as_bytes(*parts: np.ndarray) -> np.ndarray:
    """Arrays one behind another, as int8."""
    return np.frombuffer(b"".join(np.ascontiguousarray(part).tobytes() for part in parts), np.int8)
