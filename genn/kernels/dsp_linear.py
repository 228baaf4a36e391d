"""Linear for cores with the DSP instructions: eight rows at a time (ckernels/genn_linear_dsp.h)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genn.ir import Graph, Node
from genn.kernels import dsp_pack
from genn.kernels.base import Goal, Kernel, register
from genn.ops.base import Array, Lowered, registry


def pack_s8(w: np.ndarray) -> np.ndarray:
    """Weights (O, K) as the bytes genn_linear_dsp_s8 reads: blocks of 8 rows, of 2, and a last one plain."""
    rows, k = w.shape
    groups, parts = k // 4, []
    for size, first in ((8, 0), (2, rows // 8 * 8)):
        for o in range(first, rows // size * size, size):
            pair = dsp_pack.pairs(w[o : o + size])
            words = pair[:, : 4 * groups].reshape(len(pair), groups, 2, 2)  # pair, group, which of the word, parity
            parts += [words.transpose(1, 3, 0, 2), pair[:, 4 * groups :].T]
    if rows % 2:
        parts.append(w[-1].astype(np.int8))
    return dsp_pack.as_bytes(*parts)


@register
class LinearDspS8(Kernel):
    """Dense int8 rows, in chunks of columns whose sums fit the packing."""

    name, op, schemes, isas = "linear-dsp-s8", "linear", ("int8",), ("armv7em",)

    def accepts(self, node: Node, graph: Graph, goal: Goal) -> bool:
        return not node.quant["sparse"] and dsp_pack.columns_exact(node, graph, 4)[0] > 0

    def lower(self, node: Node, graph: Graph, goal: Goal) -> Lowered:
        portable = registry["linear"].lower(node, graph)
        chunk, center = dsp_pack.columns_exact(node, graph, 4)
        params = {**portable.calls[0].params, "chunk": chunk, "center": center}
        call = replace(portable.calls[0], function="genn_linear_dsp_s8", struct="genn_linear_dsp_s8", params=params)
        consts = {
            "bias": Array("int32_t", dsp_pack.pair_bias(node.quant["b"], center)),
            "mult": portable.consts["mult"],
        }
        return Lowered("genn_linear_dsp.h", [call], Array("int8_t", pack_s8(node.quant["w"])), consts)
