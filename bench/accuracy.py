"""Accuracy of the generated C on the whole official test set, scheme by scheme, beside its own float model.

python bench/accuracy.py --data DIR [--json F]     DIR holds the MNIST IDX files (or has them in mnist/)
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

import genn
from genn import reference, suite
from genn.host import HostProcess
from genn.ir import SCHEMES
from genn.report import Report, Table
from genn.suite.idx import read_mnist

BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("GENN_DATA"), required="GENN_DATA" not in os.environ
    )
    parser.add_argument("--models", default="mnist-mlp,mnist-cnn")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for name in args.models.split(","):
        x, y = test_set(Path(args.data), name)
        for scheme in SCHEMES:
            rows.append(measure(name, scheme, x, y, rows))
    columns = [
        "model",
        "scheme",
        "accuracy %",
        "against float",
        "right to wrong",
        "wrong to right",
        "top-1 agreement %",
        "reference differs",
    ]
    keys = ("model", "scheme", "accuracy", "difference", "right_to_wrong", "wrong_to_right", "agreement", "mismatches")
    document = {"schema": 1, "samples": len(y), "rows": [dict(zip(keys, r[:8], strict=True)) for r in rows]}
    report = Report("accuracy", document, [Table(f"host C on {len(y):,} test images", columns, [r[:8] for r in rows])])
    print(report, end="")
    if args.json:
        report.write_json(args.json)


def test_set(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Network inputs (S, 1, 28, 28) and labels of the official test set."""
    data = read_mnist(folder)
    return suite.entry(name).dataset.normalise(data.test_images), data.test_labels.astype(np.int64)


def measure(name: str, scheme: str, x: np.ndarray, y: np.ndarray, before: list[list]) -> list:
    """One row; its last field, the predicted classes, serves the rows that follow."""
    module, example = suite.load(name)
    model = genn.convert(module, example, scheme, suite.calibration(name)[0], name="net")
    classes, mismatches = [], 0
    with tempfile.TemporaryDirectory() as folder:
        host = HostProcess(model.save(Path(folder) / "net").result)
        for at in range(0, len(x), BATCH):
            (tensor,) = model.graph.inputs
            stored = {tensor: reference.encode(model.graph, tensor, x[at : at + BATCH, None])}
            (made,) = host.run(stored).outputs.values()
            (want,) = reference.run(model.graph, stored).values()
            mismatches += int((made != want).sum())
            classes.append(made.reshape(len(made), -1).argmax(1))
    found = np.concatenate(classes)
    base = next((r[-1] for r in before if r[0] == name and r[1] == "float32"), found)
    right, was = found == y, base == y
    return [
        name,
        scheme,
        100 * right.mean(),
        100 * (right.mean() - was.mean()),
        int((was & ~right).sum()),
        int((~was & right).sum()),
        100 * (found == base).mean(),
        mismatches,
        found,
    ]


if __name__ == "__main__":
    main()
