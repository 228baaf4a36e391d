"""Thumb and Thumb-2 by the encoding tables: what is needed to say how long an instruction takes.

Sections and tables are those of the ARMv7-M Architecture Reference Manual, Arm DDI 0403E, chapters A5 (integer) and A6
(floating point); ARMv6-M (DDI 0419) has a subset of them under the same encodings.
"""

from __future__ import annotations

from dataclasses import dataclass

SP, PC = 13, 15


@dataclass(frozen=True, slots=True)
class Op:
    """One instruction; sets of registers are bit masks (bit 13 is SP; for ``fp_*`` bit n is Sn)."""

    size: int
    kind: str
    n: int = 1
    """Words moved, by loads and stores of several; core registers moved, by VMOV."""
    to_pc: bool = False
    writes: int = 0
    """Core registers written, the updated base of a load included."""
    address: int = 0
    """Core registers that an address is made of."""
    fp_writes: int = 0
    fp_reads: int = 0
    covers: int = 0
    """Instructions that an IT makes conditional."""
    rn: int = 0
    rm: int = 0
    signed: bool = False


def decode(first: int, second: int) -> Op | None:
    """The instruction that begins with the halfword ``first``; ``second`` is the one behind it.  None: not known."""
    if first >> 11 < 0b11101:
        return _narrow(first)
    family = first >> 11 & 3                                            # A5.3, table A5-9
    if family == 1:
        if first & 0x0400:
            return _coprocessor(first, second)
        if first & 0x0200:
            return _data(first >> 5 & 15, first, second)
        return _dual(first, second) if first & 0x0040 else _multiple(first, second)
    if family == 2:
        if second & 0x8000:
            return _control(first, second)
        if first & 0x0200:
            return _plain_immediate(first, second)
        return _data(first >> 5 & 15, first, second)
    if first & 0x0400:
        return _coprocessor(first, second)
    if first & 0x0200:
        if first & 0x0100:
            return _multiply(first, second)
        return _data_register(first, second)
    return _single(first, second)


def _bits(register: int) -> int:
    """A register as a set; the program counter is never waited for and left out."""
    return 1 << register if register != PC else 0


def _alu(size: int, rd: int | None) -> Op:
    return Op(size, "alu", writes=0 if rd is None else _bits(rd))


# 16 bits: A5.2, table A5-1 ----------------------------------------------------------------------------------------


def _narrow(op: int) -> Op | None:
    low, high = op & 7, op >> 8 & 7
    group = op >> 11
    if group < 8:                                                       # shift, add, subtract, move, compare
        return _alu(2, low if group < 4 else None if group == 5 else high)
    if op >> 10 == 0b010000:                                            # data processing
        which = op >> 6 & 15
        if which == 13:
            return Op(2, "mul", writes=1 << low)
        return _alu(2, None if which in (8, 10, 11) else low)           # TST, CMP, CMN
    if op >> 10 == 0b010001:                                            # special data, branch and exchange
        which, rd = op >> 8 & 3, op >> 4 & 8 | low
        if which == 3:
            return Op(2, "blx" if op & 0x80 else "bx")
        if which == 1:
            return _alu(2, None)
        return Op(2, "mov_pc") if rd == PC else _alu(2, rd)
    if group == 9:                                                      # LDR (literal)
        return Op(2, "ldr", writes=1 << high)
    if op >> 12 == 5:                                                   # register offset
        address = 1 << (op >> 3 & 7) | 1 << (op >> 6 & 7)
        if op >> 9 & 7 < 3:
            return Op(2, "str_register", address=address)
        return Op(2, "ldr", writes=1 << low, address=address)
    if op >> 12 in (6, 7, 8):                                           # immediate offset
        return _immediate(op & 0x0800, low, 1 << (op >> 3 & 7))
    if op >> 12 == 9:                                                   # relative to SP
        return _immediate(op & 0x0800, high, 1 << SP)
    if op >> 12 == 10:                                                  # ADR, ADD (SP plus immediate)
        return _alu(2, high)
    if op >> 12 == 11:
        return _miscellaneous(op)
    if op >> 12 == 12:
        base = 1 << high
        return Op(2, "ldm" if op & 0x0800 else "stm", (op & 0xFF).bit_count(), address=base)
    if op >> 12 == 13:
        condition = op >> 8 & 15
        return Op(2, {14: "udf", 15: "svc"}.get(condition, "bcc"))
    return Op(2, "b") if group == 0b11100 else None


