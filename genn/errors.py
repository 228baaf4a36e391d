"""One small tree of errors, so that every mistake of a user ends in one sentence and a documented exit code.

Each error says what happened, where (file, line, layer) and what to do about it.  The command line prints
``str(error)`` and exits with ``exit_code``; nothing else in the project decides on exit codes.

====  =====================================================
code  meaning
====  =====================================================
0     ok
1     a check failed (mismatch, budget exceeded)
2     usage (an option or argument is wrong)
3     model (cannot be loaded, converted or trusted)
4     toolchain or build
5     firmware fault, or its instruction budget ran out
70    a bug of ours
130   interrupted
====  =====================================================
"""

from __future__ import annotations


class GennError(Exception):
    """A failure with a sentence for the user: ``what`` happened, ``where``, and the ``fix``."""

    exit_code = 70

    def __init__(self, what: str, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        text = f"{where}: {what}" if where else what
        super().__init__(f"{text}; {fix}" if fix else text)


class CheckFailed(GennError):
    """A comparison, budget or parity check did not hold."""

    exit_code = 1


class UsageError(GennError):
    """An option, argument or input file is wrong."""

    exit_code = 2


class ModelError(GennError):
    """The model cannot be loaded, trusted or converted."""

    exit_code = 3


class ToolchainError(GennError):
    """A compiler or tool is missing, or a build failed."""

    exit_code = 4


class FirmwareError(GennError):
    """The firmware faulted or used up its instruction budget."""

    exit_code = 5
