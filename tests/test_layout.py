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
        [(1, 3, 4, 5)], 3,
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
