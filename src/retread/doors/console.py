"""The one door to the terminal: stdout is data, stderr is talk.

A step is one line that ends with a mark and its seconds, 80 columns wide at most. On a terminal it stands there from
its start, with a clock, and is written over; elsewhere it is named when it takes more than a moment, and says every 30
seconds how far it is. A command that is at work outside of a step shows a clock, too, or says so, when nothing else was
said for as long. In CI the lines of a build fold.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from retread.text import controls
from retread.text.colour import Colour, marked, painted, wanted
from retread.text.tables import middle
from retread.units import clock, size

COLUMNS: Final = 80
"""How wide a finished line is at most: what a terminal has that nobody widened, and logs of CI show."""
_ROOM: Final = COLUMNS - len("  ") - len(" failed 9999.9 s")
"""What of that is left for a step's title and detail."""
_NAMED: Final = 2.0
"""Seconds after which a step that runs is named where nothing can be written over, and a command on a terminal: most
are done before, and what they did stands in their finished line."""
_SPOKEN: Final = 30.0
"""Seconds after which it says again that it runs: CI systems and people take silence for a hang."""
_DRAWN: Final = 0.1
"""Seconds between two drawings of a line at least: more is not seen."""
_BEAT: Final = 1.0
"""Seconds between two looks at the clock."""
NOTE: Final = "note:"
"""What a line begins with that says what became of the product other than was asked for."""
_CI: Final = "GITHUB_ACTIONS"


