"""Find instructions that a core lacks, before the run: Unicorn's models execute some that silicon would fault on."""

from __future__ import annotations

from .elf import Image

_V6M_32BIT = "BL, MRS, MSR, DMB, DSB, ISB and UDF are the only 32-bit instructions of ARMv6-M"


def missing(image: Image, core: str, fpu: bool) -> tuple[int, str] | None:
    """(address, what) of the first instruction in the image's code that the core lacks."""
    arm = next((a for a, kind in image.marks if kind == "a" and any(
        s.executable and s.vaddr <= a < s.vaddr + len(s.data) for s in image.segments)), None)
    if arm is not None:
        return arm, "the Arm instruction set: a library for another core was linked"
    check = _v6m if core in ("cortex-m0", "cortex-m0plus") else None
    dsp = core not in ("cortex-m3",)
    for base, data in image.code_ranges():
        halves = memoryview(data[: len(data) & ~1]).cast("H")
        i, n = 0, len(halves)
        while i < n:
            op = halves[i]
            if op < 0xE800:
                if check and (op & 0xF500 == 0xB100 or (op & 0xFF00 == 0xBF00 and op & 15)):
                    return base + 2 * i, "CBZ or CBNZ" if op & 0xF500 == 0xB100 else "IT"
                i += 1
                continue
            if i + 1 >= n:
                break
            low = halves[i + 1]
            what = check(op, low) if check else _v7m(op, low, dsp, fpu)
            if what:
                return base + 2 * i, what
            i += 2
    return None


def _v6m(op: int, low: int) -> str:
    if op & 0xF800 == 0xF000 and low & 0xD000 == 0xD000:
        return ""  # BL
    if op == 0xF3EF and low & 0xF000 == 0x8000:
        return ""  # MRS
    if op & 0xFFF0 == 0xF380 and low & 0xFF00 == 0x8800:
        return ""  # MSR
    if op == 0xF3BF and low & 0xFFC0 == 0x8F40:
        return ""  # DSB DMB ISB
    if op & 0xFFF0 == 0xF7F0 and low & 0xF000 == 0xA000:
        return ""  # UDF.W
    return f"a 32-bit instruction 0x{op:04x}{low:04x} ({_V6M_32BIT})"


def _v7m(op: int, low: int, dsp: bool, fpu: bool) -> str:
    if op & 0xEC00 == 0xEC00 and (low >> 8) & 14 == 10:
        if not fpu:
            return "a floating-point instruction, without an FPU"
        if op & 0xFF00 == 0xEE00 and low & 0x0110 == 0x0100 and op & 0x00B8 != 0x00B8:
            return "double-precision arithmetic, with a single-precision FPU"
        return ""
    return "a DSP instruction" if not dsp and _is_dsp(op, low) else ""


def _is_dsp(op: int, low: int) -> bool:
    """True for the ARMv7E-M extension, after the encoding tables A5.3.12 to A5.3.17 of the ARMv7-M manual (DDI
    0403E).
    """
    top = op & 0xFFF0
    if top == 0xEAC0:
        return True  # PKHBT, PKHTB
    if op & 0xFF80 == 0xFA00 and low & 0xF080 == 0xF080:  # extends: plain ones of bytes and halfwords are base
        return op & 15 != 15 or top in (0xFA20, 0xFA30)
    if op & 0xFF80 == 0xFA80 and low & 0xF000 == 0xF000:
        return low & 0x80 == 0 or top in (0xFA80, 0xFAA0)  # parallel add and subtract, saturating, SEL
    if 0xFB10 <= top <= 0xFB70:
        return True  # halfword and dual multiplies, SMMUL, USAD8
    if top in (0xFBC0, 0xFBD0, 0xFBE0):
        return low & 0xF0 != 0
    return False
