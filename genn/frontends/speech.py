"""The front end of the keyword models as one thing: what goes before the graph, and before PyTorch's network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genn.frontends import fixed, mfcc
from genn.ir import Graph

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Frontend:
    """MFCC of one second at 16 kHz, each coefficient standardised with ``mean`` and ``std`` (40 each)."""

    mean: Sequence[float]
    std: Sequence[float]

    def attach(self, graph: Graph) -> Graph:
        """A copy of ``graph`` that takes sound, int16 samples, where it took coefficients."""
        from genn.ops.mfcc import attach

        return attach(graph, self.mean, self.std)

    def module(self, network: Any) -> nn.Module:
        """``network`` behind the front end in floating point: waves (N, 16000) in -1..1, to compare with."""
        from genn.frontends.torch import Listening

        return Listening(network, self.mean, self.std)

    def facts(self, waves: npt.NDArray[np.floating]) -> dict[str, Any]:
        """How far the integers are from floating point over ``waves`` (n, samples) in -1..1."""
        rms, largest = fixed.error((waves * 32768).astype(np.int16))
        spread = [min(self.std), max(self.std)]
        return {
            "name": "mfcc",
            "rate": mfcc.RATE,
            "waves": len(waves),
            "rms": rms,
            "largest": largest,
            "spread": spread,
        }
