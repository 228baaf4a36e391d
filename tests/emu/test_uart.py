"""What firmware transmits through a UART is its console."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import emu
from emu.live import LiveMachine
from emu.uart import KINDS, parse
from genn.target import load_target

from .bench import CRT, EXIT, build

ROOT = Path(__file__).resolve().parents[2]
PRINT = """
  ldr r0, =0x40004000
  movs r1, #1
  str r1, [r0, #8]
  adr r2, text
1:
  ldrb r3, [r2]
  cmp r3, #0
  beq 3f
2:
  ldr r1, [r0, #4]
  lsrs r1, r1, #1
  bcs 2b
  str r3, [r0]
  adds r2, #1
  b 1b
.balign 4
text: .asciz "over the wire"
.balign 4
3:
"""


def test_uart(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    elf = build(tmp_path, {"x.S": CRT + PRINT + EXIT}, "cortex-m3")
    assert LiveMachine(elf, "cortex-m3", uart=("cmsdk", 0x40004000)).run(check=True).console == "over the wire"
    fault = emu.Machine(elf, "cortex-m3").run().fault
    assert fault and "0x40004008" in fault.reason
    command = [sys.executable, "-m", "emu", str(elf), "--core", "cortex-m3", "--uart"]
    done = subprocess.run([*command, "genn/targets/mps2-an385.toml"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "over the wire"), done.stderr
    (tmp_path / "none.toml").write_text("[uart]\nkind = 3\n")
    for wrong in ("mps2", "cmsdk@here", "vax@0", "genn/targets/none.toml", str(tmp_path / "none.toml")):
        done = subprocess.run([*command, wrong], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2 and wrong in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_the_targets_uarts_are_known() -> None:
    """Each board's file names a kind of UART that there is, with its source."""
    found = {}
    for path in sorted((ROOT / "genn" / "targets").glob("*.toml")):
        uart = load_target(path).uart
        if uart:
            assert uart.kind in KINDS and uart.reference
            assert parse(str(path)) == (uart.kind, uart.base) == parse(f"{uart.kind}@{uart.base:#x}")
            found[path.stem] = uart.kind
    assert found["mps2-an385"] == "cmsdk" and found["rp2040"] == "pl011" and len(found) >= 7
