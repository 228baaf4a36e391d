"""Run a network's firmware in the emulator: outputs byte for byte, and cycles, instructions and stack, layer by layer.

Imports no torch, and neither the front end nor the reference: what is needed is the project folder (or an ELF with its
manifest), a target, and stored inputs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import emu
from emu import cache
from genn import pieces
from genn.build import build_firmware
from genn.errors import FirmwareError, ModelError, UsageError
from genn.ir import NP_DTYPE
from genn.manifest import MANIFEST, read_raw
from genn.target import Target

if TYPE_CHECKING:
    from emu.profile import Profile

INPUT_FILE, OUTPUT_FILE = "genn_in.bin", "genn_out.bin"
# An upper bound that no sound network comes near: soft float takes about 300 instructions a MAC.
_BUDGET_SAMPLE, _BUDGET_MAC = 200_000_000, 5_000
_USUAL_MAC = 8  # instructions, for cutting many samples into pieces


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs in one inference: the mean over the samples, a whole number where all are alike."""

    index: int
    name: str
    op: str
    symbol: str
    macs: int
    cycles: float
    instructions: float
    stalls: float | None = None
    """Cycles that the model of the flash adds, an estimate; None without one."""

    @property
    def cycles_per_mac(self) -> float | None:
        """None for a layer without multiplications."""
        return round(self.cycles / self.macs, 3) if self.macs else None


@dataclass(frozen=True)
class Emulation:
    """What a run of ``samples`` inferences cost; cycles and instructions are those of one, the mean over the samples.

    ``outputs``: for each output of the network an array (samples, *shape) of stored values.  ``other`` is what runs
    between the layers, in NAME_run itself.  ``cycles_bounds``: with no wait state, and with each access to flash paid.
    ``cycles_estimate``: with the target's cache modelled, where the run was ``watch``ed.  ``joules``: an estimate from
    the datasheet's current, over the estimated cycles if there are any, over those without wait states otherwise.
    """

    target: str
    core: str
    timing: str
    tier: str
    samples: int
    cycles: float
    cycles_bounds: tuple[float, float]
    instructions: float
    seconds_at_clock: float
    layers: list[LayerCost]
    other: LayerCost
    stack_bytes: int
    outputs: list[np.ndarray]
    exit: int
    elf: Path
    output_names: list[str] = field(default_factory=list)
    functions: dict[str, tuple[int, int]] = field(default_factory=dict)
    console: str = ""
    notes: list[str] = field(default_factory=list)
    cycles_estimate: float | None = None
    joules: float | None = None
    flash_model: str = ""
    profile: Profile | None = None

    def output_bytes(self) -> list[bytes]:
        """Each output's bytes, samples one behind another."""
        return [a.tobytes() for a in self.outputs]

    def to_json(self) -> dict[str, Any]:
        """The fields that ``genn emulate --json`` prints."""
        return {
            "schema": 1,
            "target": self.target,
            "core": self.core,
            "timing": self.timing,
            "tier": self.tier,
            "samples": self.samples,
            "cycles": self.cycles,
            "cycles_bounds": list(self.cycles_bounds),
            "cycles_estimate": self.cycles_estimate,
            "joules_estimate": self.joules,
            "instructions": self.instructions,
            "seconds_at_clock": self.seconds_at_clock,
            "layers": [
                {
                    "name": x.name,
                    "op": x.op,
                    "symbol": x.symbol,
                    "macs": x.macs,
                    "cycles": x.cycles,
                    "instructions": x.instructions,
                    "cycles_per_mac": x.cycles_per_mac,
                    "stalls_estimate": x.stalls,
                }
                for x in self.layers
            ],
            "other": {"cycles": self.other.cycles, "instructions": self.other.instructions},
            "stack_bytes": self.stack_bytes,
            "outputs": [
                {"name": n, "shape": list(a.shape), "dtype": str(a.dtype), "data": a.tolist()}
                for n, a in zip(self.output_names, self.outputs, strict=True)
            ],
            "exit": self.exit,
            "notes": self.notes,
        }


