"""The shipped weights and images are what every figure rests on: this checks them, their loader and their training."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from genn import suite
from genn.bench.suite_data import made_of
from genn.datasets import mnist as idx
from genn.errors import ModelError, UsageError
from genn.ir import SCHEMES
from genn.suite import catalog
from genn.suite.catalog import ACCURACY, NETWORKS
from genn.suite.packing import pack, unpack

ROOT = Path(__file__).resolve().parent.parent
TRAINED = [name for name, known in suite.MODELS.items() if name in NETWORKS and known.weights]
PAPER = [name for name in NETWORKS if not NETWORKS[name].weights]
AT_LEAST = {"mnist-mlp": 98.0, "mnist-cnn": 99.0, "har-mlp": 90.87, "har-cnn": 91.08}  # percent of the whole test set
CLASSES = {"mnist": 10, "har": 6, "kws": 10, "ecg": 5}
SAMPLES = {"mnist": (400, 256), "har": (48, 192), "keywords": (40, 100), "mitdb": (207, 608)}
MEASURED = json.loads(ACCURACY.read_text())["rows"]
WEIGHTS_LIMIT = 16_000_000  # bytes of all weights shipped, MLPerf Tiny's included


def right(name: str, x: np.ndarray, y: np.ndarray) -> int:
    model, _ = suite.load(name)
    with torch.no_grad():
        return int((model(torch.from_numpy(x)).argmax(1).numpy() == y).sum())


# --- weights and samples ---------------------------------------------------------------------------------------------


def check_weights(name: str) -> None:
    """float32 that fp16 holds exactly, as many as said, and as sparse as said."""
    weights, known = suite.weights(name), suite.entry(name)
    assert sum(w.size for w in weights.values()) == known.parameters
    for key, w in weights.items():
        assert w.dtype == np.float32 and np.isfinite(w).all(), key
        assert np.array_equal(w.astype(np.float16).astype(np.float32), w), key
        assert np.abs(w).max() > 0, key
    matrices = [w for w in weights.values() if w.ndim > 1]
    zeros = sum(np.count_nonzero(w == 0) for w in matrices) / sum(w.size for w in matrices)
    assert zeros == pytest.approx(known.sparsity, abs=0.002)


@pytest.mark.parametrize("name", TRAINED)
def test_trained_model(name: str) -> None:
    """Weights, the loaded model, and its accuracy on the samples that travel along, as far as so few can tell."""
    check_weights(name)
    model, example = suite.load(name)
    assert not model.training and all(p.dtype == torch.float32 for p in model.parameters())
    assert tuple(example.shape) == suite.entry(name).input_shape and example.dtype == torch.float32
    x, y = suite.samples(name)
    with torch.no_grad():
        found = model(torch.from_numpy(x))
    assert found.shape == (len(x), CLASSES[name.split("-")[0]])
    percent = 100 * float((found.argmax(1).numpy() == y).mean())
    assert percent >= {"mnist": 97.0, "har": 60.0, "kws": 80.0, "ecg": 30.0}[name.split("-")[0]]


@pytest.mark.parametrize("name", PAPER)
def test_model_with_published_outputs(name: str) -> None:
    check_weights(name)
    model, example = suite.load(name)
    assert tuple(example.shape) == suite.entry(name).input_shape and torch.isfinite(model(example)).all()


def test_published_sizes() -> None:
    """Where the published network has other outputs than ours, ``X-paper`` has its bytes."""
    published = {"mnist-mlp": 397.54, "mnist-cnn": 85.31, "har-mlp": 6674.02, "har-cnn": 8553.23}
    published |= {"kws-mlp-paper": 8535.00, "kws-cnn-paper": 729.25, "kws-dscnn-paper": 109.76, "ecg-mlp-paper": 487.42}
    for name, kilobytes in published.items():
        assert suite.entry(name).parameters * 4 / 1024 == pytest.approx(kilobytes, abs=0.005), name


def test_random_weights_are_the_same_each_time_and_differ_by_name() -> None:
    one, again = suite.weights("kws-dscnn-paper"), suite.weights("kws-dscnn-paper")
    assert all(np.array_equal(one[key], again[key]) for key in one)
    sparse = suite.weights("kws-dscnn-paper-sparse")
    assert all(np.array_equal(sparse[key], np.where(sparse[key] == 0, 0, one[key])) for key in one)
    assert not np.array_equal(one["conv.bias"], suite.weights("kws-cnn-paper")["conv1.bias"][:1].repeat(64))


@pytest.mark.parametrize("name", catalog.NAMES)
def test_samples_are_as_described(name: str) -> None:
    dataset = suite.entry(name).dataset
    (x, y), (c, cy) = suite.samples(name), suite.calibration(name)
    tests, calibrations = SAMPLES[dataset.name]
    assert x.shape == (tests, *dataset.shape) and y.shape == (tests,)
    assert c.shape == (calibrations, *dataset.shape) and cy.shape == (calibrations,)
    assert x.dtype == c.dtype == np.float32 and np.isfinite(x).all() and np.isfinite(c).all()
    assert set(y) == set(cy) == set(range(CLASSES[name.split("-")[0]]))
    assert not {a.tobytes() for a in x} & {a.tobytes() for a in c}, "a calibration sample is a test sample"


def test_mnist_samples_are_normalised_pixels() -> None:
    (x, _), (c, _) = suite.samples("mnist-mlp"), suite.calibration("mnist-mlp")
    low, high = np.float32(-0.1307 / 0.3081), np.float32((1 - 0.1307) / 0.3081)
    assert np.allclose([x.min(), c.min()], low) and np.allclose([x.max(), c.max()], high)


@pytest.mark.parametrize("name", TRAINED)
def test_stated_accuracy_is_the_measured_one(name: str) -> None:
    rows = {row["scheme"]: row for row in MEASURED if row["model"] == name}
    assert set(rows) == set(SCHEMES), "bench/accuracy.py has not measured this model"
    assert suite.entry(name).accuracy == rows["float32"]["accuracy"] >= AT_LEAST.get(name, 0)


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: f"{row['model']}-{row['scheme']}")
def test_measured_accuracies_hold_the_promises(row: dict) -> None:
    """The table belongs to the shipped files, and quantization and pruning lose no more than promised."""
    one = 100 / row["samples"]
    assert row["made_of"] == made_of(row["model"]), "weights or samples changed: run bench/accuracy.py again"
    assert row["mismatches"] == 0
    allowed = {
        ("float32", False): 0.0,
        ("int16", False): max(0.05, one),
        ("int8", False): max(0.3, 3 * one),
        ("float32", True): 1.0,
        ("int16", True): 1.3,
        ("int8", True): 1.3,
    }[row["scheme"], row["sparse"]]
    assert row["against_dense_float"] >= -allowed - 1e-3
    if row["model"] in NETWORKS:  # MLPerf Tiny promises accuracy alone
        assert row["agreement"] >= {"float32": 100, "int16": 99.8, "int8": 98.5}[row["scheme"]]


@pytest.mark.parametrize("name", ["mnist-mlp", "mnist-cnn"])
def test_accuracy_on_the_whole_test_set(name: str) -> None:
    data = full_mnist()
    x = suite.MNIST.normalise(data.test_images)
    assert len(x) == 10_000
    percent = right(name, x, data.test_labels) / 100
    assert percent == pytest.approx(suite.entry(name).accuracy, abs=0.015)


def test_shipped_samples_are_the_official_images() -> None:
    data = full_mnist()
    x, y = suite.samples("mnist-mlp")
    c, cy = suite.calibration("mnist-mlp")
    assert np.array_equal(x, suite.MNIST.normalise(data.test_images[:400]))
    assert np.array_equal(c, suite.MNIST.normalise(data.train_images[:256]))
    assert np.array_equal(y, data.test_labels[:400]) and np.array_equal(cy, data.train_labels[:256])


def full_mnist() -> idx.Mnist:
    folder = os.environ.get("GENN_DATA")
    if not folder:
        pytest.skip("GENN_DATA is not set to a folder with mnist/: the whole test set is not checked")
    return idx.read_mnist(folder)


def test_the_package_stays_small() -> None:
    sizes = {file.name: file.stat().st_size for file in suite.DATA.glob("*.safetensors")}
    assert set(sizes) == {known.weights for known in suite.MODELS.values() if known.weights}
    assert sum(sizes.values()) <= WEIGHTS_LIMIT
    samples = {suite.entry(name).dataset.file for name in TRAINED}
    assert sum((suite.DATA / file).stat().st_size for file in samples) < 2_500_000


def test_weights_are_packed_without_loss() -> None:
    """Every fp16 there is comes back bit by bit: negative zeros, subnormals and values that are no numbers."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    state = {"conv.weight": every.reshape(64, 2, 16, 32), "fc.weight": np.where(np.arange(6000) % 9, 0, every[:6000]),
             "fc.bias": every[:7], "none": every[:0].reshape(0, 3)}
    packed = pack(state)
    again = unpack(packed)
    assert list(again) == list(state)
    for key, value in state.items():
        assert again[key].shape == value.shape and again[key].tobytes() == value.astype(np.float16).tobytes(), key
    assert sum(v.nbytes for v in packed.values()) < sum(v.size * 2 for v in state.values())