class Step:
    """A running step, to which work reports how far it is."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._started = self._spoken = console.clock()
        self._drawn = -_DRAWN
        self._named = False
        self._now = ""
        self._end: float | None = None
        """When it will be done, by the console's clock, if that can be told."""
        self.detail = ""
        """What the finished line says after the title."""
        self.mark = "ok"
        """What it ends with; ``failed`` of work that was done and found a fault."""

    def phase(self, text: str) -> None:
        """Say what is done now, in a few words."""
        self._reach(text, None)

    def progress(self, done: int, total: int, unit: str = "") -> None:
        """Say that ``done`` of ``total`` is reached; what remains follows from the pace."""
        amount = (
            size(done) + (f" of {size(total)}" if total else "")
            if unit == "B"
            else f"{done} of {total} {unit}".rstrip()
        )
        spent = self.seconds
        left = spent * (total - done) / done if done and total > done and spent > 1 else None
        self._reach(amount, left, last=done >= total)

    def units(
        self, phase: str, done: int, known: int | None, left: float | None, now: str, *, of: str = "units"
    ) -> None:
        """Say how far a build is: its phase, how many units are done of how many, and what is compiled.

        ``known`` is None where nobody can tell how many there will be, ``left`` where nobody knows the seconds.
        """
        counted = f"{done} of {known} {of}" if known is not None else f"{done} {of} done"
        self._reach(f"{phase}, {counted}" + (f"; {now}" if now else ""), left)

    def _reach(self, text: str, left: float | None, *, last: bool = False) -> None:
        self._now = text
        self._end = None if left is None else self._console.clock() + left
        self.tick(last=last)

    def tick(self, *, last: bool = False) -> None:
        """Show that it runs and how far it is, as often as its reader wants; ``last`` shows it in any case."""
        console, moment = self._console, self._console.clock()
        with console.lock:
            if console.live:
                if last or moment - self._drawn >= _DRAWN:
                    self._drawn = moment
                    console.over(f"  {self._title}  {self._told()}")
                return
            if not self._named and moment - self._started >= _NAMED:
                self._named = True
                console.say(f"  {self._title} ...")
            if moment - self._spoken >= _SPOKEN:
                self._spoken = moment
                console.say(f"    {self._told()}")

    def _told(self) -> str:
        """Return the clock, how far it is and what remains."""
        words = [clock(self.seconds)]
        if self._end is not None:
            words.append(f"{clock(max(0.0, self._end - self._console.clock()))} left")
        return "  ".join([", ".join(words), self._now]).rstrip()

    def line(self, mark: str) -> str:
        """Return the finished line, which ends with what became of it and its seconds."""
        detail = f": {controls.line(self.detail)}" if self.detail else ""
        text = middle(controls.line(self._title), max(_ROOM - len(detail), _ROOM // 2)) + detail
        spent = f"{self.seconds:.1f}" if self.seconds < 10_000 else f"{self.seconds:.0f}"
        ending = painted(f"{mark:>6}", mark) if self._console.coloured else f"{mark:>6}"
        return f"  {middle(text, _ROOM):<{_ROOM}} {ending} {spent:>6} s"

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return self._console.clock() - self._started


class _Command:
    """What is at work when no step runs; it only speaks up when nothing else was said for a while."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._started = console.clock()

    def tick(self) -> None:
        """Show that it is at work, where nobody heard of it lately."""
        console, moment = self._console, self._console.clock()
        with console.lock:
            silent = moment - max(console.heard, self._started)
            told = f"  {self._title}  {clock(moment - self._started)}"
            if console.live and silent >= _NAMED:
                console.over(told)
            elif not console.live and silent >= _SPOKEN:
                console.say(told)


class Console:
    """Where the talk goes; ``quiet`` leaves errors, and notes on what changes the product."""

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        quiet: bool = False,
        colour: Colour = Colour.AUTO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        terminal = self._stream.isatty()
        self.quiet = quiet
        self.live = not quiet and terminal and os.environ.get("TERM") != "dumb"
        self.coloured = wanted(colour, os.environ, terminal=terminal)
        self.clock = clock
        """Seconds of a clock that only goes on."""
        self.heard = clock()
        """When a line was finished last."""
        self.lock = threading.RLock()
        self._folds = os.environ.get(_CI) == "true" and not quiet
        self._running: list[Step | _Command] = []
        self._told: set[str] = set()
        self._over = threading.Event()

    def say(self, text: str) -> None:
        """Write a line of talk; what begins with ``note:`` is of the product itself, and written quiet or not."""
        if not self.quiet or text.lstrip().startswith(NOTE):
            self._write(text)

    def once(self, text: str) -> None:
        """Say what many things have in common, and what was said before not again."""
        if text not in self._told:
            self._told.add(text)
            self.say(text)

    def fail(self, text: str) -> None:
        """Write an error, quiet or not."""
        self._write(text)

    def _write(self, text: str) -> None:
        told = controls.shown(text)
        with self.lock:
            self.make_way()
            self._put(f"{marked(told) if self.coloured else told}\n")

    def make_way(self) -> None:
        """Take away what would be written over: a whole line follows, here or on standard output."""
        with self.lock:
            self._clear()
            self.heard = self.clock()

    def over(self, text: str) -> None:
        """Show a line that the next one replaces."""
        width = os.get_terminal_size(self._stream.fileno()).columns if self.live else COLUMNS
        with self.lock:
            self._clear()
            self._put(controls.line(text)[: width - 1])

    def _clear(self) -> None:
        if self.live:
            self._put("\r\x1b[K")

    def _put(self, text: str) -> None:
        """Write to the stream; talk that it does not take is lost, but a reader who has gone ends the command."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError:  # a full disk behind it
            return

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let nobody but this console write to standard error in the block, not even a library that is no Python."""
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        stream = self._stream
        with open(kept, "w", encoding="utf-8", errors="backslashreplace") as own:  # noqa: PTH123
            os.dup2(nowhere, 2)
            try:
                if stream is sys.__stderr__:
                    self._stream = own
                yield
            finally:
                os.dup2(kept, 2)
                os.close(nowhere)
                self._stream = stream

    @contextmanager
    def fold(self, title: str) -> Iterator[None]:
        """Group the lines of a block where CI can fold them."""
        self.say(f"::group::{title}" if self._folds else title)
        try:
            yield
        finally:
            if self._folds:
                self.say("::endgroup::")

    @contextmanager
    def attended(self, title: str) -> Iterator[None]:
        """Let a whole command say that it is at work, whenever nothing else is said until the block ends."""
        command = _Command(self, title)
        self._begin(command)
        try:
            yield
        finally:
            self._finish(command)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Run a block as one step; its line ends with a mark and its seconds, whatever happens."""
        step = Step(self, title)
        self._begin(step)
        try:
            yield step
        except BaseException:
            self._end(step, "failed")
            raise
        self._end(step, step.mark)

    def _begin(self, one: Step | _Command) -> None:
        with self.lock:
            self._running.append(one)
            if len(self._running) == 1 and not self.quiet:
                self._over = threading.Event()
                threading.Thread(target=self._beat, args=(self._over,), daemon=True).start()
        self.tick()

    def _end(self, step: Step, mark: str) -> None:
        self._finish(step)
        if not self.quiet:
            with self.lock:
                self.make_way()
                self._put(f"{step.line(mark)}\n")

    def _finish(self, one: Step | _Command) -> None:
        with self.lock:
            self._running.remove(one)
            if not self._running:
                self._over.set()
            self._clear()

    def tick(self) -> None:
        """Let what began last show that it runs, as often as its reader wants."""
        with self.lock:
            if self._running and not self.quiet:
                self._running[-1].tick()

    def _beat(self, over: threading.Event) -> None:
        """Look at the clock until nothing runs; a reader who has gone is told by others."""
        with suppress(OSError, ValueError):
            while not over.wait(_BEAT):
                with self.lock:
                    if not over.is_set():
                        self.tick()
