"""A Cortex-M emulator with cycles: ``emu.Machine("firmware.elf", core="cortex-m4").run()``, for any bare-metal ELF.

Unicorn executes, :mod:`emu._core` counts, and the rules in ``timing/`` say what was counted costs.
"""

import unicorn as _unicorn  # noqa: F401  first: it loads the shared library that _core is linked against

from .elf import Image, load
from .errors import ElfError, EmuError, Fault
from .machine import CORES, Layer, Machine, Region, RunResult
from .timing import Timing
from .timing import load as load_timing
from .timing import names as timings

__all__ = [
    "CORES",
    "ElfError",
    "EmuError",
    "Fault",
    "Image",
    "Layer",
    "Machine",
    "Region",
    "RunResult",
    "Timing",
    "load",
    "load_timing",
    "timings",
]
