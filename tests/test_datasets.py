"""Readers of the official formats: small sets made here in each format, damaged ones, and the real ones if at hand."""

from __future__ import annotations

import io
import os
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from genn.datasets import cifar10, folder, har, keywords, mitbih
from genn.errors import UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def real(name: str) -> Path:
    data = os.environ.get("GENN_DATA")
    if not data or not (Path(data) / name).exists():
        pytest.skip(f"GENN_DATA is not set to a folder with {name}/: the real set is not read")
    return Path(data)


def says_what(caught: pytest.ExceptionInfo[UsageError]) -> None:
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value) and caught.value.fix


# -- finding and unpacking ---------------------------------------------------------------------------------------------


def tar_of(path: Path, files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:xz") as tape:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.type, item.linkname = len(content), kind, "/etc/passwd"
            tape.addfile(item, io.BytesIO(content))
    return path


@pytest.mark.parametrize("inside", ["", "thing/", "a/b/"])
def test_a_set_is_found_as_folder_and_as_archive(tmp_path: Path, inside: str, own_cache: Path) -> None:
    home = tmp_path / "data"
    (home / "thing").mkdir(parents=True)
    tar_of(home / "thing" / "thing_all.tar.xz", {f"{inside}words/one.txt": b"1"})
    found = folder.locate(home, "thing", "words/one.txt", ("thing",))
    assert (found / "words/one.txt").read_bytes() == b"1" and own_cache in found.parents
    assert folder.locate(home, "thing", "words/one.txt", ("thing",)) == found
    assert [p.name[0] for p in (own_cache / "datasets").iterdir()] != ["."], "something half-written was left"
    plain = home / inside / "words"
    plain.mkdir(parents=True)
    (plain / "one.txt").write_bytes(b"2")
    assert folder.locate(home, "thing", "words/one.txt", ("thing",)) == plain.parent


def test_zip_files_are_unpacked_without_links(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "thing.zip", "w") as packed:
        packed.writestr("top/one.txt", b"1")
        link = zipfile.ZipInfo("top/link")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    found = folder.locate(tmp_path, "thing", "one.txt", ("thing",))
    assert [p.name for p in found.iterdir()] == ["one.txt"]


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "a\\..\\b"])
@pytest.mark.parametrize("packer", ["tar", "zip"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, packer: str, own_cache: Path) -> None:
    path = tmp_path / f"thing.{'tar.xz' if packer == 'tar' else 'zip'}"
    if packer == "tar":
        tar_of(path, {"fine.txt": b"1", name: b"2"})
    else:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(zipfile.ZipInfo(name), b"2")
    with pytest.raises(UsageError, match="outside its folder"):
        folder.unpacked(path)
    assert not list((own_cache / "datasets").iterdir()), "something half-written was left"


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        done = folder.unpacked(tar_of(tmp_path / f"t{int(kind)}.tar.xz", {"thing": b""}, kind))
        assert not list(done.iterdir())


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    monkeypatch.setattr(folder, "MAX_FILES", 5)
    with pytest.raises(UsageError, match="unpacks to more"):
        folder.unpacked(tar_of(tmp_path / "big.tar.xz", {"a": b"0" * 1001}))
    with pytest.raises(UsageError, match="unpacks to more"):
        folder.unpacked(tar_of(tmp_path / "many.tar.xz", {str(k): b"" for k in range(6)}))


@pytest.mark.parametrize("cut", [0, 10, 40])
def test_damaged_archives(tmp_path: Path, cut: int, own_cache: Path) -> None:
    path = tar_of(tmp_path / "thing.tar.xz", {"a": os.urandom(200)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError, match="damaged archive") as caught:
        folder.unpacked(path)
    says_what(caught)
    assert not list((own_cache / "datasets").iterdir())


def test_absent(tmp_path: Path) -> None:
    for read in (har.read_har, keywords.read_keywords, cifar10.read_cifar10):
        with pytest.raises(UsageError, match="genn data") as caught:
            read(tmp_path)
        says_what(caught)
    with pytest.raises(UsageError, match="no such folder"):
        har.read_har(tmp_path / "nowhere")


# -- HAR ---------------------------------------------------------------------------------------------------------------


def write_har(home: Path, n: int = 6) -> np.ndarray:
    """The official layout, with windows that overlap by half as the official ones do."""
    random = np.random.default_rng(3)
    x = {}
    for part, people in (("train", (1, 3)), ("test", (2, 4))):
        signals = home / part / "Inertial Signals"
        signals.mkdir(parents=True)
        long = random.standard_normal((9, 64 * (n + 1))).round(4)
        x[part] = np.stack([long[:, 64 * k : 64 * k + 128] for k in range(n)])
        for name, signal in zip(har.SIGNALS, x[part].swapaxes(0, 1)):
            np.savetxt(signals / f"{name}_{part}.txt", signal, " %.7e")
        np.savetxt(home / part / f"y_{part}.txt", [1, 1, 1, 2, 6, 6], "%d")
        np.savetxt(home / part / f"subject_{part}.txt", np.repeat(people, n // 2), "%d")
    return x["train"]


def test_har_text_files(tmp_path: Path) -> None:
    x = write_har(tmp_path / "har" / "UCI HAR Dataset")
    data = har.read_har(tmp_path)
    assert data.source == "text"
    assert np.array_equal(data.train.x, x.astype(np.float32)) and data.train.x.shape == (6, 9, 128)
    assert data.train.y.tolist() == [0, 0, 0, 1, 5, 5] and data.test.subject.tolist() == [2, 2, 2, 4, 4, 4]
    assert har.following(data.train).tolist() == [1, 2, -1, -1, 5, -1]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("y_train.txt", "1\n2\n", "beside 2 labels"),
        ("y_train.txt", "7\n" * 6, "labels outside"),
        ("y_train.txt", "one\n" * 6, "not rows of numbers"),
        ("subject_train.txt", "2\n" * 6, "a person is in training and in test"),
        ("Inertial Signals/body_gyro_y_train.txt", "1 2 3\n" * 6, "rows of 3 numbers"),
        ("Inertial Signals/body_gyro_y_train.txt", " nan" * 128 + "\n", "where 128 are due"),
    ],
)
def test_har_damaged(tmp_path: Path, file: str, content: str, says: str) -> None:
    write_har(tmp_path)
    (tmp_path / "train" / file).write_text(content)
    with pytest.raises(UsageError, match=says) as caught:
        har.read_har(tmp_path)
    says_what(caught)


def test_har_file_missing(tmp_path: Path) -> None:
    write_har(tmp_path)
    (tmp_path / "test" / "Inertial Signals" / "total_acc_z_test.txt").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        har.read_har(tmp_path)


def test_har_npz_damaged(tmp_path: Path) -> None:
    path = tmp_path / "har_windows.npz"
    for blob in (b"", b"PK\x03\x04 no zip"):
        path.write_bytes(blob)
        with pytest.raises(UsageError, match="not the windows of HAR"):
            har.read_har(tmp_path)
    np.savez(path, X_train=np.zeros((2, 9, 128), np.int16))
    with pytest.raises(UsageError, match="not the windows of HAR"):
        har.read_har(tmp_path)


def test_har_real() -> None:
    data = har.read_har(real("har"))
    assert set(data.test.subject) == set(har.TEST_SUBJECTS) and len(set(data.train.subject)) == 21
    if data.source == "npz":
        assert (len(data.train.y), len(data.test.y)) == (7415, 2996)
        assert np.mean(har.following(data.train) >= 0) > 0.9
    else:
        assert (len(data.train.y), len(data.test.y)) == (7352, 2947)


# -- keywords ----------------------------------------------------------------------------------------------------------


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def write_words(home: Path, official: bool) -> dict[str, np.ndarray]:
    random = np.random.default_rng(4)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    made = {}
    for word in ("no", "yes", "cat"):
        for part, speaker in (("train", "aa"), ("train", "bb"), ("val", "cc"), ("test", "dd")):
            name = f"{word}/{speaker}_nohash_0.wav"
            length = {"aa": 16_000, "bb": 12_001, "cc": 16_003, "dd": 16_000}[speaker]
            made[name] = random.integers(-32768, 32768, length).astype(np.int16)
            write_wav(home / name, made[name])
            lists[part].append(name)
    write_wav(home / "_background_noise_" / "hum.wav", np.arange(20_000).astype(np.int16))
    names = {"val": "validation_list.txt", "test": "testing_list.txt"} if official else {p: f"{p}.txt" for p in lists}
    for part, name in names.items():
        (home / name).write_text("\n".join(lists[part]) + "\n")
    return made


@pytest.mark.parametrize("official", [True, False], ids=["speech commands", "three lists"])
def test_keywords(tmp_path: Path, official: bool) -> None:
    made = write_words(tmp_path / "keywords", official)
    data = keywords.read_keywords(tmp_path, ("no", "yes"))
    assert data.train.x.shape == (4, 16_000) and data.train.y.tolist() == [0, 0, 1, 1]
    assert data.train.speaker.tolist() == ["aa", "bb", "aa", "bb"] and set(data.test.speaker) == {"dd"}
    assert np.array_equal(data.train.x[0], made["no/aa_nohash_0.wav"])
    assert np.array_equal(data.train.x[1][1999:14_000], made["no/bb_nohash_0.wav"]), "what is short lies in the middle"
    assert not data.train.x[1][:1999].any() and not data.train.x[1][14_000:].any()
    assert np.array_equal(data.validation.x[0], made["no/cc_nohash_0.wav"][1:16_001])
    assert [len(n) for n in data.noise] == [20_000]


def test_keywords_without_lists_are_split_by_speaker(tmp_path: Path) -> None:
    for word in ("no", "yes"):
        for speaker in (1, 2, 3, 5):
            write_wav(tmp_path / word / f"{speaker:08d}_NO_01.wav", np.full(16_000, speaker, np.int16))
    data = keywords.read_keywords(tmp_path, ("no", "yes"))
    assert [set(part.speaker) for part in (data.train, data.validation, data.test)] == [
        {"00000001", "00000005"},
        {"00000002"},
        {"00000003"},
    ]
    assert data.noise == [] and data.train.y.tolist() == [0, 0, 1, 1]


def test_an_archive_within_an_archive(tmp_path: Path) -> None:
    """UCI packs the set as an archive inside of one."""
    write_har(tmp_path / "made" / "UCI HAR Dataset")
    inner, outer = tmp_path / "UCI HAR Dataset.zip", tmp_path / "data" / "human+activity+recognition.zip"
    outer.parent.mkdir()
    with zipfile.ZipFile(inner, "w") as packed:
        for path in sorted((tmp_path / "made").rglob("*.txt")):
            packed.write(path, path.relative_to(tmp_path / "made"))
    with zipfile.ZipFile(outer, "w") as packed:
        packed.write(inner, inner.name)
    assert har.read_har(tmp_path / "data").source == "text"


def test_keywords_damaged(tmp_path: Path) -> None:
    write_words(tmp_path, True)
    path = tmp_path / "no" / "aa_nohash_0.wav"
    for change, says in (
        (lambda: write_wav(path, np.zeros(16_000, np.int16), rate=8_000), "8000 Hz"),
        (lambda: write_wav(path, np.zeros(16_000, np.int16), channels=2), "2 channels"),
        (lambda: write_wav(path, np.zeros(16_000, np.int8), width=1), "1 bytes"),
        (lambda: path.write_bytes(b"RIFFnonsense"), "not a wav file"),
        (lambda: path.write_bytes(b""), "not a wav file"),
    ):
        change()
        with pytest.raises(UsageError, match=says) as caught:
            keywords.read_keywords(tmp_path, ("no", "yes"))
        says_what(caught)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("../../etc/passwd", "is not word/file.wav"),
        ("no/../yes/x.wav", "is not word/file.wav"),
        ("no/gone.wav", "cannot be read"),
        ("cat/dd_nohash_0.wav", "names no utterance"),
        ("no/aa_nohash_0.wav", "a speaker is in two of the lists"),
    ],
)
def test_keywords_bad_lists(tmp_path: Path, line: str, says: str) -> None:
    write_words(tmp_path, True)
    (tmp_path / "testing_list.txt").write_text(line + "\n")
    with pytest.raises(UsageError, match=says):
        keywords.read_keywords(tmp_path, ("no", "yes"))


