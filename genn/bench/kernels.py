"""What the kernels cost: cycles, flash and RAM of fixed workloads, per scheme, core and goal, beside other libraries.

``extra flash`` is what the network's code and constants take beyond its weights at one byte each (int16: two, float32:
four), startup and firmware left out; of a sparse network only the nonzeros are weights.  RAM is arena, data and the
stack that was used.  Cycles are those of one inference in the emulator at zero wait states.  Every run's outputs are
compared with the reference.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genn.bench import baseline
from genn.errors import CheckFailed, UsageError
from genn.ir import NP_DTYPE, SCHEMES
from genn.kernels import OPTIMIZE
from genn.progress import steps
from genn.report import Report, Table
from genn.toolchain import find_arm_gcc

if TYPE_CHECKING:
    from genn.api import Model

CORES = {"m0plus": "cortex-m0plus", "m4": "generic-m4"}
SEED = 7
SUITE = {"mnist-mlp": "mnist-mlp", "mnist-cnn": "mnist-cnn", "kws": "mlperf-kws", "ic": "mlperf-ic",
         "vww": "mlperf-vww", "ad": "mlperf-ad"}
CALIBRATION = 64


@dataclass(frozen=True)
class Workload:
    """A network to measure: a PyTorch module, calibration inputs, and whether its zeros are stored."""

    module: Any
    inputs: np.ndarray
    sparse: str = "auto"


def _ds_block() -> Workload:
    """Depthwise 3x3 and pointwise convolution of 64 channels on 25 x 5, each with ReLU."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    block = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU())
    return Workload(block.eval(), np.random.default_rng(SEED).standard_normal((16, 64, 25, 5)).astype(np.float32))


