"""N:M sparse linear: pruning, packing, the reference's bytes on every engine, cycles and bytes, the choice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import genn
from genn.emulate import emulate
from genn.errors import UsageError
from genn.kernels import nm
from genn.pruning import largest
from genn.target import load_target
from tests.harness import Subject, emulated_differences, once, qemu_differences, sanitized_differences, subject
from tests.many import Many

KERNELS = {"generic-m4": "linear-nm-v7em", "cortex-m0plus": "linear-nm-v6m"}


def pruned(columns: int, rows: int, pattern: str, how: str = "") -> nn.Linear:
    """A layer of a pattern; how: ``same`` or ``chess``, all kept weights of one magnitude and of which signs."""
    layer = nn.Linear(columns, rows)
    if how:
        flip = torch.arange(rows * columns).reshape(rows, columns) % 2 * 2.0 - 1
        layer.weight.data = torch.full((rows, columns), 0.5) * (flip if how == "chess" else 1)
    genn.prune(layer, pattern)
    return layer


def unpacked(words: np.ndarray, shape: tuple[int, int], pattern: str, scheme: str, wide: bool, tile: int) -> np.ndarray:
    """Weights (O, K) from packed words, by the format's definition."""
    rows, columns = shape
    unit, size = nm.PATTERNS[pattern], nm.entries(pattern)
    w = np.zeros((rows, columns + 64), np.int64)
    at = iter(words)
    for start in range(0, columns, tile):
        for row in w:
            for block in range(start, min(start + tile, columns), 4 * unit):
                places = np.array([next(at)]).view(np.uint8)
                body = np.array([next(at) for _ in range(4 if wide else 2)])
                for u, place in enumerate(places):
                    entry = int(place) // 4 - (0 if unit == 16 else u * size)
                    if wide:
                        first = int(body[u : u + 1].view(np.int16)[0])
                        rest = int(body[u]) - first if scheme == "int8" else int(body[u]) - (first & 0xFFFF)
                        second = (rest >> 16 & 0xFFFF) - (1 << 16 if rest >> 31 & 1 else 0)
                    else:
                        first, second = (int(body[u // 2 : u // 2 + 1].view(np.int8)[u % 2 + i]) for i in (0, 2))
                    if first == 0 and second == 0:
                        continue
                    a, b = nm._TWO[entry] if unit == 4 else (entry // (unit // 2), unit // 2 + entry % (unit // 2))
                    row[block + u * unit + a] += first
                    row[block + u * unit + b] += second
    assert next(at, None) is None
    return w[:, :columns]


@pytest.mark.parametrize("pattern", nm.PATTERNS)
@pytest.mark.parametrize(("scheme", "wide"), [("int8", False), ("int8", True), ("int16", True)])
def test_packing(pattern: str, scheme: str, wide: bool) -> None:
    rng = np.random.default_rng(4)
    n, m = map(int, pattern.split(":"))
    top = 127 if scheme == "int8" else 32767
    for columns in (1, 3, 16, 31, 100, 257):
        w = rng.integers(-top, top + 1, (5, columns)) * largest(torch.rand(5, columns), n, m).numpy().astype(int)
        w[1] = np.where(w[1] != 0, -top, 0)
        w[2] *= rng.random(columns) < 0.3
        assert pattern in nm.patterns(w)
        tile = nm.tile_inputs(columns, pattern, "balanced")
        words = nm.pack(w, pattern, scheme, wide, tile)
        assert np.array_equal(unpacked(words, w.shape, pattern, scheme, wide, tile), w)


def test_patterns_are_those_of_the_weights() -> None:
    w = np.zeros((2, 19), np.int64)
    w[1, [0, 8, 17]] = 3
    assert nm.patterns(w) == ["2:4", "1:4", "1:8"]
    w[0, 7] = w[0, 2] = 1
    assert nm.patterns(w) == ["2:4", "1:4"]
    w[0, 3] = 1
    assert nm.patterns(w) == ["2:4"]
    w[0, 0] = 1
    assert nm.patterns(w) == []


def test_pruning_keeps_the_largest() -> None:
    model = nn.Sequential(nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, -3, 2, 2, 0.5, -0.4], [2, 2, 2, 2, 0, 0]])
    masks = genn.prune(model, "2:4")
    assert model[0].weight.tolist() == [[0, -3, 2, 0, 0.5, pytest.approx(-0.4)], [2, 2, 0, 0, 0, 0]]
    assert sorted(masks) == ["0.weight", "2.weight"]
    assert all(torch.equal(model.get_parameter(k) * v, model.get_parameter(k)) for k, v in masks.items())
    for bad in ("4:4", "0:4", "1-4", "1:4:8", ""):
        with pytest.raises(UsageError):
            genn.prune(model, bad)


def _subjects() -> list[Subject]:
    torch.manual_seed(3)
    sizes = [("2:4", 70, 3, "same"), ("1:4", 61, 5, "same"), ("1:8", 50, 3, "chess"), ("2:4", 401, 2, "chess"),
             ("1:4", 300, 2, ""), ("1:8", 150, 4, "same"), ("1:4", 1, 1, "")]
    cases = [(pruned(columns, rows, p, how), (1, columns)) for p, columns, rows, how in sizes]
    cases.append((nn.Sequential(pruned(13, 6, "1:4"), nn.ReLU()), (1, 5, 13)))
    return [subject(layer, [shape], f"{i} {shape}", i, spread=9) for i, (layer, shape) in enumerate(cases)]


@pytest.mark.parametrize("scheme", ["int8", pytest.param("int16", marks=pytest.mark.long)])
def test_every_engine_agrees(scheme, tmp_path):
    """Both kernels' bytes, every pattern and goal: ends of rows, one column, and sums at their largest."""
    subjects = once("kernels-nm", _subjects)[:: 1 if scheme == "int8" else 2]
    models, made = [], []
    for i, s in enumerate(subjects):
        for core, kernel in KERNELS.items():
            goal = ("time", "time", "balanced", "flash", "flash", "flash")[i % 6] if scheme == "int8" else "balanced"
            models.append(s.model(scheme, f"t{len(models)}", target=core, optimize=goal, kernel=kernel))
            made.append(s)
            assert models[-1].project.layers[0].kernel == kernel, s.label
    stored = [s.stored(m) for m, s in zip(models, made, strict=True)]
    assert not sanitized_differences(models, stored, tmp_path / "host")
    for core in KERNELS:
        assert not emulated_differences(models, made, tmp_path / core, core, 3)
    if scheme == "int8":
        assert not qemu_differences(models[:8], made[:8], tmp_path / "qemu")


# Linear 400 -> 96 at 1:4: cycles and bytes a stored weight, tables, biases, requantization and stores included.
LIMITS = [("int8", "generic-m4", 3.9, 1.6), ("int16", "generic-m4", 3.7, 2.7), ("int8", "cortex-m0plus", 6.0, 2.7)]


@pytest.mark.parametrize(("scheme", "core", "cycles", "size"), LIMITS)
def test_auto_takes_the_faster_form(scheme, core, cycles, size, tmp_path):
    """1:4 is faster than zeros left out anywhere and than dense, and auto knows."""

    def make() -> Subject:
        torch.manual_seed(0)
        return subject(pruned(400, 96, "1:4"), [(1, 400)])

    s = once("kernels-nm-linear", make)
    modes = [{}, {"sparse": "never"}, {"sparse": "always", "kernel": "portable"}]
    models = [s.model(scheme, f"t{i}", target=core, optimize="time", **m) for i, m in enumerate(modes)]
    many = Many(models, tmp_path)
    run = emulate(tmp_path, load_target(core), [many.images([s.stored(m, 1) for m in models])])
    taken, dense, gaps = (layer.cycles for layer in run.layers)
    assert models[0].graph.nodes[0].quant["nm"] == "1:4"
    assert taken < min(dense, gaps)
    assert taken <= cycles * 96 * 100
    assert models[0].manifest["layers"][0]["weight_bytes"] <= size * 96 * 100


def test_flash_takes_the_smaller_form():
    torch.manual_seed(0)
    s = subject(pruned(200, 20, "2:4"), [(1, 200)])
    model = s.model("int8", "net", target="generic-m4", optimize="flash")
    assert model.graph.nodes[0].quant["nm"] == "2:4"
    assert model.manifest["layers"][0]["weight_bytes"] == 20 * 13 * 12
