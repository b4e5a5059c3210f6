"""How servers are asked: for what, how patiently, and how failures are told without secrets."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from retread import limits
from retread.records import Sha256

if TYPE_CHECKING:
    import requests

TIMEOUT = (limits.CONNECT, limits.PAUSE)
"""Seconds to connect, and between two pieces of an answer."""
ASKING = limits.ASKED
"""The same where nothing is to be downloaded."""
CHECK = "check the index settings (PIP_INDEX_URL, UV_DEFAULT_INDEX, pip's configuration) and the network"


PAUSES = (0.5, 2.0)
"""Seconds after which a server at fault is asked again, each time: one that restarts is back by then."""
_AT_FAULT: Final = {500, 502, 503, 504}


class Wanted(NamedTuple):
    """A file pinned by digest, and the project on whose index page it stands."""

    project: str
    file: str
    sha256: Sha256


def session(verify: bool | str) -> requests.Session:
    """Return a session that checks certificates as told, and is not sent on for ever."""
    import requests

    made = requests.Session()
    made.verify, made.max_redirects = verify, limits.REDIRECTS
    return made


@contextmanager
def answered(
    asking: requests.Session, address: str, headers: Mapping[str, str], timeout: float | tuple[float, float]
) -> Iterator[requests.Response]:
    """Yield what a server answers, its body not read; one at fault is asked again, where there is time."""
    for pause in (*(PAUSES if timeout != ASKING else ()), None):
        response = asking.get(address, headers=headers, stream=True, timeout=timeout)
        if pause is None or response.status_code not in _AT_FAULT:
            break
        response.close()
        time.sleep(pause)
    with response:
        yield response


def reason(error: Exception) -> str:
    """Return in a few words why a request failed."""
    from requests import ConnectionError as NoConnection
    from requests import HTTPError, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    if isinstance(error, NoConnection):
        return "no connection"
    return f"the connection broke ({type(error).__name__})"


def with_secrets(address: str, index: str) -> str:
    """Return a file's address with the user and password of its index, if it is on the same host."""
    file, page = urlsplit(address), urlsplit(index)
    secrets, at, host = page.netloc.rpartition("@")
    if at and (file.scheme, file.netloc) == (page.scheme, host):
        return file._replace(netloc=f"{secrets}@{host}").geturl()
    return address
