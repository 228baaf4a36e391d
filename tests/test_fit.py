"""--sram: the fastest way to run in so many bytes; -O ram is the smallest, -O time pays no cycle for memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from genn.cli.convert import convert
from genn.errors import CheckFailed, UsageError
from genn.manifest import read_raw
from tests import harness, poison

NET = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(216, 3),
)  # fmt: skip


def subject() -> harness.Subject:
    torch.manual_seed(0)
    return harness.subject(NET.eval(), [(1, 1, 24, 24)])


@pytest.mark.parametrize("target", [None, "cortex-m0plus", "nucleo-f411re"])
def test_the_fastest_that_fits(target: str | None, tmp_path: Path, need_tool) -> None:
    need_tool("cc")
    s = subject()

    def arena(**options) -> int:
        return s.model("int8", "net", target=target, **options).project.plan.arena

    time, least = arena(optimize="time"), arena(optimize="ram")
    assert least < time
    streamed = []
    for sram in range(least, time + 1, max(1, (time - least) // 4)):
        model = s.model("int8", "net", target=target, sram=sram)
        assert least <= model.project.plan.arena <= sram
        (chosen,) = [p for p in model.plans if p["chosen"]]
        assert chosen["arena"] == model.project.plan.arena and model.options["sram"] == sram
        assert model.plans[-1]["arena"] == least
        streamed.append(chosen["streamed_layers"])
    assert streamed == sorted(streamed, reverse=True) and streamed[0] > streamed[-1]
    verdicts = poison.on_the_host([model], [s.stored(model, 1)], tmp_path)
    assert poison.faults(verdicts) == []
    whole = s.model("int8", "net", target=target, sram=time)
    assert whole.options["optimize"] == "time" and not whole.project.streams
    with pytest.raises(CheckFailed, match=f"at least {least:,} B, 1 B more"):
        arena(sram=least - 1)


def test_time_streams_nothing_and_ram_is_the_smallest() -> None:
    s = subject()
    for scheme in ("float32", "int16", "int8"):
        models = {o: s.model(scheme, "net", optimize=o) for o in ("time", "balanced", "flash", "ram")}
        assert not models["time"].project.streams and models["ram"].project.streams
        arenas = {o: m.project.plan.arena for o, m in models.items()}
        assert arenas["ram"] == min(arenas.values()) < arenas["time"]


def test_an_energy_where_the_current_is_known() -> None:
    s = subject()
    with_power = s.model("int8", "net", target="nucleo-f411re", sram=10**6).plans
    assert all(p["joules_estimate"] > 0 and p["cycles_estimate"] > 0 for p in with_power)
    without = s.model("int8", "net", target="cortex-m0plus", sram=10**6).plans
    assert all(p["joules_estimate"] is None and p["seconds_estimate"] > 0 for p in without)


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    rest = ["-o", str(out), "--scheme", "int8", "-t", "nucleo-f411re"]
    with pytest.raises(CheckFailed, match="at least"):
        convert(["mnist-cnn", *rest, "--sram", "1K"], standalone_mode=False)
    with pytest.raises(UsageError, match="--sram chooses"):
        convert(["mnist-cnn", *rest, "--sram", "9K", "-O", "time"], standalone_mode=False)
    assert not out.exists()
    convert(["mnist-cnn", *rest, "--sram", "9K", "--json", str(tmp_path / "r.json")], standalone_mode=False)
    manifest = read_raw(out)
    assert manifest["arena"]["bytes"] <= 9 << 10 and manifest["options"]["sram"] == 9 << 10
    assert '"cycles_estimate"' in (tmp_path / "r.json").read_text()
