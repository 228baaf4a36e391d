"""Choose the axis order of every tensor, so that the transposes around convolutions and pools go away.

Operators that do not care about axis order tie their tensors together into groups; a group is stored in one order.
Around the groups are operators that do care.  Each group takes the order that leaves the fewest elements to be moved,
given its neighbours; then the graph is rebuilt, and a transpose is put exactly where an order still differs.  The
result is right for any choice, so the choice need only be good.  Graph inputs and outputs are free to be stored in any
order, which ``Graph.layout`` tells.

Transposes, and reshapes that only add or drop axes of size 1, are no nodes here but ways to look at a tensor: a View.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from genn.ir import Graph, Node, Source, Tensor
from genn.passes.tools import (
    AGNOSTIC,
    UNARY,
    Index,
    Perm,
    Shape,
    attrs_of,
    axis_map,
    between,
    identity,
    inverse,
    moves_data,
    permuted,
    rename_axes,
    then,
    transposed,
)

View = tuple[int | None, ...]  # for each axis the axis of the tensor looked at; None is an added axis of size 1


@dataclass(frozen=True)
class Edge:
    """A reader sees ``view`` of ``root``, and wants it in the order of its group; other readers have group None."""

    root: str
    view: View
    group: str | None
    flat: Shape | None = None  # the shape linear layers read it in, if their columns can be permuted instead


def complete(view: Iterable[int | None], rank: int) -> Perm:
    """The order of all axes that ``view`` asks for; axes it drops stay about where they are."""
    order = [a for a in view if a is not None]
    for axis in range(rank):
        if axis not in order:
            order.insert(axis, axis)
    return tuple(order)


def follow(view: View, order: Perm) -> Perm:
    """The order of the view's axes that needs no byte moved when the tensor looked at is stored in ``order``."""
    axes = sorted((k for k, a in enumerate(view) if a is not None), key=lambda k: order.index(view[k]))
    for k, a in enumerate(view):
        if a is None:
            axes.insert(k, k)
    return tuple(axes)


def ordered(view: View, order: Perm) -> View:
    return tuple(view[k] for k in order)


def seen_shape(shape: Shape, view: View) -> Shape:
    return tuple(1 if a is None else shape[a] for a in view)


