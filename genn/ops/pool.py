"""Pooling: windows whose divisors are all known at conversion, so that C never divides integers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from genn.errors import ModelError
from genn.ir import Graph, Node
from genn.ops.affine import average, function_module
from genn.ops.base import Array, Call, Case, Lowered, Op, Shape, Stats, in_tensor, out_tensor, register, suffix
from genn.ops.rows import Window


# -- windows -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Windows:
    """One axis of a pool: ``index[o, k]`` is the input place of tap k of output o where ``inside[o, k]``.

    counts: what each output's window contributes to the divisor (torch counts padding, but not beyond it).
    """

    index: np.ndarray
    inside: np.ndarray
    counts: np.ndarray


def grid_windows(size: int, out: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int = 1,
                 count_pad: bool = False) -> Windows:
    """Windows at a fixed stride; ``pad`` before and after."""
    start = np.arange(out)[:, None] * stride - pad[0]
    index = start + np.arange(kernel) * dilation
    inside = (index >= 0) & (index < size)
    counts = ((index < size + pad[1]) if count_pad else inside).sum(axis=1)
    return Windows(index, inside, counts)


def adaptive_windows(size: int, out: int) -> Windows:
    """torch's adaptive windows: floor(o * size / out) up to, not including, ceil((o + 1) * size / out)."""
    o = np.arange(out)
    start, end = o * size // out, -(-(o + 1) * size // out)
    index = start[:, None] + np.arange(int((end - start).max()))
    return Windows(index, index < end[:, None], end - start)


