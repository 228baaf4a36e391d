"""Calibration inputs for MLPerf Tiny without its training data: synthetic ones that use the ranges of the reference.

The int8 reference models tell which range each of their activations took on the benchmark's own calibration data.  From
coloured noise, gradient descent on the input values makes inputs in which every activation of the float network reaches
just these ranges.  No evaluation input is used, and nothing of the training sets is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mlperf_tflite import Network
from torch import nn

from genn.suite.mlperf import Residual
from genn.suite.mlperf_data import Stored

STEPS = 250
RATE = 0.02  # of the inputs' range
RANGED = ("conv", "depthwise", "linear", "add")


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[Callable[[torch.Tensor], list[torch.Tensor]]]:
    """A function that runs the module and gives the output of every convolution, linear layer and residual block."""
    seen: list[torch.Tensor] = []
    places = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear, Residual))]
    hooks = [m.register_forward_hook(lambda m, given, made: seen.append(made)) for m in places]

    def run(x: torch.Tensor) -> list[torch.Tensor]:
        seen.clear()
        module(x)
        return list(seen)

    try:
        yield run
    finally:
        for hook in hooks:
            hook.remove()


def synthesize(module: nn.Module, reference: Network, data: Stored, shape: tuple[int, ...], count: int, extra: int = 0,
               seed: int = 1) -> tuple[np.ndarray, float]:
    """``count`` + ``extra`` stored inputs, and the worst deviation of an activation's extremes as a share of its range.

    Each extreme has one of the first ``count`` inputs that must reach it; none may pass it.
    """
    generator = torch.Generator().manual_seed(seed)
    ranges = [op.outputs[0].range() for op in reference.operators if op.kind in RANGED]
    low, high = data.bounds()
    x = (low + (high - low) * coloured_noise((count + extra, *shape), generator)).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=RATE * (high - low))
    with outputs_of(module) as run:
        for _ in range(STEPS):
            optimizer.zero_grad()
            ends = extremes(run(x), ranges)
            reached = torch.stack([end[i % count] for i, end in enumerate(ends)])
            loss = ((reached - 1) ** 2).sum() + sum((torch.relu(end - 1) ** 2).sum() for end in ends)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                x.clamp_(low, high)
        stored = data.store(x.detach().numpy())
        with torch.no_grad():
            made = extremes(run(torch.from_numpy(data.normalise(stored[:count]))), ranges)
    return stored, max(abs(float(end.max()) - 1) for end in made)


def extremes(outputs: list[torch.Tensor], ranges: list[tuple[float, float]]) -> list[torch.Tensor]:
    """(N,) for each end of each range, 1 where it is just reached; a range from 0 has ReLU there, and only one end."""
    ends = []
    for y, (low, high) in zip(outputs, ranges, strict=True):
        flat = y.flatten(1)
        ends += [flat.amax(1) / high] + ([flat.amin(1) / low] if low < 0 else [])
    return ends


def coloured_noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Noise in 0..1 whose power falls with frequency over the last two axes, as in pictures and spectrograms."""
    flat = shape if len(shape) > 2 else (shape[0], 1, 5, shape[1] // 5)  # the autoencoder's 5 frames of 128 bands
    noise = torch.fft.fft2(torch.randn(flat, generator=generator))
    rows, cols = (torch.fft.fftfreq(n) for n in flat[-2:])
    frequency = (rows[:, None] ** 2 + cols**2).sqrt().clamp(min=1 / max(flat[-2:]))
    picture = torch.fft.ifft2(noise / frequency).real
    ends = picture.amin((1, 2, 3), keepdim=True), picture.amax((1, 2, 3), keepdim=True)
    return ((picture - ends[0]) / (ends[1] - ends[0])).reshape(shape)
