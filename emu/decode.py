"""Name the timing class of an instruction, once for each block that ran, with capstone.

The classes are the words that the timing rules in ``timing/*.toml`` use: ``alu mul mla mull mlal div simd sat ldr ldrd
str str_reg strd ldm stm push pop`` (``_pc`` behind those that load the program counter) ``mov_pc b bcc cbz bl bx blx
tbb it nop hint wait mrs msr cps barrier svc bkpt udf exclusive clrex pld`` and, for the FPU, ``fp fp_mla fp_div fp_mov
vmrs vldr vstr vldm vstm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import capstone
from capstone import arm as _arm

_NONE: frozenset[str] = frozenset()
_FIXED = {
    "bl": "bl",
    "bx": "bx",
    "blx": "blx",
    "tbb": "tbb",
    "tbh": "tbb",
    "cbz": "cbz",
    "cbnz": "cbz",
    "it": "it",
    "mul": "mul",
    "mla": "mla",
    "mls": "mla",
    "smull": "mull",
    "umull": "mull",
    "smlal": "mlal",
    "umlal": "mlal",
    "udiv": "div",
    "sdiv": "div",
    "ssat": "sat",
    "usat": "sat",
    "mrs": "mrs",
    "msr": "msr",
    "cps": "cps",
    "dsb": "barrier",
    "dmb": "barrier",
    "isb": "barrier",
    "svc": "svc",
    "bkpt": "bkpt",
    "udf": "udf",
    "trap": "udf",
    "clrex": "clrex",
    "pld": "pld",
    "pldw": "pld",
    "pli": "pld",
    "vdiv": "fp_div",
    "vsqrt": "fp_div",
    "vmov": "fp_mov",
    "fconsts": "fp_mov",
    "vmrs": "vmrs",
    "vmsr": "vmrs",
    "fmstat": "vmrs",
    "vldr": "vldr",
    "vstr": "vstr",
}
_FP_MLA = frozenset({"vmla", "vmls", "vfma", "vfms", "vfnma", "vfnms", "vnmla", "vnmls"})
_SIMD = (
    "smla",
    "smls",
    "smul",
    "smua",
    "smus",
    "smm",
    "umaal",
    "usad",
    "qadd",
    "qsub",
    "qdadd",
    "qdsub",
    "sadd",
    "ssub",
    "uadd",
    "usub",
    "shadd",
    "shsub",
    "uhadd",
    "uhsub",
    "uqadd",
    "uqsub",
    "qasx",
    "qsax",
    "sasx",
    "ssax",
    "uasx",
    "usax",
    "shasx",
    "shsax",
    "uhasx",
    "uhsax",
    "uqasx",
    "uqsax",
    "sel",
    "pkh",
    "sxtab",
    "sxtah",
    "uxtab",
    "uxtah",
    "sxtb16",
    "uxtb16",
    "ssat16",
    "usat16",
)
ENDS = frozenset(
    {"b", "bcc", "cbz", "bl", "bx", "blx", "tbb", "mov_pc", "ldr_pc", "ldm_pc", "pop_pc", "svc", "bkpt", "udf"}
)
"""Classes that end a block of their own accord."""
CONDITIONAL = frozenset({"bcc", "cbz"})


@dataclass(frozen=True, slots=True)
class Insn:
    """One instruction: its class, how many 32-bit words it moves (``n``), and the registers that pipelining depends
    on.
    """

    address: int
    size: int
    kind: str
    name: str
    n: int = 1
    covers: int = 0
    """Instructions that an IT predicates, 0 for others."""
    target: int = -1
    writes: frozenset[str] = _NONE
    address_regs: frozenset[str] = _NONE
    fp_reads: frozenset[str] = _NONE
    fp_writes: frozenset[str] = _NONE


class Decoder:
    """A capstone handle with a memory of what it has decoded."""

    def __init__(self) -> None:
        self._md = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
        self._md.detail = True
        self._seen: dict[int, Insn] = {}

    def block(self, address: int, code: bytes) -> list[Insn]:
        """The instructions of ``code``, which begins at ``address``."""
        out: list[Insn] = []
        at, end = address, address + len(code)
        while at < end:
            known = self._seen.get(at)
            if known is None:
                piece = code[at - address :]
                raw = next(self._md.disasm(piece, at, 1), None)
                known = _describe(self._md, raw) if raw is not None else _unknown(at, piece)
                self._seen[at] = known
            out.append(known)
            at += known.size
        return out

    def one(self, address: int, code: bytes) -> Insn | None:
        """The instruction at ``address``, None where ``code`` is empty."""
        return self.block(address, code[: _size(code)])[0] if len(code) >= 2 else None

    def text(self, address: int, code: bytes) -> str:
        """Disassembly of one instruction, empty when it is none."""
        raw = next(self._md.disasm(code, address, 1), None)
        return f"{raw.mnemonic} {raw.op_str}".strip() if raw is not None else ""


def _size(code: bytes) -> int:
    return 4 if code[1] >> 3 >= 0x1D else 2


def _unknown(address: int, code: bytes) -> Insn:
    # capstone 5 takes no predicate into account here: what it cannot read is undefined, or a hint of a later
    # architecture
    return Insn(address, min(_size(code), len(code)), "unknown", code[:4].hex())


def _singles(names: list[str]) -> frozenset[str]:
    """FPU registers as single-precision ones: d1 is s2 and s3."""
    out = set()
    for name in names:
        if name[0] == "d" and name[1:].isdigit():
            out |= {f"s{2 * int(name[1:])}", f"s{2 * int(name[1:]) + 1}"}
        elif name[0] == "s" and name[1:].isdigit():
            out.add(name)
    return frozenset(out)


def _describe(md: Any, raw: Any) -> Insn:
    name = raw.insn_name()
    operands = raw.operands
    regs = [md.reg_name(o.reg) for o in operands if o.type == _arm.ARM_OP_REG]
    kind, n = _classify(name, raw, regs)
    covers, target = 0, -1
    if kind == "it":
        mask = raw.bytes[0] & 15
        covers = 4 - (mask & -mask).bit_length() + 1
    elif kind in ("b", "bcc", "bl", "cbz"):
        target = operands[-1].imm & 0xFFFFFFFF
    address_regs = set()
    for o in operands:
        if o.type == _arm.ARM_OP_MEM:
            address_regs |= {md.reg_name(r) for r in (o.mem.base, o.mem.index) if r}
    if name in ("push", "pop", "vpush", "vpop"):
        address_regs.add("sp")
    elif kind.startswith(("ldm", "stm", "vldm", "vstm")) and regs:
        address_regs.add(regs[0])
    writes = frozenset(md.reg_name(r) for r in raw.regs_access()[1])
    fp_reads = fp_writes = _NONE
    if kind in ("fp", "fp_mla", "fp_div"):
        compare = name.startswith("vcmp")
        fp_writes = _NONE if compare else _singles(regs[:1])
        fp_reads = _singles(regs if compare or kind == "fp_mla" else regs[1:])
    elif kind == "vstr":
        fp_reads = _singles(regs[:1])
    elif kind == "vstm":
        fp_reads = _singles(regs if name == "vpush" else regs[1:])
    elif kind == "fp_mov" and (len(regs) < 3 or not _singles(regs[:1])):
        fp_reads = _singles(regs[1:])
    return Insn(
        raw.address,
        raw.size,
        kind,
        raw.mnemonic,
        n,
        covers,
        target,
        writes,
        frozenset(address_regs),
        fp_reads,
        fp_writes,
    )


def _classify(name: str, raw: Any, regs: list[str]) -> tuple[str, int]:
    if name == "b":
        first = raw.bytes[0] | raw.bytes[1] << 8
        if raw.size == 2:
            return ("bcc" if first >> 12 == 0xD else "b"), 1
        return ("bcc" if not raw.bytes[3] & 0x10 else "b"), 1
    if name in ("push", "pop"):
        return (name + "_pc" if name == "pop" and "pc" in regs else name), len(regs)
    if name in ("ldm", "ldmdb", "stm", "stmdb"):
        return name[:3] + ("_pc" if name[0] == "l" and "pc" in regs[1:] else ""), len(regs) - 1
    if name in ("ldrd", "strd"):
        return name, 2
    if name.startswith(("ldrex", "strex")):
        return "exclusive", 1
    if name.startswith("ldr"):
        return ("ldr_pc" if regs[0] == "pc" else "ldr"), 1
    if name.startswith("str"):
        indexed = any(o.type == _arm.ARM_OP_MEM and o.mem.index for o in raw.operands)
        return ("str_reg" if indexed else "str"), 1
    if name == "hint" or name == "nop":
        word = raw.mnemonic.split(".")[0]
        return ("nop" if word == "nop" else "wait" if word in ("wfi", "wfe") else "hint"), 1
    if name in ("mov", "add", "sub") and regs and regs[0] == "pc":
        return "mov_pc", 1
    if name in ("vpush", "vpop") or name.startswith(("vldm", "vstm")):
        lists = regs if name in ("vpush", "vpop") else regs[1:]
        return ("vstm" if name in ("vpush",) or name.startswith("vstm") else "vldm"), len(_singles(lists))
    kind = _FIXED.get(name)
    if kind in ("vldr", "vstr"):
        return kind, 2 if regs[0][0] == "d" else 1
    if kind == "fp_mov":
        return kind, 2 if sum(r[0] not in "sd" or r in ("sp", "sb", "sl") for r in regs) == 2 else 1
    if kind:
        return kind, 1
    if name[0] == "v":
        return ("fp_mla" if name in _FP_MLA else "fp"), 1
    return ("simd" if name.startswith(_SIMD) else "alu"), 1
