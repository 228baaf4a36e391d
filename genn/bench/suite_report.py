"""The suite's rows as tables beside the published figures, as JSON, as CSV and, through ``suite_html``, as a page."""

from __future__ import annotations

import csv
import io
from typing import Any

from genn.bench.suite import PAPER, Row
from genn.bench.suite_checks import LARGE, Check, checks
from genn.report import Report, Table
from genn.suite import MODELS
from genn.suite.mlperf_catalog import MLPERF

KB, MILLION = 1024, 1e6
COLUMN = {("float32", False): 0, ("int16", False): 1, ("float32", True): 2}  # of the published triples
F411, M0PLUS = "nucleo-f411re", "cortex-m0plus"
FLAT = ("model", "scheme", "sparse", "accuracy", "samples", "accuracy_by", "weights_bytes", "flash", "ram", "fits")
KILOBYTES = {"size": "weights", "flash": "flash", "ram": "ram"}
TIMINGS = ("thumbulator", "cortex-m0plus", "cortex-m4")


class SuiteReport(Report):
    """A Report whose CSV has a line for each row, with every figure."""

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        theirs = ("accuracy", "weights_kb", "flash_kb", "ram_kb")
        writer.writerow([*FLAT, *(f"cycles_{t}" for t in TIMINGS), *(f"published_{k}" for k in theirs),
                         *(f"published_cycles_{t}" for t in TIMINGS)])
        for row in self.data["rows"]:
            known = row["published"]
            writer.writerow([*(row[k] for k in FLAT), *(row["cycles"].get(t) for t in TIMINGS),
                             *(known.get(k) for k in theirs), *(known.get("cycles", {}).get(t) for t in TIMINGS)])
        return out.getvalue()


def report(rows: list[Row], others: dict[str, Any], machine: dict[str, Any]) -> Report:
    """Rows as ``suite.measure`` gives them; ``others`` is ``suite.toml``; ``machine`` says what built and ran them."""
    for row in rows:
        row["published"] = published_of(row, others)
    found = checks(rows)
    tables = [accuracy_table(rows), m0plus_table(rows), f411_table(rows), mlperf_table(rows), checks_table(found)]
    met = sum(check.met for check in found)
    lines = notes(rows, others, machine)
    lines.append(f"{met} of {len(found)} comparisons are met")
    document = {"schema": 1, "machine": machine, "sources": others["sources"], "rows": rows,
                "checks": [check.to_json() for check in found]}
    return SuiteReport("bench suite", document, [t for t in tables if t.rows], lines)


def published_of(row: Row, others: dict[str, Any]) -> dict[str, Any]:
    """What others published for this row.  Accuracy stands beside trained weights, all else beside equal shapes."""
    base = row["model"].removesuffix(PAPER)
    if base in MLPERF:
        return _mlperf(others["mlperf"][base]) if (row["scheme"], row["sparse"]) == ("int8", False) else {}
    known, at = others["suite"].get(base, {}), COLUMN.get((row["scheme"], row["sparse"]))
    if at is None:
        return {}
    found: dict[str, Any] = {}
    if row["model"] == base:
        found["accuracy"] = known["accuracy"][at]
    if row["model"] == base + PAPER or base + PAPER not in MODELS:
        figures = {key: triple[at] for key, triple in known.items() if not isinstance(triple[at], str)}
        found |= {f"{name}_kb": figures[key] for key, name in KILOBYTES.items() if key in figures}
        found["cycles"] = {timing: round(figures[timing] * MILLION) for timing in TIMINGS if timing in figures}
        if len(figures) < len(known):
            found["fits"] = False
    return found


def _mlperf(known: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"cycles_per_mac": {b: known[b] for b in ("stm32l4r5zi", "stm32g0b1")}}
    if "right" in known:
        found |= {"accuracy": 100 * known["right"] / known["of"], "right": known["right"]}
    return found


def weights_text(row: Row) -> str:
    return f"{row['sparsity']:.0%} zeros" if row["sparse"] else "dense"


def accuracy_table(rows: list[Row]) -> Table:
    out = []
    for r in rows:
        theirs = r["published"]
        out.append([r["model"], r["scheme"], weights_text(r), _round(r["accuracy"], 2), theirs.get("accuracy"),
                    r["samples"], (r["accuracy_by"] or "").split(":")[0], r["weights_bytes"] / KB,
                    theirs.get("weights_kb")])
    columns = ["model", "scheme", "weights", "accuracy %", "published", "samples", "by", "size KB", "published KB"]
    return Table("accuracy and size", columns, out,
                 note="size: weights, biases, multipliers and tables; the published one: weights and biases")


