"""How a job's command is started, and what is known of it when it ended: the one place that another way can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from retread.jobs.job import Needs


class Ended(NamedTuple):
    """What a command left."""

    code: int
    """Its exit code; minus the number of the signal that killed it."""
    stdout: str
    memory: int
    """Bytes at its peak, as far as it was measured; 0 where it was not."""
    limit: int | None = None
    """Bytes that it was held to; None where nothing held it."""
    killed: bool = False
    """Whether it is known that it was killed for memory."""


class Launcher(Protocol):
    """A way to run a command for a job: it ends with all that it started, however this process ends."""

    def __call__(
        self,
        command: Sequence[str | Path],
        needs: Needs,
        *,
        env: Mapping[str, str],
        heard: Callable[[str], None],
    ) -> Ended:
        """Run a command with ``env`` alone; ``heard`` gets each line of its standard error."""
