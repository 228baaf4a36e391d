"""Axis orders: networks whose orders cannot all be had at once, and the arithmetic of permutations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genn.passes.layout import complete, flatten_order, follow, ordered
from genn.passes.tools import axis_map, between, inverse, moves_data, then
from tests.networks import Fn, Shape, compile_and_compare, conv

# -- orders that cannot all be had ------------------------------------------------------------------------------------

ODD: dict[str, tuple[Callable[[], nn.Module], list[Shape], int]] = {
    # name: module, shapes, the most transposes that may be left
    "permute in the middle": (
        lambda: Fn(lambda m, x: m.c2(F.relu(m.c1(x)).permute(0, 1, 3, 2)), c1=conv(3, 4), c2=conv(4, 2)),
        [(1, 3, 4, 5)], 1,
    ),
    "channel shuffle": (
        lambda: Fn(lambda m, x: m.c2(m.c1(x).view(1, 2, 3, 4, 5).transpose(1, 2).reshape(1, 6, 4, 5)),
                   c1=conv(3, 6), c2=conv(6, 2)),
        [(1, 3, 4, 5)], 1,
    ),
    "linear over the width": (
        lambda: Fn(lambda m, x: m.c2(m.fc(m.c1(x))), c1=conv(3, 4), fc=nn.Linear(5, 6), c2=conv(4, 2)),
        [(1, 3, 4, 5)], 2,
    ),
    "a value and its transpose": (
        lambda: Fn(lambda m, x: m.c(x) + m.c(x).transpose(2, 3), c=conv(3, 4)), [(1, 3, 5, 5)], 2,
    ),
    "one tensor, two orders out": (
        lambda: Fn(lambda m, x: (lambda y: (y, y.permute(0, 2, 3, 1), y))(m.c(x)), c=conv(3, 4)), [(1, 3, 5, 4)], 0,
    ),
    "input in two orders": (
        lambda: Fn(lambda m, x: (m.c(x), m.c(x.transpose(2, 3)), x + 1), c=conv(3, 4)), [(1, 3, 5, 4)], 1,
    ),
    "batch of three": (
        lambda: nn.Sequential(conv(2, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
        [(3, 2, 4, 4)], 0,
    ),
    "broadcast constants": (
        lambda: Fn(lambda m, x: F.relu(m.c(x) * torch.arange(5.0) + torch.ones(4, 1, 5)) - torch.ones(3, 1, 1, 1),
                   c=conv(3, 4)),
        [(1, 3, 4, 5)], 1,
    ),
    "broadcast a lower rank": (
        lambda: Fn(lambda m, x, y: m.c(x) + y, c=conv(3, 4)), [(1, 3, 4, 5), (4, 5)], 1,
    ),
    "concat along the width, pad, mean over the height": (
        lambda: Fn(lambda m, x: F.pad(torch.cat([m.c(x), m.d(x)], 3), (1, 0, 0, 2, 1, 1), value=2.0).mean(2),
                   c=conv(3, 4), d=conv(3, 4)),
        [(1, 3, 4, 5)], 0,
    ),
    "prelu, softmax and mean on vectors": (
        lambda: Fn(lambda m, x: (m.p(x).softmax(-1).mean(), x.mean(0, keepdim=True)), p=nn.PReLU(6)), [(1, 6)], 0,
    ),
    "flatten from the middle": (
        lambda: Fn(lambda m, x: m.fc(m.c(x).flatten(2)), c=conv(3, 4), fc=nn.Linear(20, 3)), [(1, 3, 4, 5)], 1,
    ),
    "1-d into concat with the input": (
        lambda: Fn(lambda m, x: m.d(torch.cat([x, F.relu(m.c(x))], 1)), c=nn.Conv1d(3, 4, 3, padding=1),
                   d=nn.Conv1d(7, 2, 1)),
        [(1, 3, 9)], 0,
    ),
    "1-d padded, stacked, averaged": (
        lambda: Fn(lambda m, x: (F.pad(m.c(x), (2, 1), value=1.0), torch.stack([m.c(x), m.c(x)]), m.c(x).mean(-1)),
                   c=nn.Conv1d(3, 4, 3)),
        [(1, 3, 9)], 2,
    ),
    "squeezed and back": (
        lambda: Fn(lambda m, x: m.c(x).squeeze(0).unsqueeze(0).relu().squeeze(), c=conv(3, 4)), [(1, 3, 4, 5)], 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd(name: str) -> None:
    make, shapes, most = ODD[name]
    graph = compile_and_compare(make(), *shapes)
    assert [n.op for n in graph.nodes].count("transpose") <= most, graph.dump()


# -- small parts ------------------------------------------------------------------------------------------------------


def test_permutations() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((2, 3, 4, 5))
    for _ in range(20):
        p, q = (tuple(int(i) for i in rng.permutation(4)) for _ in range(2))
        assert np.array_equal(x.transpose(p).transpose(q), x.transpose(then(p, q)))
        assert np.array_equal(x.transpose(p).transpose(inverse(p)), x)
        assert np.array_equal(x.transpose(p).transpose(between(p, q)), x.transpose(q))


def test_moves_data_is_exact() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(int(d) for d in rng.integers(1, 4, 4))
        p = tuple(int(i) for i in rng.permutation(4))
        x = np.arange(np.prod(shape)).reshape(shape)
        assert moves_data(shape, p) == (not np.array_equal(x.ravel(), x.transpose(p).ravel()))


@pytest.mark.parametrize(
    ("src", "dst", "want"),
    [
        ((1, 4, 1, 9), (1, 4, 9), [0, 1, 3]),
        ((1, 4, 9), (1, 4, 1, 9), [0, 1, None, 2]),
        ((4, 9), (1, 4, 9), [None, 0, 1]),
        ((1, 1, 1, 5), (1, 1, 5), [0, 1, 3]),
        ((2, 3), (6,), None),
        ((2, 3), (3, 2), None),
        ((5, 1), (5,), [0]),
    ],
)
def test_axis_map(src: Shape, dst: Shape, want: list[int | None] | None) -> None:
    assert axis_map(src, dst) == want


def test_flatten_order() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((2, 3, 4, 5))
    order = flatten_order(x.shape, (0, 3, 1, 2), (2, 60))
    assert order is not None
    assert np.array_equal(x.transpose(0, 3, 1, 2).reshape(2, 60), x.reshape(2, 60)[:, order])
    assert flatten_order(x.shape, (1, 0, 2, 3), (2, 60)) is None
    assert flatten_order(x.shape, (0, 3, 1, 2), (10, 12)) is None


def test_views_follow_orders() -> None:
    """A view in the order that follows is the tensor as it is stored, under another shape."""
    rng = np.random.default_rng(0)
    x = rng.random((2, 3, 1, 5))
    view = (None, 1, 3, 0)  # a new axis in front, the channels, the width, the batch
    seen = x.transpose(2, 1, 3, 0)
    for _ in range(20):
        have = tuple(int(i) for i in rng.permutation(4))
        order = follow(view, have)
        assert np.array_equal(x.transpose(have).ravel(), seen.transpose(order).ravel())
        back = complete(ordered(view, order), 4)
        assert not moves_data(tuple(np.array(x.shape)[list(have)]), between(have, back))


# -- random networks ------------------------------------------------------------------------------------------


class Wild(nn.Module):
    """Convolutions between permutes, reshapes, broadcasts, concatenations and reductions: nets nobody would write."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.shape = (1, *(int(d) for d in self.rng.integers(1, 5, 3)))
        self.layers = nn.ModuleList()
        self.steps: list[Callable[[torch.Tensor, list[torch.Tensor]], torch.Tensor]] = []
        with torch.no_grad():
            values = [torch.zeros(self.shape)]
            for _ in range(int(self.rng.integers(4, 11))):
                step = self.draw(values[-1])
                values.append(step(values[-1], values))
                self.steps.append(step)
        self.also = int(self.rng.integers(len(values)))

    def layer(self, module: nn.Module) -> Callable[..., torch.Tensor]:
        self.layers.append(module)
        return lambda x, old: module(x)

    def draw(self, x: torch.Tensor) -> Callable[..., torch.Tensor]:
        rng, rank = self.rng, x.ndim
        kind = int(rng.integers(14))
        axis = int(rng.integers(rank))
        if kind <= 2 and rank == 4:
            return self.layer(nn.Sequential(nn.Conv2d(x.shape[1], int(rng.integers(1, 5)), 3, padding=1), nn.ReLU()))
        if kind == 3 and rank == 3:
            return self.layer(nn.Conv1d(x.shape[1], int(rng.integers(1, 5)), 3, padding=1))
        if kind == 4:
            perm = tuple(int(i) for i in rng.permutation(rank))
            return lambda x, old: x.permute(perm)
        if kind == 5:
            return lambda x, old: x.unsqueeze(axis) if rank < 4 else x.flatten(axis % 3, axis % 3 + 1)
        if kind == 6:
            return self.layer(nn.Linear(x.shape[-1], int(rng.integers(1, 5))))
        if kind == 7:
            other = torch.from_numpy(rng.random([d if rng.random() < 0.5 else 1 for d in x.shape[axis:]]).astype("f"))
            return lambda x, old: x * other + 1
        if kind == 8:
            return lambda x, old: torch.cat([x, old[-1].tanh(), x], axis) if x.numel() < 200 else x
        if kind == 9:
            return lambda x, old: next((x + o for o in old if o.shape == x.shape and o is not x), x)
        if kind == 10:
            return lambda x, old: x.mean(axis, keepdim=rank < 3) if rank > 2 else torch.sigmoid(x)
        if kind == 11:
            return lambda x, old: F.pad(x, (1, 0, 0, 1)) if rank >= 2 and x.numel() < 200 else x
        if kind == 12:
            shape = (1, -1, x.shape[axis]) if rank >= 2 else (1, -1)
            return lambda x, old: x.reshape(shape)
        return lambda x, old: x.softmax(axis) if axis else F.hardswish(x)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = [x]
        for step in self.steps:
            values.append(step(values[-1], values))
        return values[-1], values[self.also]


@pytest.mark.parametrize("seed", range(12))
def test_random(seed: int) -> None:
    torch.manual_seed(seed)
    net = Wild(seed)
    compile_and_compare(net, net.shape)
