"""The eight networks of the suite, each dense, pruned, and where the published one differs in outputs, as published.

``X`` is trained, ``X-sparse`` is ``X`` pruned to the published part of zeros and fine-tuned, ``X-paper`` has the
published number of parameters and seeded random weights: it stands for size and cycles, never for accuracy.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genn.suite.mlperf_data import Stored

DATA = Path(__file__).resolve().parent / "data"
ACCURACY = DATA / "accuracy.json"  # what bench/accuracy.py wrote

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """A kind of input, and its samples shipped in ``data/FILE``: arrays x, y (from the test set) and calibration_x,
    calibration_y (from the training set), raw.  ``synthetic``: made to resemble the set, which may not be passed on."""

    name: str
    file: str
    shape: tuple[int, ...]  # of one network input
    unit: float = 1.0  # what a raw value is divided by
    mean: tuple[float, ...] = (0.0,)  # one for all, or one for each index of the first axis
    std: tuple[float, ...] = (1.0,)
    synthetic: bool = False

    def normalise(self, raw: npt.NDArray[np.generic]) -> Floats:
        """What the network is fed: (raw / unit - mean) / std, each step in float32, of the network's shape.

        A last axis that is longer stays longer (training cuts such windows).
        """
        fits = raw.size == len(raw) * math.prod(self.shape)
        x = raw.reshape(len(raw), *self.shape) if fits else raw
        per = [-1, *[1] * (len(self.shape) - 1)]
        x = x.astype(np.float32) / np.float32(self.unit)
        x = (x - np.array(self.mean, np.float32).reshape(per)) / np.array(self.std, np.float32).reshape(per)
        return np.ascontiguousarray(x)


@dataclass(frozen=True)
class Entry:
    """One model of the suite.

    ``accuracy`` is in percent, of the shipped weights in float32 by the generated C on the whole test set (MLPerf Tiny:
    its evaluation inputs); None where no test set was at hand or the weights are random.
    """

    name: str
    factory: str  # package.module:function, taking nothing and returning an nn.Module
    weights: str  # a file in data/; fp16-exact values, loaded as float32; empty: seeded random ones
    input_shape: tuple[int, ...]
    dataset: Dataset | Stored
    parameters: int
    accuracy: float | None
    description: str
    sparsity: float = 0.0  # part of the weights (not of biases and slopes) that is zero


MNIST = Dataset("mnist", "mnist_samples.npz", (1, 28, 28), 255.0, (0.1307,), (0.3081,))
HAR = Dataset(
    "har",
    "har_samples.npz",
    (9, 128),
    mean=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 0.03, 0.09),
    std=(0.19, 0.12, 0.11, 0.40, 0.38, 0.25, 0.41, 0.39, 0.36),
    synthetic=True,
)
KWS = Dataset(
    "keywords",
    "keywords_samples.npz",
    (40, 81),
    mean=(-390, 68, -2, -12, -23, -10, -12, -6, -11, -3, -9, -7, -10, -4, -8, -6, -5, -5, -6, -5)
    + (-5, -4, -2, 0, 1, 2, 3, 4, 4, 4, 3, 1, 0, -1, -3, -4, -5, -6, -6, -6),
    std=(144, 75, 41, 33, 30, 25, 23, 19, 17, 15, 14, 14, 14, 12, 12, 11, 10, 11, 11, 10)
    + (10, 9, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7, 6, 6, 6, 7, 7, 8, 7, 7),
)
ECG = Dataset("mitdb", "ecg_samples.npz", (160,))

# name, data set, parameters, part of zeros in the published sparse model, description
_TRAINED: tuple[tuple[str, Dataset, int, float, str], ...] = (
    ("mnist-mlp", MNIST, 101_770, 0.8, "handwritten digits, 784-128-10 with ReLU"),
    ("mnist-cnn", MNIST, 21_840, 0.9, "handwritten digits, two 5x5 convolutions with pooling, then 320-50-10"),
    ("har-mlp", HAR, 1_708_550, 0.9, "human activity, 1152-1024-512-6 with ReLU"),
    ("har-cnn", HAR, 2_189_626, 0.8, "human activity, two convolutions over time with pooling, then 1664-1000-500-6"),
    ("kws-mlp", KWS, 2_185_984, 0.9, "ten spoken keywords, 3240-512-512-512 averaged to 127, then 10"),
    ("kws-cnn", KWS, 187_146, 0.9, "ten spoken keywords, two convolutions, then 1248-128-160 averaged to 50, then 10"),
    ("kws-dscnn", KWS, 28_618, 0.9, "ten spoken keywords, a convolution, four depthwise separable ones, the average"),
    ("ecg-mlp", ECG, 124_798, 0.9, "heartbeats in five classes (89 % of the test beats are normal), 14 linear layers"),
)

# Parameters of those whose published number of outputs is another.
_PAPER = {"kws-mlp": 2_184_960, "kws-cnn": 186_687, "kws-dscnn": 28_098, "ecg-mlp": 124_780}


def _variants(name: str, dataset: Dataset, parameters: int, sparsity: float, description: str) -> list[Entry]:
    """The dense and the sparse model, and both again with the published number of outputs."""
    plain = name.replace("-", "_")
    factory = f"genn.suite.{name.split('-')[0]}:{plain}"
    part = f"{sparsity:.0%} of its weights zero"
    dense = Entry(
        name,
        factory,
        f"{plain}.safetensors",
        (1, *dataset.shape),
        dataset,
        parameters,
        _MEASURED.get(name),
        description,
    )
    sparse = replace(
        dense,
        name=f"{name}-sparse",
        weights=f"{plain}_sparse.safetensors",
        accuracy=_MEASURED.get(f"{name}-sparse"),
        description=f"{name} with {part}",
        sparsity=sparsity,
    )
    if name not in _PAPER:
        return [dense, sparse]
    paper = replace(
        dense,
        name=f"{name}-paper",
        factory=f"{factory}_paper",
        weights="",
        parameters=_PAPER[name],
        accuracy=None,
        description=f"{name} with the published outputs; random weights, for size and cycles",
    )
    paper_sparse = replace(
        paper, name=f"{paper.name}-sparse", sparsity=sparsity, description=f"{paper.name} with {part}"
    )
    return [dense, sparse, paper, paper_sparse]


@cache
def measured() -> dict[str, dict[str, dict[str, Any]]]:
    """What ``bench/accuracy.py`` measured: the row of each model (by name) in each scheme."""
    try:
        rows = json.loads(ACCURACY.read_text("utf-8"))["rows"]
    except OSError:
        return {}
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        table.setdefault(row["model"], {})[row["scheme"]] = row
    return table


_MEASURED = {name: found["float32"]["accuracy"] for name, found in measured().items() if "float32" in found}
NAMES = tuple(row[0] for row in _TRAINED)
NETWORKS: dict[str, Entry] = {entry.name: entry for row in _TRAINED for entry in _variants(*row)}
