"""What a container engine is told: one that only writes down what it hears, since docker does not run everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retread.compile import container
from retread.compile.container import Container, Engine, Image
from retread.doors import extras
from retread.environment.host import Compiler, Python
from retread.errors import SmokeError, ToolError
from retread.records import Sha256

DIGEST = Sha256(64 * "a")
PYTHON = Python(
    executable="/opt/python/cp312-cp312/bin/python", prefix="/opt", version="3.12.1", number="3.12", digest=DIGEST
)  # fmt: skip
COMPILER = Compiler(c="/usr/bin/gcc", cxx="/usr/bin/g++", version="g++ 14", digest=DIGEST)
IMAGE = Image("example.org/many", DIGEST, "/usr/bin", PYTHON, COMPILER)
DOCKER = """\
#!/bin/sh
echo "$*" >>"$HEARD"
case $1 in ps) echo one two;; info) echo "$SECURITY";; esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Return a docker that writes down what it is told."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    heard = {"PATH": os.environ["PATH"], "HEARD": str(tmp_path / "heard"), "SECURITY": "[name=seccomp]"}
    return Engine("docker", str(program), heard)


def heard(engine: Engine) -> list[str]:
    return Path(engine.environment["HEARD"]).read_text().splitlines()


def test_what_a_build_left_running_is_removed_and_its_files_are_the_user_s_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    owner = f"{os.getuid()}:{os.getgid()}"
    Container(engine, IMAGE, [Path("/store/room"), Path("/store/sccache")], None).clear()
    assert heard(engine) == [
        "ps --all --quiet --filter label=retread=/store/room",
        "rm --force --volumes one two",
        "info --format {{.SecurityOptions}}",
        "run --rm --pull=never --network=none --security-opt=label=disable --volume=/store/room:/store/room"
        f" --volume=/store/sccache:/store/sccache example.org/many chown -R {owner} /store/room /store/sccache",
    ]


def test_a_rootless_docker_gives_files_their_owner_itself(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    rootless = engine._replace(environment={**engine.environment, "SECURITY": "[name=rootless]"})
    Container(rootless, IMAGE, [Path("/store/room")], None).clear()
    assert [line.partition(" ")[0] for line in heard(engine)] == ["ps", "rm", "info"]


def test_tools_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "TOOLS", ("packaging", "no-such-thing"))
    with pytest.raises(ToolError) as caught:
        container.versions()
    assert str(caught.value).splitlines() == [
        "no-such-thing is not installed; the container lane needs it",
        f"  next: {extras.installs('container')}",
    ]


def test_only_the_tests_own_word_at_a_line_s_start_is_a_failed_test(engine: Engine) -> None:
    sandbox = Container(engine, IMAGE, [Path("/store/room")], None)
    word = "retread: the wheel failed its static smoke tests"
    assert sandbox.failure(f"echo '{word}'\n") is None
    error = sandbox.failure(f"  failed: suite/a: AssertionError: no\nsmoke: numpy (not there)\n{word}\n")
    assert isinstance(error, SmokeError)
    assert error.faults == ("suite/a: AssertionError: no", "numpy (not there)")
