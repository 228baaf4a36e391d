"""Where the bytes of a firmware lie: flash and RAM of an ELF, each byte charged to exactly one row.

flash  what is programmed: allocated sections with contents (``text`` + ``data`` of GNU size)
ram    what is reserved at run time: writable allocated sections (``data`` + ``bss`` of GNU size)

``.data`` counts in both: its initial values lie in flash.  (GNU size calls code that is copied to RAM ``text`` only;
here it counts in both, as it occupies both.)  Names come from the symbol table; the linker's map beside the ELF adds
the object files, and with them the runtime library and the bytes that have no symbol.  An ELF is read as what a
stranger wrote: whatever is wrong with it is one ModelError.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genn.elfimage import Image, Piece, Section, pieces, references
from genn.errors import CheckFailed, GennError, ModelError, UsageError
from genn.target import parse_size

VIEWS = ("layer", "symbol", "section", "file")
PARTS = ("code", "weights", "constants")
GROUPS = {
    "layer": "layers",
    "kernels": "shared kernels",
    "network": "network, outside its layers",
    "runtime": "runtime library",
    "firmware": "startup and firmware",
    "vectors": "vector table",
    "unwind": "unwind tables",
    "veneers": "veneers made by the linker",
    "alignment": "alignment gaps",
    "arena": "arena",
    "stack": "reserved stack",
}

_MAX_FILE = 64 << 20
_MAX_SECTIONS, _MAX_SYMBOLS, _MAX_NAME = 4096, 200_000, 512
_ROW = re.compile(r"(_l\d{2,}_\w+?)_rows?\d*$")  # a layer's own code
_SPLIT = re.compile(r"(\.(part|constprop|isra|cold|lto_priv)(\.\d+)?|\.\d+)+$")
_INPUT = re.compile(r"^\.(?:text|rodata|data|bss)(?:\.(?:unlikely|hot|startup))?\.(.+?)(?:\.(?:cst\d+|str\d+\.\d+))?$")
_LIBC = re.compile(r"__|_exit$|mem(cpy|set|move|cmp|chr)$|str(len|cpy|cmp|n)|(f?abs|div|ldiv|abort|exit)$")


@dataclass(frozen=True)
class Row:
    """A run of bytes with one owner.  ``size`` in bytes; ``layer`` is the index of the layer it is charged to."""

    section: str
    address: int
    size: int
    symbol: str
    file: str
    group: str
    in_flash: bool
    in_ram: bool
    layer: int | None = None
    part: str = ""
    callers: tuple[int, ...] = ()

    @property
    def flash(self) -> int:
        """Bytes of flash."""
        return self.size if self.in_flash else 0

    @property
    def ram(self) -> int:
        """Bytes of RAM."""
        return self.size if self.in_ram else 0


@dataclass(frozen=True)
class Entry:
    """A line of a view: what is summed under one name.  Bytes; code, weights and constants for layers only."""

    name: str
    group: str
    flash: int
    ram: int
    code: int = 0
    weights: int = 0
    constants: int = 0
    callers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Footprint:
    """The bytes of one ELF.  ``rows`` cover every byte of every allocated section once."""

    elf: str
    rows: tuple[Row, ...]
    sections: tuple[Entry, ...]
    layers: tuple[dict[str, Any], ...] = ()

    @property
    def flash(self) -> int:
        """Bytes of flash: the sizes of the section headers, summed."""
        return sum(s.flash for s in self.sections)

    @property
    def ram(self) -> int:
        """Bytes of RAM: the sizes of the section headers, summed."""
        return sum(s.ram for s in self.sections)

    def view(self, by: str = "layer") -> list[Entry]:
        """The entries of a view (``VIEWS``); each view sums to ``flash`` and ``ram``.  UsageError on another name."""
        if by == "section":
            return list(self.sections)
        if by == "layer":
            return [*self._layer_entries(), *self._other_entries()]
        keys = {"symbol": lambda r: (r.symbol, r.group), "file": lambda r: (r.file or _no_file(r), "file")}
        if by not in keys:
            raise UsageError(f"there is no view by {by!r}", fix=f"choose one of {', '.join(VIEWS)}")
        return sorted(_summed(self.rows, keys[by]), key=lambda e: (-e.flash - e.ram, e.name))

    def _layer_entries(self) -> list[Entry]:
        own: dict[int, list[Row]] = {int(layer["index"]): [] for layer in self.layers}
        for row in self.rows:
            if row.layer is not None:
                own[row.layer].append(row)
        entries = []
        for layer in self.layers:
            rows = own[int(layer["index"])]
            code, weights, constants = (sum(r.size for r in rows if r.part == p) for p in PARTS)
            flash, ram = sum(r.flash for r in rows), sum(r.ram for r in rows)
            name = str(layer["name"]) or str(layer.get("op", ""))
            entries.append(Entry(name, "layer", flash, ram, code, weights, constants))
        return entries

    def _other_entries(self) -> list[Entry]:
        """What no layer owns: kernels and library functions one by one, the rest by group."""
        alone = ("kernels", "runtime")
        rest = [r for r in self.rows if r.layer is None]
        found = _summed(rest, lambda r: (r.symbol if r.group in alone else GROUPS[r.group], r.group))
        order = list(GROUPS)
        return sorted(found, key=lambda e: (order.index(e.group), -e.flash - e.ram, e.name))

    def to_json(self) -> dict[str, Any]:
        """The JSON of ``genn footprint``: layers and other sum to flash and ram, and so do the sections."""
        layers = [
            {"index": layer["index"], "name": e.name, "op": layer.get("op", ""), "code": e.code, "weights": e.weights}
            | {"constants": e.constants, "ram": e.ram, "arena_live": layer.get("arena_live")}
            for layer, e in zip(self.layers, self._layer_entries(), strict=True)
        ]
        other = [
            {"name": e.name, "group": e.group, "flash": e.flash, "ram": e.ram, "callers": list(e.callers)}
            for e in self._other_entries()
        ]
        sections = [{"name": e.name, "flash": e.flash, "ram": e.ram} for e in self.sections]
        head = {"schema": 1, "elf": self.elf, "flash": self.flash, "ram": self.ram}
        return {**head, "layers": layers, "sections": sections, "other": other}

    def diff(self, old: Footprint, by: str = "layer") -> list[tuple[Entry | None, Entry | None]]:
        """(old, new) for every entry of the view whose bytes differ; None where one side lacks it."""
        before, after = _keyed(old.view(by)), _keyed(self.view(by))
        pairs = [(before.get(key), after.get(key)) for key in [*after, *(k for k in before if k not in after)]]
        return [(a, b) for a, b in pairs if a is None or b is None or (a.flash, a.ram) != (b.flash, b.ram)]

    def check_budget(self, budget: dict[str, int]) -> None:
        """CheckFailed, saying by how much, if flash or ram exceeds its budget in bytes."""
        used = {"flash": self.flash, "ram": self.ram}
        over = [
            f"{name} is {used[name]} bytes, {used[name] - limit} over the budget of {limit}"
            for name, limit in budget.items()
            if used[name] > limit
        ]
        if over:
            raise CheckFailed("; ".join(over), self.elf)


def parse_budget(text: str) -> dict[str, int]:
    """``flash=64K,ram=16K`` as bytes.  UsageError on anything else."""
    budget: dict[str, int] = {}
    for item in text.split(","):
        name, equals, size = item.strip().partition("=")
        if not equals or name not in ("flash", "ram") or name in budget:
            raise UsageError(f"{text!r} is not a budget", fix="write flash=64K,ram=16K or one of the two")
        budget[name] = parse_size(size)
    return budget


def footprint(elf: Path, manifest: dict[str, Any] | None = None) -> Footprint:
    """Weigh an ELF.  ``manifest`` (genn.json) names the layers; without it the network is one group.

    ModelError, in one sentence, if the file is no Arm firmware that can be read or lacks a layer's symbol.
    """
    elf = Path(elf)
    try:
        return _weigh(Image(elf), manifest)
    except GennError:
        raise
    except OSError as error:
        raise ModelError(f"cannot read the ELF: {error.strerror}", str(elf)) from None
    except Exception as error:
        raise ModelError(f"not an ELF that can be read ({type(error).__name__})", str(elf)) from None


def _keyed(entries: list[Entry]) -> dict[tuple[str, str, int], Entry]:
    """Entries by group, name and how many of that name came before: layers may share a name."""
    found: dict[tuple[str, str, int], Entry] = {}
    for entry in entries:
        nth = 0
        while (entry.group, entry.name, nth) in found:
            nth += 1
        found[entry.group, entry.name, nth] = entry
    return found


def _no_file(row: Row) -> str:
    """What the view by file calls bytes of no object file."""
    return f"({GROUPS[row.group]})" if row.group in ("alignment", "stack") else "(unknown without a map)"


def _summed(rows: Iterable[Row], key: Callable[[Row], tuple[str, str]]) -> list[Entry]:
    """Rows with one key, which is (name, group), become one Entry."""
    sums: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        entry = sums.setdefault(key(row), [0, 0, set()])
        entry[0] += row.flash
        entry[1] += row.ram
        entry[2].update(row.callers)
    return [Entry(name, group, f, r, callers=tuple(sorted(c))) for (name, group), (f, r, c) in sums.items()]


def _weigh(image: Image, manifest: dict[str, Any] | None) -> Footprint:
    """Charge every piece of every allocated section, and find who calls what is shared."""
    layers = tuple((manifest or {}).get("layers", ()))
    owners = {
        str(layer[key]): (int(layer["index"]), part)
        for layer in layers
        for key, part in (("symbol", "code"), ("weights", "weights"), ("constants", "constants"))
        if layer.get(key)
    }
    name = str((manifest or {}).get("name", ""))
    rows: list[Row] = []
    for section in image.sections.values():
        for piece in pieces(section, image.inputs.get(section.name, []), frozenset(owners)):
            group, layer, part = _charge(piece, section, owners, name)
            label = piece.symbol or (GROUPS[group] if group in ("alignment", "stack") else piece.input or section.name)
            size = piece.end - piece.start
            in_flash, in_ram = not section.nobits, section.writable or section.nobits
            rows.append(Row(section.name, piece.start, size, label, piece.file, group, in_flash, in_ram, layer, part))
    found = {_base(row.symbol) for row in rows if row.layer is not None}
    for symbol, (_, part) in owners.items():
        # A layer's constants are static: the compiler may have folded them into the code, and then they are gone.
        if symbol not in found and part != "constants":
            what = f"the ELF has no {'function' if part == 'code' else 'object'} {symbol}"
            raise ModelError(what, str(image.path), "it was built from another network; build it again")
    sections = [
        Entry(s.name, "section", 0 if s.nobits else s.size, s.size if s.writable or s.nobits else 0)
        for s in image.sections.values()
    ]
    return Footprint(str(image.path), tuple(_with_callers(rows, image)), tuple(sections), layers)


def _base(symbol: str) -> str:
    """A layer's symbol, for its own code too; a symbol without what the compiler appended when it split a function."""
    return _ROW.sub(r"\1", _SPLIT.sub("", symbol))


