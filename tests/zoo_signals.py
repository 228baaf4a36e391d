"""The zoo, continued: sound, signals and sensors, and the habits of everyday code."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo import conv_bn, zoo

# -- sound, signals, sensors -------------------------------------------------------------------------------------------


@zoo((1, 1, 25, 10))
class DSCNN(nn.Module):
    """Keyword spotting: an even kernel, padding by hand, depthwise separable blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((1, 1, 4, 5))
        self.conv = nn.Conv2d(1, 12, (10, 4), stride=2, bias=False)
        self.bn = nn.BatchNorm2d(12)
        self.blocks = nn.Sequential(*(nn.Sequential(conv_bn(12, 12, 3, 1, 12), conv_bn(12, 12, 1)) for _ in range(2)))
        self.dropout, self.fc = nn.Dropout(0.4), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.bn(self.conv(self.pad(x)))))
        x = self.blocks(x)
        x = F.avg_pool2d(x, (x.shape[2], x.shape[3])).squeeze(3).squeeze(2)
        return self.fc(x)


@zoo((1, 64))
class AutoEncoder(nn.Module):
    """Anomaly detection: linear layers with batch normalization."""

    def __init__(self) -> None:
        super().__init__()
        widths = [64, 32, 32, 4, 32, 32]
        blocks = [nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o, eps=1e-3), nn.ReLU()) for i, o in pairwise(widths)]
        self.encoder, self.decoder = nn.Sequential(*blocks[:3]), nn.Sequential(*blocks[3:], nn.Linear(32, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x)
        return self.decoder(z), z


@zoo((1, 1, 90))
class ECG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv1d(1, 6, 7, stride=2, padding=3), nn.PReLU(6)
        self.conv2, self.act2 = nn.Conv1d(6, 8, 5, padding="same"), nn.PReLU()
        self.bn, self.pool = nn.BatchNorm1d(8), nn.MaxPool1d(3, 2)
        self.fc = nn.Linear(8 * 22, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.conv1(x))
        x = self.pool(self.bn(self.act2(self.conv2(x))))
        return torch.sigmoid(self.fc(x.reshape(x.shape[0], -1)))


@zoo((1, 9, 1, 40))
class HAR(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(9, 8, (1, 9)),
            nn.ReLU(),
            nn.MaxPool2d((1, 2), 2),
            nn.Conv2d(8, 12, (1, 9)),
            nn.ReLU(),
            nn.MaxPool2d((1, 2), stride=2),
        )
        self.fc = nn.Sequential(nn.Linear(12 * 4, 24), nn.ReLU(), nn.Linear(24, 6))

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        return self.fc(out.reshape(-1, 12 * 4))


class Chomp1d(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.chomp_size = size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, i: int, o: int, dilation: int) -> None:
        super().__init__()
        pad = 2 * dilation
        self.net = nn.Sequential(
            nn.Conv1d(i, o, 3, padding=pad, dilation=dilation),
            Chomp1d(pad),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(o, o, 3, padding=pad, dilation=dilation),
            Chomp1d(pad),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.downsample = nn.Conv1d(i, o, 1) if i != o else None

    def forward(self, x: Tensor) -> Tensor:
        res = x if self.downsample is None else self.downsample(x)
        return F.relu(self.net(x) + res)


@zoo((1, 3, 20))
class TCN(nn.Module):
    """Causal by padding both sides and cutting the future off; only the last step counts."""

    def __init__(self) -> None:
        super().__init__()
        self.tcn = nn.Sequential(TemporalBlock(3, 8, 1), TemporalBlock(8, 8, 2), TemporalBlock(8, 8, 4))
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.tcn(x)[:, :, -1])


@zoo((1, 6, 14))
class TextCNN(nn.Module):
    """Kernels of several lengths, each with its maximum over time."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(6, 4, k) for k in (2, 3, 4)])
        self.fc = nn.Linear(12 + 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        maxima = [F.relu(conv(x)).max(dim=2)[0] for conv in self.convs]
        return self.fc(torch.cat([*maxima, x.sum(-1) / x.shape[-1]], 1))


@zoo((1, 5, 3))
class LSTM(nn.Module):
    """Unrolled at conversion; one step after another reads the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        return self.fc(out[:, -1])


@zoo((1, 4, 18))
class WaveNet(nn.Module):
    """Causal by padding the past; gates, residuals and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.ModuleList([nn.Conv1d(4, 8, 2, dilation=2**i) for i in range(3)])
        self.residuals = nn.ModuleList([nn.Conv1d(4, 4, 1) for _ in range(3)])
        self.out = nn.Conv1d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = 0
        for i, (conv, residual) in enumerate(zip(self.filters, self.residuals)):
            a, b = conv(F.pad(x, (2**i, 0))).split(4, dim=1)
            z = torch.tanh(a) * torch.sigmoid(b)
            skip = skip + z
            x = residual(z) + x
        return self.out(F.relu(skip))


@zoo((1, 20, 3))
class TimeMajor(nn.Module):
    """The data set has channels last, so the user permutes."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.conv = nn.Conv1d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.permute(0, 2, 1))
        x = F.gelu(self.conv(x))
        return self.fc(x.permute(0, 2, 1))


@zoo((1, 6), (1, 2, 8, 8))
class TwoTowers(nn.Module):
    """Sensors and an image, fused late; scores and a bounded value come back by name."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(conv_bn(2, 6), nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten())
        self.sensor = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
        self.joint, self.steer, self.label = nn.Linear(36 + 12, 16), nn.Linear(16, 1), nn.Linear(16, 4)

    def forward(self, state: Tensor, image: Tensor) -> dict[str, Tensor]:
        h = torch.relu(self.joint(torch.cat((self.image(image), self.sensor(state)), dim=-1)))
        return {"steer": torch.tanh(self.steer(h)).squeeze(-1), "label": F.softmax(self.label(h), dim=-1)}


@zoo((1, 10), (1, 10))
class Siamese(nn.Module):
    """One set of weights on two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        d = self.tower(a) - self.tower(b)
        return (d * d).mean(-1)


@zoo((1, 4, 6, 6))
class Recurrent(nn.Module):
    """The same convolution and normalization several times over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = F.relu(self.bn(self.conv(x)))
        return x


@zoo((1, 12))
class Tied(nn.Module):
    """The decoder is the encoder transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(12, 5)
        self.bias = nn.Parameter(torch.randn(12))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.sigmoid(self.encoder(x))
        return F.linear(h, self.encoder.weight.t(), self.bias)


@zoo((1, 8))
class PolicyNet(nn.Module):
    """Normalization with buffers in front, an action range behind; several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("std", torch.rand(8) + 0.5)
        self.l1, self.l2, self.mu, self.v = nn.Linear(8, 24), nn.Linear(24, 24), nn.Linear(24, 2), nn.Linear(24, 1)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.clamp((obs - self.mean) / self.std, -5.0, 5.0)
        h = torch.tanh(self.l2(torch.tanh(self.l1(x))))
        return 2.0 * torch.tanh(self.mu(h)) + 0.5, self.v(h)


@zoo((1, 6, 10))
class Gated(nn.Module):
    """A residual gate and an attention over time made of what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv1d(6, 1, 1)
        self.value = nn.Conv1d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        weights = F.softmax(self.score(x), dim=-1)
        return self.fc((self.value(x) * weights).mean(dim=2) * 10)


@zoo((2, 3, 10))
class Batch(nn.Module):
    """Two windows at once, seen as one long signal afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)
        self.fc = nn.Linear(4 * 8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x)).relu_()
        return self.fc(x.flatten(1)).view(-1)


@zoo((3, 9, 9))
class Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1)
        )
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.net(x).flatten())


@zoo((1, 2, 3, 4, 5))
class FiveDimensions(nn.Module):
    """Windows of images: the time axis is folded into the batch and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c, h, w = x.shape
        y = F.relu(self.conv(x.view(b * t, c, h, w)))
        return self.fc(y.mean((-2, -1)).view(b, t, -1).mean(1))


@zoo((1, 3, 11, 9))
class Pools(nn.Module):
    """Every way to pool that somebody once wrote."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (
            F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            F.max_pool2d(x, 3, 1, 1, dilation=2),
            F.adaptive_avg_pool2d(x, (5, 7)),
            F.avg_pool2d(x, (2, 3), ceil_mode=True),
            F.max_pool2d(x, (11, 1)),
        )


@zoo((1, 4, 7, 8))
class Convs(nn.Module):
    """Even kernels that keep the size, groups, multipliers, dilation, unequal strides."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(4, 6, (2, 4), padding="same", dilation=(2, 1))
        self.multiplier = nn.Conv2d(4, 12, 3, padding=1, groups=4)
        self.grouped = nn.Conv2d(4, 6, 3, stride=(1, 2), padding=(2, 1), groups=2, dilation=(2, 1))
        self.valid = nn.Conv2d(4, 3, (7, 1), padding="valid")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.same(x), F.hardtanh(self.multiplier(x), -0.5, 0.75), self.grouped(x), self.valid(x)


@zoo((1, 5, 4, 3))
class Arithmetic(nn.Module):
    """Numbers on both sides, in place and not, means and moves of axes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(5, 1, 1))
        self.shift = nn.Parameter(torch.randn(1, 5, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = 1 - x * self.scale + self.shift
        y *= 3
        y += x
        y = y / self.temperature
        centred = y - y.mean((2, 3), keepdim=True)
        variance = (centred**2).mean([2, 3])
        return centred.transpose(1, 3), variance, -x.mean(-1), x.permute(0, 2, 3, 1).unsqueeze(1).squeeze(0)


@zoo((1, 6, 4, 4))
class Slices(nn.Module):
    """Parts of tensors, as segmentation and detection heads take them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 9, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.conv(x)
        xy, wh, rest = torch.split(y, [2, 2, 5], dim=1)
        first, last = x[:, 0], x[..., -1]
        even = x[:, ::2, 1:-1]
        return torch.sigmoid(xy), wh * 2 + first.unsqueeze(1), F.softmax(rest, 1), last, even


@zoo((1, 3, 5, 5))
class Channels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 6, 1), nn.PReLU(6)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.act(self.conv(x)), dim=1)


