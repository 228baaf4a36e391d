"""The slow reference is independent, decodes alike, and counts the networks that GENN generates alike."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import emu
from emu import slow
from emu.decode import Decoder
from emu.timing import _ADDRESSES, _COMPUTES, _LOADS

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("cortex-m0plus", "nucleo-f411re")
# In the encoding space of the cores there are others' instructions: Armv8-M's, Advanced SIMD, other coprocessors'.
_FOREIGN = ("bxns", "blxns", "tt", "lda", "stl", "smc", "ldc", "stc", "mcr", "mrc", "mrrc", "mcrr", "cdp", "sg")
_NAMES = [f"r{i}" for i in range(9)] + ["sb", "sl", "fp", "ip", "sp", "lr"]


def test_it_imports_nothing_of_the_fast_path():
    allowed = {"unicorn", "emu.elf", "emu.semihost", "emu.slow"} | set(sys.stdlib_module_names)
    folder = Path(slow.__file__).parent
    for source in folder.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                within = ["emu.slow", "emu"][node.level - 1] + "." if node.level else ""
                names = [within + (node.module or "")]
            for name in names:
                assert any(name == a or name.startswith(a + ".") for a in allowed), (source.name, name)


def _names(mask: int) -> set[str]:
    return {name for i, name in enumerate(_NAMES) if mask >> i & 1}


def _differences(first: int, second: int, core: str, decoder: Decoder, timing: emu.Timing, price: slow.Price) -> str:
    """What the two decoders make of one instruction, empty where they agree or where it is none of the core's."""
    code = first.to_bytes(2, "little") + (second.to_bytes(2, "little") if first >= 0xE800 else b"")
    decoder._seen.clear()
    fast = decoder.block(0x1000, code)[0]
    mine = slow.decode(first, second)
    # capstone takes the program counter for the result of additions and of loads of bytes and halfwords, where the
    # manual has nothing and hints
    to_pc = fast.size == 4 and (fast.kind == "mov_pc" or (fast.kind == "ldr_pc" and not fast.name.startswith("ldr.")))
    simd = fast.name.startswith("v") and first >> 8 not in (0xEC, 0xED, 0xEE)
    if fast.kind == "unknown" or to_pc or simd or fast.name.startswith(_FOREIGN) or "f64" in fast.name:
        return ""
    if fast.kind in ("vldm", "vstm") and not 0 < second & 0xFF <= 32 - (second >> 11 & 30 | first >> 6 & 1):
        return ""                       # more registers than there are
    if mine is None:
        return f"{fast.name}: unknown to the slow one"
    wrong = []
    for taken in (False, True):
        costs = timing.cost(fast, taken=taken, quotient=9), price.alone(mine, taken, 9)
        if costs[0] != costs[1]:
            wrong.append(f"costs {costs}")
    if fast.covers != mine.covers or fast.size != mine.size:
        wrong.append("shape")
    if fast.kind in _LOADS | _COMPUTES and fast.writes & set(_NAMES) != _names(mine.writes):
        wrong.append(f"writes {set(fast.writes)} {_names(mine.writes)}")
    if fast.kind in _ADDRESSES and fast.address_regs & set(_NAMES) != _names(mine.address):
        wrong.append(f"address {set(fast.address_regs)} {_names(mine.address)}")
    for theirs, mask in ((fast.fp_reads, mine.fp_reads), (fast.fp_writes, mine.fp_writes)):
        if theirs != {f"s{i}" for i in range(32) if mask >> i & 1}:
            wrong.append(f"FPU registers {set(theirs)} 0x{mask:x}")
    return f"{fast.name} {code.hex()}: {', '.join(wrong)}" if wrong else ""


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4"])
def test_decoders_agree(core):
    """All 16-bit encodings, and a sample of the 32-bit ones."""
    decoder, timing, price = Decoder(), emu.load_timing(core), slow.Price(core)
    v6m = core.startswith("cortex-m0")
    lacking = [op for op in range(0xE800) if v6m and (op & 0xF500 == 0xB100 or (op & 0xFF00 == 0xBF00 and op & 15))]
    words = [(op, 0) for op in sorted(set(range(0xE800)) - set(lacking))]
    rng = np.random.default_rng(11)
    if not v6m:
        for first, second in rng.integers(0, 65536, (20000, 2)):
            words.append((0xE800 | int(first) & 0x17FF, int(second)))                       # integer instructions
            words.append((0xFA00 | int(first) & 0x1FF, int(second) | 0xF000))
        words = [w for w in words if w[0] < 0xE800 or (w[0] & 0x0400 == 0 and _sound(*w, core))]
        if core == "cortex-m4":
            for first, second in rng.integers(0, 65536, (20000, 2)):
                words.append((0xEC00 | int(first) & 0x2FF, int(second) & 0xF0FF | 0x0A00))  # single precision
    found = {d for w in words if (d := _differences(*w, core, decoder, timing, price))}
    assert not found, sorted(found)[:20]


