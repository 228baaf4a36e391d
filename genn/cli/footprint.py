"""``genn footprint``: every byte of flash and RAM."""

from __future__ import annotations

from pathlib import Path

import click

from genn.cli.output import emit
from genn.cli.root import cli, csv_option, json_option, opt_option, target_option

FOOTPRINT_HELP = """\b
Examples:
  genn footprint out -t nucleo-f411re --by symbol
  genn footprint out --budget flash=64K,ram=16K
  genn footprint out --diff before/build/nucleo-f411re/net.elf"""


@cli.command(epilog=FOOTPRINT_HELP)
@click.argument("path", type=click.Path(path_type=Path))
@target_option("nucleo-f411re", "  For a folder; an ELF is what it is.")
@click.option("--by", type=click.Choice(["layer", "symbol", "section", "file"]), default="layer", show_default=True,
              help="What a row of the table is.")
@click.option("--diff", "old", type=click.Path(path_type=Path), help="Show the change against an older ELF or folder.")
@click.option("--budget", metavar="flash=64K,ram=16K", help="Exit 1 when over.")
@opt_option
@json_option
@csv_option
def footprint(
    path: Path,
    target: str | None,
    by: str,
    old: Path | None,
    budget: str | None,
    opt: str | None,
    json_to: str | None,
    csv_to: str | None,
) -> None:
    """Flash and RAM of the firmware, every byte accounted for.  PATH is a converted folder or an ELF."""
    from genn.runs import footprint_report

    emit(footprint_report(path, target, by=by, old=old, budget=budget, opt=opt), json_to, csv_to)
