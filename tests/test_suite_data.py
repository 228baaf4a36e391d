"""The shipped weights and images are what every figure rests on: this checks them, their loader and their training."""

from __future__ import annotations

import gzip
import importlib.util
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from genn import suite
from genn.errors import UsageError
from genn.suite import idx

ROOT = Path(__file__).resolve().parent.parent
NAMES = list(suite.MODELS)
AT_LEAST = {"mnist-mlp": 98.0, "mnist-cnn": 99.0}  # percent of all 10,000 test images
SHIPPED_RIGHT = {"mnist-mlp": 397, "mnist-cnn": 400}  # of the 400 shipped test images


def right(name: str, x: np.ndarray, y: np.ndarray) -> int:
    model, _ = suite.load(name)
    with torch.no_grad():
        return int((model(torch.from_numpy(x)).argmax(1).numpy() == y).sum())


# --- weights and samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_float32_and_fit_fp16_exactly(name: str) -> None:
    weights = suite.weights(name)
    assert sum(w.size for w in weights.values()) == suite.entry(name).parameters
    for key, w in weights.items():
        assert w.dtype == np.float32 and np.isfinite(w).all(), key
        assert np.array_equal(w.astype(np.float16).astype(np.float32), w), key
        assert np.abs(w).max() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_load_gives_a_model_in_eval_and_an_example_it_takes(name: str) -> None:
    model, example = suite.load(name)
    assert not model.training
    assert tuple(example.shape) == suite.entry(name).input_shape and example.dtype == torch.float32
    assert model(example).shape == (1, 10)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_as_described(name: str) -> None:
    x, y = suite.samples(name)
    c, cy = suite.calibration(name)
    assert x.shape == (400, 1, 28, 28) and y.shape == (400,)
    assert c.shape == (256, 1, 28, 28) and cy.shape == (256,)
    assert x.dtype == c.dtype == np.float32
    assert set(y) == set(cy) == set(range(10))
    low, high = np.float32(-0.1307 / 0.3081), np.float32((1 - 0.1307) / 0.3081)
    assert np.allclose([x.min(), c.min()], low) and np.allclose([x.max(), c.max()], high)
    assert not {a.tobytes() for a in x} & {a.tobytes() for a in c}, "a calibration image is a test image"


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_the_shipped_images(name: str) -> None:
    # Torch may sum in another order on another machine: one image may tip.
    assert abs(right(name, *suite.samples(name)) - SHIPPED_RIGHT[name]) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_stated_accuracy_holds_the_promise(name: str) -> None:
    assert suite.entry(name).accuracy >= AT_LEAST[name]


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_the_whole_test_set(name: str) -> None:
    data = full_mnist()
    x = suite.MNIST.normalise(data.test_images)
    assert len(x) == 10_000
    percent = right(name, x, data.test_labels) / 100
    assert percent >= AT_LEAST[name]
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
    assert sum(p.stat().st_size for p in suite.DATA.iterdir() if "mnist" in p.name) < 800_000


def test_importing_the_suite_does_not_import_torch() -> None:
    code = (
        "import sys, genn.suite as s; s.samples('mnist-mlp'); s.weights('mnist-cnn'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean mnist-mlp"):
        suite.load("mnist_mlp")
    with pytest.raises(UsageError, match="the suite has mnist-mlp, mnist-cnn"):
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
    spec = importlib.util.spec_from_file_location("bench_train", ROOT / "bench/train.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def shipped_split(train: ModuleType):
    x, y = suite.calibration("mnist-cnn")
    return torch.from_numpy(x), torch.from_numpy(y)


def test_training_repeats_itself_bit_for_bit_and_learns(train: ModuleType) -> None:
    split, states = shipped_split(train), []
    for _ in range(2):
        torch.manual_seed(1)
        model = suite.build("mnist-cnn")
        before = train.accuracy(model, split)[1]
        states.append(train.fit(model, split, split, train.Recipe(epochs=4, batch=32, shift=1, turn=5, zoom=0.05)))
        model.load_state_dict(states[-1])
        assert train.accuracy(model, split)[1] < before
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert all(torch.equal(value, value.half().float()) for value in states[0].values())
    packed = [train.packed_weights(state, {"a": 1, "b": 2}) for state in states]
    assert packed[0] == packed[1]


def test_training_keeps_pruned_weights_at_zero(train: ModuleType) -> None:
    split, (model, _) = shipped_split(train), suite.load("mnist-mlp")
    mask = (model.fc1.weight.abs() > model.fc1.weight.abs().median()).float()
    state = train.fit(model, split, split, train.Recipe(epochs=1, batch=64), masks={"fc1.weight": mask})
    assert (state["fc1.weight"][mask == 0] == 0).all() and (state["fc2.weight"] != 0).any()
    assert not torch.equal(state["fc1.weight"], suite.load("mnist-mlp")[0].fc1.weight * mask)
