"""Run firmware and say what it cost: memory map, semihosting, faults, stack height, cycles by layer and by function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unicorn import arm_const as arm

from . import scan
from ._core import Engine
from .account import Counts, Ledger, Totals
from .decode import Decoder
from .elf import Image, load
from .errors import ElfError, EmuError, Fault
from .semihost import Semihost
from .timing import Timing
from .timing import load as load_timing

CORES = {
    "cortex-m0": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m0plus": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
}
"""Unicorn's model of each core; it has no M0+, whose instructions are those of the M0."""
_WITH_FPU = ("cortex-m4", "cortex-m7", "cortex-m33")

_PAGE = 4096
_READ, _WRITE, _EXECUTE = 1, 2, 4
_PAINT = 0xA5
_REGISTERS = {f"r{i}": arm.UC_ARM_REG_R0 + i for i in range(13)} | {
    "sp": arm.UC_ARM_REG_SP,
    "lr": arm.UC_ARM_REG_LR,
    "pc": arm.UC_ARM_REG_PC,
    "xpsr": arm.UC_ARM_REG_XPSR,
}
_ACCESS = {
    19: "read of unmapped memory",
    20: "write to unmapped memory",
    21: "execution of unmapped memory",
    22: "write to read-only memory",
    23: "read of protected memory",
    24: "execution of data",
}
_BKPT, _SVC = 7, 2
_THUMB = 1 << 24
_WFI = (b"\x30\xbf", b"\xaf\xf3\x03\x80")
_HINTS = (b"\x10\xbf", b"\xaf\xf3\x01\x80", b"\x20\xbf", b"\xaf\xf3\x02\x80", *_WFI)
"""YIELD, WFE, WFI, each of 16 and of 32 bits: Unicorn stops behind them, with an error for the first two."""


@dataclass(frozen=True)
class Region:
    """A memory of the device: flash cannot be written by the firmware."""

    name: str
    base: int
    size: int
    kind: str = "ram"
    wait_states: int = 0


@dataclass
class Layer:
    """What one bank cost: a layer's function together with all that it called and that is no bank itself."""

    symbol: str
    cycles: int
    instructions: int
    calls: int