def taps(x: np.ndarray, rows: Windows, cols: Windows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tap by tap in the order rows, columns: values (S, N, OH, OW, C), and where they lie inside (OH, OW, 1)."""
    for i in range(rows.index.shape[1]):
        part = np.take(x, np.clip(rows.index[:, i], 0, x.shape[2] - 1), axis=2)
        for j in range(cols.index.shape[1]):
            inside = rows.inside[:, i, None] & cols.inside[None, :, j]
            yield np.take(part, np.clip(cols.index[:, j], 0, x.shape[3] - 1), axis=3), inside[:, :, None]


def pool_out(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> int:
    """torch's output size; with ceil_mode no window starts in the padding after the input."""
    reach = size + 2 * pad - dilation * (kernel - 1) - 1
    out = (-(-reach // stride) if ceil_mode else reach // stride) + 1
    return out - 1 if ceil_mode and (out - 1) * stride >= size + pad else out


def sum_f(x: np.ndarray, rows: Windows, cols: Windows) -> np.ndarray:
    """Window sums in float32, in order, starting from the first element inside."""
    acc: np.ndarray | None = None
    started: Any = False
    for v, inside in taps(x, rows, cols):
        acc = v if acc is None else np.where(inside, np.where(started, acc + v, v), acc)
        started = started | inside
    assert acc is not None
    return acc


def sum_q(x: np.ndarray, rows: Windows, cols: Windows) -> np.ndarray:
    return sum(np.where(inside, v, 0) for v, inside in taps(x, rows, cols))  # type: ignore[return-value]


# -- averages ----------------------------------------------------------------------------------------------------------
class Averaging(Op):
    """What the averages share: QParams and the float32 or integer last step."""

    family = "pool"
    header = "genn_pool.h"

    def qparams(self, node, graph, stats):
        """The input's QParams, unless calibration found a clearly smaller range."""
        q, x = super().qparams(node, graph, stats), in_tensor(node, graph).q
        assert x is not None
        keep = graph.scheme == "int8" and 0.75 * float(x.scale) < float(q.scale) <= 1.0001 * float(x.scale)
        return x if keep else q


class WindowAverage(Averaging):
    """Average pools over NHWC: a uniform grid inside the input has its own kernel, all others are table-driven."""

    def windows(self, attrs: Any, shape: Shape) -> tuple[Windows, Windows]:
        raise NotImplementedError

    def divisor(self, attrs: Any) -> int:
        """One divisor for all windows, or 0: the product of the windows' counts."""
        return 0

    def uniform(self, attrs: Any, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """(kernel, stride) where all windows lie inside, at a fixed stride; else None."""
        raise NotImplementedError

    def window(self, node: Node, graph: Graph) -> Window | None:
        """Windows at a fixed stride."""
        x = in_tensor(node, graph)
        if (same := self.uniform(node.attrs, x.shape)) is None:
            return None
        (kh, _), (sh, _) = same
        return Window(sh, 0, kh, x.shape[1], node.attrs.out[0])

    def one_row(self, node: Node, graph: Graph, window: Window) -> Node:
        """With the table of all rows, from which each takes its own."""
        x, one = in_tensor(node, graph), node.attrs._replace(out=(1, node.attrs.out[1]))
        if self.uniform(node.attrs, x.shape) is not None:
            return replace(node, attrs=one)
        table, counts = _table(self.windows(node.attrs, x.shape)[0])
        table[:, 1] -= table[:, 0]
        table[:, 0] = 0  # a row's function is given the first row of its window
        return replace(node, attrs=one, quant=node.quant | {"rows": (table, counts)})

    def divisors(self, attrs: Any, rows: Windows, cols: Windows) -> np.ndarray:
        """(OH, OW)"""
        fixed = self.divisor(attrs)
        return np.full((len(rows.counts), len(cols.counts)), fixed) if fixed else np.outer(rows.counts, cols.counts)

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        n, _, _, c = shapes[0]
        return [(n, *attrs.out, c)]

    def ref_f(self, attrs, x):
        rows, cols = self.windows(attrs, x.shape[1:])
        return sum_f(x, rows, cols) / self.divisors(attrs, rows, cols)[:, :, None].astype(np.float32)

    def ref_q(self, node, graph, x):
        rows, cols = self.windows(node.attrs, x.shape[1:])
        xq, yq, rule = in_tensor(node, graph).q, out_tensor(node, graph).q, node.quant["rule"]
        assert xq is not None and yq is not None
        taken = np.outer(rows.inside.sum(axis=1), cols.inside.sum(axis=1))
        acc = sum_q(x, rows, cols) - (taken * xq.zero_point)[:, :, None]
        table = dict(zip(node.quant["divisors"], rule.mult, strict=True))
        mult = np.vectorize(table.get, otypes=[np.int64])(self.divisors(node.attrs, rows, cols))
        return rule.apply(acc, mult[:, :, None], yq)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        if graph.scheme == "float32":
            return
        x, y = in_tensor(node, graph), out_tensor(node, graph)
        rows, cols = self.windows(node.attrs, x.shape)
        divisors = np.unique(self.divisors(node.attrs, rows, cols))
        count = int(rows.inside.sum(axis=1).max() * cols.inside.sum(axis=1).max())
        rule = average(x, y, divisors, count)
        node.quant.update(rule=rule, divisors=[int(d) for d in divisors], bound=rule.bound, error=rule.error)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        x, y, attrs = in_tensor(node, graph), out_tensor(node, graph), node.attrs
        rows, cols = self.windows(attrs, x.shape)
        n, h, w, c = x.shape
        params: dict[str, Any] = {"n": n, "h": h, "w": w, "c": c, "oh": y.shape[1], "ow": y.shape[2]}
        ends = "_f32" if graph.scheme == "float32" else ""
        divisors, by_row = self.divisors(attrs, rows, cols), node.quant.get("rows")
        if by_row is None and (same := self.uniform(attrs, x.shape)) is not None:
            (kh, kw), (sh, sw) = same
            params |= {"kh": kh, "kw": kw, "sh": sh, "sw": sw}
            params |= {"divisor": float(divisors[0, 0])} if ends else finish(node, graph, kh * kw)
            call = Call(f"genn_avg_pool2d_{suffix(graph)}", f"genn_avg_pool2d{ends}", params, ("in0", "out0"))
            return Lowered(self.header, [call])
        row_table, row_counts = by_row or _table(rows)
        col_table, col_counts = _table(cols)
        fixed = self.divisor(attrs)
        table = np.full((len(row_counts), len(col_counts)), fixed) if fixed else np.outer(row_counts, col_counts)
        params["classes"] = len(col_counts)
        consts = {"rows": Array("uint16_t", row_table), "cols": Array("uint16_t", col_table)}
        if ends:
            consts["divisor"] = Array("float", table.astype(np.float32))
        else:
            mult = dict(zip(node.quant["divisors"], node.quant["rule"].mult, strict=True))
            consts["mult"] = Array("int32_t", np.array([mult[int(d)] for d in table.ravel()]))
            assert x.q is not None
            last = finish(node, graph, 0)
            params |= {"zero": -x.q.zero_point} | {k: last[k] for k in ("pre", "shift", "offset", "lo", "hi")}
        args = ("in0", *("c.rows@3" if k == "rows" and by_row else f"c.{k}" for k in consts), "out0")
        call = Call(f"genn_window_pool2d_{suffix(graph)}", f"genn_window_pool2d{ends}", params, args)
        return Lowered(self.header, [call], consts=consts)


def _table(axis: Windows) -> tuple[np.ndarray, list[int]]:
    """{start, end, class} per output along an axis, and the count each class stands for."""
    classes = [int(v) for v in np.unique(axis.counts)]
    first = np.argmax(axis.inside, axis=1)
    start = axis.index[np.arange(len(first)), first]
    rows = np.stack([start, start + axis.inside.sum(axis=1), [classes.index(int(v)) for v in axis.counts]], axis=1)
    if rows.max() > 0xFFFF:
        raise ModelError("a pool over more than 65535 rows or columns is not supported")
    return rows, classes


def finish(node: Node, graph: Graph, count: int) -> dict[str, Any]:
    """The last fields of the integer kernels with one divisor; ``count`` elements a sum."""
    rule, x, y = node.quant["rule"], in_tensor(node, graph).q, out_tensor(node, graph).q
    assert x is not None and y is not None
    return {"bias": -count * x.zero_point, "mult": int(rule.mult[0]), "pre": rule.pre, "shift": rule.shift,
            "offset": rule.offset, "lo": y.qmin, "hi": y.qmax}


# -- front end ---------------------------------------------------------------------------------------------------------
def _pair(value: Any) -> tuple[int, int]:
    """An int, or a list of one or two, as two ints."""
    items = [int(v) for v in (value if isinstance(value, Sequence) else [value])]
    return (items[0], items[-1])


class _Spatial(NamedTuple):
    """A pool's arguments for two spatial axes, and its input as NHWC."""

    x: Any
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    dilation: tuple[int, int]
    out: tuple[int, int]


def _spatial(b: Any, a: Mapping[str, Any], one: bool) -> _Spatial:
    """The schema's arguments, 1-d pools as 2-d ones of height 1."""
    x = b.to2d(a["self"]) if one else b.nhwc(a["self"])

    def two(value: Any, unit: int) -> tuple[int, int]:
        return (unit, _pair(value)[1]) if one else _pair(value)

    kernel = two(a["kernel_size"], 1)
    stride = two(a["stride"], 1) if a.get("stride") else kernel
    pad, dilation = two(a["padding"], 0), two(a.get("dilation", 1), 1)
    _, h, w, _ = b.shape(x)
    out = tuple(pool_out(n, k, s, p, d, bool(a["ceil_mode"]))
                for n, k, s, p, d in zip((h, w), kernel, stride, pad, dilation, strict=True))
    return _Spatial(x, kernel, stride, (pad[0], pad[1], pad[0], pad[1]), dilation, (out[0], out[1]))


def _back(b: Any, y: Any, like: Any, one: bool) -> Any:
    return b.from2d(y, like) if one else b.nchw(y)


# -- operators ---------------------------------------------------------------------------------------------------------
@register
class MaxPool2d(Op):
    """inputs: x NHWC.  Largest element of each window; padding (top, left, bottom, right) is never chosen."""

    name, family = "max_pool2d", "pool"
    aten = ("aten.max_pool2d.default", "aten.max_pool1d.default", "aten.max_pool2d_with_indices.default",
            "aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool1d.default", "aten.amax.default", "aten.max.dim")
    header = "genn_pool.h"
    doc = "MaxPool1d, MaxPool2d with stride, padding, dilation, ceil_mode, adaptive to divisors; amax, max over axes"
    keeps_q = True

    class Attrs(NamedTuple):
        kernel: tuple[int, int]
        stride: tuple[int, int]
        pad: tuple[int, int, int, int]
        dilation: tuple[int, int]
        out: tuple[int, int]

    def load(self, b, node) -> Any:
        a, one, target = b.arguments(node), "1d" in str(node.target), str(node.target)
        if "max_pool" not in target:
            y = self._largest(b, a["self"], np.ravel(a["dim"]).tolist(), bool(a["keepdim"]))
            return [y, None] if "max.dim" in target else y
        if "adaptive" in target:
            out = _pair(a["output_size"])
            return [self._adaptive(b, a["self"], (1, out[1]) if one else out, one), None]
        s = _spatial(b, a, one)
        attrs = self.Attrs(s.kernel, s.stride, s.pad, s.dilation, s.out)
        if not all(w.inside.any(axis=1).all() for w in self._windows(attrs, b.shape(s.x))):
            raise ModelError("a window of the pool holds padding only", fix="use less padding or dilation")
        y = _back(b, b.emit("max_pool2d", [s.x], attrs), a["self"], one)
        return [y, None] if "indices" in target else y

    def _adaptive(self, b: Any, x: Any, out: Sequence[int | None], one: bool) -> Any:
        """Windows of one size, without which this would be another operator."""
        image = b.to2d(x) if one else b.nhwc(x)
        size = b.shape(image)[1:3]
        to = (out[0] or size[0], out[1] or size[1])
        if size[0] % to[0] or size[1] % to[1]:
            raise ModelError(f"adaptive max pooling of {size} to {to}, which does not divide it, is not supported")
        step = (size[0] // to[0], size[1] // to[1])
        return _back(b, b.emit("max_pool2d", [image], self.Attrs(step, step, (0,) * 4, (1, 1), to)), x, one)

    def _largest(self, b: Any, x: Any, dims: Sequence[int], keep: bool) -> Any:
        """The maximum over axes that are neighbours is a pool; over an image or a signal, one in their own layout."""
        shape = b.shape(x)
        axes = sorted(int(d) % len(shape) for d in dims) or list(range(len(shape)))
        if axes != list(range(axes[0], axes[-1] + 1)):
            raise ModelError(f"the maximum over axes {axes}, which are not neighbours, is not supported")
        before, after = shape[: axes[0]], shape[axes[-1] + 1 :]
        if axes[0] == 2 and not after and len(shape) < 5:
            y = self._adaptive(b, x, (1, 1), len(shape) == 3)
        else:
            rows = math.prod(shape[i] for i in axes)
            x = b.reshape(x, (math.prod(before), rows, 1, math.prod(after)))
            y = b.emit("max_pool2d", [x], self.Attrs((rows, 1), (rows, 1), (0,) * 4, (1, 1), (1, 1)))
        return b.reshape(y, (*before, *[1] * (len(axes) if keep else 0), *after))

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        n, _, _, c = shapes[0]
        return [(n, *attrs.out, c)]

    def _windows(self, a, shape: Shape) -> tuple[Windows, Windows]:
        t, left, bottom, r = a.pad
        return (grid_windows(shape[1], a.out[0], a.kernel[0], a.stride[0], (t, bottom), a.dilation[0]),
                grid_windows(shape[2], a.out[1], a.kernel[1], a.stride[1], (left, r), a.dilation[1]))

    def ref_f(self, attrs, x):
        best: np.ndarray | None = None
        started: Any = False
        for v, inside in taps(x, *self._windows(attrs, x.shape[1:])):
            best = v if best is None else np.where(inside & (np.logical_not(started) | (v > best)), v, best)
            started = started | inside
        return best

    def ref_q(self, node, graph, x):
        return self.ref_f(node.attrs, x)

    def lower(self, node: Node, graph: Graph) -> Lowered:
        a, (n, h, w, c) = node.attrs, in_tensor(node, graph).shape
        clip = not all(axis.inside.all() for axis in self._windows(a, (n, h, w, c)))
        params = {"n": n, "h": h, "w": w, "c": c, "oh": a.out[0], "ow": a.out[1], "kh": a.kernel[0], "kw": a.kernel[1],
                  "sh": a.stride[0], "sw": a.stride[1], "top": a.pad[0], "left": a.pad[1], "dh": a.dilation[0],
                  "dw": a.dilation[1], "clip": int(clip)}
        call = Call(f"genn_max_pool2d_{suffix(graph)}", "genn_max_pool2d", params, ("in0", "out0"))
        return Lowered(self.header, [call])

    def window(self, node: Node, graph: Graph) -> Window | None:
        a, rows = node.attrs, in_tensor(node, graph).shape[1]
        return Window(a.stride[0], a.pad[0], (a.kernel[0] - 1) * a.dilation[0] + 1, rows, a.out[0])

    def one_row(self, node: Node, graph: Graph, window: Window) -> Node:
        a, (_, left, _, right) = node.attrs, node.attrs.pad
        return replace(node, attrs=a._replace(pad=(window.pad, left, window.below, right), out=(1, a.out[1])))

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        for args, shape in [((2,), (1, 3, 8, 8)), ((3, 2, 1), (1, 4, 7, 9)),
                            (((2, 3), (1, 2), (1, 0)), (1, 1, 5, 6)),
                            ((3, 1, 1, 2), (1, 2, 9, 8)), ((2, 2, 0, 1, False, True), (1, 3, 5, 7)),
                            ((1,), (1, 5, 3, 4)),
                            ((3, 2, 1, 1, False, True), (1, 2, 6, 6)), ((2, 3), (1, 1, 2, 11)), ((2,), (3, 6, 4))]:
            yield Case(nn.MaxPool2d(*args), [shape], f"2d {args}")
        for args, shape in [((2,), (1, 3, 9)), ((3, 2, 1), (1, 2, 10)), ((3, 1, 1, 2), (1, 2, 9)), ((2,), (4, 6)),
                            ((2, 2, 1, 1, False, True), (1, 1, 5))]:
            yield Case(nn.MaxPool1d(*args), [shape], f"1d {args}")
        yield Case(nn.AdaptiveMaxPool2d((2, None)), [(1, 3, 6, 5)], "2d adaptive")
        yield Case(nn.AdaptiveMaxPool1d(1), [(1, 3, 7)], "1d adaptive")
        for dims, keep, dim in [((2, 3), False, 2), (2, True, 1), ((1, 2), True, 0), ((), False, -1)]:
            module = function_module(lambda x, dims=dims, keep=keep, dim=dim: (x.amax(dims, keep), x.max(dim)[0]))
            yield Case(module, [(1, 3, 4, 5)], f"amax {dims} {keep}, max {dim}")


@register
class AvgPool2d(WindowAverage):
    """inputs: x NHWC.  Window sum over its count of elements (of the padded input if count_include_pad) or ``divisor``.

    A window that hangs over the padded edge (ceil_mode) counts only what lies inside the padding.
    """

    name = "avg_pool2d"
    aten = ("aten.avg_pool2d.default", "aten.avg_pool1d.default")
    doc = "AvgPool1d, AvgPool2d with stride, padding, ceil_mode, count_include_pad, divisor_override"

    class Attrs(NamedTuple):
        kernel: tuple[int, int]
        stride: tuple[int, int]
        pad: tuple[int, int, int, int]
        out: tuple[int, int]
        count_include_pad: bool = True
        divisor: int = 0

    def load(self, b, node) -> Any:
        a, one = b.arguments(node), "1d" in str(node.target)
        s = _spatial(b, a, one)
        divisor = a.get("divisor_override") or 0
        if divisor < 0:
            raise ModelError("a negative divisor is not supported")
        attrs = self.Attrs(s.kernel, s.stride, s.pad, s.out, bool(a["count_include_pad"]), int(divisor))
        return _back(b, b.emit("avg_pool2d", [s.x], attrs), a["self"], one)

    def windows(self, attrs, shape: Shape) -> tuple[Windows, Windows]:
        (kh, kw), (sh, sw), (t, left, bottom, r) = attrs.kernel, attrs.stride, attrs.pad
        return (grid_windows(shape[1], attrs.out[0], kh, sh, (t, bottom), 1, attrs.count_include_pad),
                grid_windows(shape[2], attrs.out[1], kw, sw, (left, r), 1, attrs.count_include_pad))

    def divisor(self, attrs) -> int:
        return attrs.divisor

    def window(self, node: Node, graph: Graph) -> Window | None:
        a, rows = node.attrs, in_tensor(node, graph).shape[1]
        return Window(a.stride[0], a.pad[0], a.kernel[0], rows, a.out[0])

    def uniform(self, attrs, shape):
        inside = all(w.inside.all() for w in self.windows(attrs, shape)) and not any(attrs.pad[:2])
        return (attrs.kernel, attrs.stride) if inside else None

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        for args, shape in [((2,), (1, 3, 8, 8)), ((3, 2, 1), (1, 4, 7, 9)),
                            ((3, 2, 1, False, False), (1, 4, 7, 9)),
                            (((2, 3), (1, 2), (1, 0)), (1, 1, 5, 6)), ((3, 2, 1, True), (1, 2, 6, 8)),
                            ((3, 2, 1, True, False), (1, 2, 6, 8)), ((3, 2, 0, False, True, 5), (1, 2, 7, 7)),
                            ((3, 2, 1, True, False, 2), (1, 2, 6, 6)), ((2, 3, 0, True), (1, 1, 6, 10)),
                            ((1,), (1, 2, 3, 3)), ((7,), (1, 5, 7, 7)), ((3,), (2, 9, 6)), ((5, 1, 2), (1, 1, 1, 1)),
                            ((4, 4, 2, True), (1, 3, 9, 11))]:
            yield Case(nn.AvgPool2d(*args), [shape], f"2d {args}")
        for args, shape in [((2,), (1, 3, 9)), ((3, 2, 1), (1, 2, 10)), ((2,), (4, 6)),
                            ((3, 2, 1, True, False), (1, 2, 10))]:
            yield Case(nn.AvgPool1d(*args), [shape], f"1d {args}")


@register
class AdaptiveAvgPool2d(WindowAverage):
    """inputs: x NHWC.  Averages over floor(i*H/oh)..ceil((i+1)*H/oh), so any output size, larger ones too."""

    name = "adaptive_avg_pool2d"
    aten = ("aten.adaptive_avg_pool2d.default", "aten.adaptive_avg_pool1d.default", "aten._adaptive_avg_pool2d.default")
    doc = "AdaptiveAvgPool1d, AdaptiveAvgPool2d to any size"

    class Attrs(NamedTuple):
        out: tuple[int, int]

    def load(self, b, node) -> Any:
        a, one = b.arguments(node), "1d" in str(node.target)
        x = b.to2d(a["self"]) if one else b.nhwc(a["self"])
        out = (1, _pair(a["output_size"])[1]) if one else _pair(a["output_size"])
        return _back(b, b.emit("adaptive_avg_pool2d", [x], self.Attrs(out)), a["self"], one)

    def windows(self, attrs, shape: Shape) -> tuple[Windows, Windows]:
        return adaptive_windows(shape[1], attrs.out[0]), adaptive_windows(shape[2], attrs.out[1])

    def uniform(self, attrs, shape):
        if any(n % o for n, o in zip(shape[1:3], attrs.out, strict=True)):
            return None
        step = (shape[1] // attrs.out[0], shape[2] // attrs.out[1])
        return step, step

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        from torch import nn

        for out, shape in [(1, (1, 5, 7, 7)), ((2, 3), (1, 3, 7, 8)), ((3, 3), (1, 2, 9, 6)), ((5, 4), (1, 2, 3, 3)),
                           ((None, 2), (1, 2, 4, 5)), ((7, 1), (1, 1, 1, 5)), (2, (3, 5, 5)), ((4, 4), (1, 2, 4, 4))]:
            yield Case(nn.AdaptiveAvgPool2d(out), [shape], f"2d to {out}")
        for out, shape in [(1, (1, 3, 9)), (4, (1, 2, 10)), (7, (1, 2, 3)), (3, (2, 5))]:
            yield Case(nn.AdaptiveAvgPool1d(out), [shape], f"1d to {out}")
