"""Order and row streaming together: which operators run as one region, in what order, and what that needs at its peak.

A *group* is what runs as one: an operator, or a region of operators that take turns row by row.  Regions are sought
between cuts (operators that are comparable with all others): a partition of the cuts into single stretches and
regions whose highest stretch is lowest, and among those the one with the fewest rows streamed.  Inside a stretch that
stays whole, chains of operators may still stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from genn.memory import order
from genn.memory.order import Memory, Order, Problem, Store
from genn.memory.reduce import Layout
from genn.memory.stream import Rows, Trace

Span = tuple[int, int]  # first and last piece of a region
Group = tuple[int, ...]  # positions in Layout.ops; the last one pulls the others


@dataclass(frozen=True)
class Options:
    """What the planner may use.  seconds: bound of the search; limit: stream no more than this many bytes need."""

    order: bool = True
    inplace: bool = True
    concat: bool = True
    fuse: bool = True
    overlap: bool = True
    stream: bool = True
    seconds: float = 60.0
    limit: int | None = None


LONGEST = (4, 12, 40)  # pieces of a region; short ones first: the lower the peak, the shorter what may lie below it
REDUCTIONS = ("order", "inplace", "concat", "fuse", "overlap", "stream")


@dataclass
class Schedule:
    """Groups in running order over a layout's stores.  pairs: per group (input store, output store, D, exact)."""

    layout: Layout
    rows: Rows
    groups: list[Group]
    problem: Problem
    pairs: list[list[tuple[int, int, int, bool]]]
    rings: list[dict[int, int]]  # per group: bytes of its line buffers by store
    peak: int
    bound: int
    moments: list[tuple[int, int]] = field(default_factory=list)  # bytes live while each group runs, and after it

    @property
    def streamed_rows(self) -> int:
        """Steps of operators that run inside of regions."""
        layout = self.layout
        return sum(layout.op(k).steps for g in self.groups if len(g) > 1 for k in g)


