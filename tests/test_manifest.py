"""A genn.json is trusted in nothing: what its one reader accepts, what it refuses and with which error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from genn.build import build_firmware
from genn.emulate import emulate
from genn.errors import GennError, ModelError, UsageError
from genn.host import HostProcess
from genn.ir import QParams
from genn.manifest import read_manifest, read_raw
from genn.runs import verify_report
from genn.target import load_target
from tests.project_tools import SHA, manifest


def write_manifest(folder: Path, text: str | bytes | dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    raw = json.dumps(text).encode() if isinstance(text, dict) else text.encode() if isinstance(text, str) else text
    (folder / "genn.json").write_bytes(raw)
    return folder


def test_what_is_no_project_is_a_mistake_of_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "genn.json").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "genn.json")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "genn.json").symlink_to("/dev/zero")
    for name, said in {"absent": "no such folder", "file": "it is a file", "empty": "has no genn.json",
                       "odd": "is no file", "pipe": "is no file", "device": "is no file"}.items():
        with pytest.raises(UsageError, match=said) as caught:
            read_raw(tmp_path / name)
        assert caught.value.exit_code == 2 and name in str(caught.value)


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good manifest with the field at ``path`` set, or taken away if ``value`` is ``...``."""
    data = manifest(files={"net.c": SHA})
    where: Any = data
    *steps, last = [int(s) if s.isdigit() else s for s in path.split(".")]
    for step in steps:
        where = where[step]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return data


HOSTILE: list[tuple[str, Any]] = [
    ("schema", 2), ("schema", "1"), ("schema", ...), ("generator", "evil 1.0"), ("generator", ...), ("name", "a b"),
    ("name", "net\n"), ("name", "int"), ("name", "../net"), ("name", "n" * 300), ("name", 3), ("scheme", None),
    ("arena", []), ("arena.bytes", -1), ("arena.bytes", 1 << 40), ("arena.bytes", 7), ("arena.bytes", 8.5),
    ("arena.align", 0), ("arena.align", 12), ("arena.align", 1 << 20), ("inputs", None), ("inputs", [3]),
    ("inputs.0.name", ...), ("inputs.0.shape", [1, -4]), ("inputs.0.shape", [1, 5]), ("inputs.0.shape", [1] * 99),
    ("inputs.0.shape", [1 << 30] * 9), ("inputs.0.dtype", "object"), ("inputs.0.offset", -1), ("inputs.0.offset", 5),
    ("inputs.0.offset", 1 << 70), ("inputs.0.offset", "0"), ("inputs.0.bytes", 5), ("inputs.0.bits", 99),
    ("inputs.0.scale", 0), ("inputs.0.scale", -1.0), ("inputs.0.scale", "x"), ("inputs.0.bits", 9),
    ("inputs.0.bits", None), ("outputs.0.zero_point", ...), ("inputs", []), ("outputs", []), ("options", None),
    ("layers.0.macs", None), ("inputs.0.zero_point", 1 << 40),
    ("inputs.0.layout", [0, 0]), ("inputs.0.layout", [0]), ("inputs.0.torch_shape", [5]), ("outputs.0.offset", 6),
    ("layers", {}), ("layers.0.index", 1), ("layers.0.symbol", "system(1)"), ("layers.0.symbol", "x\n"),
    ("layers.0.symbol", "*/"), ("layers.0.symbol", "é"), ("layers.0.weights", "1w"), ("layers.0.weights", ...),
    ("layers.0.constants", "a-b"), ("layers.0.name", "x" * 5000), ("layers.0.macs", -1), ("layers.0.macs", "1"),
    ("layers.0.weight_bytes", ...), ("layers.0.in_shapes", [["1"]]), ("layers.0.source", {"line": -1}),
    ("layers.0.outputs.0.offset", 6), ("layers.0.outputs.0.tensor", ...), ("layers.0.outputs.0.dtype", "int64"),
    ("files", ...), ("files", []), ("files", {"../x": SHA}), ("files", {"/etc/passwd": SHA}), ("files", {".x": SHA}),
    ("files", {"genn.json": SHA}), ("files", {"-fplugin=x.c": SHA}), ("files", {"net.c": "abc"}),
    ("files", {"net.c": SHA + "\n"}),
]


def test_a_good_manifest_is_read_as_it_stands(tmp_path: Path) -> None:
    data = changed("options", {"deep": [1, {"x": None}]}) | {"a later field": 1}
    assert read_raw(write_manifest(tmp_path, data)) == data
    for path, value in [("inputs.0.scale", None), ("layers.0.macs", ...), ("layers", []), ("inputs.0.layout", None),
                        ("inputs.0.layout", []), ("layers.0.source", {}), ("layers.0.outputs", ...), ("options", ...)]:
        folder = write_manifest(tmp_path, changed(path, value))
        assert read_manifest(folder).raw == read_raw(folder)


@pytest.mark.parametrize("path, value", HOSTILE)
def test_a_hostile_field_is_refused(tmp_path: Path, path: str, value: Any) -> None:
    with pytest.raises(ModelError) as caught:
        read_raw(write_manifest(tmp_path, changed(path, value)))
    assert caught.value.exit_code == 3 and "genn.json" in str(caught.value) and len(str(caught.value)) < 400


def test_two_layers_of_one_symbol_are_refused(tmp_path: Path) -> None:
    data = manifest(files={})
    data["layers"] = [data["layers"][0], {**data["layers"][0], "index": 1}]
    with pytest.raises(ModelError, match="same symbol"):
        read_raw(write_manifest(tmp_path, data))


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"{}", b"[" * 200_000, b'{"schema": NaN}',
                                 b'{"schema":1,"x":' + b"[" * 200_000, b"9" * 100_000])
def test_what_is_no_json_of_ours_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ModelError, match=r"genn\.json"):
        read_raw(write_manifest(tmp_path, raw))


def test_a_manifest_of_more_than_16_mb_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="larger than 16 MB"):
        read_raw(write_manifest(tmp_path, b" " * ((16 << 20) + 1)))


def test_what_it_says_given_types(tmp_path: Path) -> None:
    data = changed("inputs.0.layout", [1, 0])
    found = read_manifest(write_manifest(tmp_path, data))
    assert (found.folder, found.name, found.scheme) == (tmp_path, "net", "int8")
    assert (found.arena_bytes, found.arena_align) == (8, 8)
    (x,), (y,), (layer,) = found.inputs, found.outputs, found.layers
    assert (x.name, x.shape, x.torch_shape, x.layout, x.q) == ("x", (1, 4), (4, 1), (1, 0), QParams(8, 0.5, -3))
    assert (y.offset, y.bytes, y.layout) == (4, 4, None)
    assert (layer.symbol, layer.macs) == ("net_l00_linear", 8)
    assert (layer.outputs[0].name, layer.outputs[0].q) == ("y", QParams(16, 1.0))
    assert str(layer) == "layer 0 (fc, linear)"


@pytest.mark.parametrize("damaged", [True, False])
def test_every_user_of_a_manifest_refuses_it_with_the_same_error(tmp_path: Path, damaged: bool) -> None:
    error: type[GennError] = ModelError if damaged else UsageError
    if damaged:
        write_manifest(tmp_path, changed("outputs.0.offset", 6))
    board = load_target("cortex-m0plus")
    for use in (read_raw, read_manifest, HostProcess, verify_report, lambda f: build_firmware(f, board),
                lambda f: emulate(f, board)):
        with pytest.raises(error) as caught:
            use(tmp_path)
        assert caught.type is error and "genn.json" in str(caught.value)
