"""Sparse linear layers as code: the taps written, the reference's bytes on every engine, cycles, room in flash."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from genn.kernels import unrolled
from genn.target import load_target
from tests.harness import Subject, emulated_differences, once, qemu_differences, sanitized_differences, subject

CORES = ("generic-m4", "cortex-m0plus")


def _thin(layer: nn.Linear, density: float, seed: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    layer.weight.data *= torch.rand(layer.weight.shape, generator=generator) < density
    return layer


@pytest.mark.parametrize("reach", [256, 2048])
def test_code_is_the_row(reach: int) -> None:
    rng = np.random.default_rng(2)
    for density in (0.001, 0.02, 0.3):
        row = rng.integers(-127, 128, 9000) * (rng.random(9000) < density)
        found, base = np.zeros(9000, np.int64), 0
        for line in unrolled.row_code(row, "S8", reach):
            kind, rest = re.fullmatch(r"    GENN_(ON|FOUR_S8|ONE_S8)\((.*)\)", line).groups()
            if kind == "ON":
                base += int(rest)
                continue
            taps = re.findall(r"(add|sub), (\d+), (\d+)", rest)
            assert len(taps) == (4 if kind == "FOUR_S8" else 1)
            for sign, place, weight in taps:
                assert int(place) < reach
                found[base + int(place)] = int(weight) * (1 if sign == "add" else -1)
        assert np.array_equal(found, row)


def _subjects() -> list[Subject]:
    torch.manual_seed(5)
    full = nn.Linear(127, 3)
    full.weight.data = torch.full((3, 127), 0.5) * torch.tensor([[1.0], [-1], [1]])
    relu = nn.Sequential(_thin(nn.Linear(13, 6), 0.5, 4), nn.ReLU())
    layers = [(_thin(nn.Linear(1000, 5), 0.02, 1), (1, 1000)), (_thin(nn.Linear(5000, 2), 0.003, 2), (1, 5000)),
              (full, (1, 127)), (_thin(nn.Linear(40, 4), 0.05, 3), (1, 40)), (relu, (1, 3, 13))]
    return [subject(layer, [shape], f"{shape}", i, spread=9) for i, (layer, shape) in enumerate(layers)]


@pytest.mark.parametrize("scheme", ["int8", pytest.param("int16", marks=pytest.mark.long)])
def test_every_engine_agrees(scheme, tmp_path):
    """Places out of reach, rows without weights, sums at their largest; code for one core on the other."""
    subjects = once("kernels-unrolled", _subjects)
    made = [*subjects, *subjects[:3]] if scheme == "int8" else subjects[:3]
    models = [s.model(scheme, f"t{i}", target=CORES[i % 2 if scheme == "int8" else 0], sparse="always", optimize="time",
                      kernel="linear-unrolled") for i, s in enumerate(made)]
    assert all(m.project.layers[0].kernel == "linear-unrolled" for m in models)
    stored = [s.stored(m) for m, s in zip(models, made, strict=True)]
    assert not sanitized_differences(models, stored, tmp_path / "host")
    for core in CORES:
        assert not emulated_differences(models, made, tmp_path / core, core)
    if scheme == "int8":
        assert not qemu_differences(models[:3], made[:3], tmp_path / "qemu")


def _linear() -> Subject:
    torch.manual_seed(0)
    return subject(_thin(nn.Linear(400, 40), 0.1, 0), [(1, 400)])


@pytest.mark.parametrize(("scheme", "core", "limit"), [("int8", "generic-m4", 4.4), ("int8", "cortex-m0plus", 7.8)])
def test_cycles_and_flash(scheme, core, limit):
    """Where time counts: cycles and bytes of code a weight, biases, requantization and stores included."""
    model = once("kernels-unrolled-linear", _linear).model(scheme, "net", target=core, optimize="time")
    assert model.project.layers[0].kernel == "linear-unrolled"
    weights = np.count_nonzero(model.graph.nodes[0].quant["w"])
    assert model.emulate(core).data["cycles"] <= limit * weights
    layer = model.footprint(core).data["layers"][0]
    estimate = unrolled.TAP_BYTES[scheme] * weights + unrolled.ROW_BYTES * 40
    assert 0.85 * estimate <= layer["code"] + layer["constants"] <= 1.15 * estimate


def test_only_where_time_counts_and_flash_has_room():
    """A weight as code takes five times the bytes: not by default, and not on a chip that is too small for it."""
    s = once("kernels-unrolled-linear", _linear)
    assert s.model("int8", "net", target="cortex-m0plus").project.layers[0].kernel == "portable"
    assert s.model("int8", "net", optimize="time").project.layers[0].kernel == "portable"
    board = load_target("stm32g0b1")
    small = tuple(replace(r, size=16 << 10) if r.kind == "flash" else r for r in board.regions)
    for target, kernel in ((board, "linear-unrolled"), (replace(board, regions=small), "portable")):
        layer = s.model("int8", "net", target=target, optimize="time").project.layers[0]
        assert (layer.kernel, layer.node.quant["sparse"]) == (kernel, True)
