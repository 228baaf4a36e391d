"""A second run of the same firmware that watches every instruction: call graph, instructions, flash accesses in order.

The first run counts and tells which code ran; from it come the decoded instructions.  The watched run adds their cycles
up one by one, and its totals must be those of the first run: they are compared, and a difference is an error.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import capstone
from capstone import arm as _arm

from ._core import Tracer
from .account import predicated_addresses
from .cache import Flash
from .decode import CONDITIONAL, ENDS, Decoder, Insn
from .errors import EmuError
from .machine import Machine, RunResult

_CALL, _LEAVE, _DIV, _LOAD, _SIGNED = 1, 2, 4, 8, 32
_CALLS = frozenset({"bl", "blx"})
_LEAVES = frozenset({"bx", "pop_pc", "ldm_pc", "ldr_pc", "mov_pc"})
_LOADS = frozenset({"ldr", "ldrd", "ldm", "ldm_pc", "ldr_pc", "vldr", "vldm", "tbb", "exclusive"})
_ALL = 0xFFFFFFFF
OUTSIDE = "(outside)"


@dataclass(frozen=True)
class Node:
    """A place in the tree of calls; recursion is folded into the function's first appearance on the way."""

    parent: int
    function: str
    site: int
    calls: int
    cycles: int
    instructions: int
    stalls: int


@dataclass(frozen=True)
class Edge:
    """Calls from the instruction at ``site`` in ``caller``; cycles and instructions with all that they called.

    ``jump``: a tail call, which does not come back here.
    """

    caller: str
    site: int
    callee: str
    jump: bool
    calls: int
    cycles: int
    instructions: int


@dataclass(frozen=True)
class Executed:
    """One instruction: executions, how often it was left by a jump, its cycles and the stalls of the flash there."""

    address: int
    count: int
    jumps: int
    cycles: int
    stalls: int


@dataclass
class Trace:
    """What the watched run saw; cycles without stalls, which ``fetch_stalls`` and ``data_stalls`` add (an estimate)."""

    cycles: int
    instructions: int
    fetch_stalls: int
    data_stalls: int
    nodes: list[Node]
    edges: list[Edge]
    events: list[tuple[int, str, bool]]
    events_complete: bool
    executed: list[Executed]
    calls: dict[str, int]
    inclusive: dict[str, int]
    cache_hits: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    notes: list[str] = field(default_factory=list)

    @property
    def stalls(self) -> int:
        """All stalls."""
        return self.fetch_stalls + self.data_stalls


def trace(
    machine: Machine,
    result: RunResult,
    files: Mapping[str, bytes] | None = None,
    clock_hz: int = 1_000_000,
    flash: Flash | None = None,
    budget: int = 10**12,
) -> Trace:
    """Run the firmware of ``machine`` again, which has just given ``result`` with the same ``files``."""
    if result.fault is not None:
        raise EmuError("a run that ended in a fault cannot be profiled")
    names, starts, owners = _functions(machine)
    insns = _insns(machine)
    root = machine._address(machine.count) if machine.count else _ALL
    # bare: where a block is translated anew for its counting hooks, Unicorn may lose the hook of an instruction
    again = Machine(machine.image, machine.core, machine.fpu, machine.timing, machine.regions, machine.banks,
                    machine.count, counting=False)
    costs = _division_costs(machine, insns)
    tracer = Tracer(again._engine, len(names), root, costs)
    _fill(tracer, machine, insns, starts, owners)
    for name in (machine.count, *machine.banks):
        if name:
            tracer.show(owners[bisect_right(starts, machine._address(name)) - 1])
    if flash is not None:
        tracer.flash(flash.base, flash.size, flash.wait_states, flash.wait_states, flash.line_bytes.bit_length() - 1,
                     (flash.instruction_lines, flash.instruction_ways or flash.instruction_lines or 1),
                     (flash.data_lines, flash.data_ways or flash.data_lines or 1), flash.unified, flash.prefetch)
    tracer.attach()
    again.guard_stack = False
    second = again.run(files, budget, clock_hz)
    tracer.finish()
    if second.fault is not None:
        raise EmuError(f"the second run of the firmware failed: {second.fault}")
    cycles, instructions, fetch, data = tracer.totals
    complete, events_complete = tracer.complete
    if (cycles, instructions) != (result.cycles, result.instructions):
        raise EmuError(f"the profile counted {cycles} cycles and {instructions} instructions where the run had "
                       f"{result.cycles} and {result.instructions}")
    notes = [] if complete else ["the call graph is incomplete: too many calls or contexts"]

    def name_of(func: int) -> str:
        return names[func] if func < len(names) else OUTSIDE

    return Trace(
        cycles,
        instructions,
        fetch,
        data,
        [Node(parent, name_of(func), *rest) for parent, func, *rest in tracer.tree()],
        [Edge(name_of(a), site, name_of(b), *rest) for a, site, b, *rest in tracer.call_edges()],
        [(at, name_of(func), opens) for at, func, opens in tracer.timeline()],
        events_complete,
        [Executed(at, n, jumps if insns[at].kind in ENDS else 0, *rest)  # an IT that skips is no jump
         for at, n, jumps, *rest in tracer.instructions_seen()],
        {name_of(func): calls for func, calls, _ in tracer.functions()},
        {name_of(func): spent for func, _, spent in tracer.functions()},
        tracer.cache_use,
        notes,
    )


