"""The front end of the keyword models on the device: a wave of 16-bit samples becomes the network's input.

Its meaning in integers is ``genn.frontends.fixed``, in every scheme: a float32 network only gets its input as floats.
The operator does not come out of a PyTorch model; ``attach`` puts it before a network that was converted already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from genn import numerics
from genn.errors import UsageError
from genn.frontends import fixed, mfcc
from genn.ir import Graph, Node, QParams, Tensor
from genn.ops.base import Array, Call, Lowered, Op, Shape, out_tensor, quantized, register, suffix

WAVE = "wave"
UNIT = fixed.STEPS_DB << fixed.DCT_BITS  # what a cepstrum of 1 is as an integer


@register
class Mfcc(Op):
    """inputs: wave (1, samples) int16.  y is (coefficient - mean) / std, in the order of axes the network stores."""

    name = "mfcc"
    family = "frontend"
    header = "genn_mfcc.h"
    doc = "MFCC front end in integers (--with-frontend)"
    traced = False

    class Attrs(NamedTuple):
        """shape: of the output as stored; the steps are those between frames and coefficients in it."""

        shape: tuple[int, ...]
        frame_step: int
        coefficient_step: int
        mean: tuple[float, ...]
        std: tuple[float, ...]

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        return [tuple(attrs.shape)]

    @staticmethod
    def _mean(attrs: Mfcc.Attrs) -> np.ndarray:
        """The means in the unit of the accumulator: (N_MFCC,)."""
        return np.floor(np.array(attrs.mean, np.float64) * UNIT + 0.5).astype(np.int64)

    @staticmethod
    def _scale(attrs: Mfcc.Attrs) -> np.ndarray:
        """float32: what the accumulator less the mean is multiplied with."""
        return (1 / (np.array(attrs.std, np.float64) * UNIT)).astype(np.float32)

    def _centred(self, attrs: Mfcc.Attrs, x: np.ndarray) -> np.ndarray:
        """Accumulators less the means: int64 (S, N_MFCC, frames)."""
        return fixed.cepstrum(np.asarray(x, np.int64).reshape(len(x), -1)) - self._mean(attrs)[:, None]

    @staticmethod
    def _placed(attrs: Mfcc.Attrs, y: np.ndarray) -> np.ndarray:
        """(S, N_MFCC, frames) in the order of the stored output."""
        _, coefficients, frames = y.shape
        at = np.arange(coefficients)[:, None] * attrs.coefficient_step + np.arange(frames) * attrs.frame_step
        flat = np.empty((len(y), coefficients * frames), y.dtype)
        flat[:, at] = y
        return flat.reshape(len(y), *attrs.shape)

    def ref_f(self, attrs, x):
        """int16 as on the device; of a real wave in -1..1 the definition in floating point, to compare with."""
        if x.dtype.kind == "f":
            real = mfcc.mfcc(x.reshape(len(x), -1)) - np.array(attrs.mean, np.float32)[:, None]
            return self._placed(attrs, real / np.array(attrs.std, np.float32)[:, None])
        return self._placed(attrs, self._centred(attrs, x).astype(np.float32) * self._scale(attrs)[:, None])

    def ref_q(self, node, graph, x):
        q, rule = quantized(out_tensor(node, graph)), node.quant["rule"]
        acc = self._centred(node.attrs, x)
        y = numerics.requantize(acc, rule.mult[:, None], rule.shift, rule.offset, q.qmin, q.qmax)
        return self._placed(node.attrs, y)

    def prepare(self, node: Node, graph: Graph, stats: Any, options: Any) -> None:
        node.quant["bound"] = fixed.reach() + int(np.abs(self._mean(node.attrs)).max())
        assert node.quant["bound"] <= numerics.INT32_MAX
        if graph.scheme != "float32":
            q = quantized(out_tensor(node, graph))
            scales = 1 / (np.array(node.attrs.std, np.float64) * UNIT * float(q.scale))
            node.quant["rule"] = numerics.requant_params(scales, q.zero_point)

    def macs(self, node: Node, graph: Graph) -> int:
        """Those of the cosines; the transform has no matrix to count."""
        return int(np.prod(node.attrs.shape)) * mfcc.N_MELS

    def lower(self, node: Node, graph: Graph) -> Lowered:
        attrs = node.attrs
        samples = graph[node.inputs[0]].size
        frames = mfcc.frames(samples)
        band, rising = fixed.mel_weights()
        consts = {
            "cosines": Array("int16_t", fixed.cosines()),
            "band": Array("uint8_t", band),
            "rising": Array("uint16_t", rising),
            "logs": Array("uint16_t", fixed.logarithms()),
            "octave": Array("int32_t", np.array([fixed.OCTAVE])),
            "dct": Array("int16_t", fixed.dct()),
            "mean": Array("int32_t", self._mean(attrs)),
        }
        params: dict[str, Any] = {
            "samples": samples,
            "frames": frames,
            "frame_step": attrs.frame_step,
            "coefficient_step": attrs.coefficient_step,
        }
        struct = "genn_mfcc"
        if graph.scheme == "float32":
            consts["scale"] = Array("float", self._scale(attrs))
            struct = "genn_mfcc_f32"
        else:
            q, rule = quantized(out_tensor(node, graph)), node.quant["rule"]
            consts["mult"] = Array("int16_t", rule.mult)
            params |= {"shift": rule.shift, "offset": rule.offset, "lo": q.qmin, "hi": q.qmax}
        args = ("in0", *(f"c.{name}" for name in consts), "ws", "out0")
        workspace = 4 * (4 * fixed.HALF + 2 * (mfcc.N_MELS + 2)) + 2 * mfcc.N_MELS * frames
        return Lowered(self.header, [Call(f"genn_mfcc_{suffix(graph)}", struct, params, args)], None, consts, workspace)


def attach(graph: Graph, mean: Sequence[float], std: Sequence[float], samples: int = mfcc.RATE) -> Graph:
    """A copy of ``graph`` that takes ``samples`` of sound, int16 with 1 being 32768, where it took their MFCC.

    mean, std: what each coefficient is standardised with, (N_MFCC,).  UsageError where the network takes another input.
    """
    frames = mfcc.frames(samples)
    want = (1, mfcc.N_MFCC, frames)
    made, name = graph.copy(), graph.inputs[0]
    stored = graph[name].shape
    perm = made.layout.pop(name, tuple(range(len(stored))))
    if len(graph.inputs) != 1 or tuple(stored[axis] for axis in perm) != want:
        raise UsageError(f"the front end makes {want} of {samples} samples, and the network takes another input")
    order = np.transpose(np.arange(mfcc.N_MFCC * frames).reshape(want), np.argsort(perm))
    place = np.argsort(order.ravel()).reshape(want[1:])  # where each coefficient of each frame is stored
    wave = made.add(Tensor(WAVE, (1, samples), "int16", QParams(16, 2.0**-15)))
    attrs = Mfcc.Attrs(
        graph[name].shape,
        int(place[0, 1] - place[0, 0]),
        int(place[1, 0] - place[0, 0]),
        tuple(float(v) for v in mean),
        tuple(float(v) for v in std),
    )
    node = Node("mfcc", "mfcc", [wave.name], [name], attrs)
    made.nodes.insert(0, node)
    made.inputs = [wave.name]
    Mfcc().prepare(node, made, {}, {})
    return made.verify()
