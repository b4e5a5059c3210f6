"""No password of an address is seen: not in messages, talk, answers, nor in the arguments of what retread runs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retread.address import bare, has_secret, shown, shown_in
from retread.cli import main, session
from retread.doors import proc
from retread.doors.console import Console
from retread.doors.net import settings
from retread.environment import venv
from retread.errors import FetchError, RetreadError, ToolError

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("https://me:s3cret@host/simple", "https://host/simple"),
        ("https://s3cret@host:8080/x", "https://host:8080/x"),
        ("get https://me:s3%40cret@a/x, then http://b:s3cret@c", "get https://a/x, then http://c"),
        ("https://me:s3cret/with#odd?signs@host/x", "https://host/x"),
        ("https://me:@s3cret@host/x", "https://host/x"),
        ("https:/me:s3cret@host/as-a-path", "https:/host/as-a-path"),
        ("https://host/file?X-Amz-Signature=s3cret", "https://host/file"),
        ("git+https://s3cret@host/x.git", "git+https://host/x.git"),
        ("ssh://git:s3cret@host/x", "ssh://host/x"),
        ("s3://key:s3cret@bucket/x", "s3://bucket/x"),
        ('{"a":"https://me:s3cret@host","b":"x@y"}', '{"a":"https://host","b":"x@y"}'),
    ],
)
def test_what_opens_a_door_is_taken_out(text: str, seen: str) -> None:
    assert shown(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "https://host/simple", "https://host:8080/a@b", "https://[::1]:80/a@b", "ssh://git@host/x",
        "git@host:x.git", "mail me@host", "a path like C:/x@y", "pkg:pypi/demo@1.2?vcs_url=x", "say: why?",
        '{"a":"https://host/","b":"x@y"}', "https://host, or x@y",
    ],
)  # fmt: skip
def test_the_rest_stays(text: str) -> None:
    assert shown(text) == text
    assert not has_secret(text)


def test_data_is_shown_text_by_text() -> None:
    data = {"index": ["https://u:s3cret@h/", 3, None], "more": {"a": ("http://s3cret@h",)}}
    assert shown_in(data) == {"index": ["https://h/", 3, None], "more": {"a": ["http://h"]}}
    assert bare("https://u:p@h/x?y#z") == "https://h/x"


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("me:s3cret@host/simple/", "host/simple/"), ("//me:s3cret@host/simple/", "//host/simple/"),
        ("https:me:s3cret@host/simple/", "https:host/simple/"), ("host:80/a@b", "host:80/a@b"),
        ("git@host:x.git", "git@host:x.git"), ("/a/b@c", "/a/b@c"),
    ],
)  # fmt: skip
def test_a_place_is_told_without_the_password_of_an_address_that_is_none(typed: str, seen: str) -> None:
    assert bare(typed) == seen


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


@pytest.mark.parametrize(
    "words",
    [
        ["publish", "nosuch.whl", "--index", "https://me:s3cret@host/index"],
        ["publish", "nosuch.whl", "--index", "index", "--base", "https://me:s3cret@host/"],
        ["publish", "nosuch.whl", "--index", "s3://me:s3cret@bucket/x"],
        ["index", "check", "https://me:s3cret@host/index"],
        ["index", "check", "gs://me:s3cret@bucket/x"],
        ["audit-lock", "nosuch.txt", "--index", "https://me:s3cret@127.0.0.1:9/index"],
        ["patch", "import", "demo", "https://me:s3cret@127.0.0.1:9/x.patch"],
        ["build", "demo", "--nosuch=https://me:s3cret@host/"],
        ["https://me:s3cret@host/"],
    ],
    ids=" ".join,
)
def test_what_was_typed_is_told_without_its_password(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "store"))
    try:
        code = main.run(words)
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert code not in {0, 1}
    assert said.err
    assert SECRET not in said.out + said.err
    left = {path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()}
    assert left == set()


def test_talk_and_answers_show_none(capsys: pytest.CaptureFixture[str]) -> None:
    address, stream = f"https://me:{SECRET}@host/x", io.StringIO()
    console = Console(stream=stream)
    console.say(f"note: {address}")
    console.fail(address)
    with console.step(f"fetch {address}") as step:
        step.detail = address
    session.put(f"from {address}")
    session.print_json({"from": address})
    said = capsys.readouterr()
    assert json.loads(said.out.partition("\n")[2]) == {"from": "https://host/x"}
    assert stream.getvalue().count("https://host/x") == 4
    assert SECRET not in stream.getvalue() + said.out + said.err


def test_a_traceback_shows_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: object) -> int:
        raise ValueError(f"https://me:{SECRET}@host/x")

    monkeypatch.setattr(main, "run", run)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(ValueError, match="host") as caught:
        main.main([])
    sys.excepthook(caught.type, caught.value, caught.tb)
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.endswith("ValueError: https://host/x\n")
    assert SECRET not in said
