"""Random whole networks through every engine: what no operator's own test can find."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from genn.ir import SCHEMES
from tests import harness
from tests.random_nets import random_net

HOST_NETS = 200  # per everyday run, spread over the schemes: each network in one, so that all three see all shapes
EMULATED_NETS = 42  # likewise, on each core
BATCH = 34  # networks to one extension or ELF
LONG = int(os.environ.get("GENN_FUZZ_NETS", "2000"))


def made(seeds: range, scheme: str) -> tuple[list, list[harness.Subject]]:
    models, subjects = [], []
    for seed in seeds:
        net, example = random_net(seed)
        s = harness.subject(net, [tuple(x.shape) for x in example], f"seed {seed}", seed, 1.0)
        assert harness.float_error(s) < 1e-4, f"seed {seed} differs from torch"
        models.append(s.model(scheme, f"n{seed}"))
        subjects.append(s)
    return models, subjects


def slices(count: int) -> list[tuple[str, range]]:
    """(scheme, seeds) in batches: every seed once."""
    out, at, i = [], 0, 0
    while at < count:
        out.append((SCHEMES[i % 3], range(at, min(at + BATCH, count))))
        at, i = at + BATCH, i + 1
    return out


@pytest.mark.parametrize("scheme, seeds", slices(HOST_NETS), ids=str)
def test_random_networks_on_the_host(scheme: str, seeds: range, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    models, subjects = made(seeds, scheme)
    assert harness.host_differences(models, subjects, tmp_path / "many") == []


@pytest.mark.parametrize("scheme, first", [(s, 1000 + i * 14) for i, s in enumerate(SCHEMES)])
def test_random_networks_in_the_emulator_and_qemu(scheme: str, first: int, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    need_tool("qemu-system-arm")
    models, subjects = made(range(first, first + EMULATED_NETS // 3), scheme)
    for target in ("cortex-m0plus", "nucleo-f411re"):
        assert harness.emulated_differences(models, subjects, tmp_path / target, target) == []
    assert harness.qemu_differences(models, subjects, tmp_path / "qemu") == []


@pytest.mark.long
@pytest.mark.parametrize("start", range(10_000, 10_000 + LONG, 50))
def test_many_random_networks(start: int, tmp_path: Path) -> None:
    """GENN_FUZZ_NETS=2000 python -m pytest -m long tests/test_random_nets.py"""
    for scheme in SCHEMES:
        models, subjects = made(range(start, start + 50), scheme)
        assert harness.host_differences(models, subjects, tmp_path / scheme) == []
