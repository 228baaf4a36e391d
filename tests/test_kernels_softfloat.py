"""float32 without an FPU: our multiply-accumulate against IEEE arithmetic, in C on the host and in the emulator."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

from genn import paths
from genn.emulate import emulate
from genn.reference import run
from genn.target import load_target
from tests.harness import subject

SOURCE = """
#include "genn_softfloat.h"

/* The number of the first row whose bits differ from the compiler's arithmetic, -1 if there is none. */
int32_t first_difference(const float *x, const float *w, const float *acc, int32_t n, int32_t rows)
{
    for (int32_t r = 0; r < rows; r++, x += n, w += n) {
        float want = acc[r];
        const float got = genn_soft_dot(x, w, n, 1, acc[r]);
        for (int32_t i = 0; i < n; i++)
            want = want + w[i] * x[i];
        if (genn_soft_bits(got) != genn_soft_bits(want) && (got == got || want == want))
            return r;
    }
    return -1;
}
"""
RANGES = [(120, 134), (125, 129), (100, 150), (0, 254), (0, 3), (60, 70), (186, 194), (250, 254)]


def _floats(rng: np.random.Generator, shape: tuple[int, ...], exponents: tuple[int, int]) -> np.ndarray:
    """Finite float32 with mantissas that are often all zeros, all ones or end in zeros."""
    mantissa = rng.integers(0, 1 << 23, shape)
    short = mantissa & ~((1 << rng.integers(0, 23, shape)) - 1)
    kind = rng.integers(0, 5, shape)
    mantissa = np.select(
        [kind == 0, kind == 1, kind == 2], [0 * mantissa, 0 * mantissa + (1 << 23) - 1, short], mantissa
    )
    exponent = rng.integers(exponents[0], exponents[1] + 1, shape)
    return ((rng.integers(0, 2, shape) << 31) | (exponent << 23) | mantissa).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("split", [False, True], ids=["64-bit product", "32-bit products"])
def test_every_kind_of_number(split, tmp_path):
    """Random operands of all magnitudes, ties, cancellation, subnormals, zeros of both signs, overflow."""
    (tmp_path / "soft.c").write_text(SOURCE)
    define = ["-D__ARM_ARCH_6M__"] if split else []  # the product as ARMv6-M makes it; the rest is the same C
    command = ["cc", "-std=c99", "-O1", "-ffp-contract=off", "-shared", "-fPIC", *define, f"-I{paths.kernels_dir()}"]
    subprocess.run([*command, "soft.c", "-o", "soft.so"], cwd=tmp_path, check=True)
    function = ctypes.CDLL(str(tmp_path / "soft.so")).first_difference
    rng = np.random.default_rng(8)

    def check(x: np.ndarray, w: np.ndarray, acc: np.ndarray) -> None:
        acc = np.where(acc == 0, np.float32(0), acc)  # a sum is never -0
        row = function(*(a.ctypes.data_as(ctypes.c_void_p) for a in (x, w, acc)), x.shape[1], len(x))
        assert row == -1, (x[row], w[row], acc[row])

    for exponents in RANGES:
        for n in (1, 2, 3, 9):
            x, acc = _floats(rng, (40_000, n), exponents), _floats(rng, (40_000,), exponents)
            x[rng.random(x.shape) < 0.1] *= np.float32(0)
            for weights in ((110, 140), exponents):
                check(x, _floats(rng, x.shape, weights), acc)
            if n == 2:  # the second product takes back the first, all of it or but for the last bit
                w = _floats(rng, x.shape, (110, 140))
                x[:, 1] = x[:, 0]
                for back in (w[:, 0], np.nextafter(w[:, 0], np.float32(0)), np.nextafter(w[:, 0], np.float32(9))):
                    w[:, 1] = -back
                    check(x, w, np.zeros_like(acc))


@pytest.mark.parametrize("core", ["cortex-m0plus", "stm32f103"])
def test_in_the_emulator(core, tmp_path):
    """The loop by hand of ARMv6-M: the same kinds of numbers, dense and sparse, byte for byte as the reference."""
    rng = np.random.default_rng(9)
    layer = nn.Linear(11, 64)
    weights = np.concatenate([_floats(rng, (8, 11), e) for e in ((110, 140), (125, 129), (0, 140), (100, 150)) * 2])
    weights[rng.random(weights.shape) < 0.2] = 0
    layer.weight.data = torch.from_numpy(weights)
    layer.bias.data = torch.from_numpy(_floats(rng, (64,), (0, 150)))
    s = subject(layer, [(1, 11)])
    x = np.concatenate([_floats(rng, (12, 1, 11), e) for e in RANGES[:-2]])
    x[rng.random(x.shape) < 0.2] *= np.float32(0)
    x[0, 0, 1:] = np.float32(2**-126) * np.float32(0.75)
    for mode in ("never", "always"):
        model = s.model("float32", "net", target=core, sparse=mode)
        model.save(tmp_path / mode)
        name, out = model.graph.inputs[0], model.graph.outputs[0]
        want = run(model.graph, {name: x})[out]
        usual = np.isfinite(want)
        got = emulate(tmp_path / mode, load_target(core), [x]).outputs[0]
        assert np.array_equal(got[usual].view(np.uint32), want[usual].view(np.uint32))
        assert not np.isfinite(got[~usual]).any()
        assert usual.mean() > 0.3


def test_depthwise_in_the_emulator(tmp_path):
    """Windows of more taps than are brought together at once, partly outside the input; usual and unusual numbers."""
    rng = np.random.default_rng(10)
    layer = nn.Conv2d(4, 4, 5, padding=2, groups=4)
    weights = np.concatenate([_floats(rng, (1, 1, 5, 5), e) for e in ((110, 140), (125, 129), (0, 140), (100, 150))])
    weights[rng.random(weights.shape) < 0.2] = 0
    layer.weight.data = torch.from_numpy(weights)
    layer.bias.data = torch.from_numpy(_floats(rng, (4,), (0, 150)))
    model = subject(layer, [(1, 4, 3, 4)]).model("float32", "net", target="cortex-m0plus")
    name, out = model.graph.inputs[0], model.graph.outputs[0]
    x = np.concatenate([_floats(rng, (3, *model.graph[name].shape), e) for e in RANGES[:-2]])
    x[rng.random(x.shape) < 0.2] *= np.float32(0)
    model.save(tmp_path / "net")
    want = run(model.graph, {name: x})[out]
    got = emulate(tmp_path / "net", load_target("cortex-m0plus"), [x]).outputs[0]
    usual = np.isfinite(want)
    assert np.array_equal(got[usual].view(np.uint32), want[usual].view(np.uint32))
    assert not np.isfinite(got[~usual]).any()
    assert usual.mean() > 0.3


def test_cycles_of_depthwise():
    torch.manual_seed(0)
    model = subject(nn.Conv2d(8, 8, 3, groups=8), [(1, 8, 5, 5)]).model("float32", "net", target="cortex-m0plus")
    assert model.emulate("cortex-m0plus").data["cycles"] <= 150 * 8 * 9 * 9


@pytest.mark.parametrize(("core", "limit"), [("cortex-m0plus", 110), ("stm32f103", 90)])
def test_cycles(core, limit):
    """Cycles a multiply-accumulate of usual numbers."""
    torch.manual_seed(0)
    model = subject(nn.Linear(256, 8), [(1, 256)]).model("float32", "net", target=core)
    assert model.emulate(core).data["cycles"] <= limit * 256 * 8
