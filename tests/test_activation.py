"""Activations and softmax: errors as stated, C equal to NumPy on dense sweeps, no library function needed.

Every case becomes a function of one C file: built optimised for equality, with traps on undefined behaviour for the
same inputs, and (some of them) for ARMv6-M to look at its symbols.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from torch import nn

from genn import fmath, frontend, paths, reference
from genn.codegen import literal
from genn.errors import ModelError
from genn.ir import NP_DTYPE, Graph, Node, QParams, Tensor
from genn.ops import lut, registry
from genn.ops.base import CTYPE, INF, Stats
from genn.toolchain import WARNINGS

EDGES = (0.0, 0.5, 0.625, 0.70710678, 0.921875, 1.0, 2.0**0.5, 3.0, 3.92, 9.02, 16.0, 17.0, 87.33, 88.72283, 103.97,
         104.0, 128.0)  # fmt: skip
Cases = list[tuple[Graph, np.ndarray]]
SMOOTH = ("sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "gelu")
MATH = "".join(
    f"void math_{n}(const float *x, float *y, int32_t samples);\n"
    f"void math_{n}(const float *x, float *y, int32_t samples)\n"
    f"{{\n    for (int32_t i = 0; i < samples; i++)\n        y[i] = genn_{n}f(x[i]);\n}}\n"
    for n in fmath.MAX_ULP
)
CHILD = """
import ctypes, sys
import numpy as np
lib, data = ctypes.CDLL(sys.argv[1]), np.load(sys.argv[2])
for k in data.files:
    x = data[k]
    y = np.empty_like(x)
    print(k, flush=True)
    getattr(lib, k)(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_int32(len(x)))
"""


def floats(step: int) -> np.ndarray:
    """Every ``step``-th float32, NaN and infinities included, and the neighbours of places where formulas change."""
    parts = [np.arange(start, stop, by, dtype=np.uint32) for start, stop, by in
             ((0, 1 << 31, step), (0x7F7FFFF0, 0x7F800010, 1))]  # fmt: skip
    for edge in EDGES:
        at = int(np.float32(edge).view(np.uint32))
        parts.append(np.arange(max(0, at - 1000), at + 1000, dtype=np.uint32))
    bits = np.concatenate(parts)
    return np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal byte for byte, any NaN counting as any other."""
    return bool(np.all((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))))


def make(op: str, attrs: tuple, shape: tuple[int, ...], scheme: str = "float32", xq: QParams | None = None,
         yq: QParams | None = None, alpha: np.ndarray | None = None, top: float | None = None) -> Graph:  # fmt: skip
    """A graph of one prepared node.  Output QParams: ``yq``, or the operator's proposal for outputs in +-``top``."""
    o, g = registry[op], Graph("g", ["x"], ["y"], scheme=scheme)
    g.add(Tensor("x", shape, scheme, xq))
    g.add(Tensor("y", shape, scheme))
    ins = ["x"] if alpha is None else ["x", g.const("alpha", alpha).name]
    node = Node("n", op, ins, ["y"], o.Attrs(*attrs))
    g.nodes.append(node)
    g.verify()
    if xq is not None:
        top = top or float(xq.scale) * 2 ** (xq.bits - 1)
        g["y"].q = yq or o.qparams(node, g, {"y": Stats(-top, top, 1.0)})
    o.prepare(node, g, {}, {})
    return g


def run(g: Graph, x: np.ndarray) -> np.ndarray:
    return reference.run(g, {"x": x})["y"]


def every(q: QParams) -> np.ndarray:
    """Every input of ``q`` as one sample."""
    return lut.inputs(q)[None]


