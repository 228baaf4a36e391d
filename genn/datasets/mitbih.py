"""Heartbeats from the MIT-BIH Arrhythmia Database: WFDB records with annotations, as one window a beat.

Classes are the AAMI's five, patients are split as de Chazal, O'Dwyer and Reilly did (2004): DS1 to train, DS2 to test,
the four paced records left out.  No patient is on both sides.

Lead MLII, at 120 Hz, with its baseline (medians over 0.2 s and 0.6 s) taken off.  A beat becomes 160 numbers:

    72   its samples, from 0.25 s before the annotated peak to 0.35 s after it
    72   the same of the running average of the patient's beats before it, whatever their class
    16   intervals from peak to peak: the 14 before it, its own and the next, relative to the median of the 14, less 1

Samples are divided by the average's largest (plus 0.1 mV); intervals are doubled and cut off at plus and minus 3.
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
LENGTH = 160  # numbers of a beat
BEAT, BEFORE = 72, 30  # samples of a beat, and how many stand before the peak
INTERVALS = 16
MEMORY = 20  # beats after which a beat has lost most of its weight in the average
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
        """The numbers of every beat (beats, LENGTH + 4 margin): ``margin`` samples more at each end of both windows.

        Where the record ends, its last value stays.
        """
        edge = BEAT + margin
        padded = np.pad(self.signal, edge, mode="edge")
        beat = padded[self.peak[:, None] + edge + np.arange(-BEFORE - margin, BEAT - BEFORE + margin)]
        usual, average = np.empty_like(beat), beat[0].copy()
        for k, now in enumerate(beat):
            usual[k] = average
            average = average + (now - average) / min(k + 2, MEMORY)
        size = np.abs(usual).max(1, keepdims=True) + np.float32(0.1)
        return np.concatenate([beat / size, usual / size, self._intervals()], 1)

    def _intervals(self) -> Floats:
        gaps = np.diff(self.peak).astype(np.float64)
        own = np.pad(gaps, (INTERVALS - 1, 1), mode="edge")
        around = np.lib.stride_tricks.sliding_window_view(own, INTERVALS)
        usual = np.median(around[:, : INTERVALS - 2], 1, keepdims=True)
        return np.clip(2 * (around / usual - 1), -3, 3).astype(np.float32)


def cut(beats: Floats, margin: int, start: Ints) -> Floats:
    """Of ``Record.beats(margin)`` the LENGTH numbers whose windows begin ``start`` (beats,) samples in."""
    wide = BEAT + 2 * margin
    at = start[:, None] + np.arange(BEAT)
    rows = np.arange(len(beats))[:, None]
    return np.concatenate([beats[rows, at], beats[rows, wide + at], beats[:, 2 * wide :]], 1)


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
    if peak.size < 2 or peak.min() < 0 or peak.max() > len(signal):
        raise UsageError("no beats annotated, or beats outside of the record", str(where), "fetch the set again")
    return Record(number, signal, peak, np.array([kind for _, kind in kept], np.int64))
