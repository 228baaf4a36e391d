"""The command group ``genn``, which every command of this package joins, and the options they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import genn
from genn.errors import UsageError

# in the order of use
ORDER = ["convert", "verify", "emulate", "footprint", "memory", "bench", "data", "targets", "ops", "models", "doctor"]


class Group(click.Group):
    """Commands in the order of use, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(genn.__version__, prog_name="genn")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """From PyTorch to C for microcontrollers, and the tools to trust it.

    \b
    Exit codes: 0 ok, 1 a check failed, 2 usage, 3 model, 4 toolchain or build,
    5 firmware fault or budget, 70 a bug of ours, 130 interrupted.
    """


def _output(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse at once what cannot be written to, not after minutes of work."""
    if value is None:
        return None
    if not value or Path(value).is_dir():
        raise UsageError(f"{value!r} is no name of a file", option.opts[0], "give a file, or - for standard output")
    if value == "-" and "-" in (ctx.params.get("json_to"), ctx.params.get("csv_to")):
        raise UsageError("only one of --json and --csv can go to standard output", fix="give the other one a file")
    return value


def json_option(f: Callable[..., Any]) -> Callable[..., Any]:
    text = "Write the result as JSON to file F; - is standard output."
    return click.option("--json", "json_to", metavar="F", callback=_output, help=text)(f)


def csv_option(f: Callable[..., Any]) -> Callable[..., Any]:
    text = "Write the table as CSV to file F; - is standard output."
    return click.option("--csv", "csv_to", metavar="F", callback=_output, help=text)(f)


def _size(ctx: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Sizes as 64K, 1M or 0x1000."""
    if value is None:
        return None
    from genn.target import parse_size

    try:
        return parse_size(value)
    except (UsageError, ValueError):
        raise UsageError(f"{value!r} is no size", option.opts[0], "write it like 128K, 1M or 131072") from None


def sram_option(text: str) -> Callable[..., Any]:
    return click.option("--sram", callback=_size, metavar="128K", help=text)


def target_option(default: str | None, more: str = "") -> Callable[..., Any]:
    usual = f"; default is the one of convert, else {default}" if default else ""
    return click.option("-t", "--target", metavar="TARGET",
                        help=f"Board or chip: a name from genn targets or a TOML file{usual}.{more}")


def opt_option(f: Callable[..., Any]) -> Callable[..., Any]:
    kinds = click.Choice(["-O0", "-O1", "-O2", "-O3", "-Os"])
    return click.option("--opt", type=kinds, help="Optimisation of the firmware; default follows convert's -O.")(f)
