"""A quantized network as other libraries take it: plain layers with scales, nothing packed.

A convolution with a fused pool becomes a convolution and a pool; views share their input's buffer.  What a library
cannot take is refused with a reason, which the benchmark prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genn import numerics
from genn.ir import Graph, Node, QParams
from genn.ops import registry
from genn.ops.base import in_tensor, quantized

Image = tuple[int, int, int, int]


class Cannot(Exception):
    """Why a library cannot run a network."""


@dataclass
class Buffer:
    """A stretch of memory: bytes, the steps between which it is in use, and where it was placed."""

    size: int
    first: int
    last: int
    offset: int = 0


@dataclass
class Value:
    """An activation: its shape as (N, H, W, C), what its integers mean, and where they lie."""

    shape: Image
    q: QParams
    buffer: Buffer


@dataclass
class Step:
    """One layer.  kind: conv, depthwise, linear, max_pool, avg_pool or add; pad is (top, bottom, left, right).

    w: int8 weights (outputs, kh, kw, inputs of a group); b: bias without the zero point folded in; scale: the weights',
    one per output.
    """

    kind: str
    inputs: list[Value]
    output: Value
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: Image = (0, 0, 0, 0)
    lo: int = -128
    hi: int = 127
    w: Any = None
    b: Any = None
    scale: Any = None


@dataclass
class Network:
    """The steps in order, the network's input and output, and the bytes that all activations take."""

    steps: list[Step]
    input: Value
    output: Value
    bytes: int


def network(graph: Graph) -> Network:
    """The plain layers of an int8 graph; Cannot names the operator that has no counterpart."""
    if graph.scheme != "int8" or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise Cannot("only int8 networks with one input and one output are compared")
    buffers: list[Buffer] = []
    steps: list[Step] = []

    def new(shape: tuple[int, ...], q: QParams) -> Value:
        buffers.append(Buffer(int(np.prod(shape)), len(steps), len(steps)))
        return Value(_image(shape), q, buffers[-1])

    first = graph.inputs[0]
    values = {first: new(graph[first].shape, quantized(graph[first]))}
    for node in graph.nodes:
        xs = [values[i] for i in node.inputs if graph[i].const is None]
        y = graph[node.outputs[0]]
        if registry[node.op].view:
            values[y.name] = Value(_image(y.shape), xs[0].q, xs[0].buffer)
            continue
        step = _step(node, graph, xs)
        pool = getattr(node.attrs, "pool", (1, 1))
        n, h, w, c = _image(y.shape)
        for x in xs:
            x.buffer.last = len(steps)
        if tuple(pool) != (1, 1):
            step.output = new((n, *_unpooled(step), c), quantized(y))
            steps.append(step)
            step.output.buffer.last = len(steps)
            step = Step("max_pool", [step.output], step.output, tuple(pool), tuple(pool))
        step.output = values[y.name] = new((n, h, w, c), quantized(y))
        steps.append(step)
    output = values[graph.outputs[0]]
    output.buffer.last = len(steps)
    return Network(steps, values[first], output, _place(buffers))


def _image(shape: tuple[int, ...]) -> Image:
    if len(shape) > 4:
        raise Cannot(f"a tensor of {len(shape)} dimensions")
    n, h, w, c = (1,) * (4 - len(shape)) + tuple(shape)
    return n, h, w, c


def _unpooled(step: Step) -> tuple[int, int]:
    """Height and width of a convolution's own output."""
    _, h, w, _ = step.inputs[0].shape
    reach = [d * (k - 1) + 1 for d, k in zip(step.dilation, step.kernel, strict=True)]
    t, b, left, r = step.pad
    return (h + t + b - reach[0]) // step.stride[0] + 1, (w + left + r - reach[1]) // step.stride[1] + 1


def _step(node: Node, graph: Graph, xs: list[Value]) -> Step:
    a, y = node.attrs, graph[node.outputs[0]]
    step = Step("", xs, xs[0])
    lo, hi = getattr(a, "lo", -np.inf), getattr(a, "hi", np.inf)
    step.lo, step.hi = numerics.clamp_bounds(quantized(y), lo, hi)
    if node.op in ("conv2d", "linear"):
        w = in_tensor(node, graph, 1)
        wq = node.quant["w"]
        step.scale = node.quant["scale"]
        step.b = node.quant["b"] + xs[0].q.zero_point * wq.sum(axis=1)
        if node.op == "linear":
            step.kind, step.w = "linear", wq.reshape(len(wq), 1, 1, -1)
            return step
        step.w = wq.reshape(w.shape)
        channels = xs[0].shape[3]
        step.kind = "depthwise" if a.groups == channels == len(wq) and channels > 1 else "conv"
        if a.groups > 1 and step.kind == "conv":
            raise Cannot("a grouped convolution")
        step.kernel, step.stride, step.dilation, step.pad = (w.shape[1], w.shape[2]), a.stride, a.dilation, a.pad
        return step
    _, h, w_, _ = xs[0].shape
    if node.op == "max_pool2d" and tuple(a.dilation) == (1, 1):
        step.kind, step.kernel, step.stride, step.pad = "max_pool", a.kernel, a.stride, a.pad
    elif node.op == "avg_pool2d":
        step.kind, step.kernel, step.stride, step.pad = "avg_pool", a.kernel, a.stride, a.pad
    elif node.op == "adaptive_avg_pool2d" and h % a.out[0] == 0 and w_ % a.out[1] == 0:
        step.kind, step.kernel = "avg_pool", (h // a.out[0], w_ // a.out[1])
        step.stride = step.kernel
    elif node.op == "add" and len(xs) == 2 and xs[0].shape == xs[1].shape:
        step.kind = "add"
    else:
        raise Cannot(f"operator {node.op}")
    return step


def _place(buffers: list[Buffer]) -> int:
    """Largest first, each at the lowest place free of those in use with it; the bytes of all together."""
    placed: list[Buffer] = []
    for b in sorted(buffers, key=lambda b: -b.size):
        at = 0
        for other in sorted((o for o in placed if o.first <= b.last and b.first <= o.last), key=lambda o: o.offset):
            if at + b.size <= other.offset:
                break
            at = max(at, -(-(other.offset + other.size) // 4) * 4)
        b.offset = at
        placed.append(b)
    return max(b.offset + b.size for b in buffers)
