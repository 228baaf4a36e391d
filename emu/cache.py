"""Flash memories with wait states: their geometry, the bound with every fetch paid, and an estimate with the cache.

Three figures, and which is which is always said:

* *zero*: cycles with no wait state;
* *bound*: each line of code that a block touches and the one behind it is read anew with all wait states, the line
  under execution is read again behind each load, and each word loaded pays;
* *estimate*: the target's cache in front of the addresses that the run fetched and loaded, in their order
  (:mod:`emu.trace`).  Modelled: the line under execution, sequential prefetch with the cycles the line before it took,
  set-associative caches with least recently used replacement.  Not modelled: fetches beyond a taken branch, loads and
  fetches that meet at the flash, DMA, and what the bus matrix adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from .decode import Decoder
from .errors import EmuError
from .machine import Machine

_LOADS = frozenset({"ldr", "ldrd", "ldm", "ldm_pc", "ldr_pc", "vldr", "vldm", "tbb", "pop", "pop_pc", "exclusive"})


@dataclass(frozen=True)
class Flash:
    """A flash and what stands before it.  ``instruction`` and ``data``: lines of the caches, 0 for none; a cache of
    ``unified`` is the instruction cache for both.  ``ways`` 0 is fully associative.
    """

    base: int
    size: int
    wait_states: int
    line_bytes: int = 4
    instruction_lines: int = 0
    instruction_ways: int = 0
    data_lines: int = 0
    data_ways: int = 0
    unified: bool = False
    prefetch: bool = False

    def __post_init__(self) -> None:
        if self.line_bytes < 4 or self.line_bytes & (self.line_bytes - 1):
            raise EmuError(f"a flash line of {self.line_bytes} bytes: it must be a power of two, 4 or more")
        for lines, ways in ((self.instruction_lines, self.instruction_ways), (self.data_lines, self.data_ways)):
            if lines < 0 or ways < 0 or (ways and lines % ways):
                raise EmuError(f"a cache of {lines} lines in {ways} ways")

    def describe(self) -> str:
        """One line: what is modelled."""
        parts = [f"{self.wait_states} wait states", f"{8 * self.line_bytes}-bit lines"]
        if self.unified:
            parts.append(f"{self.instruction_lines} cache lines for code and data")
        else:
            parts += [f"{n} {what} lines" for n, what in
                      ((self.instruction_lines, "instruction"), (self.data_lines, "data")) if n]
        return ", ".join([*parts, *(["prefetch"] if self.prefetch else [])])


def bound(flash: Flash, machine: Machine) -> int:
    """Cycles that wait states can at most have added to what ``machine`` counted in its last run: see above."""
    decoder = machine._decoder = machine._decoder or Decoder()
    first = 1 if machine.count else 0
    known: dict[tuple[int, int], int] = {}
    reads = 0
    for bank, address, size, count, _ in machine._engine.counts():
        if bank < first:
            continue
        each = known.get((address, size))
        if each is None:
            insns = decoder.block(address, machine._code(address, size))
            inside = flash.base <= address < flash.base + flash.size
            low, high = address // flash.line_bytes, (address + size - 1) // flash.line_bytes
            each = high - low + 2 if inside else 0
            each += sum(i.n + inside for i in insns if i.kind in _LOADS)
            known[address, size] = each
        reads += count * each
    return reads * flash.wait_states
