"""Human activity recognition with a phone at the waist: the official UCI HAR text files, and windows as one .npz.

A window is 2.56 s at 50 Hz, nine signals (body acceleration, angular rate, total acceleration along x, y, z; g and
rad/s), and one of six activities.  People are never split between training and test.

The .npz has the same recipe (median filter 3, Butterworth 20 Hz and 0.3 Hz, 128 samples every 64) applied to the raw
recordings of the same thirty people (UCI HAPT).  It is not identical, sample by sample, to the official text files, so
say beside a figure which of the two it belongs to.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genn.datasets.folder import locate
from genn.errors import UsageError

SIGNALS = tuple(f"{kind}_{axis}" for kind in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")
CLASSES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")
LENGTH = 128  # samples of a window
MARKER, WINDOWS = "train/Inertial Signals/body_acc_x_train.txt", "har_windows.npz"
ARCHIVES = ("human+activity", "UCI HAR Dataset", "har")
TEST_SUBJECTS = (2, 4, 9, 10, 12, 13, 18, 20, 24)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """x (n, 9, 128) float32 in g and rad/s, y (n,) in 0..5, subject (n,) in 1..30."""

    x: Floats
    y: Ints
    subject: Ints


@dataclass(frozen=True)
class Har:
    """source: ``text`` for the official files, ``npz`` for the windows made from the raw recordings."""

    train: Windows
    test: Windows
    source: str


def read_har(data: Path | str) -> Har:
    """All windows, from the official text files where they are there, else from ``har_windows.npz``."""
    try:
        root = locate(data, "har", MARKER, ARCHIVES)
    except UsageError as absent:
        try:
            root = locate(data, "har", WINDOWS)
        except UsageError:
            raise absent from None
        return _read_npz(root / WINDOWS)
    return _checked(_read_text(root, "train"), _read_text(root, "test"), root, "text")


def _read_text(root: Path, part: str) -> Windows:
    folder = root / part
    signals = [_table(folder / "Inertial Signals" / f"{name}_{part}.txt", LENGTH) for name in SIGNALS]
    labels, subjects = (_table(folder / f"{name}_{part}.txt", 1)[:, 0] for name in ("y", "subject"))
    for name, signal in zip(SIGNALS, signals):
        if len(signal) != len(labels):
            what = f"{len(signal):,} windows beside {len(labels):,} labels"
            raise UsageError(what, str(folder / f"{name}_{part}.txt"), "fetch the set again")
    x = np.stack(signals, 1).astype(np.float32)
    return Windows(x, labels.astype(np.int64) - 1, subjects.astype(np.int64))


def _table(path: Path, columns: int) -> npt.NDArray[np.float64]:
    """The rows of numbers in a text file, (n, columns)."""
    try:
        table = np.loadtxt(path, np.float64, ndmin=2)
    except OSError as error:
        raise UsageError("cannot be read", str(path), "fetch the set again") from error
    except ValueError as error:
        raise UsageError(f"not rows of numbers ({error})", str(path), "fetch the set again") from error
    if table.shape[1] != columns or not len(table) or not np.isfinite(table).all():
        raise UsageError(f"rows of {table.shape[1]} numbers, where {columns} are due", str(path), "fetch the set again")
    return table


def _read_npz(path: Path) -> Har:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _checked(_windows(arrays, "train"), _windows(arrays, "test"), path, "npz")
    except (KeyError, ValueError, IndexError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"not the windows of HAR ({error})", str(path), "give the official set") from error


def _windows(arrays: Any, part: str) -> Windows:
    scale = np.asarray(arrays["scale"], np.float32)[:, None]
    labels, subjects = (arrays[f"{name}_{part}"].astype(np.int64) for name in ("y", "subject"))
    return Windows(arrays[f"X_{part}"] * scale, labels - 1, subjects)


def _checked(train: Windows, test: Windows, where: Path, source: str) -> Har:
    def wrong(what: str) -> UsageError:
        return UsageError(what, str(where), "fetch the set again")

    for windows in (train, test):
        shape: Any = windows.x.shape
        if shape != (len(windows.y), len(SIGNALS), LENGTH) or windows.subject.shape != windows.y.shape:
            raise wrong(f"windows of shape {shape} beside {len(windows.y)} labels, where HAR has (n, 9, 128)")
        if not np.isfinite(windows.x).all():
            raise wrong("windows with NaN or infinity")
        if windows.y.size and (windows.y.min() < 0 or windows.y.max() >= len(CLASSES)):
            raise wrong(f"labels outside 1 to {len(CLASSES)}")
    if set(train.subject) & set(test.subject):
        raise wrong("a person is in training and in test")
    return Har(train, test, source)


def following(windows: Windows) -> Ints:
    """For each window the index of the one that goes on where its middle is (they overlap by half), or -1."""
    half = LENGTH // 2
    joined = (windows.x[:-1, :, half:] == windows.x[1:, :, :half]).all((1, 2)) & (windows.y[:-1] == windows.y[1:])
    return np.where(np.append(joined, False), np.arange(len(windows.y)) + 1, -1)
