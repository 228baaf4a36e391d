"""Where every activation lies in the arena: lifetimes, in-place reuse and offsets.

The arena holds inputs, outputs, intermediates and workspaces.  Nodes run in the graph's order; a tensor lives from the
node that makes it to its last reader, inputs from the start, outputs to the end.  Views share their input's buffer, and
an operator that allows it writes over an input that dies there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from genn.ir import NP_DTYPE, Graph
from genn.ops import registry

ALIGN = 8


@dataclass
class Buffer:
    """A stretch of arena shared by ``tensors``; alive from step ``first`` to step ``last`` inclusive."""

    tensors: list[str]
    size: int
    align: int
    first: int
    last: int


@dataclass
class Plan:
    """offsets: bytes from the start of the arena, per tensor (workspaces are named ``NODE#ws``).

    lower_bound: largest sum of buffers alive at one step; no placement can be smaller.
    """

    offsets: dict[str, int]
    arena: int
    lower_bound: int
    proof: str
    buffers: list[Buffer] = field(default_factory=list)

    def live(self, step: int) -> int:
        """Bytes alive while node ``step`` runs."""
        return sum(b.size for b in self.buffers if b.first <= step <= b.last)


def plan(graph: Graph, workspaces: dict[str, int] | None = None) -> Plan:
    """Assign offsets.  workspaces: node name -> bytes of scratch it needs while it runs."""
    buffers = _buffers(graph, workspaces or {})
    steps = range(-1, len(graph.nodes) + 1)
    bound = max((sum(b.size for b in buffers if b.first <= s <= b.last) for s in steps), default=0)
    best: tuple[int, list[int]] | None = None
    orders = (
        lambda b: (-b.size, b.first),
        lambda b: (-(b.last - b.first), -b.size),
        lambda b: (b.first, -b.size),
        lambda b: (-b.size * (b.last - b.first + 1), b.first),
        lambda b: (-b.last, -b.size),
    )
    for key in orders:
        places = _place(buffers, sorted(range(len(buffers)), key=lambda i: key(buffers[i])))
        arena = max((p + b.size for p, b in zip(places, buffers, strict=True)), default=0)
        if best is None or arena < best[0]:
            best = (arena, places)
        if arena == bound:
            break
    assert best is not None
    offsets = {t: at for at, b in zip(best[1], buffers, strict=True) for t in b.tensors}
    arena = max(best[0], 1)
    proof = "optimal" if best[0] == bound else f"within {best[0] - bound} B of the lower bound"
    return Plan(offsets, arena, bound, proof, buffers)


def _buffers(graph: Graph, workspaces: dict[str, int]) -> list[Buffer]:
    end = len(graph.nodes)
    last = {t: i for i, node in enumerate(graph.nodes) for t in node.inputs}
    last.update(dict.fromkeys(graph.outputs, end))
    home: dict[str, Buffer] = {}
    buffers: list[Buffer] = []

    def new(tensor: str, size: int, align: int, first: int, until: int) -> None:
        buffer = Buffer([tensor], size, align, first, until)
        buffers.append(buffer)
        home[tensor] = buffer

    for name in graph.inputs:
        new(name, graph[name].nbytes, ALIGN, -1, max(last.get(name, -1), -1))
    for i, node in enumerate(graph.nodes):
        op = registry[node.op]
        for name in node.outputs:
            t, until = graph[name], last.get(name, i)
            share = _shared(graph, node, op, home, i, t.nbytes)
            if share is None:
                new(name, t.nbytes, NP_DTYPE[t.dtype].itemsize, i, until)
            else:
                share.tensors.append(name)
                share.last = max(share.last, until)
                home[name] = share
        if size := workspaces.get(node.name, 0):
            new(f"{node.name}#ws", size, 4, i, i)
    for name in graph.outputs:
        home[name].align = ALIGN
    return buffers


def _shared(graph: Graph, node, op, home: dict[str, Buffer], step: int, size: int) -> Buffer | None:
    """The buffer an output takes over: a view's input, or an input that dies here where the operator allows it."""
    if op.view:
        return home[node.inputs[0]]
    for i in op.inplace_inputs(node, graph):
        buffer = home.get(node.inputs[i])
        if buffer is not None and buffer.last == step and buffer.size == size and len(node.outputs) == 1:
            return buffer
    return None


def _place(buffers: list[Buffer], order: list[int]) -> list[int]:
    """First fit in the given order: each buffer at the lowest aligned offset free of those alive with it."""
    places = [-1] * len(buffers)
    placed: list[int] = []
    for i in order:
        b = buffers[i]
        taken = sorted(
            (places[j], places[j] + buffers[j].size)
            for j in placed
            if buffers[j].first <= b.last and b.first <= buffers[j].last
        )
        at = 0
        for start, stop in taken:
            if at + b.size <= start:
                break
            at = max(at, -(-stop // b.align) * b.align)
        places[i] = at
        placed.append(i)
    return places