class Scaled(nn.Module):
    """Activations and weights far from 1, as raw readings of a converter lead to."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k
        self.conv, self.act, self.pool, self.fc = nn.Conv2d(2, 4, 3), nn.PReLU(4), nn.AvgPool2d(2), nn.Linear(16, 8)
        self.conv.weight.data /= k

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = F.relu(self.conv(x * self.k)) * self.k + self.k
        z = self.pool(self.act(y)) / self.k
        return self.fc(z.flatten(1)) * self.k, z.mean((2, 3)) * z.mean() * self.k, (x - x.mean()) * self.k


@zoo((1, 2, 6, 6))
class ScaledDown(Scaled):
    def __init__(self) -> None:
        super().__init__(1e-9)


@zoo((1, 2, 6, 6))
class ScaledUp(Scaled):
    def __init__(self) -> None:
        super().__init__(1e9)


@zoo((1, 7))
class Intermediate(nn.Module):
    """An output that the network goes on computing with, and its own input among the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.a(x)
        return [h, F.relu(h), self.b(F.relu(h)), x, h.view(7)]


@zoo((1, 6))
class LongChain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        acts = [nn.Tanh(), nn.ReLU(), nn.Identity(), nn.LeakyReLU(), nn.Dropout(0.3)]
        self.net = nn.Sequential(*(nn.Sequential(nn.Sequential(nn.Linear(6, 6)), acts[i % 5]) for i in range(40)))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * 4 + x


@zoo((1, 24, 1, 1))
class OnePixel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            conv_bn(24, 16), nn.Conv2d(16, 8, 1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(1), nn.Conv2d(8, 1, 5, padding=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@zoo((1, 1, 1))
class OneNumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(1, 1, 1), nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.conv(x)))


@zoo((1, 4096))
class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4096, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).softmax(1)


@zoo((1, 3, 4))
class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@zoo((1, 3, 4))
class OnlyATransposition(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mT
