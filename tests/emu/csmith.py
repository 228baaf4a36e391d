"""Random C programs from csmith, built for a core and for this machine, and run wherever they can be.

One source means the same everywhere: the types have fixed widths, and the suffix L (64 bits here, 32 on Arm) is taken
off the constants.  Packed structures are left out, whose fields ARMv6-M cannot reach through pointers.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import emu
from emu import slow

from .bench import FLAGS
from .programs import START

CORES = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4")
LEVELS = ("-O0", "-O1", "-O2", "-O3")
HEADERS = Path("/usr/include/csmith")
BUDGET = 1_000_000
"""Instructions: a program that takes more is passed over, it would be long in stepping."""
_OPTIONS = (
    "--no-argc --concise --no-packed-struct --max-funcs 4 --max-block-size 3 --max-block-depth 3"
    " --max-array-len-per-dim 6 --max-expr-complexity 6"
)
_LINK = """
MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 1M  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 1M }
PHDRS { code PT_LOAD FLAGS(5); variables PT_LOAD FLAGS(6); }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text .text.*) *(.rodata .rodata.*) } > FLASH :code
  .data : { *(.data .data.*) } > RAM :variables
  .bss : { *(.bss .bss.* COMMON) } > RAM :variables
  .stack (NOLOAD) : { . = ALIGN(8); __stack_limit = .; . += 65536; __stack_top = .; } > RAM :NONE
  /DISCARD/ : { *(.ARM.exidx* .ARM.extab* .note.*) }
}
"""
_RUNTIME = """
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
int csmith_main(void);
static uint32_t host(uint32_t op, const void *arg)
{
    register uint32_t r0 __asm__("r0") = op;
    register const void *r1 __asm__("r1") = arg;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void *memcpy(void *to, const void *from, size_t n)
{
    char *a = to;
    const char *b = from;
    while (n--) { *a++ = *b++; __asm__ volatile(""); }
    return to;
}
void *memset(void *to, int c, size_t n)
{
    char *a = to;
    while (n--) { *a++ = (char)c; __asm__ volatile(""); }
    return to;
}
int print_checksum(const char *format, ...)
{
    char text[9];
    uint32_t value;
    int i;
    va_list arguments;
    va_start(arguments, format);
    value = va_arg(arguments, uint32_t);
    va_end(arguments);
    for (i = 0; i < 8; i++) text[i] = "0123456789ABCDEF"[value >> (28 - 4 * i) & 15];
    text[8] = 0;
    host(4, text);
    return 0;
}
void cmain(void);
void cmain(void)
{
    uint32_t block[2] = {0x20026, 0};
    csmith_main();
    host(0x20, block);
    for (;;) {}
}
"""


@dataclass
class Outcome:
    """One program on one core at one level: ``wrong`` says what disagreed, ``passed_over`` why it was not run."""

    seed: int
    core: str
    level: str
    instructions: int = 0
    passed_over: str = ""
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"csmith seed {self.seed}, {self.core} {self.level}: {'; '.join(self.wrong)}"


def generate(folder: Path, seed: int) -> Path:
    """The program of ``seed`` with constants that have one meaning on machines of 32 and of 64 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["csmith", "--seed", str(seed), *_OPTIONS.split()]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout
    (folder / "work.c").write_text(re.sub(r"\b(0x[0-9A-Fa-f]+|\d+)(U?)L\b", r"\1\2", made))
    return folder / "work.c"


def checksum(text: str) -> str:
    """The eight digits of ``checksum = 12AB`` or of what the runtime prints."""
    return text.strip().rpartition(" ")[2].zfill(8)


def on_this_machine(folder: Path) -> str | None:
    """Its checksum here; None when it does not end within two seconds."""
    subprocess.run(["gcc", "-w", "-O1", "-fwrapv", f"-I{HEADERS}", "-o", "host", "work.c"], cwd=folder, check=True)
    try:
        return checksum(subprocess.run(["./host"], cwd=folder, capture_output=True, text=True, timeout=2).stdout)
    except subprocess.TimeoutExpired:
        return None


def build(folder: Path, core: str, level: str) -> Path:
    """The ELF for ``core``."""
    (folder / "link.ld").write_text(_LINK)
    (folder / "start.S").write_text(START)
    (folder / "runtime.c").write_text(_RUNTIME)
    cc = ["arm-none-eabi-gcc", "-mthumb", *FLAGS[core], level, "-w", "-ffreestanding", "-fwrapv",
          "-ffunction-sections", f"-I{HEADERS}"]
    subprocess.run([*cc, "-Dmain=csmith_main", "-Dprintf=print_checksum", "-c", "work.c"], cwd=folder, check=True)
    subprocess.run([*cc, "-nostartfiles", "-Tlink.ld", "-Wl,--build-id=none,--gc-sections", "-o", "x.elf",
                    "start.S", "runtime.c", "work.o"], cwd=folder, check=True)
    return folder / "x.elf"


def in_qemu(elf: Path, core: str) -> str:
    """Its checksum in QEMU; what is built for an M0 runs on the M3 of mps2-an385."""
    machine = "mps2-an386" if core == "cortex-m4" else "mps2-an385"
    done = subprocess.run(["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "none",
                           "-semihosting-config", "enable=on,target=native", "-kernel", elf],
                          capture_output=True, text=True, timeout=60)
    return checksum(done.stdout or done.stderr)


def compare(folder: Path, seed: int, core: str, level: str) -> Outcome:
    """Run one program everywhere and say what differs."""
    out = Outcome(seed, core, level)
    generate(folder, seed)
    expected = on_this_machine(folder)
    if expected is None:
        out.passed_over = "it does not end"
        return out
    elf = build(folder, core, level)
    image = emu.load(elf)
    names = [s for s in ("func_1", "func_2", "transparent_crc", "crc32_8bytes", "crc32_gentab") if image.symbol(s)]
    places: dict[int, str] = {}
    for name in names:                  # functions may be folded into one
        places.setdefault(image.symbol(name).address, name)
    banks = list(places.values())
    machine = emu.Machine(image, core=core, fpu=core == "cortex-m4", count="csmith_main", banks=banks)
    fast = machine.run(budget=BUDGET)
    if fast.fault and "budget" in fast.fault.reason:
        out.passed_over = f"more than {BUDGET} instructions"
        return out
    if fast.fault:
        out.wrong.append(fast.fault.report())
        return out
    step = slow.run(image, core, count="csmith_main", banks=banks, budget=4 * BUDGET)
    out.instructions = fast.instructions
    told = [("calls", fast.calls, step.calls), ("instructions", fast.instructions, step.instructions),
            ("cycles", fast.cycles, step.cycles), ("slow checksum", checksum(step.console), expected),
            ("checksum", checksum(fast.console), expected), ("QEMU's checksum", in_qemu(elf, core), expected)]
    for a, b in zip(fast.layers, step.layers, strict=True):
        told.append((a.symbol, (a.calls, a.instructions, a.cycles), (b.calls, b.instructions, b.cycles)))
    out.wrong += [f"{what}: {got}, expected {want}" for what, got, want in told if got != want]
    return out
