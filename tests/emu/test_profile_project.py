"""Profiles, wait states and energy of a whole project, through genn.emulate, the command line and python -m emu."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import emu
from genn.cli import cli
from genn.emulate import emulate
from genn.target import list_targets, load_target

from . import project
from .bench import CRT, EXIT, build


@pytest.mark.arm
@pytest.mark.parametrize("name", sorted(list_targets()))
def test_every_board(name, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    folder, board = project.write(tmp_path / "tiny"), load_target(name)
    plain, seen = emulate(folder, board), emulate(folder, board, watch=True)
    assert plain.cycles == seen.cycles and plain.profile is None and seen.profile is not None
    assert seen.outputs[0].tobytes() == plain.outputs[0].tobytes()
    functions = {f.name: f for f in seen.profile.functions()}
    assert functions["tiny_run"].inclusive == seen.cycles == sum(f.cycles for f in functions.values())
    for layer in seen.layers:
        assert functions[layer.symbol].inclusive == layer.cycles
    low, high = seen.cycles_bounds
    if board.flash.wait_states:
        assert seen.cycles_estimate is not None and low < seen.cycles_estimate <= high
        stalls = [x.stalls for x in seen.layers]
        assert all(s is not None and s >= 0 for s in stalls) and sum(stalls) <= seen.cycles_estimate - low
        assert plain.cycles_estimate is None and plain.cycles_bounds == seen.cycles_bounds
    else:
        assert seen.cycles_estimate is None and low == high == seen.cycles
    if board.power:
        assert plain.joules == pytest.approx(
            plain.cycles / board.clock_hz * board.power.milliamps * 1e-3 * board.power.volts
            * board.clock_hz / 1e6 / board.power.mhz)
    else:
        assert plain.joules is None


@pytest.mark.arm
def test_command_line(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    folder = project.write(tmp_path / "tiny")
    # the small project has no vectors, so that an input is given
    files = [str(tmp_path / n) for n in ("x.speedscope.json", "x.trace.json", "x.callgrind")]
    import numpy as np

    np.save(tmp_path / "x.npy", np.ones((1, 8), np.float32))
    options = [word for f in files for word in ("--profile", f)]
    done = CliRunner().invoke(cli, ["emulate", str(folder), "-t", "nucleo-f411re", "--input", str(tmp_path / "x.npy"),
                                    *options, "--annotate", "tiny_l00_linear", "--json", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert "estimate with the cache modelled" in done.output and "energy: about" in done.output
    assert "tiny.c:" in done.output and "acc = acc + tiny_l00_w" in done.output
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["cycles_bounds"][0] < told["cycles_estimate"] <= told["cycles_bounds"][1]
    assert told["joules_estimate"] > 0
    assert json.loads((tmp_path / "x.speedscope.json").read_text())["profiles"][0]["endValue"] == told["cycles"]
    layers = [e for e in json.loads((tmp_path / "x.trace.json").read_text())["traceEvents"]
              if e["ph"] == "X" and e["tid"] == 1]
    assert [(e["name"], e["dur"]) for e in layers] == [(x["name"], x["cycles"]) for x in told["layers"]]
    wrong = CliRunner().invoke(cli, ["emulate", str(folder), "--profile", "x.pdf", "--input", str(tmp_path / "x.npy")],
                               standalone_mode=False)
    assert wrong.exception is not None and "profile format" in str(wrong.exception)


@pytest.mark.arm
def test_python_m_emu(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    text = CRT + "  bl main\n" + EXIT + """
.thumb_func
.type main, %function
main: push {lr}
  bl leaf
  pop {pc}
.size main, . - main
.thumb_func
.type leaf, %function
leaf: bx lr
.size leaf, 2
"""
    elf = build(tmp_path, {"x.S": text}, "cortex-m0plus", "-g")
    done = subprocess.run(
        [sys.executable, "-m", "emu", elf, "--count", "main", "--region", "FLASH,flash,0,0x100000,2",
         "--region", "RAM,ram,0x20000000,0x10000", "--flash", "64,2,prefetch", "--annotate", "main", "--profile",
         tmp_path / "callgrind.out.x"], capture_output=True, text=True, check=True)
    # push 2, bl 3, bx 2, pop 4
    assert "11 cycles, 4 instructions" in done.stderr and "main: 9 cycles by itself" in done.stderr
    assert "an estimate: 2 wait states, 64-bit lines, 2 instruction lines, prefetch" in done.stderr
    assert "summary: 11 4" in (tmp_path / "callgrind.out.x").read_text()
    damaged = tmp_path / "damaged.elf"
    damaged.write_bytes(elf.read_bytes()[:100])
    assert subprocess.run([sys.executable, "-m", "emu", damaged], capture_output=True).returncode == 3
    bad = build(tmp_path / "bad", {"x.S": CRT + "  udf #0\n"}, "cortex-m0plus", "-g")
    fault = subprocess.run([sys.executable, "-m", "emu", bad], capture_output=True, text=True)
    assert fault.returncode == 5 and "undefined instruction" in fault.stderr and "(x.S:12)" in fault.stderr


def test_a_faulting_run_has_no_profile(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from emu.trace import trace

    machine = emu.Machine(build(tmp_path, {"x.S": CRT + "  udf #0\n"}, "cortex-m0plus"))
    with pytest.raises(emu.EmuError, match="ended in a fault"):
        trace(machine, machine.run())
