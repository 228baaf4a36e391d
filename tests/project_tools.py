"""What the tests of project writing share: small projects, the two ways to replace one, and a look at what is left."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genn import atomic
from genn.manifest import check_files, read_raw

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
