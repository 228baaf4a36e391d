"""A reader of MLPerf Tiny's TensorFlow Lite models: just the constants and ranges, so that nothing need be installed.

A ``.tflite`` file is a FlatBuffer: tables whose vtables say at which offset each field lies (0: absent).  The numbers
of the fields are those of TensorFlow's ``schema.fbs``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DTYPES = {0: np.float32, 2: np.int32, 9: np.int8}  # TensorType
OPERATORS = {0: "add", 1: "average_pool", 3: "conv", 4: "depthwise", 9: "linear", 22: "reshape", 25: "softmax"}


@dataclass(frozen=True)
class Tensor:
    """``data`` is None for activations.  ``scale``, ``zero_point``: one for the tensor, one per channel, or empty."""

    name: str
    shape: tuple[int, ...]
    dtype: type
    data: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        """The constant's values as float64, whether they are stored as floats or as scaled integers."""
        assert self.data is not None
        if not self.scale.size:
            return self.data.astype(np.float64)
        along = [1] * len(self.shape)
        if self.scale.size > 1:
            along[self.axis] = -1
        scale, zero_point = (a.astype(np.float64).reshape(along) for a in (self.scale, self.zero_point))
        return scale * (self.data - zero_point)

    def range(self) -> tuple[float, float]:
        """The real values that an int8 activation can take."""
        scale, zero_point = float(self.scale[0]), int(self.zero_point[0])
        return scale * (-128 - zero_point), scale * (127 - zero_point)


@dataclass(frozen=True)
class Operator:
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Network:
    input: Tensor
    operators: tuple[Operator, ...]  # in the order in which they run


class Table:
    """A FlatBuffer's table at ``at``."""

    def __init__(self, buffer: bytes, at: int) -> None:
        self.buffer, self.at = buffer, at
        self.vtable = at - _i32(buffer, at)

    def _field(self, number: int) -> int | None:
        """Where the field lies."""
        entry = 4 + 2 * number
        if entry >= struct.unpack_from("<H", self.buffer, self.vtable)[0]:
            return None
        offset = struct.unpack_from("<H", self.buffer, self.vtable + entry)[0]
        return self.at + offset if offset else None

    def number(self, number: int, form: str, default: int = 0) -> int:
        at = self._field(number)
        return default if at is None else int(struct.unpack_from("<" + form, self.buffer, at)[0])

    def table(self, number: int) -> Table | None:
        at = self._field(number)
        return None if at is None else Table(self.buffer, at + _u32(self.buffer, at))

    def array(self, number: int, dtype: type) -> np.ndarray:
        at = self._field(number)
        if at is None:
            return np.empty(0, dtype)
        at += _u32(self.buffer, at)
        return np.frombuffer(self.buffer, np.dtype(dtype).newbyteorder("<"), _u32(self.buffer, at), at + 4)

    def tables(self, number: int) -> list[Table]:
        at = self._field(number)
        if at is None:
            return []
        at += _u32(self.buffer, at)
        places = [at + 4 + 4 * i for i in range(_u32(self.buffer, at))]
        return [Table(self.buffer, p + _u32(self.buffer, p)) for p in places]


def _i32(buffer: bytes, at: int) -> int:
    return int(struct.unpack_from("<i", buffer, at)[0])


def _u32(buffer: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", buffer, at)[0])


def read(path: Path) -> Network:
    """The network of a ``.tflite`` file with one subgraph."""
    buffer = path.read_bytes()
    if buffer[4:8] != b"TFL3":
        raise SystemExit(f"{path}: not a .tflite file")
    model = Table(buffer, _u32(buffer, 0))
    # the code moved to a 32-bit field (3); older files have it in an 8-bit one (0)
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    buffers = [one.array(0, np.uint8) for one in model.tables(4)]
    (graph,) = model.tables(2)
    tensors = [_tensor(one, buffers) for one in graph.tables(0)]
    operators = [
        Operator(OPERATORS[codes[one.number(0, "I")]],
                 *(tuple(tensors[i] for i in one.array(field, np.int32) if i >= 0) for field in (1, 2)))
        for one in graph.tables(3)
    ]
    return Network(tensors[graph.array(1, np.int32)[0]], tuple(operators))


def _tensor(table: Table, buffers: list[np.ndarray]) -> Tensor:
    shape = tuple(int(n) for n in table.array(0, np.int32))
    dtype = DTYPES[table.number(1, "b")]
    raw = buffers[table.number(2, "I")]
    data = raw.view(np.dtype(dtype).newbyteorder("<")).reshape(shape) if raw.size else None
    name = table.array(3, np.uint8).tobytes().decode("utf-8", "replace")
    q = table.table(4)
    if q is None:
        return Tensor(name, shape, dtype, data, np.empty(0), np.empty(0), 0)
    return Tensor(name, shape, dtype, data, q.array(2, np.float32), q.array(3, np.int64), q.number(6, "i"))
