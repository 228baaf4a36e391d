"""Models by name: factories, weights, and .pt2 archives of which not one byte is trusted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genn import frontend, load, passes
from genn.errors import GennError, ModelError, UsageError
from genn.load import load_model
from tests.networks import evaluate

SOURCE = """
import torch
from torch import nn

EXAMPLE_INPUT = torch.zeros(1, 3)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
    def forward(self, x):
        return torch.relu(self.fc(x))

def make(): return Net()
def pair(): return Net(), (torch.zeros(2, 3),)
def wrong(): return 3
def breaks(): raise KeyError("lost")
def leaves(): raise SystemExit(3)
def asks(n): return Net()
NUMBER = 3
READY = Net()
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(SOURCE)
    (tmp_path / "bare.py").write_text("from torch import nn\ndef make(): return nn.Linear(3, 2)\n")
    (tmp_path / "neighbour.py").write_text("from bare import make\n")
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "lacks.py").write_text("import not_to_be_found_anywhere\n")
    return str(tmp_path)


# -- factories -------------------------------------------------------------------------------------------------------


def test_factories(source: str) -> None:
    for name, rows in (("make", 1), ("pair", 2), ("Net", 1), ("READY", 1)):
        loaded = load_model(f"{source}/net.py:{name}")
        assert isinstance(loaded.model, nn.Module) and loaded.name == name and len(loaded.sha256) == 64
        assert isinstance(loaded.example_inputs, tuple) and loaded.example_inputs[0].shape == (rows, 3)
        frontend.import_graph(frontend.trace(loaded.model, loaded.example_inputs), loaded.name)


def test_input_shape(source: str) -> None:
    with pytest.raises(UsageError, match="--input-shape"):
        load_model(f"{source}/bare.py:make")
    for text in ("4,3", " (4, 3) "):
        loaded = load_model(f"{source}/neighbour.py:make", input_shape=text)
        assert loaded.example_inputs[0].shape == (4, 3)
    assert load.parse_shapes("1,3;2,5") == [(1, 3), (2, 5)]
    for text in ("", "1,x", "1,0", "1,-2", "1,3;;"):
        with pytest.raises(UsageError, match="input shape"):
            load.parse_shapes(text)


def test_package_module() -> None:
    loaded = load_model("genn.suite.mnist:mnist_mlp", input_shape="1,1,28,28")
    assert isinstance(loaded.model, nn.Module)


def test_suite() -> None:
    loaded = load_model("mnist-mlp")
    assert loaded.name == "mnist-mlp" and loaded.example_inputs[0].shape == (1, 1, 28, 28)
    with pytest.raises(UsageError, match="mnist-cnn"):
        load_model("mnist-cn")
    with pytest.raises(UsageError, match="--weights"):
        load_model("mnist-mlp", weights=Path("x.safetensors"))


@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ("net.py", UsageError, r"net\.py:FUNCTION"),
        ("net.py:mak", UsageError, "did you mean make"),
        ("absent.py:make", UsageError, "no such file"),
        ("absent.pt2", UsageError, "cannot be read"),
        ("net.onnx", UsageError, "does not name a model"),
        ("net.py:wrong", ModelError, "returned a int"),
        ("net.py:NUMBER", UsageError, "is a int"),
        ("net.py:breaks", ModelError, r"KeyError: 'lost' \(net\.py:17\)"),
        ("net.py:leaves", ModelError, "SystemExit"),
        ("net.py:asks", ModelError, "without arguments"),
        ("broken.py:make", ModelError, "SyntaxError"),
        ("lacks.py:make", ModelError, "not_to_be_found_anywhere.*install"),
    ],
)
def test_mistakes(source: str, spec: str, error: type[GennError], match: str) -> None:
    with pytest.raises(error, match=match):
        load_model(f"{source}/{spec}")
    with pytest.raises(ModelError, match="no_such_package"):
        load_model("no_such_package.module:make")


# -- weights ---------------------------------------------------------------------------------------------------------


