"""torch.export seen from outside: trace a module, find the user's line in a trace, say what a program cannot have.

Kept apart from the import so that each is read in one sitting.
"""

from __future__ import annotations

import copy
import io
import logging
import operator
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from genn.errors import GennError, ModelError
from genn.ir import Source

_TORCH = str(Path(torch.__file__).resolve().parent)
_PYTHON = sysconfig.get_path("stdlib")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def trace(module: nn.Module, example_inputs: Any) -> ExportedProgram:
    """Export a float32 copy of ``module`` in evaluation mode with fixed shapes.

    A module on torch's meta device has no weights and needs no memory for them: its graph can be planned only.
    """
    args, kwargs = as_arguments(example_inputs)
    copied = copy.deepcopy(module).eval()
    if any(p.is_meta for p in [*copied.parameters(), *copied.buffers()]):
        copied = copied.to("meta")
        args, kwargs = tree_map(_without_values, (args, kwargs))
    else:
        copied = copied.cpu()
    if any(p.is_floating_point() and p.dtype != torch.float32 for p in [*copied.parameters(), *copied.buffers()]):
        copied = copied.float()
    said = io.StringIO()
    try:
        with torch.no_grad(), quiet(), redirect_stderr(said):  # torch prints graphs before it raises
            exported = torch.export.export(copied, args, kwargs)
    except (GennError, KeyboardInterrupt):
        raise
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        frame = _user_frame("".join(traceback.format_tb(error.__traceback__)))
        raise ModelError(
            f"torch.export cannot trace the model: {first.strip()}",
            f"{type(module).__name__} ({frame[0]}:{frame[1]})" if frame else type(module).__name__,
            "the forward function must not branch on values, and the example input must fit it",
        ) from error
    sys.stderr.write(said.getvalue())
    return exported


def as_arguments(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A tensor, a tuple or list of tensors, or a dict of keyword arguments, as ``(args, kwargs)`` in float32."""

    def leaf(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.ascontiguousarray(value))
        if isinstance(value, torch.Tensor):
            value = value.detach() if value.is_meta else value.detach().cpu()
            return value.float() if value.is_floating_point() else value
        if isinstance(value, (list, tuple)):
            return type(value)(leaf(v) for v in value)
        return {k: leaf(v) for k, v in value.items()} if isinstance(value, dict) else value

    if isinstance(example_inputs, dict):
        return (), leaf(example_inputs)
    if isinstance(example_inputs, (torch.Tensor, np.ndarray)):
        example_inputs = (example_inputs,)
    if not isinstance(example_inputs, (list, tuple)) or not example_inputs:
        raise ModelError(
            f"example input is a {type(example_inputs).__name__}", fix="give a tensor or a tuple of tensors"
        )
    return tuple(leaf(v) for v in example_inputs), {}


def inputs_of(program: ExportedProgram) -> Any:
    """``(args, kwargs)`` that the program takes, an empty tensor for each tensor."""
    asked = [s.arg for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    leaves = [a.value if isinstance(a, ConstantArgument) else torch.empty(0) for a in asked]
    return tree_unflatten(leaves, program.call_spec.in_spec)


def with_inputs(like: tuple[tuple[Any, ...], dict[str, Any]] | None, given: list[torch.Tensor]) -> Any:
    """``(args, kwargs)`` as in ``like``, its tensors replaced by ``given`` in the order of the graph's inputs."""
    if not like:
        return tuple(given), {}
    leaves, form = tree_flatten(like)
    if sum(isinstance(leaf, torch.Tensor) for leaf in leaves) != len(given):
        return tuple(given), {}
    rest = iter(given)
    return tree_unflatten([next(rest) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], form)


def _without_values(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


@contextmanager
def quiet() -> Iterator[None]:
    """Without torch's warnings about its own deprecated internals, and without what it logs before it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")
            warnings.filterwarnings("ignore", "The tensor attributes .* were assigned during export")
            yield
    finally:
        logging.disable(before)


def refuse_dynamic(exported: ExportedProgram) -> None:
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and isinstance(value, torch.Tensor):
            if symbols := [str(d) for d in value.shape if not isinstance(d, int)]:
                raise ModelError(
                    f"dimension {', '.join(symbols)} is dynamic in shape {[str(d) for d in value.shape]}",
                    f"graph input {node.name}",
                    "export with fixed shapes: every buffer is laid out at conversion",
                )
        elif node.op == "placeholder" and isinstance(value, torch.SymInt):
            raise ModelError("is a dynamic integer", f"graph input {node.name}", "export with fixed shapes")


def live_nodes(program: Any) -> set[fx.Node]:
    todo = [n for n in program.graph.nodes if n.op == "output"]
    seen: set[fx.Node] = set()
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.all_input_nodes)
    return seen


def unsupported_error(nodes: list[fx.Node]) -> ModelError:
    rows = sorted({(target_of(n), where_of(n)) for n in nodes})
    listed = "\n".join(f"  {op}  in {where}" for op, where in rows)
    count = f"{len(rows)} operator{'s are' if len(rows) > 1 else ' is'} not supported"
    return ModelError(f"{count} (replace what `genn ops` does not list):\n{listed}")


def source_of(node: fx.Node) -> Source:
    """The module path and the last line of the user's own code; file names only, so that output is reproducible."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    fqn = str(stack[-1][0]) if stack else ""
    fqn = re.sub(r"^L\['self'\]\.?", "", fqn).encode("utf-8", "backslashreplace").decode()[:1000]  # for genn.json
    frame = _user_frame(node.meta.get("stack_trace") or "")
    return Source(fqn, Path(frame[0]).name, frame[1]) if frame else Source(fqn)


def _user_frame(trace_text: str) -> tuple[str, int] | None:
    for file, line in reversed(_FRAME.findall(trace_text)):
        path = file.replace("\\", "/")
        torchs = path.startswith((_TORCH, "<")) or "-packages/torch/" in path
        pythons = path.startswith(f"{_PYTHON}/") and "-packages/" not in path
        if not (torchs or pythons or path.endswith("/genn/tracing.py")):
            return Path(path).name, int(line)
    return None


def where_of(node: fx.Node) -> str:
    return str(source_of(node)) or node.name


def target_of(node: fx.Node | None) -> str:
    """The operator's name, as the user may know it."""
    if node is None:
        return "an operator"
    if node.op == "get_attr":
        return f"get_attr {node.target}"
    if node.target is operator.getitem:
        parent: Any = node.args[0]
        return f"output {node.args[1]} of {target_of(parent)}"
    return str(node.target)


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(int(d) for d in value.shape) if isinstance(value, torch.Tensor) else None
