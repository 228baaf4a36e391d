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

from genn import build
from genn.errors import ModelError, UsageError
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
        return NP_DTYPE[self.dtype]

    @property
    def torch_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[i] for i in self.layout) if self.layout else self.shape

    def encode(self, x: Any) -> np.ndarray:
        """Real values in torch's layout, (S, *torch_shape) or without the batch axis of 1, to stored (S, *shape)."""
        try:
            x = np.asarray(x)
        except ValueError:
            raise UsageError("it is no rectangular array", f"input {self.name}") from None
        if x.dtype.kind not in "fiub":
            raise UsageError(f"it holds {x.dtype}, not numbers", f"input {self.name}")
        shape = self.torch_shape
        if x.shape[1:] != shape and x.ndim and shape[:1] == (1,) and x.shape[1:] == shape[1:]:
            x = x[:, None]
        if x.ndim == 0 or x.shape[1:] != shape:
            want = "x".join(map(str, ("S", *(shape[1:] if shape[:1] == (1,) else shape))))
            raise UsageError(f"it has shape {x.shape}, the network takes {want} (S samples)", f"input {self.name}")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise UsageError("it holds NaN or infinity", f"input {self.name}")
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
    """A generated project: ``folder`` and what its genn.json says (all of it in ``data``)."""

    folder: Path
    name: str
    scheme: str
    arena_bytes: int
    arena_align: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    layers: tuple[Layer, ...]
    data: Mapping[str, Any] = field(repr=False)

    def encode(self, arrays: Mapping[str, Any] | Sequence[Any]) -> list[np.ndarray]:
        """Real inputs, by name or in order, to stored arrays (S, *shape), all of the same S."""
        if isinstance(arrays, Mapping):
            missing = [v.name for v in self.inputs if v.name not in arrays]
            if missing and len(self.inputs) == 1 and len(arrays) == 1:
                arrays = list(arrays.values())
            elif missing:
                has = ", ".join(arrays) or "nothing"
                raise UsageError(f"the data lacks the input {', '.join(missing)} (it has {has})")
            else:
                arrays = [arrays[v.name] for v in self.inputs]
        if len(arrays) != len(self.inputs):
            raise UsageError(f"the network has {len(self.inputs)} inputs, {len(arrays)} were given")
        stored = [v.encode(x) for v, x in zip(self.inputs, arrays, strict=True)]
        if len({len(x) for x in stored}) > 1:
            raise UsageError(f"the inputs differ in their number of samples: {', '.join(str(len(x)) for x in stored)}")
        return stored


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a project folder.  ModelError if the folder is not one of ours or its manifest is damaged."""
    folder = Path(folder)
    raw = build.read_manifest(folder)
    try:
        return _manifest(folder, raw)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else f"it is damaged: {error}"
        raise ModelError(said, str(folder / build.MANIFEST), "convert the model again") from None


def _manifest(folder: Path, data: dict[str, Any]) -> Manifest:
    arena = int(data["arena"]["bytes"])
    layers = []
    for item in data["layers"]:
        outputs = tuple(_value(v, v["tensor"], arena) for v in item.get("outputs", ()))
        layers.append(Layer(int(item["index"]), str(item["name"]), str(item["op"]), str(item["symbol"]),
                            outputs, int(item.get("macs", 0))))
    return Manifest(
        folder,
        str(data["name"]),
        str(data["scheme"]),
        arena,
        int(data["arena"]["align"]),
        tuple(_value(v, v["name"], arena) for v in data["inputs"]),
        tuple(_value(v, v["name"], arena) for v in data["outputs"]),
        tuple(layers),
        data,
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
    size = int(np.prod(shape, dtype=np.int64)) * NP_DTYPE[dtype].itemsize
    if int(item["bytes"]) != size or min(shape, default=1) < 0:
        raise ValueError(f"{name} has {item['bytes']} bytes, its shape says {size}")
    offset = int(item["offset"])
    if not 0 <= offset <= offset + size <= arena:
        raise ValueError(f"{name} lies outside the arena")
    identity = layout == tuple(range(len(shape)))
    return Value(str(name), shape, dtype, offset, size, q, None if identity or not layout else layout)
