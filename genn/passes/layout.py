"""Choose the axis order of every tensor, so that the transposes around convolutions and pools go away.

Operators that do not care about axis order tie their tensors together into groups; a group is stored in one order.
Around the groups are operators that do care.  Each group takes the order that leaves the fewest elements to be moved,
given its neighbours; then the graph is rebuilt, and a transpose is put exactly where an order still differs.  The
result is right for any choice, so the choice need only be good.  Graph inputs and outputs are free to be stored in any
order, which ``Graph.layout`` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genn.ir import Graph, Node, Tensor
from genn.passes.tools import (
    AGNOSTIC,
    UNARY,
    Index,
    Perm,
    attrs_of,
    axis_map,
    between,
    exact,
    identity,
    inverse,
    moves_data,
    new_const,
    permuted,
    rename_axes,
    then,
)


@dataclass(frozen=True)
class Edge:
    """A reader wants transpose(root, then(q, order of group)); readers outside the groups have group None."""

    root: str
    q: Perm
    group: str | None
    folds: Node | None = None  # the reshape in front of linear layers whose columns can be permuted instead


class Layouts:
    """The groups, what they border on, and the order chosen for each."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.index = graph, Index(graph)
        self.parent: dict[str, str] = {}
        self.order: dict[str, Perm] = {}
        self.edges: dict[str, list[Edge]] = {}
        self._group()
        self._connect()

    # -- groups ------------------------------------------------------------------------------------------------
    def find(self, name: str) -> str | None:
        """The group of a tensor, None where its order is fixed."""
        if name not in self.parent:
            return None
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def _group(self) -> None:
        graph = self.graph
        for name in graph.inputs:
            self.parent[name] = name
        for node in graph.nodes:
            if node.op not in AGNOSTIC:
                continue
            out = node.outputs[0]
            self.parent[out] = out
            for name in ordered_inputs(node):
                other, mine = self.find(name), self.find(out)
                if other is not None and mine is not None:
                    self.parent[mine] = other

    def resolve(self, name: str) -> tuple[str, Perm]:
        """``name`` as a transpose of a tensor that is no transpose."""
        q = identity(len(self.graph[name].shape))
        while (node := self.index.maker(name, "transpose")) is not None:
            name, q = node.inputs[0], then(node.attrs.perm, q)
        return name, q

    def _connect(self) -> None:
        for node in self.graph.nodes:
            if node.op == "transpose":
                continue
            if self.leaves(node) is not None:
                continue
            agnostic = node.op in AGNOSTIC
            mine = self.find(node.outputs[0]) if agnostic else None
            for name in ordered_inputs(node) if agnostic else node.inputs:
                if self.graph[name].const is not None:
                    continue
                root, q = self.resolve(name)
                if mine is not None and root == name and self.find(name) == mine:
                    continue
                edge = Edge(root, q, mine, node if self._folds(node) else None)
                for group in {self.find(root), mine} - {None}:
                    assert group is not None
                    self.edges.setdefault(group, []).append(edge)

    def leaves(self, node: Node) -> list[int | None] | None:
        """For a reshape that only adds or drops axes of size 1 on the way out: its axes in terms of its input's.

        Its result can be stored in the order its input has.
        """
        out = node.outputs[0]
        if node.op != "reshape" or self.index.users.get(out) or self.graph.outputs.count(out) != 1:
            return None
        if self.graph[node.inputs[0]].const is not None:
            return None
        return axis_map(self.graph[node.inputs[0]].shape, self.graph[out].shape)

    def _folds(self, node: Node) -> bool:
        return node.op == "reshape" and bool(linear_readers(self.graph, self.index, node.outputs[0]))

    # -- choice ------------------------------------------------------------------------------------------------
    def order_of(self, name: str, trial: dict[str, Perm] | None = None) -> Perm:
        group = self.find(name)
        default = identity(len(self.graph[name].shape))
        if group is None:
            return default
        return (trial or {}).get(group) or self.order.get(group, default)

    def _wanted(self, edge: Edge, trial: dict[str, Perm]) -> Perm:
        return then(edge.q, self.order_of(edge.group, trial)) if edge.group else edge.q

    def _cost(self, group: str, order: Perm) -> tuple[int, int, bool]:
        """Elements moved, then nodes added, then whether the interface is unlike torch's."""
        trial, moved, added = {group: order}, {}, 0
        for edge in self.edges.get(group, []):
            have, want = self.order_of(edge.root, trial), self._wanted(edge, trial)
            r = between(have, want)
            if r == identity(len(r)):
                continue
            added += 1
            shape = permuted(self.graph[edge.root].shape, have)
            if moves_data(shape, r) and not self._absorbed(edge, shape, r):
                moved[edge.root, want] = self.graph[edge.root].size
        return sum(moved.values()), added, order != identity(len(order))

    def _absorbed(self, edge: Edge, shape: tuple[int, ...], r: Perm) -> bool:
        if edge.folds is not None:
            return flatten_order(shape, r, self.graph[edge.folds.outputs[0]].shape) is not None
        return unflatten_maker(self.graph, self.index, edge.root) is not None

    def _candidates(self, group: str) -> Iterator[Perm]:
        yield identity(len(self.graph[group].shape))
        for edge in self.edges.get(group, []):
            if edge.group == group:  # make what comes in fit as it is
                yield then(inverse(edge.q), self.order_of(edge.root))
            else:  # make what goes out fit as it is
                yield self._wanted(edge, {})

    def choose(self) -> None:
        groups = list(dict.fromkeys(g for name in self.parent if (g := self.find(name))))
        for _ in range(8):
            before = dict(self.order)
            for group in groups:
                options = dict.fromkeys(self._candidates(group))
                self.order[group] = min(options, key=lambda p: self._cost(group, p))
            if self.order == before:
                return


