"""What is asked of a Ray cluster, as far as no cluster is needed to see it."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from retread.arch import Arch
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import ToolError, UsageError
from retread.jobs import cluster, member, onray
from retread.recipe import workspace
from retread.variables import SHARED_POLICY
from tinycuda import Project


def test_what_on_may_name() -> None:
    assert cluster.address("ray").text == ""
    assert cluster.address("ray://head.example:6379").text == "head.example:6379"
    assert cluster.address("ray://head.example").text == "head.example:6379"
    for text in (
        "ray://head.example:0",
        "ray://head:99999",
        "ray://head:abc",
        "ray://:6379",
        "ray://h:6379/x",
    ):
        with pytest.raises(UsageError, match="that is no address"):
            cluster.address(text)
    for text in ("slurm", "ray://", "rays", "head.example:6379"):
        with pytest.raises(UsageError, match="only Ray is known"):
            cluster.address(text)


def test_nodes_get_the_workspace_as_it_is_and_no_other(project: Project, tmp_path: Path) -> None:
    suite = project.root / "suites" / "own.py"
    suite.parent.mkdir()
    suite.write_text("CASES = ()\n")
    (project.root / "secret.key").write_text("of nobody's business")
    project.write_recipe(project.recipe_text + '\n[smoke]\nsuites = ["suites/own.py"]\n')
    machine = Machine(Store(tmp_path / "store"), Console(stream=io.StringIO()), {})
    recipe = workspace.read_recipe(project.root, "tiny-1.0")
    data = onray.packed(project.root, [recipe], machine)
    root = onray._unpacked(machine.store, data, hashlib.sha256(data).hexdigest())
    assert sorted(one.name for one in root.iterdir()) == ["patches", "recipes", "stamp.json", "suites"]
    assert workspace.load(root, "tiny-1.0")._replace(root=project.root) == workspace.load(
        project.root, "tiny-1.0"
    )
    with pytest.raises(ToolError, match="did not come whole"):
        onray._unpacked(Store(tmp_path / "other"), data[:-1], hashlib.sha256(data).hexdigest())


def test_who_is_left_out_is_told_why() -> None:
    assert member.difference(member.Said("0.0.1")).startswith("it has retread 0.0.1, and this is ")
    assert "has other code" in member.difference(member.Said(onray.__version__))
    said = member.Said(*member.probe()())
    assert (said.version, said.code) == (onray.__version__, onray.code_digest())


@pytest.mark.parametrize(
    ("found", "resources", "gpus"),
    [
        (("9.0",), {"GPU": 8}, {"9.0": 8}),
        (("9.0",), {"GPU": 8, "cc8.0": 8}, {"9.0": 8}),  # what it has counts more than what was typed
        (("9.0",), {}, {}),  # Ray was told that it has none
        (("9.0",), {"CPU": 0}, {}),
        ((), {"GPU": 2, "cc8.0": 2, "ccache": 1}, {"8.0": 2}),
        (("8.0", "9.0"), {"GPU": 2}, {}),  # Ray would give a job any of them
        (("8.0", "9.0"), {"GPU": 1, "cc9.0": 1}, {"9.0": 1}),
    ],
)
def test_a_node_has_the_gpus_that_it_has(
    found: tuple[str, ...], resources: dict[str, float], gpus: dict[str, int]
) -> None:
    one = {"NodeID": "n", "NodeManagerHostname": "ada", "Resources": {"CPU": 4.0, **resources}}
    said = member.Said("1", gpus=found)
    node = member.node(one, said)
    assert node.gpus == {Arch(name): count for name, count in gpus.items()}
    assert ("does not say of which capability" in member.unknown(one, node)) == (
        not gpus and "GPU" in resources
    )


def test_a_head_that_is_not_there_is_told_at_once() -> None:
    assert cluster.absence("127.0.0.1:9").startswith("nobody is at 127.0.0.1:9: ")
    assert cluster.absence("auto") == ""


def test_a_cluster_behind_tls_is_asked_by_ray_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert cluster.absence(f"127.0.0.1:{server.getsockname()[1]}") == ""


def test_a_sigterm_while_ray_starts_is_told_as_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of nobody")
    monkeypatch.setattr(cluster, "_ray", lambda: SimpleNamespace(init=lambda **_: sys.exit(15)))
    monkeypatch.setattr(cluster.tempfile, "tempdir", str(tmp_path))
    machine = Machine(Store(tmp_path / "store"), Console(stream=io.StringIO()), {})
    with pytest.raises(KeyboardInterrupt), onray.engine(cluster.address("ray"), tmp_path, [], machine):
        pass
    assert list(tmp_path.glob("retread-cluster-*")) == []


@pytest.mark.parametrize("where", ["ray", "ray://head.example:6379"])
def test_a_token_is_shown_and_none_is_left_behind(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    cluster._have_token(cluster.address(where))
    of_its_own = where == "ray"
    assert (os.environ.get("RAY_AUTH_MODE"), "RAY_AUTH_TOKEN" in os.environ) == (
        "token" if of_its_own else None,
        of_its_own,
    )
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("the head's")
    cluster._have_token(cluster.address(where))
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert [one.name for one in tmp_path.rglob("*")] == [".ray", "auth_token"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RAY_AUTH_MODE": "token"}, r"RAY_AUTH_MODE=token: there is no token in .*/\.ray/auth_token"),
        ({"RAY_AUTH_TOKEN_PATH": "{}/empty"}, "RAY_AUTH_TOKEN_PATH: .*/empty has no token in it"),
        ({"RAY_AUTH_TOKEN_PATH": "{}"}, "RAY_AUTH_TOKEN_PATH: .* is no file that can be read"),
    ],
)
def test_a_token_that_is_not_there_is_named_before_ray_is_asked(
    variables: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    with pytest.raises(UsageError, match=said):
        cluster._have_token(cluster.address("ray://head.example:6379"))


def test_a_cluster_of_another_version_is_told_with_both() -> None:
    said = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.11.7\nThis process"
    )
    told = str(cluster._refusal(cluster.address("ray://h"), RuntimeError(said)))
    assert told.startswith(
        "ray://h:6379: Version mismatch: The cluster was started with: Ray: 2.50.0 Python: 3.11.7 This"
    )
    assert "next: run retread in a Python that has the cluster's version, and its Ray's" in told


def test_of_a_cluster_that_was_begun_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "retread-cluster-dead").mkdir()
    with cluster._room() as first:
        assert list(tmp_path.iterdir()) == [Path(first).parent]
        agent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", f"--temp-dir={first}"])
        with (Path(first) / "log").open(
            "w"
        ) as log:  # Ray's agents rename themselves: their log tells whose they are
            renamed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=log)
        with cluster._room():
            assert len(list(tmp_path.iterdir())) == 2  # the first is somebody's who lives
        assert agent.poll() is renamed.poll() is None
    assert agent.wait(20) == renamed.wait(20) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_node_whose_workers_do_not_come_up_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "session" / "logs" / "raylet.err"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback\nModuleNotFoundError: No module named 'ray'\n\n")
    node = {
        "NodeManagerHostname": socket.gethostname(),
        "RayletSocketName": str(tmp_path / "session" / "sockets" / "raylet"),
    }
    why = "no worker of Ray's comes up there; "
    (log.parent / "raylet.1.err").touch()
    assert member.silence(node) == f"{why}{log} ends with: ModuleNotFoundError: No module named 'ray'"
    assert member.silence({**node, "NodeManagerHostname": "elsewhere"}) == f"{why}{log} on it may say why"
    log.unlink()
    assert member.silence(node) == f"{why}{log} on it may say why"


def test_the_policy_of_the_shared_store_goes_with_the_jobs(project: Project, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[builders]\n")
    machine = Machine(
        Store(tmp_path / "store"), Console(stream=io.StringIO()), {SHARED_POLICY: str(tmp_path / "own.toml")}
    )
    data = onray.packed(project.root, [], machine)
    root = onray._unpacked(machine.store, data, hashlib.sha256(data).hexdigest())
    assert (root / SHARED_POLICY).read_text() == "[builders]\n"
