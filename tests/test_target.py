"""Targets: what comes with genn, and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from genn.cli import cli
from genn.errors import UsageError
from genn.target import CORES, list_targets, load_target, parse_size, target_for
from tests.harness import subject

GOOD = """
description = "a board"
core = "cortex-m4"
fpu = true
clock_hz = 1_000_000
timing = "cortex-m4"
regions = [
  {name = "FLASH", kind = "flash", base = 0x08000000, size = "64K", wait_states = 2},
  {name = "RAM", kind = "ram", base = 0x20000000, size = 0x4000},
]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "board.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_target_loads() -> None:
    assert {"cortex-m0plus", "nucleo-f411re", "mps2-an386"} <= set(list_targets())
    for name in list_targets():
        target = load_target(name)
        assert target.name == name and target.core in CORES and target.references


def test_the_nucleo_is_the_datasheets() -> None:
    board = load_target("nucleo-f411re")
    assert (board.core, board.fpu, board.clock_hz) == ("cortex-m4", True, 100_000_000)
    assert (board.flash.base, board.flash.size, board.flash.wait_states) == (0x08000000, 512 << 10, 3)
    assert (board.ram.base, board.ram.size) == (0x20000000, 128 << 10)


@pytest.mark.parametrize("scheme", ["int8", "int16"])
def test_a_quantized_network_never_sees_the_fpu(scheme: str) -> None:
    for name in list_targets():
        flags = load_target(name).cflags(scheme)
        assert "-mfloat-abi=soft" in flags and not any(f.startswith("-mfpu") for f in flags)
        assert {"-std=c99", "-ffp-contract=off", "-O2"} <= set(flags)


def test_float32_uses_the_fpu_where_there_is_one() -> None:
    assert "-mfloat-abi=hard" in load_target("nucleo-f411re").cflags("float32")
    assert "-mfloat-abi=soft" in load_target("cortex-m0plus").cflags("float32")
    assert "-Os" in load_target("nucleo-f411re").cflags("int8", "-Os")


def test_a_file_is_a_target(tmp_path: Path) -> None:
    target = load_target(write(tmp_path, GOOD))
    assert target.name == "board" and target.flash.size == 65536 and target.ram.end == 0x20004000
    assert load_target(target) is target
    assert load_target(str(tmp_path / "board.toml")) == target


FLASH = """
[flash]
line_bits = 128
instruction_lines = 64
wait_states = [[0.5, 0], [1, 2], [2, 3]]
reference = "a manual"
[power]
milliamps = 2
volts = 3
mhz = 2
reference = "a datasheet"
"""


def test_wait_states_and_energy(tmp_path: Path) -> None:
    board = load_target(write(tmp_path, GOOD + FLASH))
    assert board.memory is not None and board.power is not None
    assert [board.memory.at(hz) for hz in (500_000, 500_001, 2_000_000, 2_000_001)] == [0, 2, 3, None]
    assert board.power.joules(10.0, 1_000_000) == pytest.approx(2e-3 / 2 * 3 * 10)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("line_bits = 128", "line_bits = 100", "flash.line_bits"),
        ("[1, 2]", "[1, 1]", "flash.wait_states"),
        ("[1, 2], [2, 3]", "[0.7, 2]", "flash.wait_states"),
        ("[0.5, 0]", "[1.5, 0]", "flash.wait_states"),
        ("instruction_lines = 64", "instruction_lines = 64\ninstruction_ways = 3", "flash.instruction_ways"),
        ("instruction_lines = 64", "instruction_lines = -1", "flash.instruction_lines"),
        ("milliamps = 2", "milliamps = 0", "power"),
        ("volts = 3", "volt = 3", "power"),
    ],
)
def test_wrong_flash_or_power(old: str, new: str, field: str, tmp_path: Path) -> None:
    assert old in FLASH
    with pytest.raises(UsageError, match=f"field {field}"):
        load_target(write(tmp_path, GOOD + FLASH.replace(old, new)))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('kind = "cmsdk"\nbase = 0x40004002\nreference = "x"', "uart.base"),
        ('kind = "cmsdk"\nbase = -4\nreference = "x"', "uart.base"),
        ('kind = "cmsdk"\nbase = 0x20000000\nreference = "x"', "uart.base"),
        ('kind = "cmsdk"\nbase = 0x40004000', "uart"),
        ('kind = 1\nbase = 0x40004000\nreference = "x"', "uart.kind"),
    ],
)
def test_wrong_uart(row: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"field {field}"):
        load_target(write(tmp_path, f"{GOOD}\n[uart]\n{row}\n"))


