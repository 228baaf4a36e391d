"""Random DAGs as running code: the reference's bytes on the host and on both cores, with dead memory poisoned.

Some every day; 500 of them in every scheme, whole and streamed:
``GENN_FUZZ_DAGS=500 python -m pytest -m long tests/test_random_dags.py`` (GENN_FUZZ_FIRST: the first seed).
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from genn.ir import SCHEMES
from tests import harness, poison
from tests.random_dags import random_dag

LONG = int(os.environ.get("GENN_FUZZ_DAGS", "500"))
FIRST = int(os.environ.get("GENN_FUZZ_FIRST", "0"))
BATCH = 10  # networks to one ELF
GOALS = ("balanced", "ram")
CORES = ("cortex-m0plus", "generic-m4")
IN_TURN = "GENN_FUZZ_IN_TURN" in os.environ  # each network, scheme and goal on one of the cores: half the time


def subject(seed: int) -> harness.Subject:
    net, shapes = random_dag(seed)
    made = harness.subject(net, shapes, f"DAG {seed}", seed, 1.0)
    assert harness.float_error(made) < 1e-4, f"DAG {seed} differs from torch"
    return made


def findings(seeds: range, scheme: str, goal: str, target: str | None, folder: Path) -> list[str]:
    """What is wrong with the networks of ``seeds``; target None: the host."""
    subjects = [subject(seed) for seed in seeds]
    return judged(subjects, [f"n{seed}" for seed in seeds], scheme, goal, target, folder)


def judged(
    subjects: list[harness.Subject], names: list[str], scheme: str, goal: str, target: str | None, folder: Path
) -> list[str]:
    models = [s.model(scheme, n, target=target, optimize=goal) for s, n in zip(subjects, names, strict=True)]
    stored = [s.stored(m, 1) for s, m in zip(subjects, models, strict=True)]
    if target is None:
        verdicts = poison.on_the_host(models, stored, folder / "host")
    else:
        verdicts = poison.in_the_emulator(models, stored, folder / target, target)
    return poison.faults(verdicts)


@pytest.mark.parametrize(
    ("scheme", "goal", "target"),
    [("int8", "ram", "cortex-m0plus"), ("float32", "ram", "generic-m4"), ("int16", "balanced", "generic-m4")],
)
def test_a_sample(scheme: str, goal: str, target: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    first = 1_000_000 + 2 * SCHEMES.index(scheme)
    assert findings(range(first, first + 2), scheme, goal, target, tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("start", range(FIRST, FIRST + LONG, BATCH))
def test_many(start: int, tmp_path: Path, need_tool) -> None:
    """GENN_FUZZ_DAGS=500 python -m pytest -m long tests/test_random_dags.py"""
    need_tool("arm-none-eabi-gcc")
    seeds = range(start, min(start + BATCH, FIRST + LONG))
    subjects, names = [subject(seed) for seed in seeds], [f"n{seed}" for seed in seeds]
    bad = []
    for i, (scheme, goal) in enumerate(itertools.product(SCHEMES, GOALS)):
        turn = (start // BATCH + i + i // 2) % 2
        for target in (None, *(CORES[turn : turn + 1] if IN_TURN else CORES)):
            bad += judged(subjects, names, scheme, goal, target, tmp_path / f"{scheme}-{goal}")
    assert bad == []
