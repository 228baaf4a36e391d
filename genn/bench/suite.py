"""The whole suite through the whole tool: accuracy, size, cycles, RAM and flash of every model, beside published ones.

A row is one model in one scheme, dense or sparse.  ``X`` is the trained model; ``X-paper`` has the published number of
outputs and random weights: its size, memory and cycles stand beside the published ones where ``X`` has other outputs.
What is measured is what ``genn convert NAME -t BOARD`` makes; every firmware's answer is compared with the reference.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import genn
from genn import suite
from genn.errors import CheckFailed, GennError, ToolchainError, UsageError
from genn.ir import SCHEMES, Graph
from genn.kernels import OPTIMIZE
from genn.progress import steps
from genn.report import Report
from genn.runs import CALIBRATION_SAMPLES
from genn.suite import catalog
from genn.suite.mlperf_catalog import MLPERF
from genn.target import Target, load_target
from genn.toolchain import find_arm_gcc

if TYPE_CHECKING:
    from genn.api import Model

SPARSE, PAPER = "-sparse", "-paper"
NAMES = (*catalog.NAMES, *MLPERF)
FALLBACK = {"cortex-m4": "generic-m4", "cortex-m0plus": "generic-m0plus"}  # where a model does not fit its board
# board: timings; the first board is the one that flash and RAM are of
BOARDS = {"nucleo-f411re": ["cortex-m4"], "cortex-m0plus": ["thumbulator", "cortex-m0plus"]}
MLPERF_BOARDS = {"stm32l4r5zi": ["cortex-m4"], "stm32g0b1": ["cortex-m0plus"]}
ESTIMATED = ("int8",)  # schemes in which MLPerf Tiny is submitted, so that wait states are estimated
OPTIMIZED = "balanced"  # convert's own default
BATCH = 1000

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One row to measure.  ``model``: the suite's name without ``-sparse``."""

    model: str
    scheme: str
    sparse: bool
    optimize: str = OPTIMIZED

    @property
    def entry(self) -> str:
        """The name in ``genn models``."""
        return self.model + (SPARSE if self.sparse else "")

    @property
    def boards(self) -> dict[str, list[str]]:
        return MLPERF_BOARDS if self.model in MLPERF else BOARDS


def jobs_of(models: Sequence[str], schemes: Sequence[str], optimize: str = OPTIMIZED) -> list[Job]:
    """Every row of the models asked for: a name stands for its paper variant too.  UsageError on an unknown name."""
    for scheme in schemes:
        if scheme not in SCHEMES:
            raise UsageError(f"there is no scheme {scheme!r}", "--schemes", f"use {', '.join(SCHEMES)}")
    if optimize not in OPTIMIZE:
        raise UsageError(f"there is no goal {optimize!r}", "-O", f"use {', '.join(OPTIMIZE)}")
    found: dict[Job, None] = {}
    for name in models:
        suite.entry(name)
        base = name.removesuffix(SPARSE)
        for model in dict.fromkeys((base, base.removesuffix(PAPER) + PAPER)):
            for sparse in (False, True):
                wanted = [Job(model, scheme, sparse, optimize) for scheme in schemes]
                found |= dict.fromkeys(job for job in wanted if job.entry in suite.MODELS)
    return list(found)


def bench(models: Sequence[str] = NAMES, schemes: Sequence[str] = SCHEMES, jobs: int = 1,
          data: Path | None = None, optimize: str = OPTIMIZED) -> Report:
    """Measure, and report beside the published figures.

    jobs: processes; more than one need a main module that can be imported.  optimize: as convert's -O.
    data: a folder with test sets (``genn data``); where one is not there the accuracy is the recorded one, and says so.
    """
    from genn.bench.suite_report import report

    wanted = jobs_of(models, schemes, optimize)
    machine = {"compiler": find_arm_gcc().version, "genn": genn.__version__, "optimize": optimize}
    rows: dict[Job, Row] = {}
    failed: list[str] = []
    with steps("bench suite", len(wanted)) as done, _pool(min(jobs, len(wanted))) as results:
        for job, row in results(wanted, data):
            if isinstance(row, str):
                failed.append(f"{job.entry} {job.scheme}: {row}")
            else:
                rows[job] = row
            done(1)
    made = report([rows[job] for job in wanted if job in rows], published(), machine)
    if failed:
        made.ok, made.failure = False, "not measured: " + "; ".join(failed)
    return made


def published() -> dict[str, Any]:
    """The figures of others: ``suite.toml``."""
    return tomllib.loads((files("genn.bench") / "suite.toml").read_text("utf-8"))


@contextmanager
def _pool(processes: int) -> Iterator[Any]:
    """A function from jobs to (job, row or what was wrong) as they are done, in this process or in others."""
    if processes <= 1:
        yield lambda wanted, data: ((job, _attempt(job, data)) for job in wanted)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare) as pool:

        def results(wanted: Sequence[Job], data: Path | None) -> Iterator[tuple[Job, Row | str]]:
            running = {pool.submit(_attempt, job, data): job for job in wanted}
            for future in as_completed(running):
                yield running[future], future.result()

        try:
            yield results
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise ToolchainError("a process of the benchmark died", fix="try --jobs 1") from None
            raise


