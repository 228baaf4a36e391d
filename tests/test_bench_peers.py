"""Other libraries' benchmark: how our networks are told to them; with a checkout, that they compute the same.

Checkouts are named by GENN_CMSIS_NN, GENN_TINYMAIX, GENN_ONNX2C and GENN_TFLM; without one its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import genn
from genn import reference
from genn.bench import peers
from genn.bench.kernels import CORES
from genn.bench.peers import simulate
from genn.bench.peers.cmsis_nn import CmsisNN, multiplier
from genn.bench.peers.common import run, version
from genn.bench.peers.network import Cannot, network
from genn.bench.peers.onnx import OnnxModel, varint
from genn.bench.peers.onnx2c import Onnx2c
from genn.bench.peers.tflite import TfliteModel
from genn.bench.peers.tflm import Tflm
from genn.bench.peers.tinymaix import scale_and_zero
from genn.errors import UsageError
from genn.ir import QParams


def convert(module: nn.Module, shape: tuple[int, ...], scheme: str = "int8", target: str | None = None):
    x = np.random.default_rng(1).standard_normal((4, *shape)).astype(np.float32)
    return genn.convert(module.eval(), torch.from_numpy(x[0]), scheme, x, name="net", vectors=1, target=target)


def int8(module: nn.Module, shape: tuple[int, ...]):
    torch.manual_seed(1)
    return convert(module, shape)


def small(softmax: bool = True) -> nn.Module:
    """A convolution, a depthwise one, the average of the image and a linear layer, with ReLU."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(),
              nn.AvgPool2d((6, 5)), nn.Flatten(), nn.Linear(8, 4)]
    return nn.Sequential(*layers, *([nn.Softmax(1)] if softmax else []))


SMALL = (1, 3, 6, 5)


def messages(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field, value) of a protobuf message."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            yield tag >> 3, number()
            continue
        size = number() if tag & 7 == 2 else 4
        yield tag >> 3, data[at : at + size]
        at += size


def test_a_fused_pool_is_told_as_a_layer_of_its_own() -> None:
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)
    model = int8(nn.Sequential(*layers), (1, 2, 6, 7))
    net = network(model.graph)
    assert [s.kind for s in net.steps] == ["conv", "max_pool", "linear"]
    assert net.steps[0].output.shape == (1, 4, 5, 3) and net.steps[1].output.shape == (1, 2, 2, 3)
    conv = net.steps[0]
    folded = conv.b - conv.inputs[0].q.zero_point * conv.w.reshape(3, -1).sum(axis=1)
    assert np.array_equal(folded, model.graph.nodes[0].quant["b"])


def test_buffers_in_use_together_lie_apart() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.a(x))
            return torch.relu(y + self.b(y))

    net = network(int8(Residual(), (1, 3, 5, 5)).graph)
    buffers = {id(v.buffer): v.buffer for s in net.steps for v in (*s.inputs, s.output)}
    for b in buffers.values():
        assert b.offset + b.size <= net.bytes
        for other in buffers.values():
            if other is not b and other.first <= b.last and b.first <= other.last:
                assert b.offset + b.size <= other.offset or other.offset + other.size <= b.offset


def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(Cannot, match="tanh"):
        network(int8(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), (1, 4)).graph)


def test_a_scale_that_is_a_whole_number_is_a_float_in_c() -> None:
    value = network(int8(small(False), SMALL).graph).input
    value.q = QParams(8, 2.0, 5)
    assert scale_and_zero(value) == "2.000000000e+00f, 5"


def test_multipliers_are_the_factor_to_31_bits() -> None:
    for real in (0.3, 0.5, 1e-4, 0.999999999999, 1.7):
        m, s = multiplier(real)
        assert 0 <= m < 1 << 31 and abs(m * 2.0 ** (s - 31) / real - 1) < 2.0**-30


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkout"):
        CmsisNN(tmp_path)
    with pytest.raises(UsageError, match="core"):
        peers.bench([], ["mnist-mlp"], ["m7"])


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_the_plain_layers_mean_what_the_graph_means(scheme: str) -> None:
    layers = [*small(False), nn.Sigmoid()]
    layers[1:2] = [nn.PReLU(8), nn.MaxPool2d(1)]
    model = convert(nn.Sequential(*layers), SMALL, scheme)
    net, x = network(model.graph), model.graph.inputs[0]
    stored = reference.encode(model.graph, x, model.samples[x][:1])
    want = reference.run(model.graph, {x: stored})[model.graph.outputs[0]]
    got, reach = simulate.run(net, stored)
    assert len(reach) == len(net.steps)
    step = 1e-6 if scheme == "float32" else 2 * net.output.q.scale
    assert np.abs(got.ravel() - simulate.real(net.output, want).ravel()).max() <= step