def test_weights(source: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {"fc.weight": torch.full((2, 3), 0.5), "fc.bias": torch.ones(2)}
    save_file(state, str(tmp_path / "w.safetensors"))
    torch.save(state, tmp_path / "w.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    digests = set()
    for name in ("w.safetensors", "w.pt", "w.pth"):
        loaded = load_model(f"{source}/net.py:make", weights=tmp_path / name)
        assert torch.equal(loaded.model.fc.weight, state["fc.weight"])
        digests.add(loaded.sha256)
    assert len(digests) == 1


def test_weights_that_do_not_fit(source: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    spec, path = f"{source}/net.py:make", tmp_path / "w.safetensors"
    save_file({"fc.weight": torch.zeros(2, 4), "other": torch.zeros(1)}, str(path))
    with pytest.raises(ModelError) as caught:
        load_model(spec, weights=path)
    for part in ("1 missing: fc.bias", "1 unexpected: other", "fc.weight is (2, 4), the model has (2, 3)"):
        assert part in str(caught.value)
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="no safetensors file"):
        load_model(spec, weights=path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_model(spec, weights=tmp_path / "absent.safetensors")
    (tmp_path / "w.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"\.safetensors"):
        load_model(spec, weights=tmp_path / "w.bin")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match="no state dict"):
        load_model(spec, weights=tmp_path / "list.pt")


def test_tied_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    state = {k: v.clone() for k, v in module.state_dict().items() if k != "1.weight"}
    save_file(state, str(tmp_path / "w.safetensors"))
    load.load_weights(module, tmp_path / "w.safetensors")


# -- .pt2 ------------------------------------------------------------------------------------------------------------


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"mkdir {self.mark}",)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)
        self.k = torch.randn(2, 1, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.conv(x)) + self.k
        return {"map": x, "label": self.fc(x.flatten(1))}


@pytest.fixture(scope="module")
def archive() -> tuple[nn.Module, bytes]:
    torch.manual_seed(0)
    module = Net().eval()
    out = io.BytesIO()
    torch.export.save(torch.export.export(module, (torch.randn(1, 1, 4, 4),)), out)
    return module, out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return {i.filename.partition("/")[2]: z.read(i) for i in z.infolist()}


def rebuilt(parts: dict[str, bytes], root: str = "model/", method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, content in parts.items():
            z.writestr(root + name, content)
    return out.getvalue()


def pickled(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def test_pt2(archive: tuple[nn.Module, bytes], tmp_path: Path) -> None:
    module, data = archive
    (tmp_path / "net.pt2").write_bytes(data)
    loaded = load_model(str(tmp_path / "net.pt2"))
    assert loaded.name == "net" and loaded.example_inputs is None
    graph = passes.canonicalize(frontend.import_graph(loaded.model, "net"))
    x = torch.randn(1, 1, 4, 4)
    for got, want in zip(evaluate(graph, [x.numpy()]), module(x).values()):
        np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert {n.source.file for n in graph.nodes} == {"test_load.py"}
    assert load_model(str(tmp_path / "net.pt2"), trust=True).sha256 == loaded.sha256
    with pytest.raises(UsageError, match="--weights"):
        load_model(str(tmp_path / "net.pt2"), weights=Path("w.safetensors"))


def pickle_weight(parts: dict[str, bytes], value: Any, kind: str = "weights") -> None:
    name = f"data/{kind}/model_{kind}_config.json"
    config = json.loads(parts[name])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    parts[f"data/{kind}/{entry['path_name']}"] = value if isinstance(value, bytes) else pickled(value)
    parts[name] = json.dumps(config).encode()


def test_an_honest_pickled_weight_is_read(archive: tuple[nn.Module, bytes]) -> None:
    parts = members(archive[1])
    pickle_weight(parts, archive[0].conv.weight)
    program = load.load_pt2(rebuilt(parts), "net.pt2")
    assert torch.equal(program.state_dict["conv.weight"], archive[0].conv.weight)


Attack = Callable[[dict[str, bytes], Path], None]


def program_with(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes], Path], None]:
    def attack(parts: dict[str, bytes], mark: Path) -> None:
        program = json.loads(parts["models/model.json"])
        change(program)
        parts["models/model.json"] = json.dumps(program).replace("MARK", str(mark)).encode()

    return attack


def config_with(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes], Path], None]:
    def attack(parts: dict[str, bytes], mark: Path) -> None:
        name = "data/weights/model_weights_config.json"
        config = json.loads(parts[name])
        change(next(iter(config["config"].values())))
        parts[name] = json.dumps(config).encode()

    return attack


