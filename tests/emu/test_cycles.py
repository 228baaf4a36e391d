"""Cycles and instructions of single instructions in context, row by row of the timing tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import emu

from .bench import Case, build, program

REGS = ["r1", "r2", "r3", "r4", "r5", "r6", "r7"]


def v6m(jump: int, link: int, pop: int, mov_pc: int, state: int) -> list[Case]:
    """Rows of table 3-1 of the M0+ (and M0) manual; ``jump`` is B, BX and a taken Bcc."""
    cases = [
        Case("alu", "adds r1, r1, #1; lsls r1, r1, #3; ands r1, r2; cmn r1, r2; rev r1, r1; sxtb r1, r1; mvns r1, r1",
             7, 7),
        Case("ldr str", "ldr r1, [r0]; str r1, [r0]", 4, 2),
        Case("byte half", "ldrb r1, [r0]; strh r1, [r0, r5]; ldrsh r1, [r0, r5]", 6, 3),
        Case("literal", "ldr r1, =0x12345678", 2, 1),
        Case("taken", "cmp r1, r1; beq 1f; nop; 1: nop", 1 + jump + 1, 3),
        Case("not taken", "cmp r1, r1; bne 1f; nop; 1: nop", 4, 4),
        Case("b", "b 1f; nop; 1:", jump, 1),
        Case("loop", "movs r1, #10; 1: subs r1, #1; bne 1b", 1 + 10 + 9 * jump + 1, 21),
        Case("bl", "mov r7, lr; bl helper; bx r7", 1 + link + 2 * jump, 4, False),
        Case("blx", "mov r7, lr; ldr r6, =helper; blx r6; bx r7", 1 + 2 + 3 * jump, 5, False),
        Case("mov pc", "ldr r6, =1f; mov pc, r6; nop; 1:", 2 + mov_pc, 2),
        Case("state", "mrs r6, primask; msr primask, r6; dsb; isb; dmb", 5 * state, 5),
        Case("hint", "cpsid i; cpsie i; nop; sev; yield", 5, 5),
        Case("pages", "; ".join(["nop"] * 1300), 1300, 1300),
        Case("branch over pages", "b 1f; .space 1500; 1: b 2f; .space 700; 2: nop", 2 * jump + 1, 3),
        Case("bl on a page border", "mov r7, lr; b 1f; .balign 1024; .space 1022; 1: bl helper; bx r7",
             1 + jump + link + 2 * jump, 5, False),
    ]
    for n in range(1, 8):
        low = ", ".join(REGS[:n])
        cases += [
            Case(f"ldm {n}", f"ldmia r0!, {{{low}}}", 1 + n, 1),
            Case(f"stm {n}", f"stmia r0!, {{{low}}}", 1 + n, 1),
            Case(f"push pop {n}", f"push {{{low}}}; pop {{{low}}}", 2 + 2 * n, 2),
            Case(f"pop pc {n}", f"push {{{low}, lr}}; pop {{{low}, pc}}", 2 + n + pop + n + 1, 2, False),
        ]
    return cases


P = 2
V7M = [
    Case("alu", "add.w r1, r2, r3, lsl #2; ubfx r1, r2, #3, #4; clz r1, r2; movw r1, #4660", 4, 4),
    Case("multiply", "mul r1, r2, r3; mla r1, r2, r3, r4; smull r1, r2, r3, r4; umlal r1, r2, r3, r4", 4, 4),
    Case("dsp", "smlad r1, r2, r3, r4; qadd r1, r2, r3; ssat r1, #8, r2; smmulr r1, r2, r3; pkhbt r1, r2, r3", 5, 5),
    Case("ldr", "ldr r1, [r0]; nop", 3, 2),
    Case("ldr ldr", "ldr r1, [r0]; ldr r2, [r0, #4]", 3, 2),
    Case("ldr ldr ldr", "ldr r1, [r0]; ldr r2, [r0, #4]; ldrb r3, [r0, #8]", 4, 3),
    Case("ldr ldr address", "ldr r1, [r0]; ldr r2, [r1]", 4, 2),
    Case("ldr str", "ldr r1, [r0]; str r1, [r0, #4]", 3, 2),
    Case("ldr str register", "ldr r1, [r0]; str r1, [r0, r5]", 3, 2),
    Case("str ldr", "str r2, [r0, #4]; ldr r1, [r0]", 3, 2),
    Case("str str", "str r2, [r0, #4]; str r2, [r0, #8]", 2, 2),
    Case("ldr use", "ldr r1, [r0]; adds r1, #1", 3, 2),
    Case("str register", "str r2, [r0, r5]", 2, 1),
    Case("address made", "adds r6, r0, #4; ldr r1, [r6]", 1 + 2 + 1, 2),
    Case("ldrd strd", "ldrd r2, r3, [r0]; strd r2, r3, [r0, #8]", 6, 2),
    Case("ldr pair over a page", "b 1f; .balign 1024; .space 1022; 1: ldr r1, [r0]; ldr r2, [r0, #4]", 1 + P + 3, 3),
    Case("push pop", "push {r4-r8}; pop {r4-r8}", 12, 2),
    Case("pop pc", "push {r4, lr}; pop {r4, pc}", 3 + 3 + P, 2, False),
    Case("cbz", "cbz r5, 1f; nop; 1: cbz r1, 2f; nop; 2:", 1 + P + 1 + 1, 3),
    Case("bcc", "cmp r1, r1; beq.w 1f; nop; 1: bne 2f; nop; 2:", 1 + 1 + P + 1 + 1, 4),
    Case("tbb", "tbb [pc, r5]; 1: .byte (2f-1b)/2, 0; 2: nop", 2 + P + 1, 2),
    Case("bl", "mov r7, lr; bl helper; bx r7", 1 + 3 * (1 + P), 4, False),
    Case("it then", "cmp r1, r1; it eq; addeq r2, #1", 3, 3),
    Case("it skipped", "cmp r1, r1; it ne; addne r2, #1", 3, 2),
    Case("ite", "cmp r1, r1; ite ne; ldrne r2, [r0]; ldreq r3, [r0]", 1 + 1 + 1 + 2, 3),
    Case("ittee", "cmp r1, r2; ittee lt; addlt r2, #1; mullt r3, r3, r4; ldrge r6, [r0]; addge r2, #5", 2 + 2 + 2, 4),
    Case("itttt", "cmp r1, r2; itttt gt; addgt r2, #1; ldrgt r3, [r0]; ldrgt r6, [r0]; addgt r2, #5", 2 + 4, 2),
    Case("it compare passes", "cmp r1, r1; itt eq; cmpeq r2, r2; addeq r3, #1", 4, 4),
    Case("it compare stops", "cmp r1, r1; itt eq; cmpeq r2, r3; addeq r3, #1", 4, 3),
    Case("it bx taken", "cmp r1, r1; it eq; bxeq lr; nop", 2 + 1 + P, 3, False),
    Case("it bx not taken", "cmp r1, r1; it ne; bxne lr; nop", 2 + 1 + 1, 3),
    Case("it pop", "push {r4, lr}; cmp r1, r1; it eq; popeq {r4, pc}; nop", 3 + 2 + 3 + P, 4, False),
    Case("it over a page", "cmp r1, r2; b 1f; .balign 1024; .space 1022; 1: itte lt; addlt r2, #1; ldrlt r6, [r0];"
         " addge r2, #5", 1 + 1 + P + 1 + 1 + 2 + 1, 5),
    Case("it in a loop", "movs r6, #100; 1: tst r6, #3; ite eq; addeq r2, #1; ldrne r3, [r0]; subs r6, #1; bne 1b",
         1 + 100 * (1 + 1 + 1 + 1) + 25 * (1 + 1) + 75 * (1 + 2) + 99 * P, 1 + 100 * 5),
    Case("vadd", "vadd.f32 s0, s1, s2; vmul.f32 s3, s4, s5; vsub.f32 s6, s7, s8; vcvt.s32.f32 s9, s9", 4, 4),
    Case("fp use", "vadd.f32 s0, s1, s2; vmul.f32 s3, s0, s5", 3, 2),
    Case("fp store", "vadd.f32 s0, s1, s2; vstr s0, [r0]", 4, 2),
    Case("fp apart", "vadd.f32 s0, s1, s2; nop; vmul.f32 s3, s0, s5", 3, 3),
    Case("vmla", "vmla.f32 s0, s1, s2; vfma.f32 s3, s4, s5", 6, 2),
    Case("vdiv", "vmov.f32 s1, #1.0; vdiv.f32 s0, s1, s1; nop; vsqrt.f32 s3, s1", 1 + 14 + 1 + 14, 4),
    Case("vldr", "vldr s0, [r0]; vldr d1, [r0]; vldmia r0, {s4-s9}; vpush {d8-d9}; vpop {d8-d9}", 2 + 3 + 7 + 5 + 5, 5),
    Case("vmov", "vmov r1, s0; vmov s0, r1; vmov r1, r2, d0; vcmp.f32 s0, s1; vmrs APSR_nzcv, fpscr", 6, 5),
]


def divisions() -> list[Case]:
    """UDIV and SDIV over the operand range: 2 cycles when the quotient is 0, up to 12 at 32 bits."""
    cases = []

    def add(op: str, n: int, d: int) -> None:
        a, b = abs(n), abs(d)
        q = 0 if b == 0 or a < b else a.bit_length() - b.bit_length() + 1
        n, d = n & 0xFFFFFFFF, d & 0xFFFFFFFF
        load = f"movw r1, #{n & 0xFFFF}; movt r1, #{n >> 16}; movw r2, #{d & 0xFFFF}; movt r2, #{d >> 16}"
        cases.append(Case(f"{op} {n} {d}", f"{load}; {op} r3, r1, r2", 4 + (4 + q // 4 if q else 2), 5))

    for n, d in [(0, 5), (5, 0), (4, 5), (5, 5), (100, 7), (0xFFFF, 3), (0xFFFFFFFF, 1), (0x80000000, 0xFFFFFFFF)]:
        add("udiv", n, d)
    for n, d in [(-100, 7), (100, -7), (-3, 7), (-2147483648, 1), (-1, -1)]:
        add("sdiv", n, d)
    cases.append(Case("it udiv", "cmp r1, r1; ite ne; udivne r3, r4, r2; udiveq r3, r4, r1", 2 + 1 + 4, 3))
    return cases


def measure(folder: Path, cases: list[Case], core: str, back: int, timing: str | emu.Timing | None = None) -> list[str]:
    """Differences between what the cases say and what the emulator counted."""
    elf = build(folder, {"x.S": program(cases)}, core)
    machine = emu.Machine(elf, core=core, fpu=core == "cortex-m4", timing=timing,
                          banks=[f"case_{i}" for i in range(len(cases))])
    result = machine.run(check=True)
    assert result.exit == 0
    wrong = []
    for case, layer in zip(cases, result.layers, strict=True):
        assert layer.calls == 1, case.name
        got = layer.cycles - back * case.returns, layer.instructions - case.returns
        if got != (case.cycles, case.instructions):
            wrong.append(f"{case.name}: {got}, expected {(case.cycles, case.instructions)}")
    return wrong


@pytest.mark.arm
def test_m0plus_table(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    cases = [*v6m(jump=2, link=3, pop=3, mov_pc=2, state=3), Case("muls", "muls r1, r2, r1", 1, 1)]
    assert measure(tmp_path, cases, "cortex-m0plus", 2) == []


@pytest.mark.arm
def test_m0_table(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    assert measure(tmp_path, v6m(jump=3, link=4, pop=4, mov_pc=3, state=4), "cortex-m0", 3) == []


@pytest.mark.arm
def test_slow_multiplier(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    slow = emu.load_timing("cortex-m0plus", multiplier=32)
    assert measure(tmp_path, [Case("muls", "muls r1, r2, r1; muls r3, r2, r3", 64, 2)], "cortex-m0plus", 2, slow) == []


@pytest.mark.arm
def test_thumbulator_keeps_its_slips(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    cases = [Case("muls", "muls r1, r2, r1", 32, 1), Case("pop", "push {r1, r2, r3}; pop {r1, r2, r3}", 4 + 2, 2),
             Case("pop pc", "push {r4, lr}; pop {r4, pc}", 3 + 2, 2, False),
             Case("mov pc", "ldr r6, =1f; mov pc, r6; nop; 1:", 2 + 1, 2), Case("barrier", "dmb", 3, 1)]
    assert measure(tmp_path, cases, "cortex-m0plus", 2, "thumbulator") == []


@pytest.mark.arm
def test_m4_table(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    assert measure(tmp_path, [*V7M, *divisions()], "cortex-m4", 1 + P) == []


@pytest.mark.arm
def test_m4_branch_parameter(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    slow = emu.load_timing("cortex-m4", P=3)
    assert measure(tmp_path, [Case("b", "b 1f; nop; 1:", 4, 1)], "cortex-m4", 4, slow) == []


@pytest.mark.arm
def test_m3_long_multiplies(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    cases = [Case("mla", "mla r1, r2, r3, r4", 2, 1), Case("mull", "umull r1, r2, r3, r4", 4, 1)]
    assert measure(tmp_path, cases, "cortex-m3", 1 + P) == []


def test_every_rule_names_its_source():
    for name in emu.timings():
        timing = emu.load_timing(name)
        assert timing.tier and timing.source
        for rule in timing.rules.values():
            assert ("DDI" in rule.manual) or name == "thumbulator", (name, rule)
    with pytest.raises(emu.EmuError, match="no parameter"):
        emu.load_timing("cortex-m4", Q=1)
    with pytest.raises(emu.EmuError, match="no timing"):
        emu.load_timing("cortex-m99")
