"""Pooling, elementwise and moving operators: against torch, and C against the NumPy reference byte for byte.

The cases are the operators' own samples: those of one operator stand side by side in one network, and all networks of a
scheme are compiled into one library, so torch.export and the compiler start rarely.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from genn import toolchain
from genn.ir import SCHEMES, Graph, QParams, Tensor
from genn.ops import affine, elementwise, registry
from genn.ops.base import Case

torch = pytest.importorskip("torch")

from genn import codegen, frontend, passes, quantize, reference  # noqa: E402

OPS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "add", "sub", "mul", "concat", "pad", "transpose",
       "reshape", "copy")
SAMPLES = 6
WARNINGS = ("-std=c99", *toolchain.WARNINGS)


class SideBySide(torch.nn.Module):
    """Several modules, each with inputs of its own, as one with all their outputs."""

    def __init__(self, cases: list[Case]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(c.module for c in cases)
        self.counts = [len(c.shapes) for c in cases]

    def forward(self, *xs):
        xs, out = list(xs), []
        for part, n in zip(self.parts, self.counts, strict=True):
            made = part(*xs[:n])
            out += made if isinstance(made, tuple | list) else [made]
            del xs[:n]
        return tuple(out)


class Net:
    """All cases of an operator as a float graph, its calibration inputs (torch's layout) and torch's outputs."""

    def __init__(self, op: str) -> None:
        rng = np.random.default_rng(7)
        cases = list(registry[op].samples(rng))
        self.op, self.labels = op, []
        for k, c in enumerate(cases):
            made = c.module(*(torch.zeros(s) for s in c.shapes))
            self.labels += [f"{op}[{k}] {c.label}"] * (len(made) if isinstance(made, tuple | list) else 1)
        module = SideBySide(cases)
        shapes = [s for c in cases for s in c.shapes]
        example = tuple(torch.zeros(s) for s in shapes)
        self.graph = passes.canonicalize(frontend.import_graph(frontend.trace(module, example), op))
        xs = [np.asarray(rng.normal(size=(SAMPLES, *s)), np.float32) for s in shapes]
        with torch.no_grad():
            runs = [module(*(torch.from_numpy(x[i]) for x in xs)) for i in range(SAMPLES)]
        self.want = [np.stack([np.asarray(y) for y in ys]) for ys in zip(*runs, strict=True)]
        self.samples = dict(zip(self.graph.inputs, xs, strict=True))

    def results(self, graph: Graph) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
        """(label, output, what the reference of ``graph`` gives as reals, torch's), case by case."""
        got = reference.run(graph, {n: reference.encode(graph, n, x) for n, x in self.samples.items()})
        return [(label, out, reference.decode(graph, out, got[out]).reshape(want.shape), want)
                for label, out, want in zip(self.labels, graph.outputs, self.want, strict=True)]


@cache
def nets() -> tuple[Net, ...]:
    return tuple(Net(op) for op in OPS)


@cache
def projects(scheme: str) -> tuple[codegen.CProject, ...]:
    return tuple(codegen.generate(quantize.quantize(n.graph, scheme, n.samples), f"n{i:03d}")
                 for i, n in enumerate(nets()))


def write(scheme: str, folder: Path) -> Path:
    """All networks of a scheme as one source file."""
    for project in projects(scheme):
        for name, text in project.files.items():
            (folder / name).write_text(text)
    names = [p.name for p in projects(scheme)]
    everything = folder / "all.c"
    everything.write_text("".join(f'#include "{n}.c"\n#include "{n}_weights.c"\n' for n in names))
    return everything


def compare(scheme: str, library: ctypes.CDLL) -> list[str]:
    """Run every network's C on every sample; the labels of those that differ from the reference."""
    wrong = []
    for net, project in zip(nets(), projects(scheme), strict=True):
        graph = project.graph
        stored = {n: reference.encode(graph, n, net.samples[n]) for n in graph.inputs}
        want = reference.run(graph, stored)
        arena = np.zeros(project.plan.arena // 8 + 2, np.uint64)
        view = arena.view(np.uint8)
        for s in range(SAMPLES):
            view[:] = 0xA5
            for name, x in stored.items():
                at = project.plan.offsets[name]
                view[at : at + x[s].nbytes] = np.frombuffer(x[s].tobytes(), np.uint8)
            library[f"{project.name}_run"](ctypes.c_void_p(arena.ctypes.data))
            for name, y in want.items():
                at = project.plan.offsets[name]
                if view[at : at + y[s].nbytes].tobytes() != y[s].tobytes():
                    wrong.append(f"{net.labels[graph.outputs.index(name)]}, sample {s}")
            assert (view[-8:] == 0xA5).all(), f"{net.op} writes behind its arena"
    return wrong


def test_float_reference_is_torchs():
    for net in nets():
        for label, _, y, want in net.results(net.graph):
            np.testing.assert_allclose(y, want, rtol=3e-6, atol=3e-6, err_msg=label)


@pytest.mark.parametrize("scheme", ["int16", "int8"])
def test_integers_are_close_to_torch(scheme):
    """The error stays within a few steps of the tensors the result is made from."""
    for net, project in zip(nets(), projects(scheme), strict=True):
        for label, out, y, want in net.results(project.graph):
            peak = max(float(np.abs(want).max()), 1e-3)
            limit = peak * (2.5 / 100 if scheme == "int8" else 2.5 / 10000) + 3 * float(project.graph[out].q.scale)
            assert np.abs(y - want).max() <= limit, label


@pytest.mark.parametrize("scheme", ["int16", "int8"])
def test_bounds_are_proven_and_errors_stated(scheme):
    for project in projects(scheme):
        for node in project.graph.nodes:
            assert node.quant.get("bound", 0) <= (1 << 31) - 1, node.name
            if node.op in ("add", "sub", "mul", "avg_pool2d", "adaptive_avg_pool2d", "mean"):
                assert node.quant["error"] >= 0.5, node.name
                if scheme == "int8":
                    assert node.quant["error"] < 1.01, node.name


def random_q(rng: np.random.Generator, scheme: str) -> QParams:
    if scheme == "int8":
        return QParams(8, float(2.0 ** rng.uniform(-12, 6)), int(rng.integers(-128, 128)))
    return QParams(int(rng.integers(10, 17)), 2.0 ** -int(rng.integers(-20, 30)))


def stored(rng: np.random.Generator, q: QParams) -> np.ndarray:
    """Random stored integers, both ends of the range among them."""
    return np.concatenate([[q.qmin, q.qmax, q.qmin, q.qmax, 0], rng.integers(q.qmin, q.qmax + 1, 200)]).astype(np.int64)


@pytest.mark.parametrize("scheme", ["int16", "int8"])
def test_rules_keep_their_error_for_any_scales(scheme):
    """Sums, products and averages: inside the stated error where nothing saturates, and inside 32 bits."""
    rng = np.random.default_rng(11)
    for _ in range(400):
        a, b, q = (random_q(rng, scheme) for _ in range(3))
        x, z = stored(rng, a), stored(rng, b)[::-1]
        y = Tensor("y", (), scheme, q)
        rule = affine.affine(y, [(a, 1.0), (b, -1.0)])
        exact = a.dequantize(x) - b.dequantize(z)
        assert rule.bound < 1 << 31
        near(y.q, rule.apply([x, z], y.q.qmin, y.q.qmax), exact, rule.error)

        y = Tensor("y", (), scheme, q)
        k = float(rng.normal() * 10.0 ** rng.integers(-3, 3))
        rule = affine.affine(y, [(a, k)])
        assert rule.bound < 1 << 31
        near(y.q, rule.apply([x], y.q.qmin, y.q.qmax), a.dequantize(x) * k, rule.error)

        y = Tensor("y", (), scheme, q)
        product = (elementwise.mul_int8 if scheme == "int8" else elementwise.mul_int16)(y, a, b)
        got = registry["mul"].rule_ref(product, [x, z], y.q.qmin, y.q.qmax)
        assert product.bound < 1 << 31
        near(y.q, got, a.dequantize(x) * b.dequantize(z), product.error)

        y, n = Tensor("y", (), scheme, q), int(rng.integers(1, 3000))
        mean = affine.average(Tensor("x", (), scheme, a), y, np.array([n]), n)
        sums = (x - a.zero_point) * int(rng.integers(0, n + 1))
        assert mean.bound < 1 << 31
        near(y.q, mean.apply(sums, mean.mult[0], y.q), sums * float(a.scale) / n, mean.error)


def near(q: QParams, got: np.ndarray, exact: np.ndarray, error: float) -> None:
    """``got`` differs from the real ``exact`` by at most ``error`` steps, apart from saturation."""
    want = np.clip(exact / q.scale + q.zero_point, q.qmin, q.qmax)
    assert np.abs(got - want).max() <= error + 1e-9


@pytest.mark.gcc
@pytest.mark.parametrize("scheme", SCHEMES)
def test_c_is_the_reference(scheme, tmp_path, need_tool):
    source = write(scheme, tmp_path)
    library = tmp_path / "all.so"
    sanitize = ["-fsanitize=undefined", "-fno-sanitize-recover=undefined"] if scheme != "float32" else []
    subprocess.run([need_tool("gcc"), *WARNINGS, "-O1", *sanitize, "-shared", "-fPIC", str(source), "-o", str(library)],
                   check=True)
    assert compare(scheme, ctypes.CDLL(str(library))) == []


@pytest.mark.arm
@pytest.mark.parametrize("scheme", SCHEMES)
def test_cross_compiled_without_library_calls(scheme, tmp_path, need_tool):
    """Silent under all warnings; a quantized network's object file needs nothing from outside."""
    source, made = write(scheme, tmp_path), tmp_path / "all.o"
    level = {"float32": "-O2", "int16": "-Os", "int8": "-O3"}[scheme]
    # one network has dozens of inputs here: keep the switch over them out of the question
    gcc = [need_tool("arm-none-eabi-gcc"), "-mcpu=cortex-m0plus", "-mthumb", *WARNINGS, level, "-fno-jump-tables"]
    subprocess.run([*gcc, "-c", str(source), "-o", str(made)], check=True)
    text = subprocess.run([need_tool("arm-none-eabi-nm"), "-u", str(made)], check=True, capture_output=True, text=True)
    needs = {line.split()[-1] for line in text.stdout.splitlines() if line.strip()}
    allowed = {f"__aeabi_f{op}" for op in ("add", "sub", "rsub", "mul", "div", "cmplt", "cmpgt")}
    assert needs <= (allowed if scheme == "float32" else set())


def test_structs_and_parameters_agree(repo_root):
    """Every Call's params are exactly the fields of its struct."""
    fields: dict[str, set[str]] = {}
    for header in ("pool", "elementwise", "move"):
        text = (repo_root / "ckernels" / f"genn_{header}.h").read_text()
        for name, body in re.findall(r"struct (genn_\w+) \{([^}]*)\}", text):
            fields[name] = set(re.findall(r"(\w+)(?:\[\d\])?[,;]", body))
    for scheme in SCHEMES:
        for project in projects(scheme):
            for layer in project.layers:
                for call in layer.lowered.calls:
                    if call.struct in fields:
                        assert set(call.params) == fields[call.struct], call.struct
