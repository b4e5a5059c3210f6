"""The cores of this process, and work that is spread over them.

By threads: what takes long here (inflating, hashing, unpacking, waiting for a disk) lets the others go on meanwhile.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Final, Generic, TypeVar

from retread.records import T

R = TypeVar("R")
_KEPT: Final = {-1: 16 << 20, -3: 8 << 20}
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in bytes. Measured: looking into a wheel of 1 GB took 160,000 faults and 0.9 s
of the kernel, with these 18,000 and 0.6 s; making an index of 10,000 wheels anew 34,000, with these 24,000."""
_SWITCH: Final = 0.001
"""Seconds. Measured: reading a library beside a thread that computes takes 112 ms with 5 ms, 72 ms with 1 ms, 81 ms
with 0.5 ms, and 35 ms alone."""


def count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def spread(do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what ``do`` makes of each item, in the order of the items, which are begun in that order.

    Who asks works, too, and helpers are the same for the whole process: work that is spread within spread work takes no
    more threads than there are cores, and waits for nobody who waits. After a failure nothing more is begun; the first
    one, in the order of the items, is raised once what runs has ended.
    """
    work = _Work(do, items)
    helpers = [_helpers().submit(work.run) for _ in range(count() - 1)]
    try:
        work.run()
    finally:
        work.stopped = True
        for one in helpers:
            if not one.cancel():
                one.result()
    if work.failed:
        raise work.failed[min(work.failed)]
    return [work.done[index] for index in range(len(work.done))]


@functools.cache
def keep_memory() -> None:
    """Let the C library keep what is freed for the next chunk: a page that is asked for again costs a fault.

    glibc alone has these settings. Work that is spread has them; so should be what makes and frees much by itself.
    """
    import ctypes

    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for setting, size in _KEPT.items():
            mallopt(setting, size)


class Beside(Generic[R]):
    """Something that is done while who asked for it does something else."""

    def __init__(self, do: Callable[[], R]) -> None:
        self._do = do
        self._running = _helpers().submit(do)

    def result(self) -> R:
        """Return what it gave, or raise what it raised; what nobody has begun is done now."""
        return self._do() if self._running.cancel() else self._running.result()

    def __enter__(self) -> Beside[R]:
        return self

    def __exit__(self, *_: object) -> None:
        """End it: what runs is waited for, what nobody has begun is not begun."""
        if not self._running.cancel():
            self._running.exception()


class _Work(Generic[T, R]):
    """Items that several threads take from, and what became of them by their place."""

    def __init__(self, do: Callable[[T], R], items: Iterable[T]) -> None:
        self._do, self._todo, self._lock = do, iter(enumerate(items)), Lock()
        self.done: dict[int, R] = {}
        self.failed: dict[int, Exception] = {}
        self.stopped = False

    def run(self) -> None:
        """Do one after the other until none is left."""
        while one := self._next():
            try:
                self.done[one[0]] = self._do(one[1])
            except Exception as error:
                self.failed[one[0]] = error

    def _next(self) -> tuple[int, T] | None:
        with self._lock:
            return None if self.failed or self.stopped else next(self._todo, None)


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """Return the threads that help.

    Whoever comes back from inflating or hashing a chunk, some hundred microseconds, waits for the interpreter's lock as
    long as the switch interval at worst: by default 5 ms.
    """
    sys.setswitchinterval(_SWITCH)
    keep_memory()
    return ThreadPoolExecutor(count(), thread_name_prefix="retread-helper")
