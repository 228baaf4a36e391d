"""``genn bench suite``: which rows there are, what stands beside them, that its figures are those of the commands."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn.bench import suite, suite_data, suite_html
from genn.bench.suite import Job
from genn.bench.suite_checks import Check, checks
from genn.bench.suite_report import published_of, report
from genn.errors import UsageError
from genn.suite import MODELS
from tests.workshop import genn

MACHINE = {"compiler": "a compiler", "genn": "0", "optimize": "balanced"}
KEYS = {"model", "scheme", "sparse", "accuracy", "samples", "weights_bytes", "flash", "ram", "fits", "cycles",
        "published"}


def made_row(model: str, scheme: str, sparse: bool = False, **more: Any) -> dict[str, Any]:
    """A row as ``measure`` gives it, with figures of no meaning."""
    small = {"float32": 4, "int16": 2, "int8": 1}[scheme] * (0.2 if sparse else 1)
    cycles = {"cortex-m4": int(1e5 * small), "thumbulator": int(9e5 * small), "cortex-m0plus": int(3e5 * small)}
    boards = {
        "nucleo-f411re": {"fits": True, "target": "nucleo-f411re", "clock_hz": 100_000_000, "upper": 3e5 * small,
                          "estimate": None, "cycles": {"cortex-m4": cycles["cortex-m4"]}, "flash": 9, "ram": 9},
        "cortex-m0plus": {"fits": True, "target": "cortex-m0plus", "clock_hz": 24_000_000, "estimate": None,
                          "upper": cycles["cortex-m0plus"], "cycles": {"thumbulator": 1, "cortex-m0plus": 1}},
    }
    return {"model": model, "scheme": scheme, "sparse": sparse, "accuracy": 90.0, "samples": 10, "accuracy_by": "us",
            "parameters": 200_000, "sparsity": 0.9 if sparse else 0.0, "weights_bytes": int(1e5 * small), "macs": 1000,
            "flash": int(1e5 * small), "ram": 5000, "fits": True, "cycles": cycles, "boards": boards} | more


def all_rows(model: str) -> list[dict[str, Any]]:
    return [made_row(model, scheme, sparse) for scheme in ("float32", "int16", "int8") for sparse in (False, True)]


# -- rows --------------------------------------------------------------------------------------------------------------
def test_a_name_brings_its_sparse_and_paper_variants_along() -> None:
    found = suite.jobs_of(["kws-dscnn"], ["int8"])
    assert {job.entry for job in found} == {f"kws-dscnn{p}{s}" for p in ("", "-paper") for s in ("", "-sparse")}
    assert {job.entry for job in suite.jobs_of(["mnist-cnn"], ["int8"])} == {"mnist-cnn", "mnist-cnn-sparse"}
    assert [job.entry for job in suite.jobs_of(["mlperf-ic", "mlperf-ic"], ["int8"])] == ["mlperf-ic"]


def test_all_of_the_suite_is_measured_by_default() -> None:
    assert {job.entry for job in suite.jobs_of(suite.NAMES, ["int8"])} == set(MODELS)


def test_unknown_names_are_told() -> None:
    with pytest.raises(UsageError, match="did you mean mnist-cnn"):
        suite.jobs_of(["mnist-cn"], ["int8"])
    with pytest.raises(UsageError, match="no scheme 'int4'"):
        suite.jobs_of(["mnist-cnn"], ["int4"])
    with pytest.raises(UsageError, match="no goal 'size'"):
        suite.jobs_of(["mnist-cnn"], ["int8"], "size")


# -- published ---------------------------------------------------------------------------------------------------------
def test_published_figures_stand_beside_equal_shapes_only() -> None:
    others = suite.published()
    trained = published_of(made_row("kws-dscnn", "int16"), others)
    paper = published_of(made_row("kws-dscnn-paper", "int16"), others)
    assert trained == {"accuracy": 98.0}
    assert paper == {"weights_kb": 54.88, "flash_kb": 83.66, "ram_kb": 9.34,
                     "cycles": {"cortex-m4": 49_220_000, "thumbulator": 28_210_000}}
    whole = published_of(made_row("mnist-cnn", "float32", True), others)
    assert whole["accuracy"] == 96.85 and whole["cycles"]["cortex-m4"] == 178_650_000
    assert published_of(made_row("mnist-cnn", "int8"), others) == {}, "nobody has published int8"
    assert published_of(made_row("kws-cnn-paper", "float32"), others)["fits"] is False


@pytest.mark.parametrize("name", suite.NAMES)
def test_every_model_has_published_figures(name: str) -> None:
    others = suite.published()
    assert name in others["suite"] or name in others["mlperf"]


def test_published_sizes_are_those_of_the_networks() -> None:
    for name, known in suite.published()["suite"].items():
        exact = MODELS.get(f"{name}-paper", MODELS[name])
        assert exact.parameters * 4 / 1024 == pytest.approx(known["size"][0], abs=0.1), name


# -- comparisons -------------------------------------------------------------------------------------------------------
def test_a_check_tells_its_worst_row() -> None:
    more = Check("speed", "x", 4, 1, False, (("a", 4.0), ("b", 9.0)))
    assert more.met and more.where == "a" and more.wanted == "at least 4x"
    assert not Check("speed", "x", 4, 1, True, (("a", 4.0),)).met
    less = Check("loss", "", 2, -1, False, (("a", 2.0), ("b", 3.0)))
    assert not less.met and less.where == "b" and less.good == 1


def test_comparisons_are_met_or_not_by_the_rows() -> None:
    rows = all_rows("mnist-cnn")
    for row in rows:
        row["published"] = published_of(row, suite.published())
    found = {check.what: check for check in checks(rows)}
    assert found["int16 faster than float32, M4"].each == (("mnist-cnn int16", 2.0), ("mnist-cnn int16 sparse", 2.0))
    assert found["sparse faster than dense at 90% zeros, int8, M0+"].met
    assert found["flash of int8 below float32, large models"].worst == ("mnist-cnn int8", 75.0)
    assert found["flash of int16 below float32, large models"].met
    float_at_most = found["F411, float32: published cycles over ours"]
    assert float_at_most.each == (("mnist-cnn float32", 24_670_000 / 1.2e6),)
    slow = [row for row in rows if row["scheme"] == "int16" and not row["sparse"]]
    slow[0]["cycles"]["cortex-m4"] = 10**9
    slow[0]["flash"] = 399_999
    found = {check.what: check for check in checks(rows)}
    assert not found["int16 faster than float32, M4"].met and found["int16 faster than float32, M4"].good == 1
    assert not found["flash of int16 below float32, large models"].met


def test_comparisons_without_their_rows_are_left_out() -> None:
    row = made_row("mnist-cnn", "int8")
    row["published"] = {}
    assert checks([row]) == []


# -- what is written ---------------------------------------------------------------------------------------------------
class Page(HTMLParser):
    """Tags opened and closed in order, and what would be fetched."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open, self.seen, self.fetched = list[str](), list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.fetched += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    evil = "</title><script>alert(1)</script>"
    rows = all_rows("mnist-cnn") + [made_row(evil, "int8")]
    text = suite_html.page(report(rows, suite.published(), MACHINE))
    page = Page()
    page.feed(text)
    assert page.open == [] and page.fetched == [] and "script" not in page.seen
    assert "url(" not in text and "@import" not in text
    assert page.seen.count("svg") == 6, "no plot of MLPerf Tiny without its rows"
    bars = re.findall(r'<rect [^>]*width="([0-9.]+)"', text)
    assert len(bars) == page.seen.count("rect") > 40 and all(0 < float(w) <= suite_html.WIDTH for w in bars)


