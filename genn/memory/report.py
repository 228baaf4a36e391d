"""What a plan says to a person: working sets operator by operator, who makes the peak, what each reduction gains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from genn.memory import plan as planning
from genn.memory.graph import LiveGraph
from genn.memory.plan import MemoryPlan
from genn.memory.planner import lifetimes, live_stores, schedule
from genn.memory.schedule import REDUCTIONS, Options, Schedule
from genn.report import Report, Table, shape_text

WIDTH, HEIGHT = 96, 20  # of the map, in characters
MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SHOWN = 24  # operators in the table on a terminal, unless all are asked for


@dataclass(frozen=True)
class Row:
    """One operator or region while it runs.  Bytes: inputs, outputs, other live tensors, line buffers and scratch.

    shared: bytes of inputs that outputs lie on; total = inputs + outputs + other + workspace - shared.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    other: int
    workspace: int
    shared: int
    total: int
    macs: int
    weights: int
    source: str
    tensors: tuple[str, ...]


def rows(found: Schedule) -> list[Row]:
    """The working set of each group in running order."""
    layout, out = found.layout, []
    for g, live in enumerate(live_stores(found)):
        ops = [layout.op(k) for k in found.groups[g]]
        inner = set(found.rings[g])
        read = {n.store for k in found.groups[g] for n in found.rows.needs[k]} - inner
        made = {found.rows.base[k][0] for k in found.groups[g]} - inner
        size = layout.sizes
        extra = sum(found.rings[g].values()) + max(op.workspace for op in ops)
        everything = sum(size[s] for s in live) + extra
        name = ops[-1].name if len(ops) == 1 else f"{ops[0].name} .. {ops[-1].name} ({len(ops)} streamed)"
        out.append(Row(
            name,
            ops[-1].kind if len(ops) == 1 else "region",
            sum(size[s] for s in read - made),
            sum(size[s] for s in made),
            sum(size[s] for s in live - read - made),
            extra,
            everything - found.moments[g][0],
            found.moments[g][0],
            sum(op.macs for op in ops),
            sum(op.weights for op in ops),
            ops[-1].source,
            tuple(layout.names[s] for s in sorted(live, key=lambda s: -size[s])),
        ))  # fmt: skip
    return out


def gains(graph: LiveGraph, options: Options) -> dict[str, dict[str, int]]:
    """For each reduction the peak with it ``alone``, and ``without`` it where all others in ``options`` are used."""
    all_on = schedule(graph, options).peak
    out = {}
    for name in REDUCTIONS:
        only = replace(Options(**dict.fromkeys(REDUCTIONS, False)), **{name: True}, seconds=options.seconds)
        used = getattr(options, name)
        out[name] = {
            "alone": schedule(graph, only).peak,
            "without": schedule(graph, replace(options, **{name: False})).peak if used else all_on,
        }
    return out


def steps(graph: LiveGraph, options: Options) -> list[tuple[str, int]]:
    """The peak as one reduction after the other is added, in the order of REDUCTIONS."""
    found, flags = [("default", planning.default_peak(graph))], dict.fromkeys(REDUCTIONS, False)
    for name in REDUCTIONS:
        if getattr(options, name):
            flags[name] = True
            found.append((name, schedule(graph, replace(options, **flags)).peak))
    return found


def peak_tensors(made: MemoryPlan) -> list[dict[str, Any]]:
    """What is live at the peak, largest first, with its place and lifetime in steps."""
    found = made.schedule
    at = max(range(len(found.groups)), key=lambda g: found.moments[g][0], default=0)
    live = [k for k, i in enumerate(made.items) if i.first <= at <= i.last]
    return [
        {"name": made.items[k].name, "bytes": made.items[k].size, "offset": made.offsets.places[k],
         "first": made.items[k].first, "last": made.items[k].last}
        for k in sorted(live, key=lambda k: -made.items[k].size)
    ]  # fmt: skip


def document(made: MemoryPlan, gained: dict[str, dict[str, int]] | None, sram: int | None = None) -> dict[str, Any]:
    """The JSON document of ``genn memory``."""
    graph = made.graph
    default = planning.plain(graph)
    operators = [_row(r) for r in rows(made.schedule)]
    doc = {
        "schema": 1,
        "model": graph.name,
        "element_bytes": graph.elem,
        "default_peak": made.default_peak,
        "best_peak": made.peak,
        "arena": made.arena,
        "lower_bound": made.lower_bound,
        "proof": made.proof,
        "order_proof": made.order_proof,
        "fragmentation": round(made.fragmentation, 6),
        "seconds": round(made.seconds, 3),
        "options": {name: getattr(made.options, name) for name in REDUCTIONS},
        "reductions": gained or {},
        "peak_tensors": peak_tensors(made),
        "operators": operators,
        "default_operators": [_row(r) for r in rows(default)],
        "buffers": [
            {"name": i.name, "bytes": i.size, "offset": at, "first": i.first, "last": i.last}
            for i, at in zip(made.items, made.offsets.places, strict=True)
        ],
        "steps": [
            {"operators": list(s.ops), "live": s.live, "line_buffers": [list(x) for x in s.lines],
             "overlaps": [list(x) for x in s.shares]}
            for s in made.steps()
        ],
        "tensors": tensors(made),
    }  # fmt: skip
    if sram is not None:
        doc["sram"] = sram
        doc["fits"] = made.arena <= sram
    return doc


