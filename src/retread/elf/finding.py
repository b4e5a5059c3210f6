"""Where signs begin in bytes, found by the C library.

Its ``memmem`` takes a third of the time of ``re`` and a quarter of that of ``bytes.find``. The interpreter's lock is
kept meanwhile: a window takes 30 µs, and to come by the lock again takes longer when other threads are at work.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from retread.elf.device import WINDOW


class Finder:
    """Looks through windows of a file; each is copied once, into memory that is there, and stays in the cache."""

    def __init__(self) -> None:
        self._memory = (ctypes.c_char * WINDOW)()
        self._memmem = ctypes.PyDLL(None).memmem
        self._memmem.restype = ctypes.c_void_p
        self._memmem.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)

    def __call__(self, window: memoryview, signs: Sequence[bytes]) -> list[int]:
        """Return where in a window of at most ``WINDOW`` bytes any of the signs begins, in order."""
        memoryview(self._memory).cast("B")[: len(window)] = window
        return sorted(at for sign in signs for at in self._each(sign, len(window)))

    def _each(self, sign: bytes, size: int) -> list[int]:
        start = at = ctypes.addressof(self._memory)
        found = list[int]()
        while at := self._memmem(at, start + size - at, sign, len(sign)):
            found.append(at - start)
            at += 1
        return found
