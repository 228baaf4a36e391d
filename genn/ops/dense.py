"""Linear: a matrix times each row of the input, dense or stored-sparse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from genn.ir import Graph, Node
from genn.ops import weights
from genn.ops.base import INF, Call, Case, Lowered, Op, Shape, Stats, in_tensor, out_tensor, register, suffix


@register
class Linear(Op):
    """inputs: x (..., K), weight (O, K), bias (O,).  y = clamp(x @ weight.T + bias, lo, hi)."""

    name, family = "linear", "linear"
    aten = ("aten.linear.default",)
    header = "genn_linear.h"
    doc = "Linear, with a fused clamp (ReLU, ReLU6, Hardtanh)"

    class Attrs(NamedTuple):
        lo: float = -INF
        hi: float = INF

    def load(self, b, node) -> Any:
        a = b.arguments(node)
        w = b.const_value(a["weight"])
        bias = b.const_value(a["bias"]) if a.get("bias") is not None else np.zeros(len(w), np.float32)
        return b.emit("linear", [a["input"], b.const("weight", w), b.const("bias", bias)], self.Attrs())

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [(*shapes[0][:-1], shapes[1][0])]

    def ref_f(self, attrs, x, w, b):
        w, b = w[0], b[0]
        acc = np.broadcast_to(b + np.float32(0), (*x.shape[:-1], len(b))).astype(np.float32)
        for k in range(w.shape[1]):
            acc = acc + x[..., k : k + 1] * w[:, k]
        return weights.clamp_f(acc, attrs.lo, attrs.hi)

    def ref_q(self, node, graph, x, w, b):
        q = node.quant
        wq, bias = q["w"].astype(np.float64), q["b"]
        xf = x.astype(np.float64)
        if q.get("split"):
            n, pre = q["split"], q["pre"]
            acc = bias + sum(
                ((xf[..., k : k + n] @ wq[:, k : k + n].T).astype(np.int64) + ((1 << pre) >> 1)) >> pre
                for k in range(0, wq.shape[1], n)
            )
        else:
            acc = (xf @ wq.T).astype(np.int64) + bias
        return weights.finish(node, graph, acc, node.attrs.lo, node.attrs.hi)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        w, b = (graph[i].const for i in node.inputs[1:3])
        assert w is not None and b is not None
        weights.prepare(node, graph, w, b, stats, options)

    def input_bits(self, node, graph, stats, tensor):
        if tensor != node.inputs[0]:
            return None
        w, b = (graph[i].const for i in node.inputs[1:3])
        return {bits: weights.int16_error(w, b, stats[tensor], bits) for bits in range(10, 17)}

    def lower(self, node: Node, graph: Graph) -> Lowered:
        x, y = in_tensor(node, graph), out_tensor(node, graph)
        packed, consts, names = weights.pack(node, graph)
        function = f"genn_linear_{'sparse_' if node.quant['sparse'] else ''}{suffix(graph)}"
        params = {"rows": x.size // x.shape[-1], "in": x.shape[-1], "out": y.shape[-1]}
        params |= weights.finish_params(node, graph, node.attrs.lo, node.attrs.hi)
        call = Call(function, f"genn_linear_{suffix(graph)}", params, ("in0", *names, "out0"))
        return Lowered("genn_linear_sparse.h" if node.quant["sparse"] else self.header, [call], packed, consts)

    def macs(self, node: Node, graph: Graph) -> int:
        x, y = in_tensor(node, graph), out_tensor(node, graph)
        return x.size * y.shape[-1]

    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        import torch
        from torch import nn

        for k, o, lead in [(1, 1, ()), (7, 5, ()), (300, 3, ()), (16, 13, (3,)), (31, 17, (2, 2)), (64, 8, ())]:
            yield Case(nn.Linear(k, o), [(1, *lead, k)], f"{k}x{o}")
        yield Case(nn.Sequential(nn.Linear(9, 6, bias=False), nn.ReLU6()), [(1, 9)], "no bias, relu6")
        k, o = int(rng.integers(1, 600)), int(rng.integers(1, 40))
        layer = nn.Linear(k, o)
        layer.weight.data *= torch.from_numpy(rng.random((o, k)) < 0.1)
        yield Case(layer, [(1, k)], f"sparse {k}x{o}")
