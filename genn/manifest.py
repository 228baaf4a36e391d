"""The manifest genn.json: its one reader, which trusts nothing, and what it says, given types.

``read_raw`` is the manifest as it stands, every field checked; ``read_manifest`` the same as a ``Manifest``, whose
``Value.encode`` and ``Value.decode`` are the step between the user's reals in torch's layout and the integers in the
arena.  ``check_files`` compares a folder with its manifest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from genn import data
from genn.errors import FirmwareError, GennError, ModelError, UsageError
from genn.ir import NP_DTYPE, QParams
from genn.names import C_KEYWORDS

MANIFEST = "genn.json"
SCHEMA = 1
GENERATOR = "genn-mcu"
MAX_MANIFEST = 16 << 20  # bytes
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")


# -- what it says, given types -----------------------------------------------------------------------------------------
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
    runs_in: str | None = None  # the function of the region in which it runs row by row

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

    def entry(self, layer: Layer) -> str | None:
        """What a tool calls to run a layer: its function; of a region the region's own, at its last layer only."""
        if layer.runs_in is None:
            return layer.symbol
        last = max(x.index for x in self.layers if x.runs_in == layer.runs_in)
        return layer.runs_in if layer.index == last else None

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


# -- what is checked ---------------------------------------------------------------------------------------------------
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
_Symbol = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\Z", max_length=255)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Word = Annotated[str, msgspec.Meta(max_length=64)]
_Shape = Annotated[list[_Bytes], msgspec.Meta(max_length=16)]
_Bits = Annotated[int, msgspec.Meta(ge=1, le=32)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Arena(msgspec.Struct):
    bytes: _Bytes
    align: Annotated[int, msgspec.Meta(ge=1, le=4096)]


class _Value(msgspec.Struct, kw_only=True):
    """A tensor in the arena."""

    shape: _Shape
    dtype: _Word
    offset: _Bytes
    bytes: _Bytes
    name: _Text | None = None
    tensor: _Text | None = None
    torch_shape: _Shape | None = None
    layout: _Shape | None = None
    bits: _Bits | None = None
    scale: float | None = None
    zero_point: _Int32 | None = None


_Ports = Annotated[list[_Value], msgspec.Meta(min_length=1)]


class _Source(msgspec.Struct):
    fqn: _Text | None = None
    file: _Text | None = None
    line: _Count | None = None


class _Layer(msgspec.Struct, kw_only=True):
    index: _Count
    name: _Text
    op: _Word
    symbol: _Symbol
    weights: _Symbol | None
    constants: _Symbol | None
    weight_bytes: _Count
    scheme: _Word | None = None
    sparse: bool | None = None
    macs: _Count = 0
    in_shapes: list[_Shape] | None = None
    out_shapes: list[_Shape] | None = None
    arena_live: _Count | None = None
    source: _Source | None = None
    runs_in: _Symbol | None = None
    outputs: list[_Value] = []


class _Schema(msgspec.Struct):
    schema: int


class _Manifest(msgspec.Struct, kw_only=True):
    generator: _Text
    name: _Symbol
    scheme: _Word
    arena: _Arena
    inputs: _Ports
    outputs: _Ports
    layers: list[_Layer]
    files: dict[str, _Hash]
    model_sha256: _Text | None = None
    options: dict[str, Any] = {}


# -- reading ----------------------------------------------------------------------------------------------------------
def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a project folder, given types.  Errors as ``read_raw``."""
    checked, raw = _read(Path(folder))
    layers = tuple(
        Layer(x.index, x.name, x.op, x.symbol, tuple(_value(v, v.tensor) for v in x.outputs), x.macs, x.runs_in)
        for x in checked.layers
    )
    inputs, outputs = (tuple(_value(v, v.name) for v in values) for values in (checked.inputs, checked.outputs))
    arena = checked.arena
    return Manifest(Path(folder), checked.name, checked.scheme, arena.bytes, arena.align, inputs, outputs, layers, raw)


def _value(v: _Value, name: str | None) -> Value:
    q = None
    if v.dtype != "float32" and v.scale is not None:
        q = QParams(v.bits or 0, v.scale, v.zero_point or 0)  # _check_value: neither is missing
    layout = None if v.layout is None or v.layout == sorted(v.layout) else tuple(v.layout)
    return Value(name or "", tuple(v.shape), v.dtype, v.offset, v.bytes, q, layout)


def read_raw(folder: str | Path) -> dict[str, Any]:
    """The genn.json of a project folder, as it stands, every field that architecture.md names checked.

    UsageError if there is no such folder or it is no project of ours; ModelError if the manifest cannot be trusted.
    """
    return _read(Path(folder))[1]


def _read(folder: Path) -> tuple[_Manifest, dict[str, Any]]:
    path = folder / MANIFEST
    blob = _read_bounded(path)
    fix = "convert the model again"
    try:
        schema = msgspec.json.decode(blob, type=_Schema).schema
        if schema != SCHEMA:
            raise _Untrusted(f"it has schema {schema}, this genn reads schema {SCHEMA}")
        checked = msgspec.json.decode(blob, type=_Manifest)
        _check(checked)
        return checked, msgspec.json.decode(blob)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise ModelError(f"{what} in {place.rstrip('`')}" if place else what, str(path), fix) from None
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        what = str(error) if isinstance(error, _Untrusted) else "it is no JSON"
        raise ModelError(what, str(path), fix) from None


class _Untrusted(ValueError):
    """A value of a manifest that contradicts another or the rules."""


def _read_bounded(path: Path) -> bytes:
    """The bytes of a genn.json that is a file of bearable size."""
    folder, fix = path.parent, "give the folder that genn convert wrote"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not os.path.lexists(folder):
            raise UsageError("no such folder", str(folder), fix) from None
        if not folder.is_dir():
            raise UsageError("it is a file, not the folder of a project", str(folder), fix) from None
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise UsageError(f"it is no project of genn, for it has no {MANIFEST}", str(folder), fix) from None
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"it is no project of genn, for its {MANIFEST} is no file", str(folder), fix)
        with open(fd, "rb", closefd=False) as file:
            blob = file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from None
    finally:
        os.close(fd)
    if len(blob) > MAX_MANIFEST:
        raise ModelError(f"it is larger than {MAX_MANIFEST >> 20} MB", str(path), "convert the model again")
    return blob


def _check(m: _Manifest) -> None:
    """What types cannot say.  _Untrusted names the field."""
    if not m.generator.startswith(GENERATOR):
        raise _Untrusted(f"it was written by {m.generator[:40]!r}, not by {GENERATOR}")
    if m.name in C_KEYWORDS:
        raise _Untrusted(f"its name {m.name!r} is a keyword of C")
    if m.arena.align & (m.arena.align - 1):
        raise _Untrusted(f"arena.align is {m.arena.align}, no power of two")
    for name in m.files:
        if not is_file_name(name) or name == MANIFEST:
            raise _Untrusted(f"files lists {name[:40]!r}, which cannot be a file of the project")
    symbols = [layer.symbol for layer in m.layers]
    if len(set(symbols)) < len(symbols):
        raise _Untrusted("two layers have the same symbol")
    for kind, values in (("inputs", m.inputs), ("outputs", m.outputs)):
        for i, value in enumerate(values):
            if value.name is None:
                raise _Untrusted(f"{kind}[{i}] has no name")
            _check_value(value, f"{kind}[{i}]", m.arena.bytes)
    for i, layer in enumerate(m.layers):
        if layer.index != i:
            raise _Untrusted(f"layers[{i}] has the index {layer.index}")
        for k, value in enumerate(layer.outputs):
            if value.tensor is None:
                raise _Untrusted(f"layers[{i}].outputs[{k}] names no tensor")
            _check_value(value, f"layers[{i}].outputs[{k}]", m.arena.bytes)


def _check_value(v: _Value, where: str, arena: int) -> None:
    if v.dtype not in NP_DTYPE:
        raise _Untrusted(f"{where} has the unknown type {v.dtype!r}")
    element = NP_DTYPE[v.dtype].itemsize
    if v.bytes != math.prod(v.shape) * element:
        raise _Untrusted(f"{where} has {v.bytes} bytes, which is not what its shape and type say")
    if v.offset + v.bytes > arena:
        raise _Untrusted(f"{where} lies outside the arena")
    if v.layout and sorted(v.layout) != list(range(len(v.shape))):
        raise _Untrusted(f"{where} has a layout that is no permutation of its axes")
    if v.torch_shape is not None and math.prod(v.torch_shape) != math.prod(v.shape):
        raise _Untrusted(f"{where} has a torch_shape of another size than its shape")
    if v.scale is not None and v.dtype != "float32" and (v.bits is None or v.zero_point is None):
        raise _Untrusted(f"{where} has a scale, but no bits or no zero_point")
    if v.bits is not None and v.bits > 8 * element:
        raise _Untrusted(f"{where} has {v.bits} bits, more than {v.dtype} holds")
    if v.scale is not None and not 0 < v.scale < math.inf:
        raise _Untrusted(f"{where} has the scale {v.scale}, which is not above zero")


# -- files ------------------------------------------------------------------------------------------------------------
def is_file_name(name: object) -> bool:
    """Whether a file of a project may be called so."""
    return isinstance(name, str) and bool(_FILE_NAME.fullmatch(name)) and ".." not in name


def listed_files(folder: Path) -> dict[str, str] | None:
    """The files (name: hash) that the genn.json of ``folder`` lists, of any schema; None if genn did not write it."""
    try:
        found = json.loads(_read_bounded(folder / MANIFEST))
    except (GennError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not str(found.get("generator", "")).startswith(GENERATOR):
        return None
    files = found.get("files")
    if not isinstance(files, dict) or not all(is_file_name(n) and isinstance(h, str) for n, h in files.items()):
        return None
    return files


def check_files(folder: str | Path, manifest: Mapping[str, Any]) -> list[str]:
    """The names of files that the manifest lists and that are missing or changed, in its order."""
    bad = []
    for name, digest in manifest["files"].items():
        try:
            if not is_file_name(name) or not stat.S_ISREG((Path(folder) / name).lstat().st_mode):
                raise FileNotFoundError
            with open(Path(folder) / name, "rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            same = False
        if not same:
            bad.append(name)
    return bad
