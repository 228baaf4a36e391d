"""Sample files: what ``--calibrate``, ``--data`` and ``--input`` read, matched to a network's inputs by name or order.

A ``.npy`` holds one array of samples (S, ...); a ``.npz`` holds one per input, and may hold integer labels (S,) as ``y`` or
``labels``.  Pickled arrays are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genn.errors import UsageError

LABELS = ("y", "labels", "label", "targets")


def load(path: str | Path, option: str = "--data") -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Arrays by name and labels or None from a .npy or .npz file; UsageError names the option and the file."""
    path = Path(path)
    where = f"{option} {path}"
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"": found} if isinstance(found, np.ndarray) else {k: found[k] for k in found.files}
    except FileNotFoundError:
        raise UsageError("there is no such file", where) from None
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror or error}", where) from None
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        pickled = "pickle" in str(error).lower()
        what = "it holds pickled objects" if pickled else "it is no .npy or .npz file of numbers"
        raise UsageError(what, where, "save plain arrays with numpy.savez") from None
    labels = next((arrays.pop(k) for k in LABELS if k in arrays and np.ndim(arrays[k]) == 1
                   and arrays[k].dtype.kind in "iu" and len(arrays) > 1), None)
    for name, array in arrays.items():
        label = f"{where}{f' ({name})' if name else ''}"
        if array.dtype.kind not in "fiub":
            raise UsageError(f"it holds {array.dtype}, not numbers", label)
        if array.size == 0 or array.ndim == 0:
            raise UsageError("it is empty", label, "give at least one sample")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError("it holds NaN or infinity", label)
    if not arrays:
        raise UsageError("it holds no arrays", where)
    return arrays, labels


def match(arrays: Any, names: Sequence[str], shapes: Sequence[tuple[int, ...]], what: str = "data") -> dict[str, np.ndarray]:
    """Arrays (a mapping, a sequence or one array) as {input: float32 (S, *shape)}, S the same for all.

    shapes: torch's, batch axis included; where that is 1, an array may leave it out.  UsageError if they do not fit.
    """
    if isinstance(arrays, Mapping):
        if all(n in arrays for n in names):
            chosen = [arrays[n] for n in names]
        elif len(names) == 1:
            likely = [k for k in ("x", "X", "input", "inputs", "") if k in arrays]
            if not likely and len(arrays) > 1:
                raise UsageError(f"none of {', '.join(arrays)} is the input {names[0]}", what, f"name one array {names[0]}")
            chosen = [arrays[likely[0]] if likely else next(iter(arrays.values()))]
        elif len(arrays) == len(names):
            chosen = list(arrays.values())
        else:
            raise UsageError(f"it holds {', '.join(arrays)}, the network's inputs are {', '.join(names)}", what)
    elif isinstance(arrays, list | tuple) and len(names) > 1:
        chosen = list(arrays)
    else:
        chosen = [arrays]
    if len(chosen) != len(names):
        raise UsageError(f"{len(chosen)} arrays for {len(names)} inputs", what)
    out: dict[str, np.ndarray] = {}
    for name, value, shape in zip(names, chosen, shapes, strict=True):
        x = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
        if x.shape[1:] != shape and shape[:1] == (1,) and x.shape[1:] == shape[1:] and x.ndim:
            x = x[:, None]
        if x.ndim == 0 or x.shape[1:] != shape:
            want = shape[1:] if shape[:1] == (1,) else shape
            raise UsageError(f"input {name} has shape {tuple(x.shape)}, the network takes (S, {', '.join(map(str, want))})", what)
        if len(x) == 0:
            raise UsageError(f"input {name} holds no samples", what, "give at least one sample")
        out[name] = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(out[name]).all():
            raise UsageError(f"input {name} holds NaN or infinity", what)
    if len({len(x) for x in out.values()}) > 1:
        raise UsageError("the inputs differ in their number of samples", what)
    return out
