"""The two MNIST models, whole: accuracy, and one answer from reference, host, both emulated cores and QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

import genn
from genn import suite
from genn.api import Model
from genn.ir import SCHEMES

NAMES = ("mnist-mlp", "mnist-cnn")
SLOW_SAMPLES = {"float32": 1, "int16": 3, "int8": 3}  # soft float on the M0+ takes its time


@pytest.fixture(scope="module", params=[(n, s) for n in NAMES for s in SCHEMES], ids="-".join)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    name, scheme = request.param
    module, example = suite.load(name)
    made = genn.convert(module, example, scheme, suite.calibration(name)[0], name="net")
    made.save(tmp_path_factory.mktemp("mnist") / "out")
    made.options["suite"] = name
    return made


def test_host_equals_reference_and_keeps_the_accuracy(model: Model, need_tool) -> None:
    need_tool("cc")
    name = model.options["suite"]
    x, y = suite.samples(name)
    report = model.verify(x, y, layers=True)
    assert report.ok
    assert report.data["runners"]["host"]["mismatches"] == 0
    assert all(layer["mismatches"] == 0 for layer in report.data["layers"])
    accuracy = report.data["accuracy"]
    assert accuracy["host"] >= accuracy["torch"] - 2 / 400  # two images
    assert accuracy["torch"] >= 0.99


@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
def test_emulated_firmware_equals_the_reference(model: Model, target: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    x, _ = suite.samples(model.options["suite"])
    samples = SLOW_SAMPLES[model.graph.scheme]
    report = model.verify(x, on=("emu",), target=target, samples=samples)
    assert report.ok and report.data["runners"]["emu"]["mismatches"] == 0
    assert report.data["runners"]["emu"]["samples"] == samples


def test_qemu_equals_the_reference(model: Model, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    need_tool("qemu-system-arm")
    x, _ = suite.samples(model.options["suite"])
    report = model.verify(x, on=("qemu",), samples=20)
    assert report.ok and report.data["runners"]["qemu"]["mismatches"] == 0


def test_cycles_are_counted_layer_by_layer(model: Model, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    for target in ("cortex-m0plus", "nucleo-f411re"):
        data = model.emulate(target).data
        layers = data["layers"]
        assert [x["name"] for x in layers] == [x["name"] for x in model.manifest["layers"]]
        assert sum(x["cycles"] for x in layers) + data["other"]["cycles"] == data["cycles"]
        assert all(x["cycles"] >= x["macs"] * 0.5 for x in layers)
        again = model.emulate(target).data
        assert again == data, "the same firmware and input must give the same report"


def test_folder_stays_importable(model: Model, tmp_path: Path, need_tool) -> None:
    """The extension module can be imported by name and gives the reference's bytes."""
    need_tool("cc")
    import subprocess
    import sys

    model.verify(suite.samples(model.options["suite"])[0][:2])
    assert model.folder is not None
    code = "import net, sys; assert net.arena_bytes > 0 and callable(net.run)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=model.folder / "build" / "host", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
