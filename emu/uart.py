"""Transmit registers of the UARTs that firmware prints with: what is written there is the firmware's console.

Nothing is received, and a character is sent at once.  Other registers of the block keep what is written to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import EmuError


@dataclass(frozen=True)
class Kind:
    """Where a UART's transmit register is, and what its status registers read as: ready, and nothing received."""

    transmit: int
    status: dict[int, int]
    manual: str


KINDS = {
    "cmsdk": Kind(0x00, {0x04: 0}, "Arm Cortex-M System Design Kit (DDI 0479), APB UART: DATA, STATE"),
    "stm32": Kind(0x28, {0x1C: 0xC0}, "STM32 reference manuals with ISR and TDR (RM0351, RM0444): TXE, TC"),
    "stm32f4": Kind(0x04, {0x00: 0xC0}, "STM32 reference manuals with SR and DR (RM0383, RM0008): TXE, TC"),
    "pl011": Kind(0x00, {0x18: 0x90}, "Arm PrimeCell UART PL011 (DDI 0183): DR, FR; RP2040 datasheet section 4.2"),
    "nrf": Kind(0x51C, {0x11C: 1}, "nRF52 product specification, UART: TXD, EVENTS_TXDRDY"),
}
BOARDS = {
    "mps2": ("cmsdk", 0x40004000),
    "nucleo-f411re": ("stm32f4", 0x40004400),
    "stm32f103": ("stm32f4", 0x40013800),
    "stm32l4r5zi": ("stm32", 0x40008000),
    "stm32g0b1": ("stm32", 0x40004400),
    "rp2040": ("pl011", 0x40034000),
}
"""The UART that a board's virtual serial port, or its usual console, is on."""


@dataclass
class Uart:
    """One UART's registers at ``base``; ``sent`` is what the firmware has transmitted."""

    kind: str
    base: int
    sent: bytearray = field(default_factory=bytearray)
    _kept: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise EmuError(f"no UART {self.kind} (there are: {', '.join(KINDS)})")

    def read(self, address: int, size: int) -> int:
        """The value of a register."""
        offset = address - self.base
        return KINDS[self.kind].status.get(offset & ~3, self._kept.get(offset & ~3, 0)) >> 8 * (offset & 3)

    def write(self, address: int, size: int, value: int) -> None:
        """Transmit, or keep a value."""
        offset = address - self.base
        if offset == KINDS[self.kind].transmit:
            self.sent.append(value & 0xFF)
        else:
            self._kept[offset & ~3] = value


def parse(text: str) -> tuple[str, int]:
    """(kind, base) of ``KIND@ADDRESS`` or of a board's name."""
    if text in BOARDS:
        return BOARDS[text]
    kind, at, address = text.partition("@")
    try:
        if not at or kind not in KINDS:
            raise ValueError
        return kind, int(address, 0)
    except ValueError:
        raise EmuError(f"a UART is KIND@ADDRESS with KIND one of {', '.join(KINDS)}, or a board: {', '.join(BOARDS)}"
                       ) from None
