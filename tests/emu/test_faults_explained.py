"""Faults name the source line, the calls that led there and what lies at the address; damaged files do no harm."""

from __future__ import annotations

import random
import re
import time

import pytest

import emu
from emu import dwarf

from .bench import CRT, EXIT, build

START = CRT + "  bl main\n" + EXIT
CALLS = """\
typedef unsigned char u8;
static u8 arena[64];
__attribute__((noinline)) int inner(int n)
{
    volatile int local[4];
    local[n & 3] = n;
    *(volatile u8 *)0x60000000 = 1;
    return local[0] + n;
}
__attribute__((noinline)) int middle(int n)
{
    return inner(n + 1) + 3;
}
__attribute__((noinline)) int deep(int n)
{
    if (n == 0) {
        int (*pointer)(int) = middle;
        __asm__ volatile("" : "+r"(pointer));
        return pointer(n) * 2;
    }
    return deep(n - 1) + 1;
}
int main(void)
{
    arena[3] = 1;
    return deep(3) + arena[0];
}
"""


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("flags", [("-O1", "-gdwarf-5"), ("-O0", "-gdwarf-4"), ("-Og", "-gdwarf-3")])
def test_source_line_and_call_stack(core, flags, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"start.S": START, "calls.c": CALLS}, core, *flags)
    fault = emu.Machine(elf, core=core, fpu=core == "cortex-m4").run().fault
    assert fault is not None
    assert fault.source == "calls.c:7" and "(calls.c:7)" in str(fault)
    names = [row.split()[1].split("+")[0] for row in fault.backtrace]
    assert names == ["middle", "deep", "deep", "deep", "deep", "main", "reset"]
    assert all(f"calls.c:{n}" in row for n, row in zip([12, 19, 21, 21, 21, 26], fault.backtrace, strict=False))
    assert not any("uncertain" in row for row in fault.backtrace)
    report = fault.report()
    assert "a heuristic" in report and "0x60000000 lies in no memory" in report


@pytest.mark.arm
def test_hints(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    regions = [emu.Region("FLASH", 0, 65536, "flash"), emu.Region("RAM", 0x20000000, 65536)]

    def fault(body: str, core: str = "cortex-m0plus") -> emu.Fault:
        source = "typedef unsigned u; const u table[4] = {1, 2, 3, 4};\nint main(void) {\n" + body + "\nreturn 0; }\n"
        elf = build(tmp_path, {"start.S": START, "main.c": source}, core, "-O1", "-g")
        found = emu.Machine(elf, core=core, regions=regions).run(budget=100_000).fault
        assert found is not None
        return found

    written = fault("*(volatile u *)&table[2] = 5;")
    assert "read-only" in str(written) and "main.c:3" in str(written)
    assert "FLASH (flash) in table+0x8" in written.report()
    assert "4 bytes behind RAM" in fault("return *(volatile int *)0x20010004;").report()
    unaligned = fault("volatile int *p = (void *)0x20000802; __asm__ volatile(\"\" : \"+r\"(p)); return *p;")
    assert "unaligned" in str(unaligned) and unaligned.source == "main.c:3"
    assert fault("__asm__ volatile(\"udf #1\");").source == "main.c:3"
    assert "budget" in str(loop := fault("for (;;) __asm__ volatile(\"nop\");")) and loop.source == "main.c:3"
    data = fault("static u code = 0x4770; ((void (*)(void))((u)&code | 1))();")
    assert "main" in data.backtrace[0], data.report()


@pytest.mark.arm
def test_scan_names_the_source_line(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    source = "int main(void) {\nint x = 3;\n__asm__ volatile(\"sdiv %0, %0, %0\" : \"+r\"(x));\nreturn x; }\n"
    elf = build(tmp_path, {"start.S": START, "main.c": source}, "cortex-m4", "-O1", "-g")
    with pytest.raises(emu.Fault, match=r"cortex-m0plus does not have") as caught:
        emu.Machine(elf, core="cortex-m0plus")
    assert caught.value.symbol


OVER = """\
static volatile unsigned char arena[8192];
__attribute__((noinline)) int down(int n)
{
    volatile int room[16];
    int i;
    for (i = 0; i < 16; i++) room[i] = n;
    return n ? down(n - 1) + room[0] : 0;
}
int main(void)
{
    return down(%d) + arena[1];
}
"""


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_stack_into_the_arena(core, tmp_path, need_tool, monkeypatch):
    need_tool("arm-none-eabi-gcc")
    from . import bench

    # the arena below the stack, where an overflow does not leave the memory
    data = "  .bss (NOLOAD) : { *(.bss .bss.* COMMON) } > RAM :NONE\n"
    swapped = bench.LINK.replace(data, "").replace("  .stack (NOLOAD)", data + "  .stack (NOLOAD)")
    assert swapped != bench.LINK
    monkeypatch.setattr(bench, "LINK", swapped)
    elf = build(tmp_path, {"start.S": START, "main.c": OVER % 80}, core, "-O0", "-g")
    fault = emu.Machine(elf, core=core, fpu=core == "cortex-m4").run().fault
    assert fault is not None and re.search(r"the stack of 4096 bytes ran over by \d+, into arena", str(fault))
    assert fault.symbol.startswith("down") and fault.source.startswith("main.c:"), fault.report()
    elf = build(tmp_path, {"start.S": START, "main.c": OVER % 5}, core, "-O0", "-g")
    assert emu.Machine(elf, core=core, fpu=core == "cortex-m4").run().fault is None


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("level", ["-O0", "-O1", "-Os"])
def test_stack_out_of_the_memory(core, level, tmp_path, need_tool):
    """As GENN lays memory out: the stack lies lowest, and the push itself is the fault."""
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"start.S": START, "main.c": OVER % 1000}, core, level, "-g")
    fault = emu.Machine(elf, core=core, fpu=core == "cortex-m4").run().fault
    assert fault is not None and "unmapped memory at 0x1fff" in str(fault)
    assert any("stack overflow" in hint for hint in fault.hints), fault.report()
    assert len([row for row in fault.backtrace if "down" in row]) > 20


