"""Whatever lies where a file should be, and however the disk answers: one message, an exit code, no traceback."""

from __future__ import annotations

import argparse
import os
import re
import socket
from collections.abc import Callable, Iterator
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
DEEPER: Final = (
    "build demo-1 --root {}", "plan demo-1 --root {}",
    "plan demo-1 --lane source --python {}", "patch check --root {}", "recipe list --root {}",
    "recipe check --root {}", "toolchain list --root {}", "matrix --root {}", "patch new demo-1 name --from {}",
    "patch new demo-1 name --from x --clone {}", "patch new demo-1 name --from WHEEL --header {}",
    "patch fold demo-1 1 --from {}", "patch fold demo-1 1 --from x --clone {}",
    "patch import demo-1 WHEEL --header {}", "patch export demo-1 --mbox -o {}",
    "patch split demo-1 1 name --header {}", "inspect --table {}", "inspect --resources {}",
    "inspect --resources WHEEL --beside {}", "audit WHEEL --recipe x --root {}", "smoke --attach WHEEL -o {}",
    "attest {} --builder k", "recipe bump demo-1 --to 2 --clone {}", "store list", "store prune", "toolchain list",
    "inspect WHEEL", "smoke WHEEL", "evidence WHEEL",
)  # fmt: skip
"""Command lines that reach farther than what their commands must have; those without a hole have it as the store."""
SAMPLES: Final = {
    "index": "ix",
    "recipe": "demo-1",
    "host": "nowhere.invalid",
    "arch": "10.0",
    "number": "1",
    "python": "nowhere",
}
"""What an argument is called -> what is typed for it; for paths it is the wheel, for anything else a word."""
HOLES: Final = ("index", "origin", "clone")
"""Arguments that may name files or folders, or something else."""


def _lines() -> Iterator[str]:
    """Yield a line for every place at which a path can be typed, with what its command must have besides."""
    for name, command in COMMANDS.items():
        arguments = typed(command).values()
        for hole in arguments:
            if (hole.type is Path and hole.dest != "root") or hole.dest in HOLES:
                words = [word for one in arguments for word in _typed(one, is_hole=one is hole)]
                yield " ".join([*name.split()[1:], *words])


def _typed(argument: argparse.Action, *, is_hole: bool) -> Iterator[str]:
    """Yield what is typed for an argument: nothing for one that may be left out."""
    needed = argument.required and argument.nargs not in {"*", "?"}
    if is_hole or needed or argument.dest in {"host", "python"}:
        yield from argument.option_strings[-1:]
        sample = SAMPLES.get(argument.dest, "WHEEL" if argument.type is Path else "x")
        yield "{}" if is_hole else str(next(iter(argument.choices or ()), sample))


LINES: Final = tuple(dict.fromkeys((*_lines(), *DEEPER)))


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


@pytest.mark.parametrize("line", LINES)
def test_a_bad_path_is_a_message(
    at: Path, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, make in PLACES.items():
        place = str(make(at))
        if "{}" not in line:
            monkeypatch.setenv("RETREAD_STORE", place)
        code = _code([{"{}": place, "WHEEL": WHEEL}.get(word, word) for word in line.split()])
        said = capsys.readouterr()
        assert code in exit_codes(), (kind, code)
        assert code != 1, (kind, said)
        assert code in {0, FitError.exit_code} or "retread: " in said.err or said.err.startswith("usage: "), (
            kind
        )
        assert "\x1b" not in said.err + said.out, kind
        assert not re.search("system refused|standard output", said.err), (kind, said)


def _code(words: list[str]) -> int:
    try:
        return main.run(words)
    except SystemExit as end:  # argparse lacks something
        return int(end.code or 0)