class Scheduler:
    """Schedules of one layout; what is worked out once is kept."""

    def __init__(self, layout: Layout, options: Options, above: int | None = None) -> None:
        """above: no schedule with a higher peak is of interest, so that the search may give up early."""
        self.layout, self.options, self.above = layout, options, above
        self.rows = Rows(layout)
        graph = layout.graph
        self.present = {layout.homes[v].store for v in graph.inputs}
        self.pinned = {layout.homes[v].store for v in graph.outputs}
        self.readers = [{k for k, _ in r} for r in self.rows.readers]
        self.writers = [set(w) for w in self.rows.writers]
        self.least = [self._least_ring(s) for s in range(len(layout.sizes))]
        self._known: tuple[_Cuts, dict[tuple[int, int], tuple[int, int]], int] | None = None
        self._single: dict[int, list[tuple[int, int, int, bool]]] = {}

    def run(self) -> Schedule:
        """The best schedule that the options allow."""
        singles: list[Group] = [(k,) for k in range(len(self.layout.ops))]
        above, self.above = self.above, None if self.options.stream else self.above
        best = self._schedule(singles)
        self.above = above
        if not self.options.stream:
            return best
        plain = order.search(best.problem, self.options.seconds, each=True) if self.options.order else None
        pieces = (plain or order.given(best.problem)).pieces
        made = self._schedule(self._partition_of(pieces, best.problem))
        return self._chains(min(best, made, key=lambda m: m.peak))

    # -- groups to a schedule ----------------------------------------------------------------------------------
    def _schedule(self, groups: Sequence[Group]) -> Schedule:
        groups = self._sorted(groups)
        problem, pairs, rings = self.problem(groups)
        if self.options.order:
            found: Order = order.search(problem, self.options.seconds, above=self.above)
        else:
            found = order.given(problem)
        turn = found.order
        made = Schedule(
            self.layout,
            self.rows,
            [groups[g] for g in turn],
            problem,
            [pairs[g] for g in turn],
            [rings[g] for g in turn],
            found.peak,
            found.bound if self.options.order else found.peak,
        )
        made.moments = list(Memory(problem).walk(turn))
        return made

    def _sorted(self, groups: Sequence[Group]) -> list[Group]:
        """Groups in a topological order, nearest to the given one."""
        home = {k: g for g, group in enumerate(groups) for k in group}
        waits = [{home[j] for k in group for j in order.bits(self.layout.before[k])} - {g}
                 for g, group in enumerate(groups)]  # fmt: skip
        after: list[list[int]] = [[] for _ in groups]
        for g, w in enumerate(waits):
            for j in w:
                after[j].append(g)
        import heapq

        heap = [(max(groups[g]), g) for g, w in enumerate(waits) if not w]
        heapq.heapify(heap)
        left = [len(w) for w in waits]
        out = []
        while heap:
            _, g = heapq.heappop(heap)
            out.append(groups[g])
            for j in after[g]:
                left[j] -= 1
                if not left[j]:
                    heapq.heappush(heap, (max(groups[j]), j))
        assert len(out) == len(groups), "a region is not convex"
        return out

    def problem(
        self, groups: Sequence[Group]
    ) -> tuple[Problem, list[list[tuple[int, int, int, bool]]], list[dict[int, int]]]:
        """The order problem over ``groups``, with the overlaps and line buffers that each one has."""
        layout = self.layout
        home = {k: g for g, group in enumerate(groups) for k in group}
        stores = [
            Store(size, present=s in self.present, pinned=s in self.pinned) for s, size in enumerate(layout.sizes)
        ]
        writes, reads, before, workspace, credits, pairs, rings = [], [], [], [], [], [], []
        for g, group in enumerate(groups):
            members = set(group)
            made = dict.fromkeys(self.rows.base[k][0] for k in group)
            used = dict.fromkeys(n.store for k in group for n in self.rows.needs[k])
            inner = {s for s in made if len(group) > 1 and self.inner(s, members)}
            outs = [s for s in made if s not in inner]
            if len(group) > 1:
                trace = self.rows.pull(group[-1], members, outs, record=True)
                found = self._distances(trace)
                ring = {s: self._ring(s, trace) for s in inner}
                found += self._line_distances(trace, ring)
            else:
                found, ring = self.single(group[0]), {}
            extra = sum(ring.values())
            writes.append(tuple(outs))
            reads.append(tuple(s for s in used if s not in inner))
            mask = 0
            for k in group:
                for j in order.bits(layout.before[k]):
                    mask |= 1 << home[j]
            before.append(mask & ~(1 << g))
            workspace.append(extra + max(layout.op(k).workspace for k in group))
            for s in outs:
                stores[s].writers |= 1 << g
            for s in reads[-1]:
                stores[s].readers |= 1 << g
            credits.append(self._credits(outs[0], found, ring) if len(outs) == 1 else ())
            pairs.append(found)
            rings.append(ring)
        return Problem(stores, writes, reads, before, workspace, credits), pairs, rings

    def _line_distances(self, trace: Trace, ring: dict[int, int]) -> list[tuple[int, int, int, bool]]:
        """How far inputs must start behind line buffers, which fill as inputs die."""
        if not self.options.overlap:
            return []
        found: dict[tuple[int, int], int] = {}
        for s, size in ring.items():
            if s not in trace.pixels:
                for top, lows in trace.filling.get(s, []):
                    for i, low in lows.items():
                        gap = min(top * self.layout.row(s), size) - low
                        found[i, s] = max(found.get((i, s), gap), gap)
        return [(i, s, d, False) for (i, s), d in found.items() if i not in self.pinned]

    def _credits(
        self, out: int, found: list[tuple[int, int, int, bool]], ring: dict[int, int]
    ) -> tuple[tuple[int, int], ...]:
        """What each input saves if it dies: the output and the line buffers lie as far in it as they may.

        They are stacked from the start of the arena, what must lie furthest in front of the input first.
        """
        size, credits = self.layout.sizes, []
        for i in dict.fromkeys(i for i, *_ in found):
            gaps = {o: d for j, o, d, _ in found if j == i}
            stack = [(d, ring.get(o, size[o])) for o, d in gaps.items()]
            at = start = 0
            for d, bytes_ in sorted(stack, reverse=True):
                start = max(start, at + d)
                at += bytes_
            together = max(at, start + size[i])
            best = at + size[i] - together
            if out in gaps:
                best = max(best, self.saving(i, out, gaps[out]))
            credits.append((i, max(0, best)))
        return tuple(credits)

    def inner(self, s: int, members: set[int]) -> bool:
        """True if the store lives inside of the region only."""
        return (
            s not in self.present and s not in self.pinned and self.writers[s] <= members and self.readers[s] <= members
        )

    def saving(self, i: int, o: int, d: int) -> int:
        """Bytes saved where output store ``o`` may start ``d`` bytes in front of input store ``i``."""
        a, b = self.layout.sizes[i], self.layout.sizes[o]
        return max(0, a + b - max(b, max(d, 0) + a))

    def single(self, k: int) -> list[tuple[int, int, int, bool]]:
        """The overlaps of one operator."""
        if k not in self._single:
            op, store = self.layout.op(k), self.rows.base[k][0]
            found = []
            if self.options.inplace:
                joined = self.layout.joined
                whole = {n.value: n.store for n in self.rows.needs[k] if n.value not in joined}
                for v, access in zip(op.inputs, op.reads, strict=True):
                    s = whole.get(v, store)
                    alone = self.layout.sizes[s] == self.layout.graph.values[v].size == self.layout.sizes[store]
                    if access.pointwise and s != store and alone and self.layout.op(k).kind != "concat":
                        found.append((s, store, 0, not self.options.overlap))
            if self.options.overlap:
                taken = {i for i, *_ in found}
                found += [
                    (i, store, d, False)
                    for i, d in self.rows.distances(k).items()
                    if i not in taken and i not in self.pinned
                ]
            self._single[k] = found
        return self._single[k]

    def _distances(self, trace: Trace) -> list[tuple[int, int, int, bool]]:
        if not self.options.overlap:
            return []
        return [(i, o, d, False) for (i, o), d in trace.distance.items() if i not in self.pinned]

    # -- regions -----------------------------------------------------------------------------------------------
    def _partition_of(self, pieces: list[order.Piece], problem: Problem) -> list[Group]:
        """Groups after the partition of the pieces into regions and whole stretches that has the lowest peak.

        To come below a peak, every piece that reaches it must be in a region, and no other region is needed: so regions
        are worked out around those pieces only, and again for the next lower peak, until that does not lower it.
        """
        memory = Memory(problem)
        cuts = _Cuts(pieces, [memory.start], [0])
        mask, now = 0, memory.start
        for piece in pieces:
            for i in piece.ops:
                _, now = memory.transient(i, mask, now)
                mask |= 1 << i
            cuts.live.append(now)
            cuts.done.append(mask)
        costs = {(j, j): (piece.peak, 0) for j, piece in enumerate(pieces)}
        goal = self.options.limit or 0
        peak, _ = _cheapest(len(pieces), costs, None)
        for longest in LONGEST:
            seen: set[int] = set()
            start, before = peak, -1
            while goal < peak != before:
                for h in (j for j, piece in enumerate(pieces) if piece.peak >= peak):
                    for j in range(h, min(h + longest, len(pieces))):
                        if self._floor(cuts, h, j) >= peak:
                            break
                        if j not in seen and pieces[j].closed:
                            seen.add(j)
                            self._regions(j, cuts, longest, peak, costs)
                before = peak
                peak, _ = _cheapest(len(pieces), costs, None)
            if longest > LONGEST[0] and peak == start:
                break
        self._known = (cuts, costs, max(peak, goal))
        return self._groups(max(peak, goal), False)

    def _groups(self, limit: int, most: bool) -> list[Group]:
        """The partition under ``limit`` that streams the fewest rows, or the ``most``."""
        return self._of(self._spans(limit, most))

    def _spans(self, limit: int, most: bool) -> list[Span]:
        assert self._known is not None
        cuts, costs, _ = self._known
        return [(i, j) for i, j, streamed in _cheapest(len(cuts.pieces), costs, limit, most)[1] if streamed]

    def _of(self, spans: Sequence[Span]) -> list[Group]:
        """Groups: the pieces of each span stream as one, all other operators run alone."""
        assert self._known is not None
        groups: list[Group] = []
        at = 0
        pieces = self._known[0].pieces
        for i, j in (*spans, (len(pieces), -1)):
            groups += [(k,) for piece in pieces[at:i] for k in piece.ops]
            if i <= j:
                groups.append(tuple(sorted(k for piece in pieces[i : j + 1] for k in piece.ops)))
            at = j + 1
        return groups

    def nearby(self, cost: Callable[[Schedule], tuple[int, int]], trials: int) -> None:
        """After ``run``, try regions that begin and end a little elsewhere.

        cost: places a schedule and gives its arena and what decides between equal ones.  Each region's output lies in
        front of its input, so a chain of regions walks through the arena; how far, no peak tells.
        """
        if self._known is None:
            return
        cuts, costs, lowest = self._known
        tried: set[tuple[Span, ...]] = set()
        for most in (False, True):
            now = tuple(self._spans(lowest, most))
            best, better = cost(self._schedule(self._of(now))), True
            for j in (j for j, piece in enumerate(cuts.pieces) if piece.closed):
                self._regions(j, cuts, LONGEST[-1], best[0], costs)
            while better:
                better = False
                for spans in moved(now):
                    known = all(s in costs and costs[s][1] and costs[s][0] < best[0] for s in spans)
                    if known and spans not in tried and len(tried) < trials:
                        tried.add(spans)
                        found = cost(self._schedule(self._of(spans)))
                        if found < best:
                            now, best, better = spans, found, True
                            break

    def alternatives(self) -> list[Schedule]:
        """Schedules with peaks up to a fifth higher, after ``run``: overlaps that drift can cost an arena more."""
        if self._known is None:
            return []
        lowest = self._known[2]
        found: dict[tuple[Group, ...], Schedule] = {}
        for percent in (100, 103, 106, 110, 115, 120):
            for most in (False, True):
                groups = self._groups(lowest * percent // 100, most)
                if tuple(groups) not in found:
                    found[tuple(groups)] = self._schedule(groups)
        return list(found.values())

    def _floor(self, cuts: _Cuts, i: int, j: int) -> int:
        """Bytes that a region of the pieces ``i`` to ``j`` needs at least."""
        members = cuts.members(i, j)
        made = {self.rows.base[k][0] for k in members}
        return sum(self.least[s] for s in made if self.inner(s, members))

    def _regions(
        self, j: int, cuts: _Cuts, longest: int, ceiling: int, costs: dict[tuple[int, int], tuple[int, int]]
    ) -> None:
        """Costs of regions of up to ``longest`` pieces that end with piece ``j`` and may stay below ``ceiling``."""
        layout, first = self.layout, j
        for i in range(j, max(-1, j - longest), -1):
            if self._floor(cuts, i, j) >= ceiling:
                break
            first = i
        members = cuts.members(first, j)
        if len(members) == 1:
            return
        after = cuts.done[j + 1]
        made = {self.rows.base[k][0] for k in members}
        outs = [s for s in made if s in self.pinned or any(not after >> r & 1 for r in self.readers[s])]
        trace = self.rows.pull(max(members), members, outs)
        for i in range(j, first - 1, -1):
            part = cuts.members(i, j)
            if len(part) == 1:
                continue
            made = {self.rows.base[k][0] for k in part}
            inner = {s for s in made if self.inner(s, part)}
            outer, before = made - inner, cuts.done[i]
            extra = sum(self._ring(s, trace) for s in inner)
            fresh = [s for s in outer if s not in self.present and not any(before >> w & 1 for w in self.writers[s])]
            peak = cuts.live[i] + sum(layout.sizes[s] for s in fresh) + extra
            peak += max(layout.op(k).workspace for k in part)
            if self.options.overlap and len(outer) == 1 and len(fresh) == 1:
                known = [(s, d) for (s, o), d in trace.distance.items() if o == fresh[0]]
                peak -= max((self.saving(s, fresh[0], d) for s, d in known if self._dies(s, before, after)), default=0)
            if (i, j) not in costs or peak < costs[i, j][0]:
                costs[i, j] = (peak, sum(layout.op(k).steps for k in part))

    def _dies(self, s: int, before: int, after: int) -> bool:
        """True if store ``s`` exists before the region and is read for the last time in it."""
        there = s in self.present or any(before >> w & 1 for w in self.writers[s])
        readers = self.readers[s]
        ends = s not in self.pinned and all(after >> r & 1 for r in readers)
        return there and ends and any(not before >> r & 1 for r in readers)

    def _ring(self, s: int, trace: Trace) -> int:
        """Bytes of the line buffer for store ``s``."""
        if s in trace.pixels:
            return self.layout.graph.values[self.layout.op(self.rows.writers[s][0]).output].pixel
        return min(trace.rings.get(s, 0), self.layout.rows[s]) * self.layout.row(s)

    def _least_ring(self, s: int) -> int:
        """Bytes that a line buffer for store ``s`` has at least."""
        rows = self.rows
        if len(rows.writers[s]) == 1 and rows.link[rows.writers[s][0]] >= 0:
            return 0
        needs = [rows.needs[k][x] for k, x in rows.readers[s]]
        most = max((max(b - a for a, b in n.rows) if n.exact else n.total for n in needs), default=0)
        return most * self.layout.row(s)

    def _chains(self, best: Schedule) -> Schedule:
        """Let chains of operators stream that are still whole: a result that one operator reads, row by row."""
        if self.options.limit is not None and best.peak <= self.options.limit:
            return best
        groups = {g[-1]: g for g in best.groups}
        joined = False
        for k in sorted(groups):
            group = groups[k]
            s = self.rows.base[k][0]
            users = self.readers[s]
            if len(users) != 1 or not self.inner(s, {*group, *users}) or len(self.writers[s]) != 1:
                continue
            (user,) = users
            head = next((g for g in groups.values() if user in g), None)
            if head is None or head == group or user != head[0] or self.least[s] * 2 > self.layout.sizes[s]:
                continue
            merged = (*group, *head)
            del groups[k]
            groups[head[-1]] = merged
            joined = True
        if joined:
            made = self._schedule(list(groups.values()))
            if made.peak < best.peak:
                return made
        return best


def moved(spans: tuple[Span, ...]) -> Iterator[tuple[Span, ...]]:
    """One span given up, a piece longer or shorter, split, joined with the next one, or the cut between them moved."""
    for x, (i, j) in enumerate(spans):
        before, after = spans[:x], spans[x + 1 :]
        yield before + after
        left, right = (before[-1][1] if before else -1), (after[0][0] if after else 1 << 60)
        for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if left < a <= b < right:
                yield (*before, (a, b), *after)
        for m in range(i, j):
            yield (*before, (i, m), (m + 1, j), *after)
        if after:
            k, last = after[0]
            yield (*before, (i, last), *after[1:])
            shifts = [n for n in (-1, 1) if i <= j + n and k + n <= last]
            yield from ((*before, (i, j + n), (k + n, last), *after[1:]) for n in shifts)


@dataclass
class _Cuts:
    """The pieces, and what is live (bytes) and done (a mask) in front of each and after the last."""

    pieces: list[order.Piece]
    live: list[int]
    done: list[int]

    def members(self, i: int, j: int) -> set[int]:
        """The operators of pieces ``i`` to ``j``."""
        return {k for piece in self.pieces[i : j + 1] for k in piece.ops}


def _cheapest(
    n: int, costs: dict[tuple[int, int], tuple[int, int]], limit: int | None, most: bool = False
) -> tuple[int, list[tuple[int, int, bool]]]:
    """Stretches (first, last piece, streamed) with the lowest peak, or under ``limit`` with the least streamed."""
    ending: list[list[int]] = [[] for _ in range(n)]
    for i, j in costs:
        ending[j].append(i)
    best: list[tuple[int, int, int]] = [(0, 0, -1)] + [(1 << 60, 1 << 60, -1)] * n  # peak, rows streamed, start
    for j in range(n):
        for i in ending[j]:
            peak, rows = costs[i, j]
            rows = -rows if most else rows
            if limit is not None and peak > limit:
                continue
            found = (max(best[i][0], peak), best[i][1] + rows, i)
            now = best[j + 1]
            if (found[:2] < now[:2]) if limit is None else (found[1], found[0]) < (now[1], now[0]):
                best[j + 1] = found
    out, j = [], n
    while j > 0:
        i = best[j][2]
        out.append((i, j - 1, costs[i, j - 1][1] > 0))
        j = i
    return best[n][0], out[::-1]
