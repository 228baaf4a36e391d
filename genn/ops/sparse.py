"""Stored-sparse weights: how rows become groups of four entries, which ckernels/genn_sparse.h walks.

A group is a word of four places, counted from the group's base, and the entries' values.  The base of the first group
is the row's first input, the fourth place is the base of the next group.  Gaps too wide for a place, and row ends,
leave entries over: they have the value zero.
"""

from __future__ import annotations

import numpy as np

ENTRIES = 4
LAST = 255  # the fourth place, which has the word's top byte for itself
# The largest of the first three places: ARMv6-M takes a byte out of a word and scales it by two shifts, which bring
# along the top bits of the byte below.  Inputs are one byte for int8, two for int16, four for a convolution's pixels.
LIMIT = {"int8": 255, "int16": 127, "float32": 255, "conv2d": 63}

PIXELS = {"int8": 4, "int16": 2, "float32": 2}  # of a tile of genn_conv_sparse.h


def limit_of(op: str, scheme: str) -> int:
    """The largest of a group's first three places."""
    return LIMIT["conv2d"] if op == "conv2d" else LIMIT[scheme]


def row_groups(columns: np.ndarray, limit: int) -> list[list[tuple[int, int]]]:
    """Groups of four (place, column) of one row's stored columns; column -1 marks an entry left over."""
    out: list[list[tuple[int, int]]] = []
    base, group = 0, list[tuple[int, int]]()
    left = list(map(int, columns))[::-1]
    while left:
        slot, place = len(group), left[-1] - base
        if slot == ENTRIES - 1:
            group.append((place, left.pop()) if place <= LAST else (LAST, -1))
            base += group[-1][0]
            out.append(group)
            group = []
        elif place <= limit:
            group.append((place, left.pop()))
        else:
            group.append((group[-1][0] if group else 0, -1))
    if group:
        out.append(group + [(group[-1][0], -1)] * (ENTRIES - len(group)))
    return out


def pack_rows(w: np.ndarray, limit: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Weights (O, K) as 32-bit words, row behind row, and the number of groups of each row.

    dtype: of a value.
    """
    words, counts = [], []
    for row in w:
        groups = row_groups(np.flatnonzero(row), limit)
        counts.append(len(groups))
        entries = np.array(groups, np.int64).reshape(-1, ENTRIES, 2)
        values = np.where(entries[:, :, 1] >= 0, row[entries[:, :, 1]], 0).astype(dtype)
        places = np.ascontiguousarray(entries[:, :, 0], np.uint8).view("<u4")
        words.append(np.concatenate([places, values.view("<u4")], axis=1).ravel())
    packed = np.concatenate(words)
    return packed if len(packed) else np.zeros(1, np.uint32), np.array(counts, np.int64)  # C has no empty arrays
