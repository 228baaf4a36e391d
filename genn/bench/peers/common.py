"""What every peer needs: its C beside its own sources, built with its own flags, run and weighed like ours."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genn import reference
from genn.bench.peers.network import Network, Value
from genn.build import build_elf, net_header
from genn.elfimage import Image
from genn.emulate import Emulation, emulate
from genn.errors import FirmwareError
from genn.project import write_project
from genn.target import Target, load_target
from genn.toolchain import run as run_tool

if TYPE_CHECKING:
    from genn.api import Model

MORE = (0, 256, 512, 1024, 2048, 4096, 8192, 16384)  # bytes of arena
BUDGET = 10**10  # instructions of one inference; the usual budget is of our networks, whose MACs it knows
Convert = Callable[[np.ndarray], np.ndarray]


@dataclass
class Port:
    """A network written for one library: ``files`` of our making, its ``sources`` and ``includes``, its flags.

    sources: C files, and objects or archives that were built before; arena: bytes that the network's run needs.
    feed: from our stored input to the numbers the library is given; real: from the numbers it gives to reals in our
    order (N, H, W, C).  Without them both sides store alike.
    io: C of ``peer_input`` and ``peer_output`` where they are not simply places in the arena.
    measure: sources of a run before, in a large arena, whose output's first two bytes are the arena that the network
    uses, and the bytes of one of their units.  Planning may need more than that: it gets the least of MORE.
    """

    files: dict[str, str]
    sources: list[Path]
    includes: list[Path]
    arena: int
    opt: str = "-O3"
    flags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    fpu: bool = False
    notes: list[str] = field(default_factory=list)
    feed: Convert | None = None
    real: Convert | None = None
    io: str | None = None
    measure: tuple[list[Path], int] | None = None
    places: tuple[int, int] | None = None


class Peer(Protocol):
    """A library: ``name`` for the table, its checkout, the schemes it has, why its outputs differ from ours, and how it
    takes a network (Cannot says why it does not).  ``folder`` is where it may put files while the build goes on.
    """

    name: str
    path: Path
    schemes: tuple[str, ...]
    differs: str

    def port(self, model: Model, net: Network, core: str, folder: Path) -> Port: ...


def version(path: Path) -> str:
    """How the checkout names its commit; empty where there is no git."""
    if shutil.which("git") is None:
        return ""
    found = run_tool(["git", "-C", str(path), "describe", "--always", "--tags"])
    return found.stdout.strip() if found.returncode == 0 else ""


def array(ctype: str, name: str, values: Any) -> str:
    """A constant array in C."""
    flat = [str(int(v)) for v in np.ravel(values)]
    lines = [", ".join(flat[i : i + 24]) for i in range(0, len(flat), 24)]
    return f"static const {ctype} {name}[{len(flat)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def run(peer: Peer, model: Model, net: Network, core: str, target: str) -> dict[str, Any]:
    """Build and run ``peer``'s version of ``model``: cycles, flash, RAM, and how far its outputs are from ours.

    largest_difference: in steps of our output in int8; in float32 as a part of the output's largest magnitude.
    """
    board, graph = load_target(target), model.graph
    x = graph.inputs[0]
    assert model.samples is not None
    stored = reference.encode(graph, x, model.samples[x][:1])
    want = reference.run(graph, {x: stored})[graph.outputs[0]]
    with tempfile.TemporaryDirectory(prefix="genn-peer-") as work:
        made = Path(work) / "made"
        made.mkdir()
        port = peer.port(model, net, core, made)
        fed = port.feed(stored) if port.feed else stored
        if port.measure is not None:
            first, _ = _build_and_run(replace(port, sources=port.measure[0]), model, net, board, fed, Path(work) / "m")
            units = np.frombuffer(np.ascontiguousarray(first.outputs[0]).tobytes()[:2], "<u2")[0]
            port = replace(port, arena=int(units) * port.measure[1])
        ran, elf = _in_least(port, model, net, board, fed, Path(work))
        image = Image(elf)
    flash, ram = weigh(image)
    return {"cycles": ran.cycles, "flash": flash, "ram": ram + ran.stack_bytes, "notes": port.notes,
            "largest_difference": _difference(ran.outputs[0], want, net.output, port)}


def _in_least(port: Port, model: Model, net: Network, board: Target, fed: np.ndarray,
              work: Path) -> tuple[Emulation, Path]:
    """The run in the smallest arena that the library takes, where that is not known before."""
    for i, more in enumerate(MORE if port.measure else ()):
        try:
            larger = replace(port, arena=port.arena + more)
            return _build_and_run(larger, model, net, board, fed, work / f"run{i}")
        except FirmwareError as error:
            if more == MORE[-1] or "exit code 4" not in error.what:
                raise
    return _build_and_run(port, model, net, board, fed, work / "run")


def _build_and_run(port: Port, model: Model, net: Network, board: Target, fed: np.ndarray,
                   work: Path) -> tuple[Emulation, Path]:
    """The library's network in the emulator, and its ELF."""
    manifest = _manifest(model, net, port)
    folder = write_project({"peer.h": _header(net, port), **port.files}, manifest, work / "peer")
    own = [folder / name for name in port.files if name.endswith(".c")]
    elf = build_elf(work / "peer.elf", [*own, *port.sources], net_header(manifest), board,
                    "float32" if port.fpu else "int8", includes=[folder, *port.includes], opt=port.opt,
                    warnings=port.flags, libraries=port.libraries)
    sample = fed.reshape(1, *model.manifest["inputs"][0]["shape"][1:])
    return emulate(folder, board, [sample], elf=elf, budget=BUDGET), elf


def _difference(got: np.ndarray, want: np.ndarray, output: Value, port: Port) -> float:
    q = output.q
    got, want = np.asarray(got, np.float64).ravel(), np.asarray(want, np.float64).ravel()
    if port.real is not None:
        got = np.asarray(port.real(got), np.float64).ravel()
    elif q is not None:
        got = q.dequantize(got)
    if q is not None:
        return round(float(np.abs(got - q.dequantize(want)).max() / float(q.scale)), 2)
    return float(f"{np.abs(got - want).max() / max(1e-30, np.abs(want).max()):.2g}")


def _places(net: Network, port: Port) -> tuple[int, int]:
    return port.places or (net.input.buffer.offset, net.output.buffer.offset)


def _manifest(model: Model, net: Network, port: Port) -> dict[str, Any]:
    """The manifest of a project that is the library's network: what the emulator reads of it."""
    at = _places(net, port)
    return {
        **model.manifest,
        "name": "peer",
        "arena": {"bytes": max(8, port.arena), "align": 16},
        "inputs": [{**model.manifest["inputs"][0], "offset": at[0]}],
        "outputs": [{**model.manifest["outputs"][0], "offset": at[1]}],
        "layers": [],
    }


def _header(net: Network, port: Port) -> str:
    header = "#include <stdint.h>\nint peer_run(void *arena);\n"
    if port.io is not None:
        return header + port.io
    for what, offset in zip(("input", "output"), _places(net, port), strict=True):
        header += f"static inline void *peer_{what}(void *a, int i) {{ return (char *)a + {offset} + 0 * i; }}\n"
    return header


def weigh(image: Image) -> tuple[int, int]:
    """Flash of the whole firmware, and RAM without the reserved stack, in bytes."""
    sections = image.sections.values()
    flash = sum(s.size for s in sections if not s.nobits)
    return flash, sum(s.size for s in sections if s.writable and s.name != ".stack")


def select(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The C files below ``folder`` whose names match."""
    return sorted({p for pattern in patterns for p in folder.rglob(pattern)})
