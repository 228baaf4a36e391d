"""Models without weights: the same graph from shapes alone, no memory for weights, and no way to convert it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import genn
from genn import frontend, passes
from genn.errors import ModelError
from genn.ir import Graph
from tests import zoo_signals  # noqa: F401 (fills ZOO)
from tests.networks import Fn, conv, lively
from tests.zoo import ZOO

SOME = ["MobileNetV1", "MobileNetV3", "ResNet8", "DenseNetBlock", "ShuffleNetV2", "Mixer", "LSTM", "TextCNN"]


def imported(module: nn.Module, shapes: list[tuple[int, ...]], device: str) -> Graph:
    xs = tuple(torch.zeros(s) for s in shapes)  # the example may have values: they do not matter
    return passes.canonicalize(frontend.import_graph(frontend.trace(copy.deepcopy(module).to(device), xs), "net"))


@pytest.mark.parametrize("name", SOME)
def test_the_graph_is_that_of_the_model_with_weights(name: str) -> None:
    module = lively(ZOO[name].make())
    real, bare = (imported(module, ZOO[name].shapes, device) for device in ("cpu", "meta"))
    assert real.dump() == bare.dump()
    assert real.layout == bare.layout


def test_weights_without_values_take_no_memory() -> None:
    layers = [nn.Sequential(conv(512, 512), nn.BatchNorm2d(512), nn.ReLU()) for _ in range(4)]
    with torch.device("meta"):
        module = nn.Sequential(*layers).to("meta")
    graph = imported(module, [(1, 512, 8, 8)], "meta")
    held = {id(t.const.base if t.const.base is not None else t.const): t.const for t in graph.tensors.values()
            if t.const is not None}
    assert [n.op for n in graph.nodes] == ["conv2d"] * 4
    assert all(not any(c.strides) for c in held.values())
    assert sum(int(np.prod(c.shape)) for c in held.values()) > 9_000_000


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_it_is_not_converted(scheme: str) -> None:
    module = Fn(lambda m, x: m.c(x), c=conv(1, 2).to("meta"))
    with pytest.raises(ModelError, match=r"(?s)parameter c\.weight has a shape and no values.*load the weights"):
        genn.convert(module, torch.ones(1, 1, 4, 4), scheme, np.zeros((2, 1, 1, 4, 4), np.float32))
