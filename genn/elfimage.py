"""The allocated bytes of a firmware, cut into pieces with names: what footprint weighs.

An ELF is read as what a stranger wrote: sizes, counts and names are bounded before pyelftools sees the file, and what
is wrong with it is a ModelError in one sentence.
"""

from __future__ import annotations

import bisect
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from elftools.elf.elffile import ELFFile

from genn.errors import ModelError

_MAX_FILE = 64 << 20
_MAX_SECTIONS, _MAX_SYMBOLS, _MAX_NAME = 4096, 200_000, 512
_MAP_LINE = re.compile(r"^ (\S+)?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)(?: (\S.*))?$")
_NOTYPE, _OBJECT, _FUNC = 0, 1, 2

InputSection = tuple[int, int, str, str]  # (start, end, name, object file)


@dataclass(frozen=True)
class Symbol:
    name: str
    address: int
    size: int
    kind: int
    binding: int

    def rank(self) -> tuple[int, int, str]:
        """Which of several names for one address is shown: typed before untyped, global before weak before local."""
        return (self.kind == _NOTYPE, {1: 0, 2: 1}.get(self.binding, 2), self.name)


@dataclass
class Section:
    name: str
    address: int
    size: int
    data: bytes  # empty for NOBITS
    nobits: bool
    writable: bool
    executable: bool
    symbols: list[Symbol] = field(default_factory=list)
    marks: list[tuple[int, bool]] = field(default_factory=list)  # (address, code starts here), from $t and $d

    @property
    def end(self) -> int:
        return self.address + self.size


