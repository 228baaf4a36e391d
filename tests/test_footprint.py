"""Footprint: every byte charged once, the totals those of the section headers and GNU size, hostile files refused."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from genn.errors import CheckFailed, ModelError, UsageError
from genn.footprint import GROUPS, PARTS, VIEWS, Footprint, footprint, parse_budget

NET = """
#include <stdint.h>
extern const uint32_t net_l00_w[64];
extern const uint32_t net_l01_w[128];
typedef struct { int b[4]; } bias;
static const bias net_l01_c = {{1, 2, 3, 4}};
static const unsigned char genn_table[256] = {9, 8, 7};
__attribute__((noinline)) static int genn_shared(int x, int y) { return x / y + genn_table[y & 255]; }
__attribute__((noinline)) static int genn_inner(int x) { return genn_shared(x, 3) * 5; }
__attribute__((noinline)) void net_l00_dense(unsigned char *a) {
  for (int i = 0; i < 4; i++) a[i] = (unsigned char)genn_inner(a[i + 1] + (int)net_l00_w[i]);
}
__attribute__((noinline)) void net_l01_dense(unsigned char *a) {
  float *f = (float *)(void *)a;
  f[0] = f[1] * f[2] + (float)net_l01_w[f > 0];
  a[0] = (unsigned char)genn_shared(a[7], net_l01_c.b[a[9] & 3]);
}
__attribute__((noinline)) void net_l02_pool(unsigned char *a) { a[0] = a[1] > a[2] ? a[1] : a[2]; }
int net_run(void *a) { net_l00_dense(a); net_l01_dense(a); net_l02_pool(a); return 0; }
"""
WEIGHTS = """
#include <stdint.h>
const uint32_t net_l00_w[64] = {1, 2, 3, 4};
const uint32_t net_l01_w[128] = {3};
"""
STARTUP = """
#include <string.h>
unsigned char genn_arena[1000] __attribute__((aligned(64)));
int counter = 7;
char odd[3];
const char *volatile said;
int net_run(void *);
extern unsigned char __stack_top[];
void Reset_Handler(void);
void Default_Handler(void) { for (;;) { } }
void NMI_Handler(void) __attribute__((weak, alias("Default_Handler")));
__attribute__((section(".vectors"), used)) const void *const vectors[4] = {
  __stack_top, (void *)Reset_Handler, (void *)NMI_Handler, (void *)Default_Handler};
void far_away(void);
void Reset_Handler(void) {
  said = "a string without a symbol";
  odd[counter & 1]++;
  memset(genn_arena, counter, sizeof genn_arena);
  net_run(genn_arena);
  far_away();
}
"""
FAR = """
__attribute__((section(".far"), noinline)) void far_away(void) { for (;;) { } }
"""
SCRIPT = """
MEMORY { FLASH (rx) : ORIGIN = 0x0, LENGTH = 64K
         HIGH (rx) : ORIGIN = 0x10000000, LENGTH = 4K
         RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 16K }
