"""The test vectors of a converted project as arrays, so that emulate and verify have real input without any data file.

``genn.vectors.npz`` holds stored values: ``in0 in1 ... out0 ...``, each (S, *shape).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genn.errors import ModelError
from genn.manifest import Manifest

FILE = "genn.vectors.npz"
MAX_BYTES = 1 << 30


def dumps(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> bytes:
    """The bytes of the file; the same arrays always give the same bytes."""
    arrays: dict[str, Any] = {
        f"{kind}{i}": x for kind, xs in (("in", inputs), ("out", outputs)) for i, x in enumerate(xs)
    }
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # numpy dates every member 1980
    return out.getvalue()


def read_vectors(folder: Path, manifest: Manifest) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(inputs, expected outputs) of the project's test vectors, stored types.  ModelError if the file is damaged."""
    path = folder / FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as found:
            arrays = []
            for kind, values in (("in", manifest.inputs), ("out", manifest.outputs)):
                arrays.append([found[f"{kind}{i}"] for i in range(len(values))])
                for x, v in zip(arrays[-1], values, strict=True):
                    if x.shape[1:] != v.shape or x.dtype != v.np_dtype or not len(x):
                        raise ValueError(f"{v.name} has shape {x.shape} and type {x.dtype}")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"the test vectors cannot be read: {error}", str(path), "run genn convert again") from None
    return arrays[0], arrays[1]
