"""Random C programs: fast and slow count alike, and this machine, QEMU and both emulators compute alike.

The long run: ``GENN_CSMITH=512 python -m pytest -m long tests/emu/test_csmith.py``, about nine minutes on one core.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from . import csmith

VERSION = "2.3.0"
"""Of csmith, with which the seeds were chosen: another makes other programs of them."""
COMBINATIONS = [(core, level) for level in csmith.LEVELS for core in csmith.CORES]
LONG = int(os.environ.get("GENN_CSMITH", "512"))
# Seeds whose programs do something without being long: one for each core at each level.
DAILY = list(zip((800, 849, 834, 851, 836, 837, 806, 871, 808, 841, 858, 859, 828, 877, 814, 879), COMBINATIONS))


def compare(folder: Path, need_tool, seed: int, core: str, level: str) -> csmith.Outcome:
    for tool in ("csmith", "gcc", "arm-none-eabi-gcc", "qemu-system-arm"):
        need_tool(tool)
    need_headers()
    outcome = csmith.compare(folder, seed, core, level)
    assert not outcome.wrong, str(outcome)
    return outcome


def need_headers() -> None:
    from tests.conftest import missing

    if not (csmith.HEADERS / "csmith.h").is_file():
        missing("csmith.h (Debian: libcsmith-dev)")


@pytest.mark.arm
@pytest.mark.qemu
@pytest.mark.parametrize("seed, built", DAILY, ids=str)
def test_a_random_program(seed: int, built: tuple[str, str], tmp_path: Path, need_tool) -> None:
    outcome = compare(tmp_path, need_tool, seed, *built)
    if VERSION in subprocess.run(["csmith", "--version"], cwd=tmp_path, capture_output=True, text=True).stdout:
        assert outcome.instructions > 14_000, "the seeds are chosen so that something happens"


@pytest.mark.long
@pytest.mark.arm
@pytest.mark.qemu
@pytest.mark.parametrize("start", range(0, LONG, 16))
def test_many_random_programs(start: int, tmp_path: Path, need_tool) -> None:
    """Sixteen programs that end, one for each core at each level."""
    seed = start * 1000
    for core, level in COMBINATIONS:
        while compare(tmp_path / str(seed), need_tool, seed, core, level).passed_over:
            seed += 1
        seed += 1
