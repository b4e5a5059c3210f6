"""The terminal: a step ends with a mark, talk goes to one stream, and a live line is written over."""

from __future__ import annotations

import io
import os
import re

import pytest

from retread.doors import console as module
from retread.doors.console import Console


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((40, 10)))
    return _Terminal()


def test_a_step_ends_with_a_mark_and_its_seconds() -> None:
    out = io.StringIO()
    with Console(stream=out).step("fetch it") as step:
        step.detail = "3 kB"
    assert re.fullmatch(r"  fetch it: 3 kB +ok +\d+\.\d s\n", out.getvalue())


def test_a_failed_step_says_so() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError), Console(stream=out).step("fetch it"):
        raise ValueError
    assert re.fullmatch(r"  fetch it +failed +\d+\.\d s\n", out.getvalue())


def test_quiet_leaves_errors_only() -> None:
    out = io.StringIO()
    console = Console(stream=out, quiet=True)
    with console.fold("title"), console.step("step"):
        console.say("talk")
    console.fail("error")
    assert out.getvalue() == "error\n"


def test_ci_folds_the_lines_of_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    out = io.StringIO()
    with pytest.raises(ValueError), Console(stream=out).fold("title"):
        raise ValueError
    assert out.getvalue() == "::group::title\n::endgroup::\n"


def test_progress_is_for_terminals_only(terminal: _Terminal) -> None:
    plain = io.StringIO()
    with Console(stream=plain).step("x") as step:
        step.progress(1, 2, "B")
        assert plain.getvalue() == ""
    with Console(stream=terminal).step("x") as step:
        step.progress(1, 2, "B")
    assert "\r\x1b[K  x: 0 kB of 0 kB" in terminal.getvalue()


def test_progress_shows_what_remains(terminal: _Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with Console(stream=terminal).step("x") as step:
        now = 110.0
        step.progress(1_000_000, 3_000_000, "B")
        now = 110.01
        step.progress(2_000_000, 3_000_000, "B")
        step.progress(3_000_000, 3_000_000, "B")
    shown = terminal.getvalue()
    assert "x: 1.0 MB of 3.0 MB, 20 s left" in shown
    assert "2.0 MB" not in shown, "more than ten times a second"
    assert "x: 3.0 MB of 3.0 MB" in shown, "the end is always shown"


def test_a_line_is_cut_to_the_terminal(terminal: _Terminal) -> None:
    Console(stream=terminal).over("y" * 100)
    assert terminal.getvalue().endswith("\r\x1b[K" + "y" * 39)


def test_a_dumb_terminal_gets_no_control_characters(
    terminal: _Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(stream=terminal)
    with console.step("x") as step:
        step.progress(1, 2)
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("left", "now", "shown"),
    [
        (None, "", "3 of 9 units"),
        (42.4, "a.cu", "3 of 9 units, 42 s left; a.cu"),
        (600.0, "a.cu, b.cu", "3 of 9 units, 10 min left; a.cu, b.cu"),
    ],
)
def test_units_show_what_runs_and_what_remains(
    terminal: _Terminal, monkeypatch: pytest.MonkeyPatch, left: float | None, now: str, shown: str
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((100, 10)))
    with Console(stream=terminal).step("compile") as step:
        step.units(3, 9, left, now)
        assert terminal.getvalue().rpartition("\x1b[K")[2] == f"  compile: {shown}"


def test_units_of_a_long_build_are_one_line_a_minute_where_lines_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    out = io.StringIO()
    with Console(stream=out).step("compile") as step:
        for second in range(1, 200):
            now = 1000.0 + second
            step.units(second, 500, None, "a.cu")
        lines = out.getvalue().splitlines()
    assert lines == [f"    {number} of 500 units; a.cu" for number in (61, 122, 183)]
    assert "\x1b" not in out.getvalue()


def test_units_are_quiet_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    out = io.StringIO()
    with Console(stream=out, quiet=True).step("compile") as step:
        now = 5000.0
        step.units(1, 2, None, "a.cu")
    assert out.getvalue() == ""
