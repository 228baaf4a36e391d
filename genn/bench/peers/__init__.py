"""Other libraries on the same networks, compiler and emulator: ours beside theirs, and why one cannot take a network.

Nothing of theirs is here: a user gives the path of a checkout, and a small C file of calls is written for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genn.bench.kernels import CORES, WORKLOADS, Workload, workload
from genn.bench.peers.cmsis_nn import CmsisNN
from genn.bench.peers.common import run, version
from genn.bench.peers.network import Cannot, network
from genn.bench.peers.onnx2c import Onnx2c
from genn.bench.peers.tflm import Tflm
from genn.bench.peers.tinymaix import TinyMaix
from genn.errors import GennError, UsageError
from genn.ir import SCHEMES
from genn.progress import steps
from genn.report import Report, Table
from genn.toolchain import find_arm_gcc

if TYPE_CHECKING:
    from genn.api import Model
    from genn.bench.peers.common import Peer

MODES = ("time", "balanced", "flash")
DEFAULT = ("mnist-mlp", "mnist-cnn", "ds-block", "kws", "ic", "vww", "ad", "ecg-mlp", "har-mlp", "har-cnn",
           "kws-mlp", "kws-cnn", "kws-dscnn")


def bench(peers: Sequence[Peer], workloads: Sequence[str], cores: Sequence[str] = tuple(CORES),
          schemes: Sequence[str] = ("int8",), modes: Sequence[str] = MODES) -> Report:
    """Run every peer and ours (each ``-O`` of ``modes``) on every workload, scheme and core."""
    for what, asked, known in (("core", cores, tuple(CORES)), ("scheme", schemes, SCHEMES), ("mode", modes, MODES)):
        for name in asked:
            if name not in known:
                raise UsageError(f"there is no {what} {name!r}", "bench peers", f"use {', '.join(known)}")
    rows: list[dict[str, Any]] = []
    tried = {s: [p for p in peers if s in p.schemes] for s in schemes}
    with steps("peers", len(workloads) * len(cores) * sum(len(p) + len(modes) for p in tried.values())) as done:
        for name in workloads:
            given = _workload(name)
            for scheme in schemes:
                for core in cores:
                    place = {"workload": name, "scheme": scheme, "core": core}
                    for mode in modes:
                        rows.append(place | {"library": f"genn -O {mode}"} | _ours(given, scheme, core, mode))
                        done(1)
                    model = convert(given, CORES[core], scheme=scheme)
                    for peer in tried[scheme]:
                        rows.append(place | {"library": peer.name} | _theirs(peer, model, core))
                        done(1)
    return _report(rows, peers)


def _report(rows: list[dict[str, Any]], peers: Sequence[Peer]) -> Report:
    table = Table("one inference at zero wait states",
                  ["workload", "scheme", "core", "library", "cycles", "flash B", "RAM B", "largest difference", ""], [])
    for r in rows:
        said = "; ".join(filter(None, [r.get("reason", ""), *r.get("notes", [])]))
        table.rows.append([r["workload"], r["scheme"], r["core"], r["library"], r.get("cycles"), r.get("flash"),
                           r.get("ram"), r.get("largest_difference"), said])
    compiler = find_arm_gcc().version
    known = [{"name": p.name, "path": str(p.path), "version": version(p.path), "differs": p.differs} for p in peers]
    lines = [f"{compiler}; cycles of the emulator's cortex-m0plus and cortex-m4 (P = 2) timings; flash of the whole "
             "firmware; RAM with input, output and the stack used; the difference from our reference is in output "
             "steps, in float32 a part of the largest output",
             *(f"{p['name']} {p['version']} in {p['path']}: {p['differs']}" for p in known)]
    return Report("bench peers", {"schema": 2, "compiler": compiler, "peers": known, "rows": rows}, [table], lines)


def _workload(name: str) -> Workload:
    if name in WORKLOADS:
        return workload(name)
    from genn import suite

    module, _ = suite.load(name)
    return Workload(module, suite.calibration(name)[0][:64])


def convert(given: Workload, target: str, mode: str = "balanced", scheme: str = "int8") -> Model:
    """The workload in a scheme."""
    import torch

    from genn.api import convert as to_c

    example = torch.from_numpy(given.inputs[:1].copy())
    return to_c(given.module, example, scheme, given.inputs, target=target, optimize=mode, name="net", vectors=1)


def _ours(given: Workload, scheme: str, core: str, mode: str) -> dict[str, Any]:
    from genn.bench.kernels import check_outputs
    from genn.bench.peers.common import weigh
    from genn.build import build_firmware
    from genn.elfimage import Image
    from genn.target import load_target

    model = convert(given, CORES[core], mode, scheme)
    ran = model.emulate(CORES[core]).data
    check_outputs(model, ran)
    assert model.folder is not None
    flash, ram = weigh(Image(build_firmware(model.folder, load_target(CORES[core]))))
    return {"cycles": ran["cycles"], "flash": flash, "ram": ram + ran["stack_bytes"], "largest_difference": 0}


def _theirs(peer: Peer, model: Model, core: str) -> dict[str, Any]:
    try:
        return run(peer, model, network(model.graph), core, CORES[core])
    except Cannot as why:
        return {"reason": f"cannot take it: {why}"}
    except GennError as error:
        return {"reason": f"does not run: {error.what.splitlines()[0]}"}


def found(cmsis_nn: Path | None = None, tinymaix: Path | None = None, onnx2c: Path | None = None,
          tflm: Path | None = None) -> list[Peer]:
    """The peers whose checkouts were given."""
    peers: list[Peer] = []
    if cmsis_nn is not None:
        peers.append(CmsisNN(cmsis_nn))
    if tinymaix is not None:
        peers.append(TinyMaix(tinymaix))
    if onnx2c is not None:
        peers += [Onnx2c(onnx2c, "int8"), Onnx2c(onnx2c, "float32")]
    if tflm is not None:
        peers += [Tflm(tflm, "int8"), Tflm(tflm, "float32")]
    return peers