class Bench:
    """Graphs of one node, each a function ``case_K(x, y, samples)`` of one C file."""

    def __init__(self) -> None:
        self.text, self.headers, self.cases = [], {"genn_math.h"}, []

    def add(self, g: Graph, x: np.ndarray) -> None:
        """x: (S, *shape) stored values."""
        lowered, k = registry[g.nodes[0].op].lower(g.nodes[0], g), len(self.cases)
        (call,) = lowered.calls
        for n, a in lowered.consts.items():
            values = ", ".join(literal(v, a.ctype) for v in np.ravel(a.values))
            self.text.append(f"static const {a.ctype} c{k}_{n}[] = {{{values}}};")
        names = {"in0": "x", "out0": "y", **{f"c.{n}": f"c{k}_{n}" for n in lowered.consts}}
        kinds = {n: "float" if isinstance(v, float) else "int32_t" for n, v in call.params.items()}
        fields = [f".{n} = {literal(v, kinds[n])}" for n, v in call.params.items()]
        ctype, size = CTYPE[g.scheme], g["x"].size
        head = f"void case_{k}(const {ctype} *x, {ctype} *y, int32_t samples)"
        self.text += [f"{head};", head, "{", f"    static const struct {call.struct} p = {{{', '.join(fields)}}};",
                      f"    for (; samples > 0; samples--, x += {size}, y += {size})",
                      f"        {call.function}(&p, {', '.join(names[a] for a in call.args)});", "}"]  # fmt: skip
        self.headers.add(lowered.header)
        self.cases.append((g, np.ascontiguousarray(x, NP_DTYPE[g.scheme])))

    def write(self, path: Path, math_too: bool = True) -> Path:
        includes = [f'#include "{h}"' for h in sorted(self.headers)]
        path.write_text("\n".join([*includes, *self.text, MATH if math_too else ""]))
        return path


def quantized_cases() -> Cases:
    """Every int8 and every int16 input through every operator, in several scales."""
    rng, out = np.random.default_rng(5), []
    xqs = [QParams(8, s, z) for s, z in ((1 / 128, 0), (0.05, -128), (0.11, 17), (0.6, 127))]
    xqs += [QParams(b, 2.0**-f) for b, f in ((16, 12), (16, 15), (16, 9), (16, 3), (16, 18), (13, 10), (10, 6))]
    for xq in xqs:
        scheme, x = ("int8" if xq.bits == 8 else "int16"), every(xq)
        n = x.shape[1]
        for op in SMOOTH:
            for approximate in ("none", "tanh") if op == "gelu" else ((),):
                out.append((make(op, (approximate,) if approximate else (), (n,), scheme, xq), x))
        for lo, hi in ((0.0, INF), (0.0, 6.0), (-INF, 0.3), (-1.0, 1.0)):
            out.append((make("clamp", (lo, hi), (n,), scheme, xq), x))
        for slope, top in ((0.01, None), (0.3, None), (-2.5, None), (0.0, 0.1), (1.0, None)):
            out.append((make("leaky_relu", (slope,), (n,), scheme, xq, top=top), x))
        alpha = rng.normal(0.1, 0.5, 3).astype(np.float32)
        for axis, shape in ((1, (1, 3, n)), (2, (1, n, 3))):
            y = np.repeat(x[:, None, None, :], 3, axis=2) if axis == 1 else np.repeat(x[:, None, :, None], 3, axis=3)
            out.append((make("prelu", (axis,), shape, scheme, xq, alpha=alpha), y))
        out.append((make("prelu", (-1,), (n,), scheme, xq, alpha=alpha[:1]), x))
    return out