def test_an_average_keeps_its_inputs_scale_and_the_next_bias_knows() -> None:
    model = int8(small(False), SMALL)
    net = network(model.graph)
    pool, linear = net.steps[2:]
    assert pool.kind == "avg_pool" and pool.output.q.same(pool.inputs[0].q)
    ours = next(n for n in model.graph.nodes if n.op == "linear")
    _, b = simulate.weights(linear)
    x = model.graph[ours.inputs[0]].q
    folded = ours.quant["b"] + x.zero_point * ours.quant["w"].sum(axis=1)
    assert np.abs(b - folded * ours.quant["scale"] * x.scale).max() <= linear.inputs[0].q.scale * linear.scale.max()


def test_an_onnx_file_reads_back() -> None:
    made = OnnxModel("net")
    made.port(made.inputs, "x", "int8", (1, 3))
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    made.node("Clip", ["x", made.constant("w", weights)], "y", axis=-1, alpha=0.5, pads=(1, 0, 300))
    file = dict(messages(made.encode()))
    graph = list(messages(file[7]))
    node, tensor = (dict(messages(next(v for k, v in graph if k == field))) for field in (1, 5))
    assert file[1] == 8 and dict(messages(file[8]))[2] == 14 and node[4] == b"Clip" and node[2] == b"y"
    assert np.array_equal(np.frombuffer(tensor[9], "<f4").reshape(2, 3), weights) and tensor[2] == 1
    found = {}
    for attribute in (list(messages(v)) for k, v in messages(next(v for k, v in graph if k == 1)) if k == 5):
        found[dict(attribute)[1]] = attribute
    assert struct.unpack("<f", dict(found[b"alpha"])[2]) == (0.5,)
    assert dict(found[b"axis"])[3] == (1 << 64) - 1 and varint(-1) == b"\xff" * 9 + b"\x01"
    assert [v for k, v in found[b"pads"] if k == 8] == [1, 0, 300]


def test_a_tflite_file_reads_back(repo_root: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("mlperf_tflite", repo_root / "bench" / "mlperf_tflite.py")
    reader = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["mlperf_tflite"] = reader
    spec.loader.exec_module(reader)
    net = network(int8(small(), SMALL).graph)
    (tmp_path / "net.tflite").write_bytes(TfliteModel(net, "int8").build())
    read = reader.read(tmp_path / "net.tflite")
    assert [o.kind for o in read.operators] == ["conv", "depthwise", "average_pool", "linear", "softmax"]
    conv, depthwise = read.operators[:2]
    assert np.array_equal(conv.inputs[1].data, net.steps[0].w) and np.allclose(conv.inputs[1].scale, net.steps[0].scale)
    assert np.array_equal(conv.inputs[2].data, net.steps[0].b)
    assert depthwise.inputs[1].shape == (1, 3, 3, 8) and depthwise.inputs[1].axis == 3
    assert read.input.shape == (1, 6, 5, 3) and float(read.input.scale[0]) == pytest.approx(net.input.q.scale)


def test_what_is_no_checkout_or_not_built_says_what_to_do(tmp_path: Path) -> None:
    for make in (CmsisNN, peers.TinyMaix, lambda p: Onnx2c(p, "int8"), lambda p: Tflm(p, "int8")):
        with pytest.raises(UsageError, match="no checkout"):
            make(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "graph_print.cc").touch()
    with pytest.raises(UsageError, match="not built") as error:
        Onnx2c(tmp_path, "float32")
    assert "cmake" in str(error.value.fix)
    micro = tmp_path / "tensorflow" / "lite" / "micro"
    micro.mkdir(parents=True)
    (micro / "micro_interpreter.h").touch()
    with pytest.raises(Cannot, match=r"not built for cortex-m4\+fp.*make -f .*TARGET_ARCH=cortex-m4\+fp.*microlite"):
        Tflm(tmp_path, "int8").library("m4")


def test_a_checkout_is_named_by_its_commit(tmp_path: Path, need_tool) -> None:
    need_tool("git")
    assert version(tmp_path) == ""
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"]
    for argv in (["init", "-q"], commit, ["tag", "v1"]):
        subprocess.run(["git", "-C", str(tmp_path), *argv], check=True)
    assert version(tmp_path) == "v1"


CHECKOUTS = {"GENN_CMSIS_NN": 1, "GENN_TINYMAIX": 3, "GENN_ONNX2C": 6, "GENN_TFLM": 2}  # steps from our reference


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("variable", CHECKOUTS)
def test_a_library_computes_the_network(variable: str, core: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no checkout")
    found = peers.found(**{variable.removeprefix("GENN_").lower(): Path(os.environ[variable])})
    for peer in found:
        scheme = peer.schemes[0]
        model = convert(small(False), SMALL, scheme, CORES[core])
        row = run(peer, model, network(model.graph), core, CORES[core])
        assert row["cycles"] > 0
        assert row["largest_difference"] <= (CHECKOUTS[variable] if scheme == "int8" else 1e-5), peer.name
