"""The terminal: steps with a clock and a mark, talk on one stream, live lines that are written over."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest

from retread.doors.console import COLUMNS, Console
from retread.text.colour import Colour


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99

    @property
    def drawn(self) -> list[str]:
        """What was shown on the line, one text after the other."""
        return self.getvalue().split("\r\x1b[K")


def test_what_many_things_have_in_common_is_said_once() -> None:
    stream = io.StringIO()
    console = Console(stream=stream, quiet=True)
    for text in ("note: a", "note: b", "note: a"):
        console.once(text)
    assert stream.getvalue() == "note: a\nnote: b\n"


class _Clock:
    """A clock that stands still until it is told the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 10)))
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


def test_work_that_found_a_fault_is_marked_and_says_what_it_found() -> None:
    out = io.StringIO()
    with Console(stream=out).step("try static") as step:
        step.detail, step.mark = "3 passed, 1 failed", "failed"
    assert re.fullmatch(r"  try static: 3 passed, 1 failed +failed +\d+\.\d s\n", out.getvalue())


@pytest.mark.parametrize("seconds", [0.4, 59.96, 9_999.94, 86_400.0])
@pytest.mark.parametrize("mark", ["ok", "failed"])
def test_a_finished_line_fits_80_columns_and_keeps_both_ends_of_a_name(
    clock: _Clock, seconds: float, mark: str
) -> None:
    out, name = io.StringIO(), "xformers-0.0.35+cu128.1-cp310-cp310-manylinux_2_28_x86_64.whl"
    try:
        with Console(stream=out, clock=clock).step(f"fetch {name}") as step:
            step.detail = "104.3 MB"
            clock.now += seconds
            assert mark == "ok"
    except AssertionError:
        assert mark == "failed"
    line = out.getvalue().splitlines()[-1]
    assert len(line) == COLUMNS
    assert line.startswith("  fetch xformers-0.0.35+")
    assert re.search(rf" {mark} +[\d.]+ s$", line)
    assert mark == "failed" or "x86_64.whl: 104.3 MB" in line


def test_quiet_leaves_errors_and_what_changes_the_product(clock: _Clock) -> None:
    out = io.StringIO()
    console = Console(stream=out, quiet=True, clock=clock)
    with console.fold("title"), console.step("step") as step:
        console.say("talk")
        console.say("  note: building cu130, since this machine cannot build cu128")
        clock.now += 3600
        step.tick()
        step.phase("linking")
    console.fail("error")
    assert out.getvalue() == "  note: building cu130, since this machine cannot build cu128\nerror\n"


def test_ci_folds_the_lines_of_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    out = io.StringIO()
    with pytest.raises(ValueError), Console(stream=out).fold("title"):
        raise ValueError
    assert out.getvalue() == "::group::title\n::endgroup::\n"


def test_a_step_is_named_at_its_start_and_shows_a_clock(terminal: _Terminal, clock: _Clock) -> None:
    with Console(stream=terminal, clock=clock).step("prove the source") as step:
        assert terminal.drawn[-1] == "  prove the source  0:00"
        clock.now += 65
        step.tick()
        assert terminal.drawn[-1] == "  prove the source  1:05"
    assert re.fullmatch(r"  prove the source +ok   65\.0 s\n", re.sub("\x1b.*?m", "", terminal.drawn[-1]))


def test_where_lines_stay_a_step_is_named_when_it_takes_more_than_a_moment(clock: _Clock) -> None:
    out = io.StringIO()
    with Console(stream=out, clock=clock).step("quick") as step:
        clock.now += 1
        step.tick()
        step.progress(1, 2, "B")
    with Console(stream=out, clock=clock).step("slow") as step:
        clock.now += 2
        step.tick()
        clock.now += 1
        step.tick()
    assert re.fullmatch(r"  quick +ok +1\.0 s\n  slow \.\.\.\n  slow +ok +3\.0 s\n", out.getvalue())