def _immediate(load: int, rt: int, address: int) -> Op:
    return Op(2, "ldr", writes=1 << rt, address=address) if load else Op(2, "str", address=address)


def _miscellaneous(op: int) -> Op | None:
    """A5.2.5, table A5-6."""
    which = op >> 8 & 15
    if which == 0:
        return _alu(2, SP)
    if which in (1, 3, 9, 11):
        return Op(2, "cbz")
    if which == 2:
        return _alu(2, op & 7)                                          # SXTH SXTB UXTH UXTB
    if which in (4, 5):
        return Op(2, "push", (op & 0x1FF).bit_count(), address=1 << SP)
    if which == 6:
        return Op(2, "cps") if op & 0xE0 == 0x60 else None
    if which == 10:
        return _alu(2, op & 7) if op >> 6 & 3 != 2 else None            # REV REV16 REVSH
    if which in (12, 13):
        return Op(2, "pop", (op & 0x1FF).bit_count(), to_pc=bool(op & 0x100), address=1 << SP)
    if which == 14:
        return Op(2, "bkpt")
    if which == 15:
        if op & 15:
            return Op(2, "it", covers={8: 1, 4: 2, 2: 3, 1: 4}[op & 15 & -(op & 15)])
        return _hint(2, op >> 4 & 15)
    return None


def _hint(size: int, which: int) -> Op | None:
    """A5.2.5 and A5.3.4: NOP, YIELD, WFE, WFI, SEV; anything else executes as NOP."""
    return Op(size, "nop" if which == 0 else "wait" if which in (2, 3) else "hint")


# 32 bits: A5.3 ------------------------------------------------------------------------------------------------------


def _multiple(first: int, second: int) -> Op | None:
    """A5.3.5: LDM, STM, PUSH, POP."""
    rn, base = first & 15, _bits(first & 15)
    if first >> 7 & 3 not in (1, 2):
        return None
    count = second.bit_count()
    stack = first & 0x20 and rn == SP
    if first & 0x10:
        pop = stack and first >> 7 & 3 == 1
        return Op(4, "pop" if pop else "ldm", count, to_pc=bool(second & 0x8000), address=base)
    return Op(4, "push" if stack and first >> 7 & 3 == 2 else "stm", count, address=base)


def _dual(first: int, second: int) -> Op | None:
    """A5.3.6: load and store dual, exclusive, table branch."""
    base, load = _bits(first & 15), first & 0x10
    if first & 0x0120:                                                  # P or W
        return Op(4, "ldrd" if load else "strd", 2, address=base)
    if first & 0x80 and load and second >> 5 & 7 == 0:
        return Op(4, "tbb", address=base | _bits(second & 15))
    if load:
        return Op(4, "ldrex", writes=_bits(second >> 12), address=base)
    return Op(4, "strex", writes=_bits(second & 15 if first & 0x80 else second >> 8 & 15), address=base)


def _data(which: int, first: int, second: int) -> Op | None:
    """A5.3.1 and A5.3.11: data processing, with a modified immediate or a shifted register."""
    rd = second >> 8 & 15
    if which in (5, 7, 9, 12, 15):
        return None
    if which == 6:                                                      # PKHBT, PKHTB
        return Op(4, "simd", writes=_bits(rd))
    return _alu(4, rd)                                                  # with Rd = 15 TST, TEQ, CMN, CMP


def _plain_immediate(first: int, second: int) -> Op | None:
    """A5.3.3: ADDW, MOVW, SUBW, MOVT, SSAT, SBFX, BFI, USAT, UBFX."""
    which, rd = first >> 4 & 31, _bits(second >> 8 & 15)
    if which in (16, 18, 24, 26):
        halves = which & 2 and second & 0x70C0 == 0                     # SSAT16, USAT16
        return Op(4, "simd" if halves else "saturate", writes=rd)
    return Op(4, "alu", writes=rd) if which in (0, 4, 10, 12, 20, 22, 28) else None


