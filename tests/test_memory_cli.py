"""genn memory and genn bench memory, as a user sees them."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from genn.bench import memory as bench
from genn.cli import cli
from genn.errors import CheckFailed, ModelError, UsageError
from genn.memory import html, plan, proof, reader, report, tables
from genn.memory.schedule import Options

MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(16, 4, 3)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.c(torch.cat([x, self.b(x)], 1))


def make():
    return Net(), torch.zeros(1, 3, 12, 12)


def computes():
    net = Net()
    with torch.no_grad():
        net.a.weight.fill_(float(net.a.weight.abs().sum()))
    return net, torch.zeros(1, 3, 12, 12)
"""


def genn(*args: str | Path) -> str:
    result = CliRunner().invoke(cli, [str(a) for a in args], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_document(tmp_path: Path) -> None:
    out = json.loads(genn("memory", "lenet-5", "--scheme", "float32", "--prove", "0", "--json", "-"))
    assert out["schema"] == 1
    assert out["default_peak"] == 23520
    assert out["lower_bound"] <= out["arena"] <= 5792
    assert set(out["reductions"]) == {"order", "inplace", "concat", "fuse", "overlap", "stream"}
    for row in out["operators"] + out["default_operators"]:
        assert row["total"] == row["inputs"] + row["outputs"] + row["other"] + row["workspace"] - row["shared"]
    assert max(r["total"] for r in out["default_operators"]) == 23520
    assert max(r["total"] for r in out["operators"]) == out["best_peak"]
    at = out["peak_tensors"]
    assert at and all(t["offset"] + t["bytes"] <= out["arena"] for t in at)


def test_each_reduction_can_be_switched(tmp_path: Path) -> None:
    none = json.loads(genn("memory", "cifar-cmsis-nn", "--only", "none", "--no-gains", "--json", "-"))
    assert none["arena"] == none["default_peak"] == 40960
    first = json.loads(genn("memory", "cifar-cmsis-nn", "--without", "overlap,stream", "--no-gains", "--json", "-"))
    assert first["arena"] == 11264
    assert not any(len(s["operators"]) > 1 for s in first["steps"])
    with pytest.raises(UsageError, match="no reduction 'magic'"):
        genn("memory", "cifar-cmsis-nn", "--only", "magic")


def test_sram_judges() -> None:
    assert "arena" in genn("memory", "cifar-cmsis-nn", "--no-gains", "--sram", "6K")
    with pytest.raises(CheckFailed, match=r"needs 5,\d{3} B"):
        genn("memory", "cifar-cmsis-nn", "--no-gains", "--sram", "5K")
    with pytest.raises(UsageError, match="no size"):
        genn("memory", "cifar-cmsis-nn", "--sram", "lots")


def test_sram_streams_no_more_than_needed() -> None:
    few = json.loads(genn("memory", "mobilenet-v2-224", "--no-gains", "--prove", "0", "--sram", "400K", "--json", "-"))
    all_ = json.loads(genn("memory", "mobilenet-v2-224", "--no-gains", "--prove", "0", "--json", "-"))
    streamed = [sum(len(s["operators"]) for s in d["steps"] if len(s["operators"]) > 1) for d in (few, all_)]
    assert few["fits"] and few["arena"] <= 400 << 10
    assert 0 < streamed[0] < streamed[1]


def test_the_trade_is_a_curve(tmp_path: Path) -> None:
    page = tmp_path / "m.html"
    args = ["lenet-5", "--scheme", "float32", "--no-gains", "--prove", "0", "-t", "nucleo-f411re", "--sram", "5K"]
    out = json.loads(genn("memory", *args, "--html", page, "--json", "-"))
    points = {p["plan"]: p for p in out["curve"]}
    assert points["chosen"]["arena"] == out["arena"] <= 5 << 10 < points["default"]["arena"] == out["default_peak"]
    assert points["ram"]["arena"] <= points["chosen"]["arena"] <= points["time"]["arena"]
    assert points["time"]["row_steps"] == 0 < points["chosen"]["row_steps"] <= points["ram"]["row_steps"]
    assert all(p["joules_estimate"] > 0 for p in out["curve"])
    drawn = ET.fromstring(page.read_text().removeprefix("<!doctype html>").replace('<meta charset="utf-8">', ""))
    assert len(drawn.findall(".//circle")) == len(out["curve"])


def test_a_torch_model_without_weights_and_back_again(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "net.py").write_text(MODEL)
    graph = tmp_path / "graph.json"
    model = f"{tmp_path / 'net.py'}:make"
    first = json.loads(genn("memory", model, "--no-gains", "--export-graph", graph, "--json", "-"))
    assert first["default_peak"] == 144 * (8 + 8 + 16)
    assert "net.py" in first["operators"][0]["source"]
    again = json.loads(genn("memory", graph, "--no-gains", "--json", "-"))
    assert again["arena"] == first["arena"] < first["default_peak"]
    other = json.loads(genn("memory", f"{tmp_path / 'net.py'}:computes", "--no-gains", "--json", "-"))
    assert other["arena"] == first["arena"]


def test_files(tmp_path: Path) -> None:
    names = {"--html": "m.html", "--csv-tensors": "t.csv", "--csv-schedule": "s.csv", "--minimalloc": "m.csv"}
    args = [x for option, name in names.items() for x in (option, tmp_path / name)]
    out = json.loads(genn("memory", "lenet-5", "--no-gains", *args, "--json", "-"))
    texts = {name: (tmp_path / name).read_text() for name in names.values() if name.endswith(".csv")}
    rows = {name: list(csv.DictReader(io.StringIO(text))) for name, text in texts.items()}
    assert list(rows["t.csv"][0]) == ["Id", "Name", "Shape", "Size"]
    assert list(rows["s.csv"][0]) == ["Operator", "Working set", "Memory use", "MACs", "Size"]
    assert list(rows["m.csv"][0]) == ["id", "lower", "upper", "size", "offset"]
    assert max(int(r["Memory use"]) for r in rows["s.csv"]) == out["best_peak"]
    assert max(int(r["size"]) + int(r["offset"]) for r in rows["m.csv"]) == out["arena"]
    page = (tmp_path / "m.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_names_from_a_model_are_escaped() -> None:
    evil = '<script>alert("x")</script>=cmd|calc'
    nodes = [
        {"id": 0, "name": "=x", "op": "input", "inputs": [], "shape": [1, 4]},
        {"id": 1, "name": evil, "op": "sigmoid", "inputs": [0], "shape": [1, 4], "source": "</title>&"},
    ]
    graph = reader.build({"model": evil, "nodes": nodes, "outputs": [1]}, "evil")
    made = plan.make(graph, prove=0)
    page = html.page(made)
    assert "<script" not in page and "&lt;script&gt;" in page
    ET.fromstring(page.removeprefix("<!doctype html>").replace('<meta charset="utf-8">', ""))
    first = next(csv.reader(io.StringIO(tables.tensors(made).splitlines()[1])))
    assert first[1].startswith("'=")
    assert str(report.report(made, None))


def test_bad_models() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        genn("memory", "/nonexistent/graph.json")


def test_bad_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ModelError, match="no JSON"):
        genn("memory", tmp_path / "x.json")


def test_bench_rows() -> None:
    out = json.loads(genn("bench", "memory", "--models", "lenet-5,cifar-cmsis-nn,liberis-lane", "--json", "-"))
    rows = {r["model"]: r for r in out["rows"]}
    keys = {"model", "default_peak", "order", "step1", "step2", "arena", "lower_bound", "proof", "seconds"}
    assert all(keys <= set(r) for r in rows.values())
    assert rows["liberis-lane"]["default_peak"] == 5216 and rows["liberis-lane"]["order"] == 4960
    assert rows["lenet-5"]["step1"] == 8800
    with pytest.raises(UsageError, match="no network"):
        genn("bench", "memory", "--models", "alexnet")


# arena of each network with order, in-place, concat elimination and fusion; with overlap and row streaming besides
TABLE = {
    "mobilenet-v1-224": (1_204_224, 1_204_224, 220_864),
    "squeezenet-1.1-224": (982_144, 480_512, 435_600),
    "inception-v1-224": (1_003_520, 476_672, 476_672),
    "mnasnet-1.0-224": (802_816, 802_816, 180_192),
    "nasnet-mobile-224": (1_127_915, 937_216, 937_216),
    "densenet-121-224": (2_107_392, 1_204_224, 903_424),
    "densenet-121-chained-224": (1_806_336, 1_204_224, 903_424),
    "deeplabv3-mnv2-257": (2_003_136, 2_003_136, 1_393_098),
    "posenet-mnv1-257": (1_597_536, 1_597_536, 365_178),
    "east-r50-320": (4_915_200, 3_891_200, 3_891_200),
    "ssd-mobilenet-v1-300": (2_160_000, 2_160_000, 382_916),
    "mobilenet-v2-224": (1_505_280, 1_505_280, 196_368),
    "lenet-5": (23_520, 8_800, 5_792),
    "cifar-cmsis-nn": (40_960, 11_264, 5_888),
}
LARGE = {"nasnet-mobile-224", "densenet-121-224", "densenet-121-chained-224", "east-r50-320"}


@pytest.mark.parametrize(
    "network",
    [pytest.param(n, marks=pytest.mark.long) if n.name in LARGE else n for n in bench.NETWORKS if n.name in TABLE],
    ids=lambda n: n.name,
)
def test_figures(network: bench.Network) -> None:
    """Every plan is sound, no larger than what is known to be reachable, and proven; a large one may take ortools."""
    default, first, second = TABLE[network.name]
    graph = bench.graph(network)
    assert plan.default_peak(graph) == default
    for options, most in ((bench.STEP1, first), (Options(), second)):
        made = plan.make(graph, options, climb=1.0, prove=20.0)
        assert plan.check(made) <= made.arena <= most
        assert made.lower_bound <= made.arena
        assert made.offsets.optimal or (network.name in LARGE and not proof.available())
