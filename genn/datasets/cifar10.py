"""CIFAR-10 in its binary version: files of records, each a label byte and 3,072 bytes of pixels (red, green, blue)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from genn.datasets.folder import locate
from genn.errors import UsageError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MARKER, ARCHIVES = "test_batch*.bin", ("cifar-10", "cifar10")
RECORD = 1 + 3 * 32 * 32

Bytes = npt.NDArray[np.uint8]


def read_bin(path: Path) -> tuple[Bytes, Bytes]:
    """Images (n, 3, 32, 32) and labels (n,) of one file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror or error})", str(path), "fetch the set again") from error
    if not raw or len(raw) % RECORD:
        raise UsageError(f"{len(raw):,} bytes, not records of {RECORD:,}", str(path), "fetch the set again")
    records = np.frombuffer(raw, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(CLASSES):
        raise UsageError(f"label {records[:, 0].max()}, where CIFAR-10 has 0 to 9", str(path), "fetch the set again")
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def read_cifar10(data: Path | str) -> tuple[tuple[Bytes, Bytes], tuple[Bytes, Bytes]]:
    """(training images, labels), (test images, labels): every ``data_batch*.bin`` and every ``test_batch*.bin``."""
    root = locate(data, "cifar10", MARKER, ARCHIVES)
    parts = []
    for stem in ("data_batch", "test_batch"):
        files = [read_bin(path) for path in sorted(root.glob(f"{stem}*.bin"))]
        if not files:
            raise UsageError(f"no {stem}*.bin", str(root), "fetch the set again")
        parts.append((np.concatenate([x for x, _ in files]), np.concatenate([y for _, y in files])))
    return parts[0], parts[1]
