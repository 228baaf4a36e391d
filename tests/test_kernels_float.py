"""The float32 kernels for an FPU: the reference's bytes on host and emulated Cortex-M4F, cycles within their limits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import genn
from genn import suite
from tests.harness import Subject, emulated_differences, host_differences, once, subject

TARGET = "generic-m4"


def _pooled(conv: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(conv, nn.ReLU(), pool)


def _subjects() -> list[Subject]:
    torch.manual_seed(7)
    cases = [
        (nn.Conv2d(1, 5, 3), (1, 1, 3, 3)),  # one pixel
        (nn.Conv2d(2, 2, 1), (1, 2, 3, 5)),
        (nn.Conv2d(3, 9, (3, 4), padding=(1, 2)), (1, 3, 5, 7)),
        (nn.Conv2d(4, 10, 3, stride=2, padding=1), (1, 4, 9, 11)),
        (nn.Conv2d(3, 4, 3, dilation=2), (1, 3, 9, 8)),
        (nn.Conv2d(6, 12, 3, groups=3, padding=1), (1, 6, 4, 6)),
        (nn.Conv2d(2, 13, 5, padding=4), (1, 2, 3, 3)),
        (_pooled(nn.Conv2d(1, 10, 5), nn.MaxPool2d(2)), (1, 1, 14, 14)),
        (_pooled(nn.Conv2d(2, 8, 3, padding=1), nn.MaxPool2d(3)), (1, 2, 9, 9)),
        (_pooled(nn.Conv2d(2, 7, 3, padding=1, groups=1), nn.MaxPool2d((1, 2))), (1, 2, 5, 9)),
        (_pooled(nn.Conv1d(3, 6, 3), nn.MaxPool1d(5)), (1, 3, 13)),
        (nn.Conv1d(5, 11, 4, padding=2), (1, 5, 10)),
    ]
    return [subject(module, [shape], str(module), seed) for seed, (module, shape) in enumerate(cases)]


def test_convolution_tiles(tmp_path):
    subjects = once("kernels-float-conv", _subjects)
    models = [s.model("float32", f"t{i}", target=TARGET, kernel="conv2d-tile-f32") for i, s in enumerate(subjects)]
    for model, s in zip(models, subjects, strict=True):
        assert model.project.layers[0].kernel == "conv2d-tile-f32", s.label
    assert not host_differences(models, subjects, tmp_path / "host")
    assert not emulated_differences(models, subjects, tmp_path / "emu", TARGET)


def test_linear_with_tails(tmp_path):
    """Widths of 8 and less, lengths that are no multiple of 8."""
    cases = [(1, 8), (7, 8), (8, 16), (9, 9), (37, 17), (64, 7)]
    torch.manual_seed(3)
    subjects = [subject(nn.Linear(k, o), [(2, k)], f"{k}x{o}") for k, o in cases]
    models = [s.model("float32", f"t{i}", target=TARGET) for i, s in enumerate(subjects)]
    assert not emulated_differences(models, subjects, tmp_path, TARGET)


@pytest.mark.parametrize(("name", "limit"), [("mnist-mlp", 350_000), ("mnist-cnn", 1_700_000)])
def test_cycles(name, limit):
    """Measured when written: 340,581 and 1,551,415."""
    model = genn.convert(*suite.load(name), "float32", target=TARGET, optimize="time")
    assert model.emulate(TARGET).data["cycles"] <= limit
