"""Read what an emulator needs from an ELF file: few structures, each bounded by the file: a hostile file only fails.

Written with :mod:`struct` and not with pyelftools: it takes under a millisecond, allocates nothing that the file does
not hold, and every offset is checked.  The tests compare it with pyelftools.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ElfError

MAX_BYTES = 256 << 20
PF_X, PF_W = 1, 2
_EM_ARM, _PT_LOAD, _SHT_SYMTAB, _STT_FUNC = 40, 1, 2, 2


@dataclass(frozen=True)
class Segment:
    """One loadable segment: run address, load address, contents and size in memory, in bytes."""

    vaddr: int
    paddr: int
    data: bytes
    memsz: int
    executable: bool
    writable: bool


@dataclass(frozen=True)
class Symbol:
    """A named address (without the Thumb bit) of ``size`` bytes."""

    name: str
    address: int
    size: int
    is_function: bool


@dataclass
class Image:
    """A firmware image: segments, symbols, and which bytes of it are Thumb code."""

    entry: int
    segments: list[Segment]
    symbols: list[Symbol]
    marks: list[tuple[int, str]] = field(default_factory=list)
    """Mapping symbols, sorted: (address, 't' Thumb code | 'd' data | 'a' Arm code)."""
    file: bytes = field(default=b"", repr=False, compare=False)
    """The whole ELF file, for who wants its debug information."""

    def __post_init__(self) -> None:
        self._by_name = {s.name: s for s in reversed(self.symbols)}
        places = sorted({(s.address, s.name) for s in self.symbols if s.is_function})
        self._starts = [address for address, _ in places]
        self._names = [name for _, name in places]

    def symbol(self, name: str) -> Symbol | None:
        """The symbol of this name."""
        return self._by_name.get(name)

    def function_at(self, address: int) -> str:
        """Name of the function at or before ``address``, empty when there is none."""
        i = bisect_right(self._starts, address) - 1
        return self._names[i] if i >= 0 else ""

    def nearest(self, address: int) -> str:
        """``name+offset`` of the function at or before ``address``."""
        i = bisect_right(self._starts, address) - 1
        if i < 0 or address - self._starts[i] > 0x100000:
            return ""
        offset = address - self._starts[i]
        return f"{self._names[i]}+0x{offset:x}" if offset else self._names[i]

    def code_ranges(self) -> list[tuple[int, bytes]]:
        """Pieces of Thumb code, (address, bytes): by the mapping symbols, or by the sizes of functions where there
        are none.
        """
        out = []
        for segment in (s for s in self.segments if s.executable):
            low, high = segment.vaddr, segment.vaddr + len(segment.data)
            marks = [(a, k) for a, k in self.marks if low <= a < high]
            if marks:
                ends = [a for a, _ in marks[1:]] + [high]
                spans = [(a, e) for (a, k), e in zip(marks, ends, strict=True) if k == "t"]
            else:
                spans = _merged(
                    (s.address, min(s.address + s.size, high))
                    for s in self.symbols
                    if s.is_function and low <= s.address < high
                )
            out += [(a, segment.data[a - low : e - low]) for a, e in spans if e > a]
        return out


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if out and low < out[-1][1]:
            out[-1] = out[-1][0], max(high, out[-1][1])
        else:
            out.append((low, high))
    return out


def load(source: str | Path | bytes) -> Image:
    """Read an ELF file, or its bytes; :class:`ElfError` with one sentence when it is not a sound 32-bit Arm image."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), "ELF image"
    else:
        name = str(source)
        try:
            if Path(source).stat().st_size > MAX_BYTES:
                raise ElfError(f"{name}: larger than {MAX_BYTES >> 20} MiB")
            data = Path(source).read_bytes()
        except OSError as error:
            raise ElfError(f"{name}: cannot be read ({error.strerror})") from None
    try:
        return _parse(data)
    except ElfError as error:
        raise ElfError(f"{name}: {error}") from None
    except struct.error:
        raise ElfError(f"{name}: the file is truncated or damaged") from None


def _cut(data: bytes, offset: int, size: int, what: str) -> bytes:
    if offset < 0 or size < 0 or offset + size > len(data):
        raise ElfError(f"{what} lies outside of the file, which is truncated or damaged")
    return data[offset : offset + size]


def _parse(data: bytes) -> Image:
    if data[:4] != b"\x7fELF":
        raise ElfError("not an ELF file")
    if data[4:6] != b"\x01\x01":
        raise ElfError("not a 32-bit little-endian ELF file")
    (kind, machine, _, entry, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, _) = struct.unpack_from(
        "<HHIIIIIHHHHHH", data, 16
    )
    if machine != _EM_ARM:
        raise ElfError(f"built for machine {machine}, not for Arm")
    if kind != 2:
        raise ElfError("not an executable: link it first")
    if phnum == 0 or phnum > 256 or phentsize != 32:
        raise ElfError("no usable program headers")
    segments, loaded = [], 0
    for i in range(phnum):
        p_type, offset, vaddr, paddr, filesz, memsz, flags, _ = struct.unpack_from("<8I", data, phoff + 32 * i)
        if p_type != _PT_LOAD or memsz == 0:
            continue
        if filesz > memsz or vaddr + memsz > 1 << 32 or paddr + filesz > 1 << 32:
            raise ElfError(f"program header {i} has impossible sizes")
        loaded += filesz
        if loaded > len(data):
            raise ElfError("its segments overlap in the file")
        segments.append(
            Segment(
                vaddr, paddr, _cut(data, offset, filesz, f"segment {i}"), memsz, bool(flags & PF_X), bool(flags & PF_W)
            )
        )
    if not segments:
        raise ElfError("nothing to load")
    symbols: list[Symbol] = []
    marks: list[tuple[int, str]] = []
    if shnum and shentsize == 40:
        sections = list(struct.iter_unpack("<10I", _cut(data, shoff, 40 * shnum, "the section table")))
        for header in sections:
            if header[1] == _SHT_SYMTAB:
                _symbols(data, header, sections, symbols, marks)
                break  # there is one
    return Image(entry & ~1, segments, symbols, sorted(set(marks)), data)


def _symbols(
    data: bytes,
    header: tuple[int, ...],
    sections: list[tuple[int, ...]],
    symbols: list[Symbol],
    marks: list[tuple[int, str]],
) -> None:
    size, link = header[5] // 16 * 16, header[6]
    if link >= len(sections):
        raise ElfError("the symbol table names no string table")
    strings = _cut(data, sections[link][4], sections[link][5], "the string table")
    room = 16 * len(strings) + 65536  # linkers share the tails of names, a hostile file shares everything
    for name_at, value, length, info, _, index in struct.iter_unpack(
        "<IIIBBH", _cut(data, header[4], size, "the symbol table")
    ):
        if index == 0 or name_at >= len(strings):
            continue
        end = strings.find(b"\0", name_at, name_at + 4096)
        end = min(end if end >= 0 else name_at + 4096, len(strings))
        room -= end - name_at
        if room < 0:
            raise ElfError("the names of its symbols overlap beyond reason")
        name = strings[name_at:end].decode("utf-8", "replace")
        if name[:2] in ("$t", "$d", "$a") and (len(name) == 2 or name[2] == "."):
            marks.append((value & ~1, name[1]))
        elif name and info & 15 <= _STT_FUNC:
            function = info & 15 == _STT_FUNC
            symbols.append(Symbol(name, value & ~1 if function else value, length, function))
