"""A network as other libraries take it: plain layers, of int8 with their scales, nothing packed.

A convolution with a fused pool becomes a convolution and a pool; views share their input's buffer; the average of a
pool keeps its input's scale, because no library scales there.  What a library cannot take is refused with a reason,
which the benchmark prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genn import numerics
from genn.ir import NP_DTYPE, Graph, Node, QParams, Tensor
from genn.ops import registry
from genn.ops.base import in_tensor, quantized

Image = tuple[int, int, int, int]
KINDS = {"conv": "convolution", "depthwise": "depthwise convolution", "linear": "linear layer",
         "max_pool": "max pooling", "avg_pool": "average pooling", "add": "addition", "softmax": "softmax",
         "prelu": "PReLU", "sigmoid": "sigmoid"}


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
    """An activation: its shape as (N, H, W, C), what its integers mean, and where they lie.

    stored: the shape it had before it was flattened, which a library that keeps channels first must know.
    q: None in float32.
    """

    shape: Image
    q: QParams
    buffer: Buffer
    stored: Image = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        if not any(self.stored):
            self.stored = self.shape

    @property
    def flattened(self) -> bool:
        """True where channels first would be another order: several channels of several pixels became one row."""
        _, h, w, c = self.stored
        return self.shape[3] != c and h * w > 1 and c > 1


@dataclass
class Step:
    """One layer.  kind: a key of KINDS; pad is (top, bottom, left, right).

    w: weights (outputs, kh, kw, inputs of a group), int8 or float32; b: bias without the zero point folded in; scale:
    the weights', one per output; lo and hi: the bounds of the output, in its own integers or in reals; slopes: PReLU's,
    one or one a channel.
    """

    kind: str
    inputs: list[Value]
    output: Value
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: Image = (0, 0, 0, 0)
    lo: float = -128
    hi: float = 127
    w: Any = None
    b: Any = None
    scale: Any = None
    slopes: Any = None


@dataclass
class Network:
    """The steps in order, the network's input and output, and the bytes that all activations take."""

    steps: list[Step]
    input: Value
    output: Value
    bytes: int


def network(graph: Graph) -> Network:
    """The plain layers of an int8 or float32 graph; Cannot names the operator that has no counterpart."""
    if graph.scheme == "int16" or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise Cannot("only int8 and float32 networks with one input and one output are compared")
    buffers: list[Buffer] = []
    steps: list[Step] = []

    def new(shape: tuple[int, ...], tensor: Tensor) -> Value:
        size = int(np.prod(shape)) * NP_DTYPE[graph.scheme].itemsize
        buffers.append(Buffer(size, len(steps), len(steps)))
        return Value(_image(shape), _q(tensor), buffers[-1])

    first = graph.inputs[0]
    values = {first: new(graph[first].shape, graph[first])}
    for node in graph.nodes:
        xs = [values[i] for i in node.inputs if graph[i].const is None]
        y = graph[node.outputs[0]]
        if registry[node.op].view:
            values[y.name] = Value(_image(y.shape), xs[0].q, xs[0].buffer, xs[0].stored)
            continue
        step = _step(node, graph, xs)
        pool = getattr(node.attrs, "pool", (1, 1))
        n, h, w, c = _image(y.shape)
        for x in xs:
            x.buffer.last = len(steps)
        if tuple(pool) != (1, 1):
            step.output = new((n, *_unpooled(step), c), y)
            steps.append(step)
            step.output.buffer.last = len(steps)
            step = Step("max_pool", [step.output], step.output, tuple(pool), tuple(pool), lo=step.lo, hi=step.hi)
        step.output = values[y.name] = new((n, h, w, c), y)
        if step.kind == "avg_pool" and y.q is not None and y.name not in graph.outputs:
            step.output.q, step.lo, step.hi = xs[0].q, xs[0].q.qmin, xs[0].q.qmax
        steps.append(step)
    output = values[graph.outputs[0]]
    output.buffer.last = len(steps)
    return Network(steps, values[first], output, _place(buffers))


def _q(tensor: Tensor) -> Any:
    return None if tensor.q is None else quantized(tensor)


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
    step.lo, step.hi = (lo, hi) if y.q is None else numerics.clamp_bounds(quantized(y), lo, hi)
    if node.op in ("conv2d", "linear"):
        w = in_tensor(node, graph, 1)
        if y.q is None:
            assert w.const is not None
            wq, step.b = w.const.reshape(len(w.const), -1), in_tensor(node, graph, 2).const
        else:
            wq, step.scale = node.quant["w"], node.quant["scale"]
            ours = quantized(in_tensor(node, graph))
            plain = node.quant["b"] + ours.zero_point * wq.sum(axis=1)
            step.b = np.floor(plain * (float(ours.scale) / float(xs[0].q.scale)) + 0.5).astype(np.int64)
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
    elif node.op == "adaptive_avg_pool2d":
        if h % a.out[0] or w_ % a.out[1]:
            raise Cannot(f"an average of {h} x {w_} to {a.out[0]} x {a.out[1]}, whose windows differ")
        step.kind, step.kernel = "avg_pool", (h // a.out[0], w_ // a.out[1])
        step.stride = step.kernel
    elif node.op in ("sigmoid", "prelu") or (node.op == "softmax" and a.axis == len(y.shape) - 1):
        step.kind, step.slopes = node.op, node.quant.get("slopes")
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
