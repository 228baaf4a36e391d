"""The MFCC front end in integers: near its definition, within 32 bits, and the same in reference, C and firmware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import genn
from genn import reference, runs, suite
from genn.api import Model
from genn.cli import cli
from genn.errors import UsageError
from genn.frontends import fixed, mfcc
from genn.ir import SCHEMES
from genn.ops.mfcc import attach
from genn.runs import verify_report
from genn.suite.catalog import KWS

WAVES = suite.waves("kws-dscnn")[0]
EXTREMES = {
    "loudest": np.full(16_000, 32767),
    "lowest": np.full(16_000, -32768),
    "square": np.where(np.arange(16_000) // 7 % 2, 32767, -32768),
    "fastest": np.where(np.arange(16_000) % 2, 32767, -32768),
    "one sample": np.eye(1, 16_000, 8_000)[0] * -32768,
    "least": np.arange(16_000) % 2,
    "silence": np.zeros(16_000),
    "noise": np.random.default_rng(1).integers(-32768, 32768, 16_000),
}


def extremes() -> np.ndarray:
    return np.stack([wave.astype(np.int16) for wave in EXTREMES.values()])


def test_transform_equals_numpys() -> None:
    waves = extremes().astype(np.int64)
    re, im = fixed.spectrum(waves)
    padded = np.pad(waves / 32768, ((0, 0), (200, 200)), mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(padded, 400, axis=-1)[:, ::200]
    frames = cut * mfcc.window() * 2.0**22
    off = np.abs(re + 1j * im - np.fft.rfft(frames)).max(-1)
    assert (off <= 400 + 3e-5 * np.abs(frames).sum(-1)).all(), "400 roundings of the window; cosines have 16 bits"
    assert np.abs(re).max() < 2**30 and np.abs(im).max() < 2**30


def test_bands_and_cosines_are_the_definitions() -> None:
    band, rising = fixed.mel_weights()
    made = np.zeros((fixed.BINS, mfcc.N_MELS + 2))
    for k in range(fixed.BINS):
        made[k, band[k] + 1] += rising[k] / 32768
        made[k, band[k]] += 1 - rising[k] / 32768
    assert np.allclose(made[:, 1:-1], mfcc.filterbank(), atol=2e-5)
    assert np.allclose(fixed.dct() / 32768, mfcc.dct().T, atol=2e-5)


def test_near_the_definition_on_speech() -> None:
    """The stated error; coefficients spread by 6 to 144."""
    waves = (WAVES * 32768).astype(np.int16)
    rms, largest = fixed.error(waves)
    assert rms < 0.2 and largest < 5
    quiet, _ = fixed.error((waves // 64).astype(np.int16))
    assert quiet < 2, "a whisper of a few bits"


def test_no_accumulator_leaves_32_bits() -> None:
    levels = fixed.mel_levels(extremes().astype(np.int64))
    assert levels.min() >= fixed.LEAST and levels.max() <= fixed.MOST
    assert fixed.reach() + max(abs(m) for m in KWS.mean) * (fixed.STEPS_DB << fixed.DCT_BITS) < 2**31
    weight = np.zeros(mfcc.N_MELS + 2)
    for j, r in zip(*fixed.mel_weights()):
        weight[[j, j + 1]] += 32768 - r, r
    assert weight.max() * 2**13 < 2**32, "the sum of the upper halves of powers of 29 bits"


def small(scheme: str) -> Model:
    """A network of a few weights behind the front end; the stored order of axes differs between the two."""
    torch.manual_seed(1)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(40 * 81, 3))
    network = flat if scheme == "float32" else nn.Sequential(nn.Conv1d(40, 4, 5, stride=5), nn.ReLU(), nn.Flatten())
    random = np.random.default_rng(1).standard_normal((8, 40, 81)).astype(np.float32)
    example = torch.from_numpy(random[:1])
    made = suite.frontend("kws-dscnn")
    return genn.convert(network, example, scheme, random, name="net", vector_data=WAVES[:2], front_end=made)


@pytest.fixture(scope="module", params=SCHEMES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    made = small(request.param)
    made.save(tmp_path_factory.mktemp("speech") / "out")
    return made


def test_the_command_makes_c_that_hears_every_word(tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    out = tmp_path / "out"
    run = CliRunner().invoke(cli, ["convert", "kws-dscnn", "--with-frontend", "--scheme", "int8", "-o", str(out)])
    assert run.exit_code == 0 and "MFCC in integers: off by 0.19" in run.output
    report = verify_report(out)
    assert report.ok and report.data["runners"]["host"]["mismatches"] == 0
    accuracy = report.data["accuracy"]
    assert accuracy["host"] >= 0.9 and accuracy["torch"] >= 0.9 and accuracy["float"] == accuracy["torch"]
    assert sorted(suite.waves("kws-dscnn")[1]) == list(range(10))


def test_c_equals_reference_at_the_extremes_under_sanitizers(model: Model, need_tool) -> None:
    need_tool("cc")
    if model.graph.scheme == "int16":
        pytest.skip("the same C as int8, but for the last step")
    report = model.verify((extremes() / 32768)[:, None], on=("host",), sanitize=True)
    assert report.ok
    assert all(runner["mismatches"] == 0 for name, runner in report.data["runners"].items() if name != "torch")


@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
def test_firmware_equals_the_reference(model: Model, target: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    report = model.verify(WAVES, on=("emu",), target=target, samples=1)
    assert report.ok and report.data["runners"]["emu"]["mismatches"] == 0


def test_the_front_end_is_a_layer_with_cycles(model: Model, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    assert model.manifest["inputs"][0]["dtype"] == "int16" and model.manifest["inputs"][0]["shape"] == [1, 16_000]
    first, *rest = model.emulate("nucleo-f411re").data["layers"]
    assert first["op"] == "mfcc" and first["cycles"] > sum(layer["cycles"] for layer in rest)


def test_shorter_sound_gives_fewer_frames(need_tool, tmp_path: Path) -> None:
    need_tool("cc")
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(40 * 9, 3)), torch.randn(8, 40, 9)
    graph = genn.convert(network, x[:1], "int8", x.numpy(), name="brief").graph
    graph = attach(graph, [0.0] * 40, [10.0] * 40, samples=1_700)
    assert graph["wave"].shape == (1, 1_700)
    waves = np.random.default_rng(2).integers(-3000, 3000, (3, 1, 1_700)).astype(np.int16)
    (made,) = reference.run(graph, {"wave": waves}).values()
    assert made.shape == (3, 1, 3)
    with pytest.raises(UsageError, match=r"makes \(1, 40, 81\)"):
        attach(genn.convert(network, x[:1], "int8", x.numpy(), name="brief").graph, [0.0] * 40, [10.0] * 40)


@pytest.mark.parametrize("name", ["mnist-cnn", "har-mlp", "mlperf-kws"])
def test_other_models_have_no_front_end(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no front end for this model"):
        runs.convert_model(name, None, "float32", with_frontend=True)
