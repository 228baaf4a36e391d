"""Heartbeats from the MIT-BIH Arrhythmia Database: WFDB records with annotations, as one window a beat.

Classes are the AAMI's five, patients are split as de Chazal, O'Dwyer and Reilly did (2004): DS1 to train, DS2 to test,
the four paced records left out.  No patient is on both sides.

A beat is 160 samples of lead MLII at 120 Hz, from 0.9 s before the annotated peak to 0.43 s after it, in mV, so that
the beat before is in sight when it came early.  Its baseline (medians over 0.2 s and 0.6 s) is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from genn.datasets.folder import locate
from genn.errors import ToolchainError, UsageError
from genn.progress import steps

CLASSES = ("N", "S", "V", "F", "Q")
SYMBOLS = {c: k for k, group in enumerate(("NLRej", "AaJS", "VE", "F", "/fQ")) for c in group}
DS1 = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)
DS2 = (100, 103, 105, 111, 113, 117, 121, 123, 200, 202, 210, 212, 213, 214, 219, 221, 222, 228, 231, 232, 233, 234)
RATE, DOWN = 360, 3  # Hz of the records, and what they are divided by
LENGTH, BEFORE = 160, 108  # samples of a window, and how many stand before the peak
LEAD = "MLII"
MARKER, ARCHIVES = "100.hea", ("mitdb", "mit-bih")

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """One patient: signal (samples,) in mV at 120 Hz; peak (beats,) in samples, rising; y (beats,) in 0..4."""

    number: int
    signal: Floats
    peak: Ints
    y: Ints

    def beats(self, margin: int = 0) -> Floats:
        """Windows (beats, LENGTH + 2 margin); where the record ends, its last value stays."""
        edge = LENGTH + margin
        padded = np.pad(self.signal, edge, mode="edge")
        at = self.peak[:, None] + edge + np.arange(-BEFORE - margin, LENGTH - BEFORE + margin)
        return padded[at]


def read_mitbih(data: Path | str, numbers: tuple[int, ...]) -> list[Record]:
    """The records called ``numbers``; needs the packages wfdb and scipy."""
    root = locate(data, "mitdb", MARKER, ARCHIVES)
    with steps("reading MIT-BIH", len(numbers)) as done:
        records = []
        for number in numbers:
            records.append(_read(root, number))
            done(1)
    return records


def _read(root: Path, number: int) -> Record:
    try:
        import wfdb
        from scipy.ndimage import median_filter
        from scipy.signal import resample_poly
    except ImportError as error:
        raise ToolchainError(f"{error.name} is not installed", fix="install genn-mcu[bench]") from error
    where = root / str(number)
    try:
        record, notes = wfdb.rdrecord(str(where)), wfdb.rdann(str(where), "atr")
        lead = record.sig_name.index(LEAD)
        raw = np.asarray(record.p_signal[:, lead], np.float64)
        if record.fs != RATE:
            raise ValueError(f"{record.fs} Hz, where MIT-BIH has {RATE}")
        if not np.isfinite(raw).all():
            raise ValueError("samples that are no numbers")
    except FileNotFoundError as error:
        raise UsageError("a file of this record is missing", str(where), "fetch the set again") from error
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise UsageError(f"not a readable WFDB record ({error})", str(where), "fetch the set again") from error
    low = resample_poly(raw, 1, DOWN)
    fast, slow = (int(seconds * RATE / DOWN) | 1 for seconds in (0.2, 0.6))
    signal = (low - median_filter(median_filter(low, fast), slow)).astype(np.float32)
    kept = [(at, SYMBOLS[symbol]) for at, symbol in zip(notes.sample, notes.symbol) if symbol in SYMBOLS]
    peak = np.round(np.array([at for at, _ in kept], np.float64) / DOWN).astype(np.int64)
    if not peak.size or peak.min() < 0 or peak.max() > len(signal):
        raise UsageError("no beats annotated, or beats outside of the record", str(where), "fetch the set again")
    return Record(number, signal, peak, np.array([kind for _, kind in kept], np.int64))
