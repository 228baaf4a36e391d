"""A project that is half written looks like one that works, so this file writes a folder whole or not at all.

``write_project`` writes beside the target, syncs, and swaps the two folders in one step of the kernel; ``genn.json``,
the manifest with a hash of every file, is what makes a folder ours.  Whatever interrupts a write, a full disk, Ctrl-C
or ``kill -9``, what was there before stays.  Where folders cannot be swapped (the file system cannot, the folder is a
mount point or the shell stands in it), files are replaced one by one, the manifest last, with a journal from which the
next write rolls back what a kill left half done.

``read_manifest`` trusts nothing in a genn.json; ``check_files`` compares a folder with its manifest; ``atomic_write``
does for one report file what ``write_project`` does for a folder.

What is under way is named ``.NAME.genn-PID-RANDOM`` and locked by its owner; the next write removes what a dead owner
left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from genn.errors import GennError, ModelError, UsageError
from genn.names import C_KEYWORDS

MANIFEST = "genn.json"
SCHEMA = 1
GENERATOR = "genn-mcu"
MAX_MANIFEST = 16 << 20  # bytes

_ELEMENT_BYTES = {"int8": 1, "int16": 2, "int32": 4, "float32": 4}
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_STAGED = re.compile(r"\..*\.genn-([0-9]+)-[0-9a-f]{8}", re.DOTALL)
_JOURNAL, _OLD, _KEPT = ".journal", ".old", ".kept"  # inside a staging folder; no file of a project has such a name
_LOCK_WAIT = 60.0  # seconds
_RENAME_EXCHANGE = 2
_CANNOT_SWAP = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EBUSY, errno.EPERM, errno.EACCES,
                errno.EROFS}


class OutputError(UsageError):
    """Output cannot be written: the disk is full, permission is denied.  What was there before is unchanged."""


# -- writing a project -------------------------------------------------------------------------------------------------
def write_project(files: Mapping[str, str | bytes], manifest: Mapping[str, Any], out: str | Path, *,
                  keep: Collection[str] = ("build",), force: bool = False) -> Path:
    """Make ``out`` the project of ``files`` and ``manifest``, whole, or leave it as it was; returns ``out``.

    ``out`` may be absent, empty, or a project that genn wrote.  ``keep`` names the folders of build products: they
    stay if every file is unchanged, and go otherwise.  ``force`` overwrites generated files that the user changed;
    files that genn did not write are never removed.  ``schema`` and ``files`` of the manifest are filled in here.
    UsageError (OutputError where the system refuses) says what is in the way.
    """
    blobs = _encode(files, manifest, keep)
    out = Path(out)
    real = Path(os.path.realpath(out))
    made: list[Path] = []
    done = False
    try:
        _make_folders(real.parent, made)
        lock = _lock(real)
        try:
            _write(real, out, blobs, keep, force)
        finally:
            if lock is not None:
                os.close(lock)
        done = True
    except OSError as error:
        raise _cannot_write(error, out) from None
    finally:
        if not done:
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
    return out


def _encode(files: Mapping[str, str | bytes], manifest: Mapping[str, Any], keep: Collection[str]) -> dict[str, bytes]:
    """The bytes of every file, the manifest's last."""
    blobs: dict[str, bytes] = {}
    seen = {MANIFEST, *(k.casefold() for k in keep)}
    for name, content in files.items():
        if not _is_file_name(name) or name.casefold() in seen:
            raise UsageError(f"{name[:80]!r} cannot be the name of a generated file")
        seen.add(name.casefold())
        blobs[name] = content.encode("utf-8", "replace") if isinstance(content, str) else bytes(content)
    whole = {"schema": SCHEMA, **manifest}
    whole["files"] = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    if not str(whole.get("generator", "")).startswith(GENERATOR):
        raise GennError("the manifest names no generator")
    blobs[MANIFEST] = (json.dumps(whole, indent=1, allow_nan=False, default=_plain) + "\n").encode()
    if len(blobs[MANIFEST]) > MAX_MANIFEST:
        raise ModelError(f"the network has so many layers that its {MANIFEST} exceeds {MAX_MANIFEST >> 20} MB")
    return blobs


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a manifest")


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and bool(_FILE_NAME.fullmatch(name)) and ".." not in name


