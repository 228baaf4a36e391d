"""Each row of each timing: its instructions in context, by the fast path and by the slow one, against numbers by hand.

No class of instructions in any row is without a case: each is changed by itself, and some case must then fail.
"""

from __future__ import annotations

import tomllib
from copy import deepcopy
from pathlib import Path

import pytest

import emu
from emu import slow
from emu.timing import Timing

from . import rows
from .bench import Case, build, program

AT_ONCE = 50
UNSEEN = ("svc", "udf")
"""They end the run or begin an exception: 0 by themselves."""
HARD = ("cortex-m4", "cortex-m7", "cortex-m33")
V7M = [*rows.v7m(P=2), *rows.divisions()]
M4 = [*V7M, *rows.m4(), *rows.fpu()]
# timing: core that runs it, what the return to the caller takes, cases
TABLES: dict[str, tuple[str, int, list[Case]]] = {
    "cortex-m0": ("cortex-m0", 3, rows.v6m(jump=3, taken=3, link=4, pop=4, mov_pc=3, state=4, mul=1, wait=2)),
    "cortex-m0plus": ("cortex-m0plus", 2, rows.v6m(jump=2, taken=2, link=3, pop=3, mov_pc=2, state=3, mul=1, wait=2)),
    "thumbulator": ("cortex-m0plus", 2, rows.v6m(jump=2, taken=2, link=3, pop=None, mov_pc=1, state=3, mul=32, wait=1)),
    "cortex-m3": ("cortex-m3", 3, [*V7M, *rows.m3()]),
    "cortex-m4": ("cortex-m4", 3, M4),
    "cortex-m33": ("cortex-m33", 3, M4),
    "cortex-m7": ("cortex-m7", 3, M4),
}
PARAMETERS: list[tuple[str, dict[str, int], int, list[Case]]] = [
    ("cortex-m0plus", {"multiplier": 32}, 2, rows.v6m(2, 2, 3, pop=3, mov_pc=2, state=3, mul=32, wait=2)),
    ("cortex-m0", {"multiplier": 32}, 3, rows.v6m(3, 3, 4, pop=4, mov_pc=3, state=4, mul=32, wait=2)),
    ("cortex-m4", {"P": 1, "B": 0}, 2, rows.v7m(P=1, B=0)),
    ("cortex-m3", {"P": 3}, 4, rows.v7m(P=3)),
]


class Bench:
    """Cases in a few ELF files, each of which can be run again under another timing."""

    def __init__(self, folder: Path, cases: list[Case], core: str, back: int) -> None:
        self.core, self.back = core, back
        self.parts: list[tuple[list[Case], emu.Machine]] = []
        for at in range(0, len(cases), AT_ONCE):
            some = cases[at : at + AT_ONCE]
            elf = build(folder / f"{core}-{at}", {"x.S": program(some)}, core)
            names = [f"case_{i}" for i in range(len(some))]
            self.parts.append((some, emu.Machine(elf, core=core, fpu=core in HARD, banks=names)))

    def wrong(self, timing: Timing, first: bool = False) -> list[str]:
        """Cases that come to something else than they say; with ``first`` no more than one part that has any."""
        out: list[str] = []
        for cases, machine in self.parts:
            machine.timing = timing
            result = machine.run(check=True)
            assert result.exit == 0
            out += self._differences(cases, result.layers)
            if out and first:
                break
        return out

    def wrong_slowly(self, timing: str, parameters: dict[str, int]) -> list[str]:
        """The same by stepping."""
        out: list[str] = []
        for cases, machine in self.parts:
            result = slow.run(machine.image, self.core, timing=timing, parameters=parameters, banks=machine.banks)
            out += self._differences(cases, result.layers)
        return out

    def _differences(self, cases: list[Case], layers) -> list[str]:
        out = []
        for case, layer in zip(cases, layers, strict=True):
            assert layer.calls == 1, case.name
            got = layer.cycles - self.back * case.returns, layer.instructions - case.returns
            if got != (case.cycles, case.instructions):
                out.append(f"{case.name}: {got}, expected {(case.cycles, case.instructions)}")
        return out


def tables(name: str) -> dict:
    """The TOML of a timing with what it is based on."""
    folder = Path(emu.__file__).parent / "timing"
    data = tomllib.loads((folder / f"{name}.toml").read_text())
    base = data.get("base")
    return {**tables(base), **data} if base else data


def test_every_timing_is_here():
    assert sorted(TABLES) == emu.timings()


@pytest.mark.arm
@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row(name, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    core, back, cases = TABLES[name]
    bench = Bench(tmp_path, cases, core, back)
    assert bench.wrong(emu.load_timing(name)) == []
    assert bench.wrong_slowly(name, {}) == []
    if name in ("cortex-m33", "cortex-m7"):
        return                          # their rows are the M4's
    data = tables(name)
    for i, row in enumerate(data["rule"]):
        for kind in row["kinds"]:
            for key in ("cycles", "taken"):
                if key in row and kind not in UNSEEN:
                    changed = deepcopy(data)
                    changed["rule"][i]["kinds"].remove(kind)
                    wrong = f"({row[key]}) + 1" if " if " not in row[key] else "3"
                    changed["rule"].append({**row, "kinds": [kind], key: wrong})
                    assert bench.wrong(Timing(changed), first=True), f"{name}: no case for {kind} ({key})"
    for pair in data.get("pair", {}):
        changed = deepcopy(data)
        changed["pair"][pair]["cycles"] += 1
        assert bench.wrong(Timing(changed), first=True), f"{name}: no case for the pair {pair}"


@pytest.mark.arm
@pytest.mark.parametrize("name, parameters, back, cases", PARAMETERS, ids=[f"{n}-{p}" for n, p, _, _ in PARAMETERS])
def test_parameters(name, parameters, back, cases, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    bench = Bench(tmp_path, cases, name, back)
    assert bench.wrong(emu.load_timing(name, **parameters)) == []
    assert bench.wrong_slowly(name, parameters) == []


def test_every_rule_names_its_source():
    for name in emu.timings():
        timing = emu.load_timing(name)
        assert timing.tier and timing.source
        assert ("estimate" in timing.tier) == (name in ("cortex-m33", "cortex-m7"))
        for rule in timing.rules.values():
            assert ("DDI" in rule.manual) or name == "thumbulator", (name, rule)
    for kind in ("svc", "bkpt", "udf"):
        assert all(emu.load_timing(name).rules[kind].cycles == "0" for name in emu.timings())
    with pytest.raises(emu.EmuError, match="no parameter"):
        emu.load_timing("cortex-m4", Q=1)
    with pytest.raises(emu.EmuError, match="no timing"):
        emu.load_timing("cortex-m99")
