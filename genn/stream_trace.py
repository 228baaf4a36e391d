"""Which rows exist when layers of a region take turns: the schedule of the generated C, followed row by row.

The last layer pulls: before it makes a row, the layers in front of it make the rows that this row needs, each pulling
in turn.  A layer that several others read makes a row for the first of them that needs it, and its line buffer keeps
the row until none of them does.  Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from genn.ir import Node
from genn.ops.rows import Window


@dataclass
class Trace:
    """What pulling showed of some nodes, of which the last pulls.

    kept: rows at once in the line buffer behind each node (the last: its output's).  filling: per node, each time that
    its buffer holds more rows than ever, how many, and of every tensor that is read by rows the lowest still needed.
    output: the same for each row of the last node, with the rows made so far.
    """

    kept: list[int]
    filling: list[list[tuple[int, dict[str, int]]]]
    output: list[tuple[int, dict[str, int]]] = field(default_factory=list)


def producers(nodes: Sequence[Node], windows: Sequence[Window]) -> list[list[int]]:
    """For each node the nodes whose rows it reads, in the order of its inputs."""
    maker = {n.outputs[0]: k for k, n in enumerate(nodes)}
    reads = [[n.inputs[i] for i in w.inputs] for n, w in zip(nodes, windows, strict=True)]
    return [list(dict.fromkeys(maker[t] for t in names if t in maker)) for names in reads]


def readers(sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each node the nodes that read its rows."""
    return [[r for r, ks in enumerate(sources) if k in ks] for k in range(len(sources))]


def trace(nodes: Sequence[Node], windows: Sequence[Window]) -> Trace:
    """Run the schedule.  Of its part from any later node on, what was recorded of those nodes is the schedule too."""
    last = len(nodes) - 1
    sources = producers(nodes, windows)
    users = readers(sources)
    firsts = [[min(w.first(r), w.rows_in) for r in range(w.rows_out + 1)] for w in windows]
    ends = [[w.end(r) for r in range(w.rows_out)] for w in windows]
    needed: dict[str, list[tuple[int, list[int]]]] = {}  # tensor -> its readers and what each still needs of it
    for k, (n, w) in enumerate(zip(nodes, windows, strict=True)):
        for t in dict.fromkeys(n.inputs[i] for i in w.inputs):
            needed.setdefault(t, []).append((k, [*firsts[k][:-1], w.rows_in]))
    made, base = [0] * len(nodes), [0] * len(nodes)
    found = Trace([0] * len(nodes), [[] for _ in nodes])

    def lowest() -> dict[str, int]:
        return {t: min(least[made[k]] for k, least in rs) for t, rs in needed.items()}

    def pull(k: int, end: int) -> None:
        while made[k] < end:
            row = made[k]
            for p in sources[k]:
                pull(p, ends[k][row])
            if k == last:
                found.output.append((row + 1, lowest()))
            else:
                base[k] = max(base[k], min(row, *(firsts[r][made[r]] for r in users[k])))
                if (rows := row + 1 - base[k]) > found.kept[k]:
                    found.kept[k] = rows
                    found.filling[k].append((rows, lowest()))
            made[k] = row + 1

    pull(last, windows[last].rows_out)
    found.kept[last] = windows[last].rows_out
    return found
