"""Networks whose memory plans are published, as running code: at the sizes that microcontrollers run.

``RUNNING``: name -> how to make the network, and the shape of its input.  Weights are drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.zoo_vision import Cell, InvertedResidual, conv_bn, mobilenet_v1

Shape = tuple[int, ...]


class MobileNetV1(nn.Sequential):
    def __init__(self, width: float = 0.25, classes: int = 10) -> None:
        c = int(1024 * width)
        super().__init__(mobilenet_v1(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


def eighths(c: float) -> int:
    """The nearest multiple of 8 that is no less than nine tenths, as MobileNetV2 rounds its channels."""
    n = max(8, int(c + 4) // 8 * 8)
    return n + 8 if n < 0.9 * c else n


class MobileNetV2(nn.Module):
    def __init__(self, width: float = 0.35, classes: int = 10) -> None:
        super().__init__()
        rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
        c = eighths(32 * width)
        layers: list[nn.Module] = [conv_bn(3, c, 3, 2)]
        for t, full, n, s in (*rows, (6, 320, 1, 1)):
            o = eighths(full * width)
            for i in range(n):
                layers.append(InvertedResidual(c, o, s if i == 0 else 1, t, 1))
                c = o
        self.features = nn.Sequential(*layers, conv_bn(c, 1280, 1))
        self.head = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean([2, 3]))


class Fire(nn.Module):
    def __init__(self, i: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(i, squeezed, 1), nn.ReLU())
        self.one = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


class SqueezeNet(nn.Sequential):
    """1.1, whole."""

    def __init__(self, classes: int = 10) -> None:
        def pool() -> nn.Module:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        super().__init__(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128),
            Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
            nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class DenseBlock(nn.Module):
    """Six layers of DenseNet-121 at a quarter of its growth, and the transition after them."""

    def __init__(self, c: int = 16, growth: int = 8, layers: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for i in range(layers):
            wide = c + i * growth
            first = nn.Sequential(nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, 4 * growth, 1, bias=False))
            second = nn.Sequential(nn.BatchNorm2d(4 * growth), nn.ReLU())
            second.append(nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False))
            self.layers.append(nn.Sequential(first, second))
        end = c + layers * growth
        self.transition = nn.Sequential(nn.BatchNorm2d(end), nn.ReLU(), nn.Conv2d(end, end // 2, 1), nn.AvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, 1)))
        return self.transition(torch.cat(seen, 1))


class InceptionBlock(nn.Module):
    """Inception 3a of GoogLeNet at a quarter of its width."""

    def __init__(self, c: int = 48) -> None:
        super().__init__()
        self.one = conv_bn(c, 16, 1, act=nn.ReLU)
        self.three = nn.Sequential(conv_bn(c, 24, 1, act=nn.ReLU), conv_bn(24, 32, 3, act=nn.ReLU))
        self.five = nn.Sequential(conv_bn(c, 4, 1, act=nn.ReLU), conv_bn(4, 8, 5, act=nn.ReLU))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(c, 8, 1, act=nn.ReLU))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


class NASNetCell(nn.Module):
    """A normal NASNet-A cell on the maps of the two cells before it."""

    def __init__(self, c: int = 12) -> None:
        super().__init__()
        self.before, self.last = conv_bn(3, c, 3, act=None), conv_bn(3, 2 * c, 3, act=None)
        self.cell = Cell(c, 2 * c, c, False, False, False)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(self.last(x), self.before(x))


LENET = nn.Sequential(
    nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2, 2),
    nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
)  # fmt: skip
CIFAR = nn.Sequential(
    nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(32, 16, 5, padding=2), nn.ReLU(),
    nn.MaxPool2d(2, 2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Flatten(),
    nn.Linear(512, 10),
)  # fmt: skip

RUNNING: dict[str, tuple[Callable[[], nn.Module], Shape]] = {
    "MobileNetV1-0.25": (MobileNetV1, (1, 3, 96, 96)),
    "MobileNetV2-0.35": (MobileNetV2, (1, 3, 96, 96)),
    "SqueezeNet 1.1": (SqueezeNet, (1, 3, 48, 48)),
    "DenseNet block": (DenseBlock, (1, 16, 16, 16)),
    "Inception block": (InceptionBlock, (1, 48, 14, 14)),
    "NASNet cell": (NASNetCell, (1, 3, 14, 14)),
    "LeNet-5": (lambda: LENET, (1, 1, 32, 32)),
    "CIFAR network": (lambda: CIFAR, (1, 3, 32, 32)),
}
