"""A project that is half written looks like one that works, so this file writes a folder whole or not at all.

``write_project`` writes beside the target, syncs, and swaps the two folders in one step of the kernel; ``genn.json``,
the manifest with a hash of every file, is what makes a folder ours.  Whatever interrupts a write, a full disk, Ctrl-C
or ``kill -9``, what was there before stays.  Where folders cannot be swapped (the file system cannot, the folder is a
mount point or the shell stands in it), files are replaced one by one, the manifest last, with a journal from which the
next write rolls back what a kill left half done.

What a compiler puts into the folder (``build``, ``a.out``, ``*.o``) never stands in the way of a write.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from genn import atomic
from genn.atomic import OutputError
from genn.errors import GennError, ModelError, UsageError
from genn.manifest import GENERATOR, MANIFEST, MAX_MANIFEST, SCHEMA, check_files, is_file_name, listed_files

_PRODUCT = re.compile(r"a\.out|.+\.o", re.DOTALL)  # files of ``cc *.c``
_JOURNAL, _OLD, _KEPT = ".journal", ".old", ".kept"  # inside a staging folder; no file of a project has such a name
_CANNOT_SWAP = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EBUSY, errno.EPERM, errno.EACCES,
                errno.EROFS}


# -- writing a project -------------------------------------------------------------------------------------------------
def write_project(files: Mapping[str, str | bytes], manifest: Mapping[str, Any], out: str | Path, *,
                  keep: Collection[str] = ("build",), force: bool = False) -> Path:
    """Make ``out`` the project of ``files`` and ``manifest``, whole, or leave it as it was; returns ``out``.

    ``out`` may be absent, empty, or a project that genn wrote.  ``keep`` names the folders of build products: they,
    ``a.out`` and ``*.o`` stay if every file is unchanged, and go otherwise.  ``force`` overwrites generated files that
    the user changed; other files that genn did not write are never removed.  ``schema`` and ``files`` of the manifest
    are filled in here.  UsageError (OutputError where the system refuses) says what is in the way.
    """
    blobs = _encode(files, manifest, keep)
    out = Path(out)
    real = Path(os.path.realpath(out))
    made: list[Path] = []
    done = False
    try:
        atomic.make_folders(real.parent, made)
        lock = atomic.lock(real)
        try:
            _write(real, out, blobs, keep, force)
        finally:
            if lock is not None:
                os.close(lock)
        done = True
    except OSError as error:
        raise atomic.cannot_write(error, out) from None
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
        if not is_file_name(name) or name.casefold() in seen or _PRODUCT.fullmatch(name.casefold()):
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


def _write(real: Path, out: Path, blobs: dict[str, bytes], keep: Collection[str], force: bool) -> None:
    """``write_project`` with the lock held; ``real`` is ``out`` without symbolic links."""
    atomic.clean(real.parent, real.name)
    if real.is_dir():
        recover(real)
    old = _inspect(real, out, keep, force)
    if old is not None and _unchanged(real, old, blobs):
        if not _holds(real / MANIFEST, blobs[MANIFEST]):
            atomic.replace_file(real / MANIFEST, blobs[MANIFEST])
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
        entries = {e.name: _is_product(e, keep) for e in scan if not atomic.STAGED.fullmatch(e.name)}
    if not entries:
        return {}
    listed = listed_files(real)
    if listed is None:
        raise UsageError(f"the folder holds what genn did not write ({_few(sorted(entries))})", str(out),
                         "choose another folder, or remove this one")
    foreign = sorted(e for e, product in entries.items() if e != MANIFEST and e not in listed and not product)
    if foreign:
        raise UsageError(f"beside the generated files the folder holds others ({_few(foreign)})", str(out),
                         "move them away, or choose another folder")
    changed = [n for n in check_files(real, {"files": listed}) if os.path.lexists(real / n)]
    if changed and not force:
        raise UsageError(f"generated files were changed by hand ({_few(changed)})", str(out),
                         "choose another folder, or overwrite them with --force")
    return listed


def _is_product(entry: os.DirEntry[str], keep: Collection[str]) -> bool:
    """Whether a compiler made it: what a rewrite may drop."""
    if entry.is_dir():
        return entry.name in keep
    return bool(_PRODUCT.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)


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
    temp = atomic.staging_name(real.parent, real.name)
    with atomic.uninterrupted() as interruptible, contextlib.ExitStack() as undo:
        os.mkdir(temp)
        undo.callback(atomic.remove, temp)
        undo.callback(os.close, atomic.own(temp))
        if real.is_dir():
            os.chmod(temp, stat.S_IMODE(real.stat().st_mode))
        _fill(temp, blobs, interruptible)
        try:
            os.rename(temp, real)  # onto nothing, or onto an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            atomic.exchange(temp, real)
        atomic.sync_folder(real.parent)


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
    atomic.sync_folder(folder)
    interruptible()


# -- where folders cannot be swapped -----------------------------------------------------------------------------------
def _replace_files(real: Path, blobs: dict[str, bytes], old: Sequence[str], keep: Collection[str]) -> None:
    """Write ``blobs`` inside ``real``, save what will go, then replace file by file, the manifest last."""
    temp = atomic.staging_name(real, real.name)
    with atomic.uninterrupted() as interruptible, contextlib.ExitStack() as undo:
        os.mkdir(temp)
        undo.callback(atomic.remove, temp)
        owner = atomic.own(temp)
        undo.callback(os.close, owner)
        _fill(temp, blobs, interruptible)
        with os.scandir(real) as scan:
            products = [e.name for e in scan if e.name not in old and _is_product(e, keep)]
        _save(real, temp, {*blobs, *old})
        try:
            for name in products:
                os.rename(real / name, temp / _KEPT / name)
            for name in old:
                if name not in blobs:
                    (real / name).unlink(missing_ok=True)
            for name in blobs:  # the manifest is the last of them
                os.replace(temp / name, real / name)
            atomic.sync_folder(real)
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
    atomic.sync_folder(temp / _OLD)
    atomic.replace_file(temp / _JOURNAL, json.dumps(added).encode())


def _roll_back(real: Path, temp: Path) -> None:
    """Undo a replacement that its journal says was under way.  May itself be killed and begun again."""
    added = json.loads((temp / _JOURNAL).read_bytes())
    for name in added:
        if is_file_name(name):
            (real / name).unlink(missing_ok=True)
    for saved in sorted((temp / _OLD).iterdir(), key=lambda p: p.name == MANIFEST):
        os.replace(saved, real / saved.name)
    for kept in (temp / _KEPT).iterdir():
        if not os.path.lexists(real / kept.name):
            os.rename(kept, real / kept.name)
    atomic.sync_folder(real)
    (temp / _JOURNAL).unlink()


def recover(folder: Path) -> None:
    """Roll back what a killed write left half done inside ``folder``, and remove its traces.  Not while one writes."""
    with os.scandir(folder) as scan:
        found = [Path(e.path) for e in scan if atomic.STAGED.fullmatch(e.name)]
    for temp in found:
        if not atomic.is_dead(temp, alone=True):
            continue
        with atomic.uninterrupted():
            if temp.is_dir() and (temp / _JOURNAL).is_file():
                with contextlib.suppress(ValueError, TypeError):  # a journal that we did not write
                    _roll_back(folder, temp)
            atomic.remove(temp)
