"""Many snippets of assembly in one firmware, each a function of its own, so that one run measures all of them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

LINK = """
MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 1M  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 64K }
PHDRS { code PT_LOAD FLAGS(5); variables PT_LOAD FLAGS(6); }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text .text.*) *(.rodata .rodata.*) } > FLASH :code
  .stack (NOLOAD) : { __stack_limit = .; . += 4096; __stack_top = .; } > RAM :NONE
  .data : { *(.data .data.*) } > RAM AT > FLASH :variables
  .bss (NOLOAD) : { *(.bss .bss.* COMMON) } > RAM :NONE
  /DISCARD/ : { *(.ARM.exidx* .ARM.extab* .note.*) }
}
"""
FLAGS = {"cortex-m0": ["-mcpu=cortex-m0", "-mfloat-abi=soft"],
         "cortex-m0plus": ["-mcpu=cortex-m0plus", "-mfloat-abi=soft"],
         "cortex-m3": ["-mcpu=cortex-m3", "-mfloat-abi=soft"],
         "cortex-m4": ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
         "cortex-m7": ["-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"],
         "cortex-m33": ["-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"]}
CRT = """
.syntax unified
.thumb
.section .vectors, "a"
.word __stack_top
.word reset + 1
.text
.thumb_func
.global reset
.type reset, %function
reset:
"""
EXIT = """
  ldr r1, =0x20026
  movs r0, #0x18
  bkpt 0xab
  b .
.ltorg
"""


@dataclass(frozen=True)
class Case:
    """One snippet: what it must cost in cycles and instructions, the return to the caller left out."""

    name: str
    code: str
    cycles: int
    instructions: int
    returns: bool = True
    """False when the snippet returns by itself; its cost then includes that."""


def build(folder: Path, sources: dict[str, str], core: str, *flags: str) -> Path:
    """Compile C and assembly files to one ELF."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link.ld").write_text(LINK)
    for name, text in sources.items():
        (folder / name).write_text(text)
    subprocess.run(["arm-none-eabi-gcc", "-mthumb", *FLAGS[core], *flags, "-nostartfiles", "-Tlink.ld", "-o", "x.elf",
                    "-Wl,--build-id=none", *sources], cwd=folder, check=True)
    return folder / "x.elf"


def program(cases: list[Case]) -> str:
    """Assembly that calls each case once: r0 points at RAM that points at itself, r1 = 1, r2 = 2, r3 = 3, r5 = 0."""
    text = [CRT]
    for i in range(len(cases)):
        text.append(f"  ldr r0, =scratch\n  str r0, [r0]\n  movs r1, #1\n  movs r2, #2\n  movs r3, #3\n  movs r4, #4\n"
                    f"  movs r5, #0\n  bl case_{i}\n")
        if i % 20 == 19:
            text.append("  b 1f\n.ltorg\n1:\n")
    text.append(EXIT)
    for i, case in enumerate(cases):
        text.append(f".balign 4\n.thumb_func\n.global case_{i}\n.type case_{i}, %function\ncase_{i}:\n")
        text += [f"  {line.strip()}\n" for line in case.code.split(";")]
        if case.returns:
            text.append("  bx lr\n")
        text.append(f".ltorg\n.size case_{i}, . - case_{i}\n")
    text.append(".thumb_func\n.type helper, %function\nhelper: bx lr\n")
    text.append(".data\n.balign 8\nscratch: .space 64\n")
    return "".join(text)
