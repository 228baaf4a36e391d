"""Bad input, as a hostile or unlucky user gives it: one sentence, the documented exit code, nothing half-written.

Hostile .pt2 archives are in test_load.py; full disks and kill -9 at every step of a write in test_project.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from genn.manifest import read_manifest
from genn.names import comment
from tests.workshop import compiles_and_passes, environment, genn, genn_argv, genn_process, project, spec, workshop

SCHEMES = ("float32", "int16", "int8")


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything under a folder, hidden files too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# -- what is not there -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["convert", "nope.pt2", "-o", "out"], ["nope.pt2", "No such file"]),
        (["convert", "nope.py:make", "-o", "out"], ["nope.py", "no such file", "FILE.py:FUNCTION"]),
        (["convert", "models.py", "-o", "out"], ["models.py", "models.py:FUNCTION"]),
        (["convert", "models.py:", "-o", "out"], ["models.py:", "models.py:FUNCTION"]),
        (["convert", "models.py:smal", "-o", "out"], ["smal", "did you mean small?"]),
        (["convert", "mnist-mpl", "-o", "out"], ["mnist-mpl", "did you mean mnist-mlp?"]),
        (["convert", "", "-o", "out"], ["genn models"]),
        (
            ["convert", "models.py:small", "-o", "out", "--weights", "no.safetensors"],
            ["no.safetensors", "No such file"],
        ),
        (["convert", "models.py:bare", "-o", "out"], ["example input", "--input-shape"]),
        (["convert", "models.py:bare", "-o", "out", "--input-shape", "1,-8"], ["--input-shape", "1,1,28,28"]),
        (["convert", "mnist-mlp", "-o", "out", "--input-shape", "1,784"], ["--input-shape", "leave it out"]),
        (["verify", "nope"], ["nope", "genn convert"]),
        (["verify", "models.py"], ["models.py", "genn convert"]),
        (["verify", "."], ["genn.json"]),
        (["emulate", "nope"], ["nope", "genn convert"]),
        (["emulate", "models.py"], ["models.py", "python -m emu"]),
        (["footprint", "nope"], ["nope", "an ELF"]),
        (["footprint", "models.py", "--diff", "nope"], ["models.py"]),
    ],
)
def test_no_such_file(args: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop())
    result = genn(*args)
    result.sentence(3 if args[0] == "footprint" and args[1] == "models.py" else 2, *words)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["convert", "mnist-mlp", "-o", "out", "-t", "cortex-m0"], ["cortex-m0", "did you mean cortex-m0plus?"]),
        (["convert", "mnist-mlp", "-o", "out", "--scheme", "int9"], ["int9", "int16", "genn convert --help"]),
        (["convert", "mnist-mlp", "-o", "out", "--sceme", "int8"], ["--sceme", "--scheme"]),
        (["convert", "mnist-mlp", "-o", "out", "--vectors", "0"], ["--vectors", "1<=x<=1000"]),
        (["convert", "mnist-mlp"], ["--out", "genn convert --help"]),
        (["convrt"], ["convrt", "Did you mean", "convert"]),
        (["emulate", ".", "-t", "nope"], ["nope", "nucleo-f411re"]),
        (["emulate", "PROJECT", "--timing", "fast"], ["fast", "cortex-m4"]),
        (["emulate", "PROJECT", "--opt", "-o /tmp/x"], ["--opt", "-O2"]),
        (["verify", "PROJECT", "--on", "hots"], ["--on", "hots", "did you mean host?"]),
        (["verify", "PROJECT", "--on", ","], ["--on", "host, emu, qemu"]),
        (["verify", "PROJECT", "-t", "nope"], ["nope", "cortex-m0plus"]),
        (["verify", "PROJECT", "--weights", "w.pt"], ["--weights", "--model"]),
        (["verify", "PROJECT", "--jobs", "0"], ["--jobs"]),
        (["footprint", "PROJECT", "--budget", "flash=1Q"], ["1Q", "64K"]),
        (["footprint", "PROJECT", "--budget", "rom=1K"], ["rom=1K", "flash=64K,ram=16K"]),
        (["footprint", "PROJECT", "--json", "-", "--csv", "-"], ["--json", "--csv", "standard output"]),
        (["bench", "verify", "--models", "mnist-cn"], ["did you mean mnist-cnn?"]),
    ],
)
def test_values_that_are_not_known_come_with_those_that_are(args: list[str], words: list[str]) -> None:
    genn(*[project() if a == "PROJECT" else a for a in args]).sentence(2, *words)


# -- the model ---------------------------------------------------------------------------------------------------------
def test_unsupported_operators_are_listed_all_at_once(tmp_path: Path) -> None:
    result = genn("convert", spec("unsupported"), "-o", tmp_path / "out")
    assert result.code == 3 and result.out == ""
    lines = result.err.splitlines()
    assert lines[0].startswith("genn: 2 operators are not supported") and "genn ops" in lines[0]
    source = (workshop() / "models.py").read_text().splitlines()
    for line, operator, path in ((lines[1], "cumsum", ""), (lines[2], "erfinv", "inner.1 ")):
        number = next(i for i, text in enumerate(source, 1) if f"torch.{operator}" in text)
        assert operator in line and path in line and f"models.py:{number}" in line
    assert len(lines) == 3 and not (tmp_path / "out").exists()


def test_dynamic_shapes(tmp_path: Path) -> None:
    program = torch.export.export(
        torch.nn.Linear(4, 3), (torch.zeros(2, 4),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, tmp_path / "net.pt2")
    genn("convert", tmp_path / "net.pt2", "-o", tmp_path / "out").sentence(3, "net.pt2", "dynamic", "fixed shapes")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("with_nan", ["fc.weight", "1 of 720", "NaN", "train or load"]),
        ("with_inf", ["conv.bias", "1 of 4", "infinite"]),
        ("no_samples", ["input x", "empty", "one sample"]),
        ("branching", ["Branching", "models.py:", "must not branch on values"]),
        ("raising", ["models.py:raising", "ValueError: no [red]luck[/red]", "models.py:"]),
        ("seven", ["models.py:seven", "int", "nn.Module"]),
    ],
)
def test_models_that_cannot_be_converted(model: str, words: list[str], tmp_path: Path) -> None:
    genn("convert", spec(model), "-o", tmp_path / "out").sentence(3, *words)
    assert not (tmp_path / "out").exists()


def test_torch_adds_no_words_of_its_own(tmp_path: Path) -> None:
    """It logs, and prints the graph, before it raises: in a process of its own nothing of that comes through."""
    genn_process("convert", spec("branching"), "-o", tmp_path / "out").sentence(3, "must not branch")


@pytest.mark.parametrize("model", ["zero_channel", "all_zero"])
def test_a_channel_of_zeros_is_no_mistake(model: str, tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("cc")
    for scheme in SCHEMES:
        out = tmp_path / scheme
        done = genn("convert", spec(model), "-o", out, "--scheme", scheme, "--calibrate", workshop() / "x.npy")
        assert done.code == 0, done.err
        checked = genn("verify", out, "--model", spec(model), "--data", workshop() / "x.npy", "--json", "-")
        assert checked.code == 0, checked.err
        assert json.loads(checked.out)["runners"]["host"]["mismatches"] == 0


# -- calibration -------------------------------------------------------------------------------------------------------
def _data(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """Files that cannot be calibration data, and what is said about each."""
    good = np.zeros((4, 1, 8, 8), np.float32)
    arrays: dict[str, np.ndarray] = {
        "shape": np.zeros((4, 3, 8, 8), np.float32),
        "rank": np.float32(3),
        "empty": good[:0],
        "nan": np.where(np.arange(4).reshape(4, 1, 1, 1) == 2, np.nan, good),
        "inf": good - np.inf,
        "beyond": good.astype(np.float64) + 1e300,
        "text": np.array(["a", "b"]),
        "complex": good.astype(np.complex64),
        "objects": np.array([{1: 2}], object),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps([1.0]))
    (folder / "words.npz").write_text("hello")
    (folder / "nothing.npy").write_bytes(b"")
    np.savez(folder / "none.npz")
    np.savez(folder / "names.npz", a=good, b=good)
    whole = (workshop() / "two.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "cut.npy").write_bytes((workshop() / "x.npy").read_bytes()[:300])
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    (folder / "bomb.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    words = {
        "shape.npy": ["input x", "(4, 3, 8, 8)", "(S, 1, 8, 8)"],
        "rank.npy": ["empty"],
        "empty.npy": ["empty", "at least one sample"],
        "nan.npy": ["NaN or infinity"],
        "inf.npy": ["NaN or infinity"],
        "beyond.npy": ["beyond float32"],
        "text.npy": ["<U1", "numbers"],
        "complex.npy": ["complex64", "numbers"],
        "objects.npy": ["pickled", "numpy.save"],
        "pickle.npy": ["pickled", "numpy.save"],
        "words.npz": ["no .npy or .npz file", "numpy.save"],
        "nothing.npy": ["no .npy or .npz file"],
        "none.npz": ["no arrays"],
        "names.npz": ["none of a, b is the input x", "name one array x"],
        "cut.npz": ["damaged"],
        "cut.npy": ["damaged"],
        "bomb.npy": ["bomb.npy"],
        "missing.npy": ["no such file"],
    }
    return {name: (folder / name, said) for name, said in words.items()} | {"folder": (folder, ["Is a directory"])}


def test_calibration_that_cannot_be_used(tmp_path: Path) -> None:
    for name, (path, words) in _data(tmp_path).items():
        out = tmp_path / "out"
        result = genn("convert", spec("small"), "-o", out, "--scheme", "int8", "--calibrate", path)
        result.sentence(2, f"--calibrate {path}", *words)
        assert not out.exists(), name
    genn("convert", spec("small"), "-o", out, "--scheme", "int8").sentence(2, "--calibrate", "int8", ".npz")


def test_data_of_verify_and_emulate_that_cannot_be_used(tmp_path: Path) -> None:
    files = _data(tmp_path)
    for name in ("shape.npy", "nan.npy", "missing.npy", "objects.npy"):
        path, words = files[name]
        genn("verify", project(), "--data", path).sentence(2, f"--data {path}", *words)
        genn("emulate", project(), "--input", path).sentence(2, f"--input {path}", *words)
    one = workshop() / "v.npy"
    genn("verify", project("two", data="two.npz"), "--data", one).sentence(2, "one unnamed array", "x, y")
    uneven = tmp_path / "uneven.npz"
    np.savez(uneven, x=np.zeros((3, 4)), y=np.zeros((2, 2)))
    genn("emulate", project("two", data="two.npz"), "--input", uneven).sentence(2, "3 of x", "2 of y")


# -- names -------------------------------------------------------------------------------------------------------------
NAMES = [
    "int",
    "register",
    "*/ int x = ] }; /*",
    "größe",
    "[red]x[/red]",
    "[/]",
    ":smile:",
    "\x1b[31m\x1b[2J",
    "\u202ereversed",
    "/etc/passwd",
    "%s%n",
    "??/",
    "//",
    "{{7*7}}",
    "\t",
    "x" * 300,
]


def test_hostile_names_of_layers(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    text = (workshop() / "models.py").read_text()
    source = tmp_path / "[bold]été *\\ .py"
    source.write_text(text + f"\n\ndef hostile():\n    return Named({NAMES!a}), torch.zeros(1, 4)\n")
    out = tmp_path / "a b" / "*ö[red]"
    given = ("--scheme", "int8", "--calibrate", workshop() / "v.npy")
    document = tmp_path / "[i].json"
    done = genn("convert", f"{source}:hostile", "-o", out, *given, "-v", "--json", document)
    assert done.code == 0, done.err
    assert [layer["name"] for layer in json.loads(document.read_bytes())["layers"]] == NAMES
    reports = [genn("emulate", out), genn("footprint", out), genn("verify", out, "--layers", "--on", "host,emu")]
    shown = [r"[red]x[/red]", r"[/]", r":smile:", r"%s%n", r"\x1b[31m", r"\u202e", r"{{7*7}}", r"größe", r"??/"]
    for told in (done, *reports):
        assert told.code == 0, told.err
        assert [word for word in shown if word not in told.out] == []
        assert all(line.isprintable() for line in told.out.splitlines())
    compiles_and_passes(out, tmp_path)
    again = genn("convert", f"{source}:hostile", "-o", out, *given)
    assert again.code == 0, again.err


@pytest.mark.parametrize("name", ["class", "for", "a\nb", '"quoted"', "\x00", "back\\", "\ud800", "x" * 5000])
def test_names_that_are_no_identifiers(name: str, tmp_path: Path) -> None:
    """A module may be called anything: what is printed can be printed, and the C has names of its own."""
    source = tmp_path / "net.py"
    text = (workshop() / "models.py").read_text()
    source.write_text(text + f"\n\ndef make():\n    return Named([{name!a}]), torch.zeros(1, 4)\n")
    result = genn("convert", f"{source}:make", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    assert all(line.isprintable() for line in result.out.splitlines())
    compiles_and_passes(tmp_path / "out", tmp_path)
    stored = read_manifest(tmp_path / "out").layers[0].name
    assert stored == name.encode("utf-8", "backslashreplace").decode()[:1000]


@pytest.mark.parametrize(
    "name", ["int", "while", "class", "_x", "7up", "größe", "../x", "a b", "a\nb", "*/", "", "genn", "GENN_x", "main",
             "stdint", "String", "x" * 41, "[red]", "-x"]
)  # fmt: skip
def test_names_of_networks_that_c_cannot_take(name: str, tmp_path: Path) -> None:
    result = genn("convert", spec("small"), "-o", tmp_path / "out", f"--name={name}")
    result.sentence(2, "--name", "letters, digits and underscores")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["*/", "*\\", "/*", "/\\*", "??/", "\\", "a\nb", "**//", "//**", "*\\\\", "é"])
def test_a_comment_cannot_be_ended(text: str) -> None:
    safe = comment(text)
    assert "*/" not in safe and "/*" not in safe and "??" not in safe and "\\" not in safe
    assert safe.isprintable() and safe.isascii()


# -- targets -----------------------------------------------------------------------------------------------------------
def test_a_model_that_cannot_fit(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    board = ("-t", "nucleo-f411re")
    heavy = ("the heaviest layers are 2 (840000", "0 (4800")
    genn("convert", spec("large"), "-o", tmp_path / "out", *board).sentence(1, "more than nucleo-f411re has", *heavy)
    assert not (tmp_path / "out").exists()
    wide = genn("convert", spec("wide"), "-o", tmp_path / "out", *board)
    wide.sentence(1, "ram", "more than nucleo-f411re has", "0 (278")
    assert genn("convert", spec("large"), "-o", tmp_path / "out").code == 0
    for command in ("emulate", "footprint"):
        genn(command, tmp_path / "out", *board).sentence(1, "FLASH (524288 bytes) by", *heavy)
    assert not list((tmp_path / "out").rglob("*.elf"))


def test_a_budget_that_is_exceeded(need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    over = genn("footprint", project(), "--budget", "flash=1K,ram=1")
    assert over.code == 1 and "flash is" in over.err and "ram is" in over.err and "over the budget" in over.err
    slow = genn("emulate", project(), "--max-instructions", "1000")
    assert slow.code == 5 and "the budget of 1000 instructions ran out" in slow.err.splitlines()[0]


# -- compilers ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A project of this test's own, whose builds come from no cache."""
    return shutil.copytree(project(), tmp_path / "net", ignore=shutil.ignore_patterns("build"))


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENN_CACHE", str(tmp_path / "cache"))


