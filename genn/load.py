"""Find the model that a user names, without ever unpickling what might run code.

``file.py:factory`` and ``package.module:factory`` run the user's own code, by intention.  A ``.pt2`` does not: it is
taken apart, every member is checked, and only an archive written anew from these reaches ``torch.export.load``.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import io
import json
import logging
import math
import re
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from genn.errors import GennError, ModelError, UsageError

MAX_MEMBERS = 20_000
MAX_MEMBER = 256 << 20
MAX_TOTAL = 512 << 20
MAX_RATIO = 100
MAX_JSON = 64 << 20

_TRUST = "export it again with torch.export.save, or if you made this file yourself pass --trust-model"


@dataclass
class Loaded:
    """A model ready for the front end; ``example_inputs`` is None for an ExportedProgram, which has its shapes."""

    model: nn.Module | ExportedProgram
    example_inputs: tuple[Any, ...] | dict[str, Any] | None
    name: str
    sha256: str


def load_model(
    spec: str,
    weights: Path | str | None = None,
    trust: bool = False,
    input_shape: str | list[tuple[int, ...]] | None = None,
    default_shapes: list[tuple[int, ...]] | None = None,
) -> Loaded:
    """The model ``spec`` names: ``file.py:factory``, ``package.module:factory``, ``model.pt2``, or one of the suite.

    input_shape: in the place of a factory's example inputs.  default_shapes: where a factory has none.
    """
    from genn import suite

    if spec.endswith(".pt2"):
        if weights is not None:
            raise UsageError("--weights does not go with a .pt2, which holds its weights", spec, "leave it out")
        data = _read(Path(spec))
        return Loaded(load_pt2(data, Path(spec).name, trust), None, Path(spec).stem, hashlib.sha256(data).hexdigest())
    place, colon, factory = spec.rpartition(":")
    if colon and place and factory:
        return _from_factory(place, factory, weights, input_shape, default_shapes)
    if spec.endswith((".py", ".pt", ".pth", ".onnx", ".safetensors")) or "/" in spec or ":" in spec:
        fix = (
            f"name the function that makes the model: {spec.rstrip(':')}:FUNCTION"
            if spec.endswith((".py", ".py:"))
            else ("give file.py:factory (with --weights) or a .pt2 written by torch.export.save")
        )
        raise UsageError(f"{spec!r} does not name a model", fix=fix)
    if weights is not None:
        suite.entry(spec)
        raise UsageError("--weights does not go with a model of the suite", spec, "leave it out")
    module, example = suite.load(spec)
    return Loaded(module, (example,), spec, fingerprint(module))


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of the module's class names, parameters and buffers."""
    digest = hashlib.sha256()
    for name, child in module.named_modules():
        digest.update(f"{name}:{type(child).__name__};".encode("utf-8", "backslashreplace"))
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode("utf-8", "backslashreplace"))
            if not value.is_meta:  # planning of memory needs no weights
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def parse_shapes(text: str) -> list[tuple[int, ...]]:
    """``1,1,28,28`` or, for several inputs, ``1,40,81;1,3``."""
    try:
        shapes = [tuple(int(d) for d in part.strip().strip("()[]").split(",") if d.strip()) for part in text.split(";")]
    except ValueError:
        shapes = [()]
    if not all(shape and all(d > 0 for d in shape) for shape in shapes):
        raise UsageError(f"{text!r} is no input shape", "--input-shape", "write it like 1,1,28,28 (several: 1,3;1,5)")
    return shapes


# -- factories -----------------------------------------------------------------------------------------------------


def _from_factory(place: str, factory: str, weights: Any, input_shape: Any, default_shapes: Any) -> Loaded:
    namespace = _namespace(place)
    made = getattr(namespace, factory, None)
    where = f"{Path(place).name}:{factory}"
    if made is None:
        near = difflib.get_close_matches(factory, [n for n in vars(namespace) if not n.startswith("_")], n=1)
        raise UsageError(
            f"there is no {factory!r} in {Path(place).name}", fix=f"did you mean {near[0]}?" if near else None
        )
    if not isinstance(made, (nn.Module, ExportedProgram)):
        if not callable(made):
            raise UsageError(f"is a {type(made).__name__}", where, "name a function that returns the model")
        made = _run(made, where)
    example = None
    if isinstance(made, (tuple, list)) and len(made) == 2:
        made, example = made
    if isinstance(made, ExportedProgram):
        if weights is not None:
            raise UsageError("--weights does not go with an exported program", where, "load them before exporting")
        stored = "".join(f"{k}{tuple(v.shape)}" for k, v in sorted(made.state_dict.items()))
        return Loaded(made, None, factory, hashlib.sha256((str(made.graph) + stored).encode()).hexdigest())
    if not isinstance(made, nn.Module):
        what = f"the factory returned a {type(made).__name__}"
        raise ModelError(what, where, "return the nn.Module, or (module, example_inputs)")
    if weights is not None:
        load_weights(made, Path(weights))
    if input_shape is not None:
        example = _of_shapes(parse_shapes(input_shape) if isinstance(input_shape, str) else input_shape)
    for holder in (made, namespace):
        for attribute in ("example_input", "example_inputs", "EXAMPLE_INPUT", "EXAMPLE_INPUTS"):
            if example is None:
                example = getattr(holder, attribute, None)
                example = _run(example, where) if callable(example) else example
    if example is None and default_shapes is not None:
        example = _of_shapes(default_shapes)
    if example is None:
        fix = "pass --input-shape 1,1,28,28, return (module, example_inputs), or set EXAMPLE_INPUT in the file"
        raise UsageError("the model comes without an example input", where, fix)
    from genn.frontend import as_arguments

    args, kwargs = as_arguments(example)
    return Loaded(made, kwargs or args, factory, fingerprint(made))


