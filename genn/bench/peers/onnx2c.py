"""onnx2c: the compiler of a checkout turns an ONNX file of the network into C.

Flags: -O3, and for floats -ffast-math, as its README recommends.  Its float32 is the network itself.  Its int8 are the
QLinear operators: they take one scale a tensor and do not saturate, so weights are brought to one scale a layer, each
output gets a scale that leaves room for what the layer makes before its activation (zero point 0, then Relu), and what
it has in floats only (average pooling, softmax, ...) stands between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genn.bench.peers import simulate
from genn.bench.peers.common import Port
from genn.bench.peers.network import KINDS, Cannot, Network, Step, Value
from genn.bench.peers.onnx import OnnxModel
from genn.errors import UsageError
from genn.toolchain import first_error, run

if TYPE_CHECKING:
    from genn.api import Model

ROOM = 1.05  # of an output's scale: the simulation does not round between layers, the library does
PROGRAM = ("build/onnx2c", "onnx2c")


class Onnx2c:
    """The compiler in ``path``, a checkout that was built; one ``scheme`` each."""

    def __init__(self, path: Path, scheme: str) -> None:
        found = [path / p for p in PROGRAM if (path / p).is_file()]
        if not (path / "src" / "graph_print.cc").is_file():
            raise UsageError("this is no checkout of onnx2c", str(path), "give the folder of src and CMakeLists.txt")
        if not found:
            raise UsageError("onnx2c is not built", str(path),
                             "in it: git submodule update --init; mkdir build; cd build; "
                             "cmake -DCMAKE_BUILD_TYPE=Release ..; make onnx2c")
        self.path, self.program, self.scheme = path, found[0], scheme
        self.schemes: tuple[str, ...] = (scheme,)
        self.name = "onnx2c QLinear" if scheme == "int8" else "onnx2c float32"
        self.differs = ("its scales are one a tensor and leave room because it does not saturate" if scheme == "int8"
                        else "-ffast-math sums in another order")

    def port(self, model: Model, net: Network, core: str, folder: Path) -> Port:
        """The C of onnx2c and a function that calls it."""
        graph = _Int8(net, model) if self.scheme == "int8" else _Float(net)
        source = folder / "net.onnx"
        source.write_bytes(graph.build())
        made = run([str(self.program), str(source)])
        if made.returncode:
            raise Cannot(first_error(made.stderr) or "onnx2c failed without a word")
        ctype = "int8_t" if self.scheme == "int8" else "float"
        dims = ["".join(f"[{n}]" for n in _nchw(v)[1:]) for v in (net.input, net.output)]
        x, y = net.input.buffer, net.output.buffer
        at = -(-x.size // 8) * 8
        code = [made.stdout, '#include "peer.h"', "int peer_run(void *arena)", "{",
                f"    entry(({ctype}(*){dims[0]})arena, ({ctype}(*){dims[1]})((char *)arena + {at}));",
                "    return 0;", "}", ""]
        return Port({"peer.c": "\n".join(code)}, [], [], at + y.size, "-O3", ("-w", *graph.flags), ("-lm",),
                    core == "m4", feed=lambda a: _first(net.input, a), real=graph.real, places=(0, at))


def _nchw(v: Value) -> tuple[int, ...]:
    n, h, w, c = v.stored
    return n, c, h, w


def _first(v: Value, x: np.ndarray) -> np.ndarray:
    """Channels first."""
    return np.ascontiguousarray(np.transpose(x.reshape(v.stored), (0, 3, 1, 2)))


def _last(v: Value, x: np.ndarray) -> np.ndarray:
    """Channels last."""
    return np.transpose(x.reshape(_nchw(v)), (0, 2, 3, 1))


class _Float:
    """The network in float32: Conv, Gemm, MaxPool, ... on channels first."""

    dtype = "float32"
    flags: tuple[str, ...] = ("-ffast-math", "-ffp-contract=fast")

    def __init__(self, net: Network) -> None:
        self.net, self.model = net, OnnxModel("network")
        self.names = {id(net.input.buffer): "x"}

    def build(self) -> bytes:
        """The ONNX file."""
        self.model.port(self.model.inputs, "x", self.dtype, _nchw(self.net.input))
        for i, step in enumerate(self.net.steps):
            last = step is self.net.steps[-1]
            self.names[id(step.output.buffer)] = self.step(i, step, "y" if last else f"t{i}")
        self.model.port(self.model.outputs, "y", self.dtype, _nchw(self.net.steps[-1].output))
        return self.model.encode()

    def real(self, x: np.ndarray) -> np.ndarray:
        """Its output in our order."""
        return _last(self.net.steps[-1].output, x)

    def inputs(self, i: int, step: Step) -> list[str]:
        """Names of a step's inputs, as images of the shape the step sees them in."""
        out = []
        for k, v in enumerate(step.inputs):
            name = self.names[id(v.buffer)]
            if v.shape != v.stored and not (step.kind == "linear" and v.shape[:3] == (1, 1, 1)):
                if v.flattened:
                    raise Cannot("a reshape that mixes channels and pixels")
                shape = self.model.constant(f"shape{i}_{k}", np.array(_nchw_of(v.shape), np.int64))
                name = self.model.node("Reshape", [name, shape], f"r{i}_{k}")
            out.append(name)
        return out

    def step(self, i: int, step: Step, y: str) -> str:
        """Append the nodes of a step; ``y`` is the name of its result."""
        bound = np.isfinite(step.lo) or np.isfinite(step.hi)
        made = self.plain(i, step, f"z{i}" if bound else y)
        if not bound:
            return made
        if (step.lo, step.hi) == (0, np.inf):
            return self.model.node("Relu", [made], y)
        ends = [self.model.constant(f"{n}{i}", np.float32(v)) for n, v in (("lo", step.lo), ("hi", step.hi))]
        return self.model.node("Clip", [made, *ends], y)

    def plain(self, i: int, step: Step, y: str) -> str:
        """The step without its bounds."""
        xs, node = self.inputs(i, step), self.model.node
        if step.kind in ("conv", "depthwise"):
            w, b = self.constants(i, step)
            return node("Conv", [xs[0], w, b], y, **_window(step), group=_groups(step))
        if step.kind == "linear":
            return self.linear(i, step, xs[0], y)
        if step.kind in ("max_pool", "avg_pool"):
            whole = step.kind == "avg_pool" and step.kernel == step.inputs[0].shape[1:3]
            if whole:
                return node("GlobalAveragePool", xs, y)
            return node("MaxPool" if step.kind == "max_pool" else "AveragePool", xs, y, **_window(step, dilated=False))
        if step.kind == "add":
            return node("Add", xs, y)
        return self.smooth(i, step, xs, y)

    def smooth(self, i: int, step: Step, xs: list[str], y: str) -> str:
        """Softmax, sigmoid and PReLU, which are floats in both schemes."""
        if step.kind == "softmax":
            return self.model.node("Softmax", xs, y, axis=1)
        if step.kind == "sigmoid":
            return self.model.node("Sigmoid", xs, y)
        if step.kind == "prelu":
            slopes = np.asarray(step.slopes, np.float32)
            return self.model.node("PRelu", [*xs, self.model.constant(f"slope{i}", slopes[None, :, None, None])], y)
        raise Cannot(f"it has no {KINDS[step.kind]}")

    def linear(self, i: int, step: Step, x: str, y: str) -> str:
        if step.inputs[0].shape[:3] != (1, 1, 1):
            raise Cannot("a linear layer over several rows")
        w, b = np.asarray(step.w, np.float32).reshape(len(step.w), -1), np.asarray(step.b, np.float32)
        _, h, wd, c = step.inputs[0].stored
        w = w.reshape(-1, h, wd, c).transpose(0, 3, 1, 2).reshape(len(w), -1)
        flat = self.model.node("Flatten", [x], f"f{i}", axis=1)
        names = [self.model.constant(f"w{i}", w), self.model.constant(f"b{i}", b)]
        made = self.model.node("Gemm", [flat, *names], f"g{i}", transB=1)
        shape = self.model.constant(f"shape{i}", np.array(_nchw_of(step.output.shape), np.int64))
        return self.model.node("Reshape", [made, shape], y)

    def constants(self, i: int, step: Step) -> tuple[str, str]:
        w = np.transpose(np.asarray(step.w, np.float32), (0, 3, 1, 2))
        return self.model.constant(f"w{i}", w), self.model.constant(f"b{i}", np.asarray(step.b, np.float32))