def test_where_lines_stay_there_is_one_at_least_every_30_seconds(clock: _Clock) -> None:
    out = io.StringIO()
    with Console(stream=out, clock=clock).step("wait") as step:
        for _ in range(100):
            clock.now += 1
            step.tick()
        lines = out.getvalue().splitlines()
    assert lines == ["  wait ...", "    0:30", "    1:00", "    1:30"]
    assert "\x1b" not in out.getvalue()


def test_a_command_that_is_silent_says_every_30_seconds_that_it_is_at_work(clock: _Clock) -> None:
    out = io.StringIO()
    console = Console(stream=out, clock=clock)
    with console.attended("index check"):
        for second in range(1, 100):
            clock.now = 1000.0 + second
            if second == 50:
                console.say("waiting for another process")
            console.tick()
    lines = ["  index check  0:30", "waiting for another process", "  index check  1:20"]
    assert out.getvalue().splitlines() == lines


def test_a_command_that_is_silent_shows_a_clock_on_a_terminal_which_leaves_nothing(
    terminal: _Terminal, clock: _Clock
) -> None:
    console = Console(stream=terminal, clock=clock)
    with console.attended("audit"):
        console.tick()
        assert terminal.getvalue() == "", "most commands are done before"
        clock.now += 65
        console.tick()
        assert terminal.drawn[-1] == "  audit  1:05"
        console.make_way()
        assert terminal.drawn[-1] == ""
        console.tick()
        assert terminal.drawn[-1] == "", "what is printed is not written over"
        clock.now += 3
        console.tick()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_step_speaks_for_its_command_and_a_wait_for_its_step(clock: _Clock) -> None:
    out = io.StringIO()
    console = Console(stream=out, clock=clock)
    with console.attended("build"), console.step("compile"):
        with console.step("wait for another build"):
            for _ in range(40):
                clock.now += 1
                console.tick()
        clock.now += 1
        console.tick()
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[:2] == ["  wait for another build ...", "    0:30"]
    assert lines[2].startswith("  wait for another build  ")
    assert lines[3:5] == ["  compile ...", "    0:41"]
    assert len(lines) == 6


def test_a_quiet_command_stays_silent(clock: _Clock) -> None:
    out = io.StringIO()
    console = Console(stream=out, quiet=True, clock=clock)
    with console.attended("publish"):
        clock.now += 3600
        console.tick()
    assert out.getvalue() == ""


def test_progress_shows_what_remains(terminal: _Terminal, clock: _Clock) -> None:
    with Console(stream=terminal, clock=clock).step("x") as step:
        clock.now += 10
        step.progress(1_000_000, 3_000_000, "B")
        assert terminal.drawn[-1] == "  x  0:10, 0:20 left  1.0 MB of 3.0 MB"
        clock.now += 0.01
        step.progress(2_000_000, 3_000_000, "B")
        assert "2.0 MB" not in terminal.getvalue(), "more than ten times a second"
        step.progress(3_000_000, 3_000_000, "B")
        assert terminal.drawn[-1] == "  x  0:10  3.0 MB of 3.0 MB", "the end is always shown"


def test_what_remains_goes_down_while_nothing_is_reported(terminal: _Terminal, clock: _Clock) -> None:
    with Console(stream=terminal, clock=clock).step("compile") as step:
        step.units("compiling", 3, 9, 600.0, "a.cu")
        for seconds, left in ((1, "9:59"), (90, "8:30"), (900, "0:00")):
            clock.now = 1000 + seconds
            step.tick()
            assert f", {left} left  compiling, 3 of 9 units; a.cu" in terminal.drawn[-1]


def test_a_line_is_cut_to_the_terminal(terminal: _Terminal) -> None:
    Console(stream=terminal).over("y" * 100)
    assert terminal.getvalue().endswith("\r\x1b[K" + "y" * 79)


