"""What is noted of a process's reads: by what Python says of itself, without any being done."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from retread.smoke.runtime.witness import Witness

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    monkeypatch.setattr("retread.smoke.runtime.witness.mapped", list)
    found = Witness()
    found.told()
    return found


@pytest.mark.parametrize(
    ("event", "arguments", "kind", "path"),
    [
        ("open", ("/a/x.json", "r", READ), "files", "/a/x.json"),
        ("open", (b"/a/x.json", "rb", READ), "files", "/a/x.json"),
        ("open", ("x.json", "r", READ), "files", os.path.abspath("x.json")),  # noqa: PTH100
        ("open", (f"/a/__pycache__/m.{sys.implementation.cache_tag}.pyc", "rb", READ), "files", "/a/m.py"),
        ("ctypes.dlopen", ("/a/_C.so",), "files", "/a/_C.so"),
        ("os.listdir", ("/a",), "folders", "/a"),
        ("os.scandir", (None,), "folders", os.path.abspath(".")),  # noqa: PTH100
        ("subprocess.Popen", (None, ["/a/ptxas", "-v"], None, None), "programs", "/a/ptxas"),
        ("subprocess.Popen", ("/a/ptxas", ["ptxas"], None, None), "programs", "/a/ptxas"),
        ("os.posix_spawn", ("/a/ptxas", [], {}), "programs", "/a/ptxas"),
        ("os.spawn", (0, "/a/ptxas", [], {}), "programs", "/a/ptxas"),
    ],
)
def test_what_is_read_and_started_is_told_once(
    witness: Witness, event: str, arguments: Any, kind: str, path: str
) -> None:
    witness.heard(event, arguments)
    assert witness.told()[kind] == [path]
    witness.heard(event, arguments)
    assert witness.told()[kind] == []


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("open", (3, "r", READ)),
        ("open", ("/a/x", "w", os.O_WRONLY | os.O_CREAT)),
        ("ctypes.dlopen", ("libc.so.6",)),
        ("ctypes.dlopen", (None,)),
        ("compile", (None, "x")),
    ],
)
def test_what_is_written_and_what_has_no_name_is_no_read(
    witness: Witness, event: str, arguments: Any
) -> None:
    witness.heard(event, arguments)
    assert witness.told() == {"files": [], "folders": [], "programs": [], "blind": ""}


@pytest.mark.parametrize("event", ["os.fork", "os.system", "socket.connect"])
def test_what_nobody_can_follow_is_said_and_stays_so(witness: Witness, event: str) -> None:
    witness.heard(event, ())
    assert witness.told()["blind"]
    assert witness.told()["blind"]
