"""Make the graph plain: no identities, no chains of reshapes, constants computed, reshapes as late as they can be.

Reshapes cost nothing at run time, but they hide one operator from the next; moved behind what follows them, a network
of 1-d convolutions becomes the 2-d network that it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genn.ir import Graph, Node, Tensor
from genn.ops import registry
from genn.passes.tools import (
    AXIS,
    BINARY,
    CLAMPS,
    UNARY,
    Index,
    Perm,
    Shape,
    attrs_of,
    axis_map,
    insert_after,
    insert_before,
    inverse,
    moves_data,
    reshaped,
    transposed,
)


def normalise_means(graph: Graph) -> None:
    """A mean keeps its axes and a reshape drops them, so that ranks agree around it."""
    for node in list(graph.nodes):
        if node.op == "mean" and not node.attrs.keepdim:
            shape, out = graph[node.inputs[0]].shape, graph[node.outputs[0]].shape
            axes = {a % len(shape) for a in node.attrs.axes} or set(range(len(shape)))
            node.with_attrs(axes=tuple(sorted(axes)), keepdim=True)
            kept = tuple(1 if i in axes else d for i, d in enumerate(shape))
            insert_after(graph, node, "reshape", attrs_of("reshape", out), kept)


def drop_identity(graph: Graph) -> bool:
    """Remove nodes that change nothing."""
    index, gone = Index(graph), []
    for node in graph.nodes:
        keep, out = _kept(graph, node), node.outputs[0]
        if keep is None:
            continue
        if out in index.outputs:
            if keep not in index.made or keep in graph.outputs:
                continue  # the output must stay a tensor of its own
            if out in graph.layout:
                graph.layout[keep] = graph.layout.pop(out)
        gone.append(node)
        graph.replace_uses(out, keep)
    if gone:
        graph.nodes = [n for n in graph.nodes if not any(n is g for g in gone)]
    return bool(gone)


def _kept(graph: Graph, node: Node) -> str | None:
    """The input that the node passes on unchanged, or None."""
    x, a = node.inputs[0], node.attrs
    same = graph[x].shape == graph[node.outputs[0]].shape
    if node.op in BINARY:
        if (a.lo, a.hi) != (-np.inf, np.inf):
            return None
        for i, other in ((0, 1), (1, 0)):
            value = graph[node.inputs[other]].const
            if value is None or graph[node.inputs[i]].shape != graph[node.outputs[0]].shape:
                continue
            if not (node.op == "sub" and other == 0) and bool(np.all(value == (1 if node.op == "mul" else 0))):
                return node.inputs[i]
        return None
    if not same:
        return None
    trivial = {
        "copy": lambda: True,
        "reshape": lambda: True,
        "transpose": lambda: not moves_data(graph[x].shape, a.perm),
        "pad": lambda: not np.any(a.pads),
        "slice": lambda: True,
        "clamp": lambda: (a.lo, a.hi) == (-np.inf, np.inf),
        "concat": lambda: len(node.inputs) == 1,
        "mean": lambda: True,
        "adaptive_avg_pool2d": lambda: True,
        "max_pool2d": lambda: tuple(a.kernel) == (1, 1) and tuple(a.stride) == (1, 1) and not any(a.pad),
    }
    return x if node.op in trivial and trivial[node.op]() else None


def unit_transposes(graph: Graph) -> bool:
    """A transpose that only moves axes of size 1 is a reshape; two in a row are one."""
    index, changed = Index(graph), False
    for node in graph.nodes:
        if node.op != "transpose":
            continue
        if before := index.maker(node.inputs[0], "transpose"):
            node.with_attrs(perm=tuple(before.attrs.perm[i] for i in node.attrs.perm))
            node.inputs = list(before.inputs)
            changed = True
        if not moves_data(graph[node.inputs[0]].shape, node.attrs.perm):
            node.op, node.attrs = "reshape", attrs_of("reshape", graph[node.outputs[0]].shape)
            changed = True
    return changed


def sink_transposes(graph: Graph) -> bool:
    """What follows a layer's transpose, value by value, comes before it, so that the layer can take it in."""
    index, changed = Index(graph), False
    for node in list(graph.nodes):
        if node.op not in BINARY and node.op not in UNARY:
            continue
        moved = [x for x in node.inputs if graph[x].const is None]
        before = index.maker(moved[0], "transpose") if len(moved) == 1 else None
        layer = index.maker(before.inputs[0], *CLAMPS, *UNARY) if before else None
        if before is None or layer is None or index.single(moved[0]) is None:
            continue
        perm, out = before.attrs.perm, graph[node.outputs[0]].shape
        if out != graph[moved[0]].shape or any(len(graph[x].shape) != len(perm) for x in node.inputs):
            continue
        node.inputs = [before.inputs[0] if x == moved[0] else transposed(graph, x, inverse(perm)) for x in node.inputs]
        index.moved(node, moved[0], insert_after(graph, node, "transpose", before.attrs, graph[before.inputs[0]].shape))
        changed = True
    return changed


