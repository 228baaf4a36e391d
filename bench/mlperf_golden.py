"""What the reference float models of MLPerf Tiny answer, by TensorFlow Lite itself: golden outputs for the tests.

python bench/mlperf_golden.py --models DIR      needs the package ai-edge-litert; DIR as for mlperf_weights.py

Inputs are patterns of integers, for keyword spotting the first shipped evaluation inputs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from mlperf_weights import SOURCES

from genn import suite
from genn.suite.mlperf_data import Stored

COUNT = 4
OUT = Path(__file__).resolve().parent.parent / "tests" / "data" / "mlperf_golden.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    arrays = {}
    for source in SOURCES:
        net = Interpreter(str(args.models / source.float_file))
        net.allocate_tensors()
        (given,), (made,) = net.get_input_details(), net.get_output_details()
        x = inputs(source.data, tuple(given["shape"][1:]))
        real = np.float32(source.data.scale) * (x.astype(np.float32) - np.float32(source.data.zero_point))
        y = []
        for one in real:
            net.set_tensor(given["index"], one[None])
            net.invoke()
            y.append(net.get_tensor(made["index"])[0].copy())
        arrays |= {f"{source.name}.x": x, f"{source.name}.y": np.stack(y)}
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, **arrays)


def inputs(data: Stored, shape: tuple[int, ...]) -> np.ndarray:
    """Stored inputs (COUNT, *shape)."""
    if data.name == "mlperf-kws":
        with np.load(suite.DATA / data.file, allow_pickle=False) as shipped:
            return shipped["x"][:COUNT]
    grid = np.indices((COUNT, *shape))
    pattern = sum((axis + 1) * (grid[0] + 3) * grid[axis] ** 2 for axis in range(1, len(shape) + 1)) // 2
    limits = np.iinfo(data.dtype)
    return (pattern % 256 + limits.min).astype(data.dtype)


if __name__ == "__main__":
    main()