def _write(real: Path, out: Path, blobs: dict[str, bytes], keep: Collection[str], force: bool) -> None:
    """``write_project`` with the lock held; ``real`` is ``out`` without symbolic links."""
    _clean(real.parent, real.name)
    if real.is_dir():
        recover(real)
    old = _inspect(real, out, keep, force)
    if old is not None and _unchanged(real, old, blobs):
        if not _holds(real / MANIFEST, blobs[MANIFEST]):
            _replace_file(real / MANIFEST, blobs[MANIFEST])
        return
    if old is None or not _must_stay(real):
        try:
            return _swap(real, blobs)
        except OSError as error:
            if old is None or error.errno not in _CANNOT_SWAP:
                raise
    _replace_files(real, blobs, list(old), keep)


def _inspect(real: Path, out: Path, keep: Collection[str], force: bool) -> dict[str, str] | None:
    """The files (name: hash) of the project at ``real``; {} if it is empty, None if absent.

    UsageError if something lies there that is not ours to overwrite.
    """
    if not os.path.lexists(real):
        return None
    if not real.is_dir():
        raise UsageError("it is a file, and a folder is to be written", str(out), "choose another folder, or remove it")
    with os.scandir(real) as scan:
        entries = {e.name: e.is_dir() for e in scan if not _STAGED.fullmatch(e.name)}
    if not entries:
        return {}
    listed = _listed(real / MANIFEST)
    if listed is None:
        raise UsageError(f"the folder holds what genn did not write ({_few(sorted(entries))})", str(out),
                         "choose another folder, or remove this one")
    foreign = sorted(e for e, is_dir in entries.items() if e != MANIFEST and e not in listed
                     and not (is_dir and e in keep))
    if foreign:
        raise UsageError(f"beside the generated files the folder holds others ({_few(foreign)})", str(out),
                         "move them away, or choose another folder")
    changed = [n for n in check_files(real, {"files": listed}) if os.path.lexists(real / n)]
    if changed and not force:
        raise UsageError(f"generated files were changed by hand ({_few(changed)})", str(out),
                         "choose another folder, or overwrite them with --force")
    return listed


