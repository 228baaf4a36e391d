"""Killed, interrupted or raced, a write leaves one whole project: the new one or the old."""

# ruff: noqa: F401, F811  (fixtures are imported, and asked for by name)
from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.process
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from genn import atomic, project
from genn.atomic import OutputError
from genn.errors import UsageError
from genn.manifest import check_files, read_raw
from genn.project import write_project
from tests.project_tools import manifest, no_exchange, nothing_beside, out, version, way, whole


# -- interruption ------------------------------------------------------------------------------------------------------
def writes_for_ever(out: Path, ready: int) -> None:
    interrupts = []

    def interrupt(*_: object) -> None:  # an exception that is raised in a destructor is lost, this note is not
        interrupts.append(True)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        os.write(ready, b"!")
        while not interrupts:
            for tag in "AB":
                write_project(version(tag), manifest(), out)
    except KeyboardInterrupt:
        pass
    os._exit(130)


def child(out: Path) -> multiprocessing.process.BaseProcess:
    """A process that rewrites ``out`` again and again, until Ctrl-C makes it end with 130."""
    told, ready = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=writes_for_ever, args=(out, ready))
    process.start()
    os.close(ready)
    assert os.read(told, 1) == b"!"
    os.close(told)
    return process


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment_a_whole_project_remains(out: Path, way: str, sent: signal.Signals) -> None:
    write_project(version("A"), manifest(), out)
    start, cycle = time.perf_counter(), 4
    for i in range(cycle):
        write_project(version("BA"[i % 2]), manifest(), out)
    cycle_time = (time.perf_counter() - start) / cycle
    rng = random.Random(sent)
    left_over = 0
    for _ in range(30):
        process = child(out)
        assert process.pid is not None
        time.sleep(rng.uniform(0, 3 * cycle_time))
        os.kill(process.pid, sent)
        process.join(20)
        code = process.exitcode
        process.kill()
        assert code == (130 if sent == signal.SIGINT else -signal.SIGKILL)
        beside = [p for p in out.parent.iterdir() if p != out] + list(out.glob(".*"))
        left_over += len(beside)
        if sent == signal.SIGINT:
            assert beside == []
        elif way == "one by one":
            project.recover(out)  # what the next write does first
        assert whole(out) in "AB"
    if sent == signal.SIGKILL:
        assert left_over, "no kill met a write under way: the test proves nothing"
    write_project(version("C"), manifest(), out)
    assert whole(out) == "C"
    nothing_beside(out)


@pytest.mark.parametrize("step", [1, 2, 3, 25, 52, 53])
@pytest.mark.parametrize("then", ["roll back", "write"])
def test_killed_while_replacing_one_by_one(out: Path, step: int, then: str) -> None:
    """A process that ends at the ``step``-th renaming leaves a mixture, which the next write takes back."""
    write_project(version("A"), manifest(), out)
    (out / "build").mkdir()
    pid = os.fork()
    if pid == 0:
        atomic.exchange = no_exchange
        left, real_replace = [step], os.replace

        def replace(a: Any, b: Any) -> None:
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            real_replace(a, b)

        os.replace = replace  # type: ignore[assignment]
        try:
            write_project(version("B"), manifest(), out)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    if step > 2:
        assert check_files(out, read_raw(out)) != []
    if then == "roll back":
        project.recover(out)
        assert whole(out, build=True) == "A"
    else:
        write_project(version("C"), manifest(), out)
        assert whole(out) == "C"
    nothing_beside(out)


def test_killed_while_tidying_up_after_replacing_one_by_one(out: Path) -> None:
    write_project(version("A"), manifest(), out)
    pid = os.fork()
    if pid == 0:

        def half(path: Path) -> None:
            if (path / ".old" / "net_0.c").exists():
                (path / ".old" / "net_0.c").unlink()
                os._exit(9)

        atomic.exchange, atomic.remove = no_exchange, half
        try:
            write_project(version("B"), manifest(), out)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    project.recover(out)
    assert whole(out) == "B"


