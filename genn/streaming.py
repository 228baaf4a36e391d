"""Row streaming: which layers run row by row through line buffers, so that their whole outputs are never stored.

A chain is a run of layers, each the only reader of the one before.  Streamed, the last layer pulls: before it makes
a row, the layer in front of it makes the rows that this row needs, pulling in turn.  Nothing is computed twice.  What
lies between two layers is a line buffer with as many rows as one window spans; rows that no window needs any more leave
at its front and the others move up, so that a window's rows always lie one behind another and any kernel can read them.

``choose`` takes the partition of every chain with the lowest peak, and of those the one that streams the fewest layers.
Memory is counted as the planner counts it: everything that is live while a region runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from genn.ir import NP_DTYPE, Graph, Node, Tensor
from genn.ops import registry

ALIGN = 8  # of a line buffer


@dataclass(frozen=True)
class Window:
    """The input rows of output row r: [r * stride - pad, r * stride - pad + reach), where they exist."""

    stride: int
    pad: int
    reach: int
    rows_in: int
    rows_out: int

    def first(self, r: int) -> int:
        return max(0, r * self.stride - self.pad)

    def end(self, r: int) -> int:
        return min(self.rows_in, r * self.stride - self.pad + self.reach)

    @property
    def kept(self) -> int:
        """Rows that are needed at once, at most."""
        return max(self.end(r) - self.first(r) for r in range(self.rows_out))

    @property
    def padded(self) -> bool:
        """True if some row's window reaches beyond the input."""
        last = (self.rows_out - 1) * self.stride - self.pad + self.reach
        return self.pad > 0 or last > self.rows_in


