"""From torch.export to a Graph in torch's own layout, because what the importer does not interpret it cannot get wrong.

The program is made functional first (no in-place operator, dropout and dtype casts gone) while convolutions, pools and
activations stay whole.  Each operator of the registry loads its own ATen overloads; here are only batch normalization,
products with a constant matrix, and what has no meaning at inference.  Everything unsupported is reported at once.
"""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument

from genn import functional
from genn.builder import Builder, Ref
from genn.errors import ModelError
from genn.functional import Program
from genn.ir import Graph, Tensor
from genn.ops import aten_table
from genn.passes.tools import attrs_of, separate_outputs
from genn.tracing import (
    as_arguments,
    live_nodes,
    quiet,
    refuse_dynamic,
    shape_of,
    target_of,
    trace,
    unsupported_error,
    where_of,
)

AnyProgram: TypeAlias = Program | ExportedProgram
__all__ = ["Builder", "Ref", "as_arguments", "import_graph", "trace"]


# -- import ----------------------------------------------------------------------------------------------------


def import_graph(exported: ExportedProgram, name: str) -> Graph:
    """The program as a float32 Graph in torch's layout; ModelError names everything that stands in the way."""
    refuse_dynamic(exported)
    program: AnyProgram | None = functional.by_renaming(exported)
    unknown: list[fx.Node] = []
    if program is None or _unsupported(program):
        program, unknown = _decompose(functional.by_torch(exported))
    graph = Graph(name)
    signature = program.graph_signature
    kinds = {spec.arg.name: spec for spec in signature.input_specs if hasattr(spec.arg, "name")}
    values: dict[str, tuple[torch.Tensor, str]] = {}
    for arg, spec in kinds.items():
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR) and spec.target:
            stored = program.state_dict.get(spec.target)
            values[arg] = (program.constants[spec.target] if stored is None else stored, spec.target)
    builder, constants, live = Builder(graph, values), _constants(program), live_nodes(program)
    refused: list[ModelError] = []
    if unknown:
        with contextlib.suppress(Exception):  # what is behind unknown operators is looked at as far as it goes
            _read(program, graph, builder, kinds, constants, live, refused)
        raise _with_more(unsupported_error(unknown), refused)
    _read(program, graph, builder, kinds, constants, live, refused)
    if refused:
        said = list(dict.fromkeys(map(str, refused)))
        if len(said) == 1:
            raise refused[0]
        raise ModelError("\n  ".join([f"{len(said)} things are not supported:", *said]))
    _outputs(program, graph, builder)
    graph.prune()
    separate_outputs(graph)
    return graph.verify()


def _read(program: AnyProgram, graph: Graph, builder: Builder, kinds: dict[str, Any], constants: set[fx.Node],
          live: set[fx.Node], refused: list[ModelError]) -> None:
    """Every node into ``graph``; what is refused goes to ``refused``, and what follows it is looked at too."""
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in kinds and kinds[node.name].kind == InputKind.USER_INPUT:
            _input(graph, builder, node, kinds[node.name])
        elif node.op != "call_function" or node not in live:
            continue
        elif node in constants:
            builder.constant(node)
        elif loader := _loader(node, constants):
            try:
                builder.load(node, loader)
            except ModelError as error:
                refused.append(error)
                builder.stand_in(node)
        else:
            builder.stand_in(node)


def _with_more(error: ModelError, refused: list[ModelError]) -> ModelError:
    said = list(dict.fromkeys(map(str, refused)))
    more = "\n  ".join([f"and {len(said)} more thing{'s are' if len(said) > 1 else ' is'} not supported:", *said])
    return ModelError(f"{error.what}\n{more}") if said else error


def _input(graph: Graph, builder: Builder, node: fx.Node, spec: Any) -> None:
    if isinstance(spec.arg, ConstantArgument):
        return
    value = node.meta["val"]
    if value.dtype != torch.float32:
        raise ModelError(
            f"has type {value.dtype}; inputs are float32",
            f"graph input {node.name}",
            "export the model after .float()" if value.is_floating_point() else "compute it from a float input",
        )
    if not value.shape:
        raise ModelError("has no axes", f"graph input {node.name}", "give it the shape (1,)")
    if 0 in value.shape:
        shape = tuple(value.shape)
        raise ModelError(f"is empty ({shape})", f"graph input {node.name}", "give an example input of one sample")
    graph.inputs.append(graph.add(Tensor(node.name, tuple(value.shape))).name)
    builder.bind(node, Ref(graph.inputs[-1]))


