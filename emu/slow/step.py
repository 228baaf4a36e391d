"""Step through firmware: each executed instruction is seen, priced and charged before the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import unicorn
from unicorn import arm_const as arm

from ..elf import Image, load
from ..semihost import Semihost
from .cycles import Price
from .decode import Op, decode

_MODEL = {
    "cortex-m0": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m0plus": arm.UC_CPU_ARM_CORTEX_M0,
    "thumbulator": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
}
_REGISTER = [arm.UC_ARM_REG_R0 + i for i in range(13)] + [arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR]
_PAGE = 4096
_BKPT = 7
_HINTS = (b"\x10\xbf", b"\x20\xbf", b"\xaf\xf3\x01\x80", b"\xaf\xf3\x02\x80")
"""YIELD and WFE, of 16 and of 32 bits: Unicorn stops behind them with an error, and is sent on."""


class SlowError(Exception):
    """The firmware did what the reference cannot follow, or ran out of its budget."""


@dataclass
class Row:
    """One bank: a function with all that it calls and that has no bank of its own."""

    symbol: str
    cycles: int = 0
    instructions: int = 0
    calls: int = 0


@dataclass
class SlowResult:
    """One run: ``cycles`` and ``instructions`` are those of ``count`` where it was given, else of everything."""

    exit: int | None
    cycles: int
    instructions: int
    layers: list[Row]
    calls: int
    console: str
    files: dict[str, bytes] = field(default_factory=dict)


class _Banks:
    """Who pays: a call of a bank's function pushes it, its return to the caller at the same stack height pops it."""

    def __init__(self, image: Image, count: str | None, names: Sequence[str]) -> None:
        rows = ([count] if count else []) + list(names)
        self.rows = [Row(""), *(Row(name) for name in rows)]
        self.entries: dict[int, int] = {}
        for i, name in enumerate(rows, start=1):
            symbol = image.symbol(name)
            if symbol is None:
                raise SlowError(f"the ELF has no symbol {name}")
            self.entries[symbol.address] = i
        self.counted = bool(count)
        self.frames: list[tuple[int, int, int]] = []        # bank, return address, stack pointer
        self.back = -1                                      # the return address that is awaited
        self.row = self.rows[0]

    def arrive(self, address: int, sp: int, lr: int) -> None:
        """Execution is at an entry or at the awaited return address."""
        while self.frames and self.frames[-1][1] == address and sp >= self.frames[-1][2]:
            self.frames.pop()
        bank = self.entries.get(address)
        if bank is not None and (self.frames or not self.counted or bank == 1):
            frame = bank, lr & ~1, sp
            if not self.frames or self.frames[-1] != frame:         # else: a loop back to the first instruction
                self.frames.append(frame)
                self.rows[bank].calls += 1
        self.back = self.frames[-1][1] if self.frames else -1
        self.row = self.rows[self.frames[-1][0] if self.frames else 0]


