"""The suite's report as one HTML page that needs nothing else: tables, and plots drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from genn.bench.suite_report import F411, KB, M0PLUS, MILLION
from genn.report import Report, Table, text
from genn.suite.mlperf_catalog import MLPERF

Row = dict[str, Any]
Bar = tuple[str, float]  # series, value
Group = tuple[str, list[Bar]]

SERIES = {
    "float32": "#1f4e8c", "int16": "#2e7fd0", "int8": "#38b0de",
    "float32 sparse": "#0b6b4f", "int16 sparse": "#21a179", "int8 sparse": "#6fd3a5",
    "published float32": "#555555", "published int16": "#8a8a8a", "published float32 sparse": "#bdbdbd",
    "published int8": "#8a8a8a",
}
WIDTH, LEFT, RIGHT, BAR, GAP = 760, 150, 90, 11, 12
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; font-size: 13px; margin: .5em 0; }
th, td { padding: 2px 9px; text-align: left; border-bottom: 1px solid #e4e4e4; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.note, figcaption { color: #666; font-size: 13px; }
figure { margin: 1.5em 0; } svg text { font: 10px system-ui, sans-serif; fill: #333; }
.key span { display: inline-block; width: 10px; height: 10px; margin: 0 4px 0 12px; }
"""


def page(report: Report) -> str:
    """The whole page.  Every text goes through ``escape``."""
    rows = report.data["rows"]
    plots = "".join(figure(title, groups(rows, figures), log) for title, figures, log in PLOTS)
    tables = "".join(table(t) for t in report.tables)
    lines = "".join(f"<li>{escape(line)}</li>" for line in report.lines)
    return ("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>genn bench suite</title>"
            f"<style>{STYLE}</style></head><body><h1>genn bench suite</h1><ul class=\"note\">{lines}</ul>"
            f"{plots}{tables}</body></html>\n")


def table(given: Table) -> str:
    head = "".join(f"<th>{escape(str(c))}</th>" for c in given.columns)
    body = "".join(f"<tr>{''.join(cell(v) for v in row)}</tr>" for row in given.rows)
    return (f"<h2>{escape(given.title)}</h2><div class=\"scroll\"><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div><p class=\"note\">{escape(given.note)}</p>")


def cell(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"<td{' class=n' if number else ''}>{escape(text(value))}</td>"


# -- plots -------------------------------------------------------------------------------------------------------------
Figures = Callable[[Row], tuple[float | None, float | None]]  # ours, published


def groups(rows: Sequence[Row], figures: Figures) -> list[Group]:
    """The bars of each model: ours by scheme, then the published ones."""
    found: dict[str, tuple[list[Bar], list[Bar]]] = {}
    for row in rows:
        ours, theirs = figures(row)
        series = row["scheme"] + (" sparse" if row["sparse"] else "")
        mine, others = found.setdefault(row["model"], ([], []))
        if ours:
            mine.append((series, ours))
        if theirs:
            others.append((f"published {series}", theirs))
    return [(model, mine + others) for model, (mine, others) in found.items() if mine]


def _accuracy(row: Row) -> tuple[float | None, float | None]:
    return row["accuracy"], row["published"].get("accuracy")


def _size(row: Row) -> tuple[float | None, float | None]:
    return row["weights_bytes"] / KB, row["published"].get("weights_kb")


def _m0plus(row: Row) -> tuple[float | None, float | None]:
    if M0PLUS not in row["boards"]:
        return None, None
    theirs = row["published"].get("cycles", {}).get("thumbulator")
    return row["cycles"]["thumbulator"] / MILLION, theirs and theirs / MILLION


def _memory(key: str) -> Figures:
    def figures(row: Row) -> tuple[float | None, float | None]:
        return (row[key] / KB, row["published"].get(f"{key}_kb")) if F411 in row["boards"] else (None, None)

    return figures


def _time(row: Row) -> tuple[float | None, float | None]:
    if F411 not in row["boards"]:
        return None, None
    board, theirs = row["boards"][F411], row["published"].get("cycles", {}).get("cortex-m4")
    ours = board["upper"] if row["fits"] else row["cycles"]["cortex-m4"]
    return ours / board["clock_hz"] * 1e3, theirs and theirs / board["clock_hz"] * 1e3


def _per_mac(board: str) -> Figures:
    def figures(row: Row) -> tuple[float | None, float | None]:
        if row["model"] not in MLPERF:
            return None, None
        found = row["boards"][board]
        (cycles,) = found["cycles"].values()
        return (found["estimate"] or cycles) / row["macs"], row["published"].get("cycles_per_mac", {}).get(board)

    return figures


PLOTS: tuple[tuple[str, Figures, bool], ...] = (
    ("Accuracy, percent", _accuracy, False),
    ("Size of weights and constants, KB", _size, True),
    ("Cortex-M0+, million cycles in thumbulator timing", _m0plus, True),
    ("STM32F411RE, flash in KB", _memory("flash"), True),
    ("STM32F411RE, RAM in KB", _memory("ram"), True),
    ("STM32F411RE at 100 MHz, milliseconds; ours with every wait state paid", _time, True),
    ("MLPerf Tiny on STM32L4R5, cycles a MAC; int8 with wait states estimated", _per_mac("stm32l4r5zi"), False),
    ("MLPerf Tiny on STM32G0B1, cycles a MAC; int8 with wait states estimated", _per_mac("stm32g0b1"), False),
)


def figure(title: str, models: Sequence[Group], log: bool) -> str:
    """Horizontal bars, model by model; nothing where there is nothing to show."""
    values = [value for _, bars in models for _, value in bars]
    if not values:
        return ""
    place = scale(values, log)
    out, y = [], 6.0
    for model, bars in models:
        middle = y + len(bars) * BAR / 2 + 3
        out.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(model)}</text>')
        for series, value in bars:
            width = max(1.0, place(value))
            out.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{width:.1f}" height="{BAR - 2}" fill="{SERIES[series]}">'
                       f"<title>{escape(f'{model}, {series}: {text(float(value))}')}</title></rect>"
                       f'<text x="{LEFT + width + 4:.1f}" y="{y + BAR - 3:.1f}">{escape(text(float(value)))}</text>')
            y += BAR
        y += GAP
    shown = dict.fromkeys(series for _, bars in models for series, _ in bars)
    key = "".join(f'<span style="background:{SERIES[s]}"></span>{escape(s)}' for s in SERIES if s in shown)
    head = f'<svg viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}" role="img" aria-label="{escape(title)}">'
    svg = f"{head}{''.join(out)}</svg>"
    kind = "logarithmic" if log else "linear"
    return f'<figure><h2>{escape(title)}</h2>{svg}<figcaption class="key">{kind}:{key}</figcaption></figure>'


def scale(values: Sequence[float], log: bool) -> Callable[[float], float]:
    """From a value to the length of its bar."""
    room, top = WIDTH - LEFT - RIGHT, max(values)
    if not log:
        return lambda value: room * value / top
    low = 10 ** math.floor(math.log10(min(values)))
    span = math.log10(top / low) or 1.0
    return lambda value: room * math.log10(value / low) / span
