"""The zoo through every engine: does it convert a network as users write it, and are the numbers right?"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from genn.api import Model
from genn.ir import SCHEMES
from tests import harness, zoo_signals  # noqa: F401 (zoo_signals fills ZOO)
from tests.networks import lively
from tests.zoo import ZOO

TOLERANCE = 1e-5  # float32 against torch, relative to the output's largest magnitude
SQNR = {"int16": 60.0, "int8": 27.0}  # dB, on ordinary data: what is below has a flaw, and it is ours
EMULATED = sorted(set(ZOO) - {"Wide", "LongChain"})  # these two are only long
TARGETS = ["cortex-m0plus", "nucleo-f411re"]


@cache
def subject(name: str) -> harness.Subject:
    torch.manual_seed(3)
    entry = ZOO[name]
    return harness.subject(lively(entry.make()), entry.shapes, name, 1, 1.0)


@cache
def model(name: str, scheme: str) -> Model:
    return subject(name).model(scheme, f"n{list(ZOO).index(name)}")


@pytest.mark.parametrize("name", ZOO)
def test_the_numbers_are_torchs(name: str) -> None:
    s = subject(name)
    assert harness.float_error(s) <= TOLERANCE
    found = {scheme: harness.sqnr(model(name, scheme), s) for scheme in SQNR}
    assert all(found[scheme] >= least for scheme, least in SQNR.items()), found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_host_gives_the_references_bytes(scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    models = [model(name, scheme) for name in ZOO]
    assert harness.host_differences(models, [subject(name) for name in ZOO], tmp_path) == []


@pytest.mark.parametrize("i, scheme", list(enumerate(SCHEMES)))
@pytest.mark.parametrize("target", TARGETS)
def test_the_emulator_gives_the_references_bytes(target: str, i: int, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    names = EMULATED[(i + TARGETS.index(target)) % 3 :: 3]  # every model on each core, in another scheme
    models = [model(name, scheme) for name in names]
    assert harness.emulated_differences(models, [subject(name) for name in names], tmp_path, target) == []


def extremes(model: Model) -> dict[str, np.ndarray]:
    """Stored inputs: all least, all largest, all zero, both ends in turn; float32: huge, tiny and signed zeros too."""
    rows: dict[str, np.ndarray] = {}
    for name in model.graph.inputs:
        t = model.graph[name]
        if t.q is None:
            values = [-1e38, 3e38, 0.0, -0.0, 1e-45, 1e4]
        else:
            values = [t.q.qmin, t.q.qmax, 0, t.q.zero_point]
        x = np.stack([np.full(t.shape, v) for v in values] + [np.resize(values[:2], t.shape)])
        rows[name] = x.astype(model.graph[name].dtype)
    return rows


@pytest.mark.parametrize("i, scheme", list(enumerate(SCHEMES)))
def test_extreme_inputs_under_the_sanitizers(i: int, scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    models = [model(name, scheme) for name in list(ZOO)[i::3]]  # every model in one scheme: sanitizers take their time
    assert harness.sanitized_differences(models, [extremes(m) for m in models], tmp_path) == []
