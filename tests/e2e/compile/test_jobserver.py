"""The jobserver: who may compile and when, what each needed, what a failure does to the rest. A real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from retread.compile import jobserver
from retread.compile.jobserver import Compiled, Jobserver
from retread.compile.schedule import GIB, Budget, Cost
from standins import Bench, States, Talker, until

MIB = 1 << 20


class Room:
    """A jobserver with the compilers that talk to it; what is open at the end is closed."""

    def __init__(self, root: Path) -> None:
        self.path = root / "s"
        self.tree = root / "tree"
        self.tree.mkdir()
        self.states = States()
        self.noted: list[Compiled] = []
        self.talkers: list[Talker] = []
        self.server: Jobserver | None = None

    def open(
        self,
        jobs: int = 1,
        memory: int = 64 * GIB,
        measures: dict[str, Cost] | None = None,
        note: Callable[[Compiled], None] | None = None,
        **more: Any,
    ) -> Jobserver:
        self.server = Jobserver(
            self.path,
            tree=self.tree,
            budget=Budget(jobs, memory),
            measures=measures or {},
            changed=self.states.append,
            compiled=note or self.noted.append,
            **more,
        )
        return self.server.__enter__()

    def ask(self, name: str, tool: str = "nvcc") -> Talker:
        self.talkers.append(Talker(self.path, self.tree / name, tool))
        return self.talkers[-1]

    def see(self, running: list[str], waiting: int) -> None:
        until(lambda: self.states.now == (tuple(sorted(running)), waiting))

    def close(self) -> None:
        for talker in self.talkers:
            talker.close()
        if self.server:
            self.server.__exit__()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    found = Room(tmp_path)
    yield found
    found.close()


# Leave.


def test_one_at_a_time_and_the_next_when_it_is_done(room: Room) -> None:
    server = room.open(jobs=1)
    first = room.ask("a.cu")
    assert first.hear() == "go"
    second = room.ask("b.cu")
    room.see(["a.cu"], 1)
    assert first.end(seconds=2.5) == "noted"
    assert second.hear() == "go"
    room.see(["b.cu"], 0)
    (one,) = server.compiled
    assert (one.unit.name, one.unit.tool, one.cost.seconds) == ("a.cu", "nvcc", 2.5)
    assert (one.output, one.depfile) == (room.tree / "a.cu.o", room.tree / "a.cu.o.d")
    assert room.noted == [one]
    assert room.states[-1].done == 1


def test_the_longest_of_those_that_wait_goes_first(room: Room) -> None:
    measures = {name: Cost(seconds=seconds, memory=MIB) for name, seconds in (("a", 5), ("b", 1), ("c", 9))}
    room.open(jobs=1, measures=measures)
    first = room.ask("a")
    assert first.hear() == "go"
    short = room.ask("b")
    room.see(["a"], 1)
    long = room.ask("c")
    room.see(["a"], 2)
    first.end()
    assert long.hear() == "go"
    long.end()
    assert short.hear() == "go"


def test_the_first_is_the_longest_of_those_that_come_together(room: Room) -> None:
    measures = {name: Cost(seconds=seconds, memory=MIB) for name, seconds in (("a", 5), ("b", 1), ("c", 9))}
    room.open(jobs=1, measures=measures, settle=0.2)
    short, middle, long = room.ask("b"), room.ask("a"), room.ask("c")
    assert long.hear() == "go"
    room.see(["c"], 2)
    long.end()
    assert middle.hear() == "go"
    middle.end()
    assert short.hear() == "go"


def test_memory_limits_what_runs_together(room: Room) -> None:
    measures = {name: Cost(seconds=1, memory=10 * GIB) for name in ("a", "b", "c")}
    room.open(jobs=8, memory=25 * GIB, measures=measures)
    first, second = room.ask("a"), room.ask("b")
    assert (first.hear(), second.hear()) == ("go", "go")
    third = room.ask("c")
    room.see(["a", "b"], 1)
    second.end()
    assert third.hear() == "go"


def test_a_new_unit_of_unknown_size_is_taken_by_the_size_of_its_file(room: Room) -> None:
    (room.tree / "long.cu").write_text("x" * 100)
    (room.tree / "short.cu").write_text("x")
    room.open(jobs=1)
    first = room.ask("a.cu")
    assert first.hear() == "go"
    short, long = room.ask("short.cu"), room.ask("long.cu")
    room.see(["a.cu"], 2)
    first.end()
    assert long.hear() == "go"
    long.end()
    assert short.hear() == "go"


def test_the_size_of_a_file_is_known_where_the_build_sees_it_elsewhere(room: Room, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name, size in (("a.cu", 1), ("short.cu", 2), ("long.cu", 300)):
        (tmp_path / "real" / name).write_text("x" * size)
    room.open(jobs=1, outside=lambda path: path.replace(str(room.tree), str(tmp_path / "real")))
    first = room.ask("a.cu")
    assert first.hear() == "go"
    short, long = room.ask("short.cu"), room.ask("long.cu")
    room.see(["a.cu"], 2)
    first.end()
    assert long.hear() == "go"
    long.end()
    assert short.hear() == "go"


def test_a_file_outside_of_the_tree_keeps_its_whole_name(room: Room, tmp_path: Path) -> None:
    server = room.open()
    outside = room.ask(str(tmp_path / "generated.cu"))
    outside.hear()
    outside.end()
    assert server.compiled[0].unit.name == str(tmp_path / "generated.cu")


def test_never_more_than_the_jobs_at_a_time_and_all_get_their_turn(room: Room) -> None:
    server, jobs, units = room.open(jobs=3), 3, 24
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(jobs)

    def work(number: int) -> None:
        nonlocal running, most
        talker = Talker(room.path, room.tree / f"{number}.cu")
        assert talker.hear() == "go"
        with lock:
            running += 1
            most = max(most, running)
        together.wait(10)  # so that less than all jobs at a time is seen, too
        with lock:
            running -= 1
        talker.end()
        talker.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(units)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == jobs
    assert max(len(state.running) for state in room.states) == jobs
    assert sorted(one.unit.name for one in server.compiled) == sorted(
        f"{number}.cu" for number in range(units)
    )
    assert room.states[-1] == (units, (), 0, None)


def test_it_tells_what_remains_at_this_build_s_pace(room: Room) -> None:
    measures = {name: Cost(seconds=seconds, memory=MIB) for name, seconds in (("a", 10), ("b", 30))}
    server = room.open(jobs=1, measures=measures)
    first = room.ask("a")
    assert first.hear() == "go"
    second = room.ask("b")
    room.see(["a"], 1)
    assert room.states[-1].left is None, "nothing is done yet by which it could be told"
    first.end()
    assert second.hear() == "go"
    until(lambda: room.states[-1].running == ("b",))
    left = room.states[-1].left
    assert left is not None
    assert 0 < left <= server.seconds * 3


# Failures.


def test_a_failure_stops_those_that_wait_and_those_that_come_and_keeps_what_was_said(room: Room) -> None:
    server = room.open(jobs=1)
    first = room.ask("bad.cu")
    assert first.hear() == "go"
    second = room.ask("b.cu")
    room.see(["bad.cu"], 1)
    assert first.end(2, "bad.cu(1): error: no\n") == "noted"
    assert second.hear() == "stop"
    assert room.ask("c.cu").hear() == "stop"
    (one,) = server.failed
    assert one == ("bad.cu", ("real", "x"), 2, "bad.cu(1): error: no\n")
    assert server.compiled == []
    assert room.noted == []


def test_those_that_run_beside_a_failure_are_still_noted(room: Room) -> None:
    server = room.open(jobs=2)
    bad, good = room.ask("bad.cu"), room.ask("good.cu")
    assert (bad.hear(), good.hear()) == ("go", "go")
    bad.end(1, "no")
    assert good.end() == "noted"
    assert [one.unit.name for one in server.compiled] == ["good.cu"]


def test_a_compiler_that_vanishes_counts_as_killed(room: Room) -> None:
    server = room.open(jobs=1)
    first = room.ask("a.cu")
    assert first.hear() == "go"
    second = room.ask("b.cu")
    room.see(["a.cu"], 1)
    first.close()
    assert second.hear() == "stop"
    assert server.failed == [("a.cu", (), -signal.SIGKILL, "")]


def test_a_compiler_that_vanishes_while_it_waits_takes_no_place(room: Room) -> None:
    """Its place would be empty for ever, and with one job the whole build would hang."""
    server = room.open(jobs=1)
    first = room.ask("a.cu")
    assert first.hear() == "go"
    room.ask("b.cu").close()
    room.see(["a.cu"], 1)
    assert first.end() == "noted"
    until(lambda: server.failed)
    assert server.failed == [("b.cu", (), -signal.SIGKILL, "")]
    assert room.ask("c.cu").hear() == "stop"


def test_half_a_report_counts_as_killed(room: Room) -> None:
    server = room.open(jobs=1)
    talker = room.ask("a.cu")
    assert talker.hear() == "go"
    talker._talk.write('{"code": 0, "sec')
    talker.close()
    until(lambda: server.failed)
    assert server.failed == [("a.cu", (), -signal.SIGKILL, "")]


def test_a_unit_that_cannot_be_noted_ends_the_build(room: Room) -> None:
    """Without its note, nobody would know what the object was made of; and nobody may wait for ever."""

    def full(_: Compiled) -> None:
        raise OSError(28, "No space left on device")

    server = room.open(jobs=1, note=full)
    first = room.ask("a.cu")
    assert first.hear() == "go"
    second = room.ask("b.cu")
    room.see(["a.cu"], 1)
    assert first.end() == "noted"
    assert second.hear() == "stop"
    assert server.compiled == []
    assert [(one.name, one.said) for one in server.failed] == [("a.cu", "[Errno 28] No space left on device")]


@pytest.mark.parametrize("part", ["", '{"source": "/x/a.cu", "to'], ids=["nothing", "half"])
def test_a_compiler_that_is_killed_while_it_asks_harms_nobody(room: Room, part: str) -> None:
    server = room.open(jobs=1)
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(room.path))
        other.sendall(part.encode())
    talker = room.ask("a.cu")
    assert talker.hear() == "go"
    assert talker.end() == "noted"
    assert server.failed == []


def test_the_end_of_the_build_stops_those_that_wait_and_removes_the_socket(room: Room) -> None:
    server = room.open(jobs=1)
    first = room.ask("a.cu")
    assert first.hear() == "go"
    second = room.ask("b.cu")
    room.see(["a.cu"], 1)
    server.__exit__()
    assert second.hear() == "stop"
    assert not room.path.exists()
    with pytest.raises(OSError):
        Talker(room.path, room.tree / "c.cu")


# Real compilers: memory, and what becomes of them when they are killed or halted.

HOLD = """\
import os, sys, time
held = os.urandom(1) * (int(sys.argv[2]) << 20)
open(sys.argv[3], "w").close()
while not os.path.exists(sys.argv[4]):
    time.sleep(0.01)
