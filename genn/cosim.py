"""Host and emulator in step: what each layer leaves in the arena, so that a difference is pinned to its layer.

The firmware is the one that ships.  It runs with breakpoints on the layers' entries: when a layer is entered, the one
before it has just returned, and its outputs are read from the arena before anything can overwrite them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emu.live import LiveMachine
from genn.build import build_firmware
from genn.emulate import INPUT_FILE
from genn.errors import FirmwareError
from genn.manifest import Layer, Manifest
from genn.target import Target

BUDGET = 10**11  # instructions


def emulated_layers(
    manifest: Manifest,
    target: Target,
    stored: Sequence[np.ndarray],
    elf: Path | None = None,
    fill: int | None = None,
    budget: int = BUDGET,
) -> list[list[np.ndarray]]:
    """Per layer, per output of the layer: an array (S, *shape) of stored values, as ``target``'s firmware left them.

    stored: the network's inputs (S, *shape).  elf: firmware to run instead of building it.  fill: a byte that fills
    the arena around the inputs before each run; the result must not depend on it.
    FirmwareError if the firmware faults or uses more than ``budget`` instructions.
    """
    path = elf or build_firmware(manifest.folder, target)
    machine = LiveMachine(path, target.core, target.fpu, target.timing)
    run, arena = f"{manifest.name}_run", machine._address("genn_arena")
    entries = {machine._address(entry): x for x in manifest.layers if (entry := manifest.entry(x)) is not None}
    found: list[list[list[np.ndarray]]] = [[[] for _ in layer.outputs] for layer in manifest.layers]
    before: Layer | None = None

    def harvest(layer: Layer | None) -> None:
        if layer is not None:
            for rows, v in zip(found[layer.index], layer.outputs, strict=True):
                raw = machine.memory(arena + v.offset, v.bytes)
                rows.append(np.frombuffer(raw, v.np_dtype).reshape(v.shape))

    start = machine._address(run)
    for address in (start, *entries):
        machine.breakpoint(address)
    pc, host = machine.begin({INPUT_FILE: manifest.pack(stored)}, target.clock_hz)
    end = None
    stop, pc, fault = machine.proceed(pc, host, budget)
    while stop == "break":
        if pc == start:
            if end is None:
                end = machine.return_address()
                machine.breakpoint(end)
            if fill is not None:
                _fill(machine, manifest, arena, fill)
        elif pc == end or pc in entries:
            harvest(before)
            before = entries.get(pc)
        stop, pc, fault = machine.proceed(pc, host, budget, passing=True)
    if stop == "spent":
        raise FirmwareError(f"the budget of {budget} instructions ran out", str(path))
    if fault is not None:
        raise FirmwareError(fault.report(), str(path))
    if host.exit != 0:
        raise FirmwareError(f"the firmware ended with exit code {host.exit}", str(path))
    return [[np.stack(rows) for rows in outputs] for outputs in found]


def _fill(machine: LiveMachine, manifest: Manifest, arena: int, byte: int) -> None:
    """Every byte of the arena that holds no input becomes ``byte``."""
    kept = [(v.offset, machine.memory(arena + v.offset, v.bytes)) for v in manifest.inputs]
    machine._write(arena, bytes([byte]) * manifest.arena_bytes)
    for offset, data in kept:
        machine._write(arena + offset, data)
