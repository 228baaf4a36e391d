"""What makes generated C a product: test vectors with a main that checks them, a convenience call, CMake, a README.

Everything here is made from a CProject; nothing is written to disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genn.codegen import LICENSE, CProject
from genn.errors import UsageError
from genn.ir import Tensor
from genn.names import comment
from genn.ops import registry
from genn.vectors import FILE as VECTOR_FILE
from genn.vectors import dumps as dump_vectors

SENSOR_TYPES = {
    "u8": ("uint8_t", 0, 255),
    "s8": ("int8_t", -128, 127),
    "u16": ("uint16_t", 0, 65535),
    "s16": ("int16_t", -32768, 32767),
}


@dataclass(frozen=True)
class Sensor:
    """What a sensor delivers for input 0: integers of ``type``, real = scale * raw + offset."""

    type: str
    scale: float
    offset: float = 0.0


def parse_sensor(text: str) -> Sensor:
    """``u8:SCALE[:OFFSET]`` (types u8 s8 u16 s16)."""
    kind, *numbers = text.split(":")
    try:
        values = [float(n) for n in numbers]
        if kind not in SENSOR_TYPES or len(values) not in (1, 2) or not np.isfinite(values).all() or values[0] == 0:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{text!r} describes no sensor",
            "--sensor",
            f"use TYPE:SCALE[:OFFSET] with TYPE one of {', '.join(SENSOR_TYPES)}, as in u8:0.00392",
        ) from None
    return Sensor(kind, *values)


def sensor_constants(t: Tensor, sensor: Sensor) -> tuple[int, int, int]:
    """(mult, add, shift) with q = (raw * mult + add) >> shift inside int32 for every raw value.

    |q - exact| <= 0.5 (rounding) + (|raw| + 1) * 2**-(shift + 1).
    """
    _, lo, hi = SENSOR_TYPES[sensor.type]
    assert t.q is not None
    slope = sensor.scale / float(t.q.scale)
    at = sensor.offset / float(t.q.scale) + t.q.zero_point + 0.5
    for shift in range(24, -1, -1):
        mult, add = round(slope * 2.0**shift), round(at * 2.0**shift)
        if max(abs(lo), hi) * abs(mult) + abs(add) < 1 << 31:
            return mult, add, shift
    raise UsageError("the sensor's range is far wider than the input's", "--sensor", "check its scale and offset")


def add_extras(
    p: CProject,
    vectors: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    sensor: Sensor | None = None,
    title: str = "",
) -> None:
    """Add main.c, NAME_vectors.h, NAME_infer.c, CMakeLists.txt and README.md to the project's files.

    vectors, expected: stored inputs and the reference's outputs, (S, *shape) per tensor name.
    """
    header = str(p.files[f"{p.name}.h"])
    p.files[f"{p.name}.h"] = header.replace("/*SENSOR*/\n", _sensor(p, sensor) if sensor else "\n")
    p.files[f"{p.name}_vectors.h"] = _vectors(p, vectors, expected)
    p.files[VECTOR_FILE] = dump_vectors([vectors[n] for n in p.graph.inputs], [expected[n] for n in p.graph.outputs])
    p.files["main.c"] = MAIN.replace("NAME", p.name).replace("UPPER", p.name.upper())
    p.files[f"{p.name}_infer.c"] = _infer(p)
    p.files["CMakeLists.txt"] = CMAKE.replace("NAME", p.name)
    p.files["README.md"] = _readme(p, title)


def _sensor(p: CProject, sensor: Sensor) -> str:
    t = p.graph[p.graph.inputs[0]]
    ctype, up = SENSOR_TYPES[sensor.type][0], p.name.upper()
    head = [f"\n/* Input 0 from {t.size} sensor values, real = {sensor.scale!r} * raw + {sensor.offset!r}"]
    name = f"static inline void {p.name}_input0_from_{sensor.type}(void *arena, const {ctype} *raw)"
    if t.q is None:
        body = [
            f"        x[i] = (float)raw[i] * {float(np.float32(sensor.scale)).hex()}f"
            f" + {float(np.float32(sensor.offset)).hex()}f;"
        ]
        head[0] += ". */"
    else:
        mult, add, shift = sensor_constants(t, sensor)
        error = 0.5 + (max(map(abs, SENSOR_TYPES[sensor.type][1:])) + 1) * 2.0 ** -(shift + 1)
        head += [f" * (integers only; within {error:.3f} steps of the exact value, rounding included). */"]
        body = [
            f"        int32_t q = ((int32_t)raw[i] * ({mult}) + ({add})) >> {shift};",
            f"        q = q < {up}_INPUT0_MIN ? {up}_INPUT0_MIN : q;",
            f"        x[i] = ({up}_INPUT0_TYPE)(q > {up}_INPUT0_MAX ? {up}_INPUT0_MAX : q);",
        ]
    return "\n".join(
        [
            *head,
            name,
            "{",
            f"    {up}_INPUT0_TYPE *x = ({up}_INPUT0_TYPE *)(void *)((unsigned char *)arena + {up}_INPUT0_OFFSET);",
            "",
            f"    for (int32_t i = 0; i < {up}_INPUT0_SIZE; i++) {{",
            *body,
            "    }",
            "}",
            "",
        ]
    )


def _words(name: str, array: np.ndarray) -> list[str]:
    """Samples one behind another, each padded to whole words."""
    raw = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)
    raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4)))
    data = np.ascontiguousarray(raw).view("<u4").ravel()
    lines = [", ".join([f"0x{v:x}u" for v in data[i : i + 8].tolist()]) for i in range(0, len(data), 8)]
    return [f"static const uint32_t {name}[] = {{", ",\n".join(f"    {line}" for line in lines), "};", ""]


def _vectors(p: CProject, vectors: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> str:
    up = p.name.upper()
    count = len(next(iter(expected.values())))
    out = [
        f"/* {p.name}: test vectors, inputs and the outputs of the reference.  {LICENSE} */",
        f"#ifndef {up}_VECTORS_H",
        f"#define {up}_VECTORS_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define {up}_VECTORS {count}u",
        "",
        f"struct {p.name}_vector {{",
        "    const uint32_t *words; /* samples one behind another */",
        "    uint32_t bytes, stride; /* of one sample; stride in words */",
        "};",
        "",
    ]
    for kind, names, data in (("in", p.graph.inputs, vectors), ("out", p.graph.outputs, expected)):
        for i, tensor in enumerate(names):
            out += _words(f"{p.name}_{kind}{i}_words", data[tensor])
        rows = [
            f"{{{p.name}_{kind}{i}_words, {p.graph[t].nbytes}u, {-(-p.graph[t].nbytes // 4)}u}}"
            for i, t in enumerate(names)
        ]
        out += [f"static const struct {p.name}_vector {p.name}_{kind}[] = {{", *(f"    {r}," for r in rows), "};", ""]
    return "\n".join([*out, "#endif", ""])


MAIN = """\
/* NAME: runs the test vectors on any platform with a printf and says whether the outputs equal the reference's. */
#include <stdio.h>

