"""The heartbeat network of the suite: thirteen linear layers with PReLU, one more, and a sigmoid per class.

It takes one beat, (N, 160) (``genn.datasets.mitbih``), and returns a score per class.  The published widths are not
known; these give the published size.  ``ecg_mlp_paper`` has two outputs, as the size says; ours has the AAMI's five.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

WIDTHS = (160, 160, 160, 160, 160, 70, 70, 70, 5, 5, 5, 5, 5, 5)


class EcgMlp(nn.Module):
    """160-[160 x4, 70 x3, 5 x6]-outputs: 124,780 parameters with two outputs."""

    def __init__(self, outputs: int = 5) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for before, after in itertools.pairwise(WIDTHS):
            steps += [nn.Linear(before, after), nn.PReLU()]
        self.body = nn.Sequential(*steps)
        self.head = nn.Linear(WIDTHS[-1], outputs)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sigmoid(self.head(self.body(x)))


def ecg_mlp() -> nn.Module:
    return EcgMlp()


def ecg_mlp_paper() -> nn.Module:
    return EcgMlp(2)
