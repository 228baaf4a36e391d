"""What ``genn data`` says: the sets with their terms and whether they are there, and where a fetched one lies."""

from __future__ import annotations

import difflib
from pathlib import Path

from genn.datasets.sources import SOURCES, data_folder, fetch, present
from genn.errors import UsageError
from genn.report import Report, Table


def listed(folder: Path | None) -> Report:
    """Every set: title, size, terms, and whether it is in the data folder."""
    home = data_folder(folder)
    rows = [[s.name, s.title, s.megabytes, s.terms, "yes" if present(s, home) else ""] for s in SOURCES.values()]
    columns = ["set", "what", "MB", "terms", "here"]
    keys = ("name", "title", "megabytes", "terms", "here")
    sets = [dict(zip(keys, [*row[:4], bool(row[4])])) for row in rows]
    document = {"schema": 1, "folder": str(home), "sets": sets}
    return Report("data", document, [Table("", columns, rows)], [f"data folder: {home}"])


def fetched(name: str, folder: Path | None) -> Report:
    """Fetch one set, unless it is there."""
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(SOURCES)}"
        raise UsageError(f"no data set {name!r}", fix=fix)
    source, home = SOURCES[name], data_folder(folder)
    there = home.is_dir() and present(source, home)
    place = home if there else fetch(name, home)
    said = f"{name}: {'is there' if there else 'fetched'}, {place}; terms: {source.terms}"
    return Report("data", {"schema": 1, "name": name, "folder": str(place), "fetched": not there}, [], [said])
