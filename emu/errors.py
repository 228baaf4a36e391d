"""The errors of the emulator, each a sentence for the person who runs the firmware."""

from __future__ import annotations


class EmuError(Exception):
    """The emulator was asked for something it cannot do: an unknown core, timing, symbol or region."""


class ElfError(EmuError):
    """The ELF file is damaged, hostile, or not 32-bit little-endian Arm."""


class Fault(EmuError):
    """The firmware did something its core cannot: where it was (``pc``, ``symbol``, ``source`` as FILE:LINE), what the
    registers held, and the calls that led there (``backtrace``, a heuristic), innermost first.
    """

    def __init__(self, reason: str, pc: int = 0, symbol: str = "", registers: dict[str, int] | None = None) -> None:
        self.reason, self.pc, self.symbol = reason, pc, symbol
        self.registers = dict(registers or {})
        self.source = ""
        self.backtrace: list[str] = []
        self.hints: list[str] = []
        super().__init__(reason + f" at 0x{pc:08x}" + (f" in {symbol}" if symbol else ""))

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.source})" if self.source else super().__str__()

    def report(self) -> str:
        """The sentence, and below it what is known: hints, calls, registers."""
        rows = [str(self), *(f"  {hint}" for hint in self.hints)]
        if self.backtrace:
            rows.append("  called from (found by a scan of the stack, a heuristic):")
            rows += [f"    {row}" for row in self.backtrace]
        return "\n".join(rows + [f"  {name:4} 0x{value:08x}" for name, value in self.registers.items()])
