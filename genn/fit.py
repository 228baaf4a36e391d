"""The fastest way to run a network in so many bytes: ways are tried from the fastest to the smallest.

Tuned kernels for speed need workspaces, layers that run row by row need a call for each row; so the ways are, in this
order: -O time, -O balanced, the kernels of -O time with as few layers streamed as it takes, those of -O balanced so.
The last of them with everything streamed is -O ram, which is the smallest there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genn.codegen import CProject
from genn.errors import CheckFailed
from genn.kernels.base import Goal
from genn.memory.cost import MOVES, Cost
from genn.ops import registry
from genn.report import Table
from genn.target import Target

WAYS = (("time", False), ("balanced", False), ("time", True), ("balanced", True))


@dataclass(frozen=True)
class Tried:
    """One way: the goal that the C was generated for, and the C."""

    name: str
    goal: Goal
    project: CProject

    @property
    def arena(self) -> int:
        return self.project.plan.arena

    @property
    def streamed(self) -> int:
        """Layers that run row by row."""
        return sum(len(s.symbols) for s in self.project.streams)

    def cost(self) -> Cost:
        """Counts of one inference."""
        graph = self.project.graph
        macs = sum(registry[x.node.op].macs(x.node, graph) for x in self.project.layers)
        moved = steps = 0
        for x in self.project.layers:
            if x.node.op in MOVES and x.lowered.calls:
                names = [*(t for t in x.node.inputs if graph[t].const is None), *x.node.outputs]
                moved += sum(graph[t].nbytes for t in names)
        for s in self.project.streams:
            steps += sum(graph[n.outputs[0]].shape[1] for n in s.region.nodes)
        return Cost(macs, moved, 0, steps)


@dataclass(frozen=True)
class Found:
    """What was chosen among what was tried."""

    chosen: Tried
    tried: list[Tried]

    @property
    def project(self) -> CProject:
        return self.chosen.project

    @property
    def optimize(self) -> str:
        """The kernels' goal."""
        return self.chosen.goal.optimize

    def plans(self, target: Target | None) -> list[dict[str, Any]]:
        """The trade of bytes against time, one row a way; with ``target`` cycles, time and energy, estimated."""
        out = []
        for t in self.tried:
            counts = t.cost()
            row = {"plan": t.name, "arena": t.arena, "streamed_layers": t.streamed, "row_steps": counts.steps,
                   "bytes_moved": counts.moved, "chosen": t is self.chosen}  # fmt: skip
            if target is not None:
                cycles = counts.cycles(target.core)
                seconds = cycles / target.clock_hz
                joules = target.power.joules(seconds, target.clock_hz) if target.power else None
                row |= {"cycles_estimate": round(cycles), "seconds_estimate": seconds, "joules_estimate": joules}
            out.append(row)
        return out


def fastest(generate: Callable[[Goal], CProject], goal: Goal, sram: int) -> Found:
    """The first of the WAYS whose arena has at most ``sram`` bytes.

    goal: core and kernels; what it says about speed and memory is not looked at.  The smallest way is tried as well, so
    that the trade can be shown.  CheckFailed if that is too large: by how much.
    """
    tried = []
    for optimize, stream in WAYS:
        way = replace(goal, optimize=optimize, stream=stream, limit=sram)
        tried.append(Tried(f"{optimize}, as few rows as it takes" if stream else optimize, way, generate(way)))
        if tried[-1].arena <= sram:
            chosen = tried[-1]
            smallest = replace(goal, optimize="balanced", stream=True, limit=0)
            tried.append(Tried("ram", smallest, generate(smallest)))
            return Found(chosen, tried)
    least = min(t.arena for t in tried)
    raise CheckFailed(
        f"the network needs an arena of at least {least:,} B, {least - sram:,} B more than the {sram:,} B of --sram",
        fix="use a smaller scheme or a smaller network: -O ram is the smallest plan there is",
    )


def table(plans: list[dict[str, Any]], sram: int) -> Table:
    """The ways that were tried, from the fastest on."""
    columns = ["", "plan", "arena B", "fits", "layers streamed", "row steps"]
    timed = "cycles_estimate" in plans[0]
    rows = []
    for p in plans:
        row = [">" if p["chosen"] else "", p["plan"], p["arena"], "yes" if p["arena"] <= sram else "no",
               p["streamed_layers"], p["row_steps"]]  # fmt: skip
        if timed:
            joules = p["joules_estimate"]
            row += [p["cycles_estimate"], 1e3 * p["seconds_estimate"], None if joules is None else 1e3 * joules]
        rows.append(row)
    columns += ["cycles, about", "ms, about", "mJ, about"] if timed else []
    note = "estimates to compare plans with, not measurements" if timed else ""
    return Table(f"the fastest plan in {sram:,} B of arena", columns, rows, note=note)
