"""The plain layers in real numbers: shows that they mean what the graph means, and how far each layer's output reaches.

A library whose integers do not saturate needs a scale that leaves room for what a layer makes before its activation.
"""

from __future__ import annotations

import numpy as np

from genn.bench.peers.network import Network, Step, Value


def real(v: Value, x: np.ndarray) -> np.ndarray:
    """Stored numbers as reals."""
    return np.asarray(v.q.dequantize(x) if v.q is not None else x, np.float64)


def weights(step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of a layer in reals."""
    if step.scale is None:
        return np.asarray(step.w, np.float64), np.asarray(step.b, np.float64)
    per_output = np.asarray(step.scale, np.float64)
    return step.w * per_output[:, None, None, None], step.b * per_output * float(step.inputs[0].q.scale)


def run(net: Network, x: np.ndarray) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The network's output in reals for stored inputs ``x`` (S, H, W, C); each step's range before its activation.

    Nothing is rounded between layers.
    """
    values = {id(net.input.buffer): real(net.input, x).reshape(len(x), *net.input.shape[1:])}
    reach = []
    for step in net.steps:
        xs = [values[id(v.buffer)].reshape(len(x), *v.shape[1:]) for v in step.inputs]
        y = _step(step, xs)
        reach.append((float(y.min()), float(y.max())))
        q = step.output.q
        lo, hi = (step.lo, step.hi) if q is None else (q.scale * (b - q.zero_point) for b in (step.lo, step.hi))
        values[id(step.output.buffer)] = np.clip(y, lo, hi)
    return values[id(net.output.buffer)].reshape(len(x), *net.output.shape[1:]), reach


def _step(step: Step, xs: list[np.ndarray]) -> np.ndarray:
    if step.kind == "add":
        return xs[0] + xs[1]
    if step.kind == "softmax":
        e = np.exp(xs[0] - xs[0].max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)
    if step.kind == "sigmoid":
        return 1 / (1 + np.exp(-xs[0]))
    if step.kind == "prelu":
        return np.where(xs[0] > 0, xs[0], xs[0] * step.slopes)
    if step.kind == "linear":
        w, b = weights(step)
        return xs[0].reshape(len(xs[0]), -1, w.shape[3]).dot(w[:, 0, 0].T).reshape(
            len(xs[0]), *step.output.shape[1:]) + b
    taps = _taps(step, xs[0], -np.inf if step.kind == "max_pool" else 0.0)
    if step.kind == "max_pool":
        return np.max(taps, axis=0)
    if step.kind == "avg_pool":
        return np.mean(taps, axis=0)
    w, b = weights(step)
    flat = w.reshape(len(w), -1, w.shape[3])
    if step.kind == "depthwise":
        return sum(t * flat[:, k, 0] for k, t in enumerate(taps)) + b
    return sum(t.dot(flat[:, k].T) for k, t in enumerate(taps)) + b


def _taps(step: Step, x: np.ndarray, fill: float) -> list[np.ndarray]:
    """The input as each tap of the kernel sees it, one image of the output's size a tap."""
    (kh, kw), (sh, sw), (dh, dw), (t, b, left, r) = step.kernel, step.stride, step.dilation, step.pad
    x = np.pad(x, ((0, 0), (t, b), (left, r), (0, 0)), constant_values=fill)
    _, h, w, _ = step.output.shape
    return [x[:, i * dh : i * dh + (h - 1) * sh + 1 : sh, j * dw : j * dw + (w - 1) * sw + 1 : sw]
            for i in range(kh) for j in range(kw)]