def _sparse_linear() -> Workload:
    """Linear 784 -> 128 with 90 % zeros at random places."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    layer = nn.Linear(784, 128)
    layer.weight.data *= torch.from_numpy(rng.random((128, 784)) < 0.1)
    return Workload(layer.eval(), rng.standard_normal((16, 784)).astype(np.float32), "always")


def _suite(name: str) -> Workload:
    from genn import suite

    module, _ = suite.load(SUITE[name])
    return Workload(module, suite.calibration(SUITE[name])[0][:CALIBRATION])


OWN: dict[str, Callable[[], Workload]] = {"ds-block": _ds_block, "sparse-linear": _sparse_linear}
WORKLOADS = ("mnist-mlp", "mnist-cnn", "ds-block", "sparse-linear", "kws", "ic", "vww", "ad")


def workload(name: str) -> Workload:
    """The workload called ``name``."""
    return OWN[name]() if name in OWN else _suite(name)


def bench(
    workloads: Sequence[str] = WORKLOADS,
    schemes: Sequence[str] = ("int8",),
    cores: Sequence[str] = tuple(CORES),
    modes: Sequence[str] = OPTIMIZE,
    kernel: str | None = None,
    against: Path | None = None,
) -> Report:
    """Convert, build and emulate every combination.

    kernel: only this tuned kernel, or ``portable``.  against: a baseline; the report fails if a figure is 2 % worse.
    """
    before = None
    if against is not None:
        before = baseline.read(against)
        baseline.check(before, compiler(), against)
    for what, asked, known in (("workload", workloads, WORKLOADS), ("scheme", schemes, SCHEMES),
                               ("core", cores, tuple(CORES)), ("mode", modes, OPTIMIZE)):
        for name in asked:
            if name not in known:
                raise UsageError(f"there is no {what} {name!r}", "bench kernels", f"use {', '.join(known)}")
    rows = []
    with steps("kernels", len(workloads) * len(schemes) * len(cores) * len(modes)) as done:
        for name in workloads:
            given = workload(name)
            for scheme in schemes:
                for core in cores:
                    for mode in modes:
                        rows.append({"workload": name, "scheme": scheme, "core": core, "mode": mode}
                                    | measure(given, scheme, core, mode, kernel))
                        done(1)
    report = _report(rows)
    if against is not None and before is not None:
        report.ok, line = baseline.compare(report.data, before, against)
        report.lines.append(line)
        report.failure = "" if report.ok else line
    return report


def compiler() -> str:
    """Name and version of the cross compiler, as it says itself."""
    return find_arm_gcc().version


def measure(given: Workload, scheme: str, core: str, mode: str, kernel: str | None = None) -> dict[str, Any]:
    """Cycles of one inference, MACs, and bytes of one combination; its outputs are checked."""
    import torch

    from genn import frontend, passes
    from genn.api import convert_graph

    example = torch.from_numpy(given.inputs[:1].copy())
    graph = passes.canonicalize(frontend.import_graph(frontend.trace(given.module, example), "bench"))
    model = convert_graph(graph, scheme, given.inputs, sparse=given.sparse, target=CORES[core], optimize=mode,
                          kernel=kernel, vectors=1)
    with tempfile.TemporaryDirectory(prefix="genn-bench-") as folder:
        model.save(Path(folder) / "net")
        ran = model.emulate(CORES[core]).data
        weighed = model.footprint(CORES[core]).data
    check_outputs(model, ran)
    return figures(model, ran, weighed)


def check_outputs(model: Model, ran: dict[str, Any]) -> None:
    """CheckFailed if what the firmware computed is not what the reference says of the first test vector."""
    from genn import reference

    assert model.samples is not None
    stored = {n: reference.encode(model.graph, n, model.samples[n][:1]) for n in model.graph.inputs}
    want = reference.run(model.graph, stored)
    for made in ran["outputs"]:
        if not np.array_equal(np.array(made["data"], NP_DTYPE[made["dtype"]])[0], want[made["name"]][0]):
            raise CheckFailed(f"the firmware's {made['name']} differs from the reference")


def figures(model: Model, ran: dict[str, Any], weighed: dict[str, Any]) -> dict[str, Any]:
    """The row of a run."""
    graph = model.graph
    macs = sum(x["macs"] or 0 for x in ran["layers"])
    layers = weighed["layers"]
    flash = sum(x["code"] + x["weights"] + x["constants"] for x in layers)
    flash += sum(x["flash"] for x in weighed["other"] if x["group"] not in ("firmware", "vectors", "alignment"))
    weights = sum(graph[i].size for n in graph.nodes for i in n.inputs[1:2] if "w" in n.quant)
    if all(x["sparse"] for x in model.manifest["layers"] if x["weights"]):
        weights = sum(int(np.count_nonzero(n.quant["w"])) for n in graph.nodes if "w" in n.quant)
    data = sum(x["ram"] for x in weighed["other"] if x["group"] not in ("stack", "firmware"))
    ram = data + sum(x["ram"] for x in layers) + ran["stack_bytes"]
    ends = sum(graph[n].nbytes for n in (*graph.inputs, *graph.outputs))
    return {"cycles": ran["cycles"], "macs": macs, "cycles_per_mac": ran["cycles"] / macs, "weights": weights,
            "cycles_per_weight": ran["cycles"] / weights, "flash": flash,
            "extra_flash": flash - weights * NP_DTYPE[graph.scheme].itemsize, "ram": ram, "ram_without_io": ram - ends,
            "kernels": [x["kernel"] for x in model.manifest["layers"]]}


def peers() -> dict[str, Any]:
    """The figures of other libraries: scheme -> core -> workload -> rows (name, cycles, flash, RAM)."""
    return tomllib.loads((files("genn.bench") / "kernels.toml").read_text(encoding="utf-8"))


def _report(rows: list[dict[str, Any]]) -> Report:
    others, lines = peers(), []
    table = Table("one inference at zero wait states",
                  ["workload", "scheme", "core", "mode", "cycles", "cycles/MAC", "cycles/weight", "flash B",
                   "extra flash B", "RAM B", "RAM without in/out B", "fastest peer", "its cycles", "ratio"], [])
    for r in rows:
        found = others.get(r["scheme"], {}).get(r["core"], {}).get(r["workload"], [])
        best = min(found, key=lambda peer: peer[1]) if found else None
        table.rows.append([r["workload"], r["scheme"], r["core"], r["mode"], r["cycles"],
                           round(r["cycles_per_mac"], 2), round(r["cycles_per_weight"], 2),
                           r["flash"], r["extra_flash"], r["ram"], r["ram_without_io"], best[0] if best else "",
                           best[1] if best else None, round(best[1] / r["cycles"], 2) if best else None])
    lines.append("cycles of the emulator's cortex-m0plus and cortex-m4 (P = 2) timings; outputs equal to the "
                 f"reference; peers: {others['note']}")
    data = {"schema": 1, "compiler": compiler(), "rows": rows, "peers": others}
    return Report("bench kernels", data, [table], lines)
