"""Targets: boards and chips, read from one TOML file each.  Adding a board is adding a file.

A target says where its memories lie, how fast it runs, which timing model counts its cycles and which compiler flags it
needs.  Everything is checked on reading; a wrong file is refused with the file, the field and the reason.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from genn.errors import UsageError
from genn.paths import targets_dir

BASE_CFLAGS = ("-std=c99", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections", "-fno-common")
DEFAULT_OPT = "-O2"
OPT_FLAGS = {"time": "-O3", "balanced": "-O2", "flash": "-Os"}  # of the compiler, for what convert was asked for
DEFAULT_STACK = 4096

# What -mcpu selects, and the flags of the core's FPU where it can have one.
CORES: dict[str, tuple[str, ...] | None] = {
    "cortex-m0": None,
    "cortex-m0plus": None,
    "cortex-m3": None,
    "cortex-m4": ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    "cortex-m33": ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
}
_SUFFIX = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(0x[0-9a-f]+|[0-9]+)\s*(?:([kmg])(?:i?b)?|b)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Region:
    """One memory: addresses and sizes in bytes, wait states in cycles for each access."""

    name: str
    base: int
    size: int
    kind: Literal["flash", "ram"]
    wait_states: int = 0

    @property
    def end(self) -> int:
        """The first address behind the region."""
        return self.base + self.size


class Flash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before the first flash region: the bits of one read, caches in lines of as many bits, prefetch.

    ``wait_states``: rows (up to MHz, wait states), rising.  ``ways`` 0: fully associative.  ``unified``: the
    instruction cache serves data too.
    """

    line_bits: int
    reference: str
    wait_states: list[tuple[float, int]]
    instruction_lines: int = 0
    instruction_ways: int = 0
    data_lines: int = 0
    data_ways: int = 0
    unified: bool = False
    prefetch: bool = False

    def at(self, clock_hz: int) -> int | None:
        """Wait states at a clock, None above the last row."""
        return next((waits for mhz, waits in self.wait_states if clock_hz <= mhz * 1e6), None)


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The supply current while running from flash at ``mhz``, from the datasheet; energy from it is an estimate."""

    milliamps: float
    volts: float
    mhz: float
    reference: str

    def joules(self, seconds: float, clock_hz: int) -> float:
        """Energy of running for ``seconds``; the current is taken as proportional to the clock."""
        return self.milliamps * 1e-3 * (clock_hz / (self.mhz * 1e6)) * self.volts * seconds


class Uart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The UART that firmware usually prints with; ``kind`` is one of emu/uart.py, for ``python -m emu --uart FILE``."""

    kind: str
    base: int
    reference: str


@dataclass(frozen=True)
class Target:
    """A board or chip.  ``stack`` is the reserved stack in bytes, ``timing`` names a file of emu/timing."""

    name: str
    description: str
    core: str
    fpu: bool
    clock_hz: int
    timing: str
    regions: tuple[Region, ...]
    stack: int = DEFAULT_STACK
    extra_cflags: tuple[str, ...] = ()
    qemu_machine: str | None = None
    references: tuple[str, ...] = ()
    memory: Flash | None = None
    power: Power | None = None
    uart: Uart | None = None

    @property
    def flash(self) -> Region:
        """The first flash region: vector table, code and constants."""
        return next(r for r in self.regions if r.kind == "flash")

    @property
    def ram(self) -> Region:
        """The first RAM region: data, arena and stack."""
        return next(r for r in self.regions if r.kind == "ram")

    def arch_flags(self, scheme: str) -> tuple[str, ...]:
        """Core and float ABI, for the compiler and the linker.  Only a float32 network may use an FPU."""
        fpu_flags = CORES[self.core] if self.fpu and scheme == "float32" else None
        return (f"-mcpu={self.core}", "-mthumb", *(fpu_flags or ("-mfloat-abi=soft",)))

    def opt_flag(self, goal: str) -> str:
        """The compiler's flag for a goal.  On ARMv6-M -O3 is no gain: MNIST CNN in int8 2,144,539 to 2,176,574."""
        small = self.core in ("cortex-m0", "cortex-m0plus")
        return DEFAULT_OPT if goal == "time" and small else OPT_FLAGS.get(goal, DEFAULT_OPT)

    def cflags(self, scheme: str, opt: str = DEFAULT_OPT) -> tuple[str, ...]:
        """Every flag that decides on the code generated for a network of ``scheme``; no warnings, no includes."""
        return (*self.arch_flags(scheme), *BASE_CFLAGS, opt, *self.extra_cflags)


