"""``python -m emu firmware.elf --core cortex-m4``: run any bare-metal ELF and print what it cost.

The firmware's console goes to stdout, the table to stderr.  Exit code: the firmware's own; 2 usage, 3 the ELF is no
good, 5 a fault, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emu


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    return name, value


def _number(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from ``low`` to ``high``."""

    def number(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return number


def _region(text: str) -> emu.Region:
    try:
        name, kind, base, size, *waits = text.split(",")
        if kind not in ("flash", "ram"):
            raise ValueError
        return emu.Region(name, int(base, 0), int(size, 0), kind, int(*waits) if waits else 0)
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError("expected NAME,flash|ram,BASE,SIZE[,WAIT_STATES]") from None


def _geometry(text: str) -> dict[str, Any]:
    words = text.split(",")
    numbers = [w for w in words if w.isdecimal()]
    flags = [w for w in words if not w.isdecimal()]
    if not 1 <= len(numbers) <= 3 or not set(flags) <= {"prefetch", "unified"} or int(numbers[0]) % 8:
        raise argparse.ArgumentTypeError("expected BITS[,I_LINES[,D_LINES]][,prefetch][,unified]")
    bits, instruction, data = (*map(int, numbers), *[0] * (3 - len(numbers)))
    return {"line_bytes": bits // 8, "instruction_lines": instruction, "data_lines": data,
            **dict.fromkeys(flags, True)}


def _watched(args: argparse.Namespace, machine: emu.Machine, result: emu.RunResult,
             files: dict[str, bytes]) -> list[str]:
    """Run once more and look at each instruction, where an option asks for it; returns lines to print."""
    if not (args.profile or args.annotate or args.flash):
        return []
    if not machine.counting:
        raise emu.EmuError("profiles, listings and the flash's model are for firmware without clocks: --clock off")
    from emu.annotate import annotate
    from emu.cache import Flash, bound
    from emu.profile import Profile
    from emu.trace import trace

    region = next((r for r in machine.regions if r.kind == "flash"), None)
    flash = Flash(region.base, region.size, region.wait_states, **args.flash) if args.flash and region else None
    seen = trace(machine, result, files, flash=flash, budget=args.budget)
    profile = Profile(machine.image, seen, Path(args.elf).name, {name: name for name in args.bank})
    lines = []
    if flash:
        most = result.cycles + bound(flash, machine)
        lines += [f"{result.cycles} cycles without wait states, at most {most} with every one paid",
                  f"{result.cycles + seen.stalls} cycles, an estimate: {flash.describe()}"]
    lines += [f"{f.inclusive:14} {f.calls:14}  {f.name} with all that it calls, calls"
              for f in sorted(profile.functions(), key=lambda f: -f.inclusive)[: args.top]]
    for path in args.profile:
        Path(path).write_text(profile.file(path))
        lines.append(f"wrote {path}")
    return lines + [annotate(profile, name, [Path.cwd(), Path(args.elf).parent]) for name in args.annotate]


def _run(args: argparse.Namespace, timing: emu.Timing, files: dict[str, bytes]) -> tuple[emu.Machine, emu.RunResult]:
    """Count blocks; where the firmware turns out to use clocks or exceptions, run it again with these."""
    if args.clock != "on" and not args.uart and args.gdb is None:
        machine = emu.Machine(args.elf, args.core, args.fpu, timing, args.region, args.bank, args.count)
        result = machine.run(files, args.budget, args.hz)
        if args.clock == "off":
            return machine, result
        from emu.live import needs_clock

        if not needs_clock(machine, result):
            return machine, result
    from emu import uart
    from emu.live import LiveMachine

    live = LiveMachine(args.elf, args.core, args.fpu, timing, args.region, args.bank, args.count,
                       uart.parse(args.uart) if args.uart else None)
    if args.gdb is None:
        return live, live.run(files, args.budget, args.hz)
    from emu.gdb import serve

    def ready(port: int) -> None:
        print(f"waiting for a debugger: target remote 127.0.0.1:{port}", file=sys.stderr, flush=True)

    return live, serve(live, args.gdb, files, args.hz, args.budget, ready)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m emu", description="Run a Cortex-M ELF and count its cycles.",
                                     epilog="Exit code: the firmware's own; 2 usage, 3 the ELF is no good, 5 a fault "
                                            "or the budget, 130 interrupted.")
    parser.add_argument("elf")
    parser.add_argument("--core", default="cortex-m0plus", choices=sorted(emu.CORES))
    parser.add_argument("--fpu", action="store_true", help="the core has a single-precision FPU")
    parser.add_argument("--timing", help=f"default: the core's own; there are {', '.join(emu.timings())}")
    parser.add_argument("--set", type=_assignment, action="append", default=[], metavar="NAME=VALUE",
                        help="override a parameter of the timing")
    parser.add_argument("--region", type=_region, action="append", metavar="NAME,KIND,BASE,SIZE[,WAITS]")
    parser.add_argument("--count", metavar="FUNCTION", help="count only this function, entry to return")
    parser.add_argument("--bank", action="append", default=[], metavar="FUNCTION", help="a row for it and its callees")
    parser.add_argument("--file", type=_assignment, action="append", default=[], metavar="NAME=PATH",
                        help="a file that the firmware can open")
    parser.add_argument("--budget", type=_number(1, 10**18), default=10**12,
                        help="stop after so many instructions; default 10**12")
    parser.add_argument("--top", type=_number(0, 10**6), default=10, help="functions to list")
    parser.add_argument("--profile", action="append", default=[], metavar="F",
                        help="write a profile: F.speedscope.json, F.trace.json (Perfetto), F.callgrind (KCachegrind)")
    parser.add_argument("--annotate", action="append", default=[], metavar="FUNCTION",
                        help="list a function with executions and cycles")
    parser.add_argument("--flash", type=_geometry, metavar="BITS[,I_LINES[,D_LINES]][,prefetch][,unified]",
                        help="model the first flash region's cache, lines of BITS (the region gives the wait states)")
    parser.add_argument("--clock", choices=["auto", "on", "off"], default="auto",
                        help="SysTick, the cycle counter and exceptions; auto: when the firmware uses them")
    parser.add_argument("--hz", type=_number(1, 10**12), default=1_000_000,
                        help="core clock, for semihosting's clock; default 1 MHz")
    parser.add_argument("--uart", metavar="KIND@ADDRESS|F.toml",
                        help="the firmware's console is this UART, or the one in the table uart of a board's file")
    parser.add_argument("--gdb", type=_number(0, 65535), metavar="PORT",
                        help="wait for a debugger on 127.0.0.1:PORT; 0: any port")
    args = parser.parse_args(argv)
    try:
        timing = emu.load_timing(args.timing or args.core, **{name: int(value, 0) for name, value in args.set})
        files = {name: Path(path).read_bytes() for name, path in args.file}
        machine, result = _run(args, timing, files)
        extra = _watched(args, machine, result, files) if result.fault is None else []
    except emu.ElfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except emu.Fault as error:
        print(f"error: {error.report()}", file=sys.stderr)
        return 5
    except (emu.EmuError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    sys.stdout.write(result.console)
    sys.stdout.flush()
    print(f"{result.cycles} cycles, {result.instructions} instructions; {result.timing}, tier: {result.tier}",
          file=sys.stderr)
    for layer in result.layers:
        print(f"{layer.cycles:14} {layer.instructions:14}  {layer.symbol} ({layer.calls} calls)", file=sys.stderr)
    for name, (cycles, instructions) in list(result.functions.items())[: args.top]:
        print(f"{cycles:14} {instructions:14}  {name} itself", file=sys.stderr)
    for line in extra:
        print(line, file=sys.stderr)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if result.fault:
        print(f"error: {result.fault.report()}", file=sys.stderr)
        return 5
    return (result.exit or 0) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
