"""What each row of the timing tables must come to: snippets of assembly with their cycles, worked out by hand.

The numbers of a core are arguments here, written down a second time, so that a slip in a table shows.
"""

from __future__ import annotations

from itertools import product

from .bench import Case

LOW = ["r1", "r2", "r3", "r4", "r5", "r6", "r7"]
HIGH = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12"]
WHILE_AWAY = "push {r4-r11, lr}"


def v6m(
    jump: int, taken: int, link: int, pop: int | None, mov_pc: int, state: int, mul: int, wait: int
) -> list[Case]:
    """Table 3-1 of the M0 and M0+ manuals, and Thumbulator's; ``pop`` is what POP with PC takes beyond N (None: 2)."""
    cases = [
        Case("alu", "adds r1, r1, #1; lsls r1, r1, #3; ands r1, r2; cmn r1, r2; rev r1, r1; sxtb r1, r1; mvns r1, r1",
             7, 7),
        Case("alu 2", "adr r1, 1f; add r1, sp, #8; sub sp, #8; add sp, #8; mov r8, r1; cmp r8, r1; add r1, r8;"
             " tst r1, r2; .balign 4; 1: sbcs r1, r2; rsbs r1, r2, #0; revsh r1, r1", 11, 11),
        Case("mul", "muls r1, r2, r1; muls r3, r2, r3", 2 * mul, 2),
        Case("ldr str", "ldr r1, [r0]; str r1, [r0]", 4, 2),
        Case("byte half", "ldrb r1, [r0]; strh r1, [r0, r5]; ldrsh r1, [r0, r5]; strb r1, [r0]; ldrh r1, [r0, #2]",
             10, 5),
        Case("literal", "ldr r1, =0x12345678", 2, 1),
        Case("sp relative", "sub sp, #8; str r1, [sp, #4]; ldr r1, [sp, #4]; add sp, #8", 6, 4),
        Case("taken", "cmp r1, r1; beq 1f; nop; 1: nop", 1 + taken + 1, 3),
        Case("not taken", "cmp r1, r1; bne 1f; nop; 1: nop", 4, 4),
        Case("b", "b 1f; nop; 1:", jump, 1),
        Case("loop", "movs r1, #10; 1: subs r1, #1; bne 1b", 1 + 10 + 9 * taken + 1, 21),
        Case("bl", "mov r7, lr; bl helper; bx r7", 1 + link + 2 * jump, 4, False),
        Case("blx", "mov r7, lr; ldr r6, =helper; blx r6; bx r7", 1 + 2 + 3 * jump, 5, False),
        Case("mov pc", "ldr r6, =1f; mov pc, r6; nop; 1:", 2 + mov_pc, 2),
        Case("add pc", "movs r6, #0; add pc, r6; nop; nop", 1 + mov_pc + 1, 3),
        Case("mrs msr", "mrs r6, primask; msr primask, r6", 2 * state, 2),
        Case("barrier", "dsb; isb; dmb", 3 * state, 3),
        Case("cps", "cpsid i; cpsie i", 2, 2),
        Case("nop hint", "nop; .inst.n 0xbf00; sev; yield", 4, 4),     # nop is MOV R8,R8 to the assembler
        Case("wait", "wfe; nop", wait + 1, 2),
        Case("bkpt", "movs r0, #0x13; bkpt 0xab", 1, 2),
        Case("pages", "; ".join(["nop"] * 1300), 1300, 1300),
        Case("branch over pages", "b 1f; .space 1500; 1: b 2f; .space 700; 2: nop", 2 * jump + 1, 3),
        Case("loop over pages", "movs r6, #3; 1: " + "nop; " * 900 + "subs r6, #1; beq 3f; b 1b; 3:",
             1 + 3 * 901 + 2 * (1 + jump) + taken, 1 + 3 * 901 + 5),
        Case("bl on a page border", "mov r7, lr; b 1f; .balign 1024; .space 1022; 1: bl helper; bx r7",
             1 + jump + link + 2 * jump, 5, False),
        Case("taken behind a page border", "cmp r1, r1; b 1f; .balign 1024; .space 1022; 1: nop; beq 2f; nop; 2:",
             1 + jump + 1 + taken, 4),
    ]
    for n in range(1, 8):
        low = ", ".join(LOW[:n])
        gone = 1 + n if pop else 2
        back = n + 1 + pop if pop else 2
        cases += [
            Case(f"ldm {n}", f"ldmia r0!, {{{low}}}", 1 + n, 1),
            Case(f"stm {n}", f"stmia r0!, {{{low}}}", 1 + n, 1),
            Case(f"push pop {n}", f"push {{{low}}}; pop {{{low}}}", 1 + n + gone, 2),
            Case(f"pop pc {n}", f"push {{{low}, lr}}; pop {{{low}, pc}}", 2 + n + back, 2, False),
        ]
    return cases


