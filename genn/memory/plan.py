"""The plan: the order of operators, where every tensor lies, and for streamed regions which row is made when.

``MemoryPlan.events`` is the plan as a program of row steps over places in the arena.  It is what generated code has
to do, what ``genn.plan_check.check_rows`` replays byte by byte, and all that either needs to know.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace

from genn import plan_check
from genn.memory import offsets, proof
from genn.memory.graph import LiveGraph
from genn.memory.offsets import Item, Offsets, Overlap
from genn.memory.planner import lifetimes, nearby, schedule, schedules
from genn.memory.reduce import Layout
from genn.memory.schedule import REDUCTIONS, Options, Schedule

HOPES = 3  # schedules that may take a smaller arena than the best one so far are placed with more effort


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: row r, pixel p is ``size`` bytes at offset + (r % kept) * row + p * pixel.

    kept: rows that exist at once (all of them, or those of a line buffer).  A slice of a concat has pixel > size.
    """

    offset: int
    kept: int
    row: int
    pixels: int
    pixel: int
    size: int


@dataclass(frozen=True)
class Event:
    """One row step of one operator, or of operators that go pixel by pixel together.

    reads: (tensor, first row, end, pointwise); writes: (tensor, first row, end); scratch: (offset, bytes) overwritten.
    """

    ops: tuple[str, ...]
    step: int
    reads: tuple[tuple[int, int, int, bool], ...]
    writes: tuple[tuple[int, int, int], ...]
    scratch: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Step:
    """What runs as one.  ``streamed`` regions have ``lines`` (tensor, rows kept, bytes) and more than one operator."""

    ops: tuple[str, ...]
    live: int
    lines: tuple[tuple[str, int, int], ...] = ()
    shares: tuple[tuple[str, str, int], ...] = ()  # (input, output, bytes the input starts behind the output)

    @property
    def streamed(self) -> bool:
        return len(self.ops) > 1


