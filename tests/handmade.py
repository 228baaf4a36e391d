"""Hand-written projects that follow docs/architecture.md, for tests of what runs and reads generated C."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SOURCE = """
#include "genn_common.h"
#include "{name}.h"
#include "{name}_layers.h"

/* y[i] = clamp(x[i] * w[i] / 2) */
void {name}_l00_scale(unsigned char *arena)
{{
    const int8_t *x = (const int8_t *)arena;
    int8_t *y = (int8_t *)(arena + 8);
    for (int i = 0; i < 8; i++)
        y[i] = (int8_t)genn_clamp_s32(x[i] * {name}_l00_w[i] / 2, -128, 127);
    {trap}
}}

/* z = the sum, twice */
void {name}_l01_sum(unsigned char *arena)
{{
    const int8_t *y = (const int8_t *)(arena + 8);
    int16_t *z = (int16_t *)arena;
    int32_t sum = 0;
    for (int i = 0; i < 8; i++)
        sum += y[i];
    z[0] = (int16_t)sum;
    z[1] = (int16_t)(sum + {offset});
    {trap2}
}}

int {name}_run(void *arena)
{{
    {name}_l00_scale(arena);
    {name}_l01_sum(arena);
    return 0;
}}
void *{name}_input(void *arena, int i) {{ return i == 0 ? arena : 0; }}
const void *{name}_output(const void *arena, int i) {{ return i == 0 ? arena : 0; }}
"""


def write(folder: Path, name: str = "net", trap: str = "", trap2: str = "", offset: int = 1) -> Path:
    """A network of two layers: 8 int8 inputs at 0, layer 0 to 8, layer 1 (2 int16 outputs) back to 0; arena 16 bytes.

    trap, trap2: C statements put at the end of the layers.
    """
    kernels = Path(__file__).resolve().parent.parent / "ckernels"
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        f"{name}.c": SOURCE.format(name=name, trap=trap, trap2=trap2, offset=offset),
        f"{name}_weights.c": f'#include "{name}_layers.h"\n'
                             f"const int8_t {name}_l00_w[8] = {{1, 2, 3, 4, -1, -2, -3, -4}};\n",
        f"{name}.h": f"#include <stdint.h>\nint {name}_run(void *arena);\nvoid *{name}_input(void *arena, int i);\n"
                     f"const void *{name}_output(const void *arena, int i);\n",
        f"{name}_layers.h": f"#include <stdint.h>\nextern const int8_t {name}_l00_w[8];\n"
                            f"void {name}_l00_scale(unsigned char *arena);\n"
                            f"void {name}_l01_sum(unsigned char *arena);\n",
        "genn_common.h": (kernels / "genn_common.h").read_text(),
        "main.c": "#error this file is not for the host module\n",
    }
    q8 = {"dtype": "int8", "bits": 8, "scale": 0.5, "zero_point": 1}
    q16 = {"dtype": "int16", "bits": 16, "scale": 0.25, "zero_point": 0}
    y = {"shape": [1, 2, 4], "offset": 8, "bytes": 8, **q8}
    z = {"shape": [1, 2], "offset": 0, "bytes": 4, **q16}
    common = {"scheme": "int8", "sparse": False, "macs": 8, "constants": None, "arena_live": 16}
    source = {"fqn": "first", "file": "", "line": 0}
    manifest = {
        "schema": 1, "generator": "genn-mcu tests", "name": name, "scheme": "int8", "model_sha256": "0" * 64,
        "options": {}, "arena": {"bytes": 16, "align": 8},
        "inputs": [{"name": "x", "shape": [1, 2, 4], "torch_shape": [1, 4, 2], "layout": [0, 2, 1], "offset": 0,
                    "bytes": 8, **q8}],
        "outputs": [{"name": "z", "torch_shape": [1, 2], "layout": None, **z}],
        "layers": [
            {"index": 0, "name": 'first "?\\', "op": "scale", "symbol": f"{name}_l00_scale", "weights": f"{name}_l00_w",
             "weight_bytes": 8, "in_shapes": [[1, 2, 4]], "out_shapes": [[1, 2, 4]], "source": source,
             "outputs": [{"tensor": "y", **y}], **common},
            {"index": 1, "name": "second", "op": "sum", "symbol": f"{name}_l01_sum", "weights": None, "weight_bytes": 0,
             "in_shapes": [[1, 2, 4]], "out_shapes": [[1, 2]], "source": source, "outputs": [{"tensor": "z", **z}],
             **common},
        ],
        "files": {f: hashlib.sha256(text.encode()).hexdigest() for f, text in files.items()},
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    (folder / "genn.json").write_text(json.dumps(manifest))
    return folder
