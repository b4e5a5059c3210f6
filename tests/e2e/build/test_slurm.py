"""Jobs through a real Slurm: its controller, its node and munge, on the loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import faketorch
import slurmkit
from retread.environment import host
from retread.jobs import job
from retread.jobs.job import Job
from slurmkit import Cluster
from tinycuda import BUILT, SDIST, Project, Result, names

TRIAL = '\n[targets.cu128.smoke]\ntorch = "2.9.1"\ntriton = ["3.5.1"]\ngpu = ["9.0"]\n'
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurmkit.cluster() as found:
        yield found


class Submitted:
    """A project whose jobs are scripts."""

    def __init__(self, project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = project
        self.cluster = cluster
        self.folder, self.out = project.root / "the scripts", project.root / "out"
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path.endswith("src")))
        project.write_recipe(project.recipe_text + TRIAL)
        project.index.files["torch"] = dict([faketorch.wheel(faketorch.files())])
        project.index.files["triton"] = dict([faketorch.wheel(faketorch.triton("3.5.1"))])

    def write(self, *options: str) -> list[Job]:
        """Write the scripts, and return the jobs."""
        where = ("--slurm", str(self.folder), "--results", str(self.out))
        written = self.project.run("jobs", *where, *options)
        assert (written.code, written.out) == (0, f"{self.folder}/submit.sh\n"), written
        return list(job.parse((self.folder / "jobs.json").read_bytes(), name="jobs.json"))

    def submit(self) -> list[str]:
        """Submit them all, and return the numbers of the arrays, the last that of the report."""
        self.cluster.run(str(self.folder / "submit.sh"))
        return (self.folder / "ids").read_text().split()

    def end(self, number: str) -> str:
        """Wait until a job, or every element of an array, has ended; return its state, or that of the first."""

        def states() -> list[str]:
            found = self.cluster.states()
            return [state for name, state in found.items() if name.split("_")[0] == number]

        self.cluster.wait(lambda: (found := states()) and ENDED.issuperset(found), f"the end of {number}")
        return states()[0]

    def results(self, *options: str) -> Result:
        """Say what became of the jobs."""
        where = ("--jobs", str(self.folder / "jobs.json"), "--results", str(self.out))
        return self.project.run("jobs", *where, *options)

    def log(self, name: str) -> str:
        """Return what an array, or the report, wrote."""
        return "".join(
            path.read_text() for path in sorted((self.folder / "logs").glob(f"retread-{name}-*.log"))
        )


@pytest.fixture
def submitted(project: Project, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Submitted:
    return Submitted(project, cluster, monkeypatch)


def test_builds_and_trials_run_in_order_and_what_failed_is_named(submitted: Submitted) -> None:
    if host.has_gpu():
        pytest.skip("needs a machine without a GPU")
    build, trial, gpu = submitted.write("--gres", "9.0=gpu:h100")
    ids = submitted.submit()
    assert submitted.end(ids[-1]) == "FAILED"
    on = {name: node for name, node in submitted.cluster.places().items() if "cc9.0" in name}
    assert set(on.values()) - {""} == {"gpu"}  # its second try did not begin
    assert sorted(names(submitted.out)) == sorted([build.key, trial.key, f"{gpu.key}.failed"])
    assert BUILT in names(submitted.out / build.key)
    assert f"{BUILT}.smoke-static.json" in names(submitted.out / trial.key)
    said = submitted.log("report")
    assert "1 of 3 jobs are not done" in said
    assert "smoke-tiny-1.0-cu128-py3.9-cc9.0: failed with exit code 18" in said
    assert submitted.results("--collect", "dist").code == 6
    assert names(submitted.project.root / "dist") == [
        BUILT,
        f"{BUILT}.audit.json",
        f"{BUILT}.smoke-static.json",
    ]


def kill_nodes(cluster: Cluster, _: str) -> None:
    """Kill the nodes' daemons and what holds their jobs, as machines die; they are told to be down, and come back."""
    every = f"NodeName={','.join(slurmkit.NODES)}"
    for node in slurmkit.NODES:
        cluster.stop(f"slurmd {node}", signal.SIGKILL)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mine = str(cluster.folder).encode() in (process / "environ").read_bytes()
            if mine and b"slurmstepd" in (process / "comm").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    cluster.run("scontrol", "update", every, "State=DOWN", "Reason=dead")
    for node in slurmkit.NODES:
        cluster.start(f"slurmd {node}")
        # One that is back already cannot be resumed.
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)


WAYS: dict[str, Callable[[Cluster, str], object]] = {
    "cancelled": lambda cluster, array: cluster.run("scancel", f"{array}_0"),
    "requeued": lambda cluster, array: cluster.run("scontrol", "requeue", f"{array}_0"),
    "the nodes are killed": kill_nodes,
}


@pytest.mark.parametrize("stop", WAYS.values(), ids=list(WAYS))
def test_a_job_that_is_stopped_in_the_middle_is_run_again_and_leaves_one_result(
    submitted: Submitted, stop: Callable[[Cluster, str], object]
) -> None:
    index, cluster = submitted.project.index, submitted.cluster
    submitted.project.edit_recipe(TRIAL, "")
    index.stall[SDIST] = 100
    build, _ = submitted.write()
    script = str(submitted.folder / "build-1.sh")
    array = cluster.run("sbatch", "--parsable", f"--output={submitted.out}-%x-%A_%a.log", script).strip()
    cluster.wait(index.stalled.is_set, "the build's download")
    stop(cluster, array)
    assert not (submitted.out / build.key).exists()
    index.stall.clear()
    index.released.set()
    again = ("--parsable", f"--output={submitted.out}-%x-%A_%a.log", f"--dependency=afterany:{array}")
    submitted.end(cluster.run("sbatch", *again, script, "--retry").strip())
    assert [one for one in names(submitted.out) if not one.startswith(".new-")] == [build.key]
    assert BUILT in names(submitted.out / build.key)