def _sound(first: int, second: int, core: str) -> bool:
    """False for what the core lacks."""
    from emu.scan import _v7m

    return not _v7m(first, second, core == "cortex-m4", core == "cortex-m4")


def compare(elf: Path, target_name: str, run: str, banks: list[str], data: bytes) -> int:
    """Fast and slow on one network's firmware; instructions."""
    from genn.target import load_target

    target = load_target(target_name)
    image = emu.load(elf)
    regions = [emu.Region(r.name, r.base, r.size, r.kind) for r in target.regions]
    fast = emu.Machine(image, target.core, target.fpu, target.timing, regions, banks, run).run({"genn_in.bin": data},
                                                                                               check=True)
    step = slow.run(image, target.core, timing=target.timing, files={"genn_in.bin": data}, count=run, banks=banks,
                    regions=[(r.base, r.size) for r in target.regions])
    assert fast.exit == step.exit == 0
    assert fast.files["genn_out.bin"] == step.files["genn_out.bin"]
    for a, b in zip(fast.layers, step.layers, strict=True):
        assert (a.cycles, a.instructions, a.calls) == (b.cycles, b.instructions, b.calls), a.symbol
    assert (fast.cycles, fast.instructions, fast.calls) == (step.cycles, step.instructions, step.calls)
    return fast.instructions


@pytest.mark.arm
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheme", ["int8", "int16", "float32"])
def test_random_networks(scheme, target, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    pytest.importorskip("torch")
    from genn.build import build_firmware
    from genn.target import load_target
    from tests import harness
    from tests.many import Many
    from tests.random_nets import random_net

    models, stored = [], []
    for seed in (3, 11, 18, 26):
        net, example = random_net(seed)
        s = harness.subject(net, [tuple(x.shape) for x in example], f"seed {seed}", seed, 1.0)
        models.append(s.model(scheme, f"n{seed}"))
        stored.append(s.stored(models[-1], 1))
    many = Many(models, tmp_path)
    layers = [layer["symbol"] for m in models for layer in m.manifest["layers"]]
    elf = build_firmware(tmp_path, load_target(target))
    assert compare(elf, target, "many_run", layers, many.images(stored).tobytes()) > 1_000


def suite_model(name: str, scheme: str, target: str, folder: Path) -> int:
    """Convert a model of the suite and compare it on one real sample."""
    import genn
    from genn import reference, suite
    from genn.build import build_firmware
    from genn.manifest import read_raw
    from genn.target import load_target

    module, example = suite.load(name)
    made = genn.convert(module, example, scheme, suite.calibration(name)[0][:32], name="net")
    made.save(folder / "out")
    manifest = read_raw(folder / "out")
    elf = build_firmware(folder / "out", load_target(target))
    data = reference.encode(made.graph, made.graph.inputs[0], example.numpy()[None]).tobytes()
    return compare(elf, target, "net_run", [x["symbol"] for x in manifest["layers"]], data)


@pytest.mark.arm
@pytest.mark.parametrize("target", TARGETS)
def test_mnist_mlp(target, tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    pytest.importorskip("torch")
    assert suite_model("mnist-mlp", "int8", target, tmp_path) > 100_000


# All but the CNN in soft float: a hundred million instructions, and the MLP has soft float too.
SUITE = [(name, scheme, target) for name in ("mnist-mlp", "mnist-cnn") for scheme in ("int8", "int16", "float32")
         for target in TARGETS if (name, scheme, target) != ("mnist-cnn", "float32", "cortex-m0plus")]


@pytest.mark.arm
@pytest.mark.long
@pytest.mark.parametrize("name, scheme, target", SUITE)
def test_suite(name, scheme, target, tmp_path, need_tool):
    """python -m pytest -m long tests/emu/test_slow.py"""
    need_tool("arm-none-eabi-gcc")
    pytest.importorskip("torch")
    assert suite_model(name, scheme, target, tmp_path) > 100_000


@pytest.mark.arm
def test_as_a_command(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    from .bench import CRT, EXIT, build

    text = CRT + "  movs r1, #9\n  bl loop\n" + EXIT + """
.thumb_func
.type loop, %function
loop:
  subs r1, #1
  bne loop
  bx lr
"""
    elf = build(tmp_path, {"x.S": text}, "cortex-m0plus")
    command = [sys.executable, "-m", "emu.slow", elf, "--count", "loop", "--set", "multiplier=32"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "28 cycles, 19 instructions" in done.stderr, done.stderr
    assert slow.run(elf, "cortex-m0plus", count="loop").calls == 1
    done = subprocess.run([*command, "--budget", "5"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5 and "budget" in done.stderr
    done = subprocess.run([*command, "--set", "P=1"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no parameter P" in done.stderr
    with pytest.raises(slow.SlowError, match="no symbol"):
        slow.run(elf, "cortex-m0plus", count="nothing")