@dataclass(frozen=True)
class Region:
    """Nodes that run row by row, in order, with their windows.

    lines: bytes of the buffer before each node but the first.  offsets: of those, from the start of the region's
    own memory; the kernels' workspace lies in front of them, because it is written from the first row on.
    """

    nodes: tuple[Node, ...]
    windows: tuple[Window, ...]
    lines: tuple[int, ...]
    workspace: int

    @property
    def offsets(self) -> list[int]:
        at, out = -(-self.workspace // ALIGN) * ALIGN, []
        for size in self.lines:
            out.append(at)
            at += -(-size // ALIGN) * ALIGN
        return [*out, at]

    @property
    def bytes(self) -> int:
        """Line buffers and workspace together."""
        return self.offsets[-1]


def window(node: Node, graph: Graph) -> Window | None:
    """How a node reads rows, or None if it does not run row by row."""
    x, y = graph[node.inputs[0]], graph[node.outputs[0]]
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[0] != 1 or len(node.outputs) != 1:
        return None
    if "block" in node.quant:
        return None  # its exponent is that of all rows
    a = node.attrs
    if node.op == "conv2d":
        kernel = graph[node.inputs[1]].shape[1]
        reach = (a.pool[0] - 1) * a.stride[0] + (kernel - 1) * a.dilation[0] + 1
        made = Window(a.pool[0] * a.stride[0], a.pad[0], reach, x.shape[1], y.shape[1])
    elif node.op == "max_pool2d":
        reach = (a.kernel[0] - 1) * a.dilation[0] + 1
        made = Window(a.stride[0], a.pad[0], reach, x.shape[1], y.shape[1])
    else:
        return None
    # a window must not skip rows, and every window must hold at least one row that exists
    fits = made.stride <= made.reach and all(made.end(r) > made.first(r) for r in range(made.rows_out))
    return made if fits and row_heights(made) is not None else None


def row_heights(w: Window) -> int | None:
    """Input rows of the layer that makes one row with all its padding, or None if padding alone would fill a window."""
    below = max(0, (w.rows_out - 1) * w.stride - w.pad + w.reach - w.rows_in)
    rows = w.reach - w.pad - below
    return rows if rows >= 1 else None


def row_layer(node: Node, graph: Graph) -> tuple[Node, Graph]:
    """The same layer cut down to one output row, whose kernel call is the streamed layer's.

    Its padding is the layer's own, so that its kernel expects some; the rows and the padding above of each call are
    given when it runs.  Weights, multipliers and proofs are shared.
    """
    w = window(node, graph)
    assert w is not None
    rows = row_heights(w)
    assert rows is not None
    x, y = graph[node.inputs[0]], graph[node.outputs[0]]
    below = w.reach - w.pad - rows
    small = graph.copy()
    small.tensors[x.name] = replace(x, shape=(1, rows, *x.shape[2:]))
    small.tensors[y.name] = replace(y, shape=(1, 1, *y.shape[2:]))
    cut = replace(node, quant=dict(node.quant))
    if node.op == "conv2d":
        cut.attrs = node.attrs._replace(pad=(w.pad, below, *node.attrs.pad[2:]))
    else:
        _, left, _, right = node.attrs.pad
        cut.attrs = node.attrs._replace(pad=(w.pad, left, below, right), out=(1, node.attrs.out[1]))
    small.nodes = [cut]
    return cut, small


def row_bytes(t: Tensor) -> int:
    """Bytes of one row (W, C) of an image."""
    return t.shape[2] * t.shape[3] * NP_DTYPE[t.dtype].itemsize


def chains(graph: Graph) -> list[list[Node]]:
    """Runs of nodes that can be streamed: neighbours in running order, each the only reader of the one before."""
    found: list[list[Node]] = []
    readers: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    at = {id(n): i for i, n in enumerate(graph.nodes)}
    for node in graph.nodes:
        if window(node, graph) is None:
            continue
        before = found[-1][-1] if found else None
        if (
            before is not None
            and at[id(before)] == at[id(node)] - 1
            and node.inputs[0] == before.outputs[0]
            and readers[node.inputs[0]] == 1
            and node.inputs[0] not in graph.outputs
        ):
            found[-1].append(node)
        else:
            found.append([node])
    return found


def region(nodes: list[Node], graph: Graph, workspaces: Mapping[str, int]) -> Region:
    """The region of some nodes of a chain; workspaces: bytes by node, of which the largest serves all."""
    windows = []
    for node in nodes:
        made = window(node, graph)
        assert made is not None
        windows.append(made)
    lines = tuple(
        w.kept * row_bytes(graph[node.inputs[0]]) for node, w in zip(nodes[1:], windows[1:], strict=True)
    )
    return Region(tuple(nodes), tuple(windows), lines, max(workspaces.get(n.name, 0) for n in nodes))


def choose(graph: Graph, workspaces: Mapping[str, int], row_workspaces: Mapping[str, int]) -> list[Region]:
    """Regions of two or more layers that bring the peak down as far as streaming can.

    workspaces: bytes a node's kernel needs when it runs whole; row_workspaces: when it makes one row.
    """
    apart = _live_apart(graph)
    whole = {n.name: apart[n.name] + _ends(graph, [n]) + workspaces.get(n.name, 0) for n in graph.nodes}
    runs = [c for c in chains(graph) if len(c) > 1]
    inside = {n.name for c in runs for n in c}
    floor = max((need for name, need in whole.items() if name not in inside), default=0)
    costs = [_costs(c, graph, apart, whole, row_workspaces) for c in runs]
    peak = max([floor, *(_best_peak(cost) for cost in costs)])
    out = []
    for c, cost in zip(runs, costs, strict=True):
        for i, j in _fewest(cost, peak):
            if j > i:
                out.append(region(c[i : j + 1], graph, row_workspaces))
    return out


Costs = dict[tuple[int, int], int]


def _costs(
    chain: list[Node],
    graph: Graph,
    apart: Mapping[str, int],
    whole: Mapping[str, int],
    row_workspaces: Mapping[str, int],
) -> Costs:
    """Bytes live while nodes i to j of a chain run as one region (i == j: as it is)."""
    cost: Costs = {}
    for i in range(len(chain)):
        cost[i, i] = whole[chain[i].name]
        dies = _dies(graph, chain[i])
        for j in range(i + 1, len(chain)):
            nodes = chain[i : j + 1]
            outside = max(apart[n.name] for n in nodes)
            made = region(nodes, graph, row_workspaces)
            together = packed(made, graph) if dies else _ends(graph, nodes) + made.bytes
            cost[i, j] = outside + together
    return cost


def _best_peak(cost: Costs) -> int:
    """The lowest possible largest cost of a partition."""
    n = 1 + max(j for _, j in cost)
    best = [0] * (n + 1)
    for j in range(n):
        best[j + 1] = min(max(best[i], cost[i, j]) for i in range(j + 1))
    return best[n]


def _fewest(cost: Costs, peak: int) -> list[tuple[int, int]]:
    """The partition under ``peak`` with the fewest streamed layers."""
    n = 1 + max(j for _, j in cost)
    best: dict[int, tuple[int, list[tuple[int, int]]]] = {0: (0, [])}  # of the first so many layers, where there is one
    for j in range(n):
        options = []
        for i in best:
            if i <= j and cost[i, j] <= peak:
                options.append((best[i][0] + (j - i + 1 if j > i else 0), [*best[i][1], (i, j)]))
        if options:
            best[j + 1] = min(options, key=lambda o: o[0])
    return best[n][1]


def _ends(graph: Graph, nodes: list[Node]) -> int:
    """Bytes of the first node's activations and the last one's output."""
    names = {i for i in nodes[0].inputs if graph[i].const is None} | set(nodes[-1].outputs)
    return sum(graph[n].nbytes for n in names)


def _dies(graph: Graph, node: Node) -> bool:
    """True if the node is the only one that reads its input's bytes, which may then be overwritten row by row."""
    name = node.inputs[0]
    views = any(registry[n.op].view for n in graph.nodes if name in n.inputs or name in n.outputs)
    return not views and name not in graph.outputs and sum(n.inputs.count(name) for n in graph.nodes) == 1


def _live_apart(graph: Graph) -> dict[str, int]:
    """Bytes of what lives beside a node's own inputs and outputs while it runs, by node."""
    root: dict[str, str] = {}
    for node in graph.nodes:
        if registry[node.op].view:
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
    first: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    last: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name not in root:
                first[name] = i
        for name in (*node.inputs, *node.outputs):
            last[root.get(name, name)] = i
    for name in graph.outputs:
        last[root.get(name, name)] = len(graph.nodes)
    out = {}
    for i, node in enumerate(graph.nodes):
        own = {root.get(n, n) for n in (*node.inputs, *node.outputs)}
        out[node.name] = sum(
            graph[n].nbytes for n, at in first.items() if at <= i <= last.get(n, at) and n not in own
        )
    return out


def contracted(graph: Graph, regions: list[Region]) -> Graph:
    """The graph as the planner sees it: each region one node, named as its last, between its ends."""
    small = graph.copy()
    by_name = {n.name: r for r in regions for n in r.nodes}
    nodes: list[Node] = []
    for node in small.nodes:
        r = by_name.get(node.name)
        if r is None:
            nodes.append(node)
        elif node.name == r.nodes[-1].name:
            first = r.nodes[0]
            inputs = [i for i in first.inputs if graph[i].const is None]
            nodes.append(replace(node, op="stream", inputs=inputs, attrs=None))
    small.nodes = nodes
    return small


def check(graph: Graph, regions: list[Region]) -> None:
    """Replay every region's schedule: each row is made once, in order, and each window's rows are in the buffer."""
    for r in regions:
        made = [0] * (len(r.nodes) - 1)
        base = [0] * (len(r.nodes) - 1)

        def need(k: int, row: int, made: list[int] = made, base: list[int] = base, r: Region = r) -> None:
            if k == 0:
                return
            w, line = r.windows[k], k - 1
            base[line] = max(base[line], w.first(row))
            while made[line] < w.end(row):
                need(k - 1, made[line])
                made[line] += 1
            assert base[line] <= w.first(row) and made[line] >= w.end(row) and made[line] - base[line] <= w.kept

        for row in range(r.windows[-1].rows_out):
            need(len(r.nodes) - 1, row)


@dataclass(frozen=True)
class Behind:
    """How far a region's input must start behind other memory while it dies row by row; bytes, negative: in front.

    output: behind the region's output.  memory: behind the region's own memory.
    """

    output: int
    memory: int


def behind(r: Region, graph: Graph) -> Behind:
    """Follow the schedule: what is written up to where, and which input row is the lowest still to be read then."""
    windows, offsets = r.windows, r.offsets
    rows = [row_bytes(graph[n.outputs[0]]) for n in r.nodes]
    row_in = row_bytes(graph[r.nodes[0].inputs[0]])
    made, base = [0] * len(r.lines), [0] * len(r.lines)
    total = windows[0].rows_in
    memory, output = r.workspace or -(total * row_in), -(total * row_in)

    def lowest() -> int:
        """The lowest input row that a row still to be made reads."""
        return windows[0].first(made[0]) if made[0] < windows[0].rows_out else total

    def need(k: int, row: int) -> None:
        nonlocal memory
        if k == 0:
            return
        line, w = k - 1, windows[k]
        base[line] = max(base[line], w.first(row))
        while made[line] < w.end(row):
            need(k - 1, made[line])
            written = offsets[line] + (made[line] - base[line] + 1) * rows[line]
            memory = max(memory, written - lowest() * row_in)
            made[line] += 1

    last = len(r.nodes) - 1
    for row in range(windows[last].rows_out):
        need(last, row)
        output = max(output, (row + 1) * rows[last] - lowest() * row_in)
    return Behind(output, memory)


def packed(r: Region, graph: Graph) -> int:
    """Bytes of a region's memory, output and input, one behind another, as close as a dying input may lie."""
    size_in, size_out = graph[r.nodes[0].inputs[0]].nbytes, graph[r.nodes[-1].outputs[0]].nbytes
    gap = behind(r, graph)
    start = max(0, gap.memory, r.bytes + gap.output)
    return max(r.bytes + size_out, start + size_in)


def facts(regions: list[Region], graph: Graph) -> list[dict[str, Any]]:
    """The regions for the manifest: layers by name, rows and bytes of their line buffers."""
    return [
        {"layers": [n.source.fqn or n.name for n in r.nodes], "line_bytes": list(r.lines),
         "line_rows": [w.kept for w in r.windows[1:]], "bytes": r.bytes}
        for r in regions
    ]
