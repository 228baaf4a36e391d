"""Whatever happens while a project is written, one whole project lies there: each mishap here is made for real."""

# ruff: noqa: F401, F811  (fixtures are imported, and asked for by name)
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genn import atomic, project
from genn.atomic import OutputError, atomic_write
from genn.errors import GennError, UsageError
from genn.manifest import check_files, read_raw
from genn.project import write_project
from tests.project_tools import manifest, no_exchange, nothing_beside, out, version, way, whole


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
