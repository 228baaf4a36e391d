"""What the published work left to be done, as comparisons of the suite's own rows that are met or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from genn.suite.mlperf_catalog import MLPERF

LARGE = 131_072  # parameters: from here on float32 exceeds the STM32F411RE's 512 KB of flash
PRUNED = 0.9
LESS = 2  # samples that MLPerf Tiny's models may lose against the reference
CORES = {"cortex-m4": "M4", "cortex-m0plus": "M0+"}
FEWER = {(model, scheme): n for model in ("mnist-cnn", "kws-dscnn") for scheme, n in (("float32", 4), ("int16", 10))}
SAVED = {("int16", False): 49, ("int8", False): 73, ("int8", True): 93}  # percent of float32's flash

Row = dict[str, Any]
Key = tuple[str, str, bool]


@dataclass(frozen=True)
class Check:
    """One comparison over ``each`` (row, figure); the worst is shown.  ``better``: 1 where more is better, -1 less."""

    what: str
    unit: str
    limit: float
    better: int
    strict: bool
    each: tuple[tuple[str, float], ...]

    def holds(self, figure: float) -> bool:
        ahead = self.better * (figure - self.limit)
        return ahead > 0 if self.strict else ahead >= 0

    @property
    def worst(self) -> tuple[str, float]:
        return min(self.each, key=lambda e: self.better * e[1])

    @property
    def good(self) -> int:
        return sum(self.holds(figure) for _, figure in self.each)

    @property
    def met(self) -> bool:
        return self.good == len(self.each)

    @property
    def where(self) -> str:
        return self.worst[0]

    @property
    def figure(self) -> str:
        return f"{self.worst[1]:.4g}{self.unit}"

    @property
    def wanted(self) -> str:
        sign = {(1, True): "more than ", (1, False): "at least ", (-1, True): "less than ", (-1, False): "at most "}
        return f"{sign[self.better, self.strict]}{self.limit:.4g}{self.unit}"

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "wanted": self.wanted, "met": self.met,
                "rows": [{"row": name, "figure": value, "met": self.holds(value)} for name, value in self.each]}


def checks(rows: list[Row]) -> list[Check]:
    """Every comparison that the rows at hand allow."""
    table = {(r["model"], r["scheme"], r["sparse"]): r for r in rows}
    return [Check(*head, tuple(each)) for head, each in _comparisons(table) if each]


Head = tuple[str, str, float, int, bool]


def _comparisons(table: dict[Key, Row]) -> Iterator[tuple[Head, list[tuple[str, float]]]]:
    for timing, core in CORES.items():
        yield ((f"int16 faster than float32, {core}", "x", 1, 1, True),
               _ratios(table, lambda k: (k[0], "float32", k[2]), lambda k, r: k[1] == "int16", timing))
    for timing, core in CORES.items():
        for scheme in ("float32", "int16", "int8"):
            yield ((f"sparse faster than dense at {PRUNED:.0%} zeros, {scheme}, {core}", "x", 1, 1, True),
                   _ratios(table, lambda k: (k[0], k[1], False),
                           lambda k, r, s=scheme: k[1] == s and k[2] and r["sparsity"] >= PRUNED, timing))
    yield ("flash of the next smallest in that of quantized-sparse", "x", 1, 1, True), _smallest(table)
    for (model, scheme), fewer in FEWER.items():
        yield ((f"F411, {scheme}: published cycles over ours", "x", fewer, 1, False),
               _published_ratio(table, model, scheme))
    for (scheme, sparse), percent in SAVED.items():
        kind = f"sparse {scheme} at {PRUNED:.0%} zeros" if sparse else scheme
        yield ((f"flash of {kind} below float32, large models", " %", percent, 1, False),
               _saved(table, scheme, sparse))
    for scheme in ("int8", "int16"):
        yield ((f"MLPerf Tiny, {scheme}: fewer right than the reference int8", "", LESS, -1, False),
               _fewer_right(table, scheme))
    for board in ("stm32l4r5zi", "stm32g0b1"):
        yield ((f"MLPerf Tiny, int8, {board}: cycles a MAC with waits", " %", 100, -1, False), _per_mac(table, board))


def _label(key: Key) -> str:
    return f"{key[0]} {key[1]}{' sparse' if key[2] else ''}"


def _ratios(table: dict[Key, Row], against: Callable[[Key], Key], chosen: Callable[..., bool],
            timing: str) -> list[tuple[str, float]]:
    """How many times faster each chosen row is than the one it is held against."""
    return [(_label(key), table[against(key)]["cycles"][timing] / row["cycles"][timing])
            for key, row in table.items() if chosen(key, row) and against(key) in table]


def _smallest(table: dict[Key, Row]) -> list[tuple[str, float]]:
    """Flash of the next smallest variant, in that of the smallest quantized and sparse one."""
    found = []
    for model in dict.fromkeys(key[0] for key in table):
        rows = {key: row["flash"] for key, row in table.items() if key[0] == model}
        small = [flash for key, flash in rows.items() if key[2] and key[1] != "float32"]
        rest = [flash for key, flash in rows.items() if not (key[2] and key[1] != "float32")]
        if small and rest:
            found.append((model, min(rest) / min(small)))
    return found


def _published_ratio(table: dict[Key, Row], model: str, scheme: str) -> list[tuple[str, float]]:
    found = []
    for key, row in table.items():
        theirs = row["published"].get("cycles", {}).get("cortex-m4")
        if key[0].startswith(model) and key[1:] == (scheme, False) and theirs is not None:
            found.append((_label(key), theirs / row["boards"]["nucleo-f411re"]["upper"]))
    return found


def _saved(table: dict[Key, Row], scheme: str, sparse: bool) -> list[tuple[str, float]]:
    """Percent of the flash of dense float32."""
    found = []
    for key, row in table.items():
        dense = table.get((key[0], "float32", False))
        if key[0] in MLPERF or key[1:] != (scheme, sparse) or dense is None or row["parameters"] < LARGE:
            continue  # MLPerf Tiny's large ones are no pair: in float32 some of their layers are sparse too
        if not sparse or row["sparsity"] >= PRUNED:
            found.append((_label(key), 100 * (1 - row["flash"] / dense["flash"])))
    return found


def _fewer_right(table: dict[Key, Row], scheme: str) -> list[tuple[str, float]]:
    found = []
    for key, row in table.items():
        reference = table.get((key[0], "int8", False), row)["published"].get("right")
        if key[0] in MLPERF and key[1] == scheme and reference is not None and row["accuracy"] is not None:
            found.append((_label(key), reference - round(row["accuracy"] * row["samples"] / 100)))
    return found


def _per_mac(table: dict[Key, Row], board: str) -> list[tuple[str, float]]:
    found = []
    for key, row in table.items():
        theirs, ours = row["published"].get("cycles_per_mac", {}).get(board), row["boards"].get(board)
        if theirs is not None and ours is not None and ours["estimate"]:
            found.append((_label(key), 100 * ours["estimate"] / row["macs"] / theirs))
    return found
