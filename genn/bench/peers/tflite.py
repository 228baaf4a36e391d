"""Writes a TensorFlow Lite file: the few tables of its flatbuffers schema that a plain network needs, no package.

A flatbuffer is built from its end: what a table refers to is written before it.  Numbers of fields, operators and
options are those of schema.fbs (file identifier TFL3, schema version 3).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genn.bench.peers.network import Cannot, Network, Step, Value

TYPES = {"float32": 0, "int32": 2, "int8": 9}  # TensorType
OPERATORS = {"Add": 0, "AveragePool2D": 1, "Conv2D": 3, "DepthwiseConv2D": 4, "FullyConnected": 9, "Logistic": 14,
             "MaxPool2D": 17, "Reshape": 22, "Softmax": 25, "Pad": 34, "Prelu": 54}  # BuiltinOperator
OPTIONS = {"Add": 11, "AveragePool2D": 5, "Conv2D": 1, "DepthwiseConv2D": 2, "FullyConnected": 8, "MaxPool2D": 5,
           "Reshape": 17, "Softmax": 9, "Pad": 22}  # the type of BuiltinOptions
WINDOWS = ("conv", "depthwise", "max_pool", "avg_pool")
SAME, VALID = 0, 1
NONE, RELU, RELU6 = 0, 1, 3

Field = tuple[int, str, Any]  # number in the schema, struct's format or "ref", value or where it was written


class Flat:
    """Bytes of a flatbuffer, from the end; places are distances from the end."""

    def __init__(self) -> None:
        self.data = b""

    def _align(self, size: int, to: int) -> None:
        self.data = bytes(-(len(self.data) + size) % to) + self.data

    def vector(self, values: bytes | Sequence[Any], fmt: str = "B", align: int = 4) -> int:
        """A vector of numbers."""
        body = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{fmt}", *values)
        self._align(len(body), max(align, 4))
        self.data = struct.pack("<I", len(values)) + body + self.data
        return len(self.data)

    def text(self, value: str) -> int:
        """A string: a vector with a zero behind it."""
        body = value.encode()
        self._align(len(body) + 1, 4)
        self.data = struct.pack("<I", len(body)) + body + b"\0" + self.data
        return len(self.data)

    def refs(self, places: Sequence[int]) -> int:
        """A vector of tables."""
        self._align(0, 4)
        top = len(self.data) + 4 * len(places)
        body = b"".join(struct.pack("<I", top - 4 * i - p) for i, p in enumerate(places))
        self.data = struct.pack("<I", len(places)) + body + self.data
        return len(self.data)

    def table(self, *fields: Field) -> int:
        """A table of ``fields``."""
        at, slots = 4, {}
        for number, fmt, _ in sorted(fields, key=lambda f: -struct.calcsize(f[1].replace("ref", "I"))):
            slots[number] = at
            at += struct.calcsize(fmt.replace("ref", "I"))
        size = -(-at // 4) * 4
        self._align(size, 8)
        place = len(self.data) + size
        body = bytearray(size)
        for number, fmt, value in fields:
            start = slots[number]
            number_format = "<" + fmt.replace("ref", "I")
            struct.pack_into(number_format, body, start, place - start - value if fmt == "ref" else value)
        entries = [slots.get(n, 0) for n in range(max(slots, default=-1) + 1)]
        vtable = struct.pack(f"<{2 + len(entries)}H", 4 + 2 * len(entries), at, *entries)
        vtable = bytes(-len(vtable) % 4) + vtable
        struct.pack_into("<i", body, 0, 4 + 2 * len(entries))
        self.data = vtable + bytes(body) + self.data
        return place

    def finish(self, root: int, identifier: str) -> bytes:
        """The file whose root is the table at ``root``."""
        self._align(8, 16)
        return struct.pack("<I", len(self.data) + 8 - root) + identifier.encode() + self.data


@dataclass
class TfliteModel:
    """A network as a TensorFlow Lite file; ``used`` are the names of its operators."""

    net: Network
    dtype: str
    flat: Flat = field(default_factory=Flat)
    tensors: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)
    operators: list[int] = field(default_factory=list)
    used: list[str] = field(default_factory=list)

    def build(self) -> bytes:
        """The file."""
        self.buffers.append(self.flat.table())  # by convention the first is empty
        net, flat = self.net, self.flat
        first = self.tensor("x", net.input.stored, net.input)
        values = {id(net.input.buffer): (first, self.shapes[first])}
        for i, step in enumerate(net.steps):
            made = self.step(i, step, values)
            values[id(step.output.buffer)] = made, self.shapes[made]
        last = values[id(net.output.buffer)][0]
        graph = flat.table((0, "ref", flat.refs(self.tensors)), (1, "ref", flat.vector([first], "i")),
                           (2, "ref", flat.vector([last], "i")), (3, "ref", flat.refs(self.operators)))
        codes = [flat.table((0, "b", OPERATORS[u]), (2, "i", 1), (3, "i", OPERATORS[u])) for u in self.used]
        root = flat.table((0, "I", 3), (1, "ref", flat.refs(codes)), (2, "ref", flat.refs([graph])),
                          (4, "ref", flat.refs(self.buffers)))
        return flat.finish(root, "TFL3")

    def tensor(self, name: str, shape: Sequence[int], like: Value | None = None, data: Any = None,
               scales: Any = None) -> int:
        """A tensor: an activation with the numbers of ``like``, or constant ``data`` with a scale a channel."""
        flat, buffer = self.flat, 0
        if data is not None:
            raw = np.ascontiguousarray(data, data.dtype.newbyteorder("<")).tobytes()
            self.buffers.append(flat.table((0, "ref", flat.vector(raw, align=16))))
            buffer = len(self.buffers) - 1
        kind = TYPES[self.dtype if data is None else str(data.dtype)]
        fields: list[Field] = [(0, "ref", flat.vector(list(shape), "i")), (1, "b", kind), (2, "I", buffer),
                               (3, "ref", flat.text(name))]
        q = None if like is None else like.q
        if q is not None:
            scales, zero = [float(q.scale)], q.zero_point
        elif scales is not None:
            scales, zero = [float(s) for s in np.ravel(scales)], 0
        if scales is not None:
            axis = 3 if name.startswith("dw") else 0
            zeros = flat.vector([zero] * len(scales), "q", 8)
            fields.append((4, "ref", flat.table((2, "ref", flat.vector(scales, "f")), (3, "ref", zeros),
                                                (6, "i", axis))))
        self.tensors.append(flat.table(*fields))
        self.shapes.append(tuple(shape))
        return len(self.tensors) - 1

    def operator(self, name: str, inputs: Sequence[int], output: int, *options: Field) -> int:
        """Append an operator; returns ``output``."""
        flat = self.flat
        if name not in self.used:
            self.used.append(name)
        fields: list[Field] = [(0, "I", self.used.index(name)), (1, "ref", flat.vector(list(inputs), "i")),
                               (2, "ref", flat.vector([output], "i"))]
        if name in OPTIONS:
            fields += [(3, "B", OPTIONS[name]), (4, "ref", flat.table(*options))]
        self.operators.append(flat.table(*fields))
        return output

    def step(self, i: int, step: Step, values: dict[int, tuple[int, tuple[int, ...]]]) -> int:
        """Append a layer; returns its result's tensor; a linear layer's has two dimensions, as converters write it."""
        xs: list[int] = []
        shape: tuple[int, ...] = step.output.shape
        for k, v in enumerate(step.inputs):
            x, shape = values[id(v.buffer)]
            if v.shape != shape and step.kind in WINDOWS:
                to = self.tensor(f"r{i}_{k}", v.shape, v)
                sizes = self.tensor(f"s{i}_{k}", (4,), data=np.array(v.shape, np.int32))
                x = self.operator("Reshape", [x, sizes], to, (0, "ref", self.flat.vector(list(v.shape), "i")))
            xs.append(x)
        act = _activation(step)
        if step.kind == "linear":
            w, b = self.weights(i, step, np.reshape(step.w, (len(step.w), -1)))
            rows = int(np.prod(step.output.shape[:3]))
            y = self.tensor(f"t{i}", (rows, step.output.shape[3]), step.output)
            return self.operator("FullyConnected", [xs[0], w, b], y, (0, "b", act))
        if step.kind in WINDOWS:
            return self.window(i, step, xs[0], act)
        y = self.tensor(f"t{i}", shape, step.output)
        if step.kind == "add":
            return self.operator("Add", xs, y, (0, "b", act))
        if step.kind == "softmax":
            return self.operator("Softmax", xs, y, (0, "f", 1.0))
        if step.kind == "sigmoid":
            return self.operator("Logistic", xs, y)
        return self.operator("Prelu", [*xs, self.slopes(i, step)], y)

    def window(self, i: int, step: Step, x: int, act: int) -> int:
        """A convolution or a pool, behind a Pad of its own where the padding is neither SAME nor VALID."""
        padding = VALID if not any(step.pad) else SAME if _same(step) else None
        if padding is None:
            if step.kind in ("max_pool", "avg_pool"):
                raise Cannot("a pool with padding that is not SAME")
            x, padding = self.pad(i, step, x), VALID
        y = self.tensor(f"t{i}", step.output.shape, step.output)
        (sh, sw), (kh, kw), (dh, dw) = step.stride, step.kernel, step.dilation
        common: list[Field] = [(0, "b", padding), (1, "i", sw), (2, "i", sh)]
        if step.kind in ("max_pool", "avg_pool"):
            return self.operator("MaxPool2D" if step.kind == "max_pool" else "AveragePool2D", [x], y, *common,
                                 (3, "i", kw), (4, "i", kh), (5, "b", act))
        if step.kind == "conv":
            w, b = self.weights(i, step, step.w)
            return self.operator("Conv2D", [x, w, b], y, *common, (3, "b", act), (4, "i", dw), (5, "i", dh))
        w, b = self.weights(i, step, np.transpose(step.w, (3, 1, 2, 0)), "dw")
        return self.operator("DepthwiseConv2D", [x, w, b], y, *common, (3, "i", 1), (4, "b", act), (5, "i", dw),
                             (6, "i", dh))

    def pad(self, i: int, step: Step, x: int) -> int:
        (t, b, left, r), v = step.pad, step.inputs[0]
        n, h, w, c = v.shape
        sizes = self.tensor(f"p{i}", (4, 2), data=np.array([[0, 0], [t, b], [left, r], [0, 0]], np.int32))
        return self.operator("Pad", [x, sizes], self.tensor(f"q{i}", (n, h + t + b, w + left + r, c), v))

    def weights(self, i: int, step: Step, w: np.ndarray, name: str = "w") -> tuple[int, int]:
        if step.scale is None:
            return (self.tensor(f"{name}{i}", w.shape, data=np.asarray(w, np.float32)),
                    self.tensor(f"b{i}", (len(step.b),), data=np.asarray(step.b, np.float32)))
        unit = np.asarray(step.scale, np.float64) * float(step.inputs[0].q.scale)
        return (self.tensor(f"{name}{i}", w.shape, data=np.asarray(w, np.int8), scales=step.scale),
                self.tensor(f"b{i}", (len(step.b),), data=np.asarray(step.b, np.int32), scales=unit))

    def slopes(self, i: int, step: Step) -> int:
        slopes = np.broadcast_to(np.asarray(step.slopes, np.float64), (1, 1, step.output.shape[3]))
        if step.output.q is None:
            return self.tensor(f"a{i}", slopes.shape, data=slopes.astype(np.float32))
        scale = max(float(np.abs(slopes).max()), 1e-6) / 127
        return self.tensor(f"a{i}", slopes.shape, data=np.floor(slopes / scale + 0.5).astype(np.int8), scales=[scale])


def _activation(step: Step) -> int:
    q, lo, hi = step.output.q, step.lo, step.hi
    if q is not None:
        if hi != 127:
            hi = float(q.scale) * (hi - q.zero_point)
            hi = 6 if abs(hi - 6) <= float(q.scale) else hi
        else:
            hi = np.inf
        lo = 0 if lo == q.zero_point else lo if lo != -128 else -np.inf
    known = {(-np.inf, np.inf): NONE, (0, np.inf): RELU, (0, 6): RELU6}
    if (lo, hi) not in known:
        raise Cannot("a bound other than ReLU's and ReLU6's")
    return known[lo, hi]


def _same(step: Step) -> bool:
    """True where the padding is what TensorFlow calls SAME."""
    _, h, w, _ = step.inputs[0].shape
    want = []
    for size, k, s, d in zip((h, w), step.kernel, step.stride, step.dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        want += [total // 2, total - total // 2]
    return tuple(want) == tuple(step.pad)
