"""No password of an address is in the arguments of what retread runs, nor in what is told of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retread.doors import proc
from retread.doors.net import settings
from retread.environment import venv
from retread.errors import FetchError, RetreadError, ToolError

SECRET = "s3cret"


class Program:
    """A program in the place of every other: it writes down its arguments, says all that it was given, and fails."""

    def __init__(self, folder: Path) -> None:
        self.path, self._told = folder / "program", folder / "told"
        self.path.write_text(
            f"#!{sys.executable}\nimport os, sys\n"
            f"open({str(self._told)!r}, 'a').write(' '.join(sys.argv) + '\\n')\n"
            "print(*sys.argv, *os.environ.values(), file=sys.stderr)\nsys.exit(sys.argv[1] != 'venv')\n"
        )
        self.path.chmod(0o755)

    @property
    def arguments(self) -> str:
        return self._told.read_text()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    made = Program(tmp_path)
    monkeypatch.setattr(proc, "find", lambda *_, **__: made.path)
    return made


def _configured(folder: Path) -> dict[str, str]:
    (folder / "pip.conf").write_text(f"[global]\nindex-url = https://me:{SECRET}@127.0.0.1:9/simple\n")
    return {"PIP_CONFIG_FILE": str(folder / "pip.conf")}


def _variables(_: Path) -> dict[str, str]:
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL")
    return {name: f"https://me:{SECRET}@127.0.0.1:9/{name}" for name in names} | {
        "PIP_CONFIG_FILE": "/dev/null"
    }


@pytest.mark.parametrize("source", [_configured, _variables])
def test_uv_is_given_passwords_where_nobody_else_sees_them(
    source: Callable[[Path], dict[str, str]], program: Program, tmp_path: Path
) -> None:
    given = source(tmp_path)
    using = settings.settings(given)
    assert all(SECRET in one for one in using.indexes)
    into, lock = tmp_path / "into", tmp_path / "demo.txt"
    told: list[RetreadError] = []
    with pytest.raises(FetchError) as install:
        venv.install(lock, sys.executable, into, cache=tmp_path, settings=using, environment=given)
    told.append(install.value)
    with pytest.raises(ToolError) as resolve:
        venv.resolve(["demo"], ">=3.11", settings=using, environment=given, scratch=tmp_path)
    told.append(resolve.value)
    assert "install" in program.arguments
    assert "compile" in program.arguments
    assert SECRET not in program.arguments
    for error in told:  # though the program itself said it
        assert "https://127.0.0.1:9/" in str(error)
        assert SECRET not in f"{error} {error.message} {error.faults} {error.hint} {error.args}"


def test_a_command_that_fails_is_told_without_the_password_in_it(program: Program) -> None:
    with pytest.raises(ToolError) as caught:
        proc.run([program.path, f"https://me:{SECRET}@host/x"], env={})
    assert "https://host/x" in str(caught.value)
    assert SECRET not in repr(caught.value)
