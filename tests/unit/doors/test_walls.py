"""Walls: what a program behind them cannot do, what it can, and what is said where there are none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import prober
from retread.doors import proc, walls
from retread.doors.walls import Seen, Walls
from retread.errors import ToolError, UsageError
from retread.variables import SANDBOX
from standins import until

PATH = {"PATH": os.environ["PATH"]}
needs_walls = pytest.mark.skipif(bool(walls.absence({})), reason="needs bubblewrap, and namespaces")
PYTHON = walls.readable([sys.base_prefix, sys.prefix, *walls.hops(sys.executable)])


def behind(program: str, *seen: Seen, **changes: object) -> proc.Finished:
    made = Walls((*PYTHON, *seen))._replace(**changes)  # type: ignore[arg-type]
    return proc.run([*made.command(), sys.executable, "-c", program], env=PATH, check=False)


@needs_walls
def test_a_program_behind_walls_reaches_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("home", "store", "project"):
        (tmp_path / name).mkdir()
    (home / "key").write_text(prober.SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {
            "key": str(home / "key"), "store": str(tmp_path / "store"), "project": str(tmp_path / "project"),
            "packages": "/usr/lib", "host": "127.0.0.1", "port": server.getsockname()[1],
            "marker": "prober-outside", "left": f"left-by-{tmp_path.name}",
        }  # fmt: skip
        outside = subprocess.Popen(
            [sys.executable, "-c", "input()", "prober-outside"],
            env={"KEY": prober.SECRET}, stdin=subprocess.PIPE,
        )  # fmt: skip
        with outside:
            done = behind(prober.program(told))
            outside.communicate(b"\n")
    assert done.code == 0, done.stderr
    prober.assert_held(prober.found(done.stdout), tmp_path / "store", tmp_path / "project")
    until(lambda: not prober.running(f"left-by-{tmp_path.name}"))


@needs_walls
def test_what_is_shown_is_there_and_only_what_may_be_written_is(tmp_path: Path) -> None:
    for name in ("shown", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    seen = (Seen(str(tmp_path / "shown"), "/mnt/shown"), Seen(str(tmp_path / "mine"), "/mnt/mine", True))
    program = (
        "import os; open('file').read(); open('/mnt/mine/new', 'w'); print(os.getcwd())\nopen('new', 'w')"
    )
    done = behind(program, *seen, folder="/mnt/shown")
    assert done.stdout == "/mnt/shown\n"
    assert "Read-only file system: 'new'" in done.stderr
    assert (tmp_path / "mine" / "new").is_file()


@needs_walls
def test_devices_and_network_are_there_for_whom_they_are_given() -> None:
    program = "import os, socket; print(len(os.listdir('/dev')), len(socket.if_nameindex())); open('/dev/shm/x', 'w')"
    few, many = (behind(program, devices=given, network=given) for given in (False, True))
    assert (few.code, many.code) == (0, 0), many.stderr
    assert int(few.stdout.split()[0]) <= int(many.stdout.split()[0])
    assert few.stdout.split()[1] == "1"
    assert not Path("/dev/shm/x").exists()


def test_a_program_is_shown_with_every_link_to_it_and_never_with_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "python").write_text("")
    (tmp_path / "link").symlink_to("real/python")
    (tmp_path / "again").symlink_to(tmp_path / "link")
    names = [str(tmp_path / one) for one in ("again", "link", "real/python")]
    assert walls.hops(tmp_path / "again") == names
    assert [one.real for one in walls.readable(names)] == sorted(names)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert walls.readable(
        [tmp_path, "/", "/usr/bin", "/nosuch", tmp_path / "real", tmp_path / "real/python"]
    ) == (Seen(str(tmp_path / "real"), str(tmp_path / "real")),)


@pytest.mark.parametrize("policy", ["", "demand", "off", "nonsense"])
def test_a_machine_without_walls_is_told_of_or_refused(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls, "_impossible", lambda: "bubblewrap is not installed")
    given = {SANDBOX: policy}
    if policy == "demand":
        with pytest.raises(ToolError, match="nothing is run without walls around it") as caught:
            walls.absence(given)
        assert "apt-get install bubblewrap" in caught.value.hint
    elif policy == "nonsense":
        with pytest.raises(UsageError, match="RETREAD_SANDBOX: 'nonsense' is neither 'demand' nor 'off'"):
            walls.absence(given)
    else:
        assert walls.absence(given) == ("RETREAD_SANDBOX is off" if policy else "bubblewrap is not installed")


def test_a_kernel_that_gives_no_namespaces_is_told_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bwrap").write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    )
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    walls._impossible.cache_clear()
    assert "cannot make namespaces here (bwrap: No permissions to" in walls.absence({})
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    walls._impossible.cache_clear()
    assert walls.absence({}) == "bubblewrap is not installed"
    walls._impossible.cache_clear()
