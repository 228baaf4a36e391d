"""Writes an ONNX file: the few messages of its protobuf schema that a plain network needs, without the onnx package.

Field numbers are those of onnx.proto3 (IR version 8, operator set 14, the first whose Relu takes int8).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

IR_VERSION, OPSET = 8, 14
TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}  # TensorProto.DataType
FLOAT, INT, INTS = 1, 2, 7  # AttributeProto.AttributeType


def varint(value: int) -> bytes:
    """A protobuf varint; negative numbers take the 64 bits that the format gives them."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(tag: int, value: int) -> bytes:
    """A field that holds an integer."""
    return varint(tag << 3) + varint(value)


def chunk(tag: int, value: bytes | str) -> bytes:
    """A field that holds bytes, text or a message."""
    data = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(data)) + data


@dataclass
class OnnxModel:
    """A graph under construction; names of tensors are the caller's."""

    name: str
    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: int | float | Sequence[int]) -> str:
        """Append an operator; returns ``output``."""
        parts = [*(chunk(1, i) for i in inputs), chunk(2, output), chunk(3, f"{op}_{len(self.nodes)}"), chunk(4, op)]
        parts += [chunk(5, _attribute(key, value)) for key, value in attributes.items()]
        self.nodes.append(b"".join(parts))
        return output

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """Store ``value``, whose type is one of TYPES; returns ``name``."""
        value = np.asarray(value)
        data = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes()
        self.constants.append(b"".join([*(number(1, n) for n in value.shape), number(2, TYPES[str(value.dtype)]),
                                        chunk(8, name), chunk(9, data)]))
        return name

    def port(self, into: list[bytes], name: str, dtype: str, shape: Sequence[int]) -> str:
        """Declare an input or output (``into`` says which); returns ``name``."""
        dims = b"".join(chunk(1, number(1, n)) for n in shape)
        into.append(chunk(1, name) + chunk(2, chunk(1, number(1, TYPES[dtype]) + chunk(2, dims))))
        return name

    def encode(self) -> bytes:
        """The file."""
        graph = [*(chunk(1, n) for n in self.nodes), chunk(2, self.name), *(chunk(5, c) for c in self.constants),
                 *(chunk(11, i) for i in self.inputs), *(chunk(12, o) for o in self.outputs)]
        return b"".join([number(1, IR_VERSION), chunk(2, "genn"), chunk(7, b"".join(graph)),
                         chunk(8, chunk(1, "") + number(2, OPSET))])


def _attribute(name: str, value: int | float | Sequence[int]) -> bytes:
    if isinstance(value, float):
        return chunk(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + number(20, FLOAT)
    if isinstance(value, int):
        return chunk(1, name) + number(3, value) + number(20, INT)
    return chunk(1, name) + b"".join(number(8, v) for v in value) + number(20, INTS)
