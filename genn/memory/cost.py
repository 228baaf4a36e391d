"""What a plan costs in cycles: an estimate to weigh plans against each other, from a few rates per core.

Counted are multiply-accumulates (the same in every plan), bytes that operators without any move (concats that copy,
activations that stand alone), activations that a convolution applies anew for each tap, and row steps of streamed
regions.  The rates are round figures of our own kernels in the emulator (``genn bench kernels``), not of any one
network: only differences between plans mean much, and ``genn emulate`` measures what was generated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from genn.memory import plan as planning
from genn.memory.graph import LiveGraph
from genn.memory.plan import MemoryPlan
from genn.memory.schedule import Options, Schedule
from genn.report import Table
from genn.target import Target

# core: cycles per MAC, per byte moved, per activation applied in passing, per row step
RATES = {"cortex-m0plus": (6.0, 3.0, 4.0, 120.0), "cortex-m4": (1.3, 1.5, 1.5, 60.0)}
LIKE = {"cortex-m0": "cortex-m0plus", "cortex-m3": "cortex-m4", "cortex-m33": "cortex-m4", "cortex-m7": "cortex-m4"}
MOVES = {"concat", "cat", "clamp", "slice", "pad", "add", "shuffle"}


@dataclass(frozen=True)
class Cost:
    """Counts of one inference."""

    macs: int
    moved: int
    applied: int
    steps: int

    def cycles(self, core: str) -> float:
        """Estimated cycles on ``core``; rates of the Cortex-M4 where there are none."""
        mac, move, apply, step = RATES[LIKE.get(core, core if core in RATES else "cortex-m4")]
        return self.macs * mac + self.moved * move + self.applied * apply + self.steps * step


def cost(found: Schedule) -> Cost:
    """Count what ``found`` does."""
    layout, graph = found.layout, found.layout.graph
    macs = moved = applied = 0
    for k in range(len(layout.ops)):
        op, inputs = layout.op(k), layout.ops[k][1]
        macs += op.macs
        if op.kind in MOVES:
            read = sum(graph.values[v].size for v in inputs)
            moved += 2 * read if op.kind in ("concat", "cat") else read + graph.values[op.output].size
    for op in graph.ops:
        if op.parts and op.parts[0] != op.name:  # a prologue: applied to each element under each tap
            taps = max(1, op.macs // max(1, graph.values[op.output].size))
            channels = max(1, graph.values[op.inputs[0]].pixel // graph.elem)
            rows = sum(graph.values[v].size // graph.elem for v in op.inputs)
            applied += rows * max(1, taps // channels)
    return Cost(macs, moved, applied, found.streamed_rows)


def curve(graph: LiveGraph, options: Options, points: int = 5) -> Iterator[tuple[str, MemoryPlan]]:
    """Plans from the fastest to the smallest: nothing streamed, what some budgets in between need, everything."""
    fast = planning.make(graph, replace(options, stream=False, limit=None), climb=1.0, prove=0)
    small = planning.make(graph, replace(options, limit=None), climb=1.0, prove=0)
    yield "time", fast
    last = fast.arena
    for n in range(1, points - 1) if options.stream else ():
        budget = int(fast.arena * (small.arena / max(1, fast.arena)) ** (n / (points - 1)))
        made = planning.make(graph, replace(options, limit=budget), climb=1.0, prove=0)
        if small.arena < made.arena < last:
            last = made.arena
            yield f"{budget:,}", made
    yield "ram", small


def table(
    graph: LiveGraph, options: Options, target: Target, chosen: MemoryPlan
) -> tuple[Table, list[dict[str, Any]]]:
    """The trade of bytes against cycles on ``target`` as a table and as data: default order, ``chosen``, the curve."""
    plain = planning.plain(graph)
    rows = [("default", plain.peak, plain), ("chosen", chosen.arena, chosen.schedule)]
    rows += [(goal, made.arena, made.schedule) for goal, made in curve(graph, options)]
    data, body = [], []
    for goal, arena, found in rows:
        counts = cost(found)
        cycles = counts.cycles(target.core)
        seconds = cycles / target.clock_hz
        joules = target.power.joules(seconds, target.clock_hz) if target.power else None
        data.append({"plan": goal, "arena": arena, "macs": counts.macs, "bytes_moved": counts.moved,
                     "row_steps": counts.steps, "cycles_estimate": round(cycles), "seconds_estimate": seconds,
                     "joules_estimate": joules})  # fmt: skip
        body.append([goal, arena, counts.moved, counts.steps, round(cycles), 1e3 * seconds,
                     None if joules is None else 1e3 * joules])  # fmt: skip
    columns = ["plan", "arena", "bytes moved", "row steps", "cycles, about", "ms, about", "mJ, about"]
    note = f"{target.name} at {target.clock_hz / 1e6:g} MHz; estimates to compare plans with, not measurements"
    return Table("bytes against cycles", columns, body, note=note), data