def _control(first: int, second: int) -> Op | None:
    """A5.3.4: branches and miscellaneous control."""
    kind, which = second >> 12 & 5, first >> 4 & 0x7F
    if kind == 5:
        return Op(4, "bl")
    if kind == 1:
        return Op(4, "b")
    if kind == 4:
        return None
    if which & 0x38 != 0x38:
        return Op(4, "bcc")
    if which in (0x38, 0x39):
        return Op(4, "msr")
    if which in (0x3E, 0x3F):
        return Op(4, "mrs", writes=_bits(second >> 8 & 15))
    if which == 0x3A:
        return _hint(4, second & 0xFF)
    if which == 0x3B:
        what = second >> 4 & 15
        return Op(4, "barrier") if what in (4, 5, 6) else Op(4, "clrex") if what == 2 else None
    return Op(4, "udf") if which == 0x7F else None


def _single(first: int, second: int) -> Op | None:
    """A5.3.7 to A5.3.10: load and store of a byte, a halfword, a word."""
    rn, rt = first & 15, second >> 12
    address, writes = _bits(rn), _bits(rt)
    register = False
    if not first & 0x80 and rn != PC:
        if second & 0x0800:
            if second & 0x0100 or not second & 0x0400:                  # W, or P = 0: the base is updated
                writes |= _bits(rn)
        else:
            register = True
            address |= _bits(second & 15)
    if not first & 0x10:
        if first & 0x0100:
            return None
        return Op(4, "str_register" if register else "str", writes=writes & address, address=address)
    size = first >> 5 & 3
    if size == 3:
        return None
    if rt == PC:
        return Op(4, "ldr", to_pc=True, address=address) if size == 2 else Op(4, "preload")
    return Op(4, "ldr", writes=writes, address=address)


def _data_register(first: int, second: int) -> Op | None:
    """A5.3.12 to A5.3.15: shifts by register, extends, parallel arithmetic, REV, CLZ, SEL."""
    if second >> 12 != 15:
        return None
    which, how, rd = first >> 4 & 15, second >> 4 & 15, _bits(second >> 8 & 15)
    if which < 8:
        if how == 0:
            return Op(4, "alu", writes=rd)
        if how < 8 or which > 5:
            return None
        plain = first & 15 == PC and which not in (2, 3)                # SXTH UXTH SXTB UXTB; not SXTB16, UXTB16
        return Op(4, "alu" if plain else "simd", writes=rd)
    if how < 8:
        return Op(4, "simd", writes=rd)
    if how > 11 or which > 11:
        return None
    return Op(4, "alu" if which in (9, 11) else "simd", writes=rd)


def _multiply(first: int, second: int) -> Op | None:
    """A5.3.16 and A5.3.17: multiplies of 32 and of 64 bits, divisions."""
    which, how = first >> 4 & 7, second >> 4 & 15
    low, high = _bits(second >> 12), _bits(second >> 8 & 15)
    if not first & 0x80:
        if which:
            return Op(4, "simd", writes=high)
        if how == 0:
            return Op(4, "mul" if second >> 12 == PC else "mla", writes=high)
        return Op(4, "mla", writes=high) if how == 1 else None
    if which in (1, 3):
        if how != 15:
            return None
        return Op(4, "div", writes=high, rn=first & 15, rm=second & 15, signed=which == 1)
    if which in (0, 2):
        return Op(4, "mull", writes=low | high) if how == 0 else None
    if how == 0 and which in (4, 6):
        return Op(4, "mlal", writes=low | high)
    return Op(4, "simd", writes=low | high) if which in (4, 5, 6) else None


# floating point: A6 -------------------------------------------------------------------------------------------------


