"""Verify: nothing differs where nothing may, and what differs is found and named."""

from __future__ import annotations

import functools
import json
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn import api, host, qemu, reference, serialize
from genn.errors import FirmwareError, ModelError, UsageError
from genn.ir import SCHEMES, Graph, Node, Source, Tensor
from genn.manifest import read_manifest
from genn.ops import registry
from genn.verify import differing, random_inputs, run_reference, sqnr_db, verify

pytestmark = pytest.mark.gcc
RNG = np.random.default_rng(5)
WEIGHTS = [RNG.standard_normal((12, 20)).astype(np.float32), RNG.standard_normal((4, 12)).astype(np.float32)]
WEIGHTS[0][RNG.random((12, 20)) < 0.8] = 0  # sparse
BIASES = [RNG.standard_normal(12).astype(np.float32), np.zeros(4, np.float32)]
X = RNG.standard_normal((150, 20)).astype(np.float32)


def network() -> Graph:
    """Two linear layers with a ReLU between them."""
    attrs = registry["linear"].Attrs
    graph = Graph("net", inputs=["x"], outputs=["y1"])
    last = graph.add(Tensor("x", (1, 20))).name
    for i, (w, b) in enumerate(zip(WEIGHTS, BIASES)):
        ins = [last, graph.const(f"w{i}", w).name, graph.const(f"b{i}", b).name]
        last = graph.add(Tensor(f"y{i}", (1, len(w)))).name
        graph.nodes.append(Node(f"fc{i}", "linear", ins, [last], attrs(lo=0.0) if i == 0 else attrs(),
                                Source(f"fc{i}", "net.py", i + 1)))
    return graph


def model(scheme: str) -> api.Model:
    made = api.convert_graph(network(), scheme, X)
    made.project.files.setdefault(serialize.FILE, serialize.dumps(made.graph))
    return made


@pytest.fixture(params=SCHEMES)
def saved(request, tmp_path: Path) -> tuple[api.Model, Path]:
    made = model(request.param)
    return made, made.save(tmp_path / "net").result


def torch_module():
    torch = pytest.importorskip("torch")
    from torch import nn

    module = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 4))
    for layer, w, b in zip((module[0], module[2]), WEIGHTS, BIASES):
        layer.weight.data, layer.bias.data = torch.from_numpy(w), torch.from_numpy(b)
    return module


def test_reference_equals_c(saved) -> None:
    made, folder = saved
    report = verify(folder, X, model=made)
    assert report.ok, report.failure
    data = report.data
    assert data["samples"] == 150 and data["runners"]["host"] == {
        "samples": 150, "values": 600, "mismatches": 0, "max_abs_diff": 0.0}
    assert [(row["name"], row["op"], row["mismatches"]) for row in data["layers"]] == [
        ("fc0", "linear", 0), ("fc1", "linear", 0)]
    for row in data["layers"]:
        assert row["sqnr_db"] is None if made.graph.scheme == "float32" else row["sqnr_db"] > 25
    assert json.loads(report.json())["schema"] == 1
    assert "equal to the reference, byte for byte: host" in str(report)


def test_folder_alone_gives_the_same(saved) -> None:
    made, folder = saved
    assert verify(folder, X).data == verify(folder, X, model=made).data
    assert verify(folder).data["samples"] == 256


def test_eight_jobs_give_what_one_gives(saved) -> None:
    _, folder = saved
    assert verify(folder, X, jobs=1, layers=True).data == verify(folder, X, jobs=8, layers=True).data


def test_against_torch(saved) -> None:
    made, folder = saved
    module = torch_module()
    module.train()
    report = verify(folder, X, model=made, module=module)
    assert report.ok and module.training
    torch_row = report.data["runners"]["torch"]
    assert torch_row["float_max_abs_diff"] < 1e-5
    assert torch_row["sqnr_db"] > (100 if made.graph.scheme == "float32" else 25)
    module[2].bias.data += 1
    report = verify(folder, X, module=module)
    assert not report.ok and "the float network differs from PyTorch by 1" in report.failure


def test_torch_model_with_other_outputs(saved) -> None:
    _, folder = saved
    with pytest.raises(ModelError, match="other shapes"):
        verify(folder, X, module=torch_module()[:1])
    with pytest.raises(ModelError, match="PyTorch cannot run the model"):
        verify(folder, X, module=torch_module()[2:])


def test_torch_model_that_mixes_samples_is_run_one_by_one(saved) -> None:
    torch = pytest.importorskip("torch")
    _, folder = saved

    class Mixing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch_module()

        def forward(self, x):
            return self.inner(x) + (x - x[:1]).sum()

    report = verify(folder, X, module=Mixing())
    assert report.ok, report.failure


