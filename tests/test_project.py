"""Whatever happens while a project is written, one whole project lies there: each mishap here is made for real."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import multiprocessing
import multiprocessing.process
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genn import atomic, project
from genn.atomic import OutputError, atomic_write
from genn.errors import GennError, UsageError
from genn.manifest import check_files, read_raw
from genn.project import write_project

SHA = "0" * 64


def manifest(**changes: Any) -> dict[str, Any]:
    value = {"name": "x", "shape": [1, 4], "torch_shape": [1, 4], "layout": [0, 1], "dtype": "int8", "bits": 8,
             "scale": 0.5, "zero_point": -3, "offset": 0, "bytes": 4}
    layer = {"index": 0, "name": "fc", "op": "linear", "symbol": "net_l00_linear", "weights": "net_l00_w",
             "constants": None, "scheme": "int8", "sparse": False, "macs": 8, "weight_bytes": 8, "in_shapes": [[1, 4]],
             "out_shapes": [[1, 2]], "arena_live": 6, "source": {"fqn": "fc", "file": "model.py", "line": 3},
             "outputs": [{"tensor": "y", "shape": [1, 2], "dtype": "int16", "bits": 16, "scale": 1, "zero_point": 0,
                          "offset": 4, "bytes": 4}]}
    return {"schema": 1, "generator": "genn-mcu 0.1.0", "name": "net", "scheme": "int8", "model_sha256": SHA,
            "options": {}, "arena": {"bytes": 8, "align": 8}, "inputs": [value], "outputs": [{**value, "offset": 4}],
            "layers": [layer], **changes}


def version(tag: str, count: int = 50) -> dict[str, str | bytes]:
    """The files of one version of a project: all differ from another's, and one is its own."""
    return {f"net_{i}.c": f"/* {tag} {i} */\n" * 100 for i in range(count)} | {f"only_{tag}.h": tag}


def whole(out: Path, *, build: bool = False) -> str:
    """The version that lies in ``out``; fails unless it is exactly one, with nothing beside it."""
    found = read_raw(out)
    assert check_files(out, found) == []
    extra = {p.name for p in out.iterdir()} - set(found["files"]) - {"genn.json"}
    assert extra == ({"build"} if build else set())
    return next(n for n in found["files"] if n.startswith("only_"))[5:-2]


def nothing_beside(out: Path) -> None:
    assert [p.name for p in out.parent.iterdir() if p.name != out.name] == []


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """Where a project may be written: in a folder with nothing beside it, in memory where there is such a file system,
    so that hundreds of writes do not wait for a disk."""
    shm = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=shm if os.access(shm, os.W_OK) else tmp_path))
    yield place / "net"
    shutil.rmtree(place)


