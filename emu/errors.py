"""The errors of the emulator, each a sentence for the person who runs the firmware."""

from __future__ import annotations


class EmuError(Exception):
    """The emulator was asked for something it cannot do: an unknown core, timing, symbol or region."""


class ElfError(EmuError):
    """The ELF file is damaged, hostile, or not 32-bit little-endian Arm."""


class Fault(EmuError):
    """The firmware did something its core cannot: where it was (``pc``, ``symbol``) and what the registers held."""

    def __init__(self, reason: str, pc: int = 0, symbol: str = "", registers: dict[str, int] | None = None) -> None:
        self.reason, self.pc, self.symbol = reason, pc, symbol
        self.registers = dict(registers or {})
        where = f" at 0x{pc:08x}" + (f" in {symbol}" if symbol else "")
        super().__init__(reason + where)

    def report(self) -> str:
        """The sentence, and the registers below it."""
        rows = [f"  {name:4} 0x{value:08x}" for name, value in self.registers.items()]
        return "\n".join([str(self), *rows])
