"""Whole test sets as the suite's networks take them: what an accuracy is measured on, and what it was measured on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from genn import suite
from genn.datasets.har import read_har
from genn.datasets.keywords import read_keywords
from genn.datasets.mitbih import DS2, read_mitbih
from genn.datasets.mnist import read_mnist
from genn.datasets.sources import SOURCES, present
from genn.errors import UsageError
from genn.frontends.mfcc import mfcc
from genn.suite import catalog
from genn.suite.mlperf_data import IC

MLPERF_IC = "mlperf_ic01.npz"  # 200 CIFAR-10 test images, which may not be passed on


@dataclass(frozen=True)
class TestSet:
    """Network inputs (S, ...), labels (S,), and what they are."""

    x: np.ndarray
    y: np.ndarray
    what: str


def test_set(dataset: str, folder: Path | None) -> TestSet | None:
    """The test set of a suite data set; None where ``folder`` does not hold it."""
    if dataset == "mlperf-kws":  # it travels with the suite
        x, y = suite.samples(dataset)
        assert y is not None
        return TestSet(x, y, "MLPerf Tiny's keyword evaluation inputs")
    if folder is None or not _is_there(dataset, folder):
        return None
    return _read(dataset, folder)


def _is_there(dataset: str, folder: Path) -> bool:
    if dataset == "mlperf-ic":
        return _ic_file(folder) is not None
    return dataset in SOURCES and dataset in _READERS and present(SOURCES[dataset], folder)


@cache
def _read(dataset: str, folder: Path) -> TestSet:
    return _READERS[dataset](folder)


def _mnist(folder: Path) -> TestSet:
    data = read_mnist(folder)
    x = catalog.MNIST.normalise(data.test_images)
    return TestSet(x, data.test_labels.astype(np.int64), "MNIST, official test images")


def _har(folder: Path) -> TestSet:
    data = read_har(folder)
    which = {
        "text": "UCI HAR, official test windows",
        "npz": "HAR windows by the UCI recipe from the raw recordings (not the official text files), test subjects",
    }
    return TestSet(catalog.HAR.normalise(data.test.x), data.test.y, which[data.source])


def _keywords(folder: Path) -> TestSet:
    test = read_keywords(folder).test
    parts = np.array_split(test.x, max(1, len(test.x) // 50))  # a wave's coefficients take some memory on their way
    x = np.concatenate([mfcc(part) for part in parts])
    return TestSet(catalog.KWS.normalise(x), test.y, "ten Arabic keywords, test speakers")


def _mitdb(folder: Path) -> TestSet:
    records = read_mitbih(folder, DS2)
    x = np.concatenate([record.beats() for record in records])
    y = np.concatenate([record.y for record in records])
    return TestSet(catalog.ECG.normalise(x), y, "MIT-BIH, patients of DS2, AAMI classes (89.0 % are N)")


def _ic_file(folder: Path) -> Path | None:
    return next((p for p in (folder / "mlperf_tiny" / MLPERF_IC, folder / MLPERF_IC) if p.is_file()), None)


def _mlperf_ic(folder: Path) -> TestSet:
    path = _ic_file(folder)
    assert path is not None
    try:
        with np.load(path, allow_pickle=False) as given:
            x, y = given["X"], given["y"]
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise UsageError(f"it cannot be read ({error})", str(path), "fetch the file again") from None
    return TestSet(IC.normalise(x), y.astype(np.int64), "MLPerf Tiny's image evaluation inputs")


_READERS = {"mnist": _mnist, "har": _har, "keywords": _keywords, "mitdb": _mitdb, "mlperf-ic": _mlperf_ic}


@cache
def recorded() -> dict[tuple[str, str], dict[str, Any]]:
    """Accuracies measured earlier, by model and scheme: the rows of the suite's own table, each with ``how``.

    Only those that were measured with the weights and calibration samples that are shipped.
    """
    try:
        document = json.loads(catalog.ACCURACY.read_text("utf-8"))
    except OSError:
        return {}
    return {(row["model"], row["scheme"]): row | {"how": document["command"]} for row in document["rows"]
            if row["made_of"] == made_of(row["model"])}


@cache
def made_of(name: str) -> str:
    """SHA-256 of the model's weights, whatever way they are stored, and of its data set's samples."""
    known = suite.MODELS.get(name)
    if known is None:
        return ""
    digest = hashlib.sha256((suite.DATA / known.dataset.file).read_bytes())
    for key, value in suite.weights(name).items():
        digest.update(f"{key} {value.shape} ".encode() + value.tobytes())
    return digest.hexdigest()
