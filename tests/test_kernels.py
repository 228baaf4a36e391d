"""Every tuned kernel, forced onto all that it takes: registry samples and adversarial layers, on every engine.

A kernel is in these tests as soon as it is registered.  Inputs are the samples' own and the ends of their range: all
smallest, all largest, and a random mixture of both with the zero point.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import genn
from genn.api import Model
from genn.host import load
from genn.ir import SCHEMES, Graph
from genn.kernels import OPTIMIZE, kernels
from tests import harness
from tests.many import Many
from tests.test_ops import subjects

TARGETS = {"armv6m": "cortex-m0plus", "armv7m": "stm32f103", "armv7em": "generic-m4", "generic": "cortex-m0plus"}
HOST, EMULATED, QEMU = 12, 5, 2  # layers of each kernel every day; a long run takes them all
EVERY = pytest.param(None, marks=pytest.mark.long)
BATCH = 120  # layers to one firmware


def _filled(layer: nn.Module, how: str) -> nn.Module:
    """``layer`` with weights of one magnitude: all of one sign, or the signs of a chessboard."""
    w = layer.weight
    sign = torch.ones_like(w) if how == "same" else (torch.arange(w.numel()) % 2 * 2.0 - 1).reshape(w.shape)
    w.data = sign * 0.5
    return layer


def _adversarial(op: str) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Layers at the ends: largest accumulators, one row, one column, prime sizes."""
    if op == "linear":
        sizes = [(1, 1), (1, 17), (97, 1), (131, 13), (2, 9), (3, 4), (509, 7), (64, 31)]
        plain = [(nn.Linear(k, o), (1, k)) for k, o in sizes]
        full = [(_filled(nn.Linear(k, o), how), (1, k)) for k, o, how in
                [(127, 11, "same"), (254, 5, "chess"), (1021, 3, "same"), (700, 13, "chess")]]
        rows = [(nn.Sequential(nn.Linear(13, 6), nn.ReLU()), (1, 5, 13))]
        few = [(_filled(nn.Linear(k, o), how), (1, k), pattern) for k, o, how, pattern in
               [(97, 5, "same", "2:4"), (131, 3, "chess", "1:4"), (200, 2, "same", "1:8")]]
        for layer, _, pattern in few:
            genn.prune(layer, pattern)
        return [(layer, shape) for layer, shape, _ in few] + plain + full + rows
    if op == "conv2d":
        convs = [
            (nn.Conv2d(1, 13, 5), (1, 1, 11, 7)),
            (nn.Conv2d(3, 7, 3, padding=1), (1, 3, 1, 13)),
            (nn.Conv2d(5, 1, 3, stride=2, padding=1), (1, 5, 13, 1)),
            (nn.Conv2d(17, 11, 1), (1, 17, 3, 5)),
            (_filled(nn.Conv2d(19, 5, 3, padding=1), "same"), (1, 19, 5, 7)),
            (_filled(nn.Conv2d(8, 4, 1), "chess"), (1, 8, 1, 1)),
            (nn.Conv2d(7, 7, 3, padding=1, groups=7), (1, 7, 7, 5)),
            (_filled(nn.Conv2d(12, 12, (5, 3), padding=(2, 1), groups=12), "same"), (1, 12, 6, 4)),
            (nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(2)), (1, 4, 7, 9)),
            (nn.Sequential(nn.Conv2d(2, 5, (1, 4)), nn.ReLU(), nn.MaxPool2d((1, 3))), (1, 2, 1, 29)),
            (nn.Conv2d(16, 16, 3, padding=1, stride=2), (1, 16, 9, 8)),
            (nn.Sequential(_filled(nn.Conv2d(6, 22, 3, padding=1, groups=2), "same"), nn.MaxPool2d(2)), (1, 6, 7, 5)),
            (_filled(nn.Conv2d(9, 21, (1, 3), stride=2, dilation=2, padding=(0, 2), groups=3), "chess"), (1, 9, 4, 11)),
            (nn.Sequential(nn.Conv2d(8, 8, 1, groups=8), nn.ReLU()), (1, 8, 3, 2)),
            (_filled(nn.Conv2d(5, 5, (4, 3), padding=(4, 3), dilation=2, groups=5), "chess"), (1, 5, 2, 3)),
        ]
        return [(m, s) for m, s in convs]
    return []


