"""``genn models``: the suite with size, multiply-accumulates and accuracy in every scheme, as they were measured."""

from __future__ import annotations

from typing import Any

from genn.ir import SCHEMES
from genn.report import Report, Table, shape_text
from genn.suite import MODELS
from genn.suite.catalog import Entry, measured


def models_report() -> Report:
    """Every model; a figure that was not measured is left out."""
    table = measured()
    rows, documents = [], []
    for entry in MODELS.values():
        found = table.get(entry.name, {})
        macs = found.get("float32", {}).get("macs")
        accuracy = {scheme: found[scheme]["accuracy"] for scheme in SCHEMES if scheme in found}
        if not accuracy and entry.accuracy is not None:
            accuracy = {"float32": entry.accuracy}
        rows.append(
            [
                entry.name,
                shape_text(entry.input_shape),
                entry.parameters,
                entry.parameters * 4 / 1024,
                f"{entry.sparsity:.0%}" if entry.sparsity else "",
                macs,
                *(accuracy.get(scheme) for scheme in SCHEMES),
                entry.description,
            ]
        )
        documents.append(_document(entry, macs, accuracy, found))
    columns = ["model", "input", "parameters", "KB float", "zeros", "MACs", *(f"{scheme} %" for scheme in SCHEMES), ""]
    how = "accuracy: the generated C on whole test sets (python bench/accuracy.py --data DIR)"
    tests = sorted({(row["test_set"], row["samples"]) for found in table.values() for row in found.values()})
    lines = [how, *(f"  {which}: {samples:,}" for which, samples in tests)]
    return Report("models", {"schema": 1, "models": documents}, [Table("", columns, rows)], lines)


def _document(entry: Entry, macs: int | None, accuracy: dict[str, float], found: dict[str, Any]) -> dict[str, Any]:
    any_row: dict[str, Any] = next(iter(found.values()), {})
    return {
        "name": entry.name,
        "input_shape": list(entry.input_shape),
        "parameters": entry.parameters,
        "sparsity": entry.sparsity,
        "macs": macs,
        "accuracy": entry.accuracy,
        "accuracies": accuracy,
        "test_set": any_row.get("test_set"),
        "samples": any_row.get("samples"),
        "description": entry.description,
    }
