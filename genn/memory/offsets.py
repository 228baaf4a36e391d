"""Where each stretch of memory lies in the arena: first fit in many orders, then a hill climb, at best to the bound.

Two stretches that live at the same time must not touch, except where an operator's output may grow into the input
that dies under it: then the input may start ``D`` bytes behind the output, or further.  Each stretch that is placed
forbids the next one an open interval of starting points, which is all that first fit (_fit.pyx) needs to know.
"""

from __future__ import annotations

import math
import random
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genn.memory import drift
from genn.memory._fit import Fitter


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
    """The output may start at most at the input's start - ``distance``; ``exact``: only there.

    The input's last step is the output's first.
    """

    distance: int
    exact: bool = False


NO_LIMIT = (1 << 63) - 1
CLIMBS = 4  # from the best order of the portfolio
# How far above the bound an arena may lie for a search to end, and its share of the time or trials.  A search for what
# cannot be had ends up worse than one for a little more: items placed from the top down then have room to move.
SEARCHES = ((0.0, 1.0), (1 / 200, 1.5), (1 / 100, 0.75), (1 / 50, 0.25))
Found = tuple[int, list[int], list[int], list[bool]]  # arena, places, order, which of them from the top down
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
        self.under: list[list[int]] = [[] for _ in items]  # output -> the inputs it may grow into
        self.over: list[list[int]] = [[] for _ in items]  # input -> the outputs that may grow into it
        for i, j in overlaps:
            self.under[j].append(i)
            self.over[i].append(j)
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
        """No arena is smaller: by what lives at single steps, and by what chains of overlaps add up to."""
        n = len(self.items)
        order = self.outputs_first(sorted(range(n), key=lambda i: self.items[i].first))
        _, enough, _ = self.fitter().place(order, [False] * n, None, NO_LIMIT)
        sizes, aligns = [i.size for i in self.items], [i.align for i in self.items]
        return drift.bound(sizes, aligns, self.meets, self.highest_step(overlaps), enough)

    def highest_step(self, overlaps: Overlaps) -> int:
        """The most that lives at one step, with the gaps that alignment leaves; less what may be overlapped there."""
        saved = _shared(self.items, overlaps)
        unit = 1 if overlaps else math.gcd(*(item.align for item in self.items)) or 1
        change: dict[int, list[tuple[int, int]]] = {s: [] for item in self.items for s in (item.first, item.last)}
        for item in self.items:
            change[item.first].append((1, item.size))
            change.setdefault(item.last + 1, []).append((-1, item.size))
        live = gaps = 0
        most = max((item.size for item in self.items), default=0)
        ends = [0] * unit  # how many live items leave so many bytes up to the next multiple of ``unit``
        for s in sorted(change):
            for sign, size in change[s]:
                live += sign * size
                gaps += sign * (-size % unit)
                ends[-size % unit] += sign
            # Behind every item but one there is a gap up to where the next one may start.
            most = max(most, live + gaps - max((g for g in range(unit) if ends[g]), default=0) - saved.get(s, 0))
        return most

    def outputs_first(self, order: Sequence[int], but: Sequence[bool] = ()) -> list[int]:
        """``order`` with each output moved in front of the inputs it may grow into: first fit keeps their distance."""
        out: list[int] = []
        seen = {i for i, left_out in enumerate(but) if left_out}
        for i in order:
            stack = [i]
            while stack:
                k = stack[-1]
                waiting = [j for j in self.over[k] if j not in seen and j not in stack]
                if waiting and k not in seen:
                    stack.append(waiting[0])
                    continue
                stack.pop()
                if k not in seen:
                    seen.add(k)
                    out.append(k)
        return out

    def fitter(self) -> Fitter:
        """What places the items in a given order."""
        return Fitter([i.size for i in self.items], [i.align for i in self.items], self.meets)


