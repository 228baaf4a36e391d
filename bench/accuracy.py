"""Accuracy of the generated C on the whole test sets, model by model and scheme by scheme, beside its own float model.

    python bench/accuracy.py --data DIR                                every model, every scheme; half an hour
    python bench/accuracy.py --data DIR --models har-mlp,har-mlp-sparse --schemes float32,int8
    python bench/accuracy.py --data DIR --frontend                     keyword models from sound on

Every sample goes through the C, run on this machine, and through the NumPy reference; outputs that differ are counted
(there are none).  Scales come from the calibration samples that the suite ships, so what is measured is what
``genn convert NAME`` makes.  Rows that were measured are kept in genn/suite/data/accuracy.json, from which ``genn
models`` and ``genn bench suite`` print; the others there stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from train_data import coefficients

import genn
from genn import progress, reference, suite
from genn.atomic import atomic_write
from genn.bench.suite_data import made_of, test_set
from genn.datasets.keywords import read_keywords
from genn.errors import GennError, UsageError
from genn.host import HostProcess
from genn.ir import SCHEMES
from genn.progress import steps
from genn.report import Report, Table
from genn.suite import catalog

BATCH = 500
SPARSE = "-sparse"
NAMES = [name + end for name in catalog.NAMES for end in ("", SPARSE)] + ["mlperf-kws", "mlperf-ic"]
Row = dict[str, Any]


class Answer(NamedTuple):
    """classes (S,) as the C finds them; how many output values differ from the reference's; multiply-accumulates."""

    classes: np.ndarray
    mismatches: int
    macs: int


def answer(name: str, scheme: str, x: np.ndarray, listening: bool = False) -> Answer:
    module, example = suite.load(name)
    front_end = suite.frontend(name) if listening else None
    first = x[:1] if listening else None
    model = genn.convert(
        module, example, scheme, suite.calibration(name)[0], name="net", front_end=front_end, vector_data=first
    )
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
    return Answer(np.concatenate(found), mismatches, sum(layer["macs"] for layer in model.manifest["layers"]))


def measure(folder: Path, names: list[str], schemes: list[str], tell: Callable[[Row], None]) -> None:
    """Tell a row for each model and scheme.  Float32 is always run, to compare with."""
    cached: dict[str, Answer] = {}
    for name in names:
        dataset = suite.entry(name).dataset.name
        given = test_set(dataset, folder)
        if given is None:
            raise UsageError(f"it does not hold the test set of {name} ({dataset})", str(folder), "see genn data")
        x, y = given.x, given.y
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
                    "test_set": given.what,
                    "made_of": made_of(name),
                }
            )


def listen(folder: Path, names: list[str], schemes: list[str]) -> Table:
    """Keyword models from sound on: MFCC in integers, in C, against MFCC in floating point before the same network."""
    test = read_keywords(folder).test
    features, waves = catalog.KWS.normalise(coefficients(test.x)), test.x.astype(np.float32) / 32768
    rows = []
    for name in names:
        for scheme in schemes:
            plain, heard = answer(name, scheme, features), answer(name, scheme, waves, listening=True)
            right = [100 * float((found.classes == test.y).mean()) for found in (heard, plain)]
            same = 100 * float((heard.classes == plain.classes).mean())
            rows.append([name, scheme, len(test.y), *right, same, heard.mismatches])
    columns = ["model", "scheme", "samples", "MFCC in integers %", "in floating point %", "same class %"]
    return Table("from sound on, C on the host", [*columns, "reference differs"], rows)


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
@click.option("--frontend", is_flag=True, help="Keyword models from sound on instead; nothing is written.")
def main(data: Path, models: str, schemes: str, out: Path, frontend: bool) -> None:
    progress.enable()
    if frontend:
        names = [name for name in models.split(",") if suite.entry(name).dataset is catalog.KWS]
        print(Report("accuracy", {}, [listen(data, names, schemes.split(","))]), end="")
        return
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
