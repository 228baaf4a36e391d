"""Other libraries on the same networks, compiler and emulator: ours beside theirs, and why one cannot take a network.

Nothing of theirs is here: a user gives the path of a checkout, and a small C file of calls is written for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genn.bench.kernels import CORES, WORKLOADS, Workload, workload
from genn.bench.peers.network import Cannot, network
from genn.errors import GennError, UsageError
from genn.progress import steps
from genn.report import Report, Table

if TYPE_CHECKING:
    from genn.api import Model
    from genn.bench.peers.common import Peer

MODES = ("time", "balanced", "flash")
DEFAULT = ("mnist-mlp", "mnist-cnn", "ds-block", "kws", "ic", "vww", "ad", "ecg-mlp", "har-mlp", "har-cnn",
           "kws-mlp", "kws-cnn", "kws-dscnn")


def bench(peers: Sequence[Peer], workloads: Sequence[str], cores: Sequence[str] = tuple(CORES)) -> Report:
    """Run every peer and ours (each ``-O``) on every workload and core, int8."""
    for name in cores:
        if name not in CORES:
            raise UsageError(f"there is no core {name!r}", "bench peers", f"use {', '.join(CORES)}")
    rows: list[dict[str, Any]] = []
    with steps("peers", len(workloads) * len(cores) * (len(peers) + len(MODES))) as done:
        for name in workloads:
            given = _workload(name)
            for core in cores:
                for mode in MODES:
                    ours = {"workload": name, "core": core, "library": f"genn -O {mode}"}
                    rows.append(ours | _ours(given, core, mode))
                    done(1)
                for peer in peers:
                    rows.append({"workload": name, "core": core, "library": peer.name} | _theirs(peer, given, core))
                    done(1)
    table = Table("int8, one inference at zero wait states",
                  ["workload", "core", "library", "cycles", "flash B", "RAM B", "largest difference", ""], [])
    for r in rows:
        table.rows.append([r["workload"], r["core"], r["library"], r.get("cycles"), r.get("flash"), r.get("ram"),
                           r.get("largest_difference"), r.get("reason", "")])
    line = ("cycles of the emulator's cortex-m0plus and cortex-m4 (P = 2) timings; flash of the whole firmware; RAM "
            "with input, output and the stack used; the difference is in output steps, from our reference")
    return Report("bench peers", {"schema": 1, "rows": rows}, [table], [line])


def _workload(name: str) -> Workload:
    if name in WORKLOADS:
        return workload(name)
    from genn import suite

    module, _ = suite.load(name)
    return Workload(module, suite.calibration(name)[0][:64])


def convert(given: Workload, target: str, mode: str = "balanced") -> Model:
    """The workload in int8."""
    import torch

    from genn.api import convert as to_c

    example = torch.from_numpy(given.inputs[:1].copy())
    return to_c(given.module, example, "int8", given.inputs, target=target, optimize=mode, name="net", vectors=1)


def _ours(given: Workload, core: str, mode: str) -> dict[str, Any]:
    from genn.bench.kernels import check_outputs
    from genn.bench.peers.common import weigh
    from genn.build import build_firmware
    from genn.elfimage import Image
    from genn.target import load_target

    model = convert(given, CORES[core], mode)
    ran = model.emulate(CORES[core]).data
    check_outputs(model, ran)
    assert model.folder is not None
    flash, ram = weigh(Image(build_firmware(model.folder, load_target(CORES[core]))))
    return {"cycles": ran["cycles"], "flash": flash, "ram": ram + ran["stack_bytes"], "largest_difference": 0}


def _theirs(peer: Peer, given: Workload, core: str) -> dict[str, Any]:
    from genn.bench.peers.common import run

    model = convert(given, CORES[core])
    try:
        return run(peer, model, network(model.graph), core, CORES[core])
    except Cannot as why:
        return {"reason": f"cannot take it: {why}"}
    except GennError as error:
        return {"reason": f"does not run: {error.what}"}


def found(cmsis_nn: Path | None, tinymaix: Path | None) -> list[Peer]:
    """The peers whose checkouts were given."""
    from genn.bench.peers.cmsis_nn import CmsisNN
    from genn.bench.peers.tinymaix import TinyMaix

    peers: list[Peer] = []
    if cmsis_nn is not None:
        peers.append(CmsisNN(cmsis_nn))
    if tinymaix is not None:
        peers.append(TinyMaix(tinymaix))
    return peers
