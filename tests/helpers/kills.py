"""Kill a process at a chosen moment: before one of its changes to the disk, or halfway through writing a file.

Python tells its audit hooks of every call that changes the disk, whoever makes it; so the moments can be counted, and
one of them be met again.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_CHANGES = frozenset(
    f"os.{name}" for name in ("chmod", "link", "mkdir", "remove", "rename", "rmdir", "symlink", "truncate")
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
KILLS = int(os.environ.get("KILLS", "0"))
"""How many moments are tried in each test; a few when nothing is said."""


class Moment(NamedTuple):
    """When to kill: before change number ``at``, or when a file has grown to ``size`` bytes."""

    at: int = 0
    size: int = 0


def moments(changes: int, few: int, sizes: tuple[int, ...] = ()) -> Iterator[Moment]:
    """Yield every size, then changes that are spread over all of them: the same ones each time."""
    yield from (Moment(size=size) for size in sizes)
    chosen = random.Random(1).sample(range(1, changes + 1), min(KILLS or few, changes))
    yield from (Moment(at=at) for at in sorted(chosen))


def changes(act: Callable[[], object]) -> int:
    """Return how many changes to the disk ``act`` makes; it runs in a child."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        counter = _Counter(0)
        _run(act, counter)
        os.write(writer, str(counter.seen).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        found = int(told.read() or "0")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found
    return found


def killed(act: Callable[[], object], moment: Moment) -> bool:
    """Run ``act`` in a child that is killed at a moment; say whether it came to that."""
    child = os.fork()
    if not child:
        if moment.size:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (moment.size, moment.size))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        _run(act, _Counter(moment.at))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, -signal.SIGKILL, -signal.SIGXFSZ}, code
    return code != 0


class _Counter:
    """Counts changes to the disk, and kills its process before one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES or (event == "open" and arguments[2] is not None and arguments[2] & _WRITES):
            self.seen += 1
            if self.seen == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def _run(act: Callable[[], object], counter: _Counter) -> None:
    try:
        sys.addaudithook(counter)
        act()
    except BaseException:
        os._exit(1)