class _RegionFile(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    kind: Literal["flash", "ram"]
    base: int
    size: int | str
    wait_states: int = 0


class _TargetFile(msgspec.Struct, forbid_unknown_fields=True):
    description: str
    core: str
    clock_hz: int
    timing: str
    regions: list[_RegionFile]
    name: str | None = None
    fpu: bool = False
    stack: int | str = DEFAULT_STACK
    cflags: list[str] = []
    qemu_machine: str | None = None
    references: list[str] = []
    flash: Flash | None = None
    power: Power | None = None
    uart: Uart | None = None


def parse_size(text: str | int) -> int:
    """A size in bytes from ``64K``, ``1M``, ``0x1000`` or ``512``; K and M are powers of 1024.  Raises UsageError."""
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{text!r} is not a size", fix="write a number of bytes such as 4096, 0x1000, 64K or 1M")
    return int(match[1], 0 if match[1].lower().startswith("0x") else 10) * _SUFFIX[(match[2] or "").lower()]


def list_targets() -> list[str]:
    """The names of the targets that come with genn, sorted."""
    return sorted(p.stem for p in targets_dir().glob("*.toml"))


def load_target(name_or_path: str | Path | Target) -> Target:
    """The target of a name (``genn targets`` lists them) or of a TOML file.  Raises UsageError with file and field."""
    if isinstance(name_or_path, Target):
        return name_or_path
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text:
        path = Path(name_or_path)
    elif text in (known := list_targets()):
        path = targets_dir() / f"{text}.toml"
    else:
        close = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        fix = f"{hint}known are {', '.join(known)}, or give a .toml file"
        raise UsageError(f"there is no target {text!r}", fix=fix)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the target: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("the target is not UTF-8 text", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not a TOML file: {error}", str(path)) from None
    try:
        parsed = msgspec.convert(raw, _TargetFile)
    except msgspec.ValidationError as error:
        what, _, field = str(error).partition(" - at `$")
        where = f"{path}: field {field.rstrip('`').lstrip('.')}" if field else str(path)
        raise UsageError(what, where) from None
    return _checked(parsed, path)


def target_for(asked: str | Target | None, options: dict[str, Any], default: str) -> Target:
    """The target asked for; else the one of genn's that a network was converted for (``options`` of its manifest)."""
    meant = options.get("target")
    return load_target(asked or (meant if meant in list_targets() else default))


def _checked(raw: _TargetFile, path: Path) -> Target:
    """The Target, or UsageError naming the first field that cannot be true."""

    def need(condition: bool, field: str, what: str) -> None:
        if not condition:
            raise UsageError(what, f"{path}: field {field}")

    def size_of(text: str | int, field: str) -> int:
        try:
            return parse_size(text)
        except UsageError as error:
            raise UsageError(error.what, f"{path}: field {field}", error.fix) from None

    name = path.stem if raw.name is None else raw.name
    need(bool(_NAME.fullmatch(name)), "name", f"{name!r} cannot name a folder; use letters, digits, '.', '_' and '-'")
    need(raw.core in CORES, "core", f"unknown core {raw.core!r}; known are {', '.join(CORES)}")
    need(not raw.fpu or CORES[raw.core] is not None, "fpu", f"{raw.core} has no FPU")
    need(raw.clock_hz > 0, "clock_hz", "the clock must be positive")
    need(bool(_NAME.fullmatch(raw.timing)), "timing", f"{raw.timing!r} names no timing model")
    for i, flag in enumerate(raw.cflags):
        need(flag.startswith("-"), f"cflags[{i}]", f"{flag!r} is not a compiler flag")

    regions: list[Region] = []
    for i, r in enumerate(raw.regions):
        field = f"regions[{i}]"
        region = Region(r.name, r.base, size_of(r.size, f"{field}.size"), r.kind, r.wait_states)
        need(r.name.isidentifier() and r.name.isascii(), f"{field}.name", f"{r.name!r} cannot name a memory region")
        need(region.base >= 0 and not region.base % 8, f"{field}.base", "the base must be 0 or a multiple of 8")
        need(region.size > 0, f"{field}.size", "the size must be positive")
        need(region.end <= 1 << 32, f"{field}.size", "the region ends beyond the 32-bit address space")
        need(0 <= region.wait_states <= 64, f"{field}.wait_states", "wait states must be 0 to 64")
        for other in regions:
            need(other.name != region.name, f"{field}.name", f"a second region named {region.name}")
            need(region.end <= other.base or other.end <= region.base, field, f"{region.name} overlaps {other.name}")
        regions.append(region)
    for kind in ("flash", "ram"):
        need(any(r.kind == kind for r in regions), "regions", f"no region of kind {kind}")
    if raw.flash is not None:
        _check_flash(raw.flash, next(r for r in regions if r.kind == "flash"), raw.clock_hz, need)
    if raw.power is not None:
        smallest = min(raw.power.milliamps, raw.power.volts, raw.power.mhz)
        need(smallest > 0, "power", "current, voltage and clock must be positive")
    if raw.uart is not None:
        need(0 <= raw.uart.base < 1 << 32 and not raw.uart.base % 4, "uart.base", "no address of a peripheral")
        for region in regions:
            need(not region.base <= raw.uart.base < region.end, "uart.base", f"the UART lies in {region.name}")
    stack = size_of(raw.stack, "stack")
    ram = next(r for r in regions if r.kind == "ram")
    need(0 < stack <= ram.size and stack % 8 == 0, "stack", f"the stack must be a multiple of 8 within {ram.name}")
    return Target(
        name,
        raw.description,
        raw.core,
        raw.fpu,
        raw.clock_hz,
        raw.timing,
        tuple(regions),
        stack,
        tuple(raw.cflags),
        raw.qemu_machine,
        tuple(raw.references),
        raw.flash,
        raw.power,
        raw.uart,
    )


def _check_flash(flash: Flash, region: Region, clock_hz: int, need: Callable[[bool, str, str], None]) -> None:
    bits = flash.line_bits
    need(32 <= bits <= 4096 and not bits & (bits - 1), "flash.line_bits", "a line has 32, 64, 128, ... bits")
    for what, lines, ways in (("instruction", flash.instruction_lines, flash.instruction_ways),
                              ("data", flash.data_lines, flash.data_ways)):
        need(0 <= lines <= 1 << 16, f"flash.{what}_lines", "a cache has 0 to 65536 lines")
        whole = ways == 0 or (ways > 0 and lines % ways == 0)
        need(whole, f"flash.{what}_ways", "the lines are a multiple of the ways")
    clocks = [mhz for mhz, _ in flash.wait_states]
    need(bool(clocks) and clocks == sorted(set(clocks)), "flash.wait_states", "rows [up to MHz, wait states], rising")
    waits = flash.at(clock_hz)
    need(waits is not None, "flash.wait_states", "no row reaches clock_hz")
    need(waits == region.wait_states, "flash.wait_states",
         f"at clock_hz they are {waits}, but {region.name} has {region.wait_states}")