def _outputs(program: AnyProgram, graph: Graph, builder: Builder) -> None:
    made: Any = next(iter(reversed(program.graph.nodes))).args[0]
    for spec, node in zip(program.graph_signature.output_specs, made, strict=True):
        if spec.kind == OutputKind.USER_INPUT_MUTATION:
            continue  # an in-place operator on the input: the caller's tensor is not ours to change
        if spec.kind != OutputKind.USER_OUTPUT:
            raise ModelError(
                f"the network changes {spec.target} while it runs",
                fix="call .eval() before exporting, and keep no state in buffers",
            )
        if isinstance(spec.arg, ConstantArgument) and spec.arg.value is None:
            continue
        if not isinstance(spec.arg, TensorArgument):
            raise ModelError(f"output {len(graph.outputs)} is no tensor: {spec.arg}", fix="return tensors only")
        graph.outputs.append(builder.result(node))
    if not graph.outputs:
        raise ModelError("the network has no output", graph.name, "return a tensor from forward")


def _decompose(program: ExportedProgram) -> tuple[ExportedProgram, list[fx.Node]]:
    """Decompose exactly the operators nobody loads; where that does not help the program as it was, and those."""
    missing = _unsupported(program)
    if not missing:
        return program, []
    table = torch.export.default_decompositions()
    simpler, todo = program, missing
    for _ in range(4):
        usable = {n.target: table[n.target] for n in todo if n.target in table}
        if not usable:
            break
        try:
            with quiet():
                simpler = simpler.run_decompositions(usable)
        except Exception:  # torch's own failure: what was missing before is what is reported
            break
        todo = _unsupported(simpler)
        if not todo:
            return simpler, []
    left = {(where_of(n)) for n in todo}
    return program, [n for n in missing if n.target not in table or where_of(n) in left] or missing


def _unsupported(program: AnyProgram) -> list[fx.Node]:
    live, constants = live_nodes(program), _constants(program)
    unread = [n for n in program.graph.nodes if n in live - constants and n.op in ("call_function", "get_attr")]
    return [n for n in unread if n.op == "get_attr" or not _loader(n, constants)]


# -- operators loaded here -------------------------------------------------------------------------------------


def _same(b: Builder, node: fx.Node) -> Ref:
    return b.result(node.args[0])


def _getitem(b: Builder, node: fx.Node) -> Ref:
    parent: Any = node.args[0]
    index: Any = node.args[1]
    values = b.result(parent)
    return values if isinstance(values, Ref) else values[index]


def _batch_norm(b: Builder, node: fx.Node) -> Any:
    """y = x * scale + shift per channel, kept in float64 beside the constants until it is folded."""
    a = b.arguments(node)
    if a.get("training") or a.get("running_mean") is None or a.get("running_var") is None:
        raise ModelError(
            "batch normalization over the batch's own statistics",
            where_of(node),
            "call .eval() before exporting, and keep track_running_stats on",
        )
    mean, var = (b.const_value(a[k]).astype(np.float64) for k in ("running_mean", "running_var"))
    weight, bias = (b.const_value(a[k]).astype(np.float64) if a[k] is not None else None for k in ("weight", "bias"))
    if np.any(var + a["eps"] <= 0):
        raise ModelError(
            "batch normalization has a negative variance", where_of(node), "train or load the weights again"
        )
    scale = (1.0 if weight is None else weight) / np.sqrt(var + a["eps"])
    shift = (0.0 if bias is None else bias) - mean * scale
    rank = len(b.shape(a["input"]))
    y = a["input"]
    for op, label, value in (("mul", "scale", scale), ("add", "shift", shift)):
        shaped = value.reshape([-1 if i == 1 else 1 for i in range(rank)])
        const = b.const(label, shaped)
        b.graph.meta.setdefault("exact", {})[str(const)] = shaped
        y = b.emit(op, [y, const], attrs_of(op))
    return y if node.target is torch.ops.aten.batch_norm.default else [y]


