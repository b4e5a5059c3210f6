"""A Ray cluster of this machine's, in a process of its own: what Ray leaves open and warns of is no test's matter.

As a program it does what each line of its standard input says, and answers with a line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GIB = 1 << 30
MEMORY = 5 * GIB // 2
"""Of a node."""
_HEALTH = {
    "health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 2,
}  # fmt: skip
"""Ray gives a node that hangs up after 15 to 60 s; here after 3."""
_BREAK = """
import os, sys
if any("default_worker" in word for word in sys.orig_argv):
    os.write(2, b"ModuleNotFoundError: No module named 'msgspec'\\n")
    os._exit(1)
"""
"""What a Python runs first in which no worker of Ray's comes up."""


class Cluster:
    """A head on which nothing runs, and nodes of one core each, with a store each; it asks for a token."""

    token = "5f1d6d0a3c3b4e0f9f2f8a1b7c6d5e4f"

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # the path of a socket is short
        (self._folder / "ray").mkdir()  # where Ray notes the cluster's address, and makes no folder for it
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._folder)],
            env={
                **os.environ, **variables, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
                "RAY_TMPDIR": str(self._folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.address = f"ray://{self._told()}"

    def need(self, nodes: int) -> None:
        """Let there be so many nodes that are alive."""
        self._say(f"need {nodes}")

    def break_one(self) -> None:
        """Let there be no node but one on which no worker starts, until nodes are needed again."""
        self._say("need 0")
        self._say("break one")

    def kill_head(self) -> None:
        """Kill what all nodes ask."""
        self._say("kill head")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._told()

    def _told(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """End it, and all that is left of it."""
        self._process.communicate(timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Program:
    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster as OfRay

        self._folder = folder
        self._cluster: Any = OfRay(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "include_dashboard": False, "temp_dir": folder, "object_store_memory": 80 << 20,
                "_system_config": _HEALTH,
            },
        )  # fmt: skip
        self._nodes: list[Any] = []
        self._broken: list[Any] = []
        self.address = self._cluster.address

    def do(self, line: str) -> None:
        if line == "kill head":
            self._cluster.head_node.kill_gcs_server(check_alive=False)
        elif line == "break one":
            Path(self._folder, "sitecustomize.py").write_text(_BREAK)
            self._broken.append(self._added({"PYTHONPATH": self._folder}))
        else:
            self._need(int(line.removeprefix("need ")))

    def _added(self, variables: Mapping[str, str]) -> Any:
        store = tempfile.mkdtemp(prefix="store-", dir=self._folder)
        return self._cluster.add_node(
            num_cpus=1,
            memory=MEMORY,
            object_store_memory=80 << 20,
            env_vars={"RETREAD_STORE": store, **variables},
        )

    def _need(self, count: int) -> None:
        while self._broken:
            self._cluster.remove_node(self._broken.pop(), allow_graceful=False)
        for node in self._nodes[:]:
            if node.all_processes["raylet"][0].process.poll() is not None or len(self._nodes) > count:
                self._nodes.remove(node)
                self._cluster.remove_node(node, allow_graceful=False)
        while len(self._nodes) < count:
            self._nodes.append(self._added({}))

    def end(self) -> None:
        self._cluster.shutdown()


def _main() -> None:
    program = _Program(sys.argv[1])
    sys.stdout.write(f"{json.dumps(program.address)}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        program.do(line.strip())
        sys.stdout.write("null\n")
        sys.stdout.flush()
    program.end()


if __name__ == "__main__":
    _main()