def merge_moves(graph: Graph) -> bool:
    """Transposes with reshapes between them, as of a channel shuffle, are one transpose of more axes."""
    index = Index(graph)
    for node in graph.nodes:
        if node.op != "transpose":
            continue
        chain = [node]
        while before := index.maker(chain[0].inputs[0], "transpose", "reshape"):
            chain.insert(0, before)
        for i, first in enumerate(chain[:-1]):
            walk = _one_walk(graph, chain[i:]) if first.op == "transpose" else None
            if walk and (not moves_data(*walk) or all(index.single(n.outputs[0]) for n in chain[i:-1])):
                break  # what others read as well stays, and then nothing is gained but where no byte moves
        else:
            continue
        (shape, perm), x, out = walk, first.inputs[0], graph[node.outputs[0]].shape
        value = insert_before(graph, node, "reshape", x, attrs_of("reshape", shape))
        if moves_data(shape, perm):
            value = insert_before(graph, node, "transpose", value, attrs_of("transpose", perm))
        node.op, node.attrs, node.inputs = "reshape", attrs_of("reshape", out), [value]
        return True
    return False


def _one_walk(graph: Graph, chain: Sequence[Node]) -> tuple[Shape, Perm] | None:
    """The shape and the permutation that do at once what the transposes and reshapes of ``chain`` do."""
    size = graph[chain[0].inputs[0]].size
    order = np.arange(size)
    for node in chain:
        order = order.reshape(graph[node.inputs[0]].shape)
        order = order.transpose(node.attrs.perm) if node.op == "transpose" else order
    order = order.ravel()
    loops: list[tuple[int, int]] = []  # (step, count), the innermost first
    while len(order) > 1:
        step = int(order[1] - order[0])
        breaks = np.flatnonzero(np.diff(order) != step)
        count = int(breaks[0]) + 1 if len(breaks) else len(order)
        if len(order) % count or np.any(order.reshape(-1, count) - order[::count, None] != step * np.arange(count)):
            return None
        loops.append((step, count))
        order = order[::count]
    loops = loops[::-1]
    perm = inverse(sorted(range(len(loops)), key=lambda i: -loops[i][0]))
    shape = [0] * len(loops)
    for axis, (_, count) in zip(perm, loops):
        shape[axis] = count
    steps = [int(np.prod(shape[axis + 1 :])) for axis in perm]
    return (tuple(shape), perm) if len(loops) <= 6 and steps == [step for step, _ in loops] else None


def merge_reshapes(graph: Graph) -> bool:
    """A reshape of a reshape is one reshape."""
    index, changed = Index(graph), False
    for node in graph.nodes:
        if node.op == "reshape" and (before := index.maker(node.inputs[0], "reshape")):
            node.inputs, changed = list(before.inputs), True
    return changed


def merge_slices(graph: Graph) -> bool:
    """A slice of a slice is one slice."""
    index, changed = Index(graph), False
    for node in graph.nodes:
        if node.op == "slice" and (before := index.maker(node.inputs[0], "slice")):
            axes = list(zip(*before.attrs, *node.attrs))
            begin = tuple(b0 + s0 * b1 for b0, s0, _, b1, _, _ in axes)
            node.with_attrs(begin=begin, step=tuple(s0 * s1 for _, s0, _, _, s1, _ in axes))
            node.inputs, changed = list(before.inputs), True
    return changed


def fold_constants(graph: Graph) -> bool:
    """Run what depends on constants only, in the float meaning."""
    changed = False
    for node in list(graph.nodes):
        values = [graph[i].const for i in node.inputs]
        if any(v is None for v in values) or node.outputs[0] in graph.outputs:
            continue
        with np.errstate(all="ignore"):
            result = registry[node.op].ref_f(node.attrs, *(v[None] for v in values if v is not None))[0]
        out = node.outputs[0]
        graph.tensors[out] = Tensor(out, graph[out].shape, const=np.ascontiguousarray(result, np.float32))
        graph.nodes = [n for n in graph.nodes if n is not node]
        changed = True
    return changed


# -- reshapes move down --------------------------------------------------------------------------------------------


def sink_reshapes(graph: Graph) -> bool:
    """op(reshape(x)) becomes reshape(op(x)) wherever the operator allows."""
    index = Index(graph)
    for node in graph.nodes:
        for i, name in enumerate(node.inputs):
            before = index.maker(name, "reshape")
            if before is not None and graph[before.inputs[0]].const is None and _sink(graph, index, node, i, before):
                return True
    return False


