"""From float weights to the integers and bytes a multiply-accumulate kernel reads: shared by linear and convolution.

Weights come as a matrix (outputs, K), K in the kernel's order of taps (kh, kw, ci).  ``prepare`` fills ``node.quant``:

=============  ==========================================================================================
``w``, ``b``   weights (outputs, K) and bias (outputs,): float32, or int64 with the zero point / rounding folded in
``sparse``     True where zeros are left out of storage (genn/ops/sparse.py); ``nm`` an N:M pattern's name, or empty
``bound``      proven largest magnitude of any partial sum (integers); ``bits`` the weight bits used
``requant``    int8: the layer's Requant
``narrow``     int8: every bias is a 17-bit integer times 2**narrow; None where that would move outputs too far
``shift``      int16: final shift; ``split``/``pre``: group length along K and its shift (0: one accumulator)
=============  ==========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from genn import numerics
from genn.errors import ModelError
from genn.ir import NP_DTYPE, Graph, Node
from genn.numerics import INT32_MAX
from genn.ops import sparse
from genn.ops.base import CTYPE, Array, Stats, in_tensor, out_tensor

BLOCK_F32 = 8  # outputs interleaved in a float32 block
CLOSE = 1.05  # as exact as sparse_cost is
MAX_SHIFT = 100  # of int16 weights: real weights lie far inside
MIN_INT16_BITS = 9  # a layer left with fewer weight bits is split along K


def prepare(
    node: Node,
    graph: Graph,
    w: np.ndarray,
    b: np.ndarray,
    stats: Mapping[str, Stats],
    options: Mapping[str, Any],
    split_unit: int = 1,
) -> None:
    """Quantize weights ``w`` (outputs, K) and bias ``b`` for the graph's scheme and decide on sparse storage.

    split_unit: int16 splits along K in multiples of this many taps.
    """
    if graph.scheme == "int8":
        _prepare_int8(node, graph, w, b)
    elif graph.scheme == "int16":
        _prepare_int16(node, graph, w, b, split_unit)
    else:
        node.quant.update(w=w.astype(np.float32), b=b.astype(np.float32) + np.float32(0.0))
    decide_sparse(node, graph, str(options.get("sparse", "auto")))


def decide_sparse(node: Node, graph: Graph, mode: str) -> None:
    """Choose how weights are stored: dense, zeros left out, or by an N:M pattern that they have (``nm``).

    Auto takes what is fastest or, where flash is the goal, smallest; where both count, the smallest of what takes
    CLOSE to as long as dense, if that is fastest.  ``always``: the best of what leaves zeros out.
    """
    from genn.kernels import goal_of, nm, sparse_cost  # the kernels' modules import this one

    q, goal = node.quant, goal_of(graph)
    q["sparse"], q["nm"] = False, ""
    if mode == "never" or q.get("split"):
        return
    w = q["w"]
    found = nm.patterns(w) if nm.runs(node, graph, goal) else []

    def size(form: str) -> float:
        if form in found:
            return nm.stored_bytes(w, form, graph.scheme, goal)
        return _gaps_bytes(node, graph) if form == "gaps" else w.size * NP_DTYPE[graph.scheme].itemsize

    if goal.optimize == "flash":
        costs = {form: size(form) for form in (*found, "dense", "gaps")}
    else:
        costs = sparse_cost.cycles(node, graph, goal, w, found)
    if mode == "always" or (found and goal.only):  # the one kernel of a test takes what it can
        del costs["dense"]
    if found and goal.only:
        del costs["gaps"]
    best = min(costs, key=lambda form: costs[form])
    if best == "dense" and goal.optimize == "balanced":
        best = min((form for form in costs if costs[form] <= CLOSE * costs["dense"]), key=size)
    if best == "gaps" and not math.isfinite(_gaps_bytes(node, graph)):
        best = "dense"
    q["sparse"], q["nm"] = best != "dense", best if best in found else ""


def _gaps_bytes(node: Node, graph: Graph) -> float:
    """Flash of the weights with zeros left out anywhere; infinite where a row's groups are too many to count."""
    dtype = NP_DTYPE[graph.scheme]
    words, counts = sparse.pack_rows(node.quant["w"], sparse.limit_of(node.op, graph.scheme), dtype)
    return 4 * len(words) + 2 * len(counts) if counts.max(initial=0) < 1 << 16 else math.inf