ENTRY(Reset_Handler)
SECTIONS {
  .vectors : { KEEP(*(.vectors)) } > FLASH
  .text : { *(.text*) } > FLASH
  .rodata : { *(.rodata*) } > FLASH
  .far : { *(.far) } > HIGH
  .data : { *(.data*) } > RAM AT > FLASH
  .bss (NOLOAD) : { *(.bss* COMMON) } > RAM
  .stack (NOLOAD) : ALIGN(8) { __stack_limit = .; . += 2048; __stack_top = .; } > RAM
}
"""
LAYERS: list[dict[str, Any]] = [
    {"index": 0, "name": "fc1", "op": "dense", "symbol": "net_l00_dense", "weights": "net_l00_w", "constants": None},
    {"index": 1, "name": "fc2", "op": "dense", "symbol": "net_l01_dense", "weights": "net_l01_w"},
    {"index": 2, "name": "pool", "op": "pool", "symbol": "net_l02_pool", "weights": None, "constants": None},
]
LAYERS[1]["constants"] = "net_l01_c"
MANIFEST = {"name": "net", "layers": LAYERS}
BUILDS = [(core, debug) for core in ("cortex-m0plus", "cortex-m4") for debug in ("-g0", "-g")]


@pytest.fixture(scope="module", params=BUILDS, ids=lambda p: "".join(p))
def elf(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, need_tool: Callable[[str], str]
) -> Iterator[Path]:
    core, debug = request.param
    yield build(tmp_path_factory.mktemp("elf"), need_tool("arm-none-eabi-gcc"), core, debug)


def build(folder: Path, gcc: str, core: str, debug: str, net: str = NET) -> Path:
    (folder / "firmware").mkdir()
    sources = {"net": net, "net_weights": WEIGHTS, "firmware/startup": STARTUP, "firmware/far": FAR}
    flags = [f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft", "-O2", debug, "-ffunction-sections", "-fdata-sections"]
    for name, text in sources.items():
        (folder / f"{name}.c").write_text(text)
        subprocess.run([gcc, *flags, "-c", f"{name}.c", "-o", f"{name}.o"], cwd=folder, check=True)
    (folder / "l.ld").write_text(SCRIPT)
    link = ["-nostartfiles", "-Tl.ld", "-Wl,-Map=net.map", "-Wl,--gc-sections", *(f"{s}.o" for s in sources)]
    subprocess.run([gcc, *flags, *link, "-o", "net.elf"], cwd=folder, check=True, capture_output=True)
    return folder / "net.elf"


def without_map(elf: Path) -> Path:
    return Path(shutil.copy(elf, elf.with_name("bare.elf")))


def gnu_size(elf: Path) -> tuple[int, int, int]:
    out = subprocess.run(["arm-none-eabi-size", str(elf)], capture_output=True, text=True, check=True).stdout
    text, data, bss = (int(word) for word in out.splitlines()[1].split()[:3])
    return text, data, bss


def sums(entries: list[Any]) -> tuple[int, int]:
    return sum(e.flash for e in entries), sum(e.ram for e in entries)


def group(fp: Footprint, name: str) -> int:
    return sum(r.size for r in fp.rows if r.group == name)


@pytest.mark.arm
class TestTotals:
    def test_gnu_size_agrees(self, elf: Path) -> None:
        text, data, bss = gnu_size(elf)
        for path in (elf, without_map(elf)):
            for manifest in (MANIFEST, None):
                fp = footprint(path, manifest)
                assert (fp.flash, fp.ram) == (text + data, data + bss)
                for view in VIEWS:
                    assert sums(fp.view(view)) == (fp.flash, fp.ram), view

    def test_readelf_agrees_on_every_section(self, elf: Path) -> None:
        argv = ["arm-none-eabi-readelf", "-SW", str(elf)]
        out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        pattern = r"\] (\S+)\s+(PROGBITS|NOBITS|ARM_EXIDX)\s+\S+ \S+ (\S+) \S+\s+(\w*A\w*) "
        wanted = {name: int(size, 16) for name, _, size, _ in re.findall(pattern, out) if int(size, 16)}
        got = {s.name: max(s.flash, s.ram) for s in footprint(elf).sections}
        assert got == wanted

    def test_every_byte_has_one_row(self, elf: Path) -> None:
        for path in (elf, without_map(elf)):
            fp = footprint(path, MANIFEST)
            for section in fp.sections:
                rows = sorted((r for r in fp.rows if r.section == section.name), key=lambda r: r.address)
                for before, after in pairwise(rows):
                    assert before.address + before.size == after.address
                assert sum(r.size for r in rows) == max(section.flash, section.ram)
            assert all(r.size > 0 and r.group in GROUPS for r in fp.rows)

    def test_nm_agrees_on_every_symbol_it_sizes(self, elf: Path) -> None:
        out = subprocess.run(["arm-none-eabi-nm", "-S", str(elf)], capture_output=True, text=True, check=True).stdout
        sized = {w[3]: int(w[1], 16) for w in (line.split() for line in out.splitlines()) if len(w) == 4}
        rows = {r.symbol: r.size for r in footprint(elf, MANIFEST).rows}
        for layer in LAYERS:
            for key in ("symbol", "weights", "constants"):
                if layer[key]:
                    assert rows[layer[key]] == sized[layer[key]]
        assert rows["genn_arena"] == 1000 and rows["genn_table"] == 256 == sized["genn_table"]


@pytest.mark.arm
class TestOwners:
    def test_layers(self, elf: Path) -> None:
        for path in (elf, without_map(elf)):
            entries = footprint(path, MANIFEST).view("layer")[:3]
            assert [e.name for e in entries] == ["fc1", "fc2", "pool"]
            assert [(e.weights, e.constants) for e in entries] == [(256, 0), (512, 16), (0, 0)]
            assert all(e.code > 0 and e.flash == e.code + e.weights + e.constants for e in entries)

    def test_shared_code_names_the_layers_that_reach_it(self, elf: Path) -> None:
        for path in (elf, without_map(elf)):
            entries = {e.name: e for e in footprint(path, MANIFEST).view("layer")}
            assert entries["genn_inner"].callers == (0,)
            assert entries["genn_shared"].callers == (0, 1)
            assert entries["genn_table"].callers == (0, 1)
            assert entries["genn_shared"].group == "kernels"
            assert entries["__aeabi_fmul"].callers == (1,) and entries["__aeabi_fmul"].group == "runtime"
            assert entries["memset"].callers == () and entries["memset"].group == "runtime"

    def test_groups(self, elf: Path) -> None:
        fp = footprint(elf, MANIFEST)
        assert group(fp, "arena") == 1000 and group(fp, "stack") == 2048 and group(fp, "vectors") == 16
        assert 0 < group(fp, "network") < 64 and group(fp, "veneers") > 0
        assert group(fp, "alignment") < 128
        files = {r.file for r in fp.rows if r.group == "runtime"}
        assert files and all(f.startswith(("libgcc.a(", "libc.a(", "libg.a(")) for f in files)
        strings = [r for r in fp.rows if r.symbol.startswith(".rodata") and r.group == "firmware"]
        assert sum(r.size for r in strings) >= 26

    def test_the_files_of_the_view_are_the_maps(self, elf: Path) -> None:
        names = {e.name for e in footprint(elf, MANIFEST).view("file")}
        assert {"net.o", "net_weights.o", "firmware/startup.o", "firmware/far.o"} <= names
        assert not any("/" in n.removeprefix("firmware/") for n in names)
        assert "(unknown without a map)" in {e.name for e in footprint(without_map(elf)).view("file")}

    def test_debug_information_changes_nothing(self, elf: Path) -> None:
        debug = elf.parent / "stripped"
        debug.mkdir(exist_ok=True)
        stripped = debug / "net.elf"
        subprocess.run(["arm-none-eabi-objcopy", "-g", str(elf), str(stripped)], check=True)
        shutil.copy(elf.with_suffix(".map"), stripped.with_suffix(".map"))
        one, two = footprint(elf, MANIFEST).to_json(), footprint(stripped, MANIFEST).to_json()
        assert {**one, "elf": ""} == {**two, "elf": ""}

    def test_without_symbols_the_totals_still_hold(self, elf: Path) -> None:
        stripped = elf.with_name("nosym.elf")
        subprocess.run(["arm-none-eabi-strip", "-o", str(stripped), str(elf)], check=True)
        fp = footprint(stripped)
        assert (fp.flash, fp.ram) == sums(fp.view("symbol"))
        with pytest.raises(ModelError, match="no function net_l00_dense"):
            footprint(stripped, MANIFEST)

    def test_json(self, elf: Path) -> None:
        data = json.loads(json.dumps(footprint(elf, MANIFEST).to_json()))
        assert data["schema"] == 1
        flash = sum(sum(x[p] for p in PARTS) for x in data["layers"]) + sum(x["flash"] for x in data["other"])
        ram = sum(x["ram"] for x in data["layers"]) + sum(x["ram"] for x in data["other"])
        assert (flash, ram) == (data["flash"], data["ram"])
        assert sum(s["flash"] for s in data["sections"]) == data["flash"]


@pytest.mark.arm
def test_diff_and_budget(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    gcc = need_tool("arm-none-eabi-gcc")
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = footprint(build(tmp_path / "old", gcc, "cortex-m4", "-g0"), MANIFEST)
    changed = NET.replace("a[1] > a[2] ? a[1] : a[2];", "(unsigned char)(a[1] * 7 + a[2] * a[3] + (a[4] ^ a[5]));")
    new = footprint(build(tmp_path / "new", gcc, "cortex-m4", "-g0", changed), MANIFEST)
    assert old.diff(old) == [] and old.diff(old, "file") == []
    pairs = new.diff(old)
    assert [b.name for _, b in pairs if b and b.group == "layer"] == ["pool"]
    grown = sum((b.flash if b else 0) - (a.flash if a else 0) for a, b in pairs)
    assert grown == new.flash - old.flash > 0

    same = {"name": "net", "layers": [{**layer, "name": "same"} for layer in LAYERS]}
    one, two = (footprint(tmp_path / d / "net.elf", same) for d in ("old", "new"))
    assert [b.code for _, b in two.diff(one) if b and b.group == "layer"] == [two.view("layer")[2].code]

    old.check_budget({"flash": old.flash, "ram": old.ram})
    with pytest.raises(CheckFailed, match=rf"flash is {old.flash} bytes, 1 over the budget.*ram is .* 2 over"):
        old.check_budget({"flash": old.flash - 1, "ram": old.ram - 2})
    with pytest.raises(UsageError, match="layer, symbol, section, file"):
        old.view("colour")


def test_budgets_are_read() -> None:
    assert parse_budget("flash=64K,ram=0x100") == {"flash": 65536, "ram": 256}
    assert parse_budget(" ram=1M") == {"ram": 1 << 20}
    for bad in ("", "flash", "flash=", "rom=1K", "flash=1K,flash=2K", "flash=-1", "flash=1K;ram=2K"):
        with pytest.raises(UsageError):
            parse_budget(bad)


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"hello" * 99, b"\x7fELF\x01\x01" + b"\xff" * 200, b"\x7fELF\x02\x01" * 99]
)
def test_what_is_no_firmware(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.elf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.elf"):
        footprint(path)
    with pytest.raises(ModelError, match="No such file"):
        footprint(tmp_path / "absent.elf")


@pytest.mark.arm
def test_damaged_files_end_in_a_sentence(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    """Random damage to a real ELF: an answer whose views agree, or one ModelError; nothing else, and not slow."""
    good = build(tmp_path, need_tool("arm-none-eabi-gcc"), "cortex-m0plus", "-g0").read_bytes()
    shoff = struct.unpack_from("<I", good, 32)[0]
    rng = random.Random(7)
    refused = 0
    for trial in range(300):
        raw = bytearray(good)
        low, high = [(0, 52), (shoff, len(raw)), (0, len(raw))][trial % 3]
        for _ in range(rng.randint(1, 8)):
            raw[rng.randrange(low, high)] = rng.choice([0, 1, 255, rng.randrange(256)])
        path = tmp_path / "bad.elf"
        path.write_bytes(raw[: rng.choice([len(raw), len(raw), rng.randrange(len(raw))])])
        try:
            fp = footprint(path, None)
        except ModelError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert all(sums(fp.view(v)) == (fp.flash, fp.ram) for v in VIEWS)
    assert refused > 50


@pytest.mark.arm
def test_a_damaged_or_foreign_map_cannot_break_the_totals(tmp_path: Path, need_tool: Callable[[str], str]) -> None:
    elf = build(tmp_path, need_tool("arm-none-eabi-gcc"), "cortex-m4", "-g0")
    good, rng = elf.with_suffix(".map").read_bytes(), random.Random(11)
    fp = footprint(elf, MANIFEST)
    for trial in range(60):
        raw = bytearray(good)
        for _ in range(rng.randint(1, 200)):
            raw[rng.randrange(len(raw))] = rng.choice(b"0123456789abcdefx .*\n\xff")
        elf.with_suffix(".map").write_bytes(raw if trial else b"Linker script and memory map\n.text 0x0 0x1\n")
        again = footprint(elf, MANIFEST)
        assert all(sums(again.view(v)) == (fp.flash, fp.ram) for v in VIEWS)
        assert sum(r.size for r in again.rows) == sum(r.size for r in fp.rows)
