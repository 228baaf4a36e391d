"""The passes: small functions in one list, each followed by ``Graph.verify``; here the graph becomes canonical.

Canonical means: convolutions and pools in NHWC without transposes around them, batch normalization folded, clamps
fused, no identities, constants computed, every output a tensor of its own, every node named after the user's module.
"""

from __future__ import annotations

from collections.abc import Callable

from genn.errors import GennError
from genn.ir import Graph
from genn.passes import fold, simplify
from genn.passes.layout import assign_layouts
from genn.passes.tools import separate_outputs, until_stable

Pass = Callable[[Graph], None]

_CLEAN: list[Pass] = [
    until_stable(simplify.fold_constants),
    until_stable(simplify.merge_reshapes),
    until_stable(simplify.merge_slices),
    until_stable(simplify.drop_identity),
]


def name_nodes(graph: Graph) -> None:
    """Layers are called as the user calls the modules; views and moves say what they are besides."""
    taken: set[str] = set()
    for node in graph.nodes:
        base = node.source.fqn or node.op
        if node.source.fqn and node.op in ("reshape", "transpose", "copy"):
            base = f"{base}_{node.op}"
        name, i = base, 1
        while name in taken:
            name, i = f"{base}_{i}", i + 1
        taken.add(name)
        node.name = name


def finish(graph: Graph) -> None:
    """Forget what only the passes need."""
    graph.prune()
    graph.meta.pop("exact", None)


PASSES: list[Pass] = [
    simplify.normalise_means,
    *_CLEAN,
    until_stable(simplify.sink_reshapes),
    until_stable(simplify.sink_transposes),
    until_stable(fold.fold_affine),
    until_stable(fold.fuse_clamp),
    *_CLEAN,
    assign_layouts,
    until_stable(simplify.unit_transposes),
    *_CLEAN,
    until_stable(simplify.sink_reshapes),
    *_CLEAN,
    until_stable(fold.fold_flatten),
    until_stable(fold.slice_of_pad),
    until_stable(fold.fold_pad),
    until_stable(fold.fold_pool_pad),
    until_stable(fold.hoist_slice),
    until_stable(fold.fold_slice),
    until_stable(fold.fold_affine),
    until_stable(fold.affine_to_depthwise),
    until_stable(simplify.sink_reshapes),
    *_CLEAN,
    until_stable(fold.hoist_clamp),
    until_stable(fold.fuse_clamp),
    until_stable(fold.fuse_pool),
    until_stable(fold.fold_unflatten),
    until_stable(simplify.merge_moves),
    until_stable(simplify.unit_transposes),
    *_CLEAN,
    separate_outputs,
    finish,
    name_nodes,
]


def canonicalize(graph: Graph) -> Graph:
    """The canonical form of an imported graph; the graph given is left as it is."""
    graph = graph.copy()
    graph.meta["exact"] = dict(graph.meta.get("exact", {}))
    graph.prune()
    graph.verify()
    for step in PASSES:
        step(graph)
        graph.prune()
        try:
            graph.verify()
        except GennError as error:
            name = getattr(step, "__name__", str(step))
            raise GennError(f"pass {name} broke the graph: {error}", graph.name) from error
    return graph
