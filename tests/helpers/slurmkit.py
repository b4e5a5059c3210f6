"""A whole Slurm on the loopback: munged, slurmctld and two nodes of one machine; no control groups, no database."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIGURATION = """\
ClusterName=retread
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=2
BatchStartTimeout=1
SlurmdTimeout=15
GresTypes=gpu
NodeName=plain NodeHostname={host} NodeAddr=127.0.0.1 Port={plain} CPUs=16 RealMemory=64000 State=UNKNOWN
NodeName=gpu NodeHostname={host} NodeAddr=127.0.0.1 Port={gpu} CPUs=16 RealMemory=64000 Gres=gpu:h100:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODES = ("plain", "gpu")
"""Without a GPU, and with one."""
PATIENCE = 120.0
"""Seconds for what a test waits for; it takes a few."""


class Cluster:
    """One that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        """Start a daemon that stays in the foreground; its log lies in the folder. A node's has its name at the end."""
        program, _, node = name.partition(" ")
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [_found(program), *arguments, *(["-D", "-c", "-N", node] if node else [])],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a daemon."""
        process = self._daemons.pop(name)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What its commands are told: what the test is, and where its configuration lies."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def close(self) -> None:
        """End the jobs, and every daemon that was started."""
        if "slurmctld" in self._daemons and len(self._daemons) == 2 + len(NODES):
            self.run("scancel", "--user", getpass.getuser(), check=False)
            self.wait(
                lambda: not self.run("squeue", "--noheader", check=False).strip(), "the end of all jobs"
            )
        for name in reversed(list(self._daemons)):
            self.stop(name)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command of Slurm's and return what it said."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert not check or not done.returncode, (command, done.stdout, done.stderr)
        return done.stdout

    def states(self) -> dict[str, str]:
        """Return job or element of an array -> its state, of all that Slurm has not forgotten."""
        found = {}
        for line in self.run("scontrol", "--oneliner", "show", "job", check=False).splitlines():
            words = dict(word.partition("=")[::2] for word in line.split())
            if "JobId" in words:
                name = words["JobId"]
                if "ArrayTaskId" in words:
                    name = f"{words['ArrayJobId']}_{words['ArrayTaskId']}"
                found[name] = words["JobState"]
        return found

    def places(self) -> dict[str, str]:
        """Return the name of each job or array -> the nodes on which it ran, of all that Slurm has not forgotten."""
        found: dict[str, set[str]] = {}
        for line in self.run("scontrol", "--oneliner", "show", "job", check=False).splitlines():
            words = dict(word.partition("=")[::2] for word in line.split())
            found.setdefault(words["JobName"], set()).add(words.get("NodeList", ""))
        return {name: ",".join(sorted(nodes - {"", "(null)"})) for name, nodes in found.items()}

    def wait(self, until: Callable[[], object], what: str) -> None:
        """Wait for something; the test fails with Slurm's own words where it does not come."""
        end = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > end:
                logs = {one.name: one.read_text()[-3000:] for one in self.folder.glob("*.log")}
                pytest.fail(f"waited for {what}: {json.dumps([self.states(), logs], indent=1)}")
            time.sleep(0.1)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Yield a cluster on free ports, with its state in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path has 107 bytes at most
    folder.chmod(0o755)
    try:
        for name in ("state", *(f"spool-{one}" for one in NODES)):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        controller, plain, gpu = _ports(3)
        values = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser(), "folder": folder}
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(controller=controller, plain=plain, gpu=gpu, **values)
        )
        (folder / "gres.conf").write_text("NodeName=gpu Name=gpu Type=h100 File=/dev/null\n")
        found = Cluster(folder)
        try:
            files = {name: folder / f"munge.{name}" for name in ("socket", "pid", "seed", "log")}
            places = (f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in files.items())
            found.start("munged", "--foreground", "--force", f"--key-file={key}", *places)
            found.wait((folder / "munge.socket").exists, "munged")
            found.start("slurmctld", "-D", "-c")
            for one in NODES:
                found.start(f"slurmd {one}")
            found.wait(
                lambda: "2   idle" in found.run("sinfo", "--noheader", check=False), "nodes that are idle"
            )
            yield found
        finally:
            found.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _found(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return path or pytest.skip(f"needs {program}")


def _ports(count: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found
