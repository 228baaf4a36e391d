"""The command line: one short function per command; torch is imported only where a model is read.

Exit codes: 0 ok, 1 a check failed, 2 usage, 3 model, 4 toolchain or build, 5 firmware fault or budget, 70 our bug,
130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import genn
from genn import progress
from genn.errors import CheckFailed, GennError, ModelError, ToolchainError, UsageError
from genn.names import printable

CONVERT_HELP = """MODEL is a name of the benchmark suite (genn models), file.py:factory or package.module:factory, or a
.pt2 from torch.export.  A factory is Python code and is run; a .pt2 or weights file is not trusted unless you say
--trust-model.

\b
Examples:
  genn convert mnist-cnn -o out --scheme int8
  genn convert net.py:make --weights net.safetensors -o out --input-shape 1,1,28,28
  genn convert net.pt2 -o out --scheme int16 --calibrate typical.npz -t nucleo-f411re"""
VERIFY_HELP = """\b
Examples:
  genn verify out
  genn verify out --model net.py:make --weights net.safetensors --data test.npz
  genn verify out --on host,emu,qemu --layers"""
EMULATE_HELP = """\b
Examples:
  genn emulate out -t nucleo-f411re
  genn emulate out --input test.npz --samples 10 --json -"""
FOOTPRINT_HELP = """\b
Examples:
  genn footprint out -t nucleo-f411re --by symbol
  genn footprint out --budget flash=64K,ram=16K
  genn footprint out --diff before/build/nucleo-f411re/net.elf"""


# What the system may refuse at any moment, and is no mistake of ours.
_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}


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


def target_option(default: str | None, more: str = "") -> Callable[..., Any]:
    text = f"Board or chip: a name from genn targets or a TOML file{f'; default {default}' if default else ''}.{more}"
    return click.option("-t", "--target", default=default, metavar="TARGET", help=text)


def opt_option(f: Callable[..., Any]) -> Callable[..., Any]:
    kinds = click.Choice(["-O0", "-O1", "-O2", "-O3", "-Os"])
    return click.option("--opt", type=kinds, default="-O2", show_default=True, help="Optimisation of the firmware.")(f)


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
        _drop_stdout()
    except OSError as error:
        _drop_stdout()
        raise UsageError(f"cannot be written: {error.strerror}", "standard output") from None


def _drop_stdout() -> None:
    """Let what is still buffered go nowhere, so that Python does not complain about it at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@cli.command(epilog=CONVERT_HELP)
@click.argument("model")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the generated C.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights for a factory: .safetensors, or a state dict .pt."
)
@click.option(
    "--scheme",
    type=click.Choice(["float32", "int16", "int8"]),
    default="float32",
    show_default=True,
    help="What the network computes in.",
)
@click.option(
    "--sparse",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Leave stored zeros out: where worthwhile, everywhere, nowhere.",
)
@click.option("--calibrate", metavar="X.npz", help="Typical real inputs, .npz or .npy; int16 and int8 need them.")
@target_option(None, "  Refuses a network that cannot fit it.")
@click.option("-n", "--name", help="Name of the network in C.", default="net", show_default=True)
@click.option(
    "--input-shape", multiple=True, metavar="1,1,28,28", help="Shape of an input, where the factory gives no example."
)
@click.option(
    "--sensor", metavar="TYPE:SCALE[:OFFSET]", help="Add an integer-only conversion of sensor values (u8 s8 u16 s16)."
)
@click.option(
    "--vectors", type=click.IntRange(1, 1000), default=4, show_default=True, help="Test vectors that travel along."
)
@click.option("--trust-model", is_flag=True, help="Load a .pt2 with all its pickled members, which may run code.")
@click.option("--force", is_flag=True, help="Overwrite generated files that were edited.")
@click.option("-v", "--verbose", is_flag=True, help="Print bits and the accumulator proof of each layer.")
@json_option
def convert(
    model: str,
    out: Path,
    weights: Path | None,
    scheme: str,
    sparse: str,
    calibrate: str | None,
    target: str | None,
    name: str,
    input_shape: tuple[str, ...],
    sensor: str | None,
    vectors: int,
    trust_model: bool,
    force: bool,
    verbose: bool,
    json_to: str | None,
) -> None:
    """Convert a trained network to a folder of C."""
    from genn.names import check_name
    from genn.runs import convert_model
    from genn.target import load_target

    check_name(name)
    board = load_target(target) if target is not None else None
    made = convert_model(
        model,
        weights,
        scheme,
        calibrate,
        sparse=sparse,
        name=name,
        input_shape=input_shape,
        sensor=sensor,
        vectors=vectors,
        trust=trust_model,
    )
    if board is not None:
        made.check_fits(board)
    emit(made.save(out, force=force, verbose=verbose), json_to)