def test_a_logarithmic_bar_grows_with_its_value() -> None:
    place = suite_html.scale([0.05, 3.0, 900.0], log=True)
    assert 0 < place(0.05) < place(3.0) < place(900.0) <= suite_html.WIDTH
    assert suite_html.scale([50.0, 100.0], log=False)(50.0) * 2 == suite_html.scale([50.0, 100.0], log=False)(100.0)


def test_csv_has_every_row() -> None:
    made = report(all_rows("mnist-cnn"), suite.published(), MACHINE)
    lines = list(csv.DictReader(io.StringIO(made.csv())))
    assert len(lines) == 6 and lines[0]["published_cycles_cortex-m4"] == "24670000" and lines[0]["fits"] == "True"


# -- accuracy ----------------------------------------------------------------------------------------------------------
def test_accuracy_is_recorded_where_the_data_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {"accuracy": 98.5, "samples": 10_000, "test_set": "a set", "how": "a command"}
    monkeypatch.setattr(suite_data, "recorded", lambda: {("mnist-mlp", "int8"): known})
    found = suite._accuracy(Job("mnist-mlp", "int8", False), tmp_path, None)
    assert found == {"accuracy": 98.5, "samples": 10_000, "test_set": "a set", "accuracy_by": "recorded: a command"}
    assert suite._accuracy(Job("mnist-mlp", "int16", False), tmp_path, tmp_path) == {}
    assert suite._accuracy(Job("kws-mlp-paper", "int8", False), tmp_path, None) == {}, "random weights have no accuracy"


def test_image_evaluation_inputs_are_found_and_damage_is_told(tmp_path: Path) -> None:
    assert suite_data.test_set("mlperf-ic", tmp_path) is None
    x = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    np.savez(tmp_path / suite_data.MLPERF_IC, X=x, y=np.array([3, 5], np.uint8))
    found = suite_data.test_set("mlperf-ic", tmp_path)
    assert found is not None and found.x.shape == (2, 3, 32, 32) and list(found.y) == [3, 5]
    assert found.x[1, 2, 5, 7] == x[1, 5, 7, 2]
    folder = tmp_path / "mlperf_tiny"
    folder.mkdir()
    (folder / suite_data.MLPERF_IC).write_bytes(b"no archive")
    suite_data._read.cache_clear()
    with pytest.raises(UsageError, match="cannot be read"):
        suite_data.test_set("mlperf-ic", tmp_path)


# -- the whole command -------------------------------------------------------------------------------------------------
def test_the_command_says_what_convert_emulate_and_footprint_say(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    options = ("--models", "mnist-cnn", "--schemes", "int8", "--jobs", "2")
    ran = genn("bench", "suite", *options, "--json", tmp_path / "s.json", "--html", tmp_path / "s.html")
    assert ran.code == 0, ran.err
    assert ran.err == "" and "accuracy and size" in ran.out and "what is to be better" in ran.out
    document = json.loads((tmp_path / "s.json").read_text())
    dense, sparse = document["rows"]
    assert set(dense) >= KEYS and not dense["sparse"] and sparse["sparse"]
    assert sparse["flash"] < dense["flash"] and sparse["cycles"]["cortex-m4"] < dense["cycles"]["cortex-m4"]
    assert "<svg" in (tmp_path / "s.html").read_text()
    board, out = "cortex-m0plus", tmp_path / "out"
    assert genn("convert", "mnist-cnn", "-o", out, "--scheme", "int8", "-t", board).code == 0
    for timing in suite.BOARDS[board]:
        emulated = json.loads(genn("emulate", out, "-t", board, "--timing", timing, "--json", "-").out)
        assert emulated["cycles"] == dense["cycles"][timing]
    weighed = json.loads(genn("footprint", out, "-t", board, "--json", "-").out)
    assert weighed["flash"] == dense["boards"][board]["flash"]
