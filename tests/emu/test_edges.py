"""What counters of blocks have to tell about jumps: taken or not, into a bank, out of one, and where a run ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from emu._core import Engine

import emu
from emu import slow
from emu.account import Counts, Ledger
from emu.decode import Decoder
from emu.live import LiveMachine
from genn.bench import emulator

from .bench import CRT, EXIT, build

CALLS = CRT + """
  movs r4, #9
1:
  mov r0, r4
  bl first
  subs r4, #1
  bne 1b
  movs r0, #6
  bl twice
""" + EXIT + """
.thumb_func
.global first
.type first, %function
first:              @ what is below 4 falls into the next function, which is a bank too
  adds r0, #1
  cmp r0, #4
  bhs 1f
.thumb_func
.global second
.type second, %function
second:
  subs r0, #1
  bne second        @ a loop back to the first instruction is no call
  bx lr
1:
  movs r0, #0
  bx lr
.thumb_func
.global twice
.type twice, %function
twice:              @ two blocks with one end, and a return address that is reached without a return as well
  push {r4, lr}
  mov r4, r0
  b 2f
1:
  adds r0, #1
2:
  subs r4, #1
  bne 1b
  movs r4, #3
  cmp r0, #0
  beq 3f
3:
  movs r0, #1
  bl first
4:
  subs r4, #1
  bne 4b
  pop {r4, pc}
"""


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
@pytest.mark.parametrize("count", [None, "twice"])
@pytest.mark.parametrize("banks", [[], ["first", "second"], ["second"], ["first", "second", "twice"]], ids="+".join)
def test_jumps_at_the_edges_of_banks(core: str, count: str | None, banks: list[str], tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    banks = [bank for bank in banks if bank != count]
    elf = build(tmp_path, {"x.S": CALLS}, core)
    machine = emu.Machine(elf, core, banks=banks, count=count)
    fast = machine.run(check=True)
    step = slow.run(elf, core, banks=banks, count=count)
    assert (fast.cycles, fast.instructions) == (step.cycles, step.instructions)
    for a, b in zip(fast.layers, step.layers, strict=True):
        assert (a.symbol, a.cycles, a.instructions, a.calls) == (b.symbol, b.cycles, b.instructions, b.calls)
    again = machine.run(check=True)
    assert (again.cycles, again.layers) == (fast.cycles, fast.layers)


@pytest.mark.arm
def test_a_run_that_ends_in_a_block_has_taken_no_branch(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    text = CRT + "  movs r0, #1\n  lsls r0, #30\n  nop\n  b 1f\n1: ldr r0, [r0]\n  cmp r0, #0\n  bne reset\n" + EXIT
    result = emu.Machine(build(tmp_path, {"x.S": text}, "cortex-m0plus"), "cortex-m0plus").run()
    assert result.fault and "unmapped" in result.fault.reason
    assert result.cycles == 3 + 2 + 2 + 1 + 1  # the block counts as a whole, its branch as not taken


def test_blocks_with_one_end_share_its_jumps_and_nothing_else() -> None:
    """A branch behind the middle of a 32-bit instruction: which one jumped cannot be told, and is not guessed."""
    code = bytes.fromhex("00f0 00d0")  # BL, whose second half is BEQ
    ledger = Ledger(1, emu.load_timing("cortex-m4"), Decoder(), lambda at, size: code[at - 256 :][:size])
    ledger.tally(Counts([(0, 256, 4, 3, 3)]))
    with pytest.raises(emu.EmuError, match="overlaps itself"):
        ledger.tally(Counts([(0, 256, 4, 3, 3), (0, 258, 2, 1, 1)]))


@pytest.mark.parametrize("core", emulator.CORES)
def test_little_room_for_translations(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is translated is thrown away and translated again, without special hooks: slower, and the same counts."""
    elf = emulator.program("mixed", core, 0.01)
    options = {"regions": emulator._REGIONS, "count": "work", "banks": emulator.BANKS["mixed"]}
    usual = emu.Machine(elf, core, **options).run(check=True)
    monkeypatch.setattr("emu.machine.Engine", lambda model, code: Engine(model, code, 1 << 20))
    machine = emu.Machine(elf, core, **options)
    for _ in range(2):
        tight = machine.run(check=True)
        assert (tight.cycles, tight.instructions, tight.layers) == (usual.cycles, usual.instructions, usual.layers)


FIRST_TOUCH = CRT + """
  movs r4, #0
  ldr r2, =0x20001000
  movs r6, #32
1:
  cmp r6, #99
  it ne
  ldrne.w r1, [r2]  @ the first access to a page: Unicorn looks it up, and saves the state of the IT block
  adr r0, 2f
  adds r0, #1
  movs r5, #0       @ now NE does not hold
  bx r0             @ to code that is looked up by its address, and by that state
  .align 2
2:
  adds r4, #1
  add r2, r2, #1024
  subs r6, #1
  bne 1b
  ldr r0, =0x20000010
  str r4, [r0]
""" + EXIT


@pytest.mark.arm
@pytest.mark.parametrize("machine", [emu.Machine, LiveMachine])
def test_a_page_first_touched_within_an_it_block(machine, tmp_path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    made = machine(build(tmp_path, {"start.S": FIRST_TOUCH}, "cortex-m4"), "cortex-m4")
    assert made.run().exit == 0
    assert int.from_bytes(made.memory(0x20000010, 4), "little") == 32
