"""The entry point: streams that take any text, Ctrl-C never lost, every error one sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import click

from genn import progress
from genn.cli.output import drop_stdout, say
from genn.cli.root import cli
from genn.errors import GennError, ModelError, ToolchainError, UsageError

# What the system may refuse at any moment, and is no mistake of ours.
_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}

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
            drop_stdout()
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
