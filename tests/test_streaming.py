"""Row streaming: random chains and networks with branches, byte for byte through every scheme, host and both cores."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genn import frontend, passes, quantize, streaming
from genn.ir import SCHEMES
from genn.ops.rows import Window
from tests import harness
from tests.branched import KINDS, Branched

CHAINS, BRANCHED = 3, len(KINDS)
NETS = int(os.environ.get("GENN_STREAM_NETS", "30"))  # of the long run


def chain(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A random run of convolutions and maximum pools over an image that is wide at first."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    c, h, w = int(rng.integers(1, 5)), int(rng.integers(12, 26)), int(rng.integers(5, 20))
    shape = (1, c, h, w)
    layers: list[nn.Module] = []
    for _ in range(int(rng.integers(3, 7))):
        kind = rng.choice(["conv", "point", "depth", "pool", "conv pool", "dilated"])
        k, s = int(rng.integers(2, 5)), int(rng.integers(1, 3))
        if min(h, w) < 6:
            kind = "point"
        o = int(rng.integers(2, 9))
        if kind == "point":
            layers += [nn.Conv2d(c, o, 1), nn.ReLU6()]
            c = o
        elif kind == "depth":
            layers += [nn.Conv2d(c, c, 3, padding=1, stride=s, groups=c), nn.ReLU()]
        elif kind == "pool":
            layers.append(nn.MaxPool2d(3, s, padding=int(rng.integers(0, 2))))
        elif kind == "conv pool":
            layers += [nn.Conv2d(c, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            c = o
        elif kind == "dilated":
            layers.append(nn.Conv2d(c, o, (3, 1), padding=(2, 0), dilation=(2, 1)))
            c = o
        else:
            layers += [nn.Conv2d(c, o, k, padding=int(rng.integers(0, k)), stride=min(s, k)), nn.ReLU()]
            c = o
        _, _, h, w = nn.Sequential(*layers)(torch.zeros(shape)).shape
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(c * h * w, 3)), shape


def subjects() -> list[harness.Subject]:
    def make() -> list[harness.Subject]:
        made = [("chain", seed, *chain(seed)) for seed in range(CHAINS)]
        made += [("branched", seed, Branched(seed), Branched.shape) for seed in range(BRANCHED)]
        return [harness.subject(net, [shape], f"{kind} {seed}", seed) for kind, seed, net, shape in made]

    return harness.once("streaming", make)


@pytest.fixture
def widest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything streams that can, in the largest regions, whatever the peak."""

    def best(choice: streaming.Choice, *_: object) -> list[streaming.Region]:
        found: list[streaming.Region] = []
        j = len(choice.nodes) - 1
        while j >= 0:
            if choice.nodes[j].name in choice.windows:
                choice._regions(j)
                nodes = choice.nodes[min(a for a, b in choice.costs if b == j) : j + 1]
                found.insert(0, streaming.region(nodes, choice.graph, choice.windows, choice.row_workspaces))
                j -= len(nodes) - 1
            j -= 1
        return found

    monkeypatch.setattr(streaming.Choice, "best", best)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_that_can_stream_does_on_the_host(scheme: str, widest: None, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    models = [s.model(scheme, f"n{i}", optimize="ram") for i, s in enumerate(subjects())]
    streamed = {n.op for m in models for x in m.project.streams for n in x.region.nodes}
    assert streamed >= {"conv2d", "max_pool2d", "avg_pool2d", "add", "sub", "mul", "concat", "slice", "pad"}
    assert any(len(made) > 1 for m in models for x in m.project.streams for made in x.region.sources)
    assert harness.host_differences(models, subjects(), tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("scheme", SCHEMES)
def test_many_networks_stream(scheme: str, widest: None, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    for seed in range(NETS):
        net, shape = (Branched(seed), Branched.shape) if seed % 2 else chain(seed)
        s = harness.subject(net, [shape], f"{seed}", seed)
        model = s.model(scheme, "net", optimize="ram")
        assert harness.host_differences([model], [s], tmp_path / str(seed)) == [], s.label


def arenas(choice: streaming.Choice, limit: int, rng: random.Random) -> tuple[int, set[int]]:
    """The arena of the regions chosen and all that were seen, if arenas are random and fall as they are asked for."""
    seen: dict[tuple[str, ...], int] = {}

    def key(regions: list[streaming.Region]) -> tuple[str, ...]:
        return tuple(f"{r.nodes[0].name} {r.name}" for r in regions)

    def arena(regions: list[streaming.Region]) -> int:
        return seen.setdefault(key(regions), choice.peak * (rng.randint(200, 250) - 10 * len(seen)) // 100)

    return seen[key(choice.best(arena, limit))], set(seen.values())


def test_no_smaller_arena_was_seen_than_the_one_taken() -> None:
    """Placing is a search, so any list of regions may turn out smaller than what it was made from."""
    rng, several = random.Random(1), 0
    for net, shape in ((Branched(1), Branched.shape), (Branched(5), Branched.shape), chain(8)):
        imported = frontend.import_graph(frontend.trace(net.eval(), (torch.zeros(shape),)), "net")
        graph = quantize.quantize(passes.canonicalize(imported), "float32", None, "never", "exact")
        windows = {n.name: w for n in graph.nodes if (w := streaming.window(n, graph)) is not None}
        choice = streaming.Choice(graph, windows, {}, {})
        for limit in (0, choice.peak * 5 // 4):
            for _ in range(10):
                taken, seen = arenas(choice, limit, rng)
                assert taken <= max(limit, min(seen)), limit
                several += len(seen) > 2
    assert several > 50


@pytest.mark.parametrize("target", ["cortex-m0plus", "generic-m4"])
@pytest.mark.parametrize("scheme", [pytest.param("float32", marks=pytest.mark.long), "int16", "int8"])
def test_all_that_can_stream_does_in_the_emulator(
    scheme: str, target: str, widest: None, tmp_path: Path, need_tool
) -> None:
    need_tool("arm-none-eabi-gcc")
    models = [s.model(scheme, f"n{i}", target=target, optimize="ram") for i, s in enumerate(subjects())]
    assert harness.emulated_differences(models, subjects(), tmp_path / "many", target) == []


def test_what_is_chosen_runs_and_needs_less(tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    models = [s.model("int8", f"n{i}", target="generic-m4", optimize="ram") for i, s in enumerate(subjects())]
    whole = [s.model("int8", f"n{i}", target="generic-m4") for i, s in enumerate(subjects())]
    assert sum(bool(m.project.streams) for m in models) > len(models) // 2
    assert all(a.project.plan.arena <= b.project.plan.arena for a, b in zip(models, whole, strict=True))
    assert harness.host_differences(models, subjects(), tmp_path) == []


def test_layers_are_compared_though_they_stream(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    s = next(s for s in subjects() if s.model("int8", "net", optimize="ram").project.streams)
    model = s.model("int8", "net", optimize="ram", target="cortex-m0plus")
    x = next(iter(s.inputs.values()))
    report = model.verify(x, on=("host", "emu"), layers=True, samples=1)
    assert report.ok
    costs = model.emulate("cortex-m0plus").data
    streamed = [r["symbol"] for r in model.manifest["layers"] if r["runs_in"]]
    assert streamed and all(r["cycles"] > 0 for r in costs["layers"] if r["symbol"] in streamed)


def test_windows() -> None:
    same = Window(stride=1, pad=1, reach=3, rows_in=5, rows_out=5)
    assert [(same.first(r), same.end(r)) for r in range(5)] == [(0, 2), (0, 3), (1, 4), (2, 5), (3, 5)]
    assert same.alone == 1 and same.padded and same.usable
    half = Window(stride=2, pad=0, reach=2, rows_in=7, rows_out=3)
    assert half.alone == 2 and not half.padded and half.usable
    part = Window(stride=2, pad=-1, reach=1, rows_in=7, rows_out=3)
    assert [(part.first(r), part.end(r)) for r in range(3)] == [(1, 2), (3, 4), (5, 6)] and part.usable
    assert not Window(stride=1, pad=3, reach=3, rows_in=5, rows_out=9).usable


def test_the_fewest_layers_stream_that_bring_the_peak_down() -> None:
    """Wide at first, narrow behind: the narrow layers stay whole."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1, stride=3), nn.ReLU(),
                        nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Flatten(), nn.Linear(128, 2))
    s = harness.subject(net, [(1, 1, 24, 24)])
    model = s.model("int8", "net", optimize="ram")
    (region,) = [x.region for x in model.project.streams]
    assert len(region.nodes) == 2
    image, kept = 24 * 24, 3 * 24 * 8
    assert region.lines == (kept,)
    assert image < model.project.plan.arena < image + kept < s.model("int8", "net").project.plan.arena
