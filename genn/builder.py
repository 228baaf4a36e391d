"""What ``Op.load`` sees of a program being imported: an ATen node's arguments, and ``emit`` to append nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import fx

from genn.errors import GennError, ModelError
from genn.ir import WEIGHTLESS, Graph, Node, Source, Tensor, unknown
from genn.ops import registry
from genn.passes.tools import BINARY, attrs_of
from genn.tracing import shape_of, source_of, target_of, where_of


class Ref(str):
    """A tensor's name in the graph being built."""

    __slots__ = ()


class Builder:
    """What ``Op.load`` sees: the ATen node's arguments, and ``emit`` to append canonical nodes."""

    def __init__(self, graph: Graph, values: dict[str, Any]) -> None:
        self.graph = graph
        self._values = values  # placeholder name -> (torch tensor, the user's name), for parameters, buffers, constants
        self._env: dict[str, Any] = {}
        self._node: fx.Node | None = None
        self._source = Source()

    # -- used by Op.load ---------------------------------------------------------------------------------------
    def arguments(self, node: fx.Node) -> dict[str, Any]:
        """Every argument by the name in the overload's schema, defaults filled in, tensors as Refs."""
        target: Any = node.target
        out: dict[str, Any] = {}
        for i, arg in enumerate(target._schema.arguments):
            if i < len(node.args) and not arg.kwarg_only:
                value = node.args[i]
            else:
                value = node.kwargs.get(arg.name, arg.default_value if arg.has_default_value() else None)
            out[arg.name] = self._resolve(value)
        return out

    def is_const(self, ref: str) -> bool:
        return self.graph[ref].const is not None

    def const_value(self, ref: str) -> np.ndarray:
        value = self.graph[ref].const
        if value is None:
            raise ModelError(
                f"{target_of(self._node)} needs a constant here, but {ref} is computed from the network's input",
                str(self._source) or self.graph.name,
                "make it a parameter or a buffer of the module",
            )
        return value

    def const(self, name: str, array: np.ndarray) -> Ref:
        """A new constant, stored as float32."""
        prefix = f"{self._node.name}_" if self._node is not None else ""
        return Ref(self.graph.const(prefix + name, np.asarray(array, np.float32)).name)

    def shape(self, ref: str) -> tuple[int, ...]:
        return self.graph[ref].shape

    def scalar_or_ref(self, value: Any) -> Ref:
        """Python numbers become constants of shape (1,); Refs stay."""
        if isinstance(value, Ref):
            return value
        return self.const("scalar", np.array([value], np.float32))

    def emit(self, op_name: str, inputs: Iterable[str], attrs: Any) -> Ref:
        """Append one node; computed now where all its inputs are constants."""
        op = registry[op_name]
        refs = [Ref(i) for i in inputs]
        if op_name in BINARY:
            rank = max(len(self.shape(r)) for r in refs)
            refs = [self._expand(r, rank) for r in refs]
        (shape,) = op.shape(attrs, *(self.shape(r) for r in refs))
        label = self._node.name if self._node is not None else op_name
        consts = [self.graph[r].const for r in refs]
        if all(c is not None for c in consts):
            with np.errstate(all="ignore"):
                value = op.ref_f(attrs, *(c[None] for c in consts if c is not None))[0]
            return Ref(self.graph.const(label, value).name)
        out = self.graph.add(Tensor(label, tuple(int(d) for d in shape)))
        self.graph.nodes.append(Node(out.name, op_name, list(refs), [out.name], attrs, self._source))
        return Ref(out.name)

    def reshape(self, ref: str, shape: Iterable[int]) -> Ref:
        shape = tuple(int(d) for d in shape)
        return Ref(ref) if self.shape(ref) == shape else self.emit("reshape", [ref], attrs_of("reshape", shape))

    def transpose(self, ref: str, perm: tuple[int, ...]) -> Ref:
        return self.emit("transpose", [ref], attrs_of("transpose", tuple(perm)))

    def nhwc(self, ref: str) -> Ref:
        """N,C,H,W (or C,H,W) to N,H,W,C."""
        shape = self.shape(ref)
        if len(shape) == 3:
            ref = self.reshape(ref, (1, *shape))
        elif len(shape) != 4:
            raise self._rank(ref, "3 or 4")
        return self.transpose(ref, (0, 2, 3, 1))

    def nchw(self, ref: str) -> Ref:
        """N,H,W,C to N,C,H,W; an unbatched result loses its batch axis when the node has been loaded."""
        return self.transpose(ref, (0, 3, 1, 2))

    def to2d(self, ref: str) -> Ref:
        """N,C,L (or C,L) to N,1,L,C."""
        shape = self.shape(ref)
        if len(shape) not in (2, 3):
            raise self._rank(ref, "2 or 3")
        n, c, length = shape if len(shape) == 3 else (1, *shape)
        return self.transpose(self.reshape(ref, (n, c, 1, length)), (0, 2, 3, 1))

    def from2d(self, ref: str, like: str) -> Ref:
        """N,1,L,C to N,C,L, or to C,L where ``like`` (the tensor ``to2d`` was given) is unbatched."""
        out = self.nchw(ref)
        n, c, _, length = self.shape(out)
        return self.reshape(out, (n, c, length) if len(self.shape(like)) == 3 else (c, length))

    # -- used by import_graph ----------------------------------------------------------------------------------
    def load(self, node: fx.Node, loader: Callable[[Builder, fx.Node], Any]) -> None:
        self._node, self._source = node, source_of(node)
        try:
            result = loader(self, node)
        except ModelError as error:
            if error.where:
                raise
            raise ModelError(error.what, where_of(node), error.fix) from error
        if isinstance(result, (list, tuple)):
            self._env[node.name] = [Ref(r) for r in result]
        else:
            self._env[node.name] = self._as_exported(node, Ref(result))
        self._node = None

    def stand_in(self, node: fx.Node) -> None:
        """Values of the right shape for a node that was refused, so that what follows it is looked at too."""
        value = node.meta.get("val")
        made = [
            Ref(self.graph.add(Tensor(node.name, tuple(v.shape))).name) if isinstance(v, torch.Tensor) else None
            for v in (value if isinstance(value, (list, tuple)) else [value])
        ]
        self._env[node.name] = made if isinstance(value, (list, tuple)) else made[0]

    def constant(self, node: fx.Node) -> None:
        """Let torch compute a node that depends on constants only; it is stored if something reads it."""

        def fetch(arg: fx.Node) -> Any:
            return self._values[arg.name][0] if arg.name in self._values else torch.zeros(shape_of(arg) or ())

        target: Any = node.target
        args, kwargs = (fx.map_arg(a, fetch) for a in (node.args, node.kwargs))
        with torch.no_grad():
            self._values[node.name] = (target(*args, **kwargs), str(source_of(node)) or node.name)

    def bind(self, node: fx.Node, value: Any) -> None:
        self._env[node.name] = value

    def result(self, node: Any) -> Ref:
        """The tensor made for an fx node; parameters become constants at their first use."""
        value = self._env.get(node.name)
        if value is None:
            if node.name not in self._values:
                raise ModelError(f"{node.name} is used, but is not supported as a value", where_of(node))
            value = self._env[node.name] = self._parameter(*self._values[node.name])
        return value

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, fx.Node):
            return self.result(value)
        if isinstance(value, (list, tuple)):
            return [self._resolve(v) for v in value]
        return value

    def _parameter(self, tensor: torch.Tensor, name: str) -> Ref:
        where = f"parameter {name}"
        if tensor.is_complex() or tensor.is_sparse or tensor.is_quantized:
            raise ModelError(f"has type {tensor.dtype}, layout {tensor.layout}", where, "use a dense float32 tensor")
        if tensor.is_meta:
            self.graph.meta.setdefault(WEIGHTLESS, name)
            return Ref(self.graph.const(name, unknown(tuple(tensor.shape) or (1,))).name)
        wide = tensor.detach().cpu().to(torch.float64).numpy()
        if bad := int(np.sum(~np.isfinite(wide))):
            raise ModelError(
                f"{bad} of {wide.size} values are NaN or infinite", where, "train or load the weights again"
            )
        with np.errstate(over="ignore"):
            value = wide.astype(np.float32)
        if not np.all(np.isfinite(value)):
            raise ModelError("values do not fit float32", where, "scale the weights down")
        if changed := int(np.sum(value != wide)):
            note = f"{name}: {changed} of {value.size} values were rounded from {tensor.dtype} to float32"
            self.graph.meta.setdefault("notes", []).append(note)
        return Ref(self.graph.const(name, value.reshape(tuple(tensor.shape) or (1,))).name)

    def _as_exported(self, node: fx.Node, ref: Ref) -> Ref:
        """Check the result's shape against torch's; a batch axis added for an unbatched input goes again."""
        want = shape_of(node)
        got = self.shape(ref)
        if want is None or got == want:
            return ref
        if [d for d in got if d != 1] != [d for d in want if d != 1]:
            raise GennError(f"{target_of(node)} was loaded with shape {got}, torch has {want}", where_of(node))
        if self.is_const(ref) and not want:
            return ref  # scalars are kept as (1,)
        return self.reshape(ref, want)

    def _expand(self, ref: Ref, rank: int) -> Ref:
        shape = self.shape(ref)
        return self.reshape(ref, (1,) * (rank - len(shape)) + shape)

    def _rank(self, ref: str, want: str) -> ModelError:
        return ModelError(
            f"{target_of(self._node)} has an input of shape {self.shape(ref)}, {want} dimensions are supported",
            str(self._source) or self.graph.name,
        )
