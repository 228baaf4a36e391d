"""``python -m emu firmware.elf --core cortex-m4``: run any bare-metal ELF and print what it cost.

The firmware's console goes to stdout, the table to stderr.  Exit code: the firmware's own; 2 usage, 3 the ELF is no
good, 5 a fault.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import emu


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    return name, value


def _region(text: str) -> emu.Region:
    try:
        name, kind, base, size, *waits = text.split(",")
        if kind not in ("flash", "ram"):
            raise ValueError
        return emu.Region(name, int(base, 0), int(size, 0), kind, int(waits[0]) if waits else 0)
    except ValueError:
        raise argparse.ArgumentTypeError("expected NAME,flash|ram,BASE,SIZE[,WAIT_STATES]") from None


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m emu", description="Run a Cortex-M ELF and count its cycles.")
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
    parser.add_argument("--budget", type=int, default=10**12, help="instructions")
    parser.add_argument("--top", type=int, default=10, help="functions to list")
    args = parser.parse_args(argv)
    try:
        timing = emu.load_timing(args.timing or args.core, **{name: int(value, 0) for name, value in args.set})
        files = {name: Path(path).read_bytes() for name, path in args.file}
        machine = emu.Machine(args.elf, args.core, args.fpu, timing, args.region, args.bank, args.count)
        result = machine.run(files, args.budget)
    except emu.ElfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except emu.Fault as error:
        print(f"error: {error.report()}", file=sys.stderr)
        return 5
    except (emu.EmuError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.write(result.console)
    sys.stdout.flush()
    print(f"{result.cycles} cycles, {result.instructions} instructions; {result.timing}, tier: {result.tier}",
          file=sys.stderr)
    for layer in result.layers:
        print(f"{layer.cycles:14} {layer.instructions:14}  {layer.symbol} ({layer.calls} calls)", file=sys.stderr)
    for name, (cycles, instructions) in list(result.functions.items())[: args.top]:
        print(f"{cycles:14} {instructions:14}  {name} itself", file=sys.stderr)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if result.fault:
        print(f"error: {result.fault.report()}", file=sys.stderr)
        return 5
    return (result.exit or 0) & 0xFF


if __name__ == "__main__":
    sys.exit(main())
