"""The order search against brute force, on published examples, and on networks as architecture search makes them."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from genn.bench import memory as bench
from genn.memory.order import Memory, Problem, search
from genn.memory.reduce import Concats, lay_out
from genn.memory.schedule import Options, Scheduler
from tests.memory_graphs import as_problem, brute_force, network, random_problem


def valid(problem: Problem, order: list[int]) -> bool:
    done = 0
    for i in order:
        if problem.before[i] & ~done:
            return False
        done |= 1 << i
    return done == (1 << problem.size) - 1


def test_random_graphs_against_brute_force() -> None:
    for seed in range(3000):
        rng = random.Random(seed)
        problem = random_problem(rng, rng.randint(1, 11))
        found = search(problem)
        assert valid(problem, found.order), seed
        assert found.peak == Memory(problem).peak(found.order) == found.bound == brute_force(problem), seed


@pytest.mark.long
def test_larger_random_graphs_against_brute_force() -> None:
    for seed in range(3000):
        rng = random.Random(-seed)
        problem = random_problem(rng, rng.randint(12, 15))
        assert search(problem).peak == brute_force(problem), seed


def test_published_example() -> None:
    """Liberis and Lane's example: 5,216 B in its own order, 4,960 B in the best one."""
    sizes = [1568, 3136, 1568, 512, 512, 256, 256, 512]
    problem = as_problem(sizes, [[], [0], [1], [2], [1], [3], [4], [5, 6]])
    found = search(problem)
    assert Memory(problem).peak(list(range(7))) == 5216
    assert found.peak == found.bound == 4960


def test_time_budget_still_gives_an_order_and_a_bound() -> None:
    problem = network("wired", 500, 1)
    began = time.monotonic()
    found = search(problem, seconds=0.5)
    assert time.monotonic() - began < 10
    assert valid(problem, found.order)
    assert 0 < found.bound <= found.peak <= Memory(problem).peak(list(range(problem.size)))


@pytest.mark.parametrize("seed", range(3))
def test_cells_are_solved(seed: int) -> None:
    problem = network("cells", 500, seed)
    found = search(problem, seconds=60)
    assert valid(problem, found.order)
    assert found.optimal
    assert found.peak < Memory(problem).peak(list(range(problem.size)))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["cells", "wired"])
@pytest.mark.parametrize("n", [500, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_large_networks_within_a_minute(kind: str, n: int, seed: int) -> None:
    problem = network(kind, n, seed)
    began = time.monotonic()
    found = search(problem, seconds=55)
    assert time.monotonic() - began < 60
    assert valid(problem, found.order)
    assert found.bound <= found.peak


def test_a_graph_without_operators() -> None:
    assert search(Problem([], [], [], [], [], [])).peak == 0


@pytest.mark.parametrize("known", bench.NETWORKS, ids=lambda n: n.name)
def test_published_networks_are_proven_at_once(known: bench.Network) -> None:
    """Within a second of one core, NASNet within five."""
    nothing = replace(Options(), inplace=False, concat=False, fuse=False, overlap=False, stream=False)
    scheduler = Scheduler(lay_out(bench.graph(known), Concats()), nothing)
    problem = scheduler.problem([(k,) for k in range(len(scheduler.layout.ops))])[0]
    began = time.process_time()
    found = search(problem)
    assert time.process_time() - began < (5 if known.name.startswith("nasnet") else 1)
    assert valid(problem, found.order)
    assert found.optimal
    own = Memory(problem).peak(list(range(problem.size)))
    gains = {"nasnet-mobile-224": (1_127_915, 1_026_880), "liberis-lane": (5_216, 4_960)}
    assert (own, found.peak) == gains.get(known.name, (own, own))
