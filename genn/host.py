"""The generated C on this machine: imported into the process, or run by a child whose crash is only a report.

``load`` compiles a project (once; later it comes from the cache) and imports it as a Python module.  ``HostProcess``
runs the same module, or the program under the sanitizers, in a process of its own.  Both give what the device gives.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genn import host_child
from genn.errors import CheckFailed, FirmwareError, GennError, ToolchainError, UsageError
from genn.host_build import build_module, build_sanitized
from genn.manifest import Manifest, Value, read_manifest

TIMEOUT = 600.0  # seconds a child may take
_loaded: dict[Path, Any] = {}
_SUMMARY = re.compile(r"SUMMARY: \w+Sanitizer: (.+)")
_RUNTIME = re.compile(r"^(\S+?:\d+):\d+: runtime error: (.+)", re.MULTILINE)


@dataclass(frozen=True)
class HostRun:
    """What a batch gave, in storage types: ``outputs`` name -> (S, *shape); ``layers`` per layer, if asked for."""

    outputs: dict[str, np.ndarray]
    layers: list[list[np.ndarray]] | None = None


def jobs_or_all(jobs: int | None) -> int:
    """The number of threads: what was asked for, or as many as this process may use."""
    if jobs is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 1:
        raise UsageError(f"{jobs} is no number of threads", "--jobs", "use 1 or more")
    return jobs


def check_stored(manifest: Manifest, arrays: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Stored inputs (S, *shape) in the network's order, contiguous.  UsageError for a wrong count, type or shape."""
    if isinstance(arrays, Mapping):
        if missing := [v.name for v in manifest.inputs if v.name not in arrays]:
            raise UsageError(f"the network's input {', '.join(missing)} is not given")
        arrays = [arrays[v.name] for v in manifest.inputs]
    if len(arrays) != len(manifest.inputs):
        raise UsageError(f"the network has {len(manifest.inputs)} inputs, {len(arrays)} were given")
    found = []
    for value, array in zip(manifest.inputs, arrays, strict=True):
        array = np.asarray(array)
        where = f"input {value.name}"
        if array.dtype != value.np_dtype:
            raise UsageError(f"it has type {array.dtype}, the network stores {value.dtype}", where,
                             "convert reals with Manifest.encode")
        if array.shape[1:] != value.shape:
            stores = ", ".join(map(str, ("S", *value.shape)))
            raise UsageError(f"it has shape {array.shape}, the network stores ({stores})", where)
        found.append(np.ascontiguousarray(array))
    if len({len(x) for x in found}) > 1:
        raise UsageError(f"the inputs differ in their number of samples: {', '.join(str(len(x)) for x in found)}")
    return found


class HostModel:
    """A project's C imported as ``module``.  A crash of that C is a crash of this process: see HostProcess."""

    def __init__(self, manifest: Manifest, module: Any) -> None:
        self.manifest, self.module = manifest, module

    def __repr__(self) -> str:
        return f"<HostModel {self.manifest.name} {self.manifest.scheme}, arena {self.manifest.arena_bytes} bytes>"

    def run(self, inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray], *, jobs: int | None = None,
            layers: bool = False) -> HostRun:
        """Run stored inputs (S, *shape) on ``jobs`` threads (None: all cores); ``layers`` keeps the layers' outputs."""
        stored = check_stored(self.manifest, inputs)
        samples = len(stored[0]) if stored else 1
        outputs = [_empty(v, samples) for v in self.manifest.outputs]
        taps = [[_empty(v, samples) for v in layer.outputs] for layer in self.manifest.layers] if layers else None
        flat = [a for each in taps for a in each] if taps is not None else None
        self.module.run_into(stored, outputs, samples, jobs_or_all(jobs), flat)
        return HostRun({v.name: y for v, y in zip(self.manifest.outputs, outputs, strict=True)}, taps)

    def predict(self, inputs: Mapping[str, Any] | Sequence[Any], *, jobs: int | None = None) -> dict[str, np.ndarray]:
        """Reals in, reals out, both in torch's layout (S, *torch_shape): encode, run, decode."""
        run = self.run(self.manifest.encode(inputs), jobs=jobs)
        return {v.name: v.decode(run.outputs[v.name]) for v in self.manifest.outputs}


def load(project_dir: str | Path | Manifest) -> HostModel:
    """Compile the C of a project and import it into this process.

    ModelError if the folder is none of ours, ToolchainError if the compiler is missing or refuses.
    """
    manifest = project_dir if isinstance(project_dir, Manifest) else read_manifest(project_dir)
    path = build_module(manifest)
    module = _loaded.get(path)
    if module is None:
        loader = importlib.machinery.ExtensionFileLoader(manifest.name, str(path))
        spec = importlib.util.spec_from_file_location(manifest.name, path, loader=loader)
        assert spec is not None
        try:
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
        except ImportError as error:
            raise ToolchainError(f"the compiled network cannot be loaded: {error}", str(path)) from None
        _loaded[path] = module
    return HostModel(manifest, module)


