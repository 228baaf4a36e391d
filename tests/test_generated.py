"""Generated C as a product: compiles silently everywhere, repeats itself, hides nothing, and needs nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import genn
from genn import suite
from genn.api import Model
from genn.build import build_firmware
from genn.extras import Sensor, sensor_constants
from genn.ir import SCHEMES
from genn.manifest import read_raw
from genn.target import load_target

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
NAMES = ("mnist-mlp", "mnist-cnn")
_models: dict[tuple[str, str], Model] = {}


def model(name: str, scheme: str) -> Model:
    if (name, scheme) not in _models:
        module, example = suite.load(name)
        _models[name, scheme] = genn.convert(
            module,
            example,
            scheme,
            suite.calibration(name)[0][:64],
            name="net",
            vector_data=suite.samples(name)[0][:4],
            sensor="u8:0.0127:-0.4242",
        )
    return _models[name, scheme]


@pytest.fixture(params=[(n, s) for n in NAMES for s in SCHEMES], ids=lambda p: "-".join(p))
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return model(*request.param).save(tmp_path / "out").result


COMPILERS = {
    "gcc": ["gcc", "-O2"],
    "gcc-O0": ["gcc", "-O0"],
    "clang": ["clang", "-O2"],
    "arm-m0": ["arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb", "-O2"],
    "arm-m4f": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os"],
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_compilers_are_silent(project: Path, compiler: str, need_tool) -> None:
    argv = COMPILERS[compiler]
    need_tool(argv[0])
    for source in sorted(project.glob("*.c")):
        done = subprocess.run([*argv, *WARNINGS, "-c", source, "-o", project / "x.o"], capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
    (project / "x.o").unlink()


@pytest.mark.parametrize("cc", ["cc", "clang"])
def test_cc_and_run(project: Path, cc: str, need_tool, tmp_path: Path) -> None:
    need_tool(cc)
    program = tmp_path / "a.out"
    subprocess.run([cc, *map(str, sorted(project.glob("*.c"))), "-o", program], check=True)
    said = subprocess.run([program], capture_output=True, text=True)
    assert said.returncode == 0 and said.stdout == "pass: 4 of 4 test vectors equal the reference\n"


def test_main_fails_on_a_wrong_weight(tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    project = model("mnist-mlp", "int8").save(tmp_path / "out").result
    weights = project / "net_weights.c"
    text = weights.read_text().rsplit("= {{", 1)  # the last layer's
    weights.write_text(text[0] + "= {{" + re.sub(r"0x\w+u", "0x7f817f81u", text[1], count=20))
    subprocess.run(["cc", *map(str, project.glob("*.c")), "-o", tmp_path / "a.out"], check=True)
    said = subprocess.run([tmp_path / "a.out"], capture_output=True, text=True)
    assert said.returncode == 1 and "FAIL" in said.stdout


def test_cmake(tmp_path: Path, need_tool) -> None:
    need_tool("cmake")
    project = model("mnist-cnn", "int8").save(tmp_path / "out").result
    build = tmp_path / "cmake"
    for argv in (["cmake", "-S", project, "-B", build], ["cmake", "--build", build], ["ctest", "--test-dir", build]):
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed" in done.stdout


@pytest.mark.parametrize("scheme", SCHEMES)
def test_generated_twice_is_byte_identical(scheme: str) -> None:
    module, example = suite.load("mnist-cnn")
    cal, x = suite.calibration("mnist-cnn")[0][:64], suite.samples("mnist-cnn")[0][:4]
    again = genn.convert(module, example, scheme, cal, name="net", vector_data=x, sensor="u8:0.0127:-0.4242")
    first = model("mnist-cnn", scheme)
    assert again.project.files == first.project.files
    assert again.manifest == first.manifest


def nm(obj: Path, *options: str) -> list[list[str]]:
    out = subprocess.run(["arm-none-eabi-nm", *options, obj], capture_output=True, text=True, check=True).stdout
    return [line.split() for line in out.splitlines()]


# what soft float may ask of libgcc on a core without FPU; an FPU needs nothing
SOFT_FLOAT = {
    "__aeabi_fadd",
    "__aeabi_fsub",
    "__aeabi_fmul",
    "__aeabi_fdiv",
    "__aeabi_fcmplt",
    "__aeabi_fcmpgt",
    "__aeabi_fcmple",
    "__aeabi_fcmpge",
    "__aeabi_fcmpeq",
    "__aeabi_fcmpun",
    "__aeabi_i2f",
    "__aeabi_f2iz",
}


@pytest.mark.parametrize("opt", ["-O1", "-O2", "-O3", "-Os"])
def test_network_object(project: Path, opt: str, need_tool, tmp_path: Path) -> None:
    """No mutable static object; undefined symbols in the stated list; no layer function split or cloned."""
    need_tool("arm-none-eabi-gcc")
    manifest = read_raw(project)
    scheme = manifest["scheme"]
    for target in ("cortex-m0plus", "nucleo-f411re"):
        board = load_target(target)
        obj = tmp_path / "net.o"
        subprocess.run(
            ["arm-none-eabi-gcc", *board.cflags(scheme, opt), "-c", project / "net.c", "-o", obj], check=True
        )
        symbols = nm(obj)
        undefined = {s[-1] for s in symbols if s[-2] == "U"}
        allowed = {layer["weights"] for layer in manifest["layers"]}
        if scheme == "float32" and not board.fpu:
            allowed |= SOFT_FLOAT
        assert undefined <= allowed, undefined - allowed
        assert not [s for s in symbols if s[-2] in "dDbBC"], "net.o has mutable static objects"
        assert not [s[-1] for s in symbols if re.search(r"\.(part|constprop|isra|cold)", s[-1])]
        functions = {s[-1] for s in symbols if s[-2] == "T"}
        assert {layer["symbol"] for layer in manifest["layers"]} <= functions


FPU = re.compile(r"\t(v[a-z]+\.f(?:32|64)|vldr|vstr|vmov|vpush|vpop|vldm\w*|vstm\w*|vcvt\S*|vcmp\S*)\b")


@pytest.mark.parametrize("target", ["cortex-m0plus", "nucleo-f411re"])
def test_no_floating_point_in_a_quantized_elf(project: Path, target: str, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    manifest = read_raw(project)
    elf = build_firmware(project, load_target(target))
    soft = {s[-1] for s in nm(elf) if re.match(r"__aeabi_[fd]|__\w+[sd]f\d?$", s[-1])}
    code = subprocess.run(["arm-none-eabi-objdump", "-d", elf], capture_output=True, text=True, check=True).stdout
    if manifest["scheme"] == "float32":
        assert not re.search(r"\tv(n?fm[as]|n?ml[as])\.", code), "a fused multiply-add changes float32's meaning"
        assert soft if target == "cortex-m0plus" else FPU.search(code)
    else:
        assert not soft
        assert not FPU.search(code)


def test_arena_holds_inputs_and_outputs_and_run_needs_no_zeroed_memory() -> None:
    for name in NAMES:
        m = model(name, "int8")
        for t in (*m.graph.inputs, *m.graph.outputs):
            at = m.project.plan.offsets[t]
            assert at >= 0 and at + m.graph[t].nbytes <= m.project.plan.arena and at % 8 == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sensor_conversion_in_c(scheme: str, tmp_path: Path, need_tool) -> None:
    """The integer-only conversion agrees with the quantizer within its stated error, for every raw value."""
    need_tool("cc")
    m = model("mnist-mlp", scheme)
    project = m.save(tmp_path / "out").result
    (project / "try.c").write_text("""