class Layouts:
    """The groups, what they border on, and the order chosen for each."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.index = graph, Index(graph)
        self.shapes = {name: t.shape for name, t in graph.tensors.items()}
        self.parent: dict[str, str] = {}
        self.order: dict[str, Perm] = {}
        self.edges: dict[str, list[Edge]] = {}
        self.views = {id(n) for n in graph.nodes if self._axes(n) is not None}
        self._group()
        self._connect()

    def _axes(self, node: Node) -> Sequence[int | None] | None:
        """The node as a view of its input, or None if it is more than that."""
        if node.op == "transpose":
            return node.attrs.perm
        if node.op == "reshape":
            return axis_map(self.shapes[node.inputs[0]], self.shapes[node.outputs[0]])
        return None

    # -- groups ------------------------------------------------------------------------------------------------
    def find(self, name: str) -> str | None:
        """The group of a tensor, None where its order is fixed."""
        if name not in self.parent:
            return None
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def _group(self) -> None:
        for name in self.graph.inputs:
            self.parent[name] = name
        for node in self.graph.nodes:
            if node.op not in AGNOSTIC:
                continue
            out = node.outputs[0]
            self.parent[out] = out
            for name in ordered_inputs(node):
                other, mine = self.find(name), self.find(out)
                if other is not None and mine is not None:
                    self.parent[mine] = other

    def resolve(self, name: str) -> tuple[str, View]:
        """``name`` as a view of a tensor that is no view."""
        view: View = identity(len(self.shapes[name]))
        while (node := self.index.maker(name)) is not None and id(node) in self.views:
            axes = self._axes(node)
            assert axes is not None
            name, view = node.inputs[0], tuple(None if k is None else axes[k] for k in view)
        return name, view

    def _connect(self) -> None:
        for node in self.graph.nodes:
            if id(node) in self.views:
                continue
            agnostic = node.op in AGNOSTIC
            mine = self.find(node.outputs[0]) if agnostic else None
            for name in ordered_inputs(node) if agnostic else node.inputs:
                if self.graph[name].const is not None:
                    continue
                root, view = self.resolve(name)
                if mine is not None and root == name and self.find(name) == mine:
                    continue
                edge = Edge(root, view, mine, self.shapes[node.outputs[0]] if self._folds(node) else None)
                for group in {self.find(root), mine} - {None}:
                    assert group is not None
                    self.edges.setdefault(group, []).append(edge)

    def _folds(self, node: Node) -> bool:
        return node.op == "reshape" and bool(linear_readers(self.graph, self.index, node.outputs[0]))

    # -- choice ------------------------------------------------------------------------------------------------
    def order_of(self, name: str, trial: dict[str, Perm] | None = None) -> Perm:
        group = self.find(name)
        default = identity(len(self.shapes[name]))
        if group is None:
            return default
        return (trial or {}).get(group) or self.order.get(group, default)

    def _wanted(self, edge: Edge, trial: dict[str, Perm]) -> View:
        return ordered(edge.view, self.order_of(edge.group, trial)) if edge.group else edge.view

    def _cost(self, groups: Iterable[str], trial: dict[str, Perm]) -> tuple[int, int, int]:
        """Around ``groups``: elements moved, then nodes added, then how many groups are not in torch's order."""
        moved, added = {}, 0
        for edge in dict.fromkeys(e for group in groups for e in self.edges.get(group, [])):
            have, want = self.order_of(edge.root, trial), self._wanted(edge, trial)
            shape = self.shapes[edge.root]
            r = between(have, complete(want, len(have)))
            stored = permuted(shape, have)
            if moves_data(stored, r):
                added += 1
                if not self._absorbed(edge, stored, r):
                    moved[edge.root, want] = self.graph[edge.root].size
            elif stored != seen_shape(shape, want):
                added += 1
        return (
            sum(moved.values()),
            added,
            sum(p != identity(len(p)) for g in groups for p in [trial.get(g, self.order[g])]),
        )

    def _absorbed(self, edge: Edge, stored: Shape, r: Perm) -> bool:
        if edge.flat is not None:
            return flatten_order(stored, r, edge.flat) is not None
        return unflatten_maker(self.graph, self.index, edge.root) is not None

    def _candidates(self, group: str) -> Iterator[Perm]:
        yield identity(len(self.shapes[group]))
        for edge in self.edges.get(group, []):
            if edge.group == group:  # make what comes in fit as it is
                yield follow(edge.view, self.order_of(edge.root))
            if self.find(edge.root) == group:  # make what goes out fit as it is
                yield complete(self._wanted(edge, {}), len(self.shapes[group]))

    def _spread(self, group: str, order: Perm) -> dict[str, Perm]:
        """The order for this group, and for all groups that see it or are seen by it what fits to that."""
        trial, todo = {group: order}, [group]
        while todo:
            for edge in self.edges.get(todo.pop(), []):
                root = self.find(edge.root)
                if root is None or edge.group is None or (root in trial and edge.group in trial):
                    continue
                if root in trial:
                    trial[edge.group] = follow(edge.view, trial[root])
                    todo.append(edge.group)
                else:
                    trial[root] = complete(ordered(edge.view, trial[edge.group]), len(self.shapes[edge.root]))
                    todo.append(root)
        return trial

    def choose(self) -> None:
        groups = list(dict.fromkeys(g for name in self.parent if (g := self.find(name))))
        self.order = {g: identity(len(self.shapes[g])) for g in groups}
        for _ in range(8):
            changed = False
            for group in groups:
                for order in dict.fromkeys(self._candidates(group)):
                    for trial in ({group: order}, self._spread(group, order)):
                        if self._cost(trial, trial) < self._cost(trial, {}):
                            self.order |= trial
                            changed = True
            if not changed:
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
        self.shapes = layouts.shapes
        self.ready: dict[tuple[str, View], str] = {}
        self.torch_order = dict(graph.layout)

    def run(self) -> None:
        graph, layouts = self.graph, self.layouts
        graph.layout = {}
        for name in graph.inputs:
            self._stored(name)
            order = layouts.order_of(name)
            graph.layout[name] = self._told(name, order)
        for node in graph.nodes:
            if id(node) in layouts.views:
                continue
            if node.op in AGNOSTIC:
                order = layouts.order_of(node.outputs[0])
                own = ordered_inputs(node)
                node.inputs = [self._in_order(x, order, node) for x in own] + node.inputs[len(own) :]
                node.attrs = rename_axes(node, len(order), inverse(order))
                self._stored(node.outputs[0])
            else:
                node.inputs = [self._in_order(x, identity(len(self.shapes[x])), node) for x in node.inputs]
            self.nodes.append(node)
        graph.outputs = [self._output(o) for o in graph.outputs]
        graph.nodes = self.nodes
        graph.layout = {k: p for k, p in graph.layout.items() if tuple(p) != identity(len(p))}

    def _stored(self, name: str) -> None:
        self.graph[name].shape = permuted(self.shapes[name], self.layouts.order_of(name))

    def _told(self, name: str, order: Perm) -> Perm:
        """What takes ``name``, now stored in ``order``, to torch's."""
        return then(inverse(order), self.torch_order.get(name, identity(len(order))))

    def _output(self, old: str) -> str:
        graph = self.graph
        root, view = self.layouts.resolve(old)
        order = follow(view, self.layouts.order_of(root))
        told, shape = self._told(old, order), permuted(self.shapes[old], order)
        if shape == graph[root].shape:
            if root not in graph.inputs and graph.layout.setdefault(root, told) == told:
                return root
            op, attrs = "copy", attrs_of("copy")  # an input, or a tensor that leaves in two orders
        else:
            op, attrs = "reshape", attrs_of("reshape", shape)
        out = graph.add(Tensor(f"{root}_{op}", shape))
        maker = self.layouts.index.maker(old)
        source = maker.source if maker else Source()
        self.nodes.append(Node(out.name, op, [root], [out.name], attrs, source))
        graph.layout[out.name] = told
        return out.name

    def _in_order(self, name: str, order: Perm, at: Node) -> str:
        """transpose(name, order), by the cheapest means."""
        graph = self.graph
        if graph[name].const is not None:
            return name if order == identity(len(order)) else transposed(graph, name, order)
        root, view = self.layouts.resolve(name)
        want = ordered(view, order)
        if (root, want) not in self.ready:
            r = between(self.layouts.order_of(root), complete(want, len(self.shapes[root])))
            out = root
            if moves_data(graph[root].shape, r):
                out = self._emit("transpose", out, attrs_of("transpose", r), permuted(graph[root].shape, r), at)
            shape = seen_shape(self.shapes[root], want)
            if graph[out].shape != shape:
                out = self._emit("reshape", out, attrs_of("reshape", shape), shape, at)
            self.ready[root, want] = out
        return self.ready[root, want]

    def _emit(self, op: str, x: str, attrs: object, shape: Shape, at: Node) -> str:
        out = self.graph.add(Tensor(f"{x}_{op}", shape))
        self.nodes.append(Node(out.name, op, [x], [out.name], attrs, at.source))
        return out.name