def emulate(
    project: str | Path,
    target: Target,
    inputs: bytes | Sequence[np.ndarray] | None = None,
    *,
    timing: str | None = None,
    parameters: Mapping[str, int] | None = None,
    elf: str | Path | None = None,
    budget: int | None = None,
    watch: bool = False,
    jobs: int | None = None,
) -> Emulation:
    """Build (unless ``elf`` is given) and run a converted project on ``target``.

    ``inputs``: for each input of the network an array (samples, *shape) of stored values, or the bytes of genn_in.bin;
    None is one sample of zeros.  ``timing`` and ``parameters`` override the target's timing.  ``watch`` runs the
    firmware a second time and looks at each instruction: the profile, and the estimate of what the flash costs.
    ``jobs``: processes, when there are many samples; default as many as there are cores, where it is worth it.
    FirmwareError when the firmware faults or uses more than ``budget`` instructions.
    """
    project = Path(project)
    manifest = read_raw(project)
    ports = manifest["inputs"]
    sample_bytes = sum(int(p["bytes"]) for p in ports)
    data, samples = _pack(inputs, ports, sample_bytes)
    path = Path(elf) if elf is not None else build_firmware(project, target)
    layers = manifest["layers"]
    name = manifest["name"]
    macs = sum(int(x.get("macs", 0)) for x in layers)
    arguments = _arguments(path, target, f"{name}_run", [x["symbol"] for x in layers], timing, dict(parameters or {}))
    machine = _machine(path, arguments)
    flash = flash_of(target)
    # a budget and a profile are of one run
    split = [data] if budget is not None or watch else pieces.split(data, sample_bytes, _USUAL_MAC * macs)
    if budget is None:
        budget = samples * (_BUDGET_SAMPLE + _BUDGET_MAC * macs)
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if samples * macs * _USUAL_MAC > pieces.WORTH_A_PROCESS else 1
    outcome = pieces.run(machine, pieces.Job(arguments, INPUT_FILE, OUTPUT_FILE, budget, target.clock_hz, flash), split,
                         sample_bytes, jobs)
    result = outcome.result
    if outcome.fault:
        raise FirmwareError(outcome.fault, str(path))
    if result.exit != 0:
        why = _EXITS.get(result.exit or 0, "its own")
        raise FirmwareError(f"the firmware ended with exit code {result.exit} ({why})", str(path))
    outputs = _unpack(outcome.output, manifest["outputs"], samples, path)

    def mean(total: int) -> float:
        return total // samples if total % samples == 0 else total / samples

    bounds = result.cycles_bounds if flash is None else (result.cycles, result.cycles + outcome.waits)
    profile, estimate, stalls = None, None, dict[str, int]()
    if watch:
        titles = {str(row["symbol"]): str(row["name"]) for row in layers}
        profile = _watched(machine, result, {INPUT_FILE: data}, target, flash, f"{name} on {target.name}", titles)
        if flash is not None:
            estimate, stalls = mean(result.cycles + profile.trace.stalls), profile.stalls_below(titles)
    costs = [
        LayerCost(int(row["index"]), row["name"], row["op"], cost.symbol, int(row.get("macs", 0)), mean(cost.cycles),
                  mean(cost.instructions), mean(stalls.get(cost.symbol, 0)) if estimate is not None else None)
        for row, cost in zip(layers, result.layers, strict=True)
    ]
    spent = (mean(result.cycles) if estimate is None else estimate) / target.clock_hz
    rest = LayerCost(-1, f"{name}_run", "", f"{name}_run", 0,
                     mean(result.cycles - sum(x.cycles for x in result.layers)),
                     mean(result.instructions - sum(x.instructions for x in result.layers)))
    return Emulation(
        target=target.name,
        core=target.core,
        timing=result.timing,
        tier=result.tier,
        samples=samples,
        cycles=mean(result.cycles),
        cycles_bounds=(mean(bounds[0]), mean(bounds[1])),
        instructions=mean(result.instructions),
        seconds_at_clock=mean(result.cycles) / target.clock_hz,
        layers=costs,
        other=rest,
        stack_bytes=result.stack_high or 0,
        outputs=outputs,
        exit=result.exit or 0,
        elf=path,
        output_names=[str(p["name"]) for p in manifest["outputs"]],
        functions=result.functions,
        console=result.console,
        notes=result.notes + (profile.trace.notes if profile else []),
        cycles_estimate=estimate,
        joules=target.power.joules(spent, target.clock_hz) if target.power else None,
        flash_model=flash.describe() if flash else "",
        profile=profile,
    )


