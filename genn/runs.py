"""From a command's options to its Report: what the command line and the Python API share.

Torch is imported only inside the functions that read a model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from genn import data
from genn.errors import UsageError
from genn.progress import steps
from genn.report import Report, Table
from genn.target import Target, list_targets, load_target, target_for

if TYPE_CHECKING:
    from genn.api import Model

RUNNERS = ("host", "emu", "qemu")
CALIBRATION_SAMPLES = 256  # of a suite model, when the user gives none


def parse_shape(text: str) -> tuple[int, ...]:
    """``1,1,28,28`` as a tuple of positive ints."""
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
        if not shape or min(shape) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{text!r} is no shape", "--input-shape", "use positive numbers with commas, as in 1,1,28,28"
        ) from None
    return shape


def parse_runners(text: str) -> list[str]:
    """``host,emu`` as a list without repetition, each one of RUNNERS."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in RUNNERS:
            near = difflib.get_close_matches(name.lower(), RUNNERS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"there is no runner {name!r}", "--on", f"{hint}use {', '.join(RUNNERS)}")
    if not names:
        raise UsageError("no runner is named", "--on", f"use {', '.join(RUNNERS)}")
    return list(dict.fromkeys(names))


@contextmanager
def _named(what: str, name: str) -> Iterator[None]:
    """Errors about ``what`` name the user's file or option instead."""
    try:
        yield
    except UsageError as error:
        if error.where != what:
            raise
        raise UsageError(error.what, name, error.fix) from None


def convert_model(
    spec: str,
    weights: Path | None = None,
    scheme: str = "float32",
    calibrate: str | None = None,
    *,
    sparse: str = "auto",
    float_mode: str = "exact",
    target: str | Target | None = None,
    optimize: str = "balanced",
    sram: int | None = None,
    name: str = "net",
    input_shape: Sequence[str] = (),
    sensor: str | None = None,
    vectors: int = 4,
    trust: bool = False,
    with_frontend: bool = False,
) -> Model:
    """Load MODEL, read or find its calibration data, and convert it."""
    from genn import suite

    shapes = [parse_shape(s) for s in input_shape] or None
    known = spec in suite.MODELS
    if shapes and (known or spec.endswith(".pt2")):
        raise UsageError("--input-shape is for factories; this model has its shapes", spec, "leave it out")
    arrays: Any = data.load(calibrate, "--calibrate")[0] if calibrate is not None else None
    with steps("loading the model"):
        from genn.api import convert
        from genn.load import load_model

        loaded = load_model(spec, weights, trust, shapes)
    if arrays is None and (scheme != "float32" or float_mode == "block"):
        if not known:
            fix = "give a .npz or .npy of typical real inputs"
            what = f"scheme {scheme}" if scheme != "float32" else "float mode block"
            raise UsageError(f"{what} needs calibration data", "--calibrate", fix)
        arrays = suite.calibration(spec)[0][:CALIBRATION_SAMPLES]
    chosen = suite.samples(spec)[0][:vectors] if known else arrays
    frontend = None
    if with_frontend:
        frontend, chosen = suite.frontend(spec), suite.waves(spec)[0][:vectors]
    with steps("converting"), _named("calibration", f"--calibrate {calibrate}"):
        made = convert(
            loaded.model,
            loaded.example_inputs,
            scheme,
            arrays,
            sparse=sparse,
            float_mode=float_mode,
            target=target,
            optimize=optimize,
            sram=sram,
            name=name,
            sensor=sensor,
            vectors=vectors,
            vector_data=chosen,
            front_end=frontend,
        )
    if known:
        made.manifest.get("options", {})["suite"] = spec  # so that verify finds the module and its samples
    if frontend:
        made.manifest.get("options", {})["frontend"] = frontend.facts(suite.waves(spec)[0])
    return made


def _stored_inputs(folder: Path, inputs: Any, samples: int | None) -> list[np.ndarray]:
    """Stored input arrays for a run: a file's or array's real values, or the project's first test vector."""
    from genn.manifest import read_manifest
    from genn.vectors import read_vectors

    manifest = read_manifest(folder)
    if inputs is None:
        return [x[: samples or 1] for x in read_vectors(folder, manifest)[0]]
    named = isinstance(inputs, str | Path)
    arrays = data.load(inputs, "--input")[0] if named else inputs
    return [x[:samples] for x in manifest.encode(arrays, f"--input {inputs}" if named else "input")]


