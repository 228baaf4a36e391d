"""Many networks in one build: tests compile one extension and one ELF for dozens of models, not one each.

A multiplexer network reads the number of a model from the first word of its arena and runs that model on the rest.  Its
one input and its one output are the whole arena, so a test places inputs and finds outputs at each model's own offsets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genn import reference
from genn.api import Model
from genn.project import write_project

HEAD = 8  # bytes before the model's own arena
GUARD = 64  # bytes after the largest arena, which stay as they are
NOISE = 0xA5  # what the arena holds where no input lies: reading it would show


class Many:
    """Models of one scheme, with distinct names, as one project in ``folder``."""

    def __init__(self, models: list[Model], folder: Path) -> None:
        self.models = models
        self.scheme = models[0].graph.scheme
        self.arena = HEAD + max(m.project.plan.arena for m in models)
        self.arena += GUARD - self.arena % 8
        files: dict[str, str | bytes] = {}
        for m in models:
            keep = (f"{m.name}.c", f"{m.name}.h", f"{m.name}_layers.h", f"{m.name}_weights.c")
            files |= {k: v for k, v in m.project.files.items() if k in keep or k.startswith("genn_")}
        cases = "\n".join(f"    case {i}u: return {m.name}_run(a + {HEAD});" for i, m in enumerate(models))
        files["many.h"] = (
            "#include <stdint.h>\nvoid *many_input(void *arena, int i);\n"
            "const void *many_output(const void *arena, int i);\nint many_run(void *arena);\n"
        )
        files["many.c"] = "\n".join(
            [
                '#include "many.h"',
                *(f'#include "{m.name}.h"' for m in models),
                "void *many_input(void *arena, int i) { (void)i; return arena; }",
                "const void *many_output(const void *arena, int i) { (void)i; return arena; }",
                "int many_run(void *arena)",
                "{",
                "    unsigned char *const a = arena;",
                "    switch (*(const uint32_t *)arena) {",
                cases,
                "    default: return 1;",
                "    }",
                "}",
                "",
            ]
        )
        port = {
            "shape": [self.arena],
            "torch_shape": [self.arena],
            "layout": [0],
            "dtype": "int8",
            "bits": 8,
            "scale": 1.0,
            "zero_point": 0,
            "offset": 0,
            "bytes": self.arena,
        }
        layers = [{**layer, "index": 0, "outputs": []} for m in models for layer in m.manifest["layers"]]
        for i, layer in enumerate(layers):
            layer["index"] = i
        manifest = {
            "schema": 1,
            "generator": "genn-mcu tests",
            "name": "many",
            "scheme": self.scheme,
            "model_sha256": "",
            "options": {},
            "arena": {"bytes": self.arena, "align": 8},
            "inputs": [{"name": "arena", **port}],
            "outputs": [{"name": "arena_out", **port}],
            "layers": layers,
        }
        self.folder = write_project(files, manifest, folder)

    def images(self, stored: list[dict[str, np.ndarray]]) -> np.ndarray:
        """Arena images (models x samples, arena bytes) int8: ``stored`` inputs per model, (S, *shape) each."""
        rows = []
        for i, (m, xs) in enumerate(zip(self.models, stored, strict=True)):
            for s in range(len(next(iter(xs.values())))):
                image = np.full(self.arena, NOISE, np.uint8)
                image[:4] = np.frombuffer(np.uint32(i).tobytes(), np.uint8)
                for name, x in xs.items():
                    raw = np.frombuffer(np.ascontiguousarray(x[s]).tobytes(), np.uint8)
                    at = HEAD + m.project.plan.offsets[name]
                    image[at : at + len(raw)] = raw
                rows.append(image)
        return np.stack(rows).view(np.int8)

    def differences(self, stored: list[dict[str, np.ndarray]], images: np.ndarray) -> list[str]:
        """What the arena images after a run hold that is not what the reference says, one line per model and output."""
        bad, row = [], 0
        images = np.ascontiguousarray(images).view(np.uint8)
        for m, xs in zip(self.models, stored, strict=True):
            want = reference.run(m.graph, xs)
            for s in range(len(next(iter(xs.values())))):
                for name in m.graph.outputs:
                    raw = np.frombuffer(np.ascontiguousarray(want[name][s]).tobytes(), np.uint8)
                    at = HEAD + m.project.plan.offsets[name]
                    if not np.array_equal(images[row, at : at + len(raw)], raw):
                        n = int((images[row, at : at + len(raw)] != raw).sum())
                        bad.append(
                            f"{m.name} [{m.graph.scheme}] sample {s}: {n} of {len(raw)} bytes of {name} differ\n"
                            f"{m.graph.dump()}"
                        )
                row += 1
        return bad
