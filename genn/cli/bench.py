"""``genn bench NAME``: each benchmark a command with its own options."""

from __future__ import annotations

from pathlib import Path

import click

from genn.cli.output import emit
from genn.cli.root import Group, cli, json_option


@cli.group(cls=Group)
def bench() -> None:
    """Run a benchmark and print its table; each takes --json too."""


@bench.command("verify")
@click.option("--models", default="mnist-mlp,mnist-cnn", show_default=True, help="Models, separated by commas.")
@json_option
def bench_verify(models: str, json_to: str | None) -> None:
    """Images per second of host C and torch, in one run."""
    from genn.bench.verify import bench as measure

    emit(measure(models.split(",")), json_to)


@bench.command("emulator")
@click.option("--thumbulator", type=click.Path(path_type=Path), metavar="PATH", help="Measure Thumbulator too.")
@json_option
def bench_emulator(thumbulator: Path | None, json_to: str | None) -> None:
    """Speed of the emulator on the programs that come with it, against the bare engine."""
    from genn.bench.emulator import bench as measure

    emit(measure(thumbulator=thumbulator), json_to)
