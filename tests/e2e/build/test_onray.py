"""Builds on a real Ray cluster of this machine's, and what is left when parts of it are killed, hang, or run out.

One cluster serves all tests: a head, and nodes of one core each. What is compiled is small; a gate holds it where a
test needs it to be at work. Whoever kills a node puts another in its place.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from raycluster import GIB as _GIB
from raycluster import Cluster
from retread import limits
from retread.doors import extras
from retread.jobs import keeper
from tinycuda import BUILT, PTXAS, Project, Result, names

pytestmark = pytest.mark.slow
_DRIVER = """
from retread import limits
limits.SILENT = {silent}
{more}
from retread.cli.main import main
main()
"""
_SLOW = """
import time
from retread.jobs import onray
class Board(onray.Board):
    def beat(self, number, node, line):
        time.sleep(0.5)
        return super().beat(number, node, line)
onray.Board = Board
"""
"""A driver to which it takes long to say something."""
_TRIAL = '\n[targets.cu128.smoke]\ntorch = "2.9.0"\ngpu = ["12.0"]\n'


@pytest.fixture(scope="module")
def cluster(_server: Any, homeless: Path) -> Iterator[Cluster]:
    made = Cluster({"PIP_INDEX_URL": _server.url, "PIP_CONFIG_FILE": os.devnull, "HOME": str(homeless)})
    yield made
    made.stop()


class Gated(Project):
    """A project whose ptxas waits at a gate, and notes who it is; or takes memory."""

    gate: Path
    seen: Path

    def hold(self) -> None:
        """Let whoever compiles wait."""
        self.gate, self.seen = self.root.parent / "gate", self.root.parent / "seen"
        self.gate.touch()
        self.seen.mkdir()
        self.compile(f"touch {self.seen}/$$; while [ -e {self.gate} ]; do sleep 0.05; done")

    def compile(self, line: str, named: str = "fake-12.8") -> None:
        """Let ptxas do this before its work."""
        script = PTXAS.replace("for out;", f"{line}\nfor out;")
        promised = "10.0" in self.recipe_text
        self.add_toolchain(*(() if promised else ("8.0", "9.0a", "10.0")), script=script, named=named)

    def add_recipe(self, toolchain: str = "fake-12.8") -> None:
        """Write a second recipe, of the next revision."""
        text = self.recipe_text.replace('"tiny-1.0"', '"other-1.0"').replace("revision = 1", "revision = 2")
        text = text.replace('"fake-12.8"', f'"{toolchain}"')
        (self.root / "recipes" / "other-1.0.toml").write_text(text)

    def compilers(self, process: subprocess.Popen[str], count: int = 1) -> list[int]:
        """Wait until so many wait at the gate, and return who they are."""
        end = time.monotonic() + 120
        while len(found := [int(one) for one in names(self.seen)]) < count:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "nothing compiles"
            time.sleep(0.02)
        return found

    def open(self) -> None:
        """Let them go on."""
        self.gate.unlink()

    def on(
        self,
        cluster: Cluster,
        *words: str,
        silent: float = limits.SILENT,
        token: str = Cluster.token,
        more: str = "",
    ) -> subprocess.Popen[str]:
        """Begin to build on the cluster."""
        code = _DRIVER.format(silent=silent, more=more)
        return subprocess.Popen(
            [sys.executable, "-c", code, *(words or ("build", "--all")), "--on", cluster.address],
            cwd=self.root, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "RAY_AUTH_TOKEN": token}, start_new_session=True,
        )  # fmt: skip

    def wait(self, process: subprocess.Popen[str]) -> Result:
        """Return what became of it."""
        try:
            out, err = process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"it did not end: {process.communicate()}")
        return Result(process.returncode, out, err)


@pytest.fixture
def gated(tmp_path: Path, upstream: Any, index: Any, capsys: Any, _once: None) -> Gated:
    return Gated(tmp_path, upstream, index, capsys.readouterr)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _above(pid: int, name: str) -> int:
    """Return the process above one whose command line begins with a name."""
    while not Path(f"/proc/{pid}/cmdline").read_text().startswith(name):
        pid = _parent(pid)
    return pid


def _gone(pids: list[int]) -> bool:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _sound(project: Gated, result: Result) -> None:
    """Hold what came back to what a build gives."""
    assert result.code == 0, result
    assert result.out == f"dist/{BUILT}\n"
    assert BUILT in names(project.root / "dist")
    checked = project.run("audit", f"dist/{BUILT}")
    assert checked.code == 0, checked


def test_wheels_of_two_nodes_are_those_of_one_machine(gated: Gated, cluster: Cluster) -> None:
    cluster.need(2)
    gated.add_toolchain("8.0", "9.0a", "10.0")
    gated.add_recipe()
    second = BUILT.replace("cu128.1", "cu128.2")
    result = gated.wait(gated.on(cluster))
    assert result.code == 0, result
    assert sorted(result.out.splitlines()) == [f"dist/{BUILT}", f"dist/{second}"]
    assert "2 jobs on 2 nodes" in result.err
    for name in (BUILT, second):
        wheel = gated.root / "dist" / name
        assert wheel.stat().st_mode & 0o777 == 0o444
        assert f"built: {name}\n" in result.err
        assert f"  sha256 {hashlib.sha256(wheel.read_bytes()).hexdigest()}\n" in result.err
    assert {f"{one}.audit.json" for one in (BUILT, second)} < set(names(gated.root / "dist"))
    there = (gated.root / "dist" / BUILT).read_bytes()
    assert gated.run("build", "tiny-1.0", "--target", "cu128", "--out", "here").code == 0
    assert (gated.root / "here" / BUILT).read_bytes() == there
    again = gated.wait(gated.on(cluster))
    assert (again.code, again.out) == (0, result.out)
    assert "nodes" not in again.err  # what is done is done


def test_a_node_has_no_more_jobs_at_once_than_cores(gated: Gated, cluster: Cluster) -> None:
    cluster.need(1)
    one, two = gated.root.parent / "one", gated.root.parent / "two"
    line = f"mkdir {one} || touch {two}; sleep 2; rmdir {one}"
    gated.compile(line)
    gated.compile(f"true; {line}", named="other-12.8")  # which compiles the same anew
    gated.add_recipe("other-12.8")
    result = gated.wait(gated.on(cluster, more=_SLOW))
    assert result.code == 0, result
    assert "2 jobs on 1 node" in result.err
    assert not two.exists()


@pytest.mark.parametrize("who", ["worker", "node"])
def test_a_job_whose_worker_or_node_is_killed_is_done_again(gated: Gated, cluster: Cluster, who: str) -> None:
    cluster.need(2)
    gated.hold()
    process = gated.on(cluster)
    (first,) = gated.compilers(process)
    worker = _above(first, "ray::")
    family = keeper.descendants(worker)
    raylet = _parent(worker)
    os.kill(worker if who == "worker" else raylet, signal.SIGKILL)
    assert _gone([worker, *family])
    gated.compilers(process, 2)
    gated.open()
    result = gated.wait(process)
    _sound(gated, result)
    assert f"begins again: its {who} " in result.err


@pytest.mark.parametrize("who", ["worker", "node"])
def test_a_node_that_hangs_is_given_up_and_its_job_done_elsewhere(
    gated: Gated, cluster: Cluster, who: str
) -> None:
    """Ray sees that a node hangs, sooner or later than its jobs say nothing; that alone tells of a worker that does."""
    cluster.need(2)
    gated.hold()
    process = gated.on(cluster, silent=15.0)
    (first,) = gated.compilers(process)
    worker = _above(first, "ray::")
    hung = worker if who == "worker" else _parent(worker)
    os.kill(hung, signal.SIGSTOP)
    try:
        gated.compilers(process, 2)
        gated.open()
        result = gated.wait(process)
    finally:
        with suppress(ProcessLookupError):  # killed as it hung
            os.kill(hung, signal.SIGCONT)
    _sound(gated, result)
    assert re.search(r"begins again: (its node is gone|.* said nothing for \d+ s)", result.err)
    assert _gone([worker])


def test_a_job_killed_for_memory_gets_more_once_and_is_named_then(gated: Gated, cluster: Cluster) -> None:
    cluster.need(1)
    gated.compile(f"{sys.executable} -c 'bytearray({_GIB + (_GIB >> 2)})'")
    result = gated.wait(gated.on(cluster))
    _sound(gated, result)
    assert "begins again: killed for memory at 1 GiB; it gets 2.0 GiB" in result.err
    gated.edit_recipe("revision = 1", "revision = 2")
    gated.compile(f"{sys.executable} -c 'bytearray({3 * _GIB})'")
    result = gated.wait(gated.on(cluster))
    assert result.code == 24
    assert "retread: memory: 1 of 1 job failed" in result.err
    assert "build-tiny-1.0-cu128-py3.9: killed for memory at 2.5 GiB" in result.err


def test_an_interrupt_ends_all_jobs(gated: Gated, cluster: Cluster) -> None:
    cluster.need(1)
    gated.hold()
    process = gated.on(cluster)
    (first,) = gated.compilers(process)
    worker = _above(first, "ray::")
    family = keeper.descendants(worker)
    process.send_signal(signal.SIGINT)
    result = gated.wait(process)
    assert result.code == 130
    assert "retread: interrupted" in result.err
    assert _gone([worker, *family])
    assert not (gated.root / "dist" / BUILT).exists()


def test_two_who_do_the_same_jobs_at_once_do_no_harm(gated: Gated, cluster: Cluster) -> None:
    cluster.need(2)
    gated.hold()
    both = [gated.on(cluster), gated.on(cluster)]
    gated.compilers(both[0])
    gated.open()
    for process in both:
        _sound(gated, gated.wait(process))
    assert len(names(gated.root / "dist" / "jobs")) == 1


def test_what_no_node_has_is_refused_at_once(gated: Gated, cluster: Cluster) -> None:
    cluster.need(1)
    assert gated.build().code == 0
    gated.write_recipe(gated.recipe_text + _TRIAL)
    result = gated.wait(gated.on(cluster, "smoke", f"dist/{BUILT}", "--level", "gpu"))
    assert result.code == 18
    assert "smoke-tiny-1.0-cu128-py3.9-cc12.0 needs a GPU with compute capability 12.0" in result.err
    assert names(gated.root / "dist") == [BUILT, f"{BUILT}.audit.json"]


def test_a_node_on_which_no_worker_starts_is_left_out_with_the_reason(gated: Gated, cluster: Cluster) -> None:
    cluster.break_one()
    result = gated.wait(gated.on(cluster, more="limits.START, limits.PROBE = 2.0, 5.0"))
    assert result.code == 18
    assert re.search(r"note: \S+ \(\w{8}\) says nothing yet: no worker of Ray's comes up there; ", result.err)
    assert re.search(
        r"  - .*: it did not start in 5 s: no worker .*/raylet.err ends with: ModuleNotF", result.err
    )


def test_a_cluster_that_wants_another_token_says_so(gated: Gated, cluster: Cluster) -> None:
    """At once: Ray would ask again for as long as is said here."""
    patient = "import os; os.environ['RAY_gcs_server_port_wait_time_s'] = '600'"
    result = gated.wait(gated.on(cluster, token="of another cluster", more=patient))
    assert result.code == 18
    assert "the cluster asks for a token, and this machine has none or another" in result.err
    assert "RAY_AUTH_TOKEN_PATH=FILE" in result.err


@pytest.mark.parametrize(
    ("port", "said"), [(9, "nobody is at 127.0.0.1:9: "), (0, "does not answer as Ray does")]
)
def test_who_is_no_cluster_is_named(gated: Gated, port: int, said: str) -> None:
    """Port 0 is that of a server of pages: Ray itself would wait for it for ever."""
    address = f"127.0.0.1:{port or urlsplit(gated.index.url).port}"
    result = gated.finish(gated.start("build", "--all", "--on", f"ray://{address}"))
    assert result.code == 18
    assert said in result.err
    assert "next: check the address; a head is started with: ray start --head" in result.err
    assert not (gated.root / "dist").exists()


def test_ray_that_is_not_installed_and_a_token_that_is_not_there_are_named(gated: Gated) -> None:
    where = ("build", "--all", "--on", "ray://127.0.0.1:9")
    result = gated.finish(gated.start(*where, RAY_AUTH_TOKEN_PATH="/nowhere"))
    assert result.code == 2
    assert "RAY_AUTH_TOKEN_PATH: /nowhere is no file that can be read" in result.err
    code = "import sys; sys.modules['ray'] = None; from retread.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "build", "--all", "--on", "ray"],
        cwd=gated.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 14
    assert f"next: {extras.installs('ray')}\n" in done.stderr


def test_when_the_head_is_killed_nothing_goes_on_and_the_next_run_does(
    gated: Gated, cluster: Cluster
) -> None:
    """The last test here: the cluster is gone with its head."""
    cluster.need(1)
    gated.hold()
    process = gated.on(cluster)
    (first,) = gated.compilers(process)
    worker = _above(first, "ray::")
    family = keeper.descendants(worker)
    cluster.kill_head()
    result = gated.wait(process)
    assert result.code == 18, result
    assert "the cluster is gone" in result.err
    assert _gone([worker, *family])
    gated.open()
    before = _running()
    process = gated.start("build", "--all", "--on", "ray")  # nobody has a home: it wants none
    while not _running(b"raylet/raylet") - before:
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    result = gated.wait(process)
    assert result.code == 130, result
    assert result.err.endswith("the same command goes on from there\n")
    assert _running() <= before  # what of the cluster had come up by then is gone
    result = gated.wait(gated.start("build", "--all", "--on", "ray"))
    _sound(gated, result)
    assert _running() <= before  # the cluster that it started is gone, too


def _running(word: bytes = b"/ray/") -> set[int]:
    """Return all processes of Ray's, or those whose programs have such names, and its workers."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            with_name = path.read_bytes()
        except (
            FileNotFoundError,
            ProcessLookupError,
        ):  # it ended meanwhile, before the file was opened or after
            continue
        if word in with_name or with_name.startswith(b"ray::"):
            found.add(int(path.parent.name))
    return found
