"""A slow reference: the emulator once more, instruction by instruction, for the fast one to be compared with.

It shares Unicorn, the ELF reader and semihosting with the fast path, and nothing else: a decoder of its own
(:mod:`emu.slow.decode`, written from the encoding tables of the architecture manuals), cycles of its own
(:mod:`emu.slow.cycles`, written from the cores' manuals in Python), and stepping in place of blocks, edges and sites
(:mod:`emu.slow.step`).  About 0.3 million instructions a second.

``python -m emu.slow firmware.elf --core cortex-m4 --set P=3 --bank filter``
"""

from .cycles import CORES, Price
from .decode import Op, decode
from .step import Row, SlowError, SlowResult, run

__all__ = ["CORES", "Op", "Price", "Row", "SlowError", "SlowResult", "decode", "run"]
