"""Random networks over images that fork and join: residual blocks, dense blocks, branches, cells; for streaming."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def conv(i: int, o: int, k: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, stride, k // 2, groups=groups)


class Inverted(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; the input is added to the result."""

    def __init__(self, c: int, wide: int) -> None:
        super().__init__()
        layers = [conv(c, wide), nn.ReLU6(), conv(wide, wide, 3, 1, wide), nn.ReLU6(), conv(wide, c)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Basic(nn.Module):
    """ResNet's block with a stride: a 1x1 convolution that skips pixels beside two 3x3 ones."""

    def __init__(self, c: int, o: int, stride: int) -> None:
        super().__init__()
        self.a, self.b, self.skip = conv(c, o, 3, stride), conv(o, o, 3), conv(c, o, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.b(F.relu(self.a(x))) + self.skip(x))


class Dense(nn.Module):
    """DenseNet's block: each layer reads all features so far through a scale of its own and a rectifier."""

    def __init__(self, c: int, growth: int, layers: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(c + i * growth) for i in range(layers))
        self.convs = nn.ModuleList(conv(c + i * growth, growth, 3) for i in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x]
        for norm, layer in zip(self.norms, self.convs, strict=True):
            found.append(layer(F.relu(norm(torch.cat(found, 1)))))
        return torch.cat(found, 1)


class Branches(nn.Module):
    """Inception's block: 1x1, 3x3, 5x5 and a pool side by side."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b, self.d = conv(c, 3), nn.Sequential(conv(c, 2), conv(2, 4, 3)), conv(c, 2)
        self.c = nn.Sequential(conv(c, 2), nn.ReLU(), conv(2, 3, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(torch.cat([self.a(x), self.b(x), self.c(x), self.d(F.max_pool2d(x, 3, 1, 1))], 1))


class Cell(nn.Module):
    """A cell of sums and smooth functions, whose input is read by several and joined at the end."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b, self.gate = conv(c, c, 3, 1, c), conv(c, c, 5), nn.Parameter(torch.randn(c, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.hardswish(self.a(x)) - torch.sigmoid(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)) * self.gate
        return torch.cat([y + x, self.b(y) * y], 1)


class Thin(nn.Module):
    """Every second pixel, and squeeze-excite: a factor per channel out of the whole image."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = conv(c, c), nn.Linear(c, c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.a(x[:, :, 1::2, ::2]) + F.pad(self.a(x), (1, -1, -2, 1), value=0.5)[:, :, ::2, ::2])
        return x * torch.sigmoid(self.b(x.mean((2, 3))))[:, :, None, None]


KINDS: tuple[tuple[int, ...], ...] = ((0, 1, 5), (2, 3), (4, 1))  # blocks of the first networks: all of them


class Branched(nn.Module):
    """A stem, some of the blocks, and a head."""

    shape = (1, 2, 14, 9)

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        c = int(rng.integers(3, 7))
        layers: list[nn.Module] = [conv(2, c, 3, int(rng.integers(1, 3))), nn.ReLU()]
        for kind in KINDS[seed] if seed < len(KINDS) else rng.permutation(6)[: int(rng.integers(2, 5))]:
            if kind == 0:
                layers.append(Inverted(c, 3 * c))
            elif kind == 1:
                o = int(rng.integers(3, 9))
                layers.append(Basic(c, o, 2))
                c = o
            elif kind == 2:
                layers += [Dense(c, 3, 2), nn.AvgPool2d(2)]
                c += 6
            elif kind == 3:
                layers.append(Branches(c))
                c = 12
            elif kind == 4:
                layers.append(Cell(c))
                c *= 2
            else:
                layers.append(Thin(c))
        self.body = nn.Sequential(*layers)
        with torch.no_grad():
            size = self.eval().body(torch.zeros(self.shape)).numel()
        self.head = nn.Linear(size, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))