def test_the_boards_of_the_suite() -> None:
    boards = {name: load_target(name) for name in list_targets()}
    assert {"stm32l4r5zi", "stm32g0b1", "rp2040", "stm32f103", "nrf5340", "generic-m4", "mps2-an385"} <= set(boards)
    for board in boards.values():
        assert board.memory is not None or board.flash.wait_states == 0, board.name
        assert board.memory is None or board.memory.reference
    art = boards["nucleo-f411re"].memory
    assert art is not None and art.prefetch
    assert (art.line_bits, art.instruction_lines, art.data_lines) == (128, 64, 8)


def test_an_unknown_name_lists_the_known_and_the_closest() -> None:
    with pytest.raises(UsageError, match=r"did you mean nucleo-f411re\?.*cortex-m0plus, generic-m0plus, generic-m4, "):
        load_target("nucleo-f411")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("clock_hz = 1_000_000", "clock_hz = 0", "clock_hz"),
        ("clock_hz = 1_000_000", 'clock_hz = "fast"', "clock_hz"),
        ('core = "cortex-m4"', 'core = "z80"', "core"),
        ('core = "cortex-m4"', 'core = "cortex-m0plus"', "fpu"),
        ('core = "cortex-m4"', 'core = "cortex-m4"\ncolour = 1', "colour"),
        ('size = "64K"', 'size = "64Q"', "regions[0].size"),
        ('size = "64K"', "size = 0", "regions[0].size"),
        ('kind = "ram"', 'kind = "rom"', "regions[1].kind"),
        ('kind = "ram"', 'kind = "flash"', "regions"),
        ("base = 0x20000000", "base = 0x08000100", "regions[1]"),
        ("base = 0x20000000", "base = 0xFFFFF000", "regions[1].size"),
        ("base = 0x20000000", "base = 3", "regions[1].base"),
        ('name = "RAM"', 'name = "R A M"', "regions[1].name"),
        ("fpu = true", 'fpu = true\ncflags = ["x.c"]', "cflags[0]"),
        ("fpu = true", 'fpu = true\nstack = "1M"', "stack"),
        ("fpu = true", 'fpu = true\nname = "../up"', "name"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        load_target(path)
    assert str(path) in str(caught.value) and field in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"= nonsense", b"\xff\xfe", None])
def test_an_unreadable_file_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.toml"):
        load_target(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64K", 65536), ("1M", 1 << 20), ("0x1000", 4096), ("7", 7), ("2KiB", 2048), ("16kb", 16384), (5, 5)],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5K", "64KK", "0x", "ten", "１２"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


def test_the_target_of_convert_is_the_one_that_runs() -> None:
    options = {"target": "nucleo-f411re"}
    assert target_for(None, options, "cortex-m0plus").name == "nucleo-f411re"
    assert target_for("rp2040", options, "cortex-m0plus").name == "rp2040"
    for unknown in ({}, {"target": None}, {"target": "../x.toml"}, {"target": ["a"]}):
        assert target_for(None, unknown, "cortex-m0plus").name == "cortex-m0plus"


def test_kernels_of_another_core_are_said(need_tool, tmp_path: Path) -> None:
    need_tool("arm-none-eabi-gcc")
    folder = tmp_path / "out"
    model = subject(torch.nn.Linear(8, 4), [(1, 8)]).model("int8", "net", target="generic-m4")
    model.save(folder)
    runs = [CliRunner().invoke(cli, ["emulate", str(folder), *more]) for more in ([], ["-t", "cortex-m0plus"])]
    assert [run.exit_code for run in runs] == [0, 0]
    assert "net on generic-m4" in runs[0].stdout and "portable C" not in runs[0].stdout
    assert "net on cortex-m0plus" in runs[1].stdout and "chosen for generic-m4" in runs[1].stdout
