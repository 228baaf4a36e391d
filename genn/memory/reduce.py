"""What need not be materialised: operators fused into their neighbours, and concats whose parts are written in place.

Fusion changes the graph.  A *prologue* is an elementwise operator whose result only convolutions read: they apply it as
they load.  *Pooling* is done while a convolution writes: maxima are kept in the output itself, whatever the windows;
averages are formed where windows do not overlap, and nothing is computed twice.

A concat need not be materialised either, in one of two ways.  *Slices*: its parts are written where they belong in
its result.  Along channels of NHWC a part is then a slice of every pixel, and the whole result is reserved from the
first part on, which can cost memory.  *Parts*: whoever reads the result reads the parts in turn, channel by channel
in the same order; then nothing is reserved ahead, and each reader walks several tensors.  The planner decides concat
by concat.  With slices, a concat of some of the parts in the same order is no more than a view.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from genn.memory.graph import Access, LiveGraph, Operation

READS_PROLOGUE = {"conv", "linear"}
READS_PARTS = {"conv", "linear", "pool", "max_pool", "clamp", "add", "concat", "slice"}


@dataclass(frozen=True)
class Concats:
    """What becomes of each concat, by its number in the graph; those in neither set are copied.

    slices: written in place, but for the parts ``apart`` (values), which are copied.  parts: read in parts.
    """

    slices: frozenset[int] = frozenset()
    parts: frozenset[int] = frozenset()
    apart: frozenset[int] = frozenset()


def fuse(graph: LiveGraph) -> LiveGraph:
    """``graph`` with prologues and poolings fused."""
    return _fuse_pooling(_fuse_prologues(graph)).pruned().verify()


def _fuse_prologues(graph: LiveGraph) -> LiveGraph:
    consumers, ops = graph.consumers(), list(graph.ops)
    for i, op in enumerate(graph.ops):
        users = consumers[op.output]
        fits = op.kind == "clamp" and op.output not in graph.outputs and users
        if not fits or any(ops[u].kind not in READS_PROLOGUE for u in users):
            continue
        source = ops[i].inputs[0]
        for u in users:
            inputs = tuple(source if v == op.output else v for v in ops[u].inputs)
            ops[u] = replace(ops[u], inputs=inputs, parts=(*op.parts, *ops[u].parts))
    return replace(graph, ops=ops)


def _fuse_pooling(graph: LiveGraph) -> LiveGraph:
    graph = graph.pruned()
    consumers, ops, gone = graph.consumers(), list(graph.ops), set()
    for i, op in enumerate(graph.ops):
        users = consumers[op.output]
        if op.kind != "conv" or len(users) != 1 or op.output in graph.outputs or len(op.inputs) != 1:
            continue
        pool = graph.ops[users[0]]
        if pool.kind not in ("max_pool", "pool") or pool.reads[0].whole or op.reads[0].whole or op.reads[0].den != 1:
            continue
        rows, under = graph.values[pool.output].rows, pool.reads[0]
        if op.steps != graph.values[op.output].rows or pool.steps != rows:
            continue
        made = replace(op, output=pool.output, parts=(*op.parts, *pool.parts), source=op.source)
        if pool.kind == "max_pool":  # step u is a row of the convolution: r * num + low <= u < r * num + high
            writes = Access(1, under.num, under.num - under.high, under.num - under.low)
            made = replace(made, writes=writes)
        elif under.high - under.low <= under.num:  # step r is a row of the pooling: the convolution's rows under it
            conv = op.reads[0]
            first, last = under.low * conv.num + conv.low, (under.high - 1) * conv.num + conv.high
            made = replace(made, reads=(Access(under.num * conv.num, 1, first, last),), steps=rows)
        else:
            continue
        ops[i] = made
        gone.add(users[0])
    return replace(graph, ops=[op for i, op in enumerate(ops) if i not in gone])


@dataclass
class Home:
    """Where a value lies in a store: ``shift`` bytes from its start, or with ``slice`` from the start of each pixel."""

    store: int
    shift: int = 0
    slice: bool = False


@dataclass
class Layout:
    """Values in stores, and what is left to run.

    sizes, rows: of each store.  ops: (number in the graph, inputs it really reads); a concat that only copies some
    parts reads only those.  before: masks over positions in ``ops``.
    """

    graph: LiveGraph
    homes: list[Home]
    sizes: list[int]
    rows: list[int]
    names: list[str]
    ops: list[tuple[int, tuple[int, ...]]]
    before: list[int]
    eliminated: list[int] = field(default_factory=list)  # concats of which nothing is left to do
    joined: set[int] = field(default_factory=set)  # results that consist of slices

    def row(self, store: int) -> int:
        return self.sizes[store] // self.rows[store]

    def op(self, k: int) -> Operation:
        return self.graph.ops[self.ops[k][0]]


def scatterable(graph: LiveGraph) -> frozenset[int]:
    """The concats whose readers can all take them in parts."""
    consumers = graph.consumers()
    return frozenset(
        i
        for i, op in enumerate(graph.ops)
        if op.kind == "concat"
        and op.output not in graph.outputs
        and all(graph.ops[u].kind in READS_PARTS for u in consumers[op.output])
    )


def _scatter(graph: LiveGraph, parts: Collection[int]) -> LiveGraph:
    """``graph`` with the readers of the concats ``parts`` reading parts; those concats stay, with an empty result."""
    values, ops = list(graph.values), list(graph.ops)
    split: dict[int, tuple[int, ...]] = {}
    for i, op in enumerate(graph.ops):
        inputs: list[int] = []
        reads: list[Access] = []
        for v, access in zip(op.inputs, op.reads, strict=True):
            pieces = split.get(v, (v,))
            inputs += pieces
            reads += [access if len(pieces) == 1 else replace(access, pointwise=False)] * len(pieces)
        ops[i] = replace(op, inputs=tuple(inputs), reads=tuple(reads))
        if i in parts:
            split[op.output] = tuple(inputs)
            values[op.output] = replace(values[op.output], size=0, rows=1)
    return replace(graph, values=values, ops=ops)


def lay_out(graph: LiveGraph, concats: Concats) -> Layout:
    """Stores for ``graph``'s values after the decisions in ``concats``."""
    if concats.parts:
        graph = _scatter(graph, concats.parts)
    homes: list[Home | None] = [None] * len(graph.values)
    sizes: list[int] = []
    rows: list[int] = []
    names: list[str] = []
    fixed = {*graph.inputs, *graph.outputs}
    producer = graph.producer()

    def store(v: int) -> Home:
        value = graph.values[v]
        sizes.append(value.size)
        rows.append(value.rows)
        names.append(value.name)
        return Home(len(sizes) - 1)

    copied: dict[int, tuple[int, ...]] = {}
    for i in sorted(concats.slices - concats.parts, reverse=True):
        op = graph.ops[i]
        if homes[op.output] is None:
            homes[op.output] = _within(graph, op, homes) or store(op.output)
        home = homes[op.output]
        assert home is not None
        shift, left = home.shift, []
        for v in op.inputs:
            mine = Home(home.store, shift, op.interleaved or home.slice)
            free = homes[v] is None and v not in fixed and v not in concats.apart and op.inputs.count(v) == 1
            if free and graph.values[v].size and (op.interleaved or not home.slice) and v in producer:
                homes[v] = mine
            elif homes[v] != mine:
                left.append(v)
            value = graph.values[v]
            shift += _pixel(graph, op, v) if op.interleaved else value.size
        copied[i] = tuple(dict.fromkeys(left))
    for v in range(len(graph.values)):
        if homes[v] is None:
            homes[v] = store(v)
    placed = [h for h in homes if h is not None]
    ops: list[tuple[int, tuple[int, ...]]] = []
    ready: dict[int, int] = {}  # value -> the operators to wait for
    before: list[int] = []
    for i, op in enumerate(graph.ops):
        inputs = copied.get(i, op.inputs)
        mask = 0
        for v in op.inputs:
            mask |= ready.get(v, 0)
        ready[op.output] = mask
        if i in concats.parts or (i in copied and not inputs):
            continue
        ready[op.output] = 1 << len(ops)
        if i in copied:
            ready[op.output] |= mask
        ops.append((i, inputs))
        before.append(mask)
    gone = [i for i in copied if not copied[i]]
    joined = {graph.ops[i].output for i in copied if len(copied[i]) < len(set(graph.ops[i].inputs))}
    return Layout(graph, placed, sizes, rows, names, ops, before, sorted(gone), joined)


def _within(graph: LiveGraph, op: Operation, homes: list[Home | None]) -> Home | None:
    """The stretch of a store that ``op``'s parts already fill in order, if they do."""
    first = homes[op.inputs[0]]
    if first is None or first.slice != op.interleaved:
        return None
    shift = first.shift
    for v in op.inputs:
        if homes[v] != Home(first.store, shift, op.interleaved):
            return None
        shift += _pixel(graph, op, v) if op.interleaved else graph.values[v].size
    return Home(first.store, first.shift, op.interleaved)


def _pixel(graph: LiveGraph, op: Operation, v: int) -> int:
    """Bytes of one pixel of part ``v`` of an interleaved concat: its share of the channels."""
    part, whole = graph.values[v], graph.values[op.output]
    return part.size * (whole.shape[1] * graph.elem) // whole.size if whole.size else 0
