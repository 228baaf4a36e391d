"""Where each stretch of memory lies in the arena: first fit in many orders, then a hill climb, at best to the bound.

Two stretches that live at the same time must not touch, except where an operator's output may grow into the input
that dies under it: then the input may start ``D`` bytes behind the output, or further.  Each stretch that is placed
forbids the next one an open interval of starting points, which is all that first fit needs to know.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """``size`` bytes that live from step ``first`` to step ``last``, both included, at a multiple of ``align``."""

    name: str
    size: int
    first: int
    last: int
    align: int = 1


@dataclass(frozen=True)
class Overlap:
    """The output may start at most at the input's start - ``distance``; ``exact``: only there."""

    distance: int
    exact: bool = False


Overlaps = Mapping[tuple[int, int], Overlap]  # (input item, output item)


@dataclass
class Offsets:
    """An offset for every item; no arena can be smaller than ``bound``."""

    places: list[int]
    arena: int
    bound: int
    proof: str = ""

    @property
    def optimal(self) -> bool:
        return self.arena == self.bound


class Conflicts:
    """For each item the items it meets, with the starting points they forbid it."""

    def __init__(self, items: Sequence[Item], overlaps: Overlaps) -> None:
        self.items = items
        self.meets: list[list[tuple[int, int, int, bool]]] = [[] for _ in items]
        # (other, below, above, exact): starts in the open interval (its start - below, its start + above) are taken
        active: list[int] = []
        for i in sorted(range(len(items)), key=lambda k: items[k].first):
            a = items[i]
            active = [j for j in active if items[j].last >= a.first]
            for j in active:
                if a.size and items[j].size:
                    self._pair(j, i, overlaps)
            active.append(i)

    def _pair(self, i: int, j: int, overlaps: Overlaps) -> None:
        a, b = self.items[i], self.items[j]
        below, above, exact = b.size, a.size, False  # what item j may not do, relative to i's start
        if (i, j) in overlaps:  # i is the input, j the output
            pair = overlaps[i, j]
            below, exact = min(pair.distance, b.size), pair.exact
            below = b.size if exact else below
        elif (j, i) in overlaps:
            pair = overlaps[j, i]
            above, exact = min(pair.distance, a.size), pair.exact
            above = a.size if exact else above
        self.meets[j].append((i, below, above, exact))
        self.meets[i].append((j, above, below, exact))

    def bound(self, overlaps: Overlaps) -> int:
        """The most that lives at one step, less everything that may be overlapped there."""
        steps = sorted({s for item in self.items for s in (item.first, item.last)})
        saved: dict[int, int] = {}
        for (i, j), pair in overlaps.items():
            a, b = self.items[i], self.items[j]
            if a.last == b.first:
                saving = a.size + b.size - max(b.size, max(pair.distance, 0) + a.size)
                saved[b.first] = saved.get(b.first, 0) + max(0, saving)
        change: dict[int, int] = dict.fromkeys(steps, 0)
        for item in self.items:
            change[item.first] += item.size
            change[item.last + 1] = change.get(item.last + 1, 0) - item.size
        live, most = 0, max((item.size for item in self.items), default=0)
        for s in sorted(change):
            live += change[s]
            most = max(most, live - saved.get(s, 0))
        return most

    def fit(self, i: int, places: list[int], top: int | None) -> int:
        """The lowest free start of item ``i``, or the highest that ends below ``top``; -1 if there is none."""
        item = self.items[i]
        taken = []
        for j, below, above, exact in self.meets[i]:
            at = places[j]
            if at >= 0:
                if exact:
                    taken += [(at - below, at), (at, at + above)]
                else:
                    taken.append((at - below, at + above))
        if top is None:
            taken.sort()
            start = 0
            for low, high in taken:
                if low < start < high:
                    start = -(-high // item.align) * item.align
            return start
        taken.sort(key=lambda t: -t[1])
        start = (top - item.size) // item.align * item.align
        for low, high in taken:
            if low < start < high:
                start = low // item.align * item.align
        return start if start >= 0 else -1


def place(conflicts: Conflicts, order: Sequence[int], high: Sequence[bool], top: int | None) -> tuple[list[int], int]:
    """Items one after another; those in ``high`` from ``top`` down.  Places and arena; -1 where they do not fit."""
    places = [-1] * len(order)
    arena = 0
    for i in order:
        at = conflicts.fit(i, places, top if high[i] and top is not None else None)
        end = at + conflicts.items[i].size
        if at < 0 or (top is not None and end > top):
            return places, -1
        places[i] = at
        arena = max(arena, end)
    return places, arena


def assign(
    items: Sequence[Item], overlaps: Overlaps, seconds: float = 2.0, rounds: int | None = None, seed: int = 0
) -> Offsets:
    """Offsets for ``items``: a portfolio of orders, then a hill climb, stopped at the bound.

    It takes ``seconds`` at most, or with ``rounds`` that many trials, which gives the same offsets everywhere.
    """
    conflicts = Conflicts(items, overlaps)
    bound = conflicts.bound(overlaps)
    n = len(items)
    if not n:
        return Offsets([], 0, 0, "optimal")
    weight = [items[i].size + sum(items[j].size for j, *_ in conflicts.meets[i]) for i in range(n)]
    keys = (
        lambda i: (-items[i].size, items[i].first),
        lambda i: (items[i].first, -items[i].size),
        lambda i: (-items[i].last, -items[i].size),
        lambda i: (-items[i].size * (items[i].last - items[i].first + 1), items[i].first),
        lambda i: (items[i].first - items[i].last, -items[i].size),
        lambda i: (-weight[i], -items[i].size),
    )
    best: tuple[int, list[int], list[int], list[bool]] | None = None
    low, up = [False] * n, [True] * n
    for key in keys:
        order = sorted(range(n), key=key)
        for high in (low, up):
            top = None if high is low else (best[0] - 1 if best else None)
            for goal in dict.fromkeys([bound, top]) if high is up else [None]:
                if goal is None and high is up:
                    continue
                places, arena = place(conflicts, order, high, goal)
                if arena >= 0 and (best is None or arena < best[0]):
                    best = (arena, places, order, list(high))
        if best and best[0] == bound:
            break
    assert best is not None
    deadline = time.monotonic() + (seconds if rounds is None else 1e9)
    best = _climb(conflicts, best, bound, deadline, 1 << 60 if rounds is None else rounds, random.Random(seed))
    return Offsets(best[1], best[0], bound)


def _climb(
    conflicts: Conflicts, best: tuple[int, list[int], list[int], list[bool]], bound: int, deadline: float,
    rounds: int, rng: random.Random,
) -> tuple[int, list[int], list[int], list[bool]]:  # fmt: skip
    """Move what reaches highest to the front, swap neighbours in conflict, turn directions; keep what is no worse."""
    items, n = conflicts.items, len(conflicts.items)
    order, high, now = list(best[2]), list(best[3]), best[0]
    places = best[1]
    idle = tried = 0
    while best[0] > bound and time.monotonic() < deadline and n > 1 and tried < rounds:
        tried += 1
        trial, turned = list(order), list(high)
        for _ in range(rng.choice((1, 1, 2, 3))):
            if rng.random() < 0.5:
                tops = [i for i in range(n) if places[i] + items[i].size >= now]
                i = rng.choice(tops or list(range(n)))
                others = [i, *(j for j, *_ in conflicts.meets[i])]
                i = rng.choice(others)
            else:
                i = rng.randrange(n)
            if rng.random() < 0.3:
                turned[i] = not turned[i]
            at = trial.index(i)
            to = rng.randrange(at + 1) if rng.random() < 0.7 else rng.randrange(n)
            trial.insert(to, trial.pop(at))
        goal = rng.choice((bound, max(bound, best[0] - 1), max(bound, (bound + best[0]) // 2)))
        found, arena = place(conflicts, trial, turned, goal if any(turned) else None)
        if arena < 0:
            found, arena = place(conflicts, trial, [False] * n, None)
            turned = [False] * n if arena < now else turned
        if arena <= now:
            order, high, places, now = trial, turned, found, arena
            idle = 0
        else:
            idle += 1
        if now < best[0]:
            best = (now, places, list(order), list(high))
        if idle > 200:
            order, high, places, now, idle = list(best[2]), list(best[3]), best[1], best[0], 0
    return best
