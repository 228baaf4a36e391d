"""Random DAGs as planning sees them in practice: maps of some width, blocks of published networks, wired at random.

Every network has a few of: convolutions of all kinds, pools, residuals, concats of branches, dense growth, gates, nodes
wired to any earlier map, a second input, outputs taken from the middle.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

Shape = tuple[int, ...]
MOST_MACS = 120_000  # of a network, so that soft float is emulated in a moment


class Apply(nn.Module):
    """A function of earlier values."""

    def __init__(self, f: Callable[..., Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, *xs: Tensor) -> Tensor:
        return self.f(*xs)


class RandomDag(nn.Module):
    """Nodes drawn from ``seed``: each a module and the numbers of the values that it takes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.nodes, self.wires = nn.ModuleList(), []
        self.shapes: list[Shape] = []
        self.macs = 0
        c, h = self.pick(1, 2, 3, 4), int(self.rng.integers(8, 21))
        self.inputs = [(1, c, h, int(self.rng.integers(5, 17)))]
        if self.pick(0, 0, 1):
            self.inputs.append((1, self.pick(1, c, 3), *self.inputs[0][2:]))
        self.shapes = [s[1:] for s in self.inputs]
        at = self.conv(0, 3)
        if len(self.inputs) > 1:
            at = self.join([at, self.conv(1, 3)])
        if self.pick(0, 1):  # wide at first, as images are: the peak lies in front
            at = self.conv(self.conv(at, 3, self.pick(8, 12)), 3, self.pick(2, 4), self.pick(1, 2))
            at = self.pool(at, 2, True)
        blocks = [self.chain, self.chain, self.residual, self.fire, self.inception, self.dense, self.wired, self.gate]
        for _ in range(self.pick(1, 2, 2, 3)):
            if self.macs < MOST_MACS:
                at = blocks[int(self.rng.integers(len(blocks)))](at)
        self.outputs = [self.finish(at)]
        if self.pick(0, 0, 1):
            self.outputs.append(int(self.rng.integers(len(self.inputs), len(self.shapes))))
        self.outputs = list(dict.fromkeys(self.outputs))

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def pick(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def put(self, module: nn.Module, *wires: int) -> int:
        """Add a node; the number of its value."""
        with torch.no_grad():
            made = module.eval()(*(torch.zeros(1, *self.shapes[w]) for w in wires))
        for m in module.modules():
            if isinstance(m, nn.Conv2d):
                self.macs += made[0].numel() * m.weight[0].numel()
        self.nodes.append(module)
        self.wires.append(wires)
        self.shapes.append(tuple(made.shape[1:]))
        return len(self.shapes) - 1

    def act(self) -> list[nn.Module]:
        return self.pick([], [nn.ReLU()], [nn.ReLU6()], [nn.ReLU()], [nn.LeakyReLU(0.1)], [nn.Hardswish()])

    def conv(self, at: int, k: int, o: int | None = None, stride: int = 1, groups: int = 1, same: bool = True) -> int:
        c, h, w = self.shapes[at]
        o = o or self.pick(2, 4, 4, 6, 8)
        pad = k // 2 if same or min(h, w) < k else 0
        layers: list[nn.Module] = [nn.Conv2d(c, o, k, stride, pad, groups=groups, bias=self.pick(True, False))]
        if self.pick(0, 1):
            bn = nn.BatchNorm2d(o)
            bn.running_mean.copy_(torch.as_tensor(self.rng.normal(0, 0.2, o)))
            bn.running_var.copy_(torch.as_tensor(self.rng.uniform(0.5, 2, o)))
            layers.append(bn)
        return self.put(nn.Sequential(*layers, *self.act()), at)

    def pool(self, at: int, stride: int, same: bool) -> int:
        k = self.pick(2, 3) if not same else 3
        h, w = self.shapes[at][1:]
        pad = 1 if same or min(h, w) < k else 0
        make = self.pick(nn.MaxPool2d, nn.MaxPool2d, nn.AvgPool2d)
        return self.put(make(k, stride, padding=pad), at)

    def join(self, parts: list[int]) -> int:
        return self.put(Apply(lambda *xs: torch.cat(xs, 1)), *parts)

    def add(self, a: int, b: int) -> int:
        f = self.pick(torch.add, torch.add, torch.add, torch.sub, torch.mul)
        out = self.put(Apply(f), a, b)
        return self.put(nn.ReLU(), out) if self.pick(0, 1) else out

    # -- blocks --------------------------------------------------------------------------------------------------------

    def chain(self, at: int) -> int:
        for _ in range(self.pick(2, 3, 4)):
            c, h, w = self.shapes[at]
            kind = self.pick("conv", "point", "depth", "pool", "wide", "conv pool")
            stride = 1 if min(h, w) < 6 else self.pick(1, 1, 2)
            if kind == "conv":
                at = self.conv(at, self.pick(2, 3, 3, 5), stride=stride, same=self.pick(True, False))
            elif kind == "point":
                at = self.conv(at, 1)
            elif kind == "depth":
                at = self.conv(at, 3, c * self.pick(1, 1, 2), stride, c)
            elif kind == "wide":
                at = self.conv(at, 3, self.pick(10, 12), stride)
            elif kind == "pool" and min(h, w) > 3:
                at = self.pool(at, stride, self.pick(True, False))
            elif min(h, w) > 3:
                at = self.put(nn.MaxPool2d(2), self.conv(at, 3))
        return at

    def residual(self, at: int) -> int:
        """Inverted, as in MobileNetV2, or two convolutions, as in ResNet; sometimes several in a row."""
        for _ in range(self.pick(1, 1, 2)):
            c = self.shapes[at][0]
            if self.pick(0, 1):
                wide = self.conv(at, 1, c * self.pick(2, 3))
                body = self.conv(self.conv(wide, 3, self.shapes[wide][0], 1, self.shapes[wide][0]), 1, c)
            else:
                body = self.conv(self.conv(at, 3), 3, c)
            at = self.add(at, body) if self.pick(0, 1) else self.add(body, at)
        return at

    def fire(self, at: int) -> int:
        squeezed = self.conv(at, 1, self.pick(2, 3, 4))
        return self.join([self.conv(squeezed, 1), self.conv(squeezed, 3)])

    def inception(self, at: int) -> int:
        branches = [
            lambda: self.conv(at, 1),
            lambda: self.conv(self.conv(at, 1, 3), 3),
            lambda: self.conv(self.conv(at, 1, 2), 5),
            lambda: self.conv(self.pool(at, 1, True), 1),
            lambda: self.pool(at, 1, True),
            lambda: at,
        ]
        chosen = self.rng.permutation(len(branches))[: self.pick(2, 3, 4)]
        return self.join([branches[int(i)]() for i in chosen])

    def dense(self, at: int) -> int:
        """Every layer reads all features before it: concats of concats, or one after the other."""
        if self.pick(0, 1):
            for _ in range(self.pick(2, 3)):
                at = self.join([at, self.conv(at, 3, self.pick(2, 3))])
            return at
        seen = [at]
        for _ in range(self.pick(2, 3)):
            seen.append(self.conv(self.join(list(seen)) if len(seen) > 1 else at, self.pick(1, 3), self.pick(2, 3)))
        return self.join(seen)

    def wired(self, at: int) -> int:
        """Operators on any earlier value of this size, sums and concats of them."""
        hw = self.shapes[at][1:]
        pool = [i for i, s in enumerate(self.shapes) if s[1:] == hw]
        for _ in range(self.pick(3, 4, 5)):
            a, b = (pool[int(self.rng.integers(len(pool)))] for _ in (0, 1))
            if self.shapes[a] == self.shapes[b] and self.pick(0, 1):
                pool.append(self.add(a, b))
            elif self.pick(0, 0, 1) and self.shapes[a][0] + self.shapes[b][0] < 20:
                pool.append(self.join([a, b]))
            else:
                pool.append(self.conv(a, self.pick(1, 3)))
        return self.join(pool[-2:]) if self.pick(0, 1) else pool[-1]

    def gate(self, at: int) -> int:
        """Squeeze and excite."""
        c = self.shapes[at][0]
        mean = self.put(nn.AdaptiveAvgPool2d(1), at)
        hidden = self.put(nn.Sequential(nn.Conv2d(c, 2, 1), nn.ReLU(), nn.Conv2d(2, c, 1), nn.Hardsigmoid()), mean)
        return self.put(Apply(torch.mul), at, hidden)

    def finish(self, at: int) -> int:
        tail = self.pick("linear", "linear", "mean", "map")
        if tail == "map":
            return at
        c, h, w = self.shapes[at]
        if tail == "mean" or c * h * w > 1500:
            return self.put(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 4)), at)
        return self.put(nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, self.pick(2, 5))), at)

    def forward(self, *xs: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = list(xs)
        for node, wires in zip(self.nodes, self.wires, strict=True):
            values.append(node(*(values[w] for w in wires)))
        made = tuple(values[o] for o in self.outputs)
        return made if len(made) > 1 else made[0]


def random_dag(seed: int) -> tuple[RandomDag, list[Shape]]:
    """The network of ``seed`` in eval mode, and the shapes of its inputs."""
    torch.manual_seed(seed)
    net = RandomDag(seed).eval()
    return net, net.inputs