@pytest.mark.parametrize("change", ["mask too short", "value missing", "bit too many", "not deflated", "part missing",
                                    "shape too large"])
def test_damaged_weights_are_refused(change: str) -> None:
    packed = pack({"fc.weight": np.arange(5001, dtype=np.float16).reshape(3, 1667) % 3})

    def mask(bits: np.ndarray) -> np.ndarray:
        return np.frombuffer(zlib.compress(np.packbits(bits).tobytes()), np.uint8)

    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed["fc.weight.mask"].tobytes()), np.uint8))
    if change == "mask too short":
        packed["fc.weight.mask"] = mask(bits[:-8])
    elif change == "value missing":
        packed["fc.weight.low"] = packed["fc.weight.low"][1:]
    elif change == "bit too many":
        packed["fc.weight.mask"] = mask(np.append(bits[:-1], 1))
    elif change == "not deflated":
        packed["fc.weight.high"] = packed["fc.weight.low"]
    elif change == "part missing":
        del packed["fc.weight.high"]
    else:
        packed["fc.weight.shape"] = np.array([3, 2000], np.int32)
    with pytest.raises(ModelError, match="do not fit together"):
        unpack(packed)


def test_importing_the_suite_does_not_import_torch() -> None:
    code = "import sys, genn.suite as s; s.samples('mnist-mlp'); s.weights('har-mlp-sparse')"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean mnist-mlp"):
        suite.load("mnist_mlp")
    with pytest.raises(UsageError, match="genn models lists them"):
        suite.samples("../../secret")


