"""What the operators of vision networks promise beyond their samples: torch's own places and orders, and the bounds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import genn
from genn import numerics
from genn.errors import ModelError
from genn.ops import registry, transposed, upsample
from tests.networks import Fn, compile_and_compare, conv, ops

SIZES = (1, 2, 3, 5, 8, 13, 31)
OUTS = (1, 2, 3, 6, 7, 16, 33, 62, 100)
SCALES = (0.37, 0.5, 1.3, 1.5, 2.0, 2.3, 3.0, 7.7)


def axes() -> list[tuple[int, int, float | None]]:
    """(size, output size, the user's scale factor) for sizes and for scales given."""
    given = [(n, int(n * s), s) for n, s in itertools.product(SIZES, SCALES) if int(n * s)]
    return [*((n, o, None) for n, o in itertools.product(SIZES, OUTS)), *given]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_takes_torchs_pixels(mode: str) -> None:
    op, short = registry["upsample_nearest"], mode.split("-")[-1]
    for size, out, scale in axes():
        ramp = torch.arange(float(size))[None, None]
        size_or_scale = {"size": out} if scale is None else {"scale_factor": scale}
        want = F.interpolate(ramp, mode=mode, **size_or_scale).numpy()[0, 0]  # torch has other rules for channels_last
        attrs = upsample.Attrs((1, out), (1.0, upsample.step_of(size, out, scale, short)), short)
        got = op.ref_f(attrs, np.arange(size, dtype=np.float32).reshape(1, 1, 1, size, 1)).ravel()
        assert np.array_equal(got, want), (size, out, scale)


@pytest.mark.parametrize("corners", [False, True])
def test_linear_takes_torchs_shares(corners: bool) -> None:
    op, mode = registry["upsample_bilinear"], "corners" if corners else "centers"
    for size, out, scale in axes():
        basis = torch.eye(size)[None]  # each channel one pixel: the result is what each takes of it
        size_or_scale = {"size": out} if scale is None else {"scale_factor": scale}
        want = F.interpolate(basis, mode="linear", align_corners=corners, **size_or_scale).numpy()[0]
        attrs = upsample.Attrs((1, out), (1.0, upsample.step_of(size, out, scale, mode)), mode)
        got = op.ref_f(attrs, np.eye(size, dtype=np.float32).reshape(1, 1, 1, size, size))[0, 0, 0].T
        assert np.abs(got - want).max() <= 2e-7 * size + 1e-7, (size, out, scale)  # a position has 24 bits


def test_a_blend_stays_between_its_ends_and_inside_32_bits() -> None:
    rng = np.random.default_rng(0)
    ends = np.array([-32768, -32767, -1, 0, 1, 32766, 32767])
    a, b = (np.concatenate([x.ravel(), rng.integers(-32768, 32768, 5000)]) for x in np.meshgrid(ends, ends))
    for weight in (0, 1, 16384, 32767, 32768):
        exact = a * (32768 - weight) + b * weight + (1 << 14)
        y = numerics.blend(a, b, np.array(weight), numerics.BLEND_BITS)
        assert np.abs(exact).max() < 1 << 31
        assert np.all((np.minimum(a, b) <= y) & (y <= np.maximum(a, b)))
    assert np.array_equal(numerics.blend_weight(np.array([0.0, 0.25, 1.0])), [0, 8192, 32768])


def test_the_table_of_a_transposed_convolution_holds_every_tap_once() -> None:
    few = (1, 2, 3)
    for size, taps, stride, dilation, pad in itertools.product((1, 2, 5), (1, 2, 3, 4), few, few, (-1, 0, 2)):
        out = (size - 1) * stride + dilation * (taps - 1) + 1 - 2 * pad
        if out < 1:
            continue
        axis = transposed.Axis(size, out, taps, stride, dilation, pad)
        (step, back), found = axis.steps(), set()
        for o, (tap, count, i) in enumerate(axis.table().tolist()):
            found |= {(o, tap + n * step, i - n * back) for n in range(count)}
        want = {(i * stride + k * dilation - pad, k, i) for i in range(size) for k in range(taps)}
        assert found == {(o, k, i) for o, k, i in want if 0 <= o < out}, axis


def test_what_is_padded_and_cut_again_is_one_step() -> None:
    module = Fn(lambda m, x: F.pad(m.c(x), (0, 1, 0, 1))[:, :, 1:, 1:] * 2, c=conv(2, 3))
    shifted = compile_and_compare(module, (1, 2, 6, 6))
    assert [n.attrs.pads for n in shifted.nodes if n.op == "pad"] == [((0, 0), (-1, 1), (-1, 1), (0, 0))]
    back = compile_and_compare(Fn(lambda m, x: F.pad(x, (2, 3))[..., 2:-3] * 2), (1, 2, 6))
    assert ops(back) == ["mul"]
    compile_and_compare(Fn(lambda m, x: F.pad(x * 2, (2, 3))[..., :1]), (1, 2, 6))  # padding alone
    compile_and_compare(Fn(lambda m, x: F.pad(x * 2, (2, 3))[..., ::2]), (1, 2, 6))


def test_pixels_cut_off_behind_a_separable_layer_are_not_computed() -> None:
    depthwise = torch.nn.Conv2d(3, 3, 5, 2, 2, groups=3)
    module = Fn(lambda m, x: m.p(m.d(F.pad(x, (1, 0, 1, 0))))[:, :, 1:, 1:], d=depthwise, p=torch.nn.Conv2d(3, 4, 1))
    graph = compile_and_compare(module, (1, 3, 8, 8))
    assert ops(graph) == ["conv2d", "conv2d"] and [n.attrs.pad for n in graph.nodes] == [(1, 2, 1, 2), (0, 0, 0, 0)]
    few = compile_and_compare(Fn(lambda m, x: m.p(x)[:, 1:3, ::2], p=torch.nn.Conv2d(3, 4, 1)), (1, 3, 8, 8))
    assert ops(few) == ["conv2d", "slice"]  # channels stay: they are cut after


def same_pool(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """As TensorFlow's "same": the odd row and column of padding behind."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), kernel, stride)


@pytest.mark.parametrize("scheme", ["float32", "int16", "int8"])
def test_infinite_padding_belongs_to_the_pools(scheme: str) -> None:
    def forward(m: Fn, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([same_pool(m.c(x), 2, 1).flatten(1), same_pool(x - 9, 3, 2).flatten(1)], 1)

    graph = compile_and_compare(Fn(forward, c=conv(2, 3)), (1, 2, 6, 6))
    assert sorted(n.attrs.pad for n in graph.nodes if n.op == "max_pool2d") == [(0, 0, 1, 1)] * 2
    x = np.random.default_rng(0).standard_normal((3, 1, 2, 6, 6)).astype(np.float32)
    genn.convert(Fn(forward, c=conv(2, 3)), torch.ones(1, 2, 6, 6), scheme, x)


@pytest.mark.parametrize("value, then", [(float("inf"), lambda y: F.max_pool2d(y, 2)), (float("-inf"), torch.relu)])
def test_infinite_padding_elsewhere_is_refused(value: float, then: Any) -> None:
    with pytest.raises(ModelError, match=r"padding with -?inf is supported only"):
        genn.convert(Fn(lambda m, x: then(F.pad(x, (0, 1), value=value))), torch.ones(1, 2, 6, 6))


def test_int8_sums_that_would_overflow_are_refused() -> None:
    rng = np.random.default_rng(0)
    layer = torch.nn.ConvTranspose2d(70000, 1, 1, bias=False)
    layer.weight.data.fill_(1.0)[::2] = -1.0
    x = np.abs(rng.standard_normal((1, 1, 70000, 1, 1))).astype(np.float32)
    with pytest.raises(ModelError, match=r"70000 products an output do not fit 32 bits"):
        genn.convert(layer, torch.ones(1, 70000, 1, 1), "int8", x)
