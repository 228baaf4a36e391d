"""Source lines and instructions of a function with executions and cycles, as ``perf annotate`` shows them.

The slots of an IT block are charged to the IT, and what pipelining saves to the first of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .decode import Decoder
from .elf import Image
from .errors import EmuError
from .profile import Profile

_MAX_SOURCE = 4 << 20


@dataclass(frozen=True)
class Row:
    """One instruction: ``file`` and ``line`` where known, and how often it ran, left by a jump, and what that cost."""

    address: int
    text: str
    file: str
    line: int
    count: int
    jumps: int
    cycles: int
    stalls: int


def rows(profile: Profile, symbol: str) -> list[Row]:
    """Every instruction of the function ``symbol``, also those that never ran."""
    image = profile.image
    start, end = _extent(image, symbol)
    ran = {x.address: x for x in profile.trace.executed}
    decoder, out = Decoder(), []
    pieces = [(base, data) for base, data in image.code_ranges() if base < end and base + len(data) > start]
    for base, data in pieces:
        low, high = max(start, base), min(end, base + len(data))
        for insn in decoder.block(low, data[low - base : high - base]):
            file, line = profile.lines.find(insn.address) or ("", 0)
            at = insn.address - base
            text = decoder.text(insn.address, data[at : at + insn.size]) or f"<{insn.name}>"
            x = ran.get(insn.address)
            counts = (x.count, x.jumps, x.cycles, x.stalls) if x else (0, 0, 0, 0)
            out.append(Row(insn.address, text, file, line, *counts))
    return out


def annotate(profile: Profile, symbol: str, folders: Sequence[Path] = ()) -> str:
    """The listing as text; source files are looked for in ``folders``."""
    listing = rows(profile, symbol)
    total = profile.trace.cycles or 1
    spent = sum(row.cycles for row in listing)
    stalls = any(row.stalls for row in listing)
    share = f"{100 * spent / total:.1f} % of the cycles counted"
    out = [f"{symbol}: {spent:,} cycles by itself, {share}",
           f"{'share':>6} {'cycles':>13} {'executed':>12} {'jumped':>10} " + (f"{'stalls':>10} " if stalls else "")]
    sources: dict[str, list[str]] = {}
    last: tuple[str, int] = ("", 0)
    for row in listing:
        if row.line and (row.file, row.line) != last:
            last = row.file, row.line
            if row.file not in sources:
                sources[row.file] = _source(row.file, folders)
            text = sources[row.file][row.line - 1] if row.line <= len(sources[row.file]) else ""
            out.append(f"{'':>6}   {row.file}:{row.line}  {text.rstrip()}")
        if row.count:
            columns = f"{100 * row.cycles / total:5.1f}% {row.cycles:13,} {row.count:12,} {row.jumps:10,} "
        else:
            columns = f"{'':>6} {'':>13} {'-':>12} {'':>10} "
        if stalls:
            columns += f"{row.stalls:10,} " if row.count else f"{'':>10} "
        out.append(f"{columns} {row.address:08x}  {row.text}")
    return "\n".join(out)


def _extent(image: Image, symbol: str) -> tuple[int, int]:
    found = image.symbol(symbol)
    if found is None or not found.is_function:
        near = [s.name for s in image.symbols if s.is_function and symbol in s.name][:5]
        hint = f" (there are: {', '.join(near)})" if near else ""
        raise EmuError(f"the ELF has no function {symbol}{hint}")
    if found.size:
        return found.address, found.address + found.size
    following = [s.address for s in image.symbols if s.is_function and s.address > found.address]
    return found.address, min(following, default=found.address + 4096)


def _source(name: str, folders: Sequence[Path]) -> list[str]:
    """The lines of a source file, from within ``folders`` only: an ELF's debug information can name anything."""
    for folder in folders:
        for path in (folder / name, folder / Path(name).name):
            try:
                inside = path.resolve().is_relative_to(folder.resolve())
                if inside and path.is_file() and path.stat().st_size <= _MAX_SOURCE:
                    return path.read_text("utf-8", "replace").splitlines()
            except (OSError, ValueError):
                continue
    return []
