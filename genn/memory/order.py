"""The order of operators that needs the least memory, with a proof: a best-first search over sets of done operators.

What is live depends only on which operators are done, so a state is a set (a bit mask) and the question is the path
from nothing to everything whose highest moment is lowest.  States are taken by the highest moment on the way to them,
the deepest first, so the first complete path is optimal, and whatever still waits bounds it from below at any time.

Three things keep the search small.  An operator that is comparable with all others (before or after each) cuts the
graph: the orders on its two sides are free of each other.  A state that a cheaper path has reached is never opened
again.  And where an operator, or a chain of operators each depending on the last, fits under the present ceiling and
ends with no more memory than it began, it runs at once and no alternative is looked at: live memory is a submodular
function of the set, so doing it earlier never hurts anything that runs later.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

CHAIN = 64  # longest chain that is tried at once


@dataclass
class Store:
    """One stretch of memory.  It lives from its first writer to its last reader; ``pinned`` never dies.

    ``present``: there before the first operator.
    """

    size: int
    writers: int = 0  # bit masks of operators
    readers: int = 0
    present: bool = False
    pinned: bool = False


@dataclass
class Problem:
    """Operators by number: stores each writes and reads, the operators ``before`` it (a mask), bytes of ``workspace``.

    credits[i]: (store, bytes) pairs; one of them is saved while i runs if that store dies there and i's output is new.
    """

    stores: list[Store]
    writes: list[tuple[int, ...]]
    reads: list[tuple[int, ...]]
    before: list[int]
    workspace: list[int]
    credits: list[tuple[tuple[int, int], ...]]

    @property
    def size(self) -> int:
        return len(self.writes)


@dataclass
class Piece:
    """What lies between two cuts: its operators in the order found, and their peak.  closed: its last one is a cut."""

    ops: list[int]
    peak: int
    optimal: bool
    closed: bool


@dataclass
class Order:
    """The order found, its ``peak``, and a ``bound`` below which no order can be; equal where it is proven optimal."""

    order: list[int]
    peak: int
    bound: int
    states: int = 0
    seconds: float = 0.0
    pieces: list[Piece] = field(default_factory=list)

    @property
    def optimal(self) -> bool:
        return self.peak == self.bound


class Memory:
    """Live bytes and transients of sets of operators.  Transient: what is live while one operator runs."""

    def __init__(self, problem: Problem) -> None:
        self.p = problem
        self.start = sum(s.size for s in problem.stores if s.present)

    def transient(self, i: int, done: int, live: int) -> tuple[int, int]:
        """Bytes live while ``i`` runs after the set ``done``, and after it."""
        p = self.p
        now = done | (1 << i)
        after, fresh, best = live, True, 0
        for s in p.writes[i]:
            out = p.stores[s]
            if out.present or out.writers & done:
                fresh = False
            else:
                after += out.size
        peak = after + p.workspace[i]
        for s in p.reads[i]:
            store = p.stores[s]
            if not store.pinned and not store.readers & ~now:
                after -= store.size
                if fresh:
                    for credited, saving in p.credits[i]:
                        if credited == s and saving > best:
                            best = saving
        for s in p.writes[i]:
            out = p.stores[s]
            if not out.readers and not out.pinned and not out.writers & ~now:
                after -= out.size
        return peak - best, after

    def walk(self, order: list[int]) -> Iterator[tuple[int, int]]:
        """Transient and bytes afterwards, operator by operator."""
        done, live = 0, self.start
        for i in order:
            peak, live = self.transient(i, done, live)
            done |= 1 << i
            yield peak, live

    def peak(self, order: list[int]) -> int:
        return max((t for t, _ in self.walk(order)), default=self.start)


def bits(mask: int) -> Iterator[int]:
    """The numbers of the set bits, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def closures(problem: Problem) -> tuple[list[int], list[int]]:
    """For each operator all that come before it and all that come after it, as masks."""
    n = problem.size
    up = [0] * n
    for i in range(n):  # operators are numbered in a topological order
        mask = problem.before[i]
        up[i] = mask
        for j in bits(mask):
            up[i] |= up[j]
    down = [0] * n
    for i in reversed(range(n)):
        for j in bits(problem.before[i]):
            down[j] |= down[i] | (1 << i)
    return up, down


