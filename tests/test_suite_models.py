"""Every variant of the suite, out of the box: converted with what is shipped, compiled, run on the host and emulated.

A sample of them each day; all with ``python -m pytest -m long tests/test_suite_models.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from genn import suite
from genn.ir import SCHEMES
from genn.runs import convert_model, verify_report
from genn.suite.catalog import NETWORKS
from genn.target import load_target

EVERY = [(name, scheme) for name in NETWORKS for scheme in SCHEMES]
DAILY = [("kws-dscnn", "int16"), ("ecg-mlp-sparse", "int8"), ("mnist-cnn-sparse", "float32")]
HOST, EMULATED = 16, 1  # samples
SOFT_FLOAT_MACS = 600_000  # more multiply-accumulates than these in soft float take minutes


def check(name: str, scheme: str, folder: Path, targets: tuple[str, ...]) -> None:
    """Reference, host C, emulated C and QEMU give the same bytes; torch the same classes, nearly always."""
    model = convert_model(name, None, scheme)
    model.save(folder / "out")
    report = verify_report(folder / "out", samples=HOST)
    assert report.ok and report.data["runners"]["host"]["mismatches"] == 0
    assert report.data["runners"]["host"]["samples"] == HOST
    accuracy = report.data["accuracy"]
    assert abs(accuracy["host"] - accuracy["torch"]) <= (2 if scheme != "float32" else 0) / HOST
    macs = sum(layer["macs"] for layer in model.manifest["layers"])
    for target in targets:
        if scheme == "float32" and not load_target(target).fpu and macs > SOFT_FLOAT_MACS:
            continue
        found = model.verify(suite.samples(name)[0], on=("emu",), target=target, samples=EMULATED)
        assert found.ok and found.data["runners"]["emu"]["mismatches"] == 0
        assert found.data["runners"]["emu"]["samples"] == EMULATED


@pytest.mark.parametrize(("name", "scheme"), DAILY)
def test_a_sample_of_the_suite(name: str, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    check(name, scheme, tmp_path, ("generic-m4",))


@pytest.mark.long
@pytest.mark.parametrize(("name", "scheme"), EVERY)
def test_the_whole_suite(name: str, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    check(name, scheme, tmp_path, ("generic-m4", "cortex-m0plus"))
