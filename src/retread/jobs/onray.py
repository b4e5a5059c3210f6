"""Jobs on a Ray cluster: what Ray is asked for, and what is not left to it.

Ray finds a machine for each job, and says when one is gone. Its resources limit nothing, so ``confine`` holds each job
to them. Runs are not repeated by Ray, which cannot tell why one ended, but by ``drive``. Everything that is Ray's is
imported where it is used: it takes a second.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from retread import limits, variables
from retread.doors import proc
from retread.doors.console import Console
from retread.doors.machine import Machine, code_digest
from retread.doors.store import Kind, Store, default_root, digest
from retread.errors import HostError, ToolError, first
from retread.jobs import cluster, confine, member, run
from retread.jobs.cluster import Address
from retread.jobs.drive import Files, Lost, News
from retread.jobs.job import Job, Needs
from retread.jobs.placing import Node
from retread.recipe import files
from retread.recipe.model import Recipe
from retread.shared import parcel
from retread.version import __version__

_NODE: Final = "ray.io/node-id"
"""The label that Ray itself gives every node."""
_NEWS: Final = 1.0
"""Seconds between two questions what the jobs said."""
_LOOK: Final = 2.0
"""Seconds between two questions which nodes there are."""
_HANDED: Final = (variables.SHARED, variables.SANDBOX)
"""Variables that nodes have from whoever started the jobs, unless they have their own."""


class Order(NamedTuple):
    """What a node is told beside the job: what the job is given, what came before it, who started it."""

    number: int
    needs: Needs
    before: Mapping[str, Mapping[str, bytes]]
    variables: Mapping[str, str]
    workspace: str
    """SHA-256 of the parcel."""


def work(job: Job, order: Order, workspace: bytes, board: Any) -> tuple[dict[str, bytes], str]:
    """Run a job on a node and return all that it left, and the node; it ends when nobody hears of it any more."""
    import ray

    node, number, raylet = ray.get_runtime_context().get_node_id(), order.number, os.getppid()

    def beat(line: str) -> None:
        # ray.get() would give the job's cores to others meanwhile.
        answer = board.beat.remote(number, node, line).future()
        if not answer.result(timeout=limits.SILENT) or os.getppid() != raylet:
            raise SystemExit("nobody waits for this job any more")

    beat("")
    environment = {**order.variables, **os.environ}
    store = Store(default_root(environment))
    root = _unpacked(store, workspace, order.workspace)
    if (root / variables.SHARED_POLICY).is_file():
        environment.setdefault(variables.SHARED_POLICY, str(root / variables.SHARED_POLICY))
    machine = Machine(store, Console(stream=io.StringIO()), environment)
    job = msgspec.structs.replace(job, needs=order.needs)
    with store.scratch() as out:
        for key, left in order.before.items():
            run.put(left, out / key)
        run.run_job(job, out, run.Place(root, machine, confine.launcher(beat, out)))
        return run.files_of(job.key, out), node


def _unpacked(store: Store, data: bytes, sha256: str) -> Path:
    """Return the workspace that a parcel holds, from the store where it was unpacked before."""

    def build(into: Path) -> None:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ToolError("the workspace did not come whole")
        with store.scratch() as scratch:
            (scratch / "parcel").write_bytes(data)
            parcel.unpack(scratch / "parcel", into)

    return store.make(Kind.TREES, digest("workspace", sha256), build)


class Board:
    """Where runs say how far they are; an actor of Ray's on the machine that asks, which ends with it."""

    def __init__(self) -> None:
        self._said: dict[int, tuple[str, str, float, float]] = {}
        self._over: set[int] = set()

    def beat(self, number: int, node: str, line: str) -> bool:
        """Note what a run says, and return whether it is to go on."""
        if number in self._over:
            return False
        now = time.monotonic()
        began = self._said[number][3] if number in self._said else now
        self._said[number] = (node, line, now, began)
        return True

    def news(self) -> dict[int, News]:
        """Return what each run said last."""
        now = time.monotonic()
        return {
            number: News(node, line, now - last, now - began)
            for number, (node, line, last, began) in self._said.items()
        }

    def end(self, number: int) -> None:
        """Forget a run, which ends when it says something again."""
        self._over.add(number)
        self._said.pop(number, None)


class _Met(NamedTuple):
    """A node that was asked which retread it has."""

    facts: Mapping[str, Any]
    """What Ray knows of it."""
    answer: Any
    since: float