def ordered_inputs(node: Node) -> list[str]:
    """The inputs whose axes are the node's own (the slopes of prelu have an axis of their own)."""
    return node.inputs[:1] if node.op == "prelu" else node.inputs


def linear_readers(graph: Graph, index: Index, name: str, offset: int = 0) -> list[tuple[Node, int]] | None:
    """The linear layers that read ``name``, also through concat, and nobody else; with the column where it begins."""
    found: list[tuple[Node, int]] = []
    if name in index.outputs:
        return None
    for user in index.users.get(name, []):
        if user.op == "linear" and name not in user.inputs[1:] and _own_weights(graph, user):
            found.append((user, offset))
        elif (
            user.op == "concat" and user.inputs.count(name) == 1 and user.attrs.axis in (-1, len(graph[name].shape) - 1)
        ):
            begin = sum(graph[x].shape[-1] for x in user.inputs[: user.inputs.index(name)])
            more = linear_readers(graph, index, user.outputs[0], offset + begin)
            if more is None:
                return None
            found += more
        else:
            return None
    return found


def flatten_order(shape: tuple[int, ...], r: Perm, flat: tuple[int, ...]) -> np.ndarray | None:
    """Where reshape(transpose(x, r), flat) only reorders the last axis of reshape(x, flat): that order, else None."""
    k, size = flat[-1], int(np.prod(shape))
    if not size or not k:
        return None
    order = np.arange(size).reshape(shape).transpose(r).reshape(-1, k)
    rows = np.arange(size // k)[:, None] * k
    first = order[0]
    same = bool(np.all(order - rows == first)) and first.min() >= 0 and first.max() < k
    return first if same else None


def unflatten_maker(graph: Graph, index: Index, name: str) -> Node | None:
    """The linear layer that makes ``name`` through unary operators and one reshape, if its rows can be permuted."""
    node = index.maker(name, "reshape")
    if node is None or index.single(name) is None:
        return None
    while True:
        x = node.inputs[0]
        if index.single(x) is None or (before := index.maker(x)) is None:
            return None
        node = before
        if node.op == "linear":
            out = graph[node.outputs[0]].shape
            return node if int(np.prod(out[:-1])) == 1 and _own_weights(graph, node) else None
        if node.op not in UNARY:
            return None


def _own_weights(graph: Graph, node: Node) -> bool:
    return all(graph[i].const is not None for i in node.inputs[1:])


def assign_layouts(graph: Graph) -> None:
    """Choose the orders and rebuild the graph in them."""
    layouts = Layouts(graph)
    layouts.choose()
    _Rebuild(graph, layouts).run()


class _Rebuild:
    def __init__(self, graph: Graph, layouts: Layouts) -> None:
        self.graph, self.layouts = graph, layouts
        self.nodes: list[Node] = []
        self.shapes = {name: t.shape for name, t in graph.tensors.items()}
        self.ready: dict[tuple[str, Perm], str] = {}
        self.torch_order = dict(graph.layout)
        self.left: set[str] = set()

    def run(self) -> None:
        graph, layouts = self.graph, self.layouts
        outputs = [layouts.resolve(o) for o in graph.outputs]
        leaving = {id(n): axes for n in graph.nodes if (axes := layouts.leaves(n)) is not None}
        for name in graph.inputs:
            self._stored(name)
            graph.layout[name] = self._layout(name, name, identity(len(self.shapes[name])))
        for node in graph.nodes:
            if node.op == "transpose":
                continue
            if id(node) in leaving:
                self._leave(node, leaving[id(node)])
            elif node.op in AGNOSTIC:
                order = layouts.order_of(node.outputs[0])
                own = ordered_inputs(node)
                node.inputs = [self._in_order(x, order, node) for x in own] + node.inputs[len(own) :]
                node.attrs = rename_axes(node, len(order), inverse(order))
                self.nodes.append(node)
                self._stored(node.outputs[0])
            else:
                node.inputs = [
                    x if graph[x].const is not None else self._in_order(x, identity(len(self.shapes[x])), node)
                    for x in node.inputs
                ]
                self.nodes.append(node)
        for name in graph.outputs:
            if name not in self.left:
                graph.layout.pop(name, None)
        graph.outputs = [self._output(old, root, q) for old, (root, q) in zip(graph.outputs, outputs)]
        graph.nodes = self.nodes
        _drop_identity_layouts(graph)

    def _stored(self, name: str) -> None:
        order = self.layouts.order_of(name)
        self.graph[name].shape = permuted(self.shapes[name], order)

    def _layout(self, old: str, root: str, q: Perm) -> Perm:
        """What takes ``root`` as it is stored now to torch's order of ``old`` == transpose(root, q)."""
        return then(between(self.layouts.order_of(root), q), self.torch_order.get(old, identity(len(q))))

    def _leave(self, node: Node, axes: list[int | None]) -> None:
        """Reshape the input as it is stored; Graph.layout tells the order."""
        graph, out = self.graph, node.outputs[0]
        root, q = self.layouts.resolve(node.inputs[0])
        stored = between(q, self.layouts.order_of(root))
        order = [axes.index(j) for j in stored if j in axes]
        order += [k for k, axis in enumerate(axes) if axis is None]
        shape = permuted(graph[out].shape, order)
        node.inputs, node.attrs = [root], attrs_of("reshape", shape)
        graph[out].shape = shape
        graph.layout[out] = then(inverse(order), self.torch_order.get(out, identity(len(order))))
        self.left.add(out)
        self.nodes.append(node)

    def _output(self, old: str, root: str, q: Perm) -> str:
        if old in self.left:
            return old
        graph, here = self.graph, self._layout(old, root, q)
        if root not in graph.inputs and graph.layout.setdefault(root, here) == here:
            return root
        # an input, or a tensor that leaves in two orders: a tensor of its own
        copy = graph.add(Tensor(f"{root}_copy", graph[root].shape))
        self.nodes.append(Node(copy.name, "copy", [root], [copy.name], attrs_of("copy")))
        graph.layout[copy.name] = here
        return copy.name

    def _in_order(self, name: str, want: Perm, at: Node) -> str:
        """transpose(name, want), by the cheapest means."""
        graph = self.graph
        value = graph[name].const
        if value is not None:
            if want == identity(len(want)):
                return name
            return new_const(graph, name, value.transpose(want), exact(graph, name).transpose(want))
        root, q = self.layouts.resolve(name)
        full = then(q, want)
        have = self.layouts.order_of(root)
        if full == have:
            return root
        if (root, full) not in self.ready:
            r = between(have, full)
            shape = permuted(graph[root].shape, r)
            if moves_data(graph[root].shape, r):
                op, attrs = "transpose", attrs_of("transpose", r)
            else:
                op, attrs = "reshape", attrs_of("reshape", shape)
            out = graph.add(Tensor(f"{root}_{op}", shape))
            self.nodes.append(Node(out.name, op, [root], [out.name], attrs, at.source))
            self.ready[root, full] = out.name
        return self.ready[root, full]


def _drop_identity_layouts(graph: Graph) -> None:
    graph.layout = {k: p for k, p in graph.layout.items() if tuple(p) != identity(len(p))}
