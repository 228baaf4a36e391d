"""``genn emulate``: the C as Thumb firmware, its cycles layer by layer."""

from __future__ import annotations

from pathlib import Path

import click

from genn.cli.output import emit
from genn.cli.root import cli, csv_option, json_option, opt_option, target_option

EMULATE_HELP = """\b
Examples:
  genn emulate out -t nucleo-f411re
  genn emulate out --input test.npz --samples 10 --json -"""


@cli.command(epilog=EMULATE_HELP)
@click.argument("path", type=click.Path(path_type=Path))
@target_option("cortex-m0plus", "  Of an ELF the one it was built for.")
@click.option("--input", "input_file", metavar="X.npz", help="Real inputs; default is the first test vector.")
@click.option("--samples", type=click.IntRange(1), help="Run the first N samples of --input.")
@click.option("--timing", metavar="NAME", help="Instruction timing; default is the target's.")
@click.option("--set", "settings", multiple=True, metavar="NAME=N", help="A parameter of the timing, as P=3.")
@opt_option
@click.option("--max-instructions", type=click.IntRange(1), help="Budget; exit code 5 when a run exceeds it.")
@click.option("--estimate", is_flag=True, help="Model the target's flash cache too (a second, slower run).")
@click.option("--profile", "profiles", multiple=True, metavar="F",
              help="Write a profile: F.speedscope.json, F.trace.json (Perfetto) or F.callgrind (KCachegrind).")
@click.option("--annotate", multiple=True, metavar="SYMBOL", help="List a function with executions and cycles.")
@click.option("--jobs", type=click.IntRange(1), help="Processes for many samples; default all cores.")
@click.option("--gdb", type=click.IntRange(0, 65535), metavar="PORT", help="Wait for a debugger on loopback.")
@json_option
@csv_option
def emulate(
    path: Path,
    target: str | None,
    input_file: str | None,
    samples: int | None,
    timing: str | None,
    settings: tuple[str, ...],
    opt: str | None,
    max_instructions: int | None,
    estimate: bool,
    profiles: tuple[str, ...],
    annotate: tuple[str, ...],
    jobs: int | None,
    gdb: int | None,
    json_to: str | None,
    csv_to: str | None,
) -> None:
    """Run the C as Thumb firmware: cycles for each layer, stack, outputs.  PATH: a converted folder or an ELF in it."""
    from genn.runs import emulate_report

    emit(
        emulate_report(
            path,
            target,
            input_file,
            samples=samples,
            timing=timing,
            settings=settings,
            opt=opt,
            budget=max_instructions,
            estimate=estimate,
            profiles=profiles,
            annotate=annotate,
            jobs=jobs,
            gdb=gdb,
        ),
        json_to,
        csv_to,
    )