def test_keywords_real() -> None:
    data = keywords.read_keywords(real("keywords"))
    for part, n, people in ((data.train, 1800, 18), (data.validation, 600, 6), (data.test, 600, 6)):
        assert len(part.y) == n and len(set(part.speaker)) == people
        assert np.bincount(part.y).tolist() == [n // 10] * 10


# -- MIT-BIH -----------------------------------------------------------------------------------------------------------

WFDB_WARNS = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:ResourceWarning")


def write_record(home: Path, number: int, beats: int = 5, lead: str = "MLII", rate: int = 360) -> np.ndarray:
    """A WFDB record with triangles for beats, annotated N S V F Q; returns their samples."""
    wfdb = pytest.importorskip("wfdb")
    home.mkdir(exist_ok=True)
    signal = np.zeros((rate * 2 * beats, 2))
    at = np.arange(beats) * 2 * rate + rate // 2
    for k in at:
        signal[k - 9 : k + 10, 1] = 1 - np.abs(np.arange(-9, 10)) / 10
    wfdb.wrsamp(str(number), rate, ["mV", "mV"], ["V5", lead], p_signal=signal, fmt=["212", "212"], write_dir=str(home))
    notes = ["+", *"NAVFQ"[:beats]]
    wfdb.wrann(str(number), "atr", np.append(5, at), notes, write_dir=str(home))
    return at


@WFDB_WARNS
def test_mitbih(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    at = write_record(tmp_path / "mitdb", 100)
    (record,) = mitbih.read_mitbih(tmp_path, (100,))
    assert record.y.tolist() == [0, 1, 2, 3, 4] and np.array_equal(record.peak, at / 3)
    beats = record.beats()
    assert beats.shape == (5, 160) and beats.dtype == np.float32
    beat, usual, gaps = np.split(beats, [mitbih.BEAT, 2 * mitbih.BEAT], 1)
    assert (beat.argmax(1) == mitbih.BEFORE).all() and np.allclose(beat.max(1), 0.9, atol=0.1)
    assert np.allclose(beat, usual, atol=0.05) and np.allclose(gaps, 0, atol=0.05), "all beats are alike"
    assert np.array_equal(mitbih.cut(record.beats(4), 4, np.full(5, 4)), beats)


def test_a_beat_that_comes_early_and_is_of_another_shape_shows() -> None:
    signal = np.zeros(5000, np.float32)
    peak = np.arange(100, 4900, 100)
    peak[30] -= 40
    signal[peak] = 1
    signal[peak[30]] = -2
    beats = mitbih.Record(1, signal, peak, np.zeros(len(peak), np.int64)).beats()
    beat, usual, gaps = np.split(beats, [mitbih.BEAT, 2 * mitbih.BEAT], 1)
    assert np.allclose([beat[30, mitbih.BEFORE], usual[30, mitbih.BEFORE]], [-2 / 1.1, 1 / 1.1])
    assert usual[31, mitbih.BEFORE] < 0.9 < usual[47, mitbih.BEFORE] + 0.1
    assert np.allclose(gaps[30, -2:], [-0.8, 0.8]) and np.allclose(gaps[31, -2:], [0.8, 0])


@WFDB_WARNS
def test_mitbih_damaged(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    home = tmp_path / "mitdb"
    write_record(home, 100)
    with pytest.raises(UsageError, match="a file of this record is missing") as caught:
        mitbih.read_mitbih(tmp_path, (100, 101))
    says_what(caught)
    write_record(home, 101, lead="V1")
    with pytest.raises(UsageError, match="not a readable WFDB record"):
        mitbih.read_mitbih(tmp_path, (101,))
    write_record(home, 103, rate=250)
    with pytest.raises(UsageError, match="250 Hz"):
        mitbih.read_mitbih(tmp_path, (103,))
    for end, blob in (("dat", b"short"), ("hea", b"\xff\xfe garbage"), ("atr", b"")):
        write_record(home, 105)
        (home / f"105.{end}").write_bytes(blob)
        with pytest.raises(UsageError, match="105"):
            mitbih.read_mitbih(tmp_path, (105,))


@WFDB_WARNS
def test_mitbih_real() -> None:
    pytest.importorskip("wfdb")
    pytest.importorskip("scipy")
    assert not set(mitbih.DS1) & set(mitbih.DS2) and len(mitbih.DS1) == len(mitbih.DS2) == 22
    data = real("mitdb")
    (one,) = mitbih.read_mitbih(data, (208,))
    assert np.bincount(one.y, minlength=5).tolist() == [1586, 2, 992, 373, 2]


# -- CIFAR-10 ----------------------------------------------------------------------------------------------------------


def test_cifar10(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    records = random.integers(0, 256, (7, 3073)).astype(np.uint8)
    records[:, 0] %= 10
    (tmp_path / "data_batch_1.bin").write_bytes(records[:3].tobytes())
    (tmp_path / "data_batch_2.bin").write_bytes(records[3:5].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[5:].tobytes())
    (x, y), (test_x, test_y) = cifar10.read_cifar10(tmp_path)
    assert x.shape == (5, 3, 32, 32) and test_x.shape == (2, 3, 32, 32)
    assert np.array_equal(y, records[:5, 0]) and np.array_equal(test_y, records[5:, 0])
    assert x[4, 2, 31, 31] == records[4, 3072] and x[0, 1, 0, 1] == records[0, 1 + 1024 + 1]
    for blob, says in ((records.tobytes()[:-1], "not records"), (b"", "not records"), (b"\x0a" * 3073, "label 10")):
        (tmp_path / "test_batch.bin").write_bytes(blob)
        with pytest.raises(UsageError, match=says) as caught:
            cifar10.read_cifar10(tmp_path)
        says_what(caught)


def test_cifar10_real() -> None:
    (x, _), (test_x, test_y) = cifar10.read_cifar10(real("cifar10"))
    assert len(x) in (4_000, 50_000) and len(test_x) in (1_000, 10_000)
    assert test_y[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
