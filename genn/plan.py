"""The plan of the generated C: in which order nodes run, and where every activation lies in the arena.

The arena holds inputs, outputs, intermediates and workspaces.  A tensor lives from the node that makes it to its last
reader, inputs from the start, outputs to the end.  Views share their input's buffer, an operator that allows it writes
over an input that dies there, and the parts of a concat that lie in one piece in its result are written there at once.
Orders and offsets come from ``genn.memory``, under limits that count steps, not time: the same graph gives the same C.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from genn.ir import NP_DTYPE, Graph, Node
from genn.memory import offsets as arena_offsets
from genn.memory import order
from genn.ops import registry
from genn.streaming import Gaps

ALIGN = 8
STATES = 30_000  # of the search for an order
MOST_CONCATS = 24  # that are decided one by one
ROUNDS = 300  # of the climb for offsets


@dataclass
class Buffer:
    """A stretch of arena shared by ``tensors``; alive from step ``first`` to step ``last`` inclusive.

    shifts: bytes from its start to those tensors that do not begin there.
    """

    tensors: list[str]
    size: int
    align: int
    first: int
    last: int
    shifts: dict[str, int] = field(default_factory=dict)


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


def plan(
    graph: Graph, workspaces: dict[str, int] | None = None, behind: Gaps | None = None
) -> Plan:
    """Assign offsets.  workspaces: node name -> bytes of scratch it needs while it runs.

    behind: for nodes that make rows in order, by input: how far it must start behind their output and behind their
    scratch where it dies there.
    Concats are eliminated unless that costs memory: the whole result is reserved from the first part on.
    """
    joined = frozenset(n.name for n in graph.nodes if registry[n.op].slices(n, graph))
    best = _place(graph, workspaces or {}, joined, behind or {})
    for name in sorted(joined, key=[n.name for n in graph.nodes].index)[:MOST_CONCATS]:
        other = _place(graph, workspaces or {}, joined - {name}, behind or {})
        if other.arena < best.arena:
            best, joined = other, joined - {name}
    return best


def _place(
    graph: Graph, workspaces: dict[str, int], joined: frozenset[str], behind: Gaps
) -> Plan:
    """Offsets with the parts of the concats ``joined`` in their places."""
    buffers = _buffers(graph, workspaces, joined)
    items = [arena_offsets.Item(b.tensors[0], b.size, b.first, b.last, b.align) for b in buffers]
    found = arena_offsets.assign(items, _overlaps(graph, buffers, behind), rounds=ROUNDS)
    offsets = {t: at + b.shifts.get(t, 0) for at, b in zip(found.places, buffers, strict=True) for t in b.tensors}
    proof = "optimal" if found.optimal else f"within {found.arena - found.bound} B of the lower bound"
    return Plan(offsets, max(found.arena, 1), found.bound, proof, buffers)


def _overlaps(graph: Graph, buffers: list[Buffer], behind: Gaps) -> arena_offsets.Overlaps:
    """Which buffers may lie on an input that dies row by row, and how."""
    at = {t: k for k, b in enumerate(buffers) for t in b.tensors}
    found = {}
    for step, node in enumerate(graph.nodes):
        for name, gap in behind.get(node.name, {}).items():
            source, out = at[name], at[node.outputs[0]]
            if buffers[source].last != step or buffers[source].size != graph[name].nbytes:
                continue
            if buffers[out].first == step and buffers[out].size == graph[node.outputs[0]].nbytes:
                found[source, out] = arena_offsets.Overlap(gap.output)
            scratch = at.get(f"{node.name}#ws")
            if scratch is not None:
                found[source, scratch] = arena_offsets.Overlap(gap.memory)
    return found


def in_order(graph: Graph) -> Graph:
    """``graph`` with its nodes in the order that needs the least memory; as it is where that is no better."""
    problem = _problem(graph)
    memory = order.Memory(problem)
    found = order.search(problem, seconds=1e9, states=STATES)
    if found.peak >= memory.peak(list(range(problem.size))):
        return graph
    return replace(graph, nodes=[graph.nodes[i] for i in found.order])


def neighbours(graph: Graph) -> Graph:
    """``graph`` with each node as late as its first reader and the peak allow: only neighbours stream together."""
    problem = _problem(graph)
    memory = order.Memory(problem)
    turn = list(range(problem.size))
    peak = memory.peak(turn)
    maker = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
    readers: list[set[int]] = [set() for _ in turn]
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name in maker:
                readers[maker[name]].add(i)
    for i in reversed(range(problem.size)):
        at = turn.index(i)
        to = next((k for k, j in enumerate(turn) if j in readers[i]), at)
        if to > at + 1:
            later = [*turn[:at], *turn[at + 1 : to], i, *turn[to:]]
            turn = later if memory.peak(later) <= peak else turn
    return replace(graph, nodes=[graph.nodes[i] for i in turn])


def _problem(graph: Graph) -> order.Problem:
    """What is live as nodes run; views belong to what they view, and an output may lie on an input that dies."""
    home: dict[str, int] = {}
    stores: list[order.Store] = []
    maker: dict[str, int] = {}
    problem = order.Problem(stores, [], [], [], [], [])

    def new(name: str, present: bool = False) -> None:
        home[name] = len(stores)
        stores.append(order.Store(graph[name].nbytes, present=present))

    for name in graph.inputs:
        new(name, True)
    for i, node in enumerate(graph.nodes):
        op = registry[node.op]
        ins = [t for t in dict.fromkeys(node.inputs) if graph[t].const is None]
        for name in node.outputs:
            if op.view:
                home[name] = home[node.inputs[0]]
            else:
                new(name)
                stores[home[name]].writers |= 1 << i
            maker[name] = i
        outs = () if op.view else tuple(home[name] for name in node.outputs)
        reads = tuple(dict.fromkeys(home[t] for t in ins))
        for s in reads:
            stores[s].readers |= 1 << i
        problem.writes.append(outs)
        problem.reads.append(reads)
        problem.before.append(sum({1 << maker[t] for t in ins if t in maker}))
        problem.workspace.append(0)
        over = [] if op.view or len(outs) != 1 else [home[node.inputs[k]] for k in op.inplace_inputs(node, graph)]
        problem.credits.append(tuple((s, stores[s].size) for s in over if stores[s].size == stores[outs[0]].size))
    for name in graph.outputs:
        stores[home[name]].pinned = True
    return problem


def _buffers(graph: Graph, workspaces: dict[str, int], joined: frozenset[str] = frozenset()) -> list[Buffer]:
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
        if node.name in joined:
            _join(graph, node, home, buffers)
        if size := workspaces.get(node.name, 0):
            new(f"{node.name}#ws", size, 4, i, i)
    for name in graph.outputs:
        home[name].align = ALIGN
    return buffers


def _join(graph: Graph, node: Node, home: dict[str, Buffer], buffers: list[Buffer]) -> None:
    """Put the parts of a concat into its result."""
    whole = home[node.outputs[0]]
    for i, shift in registry[node.op].slices(node, graph).items():
        part = node.inputs[i]
        b = home[part]
        free = b.first >= 0 and b is not whole and not b.shifts and b.size == graph[part].nbytes
        if not free or node.inputs.count(part) != 1 or any(t in graph.outputs for t in b.tensors):
            continue
        whole.tensors += b.tensors
        whole.shifts |= dict.fromkeys(b.tensors, shift)
        whole.first, whole.last = min(whole.first, b.first), max(whole.last, b.last)
        for t in b.tensors:
            home[t] = whole
        buffers.remove(b)


def _shared(graph: Graph, node, op, home: dict[str, Buffer], step: int, size: int) -> Buffer | None:
    """The buffer an output takes over: a view's input, or an input that dies here where the operator allows it."""
    if op.view:
        return home[node.inputs[0]]
    for i in op.inplace_inputs(node, graph):
        buffer = home.get(node.inputs[i])
        alone = buffer is not None and not buffer.shifts
        if buffer is not None and alone and buffer.last == step and buffer.size == size and len(node.outputs) == 1:
            return buffer
    return None