"""


class Build:
    """A build in a process group of its own: a shell that runs stand-ins, the compilers below them hold memory."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.go = bench.root / "go"
        self.process: subprocess.Popen[bytes] | None = None
        (bench.root / "hold.py").write_text(HOLD)

    def start(self, tool_memory: dict[str, int]) -> int:
        """Run unit ``x.cu`` with so many MiB for each name."""
        script = self.bench.root / "build.sh"
        lines = [
            f'{self.bench.root}/bin/nvcc -c "{name}" -o "{Path(name).stem}.o" &\n' for name in tool_memory
        ]
        script.write_text("".join(lines) + "wait\n")
        cases = "".join(f"*{name}) n={size};; " for name, size in tool_memory.items())
        hold = f'{sys.executable} -IS {self.bench.root}/hold.py "$2" $n {self.bench.root}/held-$n {self.go}'
        self.bench.script("nvcc", f'case "$2" in {cases} esac; {hold}')
        self.process = subprocess.Popen(
            ["sh", script], cwd=self.bench.source, env=self.bench.environment, start_new_session=True
        )
        return self.process.pid

    def held(self, *sizes: int) -> None:
        """Wait until compilers hold so much."""
        until(lambda: all((self.bench.root / f"held-{size}").exists() for size in sizes))

    def finish(self) -> None:
        """Let every compiler end, and the build with them."""
        assert self.process
        self.go.touch()
        assert self.process.wait(60) == 0

    def close(self) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    found = Build(Bench(tmp_path))
    yield found
    found.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the processes often, so that a test need not wait."""
    monkeypatch.setattr(jobserver, "_SAMPLE_SECONDS", 0.02)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _compilers(build: Build, name: str) -> list[int]:
    """Return the processes whose own arguments name a unit."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                line = (folder / "cmdline").read_bytes().split(b"\0")
                if name.encode() in line and str(build.bench.root).encode() in b" ".join(line):
                    found.append(int(folder.name))
    return found