def lower_bounds(problem: Problem, up: list[int], down: list[int]) -> list[int]:
    """For each operator the bytes live while it runs in any order: what must have begun and must still be read."""
    n = problem.size
    everything = (1 << n) - 1
    bounds = [problem.workspace[i] - max((saving for _, saving in problem.credits[i]), default=0) for i in range(n)]
    for s in problem.stores:
        begun = everything if s.present else 0
        for w in bits(s.writers):
            begun |= down[w] | (1 << w)
        needed = everything if s.pinned else 0
        for r in bits(s.readers):
            needed |= up[r] | (1 << r)
        live = begun & needed
        if s.writers.bit_count() == 1:
            live |= s.writers
        for i in bits(live) if s.size else ():
            bounds[i] += s.size
    return bounds


def cut(problem: Problem) -> tuple[list[tuple[list[int], bool]], list[int]]:
    """Stretches that any order takes one after the other, each ending in a cut if True; a lower bound per operator."""
    n = problem.size
    up, down = closures(problem)
    everything = (1 << n) - 1
    cuts = {i for i in range(n) if up[i] | down[i] | (1 << i) == everything}
    bounds = lower_bounds(problem, up, down)
    pieces: list[tuple[list[int], bool]] = []
    piece: list[int] = []
    for i in range(n):
        piece.append(i)
        if i in cuts:
            pieces.append((piece, True))
            piece = []
    if piece:
        pieces.append((piece, False))
    return pieces, bounds


def search(
    problem: Problem, seconds: float = 60.0, states: int = 3_000_000, each: bool = False, above: int | None = None
) -> Order:
    """The best order, proven unless time or states run out; the operators' own order is the fallback.

    each: find the best order of every piece, even of those that lie below the highest one's peak.
    above: give up once the peak is known to be higher than this.
    """
    began = time.monotonic()
    memory = Memory(problem)
    pieces, bounds = cut(problem)
    floor = max([memory.start, *bounds])
    ceiling = floor
    done, live, opened = 0, memory.start, 0
    made = Order([], memory.start, memory.start)
    proven = True
    for piece, closed in pieces:
        low = max([live, *(bounds[i] for i in piece)]) if each else ceiling
        hopeless = above is not None and ceiling > above
        limit = began if hopeless else began + seconds
        found = _Search(memory, piece, done, live).run(low, limit, 0 if hopeless else states - opened, above)
        ceiling = max(ceiling, found.peak)
        proven = proven and found.optimal
        floor = max(floor, found.bound)
        opened += found.states
        top = live
        for i in found.order:
            moment, live = memory.transient(i, done, live)
            top = max(top, moment)
            done |= 1 << i
        made.pieces.append(Piece(found.order, top, found.optimal, closed))
        made.order += found.order
    made.peak = memory.peak(made.order)
    if (own := memory.peak(list(range(problem.size)))) < made.peak:
        made.order, made.peak = list(range(problem.size)), own
        made.pieces = given(problem).pieces
    made.bound = made.peak if proven else min(floor, made.peak)
    made.states, made.seconds = opened, time.monotonic() - began
    return made


def given(problem: Problem) -> Order:
    """The operators' own order, in the same form."""
    memory = Memory(problem)
    pieces, bounds = cut(problem)
    made = Order(list(range(problem.size)), memory.start, max([memory.start, *bounds]))
    walk = memory.walk(made.order)
    for piece, closed in pieces:
        top = max(moment for moment, _ in (next(walk) for _ in piece))
        made.pieces.append(Piece(piece, top, False, closed))
        made.peak = max(made.peak, top)
    return made


