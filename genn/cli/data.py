"""``genn data``: fetches the public data sets that training, accuracy tables and some tests read."""

from __future__ import annotations

from pathlib import Path

import click

from genn.cli.output import emit
from genn.cli.root import cli, json_option


@cli.command()
@click.argument("name", required=False)
@click.option("--data", type=click.Path(path_type=Path), help="Data folder; default $GENN_DATA, else the user's cache.")
@json_option
def data(name: str | None, data: Path | None, json_to: str | None) -> None:
    """Fetch data set NAME from its official source, or list the sets.

    What is in the data folder already is not fetched again, and an interrupted download goes on where it stopped.
    """
    from genn.datasets import report

    emit(report.fetched(name, data) if name else report.listed(data), json_to)
