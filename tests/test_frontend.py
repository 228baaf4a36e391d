"""The front end: what it takes, what it refuses, and that a refusal names every place at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genn import frontend, passes
from genn.errors import ModelError
from genn.ir import Graph
from tests.networks import Fn, compile_and_compare, conv, evaluate, lively


def load(module: nn.Module, *xs: Any) -> Graph:
    return frontend.import_graph(frontend.trace(module.eval(), xs), "net")


def refusal(module: nn.Module, *xs: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load(module, *xs)
    assert caught.value.exit_code == 3
    return str(caught.value)


# -- what is unsupported ----------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(2, 2)
        self.pool = nn.FractionalMaxPool2d(2, output_size=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cumsum(self.conv(x), 1)
        return self.pool(torch.fft.rfft(x).real)


def test_everything_unsupported_is_one_error_with_places() -> None:
    text = refusal(nn.Sequential(conv(1, 2), Block(), nn.Flatten()), torch.ones(1, 1, 6, 10))
    rows = [line for line in text.splitlines() if line.startswith("  aten.")]
    assert rows == sorted(rows) and len(rows) >= 3
    for op, where in (("aten.cumsum", "1 (test_frontend.py:"), ("fft", "1 (test_"), ("fractional", "1.pool (test_")):
        assert any(op in row and where in row for row in rows), text
    assert "conv2d" not in text and "genn ops" in text and "/tests/" not in text


def test_unknown_operators_do_not_hide_other_refusals() -> None:
    reflect = nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
    text = refusal(nn.Sequential(conv(1, 2), Block(), reflect), torch.ones(1, 1, 6, 10))
    assert "operators are not supported" in text and "and 1 more thing is not supported:\n  2: " in text
    assert "'reflect'" in text.splitlines()[-1]


def test_what_can_be_decomposed_is() -> None:
    with pytest.raises(ModelError, match=r"aten\.abs"):
        load(Fn(lambda m, x: F.softsign(m.c(x)), c=conv(1, 2)), torch.ones(1, 1, 4, 4))
    compile_and_compare(Fn(lambda m, x: F.hardtanh(m.c(x).addcmul(x, x, value=0.5)), c=conv(2, 2)), (1, 2, 4, 4))


def test_indices_of_a_pool_are_refused() -> None:
    module = Fn(lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1].float())
    assert "output 1 of aten.max_pool2d_with_indices" in refusal(module, torch.ones(1, 1, 4, 4))
    compile_and_compare(Fn(lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0]), (1, 1, 4, 4))


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        module[1].weight[0, 1] = value
    text = refusal(module, torch.ones(1, 3))
    assert "parameter 1.weight: 1 of 4 values" in text


def test_unused_parameters_do_not_matter() -> None:
    module = Fn(lambda m, x: m.a(x), a=nn.Linear(2, 2), b=nn.Linear(2, 2))
    with torch.no_grad():
        module.b.weight.fill_(float("nan"))
    graph = load(module, torch.ones(1, 2))
    assert sorted(t.shape for t in graph.tensors.values() if t.const is not None) == [(2,), (2, 2)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_types_become_float32(dtype: torch.dtype) -> None:
    module = nn.Linear(3, 2).to(dtype)
    x = torch.randn(1, 3)
    graph = load(module, x.to(dtype))
    want = F.linear(x, module.weight.float(), module.bias.float()).detach().numpy()
    np.testing.assert_allclose(evaluate(graph, [x.numpy()])[0], want, rtol=1e-5)


def test_rounding_of_an_exported_float64_constant_is_noted() -> None:
    module = nn.Linear(3, 2)
    module.register_buffer("k", torch.tensor([0.1, 0.5], dtype=torch.float64))
    exported = torch.export.export(Fn(lambda m, x: m.f(x) * m.f.k.float(), f=module), (torch.ones(1, 3),))
    graph = frontend.import_graph(exported, "net")
    assert all(t.const.dtype == np.float32 for t in graph.tensors.values() if t.const is not None)


def test_a_batchnorm_in_training_is_refused() -> None:
    exported = torch.export.export(nn.Sequential(conv(1, 2), nn.BatchNorm2d(2)).train(), (torch.ones(2, 1, 4, 4),))
    with pytest.raises(ModelError, match=r"\.eval\(\)"):
        frontend.import_graph(exported, "net")
    module = nn.BatchNorm2d(2, track_running_stats=False)
    assert ".eval()" in refusal(module, torch.ones(1, 2, 3, 3))


def test_tracing_does_not_touch_the_module() -> None:
    module = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2), nn.Dropout()).double().train()
    frontend.trace(module, torch.ones(1, 1, 4, 4))
    assert module.training and module[0].weight.dtype == torch.float64


def test_everything_refused_is_one_error() -> None:
    module = Fn(lambda m, x: (x / (x + 1)) ** 3 + F.pad(x, (1, 1), mode="reflect")[..., 1:-1])
    text = refusal(module, torch.ones(1, 2, 5))
    assert text.startswith("3 things are not supported:") and text.count("\n") == 3
    assert all(word in text for word in ("division by a tensor", "the power 3", "'reflect'"))


# -- inputs and outputs -----------------------------------------------------------------------------------------------


def test_dynamic_shapes_are_refused() -> None:
    batch = torch.export.Dim("batch", min=2, max=8)
    exported = torch.export.export(nn.Linear(3, 2), (torch.ones(4, 3),), dynamic_shapes=({0: batch},))
    with pytest.raises(ModelError, match=r"graph input input: dimension .* is dynamic.*fixed shapes"):
        frontend.import_graph(exported, "net")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_inputs_of_other_types_are_refused(dtype: torch.dtype) -> None:
    text = refusal(Fn(lambda m, x: m.e(x.long()), e=nn.Embedding(4, 3)), torch.ones(1, 2, dtype=dtype))
    assert "graph input" in text or "aten.embedding" in text
    assert "float32" in refusal(Fn(lambda m, x: x + 1), torch.ones(1, 2, dtype=torch.int64))


def test_inputs_without_axes_are_refused() -> None:
    assert "has no axes" in refusal(Fn(lambda m, x: x * 2), torch.tensor(1.5))


def test_no_output() -> None:
    assert "no output" in refusal(Fn(lambda m, x: None), torch.ones(1))


def test_nested_outputs_and_keyword_inputs() -> None:
    class Net(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> Any:
            return {"sum": left + right, "both": [left * 2, (right * 3, None)]}

    graph = frontend.import_graph(frontend.trace(Net(), {"left": torch.ones(1, 2), "right": torch.ones(1, 2)}), "net")
    got = evaluate(graph, [np.full((1, 2), 2, np.float32), np.full((1, 2), 5, np.float32)])
    assert graph.inputs == ["left", "right"]
    assert [float(y[0, 0]) for y in got] == [7.0, 4.0, 15.0]


def test_a_model_that_cannot_be_traced() -> None:
    def forward(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x

    text = refusal(Fn(forward), torch.ones(1, 2))
    assert "torch.export cannot trace" in text and "test_frontend.py:" in text
    assert "Linear" in refusal(nn.Linear(3, 2), torch.ones(1, 4))
    with pytest.raises(ModelError, match="example input"):
        frontend.trace(nn.Linear(3, 2), 3)


# -- values -----------------------------------------------------------------------------------------------------------

FORMS: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "in place, seen through a view": (
        lambda: Fn(lambda m, x: (lambda y, v: (y.relu_(), v + 1))(*(lambda y: (y, y.view(6)))(x * 1.5))), [(1, 6)]
    ),
    "casts to the type it has": (lambda: Fn(lambda m, x: x.float().to(torch.float32).type_as(x) + 1), [(1, 3)]),
    "double inside, a constant as an output": (
        lambda: Fn(lambda m, x: ((x.double() * 2).float(), torch.arange(6.0).view(2, 3))), [(1, 3)]
    ),
    "constants computed by torch": (
        lambda: Fn(lambda m, x: m.f(x) + torch.linspace(0, 1, 4) * torch.arange(4).exp(), f=nn.Linear(2, 4)), [(1, 2)]
    ),
    "constants that only need a shape": (
        lambda: Fn(lambda m, x: torch.cat([x[:, :9], torch.zeros_like(x), x.new_ones(1, 3) * 2], 1) + 1), [(1, 4)]
    ),
    "weight norm": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(conv(2, 3)), nn.ReLU()), [(1, 2, 4, 4)]
    ),
    "matrices": (lambda: Fn(lambda m, x: torch.matmul(x, m.f.weight.t()) @ m.f.weight, f=nn.Linear(3, 2)), [(1, 4, 3)]),
    "batchnorm of sequences": (lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3)), [(1, 2, 9)]),
    "batchnorm without conv": (lambda: nn.BatchNorm1d(3), [(1, 3, 5)]),
    "one linear twice": (lambda: Fn(lambda m, x: m.f(F.relu(m.f(x))), f=nn.Linear(3, 3)), [(1, 3)]),
    "mean of everything": (lambda: Fn(lambda m, x: x.mean()), [(1, 3, 4)]),
    "conv with string padding": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 4), padding="same"), nn.Conv2d(3, 2, 2, padding="valid")),
        [(1, 2, 5, 6)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_values(name: str) -> None:
    make, shapes = FORMS[name]
    compile_and_compare(make(), *shapes)


def test_import_of_a_decomposed_program() -> None:
    module = lively(nn.Sequential(conv(2, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)))
    x = torch.randn(1, 2, 4, 4)
    exported = frontend.trace(module, (x,))
    graph = passes.canonicalize(frontend.import_graph(exported, "net"))
    assert [n.op for n in graph.nodes if n.op != "reshape"] == ["conv2d", "linear"]
    want = module(x).detach().numpy()
    np.testing.assert_allclose(evaluate(graph, [x.numpy()])[0], want, rtol=1e-5, atol=1e-6)


def test_two_imports_are_alike() -> None:
    module = lively(nn.Sequential(conv(2, 4), nn.BatchNorm2d(4), nn.ReLU()))
    graphs = [passes.canonicalize(load(module, torch.ones(1, 2, 4, 4))) for _ in range(2)]
    assert graphs[0].dump() == graphs[1].dump()


def test_layers_of_the_suite_have_their_lines() -> None:
    from genn import suite

    module, x = suite.load("mnist-cnn")
    graph = passes.canonicalize(load(module, x))
    assert {n.source.file for n in graph.nodes} == {"mnist.py"}
    assert [n.name for n in graph.nodes] == ["conv1", "conv2", "flatten_reshape", "fc1", "fc2"]  # pools are fused
