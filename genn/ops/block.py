"""Block floating point for float32 layers (``--float-mode block``): exact integer inner products, rounded once.

A layer's whole input shares one exponent, and each row of weights has one; the inner product of the two integer
vectors is exact, and the real sum ``product * 2**e + bias`` is rounded to float32 once, half to even.
ckernels/genn_block.h says the same in C.  What is approximate is the input: values far below its largest lose low
bits.  ``choose`` therefore takes a layer into the mode only where calibration shows no larger error than the
sequential float32 sum has.

``node.quant`` of a layer in the mode: ``block`` the bits of an input, ``wm`` weights as integers (outputs, K), ``we``
the exponents of its rows, ``block_rms`` and ``float_rms`` the measured errors, ``block_bound`` the proven one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from genn.ir import Graph, Node
from genn.ops import weights

if TYPE_CHECKING:
    from genn.ops.conv import Conv2d

BITS = 25  # of an integer, sign not counted; two digits of 13 bits
SUM_BITS = 60  # an exact sum stays below 2**60
TOP = 60  # the highest bit of a normalized operand of the last addition


def pack_bits(x: np.ndarray, bits: int, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """float32 ``x`` as integers m with |m| <= 2**bits, one exponent E over ``axes``: x = m * 2**(E - 126 - bits).

    Magnitudes are rounded half up.  Returns (int64 array, exponents with ``axes`` kept as 1).
    """
    u = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.int64)
    exponent = np.maximum(u >> 23 & 255, 1)
    mantissa = (u & 0x7FFFFF) | np.where(u >> 23 & 255, 0x800000, 0)
    top = exponent.max(axis=axes, keepdims=True, initial=1)
    drop = top - exponent + (24 - bits)
    right = np.clip(drop, 1, 40)
    m = np.where(drop > 0, (mantissa + (1 << (right - 1))) >> right, mantissa << np.clip(-drop, 0, 40))
    return np.where(u >> 31, -m, m), top


def digits(m: np.ndarray) -> np.ndarray:
    """Integers as the words the C reads: m = high * 2**13 + low, low in [-4096, 4095], in the halves of a word."""
    low = ((m + 4096) & 8191) - 4096
    high = (m - low) >> 13
    return ((high & 0xFFFF) << 16 | (low & 0xFFFF)).astype(np.uint32)


def round_sum(acc: np.ndarray, e: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """acc * 2**e + bias, rounded once to float32; |acc| < 2**SUM_BITS (int64), bias float32 and not -0."""
    u = np.ascontiguousarray(bias, np.float32).view(np.uint32).astype(np.int64)
    eb = np.maximum(u >> 23 & 255, 1)
    b = ((u & 0x7FFFFF) | np.where(u >> 23 & 255, 0x800000, 0)) * np.where(u >> 31, -1, 1)
    acc, e, b, eb = np.broadcast_arrays(acc, e, b, eb - 150)
    (big, ebig), (small, esmall) = _normalized(acc, e), _normalized(b, eb)
    swap = esmall > ebig
    big, small = np.where(swap, small, big), np.where(swap, big, small)
    ebig, esmall = np.where(swap, esmall, ebig), np.where(swap, ebig, esmall)
    d = np.minimum(ebig - esmall, 62)
    shifted = small >> d
    total = big + (shifted | (shifted << d != small))
    size = np.abs(total)
    shift = np.maximum(_bit_length(size) - 24, -149 - ebig)
    right = np.clip(shift, 1, 62)
    q = (size + (1 << (right - 1)) - 1 + (size >> right & 1)) >> right
    q = np.where(shift > 0, q, size << np.clip(-shift, 0, 24))
    q = np.where(size >> np.clip(shift, 0, 62) == 0, np.where(shift > 62, 0, q), q)
    out = np.minimum(((ebig + shift + 149) << 23) + q, 0x7F800000)
    out = np.where(size == 0, 0, out) | np.where(total < 0, 1 << 31, 0)
    return out.astype(np.uint32).view(np.float32)


def _bit_length(size: np.ndarray) -> np.ndarray:
    """Bits of non-negative int64 values."""
    n = np.zeros(size.shape, np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        more = size >> (n + step - 1) > 0
        n = np.where(more, n + step, n)
    return n


def _normalized(m: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same value with its highest bit at TOP; 0 has an exponent below all others."""
    shift = TOP + 1 - _bit_length(np.abs(m))
    return m << np.where(m == 0, 0, shift), np.where(m == 0, -10_000, e - shift)


def input_bits(taps: int) -> int:
    """Bits of an input so that a sum of ``taps`` products stays below 2**SUM_BITS."""
    return min(BITS, SUM_BITS - BITS - math.ceil(math.log2(max(taps, 1))))


