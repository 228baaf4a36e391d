"""The registry's own samples through every engine: torch, reference, host C, both emulated cores and QEMU.

An operator is in these tests as soon as it is in the registry.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from genn import paths
from genn.ir import SCHEMES
from genn.ops import registry
from tests import harness

TOLERANCE = 3e-5  # float32 against torch, relative to the output's largest magnitude: orders of summation differ
SQNR = {"int16": 45.0, "int8": 17.0}  # dB: single operators on random data; a wrong kernel is far below
EMULATED = 8  # samples of each operator in the emulator; the host runs them all
TRACED = sorted(name for name, op in registry.items() if op.traced)
OPS = [name for name in TRACED if not registry[name].view]
_made: dict[str, list[harness.Subject]] = {}


def subjects(name: str) -> list[harness.Subject]:
    def make() -> list[harness.Subject]:
        torch.manual_seed(7)
        cases = registry[name].samples(np.random.default_rng(7))
        return [harness.subject(c.module, list(c.shapes), f"{name} {c.label}", i) for i, c in enumerate(cases)]

    if name not in _made:
        _made[name] = harness.once(f"op-{name}", make)
    return _made[name]


@pytest.mark.parametrize("name", TRACED)
def test_samples_exist_and_use_the_operator(name: str) -> None:
    found = subjects(name)
    assert found, f"{name} has no samples"
    used = [s for s in found if any(n.op == name for n in s.graph.nodes)]
    assert used, f"no sample of {name} leads to it"


@pytest.mark.parametrize("name", TRACED)
def test_float_reference_equals_torch(name: str) -> None:
    for s in subjects(name):
        assert harness.float_error(s) <= TOLERANCE, s.label


@pytest.mark.parametrize("scheme", ["int16", "int8"])
@pytest.mark.parametrize("name", TRACED)
def test_quantized_reference_is_close(name: str, scheme: str) -> None:
    for i, s in enumerate(subjects(name)):
        assert harness.sqnr(s.model(scheme, f"n{i}"), s) >= SQNR[scheme], s.label


def headers(name: str) -> str:
    """A kernel header, with those it includes before it."""
    text = (paths.kernels_dir() / name).read_text()
    return "".join(headers(n) for n in re.findall(r'#include "(genn_\w+\.h)"', text)) + text


@pytest.mark.parametrize("name", OPS)
def test_parameters_are_the_fields_of_the_c_struct(name: str) -> None:
    common = (paths.kernels_dir() / "genn_conv.h").read_text()
    shape = re.search(r"#define GENN_CONV_SHAPE\s*\\?(.*?)\n\n", common, re.DOTALL)
    assert shape
    for scheme in SCHEMES:
        for i, s in enumerate(subjects(name)[:3]):
            model = s.model(scheme, f"n{i}")
            for layer in model.project.layers:
                text = headers(layer.lowered.header).replace("GENN_CONV_SHAPE;", shape[1] + ";")
                for call in layer.lowered.calls:
                    body = re.search(rf"struct {call.struct} \{{(.*?)\}};", text, re.DOTALL)
                    assert body, f"{layer.lowered.header} has no struct {call.struct}"
                    plain = re.sub(r"/\*.*?\*/|\\", "", body[1], flags=re.DOTALL)
                    fields = [
                        re.sub(r"\[.*?\]|.*[ *]", "", part.strip())
                        for line in plain.split(";")
                        for part in line.split(",")
                        if part.strip()
                    ]
                    assert sorted(fields) == sorted(call.params), call.struct


def everything(scheme: str, limit: int | None = None) -> tuple[list, list[harness.Subject]]:
    found = [s for name in OPS for s in subjects(name)[:limit]]
    return [s.model(scheme, f"n{i}") for i, s in enumerate(found)], found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_host_equals_reference(scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    models, found = everything(scheme)
    assert harness.host_differences(models, found, tmp_path / "many") == []


@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_emulated_equals_reference(scheme: str, target: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    models, found = everything(scheme, EMULATED)
    half = len(models) // 2 or 1
    bad = []
    for i in range(0, len(models), half):  # the F411 has 512 KB of flash
        bad += harness.emulated_differences(models[i : i + half], found[i : i + half], tmp_path / f"many{i}", target)
    assert bad == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_qemu_equals_reference(scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    need_tool("qemu-system-arm")
    models, found = everything(scheme, 4)
    assert harness.qemu_differences(models, found, tmp_path / "many") == []
