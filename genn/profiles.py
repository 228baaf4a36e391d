"""What ``genn emulate`` adds to its report from a watched run: profile files, listings, wait states and energy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import emu
from genn.atomic import atomic_write
from genn.emulate import Emulation
from genn.errors import UsageError
from genn.report import Table
from genn.target import Target

NOT_MODELLED = "fetches beyond taken branches, loads and fetches that meet, and DMA are not modelled"


def flash_lines(run: Emulation) -> list[str]:
    """What the flash's wait states do to the cycles: which figure is a bound, which an estimate."""
    if not run.flash_model:
        return []
    low, high = run.cycles_bounds
    lines = [f"wait states: {low:,.0f} cycles with none paid, at most {high:,.0f} with every line fetch and load paid "
             f"({run.flash_model})"]
    if run.cycles_estimate is not None:
        lines.append(f"estimate with the cache modelled: {run.cycles_estimate:,.0f} cycles; {NOT_MODELLED}")
    return lines


def energy_lines(run: Emulation, target: Target) -> list[str]:
    """Energy of one inference, from the datasheet's current."""
    power = target.power
    if power is None or run.joules is None:
        return []
    which = "estimated cycles" if run.cycles_estimate is not None else "cycles without wait states"
    return [f"energy: about {run.joules * 1e6:,.3g} uJ an inference, an estimate over the {which} from "
            f"{power.milliamps:g} mA at {power.mhz:g} MHz and {power.volts:g} V ({power.reference})"]


def function_table(run: Emulation, top: int = 20) -> Table | None:
    """The dearest functions, exclusive and inclusive, of all samples together."""
    if run.profile is None:
        return None
    total = run.profile.trace.cycles or 1
    rows = [[f.name, f.calls, f.cycles, round(100 * f.cycles / total, 1), f.inclusive, f.instructions,
             ", ".join(sorted(run.profile.callers(f.name), key=lambda c: -callers[c][1])[:3])]
            for f in run.profile.functions()[:top] for callers in [run.profile.callers(f.name)]]
    columns = ["function", "calls", "cycles itself", "%", "with callees", "instructions", "called by"]
    return Table(f"functions, {run.samples} sample{'s' if run.samples > 1 else ''} together", columns, rows)


def write(run: Emulation, files: Sequence[str], symbols: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Write the profile ``files`` and return lines: what was written, and the listings of ``symbols``."""
    from emu.annotate import annotate

    if run.profile is None:
        return []
    try:
        lines = []
        for path in files:
            atomic_write(Path(path), run.profile.file(path).encode())
            lines.append(f"wrote {path}")
        for symbol in symbols:
            lines += annotate(run.profile, symbol, folders).splitlines()
        return lines
    except emu.EmuError as error:
        raise UsageError(str(error)) from None


def check(files: Sequence[str]) -> None:
    """UsageError, before anything runs, for a profile file whose name asks for no known format."""
    from emu.profile import FORMATS

    for path in files:
        name = Path(path).name
        if not name.endswith((*FORMATS, ".perfetto.json", ".chrome.json")) and not name.startswith("callgrind.out"):
            known = ", ".join(f"*{suffix} for {tool}" for suffix, tool in FORMATS.items())
            raise UsageError(f"{path!r} names no profile format", "--profile", f"use {known}")