def _prepare() -> None:
    """In a new process: one thread; Ctrl-C is for the process that waits, and who is ended clears up."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _attempt(job: Job, data: Path | None) -> Row | str:
    """One row that cannot be measured leaves the others alone."""
    try:
        return measure(job, data)
    except GennError as error:
        return str(error)


# -- one row -----------------------------------------------------------------------------------------------------------
def measure(job: Job, data: Path | None = None) -> Row:
    """Convert for each board, build, weigh, emulate; and run the test set through the C on this machine."""
    graph, calibration = _float_graph(job)
    boards: dict[str, Any] = {}
    row: Row = {"model": job.model, "scheme": job.scheme, "sparse": job.sparse, "accuracy": None, "samples": None,
                "accuracy_by": None, "parameters": suite.entry(job.entry).parameters,
                "sparsity": suite.entry(job.entry).sparsity}
    with tempfile.TemporaryDirectory(prefix="genn-suite-") as work:
        for i, (board, timings) in enumerate(job.boards.items()):
            model = _convert(job, graph, calibration, board)
            folder = Path(work) / board
            model.save(folder)
            boards[board] = _on_board(job, folder, load_target(board), timings)
            if i == 0:
                layers = model.manifest["layers"]
                row["weights_bytes"] = sum(x["weight_bytes"] + x["constant_bytes"] for x in layers)
                row["macs"] = sum(x["macs"] for x in layers)
                row |= _accuracy(job, folder, data)
    first = next(iter(boards.values()))
    row |= {key: first[key] for key in ("flash", "ram", "fits")}
    row["cycles"] = {timing: n for board in boards.values() for timing, n in board["cycles"].items()}
    return row | {"boards": boards}


def _float_graph(job: Job) -> tuple[Graph, np.ndarray | None]:
    from genn import frontend, passes

    module, example = suite.load(job.entry)
    graph = passes.canonicalize(frontend.import_graph(frontend.trace(module, example), job.entry))
    return graph, None if job.scheme == "float32" else suite.calibration(job.entry)[0][:CALIBRATION_SAMPLES]


def _convert(job: Job, graph: Graph, calibration: np.ndarray | None, board: str) -> Model:
    """As ``genn convert NAME --scheme SCHEME -t BOARD``."""
    from genn.api import convert_graph

    return convert_graph(graph, job.scheme, calibration, target=board, optimize=job.optimize, vectors=1,
                         vector_data=suite.samples(job.entry)[0][:1])


def _on_board(job: Job, folder: Path, target: Target, timings: Sequence[str]) -> dict[str, Any]:
    """Flash, RAM and cycles on the board, or on the generic chip of its core where the network does not fit."""
    from genn.build import build_firmware
    from genn.emulate import emulate
    from genn.footprint import footprint
    from genn.manifest import read_manifest, read_raw
    from genn.vectors import read_vectors

    fits, ran_on = True, target
    try:
        elf = build_firmware(folder, target)
    except CheckFailed:
        fits, ran_on = False, load_target(FALLBACK[target.core])
        elf = build_firmware(folder, ran_on)
    weighed = footprint(elf, read_raw(folder))
    inputs, wanted = read_vectors(folder, read_manifest(folder))
    watch = job.model in MLPERF and job.scheme in ESTIMATED and fits
    found: dict[str, Any] = {"fits": fits, "target": ran_on.name, "clock_hz": ran_on.clock_hz, "flash": weighed.flash,
                             "cycles": {}}
    for timing in timings:
        run = emulate(folder, ran_on, inputs, timing=timing, elf=elf, watch=watch)
        if any(made.tobytes() != want.tobytes() for made, want in zip(run.outputs, wanted, strict=True)):
            raise CheckFailed("the firmware's answer differs from the reference's", f"{job.entry} {job.scheme}")
        found["cycles"][timing] = run.cycles
        found["ram"] = weighed.ram - ran_on.stack + run.stack_bytes
        found["upper"], found["estimate"] = run.cycles_bounds[1], run.cycles_estimate
    return found


def _accuracy(job: Job, folder: Path, data: Path | None) -> Row:
    """By the C of ``folder`` on the whole test set, or as it was recorded; nothing for weights that are random."""
    from genn.bench.suite_data import recorded, test_set
    from genn.host import HostProcess

    entry = suite.entry(job.entry)
    if not entry.weights:
        return {}
    given = test_set(entry.dataset.name, data)
    if given is None:
        known = recorded().get((job.entry, job.scheme))
        if known is None:
            return {}
        return {"accuracy": known["accuracy"], "samples": known["samples"], "test_set": known["test_set"],
                "accuracy_by": f"recorded: {known['how']}"}
    host, right = HostProcess(folder), 0
    for at in range(0, len(given.x), BATCH):
        (made,) = host.run(host.manifest.encode(given.x[at : at + BATCH]), jobs=1).outputs.values()
        right += int((made.reshape(len(made), -1).argmax(1) == given.y[at : at + BATCH]).sum())
    return {"accuracy": 100 * right / len(given.y), "samples": len(given.y), "test_set": given.what,
            "accuracy_by": "measured: C on this machine"}