def script(path: Path, body: str) -> str:
    """A compiler that tells its version and then does ``body``."""
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "cc 1.0" && exit 0\n{body}\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.usefixtures("no_cache")
def test_no_compiler(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, command in (("CC", "verify"), ("GENN_ARM_GCC", "emulate"), ("GENN_ARM_GCC", "footprint")):
        monkeypatch.setenv(variable, "nonexistent")
        genn(command, copy).sentence(4, variable, "nonexistent is not installed", "install the package")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PATH", "/nonexistent")
    genn("verify", copy).sentence(4, "cc is not installed", "install the package gcc")
    genn("emulate", copy).sentence(4, "arm-none-eabi-gcc is not installed", "libnewlib-arm-none-eabi")
    genn("verify", copy, "--on", "qemu").sentence(4, "not installed")
    found = genn("doctor")
    assert found.code == 1 and "apt install gcc" in found.out
    assert not (copy / "build").exists()


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo 'net.c:3: error: [red]no[/red]' >&2; exit 1", ["net.c:3: error: [red]no[/red]"]),
        ("exit 3", ["status 3"]),
        ("kill -9 $$", ["status -9"]),
        ("exit 0", ["wrote nothing"]),
    ],
)
def test_a_compiler_that_fails(
    body: str, words: list[str], copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = script(tmp_path / "badcc", body)
    for variable, command in (("CC", "verify"), ("GENN_ARM_GCC", "emulate")):
        monkeypatch.setenv(variable, bad)
        genn(command, copy).sentence(4, "badcc", *words)
    assert not (copy / "build").exists()


@pytest.mark.usefixtures("no_cache")
def test_c_that_does_not_compile(copy: Path, need_tool: Callable[[str], str]) -> None:
    need_tool("arm-none-eabi-gcc")
    (copy / "net.c").write_text("int net_run(void *arena) { return nonsense; }\n")
    for command in ("verify", "emulate"):
        genn(command, copy).sentence(4, "net.c:1", "nonsense")


# -- output ------------------------------------------------------------------------------------------------------------
def test_an_output_folder_that_is_not_ours(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    file = tmp_path / "file"
    file.write_text("a file")
    before = files_of(tmp_path)
    genn("convert", spec("small"), "-o", theirs).sentence(2, str(theirs), "thesis.txt", "choose another folder")
    genn("convert", spec("small"), "-o", file).sentence(2, str(file), "it is a file")
    genn("convert", spec("small"), "-o", file / "out").sentence(2, "part of the path is a file")
    genn("convert", spec("small"), "-o", "/proc/genn").sentence(2, "/proc/genn", "cannot be written")
    assert files_of(tmp_path) == before


def test_generated_files_that_were_edited(copy: Path) -> None:
    (copy / "net.c").write_text("/* mine */\n")
    again = ("convert", spec("small"), "-o", copy, "--scheme", "float32")
    genn(*again).sentence(2, "net.c", "--force")
    assert (copy / "net.c").read_text() == "/* mine */\n"
    assert genn(*again, "--force").code == 0


def test_reports_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    genn("targets", "--json", tmp_path / "file" / "x.json").sentence(2, "part of the path is a file")
    genn("targets", "--json", tmp_path).sentence(2, "--json", str(tmp_path))
    genn("targets", "--json", "").sentence(2, "--json", "- for standard output")
    genn("targets", "--json", "/proc/x.json").sentence(2, "/proc/x.json")


def test_standard_output_that_is_full_closed_or_not_read() -> None:
    """A full disk is a mistake, a reader that goes away is none; and a failed check stays one, whoever reads."""
    with open("/dev/full", "w") as full:
        for args in (("models",), ("models", "--json", "-"), ("--help",)):
            done = subprocess.run(genn_argv(*args), stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
            assert done.returncode == 2 and "No space left on device" in done.stderr
            assert "bug" not in done.stderr and len(done.stderr.splitlines()) == 1
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(genn_argv("ops"), stdout=write, stderr=subprocess.PIPE, text=True, env=environment())
    os.close(write)
    assert done.returncode == 0 and done.stderr == ""
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *genn_argv("models")]
    assert subprocess.run(closed, stderr=subprocess.PIPE, env=environment()).stderr == b""


def test_letters_that_a_terminal_does_not_have() -> None:
    done = genn_process("models", PYTHONIOENCODING="ascii", FORCE_COLOR="1")
    assert done.code == 0 and done.out.isascii() and "\x1b" not in done.out and "-----" in done.out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB; skipped where it cannot be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    out = small_disk / "out"
    assert genn("convert", spec("two"), "-o", out).code == 0
    before = files_of(small_disk)
    genn("convert", spec("large"), "-o", out).sentence(2, str(out), "the disk is full", "nothing was changed")
    assert files_of(small_disk) == before
    with open(small_disk / "full", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    before = files_of(small_disk)
    genn("ops", "--json", small_disk / "ops.json").sentence(2, "ops.json", "the disk is full")
    genn("convert", spec("two"), "-o", out, "--scheme", "int8", "--calibrate", workshop() / "two.npz").sentence(
        2, "full"
    )
    assert files_of(small_disk) == before


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "out"
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        result = genn("convert", spec("large"), "-o", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    result.sentence(2, str(out), "exceed the allowed size", "nothing was changed")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_inside_of_an_exec_is_130_too() -> None:
    """Python notes a KeyboardInterrupt that leaves exec() of text, and later ends by the signal, handled or not."""
    stop = "exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)')"
    code = f"from genn import cli, runs; runs.ops_report = lambda: {stop}; cli.main(['ops'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stderr.strip()) == (130, "genn: interrupted")


@pytest.mark.parametrize("moment", [0, 0.7, 2.0, 3.5])
def test_ctrl_c_during_convert(moment: float, tmp_path: Path) -> None:
    """Whenever it comes: exit code 130, or a whole project if it came too late."""
    out = tmp_path / "out"
    argv = genn_argv("convert", "mnist-cnn", "-o", out, "--scheme", "int16")
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    while "_multiarray_umath" not in Path(f"/proc/{child.pid}/maps").read_text():  # Python itself has started
        time.sleep(0.02)
    time.sleep(moment)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    if out.exists():
        assert genn("emulate", out, "--samples", "1").code == 0
    else:
        assert child.returncode == 130 and err.split("\n")[-2] == "genn: interrupted" and "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir() if p.name != "out"] == []
