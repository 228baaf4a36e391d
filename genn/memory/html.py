"""A plan as one HTML file that needs nothing else: stacked bars per operator, and the arena over time.

Every name comes from a model and is escaped; there is no script, what hovering shows are SVG titles.
"""

from __future__ import annotations

from html import escape
from typing import Any

from genn.memory import plan as planning
from genn.memory.plan import MemoryPlan
from genn.memory.report import Row, rows, size
from genn.report import Table

PARTS = (("outputs", "#4c78a8"), ("inputs", "#72b7b2"), ("other", "#bab0ac"), ("workspace", "#f58518"))
WIDTH, HEIGHT = 1100, 320
STYLE = """body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1160px;color:#222;padding:0 1em}
svg{background:#fafafa;border:1px solid #ddd;width:100%;height:auto}rect:hover{stroke:#000;stroke-width:1.5}
table{border-collapse:collapse}td,th{padding:2px 10px;text-align:right;border-bottom:1px solid #eee}
td:first-child,th:first-child{text-align:left}
h2{margin-top:1.6em;font-size:1.1em}.key span{padding:0 .7em;color:#fff}"""


Trade = tuple[Table, list[dict[str, Any]]]


def page(made: MemoryPlan, steps: list[tuple[str, int]] | None = None, trade: Trade | None = None) -> str:
    """The whole page.  steps: the peak as reductions are added.  trade: what ``genn.memory.cost.table`` gives."""
    name = escape(made.graph.name)
    default, chosen = rows(planning.plain(made.graph)), rows(made.schedule)
    top = max([r.total for r in default] + [r.total for r in chosen] + [1])
    summary = [
        ("default order", size(made.default_peak)),
        ("peak of the plan", f"{size(made.peak)}, order {made.order_proof}"),
        ("arena", f"{size(made.arena)}, {made.proof}"),
        ("lower bound", size(made.lower_bound)),
        ("fragmentation", f"{100 * made.fragmentation:.1f} %"),
    ]
    key = "".join(f'<span style="background:{c}">{n}</span>' for n, c in PARTS)
    body = [
        f"<h1>{name}: SRAM</h1>",
        _table([("", ""), *summary]),
    ]
    if steps:
        added = [("reduction", "bytes"), *((n, size(b)) for n, b in steps)]
        body += ["<h2>Peak as reductions are added</h2>", _table(added)]
    if trade:
        body += ["<h2>Bytes against cycles</h2>", _curve(trade[1]), f"<p>{escape(trade[0].note)}</p>"]
    body += [
        f'<h2>The plan: bytes while each operator runs</h2><p class="key">{key}</p>',
        _bars(chosen, top),
        "<h2>The default order</h2>",
        _bars(default, top),
        "<h2>The arena: offsets over time</h2>",
        _map(made),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}: SRAM</title>'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _curve(points: list[dict[str, Any]]) -> str:
    """A dot for each plan, cycles to the right, bytes upwards, both from zero."""
    right = max(p["cycles_estimate"] for p in points) or 1
    top = max(p["arena"] for p in points) or 1
    spots = [(60 + p["cycles_estimate"] * (WIDTH - 260) / right, HEIGHT - 30 - p["arena"] * (HEIGHT - 60) / top, p)
             for p in points]  # fmt: skip
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, p in spots if p["plan"] not in ("default", "chosen"))
    out = [f'<polyline points="{line}" fill="none" stroke="#4c78a8"/>']
    for x, y, p in spots:
        energy = "" if p["joules_estimate"] is None else f", {1e3 * p['joules_estimate']:.4g} mJ"
        hint = f"{p['plan']}: {size(p['arena'])}, about {p['cycles_estimate']:,} cycles, " \
               f"{1e3 * p['seconds_estimate']:.4g} ms{energy}"  # fmt: skip
        radius, color = (6, "#f58518") if p["plan"] == "chosen" else (4, "#4c78a8")
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}">'
        out.append(f"{dot}<title>{escape(hint)}</title></circle>")
        out.append(f'<text x="{x + 8:.1f}" y="{y - 4:.1f}" font-size="11">{escape(p["plan"])}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(out)}</svg>' + _table(
        [("plan", "arena, about cycles, ms, mJ"),
         *((p["plan"], f"{size(p['arena'])}, {p['cycles_estimate']:,}, {1e3 * p['seconds_estimate']:.4g}, "
            + ("unknown" if p["joules_estimate"] is None else f"{1e3 * p['joules_estimate']:.4g}")) for p in points)]
    )  # fmt: skip


def _table(lines: list[tuple[str, str]]) -> str:
    out = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in lines if a or b)
    return f"<table>{out}</table>"


def _svg(parts: list[str], label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _rect(x: float, y: float, w: float, h: float, fill: str, title: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(w, 0.6):.2f}" height="{max(h, 0.3):.2f}" fill="{fill}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _bars(found: list[Row], top: int) -> str:
    """One stacked bar per operator; what outputs share with inputs is drawn once, as output."""
    step, parts = WIDTH / max(1, len(found)), []
    for i, r in enumerate(found):
        y = float(HEIGHT)
        for part, colour in PARTS:
            value = getattr(r, part) - (r.shared if part == "inputs" else 0)
            high = value * (HEIGHT - 10) / top
            y -= high
            title = f"{i}: {r.name} ({r.kind})\n{part} {value:,} B of {r.total:,} B\n{r.source}"
            if value > 0:
                parts.append(_rect(i * step, y, step * 0.92, high, colour, title))
    return _svg(parts, "bytes per operator")


def _map(made: MemoryPlan) -> str:
    """Each buffer a box: steps from left to right, offsets from the bottom up."""
    count, parts, graph = len(made.schedule.groups) + 2, [], made.layout.graph
    sources = {graph.values[op.output].name: op.source for op in graph.ops}
    shapes = {v.name: v.shape for v in graph.values}
    for k, (item, at) in enumerate(zip(made.items, made.offsets.places, strict=True)):
        x, w = (item.first + 1) * WIDTH / count, (item.last - item.first + 1) * WIDTH / count
        high = item.size * HEIGHT / max(1, made.arena)
        y = HEIGHT - at * HEIGHT / max(1, made.arena) - high
        shape = "x".join(map(str, shapes.get(item.name, ())))
        title = (
            f"{item.name} {shape}\n{item.size:,} B at {at:,}\nsteps {item.first} to {item.last}\n"
            f"{sources.get(item.name, '')}"
        )
        parts.append(_rect(x, y, w - 0.3, high, f"hsl({k * 47 % 360},55%,{58 + k % 3 * 8}%)", title))
    return _svg(parts, "offsets over time")
