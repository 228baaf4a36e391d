"""Compilers, cache, manifest and firmware build: what works, and the sentence for what does not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genn import build, toolchain
from genn.errors import CheckFailed, GennError, ModelError, ToolchainError
from genn.footprint import footprint
from genn.manifest import read_raw
from genn.paths import targets_dir
from genn.target import load_target

HEADER = """
#ifndef NET_H
#define NET_H
#define NET_ARENA_BYTES 64
#define NET_ARENA_ALIGN 8
int net_run(void *arena);
void *net_input(void *arena, int i);
const void *net_output(const void *arena, int i);
#endif
"""
SOURCE = """
#include <stdint.h>
#include "net.h"
extern const uint32_t net_l00_w[{words}];
void net_l00_dense(unsigned char *arena);
__attribute__((noinline)) void net_l00_dense(unsigned char *arena) {{
  uint32_t sum = 0;
  for (uint32_t i = 0; i < {words}u; i++) sum += net_l00_w[i] * arena[i & 7u];
  arena[8] = (unsigned char)(sum & 255u);
}}
int net_run(void *arena) {{ net_l00_dense((unsigned char *)arena); return 0; }}
void *net_input(void *arena, int i) {{ (void)i; return arena; }}
const void *net_output(const void *arena, int i) {{ (void)i; return (const unsigned char *)arena + 8; }}
"""


def project(folder: Path, *, words: int = 16, arena: int = 64, source: str = SOURCE, **changes: Any) -> Path:
    """A converted project by hand: one layer that sums."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "net.h": HEADER.replace("64", str(arena)),
        "net.c": source.format(words=words) if source is SOURCE else source,
        "net_weights.c": f"#include <stdint.h>\nextern const uint32_t net_l00_w[{words}];\n"
        f"const uint32_t net_l00_w[{words}] = {{1, 2, 3}};\n",
        "main.c": "#error not for the firmware\n",
        "net_infer.c": "#error not for the firmware\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    port = {"shape": [1, 8], "torch_shape": [1, 8], "layout": [0, 1], "dtype": "int8", "bits": 8, "scale": 0.5}
    port["zero_point"] = 0
    layer = {"index": 0, "name": "fc1", "op": "dense", "symbol": "net_l00_dense", "weights": "net_l00_w"}
    layer |= {"constants": None, "scheme": "int8", "macs": words, "weight_bytes": 4 * words, "arena_live": arena}
    manifest = {
        "schema": 1, "generator": "genn-mcu tests", "name": "net", "scheme": "int8", "model_sha256": "", "options": {},
        "arena": {"bytes": arena, "align": 8},
        "inputs": [{"name": "x", **port, "offset": 0, "bytes": 8}],
        "outputs": [{"name": "y", **port, "shape": [1, 1], "torch_shape": [1, 1], "offset": 8, "bytes": 1}],
        "layers": [layer],
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
    }  # fmt: skip
    (folder / "genn.json").write_text(json.dumps({**manifest, **changes}), encoding="utf-8")
    return folder


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class TestToolchain:
    def test_the_host_compiler_is_found_and_named(self, need_tool: Callable[[str], str]) -> None:
        need_tool("cc")
        tool = toolchain.find_cc()
        assert Path(tool.path).is_absolute() and tool.version

    def test_a_missing_compiler_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.delenv("GENN_ARM_GCC", raising=False)
        with pytest.raises(ToolchainError, match="install the packages gcc-arm-none-eabi and libnewlib"):
            toolchain.find_arm_gcc()
        with pytest.raises(ToolchainError, match="install the package gcc"):
            toolchain.find_cc()
        monkeypatch.setenv("CC", "no-such-cc -O1")
        with pytest.raises(ToolchainError, match="CC: no-such-cc is not installed"):
            toolchain.find_cc()
        monkeypatch.setenv("CC", "'unbalanced")
        with pytest.raises(ToolchainError, match="CC"):
            toolchain.find_cc()

    def test_a_compiler_that_fails_or_hangs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("CC", str(script(tmp_path / "broken", "echo 'error: licence expired' >&2; exit 3")))
        with pytest.raises(ToolchainError, match="licence expired"):
            toolchain.find_cc()
        with pytest.raises(ToolchainError, match=r"did not end within"):
            toolchain.run([str(script(tmp_path / "slow", "exec sleep 30"))], timeout=0.2)
        with pytest.raises(ToolchainError, match="cannot run"):
            toolchain.run([str(tmp_path)])

    def test_the_environment_may_carry_flags(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        fake = script(tmp_path / "mycc", 'echo "mycc 1.2 $*"')
        monkeypatch.setenv("CC", f"{fake} -fgood")
        tool = toolchain.find_cc()
        assert tool.argv == (str(fake), "-fgood") and tool.version == "mycc 1.2 -fgood --version"

    @pytest.mark.gcc
    def test_a_compile_error_is_its_first_line(self, tmp_path: Path, need_tool: Callable[[str], str]) -> None:
        need_tool("cc")
        source = tmp_path / "bad.c"
        source.write_text("int f(void) { return x; }\nint g(void) { return y; }\n", encoding="utf-8")
        with pytest.raises(ToolchainError, match=r"bad\.c:1.*x.*undeclared") as caught:
            toolchain.compile_c(toolchain.find_cc(), [source], tmp_path / "bad.o", flags=["-c"])
        assert "\n" not in str(caught.value) and not (tmp_path / "bad.o").exists()

    @pytest.mark.gcc
    def test_compiling_works(self, tmp_path: Path, need_tool: Callable[[str], str]) -> None:
        need_tool("cc")
        source = tmp_path / "good.c"
        source.write_text("int main(void) { return 7; }\n", encoding="utf-8")
        program = toolchain.compile_c(toolchain.find_cc(), ["good.c"], tmp_path / "good", cwd=tmp_path)
        assert subprocess.run([str(program)], check=False).returncode == 7


class TestCache:
    @pytest.fixture(autouse=True)
    def _cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("GENN_CACHE", str(tmp_path / "cache"))

    def test_one_of_many_produces(self) -> None:
        made: list[int] = []

        def produce(folder: Path) -> None:
            made.append(1)
            (folder / "x").write_text("whole", encoding="utf-8")

        def want() -> None:
            assert (toolchain.cached("kind", "key", produce) / "x").read_text(encoding="utf-8") == "whole"

        threads = [threading.Thread(target=want) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1

    def test_a_failure_leaves_nothing(self, tmp_path: Path) -> None:
        def produce(folder: Path) -> None:
            (folder / "half").write_text("", encoding="utf-8")
            raise ToolchainError("no luck")

        for _ in range(2):
            with pytest.raises(ToolchainError, match="no luck"):
                toolchain.cached("kind", "key", produce)
        assert [p.name for p in (tmp_path / "cache/kind").iterdir()] == ["key.lock"]

    def test_a_cache_that_cannot_be_written(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        monkeypatch.setenv("GENN_CACHE", str(tmp_path / "file"))
        with pytest.raises(ToolchainError, match="GENN_CACHE"):
            toolchain.cached("kind", "key", lambda _: None)

    def test_a_full_disk(self) -> None:
        def produce(folder: Path) -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(ToolchainError, match="No space left on device"):
            toolchain.cached("kind", "key", produce)

    def test_old_entries_go(self, tmp_path: Path) -> None:
        old = toolchain.cached("kind", "old", lambda _: None)
        os.utime(old, (0, 0))
        toolchain.cached("kind", "new", lambda _: None)
        assert not old.exists() and (tmp_path / "cache/kind/new").is_dir()

    def test_digests_tell_parts_apart(self, tmp_path: Path) -> None:
        assert toolchain.digest("ab", "c") != toolchain.digest("a", "bc") != toolchain.digest(["a", "b"])
        path = tmp_path / "f"
        path.write_bytes(b"x")
        before = toolchain.digest(path)
        path.write_bytes(b"y")
        assert toolchain.digest(path) != before


@pytest.mark.arm
class TestFirmware:
    @pytest.fixture(autouse=True)
    def _tools(self, need_tool: Callable[[str], str]) -> None:
        need_tool("arm-none-eabi-gcc")

    @pytest.mark.parametrize("name", ["cortex-m0plus", "nucleo-f411re", "mps2-an386"])
    def test_every_target_links_and_weighs(self, tmp_path: Path, name: str) -> None:
        elf = build.build_firmware(project(tmp_path), load_target(name))
        assert elf == tmp_path / "build" / name / "net.elf" and elf.with_suffix(".map").is_file()
        weight = footprint(elf, read_raw(tmp_path))
        layer = weight.view("layer")[0]
        assert (layer.name, layer.weights) == ("fc1", 64)
        groups = {r.group: r.size for r in weight.rows}
        assert groups["arena"] >= 64 and groups["stack"] == load_target(name).stack and groups["vectors"] > 0
        assert not [r for r in weight.rows if r.group == "firmware" and r.file == "" and r.size > 64]

    def test_the_second_build_is_the_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        target = load_target("cortex-m0plus")
        first = build.build_firmware(project(tmp_path / "a"), target).read_bytes()
        monkeypatch.setenv("GENN_CACHE", str(tmp_path / "other-cache"))
        again = build.build_firmware(project(tmp_path / "b"), target)
        assert again.read_bytes() == first, "the ELF depends on the folder it was built in"
        again.unlink()
        monkeypatch.setattr(build, "compile_c", lambda *a, **k: pytest.fail("the cache was not used"))
        assert build.build_firmware(tmp_path / "b", target).read_bytes() == first

    def test_a_relative_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        project(tmp_path / "p")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GENN_CACHE", str(tmp_path / "other-cache"))
        elf = build.build_firmware(Path("p"), load_target("cortex-m0plus"))
        assert elf == Path("p/build/cortex-m0plus/net.elf") and elf.is_file()

    def test_a_changed_source_is_built_again(self, tmp_path: Path) -> None:
        target = load_target("cortex-m0plus")
        first = build.build_firmware(project(tmp_path), target).read_bytes()
        assert build.build_firmware(project(tmp_path, words=32), target).read_bytes() != first

    def test_what_does_not_fit_says_by_how_much_and_who(self, tmp_path: Path) -> None:
        target = load_target("nucleo-f411re")
        with pytest.raises(CheckFailed, match=r"FLASH \(524288 bytes\) by \d+ bytes.*fc1 \(800000 bytes of weights\)"):
            build.build_firmware(project(tmp_path / "flash", words=200_000), target)
        with pytest.raises(CheckFailed, match=r"RAM \(131072 bytes\) by \d+ bytes.*fc1 \(140000 bytes of live arena\)"):
            build.build_firmware(project(tmp_path / "ram", arena=140_000), target)
        with pytest.raises(CheckFailed, match=r"RAM \(131072 bytes\) by"):
            build.build_firmware(project(tmp_path / "huge", arena=(1 << 31) - 8), target)
        assert not (tmp_path / "flash" / "build").exists()

    def test_the_overflow_is_exact(self, tmp_path: Path) -> None:
        """A RAM made larger by what the message says is just large enough."""
        text = (targets_dir() / "cortex-m0plus.toml").read_text(encoding="utf-8")
        head, ram = text.split('name = "RAM"')
        board, folder = tmp_path / "small.toml", project(tmp_path / "p", arena=3000)

        def overflow(size: int) -> int:
            board.write_text(f'{head}name = "RAM"{ram.replace("8M", str(size))}', encoding="utf-8")
            try:
                build.build_firmware(folder, load_target(board))
            except CheckFailed as error:
                found = re.search(r"RAM \((\d+) bytes\) by (\d+) bytes", str(error))
                assert found and int(found[1]) == size
                return int(found[2])
            return 0

        needed = 4096 + overflow(4096)
        assert needed > 4096 + 3000
        assert (overflow(needed - 1), overflow(needed - 8), overflow(needed)) == (1, 8, 0)
        elf = folder / "build/small/net.elf"
        assert 0 <= needed - footprint(elf).ram < 16, "more than alignment between the sections"

    def test_a_compile_error_is_one_sentence(self, tmp_path: Path) -> None:
        folder = project(tmp_path, source="int net_run(void *arena) { return arena; }\n")
        with pytest.raises(ToolchainError, match=r"net\.c:1:\d+: error") as caught:
            build.build_firmware(folder, load_target("cortex-m0plus"))
        assert "\n" not in str(caught.value)

    def test_a_missing_symbol_is_one_sentence(self, tmp_path: Path) -> None:
        folder = project(tmp_path, source=SOURCE.format(words=16).replace("int net_run", "int other_run"))
        with pytest.raises(GennError, match=r"net_run|other_run"):
            build.build_firmware(folder, load_target("cortex-m0plus"))

    def test_a_missing_source_and_an_unknown_port(self, tmp_path: Path) -> None:
        folder = project(tmp_path)
        with pytest.raises(ToolchainError, match="no firmware port 'pigeon'"):
            build.build_firmware(folder, load_target("cortex-m0plus"), port="pigeon")
        (folder / "net_weights.c").unlink()
        with pytest.raises(ModelError, match=r"net_weights\.c.*missing"):
            build.build_firmware(folder, load_target("cortex-m0plus"))
