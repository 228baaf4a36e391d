"""The Python API: ``genn.convert(module, example)`` gives a Model that saves, verifies, emulates and weighs itself.

The command line is a thin skin over this file; both return the same Reports.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import genn
from genn import codegen, data, extras, fit, quantize, reference, serialize
from genn.errors import CheckFailed, UsageError
from genn.ir import SCHEMES, Graph
from genn.kernels import GOAL, Goal, unrolled
from genn.kernels.block import errors
from genn.names import check_name, identifier
from genn.ops import registry
from genn.plan import in_order, neighbours
from genn.report import Report, Table, shape_text
from genn.target import Target, load_target

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from genn.frontends.speech import Frontend

VECTORS = 4  # test vectors that travel with the generated C
SEED = 20260101


def convert(
    module: nn.Module | ExportedProgram,
    example_input: Any = None,
    scheme: str = "float32",
    calibration: Any = None,
    *,
    sparse: str = "auto",
    float_mode: str = "exact",
    target: str | Target | None = None,
    optimize: str = "balanced",
    sram: int | None = None,
    name: str | None = None,
    sensor: str | extras.Sensor | None = None,
    vectors: int = VECTORS,
    vector_data: Any = None,
    front_end: Frontend | None = None,
) -> Model:
    """Convert a trained network to C.

    module: an ``nn.Module`` (put into eval mode on a copy) or an ``ExportedProgram``.
    example_input: a tensor or a tuple of tensors with the shapes the network will always have (batch included).
    scheme: ``float32``, ``int16`` or ``int8``; the latter two need ``calibration``.
    calibration: array (S, ...) or a mapping or list of arrays, one per input, of typical real inputs.
    float_mode: float32 only: ``exact``, or ``block`` floating point in the layers that it makes no less accurate.
    sparse: ``auto`` stores exact zeros or not, layer by layer, as is worthwhile; ``always``, ``never``.
    target: the board or chip whose kernels the weights are packed for; the C runs everywhere, and fastest there.
    optimize: ``time``, ``flash``, ``balanced`` or ``ram``: what kernels and plan are chosen for.
    sram: bytes for the arena; in the place of ``optimize``, the fastest way to run in them (``genn.fit``).
    sensor: ``TYPE:SCALE[:OFFSET]``: adds an integer-only conversion of sensor values to NAME.h.
    vectors, vector_data: how many test vectors travel with the C, and from which real inputs (default: calibration).
    front_end: signal processing that runs on the device before the network; ``vector_data`` is then what it takes.
    Raises ModelError (unsupported, NaN, dynamic shapes ...), UsageError, or CheckFailed where no plan fits ``sram``.
    """
    from torch.export import ExportedProgram

    from genn import frontend, passes

    if scheme not in SCHEMES:
        raise UsageError(f"there is no scheme {scheme!r}", fix=f"use one of {', '.join(SCHEMES)}")
    if isinstance(module, ExportedProgram):
        exported, title = module, "exported program"
    elif example_input is None:
        raise UsageError("an nn.Module needs an example input", fix="pass a tensor of the shape it takes")
    else:
        exported, title = frontend.trace(module, example_input), type(module).__name__
    graph = passes.canonicalize(frontend.import_graph(exported, title))
    model = convert_graph(
        graph,
        scheme,
        calibration,
        sparse=sparse,
        float_mode=float_mode,
        target=target,
        optimize=optimize,
        sram=sram,
        name=name or identifier(title.lower()),
        sensor=sensor,
        vectors=vectors,
        vector_data=vector_data,
        module=front_end.module(module) if front_end else module,
        front_end=front_end,
    )
    model.example = None if front_end else example_input
    return model


def convert_graph(
    graph: Graph,
    scheme: str,
    calibration: Any = None,
    *,
    sparse: str = "auto",
    float_mode: str = "exact",
    target: str | Target | None = None,
    optimize: str = "balanced",
    sram: int | None = None,
    kernel: str | None = None,
    name: str = "net",
    sensor: str | extras.Sensor | None = None,
    vectors: int = VECTORS,
    vector_data: Any = None,
    module: Any = None,
    front_end: Frontend | None = None,
) -> Model:
    """The steps after the front end: quantize, plan, generate.  ``graph`` is a canonical float graph.

    kernel: for tests and benchmarks, the one tuned kernel allowed, or ``portable``.
    """
    check_name(name)
    board = load_target(target) if target is not None else None
    sensor = extras.parse_sensor(sensor) if isinstance(sensor, str) else sensor
    samples = None
    if calibration is not None:
        samples = match_inputs(graph, calibration, "calibration")

    def generate(goal: Goal) -> codegen.CProject:
        source = graph.copy()
        source.meta[GOAL] = goal
        quantized = quantize.quantize(source, scheme, samples, sparse, float_mode)
        unrolled.spend(quantized)
        ordered = in_order(front_end.attach(quantized) if front_end else quantized)
        return codegen.generate(neighbours(ordered) if goal.stream else ordered, name)

    goal = Goal.of(board, optimize, kernel)
    found = fit.fastest(generate, goal, sram, board) if sram is not None else None
    project = found.project if found else generate(goal)
    quantized = project.graph
    if front_end is not None:
        graph, samples = front_end.attach(graph), None
    given = match_inputs(graph, vector_data, "test vectors") if vector_data is not None else samples
    if given is None:
        rng = np.random.default_rng(SEED)
        given = {
            n: rng.standard_normal((max(1, vectors), *reference.torch_shape(graph, n))).astype(np.float32)
            for n in graph.inputs
        }
    stored = {n: reference.encode(quantized, n, given[n][: max(1, vectors)]) for n in graph.inputs}
    expected = reference.run(quantized, stored)
    project.files[serialize.FILE] = serialize.dumps(quantized)
    extras.add_extras(project, stored, expected, sensor, graph.name)
    options: dict[str, Any] = {"scheme": scheme, "sparse": sparse, "optimize": optimize}
    options["target"] = board.name if board else None
    if float_mode != "exact":
        options["float_mode"] = float_mode
    if found:
        options |= {"optimize": found.optimize, "sram": sram}
    return Model(graph, project, module, samples, options, found.plans(board) if found else [])


def match_inputs(graph: Graph, arrays: Any, what: str) -> dict[str, np.ndarray]:
    """Real arrays as {graph input: float32 (S, *torch shape)}."""
    return data.match(arrays, graph.inputs, [reference.torch_shape(graph, n) for n in graph.inputs], what)


def fingerprint(graph: Graph) -> str:
    """SHA-256 of the canonical float graph: structure, attributes and weights."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(repr((node.op, node.inputs, node.outputs, node.attrs)).encode("utf-8", "backslashreplace"))
    for name in sorted(graph.tensors):
        t = graph[name]
        digest.update(repr((name, t.shape, t.dtype)).encode("utf-8", "backslashreplace"))
        if t.const is not None:
            digest.update(t.const.tobytes())
    return digest.hexdigest()


