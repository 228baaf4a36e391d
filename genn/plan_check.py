"""An independent check of a Plan: replays the graph on a map of arena bytes; imports nothing of the planner.

Every byte carries the tensor value that was last written to it.  Before a node runs, all bytes of its inputs must still
carry those inputs; its workspace must touch none of them; after the last node all outputs must be whole.
"""

from __future__ import annotations

from collections.abc import Mapping

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
) -> None:
    """Raise GennError unless the plan is sound.

    nodes: (name, activation inputs, outputs, workspace bytes, may write over an input) in running order; views are
    nodes whose output has its input's offset and size.  sizes and align in bytes per tensor.
    """
    owner = np.full(arena, -1, np.int64)
    ids: dict[str, int] = {}

    def span(name: str, size: int) -> slice:
        at = offsets[name]
        if at < 0 or at + size > arena:
            raise GennError(f"{name} lies at {at}..{at + size}, outside the arena of {arena} bytes")
        return slice(at, at + size)

    def write(name: str) -> None:
        ids[name] = len(ids)
        if offsets[name] % align.get(name, 1):
            raise GennError(f"{name} at offset {offsets[name]} is not aligned to {align[name]}")
        owner[span(name, sizes[name])] = ids[name]

    def whole(name: str, when: str) -> None:
        if not np.all(owner[span(name, sizes[name])] == ids.get(name, -2)):
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
                if spot.start < other.stop and other.start < spot.stop:
                    raise GennError(f"the workspace of {node} overlaps {name}")
            owner[spot] = -1
        for out in outs:
            spot = span(out, sizes[out])
            for name in ins:
                other = span(name, sizes[name])
                overlap = spot.start < other.stop and other.start < spot.stop
                if overlap and not (overwrites and spot == other):
                    raise GennError(f"{node} writes {out} over its input {name}")
            write(out)
        for out in outs:
            whole(out, f"the end of {node}")
    for name in outputs:
        whole(name, "the end")
