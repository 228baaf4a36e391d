"""From generated C to something the host can run: a Python extension module, or a program under the sanitizers.

Cython translated the wrapper (``genn/_host.pyx``) once, when genn was installed; its object file is the same for every
network and cached.  Per model the C compiler sees NAME.c, NAME_weights.c and a small table (``table_source``) that says
where inputs, outputs and layers are, and gives the module its name.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from genn.errors import ModelError, ToolchainError
from genn.manifest import Manifest, Value
from genn.paths import host_wrapper
from genn.toolchain import Tool, cached, compile_c, digest, find_cc, run

BASE_FLAGS = ("-std=c99", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-w")
FAST_FLAGS = ("-O3",)
SANITIZE_FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
_PACKAGE = Path(__file__).resolve().parent
_KEYS = ("schema", "name", "scheme", "model_sha256", "arena", "inputs", "outputs", "layers")


def build_module(manifest: Manifest) -> Path:
    """The extension module of a project, in the cache; a copy lies at DIR/build/host to be imported by name.

    ToolchainError if there is no compiler, no Python.h, or the compiler refuses the code.
    """
    cc = find_cc()
    flags = (*BASE_FLAGS, *FAST_FLAGS, *_native(cc))
    sources, headers = _files(manifest)
    table = table_source(manifest)
    wrapper = _wrapper_object(cc)
    key = digest(cc.version, cc.argv, flags, _cpu(), table, [p.name for p in (*sources, *headers)],
                 *sources, *headers, wrapper.parent.name, SUFFIX)

    def produce(folder: Path) -> None:
        objects = _compile(cc, manifest, sources, table, flags, folder)
        module = folder / f"{manifest.name}{SUFFIX}"
        compile_c(cc, [*objects, wrapper], module, flags=["-shared", "-pthread", "-Wl,-Bsymbolic"])
        _keep_only(folder, module)

    module = cached("host", key, produce) / f"{manifest.name}{SUFFIX}"
    _place(module, manifest.folder / "build" / "host" / module.name)
    return module


def build_sanitized(manifest: Manifest) -> Path:
    """A program (``PROGRAM SAMPLES IN OUT``) of the same C under AddressSanitizer and UBSan, in the cache."""
    cc = find_cc()
    flags = (*(f for f in BASE_FLAGS if f != "-fPIC"), *SANITIZE_FLAGS)
    sources, headers = _files(manifest)
    table = table_source(manifest)
    key = digest(cc.version, cc.argv, flags, table, [p.name for p in (*sources, *headers)], *sources, *headers,
                 _PACKAGE / "_host.h")

    def produce(folder: Path) -> None:
        objects = _compile(cc, manifest, sources, table, (*flags, "-DGENN_HOST_MAIN"), folder)
        program = folder / "sanitized"
        try:
            compile_c(cc, objects, program, flags=[*SANITIZE_FLAGS, "-pthread"])
        except ToolchainError as error:
            if any(word in error.what for word in ("asan", "ubsan", "sanitize")):
                raise ToolchainError("the compiler has no AddressSanitizer or UBSan", cc.path,
                                     "install gcc's libasan and libubsan, or set CC=clang") from None
            raise
        _keep_only(folder, program)

    return cached("sanitize", key, produce) / "sanitized"


def table_source(manifest: Manifest) -> str:
    """The per-model C: ``genn_host_table`` and the module's init function."""
    name = manifest.name
    facts = json.dumps({k: manifest.raw.get(k) for k in _KEYS}, separators=(",", ":"))
    text = facts.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
    pieces, at = [], 0
    while at < len(text):
        end = min(at + 1000, len(text))
        while end < len(text) and text[end - 1] == "\\":  # never cut an escape in two
            end += 1
        pieces.append(f'    "{text[at:end]}"')
        at = end
    layers = manifest.layers
    entries = [manifest.entry(layer) for layer in layers]
    taps = [v for layer in layers for v in layer.outputs]
    tables = (("ins", manifest.inputs), ("outs", manifest.outputs), ("taps", taps))
    return "\n".join([
        "#define GENN_HOST_TABLE",
        '#include "_host.h"',
        f"int {name}_run(void *arena);",
        *(f"void {entry}(unsigned char *arena);" for entry in entries if entry),
        "static inline void genn_host_nothing(unsigned char *arena) { (void)arena; }",
        "static const char facts[] =", *pieces, "    ;",
        *(_values(kind, values) for kind, values in tables),
        "static const genn_host_layer layers[] = {",
        *(f"    {{{entry or 'genn_host_nothing'}, {len(layer.outputs)}}},"
          for layer, entry in zip(layers, entries, strict=True)), "    {0, 0}};",
        "const genn_host_model genn_host_table = {",
        f"    facts, {manifest.arena_bytes}u, {manifest.arena_align}u, {name}_run,",
        f"    {len(manifest.inputs)}, {len(manifest.outputs)}, {len(layers)}, {len(taps)}, ins, outs, taps, layers}};",
        "#ifndef GENN_HOST_MAIN",
        "extern void *PyInit__host(void);",
        f'__attribute__((visibility("default"))) void *PyInit_{name}(void) {{ return PyInit__host(); }}',
        "#endif", ""])


