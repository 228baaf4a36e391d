"""Runs as a user sees them: semihosting, banks, stack, reuse, and whole projects through genn.emulate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import emu

from . import project, slow
from .bench import CRT, EXIT, build

ROOT = Path(__file__).resolve().parents[2]
HELLO = """
  bl main
""" + EXIT
FILES_C = """
#include <stdint.h>
static uint32_t host(uint32_t op, const void *arg)
{
    register uint32_t r0 __asm__("r0") = op;
    register const void *r1 __asm__("r1") = arg;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static uint32_t call(uint32_t op, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t block[3] = {a, b, c};
    return host(op, block);
}
static char buffer[64];
int main(void)
{
    uint32_t in = call(1, (uint32_t)"in", 1, 2), out, tty;
    if (in == ~0u) return (int)call(0x20, 0x20026, 9, 0);
    if (call(1, (uint32_t)"none", 1, 4) != ~0u) return 1;
    if (call(0x0c, in, 0, 0) != 10) return 2;
    call(0x0a, in, 3, 0);
    if (call(6, in, (uint32_t)buffer, 20) != 13) return 3;
    out = call(1, (uint32_t)"out", 5, 3);
    call(5, out, (uint32_t)buffer, 4);
    call(5, out, (uint32_t)"!", 1);
    call(2, out, 0, 0);
    out = call(1, (uint32_t)"out", 9, 3);
    call(5, out, (uint32_t)"+", 1);
    tty = call(1, (uint32_t)":tt", 4, 3);
    if (!call(9, tty, 0, 0) || call(9, out, 0, 0)) return 4;
    call(5, tty, (uint32_t)"hello ", 6);
    host(4, "world");
    host(3, "\\n");
    if ((int)host(0x10, 0) < 0) return 5;
    if (call(2, 77, 0, 0) != ~0u) return 6;
    call(0x20, 0x20026, 42, 0);
    return 0;
}
"""


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_semihosting(core, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    machine = emu.Machine(build(tmp_path, {"start.S": CRT + HELLO, "main.c": FILES_C}, core, "-O1"), core=core,
                          fpu=core == "cortex-m4")
    result = machine.run({"in": b"0123456789"}, check=True)
    assert result.exit == 42
    assert result.console == "hello world\n"
    assert result.files == {"in": b"0123456789", "out": b"3456!+"}
    assert machine.run().exit == 9
    assert machine.run({"in": b"0123456789"}).cycles == result.cycles


BANKS_C = """
__attribute__((noinline)) int shared(int n) { volatile int x = n; return x + 1; }
__attribute__((noinline)) int deep(int n) { return n ? shared(n) + deep(n - 1) : 0; }
__attribute__((noinline)) int la(int n) { int i, s = 0; for (i = 0; i < n; i++) s += shared(i); return s; }
__attribute__((noinline)) int lb(int n) { return deep(n); }
__attribute__((noinline)) int lc(int n) { return shared(n); }
__attribute__((noinline)) int run(void) { int s = la(5); s += lb(4); s += la(7); return lc(s); }
int main(void) { shared(1); la(3); run(); run(); shared(2); return 0; }
"""


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_banks_are_charged_with_what_they_call(core, level, tmp_path, need_tool):
    """-O2 makes tail calls of lc and shared: nothing is lost by them."""
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"start.S": CRT + HELLO, "main.c": BANKS_C}, core, level)
    result = emu.Machine(elf, core=core, fpu=core == "cortex-m4", count="run", banks=["la", "lb", "lc"]).run(check=True)
    assert result.calls == 2
    assert [x.calls for x in result.layers] == [4, 2, 2]
    seen, image = slow.trace(elf, core), emu.load(elf)
    timing = emu.load_timing(core)

    def spans(name, within=None):
        """Index ranges of the trace from a function's entry to its return, by the address behind the call."""
        entry, at, out = image.symbol(name).address, 0, []
        while at < len(seen.addresses):
            if seen.addresses[at] == entry:
                before = seen.addresses[at - 1]
                back = before + len(seen.code[before])
                called = len(seen.code[before]) == 4 and seen.code[before][3] & 0xD0 == 0xD0
                if called:
                    end = seen.addresses.index(back, at)
                else:       # jumped to: it returns where its caller does
                    end = min(e for _, e in within if e > at)
                out.append((at, end))
                at = end
            at += 1
        return out

    runs = spans("run")
    assert len(runs) == 2
    inside = [i for a, b in runs for i in range(a, b)]
    assert result.instructions == len(inside)
    total = 0
    for layer in result.layers:
        parts = [(a, b) for a, b in spans(layer.symbol, runs) if any(x <= a < y for x, y in runs)]
        assert layer.instructions == sum(b - a for a, b in parts), layer.symbol
        if core == "cortex-m0plus":
            cycles = sum(slow.m0plus_cycles(slow.Trace(seen.addresses[a:b], code=seen.code)) for a, b in parts)
            assert layer.cycles == cycles, layer.symbol
        total += layer.cycles
    assert total < result.cycles
    assert sum(c for c, _ in result.functions.values()) == result.cycles
    if core == "cortex-m0plus":
        whole = sum(slow.m0plus_cycles(slow.Trace(seen.addresses[a:b], code=seen.code)) for a, b in runs)
        assert result.cycles == whole
    assert timing.name == result.timing


@pytest.mark.arm
def test_a_loop_at_the_entry_is_no_call(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    text = CRT + "  movs r1, #9\n  bl loop\n" + EXIT + """
.thumb_func
.type loop, %function
loop:
  subs r1, #1
  bne loop
  bx lr
"""
    result = emu.Machine(build(tmp_path, {"x.S": text}, "cortex-m0plus"), count="loop").run(check=True)
    assert (result.calls, result.instructions, result.cycles) == (1, 19, 9 + 8 * 2 + 1 + 2)


@pytest.mark.arm
def test_stack_height(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    text = CRT + "  sub sp, #100\n  mov r0, sp\n  movs r1, #1\n  str r1, [r0]\n  add sp, #100\n" + EXIT
    result = emu.Machine(build(tmp_path, {"x.S": text}, "cortex-m0plus")).run(check=True)
    assert result.stack_high == 100


def inputs(samples):
    return [np.random.default_rng(5).normal(size=(samples, 1, 8)).astype(np.float32)]


def expected(x):
    w = np.array(project.WEIGHTS, np.float32).reshape(4, 8)
    acc = np.zeros((len(x), 4), np.float32)
    for i in range(8):
        acc = acc + w[:, i] * x[:, 0, i:i + 1]
    return np.where(acc > 0, acc * np.float32(0.5), acc / np.float32(3)).astype(np.float32).reshape(len(x), 1, 4)


@pytest.mark.arm
@pytest.mark.parametrize("name", ["cortex-m0plus", "nucleo-f411re", "mps2-an386"])
def test_project(name, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from genn.emulate import emulate, project_of
    from genn.target import load_target

    folder, x = project.write(tmp_path / "tiny"), inputs(6)
    done = emulate(folder, load_target(name), x)
    assert done.outputs[0].tobytes() == expected(x[0]).tobytes()
    assert done.elf == folder / "build" / name / "tiny.elf"
    assert project_of(done.elf) == folder.resolve() and project_of(tmp_path / "x.elf") is None
    assert done.samples == 6 and done.exit == 0
    assert abs(sum(r.cycles for r in [*done.layers, done.other]) - done.cycles) < 1e-6
    assert 0 < done.stack_bytes < 1024
    told = json.loads(json.dumps(done.to_json()))
    assert set(told) >= {"schema", "target", "core", "timing", "cycles", "cycles_bounds", "instructions",
                         "seconds_at_clock", "layers", "stack_bytes", "outputs", "exit"}
    assert told["layers"][0].keys() >= {"name", "op", "macs", "cycles", "instructions", "cycles_per_mac"}
    low, high = done.cycles_bounds
    assert low == done.cycles and (high > low) == (name == "nucleo-f411re")
    one = emulate(folder, load_target(name), x[0].tobytes(), elf=done.elf)
    assert one.cycles == done.cycles and one.output_bytes() == done.output_bytes()


@pytest.mark.arm
def test_soft_float_is_charged_to_the_layers(tmp_path, need_tool):
    """Layer by layer equal to a trace of single steps, where most cycles are libgcc's."""
    need_tool("arm-none-eabi-gcc")
    from genn.emulate import emulate
    from genn.target import load_target

    folder, x = project.write(tmp_path / "tiny"), inputs(2)
    done = emulate(folder, load_target("cortex-m0plus"), x)
    seen, image = slow.trace(done.elf, "cortex-m0plus", {"genn_in.bin": x[0].tobytes()}), emu.load(done.elf)
    assert bytes(seen.host.files["genn_out.bin"]) == done.outputs[0].tobytes()
    for layer in [*done.layers, done.other]:
        entry, parts = image.symbol(layer.symbol).address, []
        for at in (i for i, a in enumerate(seen.addresses) if a == entry):
            before = seen.addresses[at - 1]
            end = seen.addresses.index(before + len(seen.code[before]), at)
            parts.append(slow.Trace(seen.addresses[at:end], code=seen.code))
        assert len(parts) == 2
        cycles = sum(map(slow.m0plus_cycles, parts)) / 2
        instructions = sum(len(p.addresses) for p in parts) / 2
        if layer is done.other:
            cycles -= sum(r.cycles for r in done.layers)
            instructions -= sum(r.instructions for r in done.layers)
        assert (layer.cycles, layer.instructions) == (cycles, instructions), layer.symbol
    assert sum(c for f, (c, _) in done.functions.items() if f.startswith("__aeabi_f")) > done.cycles
    assert done.layers[0].cycles_per_mac > 150


@pytest.mark.arm
@pytest.mark.qemu
def test_project_in_qemu(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    qemu = need_tool("qemu-system-arm")
    from genn.emulate import emulate
    from genn.target import load_target

    folder, x = project.write(tmp_path / "tiny"), inputs(3)
    done = emulate(folder, load_target("mps2-an386"), x)
    (tmp_path / "genn_in.bin").write_bytes(x[0].tobytes())
    subprocess.run([qemu, "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none",
                    "-semihosting-config", "enable=on,target=native", "-kernel", done.elf],
                   cwd=tmp_path, timeout=30, check=True)
    assert (tmp_path / "genn_out.bin").read_bytes() == done.outputs[0].tobytes()


@pytest.mark.arm
def test_project_errors(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from genn.emulate import emulate
    from genn.errors import FirmwareError, ModelError, UsageError
    from genn.target import load_target

    folder, target = project.write(tmp_path / "tiny"), load_target("cortex-m0plus")
    elf = emulate(folder, target).elf
    with pytest.raises(FirmwareError, match="budget"):
        emulate(folder, target, elf=elf, budget=1000)
    with pytest.raises(UsageError, match="no whole number"):
        emulate(folder, target, b"123", elf=elf)
    with pytest.raises(UsageError, match="has shape"):
        emulate(folder, target, [np.zeros((2, 7), np.float32)], elf=elf)
    with pytest.raises(UsageError, match="no timing"):
        emulate(folder, target, elf=elf, timing="sundial")
    (tmp_path / "bad.elf").write_bytes(elf.read_bytes()[:900])
    with pytest.raises(ModelError):
        emulate(folder, target, elf=tmp_path / "bad.elf")


@pytest.mark.arm
def test_as_a_command(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"start.S": CRT + HELLO, "main.c": FILES_C}, "cortex-m4", "-O1")
    (tmp_path / "data").write_bytes(b"0123456789")
    command = [sys.executable, "-m", "emu", elf, "--core", "cortex-m4", "--fpu", "--count", "main", "--file", "in=data",
               "--set", "P=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 42, done.stderr
    assert done.stdout == "hello world\n"
    assert "cycles" in done.stderr and "tier: model" in done.stderr
    lacking = [*command[:4], "--core", "cortex-m0plus"]
    done = subprocess.run(lacking, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 5 and "cortex-m0plus does not have" in done.stderr
    done = subprocess.run([*command[:3], "none.elf"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 3 and "cannot be read" in done.stderr


def test_neither_torch_nor_genn_is_imported():
    code = "import emu, sys; assert 'torch' not in sys.modules and 'genn' not in sys.modules; import genn.emulate; " \
           "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