@pytest.mark.arm
@pytest.mark.parametrize("flag", ["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"])
def test_lines_as_pyelftools_reads_them(flag, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from elftools.elf.elffile import ELFFile

    path = build(tmp_path, {"start.S": START, "calls.c": CALLS, "main.c": OVER.replace("main", "other") % 2},
                 "cortex-m4", "-O2", flag)
    table, compared = dwarf.line_table(path.read_bytes()), 0
    with path.open("rb") as file:
        info = ELFFile(file).get_dwarf_info()
        for unit in info.iter_CUs():
            program = info.line_program_for_CU(unit)
            first = 0 if program["version"] >= 5 else 1
            rows: dict[int, tuple[str, int]] = {}
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if not state.end_sequence:
                    rows[state.address] = program["file_entry"][state.file - first].name.decode(), state.line
                    continue
                for address, row in rows.items():
                    if address < state.address and row[1]:
                        assert table.find(address) == row, hex(address)
                        compared += 1
                rows = {}
    assert compared > 40
    assert table.find(0xF0000000) is None


@pytest.mark.arm
@pytest.mark.parametrize("number", [600, pytest.param(10_000, marks=pytest.mark.long)])
def test_damaged_elf_files_never_hang(number, tmp_path, need_tool):
    """Truncated and mutated images, debug sections too: an ElfError or a fault, each within a second."""
    need_tool("arm-none-eabi-gcc")
    whole = build(tmp_path, {"start.S": START, "calls.c": CALLS}, "cortex-m0plus", "-O1", "-g").read_bytes()
    rng = random.Random(7)
    for i in range(number):
        data = bytearray(whole)
        if i % 4 == 0:
            data = data[: rng.randrange(len(data))]
        for _ in range(rng.randrange(1, 40)):
            data[rng.randrange(max(1, len(data)))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        begin = time.perf_counter()
        try:
            emu.Machine(bytes(data)).run(budget=3000)
        except emu.EmuError as error:
            assert "\n" not in str(error)
        assert time.perf_counter() - begin < 1


def test_hostile_elf_files_are_refused_at_once():
    """Structures that point at each other many times over: refused, not worked through."""
    import struct

    def header(phnum: int, shoff: int, shnum: int) -> bytes:
        return b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack(
            "<HHIIIIIHHHHHH", 2, 40, 1, 1, 52, shoff, 0, 52, 32, phnum, 40, shnum, 0)

    body = bytes(4 << 20)
    segment = struct.pack("<8I", 1, 0x3000, 0, 0, len(body), len(body), 5, 4)
    begin = time.perf_counter()
    with pytest.raises(emu.ElfError, match="overlap"):
        emu.Machine(header(256, 0, 0) + segment * 256 + bytes(0x3000 - 52 - 256 * 32) + body)
    names = b"a" * 65536
    symbols = struct.pack("<IIIBBH", 1, 1, 1 << 30, 2, 0, 1) * 65536
    at = 52 + 32
    tables = at + len(names) + len(symbols)
    section = struct.pack("<10I", 0, 2, 0, 0, at + len(names), len(symbols), 1, 0, 4, 16)
    strings = struct.pack("<10I", 0, 3, 0, 0, at, len(names), 0, 0, 1, 0)
    one = struct.pack("<8I", 1, 0, 0, 0, 64, 64, 5, 4)
    with pytest.raises(emu.ElfError, match="beyond reason"):
        emu.load(header(1, tables, 3) + one + names + symbols + section + strings + section)
    assert time.perf_counter() - begin < 1


def test_hostile_line_tables():
    """A count of files that no file holds, and a program that breaks off."""
    assert not dwarf.line_table(b"\x7fELF")
    assert not dwarf.line_table(bytes(100))
