"""Transmit registers of the UARTs that firmware prints with: what is written there is the firmware's console.

Nothing is received, and a character is sent at once.  Other registers of the block keep what is written to them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

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
    """(kind, base) of ``KIND@ADDRESS``, or of the table ``[uart]`` (``kind``, ``base``) in a board's TOML file."""
    kind, at, address = text.partition("@")
    try:
        if text.endswith(".toml"):
            row = tomllib.loads(Path(text).read_text(encoding="utf-8"))["uart"]
            kind, base = row["kind"], row["base"]
        else:
            base = int(address, 0) if at else None
        if kind not in KINDS or not isinstance(base, int) or not 0 <= base < 1 << 32:
            raise ValueError
    except OSError as error:
        raise EmuError(f"{text}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise EmuError(f"{text!r} is no UART: KIND@ADDRESS, or a TOML file whose table uart has kind and base; "
                       f"the kinds are {', '.join(KINDS)}") from None
    return kind, base