#include "NAME.h"
#include "NAME_vectors.h"

static union {
    uint64_t align;
    unsigned char bytes[UPPER_ARENA_BYTES];
} arena;

static const unsigned char *sample(const struct NAME_vector *v, uint32_t i)
{
    return (const unsigned char *)(v->words + i * v->stride);
}

int main(void)
{
    uint32_t passed = 0;

    for (uint32_t s = 0; s < UPPER_VECTORS; s++) {
        uint32_t differ = 0;
        for (int i = 0; i < UPPER_INPUTS; i++) {
            unsigned char *to = NAME_input(arena.bytes, i);
            for (uint32_t k = 0; k < NAME_in[i].bytes; k++)
                to[k] = sample(&NAME_in[i], s)[k];
        }
        (void)NAME_run(arena.bytes);
        for (int i = 0; i < UPPER_OUTPUTS; i++) {
            const unsigned char *got = NAME_output(arena.bytes, i);
            for (uint32_t k = 0; k < NAME_out[i].bytes; k++)
                differ += got[k] != sample(&NAME_out[i], s)[k];
        }
        if (differ)
            printf("vector %lu: %lu bytes differ\\n", (unsigned long)s, (unsigned long)differ);
        passed += differ == 0;
    }
    printf("%s: %lu of %lu test vectors equal the reference\\n", passed == UPPER_VECTORS ? "pass" : "FAIL",
           (unsigned long)passed, (unsigned long)UPPER_VECTORS);
    return passed == UPPER_VECTORS ? 0 : 1;
}
"""

CMAKE = """\
cmake_minimum_required(VERSION 3.10)
project(NAME C)

