"""Whatever lies where a file should be, and however the disk answers: one message, an exit code, no traceback."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from commandline import COMMANDS, typed
from retread.cli import main
from retread.errors import FitError, exit_codes
from tinycuda import WHEEL, make_wheel, wheel_files
from tinyindex import RECIPE

PLACES: Final = {
    "missing": lambda at: at / "missing",
    "folder": lambda at: _made(at / "folder", Path.mkdir),
    "pipe": lambda at: _made(at / "pipe", os.mkfifo),
    "socket": lambda at: _made(at / "socket", _listen),
    "circle": lambda at: _made(at / "circle", lambda path: path.symlink_to(path)),
    "name too long": lambda at: at / (300 * "a"),
    "below a file": lambda at: at / WHEEL / "below",
    "full disk": lambda at: Path("/dev/full"),
    "broken disk": lambda at: Path("/proc/self/mem"),
    "no folder for files": lambda at: Path("/proc/new"),
    "no UTF-8": lambda at: at / os.fsdecode(b"\xff\x1b[2J"),
}  # fmt: skip
LINES: Final = (
    "fit --python {}", "fit --index {}", "fit --usage {} --python /usr/bin/python3", "build demo-1 -o {}",
    "build demo-1 --root {}", "plan demo-1 --root {}", "plan demo-1 --lane source --python {}",
    "reproduce {}", "matrix --root {}",
        "patch check --root {}", "patch edit demo-1 --into {}", "patch new demo-1 name --from {}",
    "patch new demo-1 name --from x --clone {}", "patch new demo-1 name --from WHEEL --header {}",
    "patch fold demo-1 1 --from {}", "patch fold demo-1 1 --from x --clone {}", "patch import demo-1 {}",
    "patch import demo-1 WHEEL --header {}", "patch export demo-1 --mbox -o {}",
    "patch split demo-1 1 name --header {}", "inspect {}", "inspect --table {}", "inspect --resources {}",
    "inspect --resources WHEEL --beside {}", "audit {}", "audit WHEEL --recipe x --root {}",
    "graft {} --arch 10.0 -o out", "graft WHEEL --arch 10.0 -o {}", "smoke {}", "smoke --attach {}",
    "smoke --attach WHEEL -o {}", "smoke WHEEL --json {} --junit {} --html {}", "smoke WHEEL --python {}",
    "kit {}", "kit WHEEL -o {}", "evidence {}",
    "key new anna --folder {}",
    "key list --folder {}", "attest {} --builder k", "attest WHEEL --builder {}",
    "attest WHEEL --tester {}", "publish {} --index ix", "publish WHEEL --index {}",
    "publish WHEEL --index ix --policy {}", "index yank {} p 1 --reason r", "index unyank {} p 1",
    "index remove {} p 1 --reason r", "index rollback {} 1", "index refresh {}", "index history {}",
    "index check {}", "index check ix --policy {}", "index revoke {} p --reason r --advice a --key k",
    "index revoke ix p --reason r --advice a --key {}", "index renew {} --key k", "index renew ix --key {}",
    "audit-lock {} --index ix", "audit-lock WHEEL --index {}", "audit-lock WHEEL --index ix --policy {}",
    "serve {} --host nowhere.invalid", "watch demo-1 --issue {}", "recipe list --root {}", "recipe check --root {}",
    "recipe proof {} WHEEL", "recipe proof WHEEL {}", "recipe proof WHEEL WHEEL -o {}",
    "recipe bump demo-1 --to 2 --clone {}", "recipe schema --all {}", "toolchain list --root {}",
    "compare {} WHEEL", "compare WHEEL {}", "store list", "store prune", "toolchain list",
    "inspect WHEEL", "smoke WHEEL", "evidence WHEEL",
)  # fmt: skip
"""Command lines with a hole for a path; those without have it as the store."""


def _made(path: Path, make: Callable[[Path], object]) -> Path:
    if not os.path.lexists(path):
        make(path)
    return path


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _once: None) -> Path:
    """Return the folder that commands run in: a workspace, and a wheel."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "demo-1.toml").write_text(RECIPE)
    (tmp_path / "patches" / "demo" / "1.2").mkdir(parents=True)
    (tmp_path / "patches" / "demo" / "1.2" / "series").touch()
    (tmp_path / WHEEL).write_bytes(make_wheel(wheel_files()))
    return tmp_path


def test_every_place_for_a_path_is_tried() -> None:
    said = " ".join(LINES)
    for name, command in COMMANDS.items():
        paths = [one for one in typed(command).values() if one.type is Path and one.dest != "root"]
        assert not paths or f"{name.removeprefix('retread ')} " in said, name
        for one in paths:
            assert not one.option_strings or any(f"{option} {{}}" in said for option in one.option_strings), (
                name
            )


@pytest.mark.parametrize("line", LINES)
def test_a_bad_path_is_a_message(
    at: Path, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, make in PLACES.items():
        place = str(make(at))
        if "{}" not in line:
            monkeypatch.setenv("RETREAD_STORE", place)
        code = main.run([{"{}": place, "WHEEL": WHEEL}.get(word, word) for word in line.split()])
        said = capsys.readouterr()
        assert code in exit_codes(), (kind, code)
        assert code != 1, (kind, said)
        assert code in {0, FitError.exit_code} or "retread: " in said.err, kind
        assert "\x1b" not in said.err + said.out, kind
        assert not re.search("system refused|standard output", said.err), (kind, said)
