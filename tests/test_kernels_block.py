"""Block floating point: one exact rounding, the reference's bytes on every engine, error, cycles, refusals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from genn import reference
from genn.errors import UsageError
from genn.ops import block
from tests.harness import Subject, emulated_differences, host_differences, once, subject

CORES = ("generic-m4", "cortex-m0plus")


def _rounded(value: Fraction) -> np.float32:
    """The nearest float32, ties to even, from the definition."""
    if value == 0:
        return np.float32(0)
    size = abs(value)
    e = size.numerator.bit_length() - size.denominator.bit_length()
    e = max(e - (Fraction(2) ** e > size), -126)
    n = round(size / Fraction(2) ** (e - 23))  # Python rounds half to even
    big = Fraction(n) * Fraction(2) ** (e - 23)
    return np.float32(np.copysign(np.inf if big >= 2**128 else float(big), -1 if value < 0 else 1))


def test_one_rounding_of_the_exact_sum():
    rng = np.random.default_rng(2)
    n = 6000
    acc = (rng.integers(0, 1 << 60, n) >> rng.integers(0, 60, n)) * rng.choice([-1, 1], n)
    acc = np.where(rng.random(n) < 0.3, acc & ~((1 << rng.integers(0, 58, n)) - 1), acc)
    e = rng.integers(-230, 70, n)
    bits = (rng.integers(0, 2, n) << 31) | (rng.integers(0, 255, n) << 23) | rng.integers(0, 1 << 23, n)
    bias = bits.astype(np.uint32).view(np.float32)
    exact = [Fraction(int(a)) * Fraction(2) ** int(x) for a, x in zip(acc, e, strict=True)]
    for i in range(n // 2):  # the bias takes the sum back, wholly or but for its last bit
        near = _rounded(exact[i])
        if np.isfinite(near):
            bias[i] = -near if i % 2 else -np.nextafter(near, np.float32(0))
    bias = np.where(bias == 0, np.float32(0), bias)
    got = block.round_sum(acc, e, bias)
    want = [_rounded(a + Fraction(float(b))) for a, b in zip(exact, bias, strict=True)]
    assert np.array_equal(got, np.array(want, np.float32))


def _scaled(layer: nn.Module, power: int) -> nn.Module:
    """Rows of very different size, and biases that cancel them."""
    layer.weight.data *= torch.pow(2.0, torch.arange(len(layer.weight)).float() * power)[:, None]
    return layer


def _subjects() -> list[Subject]:
    torch.manual_seed(21)
    cases: list[tuple[nn.Module, tuple[int, ...]]] = [
        (nn.Linear(1, 1), (1, 1)),
        (nn.Linear(300, 7), (1, 300)),
        (nn.Sequential(_scaled(nn.Linear(65, 9), 9), nn.ReLU()), (3, 65)),
        (_scaled(nn.Linear(33, 8), -15), (1, 33)),
        (nn.Linear(3000, 2), (1, 3000)),
        (nn.Conv2d(5, 6, 3, padding=1, stride=2), (1, 5, 7, 6)),
        (nn.Conv2d(4, 6, (3, 2), groups=2, dilation=2, padding=2), (1, 4, 6, 7)),
        (nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU6(), nn.MaxPool2d(2)), (1, 3, 9, 8)),
        (nn.Sequential(nn.Conv1d(7, 3, 5), nn.MaxPool1d(3)), (1, 7, 20)),
    ]
    return [subject(module, [shape], str(module), seed) for seed, (module, shape) in enumerate(cases)]


def test_every_engine_agrees(tmp_path, monkeypatch):
    """Every layer in the mode, whatever its error: what C computes is what the reference says."""
    subjects = once("kernels-block", _subjects)
    monkeypatch.setattr(block, "accurate", lambda block_rms, float_rms: True)
    goals = ("ram", "balanced", "flash")  # with -O ram a layer in the mode has its workspace all the same
    models = [s.model("float32", f"t{i}", float_mode="block", optimize=goals[i % 3]) for i, s in enumerate(subjects)]
    for model, s in zip(models, subjects, strict=True):
        assert any(layer.kernel.endswith("-block-f32") for layer in model.project.layers), s.label
    assert not host_differences(models, subjects, tmp_path / "host")
    for core in CORES:
        assert not emulated_differences(models, subjects, tmp_path / core, core)


def test_inputs_of_every_size(tmp_path):
    """Subnormal, huge and zero inputs; sums that underflow and overflow."""
    from genn.emulate import emulate
    from genn.target import load_target

    torch.manual_seed(4)
    layer = nn.Linear(40, 12)
    layer.weight.data *= torch.pow(2.0, torch.arange(12).float() * 20 - 110).reshape(-1, 1)
    layer.bias.data[::2] = 0
    s = subject(layer, [(1, 40)])
    model = s.model("float32", "net", float_mode="block", target="cortex-m0plus")
    assert "block" in model.graph.nodes[0].quant
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal((1, 1, 40)) * 2.0**p for p in (-149, -140, -126, -60, 0, 60, 120)])
    x = np.concatenate([x, np.zeros((1, 1, 40))]).astype(np.float32)
    model.save(tmp_path / "out")
    want = reference.run(model.graph, {model.graph.inputs[0]: x})[model.graph.outputs[0]]
    got = emulate(tmp_path / "out", load_target("cortex-m0plus"), [x]).outputs[0]
    assert np.array_equal(got.view(np.uint32), want.view(np.uint32))
    assert np.isinf(want).any() and (want == 0).any()


def test_layers_that_would_lose_are_refused():
    """Inputs of very different sizes lose bits in the mode, so the layer stays sequential; the errors tell why."""
    torch.manual_seed(1)
    layer = nn.Linear(16, 4)
    layer.weight.data[:, 0] = 0
    s = subject(layer, [(1, 16)])
    s.inputs[s.graph.inputs[0]][..., 0] = 1e9
    q = s.model("float32", "net", float_mode="block").graph.nodes[0].quant
    assert "block" not in q and q["block_rms"] > q["float_rms"]
    s = once("kernels-block-wide", _wide)
    q = s.model("float32", "net", float_mode="block").graph.nodes[0].quant
    assert "block" in q and q["block_rms"] <= q["float_rms"] <= q["block_bound"]


def _wide() -> Subject:
    torch.manual_seed(1)
    return subject(nn.Linear(256, 16), [(1, 256)])


def test_errors_are_reported():
    model = once("kernels-block-wide", _wide).model("float32", "net", float_mode="block")
    table = next(t for t in model.report(verbose=True).tables if t.title.startswith("block floating point"))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["mode"] == "block" and row["input bits"] == 25
    assert 0 < row["RMS error in block mode"] <= row["RMS error of float32"] < row["largest error proven"]


def test_wrong_use_is_refused():
    s = once("kernels-block-wide", _wide)
    with pytest.raises(UsageError, match="int8"):
        s.model("int8", "net", float_mode="block")
    with pytest.raises(UsageError, match="float mode"):
        s.model("float32", "net", float_mode="fast")


@pytest.mark.parametrize(("core", "limit"), [("cortex-m0plus", 40), ("stm32f103", 24), ("mps2-an386", 20)])
def test_cycles(core, limit):
    """Cycles a multiply-accumulate, the conversion of the inputs and the last rounding included; the goal is 60."""
    model = once("kernels-block-wide", _wide).model("float32", "net", target=core, float_mode="block")
    assert model.emulate(core).data["cycles"] <= limit * 256 * 16
