"""Sessions that ask a server again, which is overloaded or restarts, and say so meanwhile.

No answer's body is read but that of a good one: urllib3 before it tries again, and requests before it follows to
another address, would read to an end that a server need not send.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from retread import limits
from retread.doors.net import asking
from retread.doors.net.timely import Timely

if TYPE_CHECKING:
    from retread.doors.net.settings import Settings

_PASSING: Final = frozenset({429, 500, 502, 503, 504})
"""Answers that another moment may change: too many requests, a fault, a proxy whose server is gone or slow."""


_BAD: Final = 300
"""Answers from here on are no files and no pages."""


@contextmanager
def session(
    using: Settings, *, waits: Sequence[float] | None = None, at_home: bool = False
) -> Iterator[requests.Session]:
    """Yield a session with the user's settings whose requests are made again after answers that pass.

    ``waits`` are the seconds before each time, the usual ones unless they are given. One that is ``at_home`` does not
    follow to another server: what that says is nothing that this one has.
    """
    deadline = _Deadline()
    adapter = _Patience(using.say, asking.WAITS if waits is None else waits, deadline)
    with _Session(deadline, at_home=at_home) as made:
        made.verify, made.max_redirects = using.verify, limits.REDIRECTS
        for scheme in ("http://", "https://"):
            made.mount(scheme, adapter)
        yield made


class _Deadline:
    """The time in which the body of an answer has to begin, whatever comes before it."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._end = time.monotonic() + limits.REACHED

    def left(self) -> float:
        """Return how many seconds are left; Timeout when none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise requests.Timeout("timed out")
        return left


class _Session(requests.Session):
    """A session in which each request has one time for everything until its answer's body begins."""

    def __init__(self, deadline: _Deadline, *, at_home: bool) -> None:
        super().__init__()
        self._deadline, self._at_home = deadline, at_home

    def request(self, *given: Any, **options: Any) -> requests.Response:
        """Ask, and follow to where an answer sends on to."""
        self._deadline.start()
        return super().request(*given, **options)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer sends on to; at home nothing but the same server, where a login counts as well."""
        target = super().get_redirect_target(resp)
        leaves = target and self.should_strip_auth(resp.url, urljoin(resp.url, target))
        return None if self._at_home and leaves else target


class _Patience(Timely):
    """What sends requests; where a connection breaks it is not tried again, since downloads are resumed."""

    def __init__(self, say: Callable[[str], None], waits: Sequence[float], deadline: _Deadline) -> None:
        super().__init__()
        self._say, self._waits, self._deadline = say, waits, deadline

    def send(self, request: requests.PreparedRequest, *given: Any, **options: Any) -> requests.Response:
        """Return the answer, that of the last try; a bad one is without its body."""
        asked = options.get("timeout")
        for usual in (*self._waits, None):
            options["timeout"] = self._timeout(asked)
            response = super().send(request, *given, **options)
            if response.status_code < _BAD:
                break
            response.close()
            if usual is None or response.status_code not in _PASSING:
                break
            self._wait(response, usual)
        return response

    def _timeout(self, asked: Any) -> tuple[float, float]:
        """Return the seconds to connect, and until the head has come: what was asked for, or what is left if less."""
        left = self._deadline.left()
        connect, pause = asked if isinstance(asked, tuple) else (asked, asked)
        return min(connect or left, left), min(pause or left, left)

    def _wait(self, response: requests.Response, usual: float) -> None:
        """Wait as long as the server asks for, a minute at most, or a while that grows."""
        try:
            asked = Retry().parse_retry_after(response.headers["Retry-After"])
        except (KeyError, HTTPError, ValueError, OverflowError):
            asked = usual
        seconds = min(asked, limits.RETRY_AFTER)
        if seconds >= self._deadline.left():
            raise requests.Timeout("timed out")
        self._say(f"  the server answered {response.status_code}; it is asked again in {seconds:.0f} s")
        time.sleep(seconds)
