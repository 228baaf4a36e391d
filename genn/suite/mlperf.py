"""MLPerf Tiny's four networks, layer for layer as the reference models have them, so that the field's yardstick fits.

The weights are those of the benchmark's trained reference models (mlcommons/tiny, Apache-2.0), taken from the
``.tflite`` files by ``bench/mlperf_weights.py``; batch normalisation is already folded there.  Padding is TensorFlow's
SAME: where it is odd in all, the larger part lies at the end.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of ``size`` so that ceil(size / stride) windows of ``kernel`` fit (TensorFlow)."""
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + kernel - size)
    return total // 2, total - total // 2


class ConvSame(nn.Module):
    """A convolution with SAME padding for one input size: (N, inputs, H, W) to (N, outputs, ceil(H/s), ceil(W/s))."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], size: tuple[int, int], stride: int = 1,
                 groups: int = 1) -> None:
        super().__init__()
        rows, cols = same(size[0], kernel[0], stride), same(size[1], kernel[1], stride)
        self.pad = nn.ZeroPad2d((*cols, *rows))
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)
        self.size = -(-size[0] // stride), -(-size[1] // stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.pad(x))


class Separable(nn.Sequential):
    """Depthwise 3x3 and pointwise 1x1, each with ReLU."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int = 1) -> None:
        depthwise = ConvSame(inputs, inputs, (3, 3), size, stride, groups=inputs)
        super().__init__(depthwise, nn.ReLU(), nn.Conv2d(inputs, outputs, 1), nn.ReLU())
        self.size = depthwise.size


class Residual(nn.Module):
    """Two 3x3 convolutions around which the input is added, through a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.conv1 = ConvSame(inputs, outputs, (3, 3), size, stride)
        self.relu1 = nn.ReLU()
        self.conv2 = ConvSame(outputs, outputs, (3, 3), self.conv1.size)
        self.shortcut = ConvSame(inputs, outputs, (1, 1), size, stride) if stride != 1 else None
        self.relu2 = nn.ReLU()
        self.size = self.conv1.size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.relu1(self.conv1(x)))
        return self.relu2((x if self.shortcut is None else self.shortcut(x)) + y)


def mlperf_kws() -> nn.Module:
    """Keyword spotting, DS-CNN: MFCC (N, 1, 49, 10) to 12 probabilities; 2,656,768 MACs."""
    first = ConvSame(1, 64, (10, 4), (49, 10), stride=2)
    blocks = [Separable(64, 64, first.size) for _ in range(4)]
    tail = [nn.AvgPool2d(first.size), nn.Flatten(), nn.Linear(64, 12), nn.Softmax(1)]
    return nn.Sequential(first, nn.ReLU(), *blocks, *tail)


def mlperf_ic() -> nn.Module:
    """Image classification, ResNet-8: pixels 0..255 (N, 3, 32, 32) to 10 probabilities; 12,501,632 MACs."""
    first = ConvSame(3, 16, (3, 3), (32, 32))
    blocks = [Residual(16, 16, (32, 32), 1), Residual(16, 32, (32, 32), 2), Residual(32, 64, (16, 16), 2)]
    return nn.Sequential(first, nn.ReLU(), *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))


def mlperf_vww() -> nn.Module:
    """Visual wake words, MobileNetV1 0.25: pixels / 255 (N, 3, 96, 96) to 2 probabilities; 7,489,664 MACs."""
    last: ConvSame | Separable = ConvSame(3, 8, (3, 3), (96, 96), stride=2)
    layers: list[nn.Module] = [last, nn.ReLU()]
    channels = 8
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        last = Separable(channels, outputs, last.size, stride)
        layers.append(last)
        channels = outputs
    return nn.Sequential(*layers, nn.AvgPool2d(last.size), nn.Flatten(), nn.Linear(256, 2), nn.Softmax(1))


def mlperf_ad() -> nn.Module:
    """Anomaly detection, autoencoder: 5 frames of 128 log-mel bands (N, 640) to their reconstruction; 264,192 MACs."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 640))