def _charge(
    piece: Piece, section: Section, owners: dict[str, tuple[int, str]], name: str
) -> tuple[str, int | None, str]:
    """(group, layer, part) of a piece; the first rule that fits decides."""
    inner = _INPUT.match(piece.input)
    place = piece.input or section.name
    of_network = piece.file in (f"{name}.o", f"{name}_weights.o") if piece.file else bool(name)
    symbol = _base(piece.symbol or (inner[1] if inner and of_network else ""))
    if section.name.startswith((".stack", "._stack")):
        return "stack", None, ""
    if piece.gap:
        return "alignment", None, ""
    if symbol in owners:
        layer, part = owners[symbol]
        return "layer", layer, part if piece.symbol or part != "code" or section.executable else "constants"
    if symbol == "genn_arena":
        return "arena", None, ""
    if piece.file == "linker stubs" or symbol.endswith("_veneer"):
        return "veneers", None, ""
    if re.match(r"\.(isr_)?vectors?\b", place) or re.match(r"\.(isr_)?vectors?\b", section.name):
        return "vectors", None, ""
    if place.startswith((".ARM.ex", ".eh_frame")):
        return "unwind", None, ""
    if ".a(" in piece.file or re.match(r"crt\w*\.o$", piece.file) or (not piece.file and _LIBC.match(symbol)):
        return "runtime", None, ""
    if of_network and symbol.startswith("genn_"):
        return "kernels", None, ""
    if (piece.file and of_network) or (not piece.file and name and symbol.startswith(f"{name}_")):
        return "network", None, ""
    return "firmware", None, ""


