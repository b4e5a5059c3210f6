"""The terminal: a step ends with a mark, talk goes to one stream, and a live line is written over."""

from __future__ import annotations

import io
import os
import re

import pytest

from retread import console as module
from retread.console import Console


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