def _map(uc: unicorn.Uc, image: Image, regions: Sequence[tuple[int, int]] | None) -> None:
    low = min(s.vaddr for s in image.segments) // _PAGE * _PAGE
    if regions is None:
        regions = [(low, min(16 << 20, 0x20000000 - low)), (0x20000000, 16 << 20)]
    for base, size in [*regions, (0xE0001000, _PAGE), (0xE000E000, _PAGE)]:
        start = base // _PAGE * _PAGE
        uc.mem_map(start, -(-(base + size - start) // _PAGE) * _PAGE)
    for segment in image.segments:
        inside = any(b <= segment.paddr and segment.paddr + len(segment.data) <= b + n for b, n in regions)
        uc.mem_write(segment.paddr if inside else segment.vaddr, segment.data)


def run(
    elf: str | Path | bytes | Image,
    core: str,
    *,
    timing: str | None = None,
    parameters: Mapping[str, int] | None = None,
    files: Mapping[str, bytes] | None = None,
    count: str | None = None,
    banks: Sequence[str] = (),
    regions: Sequence[tuple[int, int]] | None = None,
    budget: int = 50_000_000,
) -> SlowResult:
    """Run until the firmware exits through semihosting; the arguments are those of :class:`emu.Machine`.

    ``regions`` are (base, size) of memories.  ``timing`` is another core's table, ``parameters`` override its own.
    """
    image = elf if isinstance(elf, Image) else load(elf)
    price = Price(timing or core, **(parameters or {}))
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    uc.ctl_set_cpu_model(_MODEL[core])
    _map(uc, image, regions)
    host = Semihost({name: bytearray(data) for name, data in (files or {}).items()})
    owner = _Banks(image, count, banks)
    stepper = _Stepper(uc, price, owner, budget)
    interrupts: list[int] = []

    def on_interrupt(_uc: unicorn.Uc, number: int, _user: object) -> None:
        interrupts.append(number)
        uc.emu_stop()

    uc.hook_add(unicorn.UC_HOOK_CODE, stepper.hook())
    uc.hook_add(unicorn.UC_HOOK_INTR, on_interrupt)
    sp, pc = (int.from_bytes(uc.mem_read(min(s.vaddr for s in image.segments) + at, 4), "little") for at in (0, 4))
    uc.reg_write(arm.UC_ARM_REG_SP, sp)
    uc.reg_write(arm.UC_ARM_REG_LR, 0xFFFFFFFF)
    while host.exit is None:
        interrupts.clear()
        failed: unicorn.UcError | None = None
        try:
            uc.emu_start(pc | 1, 0xFFFFFFF0)
        except unicorn.UcError as error:
            failed = error
        if stepper.trouble:
            raise SlowError(stepper.trouble)
        pc = uc.reg_read(arm.UC_ARM_REG_PC)
        if failed and not interrupts and any(uc.mem_read(pc - len(code), len(code)) == code for code in _HINTS):
            continue
        if failed:
            raise SlowError(f"{failed} at 0x{pc:08x}")
        if interrupts != [_BKPT] or uc.mem_read(pc, 2) != b"\xab\xbe":
            raise SlowError(f"stopped at 0x{pc:08x} by {interrupts}")
        op, arg = uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_R1)
        answer = host.call(op, arg, lambda a, n: bytes(uc.mem_read(a, n)), uc.mem_write, 0)
        uc.reg_write(arm.UC_ARM_REG_R0, answer)
        pc += 2
    counted = owner.rows[1:] if count else owner.rows
    return SlowResult(
        exit=host.exit,
        cycles=sum(r.cycles for r in counted),
        instructions=sum(r.instructions for r in counted),
        layers=owner.rows[2 if count else 1 :],
        calls=owner.rows[1].calls if count else 0,
        console=host.console.decode("utf-8", "replace"),
        files={name: bytes(data) for name, data in host.files.items()},
    )


class _Stepper:
    """The state between two instructions."""

    def __init__(self, uc: unicorn.Uc, price: Price, owner: _Banks, budget: int) -> None:
        self.uc, self.price, self.owner, self.budget = uc, price, owner, budget
        self.trouble = ""
        self.known: dict[int, tuple[Op, int, int]] = {}     # instruction, cycles, cycles when taken

    def learn(self, address: int) -> tuple[Op, int, int] | None:
        """Decode and price what stands at ``address``."""
        code = bytes(self.uc.mem_read(address, 4))
        op = decode(code[0] | code[1] << 8, code[2] | code[3] << 8)
        cost = self.price.alone(op) if op else None
        taken = self.price.alone(op, taken=True) if op else None
        if op is None or cost is None or taken is None:
            self.trouble = f"0x{code.hex()} at 0x{address:08x} is no instruction of {self.price.core}"
            self.uc.emu_stop()
            return None
        found = self.known[address] = op, cost, taken
        return found

    def quotient(self, op: Op) -> int:
        """Bits of the quotient that is about to be computed, by the lengths of the operands."""
        n, d = (self.uc.reg_read(_REGISTER[r]) for r in (op.rn, op.rm))
        if op.signed:
            n, d = (abs(v - (v >> 31 << 32)) for v in (n, d))
        return n.bit_length() - d.bit_length() + 1 if 0 < d <= n else 0

    def hook(self) -> Callable[..., None]:
        """The function that Unicorn calls before each instruction whose condition holds."""
        known, owner, price, uc = self.known, self.owner, self.price, self.uc
        entries, skipped = owner.entries, price.skipped
        before: Op | None = None        # the instruction before, where this one could pair with it
        end = -1                        # where it ends
        extra = 0                       # what it costs more if it branches
        covered: list[int] = []         # addresses of the IT block still to come
        left = self.budget

        def on_code(_uc: unicorn.Uc, address: int, _size: int, _user: object) -> None:
            nonlocal before, end, extra, covered, left
            found = known.get(address) or self.learn(address)
            left -= 1
            if found is None or left < 0:
                self.trouble = self.trouble or f"the budget of {self.budget} instructions ran out"
                uc.emu_stop()
                return
            op, cost, taken = found
            if extra:
                if address != end:
                    owner.row.cycles += extra
                extra = 0
            inside = False
            if covered:
                while covered and covered[0] != address:
                    covered.pop(0)
                    owner.row.cycles += skipped
                    before = None
                if covered:
                    covered.pop(0)
                    inside = True
            if address == owner.back or address in entries:
                owner.arrive(address, uc.reg_read(arm.UC_ARM_REG_SP), uc.reg_read(arm.UC_ARM_REG_LR))
            row = owner.row
            row.instructions += 1
            if op.kind == "div":
                cost = taken = price.alone(op, quotient=self.quotient(op)) or 0
            if inside:
                row.cycles += taken
                before = None
            else:
                row.cycles += cost
                extra = taken - cost
                if before is not None and address == end:
                    row.cycles += price.behind(before, op)
                before = op
            end = address + op.size
            if op.covers:
                at = end
                covered = []
                for _ in range(op.covers):
                    covered.append(at)
                    at += 4 if uc.mem_read(at + 1, 1)[0] >> 3 >= 0b11101 else 2

        return on_code
