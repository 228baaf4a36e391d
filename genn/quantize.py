"""From a float Graph to the scheme that ships: calibration, QParams of every tensor, and each operator's ``prepare``.

This is the one place where values become approximate.  ``quantize`` returns a new graph whose reference
(``genn.reference.run``) defines the result exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from genn import reference
from genn.errors import ModelError, UsageError
from genn.ir import SCHEMES, WEIGHTLESS, Graph, Node, QParams
from genn.ops import block, registry
from genn.ops.base import Stats
from genn.progress import steps

BATCH = 64  # samples evaluated at once during calibration
DEFAULT_INT16_BITS = 16
SPARSE_MODES = ("auto", "always", "never")
FLOAT_MODES = ("exact", "block")


def choose_qparams(stats: Stats, scheme: str, bits: int = DEFAULT_INT16_BITS) -> QParams:
    """QParams whose range covers what calibration saw: affine for int8, a power of two for int16.

    int8: zero is represented exactly; step = (max - min) / 255.  int16: step = 2**-f with the largest f that covers.
    """
    lo, hi = min(0.0, stats.lo), max(0.0, stats.hi)
    if scheme == "int8":
        scale = (hi - lo) / 255 if hi > lo else 1.0 / 128
        scale = max(scale, 1e-30)
        return QParams(8, scale, int(np.clip(np.floor(-128 - lo / scale + 0.5), -128, 127)))
    peak = max(-lo, hi)
    f = math.floor(math.log2(((1 << (bits - 1)) - 1) / peak)) if peak > 0 else bits - 1
    return QParams(bits, 2.0 ** -max(-100, min(f, 100)))


def calibrate(graph: Graph, samples: Mapping[str, np.ndarray]) -> dict[str, Stats]:
    """Run the float reference over ``samples`` (graph input -> (S, *torch shape)) and note every tensor's range."""
    lo: dict[str, float] = {}
    hi: dict[str, float] = {}
    square: dict[str, float] = {}
    count: dict[str, int] = {}

    def watch(name: str, x: np.ndarray) -> None:
        if not np.isfinite(x).all():
            producer = graph.producer(name)
            raise ModelError(
                f"calibration gives NaN or infinity in {name}",
                str(producer.source or producer.name) if producer else name,
                "check the calibration data and the weights",
            )
        lo[name] = min(lo.get(name, math.inf), float(x.min(initial=math.inf)))
        hi[name] = max(hi.get(name, -math.inf), float(x.max(initial=-math.inf)))
        square[name] = square.get(name, 0.0) + float((x.astype(np.float64) ** 2).sum())
        count[name] = count.get(name, 0) + x.size

    total = len(next(iter(samples.values())))
    with steps("calibrating", total) as done:
        for at in range(0, total, BATCH):
            part = {n: reference.encode(graph, n, samples[n][at : at + BATCH]) for n in graph.inputs}
            reference.run(graph, part, watch=watch)
            done(min(BATCH, total - at))
    return {n: Stats(lo[n], hi[n], math.sqrt(square[n] / max(1, count[n]))) for n in lo}


def quantize(
    graph: Graph,
    scheme: str,
    samples: Mapping[str, np.ndarray] | None = None,
    sparse: str = "auto",
    float_mode: str = "exact",
) -> Graph:
    """A copy of float ``graph`` in ``scheme``, every node prepared.

    samples: calibration data, graph input -> real array (S, *torch shape); needed for int8 and int16.
    sparse: ``auto`` stores zeros or not per layer, ``always`` and ``never`` force it.
    float_mode: float32 only: ``exact`` or, where it costs no accuracy on ``samples``, ``block`` floating point.
    """
    if float_mode not in FLOAT_MODES:
        raise UsageError(f"there is no float mode {float_mode!r}", fix=f"use one of {', '.join(FLOAT_MODES)}")
    if float_mode == "block" and scheme != "float32":
        raise UsageError(f"float mode block is for scheme float32, not {scheme}", fix="leave --float-mode out")
    if float_mode == "block" and samples is None:
        raise UsageError("float mode block needs calibration data", fix="pass --calibrate X.npz with typical inputs")
    if scheme not in SCHEMES:
        raise UsageError(f"there is no scheme {scheme!r}", fix=f"use one of {', '.join(SCHEMES)}")
    if sparse not in SPARSE_MODES:
        raise UsageError(f"there is no sparse mode {sparse!r}", fix=f"use one of {', '.join(SPARSE_MODES)}")
    if WEIGHTLESS in graph.meta:
        raise ModelError(
            f"parameter {graph.meta[WEIGHTLESS]} has a shape and no values: the module is on torch's meta device",
            graph.name,
            "load the weights (only `genn memory` does without them)",
        )
    graph = graph.copy()
    graph.scheme = scheme
    options: dict[str, Any] = {"sparse": sparse}
    stats: dict[str, Stats] = {}
    if scheme != "float32":
        if samples is None:
            raise UsageError(
                f"scheme {scheme} needs calibration data", fix="pass --calibrate X.npz with typical inputs"
            )
        graph.scheme = "float32"
        stats = calibrate(graph, samples)
        graph.scheme = scheme
        for t in graph.tensors.values():
            if t.const is None:
                t.dtype = scheme
        for name in graph.inputs:
            graph[name].q = choose_qparams(stats[name], scheme, _bits(graph, name, stats))
    for node in graph.nodes:
        op = registry[node.op]
        if scheme != "float32":
            for name in node.outputs:
                q = op.qparams(node, graph, stats)
                if scheme == "int16" and not op.keeps_q:
                    q = _with_bits(q, _bits(graph, name, stats))
                graph[name].q = q
        try:
            op.prepare(node, graph, stats, options)
        except ModelError as error:
            raise ModelError(error.what, str(node.source) or node.name, error.fix) from error
    graph.meta["stats"] = stats
    if float_mode == "block" and samples is not None:
        part = {n: reference.encode(graph, n, samples[n][:BATCH]) for n in graph.inputs}
        block.choose(graph, reference.run(graph, part, keep=True))
    return graph


def _with_bits(q: QParams, bits: int) -> QParams:
    """The same covered range in ``bits`` bits: each bit less doubles the step."""
    drop = q.bits - bits
    return QParams(bits, float(q.scale) * 2.0**drop) if drop > 0 else q


def _bits(graph: Graph, name: str, stats: Mapping[str, Stats]) -> int:
    """int16: the bits of an activation that cost its multiply-accumulate readers the least error, taken together."""
    if graph.scheme != "int16":
        return 8
    total: dict[int, float] = {}
    for reader, tensor in _readers(graph, name):
        errors = registry[reader.op].input_bits(reader, graph, stats, tensor)
        if errors:
            best = min(errors.values()) or 1.0
            for bits, error in errors.items():
                total[bits] = total.get(bits, 0.0) + error / best
    return min(total, key=lambda bits: (total[bits], -bits)) if total else DEFAULT_INT16_BITS


def _readers(graph: Graph, name: str) -> list[tuple[Node, str]]:
    """Consumers of ``name``, looking through operators that pass its QParams on."""
    found: list[tuple[Node, str]] = []
    for node in graph.consumers(name):
        if registry[node.op].keeps_q:
            for out in node.outputs:
                found += _readers(graph, out)
        else:
            found.append((node, name))
    return found
