"""Accuracy of the generated C on the whole test sets, model by model and scheme by scheme, beside its own float model.

    python bench/accuracy.py --data DIR                                every model, every scheme; half an hour
    python bench/accuracy.py --data DIR --models har-mlp,har-mlp-sparse --schemes float32,int8

Every sample goes through the C, run on this machine, and through the NumPy reference; outputs that differ are counted
(there are none).  Scales come from the calibration samples that the suite ships, so what is measured is what
``genn convert NAME`` makes.  Rows that were measured are kept in genn/suite/data/accuracy.json, from which ``genn
models`` and ``genn bench suite`` print; the others there stay.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from train_data import coefficients

import genn
from genn import progress, reference, suite
from genn.atomic import atomic_write
from genn.datasets.har import read_har
from genn.datasets.keywords import read_keywords
from genn.datasets.mitbih import DS2, read_mitbih
from genn.datasets.mnist import read_mnist
from genn.errors import GennError
from genn.host import HostProcess
from genn.ir import SCHEMES
from genn.progress import steps
from genn.report import Report, Table
from genn.suite import catalog

BATCH = 500
SPARSE = "-sparse"
NAMES = [name + end for name in catalog.NAMES for end in ("", SPARSE)]
Row = dict[str, Any]


@cache
def test_set(folder: Path, dataset: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Network inputs (S, ...), labels (S,), and which test set they are."""
    known = {"mnist": mnist, "har": har, "keywords": keywords, "mitdb": mitdb}[dataset]
    return known(folder)


def mnist(folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    data = read_mnist(folder)
    return catalog.MNIST.normalise(data.test_images), data.test_labels.astype(np.int64), "MNIST, official test images"


def har(folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    data = read_har(folder)
    which = {
        "text": "UCI HAR, official test windows",
        "npz": "HAR windows by the UCI recipe from the raw recordings (not the official text files), test subjects",
    }
    return catalog.HAR.normalise(data.test.x), data.test.y, which[data.source]


def keywords(folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    test = read_keywords(folder).test
    return catalog.KWS.normalise(coefficients(test.x)), test.y, "ten Arabic keywords, test speakers"


def mitdb(folder: Path) -> tuple[np.ndarray, np.ndarray, str]:
    records = read_mitbih(folder, DS2)
    x = np.concatenate([r.beats() for r in records])
    which = "MIT-BIH, patients of DS2, AAMI classes (89.0 % are N)"
    return catalog.ECG.normalise(x), np.concatenate([r.y for r in records]), which


class Answer(NamedTuple):
    """classes (S,) as the C finds them; how many output values differ from the reference's; the model's size."""

    classes: np.ndarray
    mismatches: int
    macs: int
    weights_bytes: int


def answer(name: str, scheme: str, x: np.ndarray) -> Answer:
    module, example = suite.load(name)
    model = genn.convert(module, example, scheme, suite.calibration(name)[0], name="net")
    found, mismatches = [], 0
    with tempfile.TemporaryDirectory() as folder, steps(f"{name} {scheme}", len(x)) as done:
        host = HostProcess(model.save(Path(folder) / "net").result)
        for at in range(0, len(x), BATCH):
            (tensor,) = model.graph.inputs
            stored = {tensor: reference.encode(model.graph, tensor, x[at : at + BATCH, None])}
            (made,) = host.run(stored).outputs.values()
            (want,) = reference.run(model.graph, stored).values()
            mismatches += int((made != want).sum())
            found.append(made.reshape(len(made), -1).argmax(1))
            done(min(BATCH, len(x) - at))
    layers = model.manifest["layers"]
    size = [sum(layer[key] for layer in layers) for key in ("macs", "weight_bytes")]
    return Answer(np.concatenate(found), mismatches, *size)


def fingerprint(name: str) -> str:
    """What a row is a measurement of: the weights, and the samples the scales come from."""
    known = suite.entry(name)
    digest = hashlib.sha256()
    for file in (known.weights, known.dataset.file):
        digest.update((suite.DATA / file).read_bytes())
    return digest.hexdigest()


def measure(folder: Path, names: list[str], schemes: list[str], tell: Callable[[Row], None]) -> None:
    """Tell a row for each model and scheme.  Float32 is always run, to compare with."""
    cached: dict[str, Answer] = {}
    for name in names:
        x, y, which = test_set(folder, suite.entry(name).dataset.name)
        dense = name.removesuffix(SPARSE)
        for each in {dense, name}:
            if each not in cached:
                cached[each] = answer(each, "float32", x)
        own, base = cached[name].classes == y, cached[dense].classes == y
        for scheme in schemes:
            found = cached[name] if scheme == "float32" else answer(name, scheme, x)
            right = found.classes == y
            tell(
                {
                    "model": name,
                    "scheme": scheme,
                    "sparse": name.endswith(SPARSE),
                    "accuracy": round(100 * float(right.mean()), 3),
                    "samples": len(y),
                    "against_dense_float": round(100 * float(right.mean() - base.mean()), 3),
                    "right_to_wrong": int((own & ~right).sum()),
                    "wrong_to_right": int((~own & right).sum()),
                    "agreement": round(100 * float((found.classes == cached[name].classes).mean()), 3),
                    "mismatches": found.mismatches,
                    "macs": found.macs,
                    "weights_bytes": found.weights_bytes,
                    "test_set": which,
                    "made_of": fingerprint(name),
                }
            )


def table(rows: list[Row]) -> Table:
    columns = ["model", "scheme", "samples", "accuracy %", "against dense float", "right to wrong", "wrong to right"]
    keys = ["model", "scheme", "samples", "accuracy", "against_dense_float", "right_to_wrong", "wrong_to_right"]
    columns, keys = [*columns, "same class as float %", "reference differs"], [*keys, "agreement", "mismatches"]
    return Table("C on the host, whole test sets", columns, [[row[key] for key in keys] for row in rows])


@click.command(context_settings={"show_default": True}, help=__doc__.split("\n")[0])
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="GENN_DATA", required=True, help="Folder with the sets."
)
@click.option("--models", default=",".join(NAMES), show_default="all")
@click.option("--schemes", default=",".join(SCHEMES))
@click.option("--out", type=click.Path(path_type=Path), default=catalog.ACCURACY, show_default="the suite's own table")
def main(data: Path, models: str, schemes: str, out: Path) -> None:
    progress.enable()
    rows: dict[tuple[str, str], Row] = {}

    def tell(row: Row) -> None:
        if out.is_file():  # another run may have added to it
            rows.update({(r["model"], r["scheme"]): r for r in json.loads(out.read_text("utf-8"))["rows"]})
        rows[row["model"], row["scheme"]] = row
        known = [(name, scheme) for name in NAMES for scheme in SCHEMES]
        kept = sorted(
            (row for key, row in rows.items() if key in known), key=lambda r: known.index((r["model"], r["scheme"]))
        )
        how = "python bench/accuracy.py --data DIR"
        document = {"schema": 1, "command": how, "numpy": np.__version__, "rows": kept}
        atomic_write(out, json.dumps(document, indent=1) + "\n")
        print(f"{row['model']} {row['scheme']}: {row['accuracy']} %", file=sys.stderr, flush=True)

    measure(data, models.split(","), schemes.split(","), tell)
    shown = [rows[name, scheme] for name in models.split(",") for scheme in schemes.split(",")]
    print(Report("accuracy", {"rows": shown}, [table(shown)]), end="")


if __name__ == "__main__":
    try:
        main()
    except GennError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
