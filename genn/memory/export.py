"""A PyTorch model as a liveness graph in its JSON form: shapes only, so the model may live on the meta device.

Nothing is computed and no weight is needed: torch.export traces shapes.  What an operator means does not matter here:
one that nobody knows is a node with its sizes.
"""

from __future__ import annotations

import copy
import operator
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from genn.errors import GennError, ModelError
from genn.load import load_model
from genn.tracing import quiet, refuse_dynamic, source_of, trace

PARTS = {"split", "split_with_sizes", "chunk", "unbind", "tensor_split"}


def document(
    spec: str, weights: Path | None = None, trust: bool = False, input_shape: list[tuple[int, ...]] | None = None
) -> dict[str, Any]:
    """The JSON document of the model that ``spec`` names; factories run on the meta device where they can."""
    loaded = None
    if ":" in spec and not spec.endswith(".pt2") and weights is None:
        try:
            with torch.device("meta"):
                loaded = load_model(spec, None, trust, input_shape)
        except (GennError, RuntimeError, NotImplementedError):
            loaded = None  # a factory that computes needs real tensors
    loaded = loaded or load_model(spec, weights, trust, input_shape)
    if isinstance(loaded.model, ExportedProgram):
        return from_program(loaded.model, loaded.name)
    return from_module(loaded.model, loaded.example_inputs, loaded.name)


def from_module(module: torch.nn.Module, example: Any, name: str) -> dict[str, Any]:
    """The JSON document of ``module`` for inputs like ``example``: a tensor, a tuple of them, or keyword arguments."""
    try:
        light = copy.deepcopy(module).eval().to("meta")
        args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
        args = args if isinstance(args, (tuple, list)) else (args,)
        with torch.no_grad(), quiet(), torch.device("meta"):
            args = tuple(_meta(a) for a in args)
            program = torch.export.export(light, args, {k: _meta(v) for k, v in kwargs.items()})
    except Exception:  # some models compute with values as they are traced: those need real ones
        program = trace(module, example)
    return from_program(program, name)


def _meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def from_program(program: ExportedProgram, name: str) -> dict[str, Any]:
    """The JSON document of an exported program."""
    refuse_dynamic(program)
    kinds = {s.arg.name: s for s in program.graph_signature.input_specs if hasattr(s.arg, "name")}
    made: dict[fx.Node, int] = {}
    params: dict[fx.Node, tuple[int, ...]] = {}
    nodes: list[dict[str, Any]] = []

    def add(node: fx.Node, op: str, inputs: list[fx.Node], args: list[Any]) -> None:
        shape = _shape(node)
        if shape is None or 0 in shape:
            return
        made[node] = len(nodes)
        known = {p.name: list(params[p]) for p in node.all_input_nodes if p in params}
        nodes.append({
            "id": len(nodes), "name": node.name, "op": op, "inputs": [made[i] for i in inputs], "shape": list(shape),
            "args": args, "params": known, "source": str(source_of(node)),
        })  # fmt: skip

    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = kinds.get(node.name)
            if spec is not None and spec.kind == InputKind.USER_INPUT:
                add(node, "input", [], [])
            elif (shape := _shape(node)) is not None:
                params[node] = shape
        elif node.op == "call_function":
            inputs = [i for i in node.all_input_nodes if i in made]
            if not inputs:
                if (shape := _shape(node)) is not None:
                    params[node] = shape  # depends on constants only
            elif node.target is operator.getitem:
                _part(node, add, made)
            else:
                add(node, _name(node), inputs, _arguments(node))
    outputs = [made[a] for a in _flat(program.graph.output_node().args) if a in made]
    if not outputs or not any(n["op"] == "input" for n in nodes):
        raise ModelError("has no output that depends on an input", name, "give a model that computes something")
    doc = {"model": name, "nodes": nodes, "outputs": outputs}
    return doc


def _part(node: fx.Node, add: Any, made: dict[fx.Node, int]) -> None:
    """One of several results: a slice where the operator splits, the result itself where it is the first."""
    parent, index = node.args
    if not isinstance(parent, fx.Node) or not isinstance(index, int):
        return
    op = _name(parent)
    if op.rstrip("_") in PARTS and isinstance(parent.args[0], fx.Node):
        source, values = parent.args[0], parent.meta["val"]
        dim = parent.kwargs.get("dim", parent.args[2] if len(parent.args) > 2 else 0)
        if op == "unbind":
            dim = parent.kwargs.get("dim", parent.args[1] if len(parent.args) > 1 else 0)
        axis = int(dim) % len(_shape(source) or (1,))
        sizes = [1 if op == "unbind" else int(v.shape[axis]) for v in values]
        begin = sum(sizes[:index])
        add(node, "slice", [source], [None, axis, begin, begin + sizes[index], 1])
    elif index == 0 and parent in made:
        made[node] = made[parent]
    elif parent in made:
        add(node, f"{op}_{index}", [parent], [None])


def _name(node: fx.Node) -> str:
    target: Any = node.target
    return str(getattr(target, "_opname", None) or getattr(target, "__name__", target)).split(".")[0]


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        value = value[0] if value else None
    return tuple(int(d) for d in value.shape) if isinstance(value, torch.Tensor) else None


def _arguments(node: fx.Node) -> list[Any]:
    """Positional arguments in the overload's order: tensors are null, what JSON cannot say is text."""
    schema = getattr(node.target, "_schema", None)
    values = list(node.args)
    if schema is not None and node.kwargs:
        for argument in schema.arguments[len(values) :]:
            if argument.name not in node.kwargs and not argument.has_default_value():
                break
            values.append(node.kwargs.get(argument.name, argument.default_value))
    return [_plain(v) for v in values]


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return None if isinstance(value, fx.Node) else str(value)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [v for item in value for v in _flat(item)]
    return [value]
