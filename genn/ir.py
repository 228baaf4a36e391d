"""The intermediate representation: a Graph of Nodes over Tensors, the one structure every stage reads and returns.

A Graph is a DAG in topological order from the first day: several inputs, several outputs, branches.  Tensors are
looked up by name; a tensor with ``const`` is a weight.  Shapes are torch's, batch dimension included; after the
``to_nhwc`` pass convolutions and pools see NHWC and weights are OHWI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from genn.errors import GennError

SCHEMES = ("float32", "int16", "int8")
NP_DTYPE: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "int8": np.dtype("<i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
}


WEIGHTLESS = "weightless"
"""Key of ``Graph.meta``: the network has no weights, only their shapes; the value names one of them."""


def unknown(shape: tuple[int, ...]) -> np.ndarray:
    """Stands for weights of ``shape`` that nobody knows: a value that nothing can be simplified by, in four bytes."""
    return np.broadcast_to(np.float32(0.5), shape)


@dataclass(frozen=True)
class QParams:
    """How integers stand for reals: ``real = scale * (q - zero_point)``.

    bits: the value range, which need not fill the storage type: q lies in [-2**(bits-1), 2**(bits-1) - 1].
    scale: one float, or a float64 array per channel along ``axis``.  Power-of-two schemes have scale == 2**-shift.
    """

    bits: int
    scale: Any
    zero_point: int = 0
    axis: int | None = None

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def shift(self) -> int:
        """f where scale == 2**-f; meaningful for power-of-two scales only."""
        return -int(np.log2(float(self.scale)))

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """Real to integer, round half up, saturating; the only approximate step of a quantized network."""
        scale = self.scale
        if self.axis is not None:
            scale = np.reshape(scale, [-1 if i == self.axis else 1 for i in range(np.ndim(x))])
        q = np.floor(np.asarray(x, np.float64) / scale + 0.5) + self.zero_point
        return np.clip(q, self.qmin, self.qmax).astype(np.int64)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        """Integer to real (float64)."""
        scale = self.scale
        if self.axis is not None:
            scale = np.reshape(scale, [-1 if i == self.axis else 1 for i in range(np.ndim(q))])
        return (np.asarray(q, np.float64) - self.zero_point) * scale

    def same(self, other: QParams | None) -> bool:
        """True if both give every integer the same meaning and range."""
        return (
            other is not None
            and self.bits == other.bits
            and self.zero_point == other.zero_point
            and self.axis == other.axis
            and bool(np.array_equal(self.scale, other.scale))
        )


@dataclass
class Tensor:
    """A value on an edge of the graph, or a constant.

    dtype is the storage type: float32, int16, int8 (int32 for quantized biases).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    q: QParams | None = None
    const: np.ndarray | None = None

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * NP_DTYPE[self.dtype].itemsize


@dataclass(frozen=True)
class Source:
    """Where the user wrote it: module path (``fqn``), file and line."""

    fqn: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file else ""
        return " ".join(p for p in (self.fqn, f"({place})" if place and self.fqn else place) if p)


@dataclass
class Node:
    """One application of an operator.

    ``attrs`` is the operator's own NamedTuple (the user's meaning); ``quant`` is what its ``prepare`` derived for the
    chosen scheme (integer weights, multipliers, shifts, proofs), read by its integer meaning and its C alike.
    """

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: Any = None
    source: Source = field(default_factory=Source)
    quant: dict[str, Any] = field(default_factory=dict)

    def with_attrs(self, **changes: Any) -> None:
        """Replace fields of the attrs tuple in place."""
        self.attrs = self.attrs._replace(**changes)


