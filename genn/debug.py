"""A converted network's firmware under a debugger."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import emu
from emu.gdb import serve
from emu.live import LiveMachine
from genn.emulate import INPUT_FILE, _arguments, _pack
from genn.errors import FirmwareError, UsageError
from genn.manifest import read_raw
from genn.report import Report
from genn.target import Target


def debug_report(project: Path, elf: Path, target: Target, inputs: Sequence[np.ndarray], port: int, *,
                 timing: str | None = None) -> Report:
    """Wait for a debugger on 127.0.0.1:``port``, serve it to the end of the run, and say how that ended."""
    manifest = read_raw(project)
    ports = manifest["inputs"]
    data, samples = _pack(inputs, ports, sum(int(p["bytes"]) for p in ports))
    layers = [x["symbol"] for x in manifest["layers"]]
    arguments = _arguments(elf, target, f"{manifest['name']}_run", layers, timing, {})

    def ready(found: int) -> None:
        print(f"waiting for a debugger: gdb-multiarch {elf} -ex 'target remote 127.0.0.1:{found}'", file=sys.stderr,
              flush=True)

    try:
        result = serve(LiveMachine(**arguments), port, {INPUT_FILE: data}, target.clock_hz, ready=ready)
    except emu.EmuError as error:
        raise FirmwareError(str(error), str(elf)) from None
    except OSError as error:
        raise UsageError(f"the port cannot be had: {error}", f"--gdb {port}") from None
    if result.fault is not None:
        raise FirmwareError(result.fault.report(), str(elf))
    ended = "the debugger ended the run" if result.exit is None else f"the firmware ended with exit code {result.exit}"
    document = {"schema": 1, "target": target.name, "samples": samples, "exit": result.exit, "cycles": result.cycles,
                "instructions": result.instructions}
    return Report("emulate", document, [], [f"{ended}; {result.cycles:,} cycles in the network"], result=result)
