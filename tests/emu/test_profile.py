"""Call graphs, inclusive cycles and listings of programs whose figures can be worked out by hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import emu
from emu.annotate import annotate, rows
from emu.profile import Profile
from emu.trace import trace

from .bench import CRT, EXIT, build
from .programs import MAIN, PROGRAMS
from .programs import START as C_START


def function(name: str, code: str) -> str:
    lines = "\n".join(f"  {line.strip()}" for line in code.split(";"))
    return f".thumb_func\n.global {name}\n.type {name}, %function\n{name}:\n{lines}\n.size {name}, . - {name}\n"


# cycles on the Cortex-M0+, table 3-1:        3            1              3 x 3        3 x 1       2+2+1   3           5
HAND = CRT + "  bl main\n  movs r0, #5\n  bl fact\n  bl main\n" + EXIT \
    + function("main", "push {r4, lr}; movs r4, #3; 1: bl leaf; subs r4, #1; bne 1b; bl outer; pop {r4, pc}") \
    + function("leaf", "movs r0, #1; bx lr") \
    + function("outer", "push {lr}; bl leaf; bl leaf; bl tail; pop {pc}") \
    + function("tail", "nop; b leaf") \
    + function("fact", "push {r4, lr}; movs r4, r0; beq 1f; subs r0, #1; bl fact; 1: pop {r4, pc}")
LEAF, TAIL = 3, 1 + 2
OUTER = 2 + 3 + 3 + 3 + 4
MAIN_SELF = 3 + 1 + 9 + 3 + 5 + 3 + 5
MAIN_ALL = MAIN_SELF + 3 * LEAF + OUTER + 3 * LEAF + TAIL


def run(folder: Path, source: str | dict[str, str], core: str = "cortex-m0plus", count: str | None = None,
        banks: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> Profile:
    sources = source if isinstance(source, dict) else {"x.S": source}
    elf = build(folder, sources, core, *flags)
    machine = emu.Machine(elf, core=core, fpu=core == "cortex-m4", count=count, banks=banks)
    result = machine.run(check=True)
    layers = {name: f"layer {name}" for name in banks}
    return Profile(machine.image, trace(machine, result), "x.elf", layers, 24_000_000)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory, need_tool):
    need_tool("arm-none-eabi-gcc")
    return run(tmp_path_factory.mktemp("hand"), HAND, banks=("leaf", "outer"), flags=("-g",))


@pytest.mark.arm
def test_exclusive_and_inclusive_cycles(by_hand):
    found = {f.name: f for f in by_hand.functions()}
    assert {n: (f.calls, f.cycles, f.inclusive) for n, f in found.items() if n != "reset"} == {
        "main": (2, 2 * MAIN_SELF, 2 * MAIN_ALL),
        "outer": (2, 2 * OUTER, 2 * (OUTER + 3 * LEAF + TAIL)),
        "leaf": (12, 12 * LEAF, 12 * LEAF),
        "tail": (2, 2 * TAIL, 2 * (TAIL + LEAF)),  # its jump to leaf is its callee
        # 5 calls go deeper, 1 does not: push 3, movs 1, beq 1 or 2, subs 1, bl 3, pop 5
        "fact": (6, 5 * 14 + 11, 5 * 14 + 11),
    }
    assert found["reset"].inclusive == by_hand.trace.cycles == sum(f.cycles for f in found.values())
    assert by_hand.callers("leaf") == {"main": (6, 6 * LEAF), "outer": (4, 4 * LEAF), "tail": (2, 2 * LEAF)}


@pytest.mark.arm
def test_call_sites(by_hand):
    image = by_hand.image
    edges = {(e.caller, e.callee, e.site - image.symbol(e.caller).address): e for e in by_hand.trace.edges
             if image.symbol(e.caller)}
    loop = edges["main", "leaf", 4]
    assert (loop.calls, loop.cycles, loop.instructions, loop.jump) == (6, 6 * LEAF, 12, False)
    assert edges["tail", "leaf", 2].jump and edges["tail", "leaf", 2].calls == 2
    assert edges["outer", "tail", 10].cycles == 2 * (TAIL + LEAF)
    assert edges["fact", "fact", 8].calls == 5
    nodes = by_hand.trace.nodes
    facts = [n for n in nodes if n.function == "fact"]
    assert len(facts) == 1 and facts[0].calls == 6  # recursion is folded


@pytest.mark.arm
def test_time_line(by_hand):
    events = by_hand.chrome()["traceEvents"]
    layers = [(e["name"], e["ts"], e["dur"]) for e in events if e.get("tid") == 1 and e["ph"] == "X"]
    start = 3  # behind the BL of reset
    first = [("layer leaf", start + 4 + 3 + i * (3 + LEAF + 1 + 2), LEAF) for i in range(3)]
    assert layers[:3] == first
    assert [x[0] for x in layers[:7]] == ["layer leaf"] * 3 + ["layer outer"] + ["layer leaf"] * 3
    assert layers[3][2] == OUTER + 3 * LEAF + TAIL
    assert {e["args"].get("us") for e in events if e["ph"] == "X" and e["name"] == "leaf"} == {LEAF / 24}


@pytest.mark.arm
def test_speedscope(by_hand):
    data = json.loads(by_hand.file("out/x.speedscope.json"))
    assert data["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    names = [f["name"] for f in data["shared"]["frames"]]
    profile = data["profiles"][0]
    assert profile["type"] == "evented" and profile["endValue"] == by_hand.trace.cycles
    stack, last = [], 0
    for event in profile["events"]:
        assert last <= event["at"] <= profile["endValue"]
        last = event["at"]
        if event["type"] == "O":
            stack.append(event["frame"])
        else:
            assert stack.pop() == event["frame"]
    assert stack == [] and "leaf (layer leaf)" in names
    by_hand.trace.events_complete = False
    try:
        tree = by_hand.speedscope()
    finally:
        by_hand.trace.events_complete = True
    sampled, frames = tree["profiles"][0], [f["name"] for f in tree["shared"]["frames"]]
    assert sampled["type"] == "sampled" and sum(sampled["weights"]) == by_hand.trace.cycles
    weights = {tuple(frames[i] for i in s): w for s, w in zip(sampled["samples"], sampled["weights"], strict=True)}
    assert weights["reset", "main", "outer (layer outer)", "tail", "leaf (layer leaf)"] == 2 * LEAF


@pytest.mark.arm
def test_annotate(by_hand):
    listing = rows(by_hand, "main")
    assert [(r.text.split()[0], r.count, r.jumps, r.cycles) for r in listing] == [
        ("push", 2, 0, 6), ("movs", 2, 0, 2), ("bl", 6, 6, 18), ("subs", 6, 0, 6), ("bne", 6, 4, 10), ("bl", 2, 2, 6),
        ("pop", 2, 2, 10)]
    assert all(r.file == "x.S" for r in listing)
    text = annotate(by_hand, "main")
    assert f"main: {2 * MAIN_SELF} cycles by itself" in text
    assert re.search(r"10 +6 +4 +\w{8} +bne", text)
    with pytest.raises(emu.EmuError, match=r"no function mai \(there are: main"):
        annotate(by_hand, "mai")


@pytest.mark.arm
def test_annotate_shows_the_source(tmp_path, need_tool):
    need_tool("arm-none-eabi-gcc")
    files = {"s.S": C_START, "m.c": MAIN, "w.c": PROGRAMS["sort"]}
    profile = run(tmp_path, files, count="work", flags=("-O1", "-g"))
    text = annotate(profile, "work", [tmp_path])
    line = next(i for i, row in enumerate(PROGRAMS["sort"].splitlines(), 1) if "x * 1664525u" in row)
    assert re.search(rf"w\.c:{line} +for \(i = 0; i < 100; i\+\+\).*1664525u", text)
    secret = tmp_path / "secret.c"
    secret.write_text("secret")
    (tmp_path / "in").mkdir()
    assert "secret" not in annotate(profile, "work", [tmp_path / "in"])


@pytest.mark.arm
def test_callgrind_reads_it(by_hand, tmp_path, need_tool):
    need_tool("callgrind_annotate")
    path = tmp_path / "callgrind.out.x"
    path.write_text(by_hand.file(str(path)))
    said = subprocess.run([shutil.which("callgrind_annotate"), "--inclusive=yes", "--threshold=100", str(path)],
                          capture_output=True, text=True, check=True)
    assert said.stderr == ""

    def cycles(name: str) -> int:
        row = re.search(rf"^ *([\d,]+) .*:{name}(?: \[|$)", said.stdout, re.M)
        assert row, said.stdout
        return int(row[1].replace(",", ""))

    assert cycles("main") == 2 * MAIN_ALL
    assert cycles("outer") == 2 * (OUTER + 3 * LEAF + TAIL)
    assert f"{by_hand.trace.cycles:,} (100.0%)" in said.stdout


@pytest.mark.arm
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_watched_run_equals_the_counted_one(core, name, tmp_path, need_tool):
    """Compiled C with soft float, divisions and IT blocks; trace() itself refuses a total that differs."""
    need_tool("arm-none-eabi-gcc")
    files = {"s.S": C_START, "m.c": MAIN, "w.c": PROGRAMS[name]}
    flags = ["-O2", "-g", "-Wl,--start-group", "-lgcc", "-Wl,--end-group"]
    folder = tmp_path
    folder.mkdir(exist_ok=True)
    profile = run_linked(folder, files, core, flags)
    functions = profile.functions()
    assert sum(f.cycles for f in functions) == profile.trace.cycles
    assert sum(x.cycles for x in profile.trace.executed) == profile.trace.cycles
    assert sum(x.count for x in profile.trace.executed) == profile.trace.instructions
    assert next(f for f in functions if f.name == "work").inclusive == profile.trace.cycles
    if name == "float" and core != "cortex-m4":
        assert {"__aeabi_fadd", "__mulsf3" if core == "cortex-m3" else "__aeabi_fmul"} <= {f.name for f in functions}


def run_linked(folder: Path, files: dict[str, str], core: str, flags: list[str]) -> Profile:
    from .bench import FLAGS, LINK

    (folder / "link.ld").write_text(LINK)
    for name, text in files.items():
        (folder / name).write_text(text)
    subprocess.run(["arm-none-eabi-gcc", "-mthumb", *FLAGS[core], "-nostartfiles", "-Tlink.ld", "-o", "x.elf", *files,
                    *flags], cwd=folder, check=True)
    machine = emu.Machine(folder / "x.elf", core=core, fpu=core == "cortex-m4", count="work")
    return Profile(machine.image, trace(machine, machine.run(check=True)), "x.elf")


def test_unknown_format(by_hand):
    with pytest.raises(emu.EmuError, match="no profile has this name"):
        by_hand.file("x.pdf")