def _coprocessor(first: int, second: int) -> Op | None:
    """A6.4 to A6.7, single precision."""
    if second >> 9 & 7 != 5:
        return None
    double = second >> 8 & 1
    if first & 0x1000:
        return None if double or not first & 0x0200 or second & 0x10 else _fpv5(first, second)
    if first & 0x0200:
        if second & 0x10:
            return _transfer(first, second, double)
        return None if double else _arithmetic(first, second)
    if first & 0x01E0 == 0x0040:                                        # VMOV of two core registers
        at = _register(second & 15, second >> 5 & 1, double)
        both = 3 << at if at < 31 else 1 << at
        return Op(4, "vmov", 2, fp_reads=both if first & 0x10 else 0)
    address, load = _bits(first & 15), first & 0x10
    at = _register(second >> 12, first >> 6 & 1, double)
    if first & 0x0120 == 0x0100:
        words = 1 + double
        return Op(4, "vldr" if load else "vstr", words, address=address, fp_reads=0 if load else _run(at, words))
    words = second & 0xFF
    return Op(4, "vldm" if load else "vstm", words, address=address, fp_reads=0 if load else _run(at, words))


def _register(four: int, one: int, double: int) -> int:
    """Number of the first single-precision register: Dn is S2n and S2n+1."""
    return (one << 4 | four) * 2 if double else four << 1 | one


def _run(at: int, words: int) -> int:
    return ((1 << words) - 1) << at


def _transfer(first: int, second: int, double: int) -> Op | None:
    """A6.6: 32 bits between core and extension registers."""
    which = first >> 5 & 7
    if not double and which == 7:
        return Op(4, "vmrs")
    if not double and which:
        return None
    at = _register(first & 15, second >> 7 & 1, double) + (which & 1 if double else 0)
    return Op(4, "vmov", 1, fp_reads=1 << at if first & 0x10 else 0)


def _arithmetic(first: int, second: int) -> Op | None:
    """A6.4, table A6-1."""
    d = 1 << ((second >> 12) << 1 | first >> 6 & 1)
    n = 1 << ((first & 15) << 1 | second >> 7 & 1)
    m = 1 << ((second & 15) << 1 | second >> 5 & 1)
    which, other, how = first >> 4 & 11, first & 15, second >> 6 & 3
    if which in (0, 1, 9, 10):                                          # VMLA VMLS VNMLA VNMLS VFNMA VFNMS VFMA VFMS
        return Op(4, "vmla", fp_writes=d, fp_reads=d | n | m)
    if which in (2, 3):                                                 # VMUL VNMUL VADD VSUB
        return Op(4, "vadd", fp_writes=d, fp_reads=n | m)
    if which == 8:
        return Op(4, "vdiv", fp_writes=d, fp_reads=n | m)
    if which != 11:
        return None
    if not how & 1:                                                     # VMOV (immediate)
        return Op(4, "vmov", 1)
    if other == 0 and how == 1:                                         # VMOV (register)
        return Op(4, "vmov", 1, fp_reads=m)
    if other == 1 and how == 3:                                         # VSQRT
        return Op(4, "vdiv", fp_writes=d, fp_reads=m)
    if other in (4, 5):                                                 # VCMP, with zero
        return Op(4, "vadd", fp_reads=d | (m if other == 4 else 0))
    if other in (6, 7):                                                 # VRINTR, VRINTZ, VRINTX of FPv5
        return Op(4, "vadd", fp_writes=d, fp_reads=m)
    if other in (10, 11, 14, 15):                                       # VCVT of fixed point: in place
        return Op(4, "vadd", fp_writes=d, fp_reads=d)
    return Op(4, "vadd", fp_writes=d, fp_reads=m) if other in (0, 1, 2, 3, 8, 12, 13) else None


def _fpv5(first: int, second: int) -> Op | None:
    """VSEL, VMAXNM, VMINNM, VRINTA and VCVTA with their kin: what FPv5 (M7, M33) has beyond FPv4."""
    d = 1 << ((second >> 12) << 1 | first >> 6 & 1)
    n = 1 << ((first & 15) << 1 | second >> 7 & 1)
    m = 1 << ((second & 15) << 1 | second >> 5 & 1)
    if not first & 0x80 or first & 0x30 == 0:
        return Op(4, "vadd", fp_writes=d, fp_reads=n | m)
    return Op(4, "vadd", fp_writes=d, fp_reads=m) if first & 0x30 == 0x30 else None