def test_a_rollback_that_fails_is_done_by_the_next_write(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(version("A"), manifest(), out)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "exchange", no_exchange)
        left, real_replace = [30], os.replace

        def replace(a: Any, b: Any) -> None:
            left[0] -= 1
            if left[0] <= 0:
                raise OSError(errno.EIO, "the disk fails")
            real_replace(a, b)

        patch.setattr(os, "replace", replace)
        with pytest.raises(OutputError, match=r"half way.*the disk fails.*run the command again"):
            write_project(version("B"), manifest(), out)
    assert check_files(out, read_raw(out)) != []
    project.recover(out)
    assert whole(out) == "A"
    nothing_beside(out)


def test_ctrl_c_while_replacing_waits_until_a_whole_project_lies_there(
    out: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(version("A"), manifest(), out)
    sync = atomic.sync_folder

    def interrupt(folder: Path) -> None:
        if folder in (out, out.parent):  # after the swap, after the last file
            signal.raise_signal(signal.SIGINT)
        sync(folder)

    monkeypatch.setattr(atomic, "sync_folder", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_project(version("B"), manifest(), out)
    assert whole(out) == "B"
    nothing_beside(out)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_writing_leaves_the_old(out: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_fsync = os.fsync

    def interrupt(fd: int) -> None:
        real_fsync(fd)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_project(version("A"), manifest(), out.parent / "new" / "net")
    assert list(out.parent.iterdir()) == []
    monkeypatch.setattr(os, "fsync", real_fsync)
    write_project(version("A"), manifest(), out)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_project(version("B"), manifest(), out)
    assert whole(out) == "A"
    nothing_beside(out)


def test_only_what_a_dead_owner_left_is_removed(out: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = out.parent / f".net.genn-{dead.pid}-0123abcd"
    living = out.parent / f".net.genn-{os.getpid()}-0123abcd"
    other = out.parent / f".other.genn-{dead.pid}-0123abcd"
    unlike = out.parent / ".net.genn-mine"
    for folder in (left, living, other, unlike):
        folder.mkdir()
        (folder / "net.c").write_text("half")
    write_project(version("A"), manifest(), out)
    assert not left.exists() and living.exists() and other.exists() and unlike.exists()


# -- several writers ---------------------------------------------------------------------------------------------------
def test_writers_at_the_same_time_leave_one_whole_project(out: Path, way: str) -> None:
    """With the exchange a whole project lies there at every moment: all writers are stopped and it is looked at."""
    write_project(version("A"), manifest(), out)
    writers = [child(out) for _ in range(3)]
    pids = [w.pid for w in writers if w.pid is not None]
    try:
        for _ in range(25):
            time.sleep(0.03)
            if way == "exchange":
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                for pid in pids:
                    os.waitpid(pid, os.WUNTRACED)
                assert whole(out) in "AB"
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
        assert [w.exitcode for w in writers] == [None] * 3
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        for w in writers:
            w.join(20)
        assert [w.exitcode for w in writers] == [130] * 3
    finally:
        for w in writers:
            w.kill()
            w.join()
    assert whole(out) in "AB"
    nothing_beside(out)


def test_threads_at_the_same_time(out: Path) -> None:
    errors: list[BaseException] = []

    def write(tag: str) -> None:
        try:
            for _ in range(4):
                write_project(version(tag), manifest(), out)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(tag,)) for tag in "ABC"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == [] and whole(out) in "ABC"
    nothing_beside(out)


def test_a_writer_that_never_ends_is_named(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = atomic.lock(out)
    assert held is not None
    try:
        monkeypatch.setattr(atomic, "_LOCK_WAIT", 0.1)
        with pytest.raises(UsageError, match="another genn has been writing there"):
            write_project(version("A"), manifest(), out)
    finally:
        os.close(held)
    write_project(version("A"), manifest(), out)
    assert whole(out) == "A"