@cli.command(epilog=VERIFY_HELP)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--model", "spec", help="Compare with this PyTorch model too (suite models are found by themselves).")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for --model.")
@click.option(
    "--data", "data_file", metavar="X.npz", help="Real inputs, .npz or .npy; y or labels in a .npz gives accuracy."
)
@click.option("--on", default="host", show_default=True, help="Runners, separated by commas: host, emu, qemu.")
@target_option("cortex-m0plus", "  For --on emu.")
@click.option("--layers", is_flag=True, help="Compare every layer, and name the first that differs.")
@click.option("--samples", type=click.IntRange(1), help="Use the first N samples only.")
@click.option("--jobs", type=click.IntRange(1), help="Threads on the host; default all cores.")
@click.option("--sanitize", is_flag=True, help="Build the host C with AddressSanitizer and UBSan.")
@click.option("--trust-model", is_flag=True, help="As for convert, for --model.")
@json_option
def verify(
    directory: Path,
    spec: str | None,
    weights: Path | None,
    data_file: str | None,
    on: str,
    target: str,
    layers: bool,
    samples: int | None,
    jobs: int | None,
    sanitize: bool,
    trust_model: bool,
    json_to: str | None,
) -> None:
    """Compare PyTorch, the NumPy reference and the C of DIRECTORY, byte for byte."""
    from genn.runs import parse_runners, verify_report

    report = verify_report(
        directory,
        spec,
        weights,
        data_file,
        on=parse_runners(on),
        target=target,
        layers=layers,
        samples=samples,
        jobs=jobs,
        sanitize=sanitize,
        trust=trust_model,
    )
    emit(report, json_to)


@cli.command(epilog=EMULATE_HELP)
@click.argument("path", type=click.Path(path_type=Path))
@target_option(None, "  Default cortex-m0plus, or the one that the ELF was built for.")
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
    opt: str,
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
    target: str,
    by: str,
    old: Path | None,
    budget: str | None,
    opt: str,
    json_to: str | None,
    csv_to: str | None,
) -> None:
    """Flash and RAM of the firmware, every byte accounted for.  PATH is a converted folder or an ELF."""
    from genn.runs import footprint_report

    emit(footprint_report(path, target, by=by, old=old, budget=budget, opt=opt), json_to, csv_to)


@cli.command()
@click.argument("name", type=click.Choice(["verify", "emulator"]))
@click.option("--models", default="mnist-mlp,mnist-cnn", show_default=True, help="verify: models, separated by commas.")
@click.option("--thumbulator", type=click.Path(path_type=Path), metavar="PATH", help="emulator: measure it too.")
@json_option
def bench(name: str, models: str, thumbulator: Path | None, json_to: str | None) -> None:
    """Run a benchmark and print its table."""
    from genn.runs import bench_emulator_report, bench_verify_report

    emit(bench_emulator_report(thumbulator) if name == "emulator" else bench_verify_report(models.split(",")), json_to)


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
    _prepare_streams()
    interrupts: list[int] = []
    with _watched(interrupts):
        code = _run(args, interrupts)
        exec("")  # an interrupt that left an exec() of text would end Python by SIGINT: forget it
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            _drop_stdout()
    sys.exit(code)


def _run(args: list[str], interrupts: list[int]) -> int:
    """The command; its exit code.  ``interrupts`` is not empty when Ctrl-C came, whatever a library made of it."""
    try:
        progress.enable()
        cli.main(args=args, prog_name="genn", standalone_mode=False)
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        text = error.format_message()
        if text.startswith("Usage: "):  # no arguments at all
            click.echo(text, err=True)
        else:
            where = (
                f" (see {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
            )
            say(f"{text.rstrip('.')}{where}")
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return 130
    except SystemExit as error:  # click's, for a pipe that nobody reads; or a library's
        return error.code if isinstance(error.code, int) else 0
    except Exception as error:
        if interrupts:
            say("interrupted")
            return 130
        if "--debug" in args:
            traceback.print_exc()
        if isinstance(error, GennError):
            say(str(error))
            return error.exit_code
        if isinstance(error, MemoryError):
            say("there is not enough memory here for this; use fewer samples or a smaller network")
            return ModelError.exit_code
        if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "safetensors"):
            say(f"{error.name} is not installed, and models are read with it; pip install 'genn-mcu[torch]'")
            return ToolchainError.exit_code
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            place = f"{error.filename}: " if error.filename else ""
            say(f"{place}the system refused: {error.strerror}; make room or choose another place")
            return UsageError.exit_code
        said = f"a bug in genn: {type(error).__name__}: {error}"
        say(f"{said}; please report it with the output of genn --debug {' '.join(args)}")
        return GennError.exit_code


def _prepare_streams() -> None:
    """Streams that can take any text: closed ones are replaced, and no letter is beyond them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _watched(interrupts: list[int]) -> Iterator[None]:
    """Inside, Ctrl-C is noted and raised: a library that swallows or renames KeyboardInterrupt hides nothing."""
    def note(number: int, frame: Any) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def say(message: str) -> None:
    """One message on standard error, with nothing in it that could steer a terminal."""
    lines = [printable(line.expandtabs()) for line in f"genn: {message}".split("\n")]
    with contextlib.suppress(OSError):
        click.echo("\n".join(lines), err=True)


if __name__ == "__main__":
    main()
