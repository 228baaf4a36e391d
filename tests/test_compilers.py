"""No compiler is trusted blindly: every kernel through a second compiler, and its portable C under the sanitizers.

``tests/test_kernels.py`` and ``tests/test_ops.py`` build with the host's compiler and arm-none-eabi-gcc.  Here clang
builds the same layers for the host and for both cores, and gcc's and clang's AddressSanitizer and UBSan watch them.
Everyday runs take one layer of each int8 kernel; ``-m long`` takes every scheme, the operators' portable kernels too,
and on the host every layer.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn.api import Model
from genn.build import build_elf, net_header
from genn.host import load
from genn.ir import SCHEMES
from genn.manifest import read_raw
from genn.target import BASE_CFLAGS, Target, load_target
from tests import harness
from tests.many import Many
from tests.test_kernels import taken
from tests.test_kernels_sparse import thin_layers
from tests.test_ops import everything

Need = Callable[[str], str]
Stored = list[dict[str, np.ndarray]]
EMULATED = 4  # layers of each kernel, and samples of each operator, in an emulator
MACHINES = {"cortex-m0plus": "thumbv6m-none-eabi", "generic-m4": "thumbv7em-none-eabi"}


@functools.cache
def layers(kind: str, scheme: str, limit: int | None) -> tuple[list[Model], Stored]:
    """Models and stored inputs.

    tuned: layers of every tuned kernel, at the ends of their inputs' ranges; portable: the registry's samples as their
    operator's own kernel runs them, ``limit`` of each; sparse: layers whose zeros are not stored.
    """
    if kind == "tuned":
        return taken(scheme, limit)
    if kind == "sparse":
        found = harness.once("kernels-sparse", thin_layers)
        models = [s.model(scheme, f"s{i}", sparse="always") for i, s in enumerate(found)]
    else:
        models, found = everything(scheme, limit)
    return models, [s.stored(m) for m, s in zip(models, found, strict=True)]


def cases(limit: int | None) -> list[Any]:
    """(kind, scheme, limit) for parametrize: one everyday, all behind the marker ``long``."""
    rest = [pytest.param(k, s, limit, marks=pytest.mark.long) for k in ("tuned", "portable", "sparse") for s in SCHEMES]
    return [("tuned", "int8", 1), *rest]


def clang_objects(folder: Path, target: Target, clang: str, work: Path) -> list[Path]:
    """The objects that clang makes of a project's own C for a core, with the flags that gcc gets."""
    manifest = read_raw(folder)
    machine = [f"--target={MACHINES[target.name]}", "-ffreestanding", *target.arch_flags(manifest["scheme"])]
    objects = []
    for source in sorted(folder / f for f in manifest["files"] if f.endswith((".c", ".S"))):
        objects.append(work / f"{source.name}.o")
        argv = [clang, *machine, *BASE_CFLAGS, "-O2", f"-I{folder}", "-c", str(source), "-o", str(objects[-1])]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return objects


def clang_on_the_host(models: list[Model], stored: Stored, folder: Path) -> list[str]:
    many = Many(models, folder)
    return many.differences(stored, load(many.folder).run([many.images(stored)], jobs=1).outputs["arena_out"])


def clang_emulated(models: list[Model], stored: Stored, work: Path, target: Target, clang: str) -> list[str]:
    """Built by clang, linked by gcc, run by the emulator: what differs from the reference."""
    from genn.emulate import emulate

    many = Many(models, work / "many")
    header = net_header(read_raw(many.folder))
    elf = build_elf(work / "many.elf", clang_objects(many.folder, target, clang, work), header, target, many.scheme,
                    includes=[many.folder])
    return many.differences(stored, emulate(many.folder, target, [many.images(stored)], elf=elf).outputs[0])


@pytest.mark.long
@pytest.mark.parametrize(("kind", "scheme", "limit"), cases(None)[1:])
def test_clang_on_the_host(kind: str, scheme: str, limit: int | None, tmp_path: Path, need_tool: Need,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", need_tool("clang"))
    models, stored = layers(kind, scheme, limit)
    many = Many(models, tmp_path / "many")
    assert many.differences(stored, load(many.folder).run([many.images(stored)], jobs=1).outputs["arena_out"]) == []


@pytest.mark.parametrize(("kind", "scheme", "limit"), cases(EMULATED))
@pytest.mark.parametrize("target", MACHINES)
def test_clang_on_both_cores(kind: str, scheme: str, limit: int, target: str, tmp_path: Path, need_tool: Need) -> None:
    from genn.emulate import emulate

    need_tool("arm-none-eabi-gcc")
    models, stored = layers(kind, scheme, limit)
    board, many = load_target(target), Many(models, tmp_path / "many")
    objects = clang_objects(many.folder, board, need_tool("clang"), tmp_path)
    elf = build_elf(tmp_path / "many.elf", objects, net_header(read_raw(many.folder)), board, scheme,
                    includes=[many.folder])
    ran = emulate(many.folder, board, [many.images(stored)], elf=elf)
    assert many.differences(stored, ran.outputs[0]) == []


@pytest.mark.parametrize(("kind", "scheme", "limit"), cases(None))
@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=pytest.mark.long)])
def test_under_the_sanitizers(kind: str, scheme: str, limit: int | None, compiler: str, tmp_path: Path,
                              need_tool: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", need_tool(compiler))
    models, stored = layers(kind, scheme, limit)
    assert harness.sanitized_differences(models, stored, tmp_path / "many") == []