def test_a_dumb_terminal_gets_no_control_characters(
    terminal: _Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = Console(stream=terminal)
    with console.step("x") as step:
        step.progress(1, 2)
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("known", "told", "shown"),
    [
        (9, (None, ""), "0:00  compiling, 3 of 9 units"),
        (None, (None, "a.cu"), "0:00  compiling, 3 units done; a.cu"),
        (9, (42.4, "a.cu"), "0:00, 0:42 left  compiling, 3 of 9 units; a.cu"),
        (9, (3700.0, "a.cu, b.cu"), "0:00, 1:01:40 left  compiling, 3 of 9 units; a.cu, b.cu"),
    ],
)
def test_units_show_phase_what_runs_and_what_remains(
    terminal: _Terminal, clock: _Clock, known: int | None, told: tuple[float | None, str], shown: str
) -> None:
    with Console(stream=terminal, clock=clock).step("compile") as step:
        clock.now += 0.2
        step.units("compiling", 3, known, *told)
        assert terminal.drawn[-1] == f"  compile  {shown}"


def test_units_of_a_long_build_are_a_line_every_30_seconds_where_lines_stay(clock: _Clock) -> None:
    out = io.StringIO()
    with Console(stream=out, clock=clock).step("compile") as step:
        step.phase("preparing")
        for second in range(1, 100):
            clock.now = 1000.0 + second
            step.units("compiling", second, 500, 1000.0 - second, "a.cu")
        lines = out.getvalue().splitlines()
    assert lines == [
        "  compile ...",
        *(
            f"    {told}; a.cu"
            for told in (
                "0:30, 16:10 left  compiling, 30 of 500 units",
                "1:00, 15:40 left  compiling, 60 of 500 units",
                "1:30, 15:10 left  compiling, 90 of 500 units",
            )
        ),
    ]


@pytest.mark.parametrize(
    ("asked", "variables", "coloured"),
    [
        (Colour.AUTO, {}, True),
        (Colour.AUTO, {"NO_COLOR": "1"}, False),
        (Colour.AUTO, {"NO_COLOR": ""}, True),
        (Colour.AUTO, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (Colour.AUTO, {"TERM": "dumb"}, False),
        (Colour.NEVER, {"FORCE_COLOR": "1"}, False),
        (Colour.ALWAYS, {"NO_COLOR": "1"}, True),
    ],
)
def test_marks_are_coloured_as_the_user_wants(
    terminal: _Terminal,
    monkeypatch: pytest.MonkeyPatch,
    asked: Colour,
    variables: dict[str, str],
    coloured: bool,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    console = Console(stream=terminal, colour=asked)
    with console.step("fine"):
        pass
    console.say("note: the target is new")
    console.fail("retread: plan: no lane")
    assert [word in terminal.getvalue() for word in ("\x1b[32m", "\x1b[33mnote:\x1b[0m")] == [coloured] * 2
    assert ("\x1b[1;31mretread: plan:\x1b[0m no lane" in terminal.getvalue()) is coloured


def test_a_pipe_is_coloured_only_when_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, forced = io.StringIO(), io.StringIO()
    Console(stream=plain).say("note: x")
    monkeypatch.setenv("FORCE_COLOR", "1")
    Console(stream=forced).say("note: x")
    assert (plain.getvalue(), forced.getvalue()) == ("note: x\n", "\x1b[33mnote:\x1b[0m x\n")


def test_colour_takes_no_room(clock: _Clock) -> None:
    out = io.StringIO()
    with Console(stream=out, colour=Colour.ALWAYS, clock=clock).step("x"):
        pass
    assert len(re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())) == COLUMNS + 1


def test_apart_a_console_alone_writes_to_standard_error() -> None:
    code = (
        "import os, sys\n"
        "from retread.doors.console import Console\n"
        "console = Console()\n"
        "with console.apart():\n"
        "    os.write(2, b'of a library')\n"
        "    console.say('of ours')\n"
        "console.say('and after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "of ours\nand after\n"