# The network: link this into your firmware.
add_library(NAME STATIC NAME.c NAME_weights.c)
target_include_directories(NAME PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
set_target_properties(NAME PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
target_compile_options(NAME PRIVATE -O2 -ffp-contract=off -Wall -Wextra -Wconversion -Wshadow)

# The same with an arena of its own.
add_library(NAME_infer STATIC NAME_infer.c)
target_link_libraries(NAME_infer PUBLIC NAME)

# The test vectors: cmake -B build && cmake --build build && ctest --test-dir build
enable_testing()
add_executable(NAME_test main.c)
target_link_libraries(NAME_test PRIVATE NAME)
add_test(NAME_vectors NAME_test)
"""


def _infer(p: CProject) -> str:
    up = p.name.upper()
    n_in, n_out = len(p.graph.inputs), len(p.graph.outputs)
    args = [f"const {up}_INPUT{i}_TYPE *in{i}" for i in range(n_in)] + [
        f"{up}_OUTPUT{i}_TYPE *out{i}" for i in range(n_out)
    ]
    out = [
        f"/* {p.name}: one call, with a static arena; not for threads.  {LICENSE} */",
        f'#include "{p.name}.h"',
        "",
        "static union {",
        "    uint64_t align;",
        f"    unsigned char bytes[{up}_ARENA_BYTES];",
        "} arena;",
        "",
        f"int {p.name}_infer({', '.join(args)})",
        "{",
        "    int status;",
        "",
    ]
    for i in range(n_in):
        out += [f"    {up}_INPUT{i}_TYPE *const to{i} = {p.name}_input(arena.bytes, {i});"]
    for i in range(n_out):
        out += [f"    const {up}_OUTPUT{i}_TYPE *const from{i} = {p.name}_output(arena.bytes, {i});"]
    out.append("")
    for i in range(n_in):
        out += [f"    for (int32_t k = 0; k < {up}_INPUT{i}_SIZE; k++)", f"        to{i}[k] = in{i}[k];"]
    out.append(f"    status = {p.name}_run(arena.bytes);")
    for i in range(n_out):
        out += [f"    for (int32_t k = 0; k < {up}_OUTPUT{i}_SIZE; k++)", f"        out{i}[k] = from{i}[k];"]
    return "\n".join([*out, "    return status;", "}", ""])


def _meaning(t: Tensor) -> str:
    return f", real = {float(t.q.scale)!r} * (q - {t.q.zero_point})" if t.q else ""


def _readme(p: CProject, title: str) -> str:
    graph, name = p.graph, p.name
    rows = []
    for layer in p.layers:
        out = graph[layer.node.outputs[0]]
        macs = registry[layer.node.op].macs(layer.node, graph)
        kind = "sparse" if layer.node.quant.get("sparse") else "dense" if layer.weights else ""
        rows.append(f"| {layer.index} | `{layer.symbol}` | {'x'.join(map(str, out.shape))} | {macs or ''} | {kind} |")
    ports = [
        f"* {kind} {i}: `{graph[t].dtype}` {'x'.join(map(str, graph[t].shape))}"
        + _meaning(graph[t])
        for kind, names in (("input", graph.inputs), ("output", graph.outputs))
        for i, t in enumerate(names)
    ]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"{comment(title) or 'A neural network'} as C99, scheme {graph.scheme}, generated by genn-mcu.  "
            "No OS, no library, no heap; "
            f"one arena of {p.plan.arena} bytes that belongs to the caller.",
            "",
            "```c",
            f'#include "{name}.h"',
            "",
            f"static union {{ uint64_t align; unsigned char bytes[{name.upper()}_ARENA_BYTES]; }} arena;",
            f"/* fill {name}_input(arena.bytes, 0) */",
            f"{name}_run(arena.bytes);",
            f"/* read {name}_output(arena.bytes, 0) */",
            "```",
            "",
            *ports,
            "",
            f"Try it: `cc *.c && ./a.out` runs the test vectors.  Compile for a target with "
            f"`{name}.c` and `{name}_weights.c` "
            "alone; use `-ffp-contract=off` where the compiler may fuse multiply and add.",
            "",
            "| layer | function | output | MACs | weights |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