def _shared(items: Sequence[Item], overlaps: Overlaps) -> dict[int, int]:
    """Step -> the most bytes that overlaps can save there.

    What of an input at x lies under outputs ends at x + size - D of the output that reaches furthest; what of an output
    lies over inputs starts at its smallest D.  Of the items at one byte, each but the one that is no input to another
    is charged to its input side, or each but one to its output side: so neither sum is below what is saved.
    """
    pairs: dict[int, tuple[dict[int, _Share], dict[int, _Share]]] = {}
    for (i, j), pair in overlaps.items():
        a, b = items[i], items[j]
        if a.last == b.first:
            under, over = pairs.setdefault(a.last, ({}, {}))
            left = b.size - max(0, pair.distance)
            under.setdefault(i, _Share()).add(min(a.size, left), min(a.size, b.size - pair.distance))
            over.setdefault(j, _Share()).add(min(a.size, left), left)
    return {s: min(sum(share.most for share in side.values()) for side in sides) for s, sides in pairs.items()}


@dataclass
class _Share:
    """What one item shares with all others: no more than with each alone, together, and than ``reach`` allows."""

    total: int = 0
    reach: int = 0

    def add(self, alone: int, reach: int) -> None:
        self.total += max(0, alone)
        self.reach = max(self.reach, reach)

    @property
    def most(self) -> int:
        return min(self.total, self.reach)


def assign(
    items: Sequence[Item], overlaps: Overlaps, seconds: float = 2.0, rounds: int | None = None, seed: int = 0
) -> Offsets:
    """Offsets for ``items``: searches for an arena of the bound, then for one a little larger, until one is found.

    It takes ``seconds`` of processor time at most, or with ``rounds`` so many trials a search, which gives the same
    offsets everywhere.
    """
    conflicts = Conflicts(items, overlaps)
    if not items:
        return Offsets([], 0, 0, "optimal")
    bound = conflicts.bound(overlaps)
    fitter, rng, began = conflicts.fitter(), random.Random(seed), time.thread_time()
    best: Found | None = None
    spent = 0.0
    for slack, share in SEARCHES:
        spent += share
        deadline = began + seconds * spent / sum(s[1] for s in SEARCHES) if rounds is None else math.inf
        top = bound + int(bound * slack)
        trials = None if rounds is None else int(rounds * share)
        found = _search(conflicts, fitter, top, deadline, trials, rng)
        best = found if best is None else min(best, found, key=lambda f: f[0])
        if best[0] <= top:
            break
    assert best is not None
    if rounds is None:  # what time is left
        best = _climb(conflicts, fitter, best, bound, began + seconds, 1 << 60, rng)
    return Offsets(best[1], best[0], bound)


def _search(
    conflicts: Conflicts, fitter: Fitter, top: int, deadline: float, rounds: int | None, rng: random.Random
) -> Found:
    """The best of a portfolio of orders and of a hill climb from the best of those, stopped at an arena of ``top``."""
    items = conflicts.items
    n = len(items)
    weight = [items[i].size + sum(items[j].size for j, *_ in conflicts.meets[i]) for i in range(n)]
    keys = (
        lambda i: (-items[i].size, items[i].first),
        lambda i: (items[i].first, -items[i].size),
        lambda i: (-items[i].last, -items[i].size),
        lambda i: (-items[i].size * (items[i].last - items[i].first + 1), items[i].first),
        lambda i: (items[i].first - items[i].last, -items[i].size),
        lambda i: (-weight[i], -items[i].size),
    )
    starts: list[Found] = []
    low, up = [False] * n, [True] * n
    for key in keys:
        plain = sorted(range(n), key=key)
        tries = [(plain, low), (plain, up), (conflicts.outputs_first(plain), low)]
        # Large ones drift down from the top, all others lie at the bottom.
        for share in (2, 3) if any(conflicts.under) else ():
            large = [i.size * share > top for i in items]
            order = sorted((i for i in range(n) if large[i]), key=lambda i: items[i].first)
            tries.append((order + conflicts.outputs_first([i for i in plain if not large[i]], large), large))
        for order, high in tries:
            places, arena, _ = fitter.place(order, high, top, NO_LIMIT)
            starts.append((arena, places, order, list(high)))
            if arena <= top:
                return starts[-1]
    start = best = min(starts, key=lambda s: s[0])
    began = time.thread_time()
    for k in range(CLIMBS):
        until = began + (deadline - began) * (k + 1) / CLIMBS
        trials = 1 << 60 if rounds is None else rounds // CLIMBS
        found = _climb(conflicts, fitter, start, top, until, trials, rng)
        best = min(best, found, key=lambda f: f[0])
        if best[0] <= top:
            break
    return best


