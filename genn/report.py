"""One Report for every command: the JSON document, the tables a person reads, and CSV, from the same figures.

A command builds a Report and returns it; the command line prints it, the Python API hands it to the caller.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Table:
    """Rows under column names.  Numbers are right-aligned; None prints as nothing; ``total`` is set apart at the end."""

    title: str
    columns: Sequence[str]
    rows: list[list[Any]]
    total: list[Any] | None = None
    note: str = ""


@dataclass
class Report:
    """What a command found.  ``data`` is the documented JSON document; ``ok`` is False where a check failed."""

    command: str
    data: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ok: bool = True
    failure: str = ""
    result: Any = None

    def json(self) -> str:
        """The document as JSON text, ending in a newline."""
        return json.dumps(self.data, indent=1, default=_plain) + "\n"

    def csv(self) -> str:
        """The first table as CSV."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if self.tables:
            writer.writerow(self.tables[0].columns)
            writer.writerows(self.tables[0].rows)
        return out.getvalue()

    def write_json(self, path: str | Path) -> None:
        """Write the document to ``path``, whole or not at all."""
        from genn.atomic import atomic_write

        atomic_write(Path(path), self.json().encode())

    def __str__(self) -> str:
        """The tables as plain text."""
        from rich.console import Console

        out = io.StringIO()
        self.print(Console(file=out, width=140, no_color=True))
        return out.getvalue()

    def print(self, console: Any) -> None:
        """Print tables and closing lines on a rich console."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        for t in self.tables:
            wide = RichTable(title=escape(t.title) if t.title else None, title_justify="left", box=box.SIMPLE_HEAD,
                             show_footer=False, pad_edge=False, title_style="bold")
            for i, name in enumerate(t.columns):
                numeric = any(isinstance(r[i], int | float | np.number) for r in t.rows)
                wide.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
            for row in t.rows:
                wide.add_row(*(escape(text(v)) for v in row))
            if t.total:
                wide.add_section()
                wide.add_row(*(escape(text(v)) for v in t.total), style="bold")
            console.print(wide)
            if t.note:
                console.print(escape(t.note), style="dim", highlight=False)
        for line in self.lines:
            console.print(escape(line), highlight=False, soft_wrap=True)


def text(value: Any) -> str:
    """A table cell: thousands in groups, four significant digits for fractions."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{float(value):,.0f}" if abs(value) >= 10_000 else f"{float(value):.4g}"
    return str(value)


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _plain(value: Any) -> Any:
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
