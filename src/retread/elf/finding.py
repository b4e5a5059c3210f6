"""Where GPU code may begin in bytes, found by the C library.

Its ``memmem`` takes a third of the time of ``re`` and a quarter of that of ``bytes.find``. The interpreter's lock is
kept meanwhile: to come by it again takes longer when other threads are at work.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from retread.elf.device import SIGNS, START_LENGTH, WINDOW, begins

_REST: Final = START_LENGTH - 1
"""Bytes in which one may begin that goes on behind them."""
_MANY: Final = 1000
"""Signs in a chunk that begin nothing, after which nobody looks on."""


class Finder:
    """Looks through windows of a file; each is copied once, into memory that is there, and stays in the cache."""

    def __init__(self) -> None:
        self._memory = (ctypes.c_char * WINDOW)()

    def __call__(self, window: memoryview) -> Sequence[int]:
        """Return where in a window of at most ``WINDOW`` bytes any of the signs begins, in order."""
        memoryview(self._memory).cast("B")[: len(window)] = window
        start = ctypes.addressof(self._memory)
        return sorted(at for sign in SIGNS for at in _each(sign, start, len(window)))


class Passing:
    """Looks at a file while it passes by, up to where GPU code may begin: that much need not be read again for it."""

    def __init__(self) -> None:
        self.bare = 0
        """So many bytes at the start of the file in which none begins."""
        self._seen, self._tail = 0, b""
        self._open = True

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks, each once it was looked at."""
        for chunk in chunks:
            if self._open:
                self._look(chunk)
            yield chunk

    def _look(self, chunk: bytes) -> None:
        joint = self._tail + chunk[:_REST]
        self._open = not (any(begins(joint, at) for at in range(len(joint))) or _holds(chunk))
        if self._open:
            self._seen += len(chunk)
            self.bare = max(0, self._seen - _REST)
            self._tail = (joint if len(chunk) <= _REST else chunk)[-_REST:]


def _holds(chunk: bytes) -> bool:
    """Say whether GPU code may begin in a chunk: where it does, or where very many signs of it begin nothing."""
    start = ctypes.cast(ctypes.c_char_p(chunk), ctypes.c_void_p).value or 0
    for sign in SIGNS:
        for number, at in enumerate(_each(sign, start, len(chunk))):
            if number == _MANY or begins(chunk, at):
                return True
    return False


def _each(sign: bytes, start: int, size: int) -> Iterator[int]:
    """Yield where in some memory a sign begins."""
    memmem, at = _memmem(), start
    while at := memmem(at, start + size - at, sign, len(sign)):
        yield at - start
        at += 1


@functools.cache
def _memmem() -> Callable[[int, int, bytes, int], int]:
    found = ctypes.PyDLL(None).memmem
    found.restype = ctypes.c_void_p
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    return found