@dataclass
class Graph:
    """A network: ``nodes`` in topological order over ``tensors``."""

    name: str
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    scheme: str = "float32"
    # permutation from the tensor's own axis order to torch's, for graph inputs and outputs stored as NHWC
    layout: dict[str, tuple[int, ...]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def add(self, tensor: Tensor) -> Tensor:
        """Add a tensor, giving it a fresh name if its own is taken."""
        base, i = tensor.name, 1
        while tensor.name in self.tensors:
            tensor.name, i = f"{base}_{i}", i + 1
        self.tensors[tensor.name] = tensor
        return tensor

    def const(self, name: str, value: np.ndarray, dtype: str = "float32", q: QParams | None = None) -> Tensor:
        """Add a constant tensor holding ``value`` stored as ``dtype``; only its shape in a graph without weights."""
        value = unknown(value.shape) if WEIGHTLESS in self.meta else np.ascontiguousarray(value, NP_DTYPE[dtype])
        return self.add(Tensor(name, tuple(value.shape), dtype, q, value))

    def producer(self, name: str) -> Node | None:
        return next((n for n in self.nodes if name in n.outputs), None)

    def consumers(self, name: str) -> list[Node]:
        return [n for n in self.nodes if name in n.inputs]

    def activations(self, node: Node) -> list[Tensor]:
        """The node's non-constant inputs."""
        return [self[i] for i in node.inputs if self[i].const is None]

    def replace_uses(self, old: str, new: str) -> None:
        """Every reader of ``old``, and every graph output, reads ``new`` from now on."""
        for node in self.nodes:
            node.inputs = [new if i == old else i for i in node.inputs]
        self.outputs = [new if o == old else o for o in self.outputs]

    def prune(self) -> None:
        """Remove nodes and tensors that no graph output needs (graph inputs stay)."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        needed.update(self.inputs)
        for node in self.nodes:
            needed.update(node.outputs)
        self.tensors = {k: v for k, v in self.tensors.items() if k in needed}

    def copy(self) -> Graph:
        """A copy whose nodes and tensors may be changed; arrays are shared and must be replaced, not written."""
        return replace(
            self,
            inputs=list(self.inputs),
            outputs=list(self.outputs),
            nodes=[replace(n, inputs=list(n.inputs), outputs=list(n.outputs), quant=dict(n.quant)) for n in self.nodes],
            tensors={k: replace(t) for k, t in self.tensors.items()},
            layout=dict(self.layout),
            meta=dict(self.meta),
        )

    def verify(self) -> Graph:
        """Check the structure and every operator's shape rule; a failure is a bug in the pass before."""
        from genn.ops import registry

        seen = set(self.inputs) | {k for k, t in self.tensors.items() if t.const is not None}
        for node in self.nodes:
            for name in node.inputs:
                if name not in seen:
                    raise GennError(f"node {node.name} ({node.op}) reads {name} before it is made")
            op = registry[node.op]
            shapes = op.shape(node.attrs, *[self[i].shape for i in node.inputs])
            got = [self[o].shape for o in node.outputs]
            if [tuple(s) for s in shapes] != got:
                raise GennError(f"node {node.name} ({node.op}) has shapes {got}, its rule gives {shapes}")
            seen.update(node.outputs)
        if missing := [o for o in self.outputs if o not in seen]:
            raise GennError(f"graph outputs {missing} are never made")
        for t in self.tensors.values():
            if t.const is not None and tuple(t.const.shape) != tuple(t.shape):
                raise GennError(f"constant {t.name} has shape {t.const.shape}, says {t.shape}")
        return self

    def lines(self) -> Iterator[str]:
        yield f"graph {self.name} [{self.scheme}] ({', '.join(self.inputs)}) -> ({', '.join(self.outputs)})"
        for node in self.nodes:
            ins = ", ".join(f"{i}{list(self[i].shape)}" for i in node.inputs)
            outs = ", ".join(f"{o}{list(self[o].shape)}:{self[o].dtype}" for o in node.outputs)
            yield f"  {outs} = {node.op}({ins}) {node.attrs or ''}  # {node.source}"

    def dump(self) -> str:
        """The whole graph as text, one line a node."""
        return "\n".join(self.lines())