def test_accuracy_and_flips(saved) -> None:
    _, folder = saved
    labels = np.argmax(np.maximum(X @ WEIGHTS[0].T + BIASES[0], 0) @ WEIGHTS[1].T, axis=1)
    data = verify(folder, X, labels, module=torch_module()).data
    assert data["accuracy"]["torch"] == 1.0
    assert data["accuracy"]["host"] == data["accuracy"]["reference"] > 0.95
    flips = data["flips"]["host"]
    assert flips["right_to_wrong"] == flips["changed"] == round(150 * (1 - data["accuracy"]["host"]))
    assert verify(folder, X).data["accuracy"] == {}
    with pytest.raises(UsageError, match="150 integers are needed"):
        verify(folder, X, labels[:10])


def test_first_layer_that_diverges_is_named(saved) -> None:
    """One changed weight of the second layer: the first is equal, the second is not, and the report says so."""
    _, folder = saved
    weights = folder / "net_weights.c"
    text = weights.read_text()
    at = text.index("{{", text.index("net_l01_w net_l01_w")) + 2
    word = re.compile(r"0x[0-9a-f]+u").search(text, at)
    assert word is not None
    weights.write_text(text[: word.start()] + hex(int(word[0][:-1], 16) ^ 0x00400040) + "u" + text[word.end() :])
    report = verify(folder, X)
    assert not report.ok
    assert report.data["runners"]["host"]["mismatches"] > 0
    assert [row["mismatches"] > 0 for row in report.data["layers"]] == [False, True]
    assert re.search(r"host differs from the reference in \d+ of 600 output values; first in layer 1 \(fc1, linear\), "
                     r"sample \d+, element \[0, \d\]: \S+ instead of \S+", report.failure)


def test_crash_is_a_report(saved) -> None:
    _, folder = saved
    source = folder / "net.c"
    text = source.read_text()
    at = text.index("{", text.index("void net_l01_linear"))
    source.write_text(text[: at + 1] + " *(volatile int *)0 = 1;" + text[at + 1 :])
    with pytest.raises(FirmwareError, match=r"SIGSEGV in layer 1 \(fc1, linear\) on sample 0"):
        verify(folder, X)


def test_sanitizers_and_sample_limit(saved) -> None:
    _, folder = saved
    data = verify(folder, X, sanitize=True, samples=40).data
    assert data["runners"]["sanitized"]["mismatches"] == 0 and data["samples"] == 40


