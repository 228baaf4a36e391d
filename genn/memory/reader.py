"""From an exported graph (the documented JSON form) to a LiveGraph: what PyTorch lists, as an engine would run it.

An engine runs fewer operators than PyTorch lists: batch normalization is folded into the convolution before it, a
clamp into whatever makes its input, dropout and reshapes cost nothing.  What is left is the *default* graph that
every saving is measured against.  Images are NHWC in memory although shapes are PyTorch's, so a permutation to NHWC
is a view.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from genn.errors import ModelError
from genn.memory.graph import SAME, WHOLE, Access, LiveGraph, Operation, Value, window

VIEWS = {"dropout", "contiguous", "clone", "identity", "detach", "alias", "to", "lift_fresh_copy", "feature_dropout"}
RESHAPES = {"flatten", "view", "reshape", "squeeze", "unsqueeze", "_unsafe_view", "unflatten"}
CLAMPS = {"relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "threshold"}
SMOOTH = {
    "sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid", "leaky_relu", "elu", "mish", "exp", "neg", "abs",
    "softplus", "prelu", "batch_norm", "sqrt", "pow", "rsqrt", "log",
}
CONVS = {"conv1d", "conv2d", "convolution", "conv_transpose1d", "conv_transpose2d"}
BINARY = {"add", "sub", "mul", "div", "maximum", "minimum"}
FOLDS = {"conv", "linear", "add", "clamp"}  # kinds that take a clamp behind them as a bound on what they store
MOST_ROWS = 1 << 16  # of one tensor that streams
LIMIT = 200_000  # nodes: far above any network, below what a hostile file may ask for
LARGEST = 1 << 28  # bytes of a tensor, likewise: the checker has a map of the arena


def read(text: str, where: str, elem: int = 1) -> LiveGraph:
    """A LiveGraph from the JSON form; ``elem`` is the bytes of an element.  ModelError says what is wrong."""
    try:
        doc = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"is no JSON ({str(error)[:80]})", where, "give what --export-graph writes") from None
    return build(doc, where, elem)


def build(doc: Any, where: str, elem: int = 1) -> LiveGraph:
    """A LiveGraph from the parsed document."""
    nodes = check(doc, where, elem)
    maker = _Maker(str(doc.get("model") or "graph"), nodes, elem)
    for node in nodes:
        maker.node(node)
    maker.graph.outputs = list(dict.fromkeys(maker.home[i] for i in doc["outputs"]))
    return maker.graph.pruned().verify()


def check(doc: Any, where: str, elem: int = 1) -> list[dict[str, Any]]:
    """The nodes of a document that keeps to the form; ModelError otherwise."""

    def need(condition: Any, what: str) -> None:
        if not condition:
            raise ModelError(what, where, "docs/memory.md describes the form; --export-graph writes it")

    need(isinstance(doc, dict) and isinstance(doc.get("nodes"), list), "is no liveness graph: it has no list of nodes")
    nodes = doc["nodes"]
    need(0 < len(nodes) <= LIMIT, f"has {len(nodes)} nodes, 1 to {LIMIT} are possible")
    seen: set[int] = set()
    for i, node in enumerate(nodes):
        need(isinstance(node, dict), f"node {i} is no object")
        ident, name, op = node.get("id"), node.get("name"), node.get("op")
        need(type(ident) is int and ident not in seen, f"node {i} has no id of its own")
        need(isinstance(name, str) and name and isinstance(op, str) and op, f"node {i} has no name or no op")
        inputs, shape = node.get("inputs"), node.get("shape")
        need(isinstance(inputs, list), f"node {name!r} has no list of inputs")
        for j in inputs:
            need(type(j) is int and j in seen, f"node {name!r} reads {j!r}, which is no node before it")
        need(op == "input" or inputs, f"node {name!r} ({op}) reads nothing")
        need(
            isinstance(shape, list) and all(type(d) is int and 0 < d < 1 << 40 for d in shape),
            f"node {name!r} has no shape of positive integers",
        )
        for key in ("numel", "bytes", "workspace"):
            value = node.get(key, 1)
            need(type(value) is int and 0 <= value < 1 << 50, f"node {name!r} has a {key} that is no count")
        largest = max(node.get("bytes", _numel(tuple(shape)) * elem), node.get("workspace", 0))
        need(largest <= LARGEST, f"node {name!r} needs {largest:,} bytes, more than the {LARGEST:,} that are planned")
        args = node.get("args", [])
        need(args is None or isinstance(args, list), f"node {name!r} has args that are no list")
        need(isinstance(node.get("params") or {}, dict), f"node {name!r} has params that are no object")
        seen.add(ident)
    outputs = doc.get("outputs")
    need(isinstance(outputs, list) and outputs and all(type(o) is int and o in seen for o in outputs),
         "has no list of outputs that are nodes")  # fmt: skip
    return nodes


class _Maker:
    """Appends one operator after another to ``graph``; ``home`` maps node ids to values, views to their root's."""

    def __init__(self, name: str, nodes: list[dict[str, Any]], elem: int) -> None:
        self.graph = LiveGraph(name, elem=elem)
        self.home: dict[int, int] = {}
        self.shape: dict[int, tuple[int, ...]] = {}
        self.uses = Counter(i for node in nodes for i in dict.fromkeys(node["inputs"]))
        self.users: Counter[int] = Counter()  # value -> node uses that count against fusing into its producer
        self.made: dict[int, int] = {}  # value -> operator

    def node(self, node: dict[str, Any]) -> None:
        ident, op = node["id"], node["op"]
        self.shape[ident] = tuple(node["shape"])
        if op == "input":
            value = self._value(node)
            self.graph.inputs.append(value)
            self.home[ident] = value
            self.users[value] = self.uses[ident]
            return
        kind = op.rstrip("_")
        kind = {"_adaptive_avg_pool2d": "adaptive_avg_pool2d", "concat": "cat", "concatenate": "cat"}.get(kind, kind)
        args = _Args(node)
        ins = [self.home[i] for i in node["inputs"]]
        if self._is_view(node, kind, args):
            self.home[ident] = ins[0]
            self.users[ins[0]] += self.uses[ident] - 1
            return
        if self._absorbed(node, kind, ins):
            return
        made = self._operation(node, kind, args, ins)
        self.home[ident] = made.output
        self.users[made.output] = self.uses[ident]
        self.made[made.output] = len(self.graph.ops)
        self.graph.ops.append(made)

    # -- what costs nothing ------------------------------------------------------------------------------------
    def _is_view(self, node: dict[str, Any], kind: str, args: _Args) -> bool:
        source = self.shape[node["inputs"][0]]
        if kind in VIEWS or kind in RESHAPES:
            return len(node["inputs"]) == 1 and _numel(tuple(node["shape"])) == _numel(source)
        if kind == "permute":
            return args.ints(1) in ((0, 2, 3, 1), (0, 3, 1, 2)) and len(source) == 4
        if kind in ("adaptive_avg_pool2d", "slice", "mean"):
            return kind != "mean" and tuple(node["shape"]) == source
        return False

    def _absorbed(self, node: dict[str, Any], kind: str, ins: list[int]) -> bool:
        """Batch normalization goes into a convolution before it, a clamp into what makes its input."""
        if len(node["inputs"]) != 1 or self.users[ins[0]] != 1 or ins[0] not in self.made:
            return False
        i = self.made[ins[0]]
        before = self.graph.ops[i]
        folds = kind == "batch_norm" and before.kind in ("conv", "linear") and before.name == before.parts[-1]
        folds = folds or (kind in CLAMPS and before.kind in FOLDS)
        if folds:
            self.graph.ops[i] = replace(before, parts=(*before.parts, node["name"]))
            self.home[node["id"]] = ins[0]
            self.users[ins[0]] = self.uses[node["id"]]
        return folds

    # -- operators ---------------------------------------------------------------------------------------------
    def _operation(self, node: dict[str, Any], kind: str, args: _Args, ins: list[int]) -> Operation:
        shape = tuple(node["shape"])
        sources = [self.graph.values[v] for v in ins]
        viewed = any(self.shape[i] != self.graph.values[v].shape for i, v in zip(node["inputs"], ins, strict=True))
        same = all(s.size == sources[0].size and s.rows == sources[0].rows for s in sources)
        unary = kind in CLAMPS | SMOOTH or (kind in BINARY and len(ins) == 1)
        macs = 0
        reads: list[Access] | None = None
        rows: int | None = None
        name = kind
        if unary and len(ins) == 1:
            name, reads, rows = "clamp", [SAME], sources[0].rows
        elif kind in BINARY and same:
            name, reads, rows = "add", [SAME] * len(ins), sources[0].rows
        elif kind in BINARY:
            big = max(s.size for s in sources)
            name = "add"
            rows = next(s.rows for s in sources if s.size == big)
            reads = [SAME if s.size == big and s.rows == rows else WHOLE for s in sources]
        elif kind == "cat":
            return self._concat(node, args, ins, viewed)
        elif kind in ("transpose", "permute") and self._is_shuffle(shape, node, args, sources[0]):
            node = {**node, "shape": [1, shape[1] * shape[2], *shape[3:]]}
            name, reads = "shuffle", [Access()]
        elif not viewed and len(shape) in (3, 4) and shape[0] == 1 and len(ins) == 1:
            reads, name, macs = self._spatial(node, kind, args, sources[0])
        name = "conv" if kind in CONVS else name
        if kind == "linear":
            name, macs = "linear", _numel(shape) * (args.weight() or (0, 0))[-1]
        value = self._value(node, rows)
        made = self.graph.values[value]
        if reads is None or (unary and made.size != sources[0].size):
            reads = [WHOLE] * len(ins)
        steps = made.rows if not all(a.whole for a in reads) else 1
        writes = Access() if steps == made.rows else WHOLE
        return Operation(
            node["name"], name, tuple(ins), value, tuple(reads), writes, steps, int(node.get("workspace", 0)), macs,
            args.parameters() * self.graph.elem, str(node.get("source", "")), parts=(node["name"],),
        )  # fmt: skip

    def _is_shuffle(self, shape: tuple[int, ...], node: dict[str, Any], args: _Args, source: Value) -> bool:
        """The middle of a channel shuffle: groups and channels of an image change places, pixel by pixel."""
        before = self.shape[node["inputs"][0]]
        swaps = len(shape) == 5 and shape[0] == 1 and shape == (1, before[2], before[1], *before[3:])
        swaps = swaps and (args.ints(1) or (args.number(1, 0), args.number(2, 0))) in ((1, 2), (2, 1), (0, 2, 1, 3, 4))
        return swaps and source.rows == shape[3] and len(source.shape) == 4

    def _concat(self, node: dict[str, Any], args: _Args, ins: list[int], viewed: bool) -> Operation:
        shape = tuple(node["shape"])
        axis = (args.number(1, 1) if len(args.values) > 1 else 1) % max(len(shape), 1)
        pixels = _numel(shape[2:]) if len(shape) > 2 else 1
        channels = axis == 1 and len(shape) in (3, 4) and not viewed and pixels > 1
        contiguous = all(d == 1 for d in shape[:axis]) or (axis == 2 and shape[0] == 1 and len(shape) in (3, 4))
        value = self._value(node)
        made = self.graph.values[value]
        kind = "concat" if channels or contiguous else "cat"
        interleaved = channels and all(self.graph.values[v].rows == made.rows for v in ins)
        rows = interleaved and shape[0] == 1
        return Operation(
            node["name"], kind, tuple(ins), value, (Access() if rows else WHOLE,) * len(ins),
            Access() if rows else WHOLE, made.rows if rows else 1, 0, 0, 0, str(node.get("source", "")),
            channels, (node["name"],),
        )  # fmt: skip

    def _spatial(
        self, node: dict[str, Any], kind: str, args: _Args, source: Value
    ) -> tuple[list[Access] | None, str, int]:
        """Access, kind and MACs of an operator with one image in and one image out; None for what reads it whole."""
        shape = tuple(node["shape"])
        axis = 0 if len(shape) == 3 or shape[2] > 1 or shape[3] == 1 else 1  # of the window: height, or width
        axis = 0 if len(shape) == 3 else axis
        if kind in ("conv2d", "conv1d", "convolution"):
            weight = args.weight()
            macs = _numel(shape) * _numel(weight[1:]) if weight else 0
            if not weight or args.value(6) is True:
                return None, "conv", macs
            stride, dilation = args.pair(3, 1, axis), args.pair(5, 1, axis)
            extent = (weight[2 + axis] - 1) * dilation + 1 if len(weight) > 2 + axis else 1
            pad = (extent - 1) // 2 if args.value(4) == "same" else args.pair(4, 0, axis)
            pixel = all(d == 1 for d in weight[2:]) and shape[2:] == source.shape[2:] and stride == 1 and pad == 0
            return [window(extent, stride, pad, pixel)], "conv", macs
        if kind in ("conv_transpose2d", "conv_transpose1d"):
            weight = args.weight()
            if not weight or len(weight) < 3 + axis:
                return None, kind, 0
            stride, pad = args.pair(3, 1, axis), args.pair(4, 0, axis)
            reach = (weight[2 + axis] - 1) * args.pair(7, 1, axis)
            macs = _numel(source.shape) * _numel(weight[1:])
            return [Access(1, stride, pad - reach + stride - 1, pad + stride)], "conv", macs
        if kind in ("max_pool2d", "avg_pool2d", "max_pool1d", "avg_pool1d"):
            kernel = args.pair(1, 1, axis)
            stride = args.pair(2, kernel, axis)
            dilation = args.pair(4, 1, axis) if "max" in kind else 1
            return (
                [window((kernel - 1) * dilation + 1, stride, args.pair(3, 0, axis))],
                "max_pool" if "max" in kind else "pool",
                0,
            )
        if kind == "pad":
            pads = args.ints(1) or ()
            before = pads[2 * (len(shape) - 3 - axis)] if len(pads) > 2 * (len(shape) - 3 - axis) else 0
            return [window(1, 1, before)], "pad", 0
        if kind == "slice":
            dim = args.number(1, 0) % len(shape)
            if dim != 2 + axis:
                return [Access()], "slice", 0
            start = args.number(2, 0)
            total = source.shape[dim]
            begin = start + total if start < 0 else min(start, total)
            return [window(1, max(1, args.number(4, 1)), -begin)], "slice", 0
        if kind.startswith("upsample_") and source.rows > 1:
            size, rows = shape[2 + axis], source.rows
            if "nearest" in kind:
                return [Access(rows, size, 0, size)], kind, 0
            if args.value(2) is True and size > 1:
                return [Access(rows - 1, size - 1, 0, 2 * (size - 1))], kind, 0
            return [Access(rows, size, -size, 2 * size)], kind, 0
        return None, kind, 0

    def _value(self, node: dict[str, Any], rows: int | None = None) -> int:
        shape = tuple(node["shape"])
        size = int(node.get("bytes", _numel(shape) * self.graph.elem))
        if rows is None:
            image = len(shape) in (3, 4) and shape[0] == 1
            rows = next((d for d in shape[2:] if d > 1), 1) if image else 1
        return self.graph.add(node["name"], shape, size, rows if size % rows == 0 and rows <= MOST_ROWS else 1)


