"""Why a request failed, in a few words."""

from __future__ import annotations

import pytest
import requests

from retread.doors.net import asking


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            requests.exceptions.SSLError("certificate verify failed"),
            "the server's certificate is not trusted",
        ),
        (requests.exceptions.SSLError("EOF occurred"), "no connection"),
        (requests.ConnectionError("refused"), "no connection"),
        (requests.Timeout("x"), "did not answer in time"),
        (requests.RequestException("x"), "the connection broke (RequestException)"),
    ],
)
def test_a_failure_is_told_in_words_that_help(error: Exception, words: str) -> None:
    assert words in asking.reason(error)
