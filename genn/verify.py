"""The parity driver: PyTorch, the NumPy reference and the generated C on one set of inputs, compared value by value.

Between the reference and any C there is nothing to tolerate: a single differing byte fails the check, and the report
names the first layer that diverges.  Against PyTorch float32 has a stated tolerance; quantized schemes are measured
(largest difference, SQNR per layer against the float network, accuracy, flips), not judged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genn import reference, serialize
from genn.errors import ModelError, UsageError
from genn.host import HostProcess, jobs_or_all
from genn.ir import Graph
from genn.manifest import Manifest, Value, read_manifest
from genn.ops import registry
from genn.progress import steps
from genn.report import Report, Table, shape_text
from genn.target import Target, load_target

RUNNERS = ("host", "emu", "qemu")
DEFAULT_SAMPLES = 256  # random inputs, where no data is given
LAYER_SAMPLES = 256  # samples compared layer by layer, unless all are asked for
ENGINE_SAMPLES = 100  # samples for emulator and QEMU, unless a number is asked for
CHUNK_BYTES = 32 << 20  # of activations the reference holds at once
SEED = 20260102
TOLERANCE = 1e-4  # float32 against torch: |difference| <= TOLERANCE * (1 + largest |torch output|)

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Job:
    """What is compared: the project, its graph, real inputs and the same inputs as stored."""

    manifest: Manifest
    graph: Graph
    given: dict[str, np.ndarray]
    stored: list[np.ndarray]
    jobs: int

    @property
    def samples(self) -> int:
        return len(self.stored[0])

    def part(self, index: Any) -> list[np.ndarray]:
        return [x[index] for x in self.stored]


def verify(project_dir: str | Path, data: Any = None, labels: Any = None, *, model: Any = None, module: Any = None,
           example: Any = None, on: Sequence[str] = ("host",), target: str | Target = "cortex-m0plus",
           layers: bool = False, samples: int | None = None, jobs: int | None = None, sanitize: bool = False) -> Report:
    """Compare the C of ``project_dir`` with the reference and, where there is a module, PyTorch.

    model: a genn.api.Model; without it the graph is read from the project.  module: default is ``model.module``.
    example: the inputs ``module`` was traced with, where they are no plain tensors (see run_torch).
    data: real inputs (array, list or mapping), torch's layout; default: the model's calibration data, else random.
    labels: integer classes (S,), for accuracy and flips.
    on: runners, of host, emu (on ``target``) and qemu.
    layers: show and compare every sample layer by layer; otherwise the first 256 are, and those with a mismatch.
    samples: use the first N samples.  jobs: threads, None for all cores.  sanitize: also run under ASan and UBSan.
    """
    if unknown := [r for r in on if r not in RUNNERS]:
        raise UsageError(f"there is no runner {', '.join(unknown)}", "--on", f"use {', '.join(RUNNERS)}")
    manifest = read_manifest(project_dir)
    graph = model.graph if model is not None else serialize.load(manifest.folder / serialize.FILE)
    _check_same(manifest, graph)
    if module is None:
        module, example = getattr(model, "module", None), getattr(model, "example", None)
    if data is None:
        data = getattr(model, "samples", None) or random_inputs(manifest, samples or DEFAULT_SAMPLES)
    given = manifest.match(data)
    given = {k: x[:samples] for k, x in given.items()}
    job = _Job(manifest, graph, given, [v.encode(given[v.name]) for v in manifest.inputs], jobs_or_all(jobs))
    labels = _labels(labels, samples, job.samples)

    expected = run_reference(graph, job.stored, job.jobs)
    exact = graph.scheme == "float32" and all(registry[node.op].traced for node in graph.nodes)
    floats = expected if exact else run_reference(float_view(graph), _float_inputs(job), job.jobs)
    torch_out = run_torch(module, manifest, given, example) if module is not None else None
    found = {name: _run(name, job, target, samples) for name in on}
    if sanitize:
        found["sanitized"] = HostProcess(manifest, sanitize=True).run(job.part(slice(ENGINE_SAMPLES))).outputs
    stepped = _stepped(job, target, samples) if layers and "emu" in on else None
    return _report(job, expected, floats, torch_out, found, labels, layers, stepped)


# -- the sides that are compared ---------------------------------------------------------------------------------------
def random_inputs(manifest: Manifest, samples: int) -> dict[str, np.ndarray]:
    """Real inputs in torch's layout that reach the whole input range (float32: normal)."""
    rng = np.random.default_rng(SEED)
    out = {}
    for v in manifest.inputs:
        shape = (samples, *v.torch_shape)
        if v.q is None:
            out[v.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            out[v.name] = v.q.dequantize(rng.integers(v.q.qmin, v.q.qmax + 1, shape)).astype(np.float32)
    return out


def float_view(graph: Graph) -> Graph:
    """The float network that ``graph`` is a quantization of, over the same tensors."""
    view = graph.copy()
    view.scheme = "float32"
    view.tensors = {k: replace(t, dtype="float32", q=None) if t.const is None else t for k, t in view.tensors.items()}
    return view


def run_reference(graph: Graph, stored: Sequence[np.ndarray], jobs: int = 1, keep: bool = False) -> Outputs:
    """The reference on stored inputs (S, *shape), in chunks, on ``jobs`` threads; ``keep`` returns all activations."""
    samples = len(stored[0])
    each = sum(t.size for t in graph.tensors.values() if t.const is None) * 8
    chunk = int(max(1, min(256, CHUNK_BYTES // max(1, each), -(-samples // jobs) if samples else 1)))
    parts = [{n: x[at : at + chunk] for n, x in zip(graph.inputs, stored, strict=True)}
             for at in range(0, max(1, samples), chunk)]
    made = []
    with steps("running the reference", len(parts)) as done, ThreadPoolExecutor(jobs) as pool:
        for outputs in pool.map(lambda part: reference.run(graph, part, keep=keep), parts):
            made.append(outputs)
            done(1)
    return {k: np.concatenate([m[k] for m in made]) for k in made[0]}


def run_torch(module: Any, manifest: Manifest, given: Mapping[str, np.ndarray], example: Any = None) -> Outputs:
    """PyTorch's outputs, output -> float32 (S, *torch_shape).  A batch at once only where that gives what one gives.

    example: the inputs ``module`` was traced with, which tell how it is called; without them, one tensor after another.
    """
    import torch

    from genn.tracing import as_arguments, inputs_of, with_inputs

    exported = hasattr(module, "graph_signature")
    try:
        call = module.module() if exported else copy.deepcopy(module).cpu().float().eval()  # what was traced
    except SyntaxError as error:  # torch writes Python with the names of the model
        raise ModelError("PyTorch cannot run a program with such names of modules", fix="rename them") from error
    like = inputs_of(module) if exported else None if example is None else as_arguments(example)

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        args, kwargs = with_inputs(like, [torch.from_numpy(np.ascontiguousarray(x)) for x in arrays])
        with torch.no_grad():
            made = call(*args, **kwargs)
        flat = torch.utils._pytree.tree_leaves(made)
        return [y.detach().float().numpy() for y in flat if isinstance(y, torch.Tensor)]

    inputs = [given[v.name] for v in manifest.inputs]
    shapes = [v.torch_shape for v in manifest.outputs]
    try:
        batched = None if exported else _torch_batch(run, inputs, shapes)
        if batched is None:
            rows = [run([x[s] for x in inputs]) for s in range(len(inputs[0]))]
            batched = [np.stack([r[i] for r in rows]) for i in range(len(rows[0]))]
    except Exception as error:
        raise ModelError(f"PyTorch cannot run the model on these inputs: {str(error).splitlines()[0]}") from error
    if [y.shape[1:] for y in batched] != shapes:
        raise ModelError("the PyTorch model gives outputs of other shapes than the project",
                         fix="pass the model that was converted")
    return {v.name: y for v, y in zip(manifest.outputs, batched, strict=True)}


def _torch_batch(run: Callable[[list[np.ndarray]], list[np.ndarray]], inputs: list[np.ndarray],
                 shapes: list[tuple[int, ...]]) -> list[np.ndarray] | None:
    """All samples as batches, or None if the model does not treat a batch as so many samples."""
    samples = len(inputs[0])
    if any(x.shape[1:2] != (1,) for x in inputs) or any(s[:1] != (1,) for s in shapes) or samples < 2:
        return None
    try:
        parts = [run([x[at : at + 256, 0] for x in inputs]) for at in range(0, samples, 256)]
        made = [np.concatenate([p[i] for p in parts])[:, None] for i in range(len(parts[0]))]
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
    for s in (0, samples - 1):
        one = run([x[s] for x in inputs])
        if any(len(y) != samples or y[s].shape != o.shape or not np.allclose(y[s], o, 1e-3, 1e-4)
               for y, o in zip(made, one, strict=True)):
            return None
    return made


def _run(name: str, job: _Job, target: str | Target, samples: int | None) -> Outputs:
    """Outputs of a runner of C; emulator and QEMU get the first samples only, unless a number was asked for."""
    if name == "host":
        return HostProcess(job.manifest).run(job.stored, jobs=job.jobs).outputs
    stored = job.part(slice(samples or ENGINE_SAMPLES))
    if name == "qemu":
        from genn import qemu

        return qemu.run_project(job.manifest, stored)
    from genn.emulate import emulate

    made = emulate(job.manifest.folder, load_target(target), stored).outputs
    return {v.name: np.asarray(y).reshape(-1, *v.shape) for v, y in zip(job.manifest.outputs, made, strict=True)}


def _stepped(job: _Job, target: str | Target, samples: int | None) -> list[list[np.ndarray]]:
    """What each layer of the emulated firmware leaves behind, for as many samples as the emulator ran."""
    from genn.cosim import emulated_layers

    return emulated_layers(job.manifest, load_target(target), job.part(slice(samples or ENGINE_SAMPLES)))


def _check_same(manifest: Manifest, graph: Graph) -> None:
    def ports(values: Sequence[Value]) -> list[Any]:
        return [(v.name, v.shape, v.dtype) for v in values]

    def tensors(names: Sequence[str]) -> list[Any]:
        return [(n, tuple(graph[n].shape), graph[n].dtype) for n in names]

    if (manifest.scheme, ports(manifest.inputs), ports(manifest.outputs)) != (graph.scheme, tensors(graph.inputs),
                                                                              tensors(graph.outputs)):
        raise ModelError("graph and manifest do not belong together", str(manifest.folder), "run genn convert again")


def _labels(labels: Any, samples: int | None, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    labels = np.asarray(labels)[:samples]
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UsageError(f"they are {labels.dtype} of shape {labels.shape}, {count} integers are needed", "labels")
    return labels


def _float_inputs(job: _Job) -> list[np.ndarray]:
    view = float_view(job.graph)
    return [reference.encode(view, n, job.given[n]) for n in job.graph.inputs]


# -- comparison --------------------------------------------------------------------------------------------------------
def differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays of one type differ in any bit."""
    kind = np.dtype(f"u{a.dtype.itemsize}")
    return np.ascontiguousarray(a).view(kind) != np.ascontiguousarray(b).view(kind)


def sqnr_db(exact: np.ndarray, approximate: np.ndarray) -> float | None:
    """Signal to quantization noise in dB; None where there is no noise."""
    exact = np.asarray(exact, np.float64)
    noise = float(((exact - approximate) ** 2).sum())
    signal = float((exact**2).sum())
    return None if noise == 0 else 10 * float(np.log10(max(signal, 1e-300) / noise))


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return float(np.max(difference, initial=0.0))


def _decoded(job: _Job, outputs: Outputs) -> Outputs:
    return {v.name: v.decode(outputs[v.name]) for v in job.manifest.outputs}


def _layers(job: _Job, chosen: np.ndarray, stepped: list[list[np.ndarray]] | None = None) -> list[dict[str, Any]]:
    """Per layer, over the chosen samples: mismatches against the reference, SQNR, the first difference.

    stepped: the emulator's layers, over the first samples of all (``chosen`` is then every sample).
    """
    rows: list[dict[str, Any]] = []
    total = [[0.0, 0.0] for _ in job.manifest.layers]  # signal, noise
    counts: list[dict[str, int]] = [{} for _ in job.manifest.layers]  # mismatches by runner
    first: list[Any] = [None] * len(total)
    host, view = HostProcess(job.manifest), float_view(job.graph)
    quantized, floats = job.graph.scheme != "float32", _float_inputs(job)
    each = sum(v.bytes for layer in job.manifest.layers for v in layer.outputs)
    step = int(max(1, min(len(chosen) or 1, 4 * CHUNK_BYTES // max(1, each * 8))))
    for at in range(0, len(chosen), step):
        index = chosen[at : at + step]
        got = host.run(job.part(index), jobs=job.jobs, layers=True).layers
        want = run_reference(job.graph, job.part(index), job.jobs, keep=True)
        real = run_reference(view, [x[index] for x in floats], job.jobs, keep=True) if quantized else want
        assert got is not None
        for i, layer in enumerate(job.manifest.layers):
            for k, v in enumerate(layer.outputs):
                sides = {"host": got[i][k]} | ({"emu": stepped[i][k][at : at + step]} if stepped else {})
                for side, y in sides.items():
                    wrong = differing(want[v.name][: len(y)], y)
                    counts[i][side] = counts[i].get(side, 0) + int(wrong.sum())
                    if first[i] is None and wrong.any():
                        s, *where = (int(n) for n in np.argwhere(wrong)[0])
                        first[i] = {"runner": side, "sample": int(index[s]), "tensor": v.name, "element": where,
                                    "got": y[(s, *where)].item(), "expected": want[v.name][(s, *where)].item()}
                if quantized and v.q is not None:
                    exact = real[v.name].astype(np.float64)
                    total[i][0] += float((exact**2).sum())
                    total[i][1] += float(((exact - v.q.dequantize(want[v.name])) ** 2).sum())
    for layer, (signal, noise), by, place in zip(job.manifest.layers, total, counts, first, strict=True):
        db = 10 * float(np.log10(max(signal, 1e-300) / noise)) if noise else None
        rows.append({"index": layer.index, "name": layer.name, "op": layer.op, "mismatches": sum(by.values()),
                     "runners": by, "sqnr_db": db, "first": place,
                     "shape": list(layer.outputs[0].shape) if layer.outputs else []})
    return rows


def _report(job: _Job, expected: Outputs, floats: Outputs, torch_out: Outputs | None, found: Mapping[str, Outputs],
            labels: np.ndarray | None, layers: bool, stepped: list[list[np.ndarray]] | None = None) -> Report:
    reals, float_reals = _decoded(job, expected), _decoded_float(job, floats)
    runners: dict[str, dict[str, Any]] = {}
    failures: list[str] = []
    suspects = np.zeros(job.samples, bool)
    for name, outputs in found.items():
        count, wrong, largest = 0, 0, 0.0
        for v in job.manifest.outputs:
            y = outputs[v.name]
            bad = differing(expected[v.name][: len(y)], y)
            count, wrong = count + y.size, wrong + int(bad.sum())
            largest = max(largest, _largest(v.decode(y), reals[v.name][: len(y)]))
            if name == "host":
                suspects[: len(y)] |= bad.reshape(len(y), -1).any(axis=1)
        runners[name] = {"samples": len(next(iter(outputs.values()))), "values": count, "mismatches": wrong,
                         "max_abs_diff": largest}
        if wrong:
            failures.append(f"{name} differs from the reference in {wrong} of {count} output values")
    chosen = np.arange(job.samples) if layers else np.union1d(np.arange(min(job.samples, LAYER_SAMPLES)),
                                                               np.flatnonzero(suspects)[:1])
    rows = _layers(job, chosen, stepped)
    if bad_layer := next((r for r in rows if r["mismatches"]), None):
        at = bad_layer["first"]
        side = "" if at["runner"] == "host" else f" of {at['runner']}"
        failures.append(f"first in layer {bad_layer['index']} ({bad_layer['name']}, {bad_layer['op']}){side}, sample "
                        f"{at['sample']}, element {at['element']}: {at['got']} instead of {at['expected']}")
    sides = {"float": float_reals, "reference": reals}
    if torch_out is not None:
        sides = {"torch": torch_out, **sides}
        runners["torch"] = _against_torch(job, reals, float_reals, torch_out)
        if not runners["torch"]["ok"]:
            off, limit = runners["torch"]["float_max_abs_diff"], runners["torch"]["tolerance"]
            failures.append(f"the float network differs from PyTorch by {off:.3g}, more than the tolerance {limit:.3g}")
    sides |= {name: {v.name: v.decode(outputs[v.name]) for v in job.manifest.outputs} for name, outputs in found.items()
              if name != "sanitized"}
    accuracy, flips = _accuracy(job, sides, labels)
    document = {"schema": 1, "name": job.manifest.name, "scheme": job.manifest.scheme, "samples": job.samples,
                "layer_samples": len(chosen), "runners": runners, "layers": rows, "accuracy": accuracy, "flips": flips}
    return Report("verify", document, _tables(document, layers), _lines(document),
                  ok=not failures, failure="; ".join(failures))


def _decoded_float(job: _Job, floats: Outputs) -> Outputs:
    view = float_view(job.graph)
    return {v.name: reference.decode(view, v.name, floats[v.name]) for v in job.manifest.outputs}


def _against_torch(job: _Job, reals: Outputs, floats: Outputs, torch_out: Outputs) -> dict[str, Any]:
    """The reference measured against PyTorch; ``ok`` judges the float network by the stated tolerance."""
    names = [v.name for v in job.manifest.outputs]
    peak = max(float(np.max(np.abs(torch_out[n]), initial=0.0)) for n in names)
    largest = max(_largest(floats[n], torch_out[n]) for n in names)
    stacked = [np.concatenate([np.ravel(side[n]) for n in names]) for side in (torch_out, reals)]
    return {"samples": job.samples, "max_abs_diff": max(_largest(reals[n], torch_out[n]) for n in names),
            "sqnr_db": sqnr_db(*stacked), "float_max_abs_diff": largest, "tolerance": TOLERANCE * (1 + peak),
            "ok": largest <= TOLERANCE * (1 + peak)}


def _accuracy(job: _Job, sides: Mapping[str, Outputs], labels: np.ndarray | None
              ) -> tuple[dict[str, float], dict[str, dict[str, int]]]:
    """Share of right classes per side, and against the float side: classes changed, right to wrong, wrong to right."""
    name = job.manifest.outputs[0].name
    top = {side: np.argmax(y[name].reshape(len(y[name]), -1), axis=1) for side, y in sides.items() if y[name].size}
    base = next(iter(top))
    accuracy, flips = {}, {}
    for side, classes in top.items():
        n = len(classes)
        before = top[base][:n]
        if labels is not None:
            accuracy[side] = float((classes == labels[:n]).mean())
        if side in ("torch", "float"):
            continue
        flips[side] = {"samples": n, "changed": int((classes != before).sum())}
        if labels is not None:
            right, was = classes == labels[:n], before == labels[:n]
            flips[side] |= {"right_to_wrong": int((was & ~right).sum()), "wrong_to_right": int((~was & right).sum())}
    return accuracy, flips


# -- what a person reads -----------------------------------------------------------------------------------------------
def _tables(document: Mapping[str, Any], layers: bool) -> list[Table]:
    runners, rows = document["runners"], document["layers"]
    name = f"{document['name']}: {document['scheme']}, {document['samples']} samples"
    body: list[list[Any]] = []
    for runner, r in runners.items():
        body.append([runner, "PyTorch to reference" if runner == "torch" else "reference to C", r["samples"],
                     r.get("mismatches"), r["max_abs_diff"], r.get("sqnr_db")])
    tables = [Table(name, ["runner", "compared", "samples", "mismatches", "largest difference", "SQNR dB"], body)]
    accuracy, flips = document["accuracy"], document["flips"]
    if accuracy:
        columns = ["side", "accuracy %", "classes changed", "right to wrong", "wrong to right"]
        keys = ("changed", "right_to_wrong", "wrong_to_right")
        body = [[side, round(100 * share, 4), *(flips.get(side, {}).get(k) for k in keys)]
                for side, share in accuracy.items()]
        tables.append(Table("accuracy", columns, body))
    if layers or any(r["mismatches"] for r in rows):
        columns = ["#", "layer", "operator", "output", "mismatches", "SQNR dB"]
        tables.append(Table(f"layers, {document['layer_samples']} samples", columns, [
            [r["index"], r["name"], r["op"], shape_text(r["shape"]), r["mismatches"], r["sqnr_db"]] for r in rows],
            note="" if document["scheme"] == "float32" else "SQNR: the layer's integers against the float network"))
    return tables


def _lines(document: Mapping[str, Any]) -> list[str]:
    exact = [name for name, r in document["runners"].items() if r.get("mismatches") == 0]
    layers = document["layers"]
    lines = []
    if exact:
        lines.append(f"equal to the reference, byte for byte: {', '.join(exact)}")
    if layers and not any(r["mismatches"] for r in layers):
        lines.append(f"all {len(layers)} layers are equal on {document['layer_samples']} samples")
    return lines
