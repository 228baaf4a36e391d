"""Build the benchmark's ELF files again and print their hashes: ``python make.py [FOLDER]``.

What is measured are the files that lie here, made with arm-none-eabi-gcc 12.2; another compiler makes other ones.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = {"linear": 5000, "softfloat": 80, "branchy": 1000, "mixed": 250}
"""Rounds of each."""
CORES = {"v6m": "cortex-m0plus", "v7em": "cortex-m4"}

FLAGS = ("-mthumb", "-mfloat-abi=soft", "-O2", "-fno-tree-loop-distribute-patterns", "-ffreestanding", "-nostartfiles",
         "-nodefaultlibs", "-T", "link.ld", "-Wl,--build-id=none", "-Wl,-z,max-page-size=4096")


def mixed(functions: int = 240) -> str:
    """A large program: many functions of different shapes, called in an order that depends on the data."""
    rng = random.Random(2024)
    text = ['#include "bench.h"', "BENCH;", "static int32_t t[1024];", "static uint8_t b[1024];"]
    for n in range(functions):
        lines = []
        for _ in range(rng.randrange(2, 7)):
            c, k = rng.randrange(1, 1 << 20), rng.randrange(1, 31)
            lines.append(rng.choice([
                f"x = x * {c | 1}u + (y >> {k});",
                f"y ^= x << {k}; t[(x + {c}u) & 1023] += (int32_t)y;",
                f"if ((int32_t)(x ^ {c}u) < (int32_t)y) x += {c}u; else y -= x >> {k};",
                f"for (i = 0; i < {rng.randrange(3, 12)}; i++) {{ x += (uint32_t)t[(y + i * {c % 97}u) & 1023] >> {k}; "
                f"b[(x + i) & 1023] = (uint8_t)(y >> (i & 15)); }}",
                f"y += (uint32_t)((int64_t)(int32_t)x * {c} >> 20);",
                f"x = y > {c}u ? y - {c}u : x + b[y & 1023];",
                f"x -= (uint32_t)(int16_t)y; y = (y >> {k}) | (y << {32 - k});",
                f"switch (x & 7u) {{ case 0: y += {c}u; break; case 1: y ^= {c}u; break; case 2: x >>= 1; break; "
                f"case 3: x += y; break; case 4: y = ~y; break; default: y -= {k}u; break; }}",
                f"y = y / ((x & 15u) + {k}u) + x;" if rng.random() < 0.3 else f"y = (y & 0xffffu) * (x >> 16) + {c}u;",
            ]))
        body = "\n    ".join(lines)
        text.append(f"static uint32_t __attribute__((noinline, noclone)) f{n}(uint32_t x, uint32_t y)\n{{\n"
                    f"    uint32_t i = 0;\n    {body}\n    return x + y + i;\n}}")
    names = ", ".join(f"f{n}" for n in range(functions))
    text.append(f"static uint32_t (*const table[{functions}])(uint32_t, uint32_t) = {{{names}}};")
    text.append(f"""uint32_t work(void)
{{
    uint32_t h = 1, r, k;
    for (r = 0; r < bench_rounds; r++)
        for (k = 0; k < {functions * 16}u; k++) h = table[k >> 4](h, r + k * 2654435761u) ^ (h >> 5);
    return h;
}}""")
    return "\n".join(text) + "\n"


def build(folder: Path) -> dict[str, str]:
    """Write NAME-CORE.elf for each program and core; their hashes."""
    generated = folder / "mixed.c"
    generated.write_text(mixed())
    found = {}
    for name, rounds in PROGRAMS.items():
        for label, core in CORES.items():
            out = folder / f"{name}-{label}.elf"
            source = generated if name == "mixed" else HERE / f"{name}.c"
            subprocess.run(["arm-none-eabi-gcc", f"-mcpu={core}", *FLAGS, "-I.", f"-DROUNDS={rounds}", "-o", str(out),
                            "start.S", str(source), "-lgcc"], cwd=HERE, check=True)
            subprocess.run(["arm-none-eabi-strip", "--strip-debug", str(out)], check=True)
            found[out.name] = hashlib.sha256(out.read_bytes()).hexdigest()
    generated.unlink()
    return found


if __name__ == "__main__":
    for name, digest in build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE).items():
        print(f"{digest}  {name}")
