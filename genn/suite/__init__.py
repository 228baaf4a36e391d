"""The suite's models by name, with trained weights and real samples beside them, so that nothing need be downloaded.

Importing this module imports neither PyTorch nor any model: ``load`` does, when it is called.
"""

from __future__ import annotations

import difflib
import importlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genn.errors import GennError, ToolchainError, UsageError

if TYPE_CHECKING:
    import torch

DATA = Path(__file__).resolve().parent / "data"

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Real samples shipped in ``data/FILE``: arrays x, y (from the test set) and calibration_x, calibration_y (from the
    training set), the inputs as raw pixels."""

    name: str
    file: str
    mean: float
    std: float

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """What the network is fed: (pixel / 255 - mean) / std, each step in float32; images get a channel axis."""
        x = pixels.astype(np.float32) / np.float32(255)
        x = (x - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(x[:, None])


@dataclass(frozen=True)
class Entry:
    """One model of the suite; ``accuracy`` is in percent, of the shipped weights in float32 on the whole test set."""

    name: str
    factory: str  # package.module:function, taking nothing and returning an nn.Module
    weights: str  # a file in data/; fp16-exact values, loaded as float32
    input_shape: tuple[int, ...]
    dataset: Dataset
    parameters: int
    accuracy: float
    description: str


MNIST = Dataset("mnist", "mnist_samples.npz", mean=0.1307, std=0.3081)

_ENTRIES = (
    Entry(
        "mnist-mlp",
        "genn.suite.mnist:mnist_mlp",
        "mnist_mlp.safetensors",
        (1, 1, 28, 28),
        MNIST,
        parameters=101_770,
        accuracy=99.11,
        description="handwritten digits, 784-128-10 with ReLU",
    ),
    Entry(
        "mnist-cnn",
        "genn.suite.mnist:mnist_cnn",
        "mnist_cnn.safetensors",
        (1, 1, 28, 28),
        MNIST,
        parameters=21_840,
        accuracy=99.49,
        description="handwritten digits, two 5x5 convolutions with pooling, then 320-50-10",
    ),
)

MODELS: dict[str, Entry] = {known.name: known for known in _ENTRIES}


def entry(name: str) -> Entry:
    """The model called ``name``; a UsageError names the nearest one when there is none."""
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name, MODELS, n=1)
    fix = f"did you mean {near[0]}?" if near else f"the suite has {', '.join(MODELS)}"
    raise UsageError(f"no model {name!r} in the suite", fix=fix)


def build(name: str) -> torch.nn.Module:
    """The model with fresh, untrained weights."""
    module, _, function = entry(name).factory.partition(":")
    try:
        factory = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise ToolchainError(f"{error.name or error} is not installed", fix="install genn-mcu[torch]") from error
    built: torch.nn.Module = factory()
    return built


def weights(name: str) -> dict[str, Floats]:
    """The trained weights as float32, by parameter name; needs safetensors but not PyTorch."""
    try:
        from safetensors.numpy import load as parse
    except ImportError as error:
        raise ToolchainError("safetensors is not installed", fix="install genn-mcu[torch]") from error
    stored = parse(_read(entry(name).weights))
    return {key: np.ascontiguousarray(value, np.float32) for key, value in sorted(stored.items())}


def load(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """The trained model, ready for inference, and one real sample as its example input."""
    module = build(name)
    import torch

    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights(name).items()})
    return module.eval(), torch.from_numpy(samples(name)[0][:1].copy())


def samples(name: str) -> tuple[Floats, Ints]:
    """Normalised real inputs and labels from the test set: for MNIST its first 400 images."""
    return _pair(entry(name).dataset, "x", "y")


def calibration(name: str) -> tuple[Floats, Ints]:
    """Normalised real inputs and labels from the training set, never the test set: for MNIST its first 256 images."""
    return _pair(entry(name).dataset, "calibration_x", "calibration_y")


def _pair(dataset: Dataset, x: str, y: str) -> tuple[Floats, Ints]:
    arrays = _arrays(dataset.file)
    return dataset.normalise(arrays[x]), arrays[y].astype(np.int64)


@cache
def _arrays(file: str) -> dict[str, npt.NDArray[np.uint8]]:
    with np.load(io.BytesIO(_read(file)), allow_pickle=False) as archive:
        return dict(archive)


def _read(file: str) -> bytes:
    try:
        return (DATA / file).read_bytes()
    except OSError as error:
        raise GennError("the installation lacks this file of the suite", file, "install genn-mcu again") from error