class HostProcess:
    """Runs a project's C in a child process.  ``sanitize``: under AddressSanitizer and UBSan, on one thread."""

    def __init__(self, project_dir: str | Path | Manifest, sanitize: bool = False, timeout: float = TIMEOUT) -> None:
        self.manifest = project_dir if isinstance(project_dir, Manifest) else read_manifest(project_dir)
        self.sanitize, self.timeout = sanitize, timeout
        self.program = build_sanitized(self.manifest) if sanitize else build_module(self.manifest)

    def run(self, inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray], *, jobs: int | None = None,
            layers: bool = False) -> HostRun:
        """As HostModel.run.

        FirmwareError, naming signal, layer and sample where they can be told, if the C crashes or does not end;
        CheckFailed with the sanitizer's finding.
        """
        stored = check_stored(self.manifest, inputs)
        if layers and self.sanitize:
            raise UsageError("layers cannot be watched under the sanitizers", fix="leave out --layers or --sanitize")
        samples = len(stored[0]) if stored else 1
        with tempfile.TemporaryDirectory(prefix="genn-host-") as name:
            folder = Path(name)
            try:
                if self.sanitize:
                    return self._sanitized(folder, stored, samples)
                for i, x in enumerate(stored):
                    x.tofile(folder / f"in{i}")
            except OSError as error:
                raise ToolchainError(f"cannot write the inputs: {error.strerror}", name, "set TMPDIR") from None
            status, said = self._child(folder, samples, jobs_or_all(jobs), layers, False)
            if status:
                raise self._report(folder, samples, status, said)
            outputs = {v.name: _read(folder / f"out{i}", v, samples) for i, v in enumerate(self.manifest.outputs)}
            if not layers:
                return HostRun(outputs)
            names = iter(range(sum(len(layer.outputs) for layer in self.manifest.layers)))
            return HostRun(outputs, [[_read(folder / f"tap{next(names)}", v, samples) for v in layer.outputs]
                                     for layer in self.manifest.layers])

    def _child(self, folder: Path, samples: int, threads: int, layers: bool, progress: bool) -> tuple[int, str]:
        """Exit status and what it said; FirmwareError if it does not end in time."""
        request = {"module": str(self.program), "name": self.manifest.name, "samples": samples, "threads": threads,
                   "layers": layers, "progress": progress}
        argv = [sys.executable, "-I", "-S", str(Path(host_child.__file__).resolve())]
        return self._started(argv, folder, json.dumps(request))

    def _started(self, argv: list[str], folder: Path, text: str = "") -> tuple[int, str]:
        try:
            env = {**os.environ, "UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "detect_leaks=0"}
            done = subprocess.run(argv, cwd=folder, input=text, capture_output=True, text=True, errors="replace",
                                  timeout=self.timeout, check=False, env=env)
        except subprocess.TimeoutExpired:
            raise FirmwareError(f"the generated C did not end within {self.timeout:g} s on the host",
                                str(self.manifest.folder)) from None
        except OSError as error:
            raise ToolchainError(f"cannot be started: {error.strerror}", argv[0]) from None
        return done.returncode, done.stderr

    def _report(self, folder: Path, samples: int, status: int, said: str) -> GennError:
        """Why the child failed; after a crash, a second child walks the layers to find where."""
        where = str(self.manifest.folder)
        if status > 0:
            line = next((x for x in reversed(said.splitlines()) if x.strip()), f"exit status {status}")
            return ToolchainError(f"the child process that runs the generated C failed: {line.strip()}", where)
        place = ""
        try:
            again, _ = self._child(folder, samples, 1, True, True)
        except FirmwareError:
            again = 0
        if again < 0:
            sample, at = np.fromfile(folder / "progress", np.int64, 2).tolist()
            if 0 <= at < len(self.manifest.layers):
                place = f" in {self.manifest.layers[at]} on sample {sample}"
        return FirmwareError(f"the generated C crashed on the host with {_signal(-status)}{place}", where,
                             "run genn verify --sanitize to see the line")

    def _sanitized(self, folder: Path, stored: list[np.ndarray], samples: int) -> HostRun:
        with open(folder / "in", "wb") as handle:
            for x in stored:
                handle.write(x.tobytes())
        argv = [str(self.program), str(samples), "in", "out"]
        status, said = self._started(argv, folder)
        if status:
            raise self._finding(status, said)
        outputs, at = {}, 0
        for v in self.manifest.outputs:
            outputs[v.name] = _read(folder / "out", v, samples, at)
            at += v.bytes * samples
        return HostRun(outputs)

    def _finding(self, status: int, said: str) -> GennError:
        """The sanitizer's report as one sentence, with the layer."""
        where = str(self.manifest.folder)
        layer = next((x for x in self.manifest.layers if re.search(rf"\b{x.symbol}\b", said)), None)
        place = f" in {layer}" if layer else ""
        folder = f"{self.manifest.folder.resolve()}{os.sep}"
        if found := _RUNTIME.search(said):
            text = f"{found[2]} at {found[1]}"
        elif found := _SUMMARY.search(said):
            text = found[1]
        elif status < 0:
            return FirmwareError(f"the generated C crashed under the sanitizers with {_signal(-status)}{place}", where)
        else:
            return ToolchainError(f"the sanitized program failed with status {status}", where)
        return CheckFailed(f"the sanitizers found{place}: {text.replace(folder, '')}", where)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _empty(value: Value, samples: int) -> np.ndarray:
    return np.empty((samples, *value.shape), value.np_dtype)


def _read(path: Path, value: Value, samples: int, offset: int = 0) -> np.ndarray:
    count = samples * value.bytes // value.np_dtype.itemsize
    data = np.fromfile(path, value.np_dtype, count, offset=offset) if count else np.empty(0, value.np_dtype)
    if data.size != count:
        raise FirmwareError(f"the run wrote {data.size} values for {value.name}, not {count}", str(path))
    return data.reshape(samples, *value.shape)
