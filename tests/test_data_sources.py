"""``genn data`` against a server of its own: what is fetched, resumed, refused, and said when there is no network."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from genn.cli import cli
from genn.datasets import report, sources
from genn.errors import CheckFailed, ToolchainError, UsageError

pytest.importorskip("pooch")
CONTENT = bytes(range(256)) * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT for every path but /gone, in ranges; ``cut`` ends the next answer after so many bytes."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.cut: int | None = None
        self.files: dict[str, bytes] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.ranges.append(asked)
                body = outer.files.get(self.path, CONTENT)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if self.path == "/gone":
                    return self.send_error(404)
                if start >= len(body):
                    return self.send_error(416)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                end = len(body) if outer.cut is None else outer.cut
                outer.cut = None
                self.wfile.write(body[start:end])

            def log_message(self, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.http.serve_forever, daemon=True).start()
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_a_file_is_fetched_once_and_only_if_right(tmp_path: Path, server: Server) -> None:
    path = tmp_path / "set" / "file.bin"
    for _ in range(2):
        assert sources.fetch_file(server.address + "file.bin", path, SHA).read_bytes() == CONTENT
    assert len(server.ranges) == 1
    with pytest.raises(CheckFailed, match="another SHA-256") as caught:
        sources.fetch_file(server.address + "other.bin", tmp_path / "other.bin", "0" * 64)
    assert caught.value.exit_code == 1
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["file.bin"], "nothing half-written is left"


def test_an_interrupted_download_goes_on(tmp_path: Path, server: Server) -> None:
    path, server.cut = tmp_path / "file.bin", 100_000
    with pytest.raises(ToolchainError, match="cannot be reached"):
        sources.fetch_file(server.address + "file.bin", path, SHA)
    assert not path.exists()
    assert sources.fetch_file(server.address + "file.bin", path, SHA).read_bytes() == CONTENT
    first, second = server.ranges
    assert first is None and second is not None and 0 < int(second.removeprefix("bytes=").rstrip("-")) <= 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_whole_part_is_taken_as_it_is(tmp_path: Path, server: Server) -> None:
    (tmp_path / ".file.bin.part").write_bytes(CONTENT)
    assert sources.fetch_file(server.address + "file.bin", tmp_path / "file.bin", SHA).read_bytes() == CONTENT


def test_what_the_source_answers_and_being_offline_is_said(tmp_path: Path, server: Server) -> None:
    with pytest.raises(ToolchainError, match="404") as caught:
        sources.fetch_file(server.address + "gone", tmp_path / "gone", SHA)
    assert caught.value.exit_code == 4
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ToolchainError, match=r"offline, or the source is down.*by hand"):
        sources.fetch_file(server.address + "file.bin", tmp_path / "file.bin", SHA)


def test_a_set_with_its_own_list_of_checksums(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/SUMS"] = f"{SHA} a.dat\n{SHA} b.dat\nnonsense\n".encode()
    files = (sources.File("a.dat"), sources.File("SUMS", hashlib.sha256(server.files["/SUMS"]).hexdigest()))
    made = sources.Source("own", "", server.address, files, "", 1, listed="SUMS")
    monkeypatch.setitem(sources.SOURCES, "own", made)
    assert (sources.fetch("own", tmp_path) / "a.dat").read_bytes() == CONTENT
    files += (sources.File("c.dat"),)
    monkeypatch.setitem(sources.SOURCES, "own", sources.Source("own", "", server.address, files, "", 1, listed="SUMS"))
    with pytest.raises(CheckFailed, match="lacks this file"):
        sources.fetch("own", tmp_path)


def test_every_source_is_complete() -> None:
    for source in sources.SOURCES.values():
        # What is fetched has an address to fetch from; a set without checksums is only named, by its authors.
        assert source.address.startswith("https://") or (source.address and not source.files), source.name
        assert source.terms and source.markers
        for file in source.files:
            assert len(file.sha256) == 64 or (source.listed and not file.sha256), file
        assert not source.listed or any(f.name == source.listed and f.sha256 for f in source.files)


def test_the_command_lists_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENN_DATA", raising=False)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "test_batch.bin").write_bytes(b"")
    run = CliRunner().invoke(cli, ["data", "--data", str(tmp_path), "--json", "-"])
    found = {s["name"]: s["here"] for s in json.loads(run.stdout)["sets"]}
    assert found.pop("cifar10") and not any(found.values())
    assert report.fetched("cifar10", tmp_path).data["fetched"] is False
    with pytest.raises(UsageError, match="did you mean mnist"):
        report.fetched("mnists", tmp_path)
    with pytest.raises(UsageError, match="states no checksum"):
        report.fetched("keywords", tmp_path)
    monkeypatch.setenv("GENN_DATA", str(tmp_path / "other"))
    assert sources.data_folder() == tmp_path / "other" and sources.data_folder(tmp_path) == tmp_path
