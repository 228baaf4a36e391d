"""What the tests of the command line and the Python API share: models in a file, data, projects, ways to run genn."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from genn import cli

MODELS = '''
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(144, 5)

    def forward(self, x):
        return self.fc(torch.flatten(torch.relu(self.conv(x)), 1))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, x, y):
        total = self.a(x) + self.b(y)
        return total, torch.tanh(total)


class Unsupported(nn.Module):
    def forward(self, x):
        return torch.erfinv(x)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), Unsupported())

    def forward(self, x):
        return torch.cumsum(self.inner(x), 1)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Named(nn.Module):
    """Layers of any name, as setattr and add_module allow them, and beyond."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        for name in names:
            self._modules[name] = nn.Linear(4, 4)

    def forward(self, x):
        for name in self.names:
            x = torch.relu(self._modules[name](x))
        return x


def small():
    torch.manual_seed(0)
    return Small(), torch.zeros(1, 1, 8, 8)


def bare():
    return Small()


def two():
    torch.manual_seed(0)
    return Two(), (torch.zeros(1, 4), torch.zeros(1, 2))


def unsupported():
    return Outer(), torch.zeros(1, 4)


def branching():
    return Branching(), torch.zeros(1, 4)


def no_samples():
    return Small(), torch.zeros(0, 1, 8, 8)


def with_value(value, name="fc.weight"):
    model, example = small()
    model.get_parameter(name).data.view(-1)[1] = value
    return model, example


def with_nan():
    return with_value(float("nan"))


def with_inf():
    return with_value(-float("inf"), "conv.bias")


def zero_channel():
    model, example = small()
    for layer in (model.conv, model.fc):
        layer.weight.data[1] = 0
        layer.bias.data[1] = 0
    return model, example


def all_zero():
    model, example = small()
    for parameter in model.parameters():
        parameter.data.zero_()
    return model, example


def large():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 300), nn.ReLU(), nn.Linear(300, 700), nn.Linear(700, 9)), torch.zeros(1, 4)


def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 1, 3, padding=1)), torch.zeros(1, 1, 64, 64)


def raising():
    raise ValueError("no [red]luck[/red]\\nand a second line")


def seven():
    return 7
'''


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    def sentence(self, code: int, *words: str) -> str:
        """The one line of a mistake, with its exit code and everything in ``words``; nothing on standard output."""
        assert self.code == code, (self.code, self.err, self.out)
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("genn: "), self.err
        assert "Traceback" not in self.err and "a bug in genn" not in self.err
        for word in words:
            assert word in self.err, f"{word!r} is not in {self.err!r}"
        assert self.out == ""
        return self.err


def genn(*args: object) -> Result:
    """A command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(a) for a in args])
            code = -1  # it should have exited
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else -1
    return Result(code, out.getvalue(), err.getvalue())


def genn_argv(*args: object) -> list[str]:
    return [sys.executable, "-m", "genn.cli", *map(str, args)]


def genn_process(*args: object, cwd: Path | None = None, **env: str) -> Result:
    """A command in a process of its own, with ``env`` added to the environment."""
    done = subprocess.run(
        genn_argv(*args),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**environment(), **env},
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def environment() -> dict[str, str]:
    """This process's environment, from which genn is found in any folder."""
    root = str(Path(cli.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


@cache
def workshop() -> Path:
    """A folder with ``models.py`` and data for it: x.npy for small, v.npy for rows of four, two.npz for two."""
    folder = Path(tempfile.mkdtemp(prefix="genn-workshop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "models.py").write_text(MODELS)
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.standard_normal((16, 1, 8, 8)).astype(np.float32))
    np.save(folder / "v.npy", rng.standard_normal((16, 4)).astype(np.float32))
    pair = {"x": rng.standard_normal((16, 4)), "y": rng.standard_normal((16, 2))}
    np.savez(folder / "two.npz", **{k: v.astype(np.float32) for k, v in pair.items()})
    return folder


def spec(name: str) -> str:
    """The model ``name`` of ``models.py`` as the command line takes it."""
    return f"{workshop() / 'models.py'}:{name}"


@cache
def project(name: str = "small", scheme: str = "int8", data: str = "x.npy") -> Path:
    """A converted project, made once; tests must not change it."""
    out = workshop() / f"{name.replace(':', '-')}-{scheme}"
    model = name if name.startswith("mnist") else spec(name)
    calibrate: Sequence[object] = () if name.startswith("mnist") else ("--calibrate", workshop() / data)
    done = genn("convert", model, "-o", out, "--scheme", scheme, *calibrate)
    assert done.code == 0, done.err
    return out


def compiles_and_passes(out: Path, tmp_path: Path) -> None:
    """The C of ``out`` builds without a word and passes its own test vectors."""
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
    program, sources = tmp_path / "a.out", map(str, out.glob("*.c"))
    built = subprocess.run(["cc", *flags, *sources, "-o", str(program)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert subprocess.run([program], stdout=subprocess.DEVNULL).returncode == 0
