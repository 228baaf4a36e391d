"""Quantization's decisions: ranges, bits, splitting along K, sparse storage, degenerate weights; each exact in C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genn import quantize, reference
from genn.errors import ModelError, UsageError
from genn.ir import SCHEMES
from genn.numerics import INT32_MAX
from genn.ops.base import Stats
from tests import harness
from tests.networks import Fn


def equal_on_host(subjects: list[harness.Subject], scheme: str, folder: Path, **options) -> list:
    models = [s.model(scheme, f"n{i}", **options) for i, s in enumerate(subjects)]
    assert harness.host_differences(models, subjects, folder) == []
    return models


@pytest.mark.parametrize("lo, hi", [(0.0, 5.0), (-3.0, 1.0), (-1e-9, 0.0), (0.0, 0.0), (2.0, 3.0), (-7.0, -6.0)])
def test_int8_range_holds_zero_and_what_was_seen(lo: float, hi: float) -> None:
    q = quantize.choose_qparams(Stats(lo, hi, 1.0), "int8")
    assert q.dequantize(np.array([q.zero_point]))[0] == 0.0
    for value in (lo, hi):
        assert abs(q.dequantize(q.quantize(np.array([value])))[0] - value) <= 1.001 * q.scale


@pytest.mark.parametrize("peak", [1e-6, 0.3, 1.0, 100.0, 32768.0])
def test_int16_scale_is_a_power_of_two_that_covers(peak: float) -> None:
    q = quantize.choose_qparams(Stats(-peak, peak, 1.0), "int16")
    assert q.scale == 2.0**-q.shift and q.zero_point == 0
    assert peak / q.scale <= q.qmax + 1 <= 2.01 * max(peak / q.scale, 1)


def test_bounded_functions_use_the_range_that_is_used() -> None:
    for function, shift, step in ((torch.tanh, 0.0, 1 / 128), (torch.sigmoid, 6.0, 1 / 256)):
        near = harness.subject(Fn(lambda m, x, f=function, c=shift: f(0.01 * x - c)), [(1, 90)])
        assert harness.sqnr(near.model("int8", "n0"), near) > 35
        assert harness.sqnr(near.model("int16", "n0"), near) > 75
        far = harness.subject(Fn(lambda m, x, f=function: f(x)), [(1, 90)]).model("int8", "n0").graph
        assert far[far.outputs[0]].q.scale == step


def test_a_refusal_while_generating_names_the_place() -> None:
    s = harness.subject(Fn(lambda m, x: x.view((2,) * 7).permute(6, 5, 4, 3, 2, 1, 0).reshape(1, -1) + x), [(1, 128)])
    with pytest.raises(ModelError, match=r"networks\.py:\d+: the access pattern needs 7 nested loops"):
        s.model("float32", "n0")


def test_every_accumulator_is_proven(tmp_path: Path) -> None:
    torch.manual_seed(0)
    s = harness.subject(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)), [(1, 3, 8, 8)]
    )
    for scheme in ("int16", "int8"):
        m = s.model(scheme, "n0")
        for node in m.graph.nodes:
            if node.op in ("linear", "conv2d"):
                assert 0 < node.quant["bound"] <= INT32_MAX
        table = m.report(verbose=True).tables[1]
        assert [r[5] for r in table.rows] == [n.quant["bound"] for n in m.graph.nodes if n.op != "reshape"]


def split_subjects() -> list[harness.Subject]:
    torch.manual_seed(1)
    wide = nn.Linear(60_000, 3)
    wide.weight.data = torch.rand(3, 60_000) * 0.9 + 0.1  # no small sums to help
    conv = nn.Conv2d(9000, 2, 3, padding=1)
    conv.weight.data = torch.rand(2, 9000, 3, 3) * 0.9 + 0.1
    return [harness.subject(wide, [(1, 60_000)], "linear"), harness.subject(conv, [(1, 9000, 2, 2)], "conv")]


def test_a_layer_without_weight_bits_is_split_along_k(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    subjects = split_subjects()
    models = equal_on_host(subjects, "int16", tmp_path / "host")
    for m, s in zip(models, subjects, strict=True):
        (node,) = (n for n in m.graph.nodes if n.op in ("linear", "conv2d"))
        assert node.quant["split"] and node.quant["bits"] >= 9 and node.quant["bound"] <= INT32_MAX
        assert not node.quant["sparse"]
        assert harness.sqnr(m, s) > 40
    assert harness.emulated_differences(models, subjects, tmp_path / "emu", "cortex-m0plus") == []


def test_split_layers_run_clean_under_the_sanitizers(tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    from genn.host import HostProcess

    s = split_subjects()[1]
    m = s.model("int16", "net")
    stored = s.stored(m)
    extreme = {
        n: np.where(np.arange(x.size).reshape(x.shape) % 2, m.graph[n].q.qmin, m.graph[n].q.qmax).astype(x.dtype)
        for n, x in stored.items()
    }
    host = HostProcess(m.save(tmp_path / "net").result, sanitize=True)
    for given in (stored, extreme):
        made, want = host.run(given).outputs, reference.run(m.graph, given)
        assert all(np.array_equal(made[n], want[n]) for n in want)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sparse_storage_is_chosen_where_worthwhile(scheme: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    subjects, expected = [], []
    for density in (0.0, 0.02, 0.1, 0.2, 0.6, 1.0):
        layer = nn.Linear(700, 16)
        layer.weight.data *= torch.rand(16, 700) < density
        subjects.append(harness.subject(layer, [(1, 700)], f"density {density}"))
        expected.append(density <= 0.2)
    models = equal_on_host(subjects, scheme, tmp_path / "auto")
    assert [m.graph.nodes[0].quant["sparse"] for m in models] == expected
    for mode, want in (("always", True), ("never", False)):
        models = equal_on_host(subjects, scheme, tmp_path / mode, sparse=mode)
        assert {m.graph.nodes[0].quant["sparse"] for m in models} == {want}
    small, dense = (subjects[2].model(scheme, "net", sparse=mode) for mode in ("auto", "never"))
    assert small.manifest["layers"][0]["weight_bytes"] < 0.5 * dense.manifest["layers"][0]["weight_bytes"]


def test_dense_and_sparse_mean_the_same(tmp_path: Path) -> None:
    torch.manual_seed(3)
    layer = nn.Conv2d(5, 6, 3, padding=1)
    layer.weight.data *= torch.rand(layer.weight.shape) < 0.2
    s = harness.subject(layer, [(1, 5, 6, 6)])
    for scheme in SCHEMES:
        a, b = (
            reference.run(m.graph, s.stored(m))
            for m in (s.model(scheme, "n", sparse=mode) for mode in ("always", "never"))
        )
        assert all(a[n].tobytes() == b[n].tobytes() for n in a)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_degenerate_weights(scheme: str, tmp_path: Path) -> None:
    """All-zero channels and layers, tiny and huge weights, a bias alone, an output that never moves."""
    torch.manual_seed(4)
    subjects = []
    for change in ("zero channel", "all zero", "tiny", "huge", "bias only", "one tiny channel", "constant"):
        layer = nn.Linear(20, 5)
        if change == "zero channel":
            layer.weight.data[2] = 0
        elif change == "all zero":
            layer.weight.data.zero_()
            layer.bias.data.zero_()
        elif change == "tiny":
            layer.weight.data *= 1e-9
        elif change == "huge":
            layer.weight.data *= 1e6
        elif change == "bias only":
            layer.weight.data.zero_()
        elif change == "one tiny channel":
            layer.weight.data[1] *= 1e-6
        net: nn.Module = nn.Sequential(layer, nn.Hardtanh(0.0, 1e-3)) if change == "constant" else layer
        subjects.append(harness.subject(net, [(1, 20)], change))
    models = equal_on_host(subjects, scheme, tmp_path / "many")
    for m, s in zip(models, subjects, strict=True):
        if s.label != "constant":
            assert harness.sqnr(m, s) > 25, s.label


def test_calibration_is_checked() -> None:
    s = harness.subject(nn.Linear(3, 2), [(1, 3)])
    with pytest.raises(UsageError, match="needs calibration"):
        quantize.quantize(s.graph, "int8")
    with pytest.raises(UsageError, match="scheme"):
        quantize.quantize(s.graph, "int4")
    huge = {n: np.full_like(x, 3e38) for n, x in s.inputs.items()}
    s.graph[s.graph.nodes[0].inputs[1]].const = np.full((2, 3), 10, np.float32)
    with pytest.raises(ModelError, match="NaN or infinity"):
        quantize.quantize(s.graph, "int8", huge)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing")
def test_gcc_does_not_fuse_multiply_and_add(tmp_path: Path) -> None:
    """The smallest case of a bug: GCC 12's vectorizer makes vfmaddsub where constants of mixed signs are added."""
    torch.manual_seed(21)
    layer = nn.Conv1d(3, 4, 3, stride=2, padding=1)
    layer.bias.data = torch.tensor([-0.1, 0.2, -0.3, 0.4])
    s = harness.subject(layer, [(1, 3, 11)])
    m = s.model("float32", "net")
    folder = m.save(tmp_path / "net").result
    for flags in (["-O3"], ["-O3", "-march=native"], ["-O2", "-mfma"], ["-O3", "-mavx512f", "-mfma"]):
        done = subprocess.run(
            ["gcc", *flags, "-S", folder / "net.c", "-o", tmp_path / "net.s"], capture_output=True, text=True
        )
        if done.returncode == 0:  # not every machine is an x86
            assert "vfm" not in (tmp_path / "net.s").read_text(), flags
    equal_on_host([s], "float32", tmp_path / "host")


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is missing")
def test_gcc_does_not_mask_taps_in_the_padding(tmp_path: Path) -> None:
    """The smallest case of a bug: with AVX-512, GCC 12 vectorizes over the pixels of a row and gets sums wrong."""
    torch.manual_seed(2)
    s = harness.subject(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(7, 4, 1, bias=False)), [(1, 7, 1, 6)])
    (m,) = equal_on_host([s], "int16", tmp_path / "host")
    folder = m.save(tmp_path / "net").result
    flags = ["-O3", "-mavx512f", "-mavx512bw", "-mavx512vl"]
    done = subprocess.run(
        ["gcc", *flags, "-S", folder / "n0.c", "-o", tmp_path / "n0.s"], capture_output=True, text=True
    )
    if done.returncode == 0:  # not every machine is an x86
        assert "%k" not in (tmp_path / "n0.s").read_text(), "a vector with a mask"
