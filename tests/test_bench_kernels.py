"""What the kernels cost: the targets they were written for, and no step back from the figures in data/kernels.json.

``genn bench kernels --schemes float32,int16,int8 --json tests/data/kernels.json`` measures all of them anew.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from genn.bench import baseline, kernels
from genn.errors import UsageError
from genn.ir import SCHEMES
from genn.kernels import OPTIMIZE
from tests.conftest import missing

STORED = Path(__file__).parent / "data" / "kernels.json"
ROWS = [(w, s, c, m) for w in kernels.WORKLOADS for s in SCHEMES for c in kernels.CORES for m in OPTIMIZE]
SMALL = ("mnist-mlp", "mnist-cnn", "ds-block", "sparse-linear")
EVERY_DAY = {
    *((w, "int8", c, "balanced") for w in SMALL for c in kernels.CORES),
    *((w, "int16", c, "balanced") for w in ("mnist-cnn", "sparse-linear") for c in kernels.CORES),
    ("mnist-cnn", "float32", "m4", "balanced"), ("mnist-mlp", "float32", "m0plus", "balanced"),
    ("mnist-cnn", "int8", "m4", "flash"), ("mnist-cnn", "int8", "m0plus", "flash"), ("ds-block", "int8", "m4", "time"),
}

# Most cycles of one inference and most bytes of extra flash: core, workload -> mode -> (cycles, bytes).
INT8 = {
    ("m4", "mnist-mlp"): {"time": (135_000, None), "flash": (227_932, 1_350)},
    ("m4", "mnist-cnn"): {"time": (600_000, None), "flash": (1_973_305, 2_600)},
    ("m4", "ds-block"): {"time": (800_000, None), "flash": (1_752_609, 1_900)},
    ("m0plus", "mnist-mlp"): {"time": (380_000, None), "flash": (686_695, 1_350)},
    ("m0plus", "mnist-cnn"): {"time": (2_500_000, None), "flash": (4_925_874, 3_200)},
    ("m0plus", "ds-block"): {"time": (3_200_000, None), "flash": (7_391_028, 2_000)},
}
OTHERS = {  # scheme, core, workload -> cycles with -O time
    ("int16", "m4", "mnist-mlp"): 145_000, ("int16", "m4", "mnist-cnn"): 750_000,
    ("int16", "m0plus", "mnist-mlp"): 420_000, ("int16", "m0plus", "mnist-cnn"): 2_800_000,
    ("float32", "m4", "mnist-mlp"): 350_000, ("float32", "m4", "mnist-cnn"): 1_700_000,
}
PER_MAC = {"m4": {"kws": 1.4, "ic": 1.2, "vww": 1.4, "ad": 1.5},
           "m0plus": {"kws": 5.5, "ic": 4.5, "vww": 5.5, "ad": 3.8}}
PER_NONZERO = {("int8", "m4"): 5.6, ("int8", "m0plus"): 10.2, ("int16", "m4"): 6.2, ("int16", "m0plus"): 11.0,
               ("float32", "m4"): 8.0}
BYTES = {"int8": 2.21, "int16": 3.21}  # of flash a nonzero, with index, bias and all code (2.2 and 3.2 without code)


@cache
def stored() -> dict[baseline.Key, dict[str, Any]]:
    return {baseline.key(row): row for row in json.loads(STORED.read_text())["rows"]}


@cache
def workload(name: str) -> kernels.Workload:
    return kernels.workload(name)


def figure(*key: str) -> dict[str, Any]:
    return stored()[key]  # type: ignore[index]


def test_every_combination_is_stored() -> None:
    assert set(stored()) == set(ROWS)


@pytest.mark.parametrize(("core", "name"), INT8)
def test_int8_targets(core: str, name: str) -> None:
    for mode, (cycles, extra) in INT8[core, name].items():
        assert figure(name, "int8", core, mode)["cycles"] <= cycles
        assert extra is None or figure(name, "int8", core, mode)["extra_flash"] <= extra
    balanced = figure(name, "int8", core, "balanced")
    assert balanced["cycles"] <= 1.15 * INT8[core, name]["time"][0]
    assert balanced["extra_flash"] <= 1.5 * INT8[core, name]["flash"][1]


@pytest.mark.parametrize(("scheme", "core", "name"), OTHERS)
def test_targets_of_the_other_schemes(scheme: str, core: str, name: str) -> None:
    assert figure(name, scheme, core, "time")["cycles"] <= OTHERS[scheme, core, name]


@pytest.mark.parametrize("core", PER_MAC)
def test_mlperf_targets(core: str) -> None:
    for name, most in PER_MAC[core].items():
        assert figure(name, "int8", core, "time")["cycles_per_mac"] <= most
        assert figure(name, "int16", core, "time")["cycles_per_mac"] <= 1.4 * most


@pytest.mark.parametrize(("scheme", "core"), PER_NONZERO)
def test_sparse_targets(scheme: str, core: str) -> None:
    row = figure("sparse-linear", scheme, core, "balanced")
    assert row["cycles_per_weight"] <= PER_NONZERO[scheme, core]
    assert scheme == "float32" or row["flash"] <= BYTES[scheme] * row["weights"]


@pytest.mark.parametrize(
    ("name", "scheme", "core", "mode"),
    [pytest.param(*r, marks=() if r in EVERY_DAY else pytest.mark.long) for r in ROWS],
)
def test_nothing_gets_slower_or_larger(name: str, scheme: str, core: str, mode: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    if kernels.compiler() != baseline.read(STORED)["compiler"]:
        missing(f"the compiler of the stored figures, {baseline.read(STORED)['compiler']},")
    row = {"workload": name, "scheme": scheme, "core": core, "mode": mode}
    row |= kernels.measure(workload(name), scheme, core, mode)
    assert not baseline.worse([row], baseline.read(STORED)["rows"])


def test_two_percent_and_no_more() -> None:
    row = {"workload": "w", "scheme": "int8", "core": "m4", "mode": "time"} | dict.fromkeys(baseline.COMPARED, 1000)
    before = {baseline.key(row): dict.fromkeys(baseline.COMPARED, 1000)}
    assert not baseline.worse([row | {"cycles": 1020}], before)
    assert baseline.worse([row | {"cycles": 1021, "ram": 990}], before) == ["w int8 m4 time: cycles 1,000 -> 1,021"]
    assert baseline.worse([row], {}) == []
    saved = {baseline.key(row): {"extra_flash": -1000}}  # fewer bytes than one a weight
    assert not baseline.worse([row | {"extra_flash": -980}], saved)
    assert baseline.worse([row | {"extra_flash": -979}], saved)


def test_a_file_that_is_no_baseline(tmp_path: Path) -> None:
    for text in ("", "[]", '{"compiler": "x", "rows": [{}]}'):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(UsageError, match="no baseline"):
            kernels.bench(("mnist-mlp",), against=tmp_path / "b.json")
