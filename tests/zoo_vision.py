"""The networks that memory planning is measured on, by structure: detectors, segmentation, pose and text, NASNet.

``VISION`` has each at its published size (``full``: fit for torch's meta device) and at one for a host (``small``).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]


class Vision(NamedTuple):
    """How to make a network at two sizes, and the shape of its one input at each."""

    full: Callable[[], nn.Module]
    full_shape: Shape
    small: Callable[[], nn.Module]
    small_shape: Shape


def conv_bn(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, d: int = 1, act: Any = nn.ReLU6) -> nn.Sequential:
    conv = nn.Conv2d(i, o, k, s, d * (k // 2), d, g, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), *([act()] if act else []))


# -- MobileNets as backbones -------------------------------------------------------------------------------------------


STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def mobilenet_v1(width: float = 1.0, strides: tuple[int, ...] = STRIDES) -> nn.Sequential:
    """The thirteen separable layers; where a stride of the original is 1 here, the layers after it are dilated."""
    outs = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    c, dilation = int(32 * width), 1
    layers: list[nn.Module] = [conv_bn(3, c, 3, 2)]
    for full, s, usual in zip(outs, strides, STRIDES, strict=True):
        o = int(full * width)
        layers.append(nn.Sequential(conv_bn(c, c, 3, s, c, dilation), conv_bn(c, o, 1)))
        dilation *= 2 if usual > s else 1
        c = o
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    def __init__(self, i: int, o: int, s: int, expand: int, d: int) -> None:
        super().__init__()
        h = i * expand
        first = [conv_bn(i, h, 1)] if expand != 1 else []
        self.body = nn.Sequential(*first, conv_bn(h, h, 3, s, h, d), conv_bn(h, o, 1, act=None))
        self.skip = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skip else self.body(x)


class DeepLabV3(nn.Module):
    """MobileNetV2 at output stride 16, image pooling beside a 1x1 branch, bilinear with align_corners to full size."""

    def __init__(self, width: float = 1.0, classes: int = 21) -> None:
        super().__init__()
        rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 1))
        c = max(8, int(32 * width))
        layers: list[nn.Module] = [conv_bn(3, c, 3, 2)]
        for t, full, n, s in (*rows, (6, 320, 1, 1)):
            o = max(8, int(full * width))
            for i in range(n):
                layers.append(InvertedResidual(c, o, s if i == 0 else 1, t, 2 if full >= 160 else 1))
                c = o
        self.features = nn.Sequential(*layers)
        inner = int(256 * width)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(c, inner, 1, act=nn.ReLU))
        self.one = conv_bn(c, inner, 1, act=nn.ReLU)
        self.project = nn.Sequential(conv_bn(2 * inner, inner, 1, act=nn.ReLU), nn.Conv2d(inner, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        f = self.features(x)
        pooled = F.interpolate(self.pool(f), size=f.shape[2:], mode="bilinear", align_corners=True)
        y = self.project(torch.cat([pooled, self.one(f)], 1))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=True)


class PoseNet(nn.Module):
    """Four heads on a dilated MobileNetV1: heat maps, offsets, and displacements both ways."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.features = mobilenet_v1(width, (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1))
        self.heads = nn.ModuleList(nn.Conv2d(int(1024 * width), o, 1) for o in (17, 34, 32, 32))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.features(x)
        first, *rest = [head(x) for head in self.heads]
        return [torch.sigmoid(first), *rest]


