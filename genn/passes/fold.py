"""Fold what is linear, and what clamps, into the layer before: work done at conversion costs nothing on the device.

Weights are folded in float64 and rounded once: a constant that was folded remembers its unrounded value until the end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genn.ir import Graph, Node
from genn.passes.layout import flatten_order, linear_readers, unflatten_maker
from genn.passes.tools import CLAMPS, Index, attrs_of, axis_map, exact, insert_after, insert_before, new_const

INF = float("inf")


def _only_into(graph: Graph, index: Index, node: Node) -> Node | None:
    """The single reader of the node's output."""
    return index.single(node.outputs[0])


def _take_over(graph: Graph, first: Node, second: Node) -> None:
    """``first`` now makes what ``second`` made; ``second`` is gone."""
    first.outputs = list(second.outputs)
    graph.nodes = [n for n in graph.nodes if n is not second]


def _absorb_all(graph: Graph, absorbed: Callable[[Index, Node], Node | None]) -> bool:
    """Let every node take over its only readers as long as ``absorbed`` takes one in and returns it.

    In one walk with one index: a large network has hundreds of layers to fold into.
    """
    index, gone = Index(graph), set()
    for node in graph.nodes:
        while id(node) not in gone and (user := absorbed(index, node)) is not None:
            gone.add(id(user))
            index.replaced(user, node)
            node.outputs = list(user.outputs)
    graph.nodes = [n for n in graph.nodes if id(n) not in gone]
    return bool(gone)


# -- transposes into linear ----------------------------------------------------------------------------------------


def fold_flatten(graph: Graph) -> bool:
    """transpose -> flatten -> linear: permute the columns of the weight instead."""
    index = Index(graph)
    for node in graph.nodes:
        before = index.maker(node.inputs[0], "transpose") if node.op == "reshape" else None
        readers = linear_readers(graph, index, node.outputs[0]) if before else None
        if not before or not readers:
            continue
        x = before.inputs[0]
        order = flatten_order(graph[x].shape, before.attrs.perm, graph[node.outputs[0]].shape)
        if order is None:
            continue
        node.inputs = [x]
        for linear, offset in readers:
            _replace_columns(graph, linear, offset, order)
        return True
    return False


def _replace_columns(graph: Graph, linear: Node, offset: int, order: np.ndarray) -> None:
    """Column ``offset + j`` of the weight moves to ``offset + order[j]``."""
    name = linear.inputs[1]
    value, unrounded = graph[name].const, exact(graph, name)
    assert value is not None
    source = np.arange(value.shape[1])
    source[offset + order] = offset + np.arange(len(order))
    linear.inputs[1] = new_const(graph, name, value[:, source], unrounded[:, source])


def fold_unflatten(graph: Graph) -> bool:
    """linear -> reshape -> transpose: permute the rows of the weight instead."""
    index = Index(graph)
    for node in graph.nodes:
        if node.op != "transpose":
            continue
        linear = unflatten_maker(graph, index, node.inputs[0])
        if linear is None:
            continue
        shape = graph[node.inputs[0]].shape
        order = np.arange(graph[node.inputs[0]].size).reshape(shape).transpose(node.attrs.perm).ravel()
        for i in (1, 2):
            name = linear.inputs[i]
            value = graph[name].const
            assert value is not None
            linear.inputs[i] = new_const(graph, name, value[order], exact(graph, name)[order])
        reshape = index.made[node.inputs[0]]
        reshape.attrs = attrs_of("reshape", graph[node.outputs[0]].shape)
        _take_over(graph, reshape, node)
        return True
    return False


# -- padding -------------------------------------------------------------------------------------------------------


