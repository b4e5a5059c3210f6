"""The one door to the terminal: stdout is data, stderr is talk.

A step is one line that ends with a mark and its seconds. Long work shows what remains: on a terminal as a line that
is written over, elsewhere as nothing until the step ends. In CI the lines of a build fold.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from retread.units import size

_QUIET_SECONDS = 60
"""Where nothing can be drawn over, how far a step is gets a line this often: a compile of an hour has 60."""


class Step:
    """A running step, to which work reports how far it is."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._started = time.monotonic()
        self._shown = 0.0
        self.detail = ""
        """What the finished line says after the title."""

    def progress(self, done: int, total: int, unit: str = "") -> None:
        """Show that ``done`` of ``total`` is reached, with the time that remains at this pace; at most 10 a second."""
        now = time.monotonic()
        if not self._console.live or (now - self._shown < 0.1 and done < total):
            return
        self._shown = now
        amount = (
            size(done) + (f" of {size(total)}" if total else "")
            if unit == "B"
            else f"{done} of {total} {unit}"
        )
        spent = now - self._started
        left = f", {spent * (total - done) / done:.0f} s left" if done and total > done and spent > 1 else ""
        self._console.over(f"  {self._title}: {amount}{left}")

    def units(self, done: int, known: int, left: float | None, now: str) -> None:
        """Show how many units of a long build are done; where lines are not written over, one line a minute."""
        text = f"{done} of {known} units"
        if left is not None:
            text += f", {left / 60:.0f} min left" if left > 90 else f", {left:.0f} s left"
        text += f"; {now}" if now else ""
        clock = time.monotonic()
        if self._console.live:
            self._console.over(f"  {self._title}: {text}")
        elif clock - max(self._shown, self._started) > _QUIET_SECONDS:
            self._shown = clock
            self._console.say(f"    {text}")

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._started


class Console:
    """Where the talk goes; ``quiet`` leaves only errors."""

    def __init__(self, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self.quiet = quiet
        self.live = not quiet and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._folds = os.environ.get("GITHUB_ACTIONS") == "true" and not quiet

    def say(self, text: str) -> None:
        """Write a line of talk."""
        if not self.quiet:
            self._clear()
            print(text, file=self._stream, flush=True)

    def fail(self, text: str) -> None:
        """Write an error, quiet or not."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def over(self, text: str) -> None:
        """Show a line that the next one replaces."""
        width = os.get_terminal_size(self._stream.fileno()).columns if self.live else 80
        self._clear()
        self._stream.write(text[: width - 1])
        self._stream.flush()

    def _clear(self) -> None:
        if self.live:
            self._stream.write("\r\x1b[K")

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
    def step(self, title: str) -> Iterator[Step]:
        """Run a block as one step; its line ends with a mark and its seconds, whatever happens."""
        step = Step(self, title)
        try:
            yield step
        except BaseException:
            self.say(f"  {title:<44} failed  {step.seconds:6.1f} s")
            raise
        self.say(f"  {title + (': ' + step.detail if step.detail else ''):<72} ok {step.seconds:6.1f} s")
