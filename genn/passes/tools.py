"""What the passes share: who makes and reads a tensor, permutations, which operators do not care about axis order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from genn.ir import WEIGHTLESS, Graph, Node, Source, Tensor
from genn.ops import registry

Perm = tuple[int, ...]
Shape = tuple[int, ...]

# one value in, one value out, no axis
UNARY = {"clamp", "leaky_relu", "hardswish", "hardsigmoid", "silu", "gelu", "sigmoid", "tanh", "copy"}
UNARY |= {"elu", "softplus", "log_sigmoid", "mish"}
BINARY = {"add", "sub", "mul"}
AXIS = {"softmax", "log_softmax", "prelu"}
# meaning does not depend on the order of the axes once their attributes are renamed; all inputs have the output's rank
AGNOSTIC = UNARY | BINARY | AXIS | {"concat", "pad", "mean", "slice"}
CLAMPS = {"linear", "conv2d", "conv_transpose2d", "add", "sub", "mul"}  # have lo and hi


def attrs_of(op: str, *values: Any, **named: Any) -> Any:
    """The attributes of an operator of the registry."""
    cls: Any = registry[op]
    return cls.Attrs(*values, **named)


class Index:
    """Who makes and who reads each tensor; valid until the graph changes."""

    def __init__(self, graph: Graph) -> None:
        self.made = {o: n for n in graph.nodes for o in n.outputs}
        self.users: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.users.setdefault(name, []).append(node)
        self.outputs = set(graph.outputs)

    def maker(self, name: str, *ops: str) -> Node | None:
        """The node that makes ``name``, if it is one of ``ops``."""
        node = self.made.get(name)
        return node if node is not None and (not ops or node.op in ops) else None

    def single(self, name: str) -> Node | None:
        """The only reader of ``name``; None if there are more or it leaves the graph."""
        users = self.users.get(name, [])
        if name in self.outputs or len(users) != 1 or users[0].inputs.count(name) != 1:
            return None
        return users[0]


    def replaced(self, old: Node, new: Node) -> None:
        """``new``, so far the maker of what ``old`` alone reads, makes what ``old`` made; ``old`` is gone."""
        self.users.pop(new.outputs[0], None)
        self.made.pop(new.outputs[0])
        self.made[old.outputs[0]] = new

    def moved(self, node: Node, read: str, after: Node) -> None:
        """``node`` read ``read`` alone and reads something else now; ``after`` follows it and makes what it made."""
        self.users.pop(read)
        for name in dict.fromkeys(node.inputs):
            self.users.setdefault(name, []).append(node)
        self.made[node.outputs[0]], self.made[after.outputs[0]] = node, after
        self.users[node.outputs[0]] = [after]


def until_stable(step: Callable[[Graph], bool]) -> Callable[[Graph], None]:
    """A pass from ``step``, which changes one thing (or many) and says whether it changed any."""

    def run(graph: Graph) -> None:
        while step(graph):
            graph.prune()

    run.__name__, run.__doc__ = step.__name__, step.__doc__
    return run


def insert_before(graph: Graph, at: Node, op: str, x: str, attrs: Any, source: Source | None = None) -> str:
    """A new node reading ``x``, placed before ``at``; returns its output."""
    (shape,) = registry[op].shape(attrs, graph[x].shape)
    out = graph.add(Tensor(f"{x}_{op}", tuple(shape)))
    node = Node(out.name, op, [x], [out.name], attrs, source or at.source)
    graph.nodes.insert(next(i for i, n in enumerate(graph.nodes) if n is at), node)
    return out.name


def insert_after(graph: Graph, at: Node, op: str, attrs: Any, shape: Shape) -> Node:
    """Let ``at`` make a new tensor of ``shape`` and a new node turn it into what ``at`` made before."""
    old = at.outputs[0]
    new = graph.add(Tensor(f"{old}_{op}", shape))
    at.outputs = [new.name]
    node = Node(old, op, [new.name], [old], attrs, at.source)
    graph.nodes.insert(next(i for i, n in enumerate(graph.nodes) if n is at) + 1, node)
    return node


def reshaped(graph: Graph, at: Node, x: str, shape: Shape) -> str:
    """``x`` under another shape: constants directly, values through a reshape placed before ``at``."""
    if graph[x].shape == shape:
        return x
    value = graph[x].const
    if value is not None:
        return new_const(graph, x, value.reshape(shape), exact(graph, x).reshape(shape))
    return insert_before(graph, at, "reshape", x, attrs_of("reshape", shape))


def transposed(graph: Graph, x: str, perm: Perm) -> str:
    """The constant ``x`` with its axes in another order."""
    value = graph[x].const
    assert value is not None
    return new_const(graph, x, value.transpose(perm), exact(graph, x).transpose(perm))


def exact(graph: Graph, name: str) -> np.ndarray:
    """A constant before it was rounded to float32, where that is known."""
    value = graph.meta.get("exact", {}).get(name)
    if value is None:
        value = graph[name].const
        assert value is not None
    return np.asarray(value, np.float64)


def new_const(graph: Graph, like: str, value: np.ndarray, unrounded: np.ndarray | None = None) -> str:
    """A constant; ``unrounded`` is remembered, so that folding again rounds only once."""
    name = graph.const(like, value).name
    known = graph.meta.setdefault("exact", {})
    known.pop(name, None)
    if unrounded is not None and WEIGHTLESS not in graph.meta:
        known[name] = np.asarray(unrounded, np.float64)
    return name


def separate_outputs(graph: Graph) -> None:
    """Give an output that is an input, a constant or another output (also under another shape) its own copy."""
    made = {o: n for n in graph.nodes for o in n.outputs}
    taken: set[str] = set()

    def root(name: str) -> str:
        while name in made and registry[made[name].op].view:
            name = made[name].inputs[0]
        return name

    for i, name in enumerate(graph.outputs):
        origin = root(name)
        if origin in taken or origin not in made:
            old = graph[name]
            out = graph.add(Tensor(f"output_{i}" if name not in made else f"{name}_copy", old.shape))
            source = made[name].source if name in made else Source()
            graph.nodes.append(Node(out.name, "copy", [name], [out.name], attrs_of("copy"), source))
            graph.outputs[i] = out.name
            if name in graph.layout:
                graph.layout[out.name] = graph.layout[name]
        else:
            taken.add(origin)


# -- permutations: transpose(x, p) has axis p[i] of x at place i ---------------------------------------------------


def identity(rank: int) -> Perm:
    return tuple(range(rank))


def then(p: Sequence[int], q: Sequence[int]) -> Perm:
    """transpose(transpose(x, p), q) == transpose(x, then(p, q))"""
    return tuple(p[i] for i in q)


def inverse(p: Sequence[int]) -> Perm:
    return tuple(sorted(range(len(p)), key=p.__getitem__))


def between(p: Sequence[int], q: Sequence[int]) -> Perm:
    """What turns transpose(x, p) into transpose(x, q)."""
    return then(inverse(p), q)


def permuted(shape: Sequence[int], p: Iterable[int]) -> Shape:
    return tuple(shape[i] for i in p)


def moves_data(shape: Sequence[int], p: Iterable[int]) -> bool:
    """False if the transpose changes no byte: it only moves axes of size 1."""
    big = [i for i in p if shape[i] != 1]
    return big != sorted(big)


def axis_map(src: Sequence[int], dst: Sequence[int]) -> list[int | None] | None:
    """For each axis of dst its axis of src, where the reshape only adds and drops axes of size 1; else None."""
    out: list[int | None] = []
    i = 0
    for d in dst:
        while i < len(src) and src[i] != d and src[i] == 1:
            i += 1
        if i < len(src) and src[i] == d:
            out.append(i)
            i += 1
        elif d == 1:
            out.append(None)
        else:
            return None
    return out if all(d == 1 for d in src[i:]) else None


def rename_axes(node: Node, rank: int, where: Sequence[int]) -> Any:
    """The node's attrs when axis i of its input has become axis where[i]; the ranks stay equal."""
    a = node.attrs
    if node.op == "prelu" and a.axis == -1:  # one slope for all
        return a
    if node.op in AXIS or node.op == "concat":
        return a._replace(axis=where[a.axis % rank])
    if node.op == "mean":
        return a._replace(axes=tuple(sorted(where[i % rank] for i in a.axes)))
    if node.op == "pad":
        pads = [(0, 0)] * rank
        for i, p in enumerate(a.pads):
            pads[where[i]] = tuple(p)
        return a._replace(pads=tuple(pads))
    if node.op == "slice":
        source = inverse(where)
        return type(a)(*(tuple(v[i] for i in source) for v in a))
    return a
