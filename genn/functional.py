"""A traced program in which no operator changes a tensor, because a graph of values has no place for one that changes.

torch rewrites any program so, but takes longer for it than the rest of the import.  Where no tensor that changes is
seen under another name while it does, it is enough to let every later reader read the result.
"""

from __future__ import annotations

import keyword
import operator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature

from genn.errors import ModelError
from genn.ops import aten_table
from genn.tracing import quiet, target_of

Owners: TypeAlias = dict[fx.Node, fx.Node]


@dataclass(frozen=True)
class Program:
    """What the import reads of an ExportedProgram."""

    graph: fx.Graph
    graph_signature: ExportGraphSignature
    state_dict: dict[str, Any]
    constants: dict[str, Any]


def by_torch(exported: ExportedProgram) -> ExportedProgram:
    """Rewritten by torch, which writes Python source for it, which some layers' names break."""
    try:
        with quiet():
            return exported.run_decompositions({})
    except Exception as error:
        names = {part for key in exported.state_dict for part in key.split(".")}
        odd = sorted(n for n in names if keyword.iskeyword(n) or not (n.isidentifier() or n.isdigit()))
        if not odd or not isinstance(error, (SyntaxError, ValueError, TypeError, AttributeError)):
            raise
        raise ModelError(
            f"torch.export cannot handle layers or parameters named {', '.join(map(repr, odd[:8]))}",
            fix="rename them to Python identifiers that are no keywords",
        ) from error


def by_renaming(exported: ExportedProgram) -> Program | None:
    """The same by renaming, or None where that might not be the same."""
    owners = _owners(exported.graph)
    if owners is None:
        return None
    made = fx.Graph()
    names: Owners = {}
    aliases: dict[fx.Node, list[fx.Node]] = {}
    for node in exported.graph.nodes:
        copy = names[node] = made.node_copy(node, names.__getitem__)
        copy.name = node.name  # the signature knows it by this name
        root = owners.get(node)
        if root is None:
            continue
        aliases.setdefault(root, []).append(node)
        for alias in aliases[root]:
            names[alias] = copy
    return Program(made, exported.graph_signature, exported.state_dict, exported.constants)


def _owners(graph: fx.Graph) -> Owners | None:
    """For each node with storage of its own, and each that changes it in place, the node that made the storage.

    None where a tensor changes that is not of that kind, or that something views before its last change.
    """
    owners: Owners = {}
    changed: dict[fx.Node, int] = {}
    place = {node: i for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op in ("placeholder", "output") or node.target is operator.getitem:
            continue
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            return None
        schema = node.target._schema
        if node.target is torch.ops.aten.dropout_.default and node.args[2:] == (False,):
            continue  # writes nothing
        if schema.is_mutable:
            writes = [i for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
            first: Any = node.args[0] if node.args else None
            root = owners.get(first) if writes == [0] and isinstance(first, fx.Node) else None
            if root is None:
                return None
            owners[node], changed[root] = root, place[node]
        elif _fresh(node):
            owners[node] = node
    for node, root in owners.items():
        last = changed.get(root, -1)
        if any(place[user] < last and user not in owners for user in node.users):
            return None
    return owners


def _fresh(node: fx.Node) -> bool:
    """True if the operator certainly writes its result to memory of its own."""
    name = target_of(node)
    if name == "aten.batch_norm.default":
        return True
    target: Any = node.target
    op = aten_table.get(name)
    if op is None or (op.family == "move" and op.name not in ("concat", "pad")):
        return False  # views, and what returns its argument where there is nothing to do
    return all(r.alias_info is None for r in target._schema.returns)
