"""An answer's bytes as they come: no more than are taken, and no slower than anybody would wait for.

A timeout holds a pause between two pieces alone. A server that sends a byte a minute, or does not stop, is told here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from retread import limits, units
from retread.doors import fs

if TYPE_CHECKING:
    import requests


class TransferError(Exception):
    """The bytes of an answer are too many, come too slowly, or stop; the text is for people."""


class Pace:
    """What comes, or goes, in a time, held to the least that is waited for."""

    def __init__(self, now: float, does: str = "sends") -> None:
        self._since = now
        self._does = does
        self._count = 0

    def note(self, count: int, now: float) -> None:
        """Count bytes that came; TransferError when too few came over the time that is looked at."""
        self._count += count
        elapsed = now - self._since
        if elapsed < limits.PACE_OVER:
            return
        if self._count < limits.PACE * elapsed:
            raise TransferError(
                f"the server {self._does} {self._count / elapsed:.0f} bytes a second; {limits.PACE:,} are waited for"
            )
        self._since, self._count = now, 0


def pieces(
    response: requests.Response, most: int, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """Yield a body, unpacked, as it comes; TransferError as the class says."""
    from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError

    have, pace = 0, Pace(clock())
    while True:
        try:
            piece = response.raw.read1(fs.CHUNK, decode_content=True)
        except ReadTimeoutError:
            raise TransferError("the server did not answer in time") from None
        except DecodeError:
            raise TransferError("what the server sends is not packed as it says") from None
        except (HTTPError, OSError) as error:
            raise TransferError(f"the connection broke ({type(error).__name__})") from None
        if not piece:
            return
        have += len(piece)
        if have > most:
            raise TransferError(f"the server sends more than the {units.size(most)} that are taken")
        pace.note(len(piece), clock())
        yield piece


def body(response: requests.Response, most: int, *, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Return a body, unpacked, that has to come within the time of a page."""
    end, found = clock() + limits.PAGE_TIME, []
    for piece in pieces(response, most, clock=clock):
        found.append(piece)
        if clock() > end:
            raise TransferError(f"the server did not send all of it within {limits.PAGE_TIME:.0f} s")
    return b"".join(found)


def announced(response: requests.Response) -> int:
    """Return how many bytes a body is said to have; 0 when nothing is said, or what is no number."""
    said = response.headers.get("Content-Length", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
