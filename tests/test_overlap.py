"""What grows into an input that dies row by row: replayed on bytes, and as running code at published sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genn.codegen import CProject
from genn.ir import SCHEMES
from genn.stream_code import Placed
from genn.streaming import behind, row_bytes
from tests import harness
from tests.test_streaming import subjects


@dataclass
class Replay:
    """One region on a map of the arena whose bytes know their row.

    Tensor 0 is the region's input, the last its output, between them line buffers, whose rows move up.
    """

    project: CProject
    placed: Placed
    over: int = 0  # rows that were laid on input
    owner: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        graph, offsets, r = self.project.graph, self.project.plan.offsets, self.placed.region
        source, last = r.nodes[0].inputs[0], r.nodes[-1].outputs[0]
        self.owner = np.full(self.project.plan.arena, -1, np.int64)
        self.rows = [row_bytes(graph[source]), *(row_bytes(graph[n.outputs[0]]) for n in r.nodes)]
        self.spots = [offsets[source], *(self.placed.offset + at for at in r.offsets[:-1]), offsets[last]]
        self.made, self.base = [0] * len(r.lines), [0] * len(r.lines)

    def place(self, k: int, row: int) -> slice:
        line = 0 < k < len(self.spots) - 1
        at = self.spots[k] + (row - (self.base[k - 1] if line else 0)) * self.rows[k]
        assert at >= 0 and at + self.rows[k] <= self.project.plan.arena
        return slice(at, at + self.rows[k])

    def whole(self, k: int, row: int) -> None:
        assert np.all(self.owner[self.place(k, row)] == 100_000 * k + row), (k, row)

    def make(self, k: int, row: int) -> None:
        """Row of layer k, and before it the rows that it needs."""
        w, line = self.placed.region.windows[k], k - 1
        if k:
            if w.first(row) > self.base[line]:
                kept = [(n, self.owner[self.place(k, n)].copy()) for n in range(w.first(row), self.made[line])]
                self.base[line] = w.first(row)
                for n, old in kept:
                    self.owner[self.place(k, n)] = old
            while self.made[line] < w.end(row):
                self.make(k - 1, self.made[line])
                self.made[line] += 1
        for n in range(w.first(row), w.end(row)):
            self.whole(k, n)
        workspace = slice(self.placed.workspace, self.placed.workspace + self.placed.region.workspace)
        self.owner[workspace] = -1
        spot = self.place(k + 1, row)
        source = slice(self.spots[0], self.spots[0] + self.rows[0] * self.placed.region.windows[0].rows_in)
        self.over += spot.start < source.stop and source.start < spot.stop
        self.owner[spot] = 100_000 * (k + 1) + row
        for n in range(w.first(row), w.end(row)):
            self.whole(k, n)  # the kernel may read any of them to its end

    def run(self) -> int:
        windows = self.placed.region.windows
        for n in range(windows[0].rows_in):
            self.owner[self.place(0, n)] = n
        for row in range(windows[-1].rows_out):
            self.make(len(windows) - 1, row)
        for row in range(windows[-1].rows_out):
            self.whole(len(windows), row)
        return self.over


def replay(project: CProject) -> int:
    """Run every region's schedule; how many rows were laid on input that had died."""
    return sum(Replay(project, placed).run() for placed in project.streams)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_are_whole_when_they_are_read(scheme: str) -> None:
    models = [s.model(scheme, "net", optimize="ram") for s in subjects()]
    assert sum(replay(m.project) for m in models) > 20


def test_one_byte_closer_is_found() -> None:
    found = 0
    for s in subjects():
        project = s.model("int8", "net", optimize="ram").project
        for placed in project.streams:
            name, gap = placed.region.nodes[0].inputs[0], behind(placed.region, project.graph)
            end = project.plan.offsets[placed.region.nodes[-1].outputs[0]]
            least = max(end + gap.output, placed.offset + gap.memory)
            if project.plan.offsets[name] != least:
                continue
            project.plan.offsets[name] -= 1
            with pytest.raises(AssertionError):
                replay(project)
            project.plan.offsets[name] += 1
            found += 1
    assert found


LENET = nn.Sequential(
    nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2, 2),
    nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
)  # fmt: skip
CIFAR = nn.Sequential(
    nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(32, 16, 5, padding=2), nn.ReLU(),
    nn.MaxPool2d(2, 2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Flatten(),
    nn.Linear(512, 10),
)  # fmt: skip


@pytest.mark.parametrize(
    "net, shape, scheme, most",
    [
        pytest.param(LENET, (1, 1, 32, 32), "float32", 5_792, id="LeNet-5"),
        pytest.param(CIFAR, (1, 3, 32, 32), "int8", 5_888, id="CMSIS-NN's CIFAR network"),
    ],
)
def test_published_networks_run_in_less(
    net: nn.Module, shape: tuple[int, ...], scheme: str, most: int, tmp_path: Path, need_tool
) -> None:
    need_tool("arm-none-eabi-gcc")
    torch.manual_seed(0)
    s = harness.subject(net.eval(), [shape], seed=1)
    model = s.model(scheme, "net", optimize="ram", target="generic-m4")
    assert model.project.plan.arena <= most
    assert replay(model.project)
    x = next(iter(s.inputs.values()))
    assert model.verify(x, on=("host", "emu"), layers=True, samples=2).ok