def _sink(graph: Graph, index: Index, node: Node, i: int, before: Node) -> bool:
    src, dst = graph[before.inputs[0]].shape, graph[before.outputs[0]].shape
    out = graph[node.outputs[0]].shape
    attrs: Any = node.attrs
    axes = axis_map(src, dst)
    if node.op in UNARY or (node.op == "prelu" and graph[node.inputs[1]].size == 1):
        inputs = [before.inputs[0], *node.inputs[1:]]
    elif node.op in BINARY and dst == out:
        shapes = _operands(graph, index, node, src, dst, axes)
        if shapes is None:
            return False
        inputs = [reshaped(graph, node, _source_of(index, graph, x, s), s) for x, s in zip(node.inputs, shapes)]
    elif axes is None:
        return False
    elif node.op == "concat":
        axis = axes[attrs.axis % len(dst)]
        lifted = [_lift(graph[x].shape, src, axes) for x in node.inputs]
        free = all(_free(graph, index, x) for x in node.inputs) or len(src) > len(dst)
        if axis is None or not free or any(s is None for s in lifted):
            return False
        inputs = [reshaped(graph, node, _source_of(index, graph, x, s), s) for x, s in zip(node.inputs, lifted) if s]
        attrs = attrs._replace(axis=axis)
    else:
        moved = _move_axes(node, axes, src)
        if moved is None:
            return False
        attrs, inputs = moved, [before.inputs[0], *node.inputs[1:]]
    (shape,) = registry[node.op].shape(attrs, *(graph[x].shape for x in inputs))
    node.inputs, node.attrs = inputs, attrs
    insert_after(graph, node, "reshape", attrs_of("reshape", out), tuple(shape))
    return True


def _lift(shape: Sequence[int], src: Sequence[int], axes: Sequence[int | None]) -> tuple[int, ...] | None:
    """``shape`` (of dst's rank) with its axes put where src has them."""
    lifted = [1] * len(src)
    for d, axis in zip(shape, axes):
        if axis is not None:
            lifted[axis] = d
        elif d != 1:
            return None
    return tuple(lifted)


def _free(graph: Graph, index: Index, x: str) -> bool:
    return graph[x].const is not None or index.maker(x, "reshape") is not None


def _source_of(index: Index, graph: Graph, x: str, shape: tuple[int, ...]) -> str:
    before = index.maker(x, "reshape")
    return before.inputs[0] if before and graph[before.inputs[0]].shape == shape else x


def _operands(graph: Graph, index: Index, node: Node, src, dst, axes) -> list[tuple[int, ...]] | None:
    """The shapes both operands of a binary operator take in front of the reshape, or None."""
    shapes = []
    for x in node.inputs:
        before = index.maker(x, "reshape")
        if before is not None and graph[before.inputs[0]].shape == src and graph[x].shape == dst:
            shapes.append(src)
        elif graph[x].const is not None and graph[x].size == 1:
            shapes.append((1,) * len(src))
        elif axes is not None and (_free(graph, index, x) or len(src) > len(dst)):
            lifted = _lift(graph[x].shape, src, axes)
            if lifted is None:
                return None
            shapes.append(lifted)
        else:
            return None
    return shapes


def _move_axes(node: Node, axes: Sequence[int | None], src: Sequence[int]) -> Any:
    """Attrs of the operator applied to src instead of dst, or None where an axis it works along is not there."""
    a, rank = node.attrs, len(axes)
    if node.op in AXIS:
        axis = axes[a.axis % rank]
        return None if axis is None else a._replace(axis=axis)
    if node.op == "mean":
        return a._replace(axes=tuple(sorted(m for i in a.axes if (m := axes[i % rank]) is not None)))
    if node.op == "pad":
        pads = [(0, 0)] * len(src)
        for axis, p in zip(axes, a.pads):
            if axis is not None:
                pads[axis] = tuple(p)
            elif any(p):
                return None
        return a._replace(pads=tuple(pads))
    if node.op == "slice":
        if any(axis is None and n != 1 for axis, n in zip(axes, a.size)):
            return None
        begin, step, size = [0] * len(src), [1] * len(src), list(src)
        for axis, *part in zip(axes, *a):
            if axis is not None:
                begin[axis], step[axis], size[axis] = part
        return type(a)(tuple(begin), tuple(step), tuple(size))
    if node.op == "transpose":
        order = [m for i in a.perm if (m := axes[i]) is not None]
        for axis in range(len(src)):
            if axis not in order:
                order.insert(axis, axis)
        return a._replace(perm=tuple(order))
    return None
