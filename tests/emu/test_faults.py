"""What firmware does wrong, and what an ELF file can have wrong, each ends in a sentence."""

from __future__ import annotations

import random
import re
import signal
import struct

import pytest

import emu
import emu.slow
from emu.__main__ import main as emu_main
from emu.live import LiveMachine
from emu.semihost import Semihost
from emu.trace import trace
from genn.bench.emulator import PROGRAMS

from .bench import CRT, EXIT, build

FAULTS = {
    "ldr r0, =0x60000000; ldr r1, [r0, #4]": r"read of unmapped memory at 0x60000004 \(4 bytes\) at 0x\w+ in bad",
    "ldr r0, =0x60000000; strb r1, [r0]": r"write to unmapped memory at 0x60000000 \(1 bytes\)",
    "ldr r0, =0x100; str r0, [r0]": r"write to read-only memory at 0x00000100",
    "ldr r0, =0x20000801; bx r0": "execution of data|execution left",
    "ldr r0, =0x70000001; bx r0": "execution of unmapped memory|execution left",
    "udf #1": "undefined instruction.* in bad",
    "svc #3": "SVC without an operating system",
    "bkpt 5": "breakpoint 5",
    "wfi": "waits for an interrupt that never comes",
    "1: b 1b": "the budget of 100000 instructions ran out",
    "movs r0, #0x99; bkpt 0xab": "semihosting call 0x99 is not supported",
    "movs r0, #4; ldr r1, =0x60000000; bkpt 0xab": "semihosting was given a bad pointer",
    "ldr r0, =0x20000000; mov sp, r0; push {r1}": "write to unmapped memory at 0x1ffffffc",
}


