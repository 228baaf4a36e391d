"""The fastest way to run a network in so many bytes, by an estimate of cycles.

-O time where it fits: nothing is faster.  Otherwise -O balanced, and the kernels of both with as few layers streamed as
it takes, are weighed.  The last of them with everything streamed is -O ram, which is the smallest there is.  A row more
is a call more, which is little; what costs is that a workspace has no room, so that a layer falls back on its portable
kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genn.codegen import CProject
from genn.errors import CheckFailed
from genn.kernels.base import Goal
from genn.memory.cost import LIKE, MOVES, RATES
from genn.ops import registry
from genn.report import Table
from genn.target import Target

WAYS = (("time", False), ("balanced", False), ("time", True), ("balanced", True))
# core: scheme: cycles a MAC of tuned kernels and of portable ones.  Round figures of the emulator at zero wait states,
# between those of LeNet-5 and of depthwise separable layers on 24 x 24 pixels.
MAC = {
    "cortex-m0plus": {"int8": (5.8, 12.0), "int16": (6.8, 13.0), "float32": (111.0, 111.0)},
    "cortex-m4": {"int8": (1.5, 8.0), "int16": (1.8, 7.5), "float32": (4.2, 4.6)},
}


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

    @property
    def rows(self) -> int:
        """Rows made one by one in an inference."""
        return sum(self.project.graph[n.outputs[0]].shape[1] for s in self.project.streams for n in s.region.nodes)

    @property
    def portable(self) -> int:
        """MACs of layers without a tuned kernel."""
        graph = self.project.graph
        return sum(registry[x.node.op].macs(x.node, graph) for x in self.project.layers if x.kernel == "portable")

    def cycles(self, core: str, fpu: bool) -> float:
        """An estimate for one inference."""
        graph = self.project.graph
        core = LIKE.get(core, core)
        soft = graph.scheme == "float32" and not fpu
        tuned, portable = MAC["cortex-m0plus" if soft or core not in MAC else core][graph.scheme]
        _, move, _, row = RATES[core if core in RATES else "cortex-m4"]
        spent = self.rows * row
        for x in self.project.layers:
            macs = registry[x.node.op].macs(x.node, graph)
            spent += macs * (portable if x.kernel == "portable" else tuned)
            if x.node.op in MOVES and x.lowered.calls:
                names = [*(t for t in x.node.inputs if graph[t].const is None), *x.node.outputs]
                spent += move * sum(graph[t].nbytes for t in names)
        return spent


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
            row = {"plan": t.name, "arena": t.arena, "streamed_layers": t.streamed, "row_steps": t.rows,
                   "portable_macs": t.portable, "chosen": t is self.chosen}  # fmt: skip
            if target is not None:
                cycles = t.cycles(target.core, target.fpu)
                seconds = cycles / target.clock_hz
                joules = target.power.joules(seconds, target.clock_hz) if target.power else None
                row |= {"cycles_estimate": round(cycles), "seconds_estimate": seconds, "joules_estimate": joules}
            out.append(row)
        return out


def fastest(generate: Callable[[Goal], CProject], goal: Goal, sram: int, target: Target | None = None) -> Found:
    """The fastest of the WAYS whose arena has at most ``sram`` bytes; without ``target`` as on a Cortex-M4F.

    goal: core and kernels; what it says about speed and memory is not looked at.  The smallest way is tried as well, so
    that the trade can be shown.  CheckFailed if that is too large: by how much.
    """
    tried = []
    for optimize, stream in WAYS:
        way = replace(goal, optimize=optimize, stream=stream, limit=sram)
        tried.append(Tried(f"{optimize}, streamed" if stream else optimize, way, generate(way)))
        if len(tried) == 1 and tried[0].arena <= sram:
            break
    smallest = replace(goal, optimize="balanced", stream=True, limit=0)
    tried.append(Tried("ram", smallest, generate(smallest)))
    fits = [t for t in tried if t.arena <= sram]
    if not fits:
        least = min(t.arena for t in tried)
        raise CheckFailed(
            f"the network needs an arena of at least {least:,} B, {least - sram:,} B more than --sram gives it",
            fix="use a smaller scheme or a smaller network: -O ram is the smallest plan there is",
        )
    core, fpu = (target.core, target.fpu) if target is not None else ("cortex-m4", True)
    return Found(min(fits, key=lambda t: t.cycles(core, fpu)), tried)


def table(plans: list[dict[str, Any]], sram: int) -> Table:
    """The ways that were tried, from the fastest on."""
    columns = ["", "plan", "arena B", "fits", "layers streamed", "row steps", "MACs, portable"]
    timed = "cycles_estimate" in plans[0]
    rows = []
    for p in plans:
        row = [">" if p["chosen"] else "", p["plan"], p["arena"], "yes" if p["arena"] <= sram else "no",
               p["streamed_layers"], p["row_steps"], p["portable_macs"]]  # fmt: skip
        if timed:
            joules = p["joules_estimate"]
            row += [p["cycles_estimate"], 1e3 * p["seconds_estimate"], None if joules is None else 1e3 * joules]
        rows.append(row)
    columns += ["cycles, about", "ms, about", "mJ, about"] if timed else []
    note = "estimates to compare plans with, not measurements" if timed else ""
    return Table(f"the fastest plan in {sram:,} B of arena", columns, rows, note=note)