def reference(node: Node, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The meaning of a layer in the mode: x (S, *shape) and bias (1, outputs), both float32."""
    from genn.ops import registry
    from genn.ops.conv import largest

    q, attrs = node.quant, node.attrs
    m, exponent = pack_bits(x, q["block"], tuple(range(1, x.ndim)))
    conv = node.op == "conv2d"
    acc = _conv_sums(registry["conv2d"], node, m) if conv else m @ q["wm"].T  # type: ignore[arg-type]
    y = round_sum(acc, exponent + q["we"] - (252 + BITS + q["block"]), bias[0] + np.float32(0))
    return weights.clamp_f(largest(y, attrs.pool) if conv else y, attrs.lo, attrs.hi)


def _conv_sums(op: Conv2d, node: Node, m: np.ndarray) -> np.ndarray:
    """Exact sums (S, N, OH, OW, outputs) of integer inputs."""
    q, attrs, (kh, kw, ci) = node.quant, node.attrs, node.quant["block_kernel"]
    taps = np.stack([xt for _, xt in op._windows(attrs, m, (kh, kw), 0)], axis=-2)
    out, co = [], len(q["wm"]) // attrs.groups
    for g in range(attrs.groups):
        patch = taps[..., g * ci : (g + 1) * ci].reshape(*taps.shape[:-2], kh * kw * ci)
        out.append(patch @ q["wm"][g * co : (g + 1) * co].T)
    return np.concatenate(out, axis=-1)


def accurate(block_rms: float, float_rms: float) -> bool:
    """True where a layer may be in the mode."""
    return block_rms <= float_rms


def choose(graph: Graph, values: Mapping[str, np.ndarray]) -> None:
    """Take every dense linear and convolution into the mode whose error on ``values`` is no larger than float32's.

    values: every activation of some calibration samples (S, *shape), as the float32 reference has them.  The error is
    the root mean square difference of the sums, before clamp and pool, from sums in double precision.
    """
    for node in graph.nodes:
        q = node.quant
        if node.op not in ("linear", "conv2d") or q["sparse"]:
            continue
        kernel = graph[node.inputs[1]].const
        bias = graph[node.inputs[2]].const
        assert kernel is not None and bias is not None
        if node.op == "conv2d" and node.attrs.groups == graph[node.inputs[0]].shape[3] > 1:
            continue  # depthwise: too few taps to gain
        _measure(node, q, values[node.inputs[0]], kernel, bias)


def _measure(node: Node, q: dict[str, Any], x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> None:
    from genn.ops import registry

    op, w = registry[node.op], q["w"]
    wm, we = pack_bits(w, BITS, (1,))
    made: dict[str, Any] = {"block": input_bits(w.shape[1]), "wm": wm, "we": we[:, 0]}
    if node.op == "conv2d":
        made["block_kernel"] = tuple(int(n) for n in kernel.shape[1:])
    plain = node.attrs._replace(lo=-math.inf, hi=math.inf)
    plain = plain._replace(pool=(1, 1)) if node.op == "conv2d" else plain
    trial = Node(node.name, node.op, node.inputs, node.outputs, plain, node.source)
    trial.quant = made
    exact = _double(op, plain, x, kernel, bias)
    block = float(np.sqrt(np.mean((reference(trial, x, bias[None]) - exact) ** 2)))
    sequential = float(np.sqrt(np.mean((op.ref_f(plain, x, kernel[None], bias[None]) - exact) ** 2)))
    reach = float(np.abs(x).max(initial=0.0))
    scale = 2.0 ** (math.frexp(reach)[1]) if reach else 0.0
    rows = np.abs(w.astype(np.float64)).sum(axis=1)
    steps = scale * 2.0 ** -(made["block"] + 1) * rows + w.shape[1] * scale * 2.0 ** (we[:, 0] - 126.0 - BITS - 1)
    bound = float((steps + 2.0**-24 * (rows * reach + np.abs(bias))).max(initial=0.0))
    q.update(block_rms=block, float_rms=sequential, block_bound=bound)
    if accurate(block, sequential):
        q.update(made)


def _double(op: Any, attrs: Any, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sums in double precision."""
    if op.name == "linear":
        return x.astype(np.float64) @ w.T.astype(np.float64) + b
    kh, kw, ci = w.shape[1:]
    taps = np.stack([xt for _, xt in op._windows(attrs, x.astype(np.float64), (kh, kw), 0.0)], axis=-2)
    out, co = [], len(w) // attrs.groups
    for g in range(attrs.groups):
        patch = taps[..., g * ci : (g + 1) * ci].reshape(*taps.shape[:-2], kh * kw * ci)
        out.append(patch @ w[g * co : (g + 1) * co].reshape(co, -1).T.astype(np.float64))
    return np.concatenate(out, axis=-1) + b