class OnRay:
    """An engine of ``drive``."""

    def __init__(
        self, where: Address, workspace: bytes, machine: Machine, work: Callable[..., Any] = work
    ) -> None:
        import ray

        self.title = where.title
        self._ray = ray
        self._machine = machine
        self._head = str(ray.get_runtime_context().gcs_address)
        self._asking = ThreadPoolExecutor(1)
        self._task = ray.remote(max_retries=0)(work)
        self._sha256 = hashlib.sha256(workspace).hexdigest()
        self._workspace = ray.put(workspace)
        self._variables = {name: machine.environment[name] for name in _HANDED if name in machine.environment}
        self._board = ray.remote(num_cpus=0, max_concurrency=1)(Board).options(**_on(_here(ray))).remote()
        self._numbers: dict[Any, int] = {}
        self._count = 0
        self._nodes: dict[str, Node] = {}
        self._unfit: dict[str, str] = {}
        self._met: dict[str, _Met] = {}
        """Nodes that were asked and have not answered."""
        self._told: set[str] = set()
        """Of these the ones whose silence was told."""
        self._looked = self._heard = -limits.HEAD
        self._news: dict[int, News] = {}

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that have the same retread and are alive; HostError when the cluster does not answer."""
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            alive = {one["NodeID"]: one for one in self._asked(self._ray.nodes) if one["Alive"]}
            self._meet(
                [one for key, one in alive.items() if key not in {*self._nodes, *self._unfit, *self._met}]
            )
            self._nodes = {key: one for key, one in self._nodes.items() if key in alive}
            self._met = {key: one for key, one in self._met.items() if key in alive}
        self._hear()
        if not self._nodes and not self._met:
            raise HostError(
                f"{self.title}: no node can run jobs",
                faults=first(list(self._unfit.values())) or ["none with a CPU is alive"],
                hint=f"a node needs this retread, {__version__}, with its extra 'ray' in the Python of Ray, and a core",
            )
        return tuple(self._nodes.values())

    def expect(self) -> bool:
        """Wait a moment for a node that did not say yet whether it can run jobs; False where there is none."""
        if self._met:
            self._ray.wait([one.answer for one in self._met.values()], num_returns=1, timeout=_NEWS)
        return bool(self._met)

    def _asked(self, question: Callable[[], Any]) -> Any:
        """Return an answer of the cluster's head; HostError when there is none in time, or nobody at its address."""
        answer, end = self._asking.submit(question), time.monotonic() + limits.HEAD
        while True:
            try:
                return answer.result(_NEWS)
            except Late:
                why = cluster.absence(self._head)
                if not why and time.monotonic() > end:
                    why = f"its head said nothing for {limits.HEAD:.0f} s"
            except self._ray.exceptions.RayError as error:
                why = cluster.first_line(error)
            if why:
                if not answer.done():
                    proc.give_up()  # who asked waits for a minute, and Ray ends the process then
                raise HostError(
                    f"{self.title}: the cluster is gone ({why})",
                    hint="what is done is kept; start the cluster, and the same command goes on from there",
                )

    def _meet(self, strangers: Sequence[Mapping[str, Any]]) -> None:
        """Ask nodes which retread they have."""
        probe = self._ray.remote(num_cpus=0, max_retries=0)(member.probe())
        for one in strangers:
            if one["Resources"].get("CPU"):
                asked = probe.options(**_on(one["NodeID"])).remote()
                self._met[one["NodeID"]] = _Met(one, asked, time.monotonic())

    def _hear(self) -> None:
        """Take what nodes said; one with another retread is left out, and named.

        So is one that says nothing. What may keep it from that is told long before it is given up.
        """
        for key, met in tuple(self._met.items()):
            waited = time.monotonic() - met.since
            if self._ray.wait([met.answer], timeout=0)[0]:
                del self._met[key]
                self._judge(met.facts, self._said(met))
            elif waited > limits.PROBE:
                del self._met[key]
                self._ray.cancel(met.answer, force=True)
                self._judge(
                    met.facts, member.Said(f"it did not start in {waited:.0f} s: {member.silence(met.facts)}")
                )
            elif waited > limits.START and key not in self._told:
                self._told.add(key)
                told = f"{member.title(met.facts)} says nothing yet: {member.silence(met.facts)}"
                self._machine.console.say(f"note: {told}")

    def _said(self, met: _Met) -> member.Said:
        try:
            return member.Said(*self._ray.get(met.answer, timeout=limits.HEAD))
        except self._ray.exceptions.RayError as error:
            return member.Said(f"it does not say which retread it has ({cluster.first_line(error)})")

    def _judge(self, facts: Mapping[str, Any], said: member.Said) -> None:
        """Take a node, or leave it out and say why."""
        key = facts["NodeID"]
        if (said.version, said.code) == (__version__, code_digest()):
            self._nodes[key] = member.node(facts, said)
            if note := member.unknown(facts, self._nodes[key]):
                self._machine.console.say(f"note: {note}")
        else:
            self._unfit[key] = f"{member.title(facts)}: {member.difference(said)}"
            self._machine.console.say(f"note: left out: {self._unfit[key]}")

    def start(self, job: Job, needs: Needs, nodes: Sequence[Node], before: Mapping[str, Files]) -> int:
        """Give a job to Ray, which finds it a place on one of the nodes."""
        self._count += 1
        order = Order(
            self._count, needs, {key: one.files for key, one in before.items()}, self._variables, self._sha256
        )
        task = self._task.options(
            num_cpus=needs.cores,
            memory=needs.memory_bytes,
            label_selector={_NODE: f"in({','.join(one.key for one in nodes)})"},
            num_gpus=int(needs.gpu is not None),
        )
        self._numbers[task.remote(job, order, self._workspace, self._board)] = self._count
        return self._count

    def ended(self, seconds: float) -> Iterator[tuple[int, Files | Lost]]:
        """Yield what became of runs that ended."""
        if not self._numbers:
            return
        ready, _ = self._ray.wait(list(self._numbers), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(self._numbers), num_returns=len(self._numbers), timeout=0)
        for one in ready:
            number = self._numbers.pop(one)
            self._board.end.remote(number)
            yield number, self._outcome(one)

    def _outcome(self, one: Any) -> Files | Lost:
        errors = self._ray.exceptions
        try:
            return Files(*self._ray.get(one, timeout=limits.SILENT))
        except errors.OutOfMemoryError as error:
            return Lost(
                f"killed for memory, since its node had none left ({cluster.first_line(error)})", memory=True
            )
        except (errors.NodeDiedError, errors.LocalRayletDiedError):
            return Lost("its node is gone")
        except errors.WorkerCrashedError:
            return Lost("its worker was killed")
        except errors.RayError as error:
            return Lost(cluster.first_line(error))

    def news(self) -> Mapping[int, News]:
        """Return what the runs said last, as of a second ago."""
        now = time.monotonic()
        if now - self._heard >= _NEWS:
            self._heard = now
            self._news = self._asked(lambda: self._ray.get(self._board.news.remote()))
        live = set(self._numbers.values())
        return {number: said for number, said in self._news.items() if number in live}

    def drop(self, number: int) -> None:
        """Forget a run; its worker is killed, if it still hears."""
        one = next(one for one, other in self._numbers.items() if other == number)
        del self._numbers[one]
        self._board.end.remote(number)
        self._ray.cancel(one, force=True)

    def close(self) -> None:
        """End all that still runs."""
        for one in self._numbers:
            with suppress(Exception):
                self._ray.cancel(one, force=True)
        self._asking.shutdown(wait=False, cancel_futures=True)


