"""Turn counts of blocks into instructions and cycles: a dot product with the timing, by bank and by function.

Exactness rests on four corrections: the taken edge of a conditional branch, the pair across a block that the engine
split (at a 1 KiB page or after about 200 instructions), instructions that an IT skipped, and divisions by the width of
their quotients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from .decode import CONDITIONAL, ENDS, Decoder, Insn
from .errors import EmuError
from .timing import Timing


@dataclass
class Counts:
    """What one run counted: see :class:`emu._core.Engine`."""

    blocks: list[tuple[int, int, int, int, int]]
    """(bank, address, bytes, count, taken)."""
    executed: list[tuple[int, int, int]] = field(default_factory=list)
    """(bank, address, times) of instructions in IT blocks and of divisions."""
    quotients: list[tuple[int, int, list[int]]] = field(default_factory=list)
    """(bank, address, times by the quotient's bits) of divisions."""


@dataclass
class Totals:
    """Sums over the banks, each a list by bank; ``places`` maps (bank, block address) to (cycles, instructions)."""

    cycles: list[int]
    instructions: list[int]
    words: list[int]
    """32-bit words fetched from code or loaded, an upper bound: what wait states can at most be paid for."""
    places: dict[tuple[int, int], tuple[int, int]]
    notes: list[str]


@dataclass(slots=True)
class _Block:
    plain: int
    """Instructions that are neither predicated nor divisions: these cost the same each time."""
    special: list[Insn]
    cycles: int
    taken: int
    words: int
    notes: frozenset[str]


def predicated_addresses(
    blocks: list[tuple[int, int, int, int, int]], decoder: Decoder, read: Callable[[int, int], bytes]
) -> set[int]:
    """Addresses of the instructions that stand in IT blocks which ran, also where a block was split inside of one."""
    out: set[int] = set()
    for address, size in {(b[1], b[2]) for b in blocks}:
        for insn in decoder.block(address, read(address, size)):
            if insn.covers:
                at = insn.address + insn.size
                for _ in range(insn.covers):
                    out.add(at)
                    following = decoder.one(at, read(at, 4))
                    if following is None:
                        break
                    at += following.size
    return out


class Ledger:
    """Reckons the runs of one machine; what a block costs is worked out once, when it first ran.

    ``read(address, size)`` gives code bytes (fewer at the end of the code), the same ones in every run.
    """

    def __init__(self, banks: int, timing: Timing, decoder: Decoder, read: Callable[[int, int], bytes]) -> None:
        self.timing = timing
        self._banks, self._decoder, self._read = banks, decoder, read
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._predicated: set[int] = set()
        self._last: dict[int, int] = {}
        """Address of the last instruction of the blocks with this end."""

    def tally(self, counts: Counts) -> Totals:
        """Cycles and instructions of every bank; EmuError when the timing has no rule for what ran."""
        known, timing, banks = self._blocks, self.timing, self._banks
        fresh = [row for row in counts.blocks if (row[1], row[2]) not in known]
        if fresh:
            predicated = predicated_addresses(fresh, self._decoder, self._read)
            if not predicated <= self._predicated:  # blocks may overlap: what was no more than code may now be skipped
                self._predicated |= predicated
                known.clear()
        cycles, instructions, words = [0] * banks, [0] * banks, [0] * banks
        places: dict[tuple[int, int], tuple[int, int]] = {}
        times = {(bank, address): n for bank, address, n in counts.executed}
        divisions = {(bank, address): row for bank, address, row in counts.quotients}
        passed: dict[tuple[int, int], int] = {}
        home: dict[tuple[int, int], int] = {}
        special: dict[int, Insn] = {}
        notes: set[str] = set()
        for bank, address, size, count, taken in counts.blocks:
            block = known.get((address, size))
            if block is None:
                block = known[address, size] = self._static(address, size)
            notes |= block.notes
            spent = count * block.cycles + taken * block.taken
            ran = count * block.plain
            cycles[bank] += spent
            instructions[bank] += ran
            words[bank] += count * block.words
            was = places.get((bank, address), (0, 0))
            places[bank, address] = was[0] + spent, was[1] + ran
            for insn in block.special:
                key = bank, insn.address
                passed[key] = passed.get(key, 0) + count
                home[key] = address
                special[insn.address] = insn
        for (bank, at), through in passed.items():
            insn = special[at]
            ran = times.get((bank, at), 0)
            spent = max(through - ran, 0) * timing.skipped
            if insn.kind == "div":
                widths = enumerate(divisions.get((bank, at), []))
                spent += sum(n * timing.cost(insn, quotient=bits) for bits, n in widths if n)
            else:
                spent += ran * timing.cost(insn, taken=True)
            cycles[bank] += spent
            instructions[bank] += ran
            was = places[bank, home[bank, at]]
            places[bank, home[bank, at]] = was[0] + spent, was[1] + ran
        return Totals(cycles, instructions, words, places, sorted(notes))

    def _static(self, address: int, size: int) -> _Block:
        timing, predicated = self.timing, self._predicated
        insns = self._decoder.block(address, self._read(address, size))
        plain = [i for i in insns if i.address not in predicated and i.kind != "div"]
        special = [i for i in insns if i.address in predicated or i.kind == "div"]
        cycles = sum(timing.cost(i) for i in plain)
        last = insns[-1]
        if self._last.setdefault(address + size, last.address) != last.address:
            raise EmuError(f"two instructions end at 0x{address + size:08x}: code that overlaps itself is not counted")
        # the engine split the block: the next instruction follows always, and its pair with the last belongs here
        chain = list(insns)
        if last.kind not in ENDS:
            following = self._decoder.one(address + size, self._read(address + size, 4))
            if following is not None:
                chain.append(following)
        for before, after in pairwise(chain):
            # model: nothing pairs with an instruction whose execution depends on an IT
            if before.address not in predicated and after.address not in predicated:
                cycles += timing.pair(before, after)
        taken = 0
        if last.kind in CONDITIONAL and last.address not in predicated:
            taken = timing.cost(last, taken=True) - timing.cost(last)
        code_words = (address + size + 3) // 4 - address // 4
        loads = sum(i.n for i in insns if i.kind in ("ldr", "ldrd", "ldm", "ldm_pc", "ldr_pc", "vldr", "vldm", "tbb"))
        notes = frozenset(note for note in map(timing.note, insns) if note)
        return _Block(len(plain), special, cycles, taken, code_words + loads, notes)
