"""The debugger: gdb-multiarch in batch mode, and packets by hand."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from emu.gdb import serve
from emu.live import LiveMachine
from emu.machine import RunResult

from .bench import build
from .test_system import exit_with, start

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
#include <stdint.h>
volatile uint32_t total, table[4];
static uint32_t host(uint32_t op, const void *arg)
{
    register uint32_t r0 __asm__("r0") = op;
    register const void *r1 __asm__("r1") = arg;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
uint32_t __attribute__((noinline)) add(uint32_t a, uint32_t b)
{
    __asm__ volatile("");
    return a + b;
}
int main(void)
{
    uint32_t i, block[2];
    for (i = 0; i < 10; i++) {
        total = add(total, i);
        table[i & 3] = total;
    }
    host(4, "done\\n");
    block[0] = 0x20026; block[1] = total;
    host(0x20, block);
    return 0;
}
"""


def made(folder: Path, core: str) -> Path:
    return build(folder, {"x.S": start("  bl main\n", {}), "p.c": PROGRAM}, core, "-Og", "-g", "-ffreestanding")


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_with_gdb(core: str, tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    gdb = need_tool("gdb-multiarch")
    elf = made(tmp_path, core)
    options = ["--fpu"] if core == "cortex-m4" else []
    server = subprocess.Popen([sys.executable, "-m", "emu", str(elf), "--core", core, *options, "--gdb", "0"],
                              cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stderr is not None
    port = server.stderr.readline().rsplit(":", 1)[1].strip()
    script = ["set pagination off", "set confirm off", f"target remote 127.0.0.1:{port}",
              "info symbol $pc",
              "break add", "continue", "bt", "print a", "print b", "continue 3", "print b", "info registers msp xpsr",
              "finish", "stepi", "x/2i $pc", "delete", "watch total", "continue", "print total", "continue",
              "print total", "delete", "set var total = 1000", "print total", "monitor cycles", "monitor instructions",
              "print/x *(unsigned*)0xE000ED00", "continue"]
    command = [gdb, "-q", "-nx", "-batch", *[x for line in script for x in ("-ex", line)], str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    out = done.stdout + done.stderr
    server.communicate(timeout=30)
    assert "reset in section .text" in out, out + done.stderr
    assert re.search(r"#0  add \(a=0, b=(b@entry=)?0\)", out) and re.search(r"#1 .* in main \(\)", out), out
    cycles, instructions = (int(x) for x in re.findall(r"^(\d+)$", out, re.M))
    assert cycles > instructions > 50, out
    assert "$1 = 0" in out and "$3 = 3" in out, out
    assert "Value returned is" in out, out
    assert "Hardware watchpoint" in out and "Old value = " in out and "New value = " in out, out
    assert "= 1000\n" in out, out
    assert ("0x410cc601" if core == "cortex-m0plus" else "0x410fc241") in out, out
    assert "exited with code" in out, out
    code = int(out.split("exited with code ")[1].split("]")[0], 8)
    assert server.returncode == code == (1000 + 6 + 7 + 8 + 9) & 0xFF


class Client:
    """The other end of the wire."""

    def __init__(self, port: int) -> None:
        self.link = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.data = b""

    def ask(self, text: str, replies: int = 1) -> list[str]:
        body = text.encode()
        self.link.sendall(b"$" + body + b"#%02x" % (sum(body) & 255))
        return [self.reply() for _ in range(replies)]

    def reply(self) -> str:
        while b"#" not in self.data or len(self.data) < self.data.index(b"#") + 3:
            more = self.link.recv(65536)
            assert more, "the connection ended"
            self.data += more
        body, _, rest = self.data.partition(b"#")
        self.data = rest[2:]
        with suppress(OSError):  # the server has gone after its last word
            self.link.sendall(b"+")
        return body.lstrip(b"+-").removeprefix(b"$").decode("latin-1")


@pytest.fixture
def session(tmp_path: Path, need_tool):
    """A server in a thread: (client, machine, results)."""
    need_tool("arm-none-eabi-gcc")
    machine = LiveMachine(made(tmp_path, "cortex-m3"), "cortex-m3")
    ports: list[int] = []
    told = threading.Event()
    results: list[RunResult] = []

    def ready(port: int) -> None:
        ports.append(port)
        told.set()

    thread = threading.Thread(target=lambda: results.append(serve(machine, 0, budget=10**7, ready=ready)), daemon=True)
    thread.start()
    assert told.wait(10)
    client = Client(ports[0])
    yield client, machine, results, thread
    client.link.close()
    thread.join(30)


def test_packets(session) -> None:
    client, machine, results, thread = session
    assert client.ask("?") == ["S05"]
    assert "qXfer:features:read+" in client.ask("qSupported:xmlRegisters=i386")[0]
    xml = client.ask("qXfer:features:read:target.xml:0,3fff")[0]
    assert xml[0] == "l" and "org.gnu.gdb.arm.m-profile" in xml and "m-system" in xml
    registers = client.ask("g")[0]
    assert len(registers) == 17 * 8
    pc = int.from_bytes(bytes.fromhex(registers[15 * 8 : 16 * 8]), "little")
    assert pc == machine.image.symbol("reset").address & ~1
    assert client.ask("p11")[0] == registers[13 * 8 : 14 * 8], "MSP is SP"
    total = machine.image.symbol("total").address
    assert client.ask(f"M{total:x},4:78563412") == ["OK"] and client.ask(f"m{total:x},4") == ["78563412"]
    assert client.ask("mdffffff0,4") == ["E01"] and client.ask("M0,4:00000000") == ["E01"], "nothing there; flash"
    assert client.ask("P5=01020304") == ["OK"] and client.ask("p5") == ["01020304"]
    add = machine.image.symbol("add").address & ~1
    assert client.ask(f"Z0,{add:x},2") == ["OK"] and client.ask("Z0,dffffff0,2") == ["E02"]
    assert client.ask("vCont?")[0].startswith("vCont;c")
    assert client.ask("vCont;c") == ["S05"]
    assert int.from_bytes(bytes.fromhex(client.ask("pf")[0]), "little") == add
    assert client.ask("s") == ["S05"]
    assert int.from_bytes(bytes.fromhex(client.ask("pf")[0]), "little") > add
    out, ok = client.ask("qRcmd," + b"cycles".hex(), 2)
    assert ok == "OK" and int(bytes.fromhex(out[1:])) == machine._clock.now > 0
    assert client.ask(f"z0,{add:x},2") == ["OK"]
    for kind, word in ((3, "rwatch"), (2, "watch"), (4, "awatch")):
        assert client.ask(f"Z{kind},{total:x},4") == ["OK"]
        assert client.ask("c") == [f"T05{word}:{total:x};"]
        assert client.ask(f"z{kind},{total:x},4") == ["OK"]
    assert client.ask("qUnknown") == [""] and client.ask("pff") == ["E01"]
    assert client.ask("c", 2) == ["O" + b"done\n".hex(), f"W{(0x12345678 + 45) & 255:02x}"]
    thread.join(10)
    assert results[0].exit == 0x12345678 + 45


def test_detach_runs_on(session) -> None:
    client, machine, results, thread = session
    add = machine.image.symbol("add").address & ~1
    assert client.ask(f"Z1,{add:x},2") == ["OK"] and client.ask("c") == ["S05"] and client.ask("D") == ["OK"]
    thread.join(10)
    assert results[0].exit == 45 and results[0].console == "done\n"


def test_kill_and_bad_packets(session) -> None:
    client, _, results, thread = session
    client.link.sendall(b"$g#00")  # a bad sum
    assert client.link.recv(1) == b"-"
    client.link.sendall(b"nonsense")
    for bad in ("m", "mzz,1", "m-1,4", "m0,-1", "m100000000,1", "Z9,0,0", "Z2,0", "Z0,-1,2", "Z0,100000000,2", "P=",
                "P-1=0", "M20000000,4:00", "vCont;", "qRcmd,0", "G12", "c-2", "s100000000"):
        assert client.ask(bad)[0][:1] in ("E", "S", "")
    client.link.sendall(b"$k#6b")
    thread.join(10)
    assert results and results[0].exit is None


def test_a_fault_stops(tmp_path: Path, need_tool) -> None:
    need_tool("arm-none-eabi-gcc")
    text = start("  ldr r0, =0xDFFFFFF0\n  ldr r1, [r0]\n" + exit_with("r1"), {})
    elf = build(tmp_path, {"x.S": text}, "cortex-m0plus")
    ports: list[int] = []
    told = threading.Event()
    machine = LiveMachine(elf, "cortex-m0plus")
    results: list[RunResult] = []

    def ready(port: int) -> None:
        ports.append(port)
        told.set()

    thread = threading.Thread(target=lambda: results.append(serve(machine, 0, ready=ready)), daemon=True)
    thread.start()
    told.wait(10)
    client = Client(ports[0])
    said, stop = client.ask("c", 2)
    assert "read of unmapped memory" in bytes.fromhex(said[1:]).decode() and stop == "S0b"
    client.link.sendall(b"$k#6b")
    thread.join(10)
    client.link.close()
    assert results[0].fault is not None
