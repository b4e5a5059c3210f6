"""Sessions that ask a server again, which is overloaded or restarts, and say so meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from retread import limits
from retread.doors.net import asking

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

    from retread.doors.net.settings import Settings

_PASSING: Final = frozenset({429, 500, 502, 503, 504})
"""Answers that another moment may change: too many requests, a fault, a proxy whose server is gone or slow."""


@contextmanager
def session(using: Settings) -> Iterator[requests.Session]:
    """Yield a session with the user's settings whose requests are made again after answers that pass."""
    adapter = HTTPAdapter(max_retries=_Patience.with_words(using.say))
    with requests.Session() as made:
        made.verify = using.verify
        for scheme in ("http://", "https://"):
            made.mount(scheme, adapter)
        yield made


class _Patience(Retry):
    """What urllib3 asks whether to try again; connections that break are not, since downloads are resumed."""

    say: Callable[[str], None]

    @classmethod
    def with_words(cls, say: Callable[[str], None]) -> _Patience:
        """Return one that tells each waiting."""
        made = cls(
            total=None, connect=0, read=False, redirect=0, other=0, status=len(asking.WAITS),
            status_forcelist=_PASSING, raise_on_status=False,
        )  # fmt: skip
        made.say = say
        return made

    def new(self, **changes: Any) -> _Patience:
        """Return the same after another answer."""
        made = super().new(**changes)
        made.say = self.say
        return made

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        """Wait as long as the server asks for, a minute at most, or a while that grows."""
        asked = self.get_retry_after(response) if response else None
        usual = asking.WAITS[min(len(self.history), len(asking.WAITS)) - 1]
        seconds = usual if asked is None else min(asked, limits.RETRY_AFTER)
        status = response.status if response else "nothing"
        self.say(f"  the server answered {status}; it is asked again in {seconds:.0f} s")
        time.sleep(seconds)
