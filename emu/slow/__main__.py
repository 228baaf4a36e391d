"""``python -m emu.slow firmware.elf --core cortex-m4``: count the slow way."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import CORES, SlowError, run


def main(argv: list[str] | None = None) -> int:
    """Run the command line; exit code 0, 2 usage, 5 the firmware or the budget."""
    parser = argparse.ArgumentParser("python -m emu.slow", description="Count a Cortex-M ELF's cycles step by step.")
    parser.add_argument("elf")
    parser.add_argument("--core", default="cortex-m0plus", choices=sorted(CORES))
    parser.add_argument("--timing", choices=sorted(CORES), help="default: the core's own")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="P, B, skipped or multiplier")
    parser.add_argument("--count", metavar="FUNCTION", help="count only this function, entry to return")
    parser.add_argument("--bank", action="append", default=[], metavar="FUNCTION", help="a row for it and its callees")
    parser.add_argument("--file", action="append", default=[], metavar="NAME=PATH", help="what the firmware can open")
    parser.add_argument("--budget", type=int, default=50_000_000, help="instructions")
    args = parser.parse_args(argv)
    try:
        parameters = {name: int(value, 0) for name, _, value in (a.partition("=") for a in args.set)}
        files = {name: Path(path).read_bytes() for name, _, path in (a.partition("=") for a in args.file)}
        result = run(args.elf, args.core, timing=args.timing, parameters=parameters, files=files, count=args.count,
                     banks=args.bank, budget=args.budget)
    except SlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 5
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.write(result.console)
    print(f"{result.cycles} cycles, {result.instructions} instructions", file=sys.stderr)
    for row in result.layers:
        print(f"{row.cycles:14} {row.instructions:14}  {row.symbol} ({row.calls} calls)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
