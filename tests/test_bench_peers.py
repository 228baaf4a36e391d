"""Other libraries' benchmark: how our networks are told to them, without a checkout of any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import genn
from genn.bench import peers
from genn.bench.peers.cmsis_nn import CmsisNN, multiplier
from genn.bench.peers.network import Cannot, network
from genn.errors import UsageError


def int8(module: nn.Module, shape: tuple[int, ...]):
    torch.manual_seed(1)
    x = np.random.default_rng(1).standard_normal((4, *shape)).astype(np.float32)
    return genn.convert(module.eval(), torch.from_numpy(x[0]), "int8", x, name="net", vectors=1)


def test_a_fused_pool_is_told_as_a_layer_of_its_own() -> None:
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)
    model = int8(nn.Sequential(*layers), (1, 2, 6, 7))
    net = network(model.graph)
    assert [s.kind for s in net.steps] == ["conv", "max_pool", "linear"]
    assert net.steps[0].output.shape == (1, 4, 5, 3) and net.steps[1].output.shape == (1, 2, 2, 3)
    conv = net.steps[0]
    folded = conv.b - conv.inputs[0].q.zero_point * conv.w.reshape(3, -1).sum(axis=1)
    assert np.array_equal(folded, model.graph.nodes[0].quant["b"])


def test_buffers_in_use_together_lie_apart() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.a(x))
            return torch.relu(y + self.b(y))

    net = network(int8(Residual(), (1, 3, 5, 5)).graph)
    buffers = {id(v.buffer): v.buffer for s in net.steps for v in (*s.inputs, s.output)}
    for b in buffers.values():
        assert b.offset + b.size <= net.bytes
        for other in buffers.values():
            if other is not b and other.first <= b.last and b.first <= other.last:
                assert b.offset + b.size <= other.offset or other.offset + other.size <= b.offset


def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(Cannot, match="prelu"):
        network(int8(nn.Sequential(nn.Linear(4, 4), nn.PReLU(4)), (1, 4)).graph)


def test_multipliers_are_the_factor_to_31_bits() -> None:
    for real in (0.3, 0.5, 1e-4, 0.999999999999, 1.7):
        m, s = multiplier(real)
        assert 0 <= m < 1 << 31 and abs(m * 2.0 ** (s - 31) / real - 1) < 2.0**-30


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkout"):
        CmsisNN(tmp_path)
    with pytest.raises(UsageError, match="core"):
        peers.bench([], ["mnist-mlp"], ["m7"])
