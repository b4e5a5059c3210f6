"""No password of an address is seen: not in messages, talk, answers, nor in the arguments of what retread runs."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from retread.address import bare, has_secret, shown, shown_in
from retread.cli import main, session
from retread.doors.console import Console

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