@dataclass
class RunResult:
    """One run.

    ``cycles`` and ``instructions`` are those of ``count`` (entry to return, over all its calls) when it was given.
    """

    exit: int | None
    cycles: int
    instructions: int
    layers: list[Layer]
    console: str
    files: dict[str, bytes]
    stack_high: int | None
    """Bytes of the stack that were touched, None when the ELF has no __stack_limit and __stack_top."""
    cycles_bounds: tuple[int, int]
    """Cycles with no wait state, and with the flash's wait states paid for every word fetched or loaded."""
    timing: str
    tier: str
    calls: int
    total_instructions: int
    """Instructions of the whole run, with those that an IT skipped."""
    functions: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Exclusive (cycles, instructions) by function."""
    fault: Fault | None = None
    notes: list[str] = field(default_factory=list)


class Machine:
    """A device with firmware in it.

    ``regions`` default to 16 MiB of flash at the ELF's lowest address and RAM at 0x20000000.  ``count`` names the
    function whose execution is counted (everything when it is None); ``banks`` name functions within it that get rows
    of their own.  ``counting`` off runs the bare engine, for comparison.
    """

    _peripherals: tuple[Region, ...] = (
        Region("system control space", 0xE000E000, _PAGE),
        Region("debug watchpoint and trace", 0xE0001000, _PAGE),
    )

    def __init__(
        self,
        elf: str | Path | bytes | Image,
        core: str = "cortex-m0plus",
        fpu: bool = False,
        timing: str | Timing | None = None,
        regions: Sequence[Region] | None = None,
        banks: Sequence[str] = (),
        count: str | None = None,
        counting: bool = True,
    ) -> None:
        if core not in CORES:
            raise EmuError(f"no core {core} (there are: {', '.join(CORES)})")
        if fpu and core not in _WITH_FPU:
            raise EmuError(f"{core} has no FPU")
        self.image = elf if isinstance(elf, Image) else load(elf)
        self.core, self.banks, self.count, self.counting = core, list(banks), count, counting
        self.fpu, self.guard_stack = fpu, True
        self.timing = timing if isinstance(timing, Timing) else load_timing(timing or core)
        self.regions = list(regions) if regions else _default_regions(self.image)
        self._decoder: Decoder | None = None
        self._ledger: Ledger | None = None
        bad = scan.missing(self.image, core, fpu)
        if bad:
            raise self._explain(Fault(f"{core} does not have {bad[1]}", bad[0], self.image.nearest(bad[0])))
        self._engine = Engine(CORES[core], sum(len(s.data) for s in self.image.segments if s.executable))
        self._map()
        self._arm()
        self.reset()

    # setting up -----------------------------------------------------------------------------------------------------

    def _map(self) -> None:
        taken: list[tuple[int, int]] = []
        code_in_ram = {
            r.name
            for r in self.regions
            if r.kind != "flash"
            and any(s.executable and r.base <= s.vaddr < r.base + r.size for s in self.image.segments)
        }
        for region in (*self.regions, *self._peripherals):
            base, end = region.base // _PAGE * _PAGE, -(-(region.base + region.size) // _PAGE) * _PAGE
            if base < 0 or not 0 < end - base < 1 << 32 or end > 1 << 32 or any(base < e and b < end for b, e in taken):
                raise EmuError(f"region {region.name} is empty, too large, or shares a 4 KiB page with another")
            if region.wait_states < 0:
                raise EmuError(f"region {region.name} has {region.wait_states} wait states")
            taken.append((base, end))
            perms = _READ | (
                _EXECUTE if region.kind == "flash" else _WRITE | (_EXECUTE if region.name in code_in_ram else 0)
            )
            self._engine.map(base, end - base, perms)
        for segment in self.image.segments:
            if not self._inside(segment.vaddr, segment.memsz):
                raise EmuError(
                    f"the ELF needs {segment.memsz} bytes at 0x{segment.vaddr:08x}, outside of the device's memories"
                )

    def _inside(self, address: int, size: int) -> bool:
        return any(r.base <= address and address + size <= r.base + r.size for r in self.regions)

    def _address(self, name: str) -> int:
        symbol = self.image.symbol(name)
        if symbol is None:
            raise EmuError(f"the ELF has no symbol {name}")
        return symbol.address

    def _arm(self) -> None:
        code = [s for s in self.image.segments if s.executable and s.data]
        if not 1 <= len(code) <= 16:
            raise ElfError(f"the ELF has {len(code)} segments of code, not between 1 and 16")
        windows = [(s.vaddr & ~1, min(len(s.data) + 1 & ~1, s.memsz + 1 & ~1)) for s in code]
        names = ([self.count] if self.count else []) + self.banks
        self._names = [None, *names]
        entries = [(self._address(name), i + 1) for i, name in enumerate(names)]
        if len({address for address, _ in entries}) != len(entries):
            raise EmuError("two banks begin at one address")
        # without a function to count, banks are tracked wherever they run: each may be the outermost
        self._engine.arm(windows, len(self._names), entries, 1 if self.count else 0xFFFFFFFF, self.counting)
        self._windows = windows

    def reset(self) -> None:
        """Memory and registers as after power-up; translated and decoded blocks stay, counts go to zero."""
        for region in self.regions:
            if region.kind != "flash":
                self._engine.fill(region.base, region.size, 0)
        for segment in self.image.segments:
            where = segment.paddr if self._inside(segment.paddr, len(segment.data)) else segment.vaddr
            self._engine.write(where, segment.data)
        limit, top = self.image.symbol("__stack_limit"), self.image.symbol("__stack_top")
        self._stack = None
        if limit and top and limit.address < top.address and self._inside(limit.address, top.address - limit.address):
            self._stack = limit.address, top.address - limit.address
            self._engine.fill(*self._stack, _PAINT)
        self._engine.rewind()
        self._engine.clear()
        self._spent = 0

    def _start(self) -> tuple[int, int]:
        """Initial stack pointer and program counter: from the vector table, or from the ELF's entry where there is
        none.
        """
        base = min(s.vaddr for s in self.image.segments)
        vectors = self._engine.read(base, 8)
        sp, pc = int.from_bytes(vectors[:4], "little"), int.from_bytes(vectors[4:], "little")
        if pc & 1 and any(lo <= pc < lo + size for lo, size in self._windows) and self._inside(sp - 4, 4):
            return sp, pc & ~1
        ram = next((r for r in self.regions if r.kind != "flash"), None)
        if ram is None:
            raise EmuError("the device has no RAM")
        return min(ram.base + ram.size, 0xFFFFFFF8) & ~7, self.image.entry

    def count_by_instruction_hooks(self) -> None:
        """Call a native function for each instruction, for comparison; for machines made without ``counting``."""
        self._engine.hook_each()

    def hook_blocks_idly(self) -> None:
        """Call a native function that does nothing for each block, for comparison; for machines made without
        ``counting``.
        """
        self._engine.hook_blocks()

    def blocks_run(self) -> int:
        """How many blocks the last run counted."""
        return sum(row[3] for row in self._engine.counts())

    # running --------------------------------------------------------------------------------------------------------

    def run(
        self,
        files: Mapping[str, bytes] | None = None,
        budget: int = 10**12,
        clock_hz: int = 1_000_000,
        check: bool = False,
    ) -> RunResult:
        """Reset and run until the firmware exits, faults, or has used ``budget`` instructions.

        ``files`` are what semihosting can open; the result's ``files`` are what is there afterwards.  ``check``
        raises the fault.
        """
        self.reset()
        host = Semihost({name: bytearray(data) for name, data in (files or {}).items()}, clock_hz=clock_hz)
        sp, pc = self._start()
        self._engine.set_reg(arm.UC_ARM_REG_SP, sp)
        self._engine.set_reg(arm.UC_ARM_REG_LR, 0xFFFFFFFF)
        fault = self._loop(pc, host, budget)
        if fault is None and self.guard_stack and self._stack:
            fault = self._overflow(self._stack, files, clock_hz)
        result = self._result(host, fault)
        if check and fault:
            raise fault
        return result

    def memory(self, address: int, size: int) -> bytes:
        """``size`` bytes of the device's memory as the last run left it."""
        return bytes(self._engine.read(address, size))

    def symbol_bytes(self, name: str) -> bytes:
        """Contents of a symbol, such as the arena, as the last run left it."""
        symbol = self.image.symbol(name)
        if symbol is None:
            raise EmuError(f"the ELF has no symbol {name}")
        return self.memory(symbol.address, symbol.size)

    def _loop(self, pc: int, host: Semihost, budget: int) -> Fault | None:
        engine, left = self._engine, budget
        while True:
            start = pc
            reason, text, left = engine.run(pc, left)
            self._spent = budget - max(left, 0)
            pc = engine.reg(arm.UC_ARM_REG_PC)
            if reason == "budget":
                return self._fault(f"the budget of {budget} instructions ran out", pc)
            if reason == "outside":
                return self._fault("execution left the firmware's code", engine.outside)
            kind, address, size = engine.bad_access
            if kind:
                what = _ACCESS.get(kind, f"bad memory access {kind}")
                return self._fault(f"{what} at 0x{address:08x} ({size} bytes)", pc, address)
            # a hint ends its block; what is undefined right behind one lies in the next block, which has begun by then
            hint = b""
            if reason == "error" and (pc == engine.end if engine.end != 1 else pc != start):
                hint = self._hint(pc)
            if hint:
                if hint in _WFI:
                    return self._fault("the firmware waits for an interrupt that never comes (WFI)", pc - len(hint))
                continue
            if reason != "interrupt":
                return self._fault(self._undefined(text) if text else "the engine stopped", pc)
            if engine.intno == _BKPT and self._engine.read(pc, 2) == b"\xab\xbe":
                fault = self._semihost(host, pc, self._spent)
                if fault or host.exit is not None:
                    return fault
                pc += 2
                continue
            return self._fault(_exception(engine.intno, self._engine.read(pc, 2) if engine.intno == _BKPT else b""), pc)

    def _undefined(self, text: str) -> str:
        if not self._engine.reg(arm.UC_ARM_REG_XPSR) & _THUMB:
            return "jump to an even address: Cortex-M has no Arm instructions"
        return f"undefined instruction ({text})" if text else "undefined instruction"

    def _hint(self, end: int) -> bytes:
        """The code of the YIELD, WFE or WFI that ends at ``end``; empty where there is none."""
        return next((code for code in _HINTS if self._code(end - len(code), len(code)) == code), b"")

    def _semihost(self, host: Semihost, pc: int, elapsed: int) -> Fault | None:
        """Serve one call of semihosting; ``elapsed`` is what its clock shows."""
        engine = self._engine
        try:
            answer = host.call(
                engine.reg(arm.UC_ARM_REG_R0), engine.reg(arm.UC_ARM_REG_R0 + 1), self._read, self._write, elapsed
            )
        except IndexError as error:
            return self._fault(f"semihosting was given a bad pointer: {error}", pc)
        except EmuError as error:
            return self._fault(str(error), pc)
        if host.exit is None:
            engine.set_reg(arm.UC_ARM_REG_R0, answer)
        return None

    def _read(self, address: int, size: int) -> bytes:
        return bytes(self._engine.read(address, size))

    def _write(self, address: int, data: bytes) -> None:
        if any(r.kind == "flash" and r.base <= address < r.base + r.size for r in self.regions):
            raise IndexError(f"0x{address:08x} is flash")
        self._engine.write(address, data)

    def _fault(self, reason: str, pc: int, address: int | None = None) -> Fault:
        registers = {name: self._engine.reg(number) for name, number in _REGISTERS.items()}
        return self._explain(Fault(reason, pc, self.image.nearest(pc), registers), address)

    def _overflow(self, stack: tuple[int, int], files: Mapping[str, bytes] | None, clock_hz: int) -> Fault | None:
        """The fault of a stack that grew into the memory below it; looked for when an eighth or less is untouched."""
        left = self._engine.untouched(*stack, _PAINT)
        if not self.counting or left > stack[1] // 8 or not self._inside(stack[0] - 1, 1):
            return None
        from . import faults, trace

        found = trace.stack_below(self, stack[0], files, clock_hz)
        return self._explain(faults.overflow(self.image, stack, *found)) if found else None

    def _explain(self, fault: Fault, address: int | None = None) -> Fault:
        from . import faults  # with the debug information: only when it is needed

        return faults.explain(fault, self.image, self.regions, self._read, address)

    # reckoning ------------------------------------------------------------------------------------------------------

    def _code(self, address: int, size: int) -> bytes:
        for lo, length in self._windows:
            if lo <= address < lo + length:
                return bytes(self._engine.read(address, min(size, lo + length - address)))
        return b""

    def _result(self, host: Semihost, fault: Fault | None) -> RunResult:
        engine, timing = self._engine, self.timing
        stack = self._stack[1] - engine.untouched(*self._stack, _PAINT) if self._stack else None
        totals = Totals([0] * len(self._names), [0] * len(self._names), [0] * len(self._names), {}, [])
        calls = engine.calls()
        if self.counting:
            self._decoder = self._decoder or Decoder()
            if self._ledger is None or self._ledger.timing is not timing:
                self._ledger = Ledger(len(self._names), timing, self._decoder, self._code)
            counts = Counts(engine.counts(), engine.executed(), engine.quotients())
            try:
                totals = self._ledger.tally(counts)
            except EmuError as error:
                if fault is None:
                    raise
                totals.notes.append(str(error))  # the fault comes first: what ran into it may have no timing
        first = 1 if self.count else 0
        cycles, instructions = sum(totals.cycles[first:]), sum(totals.instructions[first:])
        functions: dict[str, tuple[int, int]] = {}
        for (bank, address), (spent, ran) in totals.places.items():
            if bank >= first:
                name = self.image.function_at(address)
                was = functions.get(name, (0, 0))
                functions[name] = was[0] + spent, was[1] + ran
        waits = max((r.wait_states for r in self.regions if r.kind == "flash"), default=0)
        layers = [
            Layer(name, totals.cycles[i], totals.instructions[i], calls[i])
            for i, name in enumerate(self._names)
            if name and i > bool(self.count)
        ]
        return RunResult(
            exit=host.exit,
            cycles=cycles,
            instructions=instructions,
            layers=layers,
            console=host.console.decode("utf-8", "replace"),
            files={n: bytes(d) for n, d in host.files.items()},
            stack_high=stack,
            cycles_bounds=(cycles, cycles + waits * sum(totals.words[first:])),
            timing=timing.name,
            tier=timing.tier,
            calls=calls[1] if self.count else 0,
            total_instructions=self._spent,
            functions=dict(sorted(functions.items(), key=lambda item: -item[1][0])),
            fault=fault,
            notes=totals.notes,
        )


