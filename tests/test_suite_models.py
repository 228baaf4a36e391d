"""Every variant of the suite, out of the box: converted with what is shipped, compiled, run on the host and emulated.

A sample of them each day; all with ``python -m pytest -m long tests/test_suite_models.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from genn import suite
from genn.ir import SCHEMES
from genn.runs import convert_model, verify_report
from genn.target import load_target

EVERY = [(name, scheme) for name in suite.MODELS for scheme in SCHEMES]
DAILY = [("kws-dscnn", "int16"), ("ecg-mlp-sparse", "int8"), ("mnist-cnn-sparse", "float32")]
TARGETS = ("generic-m4", "cortex-m0plus")
HOST = 16  # samples; the emulator takes one
SOFT_FLOAT_MACS = 600_000  # more multiply-accumulates than these in soft float take minutes
LARGEST_SHARE = 0.1  # of the cycles, that a layer without multiply-accumulates may take


def check(name: str, scheme: str, target: str, folder: Path) -> None:
    """Reference, host C and emulated C give the same bytes, torch the same classes, nearly always; pooling, additions
    and activations cost little.
    """
    model = convert_model(name, None, scheme, target=target)
    model.save(folder / "out")
    report = verify_report(folder / "out", samples=HOST)
    assert report.ok and report.data["runners"]["host"]["mismatches"] == 0
    samples = min(HOST, len(suite.samples(name)[0]))  # of synthetic ones, fewer travel along
    assert report.data["runners"]["host"]["samples"] == samples
    accuracy = report.data["accuracy"]
    if accuracy:
        assert abs(accuracy["host"] - accuracy["torch"]) <= (2 if scheme != "float32" else 0) / samples
    macs = sum(layer["macs"] for layer in model.manifest["layers"])
    if scheme == "float32" and not load_target(target).fpu and macs > SOFT_FLOAT_MACS:
        return
    found = model.verify(suite.samples(name)[0], on=("emu",), target=target, samples=1)
    assert found.ok and found.data["runners"]["emu"]["mismatches"] == 0
    ran = model.emulate(target).data
    for layer in ran["layers"]:
        assert layer["macs"] or layer["cycles"] <= LARGEST_SHARE * ran["cycles"], layer


@pytest.mark.parametrize(("name", "scheme"), DAILY)
def test_a_sample_of_the_suite(name: str, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    check(name, scheme, TARGETS[0], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "scheme"), EVERY)
def test_the_whole_suite(name: str, scheme: str, target: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    check(name, scheme, target, tmp_path)
