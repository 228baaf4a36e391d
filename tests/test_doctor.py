"""genn doctor: what it finds, and what it says when something is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genn import doctor


def test_findings_say_what_for_and_what_to_do() -> None:
    findings = doctor.examine()
    assert {"python", "numpy", "torch", "cc", "arm-none-eabi-gcc", "newlib", "emu._core"} <= {f.name for f in findings}
    assert all(f.used_for and f.fix for f in findings)
    python = findings[0]
    assert python.ok and python.version.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    json.dumps(doctor.to_json(findings))


def test_without_programs_everything_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("GENN_ARM_GCC", raising=False)
    found = {f.name: f for f in doctor.examine()}
    for name in ("cc", "arm-none-eabi-gcc", "newlib", "qemu-system-arm", "clang"):
        assert not found[name].ok and found[name].fix.startswith("apt install ")
    assert not doctor.to_json(list(found.values()))["ok"]
    assert {"gcc", "gcc-arm-none-eabi", "libnewlib-arm-none-eabi"} <= set(doctor.missing_packages("demo"))
    assert "qemu-system-arm" not in doctor.missing_packages("demo")
    assert {"qemu-system-arm", "clang"} <= set(doctor.missing_packages("test"))


def test_a_broken_compiler_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    assert not next(f for f in doctor.examine() if f.name == "cc").ok


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("cc (Debian 12.2.0-14) 12.2.0\nCopyright", "12.2.0"),
        ("arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205", "12.2.1"),
        ("Debian clang version 14.0.6", "14.0.6"),
        ("QEMU emulator version 7.2.22 (Debian 1:7.2)", "7.2.22"),
        ("mystery", "mystery"),
        ("", ""),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert doctor._version(text) == version


def test_it_runs_before_anything_is_installed(repo_root: Path) -> None:
    """The Makefile calls it with a Python that has no packages."""
    argv = [sys.executable, "-I", "-S", str(repo_root / "genn" / "doctor.py")]
    good = subprocess.run([*argv, "--missing", "test"], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    bad = subprocess.run([*argv, "--missing", "lunch"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and "usage" in bad.stderr


def test_importing_genn_stays_light() -> None:
    code = "import sys, genn, genn.target, genn.footprint, genn.build, genn.doctor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