def m0plus_table(rows: list[Row]) -> Table:
    out = []
    for r in rows:
        if M0PLUS in r["boards"]:
            cycles = r["cycles"]
            out.append([r["model"], r["scheme"], weights_text(r), cycles["thumbulator"] / MILLION,
                        _millions(r["published"], "thumbulator"), cycles["cortex-m0plus"] / MILLION,
                        cycles["cortex-m0plus"] / r["boards"][M0PLUS]["clock_hz"] * 1e3])
    columns = ["model", "scheme", "weights", "thumbulator Mcycles", "published", "cortex-m0plus Mcycles",
               "ms at 24 MHz"]
    return Table("Cortex-M0+, emulated", columns, out,
                 note="thumbulator: the timing of the published simulator, with its multiplication of 32 cycles")


def f411_table(rows: list[Row]) -> Table:
    out = []
    for r in rows:
        if F411 not in r["boards"]:
            continue
        board, theirs = r["boards"][F411], r["published"]
        lacks = "too large" if theirs.get("fits") is False else None
        hertz = board["clock_hz"]
        out.append([r["model"], r["scheme"], weights_text(r), r["fits"], r["ram"] / KB, theirs.get("ram_kb"),
                    r["flash"] / KB, theirs.get("flash_kb", lacks), r["cycles"]["cortex-m4"] / MILLION,
                    board["upper"] / MILLION if r["fits"] else None, _millions(theirs, "cortex-m4"),
                    r["cycles"]["cortex-m4"] / hertz * 1e3, board["upper"] / hertz * 1e3 if r["fits"] else None])
    columns = ["model", "scheme", "weights", "fits", "RAM KB", "theirs", "flash KB", "theirs", "Mcycles", "at most",
               "theirs", "ms", "at most"]
    note = ("RAM: arena with input and output, .data, .bss, stack used.  Cycles: at zero wait states; at most: each "
            "fetch and load from flash pays all its wait states; theirs: published")
    title = "STM32F411RE at 100 MHz, emulated; what does not fit, on a generic Cortex-M4"
    return Table(title, columns, out, note=note)


def mlperf_table(rows: list[Row]) -> Table:
    out = []
    for r in rows:
        for name, board in r["boards"].items():
            if r["model"] not in MLPERF:
                continue
            (cycles,) = board["cycles"].values()
            estimate = board["estimate"]
            out.append([r["model"], r["scheme"], name if board["fits"] else f"{name} *", r["macs"], cycles / r["macs"],
                        estimate / r["macs"] if estimate else None, r["published"].get("cycles_per_mac", {}).get(name),
                        (estimate or cycles) / board["clock_hz"] * 1e3, board["flash"] / KB, board["ram"] / KB,
                        _round(r["accuracy"], 2), r["published"].get("accuracy")])
    columns = ["model", "scheme", "board", "MACs", "cycles/MAC", "waits", "theirs", "ms", "flash KB", "RAM KB",
               "right %", "reference"]
    note = ("cycles/MAC at zero wait states; waits: with wait states, an estimate with the flash's cache and prefetch "
            "modelled; theirs: published, measured, int8; reference: right answers of the reference int8 model; "
            "*: does not fit, run on the generic chip of its core")
    return Table("MLPerf Tiny, emulated", columns, out, note=note)


def checks_table(found: list[Check]) -> Table:
    out = [[c.what, c.where, c.figure, c.wanted, f"{c.good} of {len(c.each)}", "met" if c.met else "not met"]
           for c in found]
    note = (f"large: from {LARGE:,} parameters on, which in float32 exceed the STM32F411RE's flash; F411: published "
            "cycles over ours with every wait state paid; waits: our estimate in percent of the published")
    return Table("what is to be better", ["comparison", "worst", "figure", "wanted", "rows", ""], out, note=note)


def notes(rows: list[Row], others: dict[str, Any], machine: dict[str, Any]) -> list[str]:
    lines = [f"{machine['compiler']}; weights packed for each core (-O {machine['optimize']}), one inference of a "
             "sample; every firmware's output equals the reference's; nothing was measured on hardware",
             f"published: {'; '.join(others['sources'].values())}"]
    sets = sorted({f"{r['model']}: {r['test_set']}" for r in rows if r.get("test_set")})
    lines += [f"accuracy of {text}" for text in sets]
    lines += sorted({f"accuracy {r['accuracy_by']}" for r in rows if (r["accuracy_by"] or "").startswith("recorded")})
    if any(r["model"] == "mlperf-vww" for r in rows):
        lines.append("mlperf-vww: 82 % of the reference's weights are nothing (all zero in its own int8 model); layers "
                     "where that is worthwhile are stored sparse, and MACs count as if all were there")
    if any(r["model"].endswith(PAPER) for r in rows):
        lines.append(f"NAME{PAPER}: the published shapes with random weights, for size and cycles")
    return lines


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _millions(theirs: dict[str, Any], timing: str) -> float | None:
    cycles = theirs.get("cycles", {}).get(timing)
    return None if cycles is None else cycles / MILLION