class _Args:
    """The positional arguments of a node: tensors are null, the rest is plain JSON."""

    def __init__(self, node: dict[str, Any]) -> None:
        self.values = node.get("args") or []
        self.params = node.get("params") or {}

    def value(self, i: int) -> Any:
        return self.values[i] if i < len(self.values) else None

    def number(self, i: int, default: int) -> int:
        value = self.value(i)
        return value if type(value) is int else default

    def ints(self, i: int) -> tuple[int, ...] | None:
        value = self.value(i)
        return tuple(value) if isinstance(value, list) and all(type(v) is int for v in value) else None

    def pair(self, i: int, default: int, axis: int) -> int:
        """One number for both axes, or a list with one for each."""
        value = self.value(i)
        if type(value) is int:
            return value
        if isinstance(value, list) and value and all(type(v) is int for v in value):
            return value[min(axis, len(value) - 1)]
        return default

    def parameters(self) -> int:
        """How many parameters there are."""
        shapes = [s for s in self.params.values() if isinstance(s, list) and all(type(d) is int for d in s)]
        return sum(_numel(tuple(s)) for s in shapes)

    def weight(self) -> tuple[int, ...] | None:
        """The shape of the parameter of highest rank, which is the weight."""
        shapes = [tuple(s) for s in self.params.values() if isinstance(s, list) and all(type(d) is int for d in s)]
        best = max(shapes, key=len, default=())
        return best if len(best) > 1 else None


def _numel(shape: tuple[int, ...]) -> int:
    out = 1
    for d in shape:
        out *= d
    return out
