"""The firmware compiles without a word on every compiler, calls no library, and lies in memory as it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import emu

from . import project

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware"
WARNINGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
CORES = {"cortex-m0plus": ["-mcpu=cortex-m0plus", "-mfloat-abi=soft"],
         "cortex-m4": ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]}


def header(folder: Path) -> None:
    from genn.build import net_header
    from genn.manifest import read_raw

    (folder / "genn_net.h").write_text(net_header(read_raw(project.write(folder))))


@pytest.mark.arm
@pytest.mark.parametrize("core", sorted(CORES))
def test_silent_and_without_library(core, tmp_path, need_tool):
    gcc = need_tool("arm-none-eabi-gcc")
    header(tmp_path)
    for source in sorted(FIRMWARE.glob("*.c")):
        out = tmp_path / f"{source.stem}.o"
        command = [gcc, *WARNINGS, *CORES[core], "-mthumb", "-I.", f"-I{FIRMWARE}", "-c", source, "-o", out]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), source.name
        names = subprocess.run(["arm-none-eabi-nm", "-u", out], capture_output=True, text=True).stdout.split()
        known = ("genn_", "tiny_", "main", "__stack_", "__data_", "__bss_")
        assert [n for n in names if n != "U" and not n.startswith(known)] == [], source.name


def test_clang_is_silent(tmp_path, need_tool):
    clang = need_tool("clang")
    header(tmp_path)
    for machine in ("thumbv6m-none-eabi", "thumbv7em-none-eabi"):
        command = [clang, f"--target={machine}", "-fsyntax-only", *WARNINGS, "-I.", f"-I{FIRMWARE}"]
        done = subprocess.run([*command, *sorted(FIRMWARE.glob("*.c"))], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.arm
@pytest.mark.parametrize("port", ["semihost", "board"])
@pytest.mark.parametrize("name", ["cortex-m0plus", "nucleo-f411re"])
def test_memory_layout(name, port, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from genn.build import build_firmware
    from genn.target import load_target

    target = load_target(name)
    image = emu.load(build_firmware(project.write(tmp_path / "tiny"), target, port=port))
    limit, top, arena = (image.symbol(s) for s in ("__stack_limit", "__stack_top", "genn_arena"))
    assert limit.address == target.ram.base and top.address - limit.address == target.stack
    assert arena.address >= top.address and arena.address % 8 == 0
    assert image.segments[0].data[:4] == top.address.to_bytes(4, "little")
    assert [s.executable for s in image.segments if s.vaddr == target.flash.base] == [True]
    assert not any(s.executable and s.writable for s in image.segments)
    if port == "board":     # it never ends: the runs are done when its text is
        result = emu.Machine(image, target.core, target.fpu, count="tiny_run", regions=[
            emu.Region(r.name, r.base, r.size, r.kind) for r in target.regions]).run(budget=3_000_000)
        assert result.calls == 10 and "budget" in str(result.fault)
