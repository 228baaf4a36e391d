"""MNIST is published as IDX files, which come from anywhere: this reads them and does not trust what they claim.

An IDX file is two zero bytes, a type byte (0x08: unsigned bytes, the only one MNIST has), the number of dimensions,
each dimension as a 32-bit big-endian number, and then the elements; it may be packed with gzip.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from genn.errors import UsageError

MAX_BYTES = 256 << 20  # MNIST's largest file holds 47 MB; a header that promises more than this is not believed
MAX_DIMS = 4
UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"

Bytes = npt.NDArray[np.uint8]


class Mnist(NamedTuple):
    """All of MNIST as it is published: images (n, 28, 28) and labels (n,), both uint8."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def read_idx(path: Path | str, max_bytes: int = MAX_BYTES) -> Bytes:
    """The array in one IDX file, raw or gzip (told by its first bytes, not by its name)."""
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if not packed:
                return _parse(raw, path, max_bytes)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _parse(cast(BinaryIO, unpacked), path, max_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(path, f"damaged gzip file ({error})") from error
    except OSError as error:
        raise UsageError(f"cannot read the file ({error.strerror or error})", str(path)) from error


def _parse(stream: BinaryIO, path: Path, max_bytes: int) -> Bytes:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise _bad(path, f"not an IDX file (it begins with {head.hex() or 'nothing'})")
    kind, ndim = head[2], head[3]
    if kind != UNSIGNED_BYTE:
        raise _bad(path, f"IDX elements of type 0x{kind:02x}, where MNIST has unsigned bytes (0x08)")
    if not 1 <= ndim <= MAX_DIMS:
        raise _bad(path, f"IDX header with {ndim} dimensions, where 1 to {MAX_DIMS} make sense")
    dims_raw = stream.read(4 * ndim)
    if len(dims_raw) < 4 * ndim:
        raise _bad(path, "IDX header cut short")
    shape = struct.unpack(f">{ndim}I", dims_raw)
    size = math.prod(shape)
    if not 0 < size <= max_bytes:
        raise _bad(path, f"IDX header claims shape {shape}, {size:,} bytes, outside 1 to {max_bytes:,}")
    body = stream.read(size + 1)
    if len(body) != size:
        found = f"only {len(body):,} follow" if len(body) < size else "more follow"
        raise _bad(path, f"IDX header claims shape {shape}, {size:,} bytes, but {found}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_mnist(folder: Path | str) -> Mnist:
    """MNIST's four files from ``folder`` or its subfolder ``mnist``, checked against each other."""
    parts: list[Bytes] = []
    for part in ("train", "t10k"):
        image_path, label_path = _find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1)
        images, labels = read_idx(image_path), read_idx(label_path)
        if images.ndim != 3 or images.shape[1:] != (28, 28):
            raise _bad(image_path, f"images of shape {images.shape}, where MNIST has (n, 28, 28)")
        if labels.shape != images.shape[:1]:
            raise _bad(label_path, f"labels of shape {labels.shape} beside {len(images):,} images")
        if labels.max() > 9:
            raise _bad(label_path, f"label {labels.max()}, where MNIST has 0 to 9")
        parts += [images, labels]
    return Mnist(*parts)


def _find(folder: Path | str, stem: str, ndim: int) -> Path:
    names = [f"{stem}{dash}idx{ndim}-ubyte{end}" for dash in "-." for end in (".gz", "")]
    for base in (Path(folder), Path(folder) / "mnist"):
        for name in names:
            if (base / name).is_file():
                return base / name
    raise UsageError(f"no {names[0]}", str(folder), "give the folder that holds MNIST's four official IDX files")


def _bad(path: Path, what: str) -> UsageError:
    return UsageError(what, str(path), "fetch the file again from MNIST's source")
