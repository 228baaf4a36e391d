"""The passes on whole networks: the same values as torch before and after, and nothing left that should be gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genn import frontend, passes
from tests.networks import Fn, Shape, compile_and_compare, conv, lively, ops

# -- networks that become exactly this ------------------------------------------------------------------------------


def residual(m, x):
    y = F.relu(m.bn1(m.c1(x)))
    return F.relu(m.bn2(m.c2(y)) + x)


def squeeze_excite(m, x):
    x = m.c(x)
    s = x.mean((2, 3))
    s = torch.sigmoid(m.f2(F.relu(m.f1(s))))
    return m.d(x * s.view(s.shape[0], -1, 1, 1))


def squeeze_excite_conv(m, x):
    x = m.c(x)
    s = F.hardsigmoid(m.f2(F.relu(m.f1(F.adaptive_avg_pool2d(x, 1)))))
    return m.d(x * s)


def dense(m, x):
    x = F.relu(m.c0(x))
    a = F.relu(m.b1(m.c1(x)))
    x = torch.cat([x, a], 1)
    b = F.relu(m.b2(m.c2(x)))
    x = torch.cat([x, b], 1)
    return m.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def two_heads(m, x, y):
    a, b = m.c1(x), m.c2(y)
    z = F.relu(a + b)
    return {"map": m.c3(z), "label": m.fc(z.flatten(1))}


def two_towers(m, x, y):
    return m.fc(torch.cat([F.relu(m.c1(x)).flatten(1), m.c2(y).flatten(1), x.flatten(1)], 1))


def decoder(m, z):
    x = F.gelu(m.fc(z)).view(1, 6, 4, 5)
    return torch.tanh(m.c(x))


NETS: dict[str, tuple[Callable[[], nn.Module], list[Shape], list[str] | None]] = {
    "cnn, flatten, linear": (
        lambda: nn.Sequential(
            conv(2, 4),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv(4, 6),
            nn.ReLU6(),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(6 * 5 * 4, 7),
            nn.ReLU(),
            nn.Linear(7, 3),
        ),
        [(1, 2, 10, 8)],
        ["conv2d", "conv2d", "linear", "linear"],
    ),
    "pool before relu": (
        lambda: nn.Sequential(conv(1, 4), nn.MaxPool2d(2), nn.ReLU(), conv(4, 3), nn.MaxPool2d(2), nn.ReLU()),
        [(1, 1, 8, 8)],
        ["conv2d", "conv2d"],
    ),
    "pools that stay: overlapping, padded, with one window more": (
        lambda: nn.Sequential(
            conv(1, 4), nn.MaxPool2d(3, 2), conv(4, 3), nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, ceil_mode=True)
        ),
        [(1, 1, 23, 27)],
        ["conv2d", "max_pool2d", "conv2d", "max_pool2d", "max_pool2d"],
    ),
    "activation after flatten": (
        lambda: nn.Sequential(conv(1, 4), nn.Flatten(), nn.Hardswish(), nn.Linear(4 * 12, 3)),
        [(1, 1, 4, 3)],
        ["conv2d", "hardswish", "linear"],
    ),
    "residual": (
        lambda: Fn(residual, c1=conv(4, 4), bn1=nn.BatchNorm2d(4), c2=conv(4, 4), bn2=nn.BatchNorm2d(4)),
        [(1, 4, 6, 5)],
        ["conv2d", "conv2d", "add"],
    ),
    "residual inside": (
        lambda: nn.Sequential(
            conv(3, 4),
            nn.ReLU(),
            Fn(residual, c1=conv(4, 4), bn1=nn.BatchNorm2d(4), c2=conv(4, 4), bn2=nn.BatchNorm2d(4)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        ),
        [(1, 3, 6, 5)],
        ["conv2d", "conv2d", "conv2d", "add", "adaptive_avg_pool2d", "linear"],
    ),
    "squeeze and excite, linear": (
        lambda: Fn(squeeze_excite, c=conv(3, 8), f1=nn.Linear(8, 2), f2=nn.Linear(2, 8), d=conv(8, 4)),
        [(1, 3, 5, 6)],
        ["conv2d", "mean", "linear", "linear", "sigmoid", "mul", "conv2d"],
    ),
    "squeeze and excite, conv": (
        lambda: Fn(squeeze_excite_conv, c=conv(3, 8), f1=conv(8, 2, 1), f2=conv(2, 8, 1), d=conv(8, 4)),
        [(1, 3, 5, 6)],
        ["conv2d", "adaptive_avg_pool2d", "conv2d", "conv2d", "hardsigmoid", "mul", "conv2d"],
    ),
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1d(5, 6, 4, stride=3),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.Conv1d(6, 6, 3, groups=6, padding=1),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.Conv1d(6, 8, 1),
            nn.PReLU(8),
            nn.MaxPool1d(2),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 2),
        ),
        [(1, 5, 40)],
        ["conv2d", "conv2d", "conv2d", "prelu", "max_pool2d", "adaptive_avg_pool2d", "linear"],
    ),
    "conv1d residual": (
        lambda: Fn(
            residual,
            c1=nn.Conv1d(4, 4, 3, padding=1),
            bn1=nn.BatchNorm1d(4),
            c2=nn.Conv1d(4, 4, 3, padding=1),
            bn2=nn.BatchNorm1d(4),
        ),
        [(1, 4, 9)],
        ["conv2d", "conv2d", "add"],
    ),
    "conv1d, one channel": (
        lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 1, 3), nn.Flatten(), nn.Linear(16, 3)),
        [(1, 1, 20)],
        ["conv2d", "conv2d", "linear"],
    ),
    "densenet": (
        lambda: Fn(
            dense,
            c0=conv(3, 4),
            c1=conv(4, 3),
            b1=nn.BatchNorm2d(3),
            c2=conv(7, 2),
            b2=nn.BatchNorm2d(2),
            fc=nn.Linear(9, 5),
        ),
        [(1, 3, 6, 6)],
        ["conv2d", "conv2d", "concat", "conv2d", "concat", "adaptive_avg_pool2d", "linear"],
    ),
    "two inputs, two outputs": (
        lambda: Fn(two_heads, c1=conv(2, 4), c2=conv(3, 4), c3=conv(4, 2), fc=nn.Linear(4 * 30, 3)),
        [(1, 2, 5, 6), (1, 3, 5, 6)],
        ["conv2d", "conv2d", "add", "conv2d", "linear"],
    ),
    "two towers into one linear": (
        lambda: Fn(two_towers, c1=conv(2, 4), c2=conv(3, 2), fc=nn.Linear(4 * 30 + 2 * 20 + 60, 3)),
        [(1, 2, 5, 6), (1, 3, 4, 5)],
        ["conv2d", "conv2d", "concat", "linear"],
    ),
    "global average pool": (
        lambda: Fn(lambda m, x: m.fc(m.c(x).mean([-1, -2])), c=conv(3, 4), fc=nn.Linear(4, 2)),
        [(1, 3, 5, 5)],
        ["conv2d", "mean", "linear"],
    ),
    "softmax over channels": (
        lambda: nn.Sequential(conv(3, 4), nn.Softmax2d(), conv(4, 2), nn.LogSoftmax(1)),
        [(1, 3, 5, 4)],
        ["conv2d", "softmax", "conv2d", "log_softmax"],
    ),
    "padding": (
        lambda: nn.Sequential(
            nn.ZeroPad2d((0, 1, 2, 1)), nn.Conv2d(3, 4, 3, stride=2), nn.ConstantPad2d(1, 0.5), nn.Conv2d(4, 2, 3)
        ),
        [(1, 3, 7, 6)],
        ["conv2d", "pad", "conv2d"],
    ),
    "padded on both sides, the future cut off": (
        lambda: Fn(lambda m, x: F.relu(m.c(x)[:, :, :-4]), c=nn.Conv1d(2, 3, 3, padding=4, dilation=2)),
        [(1, 2, 9)],
        ["conv2d"],
    ),
    "the past padded before the first layer": (
        lambda: Fn(lambda m, x: F.relu(m.c(F.pad(x, (4, 0)))), c=nn.Conv1d(2, 3, 3, dilation=2)),
        [(1, 2, 9)],
        ["conv2d"],
    ),
    "a slice of what is there": (
        lambda: Fn(lambda m, x: m.c(x)[:, 1:, ::2, 1:], c=conv(2, 3)),
        [(1, 2, 5, 5)],
        ["conv2d", "slice"],
    ),
    "batchnorm and relu before a channel shuffle": (
        lambda: nn.Sequential(conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.ChannelShuffle(3), conv(6, 2)),
        [(1, 3, 4, 5)],
        ["conv2d", "transpose", "conv2d"],
    ),
    "unbatched": (
        lambda: nn.Sequential(conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 2)),
        [(3, 6, 8)],
        ["conv2d", "conv2d"],
    ),
    "unbatched 1-d": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 2, 3)),
        [(3, 20)],
        ["conv2d", "conv2d"],
    ),
    "decoder": (
        lambda: Fn(decoder, fc=nn.Linear(3, 120), c=conv(6, 2)),
        [(1, 3)],
        ["linear", "gelu", "conv2d", "tanh"],
    ),
    "user in NHWC": (
        lambda: Fn(lambda m, x: m.c(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), c=conv(3, 4)),
        [(1, 5, 6, 3)],
        ["conv2d"],
    ),
    "linear over channels": (
        lambda: Fn(
            lambda m, x: m.c2(F.relu(m.fc(m.c1(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)),
            c1=conv(3, 4),
            fc=nn.Linear(4, 6),
            c2=conv(6, 2),
        ),
        [(1, 3, 4, 5)],
        ["conv2d", "linear", "conv2d"],
    ),
    "conv1d, then linear over channels": (
        lambda: Fn(lambda m, x: m.fc(m.c1(x).transpose(1, 2)), c1=nn.Conv1d(3, 4, 3), fc=nn.Linear(4, 6)),
        [(1, 3, 9)],
        ["conv2d", "linear"],
    ),
    "batchnorm not folded: used twice": (
        lambda: Fn(lambda m, x: (lambda y: F.relu(m.b(y)) + y)(m.c(x)), c=conv(3, 4), b=nn.BatchNorm2d(4)),
        [(1, 3, 4, 5)],
        ["conv2d", "conv2d", "add"],
    ),
    "batchnorm first": (
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), conv(3, 4), nn.BatchNorm2d(4, affine=False)),
        [(1, 3, 4, 5)],
        ["conv2d", "conv2d"],
    ),
    "batchnorm of vectors": (
        lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Hardtanh(-0.5, 2), nn.ReLU6()),
        [(1, 6)],
        ["conv2d", "linear"],
    ),
    "own factors and offsets": (
        lambda: Fn(lambda m, x: (2 * m.c(x) - 1) / 4 - m.b.bias.view(1, -1, 1, 1), c=conv(3, 4), b=conv(1, 4)),
        [(1, 3, 4, 5)],
        ["conv2d"],
    ),
    "nothing to do": (
        lambda: Fn(
            lambda m, x: (m.f((x * 1 + 0).contiguous().clone().reshape(1, 6)).view(1, 2, 2)).flatten(1).detach(),
            f=nn.Linear(6, 4),
        ),
        [(1, 2, 3)],
        ["linear"],
    ),
    "matrices of one's own": (
        lambda: Fn(
            lambda m, x: torch.addmm(m.f.bias, x @ m.f.weight.t(), m.g.weight.t()), f=nn.Linear(6, 5), g=nn.Linear(5, 5)
        ),
        [(1, 6)],
        ["linear", "linear"],
    ),
    "in place": (
        lambda: nn.Sequential(
            nn.ReLU(inplace=True), conv(2, 3), nn.Hardswish(inplace=True), nn.Dropout2d(), conv(3, 2)
        ),
        [(1, 2, 4, 4)],
        ["clamp", "conv2d", "hardswish", "conv2d"],
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_network(name: str) -> None:
    make, shapes, want = NETS[name]
    graph = compile_and_compare(make(), *shapes)
    assert ops(graph) == want, graph.dump()
    assert "exact" not in graph.meta
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)


# -- outputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: (x, x + 1),
        lambda m, x: x.view(6),
        lambda m, x: (lambda y: (y, y, y.view(3, 2)))(x.relu()),
        lambda m, x: (x * 2, torch.ones(2, 2)),
        lambda m, x: [torch.ones(2, 2) + 1, (x.relu(), {"a": x.neg(), "b": x})],
        lambda m, x: x.permute(1, 0, 2),
    ],
)
def test_outputs_are_tensors_of_their_own(forward: Callable[..., Any]) -> None:
    graph = compile_and_compare(Fn(forward), (1, 2, 3))
    assert len(set(graph.outputs)) == len(graph.outputs)
    assert not set(graph.outputs) & set(graph.inputs)
    assert all(graph[o].const is None for o in graph.outputs)


def test_output_order_is_told() -> None:
    graph = compile_and_compare(conv(3, 4), (1, 3, 6, 5))
    assert graph[graph.inputs[0]].shape == (1, 6, 5, 3)
    assert graph.layout == {graph.inputs[0]: (0, 3, 1, 2), graph.outputs[0]: (0, 3, 1, 2)}


def test_image_for_linear_stays_as_it_is() -> None:
    graph = compile_and_compare(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (1, 1, 3, 4))
    assert graph[graph.inputs[0]].shape == (1, 1, 3, 4) and not graph.layout


def test_the_given_graph_is_left_alone() -> None:
    module = lively(nn.Sequential(conv(2, 3), nn.BatchNorm2d(3), nn.ReLU()))
    graph = frontend.import_graph(frontend.trace(module, torch.ones(1, 2, 4, 4)), "net")
    before = graph.dump()
    first, second = passes.canonicalize(graph), passes.canonicalize(graph)
    assert graph.dump() == before and first.dump() == second.dump()
    for a, b in zip(first.tensors.values(), second.tensors.values(), strict=True):
        assert a.const is None or np.array_equal(a.const, b.const)


def test_batchnorm_is_rounded_once() -> None:
    """The folded weight is the float64 product rounded to float32, not a product of rounded factors."""
    module = lively(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)))
    graph = passes.canonicalize(frontend.import_graph(frontend.trace(module, torch.ones(1, 3, 4, 4)), "net"))
    c, b = module
    scale = b.weight.double() / torch.sqrt(b.running_var.double() + b.eps)
    want_w = (c.weight.double() * scale[:, None, None, None]).permute(0, 2, 3, 1).float()
    want_b = (c.bias.double() * scale + b.bias.double() - b.running_mean.double() * scale).float()
    (node,) = graph.nodes
    assert np.array_equal(graph[node.inputs[1]].const, want_w.detach().numpy())
    np.testing.assert_array_max_ulp(graph[node.inputs[2]].const, want_b.detach().numpy(), 1)


def test_clamps_compose() -> None:
    module = Fn(lambda m, x: F.hardtanh(F.relu6(m.f(x)), -3, 2).clamp(max=-1), f=nn.Linear(3, 3))
    graph = compile_and_compare(module, (1, 3))
    assert ops(graph) == ["linear"] and (graph.nodes[0].attrs.lo, graph.nodes[0].attrs.hi) == (-1.0, -1.0)


def test_names_and_places() -> None:
    module = Fn(lambda m, x: m.fc(F.relu(m.conv(x)).flatten(1)), conv=conv(1, 2), fc=nn.Linear(8, 2))
    graph = compile_and_compare(module, (1, 1, 2, 2))
    assert [n.name for n in graph.nodes if n.op != "reshape"] == ["conv", "fc"]
    assert {n.source.file for n in graph.nodes} == {"networks.py"} and all(n.source.line for n in graph.nodes)
