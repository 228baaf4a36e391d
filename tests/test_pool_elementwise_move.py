"""Pooling, elementwise and moving operators: against torch, and C against the NumPy reference byte for byte.

The cases are the operators' own samples.  All of a scheme are compiled into one library, so the compiler starts rarely.
"""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from genn.ir import SCHEMES
from genn.ops import registry

torch = pytest.importorskip("torch")

from genn import codegen, frontend, passes, quantize, reference  # noqa: E402

OPS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "add", "sub", "mul", "concat", "pad", "transpose",
       "reshape", "copy")
SAMPLES = 6
WARNINGS = "-std=c99 -Wall -Wextra -Wconversion -Wshadow -pedantic -Werror".split()
INT16_STEP = 2.0**-14


class Net:
    """A case as a float graph, its calibration inputs (torch's layout) and torch's outputs."""

    def __init__(self, label: str, module: torch.nn.Module, shapes: list[tuple[int, ...]], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.label = label
        example = [torch.zeros(s) for s in shapes]
        self.graph = passes.canonicalize(frontend.import_graph(frontend.trace(module, tuple(example)), label))
        xs = [np.asarray(rng.normal(size=(SAMPLES, *s)), np.float32) for s in shapes]
        with torch.no_grad():
            outs = [module(*(torch.from_numpy(x[i]) for x in xs)) for i in range(SAMPLES)]
        self.want = np.stack([o.numpy() for o in outs])
        self.samples = dict(zip(self.graph.inputs, xs, strict=True))


@cache
def nets() -> tuple[Net, ...]:
    found = []
    for op in OPS:
        for k, case in enumerate(registry[op].samples(np.random.default_rng(7))):
            found.append(Net(f"{op}[{k}] {case.label}", case.module, case.shapes, k))
    return tuple(found)


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
                    wrong.append(f"{net.label}: {name}, sample {s}")
            assert (view[-8:] == 0xA5).all(), f"{net.label} writes behind its arena"
    return wrong


def test_every_operator_brings_cases():
    assert all(any(n.label.startswith(f"{op}[") for n in nets()) for op in OPS)


def test_float_reference_is_torchs():
    for net in nets():
        got = reference.run(net.graph, {n: reference.encode(net.graph, n, x) for n, x in net.samples.items()})
        out = net.graph.outputs[0]
        y = reference.decode(net.graph, out, got[out])
        assert y.reshape(net.want.shape).shape == net.want.shape
        np.testing.assert_allclose(y.reshape(net.want.shape), net.want, rtol=3e-6, atol=3e-6, err_msg=net.label)


@pytest.mark.parametrize("scheme", ["int16", "int8"])
def test_integers_are_close_to_torch(scheme):
    """The error stays within a few steps of the tensors the result is made from."""
    for net, project in zip(nets(), projects(scheme), strict=True):
        graph = project.graph
        got = reference.run(graph, {n: reference.encode(graph, n, x) for n, x in net.samples.items()})
        out = graph.outputs[0]
        y = reference.decode(graph, out, got[out]).reshape(net.want.shape)
        peak = max(float(np.abs(net.want).max()), 1e-3)
        limit = peak * (2.5 / 100 if scheme == "int8" else 2.5 / 10000) + 3 * float(graph[out].q.scale)
        if "far apart" in net.label:
            limit *= 2
        assert np.abs(y - net.want).max() <= limit, (net.label, np.abs(y - net.want).max(), limit)


@pytest.mark.parametrize("scheme", ["int16", "int8"])
def test_bounds_are_proven_and_errors_stated(scheme):
    for net, project in zip(nets(), projects(scheme), strict=True):
        for node in project.graph.nodes:
            assert node.quant.get("bound", 0) < 1 << 31, net.label
            if node.op in ("add", "sub", "mul", "avg_pool2d", "adaptive_avg_pool2d", "mean"):
                assert node.quant["bound"] > 0 or node.quant["rule"].mult == (0,), net.label
                assert 0.5 <= node.quant["error"], net.label
                if scheme == "int8":
                    assert node.quant["error"] < 1.01, (net.label, node.quant["error"])


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
    subprocess.run([need_tool("arm-none-eabi-gcc"), "-mcpu=cortex-m0plus", "-mthumb", *WARNINGS, level, "-c", str(source),
                    "-o", str(made)], check=True)
    text = subprocess.run([need_tool("arm-none-eabi-nm"), "-u", str(made)], check=True, capture_output=True, text=True)
    needs = {line.split()[-1] for line in text.stdout.splitlines() if line.strip()}
    allowed = {f"__aeabi_f{op}" for op in ("add", "sub", "rsub", "mul", "div", "cmplt", "cmpgt")}
    assert needs <= (allowed if scheme == "float32" else set())


def test_structs_and_parameters_agree(repo_root):
    """Every Call's params are exactly the fields of its struct."""
    import re

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
