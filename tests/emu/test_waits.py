"""The model of flash and its cache, against programs whose lines can be counted by hand."""

from __future__ import annotations

import pytest

import emu
from emu.cache import Flash, bound
from emu.trace import Trace, trace

from .bench import CRT, EXIT, build

W = 3


def watch(folder, code: str, core: str = "cortex-m0plus", **geometry) -> tuple[Trace, int]:
    lines = "\n".join(f"  {line.strip()}" for line in code.split(";"))
    text = (f"{CRT}  bl f\n{EXIT}.balign 64\n.thumb_func\n.global f\n.type f, %function\nf:\n{lines}\n"
            ".balign 64\ntable: .space 1024, 1\n")
    machine = emu.Machine(build(folder, {"x.S": text}, core), core=core, fpu=core == "cortex-m4", count="f")
    result = machine.run(check=True)
    flash = Flash(0, 1 << 20, W, 16, **geometry)
    seen = trace(machine, result, flash=flash)
    assert seen.cycles == result.cycles
    most = bound(flash, machine)
    assert seen.stalls <= most
    return seen, most


# f begins a line of 16 bytes: MOVS and 7 NOPs fill it, 6 NOPs, SUBS and BNE the next, BX stands in the third
LOOP = "; ".join(["movs r1, #10", "1: nop", *["nop"] * 12, "subs r1, #1", "bne 1b", "bx lr"])


@pytest.mark.arm
def test_instruction_lines_in_a_loop(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    # nothing kept: both lines anew in each of 10 rounds, and the last
    assert watch(tmp_path, LOOP)[0].fetch_stalls == (2 * 10 + 1) * W
    assert watch(tmp_path, LOOP, instruction_lines=1)[0].fetch_stalls == (2 * 10 + 1) * W
    seen, most = watch(tmp_path, LOOP, instruction_lines=2)
    assert seen.fetch_stalls == 3 * W and seen.data_stalls == 0
    assert seen.cache_hits[0] == (18, 3)
    # the bound: three lines a round at most (two, and the one behind), counted by blocks
    assert most == ((2 + 1) * 1 + (2 + 1) * 9 + (1 + 1)) * W
    # prefetch hides what runs on in sequence (8 cycles a line), the branch back is paid
    assert watch(tmp_path, LOOP, prefetch=True)[0].fetch_stalls == 10 * W
    assert watch(tmp_path, LOOP, prefetch=True, instruction_lines=64)[0].fetch_stalls == W
    # two ways of one set each keep both lines, too, and so do two sets of one way
    assert watch(tmp_path, LOOP, instruction_lines=2, instruction_ways=1)[0].fetch_stalls == 3 * W


@pytest.mark.arm
def test_prefetch_is_paid_in_part(tmp_path, need_tool):
    """A jump to the last two instructions of a line: 2 of the 4 cycles that the next line needs."""
    need_tool("arm-none-eabi-gcc")
    code = "b 1f; .space 42, 0; 1: nop; nop; nop; bx lr"   # f+44: the last two halfwords of the third line
    seen, _ = watch(tmp_path, code, prefetch=True)
    assert seen.fetch_stalls == W + W + (W + 1 - 2)


@pytest.mark.arm
def test_words_and_lines_of_data(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    loop = "ldr r0, =table; movs r2, #64; 1: ldrb r3, [r0]; adds r0, #1; subs r2, #1; bne 1b; bx lr; .ltorg"
    assert watch(tmp_path, loop)[0].data_stalls == (1 + 64) * W
    assert watch(tmp_path, loop, data_lines=1)[0].data_stalls == (1 + 4) * W
    many = "ldr r0, =table; ldmia r0!, {r1, r2, r3}; ldmia r0!, {r1, r2, r3}; bx lr; .ltorg"
    assert watch(tmp_path, many)[0].data_stalls == (1 + 6) * W
    assert watch(tmp_path, many, data_lines=8)[0].data_stalls == (1 + 2) * W
    ram = "ldr r0, =0x20000000; ldr r1, [r0]; ldr r2, [sp, #-4]; bx lr; .ltorg".replace("[sp, #-4]", "[r0, #4]")
    assert watch(tmp_path, ram)[0].data_stalls == W  # only the literal


@pytest.mark.arm
def test_least_recently_used_goes_first(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    touch = "; ".join(f"ldr r1, [r0, #{16 * line}]" for line in (0, 1, 0, 2, 0, 1))
    code = f"ldr r0, =table; {touch}; bx lr; .ltorg"
    # two lines kept: literal m, 0 m, 1 m, 0 h, 2 m (drops 1), 0 h, 1 m
    assert watch(tmp_path, code, data_lines=2)[0].data_stalls == 5 * W
    assert watch(tmp_path, code, data_lines=4)[0].data_stalls == 4 * W


@pytest.mark.arm
def test_unified_cache(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    code = "ldr r1, 1f; ldr r2, 2f; bx lr; nop; .balign 4; 1: .word 1; 2: .word 2"  # literals in the line of the code
    seen, _ = watch(tmp_path, code, instruction_lines=4, unified=True)
    assert (seen.fetch_stalls, seen.data_stalls) == (W, 0)
    assert watch(tmp_path, code, instruction_lines=4, data_lines=4)[0].data_stalls == W


ADDRESSING = [
    "ldr r1, [r0, #16]", "ldr r1, [r0, r2, lsl #2]", "ldr r1, [r4, #-16]", "ldrb r1, [r4], #1", "ldrh r1, [r4, #32]!",
    "ldrd r6, r7, [r0, #96]", "ldmdb r5, {r6, r7}", "vldr s0, [r0, #160]", "vldmia r5, {s0-s3}", "ldrsb r1, [r0, r2]",
    "ldr.w r1, [r0, #220]", "ldrexb r1, [r5]",
]
LINES = [{1}, {8}, {7}, {8}, {10}, {6}, {31}, {10}, {32}, {2}, {13}, {32}]


@pytest.mark.arm
@pytest.mark.parametrize("case", range(len(ADDRESSING)))
def test_addresses_of_loads(case, tmp_path, need_tool):
    """With every line kept, a second load from the line that was expected costs nothing, from another one W."""
    need_tool("arm-none-eabi-gcc")
    setup = "ldr r0, =table; movs r2, #32; add r4, r0, #128; add r5, r0, #512"
    for line, more in ((next(iter(LINES[case])), 0), (next(iter(LINES[case])) + 1, W)):
        code = f"{setup}; {ADDRESSING[case]}; ldr r0, =table; ldr r1, [r0, #{16 * line}]; bx lr; .ltorg"
        seen, _ = watch(tmp_path, code, "cortex-m4", data_lines=1024)
        assert seen.data_stalls == (1 + 1) * W + more, (ADDRESSING[case], line)


def test_geometry_is_checked():
    for wrong in ({"line_bytes": 12}, {"line_bytes": 16, "instruction_lines": 3, "instruction_ways": 2},
                  {"line_bytes": 16, "data_lines": -1}):
        with pytest.raises(emu.EmuError):
            Flash(0, 1024, 1, **wrong)
