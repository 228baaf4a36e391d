"""What a fault looks like to the person who has to mend it: source line, call stack, and what lies at the address.

Imported only once a fault has happened.  The call stack is a heuristic, and labelled so: return addresses are looked
for in LR and upwards from SP, and kept where the call before them leads to the function that the walk came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from . import dwarf
from .elf import Image
from .errors import Fault

_MAX_FRAMES = 32
_MAX_SCAN = 64 << 10
Read = Callable[[int, int], bytes]


class Place(Protocol):
    """A memory of the device."""

    @property
    def name(self) -> str: ...
    @property
    def base(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def kind(self) -> str: ...


def explain(fault: Fault, image: Image, regions: Sequence[Place], read: Read, address: int | None = None) -> Fault:
    """Add source line, call stack and hints to ``fault``; ``read`` raises IndexError outside of the memories.

    ``address``: the data address of a bad access.
    """
    lines = dwarf.line_table(image.file)
    fault.source = _source(lines, fault.pc)
    for pc, sure in call_stack(image, fault.pc, fault.registers, read):
        source = _source(lines, pc)
        row = f"0x{pc:08x} {image.nearest(pc) or '?'}" + (f" ({source})" if source else "")
        fault.backtrace.append(row if sure else f"{row}  (uncertain)")
    fault.hints = _stack(image, fault.registers, address)
    if address is not None:
        fault.hints.append(_what_lies(image, regions, address))
    return fault


def _source(lines: dwarf.LineTable, address: int) -> str:
    found = lines.find(address)
    return f"{found[0]}:{found[1]}" if found else ""


def _stack(image: Image, registers: dict[str, int], address: int | None) -> list[str]:
    limit, sp = image.symbol("__stack_limit"), registers.get("sp")
    if limit is None or sp is None:
        return []
    if 0 < limit.address - sp <= 1 << 20:
        return [f"stack overflow: sp 0x{sp:08x} is {limit.address - sp} bytes below __stack_limit"]
    if address is not None and address < limit.address <= sp < limit.address + 256 and sp - address <= 256:
        return [f"stack overflow: 0x{address:08x} is {limit.address - address} bytes below __stack_limit"]
    return []


def _what_lies(image: Image, regions: Sequence[Place], address: int) -> str:
    inside = next((r for r in regions if r.base <= address < r.base + r.size), None)
    owner = next((s for s in image.symbols if s.size and s.address <= address < s.address + s.size), None)
    if inside:
        symbol = f" in {owner.name}+0x{address - owner.address:x}" if owner else ""
        return f"0x{address:08x} lies in {inside.name} ({inside.kind}){symbol}"
    if address < 0x100:
        return f"0x{address:08x}: a null pointer?"
    gap, name, side = min(
        ((r.base - address, r.name, "below") if address < r.base else (address - r.base - r.size, r.name, "behind"))
        for r in regions
    )
    return f"0x{address:08x} lies {gap} bytes {side} {name}" if gap < 1 << 20 else f"0x{address:08x} lies in no memory"


def overflow(image: Image, stack: tuple[int, int], pc: int, sp: int) -> Fault:
    """The fault of a stack, (address, size), that grew into other memory: at ``pc``, where SP first went below it."""
    low, size = stack
    near = [s for s in image.symbols if s.size and low - 4096 < s.address + s.size <= low]
    what = f", into {max(near, key=lambda s: s.address + s.size).name}" if near else ""
    fault = Fault(f"the stack of {size} bytes ran over by {low - sp}{what},", pc, image.nearest(pc))
    return fault


def call_stack(image: Image, pc: int, registers: dict[str, int], read: Read) -> list[tuple[int, bool]]:
    """Call sites from the innermost outwards: (address, whether the walk is sure), at most 32."""
    if "sp" not in registers:
        return []
    code = [(s.vaddr, s.vaddr + len(s.data)) for s in image.segments if s.executable]
    frames: list[tuple[int, bool]] = []
    here = image.function_at(pc) if any(a <= pc < b for a, b in code) else None

    def site(value: int) -> tuple[int, str | None] | None:
        """(address, function called or None) of the call that ``value`` would return from."""
        back = value & ~1
        if not value & 1 or not any(a + 4 <= back <= b for a, b in code):
            return None
        try:
            first, second = (int.from_bytes(read(back - d, 2), "little") for d in (4, 2))
        except IndexError:
            return None
        if first & 0xF800 == 0xF000 and second & 0xD000 == 0xD000:
            return back - 4, image.function_at(_target(back - 4, first, second))
        return (back - 2, None) if second & 0xFF87 == 0x4780 else None

    if here is None or not _saved(image, pc, read):
        found = site(registers.get("lr", 0))
        if found and (found[1] in (None, here) or here is None):
            frames.append((found[0], True))
            here = image.function_at(found[0])
    at = registers["sp"] & ~3
    limit, top = image.symbol("__stack_limit"), image.symbol("__stack_top")
    if limit and 0 < limit.address - at <= 1 << 20:
        at = limit.address + 3 & ~3  # overflown: what lies below is not the stack's, or nothing at all
    end = at + _MAX_SCAN
    if top and at <= top.address < end:
        end = top.address
    guess: tuple[int, int] | None = None
    while len(frames) < _MAX_FRAMES:
        if at >= end:
            if guess is None:
                break
            frames.append((guess[0], False))
            here, at, guess = image.function_at(guess[0]), guess[1], None
            continue
        try:
            value = int.from_bytes(read(at, 4), "little")
        except IndexError:
            end = at
            continue
        at += 4
        found = site(value)
        if found is None:
            continue
        if found[1] in (None, here):
            frames.append((found[0], True))
            here, guess = image.function_at(found[0]), None
        elif guess is None:
            guess = found[0], at
    return frames


def _saved(image: Image, pc: int, read: Read) -> bool:
    """Whether the function at ``pc`` has pushed LR by then, to judge by the code in front."""
    symbol = image.symbol(image.function_at(pc))
    start = symbol.address if symbol and pc - symbol.address <= 4096 else pc
    try:
        code = read(start, pc - start) if pc > start else b""
    except IndexError:
        return False
    at = 0
    while at + 2 <= len(code):
        op = int.from_bytes(code[at : at + 2], "little")
        if op & 0xFF00 == 0xB500:
            return True
        if op >= 0xE800:
            if op == 0xE92D and code[at + 3 : at + 4] and code[at + 3] & 0x40:
                return True
            at += 2
        at += 2
    return False


def _target(address: int, first: int, second: int) -> int:
    sign, j1, j2 = first >> 10 & 1, second >> 13 & 1, second >> 11 & 1
    offset = (first & 0x3FF) << 12 | (second & 0x7FF) << 1
    offset |= (1 - (j1 ^ sign)) << 23 | (1 - (j2 ^ sign)) << 22
    return (address + 4 + offset - (sign << 24)) & 0xFFFFFFFF
