"""A second opinion that steps: every executed instruction is seen by a Python hook, with no blocks, edges or sites.

For ARMv6-M it has a decoder and a timing of its own, written from table 3-1 of DDI 0484C and importing nothing of the
fast path.  For ARMv7-M it uses the timing's rules, and checks how the fast path applies them over blocks and IT.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import unicorn
from unicorn import arm_const as arm

import emu
from emu.decode import Decoder, Insn
from emu.semihost import Semihost


@dataclass
class Trace:
    """What was executed, in order, and what the firmware wrote."""

    addresses: list[int] = field(default_factory=list)
    host: Semihost = field(default_factory=Semihost)
    code: dict[int, bytes] = field(default_factory=dict)
    memory: bytes = b""
    quotients: dict[int, int] = field(default_factory=dict)
    """Width in bits of the quotient of the division that stands at this index of ``addresses``."""


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
        code = out.code[address]
        if size == 4 and code[1] == 0xFB and code[0] & 0xD0 == 0x90 and code[2] & 0xF0 == 0xF0:
            n, d = (uc.reg_read(arm.UC_ARM_REG_R0 + r) for r in (code[0] & 15, code[2] & 15))
            if not code[0] & 0x20:
                n, d = (abs(v - (v >> 31 << 32)) for v in (n, d))
            out.quotients[len(out.addresses) - 1] = 0 if d == 0 or n < d else n.bit_length() - d.bit_length() + 1

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


def rule_cycles(seen: Trace, timing: emu.Timing) -> int:
    """Cycles of a trace by the rules of ``timing``, one instruction after the other."""
    decoder = Decoder()
    insns = {a: decoder.block(a, code)[0] for a, code in seen.code.items()}
    total = 0
    waiting: list[int] = []             # addresses that the IT under way predicates
    before: Insn | None = None
    for i, address in enumerate(seen.addresses):
        insn = insns[address]
        while waiting and waiting[0] != address:
            waiting.pop(0)
            total += timing.skipped
            before = None
        predicated = bool(waiting)
        if predicated:
            waiting.pop(0)
        following = seen.addresses[i + 1] if i + 1 < len(seen.addresses) else None
        taken = predicated or (insn.kind in ("bcc", "cbz") and following != address + insn.size)
        total += timing.cost(insn, taken=taken, quotient=seen.quotients.get(i, 0))
        if before is not None and not predicated and before.address + before.size == address:
            total += timing.pair(before, insn)
        before = None if predicated else insn
        if insn.covers:
            at, waiting = address + insn.size, []
            for _ in range(insn.covers):
                waiting.append(at)
                at += 4 if seen.memory[at + 1] >> 3 >= 0x1D else 2
    return total