def _parameters(settings: Sequence[str]) -> dict[str, int]:
    """``NAME=N`` as a mapping."""
    found = {}
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign or not name or not value.isdecimal():
            raise UsageError(f"{text!r} sets no parameter", "--set", "use NAME=N, as in P=3")
        found[name] = int(value)
    return found


def emulate_report(
    path: str | Path,
    target: str | Target | None = None,
    inputs: Any = None,
    *,
    samples: int | None = None,
    timing: str | None = None,
    settings: Sequence[str] = (),
    opt: str | None = None,
    budget: int | None = None,
    estimate: bool = False,
    profiles: Sequence[str] = (),
    annotate: Sequence[str] = (),
    jobs: int | None = None,
    gdb: int | None = None,
) -> Report:
    """Run a converted folder, or the ELF built from it, as firmware: cycles, instructions, cycles per MAC by layer.

    ``estimate``, ``profiles`` (files to write) and ``annotate`` (functions to list) run it once more and watch it.
    ``settings``: parameters of the timing, as ``P=3``.  ``gdb``: run it under a debugger that connects to this port.
    """
    from genn import profiles as extra
    from genn.build import build_firmware
    from genn.emulate import emulate, project_of
    from genn.manifest import read_raw

    folder, elf = Path(path), None
    if folder.is_file():
        elf, found = folder, project_of(folder)
        if found is None:
            fix = "give that folder, or run this one alone with python -m emu"
            raise UsageError("it does not lie in the folder that genn convert wrote", str(path), fix)
        folder = found
        target = target or elf.resolve().parent.name  # build/TARGET/NAME.elf
    target, parameters = target and load_target(target), _parameters(settings)
    manifest = read_raw(folder)
    board = target_for(target, manifest.get("options", {}), "cortex-m0plus")
    title = str(manifest["name"])
    stored = _stored_inputs(folder, inputs, samples)
    if elf is None:
        with steps("compiling the firmware"):
            elf = build_firmware(folder, board, opt=opt)
    if gdb is not None:
        from genn.debug import debug_report

        return debug_report(folder, elf, board, stored, gdb, timing=timing)
    extra.check(profiles)
    watch = estimate or bool(profiles) or bool(annotate)
    with steps("running the firmware"):
        run = emulate(folder, board, stored, timing=timing, parameters=parameters, elf=elf, budget=budget,
                      watch=watch, jobs=jobs)
    rows = [
        [
            x.index,
            x.name,
            x.op,
            x.macs or None,
            x.cycles,
            x.instructions,
            x.cycles_per_mac,
            x.cycles / board.clock_hz * 1e3,
        ]
        for x in run.layers
    ]
    rows.append(
        [
            "",
            "(between layers)",
            "",
            None,
            run.other.cycles,
            run.other.instructions,
            None,
            run.other.cycles / board.clock_hz * 1e3,
        ]
    )
    macs = sum(x.macs for x in run.layers)
    total = [
        "",
        "total",
        "",
        macs or None,
        run.cycles,
        run.instructions,
        round(run.cycles / macs, 3) if macs else None,
        run.cycles / board.clock_hz * 1e3,
    ]
    columns = [
        "#",
        "layer",
        "operator",
        "MACs",
        "cycles",
        "instructions",
        "cycles/MAC",
        f"ms at {board.clock_hz / 1e6:g} MHz",
    ]
    lines = [
        f"{run.timing} timing ({run.tier}); mean of {run.samples} inference{'s' if run.samples > 1 else ''}; "
        f"{run.seconds_at_clock * 1e3:.4g} ms at {board.clock_hz / 1e6:g} MHz",
        f"stack: {run.stack_bytes:,} B used at most",
    ]
    lines += extra.flash_lines(run) + extra.energy_lines(run, board)
    lines += [f"note: {note}" for note in (*run.notes, *_other_core(manifest.get("options", {}), board))]
    tables = [Table(f"{title} on {board.name}", columns, rows, total)]
    functions = extra.function_table(run)
    if functions:
        tables.append(functions)
        lines += extra.write(run, profiles, annotate, [folder, Path.cwd()])
    return Report("emulate", run.to_json(), tables, lines, result=run)


