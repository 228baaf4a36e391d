"""A trace of every executed instruction by a Python hook: which function ran when, for tests of banks.

Its cycles are those of ARMv6-M, written once more from table 3-1 of DDI 0484C; :mod:`emu.slow` is the whole reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import unicorn
from unicorn import arm_const as arm

import emu
from emu.semihost import Semihost


@dataclass
class Trace:
    """What was executed, in order, and what the firmware wrote."""

    addresses: list[int] = field(default_factory=list)
    host: Semihost = field(default_factory=Semihost)
    code: dict[int, bytes] = field(default_factory=dict)
    memory: bytes = b""


def trace(elf: Path, core: str, files: dict[str, bytes] | None = None) -> Trace:
    """Run until the firmware exits through semihosting."""
    image = emu.load(elf)
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    uc.ctl_set_cpu_model(emu.CORES[core])
    uc.mem_map(0, 1 << 20)
    uc.mem_map(0x20000000, 1 << 16)
    uc.mem_map(0xE000E000, 1 << 12)
    for segment in image.segments:
        uc.mem_write(segment.paddr, segment.data)
    out = Trace(host=Semihost({name: bytearray(data) for name, data in (files or {}).items()}))

    def on_code(_uc, address, size, _user):
        out.addresses.append(address)
        if address not in out.code:
            out.code[address] = bytes(uc.mem_read(address, size))

    def on_interrupt(_uc, _number, _user):
        uc.emu_stop()

    uc.hook_add(unicorn.UC_HOOK_CODE, on_code)
    uc.hook_add(unicorn.UC_HOOK_INTR, on_interrupt)
    uc.reg_write(arm.UC_ARM_REG_SP, int.from_bytes(uc.mem_read(0, 4), "little"))
    pc = int.from_bytes(uc.mem_read(4, 4), "little")
    while True:
        uc.emu_start(pc | 1, 0xFFFFFFF0)
        pc = uc.reg_read(arm.UC_ARM_REG_PC)
        op, arg = uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_R1)
        answer = out.host.call(op, arg, lambda a, n: bytes(uc.mem_read(a, n)), uc.mem_write, 0)
        if out.host.exit is not None:
            out.memory = bytes(uc.mem_read(0, 1 << 20))
            return out
        uc.reg_write(arm.UC_ARM_REG_R0, answer)
        pc += 2


def m0plus_cycles(seen: Trace) -> int:
    """Cycles of a trace on the Cortex-M0+ with the 1-cycle multiplier: DDI 0484C, table 3-1, by bit patterns."""
    total = 0
    after = [*seen.addresses[1:], None]
    for address, following in zip(seen.addresses, after, strict=True):
        code = seen.code[address]
        op = code[0] | code[1] << 8
        count = (op & 0xFF).bit_count()
        if len(code) == 4:
            total += 3                                          # BL, MRS, MSR and barriers all take 3
        elif op >> 12 == 0xD and op >> 8 & 15 < 14:
            total += 1 if following == address + 2 else 2       # B<cond>
        elif op >> 11 == 0x1C or op & 0xFF00 == 0x4700 or op & 0xFF87 in (0x4687, 0x4487):
            total += 2                                          # B; BX, BLX; MOV PC, ADD PC
        elif op >> 12 in (0x6, 0x7, 0x8, 0x9) or op >> 12 == 5 or op >> 11 == 9:
            total += 2                                          # loads and stores of all kinds
        elif op >> 12 == 0xC or op & 0xFE00 == 0xB400:
            total += 1 + count + (op >> 8 & 1 if op >> 12 == 0xB else 0)        # LDM, STM, PUSH
        elif op & 0xFE00 == 0xBC00:
            total += 3 + count + 1 if op & 0x100 else 1 + count                 # POP, with PC or without
        elif op >> 8 == 0xBE:
            total += 0
        else:
            total += 1
    return total
