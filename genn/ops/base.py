"""What an operator is: one class with its meaning, its rules and its C; everything else asks the registry.

To add an operator, write one subclass of ``Op`` in ``genn/ops/<family>.py`` and one kernel header in ``ckernels/``.
Codegen, the reference, the quantizer, ``genn ops``, the differential tests and the fuzzers find it from here.

Conventions
-----------
* Arrays given to ``ref_f`` and ``ref_q`` have a leading sample axis, constants too (of length 1): (S, *shape).
* Shapes are torch's, batch included; spatial operators see NHWC, weights OHWI.
* ``prepare`` runs once per node, in topological order, after its inputs have their QParams and its outputs have
  proposed ones (which it may coarsen).  It fills ``node.quant``; ``ref_q`` and ``lower`` read only ``attrs``, ``quant``
  and the tensors' QParams.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from genn.ir import Graph, Node, QParams, Tensor

if TYPE_CHECKING:
    import torch
    from torch import nn

    from genn.frontend import Builder
    from genn.ops.rows import Window

Shape = tuple[int, ...]
INF = float("inf")

CTYPE = {"float32": "float", "int16": "int16_t", "int8": "int8_t", "int32": "int32_t"}
SUFFIX = {"float32": "f32", "int16": "s16", "int8": "s8"}


@dataclass(frozen=True)
class Array:
    """A constant array of the generated C: ``ctype`` and its values, flat and in kernel order."""

    ctype: str
    values: np.ndarray


@dataclass(frozen=True)
class Call:
    """One kernel call in a layer function: ``function(&params, args...)``.

    params: the fields of ``struct <struct>``, whose keys are exactly the fields of that struct in the header;
            values are int, float (emitted as exact float32) or a tuple of ints.
    args:   ``in0 in1 .. out0 ..`` arena tensors (``inI`` is ``node.inputs[I]``), ``w`` the packed weights, ``c.NAME`` a
            constant array, ``ws`` workspace, ``0`` a null pointer;
            ``out0+N`` / ``in0+N`` adds N elements; ``c.NAME@N`` is entry number row, of N elements, in a layer that
            runs row by row; ``code.NAME`` is what the layer's own C calls ``$_NAME``.
    """

    function: str
    struct: str
    params: Mapping[str, Any]
    args: tuple[str, ...]


@dataclass
class Lowered:
    """What a node becomes in C.  code: C of the layer's own before its function, ``$`` for the function's name."""

    header: str
    calls: list[Call]
    weights: Array | None = None
    consts: dict[str, Array] = field(default_factory=dict)
    workspace: int = 0
    code: str = ""


@dataclass
class Stats:
    """What calibration saw of one tensor: real minimum, maximum and root mean square."""

    lo: float
    hi: float
    rms: float


class Case(NamedTuple):
    """One random valid use of an operator, as a torch module and the shapes of its inputs (batch 1)."""

    module: nn.Module
    shapes: list[Shape]
    label: str = ""


class Op:
    """One operator.  Subclasses are instantiated once by ``@register``."""

    name: ClassVar[str]
    family: ClassVar[str]
    aten: ClassVar[tuple[str, ...]] = ()
    header: ClassVar[str] = ""
    doc: ClassVar[str] = ""
    keeps_q: ClassVar[bool] = False  # output has exactly the first input's QParams (pooling by max, clamp, moves)
    inplace: ClassVar[bool] = False  # output may take the first input's place in the arena
    traced: ClassVar[bool] = True  # comes out of PyTorch models; what does not has tests of its own
    view: ClassVar[bool] = False  # no code: output is the input's bytes under another shape

    # -- front end ---------------------------------------------------------------------------------------------
    def load(self, b: Builder, node: torch.fx.Node) -> Any:
        """ATen arguments to canonical nodes, in torch's layout; returns the output tensor's name."""
        raise NotImplementedError(self.name)

    # -- meaning -----------------------------------------------------------------------------------------------
    def shape(self, attrs: Any, *shapes: Shape) -> list[Shape]:
        """Output shapes from input shapes."""
        raise NotImplementedError(self.name)

    def ref_f(self, attrs: Any, *xs: np.ndarray) -> np.ndarray:
        """Meaning in float32, in the defined order of operations."""
        raise NotImplementedError(self.name)

    def ref_q(self, node: Node, graph: Graph, *xs: np.ndarray) -> np.ndarray:
        """Meaning in integers: int64 arrays in, int64 arrays out, through genn.numerics."""
        raise NotImplementedError(self.name)

    # -- quantization ------------------------------------------------------------------------------------------
    def qparams(self, node: Node, graph: Graph, stats: Mapping[str, Stats]) -> QParams:
        """Proposed QParams of the output, from calibration; ``keeps_q`` operators pass the input's on."""
        from genn.quantize import choose_qparams

        if self.keeps_q:
            q = graph[node.inputs[0]].q
            assert q is not None
            return q
        return choose_qparams(stats[node.outputs[0]], graph.scheme)

    def prepare(self, node: Node, graph: Graph, stats: Mapping[str, Stats], options: Mapping[str, Any]) -> None:
        """Fill ``node.quant`` for the graph's scheme (float32 too: packing, sparsity)."""

    def input_bits(self, node: Node, graph: Graph, stats: Mapping[str, Stats], tensor: str) -> dict[int, float] | None:
        """int16 only: estimated mean squared output error for each number of bits of input ``tensor``, or None."""
        return None

    # -- C -----------------------------------------------------------------------------------------------------
    def lower(self, node: Node, graph: Graph) -> Lowered:
        """The node's kernel calls and constants for the graph's scheme."""
        raise NotImplementedError(self.name)

    def inplace_inputs(self, node: Node, graph: Graph) -> tuple[int, ...]:
        """Inputs whose storage the output may take over, if that input dies here and has the output's size."""
        return (0,) if self.inplace and graph[node.inputs[0]].const is None else ()

    def slices(self, node: Node, graph: Graph) -> dict[int, int]:
        """Inputs that may lie in the output, so many bytes from its beginning, where nothing is left to do then."""
        return {}

    def window(self, node: Node, graph: Graph) -> Window | None:
        """How the node, whose output is one image NHWC, reads rows; None if it cannot run row by row."""
        return None

    def one_row(self, node: Node, graph: Graph, window: Window) -> Node:
        """``node`` as it makes one row of its output alone, with all the padding of ``window`` around its input."""
        return replace(node)

    def macs(self, node: Node, graph: Graph) -> int:
        """Multiply-accumulates of one inference (0 for operators that have none)."""
        return 0

    # -- tests -------------------------------------------------------------------------------------------------
    def samples(self, rng: np.random.Generator) -> Iterator[Case]:
        """Random valid cases, each as a torch module: feeds unit, differential, fuzz and emulator tests."""
        return iter(())


registry: dict[str, Op] = {}
aten_table: dict[str, Op] = {}


def register(cls: type[Op]) -> type[Op]:
    """Class decorator: put the operator into the registry under its name and its ATen overloads."""
    op = cls()
    if op.name in registry:
        raise ValueError(f"operator {op.name} is defined twice")
    registry[op.name] = op
    for name in op.aten:
        if name in aten_table:
            raise ValueError(f"{name} is claimed by {aten_table[name].name} and {op.name}")
        aten_table[name] = op
    return cls


def suffix(graph: Graph) -> str:
    """f32, s16 or s8: the kernel-name suffix of the graph's scheme."""
    return SUFFIX[graph.scheme]


def out_tensor(node: Node, graph: Graph) -> Tensor:
    return graph[node.outputs[0]]


def quantized(t: Tensor) -> QParams:
    """The QParams of a tensor of a quantized graph."""
    assert t.q is not None, t.name
    return t.q


def in_tensor(node: Node, graph: Graph, i: int = 0) -> Tensor:
    return graph[node.inputs[i]]
