"""What a tuned kernel is, and how one is chosen for a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from genn.errors import UsageError
from genn.ir import Graph, Node

if TYPE_CHECKING:
    from genn.ops.base import Lowered
    from genn.target import Target

OPTIMIZE = ("time", "balanced", "flash")
GOALS = (*OPTIMIZE, "ram")  # of -O: ram is balanced, and streams rows where that saves memory
GOAL = "goal"  # its key in Graph.meta

# What the instruction set offers a kernel.
ISA = {
    "cortex-m0": "armv6m",
    "cortex-m0plus": "armv6m",
    "cortex-m3": "armv7m",
    "cortex-m4": "armv7em",
    "cortex-m33": "armv7em",
    "cortex-m7": "armv7em",
}


@dataclass(frozen=True)
class Goal:
    """What the C of a network is to be good at.

    isa: ``armv6m``, ``armv7m``, ``armv7em`` (with the DSP instructions), or ``generic`` where no target was named.
    optimize: ``time``, ``flash``, or ``balanced`` between them.
    only: for tests and benchmarks, the one tuned kernel allowed: its name, or ``portable`` for none.
    stream: run layers row by row where that lowers the peak of the arena.
    limit: bytes of arena; no more layers are streamed than bring it down to these.
    flash: bytes of the target's flash; 0 where none was named.
    """

    isa: str = "generic"
    fpu: bool = False
    optimize: str = "balanced"
    only: str | None = None
    stream: bool = False
    limit: int = 0
    flash: int = 0

    @staticmethod
    def of(target: Target | None, optimize: str = "balanced", only: str | None = None) -> Goal:
        """The goal that a target and ``-O`` mean."""
        if optimize not in GOALS:
            raise UsageError(f"there is no goal {optimize!r}", "-O", f"use one of {', '.join(GOALS)}")
        stream, optimize = optimize == "ram", "balanced" if optimize == "ram" else optimize
        if target is None:
            return Goal("generic", False, optimize, only, stream)
        flash = sum(region.size for region in target.regions if region.kind == "flash")
        return Goal(ISA[target.core], target.fpu, optimize, only, stream, flash=flash)


def goal_of(graph: Graph) -> Goal:
    """The goal a graph is converted for."""
    goal = graph.meta.get(GOAL)
    return goal if isinstance(goal, Goal) else Goal()


class Kernel:
    """One tuned way to run an operator's node.  Subclasses are instantiated once by ``@register``.

    name: also what reports show; op: the registry's operator; schemes and isas: where it may be chosen.
    """

    name: ClassVar[str]
    op: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]
    isas: ClassVar[tuple[str, ...]]
    alone: ClassVar[bool] = False  # the layers it accepts mean what it computes: no other kernel may take them

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        """True where the packing is exact for these very weights and the kernel serves the goal."""
        raise NotImplementedError(self.name)

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        """The node's kernel calls and packed constants."""
        raise NotImplementedError(self.name)


kernels: dict[str, Kernel] = {}


def register(cls: type[Kernel]) -> type[Kernel]:
    """Class decorator: put the kernel into the registry.  The order of registration is the order of preference."""
    kernel = cls()
    if kernel.name in kernels:
        raise ValueError(f"kernel {kernel.name} is defined twice")
    kernels[kernel.name] = kernel
    return cls


def choose(node: Node, graph: Graph) -> Kernel | None:
    """The first tuned kernel that takes the node for the graph's goal; None for the portable one."""
    goal = goal_of(graph)
    for kernel in kernels.values():
        if kernel.op != node.op or graph.scheme not in kernel.schemes:
            continue
        if kernel.alone:
            pass
        elif goal.only is not None:
            if kernel.name != goal.only:
                continue
        elif goal.isa not in kernel.isas:
            continue
        if kernel.accepts(node, graph, goal):
            return kernel
    return None
