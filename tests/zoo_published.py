"""The published networks on which the arena of generated C is measured, by structure; those of ``zoo_vision`` too.

``PUBLISHED`` has each at its published size; ``SMALL`` has networks and blocks of the same kinds that a host can run.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo_vision import VISION, InvertedResidual, NASNet, Shape, conv_bn, mobilenet_v1

Made = tuple[Callable[[], nn.Module], Shape]


def head(c: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes)]


def mobilenet_v2(width: float = 1.0, classes: int = 1000) -> nn.Sequential:
    def wide(c: int) -> int:
        near = max(8, int(c * width + 4) // 8 * 8)
        return near + 8 if near < 0.9 * c * width else near

    c = wide(32)
    layers: list[nn.Module] = [conv_bn(3, c, 3, 2)]
    plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, outs, count, stride in plan:
        for i in range(count):
            layers.append(InvertedResidual(c, wide(outs), stride if i == 0 else 1, expand, 1))
            c = wide(outs)
    return nn.Sequential(*layers, conv_bn(c, 1280, 1), *head(1280, classes))


class Separable(nn.Module):
    """MnasNet's block, with a kernel of its own."""

    def __init__(self, i: int, o: int, k: int, s: int, expand: int) -> None:
        super().__init__()
        h = i * expand
        self.body = nn.Sequential(conv_bn(i, h, 1), conv_bn(h, h, k, s, h), conv_bn(h, o, 1, act=None))
        self.skip = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skip else self.body(x)


def mnasnet() -> nn.Sequential:
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2), conv_bn(32, 32, 3, 1, 32), conv_bn(32, 16, 1, act=None)]
    c = 16
    plan = ((24, 3, 2, 3, 3), (40, 5, 2, 3, 3), (80, 5, 2, 6, 3), (96, 3, 1, 6, 2), (192, 5, 2, 6, 4))
    for o, k, s, expand, count in (*plan, (320, 3, 1, 6, 1)):
        for i in range(count):
            layers.append(Separable(c, o, k, s if i == 0 else 1, expand))
            c = o
    return nn.Sequential(*layers, conv_bn(c, 1280, 1), *head(1280, 1000))


class Fire(nn.Module):
    def __init__(self, c: int, squeeze: int, outs: int) -> None:
        super().__init__()
        self.squeeze, self.one = nn.Conv2d(c, squeeze, 1), nn.Conv2d(squeeze, outs, 1)
        self.three = nn.Conv2d(squeeze, outs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


def squeezenet(classes: int = 1000) -> nn.Sequential:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128),
        Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


class Inception(nn.Module):
    def __init__(self, c: int, a: int, b: tuple[int, int], d: tuple[int, int], e: int) -> None:
        super().__init__()
        self.a = conv_bn(c, a, 1, act=nn.ReLU)
        self.b = nn.Sequential(conv_bn(c, b[0], 1, act=nn.ReLU), conv_bn(b[0], b[1], 3, act=nn.ReLU))
        self.d = nn.Sequential(conv_bn(c, d[0], 1, act=nn.ReLU), conv_bn(d[0], d[1], 5, act=nn.ReLU))
        self.e = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(c, e, 1, act=nn.ReLU))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x), self.d(x), self.e(x)], 1)


def inception_v1() -> nn.Sequential:
    def pool(k: int = 3) -> nn.Module:
        return nn.MaxPool2d(k, 2, ceil_mode=True)

    return nn.Sequential(
        conv_bn(3, 64, 7, 2, act=nn.ReLU), pool(), conv_bn(64, 64, 1, act=nn.ReLU), conv_bn(64, 192, act=nn.ReLU),
        pool(), Inception(192, 64, (96, 128), (16, 32), 32), Inception(256, 128, (128, 192), (32, 96), 64),
        pool(), Inception(480, 192, (96, 208), (16, 48), 64), Inception(512, 160, (112, 224), (24, 64), 64),
        Inception(512, 128, (128, 256), (24, 64), 64), Inception(512, 112, (144, 288), (32, 64), 64),
        Inception(528, 256, (160, 320), (32, 128), 128), pool(2),
        Inception(832, 256, (160, 320), (32, 128), 128), Inception(832, 384, (192, 384), (48, 128), 128),
        *head(1024, 1000),
    )  # fmt: skip


class DenseBlock(nn.Module):
    """Each layer reads all features so far: scale, ReLU, 1x1, scale, ReLU, 3x3."""

    def __init__(self, c: int, growth: int, layers: int, wide: int = 4) -> None:
        super().__init__()
        inner = wide * growth
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c + i * growth), nn.ReLU(), conv_bn(c + i * growth, inner, 1, act=nn.ReLU),
                          nn.Conv2d(inner, growth, 3, padding=1, bias=False))
            for i in range(layers)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


def transition(c: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c // 2, 1, bias=False), nn.AvgPool2d(2)]


def densenet_121() -> nn.Sequential:
    layers: list[nn.Module] = [conv_bn(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    c = 64
    for i, count in enumerate((6, 12, 24, 16)):
        layers += transition(c) if i else []
        c = c // 2 if i else c
        layers.append(DenseBlock(c, 32, count))
        c += 32 * count
    return nn.Sequential(*layers, nn.BatchNorm2d(c), nn.ReLU(), *head(c, 1000))


PUBLISHED: dict[str, Made] = {
    "mobilenet-v1-224": (lambda: nn.Sequential(mobilenet_v1(), *head(1024, 1000)), (1, 3, 224, 224)),
    "squeezenet-1.1-224": (squeezenet, (1, 3, 224, 224)),
    "inception-v1-224": (inception_v1, (1, 3, 224, 224)),
    "mnasnet-1.0-224": (mnasnet, (1, 3, 224, 224)),
    "densenet-121-224": (densenet_121, (1, 3, 224, 224)),
    "mobilenet-v2-224": (mobilenet_v2, (1, 3, 224, 224)),
    "nasnet-mobile-224": (VISION["nasnet-mobile"].full, VISION["nasnet-mobile"].full_shape),
    "deeplabv3-mnv2-257": (VISION["deeplabv3-mnv2"].full, VISION["deeplabv3-mnv2"].full_shape),
    "posenet-mnv1-257": (VISION["posenet-mnv1"].full, VISION["posenet-mnv1"].full_shape),
    "east-r50-320": (VISION["east-r50"].full, VISION["east-r50"].full_shape),
    "ssd-mobilenet-v1-300": (VISION["ssd-mnv1"].full, VISION["ssd-mnv1"].full_shape),
}
SMALL: dict[str, Made] = {
    "mobilenet-v1-0.25": (lambda: nn.Sequential(mobilenet_v1(0.25), *head(256, 2)), (1, 3, 96, 96)),
    "mobilenet-v2-0.35": (lambda: mobilenet_v2(0.35, 2), (1, 3, 96, 96)),
    "squeezenet-1.1": (lambda: squeezenet(10), (1, 3, 96, 96)),
    "dense block": (
        lambda: nn.Sequential(conv_bn(3, 16, 3), DenseBlock(16, 8, 4, 2), *transition(48), *head(24, 4)),
        (1, 3, 32, 32),
    ),
    "inception block": (
        lambda: nn.Sequential(conv_bn(3, 32, 3), Inception(32, 16, (16, 32), (4, 8), 8), *head(64, 4)),
        (1, 3, 28, 28),
    ),
    "nasnet cells": (lambda: NASNet(12, 1, 8, 6), (1, 3, 32, 32)),
}
