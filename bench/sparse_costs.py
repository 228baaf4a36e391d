"""Measure what dense and stored-sparse layers cost and print the table of genn/kernels/sparse_cost.py.

    python bench/sparse_costs.py

Layers of several sizes and densities run in the emulator (cortex-m4, P = 2, and cortex-m0plus, zero wait states),
stored both ways with the kernels that ``-O time`` chooses; non-negative least squares over them gives the model.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from genn import passes
from genn.api import convert_graph
from genn.frontend import import_graph, trace
from genn.kernels.nm import PATTERNS
from genn.pruning import prune

CORES = {"armv7em": "generic-m4", "armv6m": "cortex-m0plus", "fpu": "generic-m4", "softfloat": "cortex-m0plus"}
NM = {"armv7em": "linear-nm-v7em", "armv6m": "linear-nm-v6m"}
PRUNED = [(784, 32), (400, 64), (200, 128), (100, 40)]
LINEAR = [(784, 32, 0.1), (400, 64, 0.2), (200, 64, 0.05), (100, 40, 0.4)]
CONV = [(10, 20, 5, 0.1), (16, 32, 3, 0.2), (32, 8, 3, 0.1), (64, 32, 1, 0.2)]


def _layer(shape: tuple) -> tuple[nn.Module, tuple[int, ...], int]:
    """The layer, its input's shape and the number of pixels it makes."""
    layer: nn.Module
    if len(shape) == 3:
        layer, x, pixels = nn.Linear(*shape[:2]), (1, shape[0]), 1
    else:
        size = shape[2] + 7
        layer, x, pixels = nn.Conv2d(*shape[:3]), (1, shape[0], size, size), 64
    layer.weight.data *= torch.rand(layer.weight.shape) < shape[-1]
    return layer, x, pixels


def measure(core: str, scheme: str, shape: tuple) -> tuple[list[float], float, float]:
    """(taps, nonzeros, outputs) and the cycles of one pixel, sparse and dense."""
    layer, x, pixels = _layer(shape)
    example = torch.randn(x)
    graph = passes.canonicalize(import_graph(trace(layer, (example,)), "net"))
    cycles, found = [], 0
    for mode in ("always", "never"):
        model = convert_graph(
            graph,
            scheme,
            {graph.inputs[0]: torch.randn(4, *x).numpy()},
            sparse=mode,
            target=CORES[core],
            optimize="time",
            kernel="portable" if mode == "always" else None,  # not as code
        )
        found = int(np.count_nonzero(next(n for n in model.graph.nodes if "w" in n.quant).quant["w"]))
        cycles.append(model.emulate(CORES[core]).data["cycles"] / pixels)
    outputs = layer.weight.shape[0]
    return [layer.weight[0].numel(), found, outputs], cycles[0], cycles[1]


def measure_nm(core: str, scheme: str, pattern: str, shape: tuple[int, int]) -> tuple[list[float], float]:
    """(taps, stored weights, outputs) of a linear layer of an N:M pattern, and its cycles."""
    layer = nn.Linear(*shape)
    prune(layer, pattern)
    x = (1, shape[0])
    graph = passes.canonicalize(import_graph(trace(layer, (torch.randn(x),)), "net"))
    model = convert_graph(graph, scheme, {graph.inputs[0]: torch.randn(4, *x).numpy()}, target=CORES[core],
                          optimize="time", kernel=NM[core], vectors=1)
    assert model.graph.nodes[0].quant["nm"] == pattern
    n, m = map(int, pattern.split(":"))
    return [shape[0], shape[1] * -(-shape[0] // m) * n, shape[1]], model.emulate(CORES[core]).data["cycles"]


def _nonnegative(a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares with no negative coefficient: the most negative one is left out until there is none."""
    used = list(range(a.shape[1]))
    while True:
        x, *_ = np.linalg.lstsq(a[:, used] / y[:, None], np.ones(len(y)), rcond=None)  # relative errors
        if (x >= 0).all():
            out = np.zeros(a.shape[1])
            out[used] = x
            return out
        used.pop(int(np.argmin(x)))


def main() -> int:
    torch.manual_seed(0)
    keys = [(core, scheme) for core in ("armv7em", "armv6m") for scheme in ("int8", "int16")]
    print("COSTS = {")
    for core, scheme in [*keys, ("fpu", "float32"), ("softfloat", "float32")]:
        for op, shapes in (("linear", LINEAR), ("conv2d", CONV)):
            rows = [measure(core, scheme, shape) for shape in shapes]
            a, sparse = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
            macs = np.array([[r[0][0] * r[0][2], r[0][1] if core == "softfloat" else 0] for r in rows], float)
            dense, skipped = _nonnegative(macs, np.array([r[2] for r in rows]))
            a[:, 0] *= op == "conv2d"
            gather, nonzero, output = _nonnegative(a, sparse)
            nonzero -= skipped  # without an FPU a stored zero costs less than a product
            print(
                f'    ("{core}", "{op}", "{scheme}"): Cost({gather:.2f}, {nonzero:.2f}, {output:.0f}, {dense:.2f}),',
                flush=True,
            )
            if op == "linear" and core in NM:
                for pattern in PATTERNS:
                    pruned = [measure_nm(core, scheme, pattern, shape) for shape in PRUNED]
                    a, cycles = np.array([r[0] for r in pruned], float), np.array([r[1] for r in pruned], float)
                    table, stored, output = _nonnegative(a, cycles)
                    print(f'    ("{core}", "{op}", "{scheme}", "{pattern}"): '
                          f"Cost({table:.2f}, {stored:.2f}, {output:.0f}, {dense:.2f}),", flush=True)
    print("}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
