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

from genn.names import printable


@dataclass
class Table:
    """Rows under column names.  Numbers are right-aligned; None prints as nothing; ``total`` is set apart below."""

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
        return json.dumps(_finite(self.data), indent=1, allow_nan=False, default=_plain) + "\n"

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
        """The tables as plain text, without colour, 140 columns wide."""
        from rich.console import Console

        out = io.StringIO()
        self.print(Console(file=out, width=140, force_terminal=False, color_system=None))
        return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())

    def print(self, console: Any) -> None:
        """Print tables and closing lines on a rich console.  No text is read as markup: names come from models."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        def cells(row: Sequence[Any]) -> list[Text]:
            return [Text(text(value)) for value in row]

        for t in self.tables:
            title = Text(printable(t.title)) if t.title else None
            wide = RichTable(
                title=title,
                title_justify="left",
                box=box.SIMPLE_HEAD,
                show_footer=False,
                pad_edge=False,
                title_style="bold",
            )
            for i, name in enumerate(t.columns):
                numeric = any(isinstance(r[i], int | float | np.number) for r in t.rows)
                wide.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
            for row in t.rows:
                wide.add_row(*cells(row))
            if t.total:
                wide.add_section()
                wide.add_row(*cells(t.total), style="bold")
            console.print(wide)
            if t.note:
                console.print(Text(t.note), style="dim")
        for line in self.lines:
            console.print(Text(printable(line)), soft_wrap=True)


def text(value: Any) -> str:
    """A table cell: thousands in groups, four significant digits for fractions."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.4g}"
    return printable(str(value))


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _finite(value: Any) -> Any:
    """``value`` with null for NaN and infinity, which JSON has no number for."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_finite(v) for v in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