def _other_core(options: dict[str, Any], board: Target) -> list[str]:
    """A sentence where the kernels were chosen for another instruction set than the one they run on."""
    from genn.kernels.base import ISA

    meant = options.get("target")
    if meant not in list_targets() or ISA[load_target(meant).core] == ISA[board.core]:
        return []
    return [f"the kernels were chosen for {meant}; on {board.name} their portable C runs. "
            f"genn convert -t {board.name} chooses for it"]


def _weigh(path: Path, target: str | Target | None, opt: str | None) -> Any:
    """The Footprint of a folder (its firmware built) or of an ELF, with the manifest of the folder it lies in."""
    from genn.build import build_firmware
    from genn.emulate import project_of
    from genn.footprint import footprint
    from genn.manifest import read_raw

    if path.is_dir():
        manifest = read_raw(path)
        with steps("compiling the firmware"):
            elf = build_firmware(path, target_for(target, manifest.get("options", {}), "nucleo-f411re"), opt=opt)
        return footprint(elf, manifest)
    if not path.exists():
        raise UsageError(
            "there is no such file or folder", str(path), "give a folder that genn convert wrote, or an ELF"
        )
    folder = project_of(path)
    return footprint(path, read_raw(folder) if folder else None)


def footprint_report(
    path: str | Path,
    target: str | Target | None = None,
    *,
    by: str = "layer",
    old: Path | None = None,
    budget: str | None = None,
    opt: str | None = None,
) -> Report:
    """Weigh a converted folder's firmware or any ELF; each view sums to the section headers."""
    from genn.footprint import GROUPS, parse_budget

    path = Path(path)
    limits = parse_budget(budget) if budget else {}
    found = _weigh(path, target, opt)
    document = found.to_json()
    if old is not None:
        before = _weigh(Path(old), target, opt)
        rows = [
            [
                (b or a).name,
                a.flash if a else 0,
                b.flash if b else 0,
                (b.flash if b else 0) - (a.flash if a else 0),
                (b.ram if b else 0) - (a.ram if a else 0),
            ]
            for a, b in found.diff(before, by)
        ]
        total = ["total", before.flash, found.flash, found.flash - before.flash, found.ram - before.ram]
        tables = [
            Table(
                f"{path.resolve().name} against {Path(old).resolve().name}",
                ["name", "flash before", "flash after", "flash +/-", "RAM +/-"],
                rows,
                total,
            )
        ]
        document["diff"] = [
            dict(zip(("name", "flash_before", "flash_after", "flash_change", "ram_change"), r, strict=True))
            for r in rows
        ]
    else:
        layered = by == "layer"
        columns = ["name", "kind", *(("code", "weights", "constants") if layered else ()), "flash", "RAM"]
        rows = []
        for e in found.view(by):
            callers = f" (layers {', '.join(map(str, e.callers))})" if e.callers else ""
            parts = [e.code or None, e.weights or None, e.constants or None] if layered else []
            rows.append([e.name, GROUPS.get(e.group, e.group) + callers, *parts, e.flash, e.ram])
        total = ["total", "", *([None] * 3 if layered else []), found.flash, found.ram]
        tables = [Table(f"{path.resolve().name}: {found.elf}", columns, rows, total)]
    report = Report("footprint", document, tables, result=found)
    report.lines.append(
        f"flash {found.flash:,} B, RAM {found.ram:,} B (arena with input and output, .data, .bss, reserved stack)"
    )
    used = {"flash": found.flash, "ram": found.ram}
    over = [
        f"{k} is {used[k]:,} B, {used[k] - limit:,} B over the budget of {limit:,} B"
        for k, limit in limits.items()
        if used[k] > limit
    ]
    if over:
        report.ok, report.failure = False, "; ".join(over)
    return report


