"""Arm semihosting served from memory: files are a dictionary, the console is a buffer, and the host is never touched.

Calls (Semihosting for AArch32 and AArch64, Arm IHI 0074): SYS_OPEN, SYS_CLOSE, SYS_WRITEC, SYS_WRITE0, SYS_WRITE,
SYS_READ, SYS_READC, SYS_ISERROR, SYS_ISTTY, SYS_SEEK, SYS_FLEN, SYS_REMOVE, SYS_CLOCK, SYS_TIME, SYS_ERRNO,
SYS_GET_CMDLINE, SYS_HEAPINFO, SYS_EXIT, SYS_EXIT_EXTENDED.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import EmuError

ERROR = 0xFFFFFFFF
_MAX_FILE = 256 << 20
_MAX_NAME = 1024
_MAX_HANDLES = 256
_APPLICATION_EXIT = 0x20026


@dataclass
class _Open:
    name: str
    mode: int
    at: int = 0


@dataclass
class Semihost:
    """The state of one run: ``files`` by name, ``console`` output, and ``exit`` once the firmware has left."""

    files: dict[str, bytearray] = field(default_factory=dict)
    console: bytearray = field(default_factory=bytearray)
    exit: int | None = None
    clock_hz: int = 1_000_000
    _handles: dict[int, _Open] = field(default_factory=dict)
    _errno: int = 0

    def call(
        self, op: int, arg: int, read: Callable[[int, int], bytes], write: Callable[[int, bytes], None], elapsed: int
    ) -> int:
        """Serve one call and return r0; ``elapsed`` is the number of instructions so far, the clock's only source."""

        def block(n: int) -> tuple[int, ...]:
            return struct.unpack(f"<{n}I", read(arg, 4 * n))

        if op == 0x01:
            return self._open(read, *block(3))
        if op == 0x02:
            return 0 if self._handles.pop(block(1)[0], None) else ERROR
        if op == 0x03:
            self.console += read(arg, 1)
            return 0
        if op == 0x04:
            self.console += _string(read, arg)
            return 0
        if op == 0x05:
            return self._write(read, *block(3))
        if op == 0x06:
            return self._read(write, *block(3))
        if op == 0x07:
            return ERROR
        if op == 0x08:
            return int(block(1)[0] & 0x80000000 != 0)
        if op in (0x09, 0x0A, 0x0C):
            return self._file_call(op, *block(2 if op == 0x0A else 1))
        if op == 0x0E:
            return 0 if self.files.pop(read(*block(2)).decode("latin-1"), None) is not None else ERROR
        if op == 0x10:
            return elapsed * 100 // self.clock_hz & 0x7FFFFFFF
        if op == 0x11:
            return 0
        if op == 0x13:
            return self._errno
        if op == 0x15:
            address, size = block(2)
            if size < 1:
                return ERROR
            write(address, b"\0")
            write(arg, struct.pack("<2I", address, 0))
            return 0
        if op == 0x16:
            write(block(1)[0], bytes(16))
            return 0
        if op == 0x18:
            self.exit = 0 if arg == _APPLICATION_EXIT else 1
            return 0
        if op == 0x20:
            reason, code = block(2)
            self.exit = code if reason == _APPLICATION_EXIT else 1
            return 0
        raise EmuError(f"semihosting call 0x{op:02x} is not supported")

    def _open(self, read: Callable[[int, int], bytes], name_at: int, mode: int, length: int) -> int:
        if length > _MAX_NAME or mode > 11:
            return ERROR
        if len(self._handles) == _MAX_HANDLES:
            self._errno = 24
            return ERROR
        name = read(name_at, length).decode("latin-1")
        if name not in (":tt", ":semihosting-features"):
            if mode < 4 and name not in self.files:
                self._errno = 2
                return ERROR
            if 4 <= mode < 8 or name not in self.files:
                self.files[name] = bytearray()
        elif name != ":tt":
            return ERROR
        handle = min(set(range(1, _MAX_HANDLES + 1)) - self._handles.keys())
        at = len(self.files[name]) if mode >= 8 and name != ":tt" else 0
        self._handles[handle] = _Open(name, mode, at)
        return handle

    def _write(self, read: Callable[[int, int], bytes], handle: int, address: int, length: int) -> int:
        to = self._handles.get(handle)
        if to is None or (to.mode < 4 and not to.mode & 2 and to.name != ":tt"):
            self._errno = 9
            return length
        data = read(address, length)
        if to.name == ":tt":
            self.console += data
            return 0
        content = self.files.setdefault(to.name, bytearray())
        if to.at + length > _MAX_FILE:
            self._errno = 28
            return length
        if to.at > len(content):
            content += bytes(to.at - len(content))
        content[to.at : to.at + length] = data
        to.at += length
        return 0

    def _read(self, write: Callable[[int, bytes], None], handle: int, address: int, length: int) -> int:
        of = self._handles.get(handle)
        if of is None or of.name == ":tt":
            return length
        data = bytes(self.files.get(of.name, b"")[of.at : of.at + length])
        write(address, data)
        of.at += len(data)
        return length - len(data)

    def _file_call(self, op: int, handle: int, position: int = 0) -> int:
        of = self._handles.get(handle)
        if of is None:
            self._errno = 9
            return ERROR
        if op == 0x09:
            return int(of.name == ":tt")
        if op == 0x0A:
            if of.name == ":tt":
                return ERROR
            of.at = position
            return 0
        return len(self.files.get(of.name, b"")) if of.name != ":tt" else 0


def _string(read: Callable[[int, int], bytes], address: int) -> bytes:
    out = bytearray()
    while len(out) < 65536:
        byte = read(address + len(out), 1)
        if byte == b"\0":
            break
        out += byte
    return bytes(out)
