"""The command line: one short function per command; torch is imported only where a model is read.

Exit codes: 0 ok, 1 a check failed, 2 usage, 3 model, 4 toolchain or build, 5 firmware fault or budget, 70 our bug,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import genn
from genn.errors import CheckFailed, GennError, UsageError

MODEL_HELP = """MODEL is a name of the benchmark suite (genn models), file.py:factory or package.module:factory, or a .pt2 from
torch.export.  A factory is Python code and is run; a .pt2 or weights file is not trusted unless you say --trust-model."""


class Group(click.Group):
    """Commands in the order they are defined, which is the order of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(genn.__version__, prog_name="genn")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """From PyTorch to C for microcontrollers, and the tools to trust it.

    \b
    Exit codes: 0 ok, 1 a check failed, 2 usage, 3 model, 4 toolchain or build,
    5 firmware fault or budget, 70 a bug of ours, 130 interrupted.
    """


def json_option(f: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "json_to", metavar="F", help="Write the result as JSON to file F; - is standard output.")(f)


def csv_option(f: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--csv", "csv_to", metavar="F", help="Write the table as CSV to file F; - is standard output.")(f)


def target_option(default: str | None, more: str = "") -> Callable[..., Any]:
    text = f"Board or chip: a name from genn targets or a TOML file{f'; default {default}' if default else ''}.{more}"
    return click.option("-t", "--target", default=default, metavar="TARGET", help=text)


def emit(report: Any, json_to: str | None, csv_to: str | None = None) -> None:
    """Print a Report, or write it where the user asked; a failed check ends with exit code 1."""
    from genn.atomic import atomic_write

    for to, content in ((json_to, report.json), (csv_to, report.csv)):
        if to == "-":
            click.echo(content(), nl=False)
        elif to:
            atomic_write(Path(to), content().encode())
    if "-" not in (json_to, csv_to):
        from rich.console import Console

        width = None if sys.stdout.isatty() else 140
        report.print(Console(width=width, highlight=False))
    if not report.ok:
        raise CheckFailed(report.failure or "a check failed")


@cli.command(epilog=MODEL_HELP)
@click.argument("model")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the generated C.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for a factory: .safetensors, or a state dict .pt.")
@click.option("--scheme", type=click.Choice(["float32", "int16", "int8"]), default="float32", show_default=True)
@click.option("--sparse", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
              help="Leave stored zeros out: where worthwhile, everywhere, nowhere.")
@click.option("--calibrate", metavar="X.npz", help="Typical real inputs, .npz or .npy; int16 and int8 need them.")
@target_option(None, "  Refuses a network that cannot fit it.")
@click.option("-n", "--name", help="Name of the network in C; default net.", default="net")
@click.option("--input-shape", multiple=True, metavar="1,1,28,28", help="Shape of an input, where the factory gives no example.")
@click.option("--sensor", metavar="TYPE:SCALE[:OFFSET]", help="Add an integer-only conversion of sensor values (u8 s8 u16 s16).")
@click.option("--vectors", type=click.IntRange(1, 1000), default=4, show_default=True, help="Test vectors that travel along.")
@click.option("--trust-model", is_flag=True, help="Load a .pt2 with all its pickled members, which may run code.")
@click.option("--force", is_flag=True, help="Overwrite generated files that were edited.")
@click.option("-v", "--verbose", is_flag=True, help="Print bits and the accumulator proof of each layer.")
@json_option
def convert(model: str, out: Path, weights: Path | None, scheme: str, sparse: str, calibrate: str | None, target: str | None,
            name: str, input_shape: tuple[str, ...], sensor: str | None, vectors: int, trust_model: bool, force: bool,
            verbose: bool, json_to: str | None) -> None:
    """Convert a trained network to a folder of C."""
    from genn.names import check_name
    from genn.runs import convert_model
    from genn.target import load_target

    check_name(name)
    board = load_target(target) if target else None
    made = convert_model(model, weights, scheme, calibrate, sparse=sparse, name=name, input_shape=input_shape, sensor=sensor,
                         vectors=vectors, trust=trust_model)
    if board is not None:
        made.check_fits(board)
    made.save(out, force=force)
    report = made.report(verbose)
    report.lines.append(f"wrote {out}")
    emit(report, json_to)


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--model", "spec", help="Compare with this PyTorch model too (suite models are found by themselves).")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for --model.")
@click.option("--data", "data_file", metavar="X.npz", help="Real inputs, .npz or .npy; y or labels in a .npz gives accuracy.")
@click.option("--on", default="host", show_default=True, help="Runners, separated by commas: host, emu, qemu.")
@target_option("cortex-m0plus", "  For --on emu.")
@click.option("--layers", is_flag=True, help="Compare every layer, and name the first that differs.")
@click.option("--samples", type=click.IntRange(1), help="Use the first N samples only.")
@click.option("--jobs", type=click.IntRange(1), help="Threads on the host; default all cores.")
@click.option("--sanitize", is_flag=True, help="Build the host C with AddressSanitizer and UBSan.")
@click.option("--trust-model", is_flag=True, help="As for convert, for --model.")
@json_option
def verify(directory: Path, spec: str | None, weights: Path | None, data_file: str | None, on: str, target: str, layers: bool,
           samples: int | None, jobs: int | None, sanitize: bool, trust_model: bool, json_to: str | None) -> None:
    """Compare PyTorch, the NumPy reference and the C of DIRECTORY, byte for byte."""
    from genn.runs import verify_report

    report = verify_report(directory, spec, weights, data_file, on=tuple(on.split(",")), target=target, layers=layers,
                           samples=samples, jobs=jobs, sanitize=sanitize, trust=trust_model)
    emit(report, json_to)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@target_option("cortex-m0plus")
