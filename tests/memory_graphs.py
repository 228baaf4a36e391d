"""Random problems for the planner's tests: small ones for brute force, large ones as architecture search makes them."""

from __future__ import annotations

import random

from genn.memory.order import Memory, Problem, Store


def random_problem(rng: random.Random, n: int) -> Problem:
    """A random DAG of ``n`` operators: shared readers, results in parts, pinned stores, workspaces, credits."""
    stores = [Store(rng.randint(1, 30), present=True) for _ in range(rng.randint(1, 2))]
    made: list[tuple[int, int]] = [(s, -1) for s in range(len(stores))]  # (store, operator that wrote it)
    writes, reads, before, workspace, credits = [], [], [], [], []
    for i in range(n):
        sources = rng.sample(made, min(len(made), rng.choice((1, 1, 1, 2, 2, 3))))
        if made and rng.random() < 0.7:
            sources[0] = made[-1]
        shared = [s for s, j in made if j >= 0 and rng.random() < 0.1]
        if shared and not stores[shared[0]].present:
            out = shared[0]  # a part of a result that is already begun
        else:
            stores.append(Store(rng.randint(1, 30)))
            out = len(stores) - 1
        stores[out].writers |= 1 << i
        inputs = tuple(dict.fromkeys(s for s, _ in sources))
        for s in inputs:
            stores[s].readers |= 1 << i
        writes.append((out,))
        reads.append(inputs)
        mask = 0
        for _, j in sources:
            if j >= 0:
                mask |= 1 << j
        before.append(mask)
        workspace.append(rng.choice((0, 0, 0, rng.randint(1, 9))))
        pairs = [(s, rng.randint(0, min(stores[s].size, stores[out].size))) for s in inputs if s != out]
        credits.append(tuple(pairs) if rng.random() < 0.4 else ())
        made.append((out, i))
    for s in stores:
        s.pinned = bool(s.writers and not s.readers) or rng.random() < 0.1
    return Problem(stores, writes, reads, before, workspace, credits)


def brute_force(problem: Problem) -> int:
    """The lowest peak over all orders, by dynamic programming over all sets of done operators."""
    memory = Memory(problem)
    best = {0: (memory.start, memory.start)}
    for _ in range(problem.size):
        following: dict[int, tuple[int, int]] = {}
        for done, (peak, live) in best.items():
            for i in range(problem.size):
                if not done >> i & 1 and not problem.before[i] & ~done:
                    moment, after = memory.transient(i, done, live)
                    now = done | (1 << i)
                    found = max(peak, moment)
                    if now not in following or found < following[now][0]:
                        following[now] = (found, after)
        best = following
    return best[(1 << problem.size) - 1][0]


def network(kind: str, n: int, seed: int) -> Problem:
    """A large network: ``wired`` as Watts-Strogatz stages, ``cells`` as architecture search finds them."""
    rng = random.Random(seed)
    sizes: list[int] = [rng.randint(50, 200)]
    inputs: list[list[int]] = [[]]

    def op(sources: list[int], size: int) -> int:
        sizes.append(size)
        inputs.append(sources)
        return len(sizes) - 1

    if kind == "wired":
        last = 0
        while len(sizes) < n:
            stage, width = rng.randint(24, 40), rng.randint(20, 200)
            nodes: list[int] = []
            parents: list[list[int]] = [[] for _ in range(stage)]
            for a in range(stage):
                for hop in (1, 2):
                    b = rng.randrange(stage) if rng.random() < 0.75 else (a + hop) % stage
                    if a != b:
                        parents[max(a, b)].append(min(a, b))
            for a in range(stage):
                sources = sorted({nodes[b] for b in parents[a]}) or [last]
                x = op(sources, width) if len(sources) > 1 else sources[0]
                nodes.append(op([op([x], width)], width))  # depthwise, pointwise
            ends = [nodes[a] for a in range(stage) if not any(a in parents[b] for b in range(stage))]
            last = op(ends, width) if len(ends) > 1 else ends[0]
    else:
        older = newer = 0
        while len(sizes) < n:
            width = rng.randint(20, 200)
            left, right = op([older], width), op([newer], width)
            states = [left, right]
            for _ in range(5):
                halves = []
                for source in rng.choices(states, k=2):
                    x = source
                    for _ in range(rng.choice((1, 2, 4))):
                        x = op([x], width)
                    halves.append(x)
                states.append(op(halves, width))
            used = {s for sources in inputs for s in sources}
            loose = [s for s in states[2:] if s not in used] or [states[-1]]
            older, newer = newer, op(loose, width * len(loose))
    return as_problem(sizes, inputs)


