"""Whole plans: each is replayed byte by byte, dead bytes poisoned, by a checker that knows nothing of the planner."""

from __future__ import annotations

import itertools
import os
import random

import pytest

from genn.errors import GennError
from genn.memory import plan, reader
from genn.memory.schedule import REDUCTIONS, Options, moved
from tests.memory_graphs import random_network

QUICK = [
    Options(),
    Options(stream=False),
    Options(overlap=False, stream=False),
    Options(order=False),
    Options(concat=False, inplace=False),
    Options(fuse=False),
]


def planned(seed: int, options: Options) -> plan.MemoryPlan:
    rng = random.Random(seed)
    graph = reader.build(random_network(rng, rng.randint(2, 14)), "random")
    return plan.make(graph, options, climb=0.05, prove=0)


def test_random_networks() -> None:
    streamed = 0
    for seed in (*range(40), 351, 362, 1107, 2291):  # the last ones found mistakes
        for options in QUICK:
            made = planned(seed, options)
            assert plan.check(made) <= made.arena, (seed, options)
            assert made.lower_bound <= made.arena
            assert made.peak <= made.default_peak
            streamed += any(s.streamed for s in made.steps())
    assert streamed > 30


@pytest.mark.long
def test_many_random_networks() -> None:
    for seed in range(int(os.environ.get("GENN_FUZZ_PLANS", "3000"))):
        for options in QUICK:
            made = planned(seed, options)
            assert plan.check(made) <= made.arena, (seed, options)


def test_every_combination_of_reductions_is_sound() -> None:
    for flags in itertools.product((False, True), repeat=len(REDUCTIONS)):
        options = Options(**dict(zip(REDUCTIONS, flags, strict=True)))
        made = planned(7, options)
        assert plan.check(made) <= made.arena, options


def test_regions_move_a_piece_at_a_time() -> None:
    """Every move leaves spans in order that do not meet, and no two moves are the same but where spans are short."""
    spans = ((0, 2), (3, 3), (6, 9))
    moves = list(moved(spans))
    for move in moves:
        assert move != spans
        assert all(a <= b for a, b in move)
        assert all(b < c for (_, b), (c, _) in itertools.pairwise(move))
    assert ((0, 3), (6, 9)) in moves and ((0, 1), (2, 3), (6, 9)) in moves and ((0, 2), (3, 9)) in moves
    assert ((0, 2), (6, 9)) in moves and ((0, 2), (3, 3), (6, 7), (8, 9)) in moves and ((0, 2), (3, 4), (6, 9)) in moves


def test_checker_finds_a_damaged_plan() -> None:
    """Moving any buffer of a tight plan onto its neighbour is found."""
    found = 0
    for seed in range(12):
        made = planned(seed, Options())
        plan.check(made)
        for k, item in enumerate(made.items):
            at = made.offsets.places[k]
            if not item.size or not at:
                continue
            made.offsets.places[k] = 0
            try:
                plan.check(made)
            except GennError:
                found += 1
            made.offsets.places[k] = at
        plan.check(made)
    assert found > 20


def test_a_limit_that_needs_no_streaming_gets_none() -> None:
    """The concats that are best for rows may be worse where nothing streams."""
    image, conv = [1, 8, 20, 18], [None, None, None, [1, 1], [1, 1], [1, 1], 8]
    nodes = [
        ("input", [], image, [], {}),
        ("conv2d", [0], image, conv, {"w": [8, 1, 3, 3]}),
        ("conv2d", [1], image, conv, {"w": [8, 1, 3, 3]}),
        ("conv2d", [2], image, [], {"w": [8, 8, 1, 1]}),
        ("cat", [1, 2], [1, 16, 20, 18], [None, 1], {}),
        ("cat", [4, 3], [1, 24, 20, 18], [None, 1], {}),
        ("conv2d", [5], image, [], {"w": [8, 24, 1, 1]}),
        ("add", [6, 1], image, [], {}),
    ]
    fields = ("op", "inputs", "shape", "args", "params")
    doc = {"outputs": [7], "nodes": [{"id": i, "name": f"n{i}"} | dict(zip(fields, n, strict=True))
                                     for i, n in enumerate(nodes)]}  # fmt: skip
    graph = reader.build(doc, "m")
    whole = plan.make(graph, Options(stream=False), climb=0.05, prove=0)
    assert plan.make(graph, Options(), climb=0.05, prove=0).arena < whole.arena
    made = plan.make(graph, Options(limit=whole.arena), climb=0.05, prove=0)
    assert made.arena <= whole.arena and made.schedule.streamed_rows == 0
