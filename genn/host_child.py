"""The child process that runs generated C: it may crash, hang or corrupt its memory, and only it dies.

Started as a script by genn.host with the standard library only (importing NumPy would cost more than most runs).
Reads one JSON request from stdin: module, name, samples, threads, layers, progress; and the files ``in0 in1 ..`` in its
folder.  Writes ``out0 ..``; with ``layers`` also ``tap0 ..``; with ``progress`` that file holds the sample and layer
that runs.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import mmap
import os
import resource
import sys
from typing import Any


def _load(name: str, path: str) -> Any:
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _map(path: str, size: int, write: bool) -> Any:
    """The file's memory; an output file is made to size first."""
    if size == 0:
        return bytearray()
    with open(path, "r+b" if os.path.exists(path) else "w+b") as handle:
        if write:
            handle.truncate(size)
        return mmap.mmap(handle.fileno(), size, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)


def main() -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.load(sys.stdin)
    module, samples = _load(request["name"], request["module"]), request["samples"]

    def block(kind: str, sizes: list[int], write: bool) -> list[Any]:
        return [_map(f"{kind}{i}", samples * size, write) for i, size in enumerate(sizes)]

    inputs = block("in", [v["bytes"] for v in module.inputs], False)
    outputs = block("out", [v["bytes"] for v in module.outputs], True)
    taps = block("tap", module.tap_bytes, True) if request["layers"] else None
    progress = _map("progress", 16, True) if request["progress"] else None
    module.run_into(inputs, outputs, samples, request["threads"], taps, progress)
    return 0


if __name__ == "__main__":
    sys.exit(main())