class _Int8(_Float):
    """The network in the QLinear operators, with scales of its own (the module's docstring says why)."""

    dtype = "int8"
    flags = ()

    def __init__(self, net: Network, model: Model) -> None:
        super().__init__(net)
        from genn import reference

        assert model.samples is not None
        x = model.graph.inputs[0]
        _, self.reach = simulate.run(net, reference.encode(model.graph, x, model.samples[x][:1]))
        self.scales: dict[int, tuple[float, int]] = {id(net.input.buffer): _own(net.input)}

    def real(self, x: np.ndarray) -> np.ndarray:
        scale, zero = self.scales[id(self.net.steps[-1].output.buffer)]
        return (_last(self.net.steps[-1].output, x) - zero) * scale

    def step(self, i: int, step: Step, y: str) -> str:
        xs, key = self.inputs(i, step), id(step.output.buffer)
        if step.kind == "max_pool":
            self.scales[key] = self.scales[id(step.inputs[0].buffer)]
            return self.model.node("MaxPool", xs, y, **_window(step, dilated=False))
        unit = step.kind in ("softmax", "sigmoid")
        self.scales[key] = _own(step.output) if unit else (ROOM * max(map(abs, self.reach[i])) / 127, 0)
        relu = step.lo == step.output.q.zero_point and not unit
        top = float(step.output.q.scale) * (step.hi - step.output.q.zero_point)
        if step.hi != 127 and top < self.reach[i][1]:
            raise Cannot("a bound other than ReLU's")
        made = self.quantized(i, step, xs, f"z{i}" if relu else y)
        return self.model.node("Relu", [made], y) if relu else made

    def quantized(self, i: int, step: Step, xs: list[str], y: str) -> str:
        """The step in integers; what has no integers there, in floats between two conversions."""
        ins = [self.scale(f"{i}_{k}", self.scales[id(v.buffer)]) for k, v in enumerate(step.inputs)]
        out = self.scale(f"{i}_y", self.scales[id(step.output.buffer)])
        if step.kind in ("conv", "depthwise", "linear"):
            return self.convolution(i, step, [xs[0], *ins[0]], out, y)
        if step.kind == "add":
            return self.model.node("QLinearAdd", [xs[0], *ins[0], xs[1], *ins[1], *out], y)
        floats = [self.model.node("DequantizeLinear", [x, *q], f"d{i}_{k}")
                  for k, (x, q) in enumerate(zip(xs, ins, strict=True))]
        if step.kind == "avg_pool":
            whole = step.kernel == step.inputs[0].shape[1:3]
            made = (self.model.node("GlobalAveragePool", floats, f"a{i}") if whole else
                    self.model.node("AveragePool", floats, f"a{i}", **_window(step, dilated=False)))
        else:
            made = self.smooth(i, step, floats, f"a{i}")
        return self.model.node("QuantizeLinear", [made, *out], y)

    def convolution(self, i: int, step: Step, x: list[str], out: list[str], y: str) -> str:
        """A linear layer is a convolution 1x1, which has a bias: QLinearMatMul has none."""
        largest = float(np.max(step.scale))
        w = np.floor(step.w * (np.asarray(step.scale) / largest)[:, None, None, None] + 0.5)
        window: dict[str, Any] = _window(step)
        if step.kind == "linear":
            if step.inputs[0].shape[:3] != (1, 1, 1):
                raise Cannot("a linear layer over several rows")
            _, h, wd, c = step.inputs[0].stored
            w = w.reshape(-1, h, wd, c).transpose(0, 3, 1, 2).reshape(len(w), 1, 1, -1)
            window = {"kernel_shape": (1, 1)}
            if h * wd > 1:
                shape = self.model.constant(f"shape{i}", np.array((1, h * wd * c, 1, 1), np.int64))
                x = [self.model.node("Reshape", [x[0], shape], f"f{i}"), *x[1:]]
        unit = largest * self.scales[id(step.inputs[0].buffer)][0]
        _, b = simulate.weights(step)
        names = [self.model.constant(f"w{i}", np.transpose(w, (0, 3, 1, 2)).astype(np.int8)),
                 *self.scale(f"{i}_w", (largest, 0))]
        bias = self.model.constant(f"b{i}", np.floor(b / unit + 0.5).astype(np.int32))
        return self.model.node("QLinearConv", [*x, *names, *out, bias], y, **window, group=_groups(step))

    def scale(self, name: str, q: tuple[float, int]) -> list[str]:
        """Constants of a scale and a zero point."""
        return [self.model.constant(f"s{name}", np.float32(q[0])), self.model.constant(f"o{name}", np.int8(q[1]))]


def _own(v: Value) -> tuple[float, int]:
    return float(v.q.scale), v.q.zero_point


def _nchw_of(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    n, h, w, c = shape
    return n, c, h, w


def _groups(step: Step) -> int:
    return step.inputs[0].shape[3] if step.kind == "depthwise" else 1


def _window(step: Step, dilated: bool = True) -> dict[str, Any]:
    t, b, left, r = step.pad
    window: dict[str, Any] = {"kernel_shape": step.kernel, "strides": step.stride, "pads": (t, left, b, r)}
    return window | ({"dilations": step.dilation} if dilated else {})
