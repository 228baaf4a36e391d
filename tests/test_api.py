"""The Python API mirrors the commands: the same Reports, from modules, exported programs, tensors and arrays."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import genn
from genn.errors import CheckFailed, ModelError, UsageError
from genn.host import HostProcess
from genn.manifest import read_manifest
from genn.report import Report
from genn.runs import verify_report
from tests.workshop import genn as command
from tests.workshop import project, spec, workshop

SCHEMES = ("float32", "int16", "int8")


@cache
def models() -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile((workshop() / "models.py").read_text(), str(workshop() / "models.py"), "exec"), namespace)
    return namespace


def small() -> tuple[nn.Module, torch.Tensor]:
    return models()["small"]()


def samples() -> np.ndarray:
    return np.load(workshop() / "x.npy")


def two_samples() -> dict[str, np.ndarray]:
    with np.load(workshop() / "two.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def model() -> genn.Model:
    module, example = small()
    return genn.convert(module, example, scheme="int8", calibration=samples(), name="net")


def of_command(*args: object) -> dict[str, Any]:
    done = command(*args, "--json", "-")
    assert done.code == 0, done.err
    return json.loads(done.out)


# -- the same reports --------------------------------------------------------------------------------------------------
def test_every_step_returns_the_report_of_its_command(
    model: genn.Model, tmp_path: Path, need_tool: Callable[[str], str]
) -> None:
    for tool in ("cc", "arm-none-eabi-gcc"):
        need_tool(tool)
    out, x = tmp_path / "out", workshop() / "x.npy"
    saved = model.save(out)
    reports = {
        "convert": saved,
        "verify": model.verify(samples()),
        "emulate": model.emulate("nucleo-f411re", inputs=x),
        "footprint": model.footprint("nucleo-f411re", by="symbol"),
    }
    assert saved.result == out and (out / "genn.json").is_file()
    commands: dict[str, tuple[object, ...]] = {
        "convert": (spec("small"), "-o", tmp_path / "two", "--scheme", "int8", "--calibrate", x),
        "verify": (out, "--model", spec("small"), "--data", x),
        "emulate": (out, "-t", "nucleo-f411re", "--input", x),
        "footprint": (out, "-t", "nucleo-f411re", "--by", "symbol"),
    }
    for name, report in reports.items():
        assert isinstance(report, Report) and report.ok and report.command == name
        assert json.loads(report.json()) == of_command(name, *commands[name]), name
        printed = command(name, *commands[name]).out
        if name != "convert":  # which names its folder
            assert str(report) == printed
        assert report.tables[0].columns[0] in printed and report.csv().count("\n") > 1
    both = ({p.name: p.read_bytes() for p in (tmp_path / d).iterdir() if p.is_file()} for d in ("out", "two"))
    assert next(both) == next(both)


def test_a_model_that_is_not_saved_has_a_folder_of_its_own(need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    module, example = small()
    made = genn.convert(module, example, scheme="int8", calibration=samples())
    assert made.name == "small" and made.folder is None
    assert made.footprint().ok
    folder = made.folder
    assert folder is not None and folder.is_dir()
    assert made.emulate().ok and made.folder == folder
    del made
    gc.collect()
    assert not folder.exists() and not folder.parent.exists()


def test_a_saved_folder_that_has_gone_is_made_again(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    import shutil

    need_tool("cc")
    module, example = small()
    made = genn.convert(module, example)
    made.save(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert made.verify().ok and made.folder != tmp_path / "out"


# -- what goes in ------------------------------------------------------------------------------------------------------
def test_an_exported_program(need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    module, example = small()
    exported = torch.export.export(module.eval(), (example,))
    made = genn.convert(exported, scheme="int8", calibration=samples(), name="net")
    plain = genn.convert(module, example, scheme="int8", calibration=samples(), name="net")
    assert made.project.files["net.c"] == plain.project.files["net.c"]
    assert made.project.files["net_weights.c"] == plain.project.files["net_weights.c"]
    report = made.verify(samples())
    assert report.ok and report.data["runners"]["torch"]["ok"] is True


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    made = genn.convert(module, torch.zeros(1, 1, 8, 8))
    assert module.training and all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert made.verify(samples()).ok and module.training


@pytest.mark.parametrize("form", ["mapping", "list", "tuple", "tensors", "swapped"])
def test_several_inputs_in_every_form(form: str, tmp_path: Path) -> None:
    module, example = models()["two"]()
    given = two_samples()
    x, y = given["x"], given["y"]
    forms: dict[str, Any] = {
        "mapping": given,
        "list": [x, y],
        "tuple": (x, y),
        "tensors": [torch.from_numpy(x), torch.from_numpy(y)],
        "swapped": {"y": y, "x": x},
    }
    made = genn.convert(module, example, scheme="int8", calibration=forms[form], name="net")
    first = genn.convert(module, example, scheme="int8", calibration=given, name="net")
    assert made.project.files["net_vectors.h"] == first.project.files["net_vectors.h"]
    one, two = made.predict(forms[form])
    with torch.no_grad():
        exact = [v.numpy() for v in module(torch.from_numpy(x), torch.from_numpy(y))]
    for got, want in zip((one, two), exact, strict=True):
        assert got.reshape(want.shape) == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"x": x}, torch.from_numpy, lambda x: x[:, None]]
)
def test_one_input_in_every_form(wrap: Callable[[np.ndarray], Any], model: genn.Model) -> None:
    module, example = small()
    made = genn.convert(module, example, scheme="int8", calibration=wrap(samples()), name="net")
    assert made.project.files["net.c"] == model.project.files["net.c"]
    assert np.array_equal(made.predict(wrap(samples()))[0], model.predict(samples())[0])


def test_examples_as_arrays_tuples_and_keywords() -> None:
    module, example = models()["two"]()
    plain = genn.convert(module, example).manifest
    for form in (tuple(e.numpy() for e in example), list(example), {"x": example[0], "y": example[1]}):
        assert genn.convert(module, form).manifest == plain


class Named(nn.Module):
    """Inputs by keyword only; a nested input beside a number; double precision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Linear(3, 2, dtype=torch.float64), nn.Linear(3, 2, dtype=torch.float64)

    def forward(self, *, x: Any, z: Any) -> Any:
        return self.a(z["z"][0]) * z["k"] - self.b(x)


