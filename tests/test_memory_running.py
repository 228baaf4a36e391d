"""Published networks as running code: the reference's bytes with dead memory poisoned, in the arena that was planned.

``python -m pytest -m long -s tests/test_memory_running.py`` prints the arenas; ``-k MobileNetV1`` takes one network.
Soft float is emulated where it is a matter of seconds.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from genn import reference, suite
from genn.api import Model, match_inputs
from genn.ir import SCHEMES
from genn.runs import convert_model
from tests import harness, poison
from tests.networks import lively
from tests.zoo_memory import RUNNING

TINY = ("mlperf-kws", "mlperf-ic", "mlperf-vww", "mlperf-ad")
GOALS = ("time", "balanced", "flash", "ram")
SOFT_FLOAT_MACS = 2_000_000


@cache
def subject(name: str) -> harness.Subject:
    torch.manual_seed(5)
    make, shape = RUNNING[name]
    made = harness.subject(lively(make()), [shape], name, 2, 1.0)
    assert harness.float_error(made) < 1e-4
    return made


def convert(name: str, scheme: str, goal: str, target: str | None) -> Model:
    if name in RUNNING:
        return subject(name).model(scheme, "net", optimize=goal, target=target)
    return convert_model(name, None, scheme, optimize=goal, target=target)


def sample(name: str, model: Model) -> dict[str, np.ndarray]:
    """A stored input (1, *shape)."""
    if name in RUNNING:
        return subject(name).stored(model, 1)
    real = match_inputs(model.float_graph, suite.samples(name)[0][:1], "samples")
    return {n: reference.encode(model.graph, n, x) for n, x in real.items()}


@pytest.mark.long
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", [*RUNNING, *TINY])
def test_published_networks_run_as_planned(name: str, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    arenas = {goal: convert(name, scheme, goal, "generic-m4").project.plan.arena for goal in GOALS}
    print(f"\n{name:18} {scheme:8}", *(f"{goal} {arena:>9,} B " for goal, arena in arenas.items()))
    assert arenas["ram"] == min(arenas.values())
    for target in (None, "generic-m4", "cortex-m0plus"):
        model = convert(name, scheme, "ram", target)
        macs = sum(layer["macs"] for layer in model.manifest["layers"])
        if target == "cortex-m0plus" and scheme == "float32" and macs > SOFT_FLOAT_MACS:
            continue
        stored = [sample(name, model)]
        if target is None:
            (verdict,) = poison.on_the_host([model], stored, tmp_path / "host")
        else:
            (verdict,) = poison.in_the_emulator([model], stored, tmp_path / target, target)
        assert verdict.bad == []
        assert verdict.touched == model.project.plan.arena
        assert f"NET_ARENA_BYTES {verdict.touched}\n" in str(model.project.files["net.h"])
