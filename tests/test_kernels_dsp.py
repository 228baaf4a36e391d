"""The integer kernels for the DSP instructions: the reference's bytes on the host and on the emulated Cortex-M4."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genn.emulate import emulate
from genn.host import load
from genn.kernels import OPTIMIZE, dsp_conv, dsp_linear, dsp_pack, kernels
from genn.target import load_target
from tests.harness import Subject, once, subject
from tests.many import Many

TARGET = "generic-m4"
NAMES = [name for name in kernels if "-dsp-" in name]


def constant(module: nn.Module, value: float, bias: float = 0.0) -> nn.Module:
    """Weights all alike: quantized, all are +-127."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.constant_(layer.weight, value)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, bias)
    return module


def pooled(layer: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), pool)


def linear_cases() -> list[tuple[nn.Module, tuple[int, ...]]]:
    cases = [(1, 1), (4, 8), (5, 9), (15, 16), (30, 27), (67, 10), (16, 3), (64, 8), (9, 12), (33, 7), (24, 25)]
    found: list[tuple[nn.Module, tuple[int, ...]]] = [(nn.Linear(k, o), (1, k)) for k, o in cases]
    found += [(constant(nn.Linear(1200, 11), 0.1), (1, 1200)), (constant(nn.Linear(450, 8), -0.1, 100.0), (2, 450))]
    return found


def conv_cases() -> list[tuple[nn.Module, tuple[int, ...]]]:
    c = nn.Conv2d
    return [
        (c(1, 4, 1), (1, 1, 1, 1)),
        (c(1, 7, (1, 3)), (1, 1, 4, 5)),
        (c(8, 12, 1), (1, 8, 5, 5)),  # pointwise: rows joined, an odd number of pixels
        (c(6, 9, 3, padding=1), (1, 6, 5, 7)),
        (c(3, 8, 3, stride=2, padding=1), (1, 3, 9, 9)),
        (c(5, 6, (5, 2), stride=(1, 3), padding=(2, 0), dilation=(2, 1)), (1, 5, 9, 11)),
        (c(12, 10, 3, padding=1, groups=2), (1, 12, 5, 4)),
        (c(64, 5, (3, 4), padding=(0, 3)), (1, 64, 4, 19)),  # several tiles in a row
        (c(64, 5, (3, 4), padding=(0, 9)), (1, 64, 4, 5)),  # tiles outside of the input altogether
        (pooled(c(1, 10, 5), nn.MaxPool2d(2)), (1, 1, 12, 12)),
        (pooled(c(4, 6, 3, padding=1), nn.MaxPool2d(3)), (1, 4, 9, 10)),
        (pooled(c(2, 5, 2), nn.MaxPool2d((2, 1))), (1, 2, 6, 4)),
        (nn.Sequential(c(3, 4, 3), nn.Hardtanh(-0.3, 0.4)), (1, 3, 5, 5)),
        (nn.Conv1d(4, 8, 5, stride=2), (1, 4, 17)),
        (constant(c(16, 8, 3, padding=1), 0.1, 1.0), (1, 16, 4, 5)),
        (constant(c(16, 6, 1), -0.1), (1, 16, 4, 5)),
        *((c(k, 4, 1), (1, k, 1, 3)) for k in (2, 2, 9, 10, 11, 12, 14, 73, 74)),  # entries into the unrolled loop
    ]


def depthwise_cases() -> list[tuple[nn.Module, tuple[int, ...]]]:
    def dw(c: int, k: int | tuple[int, int] = 3, **options) -> nn.Conv2d:
        return nn.Conv2d(c, c, k, groups=c, **options)

    return [
        (dw(8, padding=1), (1, 8, 5, 5)),  # odd rows and pixels
        (dw(6, padding=1), (1, 6, 4, 6)),
        (dw(4), (1, 4, 3, 3)),
        (dw(4), (1, 4, 4, 3)),
        (dw(7, padding=(0, 1)), (1, 7, 6, 2)),
        (dw(5, padding=(1, 0)), (1, 5, 2, 4)),
        (dw(12, stride=2, padding=1), (1, 12, 9, 7)),
        (dw(4, stride=(1, 2)), (1, 4, 5, 8)),
        (dw(9, padding=2, dilation=2), (1, 9, 5, 6)),
        (dw(4, padding=3), (1, 4, 2, 2)),
        (dw(5, (4, 2), padding=(1, 1)), (1, 5, 6, 5)),
        (dw(8, 5, padding=2), (1, 8, 6, 7)),
        (dw(3, (1, 7), stride=(1, 2)), (1, 3, 2, 15)),
        (nn.Conv1d(4, 4, 3, groups=4, padding=1), (1, 4, 9)),
        (nn.Sequential(dw(4, padding=1), nn.Hardtanh(-0.3, 0.4)), (1, 4, 5, 5)),
        (constant(dw(4, padding=1), 0.2, 1.0), (1, 4, 5, 4)),
    ]