def _prepare_int8(node: Node, graph: Graph, w: np.ndarray, b: np.ndarray) -> None:
    x, y = in_tensor(node, graph), out_tensor(node, graph)
    assert x.q is not None and y.q is not None
    w, b = w.astype(np.float64), b.astype(np.float64)
    sx, zx = float(x.q.scale), x.q.zero_point
    scale = np.abs(w).max(axis=1, initial=0.0) / 127
    # A channel far below the largest needs no finer steps than the output has, and its multiplier must keep its bits;
    # a large bias must fit its accumulator.
    top = float(scale.max(initial=0.0)) or 1.0 / 127
    scale = np.maximum(np.maximum(scale, top / 32), np.abs(b) / (sx * 2.0**28))
    while True:
        wq = np.clip(np.floor(w / scale[:, None] + 0.5), -127, 127).astype(np.int64)
        bq = np.floor(b / (sx * scale) + 0.5).astype(np.int64) - zx * wq.sum(axis=1)
        bound = numerics.accumulator_bound(wq, bq, x.q.qmin, x.q.qmax)
        if bound <= INT32_MAX:
            break
        scale = scale * 2
    factor = sx * scale / float(y.q.scale)
    if factor.max() > 0.499:  # an output step finer than half a product: coarsen the output
        y.q = replace(y.q, scale=float(y.q.scale) * float(factor.max()) / 0.499)
        factor = sx * scale / float(y.q.scale)
    requant = numerics.requant_params(factor, y.q.zero_point)
    rounded, narrow = numerics.narrow_bias(bq, float(factor.max()))
    reach = numerics.accumulator_bound(wq, rounded, x.q.qmin, x.q.qmax)
    if reach <= INT32_MAX:
        bq, bound = rounded, reach
    else:
        narrow = None
    node.quant.update(w=wq, b=bq, bound=bound, bits=8, requant=requant, scale=scale, narrow=narrow)


def _int16_scale(w: np.ndarray, b: np.ndarray, sx: float, xmax: int, limit: int) -> int:
    """Largest weight shift f with |w| < 2**15 and every accumulator proven below ``limit``."""
    reach = np.abs(w).sum(axis=1) * xmax + np.abs(b) / sx
    top = max(float(reach.max(initial=0.0)), 1e-30)
    f = min(
        math.floor(math.log2(limit / top)), math.floor(math.log2(32767 / max(float(np.abs(w).max(initial=0.0)), 1e-30)))
    )
    return min(f, MAX_SHIFT)


def _prepare_int16(node: Node, graph: Graph, w: np.ndarray, b: np.ndarray, unit: int) -> None:
    x, y = in_tensor(node, graph), out_tensor(node, graph)
    assert x.q is not None and y.q is not None
    w, b = w.astype(np.float64), b.astype(np.float64)
    sx, xmax, k = float(x.q.scale), -x.q.qmin, w.shape[1]
    largest = float(np.abs(w).max(initial=0.0))

    def width(f: int) -> int:
        return int(np.abs(np.floor(w * 2.0**f + 0.5)).max(initial=0)).bit_length() + 1

    f, split, pre = _int16_scale(w, b, sx, xmax, INT32_MAX), 0, 0
    if largest > 0 and width(f) < MIN_INT16_BITS and k > unit:
        f, split, pre = _split(w, b, sx, xmax, unit)
    while True:
        wq = np.floor(w * 2.0**f + 0.5).astype(np.int64)
        fy = min(y.q.shift, x.q.shift + f - pre)  # a result finer than the accumulator has no meaning
        shift = x.q.shift + f - pre - fy
        bq = np.floor(b / sx * 2.0 ** (f - pre) + 0.5).astype(np.int64) + ((1 << shift) >> 1 if shift <= 31 else 0)
        bound = _bound_int16(wq, bq, xmax, split, pre)
        if bound <= INT32_MAX and shift <= 31 and np.abs(wq).max(initial=0) <= 32767:
            break
        f -= 1
        if f < -MAX_SHIFT:
            raise ModelError(
                "no int16 weight scale keeps the accumulator inside 32 bits",
                str(node.source or node.name),
                "use --scheme int8 or float32 for this network",
            )
    if fy != y.q.shift:
        y.q = replace(y.q, scale=2.0**-fy)
    node.quant.update(w=wq, b=bq, bound=bound, bits=width(f), shift=shift, split=split, pre=pre, scale=2.0**-f)


