"""SRAM of networks that papers planned: default order, each step, arena, bound and proof, beside the published figure.

The networks are liveness graphs in ``graphs/`` (shapes only, exported from public definitions), in int8 but for
LeNet-5, which was published in float32.  Input and output lie inside the arena, weights do not count.  Published
savings are relative to their authors' own baselines; ``default`` is ours: the exported graph in its own order, nothing
shared.
"""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genn.memory import plan, reader
from genn.memory.graph import LiveGraph
from genn.memory.schedule import Options
from genn.progress import steps
from genn.report import Report, Table

GRAPHS = Path(__file__).resolve().parent / "graphs"
MOST = 64 << 20  # bytes of a graph, unpacked


@dataclass(frozen=True)
class Network:
    """One row: bytes of an element, and what was published about it."""

    name: str
    elem: int = 1
    published: str = ""


NETWORKS = (
    Network("mobilenet-v1-224"),
    Network("squeezenet-1.1-224"),
    Network("inception-v1-224"),
    Network("mnasnet-1.0-224"),
    Network("nasnet-mobile-224"),
    Network("densenet-121-224", published="TMM -38.06 %"),
    Network("densenet-121-chained-224", published="TMM -38.06 % (Keras chains concats)"),
    Network("deeplabv3-mnv2-257", published="TMM -1.61 %"),
    Network("posenet-mnv1-257"),
    Network("east-r50-320"),
    Network("ssd-mobilenet-v1-300"),
    Network("mobilenet-v2-224"),
    Network("lenet-5", 4, "Unlu 36,472 kept whole, 11,256 pooled in place, 8,800 ping-pong"),
    Network("cifar-cmsis-nn", published="CMSIS-NN 44 KB, Unlu 11.2 KB"),
    Network("squeezenet-1.0-224"),
    Network("liberis-lane", published="Liberis and Lane 5,216 to 4,960"),
)
STEP1 = Options(overlap=False, stream=False)


def names() -> list[str]:
    """The networks that can be named."""
    return [n.name for n in NETWORKS]


def document(name: str) -> dict[str, Any]:
    """The liveness graph of a network, as its JSON document."""
    with lzma.open(GRAPHS / f"{name}.json.xz") as file:
        made: dict[str, Any] = json.loads(file.read(MOST))
    return made


def graph(network: Network) -> LiveGraph:
    """The liveness graph of a network."""
    return reader.build(document(network.name), network.name, network.elem)


def measure(network: Network, climb: float = 2.0, prove: float = 30.0) -> dict[str, Any]:
    """One row.  order: peak by order alone; step1: arena with order, in-place, concat and fusion; step2: with overlap
    and row streaming too; every plan is replayed by the checker before it counts."""
    live = graph(network)
    only = plan.make(live, replace(STEP1, inplace=False, concat=False, fuse=False), climb, 0.0)
    first, second = plan.make(live, STEP1, climb, prove), plan.make(live, Options(), climb, prove)
    for made in (only, first, second):
        plan.check(made)
    return {
        "model": network.name,
        "default_peak": second.default_peak,
        "order": only.peak,
        "order_proof": only.order_proof,
        "order_seconds": round(only.seconds, 3),
        "step1": first.arena,
        "step1_proof": first.proof,
        "step2": second.arena,
        "peak": second.peak,
        "arena": second.arena,
        "lower_bound": second.lower_bound,
        "proof": second.proof,
        "saved_percent": round(100 * (1 - second.arena / second.default_peak), 2),
        "streamed_operators": sum(len(s.ops) for s in second.steps() if s.streamed),
        "seconds": round(first.seconds + second.seconds, 3),
        "published": network.published,
    }


def bench(models: list[str] | None = None, climb: float = 2.0, prove: float = 30.0) -> Report:
    """Plan the networks named, or all."""
    from genn.errors import UsageError

    chosen = [n for n in NETWORKS if models is None or n.name in models]
    if models is not None and (wrong := [m for m in models if m not in names()]):
        raise UsageError(f"there is no network {wrong[0]!r}", "--models", f"use some of {', '.join(names())}")
    found = []
    with steps("planning", len(chosen)) as done:
        for network in chosen:
            found.append(measure(network, climb, prove))
            done(1)
    return render(found)


def render(found: list[dict[str, Any]]) -> Report:
    """The rows as a Report."""
    from genn.memory import proof

    columns = ["model", "default", "order", "step 1", "step 2", "saved %", "bound", "proof", "seconds"]
    body = [
        [f["model"], f["default_peak"], f["order"], f["step1"], f["step2"], f["saved_percent"], f["lower_bound"],
         f["proof"], f["seconds"]]
        for f in found
    ]  # fmt: skip
    missing = not proof.available() and not all(f["proof"].startswith("optimal") for f in found)
    lines = [
        "step 1: order, in-place, concat elimination, fused prologue and pooling; step 2: overlap, row streaming too",
        "bytes of arena, input and output inside; optimal: no arena for this schedule is smaller",
        *(["the others may be proven by ortools: pip install 'genn-mcu[plan]'"] if missing else []),
        *(f"published for {f['model']}: {f['published']}" for f in found if f["published"]),
    ]
    return Report("bench memory", {"schema": 1, "rows": found}, [Table("SRAM plans", columns, body)], lines)
