"""One file or folder on the disk, whole or not at all: what is under way, who owns it, what a dead owner left.

``atomic_write`` is what reports are written with; the rest are the steps of ``genn.project``.  What is under way is
named ``.NAME.genn-PID-RANDOM`` and locked by its owner; the next write of NAME removes what a dead owner left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from genn.errors import UsageError

STAGED = re.compile(r"\..*\.genn-([0-9]+)-[0-9a-f]{8}", re.DOTALL)  # the name of what is under way
_LOCK_WAIT = 60.0  # seconds
_RENAME_EXCHANGE = 2


class OutputError(UsageError):
    """Output cannot be written: the disk is full, permission is denied.  What was there before is unchanged."""


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
        make_folders(real.parent, [])
        clean(real.parent, real.name)
        replace_file(real, blob)
    except OSError as error:
        raise cannot_write(error, path) from None
    return path


def replace_file(path: Path, blob: bytes) -> None:
    temp = staging_name(path.parent, path.name)
    with uninterrupted(), contextlib.ExitStack() as undo:
        fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        undo.callback(remove, temp)
        undo.callback(os.close, fd)
        _flock(fd)
        if path.is_file():
            with contextlib.suppress(OSError):
                os.fchmod(fd, stat.S_IMODE(path.stat().st_mode))
        with open(fd, "wb", closefd=False) as file:
            file.write(blob)
        os.fsync(fd)
        os.replace(temp, path)
        sync_folder(path.parent)


# -- steps -------------------------------------------------------------------------------------------------------------
def staging_name(folder: Path, name: str) -> Path:
    return folder / f".{name[:50]}.genn-{os.getpid()}-{secrets.token_hex(4)}"


def own(folder: Path) -> int:
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


def lock(real: Path) -> int | None:
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


def is_dead(path: Path, *, alone: bool = False) -> bool:
    """Whether the process that was writing ``path`` is gone.  ``alone``: nobody begins to write there just now."""
    match = STAGED.fullmatch(path.name)
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


def clean(folder: Path, name: str) -> None:
    """Remove what dead writers of ``name`` left in ``folder``."""
    prefix = f".{name[:50]}.genn-"
    with contextlib.suppress(OSError):
        with os.scandir(folder) as scan:
            found = [Path(e.path) for e in scan if e.name.startswith(prefix) and STAGED.fullmatch(e.name)]
        for path in found:
            if is_dead(path):
                remove(path)


def remove(path: Path) -> None:
    """Remove a file or folder, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def make_folders(folder: Path, made: list[Path]) -> None:
    """Make ``folder`` and those it lies in; what is made is added to ``made``."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    with uninterrupted():
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                made.append(path)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EROFS):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def uninterrupted() -> Iterator[Callable[[], None]]:
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


def cannot_write(error: OSError, where: Path) -> OutputError:
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


def exchange(a: Path, b: Path) -> None:
    """Let two paths change places in one step (Linux's renameat2).  OSError where that is not to be had."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    call.restype = ctypes.c_int
    if call(-100, os.fsencode(a), -100, os.fsencode(b), _RENAME_EXCHANGE) != 0:  # -100: AT_FDCWD
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
