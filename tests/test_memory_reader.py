"""The JSON form of liveness graphs: what it means, and that nothing in a file can do harm."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest

from genn.errors import ModelError
from genn.memory import reader
from genn.memory.graph import Access, window


def doc(*nodes: tuple[str, list[int], list[int], list[Any], dict[str, Any]], outputs: list[int] | None = None) -> Any:
    made = [
        {"id": i, "name": f"n{i}", "op": op, "inputs": ins, "shape": shape, "args": args, "params": params}
        for i, (op, ins, shape, args, params) in enumerate(nodes)
    ]
    return {"model": "m", "nodes": made, "outputs": [len(made) - 1] if outputs is None else outputs}


INPUT = ("input", [], [1, 3, 8, 8], [], {})
CONV = ("conv2d", [0], [1, 4, 8, 8], [None, None, None, [1, 1], [1, 1]], {"w": [4, 3, 3, 3]})


def test_normalization_and_clamps_are_folded() -> None:
    graph = reader.build(
        doc(INPUT, CONV, ("batch_norm", [1], [1, 4, 8, 8], [], {}), ("relu_", [2], [1, 4, 8, 8], [], {}),
            ("dropout", [3], [1, 4, 8, 8], [], {}), ("flatten", [4], [1, 256], [None, 1], {})), "m")  # fmt: skip
    (op,) = graph.ops
    assert op.parts == ("n1", "n2", "n3")
    assert graph.values[op.output].size == 256
    assert op.macs == 4 * 64 * 27


def test_a_clamp_on_a_result_with_other_readers_stays() -> None:
    nodes = [INPUT, CONV, ("relu", [1], [1, 4, 8, 8], [], {}), ("add", [1, 2], [1, 4, 8, 8], [], {})]
    assert [op.kind for op in reader.build(doc(*nodes), "m").ops] == ["conv", "clamp", "add"]


def test_sizes_are_what_can_be_planned_and_a_view_has_its_input_s() -> None:
    for shape, elem in (([10**9] * 4, 1), ([1 << 28], 4), ([1 << 30], 1)):
        with pytest.raises(ModelError, match="bytes, more than"):
            reader.build(doc(("input", [], shape, [], {}), ("relu", [0], shape, [], {})), "m", elem)
    (op,) = reader.build(doc(INPUT, ("view", [0], [1, 1000], [], {})), "m").ops  # as wrong as it is, it counts
    assert op.name == "n1" and op.reads[0].whole


def test_windows() -> None:
    graph = reader.build(doc(INPUT, CONV), "m")
    assert graph.ops[0].reads[0].rows(8, 8) == [(max(0, u - 1), min(8, u + 2)) for u in range(8)]
    assert window(3, 2, 1).rows(4, 8) == [(0, 2), (1, 4), (3, 6), (5, 8)]
    assert window(2, 2, pad=-1).rows(3, 7) == [(1, 3), (3, 5), (5, 7)]
    assert Access(2, 4, 0, 4).rows(4, 2) == [(0, 1), (0, 1), (1, 2), (1, 2)]  # nearest, twice as large


def test_transposed_convolution_reads_what_it_needs() -> None:
    """Row u of the output gets row i of the input through tap u + pad - i * stride, if there is one."""
    for kernel, stride, pad in [(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 1, 1), (5, 3, 2)]:
        height = 5
        out = (height - 1) * stride - 2 * pad + kernel
        graph = reader.build(
            doc(("input", [], [1, 2, height, height], [], {}),
                ("conv_transpose2d", [0], [1, 2, out, out],
                 [None, None, None, [stride] * 2, [pad] * 2, [0, 0], 1, [1, 1]], {"w": [2, 2, kernel, kernel]})),
            "m")  # fmt: skip
        for u, (a, b) in enumerate(graph.ops[0].reads[0].rows(out, height)):
            needed = [i for i in range(height) if 0 <= u + pad - i * stride < kernel]
            assert all(a <= i < b for i in needed)
            assert b - a <= len(needed) + 1


def test_channel_shuffle_goes_row_by_row() -> None:
    graph = reader.build(
        doc(("input", [], [1, 6, 4, 4], [], {}), ("view", [0], [1, 2, 3, 4, 4], [], {}),
            ("transpose", [1], [1, 3, 2, 4, 4], [None, 1, 2], {}), ("contiguous", [2], [1, 3, 2, 4, 4], [], {}),
            ("view", [3], [1, 6, 4, 4], [], {}),
            ("conv2d", [4], [1, 6, 4, 4], [None, None, None, [1, 1], [1, 1]], {"w": [6, 1, 3, 3]})), "m")  # fmt: skip
    assert [op.kind for op in graph.ops] == ["shuffle", "conv"]
    assert [op.steps for op in graph.ops] == [4, 4]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "[]",
        "{}",
        '{"nodes": [], "outputs": []}',
        '{"nodes": [3], "outputs": [0]}',
        '{"nodes": [{"id": 0, "name": "x", "op": "input", "inputs": [], "shape": [0]}], "outputs": [0]}',
        '{"nodes": [{"id": 0, "name": "x", "op": "input", "inputs": [], "shape": [1e9]}], "outputs": [0]}',
        '{"nodes": [{"id": 0, "name": "x", "op": "relu", "inputs": [0], "shape": [1]}], "outputs": [0]}',
        '{"nodes": [{"id": 0, "name": "x", "op": "relu", "inputs": [], "shape": [1]}], "outputs": [0]}',
        '{"nodes": [{"id": 0, "name": "x", "op": "input", "inputs": [], "shape": [1]}], "outputs": [1]}',
        '{"nodes": [{"id": 0, "name": "x", "op": "input", "inputs": [], "shape": [1], "bytes": -1}], "outputs": [0]}',
        "[" * 100_000,
    ],
)
def test_bad_files_are_refused_in_a_sentence(bad: str) -> None:
    with pytest.raises(ModelError):
        reader.read(bad, "file.json")


def test_damaged_files_never_crash() -> None:
    rng = random.Random(0)
    values: list[Any] = [None, -1, 0, 1, 2**60, "x", [], {}, [1], 1.5, True]
    for _ in range(1500):
        whole = doc(INPUT, CONV, ("max_pool2d", [1], [1, 4, 4, 4], [None, [2, 2], [2, 2]], {}),
                    ("cat", [2, 2], [1, 8, 4, 4], [[None, None], 1], {}))  # fmt: skip
        whole = json.loads(json.dumps(whole))
        for _ in range(rng.randint(1, 3)):
            node = rng.choice(whole["nodes"])
            key = rng.choice(["id", "name", "op", "inputs", "shape", "args", "params", "bytes", "workspace"])
            if key in ("args", "shape", "inputs") and isinstance(node.get(key), list) and node[key]:
                node[key][rng.randrange(len(node[key]))] = rng.choice(values)
            else:
                node[key] = rng.choice(values)
        with contextlib.suppress(ModelError):
            reader.build(whole, "m")