def fold_pad(graph: Graph) -> bool:
    """Zeros put around the image, or around the signal that becomes one, belong to the convolution's own padding."""
    index = Index(graph)
    for node in graph.nodes:
        conv = _only_into(graph, index, node) if node.op == "pad" and node.attrs.value == 0 else None
        via = conv if conv is not None and conv.op == "reshape" else None
        conv = _only_into(graph, index, via) if via else conv
        if conv is None or conv.op != "conv2d" or graph[conv.inputs[0]].const is not None:
            continue
        axes = axis_map(graph[node.outputs[0]].shape, graph[conv.inputs[0]].shape)
        if axes is None or any(any(p) and i not in axes for i, p in enumerate(node.attrs.pads)):
            continue
        batch, rows, cols, channels = ((0, 0) if i is None else node.attrs.pads[i] for i in axes)
        if any((*batch, *channels)) or min(*rows, *cols) < 0:
            continue
        conv.with_attrs(pad=tuple(a + b for a, b in zip(conv.attrs.pad, (*rows, *cols))))
        if via:
            n, h, w, c = graph[via.outputs[0]].shape
            via.inputs = list(node.inputs)
            via.attrs = attrs_of("reshape", (n, h - sum(rows), w - sum(cols), c))
            graph[via.outputs[0]].shape = via.attrs.shape
        else:
            conv.inputs[0] = node.inputs[0]
        graph.nodes = [n for n in graph.nodes if n is not node]
        return True
    return False


def fold_pool_pad(graph: Graph) -> bool:
    """Minus infinity put around an image, on some of its sides, is the padding of the maximum pools behind it."""
    index = Index(graph)
    for node in graph.nodes:
        pools = index.users.get(node.outputs[0], [])
        if node.op != "pad" or node.attrs.value != -INF or not pools or any(p.op != "max_pool2d" for p in pools):
            continue
        batch, rows, cols, channels = node.attrs.pads
        if any((*batch, *channels)) or min(*rows, *cols) < 0 or node.outputs[0] in index.outputs:
            continue
        for pool in pools:
            t, left, b, r = pool.attrs.pad
            pool.with_attrs(pad=(t + rows[0], left + cols[0], b + rows[1], r + cols[1]))
            pool.inputs = list(node.inputs)
        graph.nodes = [n for n in graph.nodes if n is not node]
        return True
    return False


def slice_of_pad(graph: Graph) -> bool:
    """What is put around and what is cut off again is one step: padding by less, or by less than nothing."""
    index = Index(graph)
    for node in graph.nodes:
        pad = index.maker(node.inputs[0], "pad") if node.op == "slice" else None
        if pad is None or _only_into(graph, index, pad) is None or any(s != 1 for s in node.attrs.step):
            continue
        cut = zip(graph[pad.outputs[0]].shape, node.attrs.begin, node.attrs.size, strict=True)
        pads = [(b - i, a - (n - i - size)) for (n, i, size), (b, a) in zip(cut, pad.attrs.pads, strict=True)]
        if any(n + min(0, b) + min(0, a) < 1 for n, (b, a) in zip(graph[pad.inputs[0]].shape, pads, strict=True)):
            continue  # padding alone
        node.op, node.attrs, node.inputs = "pad", pad.attrs._replace(pads=tuple(pads)), list(pad.inputs)
        graph.nodes = [n for n in graph.nodes if n is not pad]
        return True
    return False


def hoist_slice(graph: Graph) -> bool:
    """Pixels that a slice cuts off behind a 1x1 convolution are cut off before it."""
    index = Index(graph)
    for node in graph.nodes:
        conv = index.maker(node.inputs[0], "conv2d") if node.op == "slice" else None
        if conv is None or _only_into(graph, index, conv) is None or graph[conv.inputs[0]].const is not None:
            continue
        a, cut, (n, _, _, c) = conv.attrs, node.attrs, graph[conv.inputs[0]].shape
        plain = graph[conv.inputs[1]].shape[1:3] == a.stride == a.pool == (1, 1) and not any(a.pad)
        if not plain or (cut.size[0], cut.size[3]) != (n, graph[conv.outputs[0]].shape[3]):
            continue
        conv.inputs[0] = insert_before(graph, conv, "slice", conv.inputs[0], cut._replace(size=(*cut.size[:3], c)))
        _take_over(graph, conv, node)
        return True
    return False