def as_problem(sizes: list[int], inputs: list[list[int]]) -> Problem:
    """Node 0 is the input; node i > 0 is operator i - 1."""
    stores = [Store(s, 1 << (i - 1) if i else 0, present=i == 0) for i, s in enumerate(sizes)]
    for i, sources in enumerate(inputs):
        for s in sources:
            stores[s].readers |= 1 << (i - 1)
    for s in stores:
        s.pinned = not s.readers
    count = len(sizes) - 1
    before = [sum(1 << (s - 1) for s in set(sources) if s) for sources in inputs[1:]]
    reads = [tuple(dict.fromkeys(sources)) for sources in inputs[1:]]
    return Problem(stores, [(i,) for i in range(1, count + 1)], reads, before, [0] * count, [()] * count)


def random_network(rng: random.Random, n: int) -> dict[str, object]:
    """A random small network in the JSON form: convolutions, pools, concats, additions, activations, upsampling."""
    nodes: list[dict[str, object]] = []
    shapes: list[tuple[int, ...]] = []

    def node(op: str, inputs: list[int], shape: tuple[int, ...], args: object = (), params: object = None) -> int:
        ident = len(nodes)
        nodes.append({"id": ident, "name": f"{op}_{ident}", "op": op, "inputs": inputs, "shape": list(shape),
                      "args": list(args), "params": params or {}})  # type: ignore[call-overload]  # fmt: skip
        shapes.append(shape)
        return ident

    def conv(x: int) -> int:
        _, c, h, w = shapes[x]
        k, s, d = rng.choice((1, 1, 2, 3, 5)), rng.choice((1, 1, 1, 2)), rng.choice((1, 1, 1, 2))
        p, out = rng.randint(0, k // 2 * d), rng.randint(1, 8)
        rows, cols = ((n + 2 * p - (k - 1) * d - 1) // s + 1 for n in (h, w))
        if min(rows, cols) < 1:
            return x
        y = node("conv2d", [x], (1, out, rows, cols), [None, None, None, [s, s], [p, p], [d, d]], {"w": [out, c, k, k]})
        return node("relu", [y], shapes[y], [None]) if rng.random() < 0.5 else y

    def pool(x: int) -> int:
        _, c, h, w = shapes[x]
        k, s = rng.choice((2, 2, 3)), rng.choice((1, 2, 2, 3))
        p = rng.randint(0, k // 2)
        rows, cols = ((n + 2 * p - k) // s + 1 for n in (h, w))
        if min(rows, cols) < 1:
            return x
        return node(rng.choice(("max_pool2d", "avg_pool2d")), [x], (1, c, rows, cols), [None, [k, k], [s, s], [p, p]])

    size = rng.choice((6, 9, 12))
    node("input", [], (1, rng.randint(1, 4), size, size))
    for _ in range(n):
        x = rng.choice(range(len(nodes))) if rng.random() < 0.4 else len(nodes) - 1
        kind = rng.random()
        alike = [i for i in range(len(nodes)) if shapes[i][2:] == shapes[x][2:] and i != x]
        same = [i for i in alike if shapes[i] == shapes[x]]
        if kind < 0.15 and same:
            node("add", [x, rng.choice(same)], shapes[x], [None, None])
        elif kind < 0.35 and alike:
            parts = [x, *rng.sample(alike, min(len(alike), rng.randint(1, 3)))]
            node("cat", parts, (1, sum(shapes[i][1] for i in parts), *shapes[x][2:]), [[None] * len(parts), 1])
        elif kind < 0.42:
            node(rng.choice(("sigmoid", "relu")), [x], shapes[x], [None])
        elif kind < 0.46 and shapes[x][2] < 16:
            shape = (*shapes[x][:2], *(2 * d for d in shapes[x][2:]))
            node(rng.choice(("upsample_nearest2d", "upsample_bilinear2d")), [x], shape, [None, None, False])
        elif kind < 0.60:
            pool(x)
        else:
            conv(x)
    if rng.random() < 0.3:
        x = len(nodes) - 1
        flat = (1, shapes[x][1] * shapes[x][2] * shapes[x][3])
        y = node("flatten", [x], flat, [None, 1])
        node("linear", [y], (1, 10), [None, None, None], {"w": [10, flat[1]]})
    used = {i for made in nodes for i in made["inputs"]}  # type: ignore[attr-defined]
    outputs = [i for i in range(1, len(nodes)) if i not in used] or [len(nodes) - 1]
    return {"model": "random", "nodes": nodes, "outputs": outputs[-2:]}
