"""Where each data set comes from: official addresses, checksums, terms, and the fetching of what is missing.

A file is fetched through pooch, which checks its SHA-256 before it takes its place; an interrupted download goes on
where it stopped.  The checksums of MIT-BIH's many files are those of its own list, whose checksum is here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from genn.datasets import cifar10, har, mitbih
from genn.datasets.folder import locate
from genn.errors import CheckFailed, ToolchainError, UsageError
from genn.paths import cache_dir
from genn.progress import steps

CHUNK = 1 << 16  # bytes
TIMEOUT = 30  # seconds without a byte
MAX_FILE = 4 << 30  # bytes


@dataclass(frozen=True)
class File:
    """One file below the address of its source; ``sha256`` is empty where the source's own list has it."""

    name: str
    sha256: str = ""


@dataclass(frozen=True)
class Source:
    """One data set.  ``listed`` is a file with a checksum for every other one; no files: to be fetched by hand."""

    name: str
    title: str
    address: str
    files: tuple[File, ...]
    terms: str
    megabytes: int
    markers: tuple[str, ...] = ()  # a file of the set, as a glob
    archives: tuple[str, ...] = ()  # how its archive's name may begin
    listed: str = ""


_RECORDS = tuple(File(f"{n}.{end}") for n in sorted(mitbih.DS1 + mitbih.DS2) for end in ("hea", "dat", "atr"))
SOURCES = {
    source.name: source
    for source in (
        Source(
            "mnist",
            "handwritten digits, MNIST",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            (
                File("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
                File("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
                File("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
                File("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
            ),
            "CC BY-SA 3.0 as usually stated",
            12,
            ("train-images*",),
        ),
        Source(
            "har",
            "human activity, UCI HAR",
            "https://archive.ics.uci.edu/static/public/240/",
            (
                File(
                    "human+activity+recognition+using+smartphones.zip",
                    "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
                ),
            ),
            "citation asked, no commercial use",
            61,
            (har.MARKER, har.WINDOWS),
            har.ARCHIVES,
        ),
        Source(
            "keywords",
            "spoken keywords, Arabic Speech Commands",
            "the Arabic Speech Commands data set of Ghandoura et al. (2021)",
            (),
            "CC BY 4.0",
            340,
            ("yes/*.wav",),
            ("keywords",),
        ),
        Source(
            "speech_commands",
            "spoken keywords, Google Speech Commands 0.02",
            "https://storage.googleapis.com/download.tensorflow.org/data/",
            (File("speech_commands_v0.02.tar.gz", "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"),),
            "CC BY 4.0",
            2429,
            ("yes/*.wav",),
            ("speech_commands",),
        ),
        Source(
            "mitdb",
            "heartbeats, MIT-BIH Arrhythmia Database 1.0.0",
            "https://physionet.org/files/mitdb/1.0.0/",
            (
                File("SHA256SUMS.txt", "b61158a96d5f2ca80edfb354a9a66a6324836c390a84e1966dcee2b907d6be43"),
                *_RECORDS,
            ),
            "ODC-By 1.0",
            86,
            (mitbih.MARKER,),
            mitbih.ARCHIVES,
            listed="SHA256SUMS.txt",
        ),
        Source(
            "cifar10",
            "small pictures, CIFAR-10",
            "https://www.cs.toronto.edu/~kriz/",
            (File("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
            "citation asked",
            170,
            (cifar10.MARKER,),
            cifar10.ARCHIVES,
        ),
    )
}


def data_folder(given: Path | str | None = None) -> Path:
    """The data folder: ``given``, else ``$GENN_DATA``, else a folder of the user's cache."""
    own = given or os.environ.get("GENN_DATA")
    return Path(own) if own else cache_dir() / "data"


def present(source: Source, folder: Path) -> bool:
    """Whether the set's own reader would find it in ``folder``; nothing is unpacked or read through."""

    for marker in source.markers:
        try:
            locate(folder, source.name, marker, source.archives, unpack=False)
        except UsageError:
            continue
        return True
    return False


def fetch(name: str, folder: Path, base: str | None = None) -> Path:
    """Fetch what ``folder/name`` lacks of the set; return that folder.

    base: another address, of a mirror.  UsageError where the set has to be fetched by hand; ToolchainError where the
    source cannot be reached, with what to do; CheckFailed where a file is not the one it should be.
    """
    source = SOURCES[name]
    home = folder / name
    if not source.files:
        fix = f"get it from {source.address} and unpack it into {home}"
        raise UsageError(f"the source of {name} states no checksum, so it is not fetched for you", fix=fix)
    known: dict[str, str] = {}
    for file in sorted(source.files, key=lambda f: f.name != source.listed):
        expected = file.sha256 or known.get(file.name, "")
        if not expected:
            raise CheckFailed("the set's list of checksums lacks this file", file.name)
        path = fetch_file((base or source.address) + file.name, home / file.name, expected)
        if file.name == source.listed:
            lines = [line.split() for line in path.read_text("ascii", "replace").splitlines()]
            known = {line[1]: line[0] for line in lines if len(line) == 2}
    return home


def fetch_file(address: str, path: Path, sha256: str) -> Path:
    """``path`` with the content of ``address``, or as it was.  What is there and right is not fetched again."""
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ToolchainError(f"{error.name} is not installed", fix="install genn-mcu[bench]") from error
    pooch.get_logger().setLevel("ERROR")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _part(path)
        pooch.retrieve(
            address,
            f"sha256:{sha256}",
            path.name,
            path.parent,
            downloader=lambda address, output, pooch: _resume(address, Path(output), part),
        )
    except requests.HTTPError as error:
        answer = "nothing" if error.response is None else f"{error.response.status_code} {error.response.reason}"
        raise ToolchainError(f"the source answers {answer}", address, by_hand(address, path)) from error
    except requests.RequestException as error:
        host = urlsplit(address).netloc
        what = f"{host} cannot be reached: offline, or the source is down"
        raise ToolchainError(what, address, by_hand(address, path)) from error
    except ValueError as error:
        what = "what came has another SHA-256 than it should have; nothing was kept"
        raise CheckFailed(what, address, "try again; if it stays so, the source has changed") from error
    except OSError as error:
        raise UsageError(
            f"cannot be written ({error.strerror or error})", str(path), "choose another --data"
        ) from error
    return path


def by_hand(address: str, path: Path) -> str:
    return f"run it again when online, or put the file there by hand: {path}"


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _resume(address: str, output: Path, part: Path) -> None:
    """What pooch downloads with: into ``part``, from where it stopped the last time, then to ``output``."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # there is no more: it was whole
            total = have
        else:
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0
            total = have + int(answer.headers.get("Content-Length", 0))
            if total > MAX_FILE:
                raise requests.RequestException(f"{total} bytes are more than any of these files has")
            with (
                steps(f"fetching {address.rsplit('/', 1)[-1]}", total or None) as done,
                part.open("ab" if have else "wb") as file,
            ):
                done(have)
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    done(len(chunk))
                    if file.tell() > MAX_FILE:
                        raise requests.RequestException("it does not end")
    os.replace(part, output)
