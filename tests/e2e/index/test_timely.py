"""The head of an answer: it has the time of the request as a whole, whatever is sent meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from urllib3.exceptions import InvalidHeader

from retread.doors.net import asking, catalogue, download, timely
from retread.doors.net.asking import Wanted
from retread.doors.net.settings import Settings
from retread.records import Sha256

WANTED = Wanted("demo", "demo-1.0.tar.gz", Sha256(64 * "0"))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
SLOW = {
    "a status line": (b"HTTP/1.1 20", b"0"),
    "a header": (HEAD + b"X-More: ", b"x"),
    "headers": (HEAD, b"X: x\r\n"),
    "interim answers without an end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
"""What begins well -> what comes then, bit by bit, for ever."""
Serve = Callable[[bytes, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that send a beginning and then more and more, slowly, and say where they are."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(line: socket.socket, begin: bytes, more: bytes) -> None:
        with line, suppress(OSError):
            line.sendall(begin)
            while not over.wait(0.01):
                line.sendall(more)

    def accept(begin: bytes, more: bytes) -> None:
        with suppress(OSError):
            while not over.is_set():
                threading.Thread(target=answer, args=(listener.accept()[0], begin, more), daemon=True).start()

    def serve(begin: bytes, more: bytes) -> str:
        threading.Thread(target=accept, args=(begin, more), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    over.set()
    listener.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", (0.1, 0.1))
    monkeypatch.setattr(catalogue, "ASKING", 0.1)
    monkeypatch.setattr(download, "ASKING", 0.1)


def using(address: str) -> Settings:
    return Settings(indexes=(address,), folders=(), verify=True)


@pytest.mark.parametrize("name", SLOW)
def test_a_head_that_never_ends_is_no_answer(serve: Serve, name: str) -> None:
    host = serve(*SLOW[name])
    said = catalogue.index_absence(WANTED, using=using(f"http://{host}/simple/"))
    assert f"http://{host}/simple/: the server did not answer in time" in said
    base = f"http://{host}/files"
    assert (
        download.absence(base, "a.whl", using=using("")) == f"{base}/a.whl: the server did not answer in time"
    )


def test_an_answer_whose_head_is_refused_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has it then: left open, its connection would stay until the collector comes by."""
    made: list[timely._Answer] = []
    closed: list[bool] = []
    begin, ask = timely._Answer.begin, timely._Connection.getresponse

    def noted(answer: timely._Answer) -> None:
        made.append(answer)
        begin(answer)

    def asked(connection: timely._Connection) -> object:
        try:
            return ask(connection)
        except InvalidHeader:
            closed.extend(answer.isclosed() for answer in made)
            raise

    monkeypatch.setattr(timely._Answer, "begin", noted)
    monkeypatch.setattr(timely._Connection, "getresponse", asked)
    host = serve(HEAD + b"Connection: close\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"x")
    said = catalogue.index_absence(WANTED, using=using(f"http://{host}/simple/"))
    assert said.endswith("the connection broke (InvalidHeader)")
    assert closed == [True]


def test_neither_is_a_handshake_that_never_ends(serve: Serve) -> None:
    host = serve(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\x03")
    base = f"https://{host}/files"
    assert (
        download.absence(base, "a.whl", using=using("")) == f"{base}/a.whl: the server did not answer in time"
    )


def test_nor_is_a_proxy_that_never_ends_to_say_that_it_is_there(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{serve(*SLOW['a header'])}")
    monkeypatch.setenv("no_proxy", "")
    said = download.absence("https://demo.invalid", "a.whl", using=using(""))
    assert said == "https://demo.invalid/a.whl: the server did not answer in time"


def test_a_body_may_take_longer_than_its_head(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue.limits, "PAGE", 30)
    host = serve(HEAD + b"\r\n", b"x")
    assert "sends more than the 0 kB that are taken" in catalogue.index_absence(
        WANTED, using=using(f"http://{host}/simple/")
    )
