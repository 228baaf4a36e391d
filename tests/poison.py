"""What generated code does to the arena, step by step: every byte that holds nothing alive is poisoned before a step
runs, and what changed is looked at after it.

A step is a layer's function, or a streamed region's.  Liveness is worked out here from the graph alone; of the plan
only the offsets are taken.  Each network runs twice, the second time with every bit of the poison turned over:

* nothing dead, and nothing outside the arena, is read: both runs give the reference's bytes, after each step;
* nothing is written but a step's own outputs and its workspace: all other bytes stay as they are, guards included;
* the bytes of dead memory that were written are known exactly: what a step writes differs from the poison of one run.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emu.live import LiveMachine
from genn import reference
from genn.api import Model
from genn.build import build_firmware
from genn.emulate import INPUT_FILE
from genn.ops import registry
from genn.target import load_target
from tests.many import HEAD, Many

BUDGET = 10**11
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """A function of the generated C.  Masks over the arena: ``live`` bytes it may find, ``own`` bytes it may change."""

    symbol: str
    outputs: tuple[str, ...]
    live: np.ndarray
    own: np.ndarray


def spread(model: Model, tensor: str) -> np.ndarray:
    """Arena offsets of a tensor's bytes, in the order of its elements."""
    at = model.project.plan.offsets[tensor]
    return np.arange(at, at + model.graph[tensor].nbytes)


def steps(model: Model) -> list[Step]:
    """The functions that NAME_run calls, in order, with what is alive when each is entered."""
    project, graph = model.project, model.project.planned
    arena = project.plan.arena
    symbols = {x.node.name: x.symbol for x in project.layers}
    scratch = {x.node.name: x.lowered.workspace for x in project.layers}
    for s in project.streams:
        symbols[s.region.nodes[-1].name] = s.symbol
        scratch[s.region.nodes[-1].name] = s.region.bytes
    last = {t: i for i, node in enumerate(graph.nodes) for t in node.inputs}
    last |= dict.fromkeys(graph.outputs, len(graph.nodes))
    alive, found = list(graph.inputs), []
    for i, node in enumerate(graph.nodes):
        if not registry[node.op].view:
            live, own = np.zeros(arena, bool), np.zeros(arena, bool)
            for name in alive:
                live[spread(model, name)] = True
            for name in node.outputs:
                own[spread(model, name)] = True
            if size := scratch[node.name]:
                at = project.plan.offsets[f"{node.name}#ws"]
                own[at : at + size] = True
            found.append(Step(symbols[node.name], tuple(node.outputs), live, own))
        alive = [t for t in [*alive, *node.outputs] if last.get(t, -1) > i]
    return found


def expected_arena(model: Model) -> int:
    """The end of the highest tensor or workspace."""
    tops = [np.flatnonzero(s.own | s.live)[-1] for s in steps(model) if (s.own | s.live).any()]
    return int(max(tops, default=0)) + 1


@dataclass
class Watch:
    """One sample of one model on its way through a buffer in which the arena begins at ``start``."""

    model: Model
    steps: list[Step]
    want: Arrays
    start: int
    turned: bool
    bad: list[str] = field(default_factory=list)
    written: np.ndarray = field(init=False)
    _poison: np.ndarray | None = None
    _before: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.written = np.zeros(self.model.project.plan.arena, bool)

    def enter(self, i: int, image: np.ndarray) -> np.ndarray:
        """The buffer as step ``i`` is to find it."""
        if self._poison is None:
            self._poison = np.random.default_rng(7).integers(0, 256, len(image), np.uint8) ^ (255 * self.turned)
        safe = np.zeros(len(image), bool)
        inside = slice(self.start, self.start + len(self.written))
        safe[inside] = self.steps[i].live
        fresh = np.roll(self._poison, 17 * i)  # no byte of poison stays where it was
        self._before = np.where(safe, image, fresh).astype(np.uint8)
        return self._before.copy()

    def leave(self, i: int, image: np.ndarray) -> None:
        """Judge what step ``i`` left behind."""
        assert self._before is not None
        step, changed = self.steps[i], image != self._before
        inside = slice(self.start, self.start + len(self.written))
        mine = changed[inside].copy()
        self.written |= mine
        changed[inside] &= ~step.own
        if changed.any():
            at = int(np.flatnonzero(changed)[0]) - self.start
            self._say(step, f"writes {int(changed.sum())} bytes that are not its own, the first at {at}")
        arena = image[inside]
        for name in step.outputs:
            want = np.frombuffer(self.want[name].tobytes(), np.uint8)
            differ = int((arena[spread(self.model, name)] != want).sum())
            if differ:
                self._say(step, f"{differ} of {len(want)} bytes of {name} are wrong")

    def _say(self, step: Step, what: str) -> None:
        poison = "turned poison" if self.turned else "poison"
        self.bad.append(f"{self.model.name} [{self.model.graph.scheme}] {step.symbol} with {poison}: {what}")


@dataclass
class Verdict:
    """What the runs of one model showed.  ``bad``: faults, one a line.  ``touched``: the highest arena byte + 1."""

    model: Model
    bad: list[str]
    touched: int
    exact: bool  # touched is the arena: no workspace or padding lies above it