def _climb(
    conflicts: Conflicts, fitter: Fitter, best: Found, bound: int, deadline: float, rounds: int, rng: random.Random
) -> Found:
    """Change the order and the direction of items that live where memory is tight; the others follow what is better.

    What reaches highest, and what it meets, moves forward; a little worse is accepted now and then.
    """
    items, n = conflicts.items, len(conflicts.items)
    tight = _tight(items, bound)
    rest = sorted((i for i in range(n) if not tight[i]), key=lambda i: items[i].size * (items[i].first - items[i].last))
    order = [i for i in best[2] if tight[i]]
    high, places, now = [t and h for t, h in zip(tight, best[3], strict=True)], best[1], best[0]
    cost = _beyond(items, places, bound)
    tops: list[int] = []
    seen: list[int] | None = None
    idle = tried = 0
    while best[0] > bound and time.thread_time() < deadline and len(order) > 1 and tried < rounds:
        tried += 1
        if places is not seen:
            tops = [i for i in range(n) if places[i] >= 0 and places[i] + items[i].size >= now]
            seen = places
        for i in tops:
            if not tight[i]:  # it does not fit behind the others: from now on it is one of them
                tight[i] = True
                rest.remove(i)
                order.insert(rng.randrange(len(order) + 1), i)
        trial, turned = list(order), list(high)
        for _ in range(rng.choice((1, 1, 2, 3))):
            if tops and rng.random() < 0.6:
                i = rng.choice(tops)
                near = [j for j, *_ in conflicts.meets[i] if tight[j]]
                i = rng.choice([i, *near])
            else:
                i = rng.choice(trial)
            if rng.random() < 0.3:
                turned[i] = not turned[i]
            at = trial.index(i)
            partners = [j for j in conflicts.under[i] if tight[j]]
            if partners and rng.random() < 0.5:  # an output that lies first gets its input behind it, at its distance
                to = min(trial.index(j) for j in partners)
                if to < at:
                    trial.insert(to, trial.pop(at))
                    turned[i] = False
                    continue
            trial.insert(rng.randrange(at + 1) if rng.random() < 0.7 else rng.randrange(len(trial)), trial.pop(at))
        limit = int(cost * (1 + 0.5 * rng.random() ** 6))
        found, arena, beyond = fitter.place(trial, turned, bound, limit)
        if beyond <= limit:
            order, high, places, now, cost = trial, turned, found, arena, beyond
            if now < best[0]:
                places, now, cost = fitter.place([*order, *rest], high, bound, NO_LIMIT)
            if now < best[0]:
                best, idle = (now, places, [*order, *rest], list(high)), 0
        idle += 1
        if idle > 1000:
            order, high, places, now, idle = [i for i in best[2] if tight[i]], list(best[3]), best[1], best[0], 0
            cost = _beyond(items, places, bound)
    return best


def _beyond(items: Sequence[Item], places: Sequence[int], bound: int) -> int:
    """By how many bytes all items together reach beyond ``bound``."""
    return sum(max(0, p + i.size - bound) for p, i in zip(places, items, strict=True))


def _tight(items: Sequence[Item], bound: int) -> list[bool]:
    """Items that live at a step where at least four fifths of the bound are live."""
    change: dict[int, int] = {}
    for item in items:
        change[item.first] = change.get(item.first, 0) + item.size
        change[item.last + 1] = change.get(item.last + 1, 0) - item.size
    steps, live, most = sorted(change), 0, {}
    for s in steps:
        live += change[s]
        most[s] = live
    return [
        any(5 * most[s] >= 4 * bound for s in steps[bisect_left(steps, i.first) : bisect_left(steps, i.last + 1)])
        for i in items
    ]
