"""Weights as they travel: a bit for each and the bytes of those that are not zero, compressed; or a seed."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from genn.errors import ModelError

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

SMALL = 4096  # values: a smaller tensor is stored plainly
PARTS = ("shape", "mask", "high", "low")


def pack(state: Mapping[str, Array]) -> dict[str, Array]:
    """fp16 tensors as a file holds them: K of SMALL values and more becomes four tensors, any other stays.

    K.shape (int32); K.mask (one bit a value, the first in the highest bit, 1 where it is not +0; deflated); K.high and
    K.low: of the values that are not +0, the bytes with sign and exponent, deflated, and the others as they are (they
    are noise).
    """
    packed: dict[str, Array] = {}
    for key, value in state.items():
        if value.size < SMALL:
            packed[key] = value
            continue
        bits = np.ascontiguousarray(value, np.float16).ravel().view(np.uint16)
        kept = bits[bits != 0]
        packed[f"{key}.shape"] = np.array(value.shape, np.int32)
        packed[f"{key}.mask"] = _deflate(np.packbits(bits != 0))
        packed[f"{key}.high"] = _deflate((kept >> 8).astype(np.uint8))
        packed[f"{key}.low"] = (kept & 255).astype(np.uint8)
    return packed


def unpack(stored: Mapping[str, Array]) -> dict[str, Array]:
    """What ``pack`` was given; ModelError where the parts do not fit together."""
    state = {}
    for name, value in stored.items():
        key, _, part = name.rpartition(".")
        if part == "shape":
            state[key] = _whole(stored, key, tuple(int(n) for n in value))
        elif part not in PARTS:
            state[name] = value
    return state


def _whole(stored: Mapping[str, Array], key: str, shape: tuple[int, ...]) -> Array:
    try:
        size, low = math.prod(shape), stored[f"{key}.low"]
        bits = np.unpackbits(_inflate(stored[f"{key}.mask"], -(-size // 8)))
        high = _inflate(stored[f"{key}.high"], low.size)
        if bits[size:].any() or int(bits.sum()) != low.size:
            raise ValueError("the mask has another number of bits than there are values")
    except (KeyError, ValueError, zlib.error):
        raise ModelError("the parts of a tensor do not fit together", key, "install genn-mcu again") from None
    whole = np.zeros(size, np.uint16)
    whole[bits[:size].astype(bool)] = high.astype(np.uint16) << 8 | low
    return whole.view(np.float16).reshape(shape)


def _deflate(values: Array) -> Array:
    return np.frombuffer(zlib.compress(values.tobytes(), 9), np.uint8)


def _inflate(stored: Array, size: int) -> Array:
    """Exactly ``size`` bytes; ValueError or zlib.error otherwise, and never much more memory than that."""
    made = zlib.decompressobj().decompress(stored.tobytes(), size + 1)
    if len(made) != size:
        raise ValueError("another number of bytes than there are values")
    return np.frombuffer(made, np.uint8)


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
