"""Row streaming, exactly: which rows of which tensors exist when operators take turns row by row.

Inside a region the last operator pulls: before it runs a step, every operator in front of it runs until the rows that
step needs are there, each pulling in turn.  Nothing is computed twice.  A tensor that only lives inside the region is
a line buffer: a ring of as many rows as are ever needed at once.  What the region reads from outside stays where it
is, and each of its rows is dead once nothing in the region will read it again, so that the region's output may grow
into them.

Where the only reader of a tensor takes it pixel by pixel (a 1x1 convolution, an addition), both run as one unit with a
buffer of one pixel between them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import accumulate

from genn.memory.graph import Operation
from genn.memory.reduce import Layout


@dataclass(frozen=True)
class Need:
    """One input of an operator: the value, its rows per step, and where they count in its store.

    rows: half-open ranges; least[u]: the lowest row that step u or any later one reads; exact: rows of the value are
    rows of its store.
    """

    value: int
    store: int
    rows: list[tuple[int, int]]
    least: list[int]
    exact: bool
    total: int


@dataclass
class Trace:
    """What pulling showed.

    rings: rows at once, per store that is written inside.  distance: (input store, output store) -> the least D such
    that the input may start D bytes behind the output.  schedule: (operator, step) in running order, if recorded.
    filling: if recorded, per store made inside, each time that it holds a row more than ever, the rows so far and the
    first byte of each input that is still to be read.
    """

    rings: dict[int, int] = field(default_factory=dict)
    distance: dict[tuple[int, int], int] = field(default_factory=dict)
    filling: dict[int, list[tuple[int, dict[int, int]]]] = field(default_factory=dict)
    pixels: set[int] = field(default_factory=set)  # stores that are one pixel
    schedule: list[tuple[int, int]] = field(default_factory=list)
    runs: dict[int, int] = field(default_factory=dict)  # operator -> how often control came to it anew


class Rows:
    """Row accesses of a Layout's operators, worked out once."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        graph = layout.graph
        eliminated = {graph.ops[i].output: graph.ops[i] for i in layout.eliminated}
        self.maker = {layout.op(k).output: k for k in range(len(layout.ops))}
        self.steps = [layout.op(k).steps for k in range(len(layout.ops))]
        self.needs: list[list[Need]] = []  # what is read, and so must stay
        self.pulls: list[list[tuple[int, list[int], int]]] = []  # (producer, rows it must have done per step, value)
        self.touch: list[list[tuple[int, int]]] = []  # rows of the output per step
        self.finished: list[list[int]] = []  # rows of the output complete after each step
        self.base: list[tuple[int, int, int, bool]] = []  # output: store, shift, bytes of a row of it there, exact
        self.readers: list[list[tuple[int, int]]] = [[] for _ in layout.sizes]  # store -> (operator, index of the need)
        self.writers: list[list[int]] = [[] for _ in layout.sizes]
        for k in range(len(layout.ops)):
            op, inputs = layout.op(k), layout.ops[k][1]
            needs, pulls = [], []
            for v, access in zip(op.inputs, op.reads, strict=True):
                rows = access.rows(op.steps, graph.values[v].rows)
                if v in inputs:
                    needs.append(self._need(v, rows))
                for leaf, whole in self._leaves(v, eliminated):
                    if leaf in self.maker:
                        total = graph.values[leaf].rows
                        stops = [total if whole else stop for _, stop in rows]
                        pulls.append((self.maker[leaf], _running(stops), leaf))
            self.needs.append(needs)
            self.pulls.append(pulls)
            for index, need in enumerate(needs):
                self.readers[need.store].append((k, index))
            out = graph.values[op.output]
            touch = op.writes.rows(op.steps, out.rows)
            self.touch.append(touch)
            self.finished.append([*_least([a for a, _ in touch], out.rows)[1:], out.rows])
            home = layout.homes[op.output]
            exact = self._exact(op.output)
            row = layout.row(home.store) if exact else out.row
            self.base.append((home.store, 0 if exact else home.shift, row, exact))
            self.writers[home.store].append(k)
        self.link = [self._link(k) for k in range(len(layout.ops))]

    def _link(self, k: int) -> int:
        """The operator that takes ``k``'s output pixel by pixel, alone; -1 if there is none."""
        store, _, _, exact = self.base[k]
        plain = self.touch[k] == [(u, u + 1) for u in range(self.steps[k])]
        value = self.layout.op(k).output
        if not (exact and plain) or len(self.writers[store]) != 1 or len(self.readers[store]) != 1:
            return -1
        if value in self.layout.graph.outputs:
            return -1
        c, index = self.readers[store][0]
        op, need = self.layout.op(c), self.needs[c][index]
        access = op.reads[op.inputs.index(need.value)] if need.value in op.inputs else None
        fits = access is not None and access.pixel and need.value == value and self.steps[c] == self.steps[k]
        return c if fits else -1

    def _exact(self, v: int) -> bool:
        home, value = self.layout.homes[v], self.layout.graph.values[v]
        alone = value.size == self.layout.sizes[home.store]
        return (home.slice or alone) and value.rows == self.layout.rows[home.store]

    def _need(self, v: int, rows: list[tuple[int, int]]) -> Need:
        store, exact = self.layout.homes[v].store, self._exact(v)
        total = self.layout.rows[store]
        least = _least([a for a, _ in rows], total) if exact else [0] * len(rows)
        return Need(v, store, rows, [*least, total], exact, total)

    def _leaves(self, v: int, eliminated: dict[int, Operation]) -> list[tuple[int, bool]]:
        """The values that are really written for ``v``, and whether all of each is needed for any of ``v``."""
        if v not in eliminated:
            return [(v, False)]
        op = eliminated[v]
        found = []
        for part in op.inputs:
            for leaf, whole in self._leaves(part, eliminated):
                found.append((leaf, whole or not op.interleaved))
        return found

    def distances(self, k: int) -> dict[int, int]:
        """Of one operator by itself: input store -> the bytes that it must start behind the output at least."""
        store, shift, row, exact = self.base[k]
        ends = [shift + (stop if exact else self.layout.rows[store]) * row for _, stop in self.touch[k]]
        least: dict[int, list[int]] = {}
        for n in self.needs[k]:
            if n.store != store:
                before = least.get(n.store)
                least[n.store] = n.least if before is None else list(map(min, before, n.least))
        return {
            s: max(end - low * self.layout.row(s) for end, low in zip(ends, lows, strict=False))
            for s, lows in least.items()
        }

    def pull(self, target: int, members: Collection[int], outs: Collection[int] = (), record: bool = False) -> Trace:
        """Run ``target`` to its end, pulling the operators in ``members``; all others have run.

        outs: the stores that outlive the region, which are written whole and for which distances are worked out.
        """
        inside = set(members)
        unit: dict[int, int] = {}
        for k in sorted(inside, reverse=True):
            unit[k] = unit[self.link[k]] if self.link[k] in inside else k
        chain: dict[int, list[int]] = {}
        for k in sorted(inside):
            chain.setdefault(unit[k], []).append(k)
        pulls = {
            h: [p for k in ks for p in self.pulls[k] if p[0] in inside and unit[p[0]] != h] for h, ks in chain.items()
        }
        touched = {n.store for k in inside for n in self.needs[k]} | {self.base[k][0] for k in inside}
        readers = {s: [(unit[r], self.needs[r][x].least) for r, x in self.readers[s] if r in inside] for s in touched}
        inputs = [(s, self.layout.row(s), r) for s, r in readers.items() if r and s not in outs]
        outer = [p for p in inputs if not any(w in inside for w in self.writers[p[0]])] if record else []
        filled: dict[int, int] = {} if record else dict.fromkeys(readers, 1 << 60)
        done = dict.fromkeys(chain, 0)
        begun: dict[int, int] = {}
        trace = Trace(pixels={self.base[k][0] for k in inside if unit[k] != k})
        rings, distance = trace.rings, trace.distance
        stack, last = [unit[target]], -1
        flush = [k for k in sorted(chain) if self.base[k][0] in outs and k != target][::-1]
        while stack or flush:
            if not stack:
                stack.append(flush.pop())
            k = stack[-1]
            u = done[k]
            if u == self.steps[k]:
                stack.pop()
                continue
            waiting = -1
            for p, stops, _ in pulls[k]:
                d = done[p]
                if (self.finished[p][d - 1] if d else 0) < stops[u]:
                    waiting = p
                    break
            if waiting >= 0:
                stack.append(waiting)
                continue
            store, shift, row, exact = self.base[k]
            stop = self.touch[k][u][1]
            top = max(begun.get(store, 0), stop if exact else self.layout.rows[store])
            begun[store] = top
            held = top
            if readers.get(store):
                held -= min([least[done[r]] for r, least in readers[store]])
            if held > rings.get(store, 0):
                rings[store] = held
            if store not in outs and top > filled.get(store, 0):
                filled[store] = top
                lows = {s: min([least[done[r]] for r, least in rs]) * width for s, width, rs in outer}
                trace.filling.setdefault(store, []).append((top, lows))
            if store in outs:
                end = shift + stop * row
                for s, width, rs in inputs:
                    low = rs[0][1][done[rs[0][0]]] if len(rs) == 1 else min([least[done[r]] for r, least in rs])
                    gap = end - low * width
                    if gap > distance.get((s, store), -(1 << 62)):
                        distance[s, store] = gap
            if record:
                trace.schedule += [(c, u) for c in chain[k]]
            if k != last:
                trace.runs[k] = trace.runs.get(k, 0) + 1
                last = k
            done[k] = u + 1
            if len(stack) > 1:
                stack.pop()
        return trace


def _least(starts: list[int], total: int) -> list[int]:
    """For each step the lowest start of it and all later ones."""
    return list(accumulate(reversed([min(a, total) for a in starts]), min))[::-1]


def _running(stops: list[int]) -> list[int]:
    """The highest stop so far."""
    return list(accumulate(stops, max))