MODES = {  # where not all
    "conv2d-dsp-s8": ("time", "balanced"),
    "conv2d-small-dsp-s8": ("flash",),
    "conv2d-depthwise-dsp-s8": ("time", "balanced"),
    "conv2d-dsp-s16": ("time", "balanced"),
    "conv2d-small-dsp-s16": ("flash",),
}
CASES = {
    "linear-dsp-s8": linear_cases,
    "conv2d-dsp-s8": conv_cases,
    "conv2d-small-dsp-s8": conv_cases,
    "conv2d-depthwise-dsp-s8": depthwise_cases,
    "conv2d-depthwise-any-dsp-s8": depthwise_cases,
    "linear-dsp-s16": linear_cases,
    "conv2d-dsp-s16": conv_cases,
    "conv2d-small-dsp-s16": conv_cases,
    "conv2d-depthwise-any-dsp-s16": depthwise_cases,
}


def subjects(name: str) -> list[Subject]:
    def make() -> list[Subject]:
        torch.manual_seed(11)
        return [subject(module, [shape], f"{module} {shape}", i) for i, (module, shape) in enumerate(CASES[name]())]

    return once(f"kernels-{name}", make)


def extreme_inputs(s: Subject, model) -> dict[str, np.ndarray]:
    """Stored samples: drawn from the whole range, all the least, all the greatest, alternating."""
    (name,) = model.graph.inputs
    t = model.graph[name]
    rng = np.random.default_rng(5)
    drawn = rng.integers(t.q.qmin, t.q.qmax + 1, t.shape)
    alternating = np.where(np.arange(t.size).reshape(t.shape) % 2, t.q.qmin, t.q.qmax)
    samples = np.stack([drawn, np.full(t.shape, t.q.qmin), np.full(t.shape, t.q.qmax), alternating])
    return {name: samples.astype(np.int16 if model.graph.scheme == "int16" else np.int8)}


@pytest.mark.parametrize("name", NAMES)
def test_exact(name, tmp_path):
    """Every case the kernel takes, for one goal after the other: host and emulated Cortex-M4 equal the reference."""
    kernel = kernels[name]
    scheme = kernel.schemes[0]
    modes = MODES.get(name, OPTIMIZE)
    models, stored = [], []
    for i, s in enumerate(subjects(name)):
        optimize = modes[i % len(modes)]
        model = s.model(scheme, f"m{i}{optimize}", target=TARGET, kernel=name, optimize=optimize, sparse="never")
        if all(layer.kernel == "portable" for layer in model.project.layers):
            continue
        models.append(model)
        stored.append(extreme_inputs(s, model))
    assert len(models) >= len(CASES[name]()) * 0.6, f"{name} takes hardly anything"
    many = Many(models, tmp_path / "project")
    images = many.images(stored)
    assert not many.differences(stored, load(many.folder).run([images], jobs=1).outputs["arena_out"])
    assert not many.differences(stored, emulate(many.folder, load_target(TARGET), [images]).outputs[0])


def test_sums_that_exceed_24_bits_are_centered_or_cut():
    """450 weights of -127 and a large bias reach further than 23 bits to one side; 1200 further than 24 bits."""
    models = [s.model("int8", "net", target=TARGET, sparse="never") for s in subjects("linear-dsp-s8")[-2:]]
    wide, shifted = (dsp_pack.columns_exact(m.graph.nodes[-1], m.graph, 4) for m in models)
    assert wide[0] < 1200 and shifted[0] == 450 and shifted[1] != 0



def test_packing_keeps_every_weight_once():
    """One byte a weight, nothing padded."""
    rng = np.random.default_rng(0)
    for o, k in [(1, 1), (2, 3), (8, 4), (11, 13), (27, 30)]:
        w = rng.integers(-127, 128, (o, k))
        assert dsp_linear.pack_s8(w, 8).size == dsp_linear.pack_s8(w, 2).size == dsp_conv.pack_s8(w, 4).size == w.size
        assert dsp_conv.pack_s8(w, 2).size == w.size