def v7m(P: int, B: int = 3) -> list[Case]:
    """Rows that the M3 and the M4 have alike: tables 3-1 and sections 3.3.2 of their manuals."""
    j = 1 + P
    cases = [
        Case("alu", "add.w r1, r2, r3, lsl #2; ubfx r1, r2, #3, #4; clz r1, r2; movw r1, #4660; bfi r1, r2, #0, #3;"
             " mvn.w r1, r2; rbit r1, r2; sxth.w r1, r2; teq r1, r2; addw r1, r2, #1; lsl.w r1, r2, r3", 11, 11),
        Case("mul", "mul r1, r2, r3", 1, 1),
        Case("saturate", "ssat r1, #8, r2; usat r1, #8, r2", 2, 2),
        Case("ldr", "ldr r1, [r0]; nop", 3, 2),
        Case("ldr ldr", "ldr r1, [r0]; ldr r2, [r0, #4]", 3, 2),
        Case("ldr ldr ldr", "ldr r1, [r0]; ldr r2, [r0, #4]; ldrb r3, [r0, #8]", 4, 3),
        Case("ldr ldr address", "ldr r1, [r0]; ldr r2, [r1]", 4, 2),
        Case("ldr ldr base", "ldr r1, [r0], #4; ldr r2, [r0]", 4, 2),
        Case("ldr ldr index", "str r5, [r0, #4]; ldr r5, [r0, #4]; ldr r2, [r0, r5]", 5, 3),
        Case("ldr apart", "ldr r1, [r0]; nop; ldr r2, [r0, #4]", 5, 3),
        Case("ldr str", "ldr r1, [r0]; str r1, [r0, #4]", 3, 2),                        # 3.3.2: three cycles
        Case("ldr str register", "ldr r1, [r0]; str r1, [r0, r5]", 3, 2),               # 3.3.2: three cycles
        Case("ldr str register address", "str r5, [r0, #4]; ldr r5, [r0, #4]; str r1, [r0, r5]", 5, 3),
        Case("str ldr", "str r2, [r0, #4]; ldr r1, [r0]", 3, 2),
        Case("str str", "str r2, [r0, #4]; strb r2, [r0, #8]; strh.w r2, [r0, #6]", 3, 3),
        Case("ldr use", "ldr r1, [r0]; adds r1, #1", 3, 2),
        Case("ldr branch ldr", "ldr r1, [r0]; b 1f; nop; 1: ldr r2, [r0]", 2 + j + 2, 3),
        Case("str register", "str r2, [r0, r5]; strb r2, [r0, r5]", 4, 2),
        Case("literal", "ldr r1, =0x12345678", 2, 1),
        Case("ldrd strd", "ldrd r2, r3, [r0]; strd r2, r3, [r0, #8]", 6, 2),
        Case("exclusive", "ldrex r1, [r0]; nop; strex r2, r3, [r0]; clrex", 2 + 1 + 2 + 2, 4),
        Case("exclusive pair", "ldrex r1, [r0]; strex r2, r3, [r0]; clrex; ldr r1, [r0]", 2 + 1 + 2 + 2, 4),
        Case("ldr and exclusive", "ldr r1, [r0, #4]; ldrex r2, [r0]; ldr r3, [r0, #4]", 4, 3),
        Case("preload", "pld [r0]; nop", 3, 2),
        Case("ldr pc", "ldr r6, =1f + 1; str r6, [r0]; ldr pc, [r0]; nop; 1:", 2 + 1 + 2 + P, 3),
        Case("ldm pc", "ldr r6, =1f + 1; str r6, [r0, #4]; ldm r0, {r4, pc}; nop; 1:", 2 + 1 + 3 + P, 3),
        Case("ldr pair over a page", "b 1f; .balign 1024; .space 1022; 1: ldr r1, [r0]; ldr r2, [r0, #4]", j + 3, 3),
        Case("ldr pair of two words over a page",
             "b 1f; .balign 1024; .space 1020; 1: ldr.w r1, [r0]; ldr.w r2, [r0, #4]", j + 3, 3),
        Case("a pair where blocks are cut", "; ".join(["ldr r1, [r0]"] * 500), 2 + 499, 500),
        Case("mov pc", "ldr r6, =1f; mov pc, r6; nop; 1:", 2 + j, 2),
        Case("b", "b.w 1f; nop; 1:", j, 1),
        Case("bl", "mov r7, lr; bl helper; bx r7", 1 + 3 * j, 4, False),
        Case("blx", "mov r7, lr; ldr r6, =helper; blx r6; bx r7", 1 + 2 + 3 * j, 5, False),
        Case("cbz", "cbz r5, 1f; nop; 1: cbz r1, 2f; nop; 2: cbnz r1, 3f; nop; 3:", j + 1 + 1 + j, 4),
        Case("bcc", "cmp r1, r1; beq.w 1f; nop; 1: bne 2f; nop; 2:", 1 + j + 1 + 1, 4),
        Case("tbb", "tbb [pc, r5]; 1: .byte (2f-1b)/2, 0; 2: nop", 2 + P + 1, 2),
        Case("tbh", "movs r6, #0; tbh [pc, r6, lsl #1]; 1: .hword (2f-1b)/2; 2: nop", 1 + 1 + 2 + P + 1, 3),
        Case("nop hint", "nop; nop.w; sev; yield", 4, 4),
        Case("mrs msr cps", "mrs r6, primask; msr primask, r6; cpsid i; cpsie i", 8, 4),
        Case("barrier", "dsb; isb; dmb", 3 * (1 + B), 3),
        Case("wait", "wfe; nop", 1 + B + 1, 2),
        Case("bkpt", "movs r0, #0x13; bkpt 0xab", 1, 2),
        Case("pages", "; ".join(["nop"] * 1300), 1300, 1300),
        Case("loop over pages", "movs r6, #3; 1: " + "nop.w; " * 600 + "subs r6, #1; bne.w 1b",
             1 + 3 * 601 + 2 * j + 1, 1 + 3 * 602),
        Case("branch over pages", "b 1f; .space 1500; 1: b 2f; .space 700; 2: nop", 2 * j + 1, 3),
        Case("bl on a page border", "mov r7, lr; b 1f; .balign 1024; .space 1022; 1: bl helper; bx r7",
             1 + j + 3 * j, 5, False),
        # an address made by the instruction right before: one more, for any load or store
        Case("address made", "adds r6, r0, #4; ldr r1, [r6]", 1 + 3, 2),
        Case("address made apart", "adds r6, r0, #4; nop; ldr r1, [r6]", 4, 3),
        Case("index made", "movs r6, #4; ldr r1, [r0, r6]", 1 + 3, 2),
        Case("address made by mul", "movs r6, #1; mul r6, r6, r0; str r1, [r6]", 1 + 1 + 2, 3),
        Case("address of str register", "movs r6, #4; str r1, [r0, r6]", 1 + 3, 2),
        Case("address of strd", "add.w r6, r0, #8; strd r2, r3, [r6]; add.w r6, r0, #8; ldrd r2, r3, [r6]",
             2 * (1 + 4), 4),
        Case("address of ldm", "mov r6, r0; ldmia r6!, {r1, r2}; mov r6, r0; stmia r6!, {r1, r2}", 2 * (1 + 4), 4),
        Case("address of push", "sub sp, #8; push {r4, r6}; add sp, #8; pop {r4, r6}", 2 * (1 + 4), 4),
        Case("data made", "movs r6, #4; str r6, [r0]", 2, 2),
    ]
    for n in range(1, 8):
        low = ", ".join(LOW[:n])
        cases += [
            Case(f"ldm {n}", f"ldmia r0!, {{{low}}}", 1 + n, 1),
            Case(f"stm {n}", f"stmia r0!, {{{low}}}", 1 + n, 1),
            Case(f"push pop {n}", f"push {{{low}}}; pop {{{low}}}", 2 * (1 + n), 2),
            Case(f"pop pc {n}", f"push {{{low}, lr}}; pop {{{low}, pc}}", 2 + n + 1 + n + 1 + P, 2, False),
        ]
    for n in range(2, 13):
        wide = ", ".join(HIGH[:n])
        pair = f"stmdb r0!, {{{wide}}}; ldmia.w r0!, {{{wide}}}"
        saved = f"{WHILE_AWAY}; add.w r0, r0, #48; nop; {pair}; push.w {{{wide}}}; pop.w {{{wide}}}; pop {{r4-r11, pc}}"
        cases.append(Case(f"wide {n}", saved, 10 + 2 + 4 * (1 + n) + 10 + P, 8, False))
    return cases + it_blocks() + it_others(P)


