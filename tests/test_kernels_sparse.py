"""Stored-sparse kernels: the packing, the reference's bytes on host and both emulated cores, and cycles a nonzero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genn.emulate import emulate
from genn.ir import NP_DTYPE, SCHEMES
from genn.ops import sparse
from genn.target import load_target
from tests.harness import Subject, emulated_differences, host_differences, once, subject
from tests.many import Many

CORES = ("generic-m4", "cortex-m0plus")


def _unpack(words: np.ndarray, counts: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Rows from packed words, by the format's definition."""
    w = np.zeros(shape, dtype)
    values = 4 * dtype.itemsize // 4
    at = 0
    for row, count in zip(w, counts, strict=True):
        base = 0
        for _ in range(count):
            places = words[at : at + 1].view(np.uint8)
            for place, value in zip(places, words[at + 1 : at + 1 + values].view(dtype), strict=True):
                row[base + int(place)] += value  # entries left over add zero
            base += int(places[3])
            at += 1 + values
    assert at == len(words) or (at == 0 and len(words) == 1)
    return w


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("limit", [63, 127, 255])
def test_packing(scheme, limit):
    rng = np.random.default_rng(5)
    dtype = NP_DTYPE[scheme]
    rows = [np.arange(1500) % 400 == 0, np.arange(1500) == 1499, np.zeros(1500, bool), np.ones(1500, bool)]
    rows += [np.arange(1500) == k for k in (0, 63, 64, 127, 128, 254, 255, 256, 510, 511)]
    rows += [rng.random(1500) < d for d in (0.002, 0.01, 0.03, 0.1, 0.3, 0.9)]
    values = rng.integers(1, 100, (len(rows), 1500)) * rng.choice([-1, 1], (len(rows), 1500))
    w = (np.array(rows) * values).astype(dtype)
    words, counts = sparse.pack_rows(w, limit, dtype)
    assert np.array_equal(_unpack(words, counts, w.shape, dtype), w)
    places = words.reshape(-1, 1 + dtype.itemsize)[:, 0].copy().view(np.uint8).reshape(-1, 4)
    assert places[:, :3].max() <= limit
    assert (np.diff(places.astype(int), axis=1) >= 0).all()


