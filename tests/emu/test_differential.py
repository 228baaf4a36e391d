"""The fast path against a reference that steps, against QEMU and against the host, on C programs at every level."""

from __future__ import annotations

import subprocess

import pytest

import emu
from emu import slow

from .bench import build
from .programs import MAIN, PROGRAMS, START

LEVELS = ["-O0", "-O2", "-Os"]


def compiled(folder, name, core, level):
    sources = {"start.S": START, "main.c": MAIN, "work.c": PROGRAMS[name]}
    return build(folder, sources, core, level, "-std=c99", "-ffp-contract=off", "-ffreestanding")


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_stepping_agrees(name, core, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    outputs = set()
    for level in LEVELS:
        elf = compiled(tmp_path / level, name, core, level)
        fast = emu.Machine(elf, core=core, fpu=core == "cortex-m4", count="cmain", banks=["work"]).run(check=True)
        step = slow.run(elf, core, count="cmain", banks=["work"])
        assert (fast.cycles, fast.instructions, fast.calls) == (step.cycles, step.instructions, step.calls), level
        for a, b in zip(fast.layers, step.layers, strict=True):
            assert (a.cycles, a.instructions, a.calls) == (b.cycles, b.instructions, b.calls), (level, a.symbol)
        assert fast.console == step.console
        if core == "cortex-m0plus":     # the same instructions by Thumbulator's table
            fast = emu.Machine(elf, core=core, timing="thumbulator").run(check=True)
            step = slow.run(elf, core, timing="thumbulator")
            assert (fast.cycles, fast.instructions) == (step.cycles, step.instructions), level
        outputs.add(fast.console)
    assert len(outputs) == 1
    host = tmp_path / "host"
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "work.c").write_text(PROGRAMS[name])
    cc = need_tool("gcc")
    flags = ["-O1", "-std=c99", "-ffp-contract=off"]
    subprocess.run([cc, *flags, "-o", host, "main.c", "work.c"], cwd=tmp_path, check=True)
    assert subprocess.run([host], capture_output=True, text=True, check=True).stdout == outputs.pop()


@pytest.mark.arm
@pytest.mark.qemu
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_qemu_agrees(name, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    qemu = need_tool("qemu-system-arm")
    elf = compiled(tmp_path, name, "cortex-m4", "-O2")
    fast = emu.Machine(elf, core="cortex-m4", fpu=True).run(check=True)
    done = subprocess.run([qemu, "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none",
                           "-semihosting-config", "enable=on,target=native", "-kernel", elf],
                          capture_output=True, text=True, timeout=30, check=True)
    assert fast.console in (done.stdout, done.stderr)
