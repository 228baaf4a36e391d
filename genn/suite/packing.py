"""Weights as they travel: pruned ones as a bit per weight and the rest, random ones as a seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from genn.errors import ModelError

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]


def pack_sparse(state: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors of two and more dimensions become K.mask (bits, uint8) and K.values; the others stay."""
    packed: dict[str, Array] = {}
    for key, value in state.items():
        if value.ndim < 2:
            packed[key] = value
        else:
            kept = value.ravel() != 0
            packed[f"{key}.mask"], packed[f"{key}.values"] = np.packbits(kept), value.ravel()[kept]
    return packed


def unpack_sparse(stored: Mapping[str, Array], shapes: Shapes) -> dict[str, Array]:
    """What ``pack_sparse`` was given; ModelError where the parts do not fit together."""
    state = {}
    for key, shape in shapes.items():
        if f"{key}.mask" not in stored:
            state[key] = stored[key]
            continue
        size = math.prod(shape)
        mask, values = stored[f"{key}.mask"], stored[f"{key}.values"]
        kept = np.unpackbits(mask).astype(bool)
        if mask.size != -(-size // 8) or kept[size:].any() or kept.sum() != values.size:
            raise ModelError("a mask and its values do not fit together", key, "install genn-mcu again")
        whole = np.zeros(size, values.dtype)
        whole[kept[:size]] = values
        state[key] = whole.reshape(shape)
    return state


def random_weights(name: str, shapes: Shapes, sparsity: float) -> dict[str, Array]:
    """Weights as fresh layers have them, uniform within 1 / sqrt(inputs), the same for the same name.

    With ``sparsity`` the part of each weight tensor that is smallest is zero.
    """
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.removesuffix("-sparse").encode()).digest()[:8]))
    state = {}
    limit = 1.0
    for key, shape in shapes.items():
        if len(shape) > 1:
            limit = math.prod(shape[1:]) ** -0.5  # the bias that follows has the same
        value = random.uniform(-limit, limit, shape).astype(np.float16).astype(np.float32)
        if len(shape) > 1 and sparsity:
            order = np.argsort(-np.abs(value.ravel()), kind="stable")
            value.ravel()[order[value.size - round(sparsity * value.size) :]] = 0
        state[key] = value
    return state
