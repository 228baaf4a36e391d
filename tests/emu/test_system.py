"""Clocks, interrupts and faults: the running total agrees with the counted one, and firmware that reads clocks runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import emu
from emu.live import LiveMachine
from emu.system import ENTRY, EXIT
from genn.bench import emulator

from .bench import build
from .programs import MAIN, PROGRAMS, START

ROOT = Path(__file__).resolve().parents[2]
CORES = ("cortex-m0plus", "cortex-m0", "cortex-m3", "cortex-m4")
MACHINES = {"cortex-m3": "mps2-an385", "cortex-m4": "mps2-an386"}
HANDLERS = {2: "nmi", 3: "fault", 11: "svcall", 14: "pendsv", 15: "systick"}


def start(body: str, handlers: dict[str, str], fpu: bool = False) -> str:
    """Assembly with a whole vector table; handlers that are not given wait for ever."""
    rows = ["__stack_top", "reset + 1", *[f"{HANDLERS.get(n, 'other')} + 1" for n in range(2, 20)]]
    text = ['.syntax unified\n.thumb\n.section .vectors, "a"\n', *(f".word {row}\n" for row in rows), ".text\n"]
    for name in (*HANDLERS.values(), "other"):
        code = handlers.get(name, "b .")
        text.append(f".balign 4\n.thumb_func\n.global {name}\n.type {name}, %function\n{name}:\n{code}\n.ltorg\n"
                    f".size {name}, . - {name}\n")
    return "".join(text) + ".thumb_func\n.global reset\n.type reset, %function\nreset:\n" + body


def exit_with(register: str) -> str:
    """Leave with the value of a register as exit code, by SYS_EXIT_EXTENDED."""
    return f"""
  ldr r1, =block
  str {register}, [r1, #4]
  ldr r0, =0x20026
  str r0, [r1]
  movs r0, #0x20
  bkpt 0xab
  b .
.ltorg
.bss
.balign 8
block: .space 8
.text
"""


@pytest.mark.parametrize("core", emulator.CORES)
@pytest.mark.parametrize("name", emulator.BANKS)
def test_both_ways_of_counting_agree(name: str, core: str) -> None:
    elf = emulator.program(name, core, 0.01)
    options = {"regions": emulator._REGIONS, "count": "work", "banks": emulator.BANKS[name]}
    counted = emu.Machine(elf, core, **options).run(check=True)
    machine = LiveMachine(elf, core, **options)
    for _ in range(2):
        live = machine.run(check=True)
        assert (live.cycles, live.instructions, live.layers) == (counted.cycles, counted.instructions, counted.layers)
        assert live.functions == counted.functions and live.exit == counted.exit


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_agreement_on_c_programs(name: str, core: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    sources = {"crt.S": START, "main.c": MAIN, "work.c": PROGRAMS[name]}
    elf = build(tmp_path, sources, core, "-O2", "-ffreestanding", "-lgcc")
    fpu = core == "cortex-m4"
    counted = emu.Machine(elf, core, fpu).run(check=True)
    live = LiveMachine(elf, core, fpu).run(check=True)
    assert (live.cycles, live.instructions, live.console) == (counted.cycles, counted.instructions, counted.console)
    if name != "float":  # whose library functions run on into each other: blocks are charged to where they begin
        assert live.functions == counted.functions


CYCLES = """
  ldr r0, =0xE000EDFC     @ DEMCR.TRCENA, then DWT_CTRL.CYCCNTENA
  ldr r1, =0x01000000
  str r1, [r0]
  ldr r7, =0xE0001000
  movs r1, #1
  str r1, [r7]
  ldr r4, [r7, #4]
  bl timed
  ldr r5, [r7, #4]
  subs r5, r5, r4
  movs r0, #0
  str r0, [r7]            @ stopped: it keeps its value
  ldr r2, [r7, #4]
  ldr r3, [r7, #4]
  cmp r2, r3
  it ne
  movne r5, #0
"""
TIMED = """
.thumb_func
.type timed, %function
timed:
  movs r0, #100
1:
  subs r0, r0, #1
  cmp r0, #50
  ite gt
  addgt r1, r1, #1
  addle r2, r2, #1
  udiv r3, r0, r1
  cmp r0, #0
  bne 1b
  bx lr
.size timed, . - timed
"""


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4"])
def test_firmware_that_times_itself(core: str, tmp_path: Path, need_tool) -> None:
    """CYCCNT around a call shows the cycles that the emulator counts for that function, and those of load and call."""
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"x.S": start(CYCLES + exit_with("r5"), {}) + TIMED}, core)
    live = LiveMachine(elf, core, count="timed").run(check=True)
    timing = emu.load_timing(core)
    load = timing.cost(emu.decode.Insn(0, 2, "ldr", "ldr"))
    call = timing.cost(emu.decode.Insn(0, 4, "bl", "bl"))
    assert live.exit == live.cycles + load + call
    assert live.cycles == emu.Machine(elf, core, count="timed").run().cycles


TICKING = """
  ldr r6, =0xE000E000
  ldr r0, =999
  str r0, [r6, #0x14]     @ reload
  movs r0, #0
  str r0, [r6, #0x18]
  movs r0, #5             @ from the core's clock, enabled, no interrupt
  str r0, [r6, #0x10]
  ldr r4, [r6, #0x18]
  ldr r5, [r6, #0x18]
  subs r4, r4, r5         @ cycles between two loads
1:
  ldr r0, [r6, #0x10]
  lsrs r0, r0, #17        @ COUNTFLAG, cleared by the load
  bcc 1b
  ldr r0, [r6, #0x10]
  lsrs r0, r0, #17
  bcs 2f
  b 3f
2: movs r4, #0
3:
"""


@pytest.mark.parametrize("core", CORES)
def test_systick_counts_the_cores_cycles(core: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"x.S": start(TICKING + exit_with("r4"), {})}, core)
    live = LiveMachine(elf, core).run(check=True, budget=100_000)
    timing = emu.load_timing(core)
    load = timing.cost(emu.decode.Insn(0, 2, "ldr", "ldr"))
    assert live.exit == load + timing.pairs.get("load", 0)
    assert 1000 < live.cycles < 1100


IRQ = """
  ldr r6, =0xE000E000
  movs r5, #0
  ldr r0, =0x10000000     @ PendSV, by ICSR
  ldr r1, =0xE000ED04
  str r0, [r1]
  isb
"""


@pytest.mark.parametrize("core", CORES)
def test_entry_and_exit_cycles(core: str, tmp_path: Path, need_tool) -> None:
    """A handler that only returns costs entry, BX and exit more than no interrupt."""
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"x.S": start(IRQ + exit_with("r5"), {"pendsv": "bx lr"})}, core)
    taken = LiveMachine(elf, core).run(check=True)
    quiet = build(tmp_path, {"x.S": start(IRQ.replace("0x10000000", "0") + exit_with("r5"), {})}, core)
    none = LiveMachine(quiet, core).run(check=True)
    bx = emu.load_timing(core).cost(emu.decode.Insn(0, 2, "bx", "bx"))
    assert taken.cycles - none.cycles == ENTRY[core] + bx + EXIT[core]
    assert taken.functions["pendsv"] == (bx, 1)


SVC = """
  movs r0, #5
  movs r1, #6
  movs r2, #7
  movs r3, #8
  svc 42
  adds r5, r0, r1         @ the handler has changed the stacked r0
  mrs r0, ipsr
  adds r5, r5, r0
"""
SVCALL = """
  mrs r0, msp
  ldr r1, [r0, #24]       @ the stacked PC: behind the SVC
  subs r1, #2
  ldrb r1, [r1]           @ its number
  mrs r2, ipsr
  adds r1, r1, r2
  str r1, [r0]
  movs r1, #99
  bx lr
"""


@pytest.mark.parametrize("core", CORES)
def test_svc(core: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"x.S": start(SVC + exit_with("r5"), {"svcall": SVCALL})}, core)
    assert LiveMachine(elf, core).run(check=True).exit == 42 + 11 + 6
    if core in MACHINES:
        assert qemu(elf, core, need_tool)[0] == 42 + 11 + 6


MASKED = """
  cpsid i
  ldr r1, =0xE000ED04
  ldr r0, =0x10000000
  str r0, [r1]
  movs r5, #0
  movs r7, #10
1:
  adds r5, r5, #1         @ pending, not taken
  subs r7, r7, #1
  bne 1b
  cpsie i
  isb
  nop
"""


@pytest.mark.parametrize("core", CORES)
def test_primask(core: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    handler = "  lsls r5, r5, #2\n  bx lr"
    elf = build(tmp_path, {"x.S": start(MASKED + exit_with("r5"), {"pendsv": handler})}, core)
    assert LiveMachine(elf, core).run(check=True).exit == 40
    if core in MACHINES:
        assert qemu(elf, core, need_tool)[0] == 40


FAULTS = """
  ldr r0, =0xDFFFFFF0
  movs r5, #7
  ldr r1, [r0]            @ nothing is there
  movs r5, #1
"""


@pytest.mark.parametrize("core", CORES)
def test_hard_fault(core: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    handler = "  mrs r0, msp\n  ldr r1, [r0, #24]\n  ldrh r5, [r1]\n  lsrs r5, r5, #11\n" + exit_with("r5").replace(
        ".bss", ".section .bss.a").replace("block", "blocka")
    elf = build(tmp_path, {"x.S": start(FAULTS + exit_with("r5"), {"fault": handler})}, core)
    live = LiveMachine(elf, core).run(check=True)
    assert live.exit == 0x6801 >> 11  # the handler read the instruction at the stacked PC: LDR r1, [r0]
    assert any("HardFault: read of unmapped memory" in note for note in live.notes)
    waits = build(tmp_path, {"x.S": start(FAULTS + exit_with("r5"), {})}, core)
    fault = LiveMachine(waits, core).run(budget=10_000).fault
    assert fault and "read of unmapped memory" in fault.reason  # its handler only waits


TASKS = r"""
#include <stdint.h>
#define REG(a) (*(volatile uint32_t *)(a))
static uint32_t host(uint32_t op, const void *arg)
{
    register uint32_t r0 __asm__("r0") = op;
    register const void *r1 __asm__("r1") = arg;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
volatile uint32_t ticks, switches, current, sums[2], done[2];
uint32_t *stacks[2], space[2][256];
void systick_c(void) { ticks++; REG(0xE000ED04) = 1u << 28; }
uint32_t *pick(uint32_t *sp)
{
    stacks[current] = sp;
    current ^= 1;
    switches++;
    return stacks[current];
}
static void task(uint32_t me)
{
    uint32_t i, h = me + 1;
    for (i = 0; i < 40000; i++) h = h * 1664525u + 1013904223u + (h >> 7);
    sums[me] = h;
    done[me] = 1;
    for (;;) if (me == 0 && done[1] && switches > 3) {
        static const char digits[] = "0123456789abcdef";
        char text[20];
        uint32_t n, block[2];
        for (n = 0; n < 8; n++) {
            text[n] = digits[sums[0] >> (28 - 4 * n) & 15];
            text[n + 9] = digits[sums[1] >> (28 - 4 * n) & 15];
        }
        text[8] = ' ';
        text[17] = 0;
        host(4, text);
        block[0] = 0x20026;
        block[1] = switches > 3 && ticks >= switches ? 0 : 1;
        host(0x20, block);
    }
}
static void one(void) { task(0); }
static void two(void) { task(1); }
void go(void)
{
    uint32_t *sp = &space[1][256], i;
    *--sp = 0x01000000; *--sp = (uint32_t)two & ~1u; *--sp = 0xFFFFFFFF;
    for (i = 0; i < 5; i++) *--sp = 0;
    for (i = 0; i < 8; i++) *--sp = i;
    stacks[1] = sp;
    REG(0xE000ED20) = 0xFFu << 16;         /* PendSV: the least urgent */
    REG(0xE000E014) = 4999; REG(0xE000E018) = 0; REG(0xE000E010) = 7;
    __asm__ volatile("msr psp, %0\n movs r0, #2\n msr control, r0\n isb" :: "r"(&space[0][256]) : "r0");
    one();
}
"""
SWITCH = """
  mrs r0, psp
  subs r0, #32
  mov r1, r0
  stmia r1!, {r4-r7}
  mov r4, r8
  mov r5, r9
  mov r6, r10
  mov r7, r11
  stmia r1!, {r4-r7}
  push {r3, lr}
  bl pick
  mov r1, r0
  adds r1, #16
  ldmia r1!, {r4-r7}
  mov r8, r4
  mov r9, r5
  mov r10, r6
  mov r11, r7
  ldmia r0!, {r4-r7}
  adds r0, #16
  msr psp, r0
  pop {r3, pc}
"""
TICK = "  push {r3, lr}\n  bl systick_c\n  pop {r3, pc}\n"


@pytest.mark.parametrize("core", CORES)
def test_two_tasks(core: str, tmp_path: Path, need_tool) -> None:
    """SysTick preempts, PendSV switches: both tasks compute what they would alone, here as in QEMU."""
    need_tool("arm-none-eabi-gcc")
    sources = {"x.S": start("  bl go\n", {"systick": TICK, "pendsv": SWITCH}), "t.c": TASKS}
    elf = build(tmp_path, sources, core, "-O2", "-ffreestanding", "-mfloat-abi=soft")
    machine = LiveMachine(elf, core)
    live = machine.run(check=True, budget=5_000_000)
    sums = []
    for h in (1, 2):
        for _ in range(40000):
            h = (h * 1664525 + 1013904223 + (h >> 7)) & 0xFFFFFFFF
        sums.append(f"{h:08x}")
    assert (live.exit, live.console) == (0, " ".join(sums))
    switches = int.from_bytes(machine.symbol_bytes("switches"), "little")
    assert abs(switches - live.cycles // 5000) <= 1
    assert machine.run().cycles == live.cycles, "a second run is the same"
    if core in MACHINES:
        assert qemu(elf, core, need_tool) == (0, live.console)


def qemu(elf: Path, core: str, need_tool) -> tuple[int, str]:
    """Exit code and console in QEMU."""
    need_tool("qemu-system-arm")
    done = subprocess.run(["qemu-system-arm", "-M", MACHINES[core], "-nographic", "-monitor", "none", "-serial", "null",
                           "-semihosting-config", "enable=on,target=native", "-kernel", str(elf)], timeout=60,
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


FLOATS = """
  ldr r0, =0xE000ED88     @ CPACR
  ldr r1, =0xF00000
  str r1, [r0]
  dsb
  isb
  mov r4, sp
  svc 0                   @ before any use of the FPU: eight words
  subs r7, r4, r5
  cmn r6, #7
  it ne
  addne r7, #1
  ldr r0, =0x3FC00000
  vmov s0, r0
  vmov s15, r0
  ldr r1, =0xA0000000
  vmsr fpscr, r1
  svc 0                   @ and 26 from then on
  subs r4, r4, r5
  add r7, r4
  cmn r6, #23
  it ne
  addne r7, #1
  vmov r2, s0
  cmp r2, r0
  it ne
  addne r7, #1
  vmov r2, s15
  cmp r2, r0
  it ne
  addne r7, #1
  vmrs r2, fpscr
  cmp r2, r1
  it ne
  addne r7, #1
"""


def test_the_fpu_is_stacked_where_it_was_used(tmp_path: Path, need_tool) -> None:
    """The frame's size, EXC_RETURN, and registers that a handler overwrites: as in QEMU."""
    need_tool("arm-none-eabi-gcc")
    handler = "  mov r5, sp\n  mov r6, lr\n  vmov s0, r6\n  vmov s15, r5\n  vmsr fpscr, r4\n  bx lr"
    text = start(FLOATS + exit_with("r7"), {"svcall": handler})
    elf = build(tmp_path, {"x.S": text}, "cortex-m4")
    live = LiveMachine(elf, "cortex-m4", fpu=True).run(check=True)
    assert live.exit == 0x20 + 0x68
    assert qemu(elf, "cortex-m4", need_tool)[0] == live.exit


def test_command_line_notices_clocks(tmp_path: Path, need_tool) -> None:
    """Any ELF runs by itself: what reads a clock is run with one."""
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"x.S": start(CYCLES + exit_with("r5"), {}) + TIMED}, "cortex-m4")
    live = LiveMachine(elf, "cortex-m4").run(check=True)
    command = [sys.executable, "-m", "emu", str(elf), "--core", "cortex-m4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == live.exit & 0xFF and f"{live.cycles} cycles" in done.stderr


def test_sleep_until_the_tick(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    body = """
  ldr r6, =0xE000E000
  ldr r0, =99999
  str r0, [r6, #0x14]
  str r0, [r6, #0x18]
  movs r0, #7
  str r0, [r6, #0x10]
  movs r5, #0
1: wfi
  cmp r5, #3
  bne 1b
"""
    text = start(body + exit_with("r5"), {"systick": "  adds r5, #1\n  bx lr"})
    elf = build(tmp_path, {"x.S": text}, "cortex-m0plus")
    live = LiveMachine(elf, "cortex-m0plus").run(check=True)
    assert live.exit == 3 and 300_000 <= live.cycles < 300_200 and live.instructions < 200


def test_too_many_banks_for_the_clock(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    names = [f"f{i}" for i in range(256)]
    code = "".join(f".thumb_func\n.global {name}\n.type {name}, %function\n{name}: bx lr\n" for name in names)
    elf = build(tmp_path, {"x.S": start("  movs r3, #0\n" + exit_with("r3"), {}) + code}, "cortex-m0plus")
    assert len(LiveMachine(elf, banks=names[:255]).run(check=True).layers) == 255
    with pytest.raises(emu.EmuError, match="at most 255"):
        LiveMachine(elf, banks=names)