def test_memory_is_measured_and_given_to_the_right_unit(build: Build, quick: None) -> None:
    states = States()
    measures = {"big.cu": Cost(seconds=9, memory=MIB), "big/small.cu": Cost(seconds=1, memory=MIB)}
    with Jobserver(
        build.bench.server,
        tree=build.bench.source,
        budget=Budget(8, 200 * MIB),
        measures=measures,
        changed=states.append,
    ) as server:
        server.watch(build.start({"big.cu": 120, "big/small.cu": 8}))
        build.held(120, 8)
        until(lambda: server.peak > 128 * MIB)
        late = Talker(build.bench.server, build.bench.source / "late.cu", "g++")
        until(lambda: states.now[1] == 1)  # 1.5 GiB would be too much beside them
        build.finish()
        assert late.hear() == "go"
        late.end()
        late.close()
    memory = {one.unit.name: one.cost.memory for one in server.compiled}
    assert memory["big.cu"] > 120 * MIB
    assert 8 * MIB < memory["big/small.cu"] < 60 * MIB
    assert 128 * MIB < server.peak < 400 * MIB


def test_a_unit_that_grows_beyond_what_was_set_aside_keeps_others_out(build: Build, quick: None) -> None:
    states = States()
    known = Cost(seconds=9, memory=MIB)
    with Jobserver(
        build.bench.server,
        tree=build.bench.source,
        budget=Budget(8, 100 * MIB),
        measures={"grown.cu": known, "late.cu": Cost(seconds=1, memory=40 * MIB)},
        changed=states.append,
    ) as server:
        server.watch(build.start({"grown.cu": 90}))
        build.held(90)
        until(lambda: server.peak > 90 * MIB)
        late = Talker(build.bench.server, build.bench.source / "late.cu")
        until(lambda: len(states.now[0]) + states.now[1] == 2)
        assert states.now == (("grown.cu",), 1)
        build.finish()
        assert late.hear() == "go"
        late.close()