def _split(w: np.ndarray, b: np.ndarray, sx: float, xmax: int, unit: int) -> tuple[int, int, int]:
    """Group length, its shift and the weight shift that give a layer at least MIN_INT16_BITS where possible."""
    k, best = w.shape[1], (-99, 0, 0)
    for groups in (2, 4, 8, 16, 32, 64):
        length = -(-k // groups)
        length = -(-length // unit) * unit
        if length >= k:
            continue
        parts = [np.abs(w[:, i : i + length]).sum(axis=1).max() for i in range(0, k, length)]
        top = max(float(max(parts)) * xmax, 1e-30)
        fits = math.floor(math.log2(32767 / float(np.abs(w).max())))
        f = min(math.floor(math.log2(INT32_MAX / 2 / top)), fits, MAX_SHIFT)
        pre = max(0, math.ceil(math.log2(-(-k // length))) + 1)
        if f > best[0]:
            best = (f, length, pre)
        if int(np.abs(w).max() * 2.0**f).bit_length() + 1 >= MIN_INT16_BITS:
            break
    return best if best[1] else (_int16_scale(w, b, sx, xmax, INT32_MAX), 0, 0)


def _bound_int16(wq: np.ndarray, bq: np.ndarray, xmax: int, split: int, pre: int) -> int:
    if not split:
        return numerics.accumulator_bound(wq, bq, -xmax, xmax)
    zero = np.zeros_like(bq)
    groups = [
        numerics.accumulator_bound(wq[:, i : i + split], zero, -xmax, xmax) + ((1 << pre) >> 1)
        for i in range(0, wq.shape[1], split)
    ]
    total = sum((g >> pre) + 1 for g in groups) + int(np.abs(bq).max(initial=0))
    return max([*groups, total])


def int16_error(w: np.ndarray, b: np.ndarray, x: Stats, bits: int) -> float:
    """Estimated mean squared output error of an int16 layer whose input has ``bits`` bits (uniform noise model)."""
    peak = max(abs(x.lo), abs(x.hi), 1e-30)
    sx = 2.0 ** -math.floor(math.log2(((1 << (bits - 1)) - 1) / peak))
    f = _int16_scale(w, b, sx, 1 << (bits - 1), INT32_MAX)
    sw = 2.0**-f
    return float(sx**2 / 12 * (w.astype(np.float64) ** 2).sum(axis=1).mean() + sw**2 / 12 * w.shape[1] * x.rms**2)


def finish(node: Node, graph: Graph, acc: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """Accumulators (channels last) to stored outputs, clamp fused."""
    q, y = node.quant, out_tensor(node, graph)
    qlo, qhi = numerics.clamp_bounds(y.q, lo, hi)
    if graph.scheme == "int8":
        r = q["requant"]
        return numerics.requantize(acc, r.mult, r.shift, r.offset, qlo, qhi)
    return np.clip(acc >> q["shift"], qlo, qhi)  # the bias holds the rounding constant


def finish_params(node: Node, graph: Graph, lo: float, hi: float) -> dict[str, Any]:
    """The fields every multiply-accumulate kernel's parameter struct ends with."""
    q, y = node.quant, out_tensor(node, graph)
    if graph.scheme == "float32":
        clamp = (1 if lo > -math.inf else 0) | (2 if hi < math.inf else 0)
        return {"clamp": clamp, "lo": lo if clamp & 1 else 0.0, "hi": hi if clamp & 2 else 0.0}
    qlo, qhi = numerics.clamp_bounds(y.q, lo, hi)
    if graph.scheme == "int8":
        return {"shift": q["requant"].shift, "offset": q["requant"].offset, "lo": qlo, "hi": qhi}
    return {"split": q["split"], "pre": q["pre"], "shift": q["shift"], "lo": qlo, "hi": qhi}


def clamp_f(y: np.ndarray, lo: float, hi: float) -> np.ndarray:
    """The fused clamp in float32: ``v > lo ? v : lo``, then ``v < hi ? v : hi``."""
    if lo > -math.inf:
        y = np.where(y > np.float32(lo), y, np.float32(lo))
    if hi < math.inf:
        y = np.where(y < np.float32(hi), y, np.float32(hi))
    return y.astype(np.float32)


def pack(node: Node, graph: Graph, blocks: list[int] | None = None) -> tuple[Array, dict[str, Array], tuple[str, ...]]:
    """Packed weights, the constant arrays, and their argument names in kernel order.

    blocks: for dense float32, the row counts of consecutive output groups that are interleaved on their own
    (grouped convolution); None for one group.
    """
    q = node.quant
    ctype = CTYPE[graph.scheme]
    consts = {"bias": Array("float" if graph.scheme == "float32" else "int32_t", q["b"])}
    if graph.scheme == "int8":
        consts["mult"] = Array("int16_t", q["requant"].mult)
    if q["sparse"]:
        words, counts = sparse.pack_rows(q["w"], sparse.limit_of(node.op, graph.scheme), NP_DTYPE[graph.scheme])
        consts["count"] = Array("uint16_t", counts)
        return Array("uint32_t", words), consts, ("w", *(f"c.{name}" for name in consts))
    if graph.scheme == "float32":
        values = interleave(q["w"], blocks or [len(q["w"])])
    else:
        values = q["w"].ravel()
    names = ("w", *(f"c.{name}" for name in consts))
    return Array(ctype, values), consts, names


def interleave(w: np.ndarray, groups: list[int], block: int = BLOCK_F32) -> np.ndarray:
    """Rows in blocks of ``block`` per group (the last as wide as what is left), each block stored [K][width]."""
    parts, row = [], 0
    for rows in groups:
        for o in range(0, rows, block):
            parts.append(w[row + o : row + min(o + block, rows)].T.ravel())
        row += rows
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
