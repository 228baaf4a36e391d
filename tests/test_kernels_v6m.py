"""The ARMv6-M kernels: sums at the end of what the packing holds, every width and run, and their cycles and bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genn.emulate import emulate
from genn.host import load
from genn.kernels import v6m
from genn.target import load_target
from tests import harness
from tests.many import Many
from tests.test_kernels import ends

TARGET = "cortex-m0plus"
LONGEST = 516  # taps of 127 whose sum with inputs of -128 stays below 2**23
LONGEST3 = 64  # the same below 2**20


def _signs(taps: int, outputs: int) -> nn.Module:
    """Weights of the largest magnitude; row by row all positive, all negative, or one sign and then the other."""
    layer = nn.Linear(taps, outputs)
    rows = [1.0, -1.0, torch.where(torch.arange(taps) < taps // 2, 1.0, -1.0)]
    layer.weight.data = torch.stack([torch.ones(taps) * rows[o * o % 3] for o in range(outputs)])
    return layer


def _pixels(channels: int, outputs: int) -> nn.Module:
    """The same as a pointwise convolution."""
    layer = nn.Conv2d(channels, outputs, 1)
    layer.weight.data = _signs(channels, outputs).weight.data.reshape(outputs, channels, 1, 1)
    return layer


def _pooled(layer: nn.Module, window: int | tuple[int, int]) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), nn.MaxPool2d(window))


def _subjects() -> list[harness.Subject]:
    torch.manual_seed(5)
    cases: list[tuple[nn.Module, tuple[int, ...]]] = [(_signs(LONGEST, 13), (1, LONGEST)), (_signs(515, 8), (2, 515))]
    cases += [(nn.Linear(k, o), (1, k)) for o, k in enumerate((9, 1, 2, 3, 4, 5, 6, 7, 8, 13, 1, 11, 2, 17, 3), 1)]
    cases += [
        (nn.Conv2d(1, 9, 3, padding=1), (1, 1, 5, 6)),  # gathered
        (nn.Conv2d(13, 4, 3, padding=1, stride=2), (1, 13, 6, 5)),  # in place but for the border
        (nn.Conv2d(17, 12, (3, 2)), (1, 17, 5, 4)),
        (nn.Conv2d(6, 15, 3, dilation=2, padding=2), (1, 6, 5, 5)),
        (nn.Conv2d(9, 5, (4, 1), padding=(3, 2)), (1, 9, 2, 3)),  # rows and columns of padding only
        (nn.Conv1d(7, 6, 5, stride=3), (1, 7, 17)),
        (_pooled(nn.Conv2d(11, 14, 3, padding=1), 2), (1, 11, 6, 7)),
        (_pooled(nn.Conv2d(12, 3, 2), (3, 1)), (1, 12, 8, 4)),
        (nn.Conv2d(1, 1, (3, 3), groups=1), (1, 1, 4, 4)),
        (nn.Conv2d(5, 5, 3, groups=5, padding=1), (1, 5, 4, 6)),
        (nn.Conv2d(4, 4, 2, groups=4, stride=2), (1, 4, 5, 4)),
        (nn.Conv2d(3, 3, (1, 5), groups=3, padding=(0, 4), dilation=(1, 2)), (1, 3, 2, 9)),
        (_pooled(nn.Conv2d(7, 7, 3, groups=7, padding=1), (2, 3)), (1, 7, 5, 6)),
    ]
    return [harness.subject(m, [s], f"{m} {s}", i) for i, (m, s) in enumerate(cases)]


@pytest.mark.parametrize("scheme", ["int8", "int16"])
def test_bytes_of_the_reference(scheme: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    subjects = harness.once("kernels-v6m", _subjects)
    goals = ("time", "flash") if scheme == "int8" else ("flash", "time")
    models = [s.model(scheme, f"v{i}", target=TARGET, optimize=goals[i % 2]) for i, s in enumerate(subjects)]
    for m in models:
        assert all("v6m" in layer.kernel for layer in m.project.layers if layer.weights), m.graph.dump()
    stored = [ends(m.graph, s.stored(m)) for m, s in zip(models, subjects, strict=True)]
    many = Many(models, tmp_path / "many")
    images = many.images(stored)
    assert many.differences(stored, load(many.folder).run([images], jobs=1).outputs["arena_out"]) == []
    assert many.differences(stored, emulate(many.folder, load_target(TARGET), [images]).outputs[0]) == []


def _cut() -> list[harness.Subject]:
    torch.manual_seed(7)
    cases = [(_signs(LONGEST + 1, 13), (1, LONGEST + 1)), (_signs(3 * LONGEST, 8), (2, 3 * LONGEST)),
             (_signs(1241, 9), (1, 1241)), (nn.Linear(64, 3), (1, 64))]
    return [harness.subject(m, [s], f"{m} {s}", i) for i, (m, s) in enumerate(cases)]


def test_rows_too_long_for_the_packed_sums_are_cut(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    subjects = harness.once("kernels-v6m-cut", _cut)
    goals = ("time", "balanced")
    models = [s.model("int8", f"c{i}", target=TARGET, optimize=goals[i % 2], kernel="linear-pieces-v6m")
              for i, s in enumerate(subjects)]
    assert {layer.kernel for m in models for layer in m.project.layers if layer.weights} == {"linear-pieces-v6m"}
    assert [v6m.piece(m.graph.nodes[-1].quant["w"]) for m in models] == [260, 516, 416, 64]
    stored = [ends(m.graph, s.stored(m)) for m, s in zip(models, subjects, strict=True)]
    many = Many(models, tmp_path / "many")
    images = many.images(stored)
    assert many.differences(stored, load(many.folder).run([images], jobs=1).outputs["arena_out"]) == []
    assert many.differences(stored, emulate(many.folder, load_target(TARGET), [images]).outputs[0]) == []
    chosen = subjects[0].model("int8", "n", target=TARGET).project.layers
    assert [layer.kernel for layer in chosen if layer.weights] == ["linear-pieces-v6m"]


def _threes() -> list[harness.Subject]:
    torch.manual_seed(6)
    cases = [(_pixels(LONGEST3, 9), (1, LONGEST3, 2, 4)), (_pixels(LONGEST3 - 1, 4), (1, LONGEST3 - 1, 1, 3))]
    cases += [(nn.Conv2d(k, o, 1), (1, k, 1, 3 + o % 3)) for o, k in enumerate((5, 1, 2, 3, 4, 7), 4)]
    cases += [(nn.Conv2d(6, 8, 1, stride=2), (1, 6, 5, 9)), (nn.Conv2d(9, 16, 1, stride=(1, 2)), (1, 9, 2, 6))]
    cases += [
        (nn.Conv2d(2, 6, 3), (1, 2, 5, 9)),
        (nn.Conv2d(3, 5, 3, padding=1), (1, 3, 17, 20)),
        (nn.Conv2d(1, 7, (3, 2), stride=2), (1, 1, 7, 13)),
        (_pooled(nn.Conv2d(1, 10, 5), 2), (1, 1, 8, 16)),
        (_pooled(nn.Conv2d(2, 4, 3, padding=1), 2), (1, 2, 24, 26)),
        (_pooled(nn.Conv2d(3, 9, 2), (1, 4)), (1, 3, 4, 15)),
        (_pooled(nn.Conv2d(2, 5, 2), (3, 1)), (1, 2, 7, 5)),
        (nn.Sequential(nn.Conv1d(2, 6, 3), nn.MaxPool1d(3)), (1, 2, 12)),
    ]
    return [harness.subject(m, [s], f"{m} {s}", i) for i, (m, s) in enumerate(cases)]


def test_three_pixels_at_a_time(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    subjects = harness.once("kernels-v6m-threes", _threes)
    goals = ("time", "time", "flash")
    models = [s.model("int8", f"p{i}", target=TARGET, optimize=goals[i % 3], kernel="conv2d-three-v6m")
              for i, s in enumerate(subjects)]
    assert {layer.kernel for m in models for layer in m.project.layers if layer.weights} == {"conv2d-three-v6m"}
    stored = [ends(m.graph, s.stored(m)) for m, s in zip(models, subjects, strict=True)]
    many = Many(models, tmp_path / "many")
    images = many.images(stored)
    assert many.differences(stored, load(many.folder).run([images], jobs=1).outputs["arena_out"]) == []
    assert many.differences(stored, emulate(many.folder, load_target(TARGET), [images]).outputs[0]) == []


def test_longer_sums_than_the_packing_holds_take_another_kernel() -> None:
    s = harness.subject(_signs(LONGEST + 1, 4), [(1, LONGEST + 1)])
    assert [x.kernel for x in s.model("int8", "n", target=TARGET).project.layers] == ["linear-pieces-v6m"]
    assert [x.kernel for x in s.model("int16", "n", target=TARGET).project.layers] == ["linear-v6m"]
    s = harness.subject(_pixels(LONGEST3 + 2, 4), [(1, LONGEST3 + 2, 1, 3)])
    model = s.model("int8", "n", target=TARGET, optimize="time")
    assert [x.kernel for x in model.project.layers if x.weights] == ["conv2d-v6m"]


@pytest.mark.parametrize("smallest", [False, True])
@pytest.mark.parametrize("scheme", ["int8", "int16"])
def test_packed_weights_hold_no_padding(scheme: str, smallest: bool) -> None:
    """As many stored values as weights, in every width."""
    rng = np.random.default_rng(1)
    for outputs in range(1, 26):
        w = rng.integers(-127, 128, (outputs, 7))
        assert v6m.pack_rows(w, scheme, smallest).values.size == w.size


@pytest.mark.parametrize(("scheme", "limit"), [("int8", 5.2), ("int16", 7.2)])
def test_cycles_of_grouped_convolution(scheme: str, limit: float, need_tool) -> None:
    """Cycles a multiply-accumulate; the portable kernel takes 9.8 and 8.9."""
    need_tool("arm-none-eabi-gcc")
    torch.manual_seed(0)
    s = harness.subject(nn.Conv2d(16, 16, 3, padding=1, groups=2), [(1, 16, 8, 8)])
    model = s.model(scheme, "n", target=TARGET)
    assert model.manifest["layers"][0]["kernel"] == "conv2d-groups-v6m"
    assert model.emulate(TARGET).data["cycles"] <= limit * model.manifest["layers"][0]["macs"]
