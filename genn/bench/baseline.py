"""Kernel figures kept from an earlier run, so that a kernel which got slower or larger is noticed.

A baseline is what ``genn bench kernels --json`` wrote: ``{"compiler", "rows": [...]}``.  ``compare`` looks at the rows
that both have; figures of another compiler are not comparable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genn.errors import UsageError

KEY = ("workload", "scheme", "core", "mode")
COMPARED = ("cycles", "flash", "extra_flash", "ram", "ram_without_io")
TOLERANCE = 0.02
Key = tuple[str, str, str, str]


def key(row: dict[str, Any]) -> Key:
    """What a row measures: workload, scheme, core, mode."""
    return row["workload"], row["scheme"], row["core"], row["mode"]


def read(path: Path) -> dict[str, Any]:
    """The baseline in ``path``; UsageError where it is none."""
    fix = "give the JSON that `genn bench kernels --json F` wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = {key(r): {what: int(r[what]) for what in COMPARED} for r in found["rows"]}
        return {"compiler": str(found["compiler"]), "rows": rows}
    except OSError as error:
        raise UsageError(f"the baseline cannot be read: {error.strerror}", str(path), fix) from None
    except (ValueError, KeyError, TypeError):
        raise UsageError("this is no baseline", str(path), fix) from None


def worse(rows: Iterable[dict[str, Any]], before: dict[Key, dict[str, int]]) -> list[str]:
    """One sentence for each figure of ``rows`` that is more than 2 % above that of ``before``."""
    found = []
    for row in rows:
        old = before.get(key(row), {})
        for what, was in old.items():
            if row[what] > was + abs(was) * TOLERANCE:  # bytes saved against one a weight are below zero
                found.append(f"{' '.join(key(row))}: {what} {was:,} -> {row[what]:,}")
    return found


def check(before: dict[str, Any], compiler: str, path: Path) -> None:
    """UsageError where the baseline of ``path`` is another compiler's."""
    if before["compiler"] != compiler:
        raise UsageError(f"the baseline is of {before['compiler']}, this compiler is {compiler}", str(path),
                         "measure the baseline with this compiler first")


def compare(data: dict[str, Any], before: dict[str, Any], path: Path) -> tuple[bool, str]:
    """Whether ``data``, of the benchmark, is as good as the baseline of ``path``, and a sentence about it."""
    both = [r for r in data["rows"] if key(r) in before["rows"]]
    if not both:
        raise UsageError("the baseline has none of these rows", str(path), "ask for workloads and modes that it has")
    found = worse(both, before["rows"])
    if found:
        return False, f"worse than {path.name} by more than 2 %: " + "; ".join(found)
    of = f"{len(both)} of {len(data['rows'])} rows compared with {path.name}"
    return True, f"{of}: none is more than 2 % slower or larger"