@dataclass
class MemoryPlan:
    """A finished plan.  Sizes are bytes.

    peak: the most that is live; arena: what it takes after offsets; lower_bound: no arena for this order and these
    reductions is smaller; default_peak: the exported graph in its own order with nothing shared.
    """

    graph: LiveGraph
    options: Options
    schedule: Schedule
    items: list[Item]
    overlaps: dict[tuple[int, int], Overlap]
    offsets: Offsets
    default_peak: int
    seconds: float = 0.0
    stores: list[int] = field(default_factory=list)  # item -> store, or -1 for a workspace
    buffers: dict[tuple[int, int], int] = field(default_factory=dict)  # (group, store or -1) -> item of a line buffer

    @property
    def peak(self) -> int:
        return self.schedule.peak

    @property
    def arena(self) -> int:
        return self.offsets.arena

    @property
    def lower_bound(self) -> int:
        return self.offsets.bound

    @property
    def proof(self) -> str:
        """What is known about the arena: optimal, or how far from its lower bound."""
        if self.offsets.proof:
            return self.offsets.proof
        if self.offsets.optimal:
            return "optimal"
        return f"within {self.arena - self.lower_bound} B of the lower bound"

    @property
    def order_proof(self) -> str:
        """What is known about the order."""
        found = self.schedule
        return "optimal" if found.peak == found.bound else f"within {found.peak - found.bound} B of the lower bound"

    @property
    def fragmentation(self) -> float:
        """The share of the arena that is never of use: 1 - peak / arena."""
        return max(0.0, 1 - min(self.peak, self.arena) / self.arena) if self.arena else 0.0

    @property
    def layout(self) -> Layout:
        return self.schedule.layout

    def steps(self) -> list[Step]:
        """Groups in running order."""
        found, layout = self.schedule, self.layout
        first, last = lifetimes(found)
        out = []
        for g, group in enumerate(found.groups):
            lines = []
            for s, size in found.rings[g].items():
                lines.append((layout.names[s], size // layout.row(s) if size >= layout.row(s) else 0, size))
            shares = tuple(
                (layout.names[i], layout.names[o], d)
                for i, o, d, _ in found.pairs[g]
                if last[i] == g and first[o] == g and self._touch(i, o)
            )
            names = tuple(layout.op(k).name for k in group)
            out.append(Step(names, found.moments[g][0], tuple(lines), shares))
        return out

    def _touch(self, i: int, o: int) -> bool:
        a, b = self.store_offset(i), self.store_offset(o)
        return a < b + self.layout.sizes[o] and b < a + self.layout.sizes[i]

    def store_offset(self, store: int) -> int:
        """Offset of a store that is no line buffer."""
        return self.offsets.places[self.stores.index(store)]

    def places(self) -> dict[int, Place]:
        """Where each tensor of ``layout.graph`` lies; one that is read in parts has no place."""
        layout, graph = self.layout, self.layout.graph
        ring: dict[int, tuple[int, int]] = {}
        for (g, s), item in self.buffers.items():
            if s >= 0:
                ring[s] = (self.offsets.places[item], self.schedule.rings[g][s])
        at = {s: self.offsets.places[k] for k, s in enumerate(self.stores) if s >= 0}
        out = {}
        for v, home in enumerate(layout.homes):
            value, s = graph.values[v], home.store
            if not value.size or (s not in ring and s not in at):
                continue
            base, size = ring[s] if s in ring else (at[s], layout.sizes[s])
            if home.slice and value.size != layout.sizes[s]:
                pixels = value.size // value.pixel // value.rows
                pixel = layout.row(s) // pixels
                out[v] = Place(base + home.shift, size // layout.row(s), layout.row(s), pixels, pixel, value.pixel)
            else:
                alone = value.size == layout.sizes[s]  # a part that lies in one piece needs all of its store
                kept = size // value.row if s in ring and alone else value.rows
                out[v] = Place(base + home.shift, kept, value.row, 1, value.row, value.row)
        return out

    def events(self) -> Iterator[Event]:
        """The plan row by row.  Tensors are numbered as in ``layout.graph``, copies that a concat makes behind them."""
        return _Program(self).events()


def make(graph: LiveGraph, options: Options | None = None, climb: float = 2.0, prove: float = 20.0) -> MemoryPlan:
    """Plan ``graph``: at most ``climb`` seconds of hill climbing and ``prove`` seconds of CP-SAT, if it is installed.

    Of schedules with almost the same peak the one that takes the smallest arena is chosen; under ``options.limit`` the
    one that streams the fewest rows and still fits.
    """
    options, began = options or Options(), time.monotonic()
    limit = options.limit or 0
    asked = [replace(options, stream=False, limit=None)]  # other concats may be the best where nothing streams
    asked += [replace(options, limit=limit * share // 100) for share in (100, 94, 88, 80, 65, 40)]
    for limited in asked if limit and options.stream else ():
        made = [_assigned(graph, options, f, climb / 8) for f in schedules(graph, limited)]
        fitting = [p for p in made if p.arena <= limit]
        if fitting:
            return _finished(min(fitting, key=lambda p: (p.schedule.streamed_rows, p.arena)), prove, began)
    found = schedules(graph, replace(options, limit=None))
    plans = [_assigned(graph, options, f, climb / 8 if len(found) > 1 else climb) for f in found]
    best = min(plans, key=_cost)
    if options.stream and best.arena > best.peak:  # overlaps drift

        def cost(tried: Schedule) -> tuple[int, int]:
            plans.append(_assigned(graph, options, tried, climb / 40))
            return _cost(plans[-1])

        nearby(best.schedule, replace(options, limit=None), cost)
        best = min(plans, key=_cost)
    for plan in sorted(plans, key=lambda p: (p.lower_bound, p.arena))[:HOPES]:
        if plan.lower_bound < best.arena:
            tried = _assigned(graph, options, plan.schedule, climb) if len(found) > 1 else plan
            if prove > 0:
                tried.offsets = proof.improve(tried.items, tried.overlaps, tried.offsets, prove / 4)
            best = min(best, tried, key=_cost)
    return _finished(best, prove, began)


def _finished(made: MemoryPlan, prove: float, began: float) -> MemoryPlan:
    """The plan with its proof and what belongs to a report."""
    if prove > 0:
        made.offsets = proof.improve(made.items, made.overlaps, made.offsets, prove)
    made.default_peak = default_peak(made.graph)
    made.seconds = time.monotonic() - began
    return made


def _cost(plan: MemoryPlan) -> tuple[int, int]:
    return plan.arena, plan.schedule.streamed_rows


def _assigned(graph: LiveGraph, options: Options, found: Schedule, climb: float) -> MemoryPlan:
    """The plan of one schedule, without proof."""
    plan = MemoryPlan(graph, options, found, [], {}, Offsets([], 0, 0), 0)
    first, last = lifetimes(found)
    layout = found.layout
    align = graph.elem
    for s, size in enumerate(layout.sizes):
        if size and last[s] >= -1 and first[s] < 1 << 30:
            plan.stores.append(s)
            plan.items.append(Item(layout.names[s], size, first[s], last[s], align))
    index = {s: k for k, s in enumerate(plan.stores)}
    for g, group in enumerate(found.groups):
        for s, size in found.rings[g].items():
            plan.buffers[g, s] = len(plan.items)
            plan.items.append(Item(f"{layout.names[s]} (line buffer)", size, g, g, align))
            plan.stores.append(-1)
        scratch = max(layout.op(k).workspace for k in group)
        if scratch:
            plan.buffers[g, -1] = len(plan.items)
            plan.items.append(Item(f"{layout.op(group[-1]).name} (workspace)", scratch, g, g, align))
            plan.stores.append(-1)
    for g, pairs in enumerate(found.pairs):
        for i, o, distance, exact in pairs:
            if i in index and o in index and last[i] == g and first[o] == g:
                up = -(-distance // align) * align
                plan.overlaps[index[i], index[o]] = Overlap(up, exact)
            elif i in index and last[i] == g and (g, o) in plan.buffers:
                plan.overlaps[index[i], plan.buffers[g, o]] = Overlap(-(-distance // align) * align)
    plan.offsets = offsets.assign(plan.items, plan.overlaps, climb)
    return plan


def default_peak(graph: LiveGraph) -> int:
    """The peak of the operators in their own order, nothing shared and nothing fused."""
    return plain(graph).peak


def plain(graph: LiveGraph) -> Schedule:
    """The schedule of ``graph`` with no reduction at all."""
    return schedule(graph, Options(**dict.fromkeys(REDUCTIONS, False)))


class _Program:
    """Writes a plan's events."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.plan, self.found = plan, plan.schedule
        self.layout, self.rows = self.found.layout, self.found.rows
        graph = self.layout.graph
        self.eliminated = {graph.ops[i].output: graph.ops[i] for i in self.layout.eliminated}
        self.copies: dict[tuple[int, int], int] = {}  # (operator, part) -> number of the copy
        self.kept = {self.layout.op(k).output: k for k in range(len(self.layout.ops))}

    def copied(self, k: int) -> list[int]:
        """Parts that concat ``k`` copies next to others that are in place already; [] for any other operator."""
        op, inputs = self.layout.op(k), self.layout.ops[k][1]
        return list(inputs) if op.kind == "concat" and len(inputs) < len(set(op.inputs)) else []

    def leaves(self, v: int, rows: tuple[int, int]) -> list[tuple[int, int, int]]:
        """The tensors that hold rows of ``v``."""
        op = self.eliminated.get(v)
        mine = self.kept.get(v)
        partial = self.copied(mine) if op is None and mine is not None else []
        if op is None and not partial:
            return [(v, *rows)]
        if op is None:
            assert mine is not None
            op = self.layout.op(mine)
        out = []
        for part in dict.fromkeys(op.inputs):
            span = rows if op.interleaved else (0, self.layout.graph.values[part].rows)
            if part in partial:
                assert mine is not None
                out.append((self.copy(mine, part), *span))
            else:
                out += self.leaves(part, span)
        return out

    def copy(self, k: int, part: int) -> int:
        """The number of the copy of ``part`` that concat ``k`` makes."""
        return self.copies.setdefault((k, part), len(self.layout.graph.values) + len(self.copies))

    def copy_place(self, k: int, part: int, whole: Place) -> Place:
        """Where that copy lies in the ``whole`` result of the concat."""
        graph, op = self.layout.graph, self.layout.op(k)
        shift = 0
        for v in op.inputs:
            if v == part:
                break
            shift += graph.values[v].pixel if op.interleaved else graph.values[v].size
        value = graph.values[part]
        if not op.interleaved:
            return Place(whole.offset + shift, value.rows, value.row, 1, value.row, value.row)
        pixels = value.size // value.pixel // value.rows
        pixel = whole.pixel if whole.pixels > 1 else graph.values[op.output].pixel
        return Place(whole.offset + shift, whole.kept, whole.row, pixels, pixel, value.pixel)

    def events(self) -> Iterator[Event]:
        for g, group in enumerate(self.found.groups):
            members, inner = set(group), set(self.found.rings[g])
            outs = [s for s in {self.rows.base[k][0] for k in group} if s not in inner]
            trace = self.rows.pull(group[-1], members, outs, record=True)
            scratch = [
                (self.plan.offsets.places[item], self.plan.items[item].size)
                for (at, s), item in self.plan.buffers.items()
                if at == g and (s < 0 or s in trace.pixels)
            ]
            unit: list[tuple[int, int]] = []
            for k, u in trace.schedule:
                unit.append((k, u))
                if self.rows.base[k][0] not in trace.pixels:
                    yield self.event(unit, inner & trace.pixels, scratch)
                    unit = []

    def event(self, unit: list[tuple[int, int]], pixels: set[int], scratch: list[tuple[int, int]]) -> Event:
        reads: list[tuple[int, int, int, bool]] = []
        writes: list[tuple[int, int, int]] = []
        for k, u in unit:
            op = self.layout.op(k)
            parts = self.copied(k)
            whole = {n.value: n.rows[u] for n in self.rows.needs[k]}
            for v, access in zip(op.inputs, op.reads, strict=True):
                if v in whole and self.layout.homes[v].store not in pixels:
                    for leaf, a, b in self.leaves(v, whole[v]):
                        reads.append((leaf, a, b, access.pointwise and leaf == v))
            if self.rows.base[k][0] in pixels:
                continue
            span = self.rows.touch[k][u]
            if parts:
                writes += [(self.copy(k, v), *(span if op.interleaved else (0, self.rows_of(v)))) for v in parts]
            else:
                writes.append((op.output, *span))
        names = tuple(self.layout.op(k).name for k, _ in unit)
        return Event(names, unit[-1][1], tuple(dict.fromkeys(reads)), tuple(writes), tuple(scratch))

    def rows_of(self, v: int) -> int:
        return self.layout.graph.values[v].rows


def program(plan: MemoryPlan) -> tuple[list[Event], dict[int, Place], dict[int, int], list[int]]:
    """The plan row by row: its events, the place of everything they name, its rows, and what holds the outputs."""
    made, graph = _Program(plan), plan.layout.graph
    events = list(made.events())
    places = plan.places()
    outputs = [leaf for o in graph.outputs for leaf, _, _ in made.leaves(o, (0, graph.values[o].rows))]
    rows = {v: graph.values[v].rows for v in places}
    for (k, part), number in made.copies.items():
        places[number] = made.copy_place(k, part, places[plan.layout.op(k).output])
        rows[number] = graph.values[part].rows
    return events, places, rows, outputs


def check(plan: MemoryPlan) -> int:
    """Hand the plan to the independent checker; the highest byte it touches + 1.  GennError if it is unsound."""
    events, places, rows, outputs = program(plan)
    steps = [(f"{'+'.join(e.ops)}[{e.step}]", e.reads, e.writes, e.scratch) for e in events]
    spots = {v: astuple(p) for v, p in places.items()}
    return plan_check.check_rows(plan.arena, spots, rows, steps, plan.layout.graph.inputs, outputs)

