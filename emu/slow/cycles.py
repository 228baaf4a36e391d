"""Cycles by the cores' manuals, in Python: which table each number is from stands beside it.

Cortex-M0 r0p0 Technical Reference Manual, Arm DDI 0432C; Cortex-M0+ r0p1, DDI 0484C; Cortex-M3 r2p1, DDI 0337I;
Cortex-M4 r0p0, DDI 0439B.  All at zero wait states.  What the manuals leave open is decided here as emu/README.md says.
"""

from __future__ import annotations

from .decode import Op

CORES = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "thumbulator")
_DEFAULTS = {
    "cortex-m0": {"multiplier": 1},
    "cortex-m0plus": {"multiplier": 1},
    "thumbulator": {},
    **{core: {"P": 2, "B": 3, "skipped": 1} for core in ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")},
}
_MULTIPLE = ("ldm", "stm", "push", "pop")
_COMPUTES = ("alu", "mul", "mla", "mull", "mlal", "div", "simd", "saturate")
_SINGLE = ("ldr", "str", "str_register")
_VFP = ("vldr", "vstr", "vldm", "vstm")
_ADDRESSED = (*_SINGLE, *_MULTIPLE, *_VFP, "ldrd", "strd", "ldrex", "strex", "tbb")


class Price:
    """What instructions cost on one core: ``parameters`` as in the fast path's timing of the same name."""

    def __init__(self, core: str, **parameters: int) -> None:
        if core not in CORES:
            raise ValueError(f"no core {core} (there are: {', '.join(CORES)})")
        defaults = _DEFAULTS[core]
        if set(parameters) - set(defaults):
            raise ValueError(f"{core} has no parameter {sorted(set(parameters) - set(defaults))[0]}")
        self.core = core
        values = {**defaults, **parameters}
        self.multiplier = values.get("multiplier", 1)
        self.refill = values.get("P", 0)
        self.drain = values.get("B", 0)
        self.skipped = values.get("skipped", 1)
        self.pipelined = core not in ("cortex-m0", "cortex-m0plus", "thumbulator")

    def alone(self, op: Op, taken: bool = False, quotient: int = 0) -> int | None:
        """Cycles of one instruction by itself; None where the core's manual has no such instruction."""
        if op.kind in ("svc", "bkpt", "udf"):
            return 0                    # what the exception or the debugger takes is theirs
        if self.core == "thumbulator":
            return self._thumbulator(op, taken)
        return self._v7m(op, taken, quotient) if self.pipelined else self._v6m(op, taken)

    def _v6m(self, op: Op, taken: bool) -> int | None:
        """DDI 0432C table 3-1 (M0), DDI 0484C table 3-1 (M0+): the latter saves one cycle at each branch and at MRS."""
        m0 = self.core == "cortex-m0"
        kind = op.kind
        if kind in _SINGLE:
            return 2
        if kind in _MULTIPLE:
            return op.n + (4 if m0 else 3) if op.to_pc else op.n + 1
        jump = 3 if m0 else 2
        if kind == "bcc":
            return jump if taken else 1
        return {
            "alu": 1,
            "mul": self.multiplier,
            "mov_pc": jump,
            "b": jump,
            "bx": jump,
            "blx": jump,
            "bl": jump + 1,
            "mrs": jump + 1,
            "msr": jump + 1,
            "barrier": jump + 1,
            "cps": 1,
            "nop": 1,
            "hint": 1,
            "wait": 2,
        }.get(kind)

    def _thumbulator(self, op: Op, taken: bool) -> int | None:
        """Thumbulator's table as published, with its slips: MULS 32, POP 2, MOV to PC 1, MRS and barriers as BL."""
        kind = op.kind
        if kind in ("ldm", "stm", "push"):
            return 1 + op.n
        if kind == "bcc":
            return 1 + taken
        if kind in (*_SINGLE, "pop", "b", "bx", "blx"):
            return 2
        if kind in ("bl", "mrs", "msr", "barrier"):
            return 3
        return {"alu": 1, "mul": 32, "mov_pc": 1, "nop": 1, "cps": 1, "hint": 1, "wait": 1}.get(kind)

    def _v7m(self, op: Op, taken: bool, quotient: int) -> int | None:
        """DDI 0337I table 3-1 (M3); DDI 0439B tables 3-1, 3-2 and 7-1 (M4, and an estimate of the M33 and the M7)."""
        kind, jump = op.kind, 1 + self.refill
        if self.core == "cortex-m3":
            if kind in ("mla", "mull", "mlal"):
                return {"mla": 2, "mull": 4, "mlal": 6}[kind]           # 2; 3 to 5; 4 to 7
            if kind in (*_VFP, "simd", "vmov", "vmrs", "vadd", "vmla", "vdiv"):
                return None
        if kind in _COMPUTES:
            if kind == "div":                                           # 2 to 12 by the quotient's bits
                return 2 if quotient == 0 else 4 + quotient // 4
            return 1
        if kind in ("b", "bl", "bx", "blx", "mov_pc"):
            return jump
        if kind in ("bcc", "cbz"):
            return jump if taken else 1
        if kind in _MULTIPLE:
            return 1 + op.n + (self.refill if op.to_pc else 0)
        if kind == "ldr":
            return 2 + (self.refill if op.to_pc else 0)
        if kind in _VFP or kind in ("ldrd", "strd"):
            return 1 + op.n
        if kind in ("barrier", "wait"):
            return 1 + self.drain
        if kind == "tbb":
            return 2 + self.refill
        return {
            "str": 1,                   # section 3.3.2: STR with an immediate offset is always one cycle
            "str_register": 2,
            "preload": 2,
            "ldrex": 2,
            "strex": 2,
            "clrex": 2,
            "it": 1,
            "nop": 1,
            "hint": 1,
            "mrs": 2,
            "msr": 2,
            "cps": 2,
            "vadd": 1,
            "vmrs": 1,
            "vmov": op.n,
            "vmla": 3,
            "vdiv": 14,
        }.get(kind)

    def behind(self, before: Op, op: Op) -> int:
        """Cycles that ``op`` costs more, or less, because ``before`` came right before it: section 3.3.2; table 7-1."""
        if not self.pipelined:
            return 0
        extra = 0
        # a load, and then a load or a store whose address does not need it.  STR with an immediate offset takes one
        # cycle as it is: LDR R0,[R1,R2]; STR R0,[R3,#20] takes three, as does LDR R0,[R1,R2]; STR R1,[R3,R2].
        # LDREX and STREX pipeline as LDR does
        if (
            before.kind in ("ldr", "ldrex", "strex")
            and not before.to_pc
            and op.kind in ("ldr", "str_register", "ldrex", "strex")
            and not op.to_pc
            and not before.writes & op.address
        ):
            extra -= 1
        # an address made by the data processing instruction before
        if before.kind in _COMPUTES and op.kind in _ADDRESSED and before.writes & op.address:
            extra += 1
        # the result of floating-point arithmetic
        if before.fp_writes & op.fp_reads:
            extra += 1
        return extra
