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
from genn.streaming import row_bytes
from tests import harness
from tests.test_streaming import subjects
from tests.zoo_memory import CIFAR, LENET


@dataclass
class Replay:
    """One region on a map of the arena whose bytes know their tensor and row; the rows of line buffers move up."""

    project: CProject
    placed: Placed
    over: int = 0  # rows that were laid on input
    owner: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.region = self.placed.region
        self.owner = np.full(self.project.plan.arena, -1, np.int64)
        nodes, windows = self.region.nodes, self.region.windows
        self.made, self.base = [0] * len(nodes), [0] * len(nodes)
        self.maker = {n.outputs[0]: k for k, n in enumerate(nodes)}
        read = [n.inputs[i] for n, w in zip(nodes, windows, strict=True) for i in w.inputs]
        self.inputs = [t for t in dict.fromkeys(read) if t not in self.maker]
        self.ids = {t: i for i, t in enumerate([*self.inputs, *self.maker])}

    def place(self, name: str, row: int) -> slice:
        size, k = row_bytes(self.project.graph[name]), self.maker.get(name)
        at = self.project.plan.offsets.get(name, 0)
        if k is not None and k < len(self.made) - 1:
            at, row = self.placed.offset + self.region.offsets[k], row - self.base[k]
        at += row * size
        assert at >= 0 and at + size <= self.project.plan.arena
        return slice(at, at + size)

    def whole(self, name: str, row: int) -> None:
        assert np.all(self.owner[self.place(name, row)] == 100_000 * self.ids[name] + row), (name, row)

    def write(self, name: str, row: int) -> None:
        self.owner[self.place(name, row)] = 100_000 * self.ids[name] + row

    def make(self, k: int) -> None:
        """The next row of layer k, and before it the rows that it needs."""
        row, (node, w) = self.made[k], (self.region.nodes[k], self.region.windows[k])
        sources = [node.inputs[i] for i in w.inputs]
        for p in [self.maker[t] for t in sources if t in self.maker]:
            while self.made[p] < w.end(row):
                self.make(p)
        if k < len(self.made) - 1:
            self.advance(k)
        windows = [(t, n) for t in sources for n in range(w.first(row), w.end(row))]
        for t, n in windows:
            self.whole(t, n)
        self.owner[self.placed.workspace : self.placed.workspace + self.region.workspace] = -1
        spot = self.place(node.outputs[0], row)
        for t in self.inputs:
            image = self.place(t, 0).start
            self.over += spot.start < image + self.project.graph[t].nbytes and image < spot.stop
        in_place = [t for t in sources if self.place(t, w.first(row)) == spot and t in self.maker]
        self.write(node.outputs[0], row)
        for t, n in windows:
            if t not in in_place:
                self.whole(t, n)  # the kernel may read any of them to its end
        self.made[k] += 1

    def advance(self, k: int) -> None:
        name = self.region.nodes[k].outputs[0]
        pairs = zip(self.region.nodes, self.region.windows, self.made, strict=True)
        least = min([self.made[k], *(w.first(row) for n, w, row in pairs if name in (n.inputs[i] for i in w.inputs))])
        if least > self.base[k]:
            kept = [(n, self.owner[self.place(name, n)].copy()) for n in range(least, self.made[k])]
            self.base[k] = least
            for n, old in kept:
                self.owner[self.place(name, n)] = old
        assert self.made[k] - self.base[k] < self.region.rows[k], "no room for a row"

    def run(self) -> int:
        windows, out = self.region.windows, self.region.nodes[-1].outputs[0]
        graph = self.project.graph
        for t in self.inputs:
            for n in range(graph[t].shape[1]):
                self.write(t, n)
        while self.made[-1] < windows[-1].rows_out:
            self.make(len(windows) - 1)
        for row in range(windows[-1].rows_out):
            self.whole(out, row)
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
            end = project.plan.offsets[placed.region.nodes[-1].outputs[0]]
            for name, gap in placed.region.behind.items():
                least = max(end + gap.output, placed.offset + gap.memory)
                if project.plan.offsets[name] != least:
                    continue
                project.plan.offsets[name] -= 1
                with pytest.raises(AssertionError):
                    replay(project)
                project.plan.offsets[name] += 1
                found += 1
    assert found


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
