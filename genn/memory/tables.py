"""Plans as CSV: the two files that users of tflite-tools know, and MiniMalloc's exchange form.  Names are quoted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from genn.memory.plan import MemoryPlan
from genn.memory.report import rows


def _csv(columns: list[str], body: Iterable[list[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_safe(value) for value in row] for row in body)
    return out.getvalue()


def _safe(value: object) -> object:
    """A name that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def tensors(made: MemoryPlan) -> str:
    """``Id,Name,Shape,Size``: every tensor of the network as it runs."""
    values = enumerate(made.layout.graph.values)
    return _csv(["Id", "Name", "Shape", "Size"], ([v, t.name, list(t.shape), t.size] for v, t in values if t.size))


def schedule(made: MemoryPlan) -> str:
    """``Operator,Working set,Memory use,MACs,Size``: operators in running order; Size is bytes of parameters."""
    body = ([r.name, " ".join(r.tensors), r.total, r.macs, r.weights] for r in rows(made.schedule))
    return _csv(["Operator", "Working set", "Memory use", "MACs", "Size"], body)


def minimalloc(made: MemoryPlan) -> str:
    """``id,lower,upper,size,offset``: buffers alive from step ``lower`` until before ``upper``."""
    body = (
        [i.name, i.first + 1, i.last + 2, i.size, at] for i, at in zip(made.items, made.offsets.places, strict=True)
    )
    return _csv(["id", "lower", "upper", "size", "offset"], body)
