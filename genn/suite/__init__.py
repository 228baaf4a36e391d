"""The suite's models by name, with trained weights and real samples beside them, so that nothing need be downloaded.

Importing this module imports neither PyTorch nor any model: ``load`` does, when it is called.
"""

from __future__ import annotations

import difflib
import importlib
import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from genn.errors import GennError, ToolchainError, UsageError
from genn.suite.catalog import DATA, KWS, MNIST, NETWORKS, Dataset, Entry
from genn.suite.mlperf_catalog import MLPERF
from genn.suite.mlperf_data import Stored
from genn.suite.packing import random_weights, unpack

if TYPE_CHECKING:
    import torch

    from genn.frontends.speech import Frontend

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

__all__ = [
    "DATA",
    "MNIST",
    "MODELS",
    "Entry",
    "build",
    "calibration",
    "entry",
    "frontend",
    "load",
    "samples",
    "waves",
    "weights",
]


MODELS: dict[str, Entry] = NETWORKS | MLPERF


def entry(name: str) -> Entry:
    """The model called ``name``; a UsageError names the nearest one when there is none."""
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name, MODELS, n=1)
    fix = f"did you mean {near[0]}?" if near else "genn models lists them"
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
    """The weights as float32, by parameter name.  Trained ones need safetensors but not PyTorch.

    ``genn.suite.packing`` says how a file holds them.
    """
    known = entry(name)
    if not known.weights:
        return random_weights(known.name, _shapes(name), known.sparsity)
    try:
        from safetensors.numpy import load as parse
    except ImportError as error:
        raise ToolchainError("safetensors is not installed", fix="install genn-mcu[torch]") from error
    stored = unpack(parse(_read(known.weights)))
    return {key: np.ascontiguousarray(value, np.float32) for key, value in sorted(stored.items())}


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in build(name).state_dict().items()}


def load(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """The trained model, ready for inference, and one real sample as its example input."""
    module = build(name)
    import torch

    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights(name).items()})
    return module.eval(), torch.from_numpy(samples(name)[0][:1].copy())


def samples(name: str) -> tuple[Floats, Ints | None]:
    """Normalised inputs and labels from the test set: for MNIST its first 400 images.

    Where the test set may not be passed on the inputs are synthetic, and there are no labels.
    """
    return _pair(entry(name).dataset, "x", "y")


def calibration(name: str) -> tuple[Floats, Ints | None]:
    """Normalised inputs and labels from the training set, never the test set: for MNIST its first 256 images.

    For MLPerf Tiny they are synthetic: ``bench/mlperf_inputs.py``.
    """
    return _pair(entry(name).dataset, "calibration_x", "calibration_y")


def frontend(name: str) -> Frontend:
    """What makes a keyword model's input of sound, on the device; UsageError for a model with another input."""
    from genn.frontends.speech import Frontend

    dataset = entry(name).dataset
    if dataset is not KWS:
        raise UsageError("there is no front end for this model", name, "--with-frontend goes with the kws models")
    return Frontend(KWS.mean, KWS.std)


def waves(name: str) -> tuple[Floats, Ints]:
    """The sound of ten utterances of the test speakers, one a word: (10, 16000) in -1..1, and their labels."""
    arrays = _arrays(entry(name).dataset.file)
    return arrays["wave"].astype(np.float32) / np.float32(32768), arrays["wave_y"].astype(np.int64)


def _pair(dataset: Dataset | Stored, x: str, y: str) -> tuple[Floats, Ints | None]:
    arrays = _arrays(dataset.file)
    return dataset.normalise(arrays[x]), arrays[y].astype(np.int64) if y in arrays else None


@cache
def _arrays(file: str) -> dict[str, npt.NDArray[np.uint8]]:
    with np.load(io.BytesIO(_read(file)), allow_pickle=False) as archive:
        return dict(archive)


def _read(file: str) -> bytes:
    try:
        return (DATA / file).read_bytes()
    except OSError as error:
        raise GennError("the installation lacks this file of the suite", file, "install genn-mcu again") from error
