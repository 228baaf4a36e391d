"""Registers of the system around the core, and which exceptions are pending and active.

What is modelled after the Armv6-M and Armv7-M manuals (DDI 0419, DDI 0403E): SysTick (both clock sources are the
core's), DWT_CTRL and CYCCNT (Armv7-M), ICSR, VTOR, SHPR, NVIC set, clear, pending and priority, PRIMASK, BASEPRI and
FAULTMASK, stacking of eight words or, where FPCA says so, of the FPU's too, EXC_RETURN, tail-chaining.  Faults take
HardFault; the finer ones of Armv7-M are told in CFSR only.  Late arrival and priority grouping are not modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ENTRY = {"cortex-m0": 16, "cortex-m0plus": 15, "cortex-m3": 12, "cortex-m4": 12, "cortex-m33": 12, "cortex-m7": 12}
"""Cycles from the interrupt to the handler's first instruction, at zero wait states: DDI 0432C 3.5, DDI 0484C 3.6,
DDI 0337 and DDI 0439B 3.9."""
EXIT = {"cortex-m0": 12, "cortex-m0plus": 11, "cortex-m3": 11, "cortex-m4": 11, "cortex-m33": 11, "cortex-m7": 11}
"""Cycles of unstacking; the manuals leave it open: as POP of eight words with PC."""
TAIL = 6
"""Tail-chaining on Armv7-M: DDI 0337 and DDI 0439B 3.9."""
CPUID = {"cortex-m0": 0x410CC200, "cortex-m0plus": 0x410CC601, "cortex-m3": 0x412FC231, "cortex-m4": 0x410FC241,
         "cortex-m33": 0x410FD213, "cortex-m7": 0x411FC272}
NEVER = (1 << 64) - 1
NMI, HARD, SVCALL, PENDSV, SYSTICK = 2, 3, 11, 14, 15
SCS, DWT, ITM = 0xE000E000, 0xE0001000, 0xE0000000


class ResetRequest(Exception):
    """The firmware has written SYSRESETREQ."""


class System:
    """Registers of the system control space, and which exceptions are pending and active."""

    def __init__(self, core: str, clock: Any, vectors: int) -> None:
        self.core, self.clock, self.v6 = core, clock, core in ("cortex-m0", "cortex-m0plus")
        self._vectors = vectors
        self._bits = 0xC0 if self.v6 else 0xF0
        self.restart()

    def restart(self) -> None:
        """As after reset."""
        self.pending: set[int] = set()
        self.active: list[int] = []
        self.enabled: set[int] = set()
        self.priority: dict[int, int] = {}
        self.vtor = self._vectors
        self._kept: dict[int, int] = {}
        self._csr = self._rvr = self._stopped_at = 0
        self._zero_at = NEVER
        self._flag = False
        self._cyccnt_base, self._cyccnt = 0, 0

    # SysTick --------------------------------------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Let SysTick run up to ``now``."""
        if self._csr & 1 and now >= self._zero_at and self._rvr:
            times = (now - self._zero_at) // (self._rvr + 1) + 1
            self._zero_at += times * (self._rvr + 1)
            self._flag = True
            if self._csr & 2:
                self.pending.add(SYSTICK)

    def alarm(self) -> int:
        """The cycle at which SysTick will next want the handler."""
        return self._zero_at if self._csr & 3 == 3 and self._rvr else NEVER

    def _value(self, now: int) -> int:
        if not self._csr & 1:
            return self._stopped_at
        left = self._zero_at - now
        return left if 0 <= left <= self._rvr else 0

    def _tick_write(self, offset: int, value: int, now: int) -> None:
        if offset == 0x10:
            was, self._csr = self._csr, value & 7
            if value & 1 and not was & 1:
                self._zero_at = now + (self._stopped_at or 1 + self._rvr) if self._rvr else NEVER
            elif was & 1 and not value & 1:
                left = self._zero_at - now
                self._stopped_at = left if 0 <= left <= self._rvr else 0
        elif offset == 0x14:
            fresh, self._rvr = self._rvr == 0, value & 0xFFFFFF
            if self._csr & 1 and fresh and self._rvr:
                self._zero_at = now + 1 + self._rvr
        elif offset == 0x18:  # any write clears
            self._flag, self._stopped_at = False, 0
            if self._csr & 1 and self._rvr:
                self._zero_at = now + 1 + self._rvr

    # registers ------------------------------------------------------------------------------------------------------

    def read(self, address: int, size: int) -> int:
        """Value of a register in the system control space."""
        return self._word(address & 0xFFC) >> 8 * (address & 3)

    def _word(self, offset: int) -> int:
        now = self.clock.began
        self.advance(now)
        if offset == 0x10:
            value = self._csr | self._flag << 16
            self._flag = False
            return value
        if offset in (0x14, 0x18):
            return self._rvr if offset == 0x14 else self._value(now)
        if offset == 0x1C:
            return 0x80000000  # no reference clock
        if 0x100 <= offset < 0x300:
            held = self.enabled if offset < 0x200 else self.pending
            first = 16 + 8 * (offset & 0x7F)
            return sum(1 << i for i in range(32) if first + i in held)
        if 0x400 <= offset < 0x500 or 0xD18 <= offset <= 0xD20:
            first = 16 + offset - 0x400 if offset < 0x500 else 4 + offset - 0xD18
            return sum(self.priority.get(first + i, 0) << 8 * i for i in range(4))
        if offset == 0xD00:
            return CPUID[self.core]
        if offset == 0xD04:
            top = min(self.pending, key=self.level, default=0)
            return ((self.active[-1] if self.active else 0) | top << 12 | (SYSTICK in self.pending) << 26
                    | (PENDSV in self.pending) << 28 | (NMI in self.pending) << 31
                    | any(n >= 16 for n in self.pending) << 22)
        if offset == 0xD08:
            return self.vtor
        if offset == 0xD0C:
            return 0xFA050000
        if offset == 0xD14:
            return self._kept.get(offset, 0x208 if self.v6 else 0x200)
        return self._kept.get(offset, 0)

    def write(self, address: int, size: int, value: int) -> None:
        """Write a register in the system control space."""
        offset, now = address & 0xFFF, self.clock.began
        self.advance(now)
        if 0x10 <= offset < 0x20:
            self._tick_write(offset, value, now)
        elif 0x100 <= offset < 0x300:
            held = self.enabled if offset < 0x200 else self.pending
            numbers = {16 + 8 * (offset & 0x7F) + i for i in range(8 * size) if value >> i & 1}
            if offset & 0x80:
                held -= numbers
            else:
                held |= numbers
        elif 0x400 <= offset < 0x500 or 0xD18 <= offset < 0xD24:
            first = 16 + offset - 0x400 if offset < 0x500 else 4 + offset - 0xD18
            for i in range(size):
                self.priority[first + i] = value >> 8 * i & self._bits
        elif offset == 0xD04:
            for bit, number in ((31, NMI), (28, PENDSV), (26, SYSTICK)):
                if value >> bit & 1:
                    self.pending.add(number)
            for bit, number in ((27, PENDSV), (25, SYSTICK)):
                if value >> bit & 1:
                    self.pending.discard(number)
        elif offset == 0xD08:
            self.vtor = value & 0xFFFFFF80
        elif offset == 0xD0C:
            if value >> 16 == 0x05FA and value & 4:
                raise ResetRequest
        elif offset == 0xF00 and not self.v6:
            self.pending.add(16 + (value & 0x1FF))
        elif offset == 0xDFC:
            self._cycles_on(now, lambda: self._kept.__setitem__(0xDFC, value))
        elif offset in (0xD28, 0xD2C):
            self._kept[offset] = self._kept.get(offset, 0) & ~value
        else:
            word = self._kept.get(offset & ~3, 0) if size < 4 else 0
            mask = ((1 << 8 * size) - 1) << 8 * (offset & 3)
            self._kept[offset & ~3] = word & ~mask | value << 8 * (offset & 3) & mask
        self.clock.look()

    # the cycle counter ----------------------------------------------------------------------------------------------

    def _counting(self) -> bool:
        return not self.v6 and bool(self._kept.get(0xDFC, 0) >> 24 & 1 and self._kept.get(-1, 0) & 1)

    def _cycles_on(self, now: int, change: Callable[[], None]) -> None:
        if self._counting():
            self._cyccnt = now - self._cyccnt_base
        change()
        self._cyccnt_base = now - self._cyccnt

    def dwt_read(self, address: int, size: int) -> int:
        """Value of a register of the data watchpoint and trace unit."""
        offset = address & 0xFFC
        if offset == 0:
            return 0x0F000000 if self.v6 else 0x40000000 | self._kept.get(-1, 0)
        if offset == 4 and not self.v6:
            return (self.clock.began - self._cyccnt_base if self._counting() else self._cyccnt) & 0xFFFFFFFF
        return 0

    def dwt_write(self, address: int, size: int, value: int) -> None:
        """Write DWT_CTRL or CYCCNT."""
        offset, now = address & 0xFFC, self.clock.began
        if offset == 0:
            self._cycles_on(now, lambda: self._kept.__setitem__(-1, value & 0x0FFFFFFF))
        elif offset == 4:
            self._cyccnt, self._cyccnt_base = value, now - value

    # exceptions -----------------------------------------------------------------------------------------------------

    def level(self, number: int) -> int:
        """Priority of an exception; lower is more urgent, and equal ones go by their number."""
        fixed = {NMI: -2, HARD: -1}
        return fixed.get(number, self.priority.get(number, 0)) * 512 + number

    def next(self, mask: int) -> int:
        """The most urgent exception that may be taken now, 0 when there is none; ``mask``: the boosted priority."""
        able = [n for n in self.pending if n < 16 or n in self.enabled]
        if not able:
            return 0
        best = min(able, key=self.level)
        limit = min([mask, *(self.level(n) // 512 for n in self.active)])
        return best if self.level(best) // 512 < limit else 0

    @property
    def hard(self) -> bool:
        """Whether HardFault or NMI is active: a fault now is the end."""
        return any(n in (NMI, HARD) for n in self.active)

    def tell(self, kind: int, address: int) -> None:
        """Note a fault in HFSR and, on Armv7-M, in CFSR."""
        if not self.v6:
            self._kept[0xD2C] = 0x40000000
            self._kept[0xD28] = {0: 1 << 16, 19: 0x8200, 20: 0x8200, 21: 0x100, 22: 0x8200, 24: 1}.get(kind, 0)
            self._kept[0xD38] = address
