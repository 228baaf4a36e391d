"""Progress of long work, on standard error and only where that is a terminal.

Off unless ``enable`` was called, which the command line does: whoever uses the Python API decides for himself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_enabled = False
_shown: Progress | None = None


def enable() -> None:
    """Show progress from now on, where standard error is a terminal."""
    global _enabled
    _enabled = True


@contextmanager
def steps(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Inside, a line says that ``what`` is under way; the function yielded is called with each number of steps done.

    Without ``total`` the line only shows that something happens.  Lines may be nested, and all vanish at their end.
    """
    global _shown
    if not _enabled or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    outer = _shown
    shown = _shown = outer or _display()
    task = shown.add_task(what, total=total)
    shown.start()
    try:
        yield lambda done: shown.advance(task, done)
    finally:
        shown.remove_task(task)
        if outer is None:
            _shown = None
            shown.stop()


def _display() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
