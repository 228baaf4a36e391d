"""Row streaming: which layers run row by row through line buffers, so that their whole outputs are never stored.

A region is a run of layers with one result: whatever else they make is read inside only, so branches fork and join in
it as they like.  What lies between two layers is a line buffer with the rows that are needed at once; rows that nobody
needs any more leave at its front and the others move up, so that a window's rows always lie one behind another and any
kernel can read them.  A row that is read at once after it was made is *passing*: all such share one place.
``genn.stream_trace`` is the schedule.

``Choice`` finds the partition of the running order into regions and whole layers that has the lowest peak, and of those
the one that streams the fewest layers.  Memory is counted as the planner counts it: all that is live while a region
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from genn.ir import NP_DTYPE, Graph, Node, Tensor
from genn.ops import registry
from genn.ops.rows import Window
from genn.stream_trace import Trace, producers, readers, trace

ALIGN = 8  # of a line buffer
Span = tuple[int, int]  # first and last node
LONGEST = 40  # layers of a region
SLACK = (100, 104, 110, 120)  # peaks to try, in percent of the lowest: overlaps that drift can cost an arena more


@dataclass(frozen=True)
class Behind:
    """How far a region's input must start behind other memory while it dies row by row; bytes, negative: in front.

    output: behind the region's output.  memory: behind the region's own memory.
    """

    output: int
    memory: int


Gaps = Mapping[str, Mapping[str, Behind]]  # by node and input


@dataclass(frozen=True)
class Region:
    """Nodes that run row by row, in order, with their windows.

    rows: in the line buffer behind each node but the last.  lines: bytes of those.  offsets: of those, from the start
    of the region's own memory.  bytes: of that memory, the kernels' workspace (the largest) at its start, because it
    is written from the first row on.  behind: for each input that is read by rows alone, how far it must lie behind if
    it dies here.
    """

    nodes: tuple[Node, ...]
    windows: tuple[Window, ...]
    rows: tuple[int, ...]
    lines: tuple[int, ...]
    offsets: tuple[int, ...]
    bytes: int
    workspace: int
    behind: Mapping[str, Behind]

    @property
    def name(self) -> str:
        """The planner's name for it: its last node's."""
        return self.nodes[-1].name

    @property
    def sources(self) -> list[list[int]]:
        """For each node the nodes whose rows it reads."""
        return producers(self.nodes, self.windows)

    def inputs(self, graph: Graph) -> list[str]:
        """The activations that the region reads from outside."""
        made = {n.outputs[0] for n in self.nodes}
        found = dict.fromkeys(i for n in self.nodes for i in n.inputs if graph[i].const is None)
        return [i for i in found if i not in made]


def _stacked(workspace: int, lines: Sequence[int], turns: Sequence[int | None], reader: Sequence[int]) -> list[int]:
    """Aligned offsets of line buffers behind a workspace and the place of passing rows, and their end.

    turns: at which end of that place a line lies, None: in memory of its own.  reader: who reads each line first; a
    passing row and the one made of it lie there together.
    """
    start, sizes = _aligned(workspace), [_aligned(size) for size in lines]
    out, passing = [start] * len(lines), [k for k, turn in enumerate(turns) if turn is not None]
    room = 0
    for k in passing:
        r = reader[k]
        apart = r < len(lines) and turns[r] not in (None, turns[k])
        room = max(room, sizes[k] + (sizes[r] if apart else 0))
    at = start + room
    for k, turn in enumerate(turns):
        if turn is None:
            out[k] = at
            at += sizes[k]
        elif turn == 1:
            out[k] = start + room - sizes[k]
    return [*out, at]


def _turns(
    nodes: Sequence[Node], windows: Sequence[Window], graph: Graph, users: Sequence[Sequence[int]]
) -> list[int | None]:
    """At which end of the place of passing rows each line but the last lies; None: in memory of its own.

    A row is passing if its only reader takes row by row what was made last: nothing runs in between.  A reader that may
    work in place passes it on where it is.
    """
    turns: list[int | None] = [None] * len(nodes)
    sources = producers(nodes, windows)
    for k in reversed(range(len(nodes) - 1)):
        r, name = users[k][0], nodes[k].outputs[0]
        w, reader = windows[r], nodes[r]
        if len(users[k]) == 1 and w.stride == w.reach == 1 and w.pad == 0 and sources[r][-1] == k:
            over = [reader.inputs[i] for i in registry[reader.op].inplace_inputs(reader, graph)]
            stays = name in over and reader.inputs.count(name) == 1 and turns[r] is not None
            turns[k] = turns[r] if stays else 1 if turns[r] == 0 else 0
    return turns[:-1]


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def window(node: Node, graph: Graph) -> Window | None:
    """How a node reads rows, or None if it does not run row by row."""
    if len(node.outputs) != 1 or not _image(graph[node.outputs[0]]):
        return None
    made = registry[node.op].window(node, graph)
    if made is None or not made.usable or not all(_image(graph[node.inputs[i]]) for i in made.inputs):
        return None
    return made


def _image(t: Tensor) -> bool:
    return len(t.shape) == 4 and t.shape[0] == 1 and t.const is None


def row_layer(node: Node, graph: Graph, w: Window) -> tuple[Node, Graph]:
    """The same layer cut down to one output row, whose kernel call is the streamed layer's.

    Its padding is the layer's own, so that its kernel expects some; the rows and the padding above of each call are
    given when it runs.  Weights, multipliers and proofs are shared.
    """
    cut = registry[node.op].one_row(node, graph, w)
    rows = dict.fromkeys((node.inputs[i] for i in w.inputs), w.alone) | {node.outputs[0]: 1}
    made = {n: replace(graph[n], shape=(1, r, *graph[n].shape[2:])) for n, r in rows.items()}
    return cut, replace(graph, nodes=[cut], tensors=graph.tensors | made)


def row_bytes(t: Tensor) -> int:
    """Bytes of one row (W, C) of an image."""
    return t.shape[2] * t.shape[3] * NP_DTYPE[t.dtype].itemsize


def region(nodes: Sequence[Node], graph: Graph, windows: Mapping[str, Window], workspaces: Mapping[str, int]) -> Region:
    """The region of some nodes; windows, workspaces (bytes): by node."""
    own = [windows[n.name] for n in nodes]
    return _region(trace(nodes, own), 0, nodes, own, graph, workspaces)


def _region(
    traced: Trace, start: int, nodes: Sequence[Node], windows: Sequence[Window], graph: Graph,
    workspaces: Mapping[str, int],
) -> Region:  # fmt: skip
    """The region of the nodes from ``start`` on, out of the trace of all."""
    own, last = nodes[start:], len(nodes) - 1
    rows = [row_bytes(graph[n.outputs[0]]) for n in nodes]
    lines = tuple(traced.kept[k] * rows[k] for k in range(start, last))
    workspace = max(workspaces.get(n.name, 0) for n in own)
    users = readers(producers(own, windows[start:]))
    turns = _turns(own, windows[start:], graph, users)
    *offsets, size = _stacked(workspace, lines, turns, [u[0] for u in users[:-1]])
    made = {n.outputs[0] for n in own}
    by_rows = {n.inputs[i] for n, w in zip(own, windows[start:], strict=True) for i in w.inputs} - made
    whole = {x for n, w in zip(own, windows[start:], strict=True) for i, x in enumerate(n.inputs) if i not in w.inputs}
    gaps = {}
    for t in sorted(by_rows - whole):
        row, nowhere = row_bytes(graph[t]), -graph[t].nbytes
        written = ((offsets[k - start] + n * rows[k], low) for k in range(start, last) for n, low in traced.filling[k])
        memory = max((end - low[t] * row for end, low in written), default=nowhere)
        output = max(n * rows[last] - low[t] * row for n, low in traced.output)
        gaps[t] = Behind(output, max(memory, workspace or nowhere))
    kept = tuple(traced.kept[start:last])
    return Region(tuple(own), tuple(windows[start:]), kept, lines, tuple(offsets), size, workspace, gaps)


def packed(r: Region, graph: Graph, source: str) -> int:
    """Bytes of a region's memory, output and an input, one behind another, as close as the input may lie if it dies."""
    size_in, size_out = graph[source].nbytes, graph[r.nodes[-1].outputs[0]].nbytes
    gap = r.behind[source]
    start = max(0, gap.memory, r.bytes + gap.output)
    return max(r.bytes + size_out, start + size_in)


