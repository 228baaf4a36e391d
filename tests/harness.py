"""From a torch module to everything the differential tests compare: shared by the registry tests and the fuzzers."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from genn import frontend, passes, reference
from genn.api import Model, convert_graph
from genn.ir import Graph
from genn.target import load_target
from tests.many import Many
from tests.networks import flat

SAMPLES = 3


@dataclass
class Subject:
    """A canonical float graph, real inputs (S, *shape) and what torch makes of them."""

    label: str
    graph: Graph
    inputs: dict[str, np.ndarray]
    expected: list[np.ndarray]

    def model(self, scheme: str, name: str, **options) -> Model:
        return convert_graph(self.graph, scheme, self.inputs, name=name, **options)

    def stored(self, model: Model, samples: int = SAMPLES) -> dict[str, np.ndarray]:
        return {n: reference.encode(model.graph, n, x[:samples]) for n, x in self.inputs.items()}


def subject(
    module: nn.Module, shapes: list[tuple[int, ...]], label: str = "", seed: int = 0, spread: float = 1.5
) -> Subject:
    """Export, import, canonicalize ``module``; draw inputs; run torch."""
    module = module.eval()
    rng = np.random.default_rng(seed)
    draws = [(rng.standard_normal((SAMPLES, *s)) * spread).astype(np.float32) for s in shapes]
    graph = passes.canonicalize(
        frontend.import_graph(frontend.trace(module, tuple(torch.from_numpy(d[0]).clone() for d in draws)), "net")
    )
    rows = []
    with torch.no_grad():
        for s in range(SAMPLES):
            out = module(*(torch.from_numpy(d[s]).clone() for d in draws))
            rows.append([o.numpy() for o in flat(out)])
    expected = [np.stack([r[i] for r in rows]) for i in range(len(rows[0]))]
    return Subject(label, graph, dict(zip(graph.inputs, draws, strict=True)), expected)


def once(key: str, make: Callable[[], Any]) -> Any:
    """What ``make`` returns, made once per test run: exporting from torch is slow, and several processes test."""
    folder = Path(os.environ["GENN_CACHE"]) / "subjects"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{key}.pickle", "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if data := file.read():
            return pickle.loads(data)
        made = make()
        file.write(pickle.dumps(made))
        return made


def float_error(s: Subject) -> float:
    """Largest difference from torch relative to the output's magnitude."""
    made = reference.run(s.graph, {n: reference.encode(s.graph, n, x) for n, x in s.inputs.items()})
    worst = 0.0
    for name, want in zip(s.graph.outputs, s.expected, strict=True):
        got = reference.decode(s.graph, name, made[name])
        assert got.shape == want.shape, f"{s.label}: shape {got.shape}, torch has {want.shape}"
        worst = max(worst, float(np.abs(got - want).max(initial=0) / max(1e-3, np.abs(want).max(initial=0))))
    return worst


def sqnr(model: Model, s: Subject) -> float:
    """Signal to quantization noise of the outputs in dB, over all samples; 200 where they agree exactly."""
    made = reference.run(model.graph, s.stored(model))
    signal = noise = 0.0
    for name, want in zip(model.graph.outputs, s.expected, strict=True):
        got = reference.decode(model.graph, name, made[name])
        signal += float((want.astype(np.float64) ** 2).sum())
        noise += float(((got - want) ** 2).sum())
    return 200.0 if noise == 0 or signal == 0 else 10 * np.log10(signal / noise)


def host_differences(models: list[Model], subjects: list[Subject], folder: Path) -> list[str]:
    """Run all models on the host in one extension and list what differs from the reference."""
    from genn.host import load

    many = Many(models, folder)
    stored = [s.stored(m) for m, s in zip(models, subjects, strict=True)]
    return many.differences(stored, load(folder).run([many.images(stored)], jobs=1).outputs["arena_out"])


def sanitized_differences(models: list[Model], stored: list[dict[str, np.ndarray]], folder: Path) -> list[str]:
    """The same with given stored inputs under the address and undefined-behaviour sanitizers, whose findings raise."""
    from genn.host import HostProcess

    many = Many(models, folder)
    run = HostProcess(folder, sanitize=True).run([many.images(stored)])
    return many.differences(stored, run.outputs["arena_out"])


def emulated_differences(
    models: list[Model], subjects: list[Subject], folder: Path, target: str, samples: int = 1
) -> list[str]:
    """The same in the emulator, one ELF for all."""
    from genn.emulate import emulate

    many = Many(models, folder)
    stored = [s.stored(m, samples) for m, s in zip(models, subjects, strict=True)]
    run = emulate(folder, load_target(target), [many.images(stored)])
    return many.differences(stored, run.outputs[0])


def qemu_differences(models: list[Model], subjects: list[Subject], folder: Path, samples: int = 1) -> list[str]:
    """The same in QEMU."""
    from genn.qemu import run_project

    many = Many(models, folder)
    stored = [s.stored(m, samples) for m, s in zip(models, subjects, strict=True)]
    return many.differences(stored, run_project(folder, [many.images(stored)])["arena_out"])