def fold_slice(graph: Graph) -> bool:
    """Rows and columns that a slice cuts off the image are not computed, where only padding made them."""
    index = Index(graph)
    for node in graph.nodes:
        conv = index.maker(node.inputs[0], "conv2d") if node.op == "slice" else None
        shape = graph[node.inputs[0]].shape
        if conv is None or _only_into(graph, index, conv) is None or any(s != 1 for s in node.attrs.step):
            continue
        (_, h, w, _), (_, kh, kw, _), a = graph[conv.inputs[0]].shape, graph[conv.inputs[1]].shape, conv.attrs
        pad: list[int] = []
        for axis, length, taps in ((1, h, kh), (2, w, kw)):
            before = a.pad[2 * axis - 2] - node.attrs.begin[axis] * a.stride[axis - 1]
            reach = (node.attrs.size[axis] - 1) * a.stride[axis - 1] + a.dilation[axis - 1] * (taps - 1) + 1
            pad += [before, reach - before - length]
        if (node.attrs.size[0], node.attrs.size[3]) != (shape[0], shape[3]) or min(pad) < 0:
            continue
        conv.with_attrs(pad=tuple(pad))
        _take_over(graph, conv, node)
        return True
    return False


# -- batch normalization and other per-channel factors ---------------------------------------------------------------


def fold_affine(graph: Graph) -> bool:
    """conv2d or linear, then a factor or offset per output channel (batch normalization): one layer."""
    return _absorb_all(graph, lambda index, node: _affine_into(graph, index, node))


def _affine_into(graph: Graph, index: Index, node: Node) -> Node | None:
    if node.op not in ("conv2d", "conv_transpose2d", "linear") or (node.attrs.lo, node.attrs.hi) != (-INF, INF):
        return None
    user = _only_into(graph, index, node)
    if user is None or user.op not in ("mul", "add", "sub") or (user.inputs[1:] == node.outputs and user.op == "sub"):
        return None
    factor = _per_channel(graph, user, node.outputs[0])
    if factor is None or any(graph[i].const is None for i in node.inputs[1:]):
        return None
    w, b = (exact(graph, i) for i in node.inputs[1:3])
    if user.op == "mul":
        w, b = w * factor.reshape([-1] + [1] * (w.ndim - 1)), b * factor
    else:
        b = b + (factor if user.op == "add" else -factor)
    if not all(np.all(np.isfinite(v.astype(np.float32))) for v in (w, b)):
        return None
    if user.op == "mul":
        node.inputs[1] = new_const(graph, node.inputs[1], w, w)
    node.inputs[2] = new_const(graph, node.inputs[2], b, b)
    node.with_attrs(lo=user.attrs.lo, hi=user.attrs.hi)
    return user


def _per_channel(graph: Graph, node: Node, x: str) -> np.ndarray | None:
    """The node's constant operand beside ``x``, one float64 value for each entry of the last axis, if it is that."""
    const = node.inputs[1] if node.inputs[0] == x else node.inputs[0]
    shape = graph[x].shape
    if graph[const].const is None or graph[node.outputs[0]].shape != shape or not shape:
        return None
    value = exact(graph, const)
    if value.size != value.shape[-1]:
        return None
    return np.broadcast_to(value.reshape(-1), (shape[-1],))