def _of_shapes(shapes: Any) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def _namespace(place: str) -> Any:
    path = Path(place)
    if not place.endswith(".py") and "/" not in place:
        return _run(lambda: importlib.import_module(place), place)
    if not path.is_file():
        raise UsageError("no such file", place, "give FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(f"genn_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError("is no Python file", place, "give FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # so that the file can import its neighbours, also later, inside the factory
    loader = spec.loader
    try:
        _run(lambda: loader.exec_module(module), path.name)
    except BaseException:
        sys.path.remove(folder)
        raise
    return module


def _run(function: Callable[[], Any], where: str) -> Any:
    """The user's code, whose mistakes are reported in one sentence with their line."""
    try:
        return function()
    except (GennError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
        ours = (__file__, importlib.__file__)
        theirs = [f for f in frames if "-packages/" not in f.filename and f.filename not in ours]
        line = f" ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else ""
        missing = isinstance(error, ModuleNotFoundError)
        raise ModelError(
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{line}",
            where,
            "install it, or run where it can be imported" if missing else "the factory must run without arguments",
        ) from error


# -- weights -------------------------------------------------------------------------------------------------------


def load_weights(module: nn.Module, path: Path) -> None:
    """Strictly: every tensor of the module is in the file with its shape, and nothing else is."""
    data = _read(path)
    state: Any
    if path.suffix == ".safetensors":
        from safetensors.torch import load as parse

        try:
            state = parse(data)
        except Exception as error:
            raise ModelError(
                f"is no safetensors file ({error})", path.name, "save it with safetensors.torch"
            ) from error
    elif path.suffix in (".pt", ".pth"):
        if zipfile.is_zipfile(io.BytesIO(data)):
            _members(data, path.name)
        state = _weights_only(data, path.name)
        if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
            state = state["state_dict"]
    else:
        raise UsageError(f"weights of type {path.suffix or '(none)'} are not read", path.name, "use .safetensors")
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError("holds no state dict", path.name, "save module.state_dict()")
    own = module.state_dict()
    given = {own[k].data_ptr() for k in own if k in state}
    missing = [
        k for k, v in own.items()
        if k not in state and not k.endswith("num_batches_tracked") and not (v.numel() and v.data_ptr() in given)
    ]  # fmt: skip
    shapes = [
        f"{k} is {tuple(state[k].shape)}, the model has {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    wrong = [("missing", missing), ("unexpected", [k for k in state if k not in own]), ("of another shape", shapes)]
    if found := [f"{len(keys)} {what}: {_some(keys)}" for what, keys in wrong if keys]:
        raise ModelError(
            f"the weights do not fit the model: {'; '.join(found)}", path.name, "use the model's own weights"
        )
    module.load_state_dict(dict(state), strict=False)


def _some(keys: list[str]) -> str:
    return ", ".join(sorted(keys)[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TOTAL:
            raise ModelError(f"is larger than {MAX_TOTAL >> 20} MiB", path.name, "no microcontroller holds that")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", str(path), "check the path") from error


# -- .pt2 ----------------------------------------------------------------------------------------------------------

_NAMES = re.compile(
    r"archive_format|archive_version|byteorder|\.data/version|\.format_version|\.storage_alignment|version"
    r"|models/model\.json|data/weights/weight_\d+|data/constants/tensor_\d+"
    r"|data/weights/model_weights_config\.json|data/constants/model_constants_config\.json"
)
_IGNORED = re.compile(r"\.data/serialization_id|data/sample_inputs/[^/]+\.pt|extra/.*")
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.([A-Za-z]\w*|_[A-Za-z]\w*)\.([A-Za-z]\w*)")
_NAME = re.compile(r"(?:[A-Za-z_]\w*)?", re.ASCII)
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def load_pt2(data: bytes, name: str, trust: bool = False) -> ExportedProgram:
    """The program in a .pt2; unless trusted, from an archive rewritten from checked members."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ModelError("is no .pt2 (not a whole zip archive)", name, "write it with torch.export.save")
    clean = data if trust else _rewrite(data, name)
    try:
        with _quiet():
            return torch.export.load(io.BytesIO(clean))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"torch.export cannot load it ({type(error).__name__}: {first})", name, "export it again with this torch"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch logs a traceback and warns about its own internals while it loads; the error alone is enough."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _members(data: bytes, name: str) -> dict[str, bytes]:
    """Every member of a zip, its archive folder cut off, after the names and sizes have been judged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [i for i in archive.infolist() if not i.is_dir()]
            if len(infos) > MAX_MEMBERS:
                raise ModelError(f"holds {len(infos)} members, {MAX_MEMBERS} at most are read", name, _TRUST)
            total = 0
            for info in infos:
                total += info.file_size
                packed = max(info.compress_size, 1)
                if info.file_size > MAX_MEMBER or total > MAX_TOTAL:
                    raise ModelError(f"member {info.filename!r} is too large unpacked", name, _TRUST)
                if info.file_size > 1 << 20 and info.file_size / packed > MAX_RATIO:
                    raise ModelError(
                        f"member {info.filename!r} unpacks to {info.file_size // packed} times its size", name, _TRUST
                    )
                if info.flag_bits & 1 or not _safe(info.filename) or (info.external_attr >> 28) == 0xA:
                    raise ModelError(f"member {info.filename!r} has a name or kind that is not allowed", name, _TRUST)
            short = [i.filename.partition("/")[2] for i in infos]
            roots = {i.filename.partition("/")[0] for i in infos}
            if len(roots) != 1 or len(set(short)) != len(short) or "" in short:
                raise ModelError("is not one archive folder with distinct members", name, _TRUST)
            return {n: archive.read(i) for n, i in zip(short, infos)}
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError, RuntimeError) as error:
        raise ModelError(f"is damaged ({error})", name, "export or copy it again") from error
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"is damaged ({type(error).__name__}: {error})", name, "export or copy it again") from error


def _safe(name: str) -> bool:
    parts = name.split("/")
    return bool(name) and not re.search(r"[\\:\x00-\x1f]", name) and ".." not in parts and "" not in parts


def _rewrite(data: bytes, name: str) -> bytes:
    members = _members(data, name)
    if other := [n for n in members if not _NAMES.fullmatch(n) and not _IGNORED.fullmatch(n)]:
        raise ModelError(f"holds members that are not read without trust: {_some(other)}", name, _TRUST)
    kept = {n: d for n, d in members.items() if _NAMES.fullmatch(n)}
    for need in ("models/model.json", "data/weights/model_weights_config.json", "archive_version"):
        if need not in kept:
            raise ModelError(f"lacks its member {need}", name, _TRUST)
    kept["models/model.json"] = _clean_program(kept["models/model.json"], name)
    for kind, prefix in (("weights", "weight_"), ("constants", "tensor_")):
        folder = f"data/{kind}/"
        config_name = f"{folder}model_{kind}_config.json"
        if config_name not in kept:
            continue
        for fqn, entry in _payloads(kept[config_name], name):
            path = entry.get("path_name")
            if not isinstance(path, str) or not re.fullmatch(prefix + r"\d+", path) or folder + path not in kept:
                raise ModelError(f"{kind} {fqn!r} are in {path!r}, which is not read without trust", name, _TRUST)
            _bounded(entry, fqn, name)
            if entry.get("use_pickle"):
                kept[folder + path] = _unpickled(kept[folder + path], f"{name}, {kind} {fqn!r}")
    kept["data/sample_inputs/model.pt"] = b""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for member, content in kept.items():
            archive.writestr(f"model/{member}", content)
    return out.getvalue()


def _unpickled(data: bytes, where: str) -> bytes:
    """A pickled tensor, loaded without running anything and pickled again by us."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        _members(data, where)
    value = _weights_only(data, where)
    if type(value) not in (torch.Tensor, nn.Parameter):
        raise ModelError(f"is a pickled {type(value).__name__}, not a tensor", where, _TRUST)
    out = io.BytesIO()
    clean = value.detach().clone()
    torch.save(nn.Parameter(clean, value.requires_grad) if isinstance(value, nn.Parameter) else clean, out)
    return out.getvalue()


def _weights_only(data: bytes, where: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ModelError("holds a pickle that does not load under weights_only=True", where, _TRUST) from error


def _json(data: bytes, name: str) -> Any:
    if len(data) > MAX_JSON:
        raise ModelError("its JSON is too large", name, _TRUST)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError("its JSON cannot be read", name, "export it again") from error


def _payloads(data: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    config = _json(data, name)
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise ModelError("its list of weights cannot be read", name, "export it again")
    return list(entries.items())


def _bounded(entry: dict[str, Any], fqn: str, name: str) -> None:
    """No tensor may be larger than a member may be, also not by strides of 0 or an empty member."""
    sizes = (entry.get("tensor_meta") or {}).get("sizes", [])
    numbers = [s.get("as_int") if isinstance(s, dict) else None for s in sizes]
    if not all(isinstance(n, int) and n >= 0 for n in numbers) or math.prod(n for n in numbers if n) > MAX_MEMBER // 4:
        raise ModelError(f"tensor {fqn!r} has a size that is not allowed: {numbers[:8]}", name, _TRUST)


def _clean_program(data: bytes, name: str) -> bytes:
    """The program's JSON with what can name code or expressions refused or taken out."""
    program = _json(data, name)
    try:
        if program.get("range_constraints"):
            raise ModelError(
                "has dynamic shapes", name, "export with fixed shapes: every buffer is laid out at conversion"
            )
        program["guards_code"] = []
        module = program["graph_module"]
        module["metadata"] = {}
        for entry in module.get("module_call_graph", []):
            for key in ("in_spec", "out_spec"):
                if entry.get("signature"):
                    spec = json.loads(entry["signature"][key])[1]
                    _plain_tree(spec, name)
                    if key == "in_spec":
                        _names(entry["signature"]["forward_arg_names"] or [], name)
                        _names(json.loads(spec["children_spec"][1]["context"]) or [], name)
        for node in module["graph"]["nodes"]:
            _known_operator(node["target"], name)
            node["metadata"] = {k: v for k, v in node["metadata"].items() if k in ("stack_trace", "nn_module_stack")}
        _walk(program, name)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RecursionError) as error:
        raise ModelError("its program cannot be read", name, "export it again with this torch") from error
    return json.dumps(program).encode()


def _known_operator(target: Any, name: str) -> None:
    """Only operators of ATen: the deserializer would look up any attribute of torch, and so any function at all."""
    if target == "_operator.getitem":
        return
    match = _OPERATOR.fullmatch(target) if isinstance(target, str) else None
    packet = getattr(getattr(torch.ops, match[1]), match[2], None) if match and match[2] != "from_file" else None
    if match is None or not isinstance(getattr(packet, match[3], None), torch._ops.OpOverload):
        raise ModelError(f"calls {target!r}, which is no operator of ATen", name, _TRUST)


def _names(given: list[Any], name: str) -> None:
    """torch writes Python with these names as they stand, and runs it."""
    if bad := [n for n in given if n is not None and not (isinstance(n, str) and _NAME.fullmatch(n))]:
        raise ModelError(f"names a value {str(bad[0])[:80]!r}, which is no identifier", name, _TRUST)


def _path(given: Any, name: str) -> None:
    """The way to a module or parameter: torch writes it between quotes, and runs that."""
    if given is not None and (not isinstance(given, str) or not given.isprintable() or {*given} & {*"\"\\"}):
        raise ModelError(f"names a module or parameter {str(given)[:80]!r}", name, _TRUST)


def _plain_tree(spec: Any, name: str) -> None:
    """Arguments and results in tuples, lists and dicts; other containers are found by importing what the file names."""
    kind, context = spec["type"], json.loads(spec["context"]) if spec["context"] is not None else None
    keys = context is None or (isinstance(context, list) and all(isinstance(k, (str, int)) for k in context))
    if kind not in _CONTAINERS or not keys:
        raise ModelError(f"passes its inputs or outputs in a {kind}", name, _TRUST)
    for child in spec["children_spec"]:
        _plain_tree(child, name)


def _walk(value: Any, name: str) -> None:
    """Symbolic expressions are evaluated as Python by the deserializer, so none may be there; names become Python."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("as_expr", "expr_str") and inner is not None:
                raise ModelError("has dynamic shapes", name, "export with fixed shapes")
            if key in ("as_graph", "as_custom_obj", "as_operator", "custom_obj", "custom_obj_values") and inner:
                raise ModelError(f"holds {key.removeprefix('as_')}, which is not read without trust", name, _TRUST)
            if key in ("name", "as_name"):
                _names([inner], name)
            elif key == "fqn" or key.endswith("_name"):
                _path(inner, name)
            _walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, name)
