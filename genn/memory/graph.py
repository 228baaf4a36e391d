"""The liveness graph: which operator reads and writes how many bytes, and in what order of rows; nothing else.

Planning needs no weights and no arithmetic.  Sizes are bytes.  A tensor is cut into ``rows`` along the axis that
row-streaming kernels walk (the height of an image in NHWC); an operator runs as a sequence of steps, step u reading
some rows of each input and touching some rows of its output.  For a convolution a step is an output row; with a pooling
fused into it a step is a row of the convolution, which touches every output row whose window it lies in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from genn.errors import GennError


@dataclass(frozen=True)
class Access:
    """Which rows step u touches: [(u * num + low) // den, (u * num + high) // den), clamped; all where ``whole``.

    A window of k rows with stride s and padding p is ``window(k, s, p)``.  ``pointwise`` promises more: element i of
    the output is written after element i of this input is read, and elements are taken in order, so that the output
    may lie exactly on the input.  ``pixel``: each pixel of the output needs the one pixel of the input that lies at
    its place.
    """

    num: int = 1
    den: int = 1
    low: int = 0
    high: int = 1
    whole: bool = False
    pointwise: bool = False
    pixel: bool = False

    def rows(self, steps: int, total: int) -> list[tuple[int, int]]:
        """For each step the half-open range of rows, within ``total`` rows."""
        return _rows(self, steps, total)

    def _ranges(self, steps: int, total: int) -> list[tuple[int, int]]:
        if self.whole:
            return [(0, total)] * steps
        out = []
        for u in range(steps):
            start, stop = (u * self.num + self.low) // self.den, (u * self.num + self.high) // self.den
            start = min(max(start, 0), total)
            out.append((start, max(start, min(stop, total))))
        return out


@lru_cache(1 << 14)
def _rows(access: Access, steps: int, total: int) -> list[tuple[int, int]]:
    """The same list for all that ask for it, who do not change it: networks repeat themselves."""
    return access._ranges(steps, total)


def window(kernel: int, stride: int = 1, pad: int = 0, pixel: bool = False) -> Access:
    """The rows under a window of ``kernel`` rows (its dilated extent)."""
    return Access(stride, 1, -pad, kernel - pad, pixel=pixel)


WHOLE = Access(whole=True)
SAME = Access(pointwise=True, pixel=True)


@dataclass(frozen=True)
class Value:
    """One tensor: ``shape`` as the user's graph shows it, ``size`` in bytes, ``rows`` equal parts of it (a divisor)."""

    name: str
    shape: tuple[int, ...]
    size: int
    rows: int = 1

    @property
    def row(self) -> int:
        """Bytes of one row."""
        return self.size // self.rows

    @property
    def pixel(self) -> int:
        """Bytes of all channels at one place of an image; of everything for other tensors."""
        places = 1
        for d in self.shape[2:]:
            places *= d
        return self.size // places if len(self.shape) in (3, 4) and self.size % places == 0 else self.size


@dataclass(frozen=True)
class Operation:
    """One operator.  ``reads[i]`` says which rows of ``inputs[i]`` a step needs, ``writes`` which of the output it
    touches.

    kind: what it may be fused with: conv, linear, pool (average), max_pool, clamp (any function of one element), add,
    concat, slice, or the exporter's own name.  workspace: bytes of scratch while it runs.  weights: bytes of its
    parameters.  parts: names of the exported operators it stands for.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    output: int
    reads: tuple[Access, ...]
    writes: Access = Access()
    steps: int = 1
    workspace: int = 0
    macs: int = 0
    weights: int = 0
    source: str = ""
    interleaved: bool = False  # concat: parts alternate pixel by pixel; else they lie one behind another
    parts: tuple[str, ...] = ()


@dataclass
class LiveGraph:
    """A network as the planner sees it: ``ops`` in the order given, over ``values``; inputs and outputs are values.

    elem: bytes of one element, for reports.
    """

    name: str
    values: list[Value] = field(default_factory=list)
    ops: list[Operation] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    elem: int = 1

    def add(self, name: str, shape: tuple[int, ...], size: int, rows: int = 1) -> int:
        """A new value; its index."""
        self.values.append(Value(name, shape, size, rows))
        return len(self.values) - 1

    def producer(self) -> dict[int, int]:
        """Value -> the operator that makes it."""
        return {op.output: i for i, op in enumerate(self.ops)}

    def consumers(self) -> list[list[int]]:
        """For each value the operators that read it, each once."""
        out: list[list[int]] = [[] for _ in self.values]
        for i, op in enumerate(self.ops):
            for v in dict.fromkeys(op.inputs):
                out[v].append(i)
        return out

    def reordered(self, order: list[int]) -> LiveGraph:
        """The same graph with its operators in another order."""
        return replace(self, ops=[self.ops[i] for i in order])

    def pruned(self) -> LiveGraph:
        """Without operators and values that no output needs; inputs stay."""
        needed, kept = set(self.outputs), []
        for op in reversed(self.ops):
            if op.output in needed:
                needed.update(op.inputs)
                kept.append(op)
        needed.update(self.inputs)
        index = {v: i for i, v in enumerate(sorted(needed))}
        ops = [
            replace(op, inputs=tuple(index[v] for v in op.inputs), output=index[op.output]) for op in reversed(kept)
        ]
        return replace(
            self,
            values=[self.values[v] for v in sorted(needed)],
            ops=ops,
            inputs=[index[v] for v in self.inputs],
            outputs=[index[v] for v in self.outputs],
        )

    def verify(self) -> LiveGraph:
        """Check that every value is made once and before it is read, and that rows divide sizes."""
        made = set(self.inputs)
        for op in self.ops:
            if missing := [v for v in op.inputs if v not in made]:
                raise GennError(f"{op.name} reads {self.values[missing[0]].name} before it is made", self.name)
            if op.output in made:
                raise GennError(f"{self.values[op.output].name} is made twice", self.name)
            if len(op.reads) != len(op.inputs):
                raise GennError(f"{op.name} has {len(op.inputs)} inputs and {len(op.reads)} accesses", self.name)
            made.add(op.output)
        if missing := [v for v in self.outputs if v not in made]:
            raise GennError(f"output {self.values[missing[0]].name} is never made", self.name)
        for v in self.values:
            if v.size < 0 or v.rows < 1 or v.size % v.rows:
                raise GennError(f"{v.name} has {v.size} bytes in {v.rows} rows", self.name)
        return self

    def lines(self) -> Iterator[str]:
        """The graph as text."""
        for op in self.ops:
            ins = ", ".join(self.values[v].name for v in op.inputs)
            out = self.values[op.output]
            yield f"{out.name} = {op.kind}({ins})  {out.size} B in {out.rows} rows  {op.steps} steps  {op.parts or ''}"
