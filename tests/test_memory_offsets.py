"""Offsets on random lifetimes: no two that meet touch, overlaps keep their distance, bounds hold, proofs agree."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest

from genn.memory import proof
from genn.memory.offsets import NO_LIMIT, Conflicts, Item, Offsets, Overlap, assign
from tests.conftest import missing


def random_items(rng: random.Random, n: int) -> tuple[list[Item], dict[tuple[int, int], Overlap]]:
    items = []
    for k in range(n):
        first = rng.randint(-1, 12)
        align = rng.choice((1, 1, 4))
        items.append(Item(f"i{k}", align * rng.randint(0, 40), first, first + rng.choice((0, 1, 1, 2, 5)), align))
    overlaps = {}
    for a in range(n):
        for b in range(n):
            if a != b and items[a].last == items[b].first > items[a].first and rng.random() < 0.5:
                exact = items[a].size == items[b].size and rng.random() < 0.5
                overlaps[a, b] = Overlap(0 if exact else 4 * rng.randint(0, items[b].size // 4), exact)
    return items, {k: v for k, v in overlaps.items() if (k[1], k[0]) not in overlaps}


def sound(items: list[Item], overlaps: dict[tuple[int, int], Overlap], found: Offsets) -> None:
    """Written without looking at the planner: every pair, every rule."""
    for a, item in enumerate(items):
        at = found.places[a]
        assert at >= 0 and at % item.align == 0 and at + item.size <= found.arena
        for b in range(a):
            other, there = items[b], found.places[b]
            together = item.first <= other.last and other.first <= item.last
            touch = item.size and other.size and at < there + other.size and there < at + item.size
            if not (together and touch):
                continue
            if (a, b) in overlaps:
                pair, gap = overlaps[a, b], at - there
            else:
                assert (b, a) in overlaps, (item, at, other, there)
                pair, gap = overlaps[b, a], there - at
            assert gap == 0 if pair.exact else gap >= pair.distance, (item, at, other, there)


@pytest.mark.parametrize("count", [1500, pytest.param(100_000, marks=pytest.mark.long)])
def test_random_lifetimes(count: int) -> None:
    for seed in range(int(os.environ.get("GENN_FUZZ_OFFSETS", count))):
        rng = random.Random(seed)
        items, overlaps = random_items(rng, rng.randint(1, 14))
        found = assign(items, overlaps, seconds=0.01 if count < 10_000 else 0.0)
        sound(items, overlaps, found)
        assert found.bound <= found.arena


def test_bound_is_no_higher_than_what_any_order_of_first_fit_reaches() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        items, overlaps = random_items(rng, rng.randint(2, 6))
        fitter, n = Conflicts(items, overlaps).fitter(), len(items)
        best = min(fitter.place(order, [False] * n, None, NO_LIMIT)[1] for order in permutations(range(n)))
        found = assign(items, overlaps, seconds=0.2)
        assert found.bound <= best
        if not overlaps:
            assert found.arena <= best, seed


def test_the_bound_counts_the_gaps_of_alignment() -> None:
    assert assign([Item("a", 1, 0, 1, 8), Item("b", 1, 1, 2, 8)], {}) == Offsets([0, 8], 9, 9)
    reached = 0
    for seed in range(200):
        rng = random.Random(seed)
        align = rng.choice(((8,), (4, 8), (8, 16)))
        spans = [(rng.randint(0, 3), rng.choice((0, 1, 3))) for _ in range(rng.randint(2, 5))]
        items = [Item("", rng.randint(1, 40), first, first + more, rng.choice(align)) for first, more in spans]
        fitter, n = Conflicts(items, {}).fitter(), len(items)
        best = min(fitter.place(order, [False] * n, None, NO_LIMIT)[1] for order in permutations(range(n)))
        bound = Conflicts(items, {}).bound({})
        assert bound <= best, seed
        reached += bound == best
    assert reached > 100  # a bound that is no use would hold too


def test_a_fragmenting_case_is_climbed() -> None:
    """First fit by size leaves a gap; the bound is reachable."""
    items = [Item("a", 4, 0, 1), Item("b", 3, 1, 2), Item("c", 4, 2, 3), Item("d", 3, 3, 4), Item("e", 1, 0, 4)]
    found = assign(items, {}, seconds=1)
    sound(items, {}, found)
    assert found.arena == found.bound == 8


def test_a_chain_of_overlaps_drifts_down() -> None:
    """Each output starts 10 bytes in front of its input: the arena is the first buffer and all the distances."""
    items = [Item(f"t{k}", 100, k, k + 1) for k in range(4)]
    overlaps = {(a, b): Overlap(10) for a, b in pairwise(range(4))}
    found = assign(items, overlaps, seconds=1)
    sound(items, overlaps, found)
    assert Conflicts(items, overlaps).highest_step(overlaps) == 110
    assert found.arena == found.bound == 130


def test_an_output_lies_over_its_inputs_but_for_what_is_in_front_of_the_first() -> None:
    """Two inputs of 10 bytes: the output of 8 must start 3 bytes in front of either, and shares 5 in all."""
    items = [Item("a", 10, 0, 1), Item("b", 10, 0, 1), Item("out", 8, 1, 2)]
    found = assign(items, {(0, 2): Overlap(3), (1, 2): Overlap(3)}, seconds=1)
    assert found.arena == found.bound == 23


def test_two_outputs_cannot_both_lie_over_the_start_of_an_input() -> None:
    """Both would hold its first byte; where they may start behind it, both fit."""
    items = [Item("in", 20, 0, 1), Item("out", 9, 1, 2), Item("line", 8, 1, 1)]
    found = assign(items, {(0, 1): Overlap(2), (0, 2): Overlap(4)}, seconds=1)
    assert found.arena == found.bound == 37 - 7
    found = assign(items, {(0, 1): Overlap(-9), (0, 2): Overlap(0)}, seconds=1)
    assert found.arena == found.bound == 20


def smallest(items: Sequence[Item], overlaps: dict[tuple[int, int], Overlap]) -> int:
    """The smallest arena: of every pair that meets either is tried in front, and all are pushed down as far as it goes.

    A rule (a, b, gap) says that b starts at least gap bytes behind a.
    """
    choices: list[list[tuple[tuple[int, int, int], ...]]] = []
    for a, b in itertools.combinations(range(len(items)), 2):
        if not (items[a].first <= items[b].last and items[b].first <= items[a].last):
            continue
        i, j = (b, a) if (b, a) in overlaps else (a, b)
        pair = overlaps.get((i, j), Overlap(items[j].size))
        behind = items[j].size if pair.exact else min(pair.distance, items[j].size)
        choices.append([((j, i, behind),), ((i, j, items[i].size),)])
        choices[-1] += [((i, j, 0), (j, i, 0))] if pair.exact else []
    best = sum(i.size for i in items)
    for chosen in itertools.product(*choices):
        rules, at = [r for rule in chosen for r in rule], [0] * len(items)
        for _ in range(len(items) + 1):
            before = list(at)
            for a, b, gap in rules:
                at[b] = max(at[b], -(-(at[a] + gap) // items[b].align) * items[b].align)
            if at == before:
                best = min(best, max(p + i.size for p, i in zip(at, items, strict=True)))
                break
    return best


@pytest.mark.parametrize("count", [120, pytest.param(5000, marks=pytest.mark.long)])
def test_the_bound_of_steps_with_many_overlaps(count: int) -> None:
    """Never above the smallest arena, and mostly equal to it."""
    tight = 0
    for seed in range(count):
        rng = random.Random(seed)
        old, new = rng.choice(((1, 2), (2, 1), (1, 3), (3, 1), (2, 2)))
        items = [Item("in", rng.randint(1, 30), rng.randint(-1, 1), 1) for _ in range(old)]
        items += [Item("out", rng.randint(1, 30), 1, rng.randint(1, 3)) for _ in range(new)]
        pairs = [(i, j) for j in range(old, len(items)) for i in range(j) if items[i].last == 1 and rng.random() < 0.7]
        overlaps = {p: Overlap(0, True) if rng.random() < 0.1 else Overlap(rng.randint(-20, 30)) for p in pairs}
        bound = Conflicts(items, overlaps).highest_step(overlaps)
        least = smallest(items, overlaps)
        assert bound <= least <= assign(items, overlaps, rounds=50).arena, seed
        tight += bound == least
    assert tight > 0.8 * count


@pytest.mark.parametrize("count", [120, pytest.param(5000, marks=pytest.mark.long)])
def test_the_bound_of_chains(count: int) -> None:
    """Never above the smallest arena, and often above what lives at any step."""
    higher = tight = 0
    for seed in range(count):
        rng = random.Random(seed)
        items, align = [Item("t0", 4 * rng.randint(1, 20), 0, 1, 4)], rng.choice((1, 4))
        overlaps = {}
        for k in range(1, 4):
            items.append(Item(f"t{k}", rng.randint(4, 80), k, k + 1, align))
            most = items[k].size // rng.randint(1, 4)
            overlaps[k - 1, k] = Overlap(rng.randint(-10, most)) if rng.random() < 0.9 else Overlap(0, True)
        items.append(Item("aside", rng.randint(1, 30), at := rng.randint(0, 3), rng.randint(at, 4)))
        conflicts = Conflicts(items, overlaps)
        bound, least = conflicts.bound(overlaps), smallest(items, overlaps)
        assert conflicts.highest_step(overlaps) <= bound <= least, seed
        higher += bound > conflicts.highest_step(overlaps)
        tight += bound == least
    assert higher > 0.2 * count and tight > 0.6 * count, (higher, tight)


def _need_ortools() -> None:
    if not proof.available():
        missing("ortools")


def test_cp_sat_proves_and_improves() -> None:
    _need_ortools()
    proven = 0
    for seed in range(25):
        rng = random.Random(seed)
        items, overlaps = random_items(rng, 9)
        first = assign(items, overlaps, seconds=0.0)
        found = proof.improve(items, overlaps, first, seconds=10)
        sound(items, overlaps, found)
        assert found.arena <= first.arena
        assert found.bound >= first.bound
        proven += bool(found.proof)
        if found.proof:
            assert found.arena == found.bound
    assert proven or all(assign(*random_items(random.Random(s), 9), seconds=0.0).optimal for s in range(25))


def test_cp_sat_counts_every_byte() -> None:
    """The solver gives the arena as a float just below 50 units here."""
    _need_ortools()
    items = [Item("a", 44, 11, 12, 4), Item("b", 156, 10, 11, 4), Item("c", 152, 3, 4, 4)]
    found = proof.improve(items, {}, Offsets([0, 44, 0], 200, 0), seconds=10)
    sound(items, {}, found)
    assert found.arena == found.bound == 200


def test_without_ortools_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "available", lambda: False)
    items = [Item("a", 4, 0, 1), Item("b", 3, 1, 2)]
    found = Offsets([0, 4], 9, 7)
    assert proof.improve(items, {}, found) is found


def first_fit(conflicts: Conflicts, order: Sequence[int], high: Sequence[bool], top: int | None) -> list[int]:
    """What the native first fit does, said plainly: the lowest free start, or the highest that ends below the top."""
    places = [-1] * len(order)
    for i in order:
        item = conflicts.items[i]

        def free(start: int, i: int = i) -> bool:
            return not any(
                places[j] >= 0 and places[j] - below < start < places[j] + above and not (exact and start == places[j])
                for j, below, above, exact in conflicts.meets[i]
            )

        down = range(top - item.size, -1, -1) if high[i] and top is not None else ()
        found = next((s for s in down if s % item.align == 0 and free(s)), None)
        places[i] = next(s for s in itertools.count(0, item.align) if free(s)) if found is None else found
    return places


def test_native_first_fit_is_first_fit() -> None:
    rng = random.Random(3)
    for _ in range(150):
        items, overlaps = random_items(rng, rng.randint(1, 12))
        conflicts = Conflicts(items, overlaps)
        order = rng.sample(range(len(items)), len(items))
        high, top = [rng.random() < 0.4 for _ in items], rng.choice([None, conflicts.bound(overlaps)])
        places, arena, beyond = conflicts.fitter().place(order, high, top, NO_LIMIT)
        assert places == first_fit(conflicts, order, high, top)
        ends = [p + i.size for p, i in zip(places, items, strict=True)]
        assert arena == max(ends) and (top is None or beyond == sum(max(0, e - top) for e in ends))