@pytest.mark.arm
@pytest.mark.qemu
def test_qemu_equals_reference(saved, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    need_tool("qemu-system-arm")
    _, folder = saved
    report = verify(folder, X, on=("host", "qemu"), samples=60)
    assert report.ok, report.failure
    assert report.data["runners"]["qemu"] == {"samples": 60, "values": 240, "mismatches": 0, "max_abs_diff": 0.0}


@pytest.mark.arm
@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
def test_emulator_equals_reference(saved, target: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    _, folder = saved
    report = verify(folder, X, on=("host", "emu"), target=target, samples=20)
    assert report.ok, report.failure
    assert report.data["runners"]["emu"] == {"samples": 20, "values": 80, "mismatches": 0, "max_abs_diff": 0.0}


@pytest.mark.arm
@pytest.mark.qemu
def test_qemu_that_does_not_end(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    need_tool("qemu-system-arm")
    folder = model("int8").save(tmp_path / "net").result
    source = folder / "net.c"
    text = source.read_text()
    at = text.index("{", text.index("int net_run("))
    source.write_text(text[: at + 1] + " for (volatile int i = 0; i == 0;) { }" + text[at + 1 :])
    manifest = read_manifest(folder)
    with pytest.raises(FirmwareError, match="did not end within 1 s in QEMU"):
        qemu.run_project(manifest, manifest.encode(X[:1]), timeout=1)


@pytest.mark.arm
@pytest.mark.qemu
def test_several_inputs_and_outputs(tmp_path: Path, need_tool) -> None:
    need_tool("qemu-system-arm")
    graph = Graph("two", inputs=["a", "b"], outputs=["z", "y"])
    for i, (x, y) in enumerate((("a", "y"), ("b", "z"))):
        w = WEIGHTS[i]
        graph.add(Tensor(x, (1, w.shape[1])))
        ins = [x, graph.const(f"w{i}", w).name, graph.const(f"c{i}", BIASES[i]).name]
        graph.nodes.append(Node(f"fc{i}", "linear", ins, [graph.add(Tensor(y, (1, len(w)))).name],
                                registry["linear"].Attrs()))
    data = {"b": RNG.standard_normal((30, 12)).astype(np.float32), "a": X[:30]}
    made = api.convert_graph(graph, "int8", data)
    made.project.files.setdefault(serialize.FILE, serialize.dumps(made.graph))
    report = verify(made.save(tmp_path / "two").result, data, on=("host", "qemu"))
    assert report.ok, report.failure
    assert report.data["runners"]["qemu"]["values"] == 30 * 16


@pytest.mark.parametrize(("options", "match"), [
    ({"on": ("host", "fpga")}, "no runner fpga"),
    ({"data": np.zeros((5, 3))}, "input x"),
    ({"jobs": 0}, "no number of threads"),
])
def test_usage_errors(tmp_path: Path, options, match: str) -> None:
    folder = model("int8").save(tmp_path / "net").result
    with pytest.raises(UsageError, match=match):
        verify(folder, **options)


def test_folder_without_graph(tmp_path: Path) -> None:
    folder = model("int8").save(tmp_path / "net").result
    (folder / serialize.FILE).unlink()
    with pytest.raises(ModelError, match="run genn convert again"):
        verify(folder)
    (folder / serialize.FILE).write_bytes(serialize.dumps(model("int16").graph))
    with pytest.raises(ModelError, match="do not belong together"):
        verify(folder)


def test_from_c_to_module_within_the_cpu_budget(tmp_path: Path, monkeypatch) -> None:
    """400 KB of weights in at most 1.5 s of CPU, the wrapper's compilation included; milliseconds the second time."""
    monkeypatch.setenv("GENN_CACHE", str(tmp_path / "cache"))
    host.load(model("int8").save(tmp_path / "first").result)  # in a checkout this may translate the wrapper, once
    graph = Graph("big", inputs=["x"], outputs=["y"])
    w, b = graph.const("w", RNG.standard_normal((128, 784))).name, graph.const("b", np.zeros(128)).name
    graph.add(Tensor("x", (1, 784)))
    graph.nodes.append(Node("fc", "linear", ["x", w, b], [graph.add(Tensor("y", (1, 128))).name],
                            registry["linear"].Attrs()))
    folder = api.convert_graph(graph, "float32").save(tmp_path / "big").result
    shutil.rmtree(tmp_path / "cache" / "host-wrapper")

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)

    start = cpu()
    host.load(folder)
    built = cpu()
    host.load(folder)
    assert built - start < 1.5 and cpu() - built < 0.1


# -- the graph in a file -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", SCHEMES)
def test_graph_file_keeps_everything(scheme: str) -> None:
    graph = model(scheme).graph
    raw = serialize.dumps(graph)
    again = serialize.loads(raw)
    assert serialize.dumps(again) == raw and again.dump() == graph.dump()
    stored = [reference.encode(graph, "x", X[:, None])]
    for name, y in run_reference(graph, stored, keep=True).items():
        np.testing.assert_array_equal(run_reference(again, stored, keep=True)[name], y)


def test_graph_file_is_a_safetensors_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    serialize.save(model("int8").graph, tmp_path / "g")
    arrays = safetensors.load_file(tmp_path / "g")
    assert any(np.array_equal(a, WEIGHTS[1]) for a in arrays.values())


def test_graph_file_runs_no_code(tmp_path: Path) -> None:
    raw = serialize.dumps(model("int8").graph)
    for name in (b"os:system", b"builtins:exec", b"genn.ir:NP_DTYPE", b"genn.numerics:requantize", b"genn.ops.base:Op"):
        changed = raw.replace(b"genn.numerics:Requant", name)
        assert changed != raw
        size = int.from_bytes(raw[:8], "little") + len(changed) - len(raw)
        (tmp_path / "g").write_bytes(size.to_bytes(8, "little") + changed[8:])
        with pytest.raises(ModelError, match="unknown object"):
            serialize.load(tmp_path / "g")


def test_missing_graph_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        serialize.load(tmp_path / "g")


@functools.cache
def whole() -> bytes:
    return serialize.dumps(model("int8").graph)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_graph_file_is_a_sentence(tmp_path_factory, data) -> None:
    """Cut or changed anywhere: a ModelError or still a graph, never another exception."""
    raw = bytearray(whole())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        header = int.from_bytes(raw[:8], "little") + 8
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(raw)
    try:
        serialize.load(path)
    except ModelError as error:
        assert error.where and len(str(error).splitlines()) == 1


# -- measures ----------------------------------------------------------------------------------------------------------
def test_differing_sees_bits() -> None:
    a, b = np.array([0.0, 1.0, np.nan], np.float32), np.array([-0.0, 1.0, np.nan], np.float32)
    assert differing(a, b).tolist() == [True, False, False]


def test_sqnr() -> None:
    assert sqnr_db(np.array([1.0, 1.0]), np.array([1.0, 1.0])) is None
    assert sqnr_db(np.array([10.0]), np.array([9.0])) == pytest.approx(20.0)


def test_random_inputs_reach_the_ends(tmp_path: Path) -> None:
    manifest = read_manifest(model("int8").save(tmp_path / "net").result)
    (stored,) = manifest.encode(random_inputs(manifest, 500))
    assert stored.min() == -128 and stored.max() == 127


@pytest.mark.slow
def test_bench_prints_both_sides() -> None:
    pytest.importorskip("torch")
    from genn.bench.verify import bench

    report = bench(["mnist-mlp"], ("int8",), rounds=1, seconds=0.01)
    labels = {row["contestant"] for row in report.data["results"]}
    assert {"C int8, 1 thread", "torch, batch 1", "torch, batch 256"} <= labels
    assert all(row["images_per_second"] > 0 for row in report.data["results"])