def affine_to_depthwise(graph: Graph) -> bool:
    """A factor and an offset per channel that nothing takes in are a depthwise 1x1 convolution: one pass, not two."""
    index = Index(graph)
    for node in graph.nodes:
        if node.op != "mul" or (node.attrs.lo, node.attrs.hi) != (-INF, INF):
            continue
        x = node.inputs[0] if graph[node.inputs[1]].const is not None else node.inputs[1]
        add = _only_into(graph, index, node)
        if graph[x].const is not None or add is None or add.op != "add":
            continue
        scale, shift = _per_channel(graph, node, x), _per_channel(graph, add, node.outputs[0])
        if scale is None or shift is None or (graph[node.inputs[1]].size == 1 and len(scale) > 1):
            continue
        shape, c = graph[x].shape, len(scale)
        image = shape if len(shape) == 4 else (1, 1, int(np.prod(shape[:-1])), c)
        weight = new_const(graph, f"{node.outputs[0]}_weight", scale.reshape(c, 1, 1, 1))
        bias = new_const(graph, f"{node.outputs[0]}_bias", shift)
        if image != shape:
            x = insert_before(graph, node, "reshape", x, attrs_of("reshape", image))
        node.op, node.inputs = "conv2d", [x, weight, bias]
        node.attrs = attrs_of(
            "conv2d", stride=(1, 1), pad=(0, 0, 0, 0), dilation=(1, 1), groups=c, lo=add.attrs.lo, hi=add.attrs.hi
        )
        _take_over(graph, node, add)
        if image != shape:
            insert_after(graph, node, "reshape", attrs_of("reshape", shape), image)
        return True
    return False


# -- activations ---------------------------------------------------------------------------------------------------


def fuse_clamp(graph: Graph) -> bool:
    """relu, relu6 and hardtanh become limits of the operator before."""
    return _absorb_all(graph, lambda index, node: _clamp_into(graph, index, node))


def _clamp_into(graph: Graph, index: Index, node: Node) -> Node | None:
    if node.op not in CLAMPS and node.op != "clamp":
        return None
    user = _only_into(graph, index, node)
    if user is None or user.op != "clamp":
        return None
    lo, hi = (min(max(v, user.attrs.lo), user.attrs.hi) for v in (node.attrs.lo, node.attrs.hi))
    node.with_attrs(lo=lo, hi=hi)
    return user


def hoist_clamp(graph: Graph) -> bool:
    """Maximum, then clamp is clamp, then maximum: move the clamp up to a layer that takes it in."""
    index = Index(graph)
    for node in graph.nodes:
        if node.op != "clamp" or (pool := index.maker(node.inputs[0], "max_pool2d")) is None:
            continue
        before = index.maker(pool.inputs[0], *CLAMPS, "max_pool2d")
        if before is None or _only_into(graph, index, pool) is None or _only_into(graph, index, before) is None:
            continue
        clamp, attrs = node.outputs[0], node.attrs
        pool_out = graph[clamp].shape
        graph.nodes = [n for n in graph.nodes if n is not node]
        pool.outputs = [clamp]
        assert graph[clamp].shape == pool_out
        pool.inputs = [insert_before(graph, pool, "clamp", pool.inputs[0], attrs, node.source)]
        return True
    return False


def fuse_pool(graph: Graph) -> bool:
    """A maximum pool whose windows lie side by side becomes part of the convolution before it.

    Every step from sum to stored value is monotone, so the pool may compare sums: one requantization for a window
    instead of one for each pixel, and the unpooled image is never stored.
    """
    index = Index(graph)
    for node in graph.nodes:
        if node.op != "conv2d" or (pool := _only_into(graph, index, node)) is None or pool.op != "max_pool2d":
            continue
        a, (_, h, w, _) = pool.attrs, graph[node.outputs[0]].shape
        side_by_side = tuple(a.kernel) == tuple(a.stride) and tuple(a.dilation) == (1, 1) and not any(a.pad)
        inside = a.out[0] * a.kernel[0] <= h and a.out[1] * a.kernel[1] <= w
        whole = (h // a.kernel[0], w // a.kernel[1]) == tuple(a.out)  # ceil_mode has one window more
        if not (side_by_side and inside and whole) or tuple(node.attrs.pool) != (1, 1):
            continue
        node.with_attrs(pool=tuple(a.kernel))
        _take_over(graph, node, pool)
        return True
    return False