#include <stdio.h>
#include "net.h"
static union { uint64_t align; unsigned char bytes[NET_ARENA_BYTES]; } arena;
int main(void)
{
    static uint8_t raw[NET_INPUT0_SIZE];
    for (int i = 0; i < 256; i++)
        raw[i] = (uint8_t)i;
    net_input0_from_u8(arena.bytes, raw);
    for (int i = 0; i < 256; i++)
        printf("%.9g\\n", (double)((NET_INPUT0_TYPE *)net_input(arena.bytes, 0))[i]);
    return 0;
}
""")
    subprocess.run(
        ["cc", *WARNINGS, project / "try.c", project / "net.c", project / "net_weights.c", "-o", tmp_path / "t"],
        check=True,
    )
    got = np.array([float(v) for v in subprocess.run([tmp_path / "t"], capture_output=True, text=True).stdout.split()])
    real = 0.0127 * np.arange(256) - 0.4242
    t = m.graph[m.graph.inputs[0]]
    if t.q is None:
        assert np.allclose(got, real, atol=1e-6)
        return
    mult, add, shift = sensor_constants(t, Sensor("u8", 0.0127, -0.4242))
    assert np.array_equal(got, np.clip((np.arange(256) * mult + add) >> shift, t.q.qmin, t.q.qmax))
    exact = np.clip(real / float(t.q.scale) + t.q.zero_point, t.q.qmin, t.q.qmax)
    assert np.abs(got - exact).max() <= 0.5 + 257 * 2.0 ** -(shift + 1)


def test_a_layer_that_does_nothing_is_still_a_layer(tmp_path: Path, need_tool) -> None:
    """x - 0 in place compiles to nothing; the compiler must not drop the call and the linker the symbol."""
    need_tool("arm-none-eabi-gcc")
    import torch

    class Nothing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x - 0.0) - torch.zeros(1, 3)

    m = genn.convert(Nothing(), torch.randn(1, 3), name="net")
    report = m.emulate("cortex-m0plus")
    assert len(report.data["layers"]) == len(m.manifest["layers"])
    m.footprint("cortex-m0plus")
