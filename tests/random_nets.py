"""Random whole networks with branches, residuals, several inputs and outputs, as torch modules: the fuzzers' fuel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.SiLU,
    nn.GELU,
    nn.Sigmoid,
    nn.Tanh,
)


class RandomNet(nn.Module):
    """Layers drawn from ``seed``; forward follows the recipe drawn with them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList()
        self.recipe: list[tuple] = []
        self.one_d = seed % 5 == 0

        def pick(*options):
            return options[int(torch.randint(len(options), (1,), generator=g))]

        def add(kind, *args, module: nn.Module | None = None) -> None:
            if module is not None:
                self.layers.append(module)
            self.recipe.append((kind, len(self.layers) - 1, *args))

        channels, size = pick(1, 2, 3, 5), pick(4, 6, 7, 9)
        self.shapes = [(1, channels, size) if self.one_d else (1, channels, size, pick(size, size - 1, 5))]
        self.two_inputs = not self.one_d and seed % 7 == 0
        if self.two_inputs:
            self.shapes.append(self.shapes[0])
        shapes = [self.shapes[0][1:]]
        conv = nn.Conv1d if self.one_d else nn.Conv2d
        norm = nn.BatchNorm1d if self.one_d else nn.BatchNorm2d
        for _ in range(pick(2, 3, 4, 6)):
            i = pick(*range(len(shapes)))
            c, *hw = shapes[i]
            kind = pick("conv", "conv", "depthwise", "pool", "act", "add", "cat", "gate", "pad", "scale", "prelu",
                        "slice", "shuffle")
            if kind in ("conv", "depthwise"):
                k = pick(1, 2, 3)
                if min(hw) < k:
                    continue
                dw = kind == "depthwise"
                o = c * pick(1, 2) if dw else pick(1, 4, 8, 11)
                stride, pad = pick(1, 1, 2), pick(0, k // 2)
                layer = conv(c, o, k, stride=stride, padding=pad, groups=c if dw else 1, bias=pick(True, False))
                if pick(True, False, False):
                    layer.weight.data *= torch.rand(layer.weight.shape, generator=g) < 0.15
                parts: list[nn.Module] = [layer]
                if pick(True, False):
                    bn = norm(o)
                    bn.running_mean.data = torch.randn(o, generator=g) * 0.1
                    bn.running_var.data = torch.rand(o, generator=g) + 0.5
                    parts.append(bn)
                if pick(True, False):
                    parts.append(pick(nn.ReLU, nn.ReLU6)())
                add("layer", i, module=nn.Sequential(*parts))
                shapes.append((o, *((n + 2 * pad - k) // stride + 1 for n in hw)))
            elif kind == "pool" and min(hw) >= 2:
                pool = pick("max", "avg")
                cls = {
                    ("max", True): nn.MaxPool1d,
                    ("avg", True): nn.AvgPool1d,
                    ("max", False): nn.MaxPool2d,
                    ("avg", False): nn.AvgPool2d,
                }[pool, self.one_d]
                add("layer", i, module=cls(2, ceil_mode=False))
                shapes.append((c, *(n // 2 for n in hw)))
            elif kind == "act":
                add("layer", i, module=pick(*ACTIVATIONS)())
                shapes.append(shapes[i])
            elif kind == "prelu":
                add("layer", i, module=nn.PReLU(pick(1, c)))
                shapes.append(shapes[i])
            elif kind == "add":
                others = [j for j, s in enumerate(shapes) if s == shapes[i]]
                add("add", i, pick(*others))
                shapes.append(shapes[i])
            elif kind == "cat":
                others = [j for j, s in enumerate(shapes) if s[1:] == shapes[i][1:]]
                j = pick(*others)
                add("cat", i, j)
                shapes.append((c + shapes[j][0], *hw))
            elif kind == "gate":
                add("gate", i, module=conv(c, c, 1))
                shapes.append(shapes[i])
            elif kind == "pad":
                p = (pick(0, 1), pick(0, 2)) if self.one_d else (pick(0, 1), pick(0, 2), pick(0, 1), 0)
                add("pad", i, p)
                grown = [hw[0] + p[0] + p[1]] if self.one_d else [hw[0] + p[2] + p[3], hw[1] + p[0] + p[1]]
                shapes.append((c, *grown))
            elif kind == "slice":
                axis = pick(*range(len(shapes[i])))
                n = shapes[i][axis]
                begin, step = pick(0, n // 2, n - 1), pick(1, 1, 2)
                add("slice", i, axis + 1, begin, step)
                shapes.append(tuple(len(range(begin, d, step)) if k == axis else d for k, d in enumerate(shapes[i])))
            elif kind == "shuffle":
                groups = pick(*(g for g in range(1, c + 1) if c % g == 0))
                add("shuffle", i, groups)
                shapes.append(shapes[i])
            elif kind == "scale":
                add("scale", i, pick(0.5, 2.0, -1.0), pick(0.0, 0.25))
                shapes.append(shapes[i])
        self.tail = pick("flatten", "mean", "both", "map")
        if self.two_inputs:
            self.entry = nn.Conv2d(channels, channels, 1)
        flat = 1
        for n in shapes[-1]:
            flat *= n
        self.fc = nn.Linear(flat, pick(1, 3, 10))
        self.head = nn.Linear(shapes[-1][0], 4)
        self.softmax = pick(nn.Softmax(-1), nn.LogSoftmax(-1), nn.Identity())

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None):
        values = [x if y is None else self.entry(x) - y]
        for kind, at, i, *rest in self.recipe:
            v = values[i]
            if kind == "layer":
                v = self.layers[at](v)
            elif kind == "add":
                v = v + values[rest[0]]
            elif kind == "cat":
                v = torch.cat([v, values[rest[0]]], 1)
            elif kind == "gate":
                v = v * torch.sigmoid(self.layers[at](v))
            elif kind == "pad":
                v = F.pad(v, rest[0])
            elif kind == "slice":
                axis, begin, step = rest
                v = v[(slice(None),) * axis + (slice(begin, None, step),)]
            elif kind == "shuffle":
                v = v.unflatten(1, (rest[0], -1)).transpose(1, 2).flatten(1, 2)
            else:
                v = v * rest[0] + rest[1]
            values.append(v)
        last = values[-1]
        if self.tail == "map":
            return last
        if self.tail == "mean":
            return self.softmax(self.head(last.mean(tuple(range(2, last.dim())))))
        out = self.softmax(self.fc(torch.flatten(last, 1)))
        return out if self.tail == "flatten" else (out, last)


def random_net(seed: int) -> tuple[RandomNet, tuple[torch.Tensor, ...]]:
    """The network of ``seed`` in eval mode and an example input."""
    torch.manual_seed(seed)
    net = RandomNet(seed).eval()
    return net, tuple(torch.randn(s) for s in net.shapes)
