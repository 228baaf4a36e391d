"""The three keyword-spotting networks of the suite, after the published ones.

All take MFCC of one second, (N, 40, 81) (``genn.frontends.mfcc``), standardised per coefficient
(``genn.suite.KWS.normalise``).  The published ones tell two classes apart; ours have ten keywords, and ``*_paper`` has
the published number of outputs, hence the published bytes.
"""

from __future__ import annotations

import torch
from torch import nn


class KwsMlp(nn.Module):
    """3240-512-512-512 with ReLU, averaged to 127 values, then linear: 2,184,960 parameters with two outputs."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(40 * 81, 512)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(512, 512)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(512, 512)
        self.relu3 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool1d(127)
        self.fc4 = nn.Linear(127, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.fc1(self.flatten(x)))
        x = self.relu2(self.fc2(x))
        x = self.relu3(self.fc3(x))
        return self.fc4(self.pool(x.unsqueeze(1)).squeeze(1))


class KwsCnn(nn.Module):
    """Two convolutions over time and four linear steps; a stand-in that has the published size but for one weight."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(40, 28, kernel_size=3)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv1d(28, 48, kernel_size=2, stride=3)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(48 * 26, 128)
        self.fc2 = nn.Linear(128, 160)
        self.relu3 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool1d(50)
        self.fc3 = nn.Linear(50, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.conv1(x))
        x = self.flatten(self.relu2(self.conv2(x)))
        x = self.relu3(self.fc2(self.fc1(x)))
        return self.fc3(self.pool(x.unsqueeze(1)).squeeze(1))


class DepthwiseSeparable(nn.Module):
    """A filter per channel over time, then a mix of the channels, each followed by ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel_size=3, groups=channels)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv1d(channels, channels, kernel_size=1)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.depthwise(x))
        return self.relu2(self.pointwise(x))


class KwsDsCnn(nn.Module):
    """A convolution, four depthwise separable ones, the average over time: 28,098 parameters with two outputs."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv1d(40, 64, kernel_size=4, stride=3)
        self.relu = nn.ReLU()
        self.block1 = DepthwiseSeparable(64)
        self.block2 = DepthwiseSeparable(64)
        self.block3 = DepthwiseSeparable(64)
        self.block4 = DepthwiseSeparable(64)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv(x))
        x = self.block4(self.block3(self.block2(self.block1(x))))
        return self.fc(self.flatten(self.pool(x)))


def kws_mlp() -> nn.Module:
    return KwsMlp()


def kws_cnn() -> nn.Module:
    return KwsCnn()


def kws_dscnn() -> nn.Module:
    return KwsDsCnn()


def kws_mlp_paper() -> nn.Module:
    return KwsMlp(2)


def kws_cnn_paper() -> nn.Module:
    return KwsCnn(1)


def kws_dscnn_paper() -> nn.Module:
    return KwsDsCnn(2)