def _matmul(b: Builder, node: fx.Node) -> Ref:
    """A product with a constant matrix is a linear layer."""
    a = b.arguments(node)
    x: Ref = a["mat1"] if "mat1" in a else a["self"]
    weight = b.const_value(a["mat2"] if "mat2" in a else a["other"]).T
    bias = np.zeros(len(weight), np.float32)
    if "mat1" in a:
        bias = np.broadcast_to(b.const_value(a["self"]) * np.float32(a["beta"]), (1, len(weight)))[0]
        weight = weight * np.float32(a["alpha"])
    return b.emit("linear", [x, b.const("weight", weight), b.const("bias", bias)], attrs_of("linear"))


def _is_matmul(node: fx.Node, constants: set[fx.Node]) -> bool:
    """Only with a constant 2-d matrix on the right, and for addmm a constant row to add."""
    args: tuple[Any, ...] = node.args
    right, left = args[-1], args[-2]
    if len(shape_of(right) or ()) != 2 or right not in constants or not shape_of(left):
        return False
    return len(args) == 2 or (args[0] in constants and int(np.prod((shape_of(args[0]) or ())[:-1])) == 1)


def _is_cast(node: fx.Node, constants: set[fx.Node]) -> bool:
    """A cast to the type the value has already; float64 inside the network is float32 here."""
    before, after = (getattr(n.meta.get("val"), "dtype", None) for n in (node.args[0], node))
    return before == after or {before, after} == {torch.float32, torch.float64}


def _is_off(node: fx.Node, constants: set[fx.Node]) -> bool:
    """Dropout that is not training."""
    return len(node.args) < 3 or not node.args[2]


_FIRST_ONLY = re.compile(r"_with_indices|_no_training|adaptive_max|max\.dim")  # only output 0 means something here
_BY_SHAPE = {f"aten.{n}.default" for n in ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")}
_Loader = Callable[[Builder, fx.Node], Any]
_LOCAL: dict[str, tuple[_Loader, Callable[[fx.Node, set[fx.Node]], bool]]] = {
    **{
        f"aten.{n}.default": (_same, lambda n, c: True)
        for n in ("detach", "alias", "lift_fresh_copy", "lift", "resolve_conj")
    },
    **{f"aten.{n}.default": (_same, _is_off) for n in ("dropout", "dropout_", "feature_dropout", "alpha_dropout")},
    "aten._assert_tensor_metadata.default": (lambda b, n: [], lambda n, c: True),
    **{
        f"aten.{n}": (_same, _is_cast)
        for n in ("to.dtype", "to.dtype_layout", "_to_copy.default", "type_as.default", "to.other")
    },
    **{
        f"aten.{n}": (_batch_norm, lambda n, c: True)
        for n in (
            "batch_norm.default",
            "native_batch_norm.default",
            "_native_batch_norm_legit_no_training.default",
            "_native_batch_norm_legit.default",
            "_native_batch_norm_legit.no_stats",
            "_native_batch_norm_legit_functional.default",
        )
    },
    **{f"aten.{n}.default": (_matmul, _is_matmul) for n in ("mm", "addmm", "matmul")},
}


def _loader(node: fx.Node, constants: set[fx.Node]) -> _Loader | None:
    if node.target is operator.getitem:
        parent: Any = node.args[0]
        return None if node.args[1] != 0 and _FIRST_ONLY.search(target_of(parent)) else _getitem
    name = target_of(node)
    if name in aten_table:
        op = aten_table[name]
        return lambda b, n: op.load(b, n)
    if name in _LOCAL and _LOCAL[name][1](node, constants):
        return _LOCAL[name][0]
    return None


def _constants(program: AnyProgram) -> set[fx.Node]:
    """The nodes that depend on parameters, buffers, constants and shapes only, and not on chance."""
    inputs = set(program.graph_signature.user_inputs)
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            fixed = node.name not in inputs
        else:
            tags = getattr(node.target, "tags", ())
            fixed = node.op == "call_function" and torch.Tag.nondeterministic_seeded not in tags
        if fixed and (all(n in found for n in node.all_input_nodes) or target_of(node) in _BY_SHAPE):
            found.add(node)
    return found
