"""The front end before a PyTorch network, for comparisons: it is NumPy inside, so it runs and cannot be exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from genn.frontends.mfcc import mfcc


class Listening(nn.Module):
    """``network`` (N, 40, 81) fed with the standardised MFCC of waves (N, 16000) in -1..1."""

    def __init__(self, network: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network.eval()
        self.mean, self.std = (np.array(v, np.float32)[:, None] for v in (mean, std))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        features = (mfcc(wave.detach().numpy()) - self.mean) / self.std
        out: torch.Tensor = self.network(torch.from_numpy(features))
        return out