# --- IDX files -------------------------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize("shape", [(5,), (3, 28, 28)])
def test_idx_good_files(tmp_path: Path, pack, shape) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "file"
    path.write_bytes(pack(idx_bytes(array)))
    assert np.array_equal(idx.read_idx(path), array)


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))
HOSTILE = {
    "empty": (b"", "not an IDX file"),
    "three bytes": (GOOD[:3], "not an IDX file"),
    "wrong magic": (b"PK" + GOOD[2:], "not an IDX file"),
    "floats": (b"\0\0\x0d" + GOOD[3:], "type 0x0d"),
    "no dimensions": (b"\0\0\x08\0", "0 dimensions"),
    "255 dimensions": (b"\0\0\x08\xff" + bytes(1024), "255 dimensions"),
    "header cut short": (GOOD[:9], "header cut short"),
    "a dimension of 0": (struct.pack(">I2I", 0x802, 0, 4), "0 bytes, outside"),
    "absurd dimensions": (struct.pack(">I4I", 0x804, *[2**32 - 1] * 4), "outside 1 to"),
    "just over the limit": (struct.pack(">II", 0x801, idx.MAX_BYTES + 1), "outside 1 to"),
    "body cut short": (GOOD[:-1], "only 11 follow"),
    "one byte more": (GOOD + b"\0", "more follow"),
    "promises 200 MB": (struct.pack(">II", 0x801, 200_000_000) + b"abc", "only 3 follow"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize(("content", "says"), HOSTILE.values(), ids=HOSTILE)
def test_idx_hostile_files(tmp_path: Path, content: bytes, says: str, pack) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(content))
    with pytest.raises(UsageError, match=says) as caught:
        idx.read_idx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_idx_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    whole = gzip.compress(idx_bytes(np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8)))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for damaged in (whole[:-9], whole[:400], whole[:5], whole[:2], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"damaged gzip|not an IDX|IDX header"):
            idx.read_idx(path)


