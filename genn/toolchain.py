"""Compilers: finding them, running them, and turning what they say into one sentence; and a cache of what they built.

Environment: ``CC`` names the host compiler, ``GENN_ARM_GCC`` the cross compiler, ``GENN_CACHE`` the cache folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genn.errors import ToolchainError
from genn.paths import cache_dir

# The warnings that generated C and firmware pass without a word, on gcc, clang and arm-none-eabi-gcc.
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")

_ERROR_LINE = re.compile(
    r"(fatal )?error:|undefined reference|cannot find|multiple definition|overflowed by", re.IGNORECASE
)
_CACHE_DAYS = 30


@dataclass(frozen=True)
class Tool:
    """A program that was found: ``argv`` starts it (``CC`` may carry flags), ``version`` is as it names itself."""

    name: str
    argv: tuple[str, ...]
    version: str

    @property
    def path(self) -> str:
        """The program file."""
        return self.argv[0]


def run(
    argv: Sequence[str], *, cwd: Path | None = None, timeout: float = 600.0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tool with its output captured and its messages in English.  ``timeout`` in seconds.

    The exit status is the caller's to judge; ToolchainError if the program cannot start or does not end.
    """
    try:
        return subprocess.run(
            list(argv),
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"{Path(argv[0]).name} did not end within {timeout:.0f} s") from None
    except OSError as error:
        raise ToolchainError(f"cannot run {argv[0]}: {error.strerror}") from None


def first_line(text: str) -> str:
    """The first line of ``text`` that is not blank, without surrounding space, or ``''``."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def first_error(stderr: str) -> str:
    """The line of a compiler's or linker's output that says what is wrong."""
    return next((line.strip() for line in stderr.splitlines() if _ERROR_LINE.search(line)), first_line(stderr))


def find_tool(name: str, *, env: str | None = None, fix: str, version_flag: str = "--version") -> Tool:
    """The program ``name``, or what the variable ``env`` names instead.  ToolchainError if there is none."""
    given = os.environ.get(env, "").strip() if env else ""
    try:
        argv = shlex.split(given) or [name]
    except ValueError as error:
        raise ToolchainError(f"cannot read the command {given!r}: {error}", env) from None
    path = shutil.which(argv[0])
    if path is None:
        raise ToolchainError(f"{argv[0]} is not installed", env if given else None, fix)
    return _probed(name, (path, *argv[1:]), version_flag)


@functools.lru_cache(maxsize=64)
def _probed(name: str, argv: tuple[str, ...], version_flag: str) -> Tool:
    result = run([*argv, version_flag], timeout=60)
    if result.returncode:
        raise ToolchainError(f"{argv[0]} does not work: {first_error(result.stderr) or 'it failed without a word'}")
    return Tool(name, argv, first_line(result.stdout or result.stderr))


def find_arm_gcc() -> Tool:
    """The cross compiler (``GENN_ARM_GCC`` or arm-none-eabi-gcc)."""
    fix = "install the packages gcc-arm-none-eabi and libnewlib-arm-none-eabi, or set GENN_ARM_GCC"
    return find_tool("arm-none-eabi-gcc", env="GENN_ARM_GCC", fix=fix)


def find_cc() -> Tool:
    """The host's C compiler (``CC``, else cc, gcc or clang, the first there is)."""
    fix = "install the package gcc, or set CC"
    if not os.environ.get("CC", "").strip():
        for name in ("cc", "gcc", "clang"):
            if shutil.which(name):
                return find_tool(name, fix=fix)
    return find_tool("cc", env="CC", fix=fix)


def find_clang() -> Tool:
    """clang on the host."""
    return find_tool("clang", fix="install the package clang")


def compile_c(
    tool: Tool,
    sources: Sequence[Path | str],
    output: Path,
    *,
    flags: Sequence[str] = (),
    includes: Sequence[Path] = (),
    cwd: Path | None = None,
    timeout: float = 600.0,
) -> Path:
    """Run a compiler or a link: ``flags`` decide (``-c``, ``-shared``, ...).  Returns ``output``.

    ToolchainError with the first error line if it fails; nothing is left at ``output`` then.
    """
    include_flags = [f"-I{folder}" for folder in includes]
    argv = [*tool.argv, *flags, *include_flags, *(str(s) for s in sources), "-o", str(output)]
    result = run(argv, cwd=cwd, timeout=timeout)
    if result.returncode:
        output.unlink(missing_ok=True)
        said = first_error(result.stderr or result.stdout)
        raise ToolchainError(said or f"it failed with status {result.returncode} and no message", Path(tool.path).name)
    if not output.is_file():
        raise ToolchainError("it reported success and wrote nothing", Path(tool.path).name)
    return output


def digest(*parts: bytes | str | Path | Iterable[str]) -> str:
    """A hash of everything that decides on a result: bytes, strings, the contents of files, sequences of strings."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            data = part.read_bytes()
        elif isinstance(part, bytes):
            data = part
        elif isinstance(part, str):
            data = part.encode()
        else:
            data = "\0".join(part).encode()
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:40]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for any other process that holds it.  The file is left behind."""
    with open(path, "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached(kind: str, key: str, produce: Callable[[Path], object]) -> Path:
    """The cache folder ``kind/key``; ``produce(folder)`` fills it first if it is not there.

    A lock lets one process produce while others wait; the folder appears by one rename, whole or not at all.
    ToolchainError if the cache cannot be written; whatever ``produce`` raises goes through.
    """
    base = cache_dir() / kind
    final = base / key
    if final.is_dir():
        _touch(final)
        return final
    try:
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(base / f"{key}.lock"):
            if not final.is_dir():
                work = Path(tempfile.mkdtemp(prefix=f".{key[:8]}-", dir=base))
                try:
                    produce(work)
                    _sync(work)
                    os.rename(work, final)
                except BaseException:
                    shutil.rmtree(work, ignore_errors=True)
                    raise
                _prune(base)
    except OSError as error:
        fix = "make room or set GENN_CACHE to a folder that can be written"
        raise ToolchainError(f"cannot write the cache: {error.strerror or error}", str(base), fix) from None
    return final


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _sync(folder: Path) -> None:
    """Bring the files of ``folder`` to the disk, so that a crash after the rename leaves no empty file."""
    for path in folder.iterdir():
        if path.is_file():
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())


def _prune(base: Path) -> None:
    """Drop entries that nobody used for a month."""
    oldest = time.time() - _CACHE_DAYS * 86400
    for path in base.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
