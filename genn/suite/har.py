"""The two activity-recognition networks of the suite, layer for layer as published, to stand beside their figures.

Both take windows (N, 9, 128): 2.56 s at 50 Hz of body acceleration, angular rate and total acceleration along x, y, z,
each standardised (``genn.suite.HAR.normalise``), and return six logits.
"""

from __future__ import annotations

import torch
from torch import nn


class HarMlp(nn.Module):
    """1152-1024-512-6 with ReLU: 1,708,550 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(9 * 128, 1024)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Linear(1024, 512)
        self.relu2 = nn.ReLU()
        self.fc3 = nn.Linear(512, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.fc1(self.flatten(x)))
        x = self.relu2(self.fc2(x))
        return self.fc3(x)


class HarCnn(nn.Module):
    """Two convolutions over time, each pooled by 2, then 1664-1000-500-6: 2,189,626 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(9, 32, kernel_size=(1, 9))
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d((1, 2))
        self.conv2 = nn.Conv2d(32, 64, kernel_size=(1, 9))
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d((1, 2))
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(64 * 26, 1000)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(1000, 500)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(500, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.relu1(self.conv1(x.unsqueeze(2))))
        x = self.flatten(self.pool2(self.relu2(self.conv2(x))))
        x = self.relu3(self.fc1(x))
        x = self.relu4(self.fc2(x))
        return self.fc3(x)


def har_mlp() -> nn.Module:
    return HarMlp()


def har_cnn() -> nn.Module:
    return HarCnn()
