"""A quantized Graph in a file, so that a project folder can be checked against the reference without the model.

The file (``genn.graph`` in a project) is a safetensors file: arrays as its tensors, everything else as JSON in its
metadata.  Loading runs no code: objects are built only from the dataclasses and named tuples of genn itself, sizes are
checked before anything is read, and the graph is verified.  ``Graph.meta`` is not kept.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from genn.errors import GennError, ModelError
from genn.ir import NP_DTYPE, Graph, Node, QParams, Source, Tensor

FILE = "genn.graph"
SCHEMA = 1
MAX_HEADER = 64 << 20  # bytes
MAX_FILE = 4 << 30
MAX_DEPTH = 32
_TYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(v): k for k, v in _TYPES.items()}
_MODULES = ("genn.numerics", "genn.ir", "genn.ops.")  # where objects inside a graph may come from


def save(graph: Graph, path: str | Path) -> None:
    """Write ``graph`` to ``path``, at once or not at all."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(dumps(graph))
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ModelError(f"cannot be written: {error.strerror}", str(path)) from None


def load(path: str | Path) -> Graph:
    """Read what ``save`` wrote.  ModelError if there is no such file, or it is damaged or from another version."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE:
            raise ModelError(f"it is larger than {MAX_FILE >> 30} GB", str(path))
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path), "run genn convert again") from None
    try:
        return loads(data)
    except ModelError as error:
        raise ModelError(error.what, error.where or str(path), error.fix) from None
    except Exception as error:  # whatever bytes can provoke in the checks and the operators' shape rules
        raise ModelError(f"the graph is damaged ({error})", str(path), "run genn convert again") from None


def dumps(graph: Graph) -> bytes:
    """The bytes of the file; the same graph always gives the same bytes."""
    w = _Writer()
    facts = {
        "schema": SCHEMA,
        "name": graph.name,
        "scheme": graph.scheme,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "layout": {k: list(v) for k, v in graph.layout.items()},
        "tensors": [[t.name, list(t.shape), t.dtype, w.value(t.q), w.value(t.const)] for t in graph.tensors.values()],
        "nodes": [
            {"name": n.name, "op": n.op, "inputs": n.inputs, "outputs": n.outputs, "attrs": w.value(n.attrs),
             "source": [n.source.fqn, n.source.file, n.source.line], "quant": w.value(n.quant)}
            for n in graph.nodes
        ],
    }
    return w.file(json.dumps(facts, separators=(",", ":"), allow_nan=False))


def loads(data: bytes) -> Graph:
    """A graph from the bytes of the file."""
    r = _Reader(data)
    facts = r.facts
    if facts.get("schema") != SCHEMA:
        raise ModelError(f"the graph's schema is {facts.get('schema')!r}, this genn reads {SCHEMA}",
                         fix="run genn convert again")
    graph = Graph(str(facts["name"]), _names(facts["inputs"]), _names(facts["outputs"]), scheme=str(facts["scheme"]))
    graph.layout = {str(k): tuple(int(i) for i in v) for k, v in facts["layout"].items()}
    for name, shape, dtype, q, const in facts["tensors"]:
        if dtype not in NP_DTYPE:
            raise ValueError(f"unknown type {dtype!r}")
        q, const = r.value(q), r.value(const)
        if not isinstance(q, QParams | None) or not isinstance(const, np.ndarray | None):
            raise ValueError(f"tensor {name}")
        graph.tensors[str(name)] = Tensor(str(name), tuple(int(n) for n in shape), dtype, q, const)
    for item in facts["nodes"]:
        fqn, file, line = item["source"]
        quant = r.value(item["quant"])
        if not isinstance(quant, dict):
            raise ValueError(f"node {item['name']}")
        graph.nodes.append(Node(str(item["name"]), str(item["op"]), _names(item["inputs"]), _names(item["outputs"]),
                                r.value(item["attrs"]), Source(str(fqn), str(file), int(line)), quant))
    return graph.verify()


def _names(items: Any) -> list[str]:
    if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
        raise ValueError("names are expected")
    return list(items)


class _Writer:
    """Turns values into JSON, arrays put aside."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._seen: dict[int, int] = {}
        self._kept: list[np.ndarray] = []  # so that an id stands for one array as long as this writer lives

    def value(self, v: Any) -> Any:
        if v is None or isinstance(v, bool | str) or type(v) is int:
            return v
        if isinstance(v, np.generic):
            return {"scalar": self._array(np.asarray(v)), "type": v.dtype.str}
        if isinstance(v, float):
            return v if math.isfinite(v) else {"float": repr(v)}
        if isinstance(v, np.ndarray):
            return {"array": self._array(v), "type": v.dtype.str}
        if isinstance(v, list):
            return [self.value(x) for x in v]
        if isinstance(v, tuple) and not hasattr(v, "_fields"):
            return {"tuple": [self.value(x) for x in v]}
        if isinstance(v, dict):
            return {"dict": [[self.value(k), self.value(x)] for k, x in v.items()]}
        cls = type(v)
        name = f"{cls.__module__}:{cls.__qualname__}"
        if hasattr(v, "_fields"):
            return {"object": name, "fields": {f: self.value(x) for f, x in zip(v._fields, v, strict=True)}}
        if dataclasses.is_dataclass(v):
            return {"object": name, "fields": {f.name: self.value(getattr(v, f.name)) for f in dataclasses.fields(v)}}
        raise GennError(f"a graph cannot keep a value of type {cls.__name__}")

    def _array(self, a: np.ndarray) -> int:
        if id(a) in self._seen:
            return self._seen[id(a)]
        self._kept.append(a)
        self._seen[id(a)] = len(self.arrays)
        stored = np.ascontiguousarray(a).reshape(a.shape)
        if a.dtype.kind == "i" and a.size:  # integer weights are computed in int64 and stored in what they need
            low, high = int(a.min()), int(a.max())
            stored = stored.astype(next(t for t in ("i1", "<i2", "<i4", "<i8")
                                        if np.iinfo(t).min <= low and high <= np.iinfo(t).max))
        self.arrays.append(stored.astype(stored.dtype.newbyteorder("<")))
        return len(self.arrays) - 1

    def file(self, facts: str) -> bytes:
        header: dict[str, Any] = {"__metadata__": {"genn_graph": facts}}
        at = 0
        for i, a in enumerate(self.arrays):
            header[str(i)] = {"dtype": _NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
            at += a.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return b"".join([len(text).to_bytes(8, "little"), text, *(a.tobytes() for a in self.arrays)])


class _Reader:
    """The inverse of _Writer, for untrusted bytes."""

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
            raise ValueError("its header is cut off")
        header = json.loads(data[8 : 8 + size])
        self.facts: dict[str, Any] = json.loads(header.pop("__metadata__")["genn_graph"])
        body = memoryview(data)[8 + size :]
        self._arrays: list[np.ndarray] = []
        for i in range(len(header)):
            entry = header[str(i)]
            dtype, (start, end) = np.dtype(_TYPES[entry["dtype"]]), entry["data_offsets"]
            shape = tuple(int(n) for n in entry["shape"])
            if min(shape, default=0) < 0 or not 0 <= start <= end <= len(body):
                raise ValueError(f"array {i} lies outside the file")
            if math.prod(shape) * dtype.itemsize != end - start:
                raise ValueError(f"array {i} has the wrong size")
            self._arrays.append(np.frombuffer(body[start:end], dtype).reshape(shape))

    def value(self, v: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if isinstance(v, list):
            return [self.value(x, depth + 1) for x in v]
        if not isinstance(v, dict):
            return v
        if "float" in v:
            return float(v["float"])
        if "array" in v or "scalar" in v:
            dtype = np.dtype(v["type"])
            if dtype not in _NAMES:
                raise ValueError(f"unknown type {v['type']!r}")
            a = self._arrays[v["array"] if "array" in v else v["scalar"]]
            a = a if a.dtype == dtype else a.astype(dtype)
            return a if "array" in v else a[()]
        if "tuple" in v:
            return tuple(self.value(x, depth + 1) for x in v["tuple"])
        if "dict" in v:
            return {self.value(k, depth + 1): self.value(x, depth + 1) for k, x in v["dict"]}
        return _class(str(v["object"]))(**{str(k): self.value(x, depth + 1) for k, x in v["fields"].items()})


def _class(name: str) -> Any:
    """One of genn's own dataclasses or named tuples, nothing else that a name can reach."""
    module, _, path = name.partition(":")
    if not any(module == m or (m.endswith(".") and module.startswith(m)) for m in _MODULES):
        raise ValueError(f"unknown object {name!r}")
    importlib.import_module("genn.ops")  # all modules of operators; nothing is imported by a name from the file
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part) if not part.startswith("_") else None
    if not isinstance(found, type) or found.__module__ != module \
            or not (dataclasses.is_dataclass(found) or (issubclass(found, tuple) and hasattr(found, "_fields"))):
        raise ValueError(f"unknown object {name!r}")
    return found