class Model:
    """A converted network: ``graph`` (quantized), ``float_graph``, ``project`` (C in memory), ``module`` (torch)."""

    def __init__(
        self,
        float_graph: Graph,
        project: codegen.CProject,
        module: Any,
        samples: Mapping[str, np.ndarray] | None,
        options: Mapping[str, Any],
        plans: list[dict[str, Any]] | None = None,
    ) -> None:
        self.float_graph, self.project, self.module = float_graph, project, module
        self.graph, self.name = project.graph, project.name
        self.example: Any = None  # inputs that ``module`` was traced with
        self.samples, self.options = samples, dict(options)
        self.folder: Path | None = None
        self.plans = plans or []  # what was weighed to fit ``sram``
        self.manifest = _manifest(self)

    # -- the generated C ----------------------------------------------------------------------------------------
    def save(self, out: str | Path, force: bool = False, verbose: bool = False) -> Report:
        """Write the project to folder ``out``, whole or not at all.

        Returns the Report that convert prints; its ``result`` is the folder.
        force: overwrite generated files that were edited.  verbose: as for ``report``.
        """
        from genn.project import write_project

        self.folder = write_project(self.project.files, self.manifest, Path(out), force=force)
        report = self.report(verbose)
        report.lines.append(f"wrote {self.folder}")
        report.result = self.folder
        return report

    def _place(self) -> Path:
        """The project's folder: where it was saved, or a temporary one that lives as long as the Model."""
        if self.folder is None or not self.folder.exists():
            temporary = Path(tempfile.mkdtemp(prefix="genn-"))
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            self.save(temporary / self.name)
        assert self.folder is not None
        return self.folder

    # -- what it means ------------------------------------------------------------------------------------------
    def predict(self, x: Any) -> list[np.ndarray]:
        """The reference on real inputs (S, *torch shape); real outputs in torch's layout, one array per output."""
        given = match_inputs(self.float_graph, x, "input")
        stored = {n: reference.encode(self.graph, n, given[n]) for n in self.graph.inputs}
        made = reference.run(self.graph, stored)
        return [reference.decode(self.graph, n, made[n]) for n in self.graph.outputs]

    # -- reports ------------------------------------------------------------------------------------------------
    def report(self, verbose: bool = False) -> Report:
        """What convert prints: layers, weights, arena, and with ``verbose`` bits and the accumulator proofs."""
        report = convert_report(self.manifest, self.project if verbose else None)
        if self.plans:
            report.tables.append(fit.table(self.plans, self.options["sram"]))
            report.data["plans"] = self.plans
        return report

    def check_fits(self, target: str | Target) -> None:
        """CheckFailed if weights or arena alone exceed the target's memories: by how much, and the heaviest layers."""
        target = load_target(target) if isinstance(target, str) else target
        flash = sum(r.size for r in target.regions if r.kind == "flash")
        ram = sum(r.size for r in target.regions if r.kind == "ram")
        layers = self.manifest["layers"]
        constants = sum(layer["weight_bytes"] + layer["constant_bytes"] for layer in layers)
        arena = self.manifest["arena"]["bytes"]
        for what, need, has, key in (
            ("flash", constants, flash, "weight_bytes"),
            ("ram", arena + target.stack, ram, "arena_live"),
        ):
            if need > has:
                heavy = sorted(layers, key=lambda layer: -layer[key])[:3]
                names = ", ".join(f"{layer['name']} ({layer[key]} B)" for layer in heavy)
                raise CheckFailed(
                    f"the network needs at least {need} B of {what}, {need - has} B more than {target.name} has",
                    fix=f"the heaviest layers are {names}: use a smaller scheme, prune, or choose a larger target",
                )

    def verify(self, data: Any = None, labels: Any = None, **options: Any) -> Report:
        """PyTorch, reference and C compared: see ``genn.verify.verify``."""
        from genn.verify import verify

        return verify(self._place(), self.samples if data is None else data, labels=labels, model=self, **options)

    def emulate(self, target: str | Target | None = None, inputs: Any = None, **options: Any) -> Report:
        """The same C as Thumb firmware in the emulator: see ``genn.emulate.emulate_project``."""
        from genn.runs import emulate_report

        return emulate_report(self._place(), target, inputs, **options)

    def footprint(self, target: str | Target | None = None, by: str = "layer", **options: Any) -> Report:
        """Flash and RAM of the firmware, to the byte: see ``genn.footprint``."""
        from genn.runs import footprint_report

        return footprint_report(self._place(), target, by=by, **options)


