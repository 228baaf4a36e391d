"""The command line on good input: what it prints and writes, what it imports, and that it needs no terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn import progress
from genn.cli import cli
from genn.names import printable
from genn.report import Report, Table, text
from tests.workshop import environment, genn, genn_argv, genn_process, project, spec, workshop


def document(*args: object) -> dict[str, Any]:
    """The JSON document of a command that succeeds."""
    done = genn(*args, "--json", "-")
    assert done.code == 0, done.err
    assert done.err == ""
    return json.loads(done.out)


# -- help --------------------------------------------------------------------------------------------------------------
def test_help_says_enough_to_work_from() -> None:
    whole = genn("--help")
    assert whole.code == 0 and whole.err == "" and "Exit codes: 0 ok, 1 a check failed, 2 usage" in whole.out
    assert re.fullmatch(r"genn, version \d+\.\d+\.\d+\n", genn("--version").out)
    for name, command in cli.commands.items():
        assert name in whole.out
        shown = genn(name, "-h")
        assert shown.code == 0 and shown.err == "" and "--json" in shown.out
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.opts[0] in shown.out and parameter.help, f"{name} {parameter.opts}"
        if name in ("convert", "verify", "emulate", "footprint"):
            assert "Examples:" in shown.out and f"genn {name} " in shown.out.split("Examples:")[1]
            assert all(len(line) <= 100 for line in shown.out.splitlines())
    trusted = " ".join(genn("convert", "-h").out.split())
    assert "A factory is Python code and is run" in trusted and "--trust-model" in trusted


def test_examples_of_the_help_use_options_that_exist() -> None:
    for name, command in cli.commands.items():
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        for line in (command.epilog or "").splitlines():
            words = line.split()
            if words[:1] == ["genn"] and words[1] == name:  # an example may go on with another command
                assert {w for w in words if re.match(r"-+[a-z]", w)} <= known


def test_without_arguments_comes_the_help() -> None:
    done = genn()
    assert done.code == 2 and done.out == "" and done.err.startswith("Usage: genn") and "footprint" in done.err


# -- what is imported --------------------------------------------------------------------------------------------------
def imported(*args: object) -> set[str]:
    """The top-level modules that a command has loaded when it ends."""
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: sys.stderr.write(' '.join({m.split('.')[0] for m in sys.modules})))\n"
        "from genn.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, env=environment(), timeout=60
    )
    assert done.returncode in (0, 1, 2), done.stderr
    return set(done.stderr.split())


def test_commands_that_read_no_model_import_no_torch(need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    for command in ("emulate", "footprint"):
        genn(command, project())
    for args in (["--help"], ["targets"], ["ops"], ["models"], ["doctor"], ["convert", "--help"],
                 ["emulate", project()], ["footprint", project()]):  # fmt: skip
        assert not imported(*args) & {"torch", "jinja2", "safetensors", "scipy"}, args
    assert not imported("--help") & {"numpy", "rich", "unicorn"}


def test_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    """What reads a model says what to install; a suite model's folder is still verified, without PyTorch."""
    need_tool("cc")
    folder = project("mnist-mlp", "int16")
    for name in [m for m in sys.modules if m in ("genn.load", "genn.frontend", "genn.tracing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    done = genn("verify", folder, "--samples", "20")
    assert done.code == 0 and "torch is not installed, so PyTorch is not compared" in done.out
    genn("convert", spec("small"), "-o", tmp_path / "out").sentence(4, "torch is not installed", "genn-mcu[torch]")
    genn("verify", folder, "--model", "mnist-mlp").sentence(4, "torch is not installed", "genn-mcu[torch]")


def test_emulate_starts_at_once(need_tool: Callable[[str], str]) -> None:
    """From the cache, processor time and not the clock's: a machine under load must not fail this."""
    need_tool("arm-none-eabi-gcc")
    genn("emulate", project())
    before = os.times()
    assert genn_process("emulate", project(), "--json", "-").code == 0
    after = os.times()
    assert (after.children_user + after.children_system) - (before.children_user + before.children_system) < 1.5


# -- documents ---------------------------------------------------------------------------------------------------------
def test_convert_and_its_document(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er"
    given = ("--scheme", "int8", "--calibrate", workshop() / "x.npy")
    found = document("convert", spec("small"), "-o", out, *given)
    assert found["schema"] == 1 and found["scheme"] == "int8" and found["name"] == "net"
    assert [layer["op"] for layer in found["layers"]] == ["conv2d", "linear"]
    assert {"index", "name", "op", "symbol", "macs", "weight_bytes", "arena_live", "source"} <= set(found["layers"][0])
    manifest = json.loads((out / "genn.json").read_text())
    assert {k: v for k, v in manifest.items() if k != "files"} == found
    told = genn("convert", spec("small"), "-o", out, *given, "-v")
    assert told.code == 0 and told.err == "" and f"wrote {out}" in told.out
    assert "accumulator proofs" in told.out and "of 2^31" in told.out and "conv2d" in told.out
    named = genn("convert", spec("small"), "-o", tmp_path / "named", "-n", "Digits_2")
    assert named.code == 0 and (tmp_path / "named" / "Digits_2.h").is_file()


def test_emulate_and_its_document(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    need_tool("arm-none-eabi-gcc")
    found = document("emulate", project(), "--input", workshop() / "x.npy", "--samples", "3")
    fields = (
        "schema target core timing cycles cycles_bounds instructions seconds_at_clock layers stack_bytes outputs exit"
    )
    assert set(fields.split()) <= set(found)
    assert found["schema"] == 1 and found["exit"] == 0 and found["samples"] == 3 and found["stack_bytes"] > 0
    low, high = found["cycles_bounds"]
    assert low <= found["cycles"] <= high
    for layer in found["layers"]:
        assert {"name", "op", "macs", "cycles", "instructions", "cycles_per_mac"} <= set(layer)
    inner = sum(layer["cycles"] for layer in found["layers"]) + found["other"]["cycles"]
    assert inner == pytest.approx(found["cycles"])
    assert len(found["outputs"][0]["data"]) == 3
    file = tmp_path / "t.csv"
    assert genn("emulate", project(), "--csv", file, "--json", tmp_path / "t.json").code == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [r["layer"] for r in rows] == ["conv", "fc", "(between layers)"] and int(rows[0]["cycles"]) > 0
    assert json.loads((tmp_path / "t.json").read_text())["target"] == "cortex-m0plus"
    assert genn("emulate", project(), "--csv", "-").out == file.read_text()


def test_emulate_takes_the_elf_it_built(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    need_tool("arm-none-eabi-gcc")
    whole = document("emulate", project(), "-t", "nucleo-f411re")
    elf = project() / "build" / "nucleo-f411re" / "net.elf"
    assert document("emulate", elf) == whole
    shutil.copy(elf, tmp_path / "net.elf")
    genn("emulate", tmp_path / "net.elf").sentence(2, "net.elf", "python -m emu")


def test_verify_and_its_document(need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    found = document("verify", project(), "--model", spec("small"), "--data", workshop() / "x.npy")
    assert found["schema"] == 1 and found["samples"] == 16
    assert found["runners"]["host"]["mismatches"] == 0 and found["runners"]["host"]["max_abs_diff"] == 0
    assert found["runners"]["torch"]["ok"] is True
    for layer in found["layers"]:
        assert {"name", "mismatches", "sqnr_db"} <= set(layer) and layer["mismatches"] == 0
    random = genn("verify", project())
    assert random.code == 0 and "the inputs are random" in random.out


def test_verify_finds_a_suite_model_and_its_samples(need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    folder = project("mnist-mlp", "int16")
    found = document("verify", folder)
    assert found["samples"] == 400 and set(found["accuracy"]) == {"torch", "float", "reference", "host"}
    assert all(0.98 < share <= 1 for share in found["accuracy"].values())
    assert found["flips"]["host"]["changed"] <= 2
    few = genn("verify", folder, "--samples", "50", "--layers")
    assert few.code == 0 and "fc2" in few.out and "accuracy %" in few.out


def test_verify_with_labels_in_the_data(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    need_tool("cc")
    x = np.load(workshop() / "x.npy")
    np.savez(tmp_path / "labelled.npz", x=x, y=np.arange(16) % 5)
    found = document("verify", project(), "--data", tmp_path / "labelled.npz")
    assert set(found["accuracy"]) == {"float", "reference", "host"}
    np.savez(tmp_path / "short.npz", x=x, y=np.arange(3))
    genn("verify", project(), "--data", tmp_path / "short.npz").sentence(2, "labels", "16 integers")


def test_verify_on_every_runner(need_tool: Callable[[str], str]) -> None:
    for tool in ("cc", "arm-none-eabi-gcc", "qemu-system-arm"):
        need_tool(tool)
    found = document("verify", project(), "--on", "host, emu,qemu,host", "--samples", "5", "-t", "nucleo-f411re")
    assert list(found["runners"]) == ["host", "emu", "qemu"]
    assert all(r["mismatches"] == 0 and r["samples"] == 5 for r in found["runners"].values())


def test_verify_of_an_exported_program(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    import torch

    need_tool("cc")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    torch.export.save(torch.export.export(net, (torch.zeros(1, 4),)), tmp_path / "net.pt2")
    assert genn("convert", tmp_path / "net.pt2", "-o", tmp_path / "out").code == 0
    found = document("verify", tmp_path / "out", "--model", tmp_path / "net.pt2", "--data", workshop() / "v.npy")
    assert found["runners"]["torch"]["ok"] is True


def test_weights_from_a_file_for_a_factory_without_example(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    need_tool("cc")
    namespace: dict[str, Any] = {}
    exec((workshop() / "models.py").read_text(), namespace)
    save_file(namespace["small"]()[0].state_dict(), tmp_path / "w.safetensors")
    out, weights = tmp_path / "out", ("--weights", tmp_path / "w.safetensors")
    assert genn("convert", spec("bare"), *weights, "--input-shape", "1,1,8,8", "-o", out).code == 0
    assert genn("verify", out, "--model", spec("bare"), *weights).code == 0
    other = genn("verify", out, "--model", spec("bare"))
    assert other.code == 1 and "differs from PyTorch" in other.err


def test_one_wrong_weight_is_found_and_its_layer_named(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    need_tool("cc")
    copy = shutil.copytree(project(), tmp_path / "net", ignore=shutil.ignore_patterns("build"))
    source = copy / "net_weights.c"
    head, name, tail = source.read_text().partition("net_l01_w")
    word = re.search(r"0x[0-9a-f]{8}", tail)
    assert word is not None
    changed = f"{int(word[0], 16) ^ 0x40404040:#010x}"
    source.write_text(head + name + tail.replace(word[0], changed, 1))
    done = genn("verify", copy, "--data", workshop() / "x.npy", "--json", tmp_path / "v.json")
    assert done.code == 1
    assert "host differs from the reference" in done.err and "first in layer 1 (fc, linear)" in done.err
    found = json.loads((tmp_path / "v.json").read_text())
    assert [layer["mismatches"] > 0 for layer in found["layers"]] == [False, True]
    assert "fc" in done.out  # the table of layers is shown without being asked for


def test_footprint_and_its_document(need_tool: Callable[[str], str], tmp_path: Path) -> None:
    need_tool("arm-none-eabi-gcc")
    found = document("footprint", project())
    assert found["schema"] == 1
    for layer in found["layers"]:
        assert {"name", "code", "weights"} <= set(layer)
    assert sum(s["flash"] for s in found["sections"]) == found["flash"]
    assert sum(s["ram"] for s in found["sections"]) == found["ram"]
    layers = sum(layer["code"] + layer["weights"] + layer["constants"] for layer in found["layers"])
    assert layers + sum(o["flash"] for o in found["other"]) == found["flash"]
    elf = project() / "build" / "nucleo-f411re" / "net.elf"
    alone = document("footprint", elf)
    assert {**alone, "elf": ""} == {**found, "elf": ""}
    for by in ("layer", "symbol", "section", "file"):
        rows = list(csv.DictReader(io.StringIO(genn("footprint", project(), "--by", by, "--csv", "-").out)))
        assert sum(int(r["flash"]) for r in rows) == found["flash"], by
    assert genn("footprint", project(), "--budget", "flash=64K,ram=8K").code == 0
    change = document("footprint", project(scheme="float32"), "--diff", project())["diff"]
    assert {"name", "flash_before", "flash_after", "flash_change", "ram_change"} == set(change[0])
    assert "flash +/-" in genn("footprint", project(scheme="float32"), "--diff", elf).out


def test_lists() -> None:
    assert {t["name"] for t in document("targets")["targets"]} >= {"cortex-m0plus", "nucleo-f411re", "mps2-an386"}
    suite = {m["name"]: m for m in document("models")["models"]}
    assert suite["mnist-cnn"]["input_shape"] == [1, 1, 28, 28] and "mnist-mlp" in suite
    operators = document("ops")["operators"]
    assert any("aten.conv2d.default" in op["aten"] for op in operators)
    assert {f["name"] for f in json.loads(genn("doctor", "--json", "-").out)["findings"]} >= {"python", "cc", "torch"}
    for name in ("targets", "ops", "models"):
        assert genn(name).out.count("\n") > 3


def test_a_folder_named_relative_to_where_one_stands(
    need_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_tool("arm-none-eabi-gcc")
    for place, name in ((project().parent, project().name), (project(), ".")):
        monkeypatch.chdir(place)
        monkeypatch.setenv("GENN_CACHE", str(workshop() / f"cache-{len(name)}"))
        for command in ("emulate", "verify", "footprint"):
            done = genn(command, name)
            assert done.code == 0 and "net on " * (command == "emulate") in done.out, done.err


# -- with and without a terminal ---------------------------------------------------------------------------------------
def on_terminal(*args: object, stdout_too: bool = True) -> tuple[bytes, bytes]:
    """What a command shows on a terminal, and what it writes to standard output if that is a pipe."""
    master, slave = pty.openpty()
    env = {k: v for k, v in environment().items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm-256color"}
    stdout = slave if stdout_too else subprocess.PIPE
    child = subprocess.Popen(genn_argv(*args), stdin=slave, stdout=stdout, stderr=slave, env=env)
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0, seen
    os.close(master)
    return seen, out or b""


def test_a_terminal_gets_progress_and_a_pipe_does_not(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    argv = ("convert", "mnist-mlp", "-o", tmp_path / "out", "--scheme", "int8")
    seen, _ = on_terminal(*argv)
    assert b"loading the model" in seen and b"calibrating" in seen and b"\x1b[" in seen and b"wrote" in seen
    seen, out = on_terminal("verify", tmp_path / "out", stdout_too=False)
    assert b"running the reference" in seen and b"accuracy" not in seen
    assert b"accuracy" in out and b"\x1b" not in out
    piped = genn_process("verify", tmp_path / "out", FORCE_COLOR="1", CLICOLOR_FORCE="1")
    assert piped.code == 0 and piped.err == "" and "\x1b" not in piped.out
    assert all(line == line.rstrip() for line in piped.out.splitlines())


def test_progress_is_silent_unless_enabled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "_enabled", False)
    with progress.steps("work", 3) as done:
        done(1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_enabled", True)
    with progress.steps("outer"), progress.steps("[red]inner", 2) as done:
        done(2)
        time.sleep(0.15)
    assert "[red]inner" in capsys.readouterr().err
    assert progress._shown is None


# -- reports -----------------------------------------------------------------------------------------------------------
def test_text_of_cells() -> None:
    cells = [text(v) for v in (None, True, 1234567, np.int64(5), 0.123456, 1e6, np.float32(2.5), "[b]x\x1b[0m\n")]
    assert cells == ["", "yes", "1,234,567", "5", "0.1235", "1,000,000", "2.5", "[b]x\\x1b[0m\\n"]
    assert printable("größe 漢字") == "größe 漢字" and printable("\u202ex\ud800") == "\\u202ex\\ud800"


def test_json_holds_no_nan(tmp_path: Path) -> None:
    data = {"a": float("nan"), "b": [np.float32("inf"), np.int8(3), (1.5,)], "c": np.array([[1, 2]]), "d": tmp_path}
    report = Report("x", data, [Table("t", ["a", "b"], [["x,y", 1], ['"', 2.5]])])
    assert json.loads(report.json()) == {"a": None, "b": [None, 3, [1.5]], "c": [[1, 2]], "d": str(tmp_path)}
    assert report.csv() == 'a,b\n"x,y",1\n"""",2.5\n'
    report.write_json(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == report.json()
    assert Report("empty", {}).csv() == "" and str(Report("empty", {}, lines=["[red]"])) == "[red]\n"