class Choice:
    """Regions of a graph, by the peak that they lead to.

    windows: of the nodes that may run row by row.  workspaces: bytes a node's kernel needs when it runs whole;
    row_workspaces: when it makes one row.
    """

    def __init__(
        self, graph: Graph, windows: Mapping[str, Window], workspaces: Mapping[str, int],
        row_workspaces: Mapping[str, int],
    ) -> None:  # fmt: skip
        self.graph, self.windows, self.row_workspaces = graph, windows, row_workspaces
        self.nodes = graph.nodes
        self._live()
        self.whole = [self._whole(i) + workspaces.get(n.name, 0) for i, n in enumerate(self.nodes)]
        self.costs: dict[Span, int] = {}  # of a region -> bytes live while it runs
        self.peak = self._lowest()
        seen: set[int] = set()
        before = -1
        while self.peak != before:
            # to come below a peak, every node that reaches it must be in a region, and no other region is needed
            for h in [i for i, need in enumerate(self.whole) if need >= self.peak]:
                for j in range(h, min(h + LONGEST, len(self.nodes))):
                    if self.nodes[j].name not in windows:
                        break
                    if j not in seen:
                        seen.add(j)
                        self._regions(j)
            before, self.peak = self.peak, self._lowest()

    def best(self, arena: Callable[[list[Region]], int], limit: int = 0) -> list[Region]:
        """The regions with the smallest ``arena``, which places them: some lists of them are tried.

        limit: an arena that is small enough; then no more layers are streamed than it takes.

        Those of the lowest peak and of peaks a little higher, with the fewest layers streamed and with the most; then
        fewer layers again, stretch by stretch, where the arena stays as small.
        """
        known: dict[tuple[Span, ...], int] = {}

        def size(spans: list[Span]) -> int:
            key = tuple(spans)
            if key not in known:
                known[key] = arena(self._regions_of(spans))
            return known[key]

        starts = [self._partition(self.peak * percent // 100, most) for percent, most in product(SLACK, (False, True))]
        least = min(size(s) for s in starts)
        starts = list({tuple(s): s for s in starts if size(s) == least}.values())
        if limit > least and limit >= self.peak:
            few = self._partition(limit, False)
            starts = [few] if size(few) <= limit else starts[:1]
        thinned = [self._thinned(s, max(least, limit), limit, size) for s in starts]
        best = min(thinned, key=lambda s: (max(size(s), limit), sum(j - i + 1 for i, j in s)))
        return self._regions_of(best)

    def _thinned(self, spans: list[Span], most: int, limit: int, size: Callable[[list[Span]], int]) -> list[Span]:
        """``spans`` with fewer layers, stretch by stretch, in an arena of no more than ``most`` bytes."""
        for span in sorted(spans, key=lambda s: s[0] - s[1]):
            fewer = self._partition(most, False, span)
            found = sorted([*(s for s in spans if s != span), *fewer])
            if fewer != [span] and size(found) <= most:
                spans, most = found, max(size(found), limit)
        return spans

    def _regions_of(self, spans: Sequence[Span]) -> list[Region]:
        return [region(self.nodes[i : j + 1], self.graph, self.windows, self.row_workspaces) for i, j in spans]

    def _live(self) -> None:
        """When each stored tensor lives, and the bytes live in front of each node."""
        root: dict[str, str] = {}
        for node in self.nodes:
            if registry[node.op].view:
                root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
        self.first: dict[str, int] = dict.fromkeys(self.graph.inputs, -1)
        self.last: dict[str, int] = {}
        self.viewed = set(root.values())
        for i, node in enumerate(self.nodes):
            for name in node.outputs:
                if name not in root:
                    self.first[name] = i
            for name in (*node.inputs, *node.outputs):
                self.last[root.get(name, name)] = i
        for name in self.graph.outputs:
            self.last[root.get(name, name)] = len(self.nodes)
        self.live = [0] * (len(self.nodes) + 1)
        for name, at in self.first.items():
            for i in range(at + 1, min(self.last.get(name, at), len(self.nodes)) + 1):
                self.live[i] += self.graph[name].nbytes

    def _dies(self, name: str, i: int) -> bool:
        """True if nothing reads the tensor's bytes after node ``i``."""
        return name in self.first and self.last[name] <= i and name not in self.viewed

    def _whole(self, i: int) -> int:
        """Bytes live while node ``i`` runs by itself, without its workspace."""
        node, graph = self.nodes[i], self.graph
        op = registry[node.op]
        made = sum(graph[n].nbytes for n in node.outputs if self.first.get(n) == i)
        over = {node.inputs[k] for k in op.inplace_inputs(node, graph)} if made else set()
        if any(self._dies(t, i) and graph[t].nbytes == made for t in over):
            return self.live[i]
        parts = {node.inputs[k] for k in op.slices(node, graph)}
        return self.live[i] + made - sum(graph[t].nbytes for t in parts if self._dies(t, i) and self.first[t] >= 0)

    def _regions(self, j: int) -> None:
        """Costs of all regions that end with node ``j``."""
        graph, start = self.graph, j
        while start > 0 and j - start < LONGEST - 1 and self._inner(start - 1, j):
            start -= 1
        nodes = self.nodes[start : j + 1]
        windows = [self.windows[n.name] for n in nodes]
        traced = trace(nodes, windows)
        out = graph[self.nodes[j].outputs[0]].nbytes
        for i in range(start, j + 1):
            r = _region(traced, i - start, nodes, windows, graph, self.row_workspaces)
            dying = [t for t in r.behind if self._dies(t, j)]
            apart = r.bytes + out
            saved = max((apart + graph[t].nbytes - packed(r, graph, t) for t in dying), default=0)
            self.costs[i, j] = self.live[i] + apart - max(saved, 0)

    def _inner(self, k: int, j: int) -> bool:
        """True if node ``k`` runs row by row and up to node ``j`` its rows alone are read."""
        node = self.nodes[k]
        if node.name not in self.windows:
            return False
        name = node.outputs[0]
        if name in self.viewed or self.last[name] > j:
            return False
        users = [n for n in self.nodes[k + 1 : j + 1] if name in n.inputs]
        return all(
            i in self.windows[n.name].inputs for n in users for i, x in enumerate(n.inputs) if x == name
        )

    def _lowest(self) -> int:
        """The lowest possible largest cost of a partition."""
        best = [0]
        starts = self._starts()
        for j, alone in enumerate(self.whole):
            best.append(min([max(best[j], alone), *(max(best[i], self.costs[i, j]) for i in starts[j])]))
        return best[-1]

    def _partition(self, peak: int, most: bool, within: Span | None = None) -> list[Span]:
        """The regions of the partition under ``peak`` with the fewest streamed layers, or the most."""
        start, end = within or (0, len(self.nodes) - 1)
        best: dict[int, tuple[int, tuple[Span, ...]]] = {start: (0, ())}  # of the nodes up to there
        starts = self._starts()
        for j in range(start, end + 1):
            options = [best[j]] if self.whole[j] <= peak and j in best else []
            for i in starts[j]:
                if i in best and self.costs[i, j] <= peak:
                    streamed = j - i + 1
                    options.append((best[i][0] + (-streamed if most else streamed), (*best[i][1], (i, j))))
            if options:
                best[j + 1] = min(options, key=lambda o: o[0])
        return list(best[end + 1][1]) if end + 1 in best else [(start, end)]

    def _starts(self) -> list[list[int]]:
        """For each node the first nodes of the regions that end with it."""
        out: list[list[int]] = [[] for _ in self.nodes]
        for i, j in self.costs:
            out[j].append(i)
        return out


def contracted(graph: Graph, regions: Sequence[Region]) -> Graph:
    """The graph as the planner sees it: each region one node, named as its last, between its ends."""
    by_name = {n.name: r for r in regions for n in r.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        r = by_name.get(node.name)
        if r is None:
            nodes.append(node)
        elif node.name == r.name:
            nodes.append(replace(node, op="stream", inputs=r.inputs(graph), attrs=None))
    return replace(graph, nodes=nodes)
