"""Dead memory is neither read nor written by streamed and by whole layers; and what looks for that finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from genn.api import Model
from tests import harness, poison


def model(optimize: str = "balanced") -> tuple[Model, poison.Arrays]:
    """Two layers that stream with -O ram, and a third."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(4, 2, 3))
    s = harness.subject(nn.Sequential(first, nn.Flatten(), nn.Linear(98, 3)), [(1, 1, 19, 19)])
    made = s.model("int8", "net", optimize=optimize)
    assert bool(made.project.streams) == (optimize == "ram")
    return made, s.stored(made, 1)


@pytest.mark.parametrize("optimize", ["balanced", "ram"])
def test_a_sound_network(optimize: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    made, stored = model(optimize)
    (host,) = poison.on_the_host([made], [stored], tmp_path)
    (board,) = poison.in_the_emulator([made], [stored], tmp_path / "board", "generic-m4")
    assert host.bad == board.bad == []
    assert host.touched == board.touched == made.project.plan.arena


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("arena[-1] = 1;", "not its own, the first at -1"),
        ("arena[@DEAD] = 1;", "not its own"),
        ("arena[@OUT] = (unsigned char)(arena[@OUT] + (arena[@DEAD] & 1));", "are wrong"),
        ("arena[@OUT] ^= arena[@END + 3];", "are wrong"),
        ("", "the last thing in it ends at"),
    ],
    ids=["a guard written", "dead memory written", "dead memory read", "a guard read", "an arena too large"],
)
def test_what_must_be_found(code: str, says: str, tmp_path: Path, need_tool) -> None:
    """C put at the end of the first layer, which has eight dead bytes behind all that is planned."""
    need_tool("cc")
    made, stored = model()
    made.project.plan.arena += 8
    arena, out = made.project.plan.arena, made.project.plan.offsets[made.project.layers[0].node.outputs[0]]
    for word, value in {"@DEAD": arena - 4, "@OUT": out, "@END": arena}.items():
        code = code.replace(word, str(value))
    source = str(made.project.files["net.c"])
    made.project.files["net.c"] = source.replace("    GENN_LAYER_END;", f"    {code}\n    GENN_LAYER_END;", 1)
    (verdict,) = poison.on_the_host([made], [stored], tmp_path)
    assert any(says in line for line in verdict.bad), verdict.bad