def custom_object(prefix: str) -> Callable[[dict[str, bytes], Path], None]:
    def attack(parts: dict[str, bytes], mark: Path) -> None:
        name = "data/constants/model_constants_config.json"
        config = json.loads(parts[name])
        next(iter(config["config"].values())).update(path_name=f"{prefix}0", use_pickle=True)
        parts[name] = json.dumps(config).encode()
        parts[f"data/constants/{prefix}0"] = pickle.dumps(Evil(mark))

    return attack


def call(target: str) -> Callable[[dict[str, Any]], None]:
    def change(program: dict[str, Any]) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        node["inputs"] = [{"name": "", "arg": {"as_string": "mkdir MARK"}, "kind": 1}]

    return change


def spec(text: str) -> Callable[[dict[str, Any]], None]:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = text

    return change


def expression(program: dict[str, Any]) -> None:
    value = next(iter(program["graph_module"]["graph"]["tensor_values"].values()))
    value["sizes"][0] = {"as_expr": {"expr_str": "__import__('os').system('mkdir MARK')", "hint": None}}


def ranges(program: dict[str, Any]) -> None:
    program["range_constraints"] = {"__import__('os').system('mkdir MARK')": {"min_val": 1, "max_val": 2}}


def guards(program: dict[str, Any]) -> None:
    program["guards_code"] = ["__import__('os').system('mkdir MARK')"]


def everywhere(old: str, new: str) -> Attack:
    """``old`` is called ``new`` in the program and in the list of weights; torch writes Python with such names."""

    def attack(parts: dict[str, bytes], mark: Path) -> None:
        for member in [m for m in parts if m.endswith(".json")]:
            said = json.dumps(new.replace("CODE", f"getattr(__import__('os'), 'system')('mkdir {mark}')"))
            parts[member] = parts[member].replace(json.dumps(old).encode(), said.encode())

    return attack


DEFAULTDICT = (
    '[1, {"type": "collections.defaultdict", "context": "{\\"default_factory_module\\": \\"antigravity\\", '
    '\\"default_factory_name\\": \\"x\\", \\"dict_context\\": []}", "children_spec": []}]'
)
ENUM = (
    '[1, {"type": "builtins.dict", "context": "[{\\"__enum__\\": true, \\"fqn\\": \\"antigravity:x\\", '
    '\\"name\\": \\"y\\"}]", "children_spec": []}]'
)