def _port(model: Model, tensor: str) -> dict[str, Any]:
    graph = model.graph
    t = graph[tensor]
    out: dict[str, Any] = {
        "name": tensor,
        "shape": list(t.shape),
        "torch_shape": list(reference.torch_shape(graph, tensor)),
        "layout": list(graph.layout.get(tensor) or range(len(t.shape))),
        **_value(model, tensor),
    }
    return out


def _value(model: Model, tensor: str) -> dict[str, Any]:
    t = model.graph[tensor]
    q = t.q
    return {
        "shape": list(t.shape),
        "dtype": t.dtype,
        "bits": q.bits if q else 32,
        "scale": float(q.scale) if q else 1.0,
        "zero_point": q.zero_point if q else 0,
        "offset": model.project.plan.offsets[tensor],
        "bytes": t.nbytes,
    }


def _manifest(model: Model) -> dict[str, Any]:
    graph, project = model.graph, model.project
    inner = {n.name: r.nodes[-1].name for r in (s.region for s in project.streams) for n in r.nodes}
    steps = {node.name: i for i, node in enumerate(project.planned.nodes)}
    layers = []
    for layer in project.layers:
        node, low = layer.node, layer.lowered
        quant = node.quant
        layers.append(
            {
                "index": layer.index,
                "name": node.source.fqn or node.name,
                "op": node.op,
                "symbol": layer.symbol,
                "weights": layer.weights,
                "constants": layer.constants,
                "scheme": graph.scheme,
                "sparse": bool(quant.get("sparse", False)),
                "kernel": layer.kernel,
                "macs": registry[node.op].macs(node, graph),
                "weight_bytes": 4 * len(codegen.words(low.weights)) if low.weights else 0,
                "constant_bytes": sum(
                    np.dtype(codegen.NP_CTYPE[a.ctype]).itemsize * max(1, np.size(a.values))
                    for a in low.consts.values()
                ),
                "in_shapes": [list(t.shape) for t in graph.activations(node)],
                "out_shapes": [list(graph[o].shape) for o in node.outputs],
                "arena_live": project.plan.live(steps[inner.get(node.name, node.name)]),
                "runs_in": next((s.symbol for s in project.streams if node in s.region.nodes), None),
                "workspace": low.workspace,
                "source": {"fqn": node.source.fqn, "file": node.source.file, "line": node.source.line},
                "outputs": [{"tensor": o, **_value(model, o)} for o in node.outputs if o in project.plan.offsets],
            }
        )
    return {
        "schema": 1,
        "generator": f"genn-mcu {genn.__version__}",
        "name": model.name,
        "scheme": graph.scheme,
        "model_sha256": fingerprint(model.float_graph),
        "options": model.options,
        "arena": {
            "bytes": project.plan.arena,
            "align": 8,
            "lower_bound": project.plan.lower_bound,
            "proof": project.plan.proof,
        },
        "inputs": [_port(model, n) for n in graph.inputs],
        "outputs": [_port(model, n) for n in graph.outputs],
        "layers": layers,
    }


