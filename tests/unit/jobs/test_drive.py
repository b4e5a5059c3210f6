"""What starts when, what is tried again and what is given up: with an engine that does as it is told."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from retread import limits
from retread.arch import Arch
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import CompileError, HostError, OutOfMemoryError
from retread.jobs import drive, job, placing, run
from retread.jobs.drive import Files, Lost, News
from retread.jobs.job import Job, Kind, Needs, Result, Wheel
from retread.jobs.placing import Node
from retread.jobs.run import RESULT

GIB = 1 << 30
NODES = (Node("a", "ada", 2, 4 * GIB, "x86_64"), Node("b", "bob", 1, 8 * GIB, "x86_64", {"9.0": 1}))


def _job(
    name: str, seconds: int = 10, gpu: str | None = None, after: tuple[str, ...] = (), **needs: int
) -> Job:
    wanted = {"cores": 1, "memory_bytes": GIB, "disk_bytes": 0, **needs}
    return job.sealed(
        Job(
            key="0" * 64, kind=Kind.BUILD, name=name, recipe="r", target="t", lane="overlay", python="3.12",
            platform="x86_64", needs=Needs(seconds=seconds, gpu=gpu, processor="x86_64", **wanted),  # type: ignore[arg-type]
            inputs={"x": name}, after=after,
        )
    )  # fmt: skip


def _left(one: Job, code: int = 0, said: str = "") -> Files:
    data = one.name.encode()
    wheel = Wheel(file=f"{one.name}.whl", sha256=hashlib.sha256(data).hexdigest(), size=len(data))  # type: ignore[arg-type]
    result = Result(
        schema=1, key=one.key, kind=one.kind, name=one.name, code=code, wheels=() if code else (wheel,),
        cached=False, seconds=1.0, memory_bytes=1, memory_limit_bytes=None, said=said,
    )  # fmt: skip
    files = {RESULT: msgspec.json.encode(result), "log.txt": b"log\n"}
    return Files(files if code else {**files, wheel.file: data})


class Told:
    """An engine whose answers are written down: name of a job -> what becomes of its runs, one after the other."""

    title = "ray://told"

    def __init__(self, answers: Mapping[str, Sequence[Files | Lost | None]] | None = None) -> None:
        self.answers = {name: list(found) for name, found in (answers or {}).items()}
        self.begun: list[tuple[str, int, tuple[str, ...]]] = []
        self.before: list[set[str]] = []
        self.dropped: list[int] = []
        self._running: dict[int, tuple[Job, Files | Lost | None]] = {}
        self.alive: Sequence[Node] = NODES
        self.late: list[Node] = []
        self.news_of = ("a", limits.SILENT + 1)

    def nodes(self) -> Sequence[Node]:
        return self.alive

    def expect(self) -> bool:
        if self.late:
            self.alive = (*self.alive, self.late.pop())
            return True
        return False

    def start(self, one: Job, needs: Needs, nodes: Sequence[Node], before: Mapping[str, Files]) -> int:
        self.begun.append((one.name, needs.memory_bytes, tuple(node.key for node in nodes)))
        self.before.append({name for files in before.values() for name in files.files})
        answers = self.answers.get(one.name)
        self._running[len(self.begun)] = (one, answers.pop(0) if answers else _left(one))
        return len(self.begun)

    def ended(self, seconds: float) -> Iterator[tuple[int, Files | Lost]]:
        for number, (_, answer) in tuple(self._running.items()):
            if answer is not None:
                del self._running[number]
                yield number, answer

    def news(self) -> Mapping[int, News]:
        node, silent = self.news_of
        return {number: News(node, "at work", silent, 90.0) for number in self._running}

    def drop(self, number: int) -> None:
        self.dropped.append(number)
        del self._running[number]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(Store(tmp_path / "store"), Console(stream=io.StringIO()), {})


def _said(machine: Machine) -> str:
    stream = machine.console._stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_the_longest_goes_first_and_what_comes_after_gets_what_was_left(
    machine: Machine, tmp_path: Path
) -> None:
    short, long = _job("short", 5), _job("long", 20)
    trial = _job("trial", 30, after=(short.key,))
    engine = Told()
    results = drive.Driver(engine, machine, tmp_path / "out").drive([short, long, trial])
    assert [name for name, _, _ in engine.begun] == [
        "short",
        "long",
        "trial",
    ]  # others wait for the short one
    assert engine.before[2] == {"short.whl", "log.txt", RESULT}
    assert [results[one.key].name for one in (short, long, trial)] == ["short", "long", "trial"]
    assert (tmp_path / "out" / long.key / "long.whl").read_bytes() == b"long"
    again = Told()
    assert drive.Driver(again, machine, tmp_path / "out").drive([short, long, trial]) == results
    assert again.begun == []


def test_a_trial_alone_takes_what_lies_there_of_a_job_that_nobody_asks_for(
    machine: Machine, tmp_path: Path
) -> None:
    build = _job("build")
    trial = _job("trial", after=(build.key,))
    run.put(_left(build).files, tmp_path / build.key)
    engine = Told()
    assert drive.Driver(engine, machine, tmp_path).drive([trial])[trial.key].code == 0
    assert engine.before == [{"build.whl", "log.txt", RESULT}]


def test_a_job_killed_for_memory_gets_more_once_and_no_more_than_a_node_has(
    machine: Machine, tmp_path: Path
) -> None:
    killed = [_left(_job("hungry"), 24, "killed for memory at 1.0 GiB")]
    engine = Told(
        {"hungry": [*killed], "greedy": [_left(_job("greedy", memory_bytes=6 * GIB), 24, "at 6 GiB")] * 2}
    )
    with pytest.raises(OutOfMemoryError, match=r"1 of 2 jobs failed on ray://told") as refused:
        drive.Driver(engine, machine, tmp_path).drive([_job("hungry"), _job("greedy", memory_bytes=6 * GIB)])
    assert refused.value.faults == ("greedy: at 6 GiB",)
    assert [memory // GIB for name, memory, _ in engine.begun if name == "hungry"] == [1, 2]
    assert [memory // GIB for name, memory, _ in engine.begun if name == "greedy"] == [6, 8]
    assert "hungry begins again: killed for memory at 1.0 GiB; it gets 2.0 GiB" in _said(machine)


def test_what_was_lost_begins_again_and_is_named_the_third_time(machine: Machine, tmp_path: Path) -> None:
    gone = Lost("its worker was killed")
    engine = Told({"unlucky": [gone, gone], "cursed": [gone] * 3})
    with pytest.raises(HostError) as refused:
        drive.Driver(engine, machine, tmp_path).drive([_job("unlucky"), _job("cursed")])
    assert refused.value.faults == ("cursed: lost 3 times: its worker was killed",)
    assert len([1 for name, _, _ in engine.begun if name == "unlucky"]) == 3


def test_a_node_that_says_nothing_is_given_up_and_its_jobs_go_to_others(
    machine: Machine, tmp_path: Path
) -> None:
    engine = Told({"stuck": [None]})
    one = _job("stuck")
    assert drive.Driver(engine, machine, tmp_path).drive([one])[one.key].code == 0
    assert engine.dropped == [1]
    assert [nodes for _, _, nodes in engine.begun] == [("a", "b"), ("b",)]
    assert "stuck begins again: ada said nothing for" in _said(machine)


def test_a_node_that_is_gone_is_believed_no_more_though_its_job_speaks(
    machine: Machine, tmp_path: Path
) -> None:
    engine = Told({"stray": [None]})
    engine.news_of = ("gone", 0.0)
    one = _job("stray")
    assert drive.Driver(engine, machine, tmp_path).drive([one])[one.key].code == 0
    assert engine.dropped == [1]
    assert "stray begins again: its node is gone" in _said(machine)


def test_a_job_that_failed_is_named_and_what_comes_after_is_not_begun(
    machine: Machine, tmp_path: Path
) -> None:
    bad = _job("bad")
    engine = Told({"bad": [_left(bad, 15, "error: no such type")]})
    with pytest.raises(CompileError) as refused:
        drive.Driver(engine, machine, tmp_path).drive([bad, _job("good"), _job("trial", after=(bad.key,))])
    assert refused.value.faults == (
        "bad: error: no such type",
        "trial: not begun: the job before it failed (bad: error: no such type)",
    )
    assert sorted(name for name, _, _ in engine.begun) == ["bad", "good"]
    assert (tmp_path / f"{bad.key}.failed" / "log.txt").is_file()


def test_what_no_node_can_run_is_refused_before_anything_begins(machine: Machine, tmp_path: Path) -> None:
    engine = Told()
    jobs = [
        _job("fine"),
        _job("large", memory_bytes=9 * GIB),
        _job("new", gpu="12.0"),
        _job("old", gpu="9.0"),
    ]
    with pytest.raises(HostError, match="no node can run 2 of the jobs") as refused:
        drive.Driver(engine, machine, tmp_path).drive(jobs)
    assert refused.value.faults == (
        "large needs 9.0 GiB of memory",
        "new needs a GPU with compute capability 12.0",
    )
    assert engine.begun == []


def test_cores_are_cut_to_the_largest_node_that_will_do() -> None:
    assert placing.fitted(_job("x", cores=16).needs, NODES).cores == 2
    assert placing.fitted(_job("x", cores=16, memory_bytes=6 * GIB).needs, NODES).cores == 1


def test_the_time_left_is_that_of_all_cores_but_no_less_than_the_longest() -> None:
    loads = [placing.Load(10, 1)] * 4
    assert placing.left(loads, 2) == 20
    assert placing.left([*loads, placing.Load(60, 1)], 4) == 60
    assert placing.left([], 0) == 0


def _pair(name: str, seconds: int, trial: int) -> tuple[Job, Job]:
    """Return a build, and the trial on a GPU that comes after it."""
    build = _job(f"build-{name}", seconds)
    return build, _job(f"trial-{name}", trial, gpu="9.0", after=(build.key,))


def test_what_keeps_the_gpus_at_work_goes_first_the_quickest_before_the_others() -> None:
    pairs = [
        _pair("slow", 300, 10),
        _pair("quick", 30, 50),
        _pair("quicker", 10, 50),
        _pair("slower", 900, 10),
    ]
    names = [one.name for one in placing.order([job for pair in pairs for job in pair], NODES)]
    assert [name for name in names if name.startswith("build")] == [
        "build-quicker",
        "build-quick",
        "build-slower",
        "build-slow",
    ]
    alone = Node("a", "ada", 1, 8 * GIB, "x86_64", {Arch("9.0"): 99})  # with GPUs enough, what takes longest
    names = [one.name for one in placing.order([job for pair in pairs for job in pair], [alone])]
    assert names[0] == "build-slower"


def test_a_trial_on_a_gpu_does_not_wait_until_all_builds_are_done(machine: Machine, tmp_path: Path) -> None:
    class Slow(Told):
        """Does one job after the other, in the order in which they came."""

        most = 0

        def ended(self, seconds: float) -> Iterator[tuple[int, Files | Lost]]:
            self.most = max(self.most, sum(not one.needs.gpu for one, _ in self._running.values()))
            yield next(super().ended(seconds))

        def news(self) -> Mapping[int, News]:
            return {}

    engine = Slow()
    builds = [_job(f"build-{number}", 100) for number in range(9)]
    drive.Driver(engine, machine, tmp_path).drive([*builds, *_pair("quick", 1, 50)])
    names = [name for name, _, _ in engine.begun]
    assert names[0] == "build-quick"
    assert names.index("trial-quick") == 2
    assert engine.most == 6  # twice the cores, once there is no trial any more
    engine = Slow()
    drive.Driver(engine, machine, tmp_path / "two").drive([*builds, _job("trial", 1, gpu="9.0")])
    assert engine.begun[0][0] == "trial"


def test_a_trial_whose_gpu_is_gone_is_named(machine: Machine, tmp_path: Path) -> None:
    class Losing(Told):
        def ended(self, seconds: float) -> Iterator[tuple[int, Files | Lost]]:
            self.alive = NODES[:1]
            return super().ended(seconds)

    build, trial = _pair("one", 1, 5)
    with pytest.raises(HostError) as refused:
        drive.Driver(Losing(), machine, tmp_path).drive([build, trial])
    assert refused.value.faults == ("trial-one: no node is left that has a GPU with compute capability 9.0",)


def test_a_job_that_only_a_late_machine_can_run_waits_for_it(machine: Machine, tmp_path: Path) -> None:
    engine = Told()
    engine.alive, engine.late = NODES[:1], [NODES[1]]
    trial = _job("trial", gpu="9.0")
    assert drive.Driver(engine, machine, tmp_path).drive([trial])[trial.key].code == 0
    assert engine.begun == [("trial", GIB, ("b",))]
    with pytest.raises(HostError, match="no node can run 1 of the jobs"):
        drive.Driver(engine, machine, tmp_path / "two").drive([_job("new", gpu="12.0")])