@click.option("--input", "input_file", metavar="X.npz", help="Real inputs; default is the first test vector.")
@click.option("--samples", type=click.IntRange(1), help="Run the first N samples of --input.")
@click.option("--timing", metavar="NAME", help="Instruction timing; default is the target's.")
@click.option("--opt", default="-O2", show_default=True, help="Optimisation of the firmware's build.")
@click.option("--max-instructions", type=click.IntRange(1), help="Budget; a run that exceeds it ends with exit code 5.")
@json_option
@csv_option
def emulate(path: Path, target: str, input_file: str | None, samples: int | None, timing: str | None, opt: str,
            max_instructions: int | None, json_to: str | None, csv_to: str | None) -> None:
    """Run the C as Thumb firmware: cycles for each layer, stack, outputs.  PATH is a converted folder."""
    from genn.runs import emulate_report

    emit(emulate_report(path, target, input_file, samples=samples, timing=timing, opt=opt, budget=max_instructions), json_to,
         csv_to)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@target_option("nucleo-f411re", "  For a folder; an ELF is what it is.")
@click.option("--by", type=click.Choice(["layer", "symbol", "section", "file"]), default="layer", show_default=True)
@click.option("--diff", "old", type=click.Path(path_type=Path), help="Show the change against an older ELF or folder.")
@click.option("--budget", metavar="flash=64K,ram=16K", help="Exit 1 when over.")
@click.option("--opt", default="-O2", show_default=True, help="Optimisation of the firmware's build.")
@json_option
@csv_option
def footprint(path: Path, target: str, by: str, old: Path | None, budget: str | None, opt: str, json_to: str | None,
              csv_to: str | None) -> None:
    """Flash and RAM of the firmware, every byte accounted for.  PATH is a converted folder or an ELF."""
    from genn.runs import footprint_report

    emit(footprint_report(path, target, by=by, old=old, budget=budget, opt=opt), json_to, csv_to)


@cli.command()
@click.argument("name", type=click.Choice(["verify"]))
@click.option("--models", default="mnist-mlp,mnist-cnn", show_default=True, help="Models, separated by commas.")
@json_option
def bench(name: str, models: str, json_to: str | None) -> None:
    """Run a benchmark and print its table."""
    from genn.runs import bench_verify_report

    emit(bench_verify_report(models.split(",")), json_to)


@cli.command()
@json_option
def targets(json_to: str | None) -> None:
    """List boards and chips."""
    from genn.runs import targets_report

    emit(targets_report(), json_to)


@cli.command()
@json_option
def ops(json_to: str | None) -> None:
    """List the operators, and the ATen overloads each one takes."""
    from genn.runs import ops_report

    emit(ops_report(), json_to)


@cli.command()
@json_option
def models(json_to: str | None) -> None:
    """List the models of the benchmark suite."""
    from genn.runs import models_report

    emit(models_report(), json_to)


@cli.command()
@json_option
def doctor(json_to: str | None) -> None:
    """Say what is installed, which version, and what to do about the rest."""
    from genn.runs import doctor_report

    emit(doctor_report(), json_to)


def main(argv: list[str] | None = None) -> None:
    """Entry point: every mistake of a user is one sentence and an exit code."""
    args = sys.argv[1:] if argv is None else argv
    debug = "--debug" in args
    try:
        cli.main(args=args, prog_name="genn", standalone_mode=False)
        code = 0
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        where = f" (see {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        say(f"{error.format_message().rstrip('.')}{where}")
        code = UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        code = 130
    except GennError as error:
        if debug:
            traceback.print_exc()
        say(str(error))
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        say(f"a bug in genn: {type(error).__name__}: {error}; please report it with the output of genn --debug")
        code = GennError.exit_code
    sys.exit(code)


def say(message: str) -> None:
    click.echo(f"genn: {message}", err=True)


if __name__ == "__main__":
    main()
