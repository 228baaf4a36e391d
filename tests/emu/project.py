"""A small network written by hand after the manifest's contract: float, so that a core without FPU calls soft-float."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

HEADER = """
#ifndef TINY_H
#define TINY_H
#define tiny_ARENA_BYTES 64
#define tiny_ARENA_ALIGN 8
int tiny_run(void *arena);
void *tiny_input(void *arena, int i);
const void *tiny_output(const void *arena, int i);
void tiny_l00_linear(unsigned char *arena);
void tiny_l01_scale(unsigned char *arena);
#endif
"""
SOURCE = """
#include "tiny.h"
#define LAYER __attribute__((noinline, noclone))
extern const float tiny_l00_w[32];
LAYER void tiny_l00_linear(unsigned char *arena)
{
    const float *x = (const float *)(void *)arena;
    float *y = (float *)(void *)(arena + 32);
    int o, i;
    for (o = 0; o < 4; o++) {
        float acc = 0.0f;
        for (i = 0; i < 8; i++) {
            acc = acc + tiny_l00_w[o * 8 + i] * x[i];
        }
        y[o] = acc;
    }
}
LAYER void tiny_l01_scale(unsigned char *arena)
{
    const float *y = (const float *)(void *)(arena + 32);
    float *z = (float *)(void *)(arena + 48);
    int o;
    for (o = 0; o < 4; o++) {
        z[o] = y[o] > 0.0f ? y[o] * 0.5f : y[o] / 3.0f;
    }
}
int tiny_run(void *arena)
{
    tiny_l00_linear(arena);
    tiny_l01_scale(arena);
    return 0;
}
void *tiny_input(void *arena, int i) { return i == 0 ? arena : 0; }
const void *tiny_output(const void *arena, int i) { return i == 0 ? (const unsigned char *)arena + 48 : 0; }
"""
WEIGHTS = [(k * 7 % 13 - 6) / 8 for k in range(32)]


def write(folder: Path) -> Path:
    """Write the project and return its folder: 8 float inputs, 4 float outputs, two layers."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = ", ".join(f"{w!r}f" for w in WEIGHTS)
    weights = f'#include "tiny.h"\nextern const float tiny_l00_w[32];\nconst float tiny_l00_w[32] = {{{numbers}}};\n'
    files = {"tiny.h": HEADER, "tiny.c": SOURCE, "tiny_weights.c": weights}
    for name, text in files.items():
        (folder / name).write_text(text)

    def port(name: str, shape: list[int], offset: int) -> dict[str, object]:
        return {"name": name, "shape": shape, "torch_shape": shape, "layout": [0, 1], "dtype": "float32", "bits": 32,
                "scale": None, "zero_point": 0, "offset": offset, "bytes": 4 * shape[1]}

    def layer(index: int, op: str, macs: int) -> dict[str, object]:
        return {"index": index, "name": op, "op": op, "symbol": f"tiny_l{index:02d}_{op}", "scheme": "float32",
                "weights": None if index else "tiny_l00_w", "constants": None, "sparse": False, "macs": macs,
                "weight_bytes": 0 if index else 128, "in_shapes": [[1, 4 if index else 8]], "out_shapes": [[1, 4]],
                "arena_live": 64, "source": {}, "outputs": []}

    manifest = {"schema": 1, "generator": "genn-mcu tests", "name": "tiny", "scheme": "float32", "model_sha256": "",
                "options": {}, "arena": {"bytes": 64, "align": 8}, "inputs": [port("x", [1, 8], 0)],
                "outputs": [port("z", [1, 4], 48)], "layers": [layer(0, "linear", 32), layer(1, "scale", 0)],
                "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}}
    (folder / "genn.json").write_text(json.dumps(manifest))
    return folder
