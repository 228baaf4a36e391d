"""Arenas of published networks as running code: ``-O ram`` at full size, and the same kinds byte for byte.

``python -m pytest -m long -s tests/test_published_ram.py`` prints them, in bytes of int8 (a quarter of float32's).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genn import codegen, frontend, passes, quantize
from genn.api import Goal
from genn.ir import SCHEMES
from genn.kernels import GOAL
from genn.plan import in_order, neighbours
from tests import harness
from tests.zoo_published import PUBLISHED, SMALL

# The most that the arena may be: what plans with row streaming were known to reach.  MnasNet and MobileNetV2 need 0.3 %
# more: plans have one-pixel buffers between a depthwise and a pointwise convolution, the generated C one row.
MOST = {
    "mobilenet-v1-224": 274_336,
    "squeezenet-1.1-224": 435_600,
    "inception-v1-224": 476_672,
    "mnasnet-1.0-224": 180_768,
    "densenet-121-224": 903_424,
    "mobilenet-v2-224": 196_896,
    "nasnet-mobile-224": 937_216,
    "deeplabv3-mnv2-257": 1_393_098,
    "posenet-mnv1-257": 365_178,
    "east-r50-320": 3_891_200,
    "ssd-mobilenet-v1-300": 382_916,
}


def arena(module: nn.Module, shape: tuple[int, ...], optimize: str) -> int:
    """Bytes of the generated C's arena if all activations are int8."""
    graph = passes.canonicalize(frontend.import_graph(frontend.trace(module.eval(), (torch.zeros(shape),)), "net"))
    graph.meta[GOAL] = Goal.of(None, optimize, "portable")
    ordered = in_order(quantize.quantize(graph, "float32", None, "never", "exact"))
    made = codegen.generate(neighbours(ordered) if optimize == "ram" else ordered, "net")
    return -(-made.plan.arena // 4)


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_arena_at_full_size(name: str) -> None:
    make, shape = PUBLISHED[name]
    whole, streamed = (arena(make(), shape, optimize) for optimize in ("balanced", "ram"))
    print(f"\n{name:<22} -O balanced {whole:>10,} B   -O ram {streamed:>10,} B   at most {MOST[name]:>10,} B")
    assert streamed <= MOST[name]


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_the_same_kinds_run(name: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    make, shape = SMALL[name]
    torch.manual_seed(0)
    s = harness.subject(make().eval(), [shape], name, 1, 1.0)
    arenas = []
    for scheme in SCHEMES:
        models = [s.model(scheme, "net", target="generic-m4", optimize=o) for o in ("balanced", "ram")]
        arenas.append([m.project.plan.arena for m in models])
        assert harness.host_differences(models[1:], [s], tmp_path / scheme) == []
        for target in ("cortex-m0plus", "generic-m4"):
            if scheme != "float32" or target == "generic-m4":  # soft float of millions of MACs takes minutes
                assert harness.emulated_differences(models[1:], [s], tmp_path / f"{scheme}{target}", target) == []
    print(f"\n{name:<20} int8: -O balanced {arenas[-1][0]:>9,} B   -O ram {arenas[-1][1]:>9,} B")
    assert np.all(np.diff(np.array(arenas), axis=1) < 0)


@pytest.mark.long
@pytest.mark.parametrize("name", ["dense block", "inception block", "nasnet cells", "mobilenet-v1-0.25"])
def test_rows_cost_few_cycles(name: str, need_tool) -> None:
    """The same portable kernels, whole and row by row: calls, windows and rows that move up."""
    need_tool("arm-none-eabi-gcc")
    make, shape = SMALL[name]
    torch.manual_seed(0)
    s = harness.subject(make().eval(), [shape], name, 1, 1.0)
    x = next(iter(s.inputs.values()))[:1]
    cycles = []
    for optimize in ("balanced", "ram"):
        model = s.model("int8", "net", target="generic-m4", optimize=optimize, kernel="portable")
        data = model.emulate("generic-m4", x).data
        cycles.append(data["cycles"])
        print(f"\n{name:<18} -O {optimize:<9} arena {model.project.plan.arena:>9,} B", end="   ")
        print(f"stack {data['stack_bytes']:>5,} B   {data['cycles']:>12,} cycles", end="")
    assert cycles[1] <= 1.03 * cycles[0]