def it_blocks() -> list[Case]:
    """Every shape of IT with each outcome: a skipped instruction takes one slot, an executed one what it takes."""
    cases = []
    for n in range(1, 5):
        for tail in product("te", repeat=n - 1):
            shape = "t" + "".join(tail)
            for holds in (True, False):
                code, cycles, ran = [f"cmp r1, {'r1' if holds else 'r2'}; i{shape} eq"], 2, 2
                for i, letter in enumerate(shape):
                    load = i % 2 == 0
                    condition = "eq" if letter == "t" else "ne"
                    code.append(f"ldr{condition} r6, [r0]" if load else f"add{condition} r3, #1")
                    if (letter == "t") == holds:
                        cycles, ran = cycles + (2 if load else 1), ran + 1
                    else:
                        cycles += 1
                cases.append(Case(f"i{shape} {'holds' if holds else 'fails'}", "; ".join(code), cycles, ran))
    return cases


def it_others(P: int) -> list[Case]:
    """Branches in IT blocks, comparisons within, a block's end within."""
    return [
        Case("it compare passes", "cmp r1, r1; itt eq; cmpeq r2, r2; addeq r3, #1", 4, 4),
        Case("it compare stops", "cmp r1, r1; itt eq; cmpeq r2, r3; addeq r3, #1", 4, 3),
        Case("it bx taken", "cmp r1, r1; it eq; bxeq lr; nop", 2 + 1 + P, 3, False),
        Case("it bx not taken", "cmp r1, r1; it ne; bxne lr; nop", 2 + 1 + 1, 3),
        Case("it b taken", "cmp r1, r1; itt eq; addeq r2, #1; beq.n 1f; nop; 1:", 2 + 1 + 1 + P, 4),
        Case("it b not taken", "cmp r1, r1; itt ne; addne r2, #1; bne.n 1f; nop; 1:", 2 + 1 + 1 + 1, 3),
        Case("it pop", "push {r4, lr}; cmp r1, r1; it eq; popeq {r4, pc}; nop", 3 + 2 + 3 + P, 4, False),
        Case("it pop not", "push {r4, lr}; cmp r1, r1; it ne; popne {r4, pc}; pop {r4, pc}",
             3 + 2 + 1 + 3 + P, 4, False),
        Case("it bl", "push {r4, lr}; cmp r1, r1; it eq; bleq helper; pop {r4, pc}",
             3 + 2 + 2 * (1 + P) + 3 + P, 6, False),
        Case("it no pair", "cmp r1, r1; itt eq; ldreq r6, [r0]; ldreq r7, [r0]; ldr r6, [r0]", 2 + 2 + 2 + 2, 5),
        Case("it over a page", "cmp r1, r2; b 1f; .balign 1024; .space 1022; 1: itte lt; addlt r2, #1; ldrlt r6, [r0];"
             " addge r2, #5", 1 + 1 + P + 1 + 1 + 2 + 1, 5),
        Case("it in a loop", "movs r6, #100; 1: tst r6, #3; ite eq; addeq r2, #1; ldrne r3, [r0]; subs r6, #1; bne 1b",
             1 + 100 * (1 + 1 + 1 + 1) + 25 * (1 + 1) + 75 * (1 + 2) + 99 * P, 1 + 100 * 5),
        Case("it udiv", "cmp r1, r1; ite ne; udivne r3, r4, r2; udiveq r3, r4, r1", 2 + 1 + 4, 3),
    ]


