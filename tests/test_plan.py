"""Plans are sound on random DAGs, and the independent checker finds every kind of unsoundness."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genn import plan_check
from genn.codegen import check_plan
from genn.errors import GennError
from genn.ir import Graph, Node, Tensor
from genn.memory import order
from genn.ops import registry
from genn.plan import _problem, in_order, neighbours, plan


def chain(*sizes: int) -> Graph:
    """Tensors of the given sizes, each a clamp of the one before where sizes agree, else a pad."""
    g = Graph("chain")
    g.add(Tensor("t0", (1, sizes[0])))
    g.inputs = ["t0"]
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        attrs = registry["clamp"].Attrs(0.0, 1.0) if a == b else registry["pad"].Attrs(((0, 0), (0, b - a)), 0.0)
        g.nodes.append(Node(f"n{i}", "clamp" if a == b else "pad", [f"t{i}"], [f"t{i + 1}"], attrs))
        g.add(Tensor(f"t{i + 1}", (1, b)))
    g.outputs = [f"t{len(sizes) - 1}"]
    return g.verify()


def test_in_place_chain_needs_one_buffer() -> None:
    g = chain(10, 10, 10)
    p = plan(g)
    assert p.arena == 40 == p.lower_bound
    check_plan(g, p, {})


def test_neighbours_do_not_overlap() -> None:
    g = chain(4, 8, 8, 16)
    p = plan(g)
    check_plan(g, p, {})
    assert p.arena == 96


def test_random_dags() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        g = Graph("r")
        names = []
        for i in range(int(rng.integers(1, 4))):
            names.append(g.add(Tensor(f"x{i}", (1, int(rng.integers(1, 30))))).name)
        g.inputs = list(names)
        workspaces = {}
        for i in range(int(rng.integers(1, 15))):
            source = names[int(rng.integers(len(names)))]
            size = g[source].shape[1]
            kind = rng.integers(4)
            if kind == 0:
                node = Node(f"n{i}", "clamp", [source], [f"y{i}"], registry["clamp"].Attrs(0.0, 1.0))
            elif kind == 1:
                node = Node(f"n{i}", "reshape", [source], [f"y{i}"], registry["reshape"].Attrs((size, 1)))
                node = Node(f"n{i}", "reshape", [source], [f"y{i}"], registry["reshape"].Attrs((1, size)))
            else:
                size += int(rng.integers(0, 9))
                pads = ((0, 0), (0, size - g[source].shape[1]))
                node = Node(f"n{i}", "pad", [source], [f"y{i}"], registry["pad"].Attrs(pads, 0.0))
                workspaces[node.name] = int(rng.integers(0, 20))
            if rng.random() < 0.2:
                parts = [names[int(k)] for k in rng.integers(len(names), size=int(rng.integers(1, 4)))]
                size = sum(g[t].shape[1] for t in parts)
                workspaces.pop(node.name, None)
                node = Node(f"n{i}", "concat", parts, [f"y{i}"], registry["concat"].Attrs(1))
            g.add(Tensor(f"y{i}", (1, size)))
            g.nodes.append(node)
            names.append(f"y{i}")
        made = [n for n in names if n not in g.inputs]
        g.outputs = [made[-1], *(n for n in made[:-1] if rng.random() < 0.2)]
        from genn.frontend import separate_outputs

        separate_outputs(g)
        before = plan(g.verify(), workspaces)
        assert before.arena >= before.lower_bound
        check_plan(g, before, workspaces)
        g = in_order(g).verify()
        check_plan(g, plan(g, workspaces), workspaces)
        near = neighbours(g).verify()
        assert peak(near) <= peak(g)


def peak(g: Graph) -> int:
    problem = _problem(g)
    return order.Memory(problem).peak(list(range(problem.size)))


def test_a_node_runs_where_it_is_read() -> None:
    """Of two chains that start one after the other, one is done before the other starts."""
    g = Graph("near", ["x"])
    g.add(Tensor("x", (1, 4)))
    clamp = registry["clamp"].Attrs(0.0, 1.0)
    for name, source in (("a", "x"), ("b", "x"), ("a2", "a"), ("a3", "a2"), ("b2", "b")):
        g.nodes.append(Node(name, "clamp", [source], [g.add(Tensor(name, (1, 4))).name], clamp))
    g.nodes.append(Node("sum", "add", ["a3", "b2"], [g.add(Tensor("y", (1, 4))).name], registry["add"].Attrs()))
    g.outputs = ["y"]
    near = neighbours(g.verify()).verify()
    assert [n.name for n in near.nodes] == ["b", "b2", "a", "a2", "a3", "sum"]
    assert peak(near) == peak(g)


def test_parts_of_a_concat_are_written_in_place() -> None:
    g = Graph("cat", ["x"])
    g.add(Tensor("x", (1, 4)))
    for name, size in (("a", 6), ("b", 10)):
        pads = registry["pad"].Attrs(((0, 0), (0, size - 4)), 0.0)
        g.nodes.append(Node(name, "pad", ["x"], [g.add(Tensor(name, (1, size))).name], pads))
    g.nodes.append(Node("c", "concat", ["a", "b"], [g.add(Tensor("c", (1, 16))).name], registry["concat"].Attrs(1)))
    g.outputs = ["c"]
    p = plan(g.verify())
    check_plan(g, p, {})
    assert p.offsets["a"] == p.offsets["c"] and p.offsets["b"] == p.offsets["c"] + 24
    assert p.arena == 16 + 64
    p.offsets["b"] += 4
    with pytest.raises(GennError):
        check_plan(g, p, {})


def test_order_of_branches() -> None:
    """Two branches, each through a wide tensor: one after the other needs one of them at a time."""
    g = Graph("order", ["x"])
    g.add(Tensor("x", (1, 4)))
    for stage, width in (("wide", 100), ("narrow", 2)):
        for branch in "ab":
            source = "x" if stage == "wide" else f"wide_{branch}"
            if stage == "wide":
                attrs: object = registry["pad"].Attrs(((0, 0), (0, width - 4)), 0.0)
                op = "pad"
            else:
                attrs, op = registry["slice"].Attrs((0, 0), (1, 1), (1, width)), "slice"
            out = g.add(Tensor(f"{stage}_{branch}", (1, width))).name
            g.nodes.append(Node(out, op, [source], [out], attrs))
    g.nodes.append(Node("sum", "add", ["narrow_a", "narrow_b"], [g.add(Tensor("y", (1, 2))).name],
                        registry["add"].Attrs()))  # fmt: skip
    g.outputs = ["y"]
    before, after = plan(g.verify()), plan(in_order(g).verify())
    assert before.arena >= 800 + 16
    assert after.arena <= 400 + 16 + 16
    assert [n.name for n in in_order(g).nodes] == ["wide_a", "narrow_a", "wide_b", "narrow_b", "sum"]


def check(offsets: dict[str, int], arena: int = 64, **more) -> None:
    nodes = more.get(
        "nodes", [("n0", ["a"], ["b"], 0, False), ("n1", ["b"], ["c"], 0, False), ("n2", ["a", "c"], ["d"], 0, True)]
    )
    sizes = {"a": 16, "b": 16, "c": 16, "d": 16}
    plan_check.check(nodes, sizes, offsets, arena, ["a"], ["d"], {"a": 4, "b": 4, "c": 4, "d": 4})


def test_checker_accepts_a_sound_plan() -> None:
    check({"a": 0, "b": 16, "c": 32, "d": 0})


@pytest.mark.parametrize(
    "offsets, arena, why",
    [
        ({"a": 0, "b": 16, "c": 0, "d": 32}, 64, "damaged"),  # a is still to be read
        ({"a": 0, "b": 8, "c": 32, "d": 48}, 64, "over its input"),
        ({"a": 0, "b": 16, "c": 32, "d": 48}, 60, "outside"),
        ({"a": 2, "b": 20, "c": 36, "d": 2}, 64, "aligned"),
        ({"a": 0, "b": 16, "c": 32, "d": 4}, 64, "over its input"),
    ],
)
def test_checker_finds(offsets: dict[str, int], arena: int, why: str) -> None:
    with pytest.raises(GennError, match=why):
        check(offsets, arena)


def test_checker_finds_a_workspace_in_the_way() -> None:
    nodes = [("n0", ["a"], ["b"], 8, False), ("n1", ["b"], ["c"], 0, False), ("n2", ["a", "c"], ["d"], 0, True)]
    with pytest.raises(GennError, match="workspace"):
        check({"a": 0, "b": 16, "c": 32, "d": 0, "n0#ws": 12}, nodes=nodes)
