"""From what ``genn convert`` wrote to a firmware: compile, link, and say what does not fit.

The ELF and its map lie at ``DIR/build/TARGET/NAME.elf`` and ``NAME.map``.  A build whose sources, flags, compiler and
target were seen before comes from the cache (``genn.toolchain.cached``), whole.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from genn.errors import CheckFailed, ModelError, ToolchainError
from genn.manifest import read_raw
from genn.paths import firmware_dir
from genn.target import DEFAULT_OPT, Target
from genn.toolchain import WARNINGS, Tool, cached, compile_c, digest, find_arm_gcc, first_error, run

_OVERFLOW = re.compile(r"region [`']([^']+)' overflowed by (\d+) bytes?")


def build_firmware(
    project_dir: Path, target: Target, *, port: str = "semihost", opt: str | None = None, debug: bool = True
) -> Path:
    """Build the firmware of a converted project and return its ELF, ``project_dir/build/TARGET/NAME.elf``.

    opt: the compiler's flag; by default what fits the goal the project was converted for.

    ToolchainError if the compiler is missing or refuses the code; CheckFailed, saying by how many bytes and which
    layers weigh most, if the network does not fit the target's memories; UsageError if there is no project, ModelError
    if its manifest is damaged.
    """
    project_dir = Path(project_dir)
    manifest = read_raw(project_dir)
    name = manifest["name"]
    arena, ram = manifest["arena"]["bytes"], target.ram
    if arena >= 1 << 30:
        raise _does_not_fit(target, [(ram.name, arena - ram.size)], manifest)
    try:
        return build_elf(
            project_dir / "build" / target.name / f"{name}.elf",
            _network_sources(project_dir, manifest),
            net_header(manifest),
            target,
            manifest["scheme"],
            includes=[project_dir],
            port=port,
            opt=opt or target.opt_flag(_goal(manifest)),
            debug=debug,
        )
    except RegionOverflow as error:
        raise _does_not_fit(target, error.regions, manifest) from None


def _goal(manifest: dict[str, Any]) -> str:
    """What the project was converted for; a manifest is read with care."""
    options = manifest.get("options")
    return str(options.get("optimize", "")) if isinstance(options, dict) else ""


class RegionOverflow(CheckFailed):
    """A link that failed because memory is short.  ``regions``: (name, bytes too many)."""

    def __init__(self, target: Target, regions: list[tuple[str, int]]) -> None:
        self.regions = regions
        over = " and ".join(f"{name} by {size} bytes" for name, size in regions)
        super().__init__(f"the firmware does not fit {target.name}: it exceeds {over}")


def _does_not_fit(target: Target, regions: list[tuple[str, int]], manifest: dict[str, Any]) -> CheckFailed:
    """What overflows by how much, and the layers to blame: by weights for flash, by live arena for RAM."""
    kinds = {r.name: r for r in target.regions}
    texts, heavy = [], []
    for name, size in regions:
        region = kinds[name]
        texts.append(f"{name} ({region.size} bytes) by {size} bytes")
        key, what = ("weight_bytes", "weights") if region.kind == "flash" else ("arena_live", "live arena")
        layers = sorted(manifest["layers"], key=lambda x: -(x.get(key) or 0))[:3]
        heavy += [f"{x['name']} ({x[key]} bytes of {what})" for x in layers if x.get(key)]
    blame = f"the heaviest layers are {', '.join(heavy)}" if heavy else None
    return CheckFailed(f"the network does not fit {target.name}: it exceeds {' and '.join(texts)}", fix=blame)


def _network_sources(project: Path, manifest: dict[str, Any]) -> list[Path]:
    """The network's own C and assembly files, as the manifest lists them."""
    name = manifest["name"]
    left_out = {"main.c", f"{name}_infer.c"}
    listed = [f for f in manifest["files"] if f.endswith((".c", ".S")) and f not in left_out]
    sources = [project / f for f in sorted(listed) or (f"{name}.c", f"{name}_weights.c")]
    for source in sources:
        if not source.is_file():
            raise ModelError("the file is missing", str(source), "run genn convert again")
    return sources


def firmware_sources(port: str) -> list[Path]:
    """The firmware's C and assembly files, of its ports only ``port``.  ToolchainError if there is no such port."""
    folder = firmware_dir()
    found = sorted(p for p in folder.iterdir() if p.suffix in (".c", ".S"))
    ports = {p.stem.removeprefix("port_"): p for p in found if p.stem.startswith("port_")}
    if port not in ports:
        raise ToolchainError(f"there is no firmware port {port!r}", fix=f"known are {', '.join(ports) or 'none'}")
    return [*(p for p in found if p not in ports.values()), ports[port]]


