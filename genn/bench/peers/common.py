"""What every peer needs: its C beside its own sources, built with its own flags, run and weighed like ours."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genn import reference
from genn.bench.peers.network import Network
from genn.build import build_elf, net_header
from genn.elfimage import Image
from genn.emulate import emulate
from genn.project import write_project
from genn.target import load_target

if TYPE_CHECKING:
    from genn.api import Model


@dataclass
class Port:
    """A network written for one library: ``files`` of our making, its ``sources`` and ``includes``, its flags.

    arena: bytes that the network's run needs; entry: the C function ``int entry(void *arena)``.
    """

    files: dict[str, str]
    sources: list[Path]
    includes: list[Path]
    arena: int
    opt: str = "-O3"
    flags: tuple[str, ...] = ()
    fpu: bool = False
    notes: list[str] = field(default_factory=list)


class Peer(Protocol):
    """A library: ``name`` for the table, and how it takes a network (Cannot says why it does not)."""

    name: str

    def port(self, model: Model, net: Network, core: str) -> Port: ...


def array(ctype: str, name: str, values: Any) -> str:
    """A constant array in C."""
    flat = [str(int(v)) for v in np.ravel(values)]
    lines = [", ".join(flat[i : i + 24]) for i in range(0, len(flat), 24)]
    return f"static const {ctype} {name}[{len(flat)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def run(peer: Peer, model: Model, net: Network, core: str, target: str) -> dict[str, Any]:
    """Build and run ``peer``'s version of ``model``: cycles, flash, RAM, and how far its outputs are from ours."""
    port = peer.port(model, net, core)
    board = load_target(target)
    graph = model.graph
    x = graph.inputs[0]
    assert model.samples is not None
    stored = reference.encode(graph, x, model.samples[x][:1])
    want = reference.run(graph, {x: stored})[graph.outputs[0]]
    ports = {
        key: {**model.manifest[key][0], "offset": value.buffer.offset}
        for key, value in (("inputs", net.input), ("outputs", net.output))
    }
    manifest = {
        **model.manifest,
        "name": "peer",
        "arena": {"bytes": port.arena, "align": 8},
        "inputs": [ports["inputs"]],
        "outputs": [ports["outputs"]],
        "layers": [],
    }
    header = "#include <stdint.h>\nint peer_run(void *arena);\n"
    for what, value in (("input", net.input), ("output", net.output)):
        place = f"(char *)a + {value.buffer.offset} + 0 * i"
        header += f"static inline void *peer_{what}(void *a, int i) {{ return {place}; }}\n"
    with tempfile.TemporaryDirectory(prefix="genn-peer-") as work:
        folder = write_project({"peer.h": header, **port.files}, manifest, Path(work) / "peer")
        own = [folder / name for name in port.files if name.endswith(".c")]
        elf = build_elf(
            Path(work) / "peer.elf",
            [*own, *port.sources],
            net_header(manifest),
            board,
            "float32" if port.fpu else "int8",
            includes=[folder, *port.includes],
            opt=port.opt,
            warnings=port.flags,
        )
        ran = emulate(folder, board, [stored], elf=elf)
        image = Image(elf)
    flash, ram = weigh(image)
    got = ran.outputs[0]
    steps = np.abs(got.astype(np.int64).reshape(want.shape) - want.astype(np.int64)).max()
    return {"cycles": ran.cycles, "flash": flash, "ram": ram + ran.stack_bytes, "largest_difference": int(steps),
            "notes": port.notes}


def weigh(image: Image) -> tuple[int, int]:
    """Flash of the whole firmware, and RAM without the reserved stack, in bytes."""
    sections = image.sections.values()
    flash = sum(s.size for s in sections if not s.nobits)
    return flash, sum(s.size for s in sections if s.writable and s.name != ".stack")


def select(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The C files below ``folder`` whose names match."""
    return sorted({p for pattern in patterns for p in folder.rglob(pattern)})