def test_idx_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(50_000_000)))
    with pytest.raises(UsageError, match="more follow"):
        idx.read_idx(path)


def test_idx_no_such_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        idx.read_idx(tmp_path / "absent")
    with pytest.raises(UsageError, match="cannot read"):
        idx.read_idx(tmp_path)


def write_mnist(folder: Path, **replaced: np.ndarray) -> Path:
    """A folder with a tiny MNIST, some of its four arrays replaced."""
    rng = np.random.default_rng(2)
    folder.mkdir(exist_ok=True)
    for part, n in (("train", 30), ("t10k", 10)):
        images = replaced.get(f"{part}_images", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        labels = replaced.get(f"{part}_labels", rng.integers(0, 10, n, dtype=np.uint8))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    return folder


def test_mnist_folder_or_its_parent(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    for folder in (tmp_path, tmp_path / "mnist"):
        data = idx.read_mnist(folder)
        assert data.train_images.shape == (30, 28, 28) and data.test_labels.shape == (10,)


@pytest.mark.parametrize(
    ("replaced", "says"),
    [
        ({"train_images": np.zeros((30, 27, 28), np.uint8)}, "images of shape"),
        ({"train_images": np.zeros(30, np.uint8)}, "images of shape"),
        ({"t10k_labels": np.zeros(11, np.uint8)}, "labels of shape"),
        ({"t10k_labels": np.full(10, 10, np.uint8)}, "label 10"),
    ],
)
def test_mnist_files_that_do_not_go_together(tmp_path: Path, replaced, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        idx.read_mnist(write_mnist(tmp_path, **replaced))


def test_mnist_absent(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no train-images-idx3-ubyte\.gz; give the folder"):
        idx.read_mnist(tmp_path)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def train() -> ModuleType:
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        return importlib.import_module("train_fit")
    finally:
        sys.path.remove(str(ROOT / "bench"))


def shipped(train: ModuleType, name: str):
    """The calibration samples as training, validation and test set."""
    x, y = map(torch.from_numpy, suite.calibration(name))

    def batch(index: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        return x[index] + 0.05 * torch.randn(x[index].shape, generator=random)

    return train.Data(y, batch, (x, y), (x, y), train.whole(y))


@pytest.mark.parametrize("name", ["mnist-cnn", "ecg-mlp"])
def test_training_repeats_itself_bit_for_bit_and_learns(train: ModuleType, name: str) -> None:
    data, states = shipped(train, name), []
    recipe = train.Recipe(epochs=4, batch=32, rate=2e-3, dropout=0.1, mix=0.2, smoothing=0.05, average=0.2)
    for _ in range(2):
        torch.manual_seed(1)
        model = suite.build(name)
        before = train.accuracy(model, data.test)[1]
        states.append(train.fit(model, data, recipe))
        model.load_state_dict(states[-1])
        assert train.accuracy(model, data.test)[1] < before
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all(torch.equal(value, value.half().float()) for value in states[0].values())


@pytest.mark.parametrize("layered", [True, False])
def test_pruning_reaches_its_part_of_each_tensor_or_of_all(train: ModuleType, layered: bool) -> None:
    data, (model, _) = shipped(train, "mnist-cnn"), suite.load("mnist-cnn")
    recipe = train.Recipe(epochs=6, rate=1e-3, sparsity=0.5, layered=layered, teacher=0.5, average=0.1)
    state = train.fit_sparse(model, data, recipe)
    weights = {key: value for key, value in state.items() if value.ndim > 1}
    for key, value in weights.items():
        assert not layered or (value == 0).float().mean().item() == pytest.approx(0.5, abs=0.01), key
    zeros = sum(int((value == 0).sum()) for value in weights.values()) / sum(map(torch.numel, weights.values()))
    assert zeros == pytest.approx(0.5, abs=0.005)
    assert all((value != 0).any() for value in state.values())
    model.load_state_dict(state)
    assert train.accuracy(model, data.test)[0] > 95
