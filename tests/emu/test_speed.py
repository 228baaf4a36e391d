"""The emulator's own benchmark: its programs are what they were, every method counts alike, and none is slow."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import emu
from genn.bench import emulator

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("core", emulator.CORES)
@pytest.mark.parametrize("name", emulator.BANKS)
def test_programs(name: str, core: str) -> None:
    elf = emulator.program(name, core, 0.01)
    machine = emu.Machine(elf, core, regions=emulator._REGIONS, count="work", banks=emulator.BANKS[name])
    once = machine.run(check=True)
    answer = machine.symbol_bytes("bench_result")
    again = machine.run(check=True)
    assert once.exit == 0 and once.cycles == again.cycles and once.layers == again.layers
    assert sum(layer.calls for layer in once.layers) > 0
    assert sum(layer.instructions for layer in once.layers) <= once.instructions
    bare = emu.Machine(elf, core, regions=emulator._REGIONS, counting=False)
    assert bare.run(check=True).exit == 0 and bare.symbol_bytes("bench_result") == answer
    per_block = once.instructions / machine.blocks_run()
    assert per_block <= 16
    if name == "branchy":
        assert per_block <= 6


def test_both_cores_agree() -> None:
    """The programs compute the same on either instruction set."""
    for name in emulator.BANKS:
        answers = set()
        for core in emulator.CORES:
            machine = emu.Machine(emulator.program(name, core, 0.01), core, regions=emulator._REGIONS)
            machine.run(check=True)
            answers.add(machine.symbol_bytes("bench_result"))
        assert len(answers) == 1, name


def test_a_changed_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sums.txt").write_text((emulator.PROGRAMS / "sums.txt").read_text())
    (tmp_path / "linear-v6m.elf").write_bytes((emulator.PROGRAMS / "linear-v6m.elf").read_bytes() + b"\0")
    monkeypatch.setattr(emulator, "PROGRAMS", tmp_path)
    with pytest.raises(Exception, match="hash"):
        emulator.program("linear", "cortex-m0plus")


def test_report() -> None:
    report = emulator.bench(["linear"], ["cortex-m0plus"], rounds=3, scale=0.2)
    rows = {row["method"]: row for row in report.data["rows"]}
    assert list(rows) == ["bare", "empty_hook", "count", "profile", "instruction_hook"]
    assert {"method", "program", "core", "mips", "instructions", "ns_per_block"} <= set(rows["bare"])
    assert len({row["instructions"] for row in rows.values()}) == 1
    assert rows["bare"]["of_bare"] == 1 and all(len(row["seconds"]) == 3 for row in rows.values())
    # far below what is measured on a quiet machine, so that a busy one passes too
    assert rows["profile"]["of_bare"] > 0.5 and rows["profile"]["mips"] > 2 * rows["instruction_hook"]["mips"]


def test_thumbulator_is_called_with_a_flat_program(tmp_path: Path) -> None:
    """A stand-in that checks what it is given: vectors, and SVC 1 where the program ends."""
    fake = tmp_path / "thumbulator"
    fake.write_text(f"#!{sys.executable}\nimport sys\nd = open(sys.argv[1], 'rb').read()\n"
                    "ok = d[4:8] == bytes([9, 0, 0, 0]) and d[0x14:0x16] == bytes([1, 0xdf])\n"
                    f"open({str(tmp_path / 'ran')!r}, 'w').write(str(ok))\n")
    fake.chmod(0o755)
    report = emulator.bench(["branchy"], ["cortex-m0plus"], rounds=1, scale=0.01, thumbulator=fake)
    assert [row["method"] for row in report.data["rows"]][-1] == "thumbulator"
    assert (tmp_path / "ran").read_text() == "True"


def test_start_is_quick() -> None:
    elf = emulator.PROGRAMS / "mixed-v6m.elf"
    spent = []
    for _ in range(3):
        start = time.process_time()
        emu.Machine(elf, "cortex-m0plus", regions=emulator._REGIONS).run(budget=1)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05
    code = "import sys, emu, genn.bench.emulator; assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("banks", [[], emulator.BANKS["branchy"]], ids=["all", "banks"])
def test_budgets_end_at_the_same_instruction(banks: list[str]) -> None:
    """However the budget is looked at on the way, a run ends before the block that would exceed it."""
    elf = emulator.program("branchy", "cortex-m4", 0.01)
    machine = emu.Machine(elf, "cortex-m4", regions=emulator._REGIONS, banks=banks)
    total = machine.run(check=True).total_instructions
    for budget in (0, 1, 1000, 16383, 16384, 16385, 100_000, total - 1):
        result = machine.run(budget=budget)
        assert result.fault and "budget" in result.fault.reason
        assert budget - 200 < result.total_instructions <= budget
    assert machine.run(budget=total).fault is None
