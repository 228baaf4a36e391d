"""When stored-sparse weights are faster than dense ones: a cost model per core, operator and scheme, from measurements.

Cycles of one output pixel (linear: one row of the input), at zero wait states:

* sparse: ``gather * taps + nonzero * nonzeros + output * outputs`` (linear gathers nothing; a convolution takes
  pixels in tiles, and those past the end of a row cost as much)
* an N:M pattern: the same, ``gather`` to make its tables, ``nonzero`` for each weight that the pattern has room for
* dense: ``dense * taps * outputs``; where that depends on the nonzeros, ``nonzero`` is the difference

``bench/sparse_costs.py`` measures them in the emulator and prints this table anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal


@dataclass(frozen=True)
class Cost:
    """Cycles: a tap gathered, a nonzero (fillers included on average), an output, a dense multiply-accumulate."""

    gather: float
    nonzero: float
    output: float
    dense: float

    def sparse(self, taps: int, outputs: int, nonzeros: int) -> float:
        """Cycles of ``nonzeros`` of an (outputs, taps) matrix, stored sparse."""
        return self.gather * taps + self.nonzero * nonzeros + self.output * outputs


# "softfloat" is any core without an FPU: there a stored zero is skipped, and ``nonzero`` is what it costs above that.
COSTS: dict[tuple[str, ...], Cost] = {
    ("armv7em", "linear", "int8"): Cost(0.00, 4.89, 46, 1.37),
    ("armv7em", "linear", "int8", "2:4"): Cost(10.27, 2.99, 43, 1.37),
    ("armv7em", "linear", "int8", "1:4"): Cost(11.63, 2.97, 48, 1.37),
    ("armv7em", "linear", "int8", "1:8"): Cost(9.83, 5.09, 34, 1.37),
    ("armv7em", "conv2d", "int8"): Cost(4.90, 3.27, 34, 1.09),
    ("armv7em", "linear", "int16"): Cost(0.00, 5.00, 37, 1.43),
    ("armv7em", "linear", "int16", "2:4"): Cost(9.99, 2.76, 39, 1.43),
    ("armv7em", "linear", "int16", "1:4"): Cost(11.66, 2.78, 40, 1.43),
    ("armv7em", "linear", "int16", "1:8"): Cost(12.71, 4.58, 43, 1.43),
    ("armv7em", "conv2d", "int16"): Cost(4.95, 3.19, 40, 1.13),
    ("armv6m", "linear", "int8"): Cost(0.00, 8.40, 73, 3.36),
    ("armv6m", "linear", "int8", "2:4"): Cost(13.10, 4.32, 92, 3.36),
    ("armv6m", "linear", "int8", "1:4"): Cost(18.15, 4.71, 75, 3.36),
    ("armv6m", "linear", "int8", "1:8"): Cost(19.49, 9.13, 50, 3.36),
    ("armv6m", "conv2d", "int8"): Cost(6.12, 5.46, 56, 3.62),
    ("armv6m", "linear", "int16"): Cost(0.00, 8.63, 71, 4.16),
    ("armv6m", "linear", "int16", "2:4"): Cost(19.15, 7.21, 81, 4.16),
    ("armv6m", "linear", "int16", "1:4"): Cost(20.46, 7.41, 83, 4.16),
    ("armv6m", "linear", "int16", "1:8"): Cost(17.53, 12.99, 36, 4.16),
    ("armv6m", "conv2d", "int16"): Cost(6.55, 6.68, 54, 4.77),
    ("fpu", "linear", "float32"): Cost(0.00, 7.18, 44, 3.35),
    ("fpu", "conv2d", "float32"): Cost(5.03, 5.82, 36, 3.03),
    ("softfloat", "linear", "float32"): Cost(0.00, 65.00, 300, 28.00),
    ("softfloat", "conv2d", "float32"): Cost(10.00, 65.00, 300, 28.00),
}


def core_of(goal: Goal, scheme: str) -> str:
    """The first part of a key of COSTS."""
    if scheme == "float32":
        return "fpu" if goal.fpu or goal.isa == "generic" else "softfloat"
    return "armv6m" if goal.isa == "armv6m" else "armv7em"


def _tiled(node: Node, graph: Graph) -> float:
    """Pixels of all tiles of a sparse convolution, for each pixel that it makes (genn_conv_sparse.h)."""
    if node.op != "conv2d":
        return 1.0
    tile = 4 if graph.scheme == "int8" else 2
    width, area = graph.tensors[node.outputs[0]].shape[2], node.attrs.pool[0] * node.attrs.pool[1]
    if tile % area:  # tiles of one window
        return -(-area // tile) * tile / area
    windows = tile // area
    return -(-width // windows) * windows / width


def cycles(node: Node, graph: Graph, goal: Goal, w: np.ndarray, patterns: list[str]) -> dict[str, float]:
    """What a pixel of a layer of weights (outputs, taps of a group) costs: ``dense``, ``gaps``, each N:M pattern."""
    key = core_of(goal, graph.scheme), node.op, graph.scheme
    cost, groups = COSTS[key], getattr(node.attrs, "groups", 1)
    taps, outputs, nonzeros = w.shape[1], len(w) // groups, int((w != 0).sum()) // groups
    depthwise = groups > 1 and outputs == 1  # each output has an input of its own, nothing gathered is used twice
    found = {
        "dense": 0.0 if depthwise else cost.dense * taps * outputs,
        "gaps": cost.sparse(taps, outputs, nonzeros) * _tiled(node, graph),
    }
    for pattern in patterns:
        n, m = map(int, pattern.split(":"))
        found[pattern] = COSTS[*key, pattern].sparse(taps, outputs, outputs * -(-taps // m) * n)
    return found