def stack_below(machine: Machine, limit: int, files: Mapping[str, bytes] | None, clock_hz: int,
                budget: int = 10**12) -> tuple[int, int] | None:
    """(pc, sp) where the firmware of ``machine``, which has run, first takes SP below ``limit``; None when nowhere."""
    again = Machine(machine.image, machine.core, machine.fpu, machine.timing, machine.regions)
    names, starts, owners = _functions(machine)
    tracer = Tracer(again._engine, len(names), _ALL, [0] * 33)
    _fill(tracer, machine, _insns(machine), starts, owners)
    tracer.watch_stack(limit)
    tracer.attach()
    again.guard_stack = False
    again.run(files, budget, clock_hz)
    found: tuple[int, int] | None = tracer.stack_fault
    return found


def _functions(machine: Machine) -> tuple[list[str], list[int], list[int]]:
    """Names, and sorted start addresses with the number of the name that begins there."""
    names: list[str] = [""]
    starts, owners = [0], [0]
    numbers: dict[str, int] = {}
    for symbol in sorted((s for s in machine.image.symbols if s.is_function), key=lambda s: (s.address, s.name)):
        number = numbers.setdefault(symbol.name, len(names))
        if number == len(names):
            names.append(symbol.name)
        if symbol.address == starts[-1]:
            owners[-1] = number  # as Image.function_at: the last of those that begin here
        else:
            starts.append(symbol.address)
            owners.append(number)
    return names, starts, owners


def _insns(machine: Machine) -> dict[int, Insn]:
    """Every instruction of every block that ran, by address."""
    decoder = machine._decoder = machine._decoder or Decoder()
    blocks = machine._engine.counts()
    out: dict[int, Insn] = {}
    for address, size in {(b[1], b[2]) for b in blocks}:
        for insn in decoder.block(address, machine._code(address, size)):
            out[insn.address] = insn
    return out


def _division_costs(machine: Machine, insns: dict[int, Insn]) -> list[int]:
    division = next((i for i in insns.values() if i.kind == "div"), None)
    return [machine.timing.cost(division, quotient=q) for q in range(33)] if division else [0] * 33


def _fill(tracer: Any, machine: Machine, insns: dict[int, Insn], starts: list[int], owners: list[int]) -> None:
    """Costs as :mod:`emu.account` sees them, instruction by instruction."""
    timing, decoder, code = machine.timing, machine._decoder or Decoder(), machine._code
    md = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    md.detail = True
    predicated = predicated_addresses(machine._engine.counts(), decoder, code)
    for at, insn in insns.items():
        conditional = at in predicated
        division = insn.kind == "div"
        taken = flags = 0
        cost = 0 if division else timing.cost(insn, taken=conditional)
        if conditional:
            cost -= timing.skipped  # which its IT has paid for
        elif insn.kind in CONDITIONAL:
            taken = timing.cost(insn, taken=True) - cost
        cost += insn.covers * timing.skipped
        if insn.kind not in ENDS and not conditional:
            following = decoder.one(at + insn.size, code(at + insn.size, 4))
            if following is not None and following.address not in predicated:
                cost += timing.pair(insn, following)
        more: tuple[int, ...] = ()
        flags |= _CALL * (insn.kind in _CALLS) | _LEAVE * (insn.kind in _LEAVES)
        if division:
            word = code(at, 4)
            flags |= _DIV | _SIGNED * (not word[0] & 0x20)
            more = word[0] & 15, word[2] & 15
        elif insn.kind in _LOADS:
            more = _operands(md, insn, code(at, 4))
            flags |= _LOAD * bool(more)
        tracer.op(at, insn.size, cost, taken, owners[bisect_right(starts, at) - 1], flags, *more)


def _number(md: Any, register: int) -> int:
    name = md.reg_name(register)
    return {"sb": 9, "sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}.get(name) or int(name[1:])


def _operands(md: Any, insn: Insn, code: bytes) -> tuple[int, ...]:
    """(base, index, displacement, shift, bytes) of a load, base 255 where the address is known; () when it is none."""
    raw = next(md.disasm(code, insn.address, 1), None)
    if raw is None:
        return ()
    if raw.insn_name().startswith(("ldm", "vldm")):
        base = _number(md, raw.operands[0].reg)
        down = -4 * insn.n if raw.insn_name() in ("ldmdb", "vldmdb") else 0
        return (base, 255, down, 0, 4 * insn.n) if base != 13 else ()
    memory = next((o for o in raw.operands if o.type == _arm.ARM_OP_MEM), None)
    if memory is None or raw.insn_name().startswith(("strex", "vpop", "clrex")):
        return ()
    base, disp = _number(md, memory.mem.base), memory.mem.disp
    index, shift = 255, 0
    if memory.mem.index:
        index = _number(md, memory.mem.index)
        shift = memory.shift.value if memory.shift.type == _arm.ARM_SFT_LSL else 0
        shift = 1 if raw.insn_name() == "tbh" else shift
    name = raw.insn_name()
    size = 1 if name in ("ldrb", "ldrsb", "ldrbt", "tbb", "ldrexb", "ldrsbt") else 2 if "h" in name[2:] else 4 * insn.n
    if base == 15:
        known = insn.address + 4 if name in ("tbb", "tbh") else (insn.address + 4 & ~3) + disp
        return 255, index, known, shift, size
    post = len(raw.operands) > 2 and raw.operands[-1].type == _arm.ARM_OP_IMM and raw.writeback
    return base, index, 0 if post else disp, shift, size
