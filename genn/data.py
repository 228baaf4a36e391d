"""Sample files: what ``--calibrate``, ``--data`` and ``--input`` read, matched to a network's inputs by name or order.

A ``.npy`` holds one array of samples (S, ...); a ``.npz`` holds one per input, and may hold integer labels (S,) as
``y`` or ``labels``.  Pickled arrays are refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genn.errors import UsageError

LABELS = ("y", "labels", "label", "targets")
MAX_UNPACKED = 8 << 30  # bytes of a .npz
_SAVE = "save plain arrays of numbers with numpy.save or numpy.savez"


def load(path: str | Path, option: str = "--data") -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Arrays by name and labels or None from a .npy or .npz file; UsageError names the option and the file."""
    path = Path(path)
    where = f"{option} {path}"
    try:
        _check_kind(path, where)
        found = np.load(path, allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else {k: found[k] for k in found.files}
    except FileNotFoundError:
        raise UsageError("there is no such file", where, "check the path") from None
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror or error}", where, _SAVE) from None
    except MemoryError:
        raise UsageError("its arrays are larger than the memory here", where, "save fewer samples") from None
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, SyntaxError) as error:
        pickled = "allow_pickle" in str(error)
        raise UsageError("it holds pickled objects" if pickled else "it is damaged", where, _SAVE) from None
    labels = next(
        (
            arrays.pop(k)
            for k in LABELS
            if k in arrays and np.ndim(arrays[k]) == 1 and arrays[k].dtype.kind in "iu" and len(arrays) > 1
        ),
        None,
    )
    for name, array in arrays.items():
        label = f"{where}{f' ({name})' if name else ''}"
        if array.dtype.kind not in "fiub":
            raise UsageError(f"it holds {array.dtype}, not numbers", label, _SAVE)
        if array.size == 0 or array.ndim == 0:
            raise UsageError("it is empty", label, "give at least one sample")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError("it holds NaN or infinity", label, "give real inputs, all of them finite")
    if not arrays:
        raise UsageError("it holds no arrays", where, _SAVE)
    return arrays, labels


def _check_kind(path: Path, where: str) -> None:
    """UsageError unless ``path`` begins as a .npy or .npz does and its archive unpacks to a bearable size."""
    with open(path, "rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return
    if start[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
        pickled = start[:1] == b"\x80"
        raise UsageError("it holds pickled objects" if pickled else "it is no .npy or .npz file", where, _SAVE)
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > MAX_UNPACKED:
        raise UsageError(
            f"it unpacks to {size >> 20} MiB, {MAX_UNPACKED >> 20} at most are read", where, "save fewer samples"
        )


def match(
    arrays: Any, names: Sequence[str], shapes: Sequence[tuple[int, ...]], what: str = "data"
) -> dict[str, np.ndarray]:
    """Arrays (a mapping, a sequence or one array) as {input: float32 (S, *shape)}, S the same for all.

    shapes: torch's, batch axis included; where that is 1, an array may leave it out.  UsageError if they do not fit.
    """
    wanted = ", ".join(names)
    if isinstance(arrays, Mapping):
        given = ", ".join(str(k) or "one unnamed array" for k in arrays)
        if all(n in arrays for n in names):
            chosen = [arrays[n] for n in names]
        elif len(names) == 1:
            likely = [k for k in ("x", "X", "input", "inputs", "") if k in arrays]
            if not likely and len(arrays) != 1:
                raise UsageError(f"none of {given} is the input {wanted}", what, f"name one array {wanted}")
            chosen = [arrays[likely[0]] if likely else next(iter(arrays.values()))]
        elif len(arrays) == len(names):
            chosen = list(arrays.values())
        else:
            raise UsageError(f"it holds {given}", what, f"give an array for each of the network's inputs {wanted}")
    elif isinstance(arrays, list | tuple) and (len(names) > 1 or _is_wrapped(arrays, shapes[0])):
        chosen = list(arrays)
    else:
        chosen = [arrays]
    if len(chosen) != len(names):
        raise UsageError(f"{len(chosen)} arrays for {len(names)} inputs", what, f"give one for each of {wanted}")
    out: dict[str, np.ndarray] = {}
    for name, value, shape in zip(names, chosen, shapes, strict=True):
        x = _array(value, name, what)
        if x.shape[1:] != shape and shape[:1] == (1,) and x.shape[1:] == shape[1:] and x.ndim:
            x = x[:, None]
        if x.ndim == 0 or x.shape[1:] != shape:
            want = ", ".join(map(str, shape[1:] if shape[:1] == (1,) else shape))
            raise UsageError(
                f"input {name} has shape {tuple(x.shape)}", what, f"the network takes (S, {want}), S samples"
            )
        if len(x) == 0:
            raise UsageError(f"input {name} holds no samples", what, "give at least one sample")
        with np.errstate(over="ignore"):
            out[name] = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(out[name]).all():
            raise UsageError(
                f"input {name} holds NaN, infinity or numbers beyond float32", what, "give finite real inputs"
            )
    if len({len(x) for x in out.values()}) > 1:
        counts = ", ".join(f"{len(x)} of {n}" for n, x in out.items())
        raise UsageError(f"the inputs differ in their number of samples ({counts})", what, "give as many of each")
    return out


def _is_wrapped(arrays: Sequence[Any], shape: tuple[int, ...]) -> bool:
    """Whether a sequence holds the one input's array of samples, and is not itself a sequence of samples."""
    return len(arrays) == 1 and len(getattr(arrays[0], "shape", ())) >= len(shape)


def _array(value: Any, name: str, what: str) -> np.ndarray:
    """An array of numbers from a tensor, an array or nested lists."""
    try:
        x = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    except (ValueError, TypeError, RuntimeError):
        x = np.empty(0, object)
    if x.dtype.kind not in "fiub":
        raise UsageError(f"input {name} is no array of numbers", what, "give a NumPy array or a tensor of real numbers")
    return x
