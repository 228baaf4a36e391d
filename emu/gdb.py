"""A debugger's view of the emulated device: the GDB remote serial protocol, on loopback only.

``target remote :PORT`` from gdb-multiarch or arm-none-eabi-gdb: registers, memory, steps, breakpoints, watchpoints (by
stepping, some ten thousand instructions a second), ``monitor cycles``.  Inside an IT block the engine cannot stop: a
step goes over the rest of it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from typing import Any

import capstone
from capstone import arm as _arm
from unicorn import arm_const as arm

from .errors import EmuError, Fault
from .live import LiveMachine
from .machine import RunResult

_SLICE = 5_000_000
_MAX_PACKET = 0x4000
_TRAP, _SEGV, _INT = 5, 11, 2
_CORE = [*(arm.UC_ARM_REG_R0 + i for i in range(13)), arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR, arm.UC_ARM_REG_PC,
         arm.UC_ARM_REG_XPSR]
_SYSTEM = {"msp": arm.UC_ARM_REG_MSP, "psp": arm.UC_ARM_REG_PSP, "primask": arm.UC_ARM_REG_PRIMASK,
           "basepri": arm.UC_ARM_REG_BASEPRI, "faultmask": arm.UC_ARM_REG_FAULTMASK,
           "control": arm.UC_ARM_REG_CONTROL}
_NAMES = [*(f"r{i}" for i in range(13)), "sp", "lr", "pc", "xpsr"]
_HELP = "cycles: cycles so far\ninstructions: instructions so far\nreset: back to the reset vector\n"


def _number(text: str) -> int:
    """An unsigned number of at most 32 bits, in hexadecimal."""
    value = int(text, 16)
    if not 0 <= value < 1 << 32:
        raise ValueError
    return value


class _Gone(Exception):
    """The debugger has closed the connection, or has asked for the end."""


def serve(machine: LiveMachine, port: int, files: Mapping[str, bytes] | None = None, clock_hz: int = 1_000_000,
          budget: int = 10**12, ready: Callable[[int], None] | None = None) -> RunResult:
    """Wait for one debugger on 127.0.0.1:``port`` (0: any; ``ready`` is told which); serve it to the end of the run."""
    with socket.create_server(("127.0.0.1", port)) as server:
        if ready:
            ready(server.getsockname()[1])
        link, _ = server.accept()
    with link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Session(machine, link, dict(files or {}), clock_hz, budget).run()


class Session:
    """One debugger's connection."""

    def __init__(self, machine: LiveMachine, link: socket.socket, files: dict[str, bytes], clock_hz: int,
                 budget: int) -> None:
        self.machine, self.link, self.budget = machine, link, budget
        self._files, self._clock_hz = files, clock_hz
        self._engine: Any = machine._engine
        self._input = b""
        self._shown = 0
        self._acks = True
        self._watch: list[tuple[int, int, int]] = []
        self._fault: Fault | None = None
        self._md = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
        self._md.detail = True
        self._restart()

    def _restart(self) -> None:
        self.pc, self.host = self.machine.begin(self._files, self._clock_hz)
        self._shown = 0
        self._last = "S05"
        self._engine.set_reg(arm.UC_ARM_REG_PC, self.pc | 1)

    def run(self) -> RunResult:
        """Serve until the firmware or the debugger ends; detached firmware runs on."""
        try:
            while True:
                self._answer(self._packet())
        except (_Gone, ConnectionError):
            pass
        return self.machine._result(self.host, self._fault)

    # packets --------------------------------------------------------------------------------------------------------

    def _more(self) -> None:
        data = self.link.recv(65536)
        if not data:
            raise _Gone
        self._input += data
        if len(self._input) > 1 << 20:
            raise _Gone

    def _packet(self) -> str:
        while True:
            while not self._input:
                self._more()
            first, self._input = self._input[:1], self._input[1:]
            if first == b"\x03":
                self._send("S02")
            if first != b"$":
                continue
            while b"#" not in self._input or len(self._input) < self._input.index(b"#") + 3:
                self._more()
            end = self._input.index(b"#")
            body, sent = self._input[:end], self._input[end + 1 : end + 3]
            self._input = self._input[end + 3 :]
            try:
                good = int(sent, 16) == sum(body) & 0xFF
            except ValueError:
                good = False
            if self._acks:
                self.link.sendall(b"+" if good else b"-")
            if good:
                return body.decode("latin-1")

    def _send(self, text: str) -> None:
        body = text.encode("latin-1")
        self.link.sendall(b"$" + body + b"#" + f"{sum(body) & 0xFF:02x}".encode())

    def _answer(self, packet: str) -> None:
        try:
            reply = self._command(packet)
        except (ValueError, IndexError):
            reply = "E01"
        if reply is not None:
            self._send(reply)
        if packet == "QStartNoAckMode":
            self._acks = False
        if packet[:1] == "D":
            self._detach()
        if reply and reply[0] == "W":
            raise _Gone

    def _command(self, packet: str) -> str | None:
        op, rest = packet[:1], packet[1:]
        if op == "?":
            return self._last
        if op == "g":
            return "".join(self._register(i) for i in range(17))
        if op == "G":
            for i in range(17):
                self._set_register(i, rest[8 * i : 8 * i + 8])
            return "OK"
        if op == "p":
            return self._register(_number(rest))
        if op == "P":
            number, _, value = rest.partition("=")
            self._set_register(_number(number), value)
            return "OK"
        if op == "m":
            address, size = map(_number, rest.split(","))
            return self._read(address, min(size, _MAX_PACKET // 2)).hex()
        if op == "M":
            place, _, data = rest.partition(":")
            address, size = map(_number, place.split(","))
            if 2 * size != len(data):
                raise ValueError
            self.machine._write(address, bytes.fromhex(data))
            return "OK"
        if op in "cs":
            if rest:
                self.pc = _number(rest) & ~1
            return self._go(op == "s")
        if packet == "vCont?":
            return "vCont;c;C;s;S"
        if packet.startswith("vCont;") and packet[6:7] in tuple("cCsS"):
            return self._go(packet[6:7].lower() == "s")
        if op in "Zz":
            what, at, size, *_ = map(_number, rest.split(";")[0].split(","))
            return self._point(op == "Z", what, at, size)
        if op == "k" or packet.startswith("vKill"):
            raise _Gone
        if op in "DHT!":
            return "OK"
        return self._query(packet)

    def _query(self, packet: str) -> str:
        if packet.startswith("qSupported"):
            return f"PacketSize={_MAX_PACKET:x};qXfer:features:read+;vContSupported+;hwbreak+;swbreak+;QStartNoAckMode+"
        if packet == "QStartNoAckMode":
            return "OK"
        if packet.startswith("qXfer:features:read:target.xml:"):
            offset, size = map(_number, packet.rsplit(":", 1)[1].split(","))
            text = self._target()
            return ("m" if offset + size < len(text) else "l") + text[offset : offset + size]
        if packet.startswith("qRcmd,"):
            return self._monitor(bytes.fromhex(packet[6:]).decode("latin-1").strip())
        fixed = {"qAttached": "1", "qC": "QC1", "qfThreadInfo": "m1", "qsThreadInfo": "l", "qOffsets": "",
                 "qSymbol::": "OK"}
        return fixed.get(packet, "")

    def _monitor(self, command: str) -> str:
        clock = self.machine._clock
        if command == "cycles":
            text = f"{clock.now}\n"
        elif command == "instructions":
            text = f"{clock.instructions}\n"
        elif command == "reset":
            self._restart()
            text = f"at 0x{self.pc:08x}\n"
        else:
            text = _HELP
        self._send("O" + text.encode().hex())
        return "OK"

    # registers and memory -------------------------------------------------------------------------------------------

    def _target(self) -> str:
        rows = "".join(f'<reg name="{n}" bitsize="32"{kind}/>' for n in _NAMES
                       for kind in [' type="data_ptr"' if n == "sp" else ' type="code_ptr"' if n == "pc" else ""])
        text = ('<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
                f'<architecture>arm</architecture><feature name="org.gnu.gdb.arm.m-profile">{rows}</feature>')
        text += '<feature name="org.gnu.gdb.arm.m-system">' + "".join(
            f'<reg name="{n}" bitsize="32"/>' for n in _SYSTEM) + "</feature>"
        if self.machine.fpu:
            text += '<feature name="org.gnu.gdb.arm.vfp">' + "".join(
                f'<reg name="d{i}" bitsize="64" type="ieee_double"/>' for i in range(16)) + \
                '<reg name="fpscr" bitsize="32" group="float"/></feature>'
        return text + "</target>"

    def _register(self, number: int) -> str:
        read = self._engine.reg
        if number < 17:
            value = self.pc if number == 15 else read(_CORE[number])
            return (value | (1 << 24 if number == 16 else 0)).to_bytes(4, "little").hex()
        number -= 17
        if number < len(_SYSTEM):
            return int(read(list(_SYSTEM.values())[number])).to_bytes(4, "little").hex()
        number -= len(_SYSTEM)
        if self.machine.fpu and number < 16:
            return b"".join(read(arm.UC_ARM_REG_S0 + 2 * number + i).to_bytes(4, "little") for i in (0, 1)).hex()
        if self.machine.fpu and number == 16:
            return int(read(arm.UC_ARM_REG_FPSCR)).to_bytes(4, "little").hex()
        raise ValueError

    def _set_register(self, number: int, text: str) -> None:
        data = bytes.fromhex(text)
        values = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        write = self._engine.set_reg
        if number == 15:
            self.pc = values[0] & ~1
            write(arm.UC_ARM_REG_PC, values[0] | 1)
        elif number < 17:
            write(_CORE[number], values[0])
        elif number < 17 + len(_SYSTEM):
            write(list(_SYSTEM.values())[number - 17], values[0])
        elif self.machine.fpu and number < 17 + len(_SYSTEM) + 16:
            for i in (0, 1):
                write(arm.UC_ARM_REG_S0 + 2 * (number - 17 - len(_SYSTEM)) + i, values[i])
        else:
            raise ValueError

    def _read(self, address: int, size: int) -> bytes:
        system = self.machine.system
        for base, read in ((0xE000E000, system.read), (0xE0001000, system.dwt_read)):
            if base <= address < base + 4096:
                return bytes(read(address + i, 1) & 0xFF for i in range(size))
        while size:  # as much as there is
            try:
                return bytes(self._engine.read(address, size))
            except IndexError:
                size //= 2
        raise ValueError

    # running --------------------------------------------------------------------------------------------------------

    def _point(self, on: bool, what: int, at: int, size: int) -> str:
        if what < 2:
            return "OK" if self.machine._clock.breakpoint(at & ~1, on) else "E02"
        point = (what, at, size)
        if on and point not in self._watch:
            self._watch.append(point)
        if not on and point in self._watch:
            self._watch.remove(point)
        return "OK" if what < 5 else ""

    def _go(self, step: bool) -> str:
        self._last = self._steps() if self._watch and not step else self._until_stop(step)
        self._show()
        return self._last

    def _until_stop(self, step: bool) -> str:
        clock, passing = self.machine._clock, True
        while True:
            limit = min(clock.instructions + (1 if step else _SLICE), self.budget)
            stop, self.pc, fault = self._proceed(limit, passing)
            self._engine.set_reg(arm.UC_ARM_REG_PC, self.pc | 1)
            if stop == "exit":
                return f"W{(self.host.exit or 0) & 0xFF:02x}"
            if fault:
                self._fault = fault
                self._send("O" + f"{fault}\n".encode().hex())
                return f"S{_SEGV:02x}"
            if stop == "break" or step:
                return f"S{_TRAP:02x}"
            if clock.instructions >= self.budget:
                return f"S{_INT:02x}"
            passing = False
            self._show()
            if self._interrupted():
                return f"S{_INT:02x}"

    def _proceed(self, limit: int, passing: bool) -> tuple[str, int, Fault | None]:
        try:
            return self.machine.proceed(self.pc, self.host, limit, passing)
        except Fault as fault:
            return "fault", fault.pc, fault
        except EmuError as error:
            return "fault", self.pc, Fault(str(error), self.pc)

    def _steps(self) -> str:
        """Step until a watched address is accessed, or until there is another reason to stop."""
        n = 0
        while True:
            hit = self._accessed()
            before = self.pc
            stop = self._until_stop(True)
            if stop != f"S{_TRAP:02x}":
                return stop
            if hit:
                return f"T05{hit[0]}:{hit[1]:x};"
            n += 1
            if self.pc != before and self.machine._clock.broken(self.pc):
                return stop
            if n % 1000 == 0 and self._interrupted():
                return f"S{_INT:02x}"

    def _accessed(self) -> tuple[str, int] | None:
        """(kind, address) of the watchpoint that the instruction at the program counter will hit."""
        raw = next(self._md.disasm(self.machine._code(self.pc, 4), self.pc, 1), None)
        if raw is None:
            return None
        name, size, low = raw.insn_name(), 4, None
        regs = [o for o in raw.operands if o.type == _arm.ARM_OP_REG]
        memory = next((o for o in raw.operands if o.type == _arm.ARM_OP_MEM), None)
        stores = name.startswith(("str", "stm", "push", "vst", "vpush"))
        if memory is not None:
            base = self._value(raw, memory.mem.base)
            shift = memory.shift.value if memory.shift.type == _arm.ARM_SFT_LSL else 0
            index = self._value(raw, memory.mem.index) << shift if memory.mem.index else 0
            post = raw.writeback and len(raw.operands) > 2 and raw.operands[-1].type == _arm.ARM_OP_IMM
            low = base + index + (0 if post else memory.mem.disp)
            size = 8 if name.endswith("d") or name.startswith("vldr") else 1 if name.endswith("b") else (
                2 if name.endswith("h") else 4)
        elif name.startswith(("push", "pop", "vpush", "vpop")):
            sp, size = self._engine.reg(arm.UC_ARM_REG_SP), 4 * len(regs) * (2 if "d" in raw.op_str else 1)
            low = sp - size if stores else sp
        elif name.startswith(("ldm", "stm", "vldm", "vstm")):
            size = 4 * (len(regs) - 1)
            low = self._value(raw, regs[0].reg) - (size if "db" in name else 0)
        if low is None:
            return None
        for kind, at, length in self._watch:
            if low & 0xFFFFFFFF < at + length and at < (low & 0xFFFFFFFF) + size and (
                    kind == 4 or (kind == 2) == stores):
                return {2: "watch", 3: "rwatch", 4: "awatch"}[kind], at
        return None

    def _value(self, raw: Any, register: int) -> int:
        if not register:
            return 0
        name = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}.get(raw.reg_name(register), raw.reg_name(register))
        if name == "pc":
            return self.pc + 4 & ~3
        return int(self._engine.reg(_CORE[_NAMES.index(name)]))

    def _interrupted(self) -> bool:
        if not self._input and select.select([self.link], [], [], 0)[0]:
            self._more()
        if self._input[:1] == b"\x03":
            self._input = self._input[1:]
            return True
        return False

    def _show(self) -> None:
        """Send what the firmware has printed since."""
        console = bytes(self.host.console)
        fresh, self._shown = console[self._shown :], len(console)
        for i in range(0, len(fresh), 1000):
            self._send("O" + fresh[i : i + 1000].hex())

    def _detach(self) -> None:
        """Run on without the debugger."""
        self.machine._clock.forget_breakpoints()
        self._watch.clear()
        if self.host.exit is None and self._fault is None:
            stop, pc, fault = self._proceed(self.budget, True)
            self._fault = fault if stop != "spent" else self.machine._fault("the budget ran out", pc)
        raise _Gone
