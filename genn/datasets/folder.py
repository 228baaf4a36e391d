"""Finds a set inside a data folder: as files, as a folder, or as an archive, which is unpacked once into the cache.

Archives come from anywhere.  Only plain files and folders below the destination are unpacked, of bounded number and
size; links, devices and paths that lead elsewhere are refused.
"""

from __future__ import annotations

import lzma
import os
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from genn.errors import UsageError
from genn.paths import cache_dir
from genn.progress import steps

ENDS = (".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
MAX_FILES = 200_000
MAX_BYTES = 8 << 30


def locate(data: Path | str, name: str, marker: str, archives: Sequence[str] = (), *, unpack: bool = True) -> Path:
    """The folder in which files matching the glob ``marker`` lie.

    Looked at in turn: ``data``, ``data/name`` and folders below them, then archives there whose name begins with one of
    ``archives``; without ``unpack`` the folder of such an archive is returned.  UsageError says what was looked for.
    """
    data = Path(data)
    if not data.is_dir():
        raise UsageError("there is no such folder", str(data), f"give the folder that holds {name}")
    places = [p for p in (data / name, data) if p.is_dir()]
    for place in places:
        found = _holder(place, marker)
        if found:
            return found
    for place in places:
        for archive in sorted(place.iterdir()):
            if archive.name.endswith(ENDS) and archive.name.startswith(tuple(archives)) and archives:
                if not unpack:
                    return place
                inside = unpacked(archive)
                within = [p for p in sorted(inside.iterdir()) if p.name.endswith(ENDS)]  # UCI packs an archive in one
                for folder in [inside, *(unpacked(p) for p in within)]:
                    found = _holder(folder, marker)
                    if found:
                        return found
    wanted = " or ".join([marker, *(f"{a}*{ENDS[0]}" for a in archives)])
    raise UsageError(f"no {wanted}", str(data), f"fetch it with 'genn data {name}', or give the folder that holds it")


def _holder(place: Path, marker: str) -> Path | None:
    """The folder nearest to ``place`` (itself, or at most two below) that has a file matching ``marker``."""
    for depth in ("", "*/", "*/*/"):
        for hit in sorted(place.glob(depth + marker)):
            up = hit
            for _ in PurePosixPath(marker).parts:
                up = up.parent
            return up
    return None


def unpacked(archive: Path) -> Path:
    """The folder with what ``archive`` holds, in the cache; made once for each name, size and time of change."""
    info = archive.stat()
    key = f"{archive.name.split('.')[0]}-{info.st_size:x}-{info.st_mtime_ns:x}"
    home = cache_dir() / "datasets"
    done = home / key
    if done.is_dir():
        return done
    home.mkdir(parents=True, exist_ok=True)
    beside = home / f".{key}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with steps(f"unpacking {archive.name}"):
            for name, stream in _members(archive):
                target = beside.joinpath(*PurePosixPath(name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    shutil.copyfileobj(stream, file)
        beside.mkdir(exist_ok=True)
        try:
            beside.rename(done)
        except OSError:
            if not done.is_dir():  # else another process was faster
                raise
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, FileExistsError) as error:
        raise UsageError(f"damaged archive ({error})", str(archive), "fetch it again") from error
    except OSError as error:
        raise UsageError(f"cannot be unpacked ({error.strerror or error})", str(archive), str(home)) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return done


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(safe relative name, content) of every plain file of the archive."""
    total = count = 0

    def admit(name: str, size: int) -> str:
        nonlocal total, count
        total, count = total + size, count + 1
        if total > MAX_BYTES or count > MAX_FILES:
            raise UsageError(f"unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_FILES:,} files", str(archive))
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
            raise UsageError(f"holds a file named {name!r}, outside its folder", str(archive), "do not trust it")
        return name

    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                kind = entry.external_attr >> 16
                if entry.is_dir() or stat.S_ISLNK(kind):
                    continue
                with packed.open(entry) as stream:
                    yield admit(entry.filename, entry.file_size), stream
        return
    with tarfile.open(archive, "r|*") as tape:
        for item in tape:
            if item.isfile():
                extracted = tape.extractfile(item)
                assert extracted is not None
                yield admit(item.name, item.size), extracted
