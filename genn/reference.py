"""The specification that runs: a Graph evaluated in NumPy, node by node, and what the C must equal byte for byte.

A float32 graph is evaluated in float32 in the defined order of operations; a quantized one in exact integers.  Arrays
carry a leading sample axis, so one pass evaluates a whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from genn.errors import GennError
from genn.ir import NP_DTYPE, Graph
from genn.ops import block, registry

Arrays = dict[str, np.ndarray]


def run(
    graph: Graph,
    inputs: Mapping[str, np.ndarray],
    keep: bool = False,
    watch: Callable[[str, np.ndarray], None] | None = None,
) -> Arrays:
    """Evaluate ``graph`` on ``inputs`` (name -> (S, *shape), already in the graph's storage type and layout).

    Returns the outputs, or with ``keep`` every activation, as arrays of the tensors' storage dtypes.  ``watch`` is
    called with each activation as it is made, so that calibration need not keep them all.
    """
    values: Arrays = {}
    for name in graph.inputs:
        t = graph[name]
        x = np.asarray(inputs[name])
        if x.shape[1:] != t.shape:
            raise GennError(f"input {name} has shape {x.shape[1:]}, the graph says {t.shape}")
        values[name] = np.ascontiguousarray(x, NP_DTYPE[t.dtype])
        if watch:
            watch(name, values[name])
    last = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    quantized = graph.scheme != "float32"
    samples = len(next(iter(values.values()))) if values else 1
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for i, node in enumerate(graph.nodes):
            op = registry[node.op]
            xs = []
            for name in node.inputs:
                const = graph[name].const
                x = values[name] if const is None else const[None]
                xs.append(x.astype(np.int64) if quantized and const is None else x)
            if quantized:
                made = op.ref_q(node, graph, *xs)
            else:
                made = block.reference(node, xs[0], xs[2]) if "block" in node.quant else op.ref_f(node.attrs, *xs)
            for name, y in zip(node.outputs, made if isinstance(made, list) else [made], strict=True):
                t = graph[name]
                y = np.broadcast_to(y, (samples, *t.shape)) if len(y) != samples else y.reshape((samples, *t.shape))
                values[name] = np.ascontiguousarray(y.astype(NP_DTYPE[t.dtype]))
                if watch:
                    watch(name, values[name])
            if not keep:
                for name in node.inputs:
                    if last[name] == i and name not in graph.outputs:
                        values.pop(name, None)
    return values if keep else {name: values[name] for name in graph.outputs}


def encode(graph: Graph, name: str, x: np.ndarray) -> np.ndarray:
    """Real values in torch's layout (S, *torch_shape) to the stored layout and type of graph tensor ``name``."""
    t = graph[name]
    x = np.asarray(x)
    if perm := graph.layout.get(name):
        # layout maps stored axes to torch's: torch = stored.transpose(perm); invert it
        inverse = np.argsort(perm)
        x = np.transpose(x, (0, *(int(i) + 1 for i in inverse)))
    if x.shape[1:] != t.shape:
        raise GennError(f"values for {name} have shape {x.shape[1:]}, the graph stores {t.shape}")
    if t.q is not None:
        return t.q.quantize(x).astype(NP_DTYPE[t.dtype])
    return np.ascontiguousarray(x, NP_DTYPE[t.dtype])


def decode(graph: Graph, name: str, y: np.ndarray) -> np.ndarray:
    """Stored values (S, *shape) of graph tensor ``name`` to reals in torch's layout."""
    t = graph[name]
    out = t.q.dequantize(y) if t.q is not None else np.asarray(y, np.float64)
    if perm := graph.layout.get(name):
        out = np.transpose(out, (0, *(p + 1 for p in perm)))
    return out


def torch_shape(graph: Graph, name: str) -> tuple[int, ...]:
    """The shape the user knows the graph input or output ``name`` by."""
    shape = graph[name].shape
    perm = graph.layout.get(name)
    return tuple(shape[p] for p in perm) if perm else shape
