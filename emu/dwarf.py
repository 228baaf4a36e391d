"""Source lines of addresses, from an ELF's ``.debug_line`` (DWARF 2 to 5); imported only when somebody asks.

Written with bounds on everything, as :mod:`emu.elf` is: a hostile section gives no lines, never a crash or a hang.  The
tests compare it with pyelftools.
"""

from __future__ import annotations

import struct
from bisect import bisect_right

_MAX_SECTION = 64 << 20
_MAX_ROWS = 4_000_000
_COMPRESSED = 0x800
_DATA = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}  # DW_FORM_data1, 2, 4, 8, 16
_STRING, _LINE_STRP, _STRP, _UDATA, _BLOCK = 0x08, 0x1F, 0x0E, 0x0F, 0x09


class _Damaged(Exception):
    pass


class _Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if size < 0 or len(piece) != size:
            raise _Damaged
        self.at += size
        return piece

    def word(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.word(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 70:
                raise _Damaged

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def string(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + 4096)
        if end < 0:
            raise _Damaged
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text


class LineTable:
    """Rows of all compilation units; ``find`` gives the file and line of an address."""

    def __init__(self, rows: list[tuple[int, str, int, bool]]) -> None:
        # sequences of functions that the linker dropped begin at 0
        spans: list[tuple[int, int, list[tuple[int, str, int]]]] = []
        part: list[tuple[int, str, int]] = []
        for address, file, line, ends in rows:
            if not ends:
                part.append((address, file, line))
            else:
                if part and part[0][0] and address > part[0][0]:
                    spans.append((part[0][0], address, part))
                part = []
        self._spans = sorted(spans, key=lambda span: span[:2])
        self._starts = [span[0] for span in self._spans]
        self._addresses: dict[int, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._spans)

    def find(self, address: int) -> tuple[str, int] | None:
        """(file, line) of the instruction at ``address``, None where nothing is known."""
        for i in range(bisect_right(self._starts, address) - 1, max(-1, bisect_right(self._starts, address) - 9), -1):
            low, high, part = self._spans[i]
            if low <= address < high:
                addresses = self._addresses.setdefault(i, [row[0] for row in part])
                _, file, line = part[bisect_right(addresses, address) - 1]
                return (file, line) if line > 0 else None
        return None


def line_table(elf: bytes) -> LineTable:
    """The lines of an ELF file's bytes: empty when there are none, or none that can be read."""
    try:
        sections = _sections(elf)
    except (struct.error, _Damaged):
        return LineTable([])
    rows: list[tuple[int, str, int, bool]] = []
    code = sections.get(".debug_line", b"")
    at = 0
    while at + 12 < len(code):
        try:
            at = _unit(code, at, sections, rows)
        except (struct.error, _Damaged):
            break
    return LineTable(rows)


def _sections(elf: bytes) -> dict[str, bytes]:
    shoff, shentsize, shnum, shstrndx = (
        *struct.unpack_from("<I", elf, 32), *struct.unpack_from("<HHH", elf, 46)
    )
    if shentsize != 40 or shstrndx >= shnum:
        raise _Damaged
    headers = [struct.unpack_from("<10I", elf, shoff + 40 * i) for i in range(shnum)]
    names = _Reader(elf[headers[shstrndx][4] : headers[shstrndx][4] + headers[shstrndx][5]])
    out: dict[str, bytes] = {}
    for name_at, kind, flags, _, offset, size, *_rest in headers:
        names.at = name_at
        name = names.string() if name_at < len(names.data) else ""
        if name in (".debug_line", ".debug_line_str", ".debug_str") and name not in out:
            usable = kind == 1 and not flags & _COMPRESSED and size <= _MAX_SECTION
            out[name] = elf[offset : offset + size] if usable else b""
    return out


def _unit(code: bytes, start: int, sections: dict[str, bytes], rows: list[tuple[int, str, int, bool]]) -> int:
    """Read one unit's line program; returns where the next unit begins."""
    r = _Reader(code, start)
    length = r.word(4)
    end = r.at + length
    if length >= 0xFFFFFFF0 or end > len(code):
        raise _Damaged  # 64-bit DWARF, or cut off
    r.data = code[:end]
    version = r.word(2)
    if not 2 <= version <= 5:
        return end
    if version == 5:
        r.take(2)  # sizes of an address and of a segment selector
    r.word(4)  # header length
    minimum = r.word(1)
    if version >= 4:
        r.word(1)  # operations of a VLIW instruction
    is_stmt, base, span, opcode_base = r.word(1), r.word(1), r.word(1), r.word(1)
    del is_stmt
    if base > 127:
        base -= 256
    if not span or not opcode_base:
        raise _Damaged
    operands = [0, *r.take(opcode_base - 1)]
    files = _files_v5(r, sections) if version == 5 else _files(r)
    first = 0 if version == 5 else 1

    def name(index: int) -> str:
        return files[index - first] if 0 <= index - first < len(files) else ""

    address, file, line = 0, 1, 1
    while r.at < end:
        op = r.word(1)
        if len(rows) > _MAX_ROWS:
            raise _Damaged
        if op >= opcode_base:
            address += (op - opcode_base) // span * minimum
            line += base + (op - opcode_base) % span
            rows.append((address, name(file), line, False))
        elif op == 0:
            size = r.uleb()
            after = r.at + size
            extended = r.word(1) if size else 0
            if extended == 1:
                rows.append((address, name(file), line, True))
                address, file, line = 0, 1, 1
            elif extended == 2:
                address = r.word(4) & ~1
            r.at = after
        elif op == 1:
            rows.append((address, name(file), line, False))
        elif op == 2:
            address += r.uleb() * minimum
        elif op == 3:
            line += r.sleb()
        elif op == 4:
            file = r.uleb()
        elif op == 8:
            address += (255 - opcode_base) // span * minimum
        elif op == 9:
            address += r.word(2)
        else:
            for _ in range(operands[op]):
                r.uleb()
    return end


def _join(folder: str, name: str) -> str:
    return name if name.startswith("/") or folder in ("", ".") else f"{folder.removeprefix('./')}/{name}"


def _files(r: _Reader) -> list[str]:
    folders = [""]
    while text := r.string():
        folders.append(text)
    out = []
    while text := r.string():
        folder = r.uleb()
        r.uleb()
        r.uleb()
        out.append(_join(folders[folder] if folder < len(folders) else "", text))
    return out


def _files_v5(r: _Reader, sections: dict[str, bytes]) -> list[str]:
    folders = [str(row.get(1, "")) for row in _table(r, sections)]
    out = []
    for row in _table(r, sections):
        at = row.get(2, 0)
        folder = folders[at] if isinstance(at, int) and at < len(folders) else ""
        # folder 0 is where the compiler ran: nothing to say about it
        out.append(_join("" if at == 0 else folder, str(row.get(1, ""))))
    return out


def _table(r: _Reader, sections: dict[str, bytes]) -> list[dict[int, str | int]]:
    formats = [(r.uleb(), r.uleb()) for _ in range(r.word(1))]
    count = r.uleb()
    if count > len(r.data) - r.at or (count and not formats):
        raise _Damaged  # every entry takes at least a byte
    return [{content: _value(r, form, sections) for content, form in formats} for _ in range(count)]


def _value(r: _Reader, form: int, sections: dict[str, bytes]) -> str | int:
    if form in (_LINE_STRP, _STRP):
        return _Reader(sections.get(".debug_line_str" if form == _LINE_STRP else ".debug_str", b""), r.word(4)).string()
    if form == _STRING:
        return r.string()
    if form in _DATA:
        return r.word(_DATA[form])
    if form == _UDATA:
        return r.uleb()
    if form == _BLOCK:
        r.take(r.uleb())
        return 0
    raise _Damaged