def _thin(layer: nn.Module, density: float, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer.weight.data *= torch.rand(layer.weight.shape, generator=generator) < density
    return layer


def thin_layers() -> list[Subject]:
    """Layers whose zeros are not stored."""
    torch.manual_seed(11)
    cases: list[tuple[nn.Module, tuple[int, ...]]] = [
        (_thin(nn.Linear(1, 1), 1.0, 0), (1, 1)),
        (_thin(nn.Linear(1000, 7), 0.01, 1), (1, 1000)),
        (_thin(nn.Linear(1000, 3), 0.001, 2), (1, 1000)),
        (_thin(nn.Linear(90, 17), 0.3, 3), (2, 90)),
        (nn.Linear(40, 5), (1, 40)),
        (_thin(nn.Linear(50, 4), 0.0, 4), (1, 50)),
        (_thin(nn.Conv2d(2, 3, 3), 0.4, 5), (1, 2, 3, 3)),
        (_thin(nn.Conv2d(3, 9, (3, 4), padding=(1, 2)), 0.2, 6), (1, 3, 5, 7)),
        (_thin(nn.Conv2d(8, 6, 3, groups=2, padding=1, stride=2), 0.2, 7), (1, 8, 5, 9)),
        (_thin(nn.Conv2d(3, 4, 3, dilation=2, padding=1), 0.3, 8), (1, 3, 9, 8)),
        (nn.Sequential(_thin(nn.Conv2d(4, 5, 3), 0.2, 9), nn.ReLU(), nn.MaxPool2d(2)), (1, 4, 8, 9)),
        (nn.Sequential(_thin(nn.Conv2d(4, 5, 3, padding=1), 0.2, 10), nn.MaxPool2d(3)), (1, 4, 7, 9)),
        (nn.Sequential(_thin(nn.Conv1d(6, 8, 4), 0.2, 11), nn.MaxPool1d(5)), (1, 6, 13)),
        (nn.Sequential(_thin(nn.Conv1d(6, 8, 4), 0.2, 15), nn.ReLU(), nn.MaxPool1d(2)), (1, 6, 13)),
        (nn.Sequential(_thin(nn.Conv2d(4, 6, 3, padding=1, groups=2), 0.3, 16), nn.MaxPool2d((2, 1))), (1, 4, 6, 7)),
        (_thin(nn.Conv2d(300, 4, 1), 0.02, 12), (1, 300, 2, 3)),
        (_thin(nn.Conv2d(5, 5, 3, groups=5), 0.5, 13), (1, 5, 4, 5)),
    ]
    return [subject(module, [shape], str(module), seed) for seed, (module, shape) in enumerate(cases)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_engine_agrees(scheme, tmp_path):
    subjects = once("kernels-sparse", thin_layers)
    models = [s.model(scheme, f"t{i}", sparse="always") for i, s in enumerate(subjects)]
    for model, s in zip(models, subjects, strict=True):
        assert any(node.quant.get("sparse") for node in model.graph.nodes), s.label
    assert not host_differences(models, subjects, tmp_path / "host")
    for core in CORES:
        assert not emulated_differences(models, subjects, tmp_path / core, core)


# Linear 784 -> 128 with 90 % zeros: cycles and bytes a nonzero, a row's bias, requantization and store included.
LIMITS = [
    ("int8", "generic-m4", 5.6, 2.2),
    ("int16", "generic-m4", 6.2, 3.2),
    ("float32", "generic-m4", 8.0, 5.4),
    ("int8", "cortex-m0plus", 10.2, 2.2),
    ("int16", "cortex-m0plus", 11.0, 3.2),
]


def _linear() -> Subject:
    torch.manual_seed(0)
    return subject(_thin(nn.Linear(784, 128), 0.1, 0), [(1, 784)])


@pytest.mark.parametrize(("scheme", "core", "cycles", "size"), LIMITS)
def test_cost_of_a_nonzero(scheme, core, cycles, size):
    s = once("kernels-sparse-linear", _linear)
    model = s.model(scheme, "net", target=core, optimize="time", kernel="portable")
    node = model.graph.nodes[0]
    nonzeros = int((node.quant["w"] != 0).sum())
    words, counts = sparse.pack_rows(node.quant["w"], sparse.limit_of("linear", scheme), NP_DTYPE[scheme])
    assert node.quant["sparse"]
    assert 4 * len(words) + 2 * len(counts) <= size * nonzeros
    assert model.emulate(core).data["cycles"] <= cycles * nonzeros


@pytest.mark.parametrize("scheme", ["int8", "int16"])
def test_a_pool_fills_its_tiles(scheme):
    """A maximum of two neighbours shares its tile with the next one's: it costs hardly more than no pool."""

    def pooled_and_not() -> list[Subject]:
        torch.manual_seed(1)
        layer = _thin(nn.Conv1d(16, 24, 5), 0.2, 1)
        return [subject(m, [(1, 16, 20)]) for m in (layer, nn.Sequential(layer, nn.MaxPool1d(2)))]

    models = [s.model(scheme, "net", target="generic-m4", sparse="always")
              for s in once("kernels-sparse-pool", pooled_and_not)]
    plain, pooled = (model.emulate("generic-m4").data["layers"] for model in models)
    assert len(pooled) == 1 and pooled[0]["cycles"] < 1.1 * plain[0]["cycles"]


def _both_ways(op: str, density: float, seed: int) -> Subject:
    torch.manual_seed(seed)
    layer, shape = {
        "linear": lambda: (nn.Linear(300, 40), (1, 300)),
        "conv2d": lambda: (nn.Conv2d(8, 16, 3), (1, 8, 6, 6)),
        "narrow": lambda: (nn.Conv2d(16, 16, 3, padding=1), (1, 16, 6, 6)),  # tiles of four pixels are not all full
    }[op]()
    return subject(_thin(layer, density, seed), [shape], f"{op} {density}", seed)


def test_of_what_is_about_as_fast_balanced_takes_the_smaller():
    torch.manual_seed(0)
    layer = nn.Linear(200, 64)
    kept = torch.randperm(layer.weight.numel())[:3075]  # 2 % slower than dense, by the cost model
    w = torch.zeros_like(layer.weight).ravel()
    w[kept] = torch.rand(3075) / 2 + 0.5
    layer.weight.data = w.reshape(layer.weight.shape)
    s = subject(layer, [(1, 200)])
    sparse = {o: s.model("int8", "net", target="generic-m4", optimize=o).graph.nodes[0].quant["sparse"]
              for o in ("time", "balanced")}
    assert sparse == {"time": False, "balanced": True}


CHOICES = [(op, density) for op in ("linear", "conv2d") for density in (0.03, 0.1, 0.6, 1.0)]
CHOICES += [("narrow", 0.1), ("narrow", 0.5)]


@pytest.mark.parametrize(
    ("scheme", "core"),
    [pytest.param(scheme, core, marks=() if scheme == "int8" else pytest.mark.long)
     for scheme in ("int8", "int16", "float32") for core in ("generic-m4", "cortex-m0plus")],
)
def test_auto_chooses_what_is_faster(scheme, core, tmp_path):
    """Every layer runs both ways; ``auto`` must have taken the faster one, or one that is nearly as fast."""
    subjects = once("kernels-sparse-both", lambda: [_both_ways(op, d, i) for i, (op, d) in enumerate(CHOICES)])
    modes = ("always", "never", "auto")
    models = [
        s.model(scheme, f"t{i}{mode}", sparse=mode, target=core, optimize="time")
        for i, s in enumerate(subjects)
        for mode in modes
    ]
    many = Many(models, tmp_path)
    stored = [s.stored(m, 1) for m, s in zip(models, [s for s in subjects for _ in modes], strict=True)]
    run = emulate(tmp_path, load_target(core), [many.images(stored)])
    assert not many.differences(stored, run.outputs[0])
    cycles = [layer.cycles for layer in run.layers]
    chosen = [next(n for n in m.graph.nodes if "sparse" in n.quant).quant["sparse"] for m in models[2::3]]
    assert len(cycles) == len(models)
    for i, s in enumerate(subjects):
        sparse_cycles, dense_cycles, auto_cycles = cycles[3 * i : 3 * i + 3]
        assert auto_cycles == (sparse_cycles if chosen[i] else dense_cycles), s.label
        assert auto_cycles <= 1.05 * min(sparse_cycles, dense_cycles), s.label
    assert True in chosen and False in chosen