def linker_script(target: Target) -> str:
    """firmware/link.ld.in with the memories and the stack of ``target``."""
    memory = "\n".join(
        f"  {r.name} ({'rx' if r.kind == 'flash' else 'rwx'}) : ORIGIN = {r.base:#010x}, LENGTH = {r.size:#x}"
        for r in target.regions
    )
    values = {"MEMORY": memory, "FLASH": target.flash.name, "RAM": target.ram.name, "STACK": f"{target.stack:#x}"}
    text = (firmware_dir() / "link.ld.in").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def net_header(manifest: dict[str, Any]) -> str:
    """genn_net.h: the macros through which the firmware knows the network."""
    name, arena = manifest["name"], manifest["arena"]
    inputs, outputs = manifest["inputs"], manifest["outputs"]
    lines = [
        "/* Generated by genn: the network, as the firmware knows it. */",
        "#ifndef GENN_NET_H",
        "#define GENN_NET_H",
        f'#include "{name}.h"',
        f"#define GENN_RUN {name}_run",
        f"#define GENN_INPUT {name}_input",
        f"#define GENN_OUTPUT {name}_output",
        f"#define GENN_ARENA_BYTES {arena['bytes']}",
        f"#define GENN_ARENA_ALIGN {arena['align']}",
        f"#define GENN_INPUTS {len(inputs)}",
        f"#define GENN_OUTPUTS {len(outputs)}",
        f"#define GENN_INPUT_BYTES {{ {', '.join(str(x['bytes']) for x in inputs)} }}",
        f"#define GENN_OUTPUT_BYTES {{ {', '.join(str(x['bytes']) for x in outputs)} }}",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def build_elf(
    elf: Path,
    sources: Sequence[Path],
    header: str,
    target: Target,
    scheme: str,
    *,
    includes: Sequence[Path] = (),
    port: str = "semihost",
    opt: str = DEFAULT_OPT,
    debug: bool = True,
    warnings: Sequence[str] = WARNINGS,
    libraries: Sequence[str] = (),
) -> Path:
    """Compile ``sources`` and the firmware with ``header`` as genn_net.h; link to ``elf``, the map beside it.

    Sources may be of several networks, as long as ``header`` makes one of it; objects and archives among them (``.o``,
    ``.a``) are linked as they are.  ``warnings``: more flags; by default those that our own code passes.
    ``libraries``: the linker's last arguments, which what we write ourselves does without.
    RegionOverflow if memory is short.
    """
    gcc = find_arm_gcc()
    firmware, script = firmware_dir(), linker_script(target)
    fw_sources = firmware_sources(port)
    flags = [*target.cflags(scheme, opt), *warnings, *(["-g"] if debug else [])]
    includes = [Path(i).resolve() for i in includes]  # the compiler runs in a folder of its own
    headers = sorted(h for folder in (*includes, firmware) for h in Path(folder).glob("*.h"))
    read = [*sources, *fw_sources, *headers]
    key = digest(gcc.version, gcc.argv, flags, list(libraries), header, script, [str(p.name) for p in read], *read)

    def produce(folder: Path) -> None:
        (folder / "firmware").mkdir()
        (folder / "genn_net.h").write_text(header, encoding="utf-8")
        (folder / "link.ld").write_text(script, encoding="utf-8")
        maps = [(str(folder), "."), (str(firmware), "firmware"), *((str(i), ".") for i in includes)]
        prefixes = [f"-ffile-prefix-map={a}={b}" for a, b in maps]
        ready = [str(Path(s).resolve()) for s in sources if Path(s).suffix in (".o", ".a")]
        jobs = [(Path(s), f"{Path(s).stem}.o") for s in sources if Path(s).suffix not in (".o", ".a")]
        jobs += [(s, f"firmware/{s.stem}.o") for s in fw_sources]

        def one(job: tuple[Path, str]) -> None:
            source, obj = job
            places = [folder, firmware, *includes]
            compile_c(
                gcc, [source.resolve()], folder / obj, flags=[*flags, *prefixes, "-c"], includes=places, cwd=folder
            )

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(one, jobs))
        _link(gcc, [*(obj for _, obj in jobs), *ready, *libraries], folder, target, scheme)
        shutil.rmtree(folder / "firmware")
        for path in folder.iterdir():
            if path.suffix not in (".elf", ".map"):
                path.unlink()

    entry = cached("firmware", key, produce)
    try:
        elf.parent.mkdir(parents=True, exist_ok=True)
        _place(entry / "out.map", elf.with_suffix(".map"))
        return _place(entry / "out.elf", elf)
    except OSError as error:
        raise ToolchainError(f"cannot write the firmware: {error.strerror}", str(elf.parent)) from None


def _link(gcc: Tool, objects: Sequence[str], folder: Path, target: Target, scheme: str) -> None:
    options = ["-nostartfiles", "-Tlink.ld", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-Map=out.map"]
    result = run([*gcc.argv, *target.arch_flags(scheme), *options, *objects, "-o", "out.elf"], cwd=folder)
    if result.returncode:
        over = [(name, int(size)) for name, size in _OVERFLOW.findall(result.stderr)]
        if over:
            raise RegionOverflow(target, over)
        raise ToolchainError(first_error(result.stderr), f"linking for {target.name}")


def _place(source: Path, target: Path) -> Path:
    """Copy a file so that ``target`` is the old one or the new one, never a part."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    try:
        shutil.copyfile(source, name)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target
