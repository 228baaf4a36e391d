"""What is installed, in which version, what it is needed for, and what to do about what is missing.

Also a program: ``python3 -I genn/doctor.py --missing demo|test`` prints the Debian packages that are missing, one per
line.  The Makefile asks it before anything is installed, so this file imports nothing but the standard library.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing looked for.  ``version`` is empty if it is missing; ``need`` is ``required`` or ``optional``."""

    name: str
    version: str
    used_for: str
    need: str
    fix: str

    @property
    def ok(self) -> bool:
        """True if it is there."""
        return bool(self.version)


# (program, environment variable that may name another, what for, need, Debian package)
PROGRAMS = (
    ("cc", "CC", "verify: the network on this machine", "required", "gcc"),
    ("arm-none-eabi-gcc", "GENN_ARM_GCC", "emulate, footprint: Thumb firmware", "required", "gcc-arm-none-eabi"),
    ("clang", "", "tests: a second compiler, sanitizers", "optional", "clang"),
    ("qemu-system-arm", "", "verify --on qemu, tests: a second opinion", "optional", "qemu-system-arm"),
    ("gdb-multiarch", "", "emulate --gdb, tests: the debugger's other end", "optional", "gdb-multiarch"),
)
# (distribution, what for, need, extra of genn-mcu)
PACKAGES = (
    ("numpy", "arithmetic of the reference", "required", ""),
    ("unicorn", "emulate", "required", ""),
    ("pyelftools", "footprint", "required", ""),
    ("capstone", "emulate, footprint", "required", ""),
    ("click", "the command line", "required", ""),
    ("rich", "tables", "required", ""),
    ("msgspec", "targets and manifests", "required", ""),
    ("torch", "convert, verify against PyTorch", "optional", "torch"),
    ("safetensors", "convert --weights", "optional", "torch"),
    ("pytest", "tests", "optional", "test"),
    ("hypothesis", "tests", "optional", "test"),
)
# What `make demo` and `make test` need beyond Python, gcc and make: (Debian package, how to see that it is there).
APT = {
    "demo": (
        ("gcc", "cc"),
        ("libc6-dev", "#include <stdlib.h>"),
        ("gcc-arm-none-eabi", "arm-none-eabi-gcc"),
        ("libnewlib-arm-none-eabi", "newlib"),
        ("python3-venv", "venv"),
        ("python3-dev", "Python.h"),
    ),
    "test": (
        ("qemu-system-arm", "qemu-system-arm"),
        ("clang", "clang"),
        ("libclang-rt-dev", "asan"),
        ("gdb-multiarch", "gdb-multiarch"),
        ("csmith", "csmith"),
        ("libcsmith-dev", "#include <csmith/csmith.h>"),
        ("cmake", "cmake"),
        ("valgrind", "callgrind_annotate"),
    ),
}


def _run(*argv: str) -> str:
    """What a program prints, or '' if it cannot run or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(text: str) -> str:
    """The version number in the first line of what ``--version`` prints; the line itself if there is none."""
    line = text.splitlines()[0] if text else ""
    numbers = re.findall(r"\d+(?:\.\d+)+", re.sub(r"\([^)]*\)", "", line)) or re.findall(r"\d+(?:\.\d+)+", line)
    return numbers[0] if numbers else line


def newlib() -> str:
    """The version of the newlib beside the cross compiler, or ''."""
    header = _run(os.environ.get("GENN_ARM_GCC") or "arm-none-eabi-gcc", "-print-sysroot")
    library = _run(os.environ.get("GENN_ARM_GCC") or "arm-none-eabi-gcc", "-print-file-name=libc.a")
    if not os.path.isabs(library) or not Path(library).is_file():
        return ""
    for folder in (Path(header or "/nowhere"), Path(library).parent.parent, Path("/usr/include/newlib")):
        for found in (folder / "include/newlib.h", folder / "include/_newlib_version.h", folder / "_newlib_version.h"):
            if found.is_file():
                match = re.search(r'_NEWLIB_VERSION\s+"([^"]+)"', found.read_text(errors="replace"))
                if match:
                    return match[1]
    return "present"


def has_python_headers() -> bool:
    """True if Python.h of this interpreter is there."""
    folders = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    return any(folder and Path(folder, "Python.h").is_file() for folder in folders)


def has_venv() -> bool:
    """True if this Python can make virtual environments with pip (Debian packages that apart)."""
    return importlib.util.find_spec("venv") is not None and importlib.util.find_spec("ensurepip") is not None


def _there(sign: str) -> bool:
    """True if what ``sign`` stands for in APT is installed."""
    if sign == "venv":
        return has_venv()
    if sign == "Python.h":
        return has_python_headers()
    if sign == "newlib":
        return bool(newlib())
    if sign.startswith("#include"):
        return Path("/usr/include", sign[10:-1]).is_file()
    if sign == "asan":
        resources = _run("clang", "-print-resource-dir")
        return bool(resources) and any(Path(resources, "lib").glob("*/libclang_rt.asan*"))
    return shutil.which(sign) is not None


def missing_packages(goal: str) -> list[str]:
    """Debian packages that ``make demo`` (or ``make test``, which needs more) lacks on this machine."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    wanted = APT["demo"] if goal == "demo" else APT["demo"] + APT["test"]
    names = [package for package, sign in wanted if not _there(sign)]
    if sys.executable.startswith("/usr/bin"):
        names = [name.replace("python3-", f"{python}-") for name in names]
    return names


def examine() -> list[Finding]:
    """Everything ``genn doctor`` reports, in the order it reports it."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    found = [
        Finding("python", version if sys.version_info >= (3, 11) else "", "everything", "required", "use Python 3.11")
    ]
    headers = version if has_python_headers() else ""
    found.append(Finding("Python.h", headers, "verify: extension modules", "required", "apt install python3-dev"))
    for name, used_for, need, extra in PACKAGES:
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            there = ""
        fix = f"pip install 'genn-mcu[{extra}]'" if extra else f"pip install {name}"
        found.append(Finding(name, there, used_for, need, fix))
    for module in ("emu._core",):
        found.append(
            Finding(module, _module(module), "emulate", "required", "install genn-mcu again, with gcc present")
        )
    for program, variable, used_for, need, package in PROGRAMS:
        given = (os.environ.get(variable) or program).split()
        text = _run(*given, "--version") if shutil.which(given[0]) else ""
        found.append(Finding(program, _version(text), used_for, need, f"apt install {package}"))
        if program == "arm-none-eabi-gcc":
            fix = "apt install libnewlib-arm-none-eabi"
            found.append(Finding("newlib", newlib(), "the C library of Thumb firmware", "required", fix))
    return found


def _module(name: str) -> str:
    """'built' if a compiled module can be imported, else ''."""
    try:
        importlib.import_module(name)
    except Exception:
        return ""
    return "built"


def to_json(findings: list[Finding]) -> dict[str, Any]:
    """The JSON of ``genn doctor``."""
    rows = [{**asdict(f), "ok": f.ok} for f in findings]
    return {"schema": 1, "ok": all(f.ok for f in findings if f.need == "required"), "findings": rows}


def main(argv: list[str]) -> int:
    """``--missing demo|test``: print the missing Debian packages.  Returns the exit code."""
    if len(argv) != 2 or argv[0] != "--missing" or argv[1] not in APT:
        print("usage: doctor.py --missing demo|test", file=sys.stderr)
        return 2
    for name in missing_packages(argv[1]):
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
