"""Cycles of instructions as data: rules from ``timing/NAME.toml``, each with the manual and table that it comes from.

A rule gives the cycles of some classes of :mod:`emu.decode` as a small expression over the parameters, ``N`` (words
moved) and ``Q`` (width of a division's quotient in bits).  Pairs say what the instruction before changes.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .decode import Insn
from .errors import EmuError

_FOLDER = Path(__file__).parent / "timing"
MOST = 10_000
"""Cycles that an instruction can take."""
_LOADS = frozenset({"ldr", "exclusive"})
# not "str": with an immediate offset it takes one cycle in any case, LDR R0,[R1,R2]; STR R0,[R3,#20] three together
_BEHIND_A_LOAD = frozenset({"ldr", "str_reg", "exclusive"})
_COMPUTES = frozenset({"alu", "mul", "mla", "mull", "mlal", "div", "simd", "sat"})
_ADDRESSES = frozenset(
    {"ldr", "ldr_pc", "str", "str_reg", "ldrd", "strd", "ldm", "ldm_pc", "stm", "push", "pop", "pop_pc", "tbb"}
    | {"exclusive", "vldr", "vstr", "vldm", "vstm"}
)


@dataclass(frozen=True)
class Rule:
    """One row: ``cycles`` of the classes ``kinds``, ``taken`` when a conditional branch is taken; ``manual`` says
    where from.
    """

    kinds: tuple[str, ...]
    cycles: str
    taken: str
    manual: str
    note: str


class Timing:
    """The cycles of one core.  ``tier`` says how far they can be trusted; parameters can be overridden by name."""

    def __init__(self, data: dict[str, object], **parameters: int) -> None:
        self.name = str(data["name"])
        self.core = str(data["core"])
        self.tier = str(data["tier"])
        self.source = str(data["source"])
        defaults = data.get("parameters", {})
        assert isinstance(defaults, dict)
        unknown = sorted(set(parameters) - set(defaults))
        if unknown:
            raise EmuError(
                f"timing {self.name} has no parameter {unknown[0]} (it has: {', '.join(defaults) or 'none'})"
            )
        for parameter, value in parameters.items():
            if not 0 <= value <= 255:
                raise EmuError(f"timing {self.name}: {parameter} is {value}, not from 0 to 255 cycles")
        self.parameters: dict[str, int] = {**defaults, **parameters}
        self.rules: dict[str, Rule] = {}
        rows = data["rule"]
        assert isinstance(rows, list)
        for row in rows:
            rule = Rule(
                tuple(row["kinds"]),
                str(row["cycles"]),
                str(row.get("taken", row["cycles"])),
                row["manual"],
                row.get("note", ""),
            )
            for kind in rule.kinds:
                if kind in self.rules:
                    raise EmuError(f"timing {self.name} has two rules for {kind}")
                self.rules[kind] = rule
        pairs = data.get("pair", {})
        assert isinstance(pairs, dict)
        self.pairs: dict[str, int] = {name: int(pair["cycles"]) for name, pair in pairs.items()}
        self.skipped = int(self.parameters.get("skipped", 1))
        self._costs: dict[tuple[str, int, int, bool], int] = {}

    def cost(self, insn: Insn, *, taken: bool = False, quotient: int = 0) -> int:
        """Cycles of one instruction by itself."""
        key = (insn.kind, insn.n, quotient, taken)
        cycles = self._costs.get(key)
        if cycles is None:
            rule = self.rules.get(insn.kind)
            if rule is None:
                raise EmuError(
                    f"timing {self.name} has no rule for {insn.name} (class {insn.kind}) at 0x{insn.address:08x}"
                )
            names = {**self.parameters, "N": insn.n, "Q": quotient}
            cycles = evaluate(rule.taken if taken else rule.cycles, names)
            if not 0 <= cycles <= MOST:
                raise EmuError(f"timing {self.name} gives {insn.name} {cycles} cycles: not from 0 to {MOST}")
            self._costs[key] = cycles
        return cycles

    def pair(self, before: Insn, after: Insn) -> int:
        """Cycles that ``after`` costs more (or less, when negative) because ``before`` comes right before it."""
        extra = 0
        pairs = self.pairs
        if not pairs:
            return 0
        if (
            "load" in pairs
            and before.kind in _LOADS
            and after.kind in _BEHIND_A_LOAD
            and not before.writes & after.address_regs
        ):
            extra += pairs["load"]
        if (
            "address" in pairs
            and before.kind in _COMPUTES
            and after.kind in _ADDRESSES
            and before.writes & after.address_regs
        ):
            extra += pairs["address"]
        if "fp_use" in pairs and before.fp_writes & after.fp_reads:
            extra += pairs["fp_use"]
        return extra

    def note(self, insn: Insn) -> str:
        """What has to be said about this instruction's rule, empty mostly."""
        rule = self.rules.get(insn.kind)
        return rule.note.replace("{name}", insn.name) if rule else ""


def names() -> list[str]:
    """The timings that come with the emulator."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name: str, **parameters: int) -> Timing:
    """The timing ``name``, or the one in the file ``name`` when it ends in .toml."""
    path = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text())
        if "base" in data:              # an estimate: the rules of another core, under its own name
            data = tomllib.loads((_FOLDER / f"{data['base']}.toml").read_text()) | data
        return Timing(data, **parameters)
    except FileNotFoundError:
        raise EmuError(f"no timing {name} (there are: {', '.join(names())})") from None
    except (tomllib.TOMLDecodeError, KeyError, AssertionError) as error:
        raise EmuError(f"{path}: not a timing ({error})") from None


def evaluate(text: str, values: dict[str, int]) -> int:
    """Value of an expression of whole numbers, names, + - * // and parentheses."""

    def walk(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name) and node.id in values:
            return values[node.id]
        if isinstance(node, ast.BinOp):
            a, b = walk(node.left), walk(node.right)
            if isinstance(node.op, ast.Add):
                return a + b
            if isinstance(node.op, ast.Sub):
                return a - b
            if isinstance(node.op, ast.Mult):
                return a * b
            if isinstance(node.op, ast.FloorDiv) and b:
                return a // b
        if isinstance(node, ast.IfExp):
            return walk(node.body) if walk(node.test) else walk(node.orelse)
        raise EmuError(f"the expression {text!r} of a timing cannot be read")

    try:
        return walk(ast.parse(text, mode="eval").body)
    except SyntaxError:
        raise EmuError(f"the expression {text!r} of a timing cannot be read") from None