def softmax_rows(rng: np.random.Generator, q: QParams, n: int, rows: int) -> np.ndarray:
    """(rows, n): uniform, nearly equal, one far above, all equal, two ends, for one QParams."""
    span = 1 << q.bits
    x = rng.integers(q.qmin, q.qmax + 1, (rows, n))
    near = rng.integers(0, max(2, int(3 / float(q.scale)) % span), (rows, n)) + q.qmin
    x = np.where(np.arange(rows)[:, None] % 3 == 1, np.minimum(near, q.qmax), x)
    x[0], x[1], x[2] = q.qmin, q.qmax, q.qmin
    x[2, n // 2] = q.qmax
    return x


def softmax_cases() -> Cases:
    rng, out = np.random.default_rng(6), []
    xqs = [QParams(8, s, z) for s, z in ((1 / 128, 0), (0.05, -128), (0.11, 17), (2.0, 5))]
    xqs += [QParams(b, 2.0**-f) for b, f in ((16, 12), (16, 15), (16, 8), (16, 0), (16, -12), (16, 25), (12, 8))]
    for xq in xqs:
        scheme = "int8" if xq.bits == 8 else "int16"
        for shape, axis in (((1, 10), 1), ((1, 1), 1), ((1, 2), 1), ((1, 1000), 1), ((2, 7, 3), 1), ((3, 5, 2), 0)):
            n = shape[axis]
            x = softmax_rows(rng, xq, n, 48 * math.prod(shape) // n)
            x = np.moveaxis(x.reshape(48, *[s for i, s in enumerate(shape) if i != axis], n), -1, axis + 1)
            out.append((make("softmax", (axis,), shape, scheme, xq), x))
            top = float(np.ptp(xq.dequantize(x))) + math.log(n)
            lo = Stats(-max(top, 2.0**-6), 0.0, 1.0)
            yq = registry["log_softmax"].qparams(out[-1][0].nodes[0], Graph("", scheme=scheme), {"y": lo})
            out.append((make("log_softmax", (axis,), shape, scheme, xq, yq), x))
    x = softmax_rows(rng, xqs[1], 6, 9)
    out.append((make("softmax", (0,), (6,), "int8", xqs[1], QParams(8, 0.0031, -101)), x))  # a scale not its own
    out.append((make("softmax", (0,), (6,), "int16", xqs[4], QParams(12, 2.0**-11)), x * 40))
    return out


def float_cases() -> Cases:
    x = floats(4093)
    out = [(make(op, a, (1,)), x[:, None]) for op in SMOOTH for a in ([("none",), ("tanh",)] if op == "gelu" else [()])]
    out += [(make("clamp", a, (1,)), x[:, None]) for a in ((0.0, INF), (0.0, 6.0), (-INF, 1.0), (-INF, INF))]
    out.append((make("leaky_relu", (0.1,), (1,)), x[:, None]))
    rng = np.random.default_rng(7)
    y = rng.normal(0, 4, (20, 3, 4, 5)).astype(np.float32)
    for axis in range(3):
        alpha = rng.normal(size=y.shape[axis + 1]).astype(np.float32)
        out.append((make("prelu", (axis,), (3, 4, 5), alpha=alpha), y))
    y[0, :, 2, 3] = [np.inf, 1, -np.inf]
    y[1] *= 30
    y[2] = -np.inf
    for op in ("softmax", "log_softmax"):
        out += [(make(op, (axis,), (3, 4, 5)), y) for axis in range(3)]
        out.append((make(op, (1,), (1, 1)), y.reshape(-1, 1, 1)))
    return out


@pytest.fixture(scope="module")
def quantized() -> Cases:
    return quantized_cases() + softmax_cases()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("activation")


@pytest.fixture(scope="module")
def bench(quantized: Cases, folder: Path) -> Bench:
    made = Bench()
    for g, x in [*quantized, *float_cases()]:
        made.add(g, x)
    made.write(folder / "all.c")
    return made


def compiled(argv: list[str], source: Path, output: Path) -> Path:
    flags = ["-std=c99", "-ffp-contract=off", *WARNINGS, f"-I{paths.kernels_dir()}"]
    subprocess.run([*argv, *flags, str(source), "-o", str(output)], check=True)
    return output


@pytest.fixture(scope="module")
def library(bench: Bench, folder: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(compiled(["gcc", "-O1", "-shared", "-fPIC"], folder / "all.c", folder / "all.so")))


def called(lib: ctypes.CDLL, name: str, x: np.ndarray, in_place: bool = False) -> np.ndarray:
    x = np.ascontiguousarray(x)
    y = x.copy() if in_place else np.empty_like(x)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (y if in_place else x, y)]
    getattr(lib, name)(*pointers, ctypes.c_int32(len(x)))
    return y


# -- float functions -------------------------------------------------------------------------------------------------
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "erf": lambda x: torch.erf(torch.from_numpy(x.astype(np.float64))).numpy(),
}