def test_a_killed_compiler_is_a_failure_and_nothing_more_starts(build: Build, quick: None) -> None:
    with Jobserver(build.bench.server, tree=build.bench.source, budget=Budget(1, GIB), measures={}) as server:
        server.watch(build.start({"a.cu": 1}))
        build.held(1)
        stand_in = next(pid for pid in _compilers(build, "a.cu") if b"bin/nvcc" in _line(pid))
        os.kill(stand_in, signal.SIGKILL)
        until(lambda: server.failed)
        assert server.failed == [("a.cu", (), -signal.SIGKILL, "")]
        assert build.bench.run("nvcc", "-c", "b.cu", "-o", "b.o").returncode == 1


def _line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_while_memory_is_nearly_used_up_the_youngest_is_halted(
    build: Build, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = 50
    monkeypatch.setattr(jobserver, "memory", lambda: (100, available))
    with Jobserver(
        build.bench.server, tree=build.bench.source, budget=Budget(2, 64 * GIB), measures={}
    ) as server:
        server.watch(build.start({"a.cu": 1, "b.cu": 2}))
        build.held(1, 2)
        units = [_compilers(build, name) for name in ("a.cu", "b.cu")]
        assert all(units)

        def halted() -> list[bool]:
            return [all(_state(pid) == "T" for pid in pids) for pids in units]

        available = 3
        until(lambda: sorted(halted()) == [False, True])
        until(lambda: server.peak > 0)
        assert sorted(halted()) == [False, True], "one goes on"
        available = 6
        assert sorted(halted()) == [False, True], "not yet room enough"
        available = 50
        until(lambda: halted() == [False, False])
        build.finish()
    assert sorted(one.unit.name for one in server.compiled) == ["a.cu", "b.cu"]


def test_a_halted_compile_goes_on_when_it_is_the_last(
    build: Build, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = 50
    monkeypatch.setattr(jobserver, "memory", lambda: (100, available))
    with Jobserver(
        build.bench.server, tree=build.bench.source, budget=Budget(2, 64 * GIB), measures={}
    ) as server:
        server.watch(build.start({"a.cu": 1, "b.cu": 2}))
        build.held(1, 2)
        available = 1
        until(lambda: any(_state(pid) == "T" for name in ("a.cu", "b.cu") for pid in _compilers(build, name)))
        build.finish()
    assert len(server.compiled) == 2


def test_all_that_descends_is_found_also_what_a_thread_started(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys, threading\n"
        "command = ['sh', '-c', 'echo $$; sleep 60; :']\n"
        "def start(): subprocess.Popen(command).wait()\n"
        "threading.Thread(target=start).start()\n"
    )
    with subprocess.Popen([sys.executable, "-IS", "-c", program], stdout=subprocess.PIPE) as top:
        assert top.stdout
        shell = int(top.stdout.readline())
        until(lambda: any(line == "sleep 60 " for _, line in jobserver._descendants([top.pid]).values()))
        found = jobserver._descendants([top.pid])
        (last,) = found.keys() - {top.pid, shell}
        assert list(found) == [top.pid, shell, last], "parents come first"
        assert [parent for parent, _ in found.values()] == [0, top.pid, shell]
        assert found[last][1] == "sleep 60 "
        top.kill()
        os.kill(shell, signal.SIGKILL)
        os.kill(last, signal.SIGKILL)
    assert jobserver._descendants([top.pid]) == {}


# Names.


@pytest.mark.parametrize(
    ("line", "stem", "named"),
    [
        ("nvcc -c csrc/attention.cu -o x.o", "attention", True),
        ("cicc --orig_src_file_name attention.cu", "attention", True),
        ("ptxas -o /tmp/attention.compute_90.cubin", "attention", True),
        ("cc1plus attention.cpp", "attention", True),
        ("nvcc --output-file=attention.o", "attention", True),
        ("nvcc -c csrc/attention/forward.cu", "attention", False),
        ("nvcc -Icsrc/attention -c forward.cu", "attention", False),
        ("nvcc -c csrc/flash_attention.cu", "attention", False),
        ("nvcc -c csrc/attention_forward.cu", "attention", False),
        ("nvcc -c a+b.cu", "a+b", True),
        ("nvcc -c aab.cu", "a+b", False),
        ("", "attention", False),
    ],
)
def test_what_names_a_unit(line: str, stem: str, named: bool) -> None:
    assert jobserver._names(line, stem) is named


# The machine's memory.


def test_the_machine_s_memory_is_told() -> None:
    total, available = jobserver.memory()
    assert 0 < available <= total


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [(64 * MIB, 60 * MIB, (64 * MIB, 4 * MIB)), ("max", 1, None), (1 << 62, 1, None)],
)
def test_a_control_group_s_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | str, used: int, left: tuple[int, int] | None
) -> None:
    (tmp_path / "max").write_text(f"{limit}\n")
    (tmp_path / "current").write_text(f"{used}\n")
    monkeypatch.setattr(jobserver, "_GROUPS", ())
    machine = jobserver.memory()[0]
    monkeypatch.setattr(jobserver, "_GROUPS", ((str(tmp_path / "max"), str(tmp_path / "current")),))
    found = jobserver.memory()
    assert found == left if left else found[0] == machine


def test_the_questions_are_json_lines(room: Room) -> None:
    """What ``inside/compiler.py`` sends, and nothing else, is enough."""
    room.open()
    question = {"source": "/x/a.cu", "output": "/x/a.o", "depfile": "/x/a.d", "tool": "nvcc", "folder": "/x"}
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(room.path))
        line.sendall(json.dumps(question).encode() + b"\n")
        assert line.recv(10) == b"go\n"
        line.sendall(b'{"code": 0, "seconds": 1.0, "said": "", "command": []}\n')
        assert line.recv(10) == b"noted\n"
