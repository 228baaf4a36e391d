"""The host runner: generated C in this process and in a child, with hand-written networks that behave and misbehave."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn import host, host_build
from genn.errors import CheckFailed, FirmwareError, ToolchainError, UsageError
from genn.host import HostProcess, load
from genn.manifest import read_manifest
from tests import handmade

pytestmark = pytest.mark.gcc
W = np.array([1, 2, 3, 4, -1, -2, -3, -4])
SEGFAULT = "{ volatile int *volatile p = 0; *p = 1; }"
LOOP = "{ volatile int go = 1; while (go) { } }"


def inputs(samples: int = 100) -> list[np.ndarray]:
    return [np.random.default_rng(1).integers(-128, 128, (samples, 1, 2, 4)).astype(np.int8)]


def expected(x: np.ndarray, offset: int = 1) -> tuple[np.ndarray, np.ndarray]:
    y = np.clip(np.trunc(x.reshape(-1, 8) * W / 2), -128, 127).astype(np.int8)
    total = y.astype(int).sum(axis=1)
    return y.reshape(-1, 1, 2, 4), np.stack([total, total + offset], axis=1).astype(np.int16).reshape(-1, 1, 2)


@pytest.mark.parametrize("runner", [load, HostProcess])
def test_outputs_and_layers(tmp_path: Path, runner) -> None:
    (x,) = inputs()
    y, z = expected(x)
    run = runner(handmade.write(tmp_path)).run([x], layers=True)
    np.testing.assert_array_equal(run.outputs["z"], z)
    assert run.layers is not None
    np.testing.assert_array_equal(run.layers[0][0], y)
    np.testing.assert_array_equal(run.layers[1][0], z)
    assert runner(tmp_path).run({"x": x}).layers is None


@pytest.mark.parametrize("runner", [load, HostProcess])
def test_eight_threads_give_what_one_gives(tmp_path: Path, runner) -> None:
    x = inputs(10_007)
    model = runner(handmade.write(tmp_path))
    one, eight = model.run(x, jobs=1, layers=True), model.run(x, jobs=8, layers=True)
    assert one.outputs["z"].tobytes() == eight.outputs["z"].tobytes() == expected(x[0])[1].tobytes()
    assert all((a == b).all() for one_layer, eight_layer in zip(one.layers, eight.layers)
               for a, b in zip(one_layer, eight_layer))


@pytest.mark.parametrize("runner", [load, HostProcess])
def test_no_samples(tmp_path: Path, runner) -> None:
    assert runner(handmade.write(tmp_path)).run(inputs(0)).outputs["z"].shape == (0, 1, 2)


def test_import_by_name(tmp_path: Path) -> None:
    """The user's way: put DIR/build/host on the path and import the network."""
    load(handmade.write(tmp_path, name="speaker"))
    code = """
import sys, numpy as np, speaker
x = np.arange(8, dtype=np.int8).reshape(1, 2, 4)
assert "genn._host" not in sys.modules and "genn" not in sys.modules
assert speaker.__name__ == "speaker" and speaker.arena_bytes == 16 and speaker.inputs[0]["shape"] == [1, 2, 4]
(z,) = speaker.run(x)
(many,) = speaker.run_batch([np.stack([x, x])], threads=2)
assert z.dtype == np.int16 and z.shape == (1, 2) and (many == z).all() and many.shape == (2, 1, 2)
layers = speaker.run_layers(x)
assert [[len(b) for b in layer] for layer in layers] == [[8], [4]] and layers[1][0] == z.tobytes()
assert (speaker.run(x.tobytes())[0] == z).all() and (speaker.run_batch([x.tobytes() * 3])[0] == z).all()
for bad in (x.astype(np.int16), x.astype(np.uint8), x[:, :1], x.tobytes()[:7], None):
    try:
        speaker.run(bad)
    except (TypeError, ValueError) as error:
        assert "input" in str(error), error
    else:
        raise AssertionError(bad)
"""
    env = {"PYTHONPATH": str(tmp_path / "build" / "host")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_networks_in_one_process(tmp_path: Path) -> None:
    one = load(handmade.write(tmp_path / "one", offset=10))
    two = load(handmade.write(tmp_path / "two", offset=20))
    three = load(handmade.write(tmp_path / "three", name="other", offset=30))
    (x,) = inputs()
    for model, offset in ((one, 10), (two, 20), (three, 30), (one, 10)):
        np.testing.assert_array_equal(model.run([x]).outputs["z"], expected(x, offset)[1])
    assert one.module is not two.module


def test_project_changed_and_loaded_again(tmp_path: Path) -> None:
    (x,) = inputs()
    for offset in (1, 2):
        model = load(handmade.write(tmp_path, offset=offset))
        np.testing.assert_array_equal(model.run([x]).outputs["z"], expected(x, offset)[1])


def test_second_build_comes_from_the_cache(tmp_path: Path, monkeypatch) -> None:
    load(handmade.write(tmp_path))
    monkeypatch.setattr(host_build, "compile_c", lambda *a, **k: pytest.fail("the compiler ran again"))
    start = time.process_time()
    load(tmp_path)
    load(handmade.write(tmp_path / "elsewhere"))
    assert time.process_time() - start < 0.2


def test_reals_in_and_out(tmp_path: Path) -> None:
    """predict takes and gives reals in torch's layout; quantization rounds half up and saturates."""
    model = load(handmade.write(tmp_path))
    reals = np.zeros((1, 4, 2))
    reals[0] = [[0.25, -0.25], [100, -100], [0.2, 0.3], [1, -1]]
    (stored,) = model.manifest.encode([reals])
    assert stored.tolist() == [[[[2, 127, 1, 3], [1, -128, 2, -1]]]]
    out = model.predict([reals])
    np.testing.assert_array_equal(out["z"], expected(stored)[1] * 0.25)
    np.testing.assert_array_equal(model.predict({"x": reals[None]})["z"], out["z"])


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ([np.zeros((3, 1, 2, 4), np.float32)], "input x: it has type float32, the network stores int8"),
        ([np.zeros((3, 2, 4), np.int8)], r"input x: it has shape \(3, 2, 4\), the network stores \(S, 1, 2, 4\)"),
        ([], "the network has 1 inputs, 0 were given"),
        ({"y": np.zeros(1)}, "the network's input x is not given"),
    ],
)
def test_wrong_stored_input(tmp_path: Path, arrays, sentence: str) -> None:
    model = load(handmade.write(tmp_path))
    with pytest.raises(UsageError, match=sentence):
        model.run(arrays)