def _on(node: str) -> dict[str, Any]:
    """Return the options of a task that this node has to run."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _here(ray: Any) -> str:
    return str(ray.get_runtime_context().get_node_id())


@contextmanager
def engine(where: Address, root: Path, recipes: Iterable[Recipe], machine: Machine) -> Iterator[OnRay]:
    """Yield a cluster that runs jobs of a workspace's recipes; when the block is left, nothing of them runs any more.

    ToolError without Ray, HostError when there is no cluster, or none of its nodes has the same retread.
    """
    with cluster.joined(where, machine):
        made = OnRay(where, packed(root, recipes, machine), machine)
        try:
            yield made
        finally:
            made.close()


def packed(root: Path, recipes: Iterable[Recipe], machine: Machine) -> bytes:
    """Return what nodes need of a workspace, as one parcel: recipes, patches, policy, and the recipes' suites."""
    suites = {Path(suite).parent for one in recipes for suite in one.smoke.suites}
    with machine.store.scratch() as scratch:
        folder = scratch / "workspace"
        folder.mkdir()
        for one in sorted({Path(files.RECIPES), Path(files.PATCHES), *suites}):
            if (root / one).is_dir():
                shutil.copytree(root / one, folder / one, symlinks=True, dirs_exist_ok=True)
        if (root / files.POLICY).is_file():
            shutil.copy2(root / files.POLICY, folder)
        if named := machine.environment.get(variables.SHARED_POLICY):  # whose path says nothing to others
            shutil.copyfile(named, folder / variables.SHARED_POLICY)
        parcel.pack(folder, scratch / "parcel")
        return (scratch / "parcel").read_bytes()
