"""The system around the core: SysTick, the cycle counter, exceptions with their stacking, and the UART.

:class:`LiveMachine` runs firmware that reads a clock or is interrupted, on the running total of
:class:`emu._core.Clock`; :class:`emu.system.System` holds its registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unicorn import arm_const as arm

from ._core import Clock
from .decode import CONDITIONAL, ENDS, Decoder, Insn
from .elf import Image
from .errors import EmuError, Fault
from .machine import _ACCESS, _BKPT, _SVC, _WFI, Layer, Machine, Region, RunResult, _exception
from .semihost import Semihost
from .system import DWT, ENTRY, EXIT, HARD, ITM, NEVER, NMI, SCS, SVCALL, TAIL, ResetRequest, System
from .timing import Timing
from .uart import Uart

_UNKNOWN, _DUE, _AT_BREAK = 1, 2, 3
_MAX_BANKS = 256
_MASKS, _DIVIDES, _SIGNED, _WITHIN_IT, _ENTERS = 4, 8, 16, 32, 64
_CORE = [arm.UC_ARM_REG_R0 + i for i in (0, 1, 2, 3)] + [arm.UC_ARM_REG_R12, arm.UC_ARM_REG_LR]


class LiveMachine(Machine):
    """A machine whose clocks run and whose exceptions are taken.

    ``uart``: (kind, base), see :mod:`emu.uart`; what it transmits is in the result's console.  Cycles are those of
    :class:`Machine` on programs that read no clock and are not interrupted.
    """

    _peripherals: tuple[Region, ...] = ()

    def __init__(
        self,
        elf: str | Path | bytes | Image,
        core: str = "cortex-m0plus",
        fpu: bool = False,
        timing: str | Timing | None = None,
        regions: Sequence[Region] | None = None,
        banks: Sequence[str] = (),
        count: str | None = None,
        uart: tuple[str, int] | None = None,
    ) -> None:
        self._clock: Any = None
        self.uart = Uart(*uart) if uart else None
        super().__init__(elf, core, fpu, timing, regions, banks, count, False)
        self.guard_stack = False
        if len(self._names) > _MAX_BANKS:
            raise EmuError(f"{len(self._names) - 1} functions have rows of their own: with clocks at most "
                           f"{_MAX_BANKS - 1}")
        names = {number: i for i, name in enumerate(self._names) if name for number in (self._address(name),)}
        self._entries = names
        cost = [self.timing.cost(Insn(0, 4, "div", "div"), quotient=q) if "div" in self.timing.rules else 0
                for q in range(33)]
        self._clock = Clock(self._engine, 1 if count else 0xFFFFFFFF, cost)
        self.system = System(core, self._clock, min(s.vaddr for s in self.image.segments))
        self._clock.map_io(SCS, 4096, self.system.read, self.system.write)
        self._clock.map_io(DWT, 4096, self.system.dwt_read, self.system.dwt_write)
        self._trace = bytearray()
        self._clock.map_io(ITM, 4096, lambda a, n: 1, lambda a, n, v: self._stimulus(a, n, v))
        if self.uart:
            self._clock.map_io(self.uart.base & ~0xFFF, 4096, self.uart.read, self.uart.write)
        self.reset()

    def _stimulus(self, address: int, size: int, value: int) -> None:
        if address == ITM:
            self._trace += value.to_bytes(4, "little")[:size]

    def reset(self) -> None:
        """As after power-up."""
        super().reset()
        if self._clock is not None:
            self._clock.rewind()
            self.system.restart()
            self._trace.clear()
            if self.uart:
                self.uart.sent.clear()
        self.reset_notes: list[str] = []

    # running --------------------------------------------------------------------------------------------------------

    def begin(self, files: dict[str, bytes] | None = None, clock_hz: int = 1_000_000) -> tuple[int, Semihost]:
        """Reset; the first instruction's address and the semihosting host."""
        self.reset()
        host = Semihost({name: bytearray(data) for name, data in (files or {}).items()}, clock_hz=clock_hz)
        sp, pc = self._start()
        self._engine.set_reg(arm.UC_ARM_REG_SP, sp)
        self._engine.set_reg(arm.UC_ARM_REG_LR, 0xFFFFFFFF)
        return pc, host

    def breakpoint(self, address: int, on: bool = True) -> None:
        """Have :meth:`proceed` stop before the instruction at ``address``, or no longer."""
        if not self._clock.breakpoint(address & ~1, on):
            raise EmuError(f"there is no code at 0x{address:08x}")

    def return_address(self) -> int:
        """Where the function that is being entered will return to."""
        return self._engine.reg(arm.UC_ARM_REG_LR) & ~1

    def _loop(self, pc: int, host: Semihost, budget: int) -> Fault | None:
        stop, _, fault = self.proceed(pc, host, budget)
        return self._fault(f"the budget of {budget} instructions ran out", _) if stop == "spent" else fault

    def proceed(self, pc: int, host: Semihost, limit: int, passing: bool = False) -> tuple[str, int, Fault | None]:
        """Run from ``pc`` until ``limit`` instructions in all: ("exit" | "fault" | "break" | "spent", pc, fault)."""
        clock, engine = self._clock, self._engine
        clock.set_limit(limit)
        clock.set_alarm(self.system.alarm())
        while True:
            before = clock.instructions
            try:
                reason, text, event = clock.run(pc, passing)
            except ResetRequest:
                return "fault", pc, self._fault("the firmware asked for a reset", clock.pc)
            passing = passing and clock.instructions == before
            self._spent = clock.instructions
            pc = engine.reg(arm.UC_ARM_REG_PC)
            if reason == "event":
                if event == _UNKNOWN:
                    self._learn(pc)
                elif event == _DUE:
                    pc = self._serve(pc)
                else:
                    return "break" if event == _AT_BREAK else "spent", pc, None
                continue
            if pc >= 0xFFFFFFE0 and self.system.active:
                pc = self._leave(pc | 1)
                continue
            kind, address, size = engine.bad_access
            if reason == "interrupt" and engine.intno == _SVC and not kind:
                pc = self._call(pc)
                continue
            if reason == "interrupt" and engine.intno == _BKPT and not kind and engine.read(pc, 2) == b"\xab\xbe":
                fault = self._semihost(host, pc, clock.now)
                if fault or host.exit is not None:
                    return "fault" if fault else "exit", pc, fault
                pc += 2
                continue
            hint = self._hint(pc) if reason == "error" and not kind and clock.instructions > before else b""
            if hint and pc - len(hint) == clock.pc:
                if hint in _WFI and not self._sleep():
                    why = "the firmware waits for an interrupt that never comes (WFI)"
                    return "fault", pc, self._fault(why, clock.pc)
                continue
            fault = self._why(reason, text, pc, kind, address, size)
            handler = self._handler()
            if handler is None or reason == "outside" or self.system.hard:
                return "fault", pc, fault
            self.reset_notes.append(f"HardFault: {fault.reason} at 0x{pc:08x}")
            self.system.tell(kind, address)
            pc = self._enter(HARD, pc)

    def _why(self, reason: str, text: str, pc: int, kind: int, address: int, size: int) -> Fault:
        engine = self._engine
        if reason == "outside":
            return self._fault("execution left the firmware's code", engine.outside)
        if kind:
            return self._fault(f"{_ACCESS.get(kind, f'bad memory access {kind}')} at 0x{address:08x} ({size} bytes)",
                               pc, address)
        if reason == "interrupt":
            return self._fault(_exception(engine.intno, engine.read(pc, 2) if engine.intno == _BKPT else b""), pc)
        return self._fault(self._undefined(text), pc)

    def _handler(self) -> int | None:
        """The firmware's HardFault handler, None when it has none or one that only waits."""
        try:
            vector = int.from_bytes(self._engine.read(self.system.vtor + 4 * HARD, 4), "little")
        except IndexError:
            return None
        code = self._code(vector & ~1, 2)
        return vector if vector & 1 and code and code != b"\xfe\xe7" else None

    # exceptions -----------------------------------------------------------------------------------------------------

    def _mask(self) -> int:
        reg = self._engine.reg
        if not self.system.v6:
            if reg(arm.UC_ARM_REG_FAULTMASK) & 1:
                return -1
            base = reg(arm.UC_ARM_REG_BASEPRI) & 0xFF
            if base and not reg(arm.UC_ARM_REG_PRIMASK) & 1:
                return base
        return 0 if reg(arm.UC_ARM_REG_PRIMASK) & 1 else 256

    def _serve(self, pc: int) -> int:
        clock, system = self._clock, self.system
        clock.look(False)
        system.advance(clock.now)
        clock.set_alarm(system.alarm())
        number = system.next(self._mask())
        return self._enter(number, pc) if number else pc

    def _call(self, pc: int) -> int:
        system = self.system
        system.pending.add(SVCALL)
        if system.next(self._mask()) == SVCALL:
            return self._enter(SVCALL, pc)
        system.pending.discard(SVCALL)  # not urgent enough: it escalates
        system.tell(0, 0)
        return self._enter(HARD, pc)

    def _sleep(self) -> bool:
        """WFI: on to the next time that SysTick fires; False when nothing will ever happen."""
        system, clock = self.system, self._clock
        system.advance(clock.now)
        if not any(n < 16 or n in system.enabled for n in system.pending):
            if system.alarm() == NEVER:
                return False
            clock.now = max(clock.now, system.alarm())
        clock.look()
        return True

    def _enter(self, number: int, pc: int) -> int:
        """Stack, and go to the handler."""
        engine, system = self._engine, self.system
        reg, put = engine.reg, engine.set_reg
        xpsr, control = reg(arm.UC_ARM_REG_XPSR) | 1 << 24, reg(arm.UC_ARM_REG_CONTROL)
        sp = reg(arm.UC_ARM_REG_SP)
        extended = self.fpu and bool(control & 4)
        top = sp - (0x68 if extended else 0x20)
        frame = top & ~7
        words = [reg(r) for r in _CORE] + [pc, xpsr & ~0x200 | (top & 4) << 7]
        if extended:
            words += [reg(arm.UC_ARM_REG_S0 + i) for i in range(16)] + [reg(arm.UC_ARM_REG_FPSCR), 0]
        try:
            self._write(frame, b"".join(w.to_bytes(4, "little") for w in words))
            vector = int.from_bytes(engine.read(system.vtor + 4 * number, 4), "little")
        except IndexError as error:
            raise self._fault(f"exception {number} cannot be taken: {error}", pc) from None
        if not vector & 1:
            raise self._fault(f"exception {number} has no handler: its vector is 0x{vector:08x}", pc)
        back = 0xFFFFFFF1 if xpsr & 0x1FF else 0xFFFFFFFD if control & 2 else 0xFFFFFFF9
        put(arm.UC_ARM_REG_SP, frame)
        put(arm.UC_ARM_REG_XPSR, xpsr & 0xF8000000 | 1 << 24 | number)
        if extended:
            put(arm.UC_ARM_REG_CONTROL, control & ~4)
        put(arm.UC_ARM_REG_LR, back & ~0x10 if extended else back)
        system.pending.discard(number)
        system.active.append(number)
        self._clock.jump(ENTRY[self.core])
        return vector & ~1

    def _leave(self, back: int) -> int:
        """Unstack, or go straight on to the next handler."""
        engine, system = self._engine, self.system
        reg, put = engine.reg, engine.set_reg
        left = system.active.pop()
        if left != NMI and not system.v6:
            put(arm.UC_ARM_REG_FAULTMASK, 0)
        system.advance(self._clock.now)
        number = 0 if system.v6 else system.next(self._mask())
        if number:
            vector = int.from_bytes(engine.read(system.vtor + 4 * number, 4), "little")
            put(arm.UC_ARM_REG_XPSR, reg(arm.UC_ARM_REG_XPSR) & 0xF8000000 | 1 << 24 | number)
            put(arm.UC_ARM_REG_LR, back)
            system.pending.discard(number)
            system.active.append(number)
            self._clock.jump(TAIL)
            self._clock.set_alarm(system.alarm())
            return vector & ~1
        frame = reg(arm.UC_ARM_REG_PSP if back & 4 else arm.UC_ARM_REG_MSP)
        extended = not back & 0x10
        size = 0x68 if extended else 0x20
        try:
            data = engine.read(frame, size)
        except IndexError as error:
            raise self._fault(f"return from exception {left}: {error}", back) from None
        words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, size, 4)]
        put(arm.UC_ARM_REG_XPSR, words[7] & ~0x200)
        if back & 8:
            control = reg(arm.UC_ARM_REG_CONTROL) & ~6
            put(arm.UC_ARM_REG_CONTROL, control | (2 if back & 4 else 0) | (4 if extended else 0))
        put(arm.UC_ARM_REG_SP, frame + size + (4 if words[7] & 0x200 else 0))
        for register, word in zip(_CORE, words, strict=False):
            put(register, word)
        if extended:
            for i in range(16):
                put(arm.UC_ARM_REG_S0 + i, words[8 + i])
            put(arm.UC_ARM_REG_FPSCR, words[24])
        self._clock.jump(EXIT[self.core])
        self._clock.look()
        return words[6] & ~1

    # costs ----------------------------------------------------------------------------------------------------------

    def _learn(self, pc: int) -> None:
        """Tell the clock what the instructions from ``pc`` to their block's end cost, as :mod:`emu.account` does."""
        decoder = self._decoder = self._decoder or Decoder()
        timing, clock, within, at = self.timing, self._clock, 0, pc
        insn = decoder.one(at, self._code(at, 4))
        if insn is None:
            raise self._fault("execution left the firmware's code", pc)
        while insn is not None and (within or not clock.known(at)):
            following = decoder.one(at + insn.size, self._code(at + insn.size, 4))
            taken = flags = rn = rm = 0
            division = insn.kind == "div"
            if division:
                word = self._code(at, 4)
                flags |= _DIVIDES | (_SIGNED if not word[0] & 0x20 else 0)
                rn, rm = word[0] & 15, word[2] & 15
            cost = 0 if division else timing.cost(insn, taken=bool(within))
            if within:
                cost -= timing.skipped  # which the IT has paid for
                flags |= _WITHIN_IT
            elif insn.kind in CONDITIONAL:
                taken = timing.cost(insn, taken=True) - cost
            cost += insn.covers * timing.skipped
            if insn.kind not in ENDS and not within and not insn.covers and following is not None:
                cost += timing.pair(insn, following)
            if insn.kind in ("cps", "msr"):
                flags |= _MASKS
            bank = self._entries.get(at, 0)
            clock.op(at, cost, taken, flags | (_ENTERS if bank else 0), rn, rm, bank)
            ends = insn.kind in ENDS and not within
            within = within - 1 if within else insn.covers
            at += insn.size
            insn = None if ends else following

    def _result(self, host: Semihost, fault: Fault | None) -> RunResult:
        clock, first = self._clock, 1 if self.count else 0
        result = super()._result(host, fault)
        banks = clock.banks(len(self._names))
        result.cycles = sum(row[0] for row in banks[first:])
        result.instructions = sum(row[1] for row in banks[first:])
        result.cycles_bounds = (result.cycles, result.cycles)
        result.layers = [Layer(name, *banks[i]) for i, name in enumerate(self._names) if name and i > bool(self.count)]
        result.calls = banks[1][2] if self.count else 0
        result.total_instructions = clock.instructions
        functions: dict[str, tuple[int, int]] = {}
        for address, times, cycles in clock.executed():
            name = self.image.function_at(address)
            was = functions.get(name, (0, 0))
            functions[name] = was[0] + cycles, was[1] + times
        result.functions = dict(sorted(functions.items(), key=lambda item: -item[1][0]))
        result.notes += self.reset_notes
        result.console += bytes(self._trace).decode("utf-8", "replace")
        if self.uart:
            result.console += self.uart.sent.decode("utf-8", "replace")
        return result


def needs_clock(machine: Machine, result: RunResult) -> bool:
    """Whether a run of the plain machine shows that the firmware uses SysTick, the cycle counter or exceptions."""
    if result.fault and ("SVC" in result.fault.reason or "WFI" in result.fault.reason):
        return True
    words = (SCS + 0x10, SCS + 0x14, SCS + 0xD04, SCS + 0xDFC, SCS + 0x100, DWT)
    return any(machine.memory(at, 4) != bytes(4) for at in words)
