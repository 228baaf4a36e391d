"""Writes the samples that travel with the suite: a few test inputs, and inputs to calibrate with.

    python bench/train_samples.py keywords --data DIR     mnist, keywords, mitdb: real ones, from the official sets
    python bench/train_samples.py har --data DIR          synthetic ones: the set may not be passed on

Calibration inputs are of the training set, test inputs of the test set, never the other way.  The synthetic windows are
drawn from what all windows of an activity have in common (mean, principal components, spread), so that their ranges are
those of real ones; no recorded window can be had back from them.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from train_data import coefficients

from genn.atomic import atomic_write
from genn.datasets.har import CLASSES, Windows, read_har
from genn.datasets.keywords import read_keywords
from genn.datasets.mitbih import DS1, DS2, Record, read_mitbih
from genn.datasets.mnist import read_mnist
from genn.errors import GennError
from genn.suite import catalog

Arrays = dict[str, np.ndarray]


def mnist(folder: Path) -> Arrays:
    """The first of the test set, and the first of the training set."""
    data = read_mnist(folder)
    return {
        "x": data.test_images[:400],
        "y": data.test_labels[:400],
        "calibration_x": data.train_images[:256],
        "calibration_y": data.train_labels[:256],
    }


def spread(y: np.ndarray, each: int, seed: int = 1) -> np.ndarray:
    """Indices of up to ``each`` samples of every class, mixed, the same every time."""
    random = np.random.default_rng(seed)
    found = [random.permutation(np.flatnonzero(y == k))[:each] for k in range(int(y.max()) + 1)]
    return random.permutation(np.concatenate(found))


def keywords(folder: Path) -> Arrays:
    """Coefficients as fp16, and of one utterance a word the sound itself, for the front end on the device."""
    data = read_keywords(folder)
    test, train, sound = spread(data.test.y, 4), spread(data.train.y, 10), spread(data.test.y, 1, seed=2)
    return {
        "x": coefficients(data.test.x[test]).astype(np.float16),
        "y": data.test.y[test].astype(np.uint8),
        "calibration_x": coefficients(data.train.x[train]).astype(np.float16),
        "calibration_y": data.train.y[train].astype(np.uint8),
        "wave": data.test.x[sound],
        "wave_y": data.test.y[sound].astype(np.uint8),
    }


def mitdb(folder: Path) -> Arrays:
    def pick(records: list[Record], each: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.concatenate([r.beats() for r in records]), np.concatenate([r.y for r in records])
        chosen = spread(y, each)
        return x[chosen].astype(np.float16), y[chosen].astype(np.uint8)

    x, y = pick(read_mitbih(folder, DS2), 50)
    calibration_x, calibration_y = pick(read_mitbih(folder, DS1), 150)
    return {"x": x, "y": y, "calibration_x": calibration_x, "calibration_y": calibration_y}


def har(folder: Path) -> Arrays:
    data = read_har(folder)
    random = np.random.default_rng(1)
    x, y = resembling(data.train, 8, random)
    calibration_x, calibration_y = resembling(data.train, 32, random)
    return {"x": x, "y": y, "calibration_x": calibration_x, "calibration_y": calibration_y}


def resembling(windows: Windows, each: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``each`` synthetic windows of every activity, fp16 in g and rad/s, and their labels.

    A window is the activity's mean, plus principal components whose amounts are drawn, each on its own, from 33
    quantiles of the amounts in all windows, plus noise of the part that the components leave out.
    """
    made = []
    for kind in range(len(CLASSES)):
        flat = windows.x[windows.y == kind].reshape(-1, windows.x[0].size).astype(np.float64)
        mean = flat.mean(0)
        right = np.linalg.svd(flat - mean, full_matrices=False)[2]
        kept = right[:60]
        amounts = (flat - mean) @ kept.T
        levels = np.linspace(0, 1, 33)
        quantiles = np.quantile(amounts, levels, axis=0)
        drawn = np.stack([np.interp(random.random(each), levels, q) for q in quantiles.T], 1)
        rest = (flat - mean - amounts @ kept).std(0)
        made.append(mean + drawn @ kept + rest * random.standard_normal((each, mean.size)))
    x, y = np.concatenate(made), np.repeat(np.arange(len(CLASSES)), each)
    order = random.permutation(len(y))
    return x[order].reshape(-1, *windows.x.shape[1:]).astype(np.float16), y[order].astype(np.uint8)


MAKERS: dict[str, tuple[catalog.Dataset, Callable[[Path], Arrays]]] = {
    "mnist": (catalog.MNIST, mnist),
    "keywords": (catalog.KWS, keywords),
    "mitdb": (catalog.ECG, mitdb),
    "har": (catalog.HAR, har),
}


@click.command(context_settings={"show_default": True}, help=__doc__.split("\n")[0])
@click.argument("name", type=click.Choice(list(MAKERS)))
@click.option("--data", type=click.Path(path_type=Path), envvar="GENN_DATA", required=True, help="Folder with the set.")
@click.option("--out", type=click.Path(path_type=Path), default=catalog.DATA, show_default="genn/suite/data")
def main(name: str, data: Path, out: Path) -> None:
    dataset, make = MAKERS[name]
    arrays = make(data)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path = atomic_write(out / dataset.file, buffer.getvalue())
    shapes = ", ".join(f"{key} {value.shape}" for key, value in arrays.items())
    click.echo(f"{path.name}: {shapes}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except GennError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