def _exception(number: int, code: bytes) -> str:
    if number == _SVC:
        return "SVC without an operating system to serve it"
    if number == _BKPT:
        return f"breakpoint {code[0]}" if code else "breakpoint"
    return {1: "undefined instruction", 3: "instruction fetch failed", 4: "unaligned access"}.get(
        number, f"exception {number}"
    )


def _default_regions(image: Image) -> list[Region]:
    low = min(s.vaddr for s in image.segments) // _PAGE * _PAGE
    ram = [s for s in image.segments if s.vaddr >= 0x20000000]
    base = min((s.vaddr for s in ram), default=0x20000000) // 0x100000 * 0x100000
    if low >= 0x20000000:
        raise EmuError("the ELF has no flash: give its regions")
    room = min(16 << 20, (1 << 32) - base)
    return [Region("flash", low, min(16 << 20, 0x20000000 - low), "flash"), Region("ram", base, room)]


def parse_regions(rows: Iterable[Mapping[str, object]]) -> list[Region]:
    """Regions from rows with name, base, size, kind and wait_states."""
    return [
        Region(
            str(r["name"]),
            int(str(r["base"]), 0),
            int(str(r["size"]), 0),
            str(r.get("kind", "ram")),
            int(str(r.get("wait_states", 0))),
        )
        for r in rows
    ]