@pytest.mark.gcc
@pytest.mark.parametrize("name", EXACT)
def test_float_function(name: str, library: ctypes.CDLL) -> None:
    """Millions of bit patterns: C and NumPy the same bits, errors within the stated ULP, infinities and NaN right."""
    x = floats(1531)
    f = getattr(fmath, name)
    y = f(x)
    assert same_bits(y, called(library, f"math_{name}", x))
    with np.errstate(all="ignore"):
        want = EXACT[name](x if name == "erf" else x.astype(np.longdouble))
        rounded = want.astype(np.float32)
        special = ~np.isfinite(rounded)
        np.testing.assert_array_equal(y[special], rounded[special])
        normal = ~special & (np.abs(rounded) >= np.float32(2.0**-126))
        ulp = np.spacing(np.abs(rounded[normal])).astype(np.float64)
        assert np.max(np.abs((y[normal] - want[normal]).astype(np.float64)) / ulp) <= fmath.MAX_ULP[name]
        small = ~special & ~normal
        assert np.max(np.abs((y[small] - want[small]).astype(np.float64)), initial=0.0) <= 2.0**-149
    assert np.isnan(f(np.array([np.nan])))[0]


def test_float_ends() -> None:
    """Saturation is exact and monotone; signed zeros keep their sign."""
    far = np.linspace(9.1, 3e38, 1000, dtype=np.float32)
    for f in (fmath.tanh, fmath.erf):
        assert np.all(f(far) == 1) and np.all(f(-far) == -1)
        assert np.signbit(f(np.float32(-0.0)))
        ends = np.arange(np.float32(2.5).view(np.uint32), np.float32(10).view(np.uint32), 7, dtype=np.uint32)
        assert np.all(np.diff(f(ends.view(np.float32))) >= -(2.0**-24))
    assert np.all(fmath.sigmoid(far + 8) == 1) and fmath.sigmoid(np.float32(-105)) == 0
    exp, log = (f(np.array([-0.0, -np.inf, 89, 0, -1, 1, 2.0**-149], np.float32)) for f in (fmath.exp, fmath.log))
    assert exp[0] == 1 and exp[1] == 0 and np.isinf(exp[2])
    assert np.isneginf(log[3]) and np.isnan(log[4]) and log[5] == 0
    assert abs(float(log[6]) + 149 * math.log(2)) < 1e-5


# -- C equals NumPy ----------------------------------------------------------------------------------------------------
@pytest.mark.gcc
def test_c_equals_reference(bench: Bench, library: ctypes.CDLL) -> None:
    for k, (g, x) in enumerate(bench.cases):
        want = run(g, x)
        for in_place in (False, True):
            got = called(library, f"case_{k}", x, in_place)
            same = same_bits(want, got) if g.scheme == "float32" else np.array_equal(want, got)
            assert same, (g.dump(), g["x"].q, g["y"].q, in_place)


