"""QEMU as the second opinion: the same firmware as the emulator's, run by a machine that somebody else wrote.

Input and output travel as files through semihosting, in a folder of the run's own.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genn.build import build_firmware
from genn.errors import FirmwareError, ToolchainError
from genn.manifest import Manifest, read_manifest
from genn.target import Target, load_target
from genn.toolchain import find_tool, first_line

TARGET = "mps2-an386"
TIMEOUT = 300.0  # seconds
_EXITS = {2: "it found no input", 3: "its input breaks off inside of a sample", 4: "the run failed",
          5: "it could not write its output"}


def run_project(project_dir: str | Path | Manifest, stored: Sequence[np.ndarray], target: str | Target = TARGET,
                timeout: float = TIMEOUT) -> dict[str, np.ndarray]:
    """Build the firmware of a project and run stored inputs (S, *shape) through it: output -> (S, *shape).

    ToolchainError if the compiler or QEMU is missing; FirmwareError if the firmware faults or does not end.
    """
    manifest = project_dir if isinstance(project_dir, Manifest) else read_manifest(project_dir)
    board = load_target(target) if isinstance(target, str) else target
    elf = build_firmware(manifest.folder, board, port="semihost")
    return manifest.unpack(run_elf(elf, manifest.pack(stored), board, timeout), len(stored[0]))


def run_elf(elf: Path, data: bytes, target: Target, timeout: float = TIMEOUT) -> bytes:
    """Run an ELF with ``data`` as genn_in.bin; returns genn_out.bin."""
    if not target.qemu_machine:
        raise ToolchainError(f"QEMU has no machine for {target.name}", fix=f"use {TARGET}")
    qemu = find_tool("qemu-system-arm", env="GENN_QEMU", fix="install the package qemu-system-arm")
    with tempfile.TemporaryDirectory(prefix="genn-qemu-") as name:
        folder = Path(name)
        (folder / "genn_in.bin").write_bytes(data)
        argv = [*qemu.argv, "-machine", target.qemu_machine, "-display", "none", "-monitor", "none", "-serial", "none",
                "-semihosting-config", "enable=on,target=native", "-kernel", str(elf.resolve())]
        try:
            done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  errors="replace", timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise FirmwareError(f"the firmware did not end within {timeout:g} s in QEMU", str(elf)) from None
        except OSError as error:
            raise ToolchainError(f"cannot be started: {error.strerror}", qemu.path) from None
        if done.returncode:
            said = first_line(done.stderr)
            why = _EXITS.get(done.returncode) or f"status {done.returncode}"
            raise FirmwareError(f"the firmware failed in QEMU: {why}{f' ({said})' if said else ''}", str(elf))
        out = folder / "genn_out.bin"
        return out.read_bytes() if out.exists() else b""