def flash_of(target: Target) -> cache.Flash | None:
    """The target's flash for the model of its cache; None where it has no wait states or nothing is known about it."""
    memory, region = target.memory, target.flash
    if memory is None or not region.wait_states:
        return None
    return cache.Flash(region.base, region.size, region.wait_states, memory.line_bits // 8, memory.instruction_lines,
                       memory.instruction_ways, memory.data_lines, memory.data_ways, memory.unified, memory.prefetch)


def _watched(machine: emu.Machine, result: emu.RunResult, files: dict[str, bytes], target: Target,
             flash: cache.Flash | None, title: str, layers: dict[str, str]) -> Profile:
    from emu.profile import Profile
    from emu.trace import trace

    try:
        seen = trace(machine, result, files, target.clock_hz, flash)
    except emu.EmuError as error:
        raise FirmwareError(str(error), title) from None
    return Profile(machine.image, seen, title, layers, target.clock_hz)


def project_of(elf: str | Path) -> Path | None:
    """The project folder that an ELF at DIR/build/TARGET/NAME.elf belongs to, None when it is not one of ours."""
    folder = Path(elf).resolve().parents
    return folder[2] if len(folder) > 2 and folder[1].name == "build" and (folder[2] / MANIFEST).is_file() else None


_EXITS = {2: "it found no input", 3: "the input breaks off inside of a sample", 4: "the network's run failed",
          5: "an output was not taken"}


def _arguments(path: Path, target: Target, run: str, banks: list[str], timing: str | None,
               parameters: dict[str, int]) -> dict[str, Any]:
    regions = [emu.Region(r.name, r.base, r.size, r.kind, r.wait_states) for r in target.regions]
    try:
        rules = emu.load_timing(timing or target.timing, **parameters)
    except emu.EmuError as error:
        raise UsageError(str(error)) from None
    return {"elf": path, "core": target.core, "fpu": target.fpu, "timing": rules, "regions": regions, "banks": banks,
            "count": run}


def _machine(path: Path, arguments: dict[str, Any]) -> emu.Machine:
    try:
        return emu.Machine(**arguments)
    except emu.ElfError as error:
        raise ModelError(str(error)) from None
    except emu.EmuError as error:
        raise FirmwareError(str(error), str(path)) from None


def _pack(inputs: bytes | Sequence[np.ndarray] | None, ports: list[dict[str, Any]], size: int) -> tuple[bytes, int]:
    """The bytes of genn_in.bin and the number of samples in them."""
    if inputs is None:
        return bytes(size), 1
    if isinstance(inputs, (bytes, bytearray, memoryview)):
        data = bytes(inputs)
        if not data or len(data) % size:
            raise UsageError(f"{len(data)} bytes of input are no whole number of samples of {size} bytes")
        return data, len(data) // size
    if len(inputs) != len(ports):
        raise UsageError(f"the network has {len(ports)} inputs, {len(inputs)} were given")
    arrays = []
    for value, port in zip(inputs, ports, strict=True):
        dtype: Any = NP_DTYPE[str(port["dtype"])]
        array = np.ascontiguousarray(value, dtype)
        if not array.shape or not len(array) or array[:1].nbytes != port["bytes"]:
            raise UsageError(f"it has shape {array.shape}, not (samples, {', '.join(map(str, port['shape']))})",
                             f"input {port['name']}")
        arrays.append(array.reshape(len(array), -1).view(np.uint8))
    if len({len(a) for a in arrays}) > 1:
        raise UsageError("the inputs differ in their number of samples")
    return np.concatenate(arrays, axis=1).tobytes(), len(arrays[0])


def _unpack(data: bytes, ports: list[dict[str, Any]], samples: int, path: Path) -> list[np.ndarray]:
    size = sum(int(p["bytes"]) for p in ports)
    if len(data) != samples * size:
        raise FirmwareError(f"it wrote {len(data)} bytes of output instead of {samples * size}", str(path))
    rows = np.frombuffer(data, np.uint8).reshape(samples, size)
    out, at = [], 0
    for port in ports:
        piece = np.ascontiguousarray(rows[:, at:at + port["bytes"]])
        dtype: Any = NP_DTYPE[str(port["dtype"])]
        out.append(piece.view(dtype).reshape(samples, *port["shape"]))
        at += port["bytes"]
    return out
