"""What a command says: its Report as table, JSON or CSV; messages, with nothing in them that steers a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from genn.errors import CheckFailed, UsageError
from genn.names import printable


def emit(report: Any, json_to: str | None = None, csv_to: str | None = None) -> None:
    """Print a Report, or write it where the user asked; a failed check ends with exit code 1."""
    from genn.atomic import atomic_write

    shown = False
    for to, content in ((json_to, report.json), (csv_to, report.csv)):
        if to == "-":
            write_out(content())
            shown = True
        elif to is not None:
            atomic_write(Path(to), content())
    if not shown and sys.stdout.isatty():
        from rich.console import Console

        report.print(Console(highlight=False))
    elif not shown:
        plain = str(report)
        write_out(plain if "utf" in (sys.stdout.encoding or "utf-8").lower() else plain.replace("\u2500", "-"))
    if not report.ok:
        raise CheckFailed(report.failure or "a check failed")


def write_out(text: str) -> None:
    """Write to standard output.  Nobody reading on is no mistake; a full disk is one."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        drop_stdout()
        raise UsageError(f"cannot be written: {error.strerror}", "standard output") from None


def drop_stdout() -> None:
    """Let what is still buffered go nowhere, so that Python does not complain about it at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: str) -> None:
    """One message on standard error, with nothing in it that could steer a terminal."""
    lines = [printable(line.expandtabs()) for line in f"genn: {message}".split("\n")]
    with contextlib.suppress(OSError):
        click.echo("\n".join(lines), err=True)
