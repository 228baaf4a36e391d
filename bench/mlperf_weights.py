"""MLPerf Tiny in the suite: weights out of the reference .tflite files, calibration inputs, samples.

python bench/mlperf_weights.py --models DIR --kws kws01.npz      DIR: ``benchmark/training`` of mlcommons/tiny

Weights are rounded to fp16, which changes no class on the evaluation inputs; of visual wake words 82 % become zero, as
they are in the reference's own int8 model (channels that training has switched off).  The "float" keyword model stores
its convolutions in int8, one scale per tensor: there the int8 model's, with a scale per channel, are nearer to what was
trained, and are taken.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import mlperf_inputs
import numpy as np
import torch
from mlperf_tflite import Network, read
from safetensors.numpy import save
from torch import nn

from genn import suite
from genn.suite import mlperf_data
from genn.suite.mlperf_data import Stored
from genn.suite.packing import pack

SAMPLES = 4  # synthetic test vectors, where real ones may not be passed on
LAYERS = ("conv", "depthwise", "linear")
TO_TORCH = {"conv": (0, 3, 1, 2), "depthwise": (3, 0, 1, 2), "linear": (0, 1)}


@dataclass(frozen=True)
class Source:
    """Where a model comes from; ``inputs`` is how many calibration inputs are made."""

    name: str
    float_file: str
    int8_file: str
    data: Stored
    inputs: int


SOURCES = (
    Source("mlperf-kws", "keyword_spotting/trained_models/kws_ref_model_float32.tflite",
           "keyword_spotting/trained_models/kws_ref_model.tflite", mlperf_data.KWS, 32),
    Source("mlperf-ic", "image_classification/trained_models/pretrainedResnet.tflite",
           "image_classification/trained_models/pretrainedResnet_quant.tflite", mlperf_data.IC, 16),
    Source("mlperf-vww", "visual_wake_words/trained_models/vww_96_float.tflite",
           "visual_wake_words/trained_models/vww_96_int8.tflite", mlperf_data.VWW, 4),
    Source("mlperf-ad", "anomaly_detection/trained_models/ad01_fp32.tflite",
           "anomaly_detection/trained_models/ad01_int8.tflite", mlperf_data.AD, 32),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True, help="folder with keyword_spotting/trained_models ...")
    parser.add_argument("--kws", type=Path, required=True, help="keyword evaluation inputs: X int8 (n, 49, 10), y (n,)")
    parser.add_argument("--out", type=Path, default=suite.DATA)
    parser.add_argument("--only", choices=[source.name for source in SOURCES], help="one of the four")
    args = parser.parse_args()
    for source in (s for s in SOURCES if args.only in (None, s.name)):
        entry, module = suite.entry(source.name), suite.build(source.name).eval()
        reference = read(args.models / source.int8_file)
        state = weights(module, entry.input_shape, read(args.models / source.float_file), reference)
        (args.out / entry.weights).write_bytes(save(pack(state)))
        module.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in state.items()})
        made, worst = mlperf_inputs.synthesize(module, reference, source.data, entry.input_shape[1:], source.inputs,
                                               SAMPLES)
        arrays = {"x": made[source.inputs :], "calibration_x": made[: source.inputs]}
        if source.name == "mlperf-kws":
            with np.load(args.kws, allow_pickle=False) as given:
                arrays.update(x=given["X"][..., None], y=given["y"].astype(np.uint8))
        np.savez_compressed(args.out / source.data.file, **arrays)
        print(f"{source.name}: {sum(v.size for v in state.values()):,} parameters; "
              f"activations reach the reference's ranges to {worst:.1%}")


def weights(module: nn.Module, shape: tuple[int, ...], real: Network, int8: Network) -> dict[str, np.ndarray]:
    """The module's parameters in fp16, by name: layer for layer, in the order in which both sides run them."""
    order: list[str] = []
    hooks = [m.register_forward_hook(lambda m, x, y, name=name: order.append(name))
             for name, m in module.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        module(torch.zeros(shape))
    for hook in hooks:
        hook.remove()
    found = {}
    layers, finer = ([op for op in network.operators if op.kind in LAYERS] for network in (real, int8))
    for name, op, other in zip(order, layers, finer, strict=True):
        kernel = op.inputs[1] if op.inputs[1].dtype is np.float32 else other.inputs[1]
        found[f"{name}.weight"] = kernel.real().transpose(TO_TORCH[op.kind])
        found[f"{name}.bias"] = op.inputs[2].real()
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    if {key: value.shape for key, value in found.items()} != wanted:
        raise SystemExit("the reference model has other layers than ours")
    return {key: np.ascontiguousarray(value, np.float16) for key, value in sorted(found.items())}


if __name__ == "__main__":
    main()