def m3() -> list[Case]:
    """Multiplies of the M3: MLA 2; 64 bits 3 to 5, and 4 to 7 with accumulation, the middle of each taken."""
    return [Case("mla mls", "mla r1, r2, r3, r4; mls r1, r2, r3, r4", 4, 2),
            Case("mull", "umull r1, r2, r3, r4; smull r1, r2, r3, r4", 8, 2),
            Case("mlal", "umlal r1, r2, r3, r4; smlal r1, r2, r3, r4", 12, 2)]


def m4() -> list[Case]:
    """Multiplies and DSP of the M4: one cycle each."""
    return [Case("mla mls", "mla r1, r2, r3, r4; mls r1, r2, r3, r4", 2, 2),
            Case("mull", "umull r1, r2, r3, r4; smull r1, r2, r3, r4", 2, 2),
            Case("mlal", "umlal r1, r2, r3, r4; smlal r1, r2, r3, r4", 2, 2),
            Case("simd", "smlad r1, r2, r3, r4; qadd r1, r2, r3; smmulr r1, r2, r3; pkhbt r1, r2, r3;"
                 " smlald r1, r2, r3, r4; sadd8 r1, r2, r3; sel r1, r2, r3; usad8 r1, r2, r3; sxtab16 r1, r2, r3;"
                 " ssat16 r1, #3, r2; smulbb r1, r2, r3; umaal r1, r2, r3, r4; uhsub16 r1, r2, r3; uxtb16 r1, r2",
                 14, 14),
            Case("address by simd", "sadd16 r6, r0, r5; ldr r1, [r6]", 1 + 3, 2)]