class SSD(nn.Module):
    """COCO SSD MobileNetV1: boxes and scores from six scales, flattened and put behind one another."""

    def __init__(self, width: float = 1.0, classes: int = 91) -> None:
        super().__init__()
        self.features = mobilenet_v1(width)
        c = [int(v * width) for v in (512, 1024, 512, 256, 256, 128)]
        more = pairwise(c[1:])
        self.extra = nn.ModuleList(nn.Sequential(conv_bn(i, o // 2, 1), conv_bn(o // 2, o, 3, 2)) for i, o in more)
        anchors, self.classes = (3, 6, 6, 6, 6, 6), classes
        self.boxes = nn.ModuleList(nn.Conv2d(i, 4 * a, 1) for i, a in zip(c, anchors, strict=True))
        self.scores = nn.ModuleList(nn.Conv2d(i, classes * a, 1) for i, a in zip(c, anchors, strict=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        seen = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in (11, 13):
                seen.append(x)
        for layer in self.extra:
            x = layer(x)
            seen.append(x)
        boxes = [h(f).permute(0, 2, 3, 1).reshape(1, -1, 4) for h, f in zip(self.boxes, seen, strict=True)]
        scores = [h(f).permute(0, 2, 3, 1).reshape(1, -1, self.classes) for h, f in zip(self.scores, seen, strict=True)]
        return torch.cat(boxes, 1), torch.sigmoid(torch.cat(scores, 1))


# -- Tiny YOLO, EAST, U-Net --------------------------------------------------------------------------------------------


class TinyYOLO(nn.Module):
    """v2: leaky ReLU, pools of 2, the last of them with stride 1 and a column and a row of padding on one side only."""

    def __init__(self, width: float = 1.0, classes: int = 20) -> None:
        super().__init__()
        c = [3, *(int(v * width) for v in (16, 32, 64, 128, 256, 512, 1024, 1024))]

        def leaky() -> nn.Module:
            return nn.LeakyReLU(0.1, inplace=True)

        self.layers = nn.ModuleList(conv_bn(i, o, act=leaky) for i, o in pairwise(c))
        self.head = nn.Conv2d(c[-1], 5 * (5 + classes), 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < 5:
                x = F.max_pool2d(x, 2)
            elif i == 5:
                x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 2, 1)
        return self.head(x)


class Bottleneck(nn.Module):
    def __init__(self, i: int, c: int, s: int) -> None:
        super().__init__()
        first, second = conv_bn(i, c, 1, act=nn.ReLU), conv_bn(c, c, 3, s, act=nn.ReLU)
        self.body = nn.Sequential(first, second, conv_bn(c, 4 * c, 1, act=None))
        self.down = conv_bn(i, 4 * c, 1, s, act=None) if s > 1 or i != 4 * c else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.down(x)
        return F.relu(out, inplace=True)


class EAST(nn.Module):
    """ResNet-50, merged from the deepest scale up by bilinear upsampling and concatenation; scores and geometry."""

    def __init__(self, width: float = 1.0, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        c = int(64 * width)
        self.stem = nn.Sequential(conv_bn(3, c, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1))
        self.stages, i = nn.ModuleList(), c
        for stage, n in enumerate(blocks):
            first = Bottleneck(i, c << stage, 2 if stage else 1)
            i = 4 * c << stage
            self.stages.append(nn.Sequential(first, *(Bottleneck(i, c << stage, 1) for _ in range(n - 1))))
        m, self.merge = int(128 * width), nn.ModuleList()
        for k, skip in enumerate((16 * c, 8 * c, 4 * c)):
            o = m >> k
            self.merge.append(nn.Sequential(conv_bn(i + skip, o, 1, act=nn.ReLU), conv_bn(o, o, 3, act=nn.ReLU)))
            i = o
        self.last = conv_bn(i, i, 3, act=nn.ReLU)
        self.score, self.boxes, self.angle = nn.Conv2d(i, 1, 1), nn.Conv2d(i, 4, 1), nn.Conv2d(i, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, seen = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        for layer, skip in zip(self.merge, seen[-2::-1], strict=True):
            x = layer(torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True), skip], 1))
        x = self.last(x)
        angle = (torch.sigmoid(self.angle(x)) - 0.5) * 3.14159
        return torch.sigmoid(self.score(x)), torch.cat([torch.sigmoid(self.boxes(x)) * 512, angle], 1)


class UNet(nn.Module):
    """Down by pools, up by transposed convolutions, with what was seen on the way down put beside."""

    def __init__(self, c: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [c << i for i in range(depth + 1)]

        def pair(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(conv_bn(i, o, act=nn.ELU), conv_bn(o, o, act=nn.Mish))

        self.down = nn.ModuleList(pair(i, o) for i, o in pairwise([3, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1])
        self.join = nn.ModuleList(pair(2 * w, w) for w in widths[-2::-1])
        self.head = nn.Sequential(nn.ConvTranspose2d(c, c, 4, 2, 1, groups=c, bias=False), nn.Conv2d(c, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        for layer in self.down:
            x = layer(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        for up, join, skip in zip(self.up, self.join, seen[-2::-1], strict=True):
            x = join(torch.cat([up(x), skip], 1))
        return F.softplus(self.head(x))


# -- NASNet ------------------------------------------------------------------------------------------------------------


class Separable(nn.Module):
    """Twice ReLU, depthwise, pointwise; ``same``: stride 2 as TensorFlow pads, which torch pads first and then cuts."""

    def __init__(self, i: int, o: int, k: int, s: int = 1, same: bool = False) -> None:
        super().__init__()

        def one(i: int, o: int, s: int) -> nn.Sequential:
            depthwise = nn.Conv2d(i, i, k, s, k // 2, groups=i, bias=False)
            return nn.Sequential(depthwise, nn.Conv2d(i, o, 1, bias=False), nn.BatchNorm2d(o))

        self.first, self.second, self.same = one(i, o, s), one(o, o, 1), same

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        x = self.first(F.pad(x, (1, 0, 1, 0)))[:, :, 1:, 1:].contiguous() if self.same else self.first(x)
        return self.second(F.relu(x))


class Adjust(nn.Module):
    """The cell before the last, brought to this cell's channels, and to half the size from pixels on two grids."""

    def __init__(self, i: int, o: int, halve: bool) -> None:
        super().__init__()
        parts = (o // 2, o - o // 2) if halve else (o,)
        self.paths, self.bn = nn.ModuleList(nn.Conv2d(i, p, 1, bias=False) for p in parts), nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if len(self.paths) == 1:
            return self.bn(self.paths[0](x))
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        halves = [conv(F.avg_pool2d(part, 1, 2)) for conv, part in zip(self.paths, (x, shifted), strict=True)]
        return self.bn(torch.cat(halves, 1))


class Cell(nn.Module):
    """A NASNet-A cell; ``shrink``: the reduction cell; ``same``: padded as TensorFlow pads even sizes."""

    def __init__(self, left: int, right: int, c: int, halve: bool, shrink: bool, same: bool) -> None:
        super().__init__()
        self.left, self.right = Adjust(left, c, halve), Adjust(right, c, False)
        kinds = ((5, 7), (7,), (5,), (3,)) if shrink else ((5, 3), (5, 3), (3,))
        strides = (2, 2, 2, 1) if shrink else (1, 1, 1)
        rows = zip(kinds, strides, strict=True)
        self.branches = nn.ModuleList(
            nn.ModuleList(Separable(c, c, k, s, same and s == 2) for k in ks) for ks, s in rows
        )
        self.shrink, self.same = shrink, same

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        a, b = self.left(before), self.right(x)
        branch: Any = self.branches
        if not self.shrink:
            one = branch[0][0](b) + branch[0][1](a)
            two = branch[1][0](a) + branch[1][1](a)
            pooled = self.average(a, 1)
            return torch.cat([a, one, two, self.average(b, 1) + a, pooled + pooled, branch[2][0](b) + b], 1)
        one = branch[0][0](b) + branch[0][1](a)
        largest = self.halved(b, lambda v: F.max_pool2d(v, 3, 2, 1))
        two = largest + branch[1][0](a)
        three = self.halved(b, lambda v: self.average(v, 2)) + branch[2][0](a)
        return torch.cat([two, three, self.average(one, 1) + two, branch[3][0](one) + largest], 1)

    def halved(self, x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        return pool(F.pad(x, (1, 0, 1, 0)))[:, :, 1:, 1:].contiguous() if self.same else pool(x)

    @staticmethod
    def average(x: Tensor, stride: int) -> Tensor:
        return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)


class NASNet(nn.Module):
    def __init__(self, filters: int = 44, cells: int = 4, stem: int = 32, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, bias=False), nn.BatchNorm2d(stem))
        self.cells, before, last, halve = nn.ModuleList(), stem, stem, False
        plan = [(filters // 4, True), (filters // 2, True)]
        for stack in range(3):
            plan += [(filters << stack, True)] * (stack > 0) + [(filters << stack, False)] * cells
        for i, (c, shrink) in enumerate(plan):
            self.cells.append(Cell(before, last, c, halve, shrink, shrink and i > 1))
            before, last, halve = last, (4 if shrink else 6) * c, shrink
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        before = x = self.stem(x)
        for cell in self.cells:
            before, x = x, cell(x, before)
        return self.head(F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1))


VISION: dict[str, Vision] = {
    "deeplabv3-mnv2": Vision(DeepLabV3, (1, 3, 257, 257), lambda: DeepLabV3(0.25, 5), (1, 3, 33, 33)),
    "posenet-mnv1": Vision(PoseNet, (1, 3, 257, 257), lambda: PoseNet(0.25), (1, 3, 33, 33)),
    "ssd-mnv1": Vision(SSD, (1, 3, 300, 300), lambda: SSD(0.125, 7), (1, 3, 40, 40)),
    "tiny-yolo": Vision(TinyYOLO, (1, 3, 416, 416), lambda: TinyYOLO(0.125, 3), (1, 3, 64, 64)),
    "east-r50": Vision(EAST, (1, 3, 320, 320), lambda: EAST(0.125, (1, 1, 2, 1)), (1, 3, 64, 64)),
    "unet": Vision(UNet, (1, 3, 128, 128), lambda: UNet(6, 2), (1, 3, 20, 16)),
    "nasnet-mobile": Vision(NASNet, (1, 3, 224, 224), lambda: NASNet(12, 1, 8, 6), (1, 3, 32, 32)),
}
