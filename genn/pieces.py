"""Many samples through the emulator: in pieces, one behind another or over processes, put together as one run.

What is counted is the network's run, entry to return, so the sum over the pieces is what one run would have counted.
The processes are ``python -m genn.pieces``, fed through pipes: nothing of the caller's program is imported again.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import emu
from emu import cache
from genn.progress import steps

PIECE_INSTRUCTIONS = 200_000_000
"""About how much one piece runs: a fraction of a second, so that progress shows."""
WORTH_A_PROCESS = 2_000_000_000
"""Instructions below which starting processes takes longer than it saves."""


@dataclass(frozen=True)
class Job:
    """A machine to make, and how to run it."""

    machine: dict[str, Any]
    input_file: str
    output_file: str
    budget: int
    clock_hz: int
    flash: cache.Flash | None


@dataclass
class Outcome:
    """One piece, or all of them together; ``fault``: what ended the run early, its report."""

    result: emu.RunResult
    output: bytes
    waits: int
    fault: str = ""


def split(data: bytes, sample: int, instructions: int) -> list[bytes]:
    """``data`` in pieces of whole samples, each of about PIECE_INSTRUCTIONS when a sample takes ``instructions``."""
    size = max(1, PIECE_INSTRUCTIONS // max(instructions, 1)) * sample
    return [data[i : i + size] for i in range(0, len(data), size)]


def run(machine: emu.Machine, job: Job, pieces: Sequence[bytes], sample: int, jobs: int) -> Outcome:
    """Run every piece, ``machine`` here when ``jobs`` is 1 and new ones in processes otherwise."""
    done: list[Outcome | None] = [None] * len(pieces)
    with steps("samples", sum(map(len, pieces)) // sample) as advance:
        if jobs < 2 or len(pieces) < 2:
            for i, piece in enumerate(pieces):
                done[i] = one(machine, job, piece)
                advance(len(piece) // sample)
                if done[i].fault or done[i].result.exit:  # type: ignore[union-attr]
                    break
        else:
            _processes(job, pieces, done, min(jobs, len(pieces)), lambda i: advance(len(pieces[i]) // sample))
    return merge([outcome for outcome in done if outcome is not None])


def one(machine: emu.Machine, job: Job, data: bytes) -> Outcome:
    """One run."""
    result = machine.run({job.input_file: data}, budget=job.budget, clock_hz=job.clock_hz)
    waits = cache.bound(job.flash, machine) if job.flash is not None else 0
    fault = result.fault.report() if result.fault is not None else ""
    result.fault = None
    return Outcome(result, result.files.get(job.output_file, b""), waits, fault)


def merge(outcomes: Sequence[Outcome]) -> Outcome:
    """All pieces as one; the first that went wrong stands for the rest."""
    wrong = next((o for o in outcomes if o.fault or o.result.exit), None)
    if wrong is not None:
        return wrong
    first = outcomes[0].result
    if len(outcomes) == 1:
        return outcomes[0]
    results = [o.result for o in outcomes]
    functions: dict[str, tuple[int, int]] = {}
    for result in results:
        for name, (cycles, instructions) in result.functions.items():
            was = functions.get(name, (0, 0))
            functions[name] = was[0] + cycles, was[1] + instructions
    layers = [emu.Layer(rows[0].symbol, sum(x.cycles for x in rows), sum(x.instructions for x in rows),
                        sum(x.calls for x in rows)) for rows in zip(*(r.layers for r in results), strict=True)]
    stacks = [r.stack_high for r in results if r.stack_high is not None]
    merged = emu.RunResult(
        exit=first.exit,
        cycles=sum(r.cycles for r in results),
        instructions=sum(r.instructions for r in results),
        layers=layers,
        console="".join(r.console for r in results),
        files={},
        stack_high=max(stacks) if stacks else None,
        cycles_bounds=(sum(r.cycles_bounds[0] for r in results), sum(r.cycles_bounds[1] for r in results)),
        timing=first.timing,
        tier=first.tier,
        calls=sum(r.calls for r in results),
        total_instructions=sum(r.total_instructions for r in results),
        functions=dict(sorted(functions.items(), key=lambda item: -item[1][0])),
        notes=sorted({note for r in results for note in r.notes}),
    )
    return Outcome(merged, b"".join(o.output for o in outcomes), sum(o.waits for o in outcomes))


def _processes(job: Job, pieces: Sequence[bytes], done: list[Outcome | None], jobs: int,
               advance: Callable[[int], None]) -> None:
    command = [sys.executable, "-c", "from genn.pieces import main; main()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
                for _ in range(jobs)]
    queue = iter(enumerate(pieces))
    lock = threading.Lock()
    errors: list[BaseException] = []

    def feed(child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None and child.stdout is not None
        try:
            _send(child.stdin, job)
            for number, piece in _turns(queue, lock):
                if errors:
                    break
                _send(child.stdin, piece)
                outcome = pickle.load(child.stdout)
                with lock:
                    done[number] = outcome
                    advance(number)
                if outcome.fault or outcome.result.exit:
                    break
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            errors.append(error)
        finally:
            child.stdin.close()

    threads = [threading.Thread(target=feed, args=(child,)) for child in children]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for child in children:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()
    if errors:
        raise RuntimeError(f"a process of the emulator ended early: {errors[0]!r}")


def _turns(queue: Iterator[tuple[int, bytes]], lock: threading.Lock) -> Iterator[tuple[int, bytes]]:
    while True:
        with lock:
            item = next(queue, None)
        if item is None:
            return
        yield item


def _send(to: Any, what: object) -> None:
    pickle.dump(what, to)
    to.flush()


def main() -> None:
    """A process: a job, then pieces, from standard input; outcomes to standard output."""
    source: BinaryIO = sys.stdin.buffer
    job: Job = pickle.load(source)
    machine = emu.Machine(**job.machine)
    while True:
        try:
            piece = pickle.load(source)
        except EOFError:
            return
        outcome = one(machine, job, piece)
        outcome.result.files = {}
        _send(sys.stdout.buffer, outcome)