def fpu() -> list[Case]:
    """Table 7-1 of the M4 manual and its note: a result used by the next instruction costs one more."""
    cases = [
        Case("arithmetic", "vadd.f32 s0, s1, s2; vmul.f32 s3, s4, s5; vsub.f32 s6, s7, s8; vcvt.s32.f32 s9, s9;"
             " vneg.f32 s1, s2; vabs.f32 s3, s4; vnmul.f32 s5, s6, s7; vcvtb.f32.f16 s1, s8", 8, 8),
        Case("compare", "vcmp.f32 s0, s1; vmrs APSR_nzcv, fpscr; vcmpe.f32 s0, #0.0; vmsr fpscr, r5", 4, 4),
        Case("use", "vadd.f32 s0, s1, s2; vmul.f32 s3, s0, s5", 3, 2),
        Case("use of a conversion", "vcvt.f32.s32 s0, s1; vadd.f32 s2, s3, s0", 3, 2),
        Case("use by vmla", "vadd.f32 s0, s1, s2; vmla.f32 s0, s3, s4", 1 + 3 + 1, 2),
        Case("use by vcmp", "vadd.f32 s0, s1, s2; vcmp.f32 s3, s0", 3, 2),
        Case("use by vstr", "vadd.f32 s0, s1, s2; vstr s0, [r0]", 4, 2),
        Case("use by vstm", "vadd.f32 s1, s1, s2; vstmia r0, {s0-s3}", 1 + 5 + 1, 2),
        Case("use by vpush", "vadd.f32 s17, s1, s2; vpush {d8}; vpop {d8}", 1 + 3 + 1 + 3, 3),
        Case("use by vmov", "vadd.f32 s0, s1, s2; vmov r1, s0; vmul.f32 s0, s1, s2; vmov.f32 s3, s0", 1 + 2 + 1 + 2, 4),
        Case("no use by vmov", "vadd.f32 s17, s1, s2; vmov s16, s17, r1, r2", 3, 2),
        Case("use half of a double", "vadd.f32 s3, s4, s5; vmov r1, r2, d1", 1 + 2 + 1, 2),
        Case("use by div", "vdiv.f32 s0, s1, s1; vsqrt.f32 s2, s0", 14 + 14 + 1, 2),
        Case("no use", "vldr s0, [r0]; vadd.f32 s1, s0, s2", 3, 2),
        Case("apart", "vadd.f32 s0, s1, s2; nop; vmul.f32 s3, s0, s5", 3, 3),
        Case("mla", "vmla.f32 s0, s1, s2; vfma.f32 s3, s4, s5; vmls.f32 s6, s7, s8; vfnms.f32 s9, s10, s11;"
             " vnmla.f32 s12, s13, s14", 15, 5),
        Case("mla chain", "vmla.f32 s0, s1, s2; vmla.f32 s0, s3, s4", 3 + 3 + 1, 2),
        Case("div sqrt", "vmov.f32 s1, #1.0; vdiv.f32 s0, s1, s1; nop; vsqrt.f32 s3, s1", 1 + 14 + 1 + 14, 4),
        Case("vmov", "vmov r1, s0; vmov s0, r1; vmov r1, r2, d0; vmov d0, r1, r2; vmov.f32 s1, s2; vmov.f32 s1, #2.0",
             1 + 1 + 2 + 2 + 1 + 1, 6),
        Case("vldr vstr", "vldr s0, [r0]; vldr d1, [r0]; vstr s0, [r0]; vstr d1, [r0]", 2 + 3 + 2 + 3, 4),
        Case("vldr address", "adds r6, r0, #4; vldr s0, [r6]; mov r6, r0; vldmia r6!, {s0, s1}", 1 + 3 + 1 + 4, 4),
        Case("vpush address", "sub sp, #8; vpush {d8}; vpop {d8}; add sp, #8", 1 + 4 + 3 + 1, 4),
    ]
    for n in range(1, 17):
        some = ", ".join(f"s{i}" for i in range(n))
        cases.append(Case(f"vldm {n}", f"vldmia r0, {{{some}}}; vstmia r0, {{{some}}}", 2 * (1 + n), 2))
    for n in range(1, 9):
        some = ", ".join(f"d{i}" for i in range(n))
        cases.append(Case(f"vpush {n}", f"vpush {{{some}}}; vpop {{{some}}}", 2 * (1 + 2 * n), 2))
    return cases


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
    for bits in range(1, 33):
        add("udiv", (1 << bits) - 1, 1)
    for n, d in [(-100, 7), (100, -7), (-3, 7), (-2147483648, 1), (-2147483648, -1), (-1, -1), (7, 0), (0, -7)]:
        add("sdiv", n, d)
    for bits in range(1, 31, 3):
        add("sdiv", -(1 << bits), 3)
    return cases
