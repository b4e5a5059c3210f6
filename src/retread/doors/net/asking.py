"""How servers are asked: for what, how patiently, and how failures are told without secrets."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from retread import limits
from retread.records import Sha256

TIMEOUT = (limits.CONNECT, limits.PAUSE)
"""Seconds to connect, and between two pieces of an answer."""
ASKING = limits.ASKED
"""The same where nothing is to be downloaded."""
WAITS = (1.0, 4.0, 15.0)
"""Seconds before a server is asked again that answered 500 or the like: one that restarts is back within 20."""
CHECK = "check the index settings (PIP_INDEX_URL, UV_DEFAULT_INDEX, pip's configuration) and the network"


class Wanted(NamedTuple):
    """A file pinned by digest, and the project on whose index page it stands."""

    project: str
    file: str
    sha256: Sha256


def reason(error: Exception) -> str:
    """Return in a few words why a request failed."""
    from requests import ConnectionError as NoConnection
    from requests import HTTPError, Timeout
    from requests.exceptions import SSLError

    if isinstance(error, HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, Timeout) or "timed out" in str(error):
        return "the server did not answer in time"
    if isinstance(error, SSLError) and "certificate" in str(error).lower():
        return "the server's certificate is not trusted; REQUESTS_CA_BUNDLE names one that is"
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
