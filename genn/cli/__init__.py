"""The command line: one file a command; torch is imported only where a model is read.

Exit codes: 0 ok, 1 a check failed, 2 usage, 3 model, 4 toolchain or build, 5 firmware fault or budget, 70 our bug,
130 interrupted.
"""

from genn.cli import bench, convert, data, emulate, footprint, lists, memory, verify
from genn.cli.output import say
from genn.cli.root import cli
from genn.cli.shell import main

__all__ = ["bench", "cli", "convert", "data", "emulate", "footprint", "lists", "main", "memory", "say", "verify"]
