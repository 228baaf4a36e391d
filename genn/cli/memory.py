"""``genn memory``: where tensors lie in SRAM, in which order operators run, and what each reduction saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from genn.cli.output import emit
from genn.cli.root import cli, json_option, sram_option, target_option

MEMORY_HELP = """MODEL is as for genn convert (no weights are needed), a liveness graph (.json), or a network of
genn bench memory.  Reductions: order, inplace, concat, fuse, overlap, stream.

\b
Examples:
  genn memory net.py:make --input-shape 1,3,96,96 --html net.html
  genn memory mobilenet-v1-224 --without stream --sram 1M
  genn memory net.py:make --export-graph net.json"""


def _file(name: str, text: str) -> Callable[..., Any]:
    return click.option(name, type=click.Path(path_type=Path, dir_okay=False), metavar="F", help=text)


@cli.command(epilog=MEMORY_HELP)
@click.argument("model")
@click.option("--scheme", type=click.Choice(["float32", "int16", "int8"]), default="int8", show_default=True,
              help="What an element takes: 4, 2 or 1 bytes.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for a factory that cannot do without.")
@click.option("--input-shape", multiple=True, metavar="1,3,96,96", help="Where the factory gives no example.")
@click.option("--trust-model", is_flag=True, help="As for convert.")
@click.option("--only", metavar="A,B", help="Use these reductions only; none for none.")
@click.option("--without", metavar="A,B", help="Use all but these.")
@sram_option("Exit 1 when the arena is larger; stream no more.")
@click.option("--seconds", type=click.FloatRange(0.1), default=60.0, show_default=True, help="For the order.")
@click.option("--prove", type=click.FloatRange(0), default=20.0, show_default=True, metavar="SECONDS",
              help="For a proof of offsets that has not been found yet, where ortools is installed.")
@click.option("--gains/--no-gains", default=True, help="Show what each reduction saves on its own.")
@target_option(None, "  Adds the trade of bytes against cycles, time and energy, estimated.")
@click.option("--all", "everything", is_flag=True, help="Every operator in the table, not the largest only.")
@_file("--html", "Write one self-contained page.")
@_file("--csv-tensors", "Write Id,Name,Shape,Size.")
@_file("--csv-schedule", "Write Operator,Working set,Memory use,MACs,Size.")
@_file("--minimalloc", "Write id,lower,upper,size,offset.")
@_file("--export-graph", "Write the liveness graph as JSON.")
@json_option
def memory(
    model: str,
    scheme: str,
    weights: Path | None,
    input_shape: tuple[str, ...],
    trust_model: bool,
    only: str | None,
    without: str | None,
    sram: int | None,
    seconds: float,
    prove: float,
    gains: bool,
    target: str | None,
    everything: bool,
    html: Path | None,
    csv_tensors: Path | None,
    csv_schedule: Path | None,
    minimalloc: Path | None,
    export_graph: Path | None,
    json_to: str | None,
) -> None:
    """Plan the SRAM of a network: order, offsets, and what need not be there at all."""
    from genn.memory.command import run

    files = {"html": html, "tensors": csv_tensors, "schedule": csv_schedule, "minimalloc": minimalloc,
             "graph": export_graph}  # fmt: skip
    emit(
        run(model, scheme=scheme, weights=weights, trust=trust_model, input_shape=input_shape, only=only,
            without=without, sram=sram, seconds=seconds, prove=prove, gains=gains, everything=everything,
            target=target, files=files),
        json_to,
    )  # fmt: skip
