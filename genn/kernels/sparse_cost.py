"""When stored-sparse weights are faster than dense ones: a cost model per core, operator and scheme, from measurements.

Cycles of one output pixel (linear: one row of the input), at zero wait states:

* sparse: ``gather * taps + nonzero * nonzeros + output * outputs`` (linear gathers nothing)
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

    def sparse_wins(self, taps: int, outputs: int, nonzeros: int) -> bool:
        """True where ``nonzeros`` of an (outputs, taps) matrix take fewer cycles stored sparse."""
        return self.gather * taps + self.nonzero * nonzeros + self.output * outputs < self.dense * taps * outputs


# "softfloat" is any core without an FPU: there a stored zero is skipped, and ``nonzero`` is what it costs above that.
COSTS = {
    ("armv7em", "linear", "int8"): Cost(0.00, 4.89, 46, 1.37),
    ("armv7em", "conv2d", "int8"): Cost(4.90, 3.27, 34, 1.09),
    ("armv7em", "linear", "int16"): Cost(0.00, 5.00, 37, 1.43),
    ("armv7em", "conv2d", "int16"): Cost(4.95, 3.19, 40, 1.13),
    ("armv6m", "linear", "int8"): Cost(0.00, 8.40, 73, 3.36),
    ("armv6m", "conv2d", "int8"): Cost(6.12, 5.46, 56, 3.62),
    ("armv6m", "linear", "int16"): Cost(0.00, 8.63, 71, 4.16),
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


def faster(node: Node, graph: Graph, goal: Goal, w: np.ndarray) -> bool:
    """True where the layer's weights (outputs, taps of a group) take fewer cycles stored sparse."""
    cost = COSTS[core_of(goal, graph.scheme), node.op, graph.scheme]
    groups = getattr(node.attrs, "groups", 1)
    if groups > 1 and groups == len(w):
        return False  # depthwise: each output has an input of its own, nothing gathered is used twice
    return cost.sparse_wins(w.shape[1], len(w) // groups, int((w != 0).sum()) // groups)