def convert_report(manifest: Mapping[str, Any], project: codegen.CProject | None = None) -> Report:
    """The table of a conversion; ``project`` adds the bits and proofs of ``-v``."""
    columns = ["#", "layer", "operator", "output", "MACs", "weights B", "store", "kernel", "arena live B"]
    layers: Sequence[Mapping[str, Any]] = manifest["layers"]
    rows = [
        [
            x["index"],
            x["name"],
            x["op"],
            shape_text(x["out_shapes"][0]),
            x["macs"] or None,
            x["weight_bytes"] or None,
            ("sparse" if x["sparse"] else "dense") if x["weights"] else "",
            x["kernel"],
            x["arena_live"],
        ]
        for x in layers
    ]
    total = [
        "",
        "total",
        "",
        "",
        sum(x["macs"] for x in layers),
        sum(x["weight_bytes"] for x in layers),
        "",
        "",
        manifest["arena"]["bytes"],
    ]
    tables = [Table(f"{manifest['name']}: {manifest['scheme']}", columns, rows, total)]
    if project is not None:
        tables.append(_proofs(project))
        tables += errors(project.layers)
    arena = manifest["arena"]
    lines = [
        f"arena {arena['bytes']:,} B (input and output inside), "
        f"lower bound {arena['lower_bound']:,} B: {arena['proof']}"
    ]
    return Report("convert", dict(manifest), tables, lines)


def _proofs(project: codegen.CProject) -> Table:
    """Bits per layer and the proof that its accumulator fits: the worst |partial sum| of weights and input range."""
    rows = []
    for layer in project.layers:
        q, node = layer.node.quant, layer.node
        bound = q.get("bound")
        x = project.graph[node.inputs[0]].q
        y = project.graph[node.outputs[0]].q
        error = q["requant"].error if "requant" in q else q.get("error")
        rows.append(
            [
                layer.index,
                node.source.fqn or node.name,
                x.bits if x else 32,
                q.get("bits"),
                y.bits if y else 32,
                bound,
                f"{bound / 2**31:.1%} of 2^31" if bound is not None else "",
                q.get("split") or None,
                error,
            ]
        )
    return Table(
        "accumulator proofs",
        [
            "#",
            "layer",
            "input bits",
            "weight bits",
            "output bits",
            "largest |accumulator|",
            "of int32",
            "split along K",
            "rounding error (steps)",
        ],
        rows,
    )