@dataclass
class _Search:
    """The search between two cuts: ``piece`` may run once ``done`` is done and ``live`` bytes are there."""

    memory: Memory
    piece: list[int]
    done: int
    live: int
    after: dict[int, list[int]] = field(default_factory=dict)

    def run(self, ceiling: int, deadline: float, states: int, above: int | None = None) -> Order:
        p = self.memory.p
        goal = self.done
        for i in self.piece:
            goal |= 1 << i
        inside = set(self.piece)
        for i in self.piece:
            self.after[i] = []
        for i in self.piece:
            for j in bits(p.before[i]):
                if j in inside:
                    self.after[j].append(i)
        ready = sum(1 << i for i in self.piece if not p.before[i] & ~self.done)
        # key: highest moment so far, then how much is left to do, then memory
        heap: list[tuple[int, int, int, int, int]] = [(ceiling, len(self.piece), self.live, self.done, ready)]
        came: dict[int, tuple[int, tuple[int, ...]]] = {self.done: (self.done, ())}
        best: dict[int, int] = {self.done: ceiling}
        opened = 0
        while heap:
            top, left, live, done, ready = heapq.heappop(heap)
            if best.get(done, top) < top:
                continue
            opened += 1
            late = opened % 256 == 0 and (time.monotonic() > deadline or opened > states)
            if late or (above is not None and top > above):
                return self._give_up(top, live, done, ready, came, opened)
            done0 = done
            live, done, ready, ran = self._at_once(top, live, done, ready)
            if ran:
                left -= len(ran)
                if done in best and best[done] <= top and done != done0:
                    continue
                best[done] = top
                came[done] = (done0, tuple(ran))
            if done == goal:
                return Order(self._path(done, came), top, top, opened)
            for i in bits(ready):
                peak, after = self.memory.transient(i, done, live)
                now, key = done | (1 << i), max(top, peak)
                if best.get(now, key + 1) <= key:
                    continue
                best[now] = key
                came[now] = (done, (i,))
                heapq.heappush(heap, (key, left - 1, after, now, self._ready(i, now, ready)))
        raise AssertionError("the graph has a cycle")

    def _ready(self, i: int, done: int, ready: int) -> int:
        """The operators that may run once ``i`` is done too."""
        ready &= ~(1 << i)
        before = self.memory.p.before
        for j in self.after[i]:
            if not before[j] & ~done:
                ready |= 1 << j
        return ready

    def _at_once(self, ceiling: int, live: int, done: int, ready: int) -> tuple[int, int, int, list[int]]:
        """Run whatever fits and ends with no more memory than it began."""
        ran: list[int] = []
        moved = True
        while moved and ready:
            moved = False
            for i in bits(ready):
                chain = self._chain(i, ceiling, live, done, live)
                if chain is None:
                    continue
                for j in chain:
                    live = self.memory.transient(j, done, live)[1]
                    done |= 1 << j
                    ready = self._ready(j, done, ready)
                ran += chain
                moved = True
                break
        return live, done, ready, ran

    def _chain(self, i: int, ceiling: int, live: int, done: int, goal: int, depth: int = 0) -> list[int] | None:
        """The shortest chain from ``i`` on that fits and comes down to ``goal`` bytes, if there is one."""
        peak, after = self.memory.transient(i, done, live)
        if peak > ceiling:
            return None
        if after <= goal:
            return [i]
        if depth >= CHAIN:
            return None
        now = done | (1 << i)
        before = self.memory.p.before
        for j in self.after[i]:
            if not before[j] & ~now:
                rest = self._chain(j, ceiling, after, now, goal, depth + 1)
                if rest is not None:
                    return [i, *rest]
        return None

    def _path(self, done: int, came: dict[int, tuple[int, tuple[int, ...]]]) -> list[int]:
        order: list[int] = []
        while done != self.done:
            done, ran = came[done]
            order[:0] = ran
        return order

    def _give_up(
        self, top: int, live: int, done: int, ready: int, came: dict[int, tuple[int, tuple[int, ...]]], opened: int
    ) -> Order:
        """Finish greedily from the state at hand; what was still to be looked at is no better than ``top``."""
        order = self._path(done, came)
        peak = top
        while ready:
            options = [(*self.memory.transient(i, done, live), i) for i in bits(ready)]
            moment, live, i = min(options, key=lambda o: (max(o[0], peak), o[1]))
            peak = max(peak, moment)
            done |= 1 << i
            order.append(i)
            ready = self._ready(i, done, ready)
        return Order(order, peak, top, opened)
