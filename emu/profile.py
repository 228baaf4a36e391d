"""A profile of one run, and the files that other tools open: speedscope, Perfetto and chrome://tracing, KCachegrind.

Everything comes from a :class:`emu.trace.Trace`; cycles are those of the timing, without stalls of the flash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .dwarf import LineTable, line_table
from .elf import Image
from .errors import EmuError
from .trace import OUTSIDE, Trace

FORMATS = {
    ".speedscope.json": "speedscope.app",
    ".trace.json": "Perfetto and chrome://tracing",
    ".callgrind": "KCachegrind and callgrind_annotate (also callgrind.out.NAME)",
}
_MAX_EVENTED = 200_000


@dataclass(frozen=True)
class FunctionCost:
    """What one function cost: by itself, and with all that it called (``inclusive``, recursion counted once)."""

    name: str
    calls: int
    cycles: int
    instructions: int
    inclusive: int
    stalls: int = 0


@dataclass
class Profile:
    """The trace of a run with the means to write it.  ``layers``: names by symbol, for the time line."""

    image: Image
    trace: Trace
    title: str
    layers: Mapping[str, str] = field(default_factory=dict)
    clock_hz: int = 0
    _lines: LineTable | None = None

    @property
    def lines(self) -> LineTable:
        """Source lines of the image's code."""
        if self._lines is None:
            self._lines = line_table(self.image.file)
        return self._lines

    def functions(self) -> list[FunctionCost]:
        """Every function that ran, the dearest first."""
        own: dict[str, list[int]] = {}
        for node in self.trace.nodes:
            if node.function != OUTSIDE:
                row = own.setdefault(node.function, [0, 0, 0])
                row[0] += node.cycles
                row[1] += node.instructions
                row[2] += node.stalls
        rows = [FunctionCost(name, self.trace.calls.get(name, 0), c, i, self.trace.inclusive.get(name, c), s)
                for name, (c, i, s) in own.items()]
        return sorted(rows, key=lambda row: (-row.cycles, row.name))

    def stalls_below(self, symbols: Iterable[str]) -> dict[str, int]:
        """Stalls by function, with all that it called and that is not another one of ``symbols``."""
        wanted, out = set(symbols), dict[str, int]()
        owners: list[str] = []
        for node in self.trace.nodes:
            owners.append(node.function if node.function in wanted else owners[node.parent] if owners else "")
            if owners[-1]:
                out[owners[-1]] = out.get(owners[-1], 0) + node.stalls
        return out

    def callers(self, function: str) -> dict[str, tuple[int, int]]:
        """(calls, inclusive cycles) by caller."""
        out: dict[str, tuple[int, int]] = {}
        for edge in self.trace.edges:
            if edge.callee == function:
                was = out.get(edge.caller, (0, 0))
                out[edge.caller] = was[0] + edge.calls, was[1] + edge.cycles
        return out

    def file(self, path: str) -> str:
        """The text of a profile file, in the format that its name asks for."""
        name = path.rsplit("/", 1)[-1]
        if name.endswith(".speedscope.json"):
            return json.dumps(self.speedscope())
        if name.endswith((".trace.json", ".perfetto.json", ".chrome.json")):
            return json.dumps(self.chrome())
        if name.endswith(".callgrind") or name.startswith("callgrind.out"):
            return self.callgrind()
        known = "; ".join(f"*{suffix} for {tool}" for suffix, tool in FORMATS.items())
        raise EmuError(f"{path}: no profile has this name: {known}")

    # speedscope -------------------------------------------------------------------------------------------------------

    def speedscope(self) -> dict[str, Any]:
        """Calls in their order where they are few enough, the tree of calls with its weights otherwise."""
        frames: dict[str, int] = {}
        trace = self.trace

        def frame(name: str) -> int:
            return frames.setdefault(name, len(frames))

        if trace.events_complete and len(trace.events) <= _MAX_EVENTED:
            profile: dict[str, Any] = {
                "type": "evented", "startValue": 0, "endValue": trace.cycles,
                "events": [{"type": "O" if opens else "C", "frame": frame(name), "at": at}
                           for at, name, opens in trace.events],
            }
        else:
            stacks: list[tuple[int, ...]] = []
            weight: dict[tuple[int, ...], int] = {}
            for node in trace.nodes:
                stacks.append((*stacks[node.parent], frame(node.function)) if node.function != OUTSIDE else ())
                if node.cycles:
                    weight[stacks[-1]] = weight.get(stacks[-1], 0) + node.cycles
            profile = {"type": "sampled", "startValue": 0, "endValue": sum(weight.values()),
                       "samples": [list(stack) for stack in weight], "weights": list(weight.values())}
        return {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "exporter": "emu",
            "name": self.title,
            "activeProfileIndex": 0,
            "shared": {"frames": [self._frame(name) for name in frames]},
            "profiles": [{"name": f"{self.title} (cycles)", "unit": "none", **profile}],
        }

    def _frame(self, name: str) -> dict[str, Any]:
        symbol = self.image.symbol(name)
        where = self.lines.find(symbol.address) if symbol else None
        label = f"{name} ({self.layers[name]})" if name in self.layers else name
        return {"name": label, "file": where[0], "line": where[1]} if where else {"name": label}

    # Chrome's trace events --------------------------------------------------------------------------------------------

    def chrome(self) -> dict[str, Any]:
        """Layers on one track and all calls on another, one cycle shown as one microsecond."""
        events: list[dict[str, Any]] = [
            _meta("process_name", 0, self.title), _meta("thread_name", 1, "layers (1 us = 1 cycle)"),
        ]
        every = self.trace.events_complete and len(self.trace.events) <= _MAX_EVENTED
        if every:
            events.append(_meta("thread_name", 2, "calls (1 us = 1 cycle)"))
        for at, end, name in _spans(self.trace.events):
            args: dict[str, Any] = {"symbol": name, "cycles": end - at}
            if self.clock_hz:
                args["us"] = (end - at) / self.clock_hz * 1e6
            row = {"name": name, "ph": "X", "ts": at, "dur": end - at, "pid": 1, "tid": 2, "args": args}
            if name in self.layers:
                events.append({**row, "name": self.layers[name], "tid": 1})
            if every:
                events.append(row)
        return {"traceEvents": events, "displayTimeUnit": "ns",
                "otherData": {"unit": "one microsecond of the time line is one cycle", "clock_hz": self.clock_hz}}

    # callgrind --------------------------------------------------------------------------------------------------------

    def callgrind(self) -> str:
        """Valgrind's profile format, instruction by instruction, with cycles and instructions."""
        out = ["# callgrind format", "version: 1", "creator: emu", f"cmd: {self.title}", "positions: instr line",
               "event: Cycles : Cycles (model)", "event: Instructions : Instructions executed",
               "events: Cycles Instructions", f"summary: {self.trace.cycles} {self.trace.instructions}", ""]
        by_function: dict[str, list[tuple[int, str, str]]] = {}

        def where(address: int) -> tuple[str, int]:
            return self.lines.find(address) or ("??", 0)

        for row in self.trace.executed:
            file, line = where(row.address)
            by_function.setdefault(self.image.function_at(row.address), []).append(
                (row.address, file, f"0x{row.address:x} {line} {row.cycles} {row.count}"))
        for edge in self.trace.edges:
            if edge.caller == OUTSIDE:
                continue
            file, line = where(edge.site)
            target = self.image.symbol(edge.callee)
            entry = target.address if target else 0
            callee_file, callee_line = where(entry)
            text = (f"cfi={callee_file}\ncfn={edge.callee}\ncalls={edge.calls} 0x{entry:x} {callee_line}\n"
                    f"0x{edge.site:x} {line} {edge.cycles} {edge.instructions}")
            by_function.setdefault(edge.caller, []).append((edge.site, file, text))
        for name, rows in by_function.items():
            symbol = self.image.symbol(name)
            home = where(symbol.address)[0] if symbol else "??"
            out += [f"fl={home}", f"fn={name or '??'}"]
            current = home
            for _, file, text in sorted(rows, key=lambda row: row[0]):
                if file != current:
                    out.append(f"{'fe' if file == home else 'fi'}={file}")
                    current = file
                out.append(text)
            out.append("")
        return "\n".join([*out, f"totals: {self.trace.cycles} {self.trace.instructions}", ""])


def _meta(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 1, "tid": thread, "args": {"name": name}}


def _spans(events: Sequence[tuple[int, str, bool]]) -> list[tuple[int, int, str]]:
    """(begin, end, name) of calls, in the order in which they begin."""
    out: list[tuple[int, int, str]] = []
    open_: list[int] = []
    for at, name, opens in events:
        if opens:
            open_.append(len(out))
            out.append((at, at, name))
        elif open_:
            i = open_.pop()
            out[i] = out[i][0], at, out[i][2]
    return out