def layers(op: str) -> list[harness.Subject]:
    """The registry's samples of ``op`` and the adversarial ones."""

    def make() -> list[harness.Subject]:
        torch.manual_seed(11)
        return [harness.subject(m, [s], f"{op} adversarial {i}", i) for i, (m, s) in enumerate(_adversarial(op))]

    return [*harness.once(f"kernels-{op}", make), *subjects(op)]


def ends(graph: Graph, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stored inputs with three more samples: all smallest, all largest, and a mixture with the zero point."""
    if graph.scheme == "float32":
        return stored
    rng, out = np.random.default_rng(3), {}
    for name, x in stored.items():
        q = graph[name].q
        assert q is not None
        mixed = rng.choice(np.array([q.qmin, q.qmax, q.zero_point]), x[:1].shape)
        more = [np.full_like(x[:1], q.qmin), np.full_like(x[:1], q.qmax), mixed.astype(x.dtype)]
        out[name] = np.concatenate([x[:1], *more])
    return out


def taken(scheme: str, limit: int | None = None) -> tuple[list[Model], list[dict[str, np.ndarray]]]:
    """For each kernel of a scheme the layers that it takes, the goals in turn, with their stored inputs."""
    models: list[Model] = []
    for kernel in kernels.values():
        if scheme not in kernel.schemes:
            continue
        found = 0
        for i, s in enumerate(layers(kernel.op)):
            for isa in kernel.isas if limit is None else kernel.isas[:1]:
                made = s.model(scheme, f"k{len(models)}", target=TARGETS[isa], kernel=kernel.name,
                               optimize=OPTIMIZE[i % len(OPTIMIZE)],
                               **({"float_mode": "block"} if "block" in kernel.name else {}))
                if any(layer.kernel == kernel.name for layer in made.project.layers):
                    models.append(made)
                    made.samples = s.inputs
                    found += 1
            if limit is not None and found >= limit:
                break
        assert found, f"no sample of {kernel.op} is taken by {kernel.name}"
    stored = []
    for m in models:
        assert m.samples is not None
        stored.append(ends(m.graph, {n: harness.reference.encode(m.graph, n, x[:2]) for n, x in m.samples.items()}))
    return models, stored


@pytest.mark.parametrize("limit", [HOST, EVERY])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_on_the_host_the_portable_form_reads_the_packed_bytes(
    scheme: str, limit: int | None, tmp_path: Path, need_tool
) -> None:
    need_tool("cc")
    models, stored = taken(scheme, limit)
    many = Many(models, tmp_path / "many")
    assert many.differences(stored, load(many.folder).run([many.images(stored)], jobs=1).outputs["arena_out"]) == []


def in_batches(
    scheme: str, limit: int | None, run: Callable[[Many, list[np.ndarray]], np.ndarray], folder: Path
) -> None:
    """All that is taken, so many layers to one firmware: ``run`` gives the arenas, which must be the reference's."""
    models, stored = taken(scheme, limit)
    for at in range(0, len(models), BATCH):
        part = stored[at : at + BATCH]
        many = Many(models[at : at + BATCH], folder / f"many{at}")
        assert many.differences(part, run(many, [many.images(part)])) == []


@pytest.mark.parametrize("limit", [EMULATED, EVERY])
@pytest.mark.parametrize("target", ["cortex-m0plus", "generic-m4"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_on_both_cores(scheme: str, target: str, limit: int | None, tmp_path: Path, need_tool) -> None:
    from genn.emulate import emulate
    from genn.target import load_target

    need_tool("arm-none-eabi-gcc")
    in_batches(scheme, limit, lambda many, x: emulate(many.folder, load_target(target), x).outputs[0], tmp_path)


@pytest.mark.parametrize("limit", [QEMU, EVERY])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_in_qemu(scheme: str, limit: int | None, tmp_path: Path, need_tool) -> None:
    from genn.qemu import run_project

    need_tool("arm-none-eabi-gcc")
    need_tool("qemu-system-arm")
    in_batches(scheme, limit, lambda many, x: run_project(many.folder, x)["arena_out"], tmp_path)