def verify_report(
    directory: str | Path,
    spec: str | None = None,
    weights: Path | None = None,
    data_file: str | None = None,
    *,
    on: Sequence[str] = ("host",),
    target: str | Target | None = None,
    layers: bool = False,
    samples: int | None = None,
    jobs: int | None = None,
    sanitize: bool = False,
    trust: bool = False,
) -> Report:
    """Compare PyTorch (if the model is known), the reference and the C on each runner."""
    from genn import suite
    from genn.manifest import read_manifest
    from genn.verify import verify

    manifest = read_manifest(directory)
    board = target_for(target, manifest.raw.get("options", {}), "cortex-m0plus")
    if weights is not None and spec is None:
        raise UsageError("--weights goes with --model, which is not given", fix="name the model that they belong to")
    options = manifest.raw.get("options", {})
    asked, spec, frontend = spec is not None, spec or options.get("suite"), bool(options.get("frontend"))
    arrays: Any = None
    labels = None
    if data_file is not None:
        loaded, labels = data.load(data_file)
        arrays = manifest.match(loaded, f"--data {data_file}")
    elif spec in suite.MODELS:
        arrays, labels = suite.waves(spec) if frontend else suite.samples(spec)
    module: Any = None
    example: Any = None
    notes = [] if arrays is not None else ["the inputs are random; --data X.npz compares on real ones"]
    if spec:
        try:
            with steps("loading the model"):
                from genn.load import load_model

                model = load_model(spec, weights, trust, default_shapes=[v.torch_shape for v in manifest.inputs])
                module, example = model.model, model.example_inputs
                if frontend:
                    module, example = suite.frontend(spec).module(module), None
        except ModuleNotFoundError as error:
            if asked or error.name != "torch":
                raise
            notes.append("torch is not installed, so PyTorch is not compared; pip install 'genn-mcu[torch]'")
    with steps("comparing"):
        report = verify(
            directory,
            arrays,
            labels=labels,
            module=module,
            example=example,
            on=on,
            target=board,
            layers=layers,
            samples=samples,
            jobs=jobs,
            sanitize=sanitize,
        )
    report.lines += notes
    return report


def targets_report() -> Report:
    """Every target file that comes with genn."""
    from genn.target import list_targets

    boards = [load_target(name) for name in list_targets()]
    rows = [
        [
            b.name,
            b.core + (" with FPU" if b.fpu else ""),
            b.clock_hz / 1e6,
            sum(r.size for r in b.regions if r.kind == "flash") // 1024,
            sum(r.size for r in b.regions if r.kind == "ram") // 1024,
            b.timing,
            b.description,
        ]
        for b in boards
    ]
    document = {"schema": 1, "targets": [msgspec.to_builtins(b) for b in boards]}
    return Report(
        "targets", document, [Table("", ["target", "core", "MHz", "flash KiB", "RAM KiB", "timing", ""], rows)]
    )


def ops_report() -> Report:
    """The registry: every operator, what it is, and the ATen overloads it takes."""
    from genn.ops import registry

    known = sorted(registry.values(), key=lambda op: (op.family, op.name))
    rows = [
        [op.name, op.family, op.header, op.doc, ", ".join(a.removeprefix("aten.") for a in op.aten)] for op in known
    ]
    document = {
        "schema": 1,
        "operators": [
            {"name": op.name, "family": op.family, "header": op.header, "doc": op.doc, "aten": list(op.aten)}
            for op in known
        ],
    }
    return Report("ops", document, [Table("", ["operator", "family", "kernel", "what", "ATen"], rows)])


def doctor_report() -> Report:
    """What is installed and what to do about the rest."""
    from genn import doctor

    found = doctor.examine()
    rows = [[f.name, f.version or "missing", f.need, f.used_for, "" if f.ok else f.fix] for f in found]
    document = doctor.to_json(found)
    missing = [f.name for f in found if not f.ok and f.need == "required"]
    return Report(
        "doctor",
        document,
        [Table("", ["what", "version", "", "used for", "to do"], rows)],
        ok=not missing,
        failure=f"missing: {', '.join(missing)}",
    )