def _with_callers(rows: list[Row], image: Image) -> list[Row]:
    """The rows, those that are shared with the indexes of the layers that reach them by calls or by address."""
    rows = sorted(rows, key=lambda r: r.address)
    starts = [r.address for r in rows]
    by_symbol = {r.symbol: i for i, r in enumerate(rows)}

    def at(address: int) -> int | None:
        i = bisect.bisect_right(starts, address) - 1
        return i if i >= 0 and address < rows[i].address + rows[i].size else None

    code = {s.name for s in image.sections.values() if s.executable}
    edges: dict[int, set[int]] = {}
    for section in image.sections.values():
        if section.executable:
            for address, target, is_code in references(section):
                source, sink = at(address), at(target)
                if source is None or sink is None or source == sink:
                    continue
                # A word of a pool may be any number: it counts where it is exactly the address of a constant.
                if is_code or (rows[sink].section not in code and rows[sink].address == target):
                    edges.setdefault(source, set()).add(sink)
    for i, row in enumerate(rows):
        if row.group == "veneers" and (sink := by_symbol.get(row.symbol[2:].removesuffix("_veneer"))) is not None:
            edges.setdefault(i, set()).add(sink)

    reached: dict[int, set[int]] = {}
    for root, row in enumerate(rows):
        if row.layer is None:
            continue
        todo, seen = [root], {root}
        while todo:
            for sink in edges.get(todo.pop(), set()) - seen:
                seen.add(sink)
                todo.append(sink)
        for i in seen:
            reached.setdefault(i, set()).add(row.layer)
    shared = ("kernels", "runtime", "veneers")
    named = []
    for i, row in enumerate(rows):
        if row.group in shared and i in reached:
            row = replace(row, callers=tuple(sorted(reached[i])))
        elif row.group == "kernels" and not row.file:
            row = replace(row, group="firmware")  # without a map, genn_* that no layer reaches is the firmware's own
        named.append(row)
    return named
