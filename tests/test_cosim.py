"""Host and emulator in step: equal layer by layer, and what is damaged is found where it was damaged."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import emu
import genn
from genn import reference, suite
from genn.api import Model
from genn.build import build_firmware
from genn.cosim import emulated_layers
from genn.errors import FirmwareError, UsageError
from genn.ir import SCHEMES
from genn.manifest import read_manifest
from genn.runs import emulate_report, verify_report
from genn.target import load_target

NAME = "mnist-cnn"


@pytest.fixture(scope="module", params=SCHEMES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    module, example = suite.load(NAME)
    made = genn.convert(module, example, request.param, suite.calibration(NAME)[0][:64], name="net")
    made.save(tmp_path_factory.mktemp("cosim") / "out")
    return made


def inputs(model: Model, samples: int) -> dict[str, np.ndarray]:
    (name,) = model.graph.inputs
    return {name: reference.encode(model.graph, name, suite.samples(NAME)[0][:samples, None])}


@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
def test_every_layer_equals_the_reference_whatever_the_arena_held(model: Model, target: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    assert model.folder is not None
    manifest, stored = read_manifest(model.folder), inputs(model, 1 if model.graph.scheme == "float32" else 2)
    want = reference.run(model.graph, stored, keep=True)
    for fill in (None, 0x00, 0xFF, 0x5A) if target == "nucleo-f411re" else (0xA5,):
        made = emulated_layers(manifest, load_target(target), list(stored.values()), fill=fill)
        assert len(made) == len(manifest.layers)
        for layer, outputs in zip(manifest.layers, made, strict=True):
            for v, y in zip(layer.outputs, outputs, strict=True):
                assert y.tobytes() == want[v.name].tobytes(), f"{layer} with the arena filled with {fill}"


def test_verify_shows_the_emulator_layer_by_layer(model: Model, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    report = model.verify(suite.samples(NAME)[0], on=("host", "emu"), layers=True, samples=1)
    assert report.ok
    assert all(x["runners"] == {"host": 0, "emu": 0} for x in report.data["layers"])


def test_a_damaged_weight_is_pinned_to_its_layer(model: Model, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    assert model.folder is not None
    folder = shutil.copytree(model.folder, tmp_path / "net", ignore=shutil.ignore_patterns("build"))
    weights = folder / "net_weights.c"
    head, tail = weights.read_text().split("net_l01_w = {{", 1)
    weights.write_text(head + "net_l01_w = {{" + re.sub(r"0x\w+u", "0x3f7f3f7fu", tail, count=40))
    report = verify_report(folder, NAME, on=("host", "emu"), layers=True, samples=1)
    assert not report.ok and "layer 1" in report.failure
    bad = [x["index"] for x in report.data["layers"] if x["runners"]["emu"]]
    assert bad[0] == 1 and 0 not in bad


@pytest.mark.parametrize("model", ["int8"], indirect=True)
def test_a_damaged_instruction_is_pinned_to_its_layer(model: Model, tmp_path: Path, need_tool) -> None:
    """One addition of the firmware's second layer becomes a subtraction: the emulator differs from that layer on."""
    need_tool("arm-none-eabi-gcc")
    assert model.folder is not None
    board = load_target("cortex-m0plus")
    manifest, stored = read_manifest(model.folder), inputs(model, 1)
    elf = build_firmware(model.folder, board)
    want = reference.run(model.graph, stored, keep=True)
    image = emu.load(elf)
    symbol = image.symbol(manifest.layers[1].symbol)
    assert symbol is not None
    segment = next(x for x in image.segments if x.vaddr <= symbol.address & ~1 < x.vaddr + len(x.data))
    raw, code = bytearray(elf.read_bytes()), bytes(segment.data)
    at = raw.find(code)
    assert at >= 0 and raw.find(code, at + 1) < 0
    start = (symbol.address & ~1) - segment.vaddr
    found = 0
    for offset in range(start, start + symbol.size - 1, 2):
        half = int.from_bytes(code[offset : offset + 2], "little")
        if half & 0xFC00 != 0x1800:  # adds and subs of registers
            continue
        damaged = bytearray(raw)
        damaged[at + offset : at + offset + 2] = (half ^ 0x0200).to_bytes(2, "little")  # add <-> sub
        other = tmp_path / "damaged.elf"
        other.write_bytes(damaged)
        try:
            made = emulated_layers(manifest, board, list(stored.values()), elf=other, budget=20_000_000)
        except FirmwareError:  # it may fault or never end as well: then there is nothing to compare
            continue
        bad = [x.index for x, ys in zip(manifest.layers, made, strict=True)
               if any(y.tobytes() != want[v.name].tobytes() for v, y in zip(x.outputs, ys, strict=True))]
        if bad:
            assert bad[0] == 1
            found += 1
        if found == 2:
            break
    assert found, "no addition of the layer could be damaged without a fault"


@pytest.mark.parametrize("model", ["int8"], indirect=True)
def test_timing_parameters_are_set_on_the_command_line(model: Model, need_tool) -> None:
    """The 32-cycle multiplier costs 31 cycles more for each MULS of the M0+, and nothing else."""
    need_tool("arm-none-eabi-gcc")
    assert model.folder is not None
    fast, slow = (emulate_report(model.folder, "cortex-m0plus", settings=s).data for s in ((), ("multiplier=32",)))
    assert (slow["cycles"] - fast["cycles"]) % 31 == 0 and slow["cycles"] > fast["cycles"]
    assert slow["instructions"] == fast["instructions"]
    for wrong in ("P", "multiplier=x", "nothing=1"):
        with pytest.raises(UsageError):
            emulate_report(model.folder, "cortex-m0plus", settings=(wrong,))