def _row(r: Row) -> dict[str, Any]:
    return {k: v for k, v in vars(r).items() if k != "tensors"}


def tensors(made: MemoryPlan) -> list[dict[str, Any]]:
    """Every tensor that lies in the arena: where, and how its rows and pixels are spaced."""
    graph = made.layout.graph
    return [
        {"name": graph.values[v].name, "shape": list(graph.values[v].shape), "bytes": graph.values[v].size,
         "offset": p.offset, "rows": graph.values[v].rows, "rows_kept": p.kept, "row_stride": p.row,
         "pixel_stride": p.pixel}
        for v, p in sorted(made.places().items())
    ]  # fmt: skip


def report(
    made: MemoryPlan, gained: dict[str, dict[str, int]] | None, sram: int | None = None, everything: bool = False
) -> Report:
    """Tables and document; a check fails where ``sram`` bytes are not enough."""
    graph, found = made.graph, rows(made.schedule)
    top = max(range(len(found)), key=lambda i: found[i].total, default=0)
    shown = range(len(found))
    if len(found) > SHOWN and not everything:
        shown = sorted(sorted(shown, key=lambda i: -found[i].total)[:SHOWN])  # type: ignore[assignment]
    body = [
        [i, ("> " if i == top else "  ") + r.name, r.kind, r.inputs, r.outputs, r.other, r.workspace, r.shared, r.total]
        for i, r in ((i, found[i]) for i in shown)
    ]
    note = "" if len(body) == len(found) else f"the {len(body)} largest of {len(found)}; --all shows every one"
    title = f"{graph.name}: what is live while each operator runs, in bytes"
    columns = ["#", "operator", "kind", "inputs", "outputs", "other", "workspace", "shared", "total"]
    tables = [Table(title, columns, body, note=note)]
    peak = [[t["name"], t["bytes"], t["offset"], _life(t, len(found))] for t in peak_tensors(made)]
    tables.append(Table("at the peak", ["tensor", "bytes", "offset", "steps"], peak))
    if gained is not None:
        base = made.default_peak
        table = [[n, g["alone"], base - g["alone"], g["without"], _yes(getattr(made.options, n))]
                 for n, g in gained.items()]  # fmt: skip
        headings = ["reduction", "alone", "gain alone", "all others", "used"]
        tables.append(Table("reductions: peak in bytes", headings, table))
    lines = [
        f"default order  {size(made.default_peak)}",
        f"peak           {size(made.peak)} ({_less(made.peak, made.default_peak)}), order {made.order_proof}",
        f"arena          {size(made.arena)} ({_less(made.arena, made.default_peak)}), {made.proof}",
        f"lower bound    {size(made.lower_bound)}, fragmentation {100 * made.fragmentation:.1f} %",
        f"streamed       {sum(len(s.ops) for s in made.steps() if s.streamed)} of {len(made.layout.ops)} operators",
        *terminal_map(made),
    ]
    out = Report("memory", document(made, gained, sram), tables, lines)
    if sram is not None and made.arena > sram:
        out.ok, out.failure = False, f"{graph.name} needs {size(made.arena)}, {size(sram)} are there"
    return out


def terminal_map(made: MemoryPlan) -> list[str]:
    """The arena as text: time from left to right, offsets from the bottom up, a letter for each buffer."""
    count = len(made.schedule.groups)
    if not made.arena or not count:
        return []
    width, height = min(WIDTH, count + 2), HEIGHT
    grid = [[" "] * width for _ in range(height)]
    marks: dict[int, str] = {}
    for k in sorted(range(len(made.items)), key=lambda k: made.items[k].size):
        item, at = made.items[k], made.offsets.places[k]
        left = (item.first + 1) * width // (count + 2)
        right = max(left + 1, -(-(item.last + 2) * width // (count + 2)))
        low = at * height // made.arena
        high = max(low + 1, -(-(at + item.size) * height // made.arena))
        mark = MARKS[k % len(MARKS)]
        if item.size * 20 >= made.arena:
            marks[k] = mark
        for y in range(low, min(high, height)):
            for x in range(left, min(right, width)):
                grid[y][x] = mark
    scale = [f"{(y + 1) * made.arena // height:>10,} |" for y in range(height)]
    named = [f"{m} {made.items[k].name} {made.items[k].size:,}" for k, m in sorted(marks.items())]
    out = ["", *(scale[y] + "".join(grid[y]) for y in reversed(range(height))), " " * 11 + "+" + "-" * width]
    line = ""
    for text in named:
        if len(line) + len(text) > 116:
            out.append(line)
            line = ""
        line += ("  " if line else "") + text
    return [*out, line]


def size(n: int) -> str:
    """Bytes, and KiB from 1,024 on."""
    return f"{n:,} B" + (f" = {n / 1024:,.1f} KiB" if n >= 1024 else "")


def _less(now: int, before: int) -> str:
    return f"{100 * (now - before) / before:+.1f} %" if before else "0 %"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _life(t: dict[str, Any], count: int) -> str:
    first = "start" if t["first"] < 0 else str(t["first"])
    return f"{first} to {'end' if t['last'] >= count else t['last']}"


__all__ = ["Row", "document", "gains", "lifetimes", "report", "rows", "shape_text", "size", "steps"]