def _listed(path: Path) -> dict[str, str] | None:
    """The files that the genn.json at ``path`` lists, of any schema; None if it is not one that genn wrote."""
    try:
        data = json.loads(_read_bounded(path))
    except (GennError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not str(data.get("generator", "")).startswith(GENERATOR):
        return None
    files = data.get("files")
    if not isinstance(files, dict) or not all(_is_file_name(n) and isinstance(h, str) for n, h in files.items()):
        return None
    return files


def _few(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(n if n.isprintable() else ascii(n) for n in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _unchanged(real: Path, old: dict[str, str], blobs: dict[str, bytes]) -> bool:
    new = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items() if name != MANIFEST}
    return bool(old) and old == new and not check_files(real, {"files": old})


def _holds(path: Path, blob: bytes) -> bool:
    return path.stat().st_size == len(blob) and path.read_bytes() == blob


def _must_stay(real: Path) -> bool:
    """Whether the folder itself must not be exchanged: a mount point, or a process of ours stands in it."""
    try:
        here = Path(os.path.realpath(os.getcwd()))
    except OSError:
        return False
    return os.path.ismount(real) or here == real or real in here.parents


def _swap(real: Path, blobs: dict[str, bytes]) -> None:
    """Write ``blobs`` beside ``real`` and put them in its place in one step.  What was there goes."""
    temp = _staging_name(real.parent, real.name)
    with _uninterrupted() as interruptible, contextlib.ExitStack() as undo:
        os.mkdir(temp)
        undo.callback(_remove, temp)
        undo.callback(os.close, _own(temp))
        if real.is_dir():
            os.chmod(temp, stat.S_IMODE(real.stat().st_mode))
        _fill(temp, blobs, interruptible)
        try:
            os.rename(temp, real)  # onto nothing, or onto an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _exchange(temp, real)
        _sync_folder(real.parent)


def _fill(folder: Path, blobs: dict[str, bytes], interruptible: Callable[[], None]) -> None:
    """Write ``blobs`` in their order and bring them, and then the folder, to the disk."""
    for name, blob in blobs.items():
        with open(folder / name, "xb") as file:
            file.write(blob)
        interruptible()
    for name in blobs:
        fd = os.open(folder / name, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        interruptible()
    _sync_folder(folder)
    interruptible()


def _exchange(a: Path, b: Path) -> None:
    """Let two paths change places in one step (Linux's renameat2).  OSError where that is not to be had."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    call.restype = ctypes.c_int
    if call(-100, os.fsencode(a), -100, os.fsencode(b), _RENAME_EXCHANGE) != 0:  # -100: AT_FDCWD
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# -- where folders cannot be swapped -----------------------------------------------------------------------------------
def _replace_files(real: Path, blobs: dict[str, bytes], old: Sequence[str], keep: Collection[str]) -> None:
    """Write ``blobs`` inside ``real``, save what will go, then replace file by file, the manifest last."""
    temp = _staging_name(real, real.name)
    with _uninterrupted() as interruptible, contextlib.ExitStack() as undo:
        os.mkdir(temp)
        undo.callback(_remove, temp)
        owner = _own(temp)
        undo.callback(os.close, owner)
        _fill(temp, blobs, interruptible)
        _save(real, temp, {*blobs, *old})
        try:
            for name in keep:
                if os.path.lexists(real / name):
                    os.rename(real / name, temp / _KEPT / name)
            for name in old:
                if name not in blobs:
                    (real / name).unlink(missing_ok=True)
            for name in blobs:  # the manifest is the last of them
                os.replace(temp / name, real / name)
            _sync_folder(real)
        except BaseException:
            try:
                _roll_back(real, temp)
            except OSError as error:
                undo.pop_all()  # what was saved stays, for the next write
                os.close(owner)
                raise OutputError(f"writing failed half way and so did taking it back ({error.strerror})", str(real),
                                  "run the command again, which first restores what was there") from None
            raise
        (temp / _JOURNAL).unlink()  # before what it speaks of


def _save(real: Path, temp: Path, names: Collection[str]) -> None:
    """Keep the files of ``real`` in ``temp``; then write the journal, which says that they are about to change."""
    (temp / _OLD).mkdir()
    (temp / _KEPT).mkdir()
    added = []
    for name in sorted(names):
        if not os.path.lexists(real / name):
            added.append(name)
            continue
        try:
            os.link(real / name, temp / _OLD / name, follow_symlinks=False)
        except OSError:  # a file system without hard links
            shutil.copy2(real / name, temp / _OLD / name, follow_symlinks=False)
    _sync_folder(temp / _OLD)
    _replace_file(temp / _JOURNAL, json.dumps(added).encode())


def _roll_back(real: Path, temp: Path) -> None:
    """Undo a replacement that its journal says was under way.  May itself be killed and begun again."""
    added = json.loads((temp / _JOURNAL).read_bytes())
    for name in added:
        if _is_file_name(name):
            (real / name).unlink(missing_ok=True)
    for saved in sorted((temp / _OLD).iterdir(), key=lambda p: p.name == MANIFEST):
        os.replace(saved, real / saved.name)
    for kept in (temp / _KEPT).iterdir():
        if not os.path.lexists(real / kept.name):
            os.rename(kept, real / kept.name)
    _sync_folder(real)
    (temp / _JOURNAL).unlink()


def recover(folder: Path) -> None:
    """Roll back what a killed write left half done inside ``folder``, and remove its traces.  Not while one writes."""
    with os.scandir(folder) as scan:
        found = [Path(e.path) for e in scan if _STAGED.fullmatch(e.name)]
    for temp in found:
        if not _is_dead(temp, alone=True):
            continue
        with _uninterrupted():
            if temp.is_dir() and (temp / _JOURNAL).is_file():
                with contextlib.suppress(ValueError, TypeError):  # a journal that we did not write
                    _roll_back(folder, temp)
            _remove(temp)


# -- one file ----------------------------------------------------------------------------------------------------------
def atomic_write(path: str | Path, content: str | bytes) -> Path:
    """Make ``path`` a file of ``content``, whole, or leave it as it was.  Folders that are missing are made.

    Pipes and devices (``/dev/stdout``) are written to directly.  OutputError says why it cannot be written.
    """
    path = Path(path)
    blob = content.encode("utf-8", "replace") if isinstance(content, str) else bytes(content)
    try:
        if path.is_dir():
            raise UsageError("it is a folder, and a file is to be written", str(path), "give the name of a file")
        if str(path).startswith(("/dev/", "/proc/")) or (path.exists() and not path.is_file()):
            with open(path, "wb") as file:
                file.write(blob)
            return path
        real = Path(os.path.realpath(path))
        _make_folders(real.parent, [])
        _clean(real.parent, real.name)
        _replace_file(real, blob)
    except OSError as error:
        raise _cannot_write(error, path) from None
    return path


def _replace_file(path: Path, blob: bytes) -> None:
    temp = _staging_name(path.parent, path.name)
    with _uninterrupted(), contextlib.ExitStack() as undo:
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        undo.callback(_remove, temp)
        undo.callback(os.close, fd)
        _flock(fd)
        if path.is_file():
            with contextlib.suppress(OSError):
                os.fchmod(fd, stat.S_IMODE(path.stat().st_mode))
        with open(fd, "wb", closefd=False) as file:
            file.write(blob)
        os.fsync(fd)
        os.replace(temp, path)
        _sync_folder(path.parent)


# -- means -------------------------------------------------------------------------------------------------------------
def _staging_name(folder: Path, name: str) -> Path:
    return folder / f".{name[:50]}.genn-{os.getpid()}-{secrets.token_hex(4)}"


def _own(folder: Path) -> int:
    """A descriptor of ``folder`` whose lock tells others that its owner lives."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _flock(fd)
    return fd


def _flock(fd: int) -> bool | None:
    """Take the lock of an open file: True, or False if another holds it, or None where there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _lock(real: Path) -> int | None:
    """Keep other writers away from ``real``: a lock on the folder it lies in, which leaves no file behind."""
    for folder in (real.parent, real):
        with contextlib.suppress(OSError):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            break
    else:
        return None
    try:
        end = time.monotonic() + _LOCK_WAIT
        while _flock(fd) is False:
            if time.monotonic() > end:
                raise UsageError("another genn has been writing there for a minute", str(real),
                                 "wait for it or end it, then run the command again")
            time.sleep(0.01)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_dead(path: Path, *, alone: bool = False) -> bool:
    """Whether the process that was writing ``path`` is gone.  ``alone``: nobody begins to write there just now."""
    match = _STAGED.fullmatch(path.name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        free = _flock(fd)
        age = time.time() - os.fstat(fd).st_ctime
    finally:
        os.close(fd)
    if free is False or match is None:
        return False
    if free and alone:
        return True
    try:
        os.kill(int(match[1]), 0)
        gone = False
    except (ProcessLookupError, OverflowError):
        gone = True
    except PermissionError:
        gone = False
    if free is None:  # without locks, a number may be that of a process on another machine
        return gone and age > 3600
    return gone or age > 60  # the number may have been given anew


def _clean(folder: Path, name: str) -> None:
    """Remove what dead writers of ``name`` left in ``folder``."""
    prefix = f".{name[:50]}.genn-"
    with contextlib.suppress(OSError):
        with os.scandir(folder) as scan:
            found = [Path(e.path) for e in scan if e.name.startswith(prefix) and _STAGED.fullmatch(e.name)]
        for path in found:
            if _is_dead(path):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make ``folder`` and those it lies in; what is made is added to ``made``."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    with _uninterrupted():
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                made.append(path)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EROFS):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the end of the block, or until the block calls what it is given: a place to stop at."""
    handler = signal.getsignal(signal.SIGINT)
    pending: list[int] = []

    def interruptible() -> None:
        if pending:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or handler in (None, signal.SIG_IGN):
        yield interruptible  # only the main thread is interrupted
        return
    signal.signal(signal.SIGINT, lambda number, frame: pending.append(number))
    try:
        yield interruptible
    finally:
        signal.signal(signal.SIGINT, handler)
        if pending:
            signal.raise_signal(signal.SIGINT)


def _cannot_write(error: OSError, where: Path) -> OutputError:
    """What the system said, as a sentence."""
    unchanged = "nothing was changed"
    said = {
        errno.ENOSPC: ("the disk is full", f"free some space and run the command again; {unchanged}"),
        errno.EDQUOT: ("your share of the disk is used up", f"free some space and run the command again; {unchanged}"),
        errno.EFBIG: ("a file would exceed the allowed size", f"raise the limit (ulimit -f); {unchanged}"),
        errno.EACCES: ("permission denied", f"choose a folder that you may write to; {unchanged}"),
        errno.EPERM: ("permission denied", f"choose a folder that you may write to; {unchanged}"),
        errno.EROFS: ("the file system is read-only", f"choose a folder elsewhere; {unchanged}"),
        errno.ENOTDIR: ("part of the path is a file, not a folder", f"choose another folder; {unchanged}"),
        errno.ENAMETOOLONG: ("the name is too long", f"choose a shorter one; {unchanged}"),
        errno.ELOOP: ("symbolic links lead in a circle", f"choose another folder; {unchanged}"),
    }
    what, fix = said.get(error.errno or 0, (f"cannot be written: {error.strerror or error}", unchanged))
    return OutputError(what, str(where), fix)


# -- reading a manifest ------------------------------------------------------------------------------------------------
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
_Symbol = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\Z", max_length=255)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]
_Word = Annotated[str, msgspec.Meta(max_length=64)]
_Shape = Annotated[list[_Bytes], msgspec.Meta(max_length=16)]
_Bits = Annotated[int, msgspec.Meta(ge=1, le=32)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Arena(msgspec.Struct):
    bytes: _Bytes
    align: Annotated[int, msgspec.Meta(ge=1, le=4096)]


class _Value(msgspec.Struct, kw_only=True):
    """A tensor in the arena."""

    shape: _Shape
    dtype: _Word
    offset: _Bytes
    bytes: _Bytes
    name: _Text | None = None
    tensor: _Text | None = None
    torch_shape: _Shape | None = None
    layout: _Shape | None = None
    bits: _Bits | None = None
    scale: float | None = None
    zero_point: _Int32 | None = None


class _Source(msgspec.Struct):
    fqn: _Text | None = None
    file: _Text | None = None
    line: _Count | None = None


class _Layer(msgspec.Struct, kw_only=True):
    index: _Count
    name: _Text
    op: _Word
    symbol: _Symbol
    weights: _Symbol | None
    constants: _Symbol | None
    weight_bytes: _Count
    scheme: _Word | None = None
    sparse: bool | None = None
    macs: _Count | None = None
    in_shapes: list[_Shape] | None = None
    out_shapes: list[_Shape] | None = None
    arena_live: _Count | None = None
    source: _Source | None = None
    outputs: list[_Value] = []


class _Schema(msgspec.Struct):
    schema: int


class _Manifest(msgspec.Struct, kw_only=True):
    generator: _Text
    name: _Symbol
    scheme: _Word
    arena: _Arena
    inputs: list[_Value]
    outputs: list[_Value]
    layers: list[_Layer]
    files: dict[str, _Hash]
    model_sha256: _Text | None = None
    options: dict[str, Any] | None = None


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The genn.json of a project folder, as it stands, every field that architecture.md names checked.

    UsageError if there is no such folder or it is no project of ours; ModelError if the manifest cannot be trusted.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    data = _read_bounded(path)
    fix = "convert the model again"
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            raise _Untrusted(f"it has schema {schema}, this genn reads schema {SCHEMA}")
        _check(msgspec.json.decode(data, type=_Manifest))
        return msgspec.json.decode(data)
    except msgspec.ValidationError as error:
        what, _, field = str(error).partition(" - at `$.")
        raise ModelError(f"{what} in {field.rstrip('`')}" if field else what, str(path), fix) from None
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        what = str(error) if isinstance(error, _Untrusted) else "it is no JSON"
        raise ModelError(what, str(path), fix) from None


class _Untrusted(ValueError):
    """A value of a manifest that contradicts another or the rules."""


def _read_bounded(path: Path) -> bytes:
    """The bytes of a genn.json that is a file of bearable size."""
    folder, fix = path.parent, "give the folder that genn convert wrote"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not os.path.lexists(folder):
            raise UsageError("no such folder", str(folder), fix) from None
        if not folder.is_dir():
            raise UsageError("it is a file, not the folder of a project", str(folder), fix) from None
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise UsageError(f"it is no project of genn, for it has no {MANIFEST}", str(folder), fix) from None
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"it is no project of genn, for its {MANIFEST} is no file", str(folder), fix)
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_MANIFEST + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path)) from None
    finally:
        os.close(fd)
    if len(data) > MAX_MANIFEST:
        raise ModelError(f"it is larger than {MAX_MANIFEST >> 20} MB", str(path), "convert the model again")
    return data


def _check(m: _Manifest) -> None:
    """What types cannot say.  _Untrusted names the field."""
    if not m.generator.startswith(GENERATOR):
        raise _Untrusted(f"it was written by {m.generator[:40]!r}, not by {GENERATOR}")
    if m.name in C_KEYWORDS:
        raise _Untrusted(f"its name {m.name!r} is a keyword of C")
    if m.arena.align & (m.arena.align - 1):
        raise _Untrusted(f"arena.align is {m.arena.align}, no power of two")
    for name in m.files:
        if not _is_file_name(name) or name == MANIFEST:
            raise _Untrusted(f"files lists {name[:40]!r}, which cannot be a file of the project")
    symbols = [layer.symbol for layer in m.layers]
    if len(set(symbols)) < len(symbols):
        raise _Untrusted("two layers have the same symbol")
    for kind, values in (("inputs", m.inputs), ("outputs", m.outputs)):
        for i, value in enumerate(values):
            if value.name is None:
                raise _Untrusted(f"{kind}[{i}] has no name")
            _check_value(value, f"{kind}[{i}]", m.arena.bytes)
    for i, layer in enumerate(m.layers):
        if layer.index != i:
            raise _Untrusted(f"layers[{i}] has the index {layer.index}")
        for k, value in enumerate(layer.outputs):
            if value.tensor is None:
                raise _Untrusted(f"layers[{i}].outputs[{k}] names no tensor")
            _check_value(value, f"layers[{i}].outputs[{k}]", m.arena.bytes)


def _check_value(v: _Value, where: str, arena: int) -> None:
    element = _ELEMENT_BYTES.get(v.dtype)
    if element is None:
        raise _Untrusted(f"{where} has the unknown type {v.dtype!r}")
    if v.bytes != math.prod(v.shape) * element:
        raise _Untrusted(f"{where} has {v.bytes} bytes, which is not what its shape and type say")
    if v.offset + v.bytes > arena:
        raise _Untrusted(f"{where} lies outside the arena")
    if v.layout and sorted(v.layout) != list(range(len(v.shape))):
        raise _Untrusted(f"{where} has a layout that is no permutation of its axes")
    if v.torch_shape is not None and math.prod(v.torch_shape) != math.prod(v.shape):
        raise _Untrusted(f"{where} has a torch_shape of another size than its shape")
    if v.scale is not None and not 0 < v.scale < math.inf:
        raise _Untrusted(f"{where} has the scale {v.scale}, which is not above zero")


def check_files(folder: str | Path, manifest: Mapping[str, Any]) -> list[str]:
    """The names of files that the manifest lists and that are missing or changed, in its order."""
    bad = []
    for name, digest in manifest["files"].items():
        try:
            if not _is_file_name(name) or not stat.S_ISREG((Path(folder) / name).lstat().st_mode):
                raise FileNotFoundError
            with open(Path(folder) / name, "rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            same = False
        if not same:
            bad.append(name)
    return bad