@pytest.mark.gcc
def test_no_undefined_behaviour(bench: Bench, folder: Path) -> None:
    """The quantized cases again under UBSan, which traps; in a child process that names the case."""
    lib = compiled(["gcc", "-O1", "-shared", "-fPIC", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"],
                   folder / "all.c", folder / "ub.so")  # fmt: skip
    np.savez(folder / "in.npz", **{f"case_{k}": x for k, (g, x) in enumerate(bench.cases) if g.scheme != "float32"})
    argv = [sys.executable, "-c", CHILD, str(lib), str(folder / "in.npz")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout.split()[-1]}: {done.stderr}"


def test_warnings_and_symbols(quantized: Cases, need_tool: Callable[[str], str], folder: Path) -> None:
    """No compiler says a word, and on ARMv6-M a quantized object needs no library function at all."""
    small = Bench()
    for g, x in quantized[:: len(quantized) // 60]:
        small.add(g, x)
    source = small.write(folder / "quantized.c", math_too=False)
    arm = need_tool("arm-none-eabi-gcc")
    for argv in ([need_tool("clang"), "-O1"], [arm, "-mcpu=cortex-m0plus", "-mthumb", "-O3"],
                 [arm, "-mcpu=cortex-m4", "-mthumb", "-O2"]):  # fmt: skip
        made = compiled([*argv, "-c"], source, folder / "quantized.o")
        if argv[0] == arm:
            found = subprocess.run([need_tool("arm-none-eabi-nm"), "-u", str(made)], capture_output=True, text=True)
            assert found.stdout.strip() == ""


# -- errors ------------------------------------------------------------------------------------------------------------
def real(g: Graph) -> Callable[[np.ndarray], np.ndarray]:
    """The mathematical function of a one-node graph, in float64."""
    node = g.nodes[0]
    op, a = registry[node.op], node.attrs
    if node.op in SMOOTH:
        return lambda v: op.real(a, v.ravel()).reshape(v.shape)
    if node.op == "clamp":
        return lambda v: np.clip(v, a.lo, a.hi)
    slopes, axis = op.slopes(node, g)
    wide = slopes.astype(np.float64).reshape([-1 if i == axis + 1 else 1 for i in range(5)][: len(g["x"].shape) + 1])
    return lambda v: np.where(v > 0, v, v * (wide if axis >= 0 else float(slopes[0])))


def test_quantized_errors() -> None:
    """The error that ``prepare`` reports is an upper bound, and is small."""
    for g, x in quantized_cases():
        node, xq, yq = g.nodes[0], g["x"].q, g["y"].q
        assert xq is not None and yq is not None
        with np.errstate(over="ignore"):
            want = real(g)(xq.dequantize(x)) / float(yq.scale) + yq.zero_point
        want = np.clip(want, yq.qmin, yq.qmax)
        error = float(np.abs(run(g, x) - want).max())
        stated = node.quant.get("error", 0.5)
        assert error <= stated + 1e-9, (g.dump(), xq, yq, error, stated)
        interp = node.quant.get("interp")
        # Curves that turn within a few steps of a coarse input are what a segment cannot follow.
        assert stated < (5 if interp is not None and float(xq.scale) > 2.0**-8 else 1.51), (g.dump(), xq, yq, stated)


def test_interpolation_size() -> None:
    """Easy functions get small tables; a wide input range costs a saturating function nothing."""
    y = QParams(16, 2.0**-15)
    sizes = [len(lut.interpolation(np.tanh, QParams(16, 2.0**-f), y).table) for f in (17, 15, 13, 10, 8)]
    assert sizes == sorted(sizes) and sizes[0] < 70
    wide, narrow = (lut.interpolation(np.tanh, QParams(16, 2.0**-f), y) for f in (6, 11))
    assert wide.error < 3 and narrow.error < 1.5
    assert wide.hi < 2047
    line = lut.interpolation(lambda v: v, QParams(12, 2.0**-8), QParams(12, 2.0**-8))
    assert len(line.table) == 17 and line.error <= 1


def test_softmax_errors() -> None:
    """Against float64 of the same integers: the bounds that the module states."""
    worst: dict[tuple[str, str], float] = {}
    for g, x in softmax_cases():
        node, xq, yq = g.nodes[0], g["x"].q, g["y"].q
        assert xq is not None and yq is not None
        v = torch.from_numpy(xq.dequantize(x))
        f = tf.softmax if node.op == "softmax" else tf.log_softmax
        want = f(v, node.attrs.axis + 1).numpy()
        want = np.clip(want / float(yq.scale) + yq.zero_point, yq.qmin, yq.qmax)
        key = node.op, g.scheme
        error = float(np.abs(run(g, x) - want).max())
        worst[key] = max(worst.get(key, 0.0), error)
    assert worst["softmax", "int8"] <= 0.51 and worst["softmax", "int16"] <= 3
    assert worst["log_softmax", "int8"] <= 0.6 and worst["log_softmax", "int16"] <= 1.5


# -- front end ---------------------------------------------------------------------------------------------------------
def forms() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Every way to write these operators in torch."""
    made: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    for cls in (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.Hardswish, nn.Hardsigmoid, nn.SiLU):
        made[cls.__name__] = cls()
        made[f"{cls.__name__} in place"] = nn.Sequential(nn.Hardtanh(-100, 100), cls(inplace=True))
    made |= {
        "PReLU": nn.PReLU(), "PReLU per channel": nn.PReLU(4), "GELU": nn.GELU(), "GELU tanh": nn.GELU("tanh"),
        "Sigmoid": nn.Sigmoid(), "Tanh": nn.Tanh(), "Softmax": nn.Softmax(-1), "Softmax2d": nn.Softmax2d(),
        "LogSoftmax": nn.LogSoftmax(1), "F.softmax dtype": lambda x: tf.softmax(x, -1, dtype=torch.float32),
        "clamp": lambda x: torch.clamp(x, -1, 2), "clamp min": lambda x: x.clamp(min=0.5),
        "clamp max": lambda x: x.clamp(max=-0.1), "clamp_min": lambda x: torch.clamp_min(x, 0.3),
        "clamp_max": lambda x: x.clamp_max(0.3), "clip": lambda x: x.clip(0, 1),
        "crossed": lambda x: x.clamp(1.0, 0.25), "torch.relu": torch.relu, "relu_": lambda x: (x * 1).relu_(),
        "F.relu6": tf.relu6, "F.hardtanh": lambda x: tf.hardtanh(x, -2.0, 2.0),
        "F.leaky_relu": lambda x: tf.leaky_relu(x, 0.3),
        "expit": torch.special.expit, "sigmoid_": lambda x: (x * 1).sigmoid_(), "tanh_": lambda x: (x * 1).tanh_(),
        "log_softmax": lambda x: x.log_softmax(-2), "special": lambda x: torch.special.log_softmax(x, 1),
    }  # fmt: skip
    return made


class All(nn.Module):
    """All forms on one input, as a tuple of outputs."""

    def __init__(self, made: dict[str, Callable[[torch.Tensor], torch.Tensor]]) -> None:
        super().__init__()
        self.made = list(made.values())
        self.parts = nn.ModuleList([m for m in self.made if isinstance(m, nn.Module)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(f(x) for f in self.made)


def test_front_end_against_torch() -> None:
    made = forms()
    made["PReLU per channel"].weight.data = torch.tensor([0.1, -0.4, 0.9, 2.0])  # type: ignore[attr-defined]
    module = All(made).eval()
    x = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(1)) * 3
    graph = frontend.import_graph(frontend.trace(module, x), "all")
    got = reference.run(graph, {graph.inputs[0]: x.numpy()[None]})
    for (name, f), out in zip(made.items(), graph.outputs, strict=True):
        want = f(x.clone()).detach().numpy()
        np.testing.assert_allclose(got[out][0], want, rtol=2e-6, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("op", [*SMOOTH, "clamp", "leaky_relu", "prelu", "softmax", "log_softmax"])
def test_samples_run_in_torch(op: str) -> None:
    """Every sample is a module that torch accepts and that keeps the shape."""
    for case in registry[op].samples(np.random.default_rng(3)):
        y = case.module(*(torch.randn(s) for s in case.shapes))
        assert y.shape == case.shapes[0], case.label


def test_refusals() -> None:
    with pytest.raises(ModelError, match="softmax over 40000"):
        make("softmax", (1,), (1, 40000), "int8", QParams(8, 0.1))