@pytest.fixture(params=["exchange", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing: the kernel's swap, and file by file where the file system has none."""
    if request.param == "one by one":
        monkeypatch.setattr(atomic, "exchange", no_exchange)
    return request.param


def no_exchange(a: Path, b: Path) -> None:
    raise OSError(errno.EINVAL, "no exchange here")


# -- what lies at the target -------------------------------------------------------------------------------------------
def test_writes_where_nothing_or_an_empty_folder_is(out: Path) -> None:
    deep = out / "a" / "b"
    assert write_project(version("A"), manifest(), deep) == deep
    assert whole(deep) == "A"
    empty = out / "empty"
    empty.mkdir(mode=0o750)
    write_project(version("A"), manifest(), str(empty))
    assert whole(empty) == "A" and empty.stat().st_mode & 0o777 == 0o750
    umask = os.umask(0)
    os.umask(umask)
    assert (empty / "net_0.c").stat().st_mode & 0o777 == 0o666 & ~umask
    assert list(json.loads((empty / "genn.json").read_text())["files"]) == list(version("A"))
    nothing_beside(out)


def test_replaces_its_own_and_drops_the_build_folder_only_if_files_changed(tmp_path: Path, way: str) -> None:
    out = tmp_path / "place" / "net"
    write_project(version("A"), manifest(), out)
    (out / "build" / "m0").mkdir(parents=True)
    (out / "build" / "m0" / "net.elf").write_bytes(b"elf")
    stamp = (out / "net_0.c").stat().st_mtime_ns
    write_project(version("A"), manifest(), out)
    assert whole(out, build=True) == "A" and (out / "net_0.c").stat().st_mtime_ns == stamp
    write_project(version("A"), manifest(options={"seed": 1}), out)
    assert whole(out, build=True) == "A" and read_raw(out)["options"] == {"seed": 1}
    (out / "net_3.c").unlink()
    (out / "net_4.c").unlink()
    write_project(version("B", 60), manifest(), out)
    assert whole(out) == "B"
    write_project(version("A", 2), manifest(), out)
    assert whole(out) == "A"
    nothing_beside(out)


def test_what_cc_leaves_in_the_folder_is_no_obstacle(out: Path, way: str) -> None:
    write_project(version("A"), manifest(), out)
    products = ["a.out", "main.o"]
    for name in products:
        (out / name).write_bytes(b"\x7fELF")
    write_project(version("A"), manifest(options={"seed": 1}), out)
    assert all((out / name).read_bytes() == b"\x7fELF" for name in products)
    write_project(version("B"), manifest(), out)
    assert whole(out) == "B"
    for name in ("a.out", "x.o"):  # none of a compiler's
        (out / name).mkdir()
    (out / "y.o").symlink_to("a.out")
    with pytest.raises(UsageError, match=r"holds others \(a.out, x.o, y.o\)"):
        write_project(version("C"), manifest(), out, force=True)
    nothing_beside(out)


def test_refuses_a_folder_that_is_not_ours(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    for content in (None, "{", "[]", '{"generator": "cmake"}', '{"generator": "genn-mcu", "files": {"../x": "0"}}'):
        if content is not None:
            (out / "genn.json").write_text(content)
        with pytest.raises(UsageError, match=r"net: the folder holds what genn did not write .*; choose another"):
            write_project(version("A"), manifest(), out, force=True)
    assert (out / "thesis.tex").read_text() == "years of work"
    nothing_beside(out)


def test_refuses_foreign_files_in_a_folder_of_ours(out: Path) -> None:
    write_project(version("A"), manifest(), out)
    (out / "notes.txt").write_text("mine")
    (out / "src").mkdir()
    for force in (False, True):
        with pytest.raises(UsageError, match=r"holds others \(notes.txt, src\); move them away") as caught:
            write_project(version("B"), manifest(), out, force=force)
        assert caught.value.exit_code == 2
    assert (out / "notes.txt").read_text() == "mine"
    assert read_raw(out)["files"].get("only_A.h")


def test_refuses_to_overwrite_what_the_user_changed_unless_forced(out: Path, way: str) -> None:
    write_project(version("A"), manifest(), out)
    (out / "net_7.c").write_text("tuned by hand")
    (out / "net_8.c").unlink()
    (out / "net_8.c").symlink_to("/etc/passwd")
    for files in (version("A"), version("B")):
        with pytest.raises(UsageError, match=r"changed by hand \(net_7.c, net_8.c\).*--force"):
            write_project(files, manifest(), out)
    assert (out / "net_7.c").read_text() == "tuned by hand"
    assert check_files(out, read_raw(out)) == ["net_7.c", "net_8.c"]
    write_project(version("B"), manifest(), out, force=True)
    assert whole(out) == "B"
    nothing_beside(out)


def test_a_file_where_a_folder_should_be(out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(UsageError, match=r"net: it is a file, and a folder is to be written; choose another"):
        write_project(version("A"), manifest(), out)
    with pytest.raises(OutputError, match="part of the path is a file"):
        write_project(version("A"), manifest(), out / "deeper" / "net")
    assert out.read_text() == "a file"
    nothing_beside(out)


def test_a_symbolic_link_to_a_folder_stays_one(out: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(out)
    for tag in "AB":
        write_project(version(tag), manifest(), link)
        assert link.is_symlink() and whole(out) == tag
    nothing_beside(out)


def test_the_folder_one_stands_in_is_not_pulled_away(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out.mkdir()
    monkeypatch.chdir(out)
    inode = out.stat().st_ino
    for tag in "AB":
        write_project(version(tag), manifest(), Path("."))
        assert whole(out) == tag and out.stat().st_ino == inode


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "/etc/passwd", "a..b", "genn.json", "build",
                                  "a\0b", "a\nb", "-o", "ä.c", "x" * 300, "GENN.JSON", "a.out", "net.o"])
def test_file_names_are_checked(out: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a generated file"):
        write_project({"net.c": "", name: "x"}, manifest(), out)
    assert not out.exists()


def test_names_that_differ_in_case_only_are_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        write_project({"net.c": "", "Net.c": ""}, manifest(), out)


# -- what the system refuses -------------------------------------------------------------------------------------------
def refused(call: Callable[[], Any], match: str) -> None:
    with pytest.raises(OutputError, match=match) as caught:
        call()
    text = str(caught.value)
    assert caught.value.exit_code == 2 and "nothing was changed" in text and "\n" not in text and ".genn-" not in text


@contextlib.contextmanager
def tmpfs(size: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if mount.returncode:
            pytest.skip("a small file system can be mounted by root only")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        folder.rmdir()


@pytest.mark.skipif(shutil.which("mount") is None, reason="there is no mount")
def test_a_full_disk(way: str) -> None:
    with tmpfs(256 << 10) as disk:
        out = disk / "net"
        small: dict[str, str | bytes] = {"net.c": b"x" * 90_000, "only_A.h": "A"}
        write_project(small, manifest(), out)
        big: dict[str, str | bytes] = {"net.c": b"y" * 90_000, "more.c": b"y" * 190_000, "only_B.h": "B"}
        for target in (out, disk / "new" / "net"):
            refused(lambda target=target: write_project(big, manifest(), target), "the disk is full; free some space")
        refused(lambda: atomic_write(disk / "report.json", bytes(1 << 20)), "the disk is full")
        assert whole(out) == "A"
        nothing_beside(out)
        write_project({**small, "only_A.h": "2"}, manifest(), out)
        # The folder is itself the mount point now: it cannot be renamed.
    with tmpfs(256 << 10) as disk:
        for tag in "AB":
            write_project(version(tag, 5), manifest(), disk)
            assert whole(disk) == tag
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused(lambda: write_project(version("A"), manifest(), disk), "the file system is read-only")
        refused(lambda: write_project(version("A"), manifest(), disk / "n"), "the file system is read-only")
        refused(lambda: atomic_write(disk / "x.csv", "1"), "the file system is read-only")
        assert whole(disk) == "B"


def test_a_limit_on_the_size_of_files(out: Path, way: str) -> None:
    write_project(version("A"), manifest(), out)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        refused(lambda: write_project({**version("B"), "big.c": b"z" * 30_000}, manifest(), out), "exceed the allowed")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert whole(out) == "A"
    nothing_beside(out)


@contextlib.contextmanager
def nobody() -> Iterator[Path]:
    """A folder of one who is not root, and the rights of that one."""
    folder = Path(tempfile.mkdtemp())
    try:
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        yield folder
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_permission_denied() -> None:
    with nobody() as home:
        out = home / "place" / "net"
        write_project(version("A"), manifest(), out)
        out.chmod(0o555)
        out.parent.chmod(0o555)
        refused(lambda: write_project(version("B"), manifest(), out), "permission denied; choose a folder that you may")
        refused(lambda: write_project(version("B"), manifest(), out.parent / "a" / "b"), "permission denied")
        refused(lambda: atomic_write(out.parent / "x.csv", "1"), "permission denied")
        assert whole(out) == "A"
        nothing_beside(out)
        out.chmod(0o755)  # the folder may be written to, the one it lies in may not
        write_project(version("B"), manifest(), out)
        assert whole(out) == "B"
        out.parent.chmod(0o755)


def test_other_refusals_name_the_place(out: Path, tmp_path: Path) -> None:
    refused(lambda: write_project(version("A"), manifest(), out / ("n" * 300)), "the name is too long")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match="loop"):
        write_project(version("A"), manifest(), loop / "net")
    assert not out.exists()


@pytest.mark.parametrize("step", range(0, 120, 7))
def test_a_failure_at_any_step_of_one_by_one_is_rolled_back(
    out: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Renames and removals fail from the ``step``-th on, until rolling back."""
    monkeypatch.setattr(atomic, "exchange", no_exchange)
    write_project(version("A"), manifest(), out)
    (out / "build").mkdir()
    (out / "build" / "x").write_text("x")
    (out / "a.out").write_text("a")
    left = [step]
    back, real_replace = project._roll_back, os.replace

    def replace(a: Any, b: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "full")
        real_replace(a, b)

    def roll_back(*args: Any) -> None:
        left[0] = -1
        back(*args)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(project, "_roll_back", roll_back)
    if 0 < step <= 53:  # the journal, 51 files and the manifest
        refused(lambda: write_project(version("B"), manifest(), out), "the disk is full")
        assert (out / "build" / "x").read_text() == "x"
        (out / "a.out").unlink()  # it has come back, too
        assert whole(out, build=True) == "A"
    else:
        write_project(version("B"), manifest(), out)
        assert whole(out) == "B"
    nothing_beside(out)


# -- interruption ------------------------------------------------------------------------------------------------------
def writes_for_ever(out: Path, ready: int) -> None:
    try:
        os.write(ready, b"!")
        while True:
            for tag in "AB":
                write_project(version(tag), manifest(), out)
    except KeyboardInterrupt:
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


# -- one file ----------------------------------------------------------------------------------------------------------
def test_atomic_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "report.json"
    assert atomic_write(path, "ä") == path and path.read_bytes() == "ä".encode()
    path.chmod(0o600)
    atomic_write(str(path), b"2")
    assert path.read_bytes() == b"2" and path.stat().st_mode & 0o777 == 0o600
    link = tmp_path / "link"
    link.symlink_to(path)
    atomic_write(link, b"3")
    assert link.is_symlink() and path.read_bytes() == b"3"
    with pytest.raises(UsageError, match="it is a folder"):
        atomic_write(tmp_path, b"")
    refused(lambda: atomic_write(path / "x", b""), "part of the path is a file")

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    refused(lambda: atomic_write(path, b"4"), "the disk is full")
    assert path.read_bytes() == b"3" and [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_atomic_write_to_a_pipe_or_device(tmp_path: Path) -> None:
    atomic_write("/dev/null", b"x")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    atomic_write(fifo, b"through")
    reader.join()
    assert got == [b"through"] and fifo.is_fifo()


# -- what is written is what is read ----------------------------------------------------------------------------------
def test_check_files_names_what_is_missing_or_changed(out: Path) -> None:
    write_project(version("A", 5), manifest(), out)
    found = read_raw(out)
    assert found["files"]["net_0.c"] == hashlib.sha256((out / "net_0.c").read_bytes()).hexdigest()
    (out / "net_3.c").write_text("")
    (out / "net_1.c").unlink()
    (out / "net_4.c").unlink()
    (out / "net_4.c").mkdir()
    assert check_files(out, found) == ["net_1.c", "net_3.c", "net_4.c"]
    assert check_files(out, {"files": {"../place/net/net_0.c": found["files"]["net_0.c"]}}) == ["../place/net/net_0.c"]


def test_the_manifest_is_checked_when_written(out: Path) -> None:
    import numpy as np

    with pytest.raises(GennError, match="no generator"):
        write_project(version("A"), manifest(generator=""), out)
    arena = {"bytes": np.int64(8), "align": np.int32(8)}
    write_project(version("A"), manifest(arena=arena, files={"lies": "x"}), out)
    assert read_raw(out)["arena"] == {"bytes": 8, "align": 8} and "lies" not in read_raw(out)["files"]
