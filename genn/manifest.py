"""What a generated project says about itself, given types: so that runners convert values in one place and one way.

Host, QEMU and verify read a project folder through ``read_manifest``; ``Value.encode`` and ``Value.decode`` are the
step between the user's reals in torch's layout and the integers in the arena.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genn import build, data
from genn.errors import FirmwareError, ModelError
from genn.ir import NP_DTYPE, QParams


@dataclass(frozen=True)
class Value:
    """A tensor in the arena: an input, an output, or what a layer leaves behind.

    layout: permutation from the stored axis order to torch's, or None where they agree.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    bytes: int
    q: QParams | None = None
    layout: tuple[int, ...] | None = None

    @property
    def np_dtype(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def torch_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[i] for i in self.layout) if self.layout else self.shape

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Real values in torch's layout, (S, *torch_shape), to stored values (S, *shape)."""
        if self.layout:
            x = np.transpose(x, (0, *(int(i) + 1 for i in np.argsort(self.layout))))
        if self.q is not None:
            x = self.q.quantize(x)
        return np.ascontiguousarray(x, self.np_dtype)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Stored values (S, *shape) to reals in torch's layout: float64, or float32 as they are."""
        x = self.q.dequantize(stored) if self.q is not None else stored
        return np.transpose(x, (0, *(i + 1 for i in self.layout))) if self.layout else x


@dataclass(frozen=True)
class Layer:
    """One layer function of the generated C."""

    index: int
    name: str
    op: str
    symbol: str
    outputs: tuple[Value, ...]
    macs: int = 0

    def __str__(self) -> str:
        return f"layer {self.index} ({self.name}, {self.op})" if self.name else f"layer {self.index} ({self.op})"


@dataclass(frozen=True)
class Manifest:
    """A generated project: ``folder`` and what its genn.json says (all of it in ``raw``)."""

    folder: Path
    name: str
    scheme: str
    arena_bytes: int
    arena_align: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layers: tuple[Layer, ...]
    raw: Mapping[str, Any] = field(repr=False)

    def match(self, arrays: Any, what: str = "data") -> dict[str, np.ndarray]:
        """Real arrays as {input: float32 (S, *torch_shape)}; UsageError if they do not fit (genn.data.match)."""
        return data.match(arrays, [v.name for v in self.inputs], [v.torch_shape for v in self.inputs], what)

    def encode(self, arrays: Any, what: str = "data") -> list[np.ndarray]:
        """Real inputs (a mapping, a sequence or one array) to stored arrays (S, *shape), in the network's order."""
        given = self.match(arrays, what)
        return [v.encode(given[v.name]) for v in self.inputs]

    def pack(self, stored: Sequence[np.ndarray]) -> bytes:
        """Stored inputs as the firmware reads them: the inputs of a sample one behind another, then the next sample."""
        samples = len(stored[0]) if stored else 0
        rows = [np.ascontiguousarray(x).view(np.uint8).reshape(samples, -1) for x in stored if x.size]
        return np.concatenate(rows, axis=1).tobytes() if rows else b""

    def unpack(self, written: bytes, samples: int) -> dict[str, np.ndarray]:
        """The outputs that the firmware wrote, output -> (S, *shape).  FirmwareError if there are more or less."""
        each = sum(v.bytes for v in self.outputs)
        if len(written) != samples * each:
            raise FirmwareError(f"the firmware wrote {len(written)} bytes, not {samples} x {each}", str(self.folder))
        rows, at, found = np.frombuffer(written, np.uint8).reshape(samples, each), 0, {}
        for v in self.outputs:
            part = np.ascontiguousarray(rows[:, at : at + v.bytes])
            found[v.name] = part.view(v.np_dtype).reshape(samples, *v.shape)
            at += v.bytes
        return found


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a project folder.  ModelError if the folder is not one of ours or its manifest is damaged."""
    folder = Path(folder)
    raw = build.read_manifest(folder)
    try:
        return _manifest(folder, raw)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else f"it is damaged: {error}"
        raise ModelError(said, str(folder / build.MANIFEST), "convert the model again") from None


def _manifest(folder: Path, raw: dict[str, Any]) -> Manifest:
    arena = int(raw["arena"]["bytes"])
    layers = []
    for item in raw["layers"]:
        outputs = tuple(_value(v, v["tensor"], arena) for v in item.get("outputs", ()))
        layers.append(Layer(int(item["index"]), str(item["name"]), str(item["op"]), str(item["symbol"]),
                            outputs, int(item.get("macs", 0))))
    return Manifest(
        folder,
        str(raw["name"]),
        str(raw["scheme"]),
        arena,
        int(raw["arena"]["align"]),
        tuple(_value(v, v["name"], arena) for v in raw["inputs"]),
        tuple(_value(v, v["name"], arena) for v in raw["outputs"]),
        tuple(layers),
        raw,
    )


def _value(item: dict[str, Any], name: str, arena: int) -> Value:
    shape = tuple(int(n) for n in item["shape"])
    dtype = str(item["dtype"])
    if dtype not in NP_DTYPE:
        raise ValueError(f"{name} has the unknown type {dtype!r}")
    q = None
    if dtype != "float32" and item.get("scale") is not None:
        q = QParams(int(item["bits"]), float(item["scale"]), int(item["zero_point"]))
    layout = tuple(int(i) for i in item.get("layout") or ())
    if layout and sorted(layout) != list(range(len(shape))):
        raise ValueError(f"{name} has no permutation as its layout")
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if int(item["bytes"]) != size or min(shape, default=1) < 0:
        raise ValueError(f"{name} has {item['bytes']} bytes, its shape says {size}")
    offset = int(item["offset"])
    if not 0 <= offset <= offset + size <= arena:
        raise ValueError(f"{name} lies outside the arena")
    identity = layout == tuple(range(len(shape)))
    return Value(str(name), shape, dtype, offset, size, q, None if identity or not layout else layout)
