"""From a graph and what may be used to the schedule with the lowest peak: the one place where all reductions meet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from genn.memory import reduce
from genn.memory.graph import LiveGraph
from genn.memory.reduce import Concats
from genn.memory.schedule import Options, Schedule, Scheduler

TRIALS = 8  # of turning concats that are read in parts into slices
NEARBY = 200  # of regions that begin and end a little elsewhere


def schedule(graph: LiveGraph, options: Options) -> Schedule:
    """The schedule with the lowest peak found.  The order is proven for the concats chosen, which descent chooses."""
    return schedules(graph, options)[0]


def schedules(graph: LiveGraph, options: Options) -> list[Schedule]:
    """The schedule with the lowest peak found, and others not far above it that may be easier to place."""
    found = _schedules(reduce.fuse(graph) if options.fuse else graph, options)
    if options.fuse and _run(graph, Concats(), replace(options, stream=False), found[0].peak).peak < found[0].peak:
        found = min(found, _schedules(graph, options), key=lambda f: f[0].peak)  # what is fused may live longer
    return found


def _schedules(graph: LiveGraph, options: Options) -> list[Schedule]:
    deadline = time.monotonic() + options.seconds
    every = frozenset(i for i, op in enumerate(graph.ops) if op.kind == "concat")
    if not options.concat or not every:
        return _all(graph, Concats(), options)
    quick = replace(options, stream=False)
    split = reduce.scatterable(graph)
    starts = [Concats(every), Concats(every - split, split), Concats()]
    found = _descend(graph, [_run(graph, c, quick) for c in starts], starts, quick, deadline)
    if options.stream:
        starts = list(dict.fromkeys([found[1], *starts[:2]]))
        found = _descend(graph, [_run(graph, c, options) for c in starts], starts, options, deadline)
    return _all(graph, _prefer_slices(graph, *found, options, deadline), options)


def _all(graph: LiveGraph, concats: Concats, options: Options) -> list[Schedule]:
    scheduler = Scheduler(reduce.lay_out(graph, concats), options)
    best = scheduler.run()
    return [best, *(s for s in scheduler.alternatives() if s.groups != best.groups)]


def nearby(found: Schedule, options: Options, cost: Callable[[Schedule], tuple[int, int]]) -> None:
    """Try schedules of the same layout whose regions begin and end a little elsewhere: ``cost`` places them."""
    scheduler = Scheduler(found.layout, options)
    scheduler.run()
    scheduler.nearby(cost, NEARBY)


def _run(graph: LiveGraph, concats: Concats, options: Options, above: int | None = None) -> Schedule:
    return Scheduler(reduce.lay_out(graph, concats), options, above).run()


def _rank(found: Schedule) -> tuple[int, ...]:
    """The highest moments, highest first: of two schedules with one peak the one that reaches it less often leads."""
    return tuple(sorted((moment for moment, _ in found.moments), reverse=True)[:8])


def _descend(
    graph: LiveGraph, made: list[Schedule], starts: list[Concats], options: Options, deadline: float
) -> tuple[Schedule, Concats]:
    """From the best start, change what is live at the peak as long as that lowers it."""
    best, concats = min(zip(made, starts, strict=True), key=lambda m: _rank(m[0]))
    tried = set(starts)
    improved = True
    while improved and time.monotonic() < deadline:
        improved = False
        for candidate in _candidates(best, graph, concats):
            if candidate in tried or time.monotonic() > deadline:
                continue
            tried.add(candidate)
            now = _run(graph, candidate, options, best.peak)
            if _rank(now) < _rank(best):
                best, chosen, improved = now, candidate, True
        if improved:
            concats = chosen
    return best, concats


def _candidates(found: Schedule, graph: LiveGraph, concats: Concats) -> list[Concats]:
    """Changes to what is live at the peak: a concat given up or taken back, a part kept apart or put in its place."""
    layout = found.layout
    at = max(range(len(found.groups)), key=lambda g: found.moments[g][0])
    stores = live_stores(found)[at]
    first = written(found)
    split = reduce.scatterable(graph)
    out = []
    for s in sorted(stores, key=lambda s: -layout.sizes[s]):
        here = [i for i in concats.slices if layout.homes[graph.ops[i].output].store == s]
        if not here:
            continue
        biggest = max(here, key=lambda i: graph.values[graph.ops[i].output].size)
        if biggest in split:
            out.append(replace(concats, slices=concats.slices - {biggest}, parts=concats.parts | {biggest}))
        parts = {v for i in here for v in graph.ops[i].inputs if layout.homes[v].store == s and v in first}
        early = sorted(parts, key=lambda v: first[v])[:2]
        out += [replace(concats, apart=concats.apart | {v}) for v in early]
        out.append(replace(concats, slices=concats.slices - {biggest}))
    for k in found.groups[at]:
        i = layout.ops[k][0]
        if graph.ops[i].kind == "concat":
            out.append(replace(concats, slices=concats.slices | {i}))
            out += [replace(concats, apart=concats.apart - {v}) for v in graph.ops[i].inputs if v in concats.apart]
    return out


def _prefer_slices(graph: LiveGraph, best: Schedule, concats: Concats, options: Options, deadline: float) -> Concats:
    """Slices instead of parts where that costs nothing: a reader then walks one tensor."""
    waiting = [sorted(concats.parts, reverse=True)]
    for _ in range(TRIALS):
        if not waiting or time.monotonic() > deadline:
            break
        some = frozenset(waiting.pop())
        if not some:
            continue
        other = replace(concats, slices=concats.slices | some, parts=concats.parts - some)
        if _run(graph, other, options, best.peak).peak <= best.peak:
            concats = other
        elif len(some) > 1:
            half = sorted(some, reverse=True)
            waiting += [half[len(half) // 2 :], half[: len(half) // 2]]
    return concats


def written(found: Schedule) -> dict[int, int]:
    """Value -> the group that writes it."""
    return {found.layout.op(k).output: g for g, group in enumerate(found.groups) for k in group}


def live_stores(found: Schedule) -> list[set[int]]:
    """For each group the stores that live while it runs, line buffers apart."""
    layout = found.layout
    first, last = lifetimes(found)
    out: list[set[int]] = [set() for _ in found.groups]
    for s in range(len(layout.sizes)):
        for g in range(max(first[s], 0), min(last[s], len(out) - 1) + 1):
            out[g].add(s)
    return out


def lifetimes(found: Schedule) -> tuple[list[int], list[int]]:
    """First and last group of each store: -1 before the first, their number after the last; inner ones have none."""
    layout = found.layout
    first, last = [1 << 30] * len(layout.sizes), [-2] * len(layout.sizes)
    rows = found.rows
    for g, group in enumerate(found.groups):
        inner = set(found.rings[g])
        for k in group:
            for s in (rows.base[k][0], *(n.store for n in rows.needs[k])):
                if s not in inner:
                    first[s], last[s] = min(first[s], g), max(last[s], g)
    for v in layout.graph.inputs:
        s = layout.homes[v].store
        first[s], last[s] = -1, max(last[s], -1)
    for v in layout.graph.outputs:
        last[layout.homes[v].store] = len(found.groups)
    return first, last
