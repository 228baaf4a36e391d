"""Linear for cores with the DSP instructions: eight rows at a time (ckernels/genn_linear_dsp.h)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genn.ir import Graph, Node
from genn.kernels import dsp_pack
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import Array, Lowered, registry


def pack_s8(w: np.ndarray, block: int) -> np.ndarray:
    """Weights (O, K) as the bytes genn_linear_dsp_s8 reads: blocks of ``block`` rows, of 2, and a last one plain."""
    rows, k = w.shape
    groups, parts = k // 4, []
    for size, first in ((block, 0), (2, rows // block * block)):
        for o in range(first, rows // size * size, size):
            pair = dsp_pack.pairs(w[o : o + size])
            words = pair[:, : 4 * groups].reshape(len(pair), groups, 2, 2)  # pair, group, which of the word, parity
            parts += [words.transpose(1, 3, 0, 2), pair[:, 4 * groups :].T]
    if rows % 2:
        parts.append(w[-1].astype(np.int8))
    return dsp_pack.as_bytes(*parts)


def pack_s16(w: np.ndarray) -> np.ndarray:
    """Weights (O, K) as genn_linear_dsp_s16 reads them: blocks of 8 rows, of 2 and of 1, two columns at a time."""
    rows, k = w.shape
    parts, even, o = [], k // 2 * 2, 0
    for size in (8, 2, 1):
        while rows - o >= size:
            block = w[o : o + size]
            parts += [block[:, :even].reshape(size, k // 2, 2).transpose(1, 0, 2).ravel(), block[:, even:].ravel()]
            o += size
    return np.concatenate(parts)


def small(node: Node) -> bool:
    """True where the sizes fit the 16-bit fields of the parameters."""
    return max(node.quant["w"].shape) < 1 << 15


@register
class LinearDspS8(Kernel):
    """Dense int8 rows, in chunks of columns whose sums fit the packing."""

    name, op, schemes, isas = "linear-dsp-s8", "linear", ("int8",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        columns, _ = dsp_pack.columns_exact(node, graph, 4)
        least = node.quant["w"].shape[1] if goal.optimize == "flash" else 1
        return small(node) and not node.quant["sparse"] and columns >= least

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable, q = registry["linear"].lower(node, graph), node.quant
        chunk, center = dsp_pack.columns_exact(node, graph, 4)
        call = replace(
            portable.calls[0],
            function="genn_linear_dsp_s8",
            struct="genn_linear_dsp_s8",
            params={**portable.calls[0].params, "chunk": chunk, "center": center},
            args=("in0", "w", "c.c", "out0"),
        )
        packed = Array("int8_t", pack_s8(q["w"], 2 if goal.optimize == "flash" else 8))
        consts = {"c": Array("int32_t", dsp_pack.constants_s8(q["b"], q["requant"].mult, center, 2))}
        return Lowered("genn_linear_dsp.h", [call], packed, consts)


@register
class LinearDspS16(Kernel):
    """Dense int16 rows with one accumulator each."""

    name, op, schemes, isas = "linear-dsp-s16", "linear", ("int16",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return small(node) and not node.quant["sparse"] and not node.quant["split"]

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["linear"].lower(node, graph)
        params = {k: v for k, v in portable.calls[0].params.items() if k not in ("split", "pre")}
        call = replace(portable.calls[0], function="genn_linear_dsp_s16", struct="genn_linear_dsp_s16", params=params)
        return Lowered("genn_linear_dsp.h", [call], Array("int16_t", pack_s16(node.quant["w"])), portable.consts)