@pytest.mark.parametrize("arrays", [[np.zeros((3, 2, 4))], [np.float64(1)], [np.full((1, 4, 2), np.nan)]])
def test_wrong_real_input(tmp_path: Path, arrays) -> None:
    with pytest.raises(UsageError, match="input x"):
        load(handmade.write(tmp_path)).predict(arrays)


def test_pack_and_unpack(tmp_path: Path) -> None:
    """What the firmware reads and writes: sample after sample."""
    manifest = read_manifest(handmade.write(tmp_path))
    (x,) = inputs(3)
    assert manifest.pack([x]) == x.tobytes()
    z = expected(x)[1]
    np.testing.assert_array_equal(manifest.unpack(z.tobytes(), 3)["z"], z)
    with pytest.raises(FirmwareError, match="wrote 12 bytes, not 4 x 4"):
        manifest.unpack(z.tobytes(), 4)


def test_crash_is_a_report(tmp_path: Path) -> None:
    runner = HostProcess(handmade.write(tmp_path, trap2=SEGFAULT))
    with pytest.raises(FirmwareError, match=r"crashed on the host with SIGSEGV in layer 1 \(second, sum\) on sample 0"):
        runner.run(inputs())


def test_crash_on_one_sample(tmp_path: Path) -> None:
    runner = HostProcess(handmade.write(tmp_path, trap=f"if (x[7] == 77) {SEGFAULT}"))
    (x,) = inputs()
    x[x == 77] = 0
    runner.run([x])
    x[42].flat[7] = 77
    with pytest.raises(FirmwareError, match=r"SIGSEGV in layer 0 \(first .*, scale\) on sample 42") as caught:
        runner.run([x])
    assert caught.value.exit_code == 5


def test_endless_loop_is_a_report(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match=r"did not end within 0.5 s"):
        HostProcess(handmade.write(tmp_path, trap=LOOP), timeout=0.5).run(inputs(1))


def test_sanitizers_pass_a_good_network(tmp_path: Path) -> None:
    (x,) = inputs()
    run = HostProcess(handmade.write(tmp_path), sanitize=True).run([x])
    np.testing.assert_array_equal(run.outputs["z"], expected(x)[1])


@pytest.mark.parametrize(
    ("trap", "sentence"),
    [
        ("arena[16] = 1;", r"the sanitizers found in layer 0 .*: heap-buffer-overflow net\.c:\d+"),
        ("arena[0] = (unsigned char)*(const volatile int8_t *)(net_l00_w + 8);", "overflow|insufficient space"),
        ("{ volatile int32_t big = INT32_MAX; big = big + x[0]; }", r"layer 0 .*signed integer overflow.*net\.c:\d+"),
        ("arena[0] = (unsigned char)*(volatile int32_t *)(void *)(arena + 1);", "misaligned"),
    ],
)
def test_sanitizers_find(tmp_path: Path, trap: str, sentence: str) -> None:
    runner = HostProcess(handmade.write(tmp_path, trap=trap), sanitize=True)
    with pytest.raises(CheckFailed, match=sentence):
        runner.run([np.full((2, 1, 2, 4), 5, np.int8)])


def test_broken_c_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"net\.c:\d+:\d+: error"):
        load(handmade.write(tmp_path, trap="this is no C"))


def test_folder_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no genn\.json"):
        load(tmp_path)


def test_jobs() -> None:
    assert host.jobs_or_all(None) >= 1
    with pytest.raises(UsageError):
        host.jobs_or_all(0)