class Custody:
    """Models and one stored sample for each, every one to be run twice."""

    def __init__(self, models: list[Model], stored: list[Arrays], start: int) -> None:
        self.models, self.stored = models, stored
        self.watches: list[Watch] = []
        for m, xs in zip(models, stored, strict=True):
            made = reference.run(m.graph, xs, keep=True)
            want, plan = {n: np.ascontiguousarray(v[0]) for n, v in made.items()}, steps(m)
            self.watches += [Watch(m, plan, want, start, turned) for turned in (False, True)]

    def verdicts(self) -> list[Verdict]:
        out = []
        for m, first, second in zip(self.models, self.watches[::2], self.watches[1::2], strict=True):
            seen = first.written | second.written
            for name in m.graph.inputs:
                seen[spread(m, name)] = True
            touched = int(np.flatnonzero(seen)[-1]) + 1 if seen.any() else 0
            bad, arena = first.bad + second.bad, m.project.plan.arena
            end = expected_arena(m)
            if arena != max(end, 1):
                bad.append(f"{m.name}: the arena has {arena} bytes, the last thing in it ends at {end}")
            tops = [
                t for n, t in _extents(m) if t.stop == end and "#ws" not in n
            ]  # a tensor that ends the arena is written to its last byte
            if tops and touched != end:
                bad.append(f"{m.name}: the arena has {arena} bytes, {touched} were touched")
            low = min((t.start for _, t in _extents(m) if t.stop == end), default=0)
            if touched <= low and end:
                bad.append(f"{m.name}: nothing at the end of the arena, from {low} on, was touched")
            out.append(Verdict(m, bad, touched, touched == arena))
        return out


def _extents(model: Model) -> Iterator[tuple[str, slice]]:
    """Every tensor and workspace in the arena, from its first byte to its last."""
    project = model.project
    sizes = {f"{x.node.name}#ws": x.lowered.workspace for x in project.layers}
    sizes |= {f"{s.region.nodes[-1].name}#ws": s.region.bytes for s in project.streams}
    for name, at in project.plan.offsets.items():
        if name in sizes:
            yield name, slice(at, at + sizes[name])
        else:
            spots = spread(model, name)
            yield name, slice(int(spots.min(initial=at)), int(spots.max(initial=at - 1)) + 1)


def on_the_host(models: list[Model], stored: list[Arrays], folder: Path) -> list[Verdict]:
    """Each step called by itself, on an arena between two guards.  stored: a sample (1, *shape) for each input."""
    many = Many(models, folder)
    sources = [str(p) for p in sorted(many.folder.glob("*.c")) if p.name not in ("main.c", "many.c")]
    library = folder / "many.so"
    flags = ["-std=c99", "-O1", "-shared", "-fPIC", "-ffp-contract=off", f"-I{many.folder}"]
    subprocess.run(["cc", *flags, *sources, "-o", str(library), "-lm"], check=True)
    loaded = ctypes.CDLL(str(library))
    custody = Custody(models, stored, start=64)
    for w, xs in zip(custody.watches, (x for x in stored for _ in (0, 1)), strict=True):
        size = len(w.written)
        buffer = np.zeros(size + 128 + 8, np.uint8)
        buffer = buffer[-buffer.ctypes.data % 8 :][: size + 128]
        for name, x in xs.items():
            buffer[64 + spread(w.model, name)] = np.frombuffer(np.ascontiguousarray(x[0]).tobytes(), np.uint8)
        arena = ctypes.c_void_p(buffer.ctypes.data + 64)
        for i, step in enumerate(w.steps):
            buffer[:] = w.enter(i, buffer)
            loaded[step.symbol](arena)
            w.leave(i, buffer)
    return custody.verdicts()


def in_the_emulator(models: list[Model], stored: list[Arrays], folder: Path, target: str) -> list[Verdict]:
    """The firmware as it ships, stopped where a step is entered."""
    many, board = Many(models, folder), load_target(target)
    machine = LiveMachine(build_firmware(many.folder, board), board.core, board.fpu, board.timing)
    arena = machine._address("genn_arena")
    custody = Custody(models, stored, start=HEAD)
    entries = {machine._address(f"{m.name}_run"): k for k, m in enumerate(models)}
    places = {machine._address(s.symbol): (k, i) for k, m in enumerate(models) for i, s in enumerate(steps(m))}
    twice = [{n: np.repeat(x[:1], 2, axis=0) for n, x in xs.items()} for xs in stored]
    runs = [0] * len(models)
    ends: set[int] = set()
    now: tuple[Watch, int] | None = None

    def look() -> np.ndarray:
        return np.frombuffer(machine.memory(arena, many.arena), np.uint8).copy()

    for address in (*entries, *places):
        machine.breakpoint(address)
    pc, host = machine.begin({INPUT_FILE: many.images(twice).tobytes()}, board.clock_hz)
    stop, pc, fault = machine.proceed(pc, host, BUDGET)
    watch: Watch | None = None
    while stop == "break":
        if now is not None:
            now[0].leave(now[1], look())
            now = None
        if pc in entries:
            k = entries[pc]
            watch, runs[k] = custody.watches[2 * k + runs[k]], runs[k] + 1
            if (end := machine.return_address()) not in ends:
                ends.add(end)
                machine.breakpoint(end)
        elif pc in places:
            assert watch is not None
            k, i = places[pc]
            assert watch.model is models[k]
            machine._write(arena, watch.enter(i, look()).tobytes())
            now = watch, i
        stop, pc, fault = machine.proceed(pc, host, BUDGET, passing=True)
    assert stop == "exit" and fault is None and host.exit == 0, (stop, fault, host.exit)
    assert runs == [2] * len(models)
    return custody.verdicts()


Runner = Callable[[list[Model], list[Arrays], Path], list[Verdict]]


def faults(verdicts: list[Verdict]) -> list[str]:
    return [line for v in verdicts for line in v.bad]