def _values(kind: str, values: tuple[Value, ...] | list[Value]) -> str:
    rows = "".join(f"{{{v.offset}u, {v.bytes}u}}, " for v in values)
    return f"static const genn_host_value {kind}[] = {{{rows}{{0, 0}}}};"


def _files(manifest: Manifest) -> tuple[list[Path], list[Path]]:
    """The network's own C files, and every header beside them."""
    name, folder = manifest.name, manifest.folder
    left_out = {"main.c", f"{name}_infer.c"}
    sources = [folder / f for f in sorted(manifest.raw["files"]) if f.endswith(".c") and f not in left_out]
    for source in sources:
        if not source.is_file():
            raise ModelError("the file is missing", str(source), "run genn convert again")
    return sources, sorted(folder.glob("*.h"))


def _compile(cc: Tool, manifest: Manifest, sources: list[Path], table: str, flags: tuple[str, ...],
             folder: Path) -> list[Path]:
    """Object files of the network and its table."""
    shim = folder / "genn_table.c"
    shim.write_text(table, "utf-8")
    jobs: list[tuple[Path, tuple[str, ...]]] = [(shim, ("-D_GNU_SOURCE", "-O2"))]
    # Weights are data: nothing to optimise.
    jobs += [(s, ("-O0",) if s.name == f"{manifest.name}_weights.c" else ()) for s in sources]

    def one(job: tuple[Path, tuple[str, ...]]) -> Path:
        source, more = job
        return compile_c(cc, [source.resolve()], folder / f"{source.stem}.o", flags=[*flags, *more, "-c"],
                         includes=[manifest.folder.resolve(), _PACKAGE], cwd=folder)

    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, jobs))


def _wrapper_object(cc: Tool) -> Path:
    """The compiled wrapper, one for all networks; it only passes addresses on, so nothing is optimised."""
    source = _translated()
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").is_file():
        raise ToolchainError("Python.h is missing", include, "install the package python3-dev")
    flags = [*(f for f in BASE_FLAGS if not f.startswith("-std")), "-std=gnu11", "-O0", "-c"]
    key = digest(cc.version, cc.argv, flags, source, _PACKAGE / "_host.h", SUFFIX, platform.python_version())

    def produce(folder: Path) -> None:
        compile_c(cc, [source], folder / "wrapper.o", flags=flags, includes=[Path(include), _PACKAGE])

    return cached("host-wrapper", key, produce) / "wrapper.o"


def _translated() -> Path:
    """The wrapper as C: from the installation, or, in a checkout that changed since, translated now."""
    pyx = _PACKAGE / "_host.pyx"
    try:
        shipped = host_wrapper()
        if not pyx.is_file() or pyx.stat().st_mtime <= shipped.stat().st_mtime:
            return shipped
    except ToolchainError:
        if not pyx.is_file():
            raise

    def produce(folder: Path) -> None:
        try:
            from Cython.Compiler.Main import CompilationOptions, compile_single
            from Cython.Compiler.Options import default_options
        except ImportError:
            raise ToolchainError("the host wrapper is not translated and Cython is not installed",
                                 fix="install genn-mcu again") from None
        options = CompilationOptions({**default_options, "language_level": 3}, output_file=str(folder / "_host.c"))
        if compile_single(str(pyx), options, "genn._host").num_errors:
            raise ToolchainError("Cython could not translate the host wrapper", str(pyx))

    return cached("host-translated", digest(pyx), produce) / "_host.c"


@functools.lru_cache(maxsize=8)
def _native(cc: Tool) -> tuple[str, ...]:
    """-march=native where the compiler knows it; the order of operations is fixed, so the bytes stay the same."""
    flag = "-march=native"
    return (flag,) if run([*cc.argv, flag, "-E", "-x", "c", os.devnull]).returncode == 0 else ()


@functools.lru_cache(maxsize=1)
def _cpu() -> str:
    """What -march=native depends on, so that a cache on a shared disk serves each machine its own."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            wanted = ("model name", "flags", "Features", "CPU part")
            return "".join(sorted({line for line in lines if line.startswith(wanted)}))
    except OSError:
        return platform.processor() + platform.machine()


def _keep_only(folder: Path, *keep: Path) -> None:
    for path in folder.iterdir():
        if path not in keep:
            path.unlink()


def _place(source: Path, target: Path) -> None:
    """Put the module where ``import NAME`` finds it, whole or not at all; a read-only project is no obstacle."""
    try:
        if target.is_file() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy2(source, part)
        os.replace(part, target)
    except OSError:
        return
