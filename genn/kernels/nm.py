"""N:M sparse linear: at most N of every M neighbouring weights of a row, stored as pairs (ckernels/genn_nm.h)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genn.ir import Graph, Node
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import Array, Lowered, registry, suffix

PATTERNS = {"2:4": 4, "1:4": 8, "1:8": 16}  # the inputs that two weights are taken from: a unit
SCHEMES = ("int8", "int16")
BLOCK = 4  # units
TABLE = {"time": 2048, "balanced": 1024, "flash": 1024}  # bytes of a tile's table
_TWO = [(a, b) for a in range(4) for b in range(a + 1, 4)]  # where the weights of a unit of 2:4 may be


def patterns(w: np.ndarray) -> list[str]:
    """The patterns that weights (O, K) have; what a row lacks of its last M counts as zeros."""
    found = []
    for name in PATTERNS:
        n, m = map(int, name.split(":"))
        if int((_padded(w, m).reshape(len(w), -1, m) != 0).sum(axis=2).max(initial=0)) <= n:
            found.append(name)
    return found


def _padded(w: np.ndarray, to: int) -> np.ndarray:
    return np.pad(w, ((0, 0), (0, -w.shape[1] % to)))


def entries(pattern: str) -> int:
    """Words of a unit's table."""
    unit = PATTERNS[pattern]
    return len(_TWO) if unit == 4 else unit * unit // 4


def pairs(w: np.ndarray, pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights (O, K) as pairs (O, units, 2) and each one's entry of its unit's table (O, units); whole blocks."""
    unit = PATTERNS[pattern]
    parts = _padded(w, BLOCK * unit).reshape(len(w), -1, unit)
    if unit == 4:
        kept = parts != 0
        fits = [(kept & ~np.isin(np.arange(4), two)).sum(axis=2) == 0 for two in _TWO]
        entry = np.argmax(fits, axis=0)
        first, second = (np.array(_TWO)[entry][..., i] for i in (0, 1))
    else:
        half = unit // 2
        first, second = (np.argmax(parts[..., at : at + half] != 0, axis=2) for at in (0, half))
        entry, second = first * half + second, second + half
    return np.take_along_axis(parts, np.stack([first, second], axis=2), axis=2), entry


def tile_inputs(columns: int, pattern: str, optimize: str) -> int:
    """Inputs whose table is held at a time: whole blocks, no more than there are."""
    block = BLOCK * PATTERNS[pattern]
    return block * min(TABLE[optimize] // (BLOCK * entries(pattern) * 4), -(-columns // block))


def pack(w: np.ndarray, pattern: str, scheme: str, words: bool, tile: int) -> np.ndarray:
    """Weights (O, K) as genn_nm.h has them: 32-bit words, tile by tile of inputs.  words: the wider form."""
    pair, entry = pairs(w, pattern)
    blocks = pair.reshape(len(w), -1, BLOCK, 2).astype(np.int64)
    near = np.zeros(BLOCK, int) if pattern == "1:8" else np.arange(BLOCK) * entries(pattern)
    live = (blocks != 0).any(axis=3)  # an empty unit's place is the first entry, which a block always has
    places = np.where(live, entry.reshape(len(w), -1, BLOCK) + near, 0) * 4
    head = places.astype(np.uint8).view("<u4").reshape(len(w), -1, 1)
    if words:
        first, second = blocks[..., 0], blocks[..., 1]
        body = (first & 0xFFFF if scheme == "int16" else first) + (second << 16)
        body = (body & 0xFFFFFFFF).astype(np.uint32)
    else:  # of two units: first, first, second, second
        order = blocks.reshape(len(w), -1, 2, 2, 2).transpose(0, 1, 2, 4, 3)
        body = np.ascontiguousarray(order).astype(np.int8).view(np.uint8).reshape(len(w), -1, 8).view("<u4")
    packed = np.concatenate([head, body], axis=2)
    step = tile // (BLOCK * PATTERNS[pattern])
    return np.concatenate([packed[:, i : i + step].ravel() for i in range(0, packed.shape[1], step)])


def wide(scheme: str, goal: Goal) -> bool:
    """True for a word a pair: int16, and int8 for ARMv6-M, which has no SXTB16, unless flash counts most."""
    return scheme == "int16" or (goal.isa == "armv6m" and goal.optimize != "flash")


def stored_bytes(w: np.ndarray, pattern: str, scheme: str, goal: Goal) -> int:
    """Flash of the packed weights."""
    blocks = -(-w.shape[1] // (BLOCK * PATTERNS[pattern]))
    return len(w) * blocks * (1 + (4 if wide(scheme, goal) else 2)) * 4


def runs(node: Node, graph: Graph, goal: Goal) -> bool:
    """True where a kernel of this module may take the layer, its weights aside."""
    allowed = goal.only in (None, LinearNM.name, LinearNMV6M.name)
    known = goal.only is not None or goal.isa in LinearNM.isas + LinearNMV6M.isas
    return allowed and known and node.op == LinearNM.op and graph.scheme in SCHEMES


@register
class LinearNM(Kernel):
    """For cores with the DSP instructions: two products of a pair in one."""

    name, op, schemes, isas = "linear-nm-v7em", "linear", SCHEMES, ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return bool(node.quant.get("nm"))

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        q, portable = node.quant, registry["linear"].lower(node, graph)
        pattern, words, sfx = q["nm"], wide(graph.scheme, goal), suffix(graph)
        rows, columns = q["w"].shape
        tile = tile_inputs(columns, pattern, goal.optimize)
        fields = {k: v for k, v in portable.calls[0].params.items() if k not in ("split", "pre")}
        consts = {k: v for k, v in portable.consts.items() if k != "count"}
        call = replace(
            portable.calls[0],
            function=f"genn_linear_{pattern.replace(':', 'of')}_{'words' if words else 'bytes'}_{sfx}",
            struct=f"genn_linear_nm_{sfx}",
            params={**fields, "tile": tile},
            args=("in0", "w", *(f"c.{k}" for k in consts), "ws", "out0"),
        )
        packed = Array("uint32_t", pack(q["w"], pattern, graph.scheme, words, tile))
        workspace = 4 * (rows + tile // PATTERNS[pattern] * entries(pattern))
        return Lowered("genn_linear_nm.h", [call], packed, consts, workspace)


@register
class LinearNMV6M(LinearNM):
    """For ARMv6-M: two products of a pair of bytes in one multiplication."""

    name, isas = "linear-nm-v6m", ("armv6m",)
