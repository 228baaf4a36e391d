"""How fast the emulator is: bare engine, counting, counting with layers, instruction hooks and Thumbulator, in one run.

Every method runs once per round, round after round on one core, so that a slow moment of the machine hits all of them.
Figures are medians of processor time; the spread is that of the rounds.  ``empty_hook`` calls a native function that
returns at once for each block: what counting every block costs at least in this engine on this machine.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emu
from genn.bench.verify import _cpu
from genn.errors import ModelError, UsageError
from genn.report import Report, Table

PROGRAMS = Path(__file__).parent / "programs"
CORES = {"cortex-m0plus": "v6m", "cortex-m4": "v7em"}
BANKS = {
    "linear": ["linear"],
    "softfloat": ["conv"],
    "branchy": ["sort", "interpret", "find"],
    "mixed": [f"f{i}" for i in range(24)],
}
"""The functions that stand for layers in each program."""
METHODS = ("bare", "empty_hook", "count", "profile", "instruction_hook", "thumbulator")
ROUNDS = 5
SHORTER = 0.1
"""How much of a program Thumbulator runs, which is some fifty times slower."""
_REGIONS = (emu.Region("FLASH", 0, 8 << 20, "flash"), emu.Region("RAM", 0x40000000, 1 << 20))
_BKPT, _SVC = b"\xab\xbe", b"\x01\xdf"


@dataclass
class Subject:
    """One program for one core: its ELF as measured, how much work it is, and the seconds of each method's rounds."""

    program: str
    core: str
    elf: bytes
    instructions: int
    blocks: int
    seconds: dict[str, list[float]]


def bench(programs: Sequence[str] = tuple(BANKS), cores: Sequence[str] = tuple(CORES), rounds: int = ROUNDS,
          thumbulator: str | Path | None = None, scale: float = 1.0) -> Report:
    """Measure every method on every program; ``scale`` shortens or lengthens the programs."""
    unknown = [name for name in programs if name not in BANKS] + [core for core in cores if core not in CORES]
    if unknown:
        raise UsageError(f"there is no {unknown[0]}", "bench emulator", f"there are: {', '.join([*BANKS, *CORES])}")
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    try:
        subjects = [_measure(p, c, rounds, thumbulator, scale) for p in programs for c in cores]
        start = _start_times()
    finally:
        os.sched_setaffinity(0, cpus)
    rows = [_row(s, method) for s in subjects for method in s.seconds]
    machine = {"cpu": _cpu(), "python": platform.python_version(), "rounds": rounds, "unicorn": "2.1.4"}
    table = Table(
        "the emulator on one core",
        ["program", "core", "method", "MIPS", "spread", "of bare", "instructions/block", "ns added/block"],
        [[r["program"], r["core"], r["method"], round(r["mips"], 1), f"{r['spread'][0]:.0f} to {r['spread'][1]:.0f}",
          f"{r['of_bare']:.2f}", round(r["instructions"] / r["blocks"], 1), r["added_ns_per_block"]] for r in rows],
    )
    lines = [
        f"{machine['cpu']}, one core; median of {rounds} interleaved rounds, processor time; the runs include setting "
        f"the memory up and reckoning the cycles; Thumbulator runs {SHORTER:.0%} of each program",
        f"to the first instruction: {start['api_ms']:.0f} ms from the call, {start['process_ms']:.0f} ms as a process",
    ]
    return Report("bench emulator", {"schema": 1, "machine": machine, "start": start, "rows": rows}, [table], lines)


def program(name: str, core: str, scale: float = 1.0) -> bytes:
    """The ELF of a program, its hash checked, its rounds multiplied by ``scale``."""
    path = PROGRAMS / f"{name}-{CORES[core]}.elf"
    data = path.read_bytes()
    lines = (PROGRAMS / "sums.txt").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    if hashlib.sha256(data).hexdigest() != sums.get(path.name):
        raise ModelError("it is not the benchmark's program: its hash is another one", str(path))
    if scale == 1.0:
        return data
    where = _offset(data, "bench_rounds")
    rounds = max(1, round(int.from_bytes(data[where : where + 4], "little") * scale))
    return data[:where] + rounds.to_bytes(4, "little") + data[where + 4 :]


def _offset(elf: bytes, symbol: str) -> int:
    """Place of a symbol of the first segment in the file."""
    found = emu.load(elf).symbol(symbol)
    if found is None:
        raise ModelError(f"it has no symbol {symbol}", "a benchmark's program")
    at = int.from_bytes(elf[28:32], "little")
    offset, address = (int.from_bytes(elf[at + i : at + i + 4], "little") for i in (4, 8))
    return offset + (found.address & ~1) - address


