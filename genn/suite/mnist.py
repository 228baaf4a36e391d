"""The two MNIST networks of the suite, layer for layer as published, so that figures can stand side by side.

Both take images of shape (N, 1, 28, 28), pixels scaled to 0..1 and normalised with mean 0.1307 and standard deviation
0.3081 (``genn.suite.MNIST.normalise``), and return ten logits.
"""

from __future__ import annotations

import torch
from torch import nn


class MnistMlp(nn.Module):
    """784-128-10 with ReLU: 101,770 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(784, 128)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.flatten(x)
        x = self.relu(self.fc1(x))
        return self.fc2(x)


class MnistCnn(nn.Module):
    """Two 5x5 convolutions, each pooled by 2, then 320-50-10: 21,840 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.pool1 = nn.MaxPool2d(2)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.pool2 = nn.MaxPool2d(2)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(320, 50)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.pool1(self.conv1(x)))
        x = self.relu2(self.pool2(self.conv2(x)))
        x = self.flatten(x)
        x = self.relu3(self.fc1(x))
        return self.fc2(x)


def mnist_mlp() -> nn.Module:
    return MnistMlp()


def mnist_cnn() -> nn.Module:
    return MnistCnn()
