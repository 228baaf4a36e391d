"""Small models written the way users write them: image networks here, the others in ``zoo_signals``.

Each has the structure of the original at a size that compiles in a blink; ``ZOO`` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, ...]


class Entry(NamedTuple):
    """How to make a model, and the shapes of its inputs."""

    make: Callable[[], nn.Module]
    shapes: list[Shape]


ZOO: dict[str, Entry] = {}


def zoo(*shapes: Shape) -> Callable[[Any], Any]:
    """Decorator: put a model into ZOO with its input shapes."""

    def put(make: Any) -> Any:
        ZOO[make.__name__] = Entry(make, list(shapes))
        return make

    return put


def conv_bn(i: int, o: int, k: int = 3, s: int = 1, g: int = 1, act: type[nn.Module] | None = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


# -- image networks ----------------------------------------------------------------------------------------------------


@zoo((1, 3, 16, 16))
class MobileNetV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def dw(i: int, o: int, s: int) -> nn.Sequential:
            return nn.Sequential(conv_bn(i, i, 3, s, i), conv_bn(i, o, 1))

        self.model = nn.Sequential(
            conv_bn(3, 8, 3, 2), dw(8, 16, 1), dw(16, 24, 2), dw(24, 24, 1), nn.AdaptiveAvgPool2d(1)
        )
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.model(x)
        x = x.view(-1, 24)
        return self.fc(x)


class InvertedResidual(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expand: int) -> None:
        super().__init__()
        h = i * expand
        self.use_res_connect = stride == 1 and i == o
        first = [conv_bn(i, h, 1, act=nn.ReLU6)] if expand != 1 else []
        self.conv = nn.Sequential(*first, conv_bn(h, h, 3, stride, h, nn.ReLU6), conv_bn(h, o, 1, act=None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


@zoo((1, 3, 16, 16))
class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn(3, 8, 3, 2, act=nn.ReLU6),
            InvertedResidual(8, 8, 1, 1),
            InvertedResidual(8, 12, 2, 6),
            InvertedResidual(12, 12, 1, 6),
            conv_bn(12, 32, 1, act=nn.ReLU6),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class SqueezeExcite(nn.Module):
    def __init__(self, c: int, gate: type[nn.Module], act: type[nn.Module]) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1)
        self.activation, self.scale_activation = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


@zoo((1, 3, 14, 14))
class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        hs = nn.Hardswish
        self.stem = conv_bn(3, 8, 3, 2, act=hs)
        self.block = nn.Sequential(
            conv_bn(8, 16, 1, act=hs),
            conv_bn(16, 16, 5, 1, 16, hs),
            SqueezeExcite(16, nn.Hardsigmoid, nn.ReLU),
            conv_bn(16, 8, 1, act=None),
        )
        self.head = nn.Sequential(
            conv_bn(8, 24, 1, act=hs),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 16),
            hs(),
            nn.Dropout(),
            nn.Linear(16, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(x)


@zoo((1, 8, 9, 9))
class EfficientNetMBConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = conv_bn(8, 32, 1, act=nn.SiLU)
        self.depthwise = conv_bn(32, 32, 3, 1, 32, nn.SiLU)
        self.se = SqueezeExcite(32, nn.Sigmoid, nn.SiLU)
        self.project = conv_bn(32, 8, 1, act=None)

    def forward(self, x: Tensor) -> Tensor:
        result = self.project(self.se(self.depthwise(self.expand(x))))
        result += x
        return result


class BasicBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


@zoo((1, 3, 12, 12))
class ResNet8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.layers = nn.ModuleList([BasicBlock(8, 8, 1), BasicBlock(8, 12, 2), BasicBlock(12, 16, 2)])
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        x = F.avg_pool2d(x, x.size()[2:])
        x = x.view(x.size(0), -1)
        return F.log_softmax(self.fc(x), dim=1)


@zoo((1, 8, 10, 10))
class ResNetBottleneck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(8, 4, 1), conv_bn(4, 4, 3, 2), conv_bn(4, 16, 1, act=None))
        self.downsample = conv_bn(8, 16, 1, 2, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x))


@zoo((1, 6, 8, 8))
class DenseNetBlock(nn.Module):
    """Batch normalization before the convolution, and a concatenation of everything so far."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(6 + 4 * i), nn.ReLU(inplace=True), nn.Conv2d(6 + 4 * i, 4, 3, padding=1, bias=False)
            )
            for i in range(3)
        )
        self.transition = nn.Sequential(nn.BatchNorm2d(18), nn.ReLU(), nn.Conv2d(18, 9, 1, bias=False), nn.AvgPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.transition(torch.cat(features, 1))


@zoo((1, 6, 8, 8))
class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch1 = conv_bn(6, 4, 1)
        self.branch3 = nn.Sequential(conv_bn(6, 3, 1), conv_bn(3, 6))
        self.branch5 = nn.Sequential(
            conv_bn(6, 2, 1), nn.Conv2d(2, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, (5, 1), padding=(2, 0))
        )
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), conv_bn(6, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x)], dim=1)


@zoo((1, 3, 17, 17))
class SqueezeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True))
        self.squeeze, self.expand1, self.expand3 = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, padding=1)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(16, 5, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(self.first(x)))
        x = torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)
        return torch.flatten(self.classifier(x), 1)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.size()
    x = x.view(n, groups, c // groups, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(n, c, h, w)


@zoo((1, 8, 6, 6))
class ShuffleNetV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.compress, self.expand = conv_bn(8, 12, 1, g=2), conv_bn(12, 8, 1, g=2, act=None)
        self.depthwise = conv_bn(12, 12, 3, 1, 12, None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.expand(self.depthwise(channel_shuffle(self.compress(x), 2))))


@zoo((1, 8, 6, 6))
class ShuffleNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch2 = nn.Sequential(conv_bn(4, 4, 1), conv_bn(4, 4, 3, 1, 4, None), conv_bn(4, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((x1, self.branch2(x2)), dim=1), 2)


@zoo((1, 3, 16, 16))
class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2 = nn.Linear(8 * 2 * 2, 20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.flatten(x, start_dim=1)
        return F.softmax(self.fc2(torch.tanh(self.fc1(x))), -1)


@zoo((1, 1, 13, 15))
class Encoder(nn.Module):
    """Skip features at every scale, all of them outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))
                for i, o in ((1, 4), (4, 8), (8, 8))
            ]
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        skips = {}
        for i, layer in enumerate(self.down):
            x = layer(x)
            skips[f"scale{i}"] = x
            x = F.max_pool2d(x, 2, ceil_mode=True)
        return {"bottom": x, **skips}


@zoo((1, 3, 8, 8))
class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.tokens = nn.Sequential(nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 16))
        self.channels = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(x.transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(x)
        return self.head(x.mean(dim=1))
