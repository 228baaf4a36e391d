"""How fast parity is checked: images per second of the generated C on the host and of torch, measured in one run.

Both sides get inputs that are already converted.  Every contestant runs once per round, round after round, so that a
slow moment of the machine hits all of them; the figure is the median round.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from genn.host import HostModel, jobs_or_all, load
from genn.ir import SCHEMES
from genn.report import Report, Table
from genn.toolchain import find_cc

ROUNDS = 5
SECONDS = 0.15  # of each contestant in each round
BATCH = 256
IMAGES = 4096  # in a batch for the host
CALIBRATION = 256

Contestant = Callable[[], int]


def bench(models: Sequence[str], schemes: Sequence[str] = SCHEMES, rounds: int = ROUNDS,
          seconds: float = SECONDS) -> Report:
    """Measure suite ``models`` in each scheme against torch in float32."""
    import torch

    threads = jobs_or_all(None)
    machine = {"cpu": _cpu(), "threads": threads, "torch": torch.__version__, "torch_threads": torch.get_num_threads(),
               "cc": find_cc().version, "python": platform.python_version(), "rounds": rounds, "batch": BATCH}
    found, rows = [], []
    for name in models:
        with tempfile.TemporaryDirectory(prefix="genn-bench-") as work:
            rates = _rounds(_contestants(name, schemes, threads, Path(work)), rounds, seconds)
        one, batched = statistics.median(rates["torch, batch 1"]), statistics.median(rates[f"torch, batch {BATCH}"])
        for label, all_rates in rates.items():
            rate = statistics.median(all_rates)
            found.append({"model": name, "contestant": label, "images_per_second": rate, "rounds": all_rates})
            rows.append([name, label, round(rate), rate / one, rate / batched])
    columns = ["model", "contestant", "images/s", "x torch batch 1", f"x torch batch {BATCH}"]
    lines = [f"{machine['cpu']}, {threads} threads; {machine['cc']}; torch {torch.__version__} on "
             f"{machine['torch_threads']} threads; median of {rounds} interleaved rounds"]
    return Report("bench verify", {"schema": 1, "machine": machine, "results": found},
                  [Table("images per second", columns, rows)], lines)


def _contestants(name: str, schemes: Sequence[str], threads: int, work: Path) -> dict[str, Contestant]:
    """Functions that process some images and return how many."""
    import torch

    from genn import api, suite

    module, example = suite.load(name)
    x = suite.samples(name)[0]
    calibration = suite.calibration(name)[0][:CALIBRATION]
    many = np.concatenate([x] * -(-IMAGES // len(x)))[:IMAGES]
    out: dict[str, Contestant] = {}
    for scheme in schemes:
        model = api.convert(module, example, scheme, calibration, name="net")
        host = load(model.save(work / scheme).result)
        stored = host.manifest.encode(many)
        out[f"C {scheme}, 1 thread"] = _host(host, stored, 1)
        if threads > 1:
            out[f"C {scheme}, {threads} threads"] = _host(host, stored, threads)
    tensor = torch.from_numpy(np.ascontiguousarray(many[:BATCH]))

    def single() -> int:
        with torch.inference_mode():
            for i in range(BATCH):
                module(tensor[i : i + 1])
        return BATCH

    def batched() -> int:
        with torch.inference_mode():
            module(tensor)
        return BATCH

    return {**out, "torch, batch 1": single, f"torch, batch {BATCH}": batched}


def _host(host: HostModel, stored: list[np.ndarray], threads: int) -> Contestant:
    outputs = [np.empty((IMAGES, *v.shape), v.np_dtype) for v in host.manifest.outputs]

    def run() -> int:
        host.module.run_into(stored, outputs, IMAGES, threads)
        return IMAGES

    return run


def _rounds(contestants: dict[str, Contestant], rounds: int, seconds: float) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {label: [] for label in contestants}
    for run in contestants.values():  # warm up: caches, threads, lazy initialisation
        run()
    for _ in range(rounds):
        for label, run in contestants.items():
            start, images = time.perf_counter(), 0
            while True:
                images += run()
                spent = time.perf_counter() - start
                if spent >= seconds:
                    break
            rates[label].append(images / spent)
    return rates


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.machine())
    except OSError:
        return platform.machine() or os.name
