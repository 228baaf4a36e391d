"""An independent check of a Plan: replays the graph on a map of arena bytes; imports nothing of the planner.

Every byte carries the tensor value that was last written to it.  Before a node runs, all bytes of its inputs must still
carry those inputs; its workspace must touch none of them; after the last node all outputs must be whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from genn.errors import GennError


def check(
    nodes: list[tuple[str, list[str], list[str], int, bool]],
    sizes: Mapping[str, int],
    offsets: Mapping[str, int],
    arena: int,
    inputs: list[str],
    outputs: list[str],
    align: Mapping[str, int],
    slices: Mapping[tuple[str, str], int] | None = None,
    behind: Mapping[tuple[str, str], tuple[int, int]] | None = None,
) -> None:
    """Raise GennError unless the plan is sound.

    nodes: (name, activation inputs, outputs, workspace bytes, may write over an input) in running order; views are
    nodes whose output has its input's offset and size.  sizes and align in bytes per tensor.  slices: (node, input) ->
    where in the node's output that input may lie: there the node leaves its bytes as they are.  behind: (node, input)
    -> how far the input must start behind the node's output, and behind its workspace, to be overwritten as it is read.
    """
    owner = np.full(arena, -1, np.int64)
    ids: dict[str, int] = {}
    count = 0
    same: dict[str, list[int]] = {}  # what a tensor's bytes may carry besides: results it is a slice of

    def span(name: str, size: int) -> slice:
        at = offsets[name]
        if at < 0 or at + size > arena:
            raise GennError(f"{name} lies at {at}..{at + size}, outside the arena of {arena} bytes")
        return slice(at, at + size)

    def write(name: str) -> None:
        nonlocal count
        ids[name] = count
        count += 1
        if offsets[name] % align.get(name, 1):
            raise GennError(f"{name} at offset {offsets[name]} is not aligned to {align[name]}")
        owner[span(name, sizes[name])] = ids[name]

    def whole(name: str, when: str) -> None:
        if not np.all(np.isin(owner[span(name, sizes[name])], [ids.get(name, -2), *same.get(name, [])])):
            raise GennError(f"{name} is damaged before {when}")

    for name in inputs:
        write(name)
    for name in inputs:
        whole(name, "the first node")
    for node, ins, outs, workspace, overwrites in nodes:
        for name in ins:
            whole(name, node)
        if workspace:
            spot = span(f"{node}#ws", workspace)
            for name in [*ins, *outs]:
                other = span(name, sizes[name])
                gap = (behind or {}).get((node, name), (arena, arena))[1]
                if spot.start < other.stop and other.start < spot.stop and other.start - spot.start < gap:
                    raise GennError(f"the workspace of {node} overlaps {name}")
            owner[spot] = -1
        for out in outs:
            spot = span(out, sizes[out])
            for name in ins:
                other = span(name, sizes[name])
                overlap = spot.start < other.stop and other.start < spot.stop
                inside = slices is not None and slices.get((node, name), -1) == other.start - spot.start
                gap = (behind or {}).get((node, name), (arena, arena))[0]
                grows = other.start - spot.start >= gap
                if overlap and not inside and not grows and not (overwrites and spot == other):
                    raise GennError(f"{node} writes {out} over its input {name}")
                if overlap and inside:
                    same.setdefault(name, []).append(count)
            write(out)
        for out in outs:
            whole(out, f"the end of {node}")
    for name in outputs:
        whole(name, "the end")


def check_rows(
    arena: int,
    places: Mapping[int, tuple[int, int, int, int, int, int]],
    rows: Mapping[int, int],
    events: Sequence[
        tuple[str, Sequence[tuple[int, int, int, bool]], Sequence[tuple[int, int, int]], Sequence[tuple[int, int]]]
    ],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> int:
    """Replay a plan row by row on a map of the arena; raise GennError unless every row is whole when it is read.

    places: tensor -> (offset, rows kept, row stride, pixels, pixel stride, bytes of a pixel); rows: of each tensor.
    events: (name, reads, writes, scratch): reads are (tensor, first row, end, pointwise), writes (tensor, first, end),
    scratch (offset, bytes).  A byte that holds nothing alive is poisoned: it belongs to nobody.  A row written twice
    (a running maximum) must be whole in between.  Returns the highest byte touched + 1.
    """
    owner = np.full(arena, -1, np.int64)
    base: dict[int, int] = {}
    count = 0
    for t, n in rows.items():
        base[t] = count
        count += n
    begun = np.zeros(count, bool)
    final = np.full(count, -1, np.int64)  # the last event that writes a row
    for e, (_, _, writes, _) in enumerate(events):
        for t, first, end in writes:
            final[base[t] + first : base[t] + end] = e
    high = 0

    def spots(t: int, r: int) -> np.ndarray | slice:
        offset, kept, row, pixels, pixel, size = places[t]
        at = offset + (r % kept) * row
        if at < 0 or at + (pixels - 1) * pixel + size > arena:
            raise GennError(f"row {r} of tensor {t} lies at {at}, outside the arena of {arena} bytes")
        if pixels == 1 or pixel == size:
            return slice(at, at + (pixels - 1) * pixel + size)
        return (at + np.arange(pixels)[:, None] * pixel + np.arange(size)).ravel()

    def end_of(t: int, r: int) -> int:
        offset, kept, row, pixels, pixel, size = places[t]
        return offset + (r % kept) * row + (pixels - 1) * pixel + size

    def whole(t: int, r: int, when: str) -> None:
        if not np.all(owner[spots(t, r)] == base[t] + r):
            raise GennError(f"row {r} of tensor {t} is damaged {when}")

    for t in inputs:
        for r in range(rows[t]):
            owner[spots(t, r)] = base[t] + r
            begun[base[t] + r] = True
            high = max(high, end_of(t, r))
    for e, (name, reads, writes, scratch) in enumerate(events):
        for t, first, end, _ in reads:
            for r in range(first, end):
                if final[base[t] + r] >= e or not begun[base[t] + r]:
                    raise GennError(f"{name} reads row {r} of tensor {t} before it is complete")
                whole(t, r, f"before {name}")
        for at, size in scratch:
            if at < 0 or at + size > arena:
                raise GennError(f"the scratch of {name} lies outside the arena")
            owner[at : at + size] = -1
            high = max(high, at + size)
        for t, first, end in writes:
            for r in range(first, end):
                if begun[base[t] + r]:
                    whole(t, r, f"while {name} adds to it")
                owner[spots(t, r)] = base[t] + r
                begun[base[t] + r] = True
                high = max(high, end_of(t, r))
        for t, first, end, pointwise in reads:
            mine = [w for w in writes if w[1:] == (first, end)] if pointwise else []
            if mine and all(_not_ahead(places[w], places[t], first, end) for w, _, _ in mine):
                continue
            for r in range(first, end):
                whole(t, r, f"while {name} reads it")
        for t, first, end in writes:
            for r in range(first, end):
                whole(t, r, f"at the end of {name}")
    for t in outputs:
        for r in range(rows[t]):
            whole(t, r, "at the end")
    return high


def _not_ahead(
    out: tuple[int, int, int, int, int, int], source: tuple[int, int, int, int, int, int], first: int, end: int
) -> bool:
    """True if each element of the output lies at or before the same element of the input, both in one piece."""
    if out[2:] != source[2:] or (out[3] > 1 and out[4] != out[5]):
        return False
    return all(out[0] + (r % out[1]) * out[2] <= source[0] + (r % source[1]) * source[2] for r in range(first, end))
