"""Shared by the tests of the front end and the passes: small networks, and the comparison of a Graph with torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from genn import frontend, passes, reference
from genn.ir import Graph
from genn.passes.tools import inverse

Shape = tuple[int, ...]


class Fn(nn.Module):
    """Layers by name, and a forward function of them."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._f = forward

    def forward(self, *xs: torch.Tensor) -> Any:
        return self._f(self, *xs)


def lively(module: nn.Module) -> nn.Module:
    """Statistics and slopes that are not the neutral ones a fresh module has."""
    torch.manual_seed(1)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.uniform_(-1, 1)
            m.running_var.uniform_(0.5, 2)
            if m.affine:
                nn.init.uniform_(m.weight, 0.5, 2)
                nn.init.uniform_(m.bias, -1, 1)
        if isinstance(m, nn.PReLU):
            nn.init.uniform_(m.weight, 0.1, 0.6)
    return module.eval()


def flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [t for v in values for t in flat(v)]


def evaluate(graph: Graph, xs: list[np.ndarray]) -> list[np.ndarray]:
    """The graph on inputs in torch's layout; outputs in torch's layout too."""
    feed = {}
    for name, x in zip(graph.inputs, xs, strict=True):
        feed[name] = x.transpose(inverse(graph.layout.get(name, range(x.ndim))))[None]
    got = reference.run(graph, feed)
    return [got[o][0].transpose(graph.layout.get(o, range(got[o].ndim - 1))) for o in graph.outputs]


def compile_and_compare(module: nn.Module, *shapes: Shape) -> Graph:
    module = lively(module)
    xs = [torch.randn(s) for s in shapes]
    with torch.no_grad():
        want = [w.numpy() for w in flat(module(*[x.clone() for x in xs]))]
    imported = frontend.import_graph(frontend.trace(module, tuple(xs)), "net")
    canonical = passes.canonicalize(imported)
    for graph in (imported, canonical, passes.canonicalize(canonical)):
        got = evaluate(graph, [x.numpy() for x in xs])
        assert len(got) == len(want)
        for y, w in zip(got, want):
            assert y.shape == w.shape or w.ndim == 0
            np.testing.assert_allclose(y.reshape(w.shape), w, rtol=1e-5, atol=1e-5 * max(1e-3, np.abs(w).max()))
    return canonical


def ops(graph: Graph) -> list[str]:
    """The operators that make code."""
    return [n.op for n in graph.nodes if n.op != "reshape"]


def conv(i: int, o: int, k: int = 3, **kw: Any) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, padding=k // 2, **kw)
