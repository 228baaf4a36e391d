"""MLPerf Tiny: the four networks answer as TensorFlow Lite does, and quantized by us they lose nothing that counts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import genn
from genn import reference, suite
from genn.host import HostProcess
from genn.suite.mlperf import ConvSame, same

MACS = {"mlperf-kws": 2_656_768, "mlperf-ic": 12_501_632, "mlperf-vww": 7_489_664, "mlperf-ad": 264_192}
# fp16 weights against the reference's float32; for keywords the reference itself calculates in 8 bits
TOLERANCE = {"mlperf-kws": 2e-3, "mlperf-ic": 6e-3, "mlperf-vww": 1e-4, "mlperf-ad": 0.05}
REFERENCE_INT8 = {"mlperf-kws": 902, "mlperf-ic": 170}  # right answers of the reference int8 models
EVALUATION = {"mlperf-kws": ("mlperf_kws01_mfcc.npz", 1000), "mlperf-ic": ("mlperf_ic01.npz", 200)}
LESS = 2
REFERENCE_SAMPLES = 16  # NumPy takes its time
NAMES = list(MACS)


def run(name: str, x: np.ndarray) -> np.ndarray:
    module, _ = suite.load(name)
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_the_float_network_answers_as_the_reference(name: str) -> None:
    with np.load(Path(__file__).parent / "data" / "mlperf_golden.npz", allow_pickle=False) as golden:
        x, wanted = golden[f"{name}.x"], golden[f"{name}.y"]
    found = run(name, suite.entry(name).dataset.normalise(x))
    assert found.shape == wanted.shape and np.ptp(wanted, axis=0).max() > 0.004
    assert np.abs(found - wanted).max() < TOLERANCE[name]


@pytest.mark.parametrize("name", NAMES)
def test_macs_and_parameters_are_the_benchmarks(name: str) -> None:
    module, example = suite.load(name)
    made = genn.convert(module, example)
    assert sum(layer["macs"] for layer in made.manifest["layers"]) == MACS[name]
    assert not {"pad", "transpose"} & {layer["op"] for layer in made.manifest["layers"]}, "padding folds in"


AXES = [(49, 10, 2), (10, 4, 2), (96, 3, 2), (32, 3, 2), (32, 1, 2), (7, 3, 1)]


@pytest.mark.parametrize("size, kernel, stride", AXES)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    before, after = same(size, kernel, stride)
    assert 0 <= after - before <= 1
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    # an impulse at the last place is seen by the last window's tap (size - 1) - (outputs - 1) * stride + before
    net = ConvSame(1, 1, (1, kernel), (1, size), stride)
    with torch.no_grad():
        net.conv.weight.copy_(torch.arange(1.0, kernel + 1).reshape(1, 1, 1, kernel))
        net.conv.bias.zero_()
        last = net(torch.eye(size)[-1].reshape(1, 1, 1, size)).flatten()[-1]
    tap = size - 1 - (-(-size // stride) - 1) * stride + before
    assert last == (tap + 1 if tap < kernel else 0)


def evaluation(name: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = suite.samples(name)
    if y is not None:
        return x, y
    folder, (file, _) = os.environ.get("GENN_DATA"), EVALUATION[name]
    found = [p for p in (Path(folder) / "mlperf_tiny" / file, Path(folder) / file) if p.is_file()] if folder else []
    if not found:
        pytest.skip(f"GENN_DATA is not set to a folder with {file}: it may not be passed on")
    with np.load(found[0], allow_pickle=False) as given:
        return suite.entry(name).dataset.normalise(given["X"]), given["y"].astype(np.int64)


@pytest.mark.parametrize("scheme", ["int8", "int16"])
@pytest.mark.parametrize("name", EVALUATION)
def test_quantized_by_us_it_is_as_right_as_the_reference(name: str, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    x, y = evaluation(name)
    assert len(x) == EVALUATION[name][1]
    module, example = suite.load(name)
    model = genn.convert(module, example, scheme, suite.calibration(name)[0], name="net")
    host = HostProcess(model.save(tmp_path / "out").result)
    (tensor,) = model.graph.inputs
    stored = {tensor: reference.encode(model.graph, tensor, x[:, None])}
    (made,) = host.run(stored).outputs.values()
    (wanted,) = reference.run(model.graph, {tensor: stored[tensor][:REFERENCE_SAMPLES]}).values()
    assert made[:REFERENCE_SAMPLES].tobytes() == wanted.tobytes()
    assert int((made.reshape(len(x), -1).argmax(1) == y).sum()) >= REFERENCE_INT8[name] - LESS


@pytest.mark.parametrize("name", ["mlperf-vww", "mlperf-ad"])
def test_without_evaluation_inputs_the_integers_follow_the_float_network(name: str) -> None:
    x, y = suite.samples(name)
    assert y is None
    module, example = suite.load(name)
    model = genn.convert(module, example, "int8", suite.calibration(name)[0])
    (found,), wanted = model.predict(x), run(name, x)
    noise = np.square(found.reshape(wanted.shape) - wanted).sum() / np.square(wanted).sum()
    assert noise < 10 ** (-25 / 10)  # 25 dB


@pytest.mark.parametrize("name", NAMES)
def test_calibration_and_test_vectors_are_apart(name: str) -> None:
    entry = suite.entry(name)
    c, x = suite.calibration(name)[0], suite.samples(name)[0]
    assert c.shape[1:] == x.shape[1:] == entry.input_shape[1:] and c.dtype == x.dtype == np.float32
    assert not {a.tobytes() for a in x} & {a.tobytes() for a in c}
    low, high = entry.dataset.bounds()
    assert low <= min(c.min(), x.min()) and max(c.max(), x.max()) <= high * 1.0001


def test_the_wait_states_of_the_board_are_estimated(tmp_path: Path, need_tool) -> None:
    """The watched run agrees with the counted one; it had lost the hook of an instruction in this network's loops."""
    need_tool("arm-none-eabi-gcc")
    module, example = suite.load("mlperf-kws")
    model = genn.convert(module, example, "int8", suite.calibration("mlperf-kws")[0], target="stm32l4r5zi")
    data = model.emulate("stm32l4r5zi", suite.samples("mlperf-kws")[0][:1], estimate=True).data
    assert data["cycles"] < data["cycles_estimate"] < data["cycles_bounds"][1]