def bad(folder, code, core="cortex-m0plus"):
    lines = code.replace(";", "\n")
    text = f"{CRT}  bl bad\n{EXIT}.thumb_func\n.type bad, %function\nbad:\n{lines}\n  nop\n  bx lr\n.ltorg\n"
    return build(folder, {"x.S": text}, core)


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_faults(core, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    for i, (code, expected) in enumerate(FAULTS.items()):
        elf = bad(tmp_path / str(i), code, core)
        regions = [emu.Region("flash", 0, 65536, "flash"), emu.Region("ram", 0x20000000, 65536)]
        result = emu.Machine(elf, core=core, regions=regions).run(budget=100_000)
        assert result.exit is None
        assert result.fault is not None and re.search(expected, str(result.fault)), (code, str(result.fault))
        assert set(result.fault.registers) >= {"r0", "sp", "lr", "pc", "xpsr"}
        assert "bad" in result.fault.symbol or "execution" in str(result.fault), code
        assert "sp   0x" in result.fault.report()
    with pytest.raises(emu.Fault, match="budget"):
        emu.Machine(bad(tmp_path / "loop", "1: b 1b", core), core=core).run(budget=1000, check=True)


@pytest.mark.arm
def test_unaligned_access_on_v6m(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    result = emu.Machine(bad(tmp_path, "ldr r0, =0x20000801; ldr r1, [r0]")).run()
    assert "unaligned access" in str(result.fault)


@pytest.mark.arm
def test_budget_counts_instructions(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    elf = bad(tmp_path, "ldr r1, =200; 1: nop; nop; subs r1, #1; bne 1b")
    machine = emu.Machine(elf)
    whole = machine.run(check=True).total_instructions
    assert machine.run(budget=whole).exit == 0
    short = machine.run(budget=whole - 3)
    assert short.fault is not None and short.total_instructions <= whole - 3


@pytest.mark.arm
def test_a_signal_interrupts_a_run(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    machine = emu.Machine(bad(tmp_path, "1: b 1b"))

    def ring(_number, _frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            machine.run(budget=10**15)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "budget" in str(machine.run(budget=1000).fault)


@pytest.mark.arm
def test_yield_and_wfe_do_not_stop(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    assert emu.Machine(bad(tmp_path, "yield; wfe; sev; nop")).run(check=True).exit == 0
    result = emu.Machine(bad(tmp_path, "yield; udf #0")).run()
    assert "undefined" in str(result.fault)


HINTS = {
    "cortex-m0plus": "movs r0, #3; 1: wfe; subs r0, #1; bne 1b; movs r0, #3; 1: subs r0, #1; yield; bne 1b",
    "cortex-m4": "movs r0, #3; 1: wfe.w; subs r0, #1; bne 1b; movs r0, #3; 1: subs r0, #1; yield.w; bne 1b; sev.w",
}


@pytest.mark.arm
@pytest.mark.parametrize("core", sorted(HINTS))
def test_a_loop_over_a_hint(core, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    elf = bad(tmp_path, HINTS[core], core)
    machine = emu.Machine(elf, core)
    result, live, slow = machine.run(check=True), LiveMachine(elf, core).run(check=True), emu.slow.run(elf, core)
    assert result.exit == 0 and trace(machine, result).cycles == result.cycles
    assert {(r.cycles, r.instructions) for r in (result, live, slow)} == {(result.cycles, result.instructions)}


@pytest.mark.arm
def test_wide_wfi_and_what_is_undefined_behind_a_hint(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    for kind in (emu.Machine, LiveMachine):
        fault = kind(bad(tmp_path, "wfi.w", "cortex-m4"), "cortex-m4").run().fault
        assert "waits for an interrupt" in str(fault) and fault.symbol == "bad"
        assert "undefined" in str(kind(bad(tmp_path, "yield.w; udf #0", "cortex-m4"), "cortex-m4").run().fault)
        fault = kind(bad(tmp_path, "ldr r0, =bad; subs r0, r0, #1; bx r0", "cortex-m4"), "cortex-m4").run().fault
        assert "jump to an even address" in str(fault)
        assert "unaligned" in str(kind(bad(tmp_path, "movs r0, #1; ldr r0, [r0]")).run().fault)


def test_semihosting_has_256_handles():
    memory = struct.pack("<3I", 16, 4, 3) + bytes(4) + b":tt"
    host, read = Semihost(), lambda address, size: memory[address : address + size]
    assert [host.call(1, 0, read, None, 0) for _ in range(257)] == [*range(1, 257), 0xFFFFFFFF]
    assert host.call(0x13, 0, read, None, 0) == 24


@pytest.mark.parametrize("words", [["--budget", "1" + 30 * "0"], ["--budget", "-1"], ["--hz", "0"], ["--gdb", "65536"],
                                   ["--top", "-1"], ["--set", "multiplier=-1"], ["--set", "multiplier=256"],
                                   ["--region", "F,flash,0,0x100000000"], ["--region", "F,flash,-4096,4096"],
                                   ["--region", "F,flash,0,4096,-1"], ["--region", "F,flash,0,4096,1,1"]])
def test_numbers_out_of_range(words, capsys):
    try:
        code = emu_main([str(PROGRAMS / "linear-v6m.elf"), *words])
    except SystemExit as error:
        code = error.code
    assert code == 2 and "error: " in capsys.readouterr().err


LACKING = {"cbz r0, 1f; nop; 1:": "CBZ", "it eq; moveq r0, r1": "IT", "udiv r0, r1, r2": "32-bit",
           "movw r0, #1": "32-bit",
           "b.w 1f; nop; 1:": "32-bit", "ldrd r0, r1, [r2]": "32-bit"}


@pytest.mark.arm
def test_scan_for_what_the_core_lacks(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    for i, (code, what) in enumerate(LACKING.items()):
        elf = bad(tmp_path / str(i), "b 2f; .thumb; .syntax unified; " + code + "; 2:", "cortex-m4")
        with pytest.raises(emu.Fault, match=f"cortex-m0plus does not have.*{what}"):
            emu.Machine(elf, core="cortex-m0plus")
        emu.Machine(elf, core="cortex-m3")
    for code in ("smlad r0, r1, r2, r3", "qadd r0, r1, r2", "uxtb16 r0, r1", "pkhbt r0, r1, r2", "smmul r0, r1, r2"):
        elf = bad(tmp_path / "dsp", code, "cortex-m4")
        with pytest.raises(emu.Fault, match="DSP"):
            emu.Machine(elf, core="cortex-m3")
        emu.Machine(elf, core="cortex-m4")
    base = "mla r0, r1, r2, r3; smull r0, r1, r2, r3; clz r0, r1; rev.w r0, r1; uxtb.w r8, r9; ssat r0, #3, r1"
    emu.Machine(bad(tmp_path / "base", base, "cortex-m4"), core="cortex-m3")
    with pytest.raises(emu.Fault, match="the Arm instruction set"):
        emu.Machine(bad(tmp_path / "arm", ".arch armv7-a; .arm; nop; .thumb", "cortex-m4"), core="cortex-m4")
    elf = bad(tmp_path / "fpu", "vadd.f32 s0, s1, s2; vldr d0, [r0]", "cortex-m4")
    emu.Machine(elf, core="cortex-m4", fpu=True)
    with pytest.raises(emu.Fault, match="without an FPU"):
        emu.Machine(elf, core="cortex-m4")


def test_unknown_names(tmp_path):
    with pytest.raises(emu.EmuError, match="no core"):
        emu.Machine(b"", core="cortex-m99")
    with pytest.raises(emu.ElfError, match="cannot be read"):
        emu.Machine(tmp_path / "none.elf")
    with pytest.raises(emu.ElfError, match="not an ELF"):
        emu.Machine(b"hello")


@pytest.mark.arm
def test_does_not_fit_and_overlapping_regions(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    elf = bad(tmp_path, ".space 8192")
    with pytest.raises(emu.EmuError, match="outside of the device"):
        emu.Machine(elf, regions=[emu.Region("flash", 0, 4096, "flash"), emu.Region("ram", 0x20000000, 4096)])
    with pytest.raises(emu.EmuError, match="shares a 4 KiB page"):
        emu.Machine(elf, regions=[emu.Region("flash", 0, 65000, "flash"), emu.Region("ram", 65100, 4096)])
    with pytest.raises(emu.EmuError, match="no symbol nothing"):
        emu.Machine(elf, banks=["nothing"])


@pytest.mark.arm
def test_symbols_as_pyelftools_reads_them(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from elftools.elf.elffile import ELFFile

    path = bad(tmp_path, "nop")
    image = emu.load(path)
    with path.open("rb") as file:
        elf = ELFFile(file)
        expected = {(s.name, s["st_value"] & ~1 if s["st_info"]["type"] == "STT_FUNC" else s["st_value"], s["st_size"])
                    for s in elf.get_section_by_name(".symtab").iter_symbols()
                    if s.name and not s.name.startswith("$") and s["st_shndx"] != "SHN_UNDEF"
                    and s["st_info"]["type"] in ("STT_NOTYPE", "STT_OBJECT", "STT_FUNC")}
        segments = [(s["p_vaddr"], s["p_paddr"], s.data(), s["p_memsz"])
                    for s in elf.iter_segments("PT_LOAD") if s["p_memsz"]]
        assert image.entry == elf["e_entry"] & ~1
    assert {(s.name, s.address, s.size) for s in image.symbols} == expected
    assert [(s.vaddr, s.paddr, s.data, s.memsz) for s in image.segments] == segments
    assert image.nearest(image.symbol("bad").address + 2) == "bad+0x2"


@pytest.mark.arm
def test_damaged_elf_files(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    whole = bad(tmp_path, "nop").read_bytes()
    rng = random.Random(1)
    sound = 0
    for i in range(1500):
        data = bytearray(whole)
        if i % 3 == 0:
            data = data[: rng.randrange(len(data))]
        else:
            end = len(data) if i % 3 == 1 else 256
            for _ in range(rng.randrange(1, 12)):
                data[rng.randrange(end)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        try:
            image = emu.load(bytes(data))
            if i % 10 == 0:
                emu.Machine(image).run(budget=2000)
            sound += 1
        except emu.EmuError as error:
            assert "\n" not in str(error)
    assert sound > 10