def _measure(name: str, core: str, rounds: int, thumbulator: str | Path | None, scale: float) -> Subject:
    elf = program(name, core, scale)
    machines = {
        "bare": emu.Machine(elf, core, regions=_REGIONS, counting=False),
        "empty_hook": emu.Machine(elf, core, regions=_REGIONS, counting=False),
        "count": emu.Machine(elf, core, regions=_REGIONS),
        "profile": emu.Machine(elf, core, regions=_REGIONS, count="work", banks=BANKS[name]),
        "instruction_hook": emu.Machine(elf, core, regions=_REGIONS, counting=False),
    }
    machines["empty_hook"].hook_blocks_idly()
    machines["instruction_hook"].count_by_instruction_hooks()
    results, methods = {}, {}
    for method, machine in machines.items():
        results[method] = machine.run()  # translates
        if results[method].fault or results[method].exit != 0:
            raise ModelError(str(results[method].fault or "it failed"), f"{name} on {core}")
        methods[method] = _machine(machine)
    subject = Subject(name, core, elf, results["count"].instructions, machines["count"].blocks_run(), {})
    with tempfile.TemporaryDirectory(prefix="genn-bench-") as work:
        if thumbulator is not None and core == "cortex-m0plus":
            short = program(name, core, scale * SHORTER)
            share = results["count"].instructions / emu.Machine(short, core, regions=_REGIONS).run().instructions
            methods["thumbulator"] = _thumbulator(Path(thumbulator), short, Path(work), share)
        subject.seconds = {method: [] for method in methods}
        for _ in range(rounds):
            for method, run in methods.items():
                subject.seconds[method].append(run())
    return subject


def _machine(machine: emu.Machine) -> Callable[[], float]:
    def run() -> float:
        start = time.process_time()
        machine.run()
        return time.process_time() - start

    return run


def _thumbulator(path: Path, elf: bytes, work: Path, share: float) -> Callable[[], float]:
    """Runs of Thumbulator: the same code as a flat file, in which an SVC takes the place of the last BKPT.

    It runs fewer rounds, and its seconds are multiplied by ``share``.
    """
    end = _offset(elf, "bench_end")
    if elf[end : end + 2] != _BKPT:
        raise ModelError("it does not end as expected", "a benchmark's program")
    image = emu.load(elf[:end] + _SVC + elf[end + 2 :])
    flat = work / "program.bin"
    flat.write_bytes(next(s.data for s in image.segments if s.executable))

    def run() -> float:
        before = os.times()
        try:
            done = subprocess.run([str(path), str(flat)], capture_output=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"it did not run: {error}", f"--thumbulator {path}") from None
        if done.returncode < 0:
            raise UsageError(f"it died of signal {-done.returncode}", f"--thumbulator {path}")
        after = os.times()
        return share * (after.children_user - before.children_user + after.children_system - before.children_system)

    return run


def _row(subject: Subject, method: str) -> dict[str, Any]:
    seconds = subject.seconds[method]
    median = statistics.median(seconds)
    added = statistics.median([a - b for a, b in zip(seconds, subject.seconds["bare"], strict=True)])
    bare = statistics.median(subject.seconds["bare"])
    return {
        "method": method, "program": subject.program, "core": subject.core,
        "mips": subject.instructions / median / 1e6,
        "spread": [subject.instructions / s / 1e6 for s in (max(seconds), min(seconds))],
        "instructions": subject.instructions, "blocks": subject.blocks,
        "ns_per_block": median / subject.blocks * 1e9,
        "added_ns_per_block": round(added / subject.blocks * 1e9, 2) if method != "bare" else None,
        "of_bare": bare / median,
        "seconds": seconds, "sha256": hashlib.sha256(subject.elf).hexdigest(),
    }


_API = "import emu; emu.Machine({elf!r}, {core!r}, regions={regions!s}).run(budget=1)"


def _start_times() -> dict[str, float]:
    """Milliseconds from the API call, and from the start of a process, to a run that ended after one instruction."""
    elf = str(PROGRAMS / "branchy-v6m.elf")
    regions = "[" + ", ".join(f"emu.Region({r.name!r}, {r.base}, {r.size}, {r.kind!r})" for r in _REGIONS) + "]"
    script = _API.format(elf=elf, core="cortex-m0plus", regions=regions)
    api, process = [], []
    for _ in range(3):
        start = time.perf_counter()
        emu.Machine(elf, "cortex-m0plus", regions=_REGIONS).run(budget=1)
        api.append(time.perf_counter() - start)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
        process.append(time.perf_counter() - start)
    return {"api_ms": statistics.median(api) * 1e3, "process_ms": statistics.median(process) * 1e3}