class Image:
    """The allocated sections of an ELF with their symbols, and the map beside it, read within bounds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.stat().st_size > _MAX_FILE:
            raise ModelError(f"the file is larger than {_MAX_FILE >> 20} MB", str(path))
        raw = path.read_bytes()
        self._check_header(raw)
        elf = ELFFile(io.BytesIO(raw))
        self.sections: dict[int, Section] = {}
        symtab = None
        for index in range(elf.num_sections()):
            section = elf.get_section(index)
            kind, flags = section["sh_type"], section["sh_flags"]
            if kind == "SHT_SYMTAB":
                symtab = section
            if flags & 2 and section["sh_size"] and flags & 0x800:
                self._refuse("a compressed section is allocated")
            if flags & 2 and section["sh_size"]:
                start, size, nobits = section["sh_offset"], section["sh_size"], kind == "SHT_NOBITS"
                if section["sh_addr"] + size > 1 << 32 or (not nobits and start + size > len(raw)):
                    self._refuse(f"section {section.name!r} lies outside the file or the address space")
                data = b"" if nobits else raw[start : start + size]
                self.sections[index] = Section(
                    section.name, section["sh_addr"], size, data, nobits, bool(flags & 1), bool(flags & 4)
                )
        if symtab is not None:
            strings = elf.get_section(symtab["sh_link"])
            names = raw[strings["sh_offset"] : strings["sh_offset"] + strings["sh_size"]]
            self._read_symbols(raw[symtab["sh_offset"] : symtab["sh_offset"] + symtab["sh_size"]], names)
        self.inputs = self._read_map(path.with_suffix(".map"))

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(f"not a firmware that can be read: {what}", str(self.path))

    def _check_header(self, raw: bytes) -> None:
        """Refuse what pyelftools would spend long on, before it sees the file."""
        if raw[:4] != b"\x7fELF":
            self._refuse("it is no ELF file")
        if raw[4:6] != b"\x01\x01" or struct.unpack_from("<HH", raw, 16) != (2, 40):
            self._refuse("it is no linked 32-bit little-endian Arm program")
        shoff = struct.unpack_from("<I", raw, 32)[0]
        entry, count, names = struct.unpack_from("<HHH", raw, 46)
        if entry != 40 or not 0 < count <= _MAX_SECTIONS or names >= count or shoff + entry * count > len(raw):
            self._refuse("its section table is damaged")
        headers = [struct.unpack_from("<10I", raw, shoff + entry * i) for i in range(count)]
        start, size = headers[names][4:6]
        if (
            start + size > len(raw)
            or not 0 < size <= 1 << 20
            or raw[start + size - 1]
            or max(h[0] for h in headers) >= size
        ):
            self._refuse("its section names are damaged")

    def _read_symbols(self, table: bytes, strings: bytes) -> None:
        if len(table) // 16 > _MAX_SYMBOLS:
            self._refuse(f"it has more than {_MAX_SYMBOLS} symbols")
        for name_at, value, size, info, _other, index in struct.iter_unpack("<IIIBBH", table[: len(table) // 16 * 16]):
            section = self.sections.get(index)
            if section is None or info & 15 > _FUNC:
                continue
            name = strings[name_at : name_at + _MAX_NAME].split(b"\0", 1)[0].decode("utf-8", "replace")
            address = value & ~1 if info & 15 == _FUNC else value
            if not name or not section.address <= address <= section.end:
                continue
            if name.startswith("$"):
                section.marks.append((address, name[1:2] in ("t", "a")))
            elif address < section.end:
                section.symbols.append(Symbol(name, address, size, info & 15, info >> 4))

    def _read_map(self, path: Path) -> dict[str, list[InputSection]]:
        """Input sections by output section: (start, end, name, object file), sorted.  Empty without a map."""
        found: dict[str, list[InputSection]] = {}
        if not path.is_file() or path.stat().st_size > _MAX_FILE:
            return found
        wanted = {s.name: s for s in self.sections.values()}
        text = path.read_text(encoding="utf-8", errors="replace")
        output, pending = "", ""
        for line in text.partition("Linker script and memory map")[2].splitlines():
            if line[:1] not in ("", " "):
                output, pending = line.split()[0], ""
            elif output in wanted and (match := _MAP_LINE.match(line)):
                name, start, size = match[1] or pending, int(match[2], 16), int(match[3], 16)
                section = wanted[output]
                inside = section.address <= start and start + size <= section.end
                if match[4] and name and not name.startswith("*") and size and inside:
                    found.setdefault(output, []).append((start, start + size, name, _short(match[4])))
                pending = ""
            else:
                words = line.split()
                pending = words[0] if len(words) == 1 and line[1:2] not in (" ", "*") else ""
        return {name: sorted(ranges) for name, ranges in found.items()}


def _short(path: str) -> str:
    """An object file as the map names it, without the folders of the machine; ``firmware/`` is kept."""
    if path == "linker stubs":
        return path
    p = Path(path)
    return f"firmware/{p.name}" if p.parent.name == "firmware" else p.name


@dataclass(frozen=True)
class Piece:
    """Bytes with one name, before they are charged to a group."""

    start: int
    end: int
    symbol: str
    input: str
    file: str
    gap: bool = False


def pieces(section: Section, inputs: list[InputSection], first: frozenset[str]) -> Iterator[Piece]:
    """Cut a section into pieces that cover it exactly once, in order.

    A sized symbol owns its bytes (the outer one, where symbols overlap).  In between, a function without a size owns
    what follows it within its input section; what is left is an input section without a name, or a gap.
    """
    starts = [i[0] for i in inputs]

    def origin(address: int) -> InputSection | None:
        at = bisect.bisect_right(starts, address) - 1
        return inputs[at] if at >= 0 and address < inputs[at][1] else None

    sized = [s for s in section.symbols if s.size]
    sized.sort(key=lambda s: (s.address, s.name not in first, -s.size, s.rank()))
    loose = [s for s in section.symbols if not s.size and (s.kind == _FUNC or (s.binding == 1 and section.executable))]
    loose.sort(key=lambda s: (s.address, s.rank()))
    owners = {s.address: s.name for s in reversed(loose)}
    edges = sorted({*owners, *starts, *(i[1] for i in inputs)})

    def between(start: int, end: int) -> Iterator[Piece]:
        owner, owner_input = "", None
        cuts = edges[bisect.bisect_right(edges, start) : bisect.bisect_left(edges, end)]
        for a, b in zip([start, *cuts], [*cuts, end]):
            source = origin(a)
            if source != owner_input or (inputs and source is None):
                owner = ""
            owner, owner_input = owners.get(a, owner) if source or not inputs else "", source
            name, file = (source[2], source[3]) if source else ("", "")
            if owner:
                yield Piece(a, b, owner, name, file)
            elif source is None and inputs:
                yield Piece(a, b, "", "", "", gap=True)
            else:
                offset = a - section.address
                blank = not section.data[offset : offset + b - a].strip(b"\x00\xbf\x46\xc0")
                yield Piece(a, b, "", name, file, gap=b - a < 8 and blank and (a > start or a > section.address))

    cursor = section.address
    for symbol in sized:
        begin, end = max(symbol.address, cursor), min(symbol.address + symbol.size, section.end)
        if begin >= end:
            continue
        if begin > cursor:
            yield from between(cursor, begin)
        source = origin(begin)
        yield Piece(begin, end, symbol.name, *(source[2:] if source else ("", "")))
        cursor = end
    if cursor < section.end:
        yield from between(cursor, section.end)


def references(section: Section) -> Iterator[tuple[int, int, bool]]:
    """(address, target, True) of every direct branch of its code, (address, word, False) of its literal pools.

    Mapping symbols tell code from pools; a section without them is taken for code.
    """
    from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs

    decoder = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)
    decoder.skipdata = True
    marks = sorted(section.marks)
    if not marks or marks[0][0] > section.address:
        marks.insert(0, (section.address, True))
    for (start, code), (end, _) in zip(marks, [*marks[1:], (section.end, True)]):
        data = section.data[start - section.address : end - section.address]
        if code:
            for address, _size, mnemonic, operands in decoder.disasm_lite(data, start):
                if mnemonic[:1] == "b" and operands[:1] == "#":
                    yield address, int(operands[1:], 0) & ~1, True
        else:
            for offset in range(-start % 4, len(data) - 3, 4):
                yield start + offset, struct.unpack_from("<I", data, offset)[0], False
