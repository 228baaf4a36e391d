"""Many samples in pieces and over processes are one run; a converted network under the debugger."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genn import pieces
from genn.emulate import emulate
from genn.errors import FirmwareError
from genn.target import load_target

from . import project

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.arm


def inputs(n: int) -> list[np.ndarray]:
    return [(np.arange(8 * n, dtype=np.float32).reshape(n, 1, 8) % 11 - 5) / 4]


@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
def test_pieces_are_one_run(target: str, tmp_path: Path, need_tool, monkeypatch: pytest.MonkeyPatch) -> None:
    need_tool("arm-none-eabi-gcc")
    folder, x, board = project.write(tmp_path / "tiny"), inputs(13), load_target(target)
    whole = emulate(folder, board, x, budget=10**9)
    monkeypatch.setattr(pieces, "PIECE_INSTRUCTIONS", 3 * 8 * 32)
    for jobs in (1, 2):
        made = emulate(folder, board, x, elf=whole.elf, jobs=jobs)
        assert made.to_json() == whole.to_json() and made.functions == whole.functions
        assert made.output_bytes() == whole.output_bytes() and made.cycles_bounds == whole.cycles_bounds


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fault_in_a_piece(jobs: int, tmp_path: Path, need_tool, monkeypatch: pytest.MonkeyPatch) -> None:
    need_tool("arm-none-eabi-gcc")
    folder, board = project.write(tmp_path / "tiny"), load_target("cortex-m0plus")
    elf = emulate(folder, board).elf
    monkeypatch.setattr(pieces, "PIECE_INSTRUCTIONS", 1)
    monkeypatch.setattr("genn.emulate._BUDGET_SAMPLE", 10)
    monkeypatch.setattr("genn.emulate._BUDGET_MAC", 1)
    with pytest.raises(FirmwareError, match="budget of"):
        emulate(folder, board, inputs(5), elf=elf, jobs=jobs)


def test_debugger_of_a_network(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    gdb = need_tool("gdb-multiarch")
    folder = project.write(tmp_path / "tiny")
    np.savez(tmp_path / "x.npz", x=inputs(1)[0])
    server = subprocess.Popen([sys.executable, "-m", "genn.cli", "emulate", str(folder), "--gdb", "0", "--input",
                               str(tmp_path / "x.npz")], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    assert server.stderr is not None
    said = server.stderr.readline()
    found = re.search(r"gdb-multiarch (\S+) .*:(\d+)'", said)
    assert found, said + server.stderr.read()
    script = [f"target remote 127.0.0.1:{found[2]}", "break tiny_l01_scale", "continue", "bt", "continue"]
    done = subprocess.run([gdb, "-q", "-nx", "-batch", *[x for line in script for x in ("-ex", line)], found[1]],
                          capture_output=True, text=True, timeout=60)
    out, _ = server.communicate(timeout=30)
    assert "tiny_l01_scale" in done.stdout and "tiny_run" in done.stdout and "exited normally" in done.stdout, done
    assert server.returncode == 0 and "exit code 0" in out and "cycles in the network" in out