def named() -> tuple[nn.Module, Any]:
    return Named(), {"z": {"z": (torch.ones(1, 3),), "k": 2.0}, "x": torch.zeros(1, 3)}


def test_pytorch_is_called_as_it_was_traced(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    made = genn.convert(*named())
    assert made.verify().data["runners"]["torch"]["ok"]
    made.save(tmp_path / "out")
    source = tmp_path / "net.py"
    source.write_text("from tests.test_api import named as make\n")
    report = verify_report(tmp_path / "out", f"{source}:make")
    assert report.data["runners"]["torch"]["ok"]
    module, example = named()
    program = torch.export.export(module.float(), (), example)
    torch.export.save(program, tmp_path / "net.pt2")
    report = verify_report(tmp_path / "out", str(tmp_path / "net.pt2"))
    assert report.data["runners"]["torch"]["ok"]


# -- what comes out ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", SCHEMES)
def test_predict_is_what_the_c_computes(scheme: str, tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    module, example = models()["two"]()
    made = genn.convert(module, example, scheme=scheme, calibration=two_samples())
    manifest = read_manifest(made.save(tmp_path / "out").result)
    run = HostProcess(manifest).run(manifest.encode(two_samples()))
    for value, predicted in zip(manifest.outputs, made.predict(two_samples()), strict=True):
        assert np.array_equal(value.decode(run.outputs[value.name]), predicted)
    assert len(manifest.outputs) == 2


def test_verify_with_labels_and_every_runner(model: genn.Model, need_tool: Callable[[str], str]) -> None:
    for tool in ("cc", "arm-none-eabi-gcc", "qemu-system-arm"):
        need_tool(tool)
    report = model.verify(samples(), labels=np.arange(16) % 5, on=("host", "emu", "qemu"), samples=4)
    assert report.ok and set(report.data["accuracy"]) == {"torch", "float", "reference", "host", "emu", "qemu"}
    again = model.verify()  # on its calibration data
    assert again.data["samples"] == 16


def test_the_target_may_be_an_object(model: genn.Model, need_tool: Callable[[str], str]) -> None:
    from genn.target import load_target

    need_tool("arm-none-eabi-gcc")
    board = load_target("nucleo-f411re")
    assert model.emulate(board).data["core"] == "cortex-m4"
    assert model.footprint(board).data == model.footprint("nucleo-f411re").data
    assert model.emulate(inputs=samples(), samples=2).data["samples"] == 2


def test_a_failed_check_is_a_report_and_no_exception(model: genn.Model, need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    report = model.footprint(budget="flash=1")
    assert not report.ok and "over the budget" in report.failure


def test_mistakes_are_exceptions_with_a_sentence(model: genn.Model) -> None:
    module, example = small()
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (UsageError, "no scheme 'int4'", lambda: genn.convert(module, example, scheme="int4")),
        (UsageError, "example input", lambda: genn.convert(module)),
        (UsageError, "calibration", lambda: genn.convert(module, example, scheme="int8")),
        (UsageError, r"shape \(3, 3\)", lambda: genn.convert(module, example, "int8", np.zeros((3, 3)))),
        (UsageError, "no array of numbers", lambda: genn.convert(module, example, "int8", "x.npy")),
        (UsageError, "no array of numbers", lambda: model.predict([[1, 2], [3]])),
        (UsageError, "cannot be the name", lambda: genn.convert(module, example, name="while")),
        (UsageError, "describes no sensor", lambda: genn.convert(module, example, sensor="u9:1")),
        (UsageError, "no runner fpga", lambda: model.verify(samples(), on=("fpga",))),
        (UsageError, "no target 'stm'", lambda: model.check_fits("stm")),
        (ModelError, "must not branch", lambda: genn.convert(*models()["branching"]())),
        (CheckFailed, "heaviest layers", lambda: genn.convert(*models()["large"]()).check_fits("nucleo-f411re")),
    ]
    for kind, said, call in cases:
        with pytest.raises(kind, match=said):
            call()


def test_a_default_name_is_always_one_that_c_can_take() -> None:
    for title in ("String", "Int", "Main", "Genn_net", "Größe", "_x", "Math"):
        kind = type(title, (nn.Linear,), {})
        made = genn.convert(kind(4, 2), torch.zeros(1, 4))
        assert genn.names.check_name(made.name) and made.name.isascii()


def test_projects_are_read_back(need_tool: Callable[[str], str]) -> None:
    """A folder that the command wrote serves the Python functions too."""
    from genn.verify import verify

    need_tool("cc")
    module, _ = small()
    assert verify(project(), samples(), module=module).ok
