"""What ``genn memory`` does: find the graph that MODEL names, plan it, and write what was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genn.atomic import atomic_write
from genn.errors import ModelError, UsageError
from genn.ir import NP_DTYPE
from genn.memory import cost, html, plan, reader, report, tables
from genn.memory.graph import LiveGraph
from genn.memory.schedule import REDUCTIONS, Options
from genn.progress import steps
from genn.report import Report
from genn.target import load_target

MAX_FILE = 256 << 20


def find(
    model: str, elem: int, weights: Path | None = None, trust: bool = False, input_shape: Sequence[str] = ()
) -> tuple[LiveGraph, dict[str, Any]]:
    """The graph that ``model`` names, and its JSON document: a ``.json`` file, a graph of the benchmark, or a model."""
    from genn.bench import memory as known

    if model.endswith(".json"):
        path = Path(model)
        try:
            if path.stat().st_size > MAX_FILE:
                raise ModelError(f"is larger than {MAX_FILE >> 20} MiB", model)
            doc = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise UsageError(f"cannot be read: {error.strerror}", model) from None
        except (ValueError, RecursionError) as error:
            fix = "give what --export-graph writes"
            raise ModelError(f"is no JSON ({str(error)[:60]})", model, fix) from None
    elif model in known.names():
        doc = known.document(model)
    else:
        from genn.memory import export
        from genn.runs import parse_shape

        with steps("tracing the model"):
            doc = export.document(model, weights, trust, [parse_shape(s) for s in input_shape] or None)
    return reader.build(doc, model, elem), doc


def options(only: str | None, without: str | None, seconds: float, limit: int | None = None) -> Options:
    """Options from ``--only`` and ``--without``: reductions separated by commas."""
    chosen = set(_names("--only", only)) if only is not None else set(REDUCTIONS)
    chosen -= set(_names("--without", without or ""))
    return replace(Options(**{n: n in chosen for n in REDUCTIONS}), seconds=seconds, limit=limit)


def _names(option: str, text: str) -> list[str]:
    names = [n.strip() for n in text.split(",") if n.strip() and n.strip() != "none"]
    if wrong := [n for n in names if n not in REDUCTIONS]:
        raise UsageError(f"there is no reduction {wrong[0]!r}", option, f"use some of {', '.join(REDUCTIONS)}")
    return names


def run(
    model: str,
    *,
    scheme: str = "int8",
    weights: Path | None = None,
    trust: bool = False,
    input_shape: Sequence[str] = (),
    only: str | None = None,
    without: str | None = None,
    sram: int | None = None,
    seconds: float = 60.0,
    prove: float = 20.0,
    gains: bool = True,
    everything: bool = False,
    target: str | None = None,
    files: dict[str, Path | None] | None = None,
) -> Report:
    """Plan ``model`` and report.  files: where to write the graph, html, tensors, schedule and minimalloc."""
    chosen = options(only, without, seconds, sram)
    board = load_target(target) if target is not None else None
    graph, doc = find(model, NP_DTYPE[scheme].itemsize, weights, trust, input_shape)
    wanted = {k: p for k, p in (files or {}).items() if p is not None}
    if "graph" in wanted:
        atomic_write(wanted.pop("graph"), json.dumps(doc, indent=1) + "\n")
    with steps("planning"):
        made = plan.make(graph, chosen, prove=prove)
        plan.check(made)
        gained = report.gains(graph, chosen) if gains else None
        trade = cost.table(graph, chosen, board, made) if board is not None else None
        writers = {
            "html": lambda: html.page(made, report.steps(graph, chosen) if gains else None, trade),
            "tensors": lambda: tables.tensors(made),
            "schedule": lambda: tables.schedule(made),
            "minimalloc": lambda: tables.minimalloc(made),
        }
        for kind, path in wanted.items():
            atomic_write(path, writers[kind]())
    out = report.report(made, gained, sram, everything)
    if trade is not None:
        out.tables.append(trade[0])
        out.data["curve"] = trade[1]
    return out
