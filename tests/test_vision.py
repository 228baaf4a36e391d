"""Vision networks whole: converted at sizes a host can take, and imported at full size without weights.

The everyday sample is two networks and NASNet-mobile at full size; all others, and those of torchvision and timm where
these are installed: ``python -m pytest -m long tests/test_vision.py``.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genn import frontend, passes
from genn.errors import ModelError
from genn.ir import Graph
from tests import harness
from tests.networks import Fn
from tests.zoo_library import FULL, LIBRARY, library
from tests.zoo_vision import VISION

TOLERANCE = 3e-5  # float32 against torch, relative to the output's largest magnitude
SQNR = {"int16": 30.0, "int8": 9.0}  # dB: random weights amplify every rounding, LR-ASPP most (32.6 and 9.6)
EVERY_DAY = ("tiny-yolo", "unet")
FLOATS = 3_000_000  # weights up to which the host compiles float32 too
SECONDS = 20.0  # of the processor, for the import at full size


def settled(module: nn.Module) -> nn.Module:
    """Random weights that keep a signal's size through many layers."""
    torch.manual_seed(5)
    for m in module.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
        elif isinstance(m, nn.BatchNorm2d):
            for tensor, low, high in ((m.running_mean, -0.1, 0.1), (m.running_var, 0.7, 1.4), (m.weight, 0.7, 1.4)):
                nn.init.uniform_(tensor, low, high)
            nn.init.uniform_(m.bias, -0.1, 0.3)
    return module.eval()


def converted_whole(module: nn.Module, shape: tuple[int, ...], name: str, schemes: list[str], folder: Path) -> None:
    """Near torch in every scheme, and the host's C gives the reference's bytes."""
    s = harness.subject(module, [shape], name, 1, 1.0)
    assert harness.float_error(s) <= TOLERANCE
    for scheme in schemes:
        model = s.model(scheme, "net")
        if scheme in SQNR:
            assert harness.sqnr(model, s) >= SQNR[scheme], scheme
        assert harness.host_differences([model], [s], folder / scheme) == []


@pytest.mark.parametrize(
    "name", [n if n in EVERY_DAY else pytest.param(n, marks=pytest.mark.long) for n in VISION]
)
def test_own_definitions_are_converted_whole(name: str, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    entry = VISION[name]
    schemes = ["float32", "int8"] if name in EVERY_DAY else ["float32", "int16", "int8"]
    converted_whole(settled(entry.small()), entry.small_shape, name, schemes, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", LIBRARY)
def test_library_definitions_are_converted_whole(name: str, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    entry = LIBRARY[name]
    module = settled(entry.make(library(entry.source)))
    small = sum(p.numel() for p in module.parameters()) <= FLOATS
    schemes = ["float32", "int8"] if small else ["int8"]
    converted_whole(module, (1, 3, entry.side, entry.side), name, schemes, tmp_path)


def at_full_size(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """The canonical graph of a module on the meta device; its constants hold no values."""
    start = time.process_time()
    graph = passes.canonicalize(frontend.import_graph(frontend.trace(module.eval(), torch.empty(shape)), "net"))
    assert time.process_time() - start < SECONDS
    held = [t.const for t in graph.tensors.values() if t.const is not None]
    assert sum(c.size for c in held) > 1_000_000 and not any(any(c.strides) for c in held)
    left = {n.op for n in graph.nodes} & {"transpose", "copy"}
    assert not left, f"{left} would move data"
    return graph


PARAMETERS = {"deeplabv3-mnv2": 2_113_557, "east-r50": 24_156_358, "nasnet-mobile": 5_289_978}  # of the originals


@pytest.mark.parametrize(
    "name", [n if n == "nasnet-mobile" else pytest.param(n, marks=pytest.mark.long) for n in VISION]
)
def test_own_definitions_at_full_size(name: str) -> None:
    entry = VISION[name]
    with torch.device("meta"):
        module = entry.full()
    if name in PARAMETERS:
        assert sum(p.numel() for p in module.parameters()) == pytest.approx(PARAMETERS[name], rel=1e-3)
    graph = at_full_size(module, entry.full_shape)
    if name == "nasnet-mobile":
        assert max(np.prod(graph[n.outputs[0]].shape) for n in graph.nodes) == 111 * 111 * 32
        assert sum(n.op == "conv2d" for n in graph.nodes) == 361


@pytest.mark.long
@pytest.mark.parametrize("name", FULL)
def test_library_definitions_at_full_size(name: str) -> None:
    entry = FULL[name]
    source = library(entry.source)
    with torch.device("meta"):
        module = entry.make(source)
    at_full_size(module, (1, 3, entry.side, entry.side))


def test_what_is_missing_is_said_at_once() -> None:
    class Head(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.grid_sample(x, torch.zeros(1, 4, 4, 2), align_corners=False)
            return torch.roll(x, 1, 2).sort(1)[0]

    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Upsample(scale_factor=2, mode="bicubic"), Head())
    with pytest.raises(ModelError) as caught:
        frontend.import_graph(frontend.trace(Fn(lambda m, x: m.body(x), body=module), torch.ones(1, 3, 4, 4)), "net")
    rows = [line for line in str(caught.value).splitlines() if line.startswith("  aten.")]
    assert [r.split()[0] for r in rows] == sorted(r.split()[0] for r in rows)
    for op, where in (("upsample_bicubic2d", 1), ("grid_sampl", 2), ("roll", 2), ("sort", 2)):
        assert any(op in row and f"in body.{where} (" in row and ".py:" in row for row in rows), str(caught.value)