ATTACKS: dict[str, tuple[Attack, bool]] = {  # and whether the model still loads (what is bad is dropped)
    "sample inputs": (lambda p, m: p.update({"data/sample_inputs/model.pt": pickled(Evil(m))}), True),
    "weight": (lambda p, m: pickle_weight(p, Evil(m)), False),
    "weight, old pickle": (lambda p, m: pickle_weight(p, pickle.dumps(Evil(m))), False),
    "weight in a tuple": (lambda p, m: pickle_weight(p, (torch.ones(1), Evil(m))), False),
    "constant": (lambda p, m: pickle_weight(p, Evil(m), "constants"), False),
    "custom object": (custom_object("custom_obj_"), False),
    "opaque object": (custom_object("opaque_obj_"), False),
    "legacy weights": (lambda p, m: p.update({"data/weights/model.pt": pickled(Evil(m))}), False),
    "legacy constants": (lambda p, m: p.update({"data/constants/model.pt": pickled(Evil(m))}), False),
    "second model": (lambda p, m: p.update({"models/other.json": p["models/model.json"]}), False),
    "compiled code": (lambda p, m: p.update({"data/aotinductor/model/x.so": b"\x7fELF"}), False),
    "extra file": (lambda p, m: p.update({"extra/x": pickled(Evil(m))}), True),
    "traversal": (lambda p, m: p.update({"../../../evil": b"x"}), False),
    "traversal inside": (lambda p, m: p.update({"data/weights/../../x": b"x"}), False),
    "backslash": (lambda p, m: p.update({"data\\weights": b"x"}), False),
    "path in the list of weights": (config_with(lambda e: e.update(path_name="../sample_inputs/model.pt")), False),
    "weight not there": (config_with(lambda e: e.update(path_name="weight_99")), False),
    "huge by stride 0": (config_with(lambda e: e["tensor_meta"].update(sizes=[{"as_int": 1 << 40}])), False),
    "size by expression": (
        config_with(lambda e: e["tensor_meta"].update(sizes=[{"as_expr": {"expr_str": "1"}}])),
        False,
    ),
    "no list of weights": (lambda p, m: p.update({"data/weights/model_weights_config.json": b"[]"}), False),
    "os.system by torch": (program_with(call("torch.os.system")), False),
    "os.system by math": (program_with(call("math.os.system")), False),
    "operator.call": (program_with(call("_operator.call")), False),
    "attribute of an operator": (program_with(call("torch.ops.aten.add.__class__")), False),
    "file by ATen": (program_with(call("torch.ops.aten.from_file.default")), False),
    "loading a library": (program_with(call("torch.ops.load_library")), False),
    "size by program": (program_with(expression), False),
    "range by program": (program_with(ranges), False),
    "guards": (program_with(guards), True),
    "import by defaultdict": (program_with(spec(DEFAULTDICT)), False),
    "import by enum": (program_with(spec(ENUM)), False),
    "nonsense spec": (program_with(spec("[]")), False),
    "name of an input": (everywhere("x", "x=CODE"), False),
    "name of a parameter": (everywhere("conv.weight", 'conv.w", CODE, "'), False),
    "deep JSON": (lambda p, m: p.update({"models/model.json": b"[" * 100_000}), False),
    "JSON of another kind": (lambda p, m: p.update({"models/model.json": b"3"}), False),
    "no program": (lambda p, m: p.pop("models/model.json") and None, False),
    "no version": (lambda p, m: p.pop("archive_version") and None, False),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_archive(name: str, archive: tuple[nn.Module, bytes], tmp_path: Path) -> None:
    attack, loads = ATTACKS[name]
    parts, mark = members(archive[1]), tmp_path / "mark"
    attack(parts, mark)
    path = tmp_path / "net.pt2"
    path.write_bytes(rebuilt(parts))
    if loads:
        program = load_model(str(path)).model
        frontend.import_graph(program, "net")
    else:
        with pytest.raises(ModelError) as caught:
            load_model(str(path))
        assert "net.pt2" in str(caught.value) and caught.value.exit_code == 3
    assert not mark.exists()


def test_the_attack_is_real(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.load(io.BytesIO(pickled(Evil(mark))), weights_only=False)
    assert mark.exists()


def test_bombs(archive: tuple[nn.Module, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = members(archive[1])
    zeros = {**parts, "data/weights/weight_0": bytes(32 << 20)}
    with pytest.raises(ModelError, match="times its size"):
        load.load_pt2(rebuilt(zeros, method=zipfile.ZIP_DEFLATED), "net.pt2")
    monkeypatch.setattr(load, "MAX_MEMBER", 1 << 20)
    with pytest.raises(ModelError, match="too large unpacked"):
        load.load_pt2(rebuilt(zeros), "net.pt2")
    monkeypatch.setattr(load, "MAX_MEMBERS", 5)
    with pytest.raises(ModelError, match="members"):
        load.load_pt2(rebuilt(parts), "net.pt2")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", bytes(32 << 20))
    monkeypatch.undo()
    pickle_weight(parts, inner.getvalue())
    with pytest.raises(ModelError, match="times its size"):
        load.load_pt2(rebuilt(parts), "net.pt2")


def test_damaged_archives(archive: tuple[nn.Module, bytes], tmp_path: Path) -> None:
    data = archive[1]
    path = tmp_path / "net.pt2"
    rng = np.random.default_rng(0)
    cases = [b"", b"PK", b"not a zip at all" * 10, data[:-1000], data[: len(data) // 2], rebuilt({}), data[100:]]
    cases += [rebuilt(members(data), root=""), rebuilt(dict.fromkeys(members(data), b""))]
    for case in cases:
        path.write_bytes(case)
        with pytest.raises(ModelError, match=r"net\.pt2"):
            load_model(str(path))
    for _ in range(30):
        broken = bytearray(data)
        for i in rng.integers(0, len(data), 20):
            broken[i] = rng.integers(256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(ModelError):
            load_model(str(path))


def test_two_members_of_one_name(archive: tuple[nn.Module, bytes], tmp_path: Path) -> None:
    parts = members(archive[1])
    out = io.BytesIO(rebuilt(parts))
    with zipfile.ZipFile(out, "a") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr("model/data/weights/weight_0", b"x")
    with pytest.raises(ModelError, match="distinct"):
        load.load_pt2(out.getvalue(), "net.pt2")


def test_dynamic_program_is_refused(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(nn.Linear(3, 2), (torch.ones(4, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(ModelError, match="dynamic"):
        load_model(str(tmp_path / "net.pt2"))
