"""The depot answers as S3 does, and never stands in a compile's way."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retread.compile.depot import Depot
from retread.errors import StoreError
from retread.lanes import caching
from retread.lanes.lane import Wish

KEY = "/shared/a/b/c/" + 64 * "a"


class Objects:
    """A shared cache that can be told to fail."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.fails: set[str] = set()

    def get(self, name: str) -> bytes | None:
        if "get" in self.fails:
            raise StoreError(f"cannot read redis://host/{name}: no answer")
        return self.held.get(name)

    def put(self, name: str, data: bytes) -> None:
        if "put" in self.fails:
            raise StoreError(f"cannot write redis://host/{name}: it answers NOPERM")
        self.held[name] = data


class Line(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


Ask = Callable[..., tuple[int, bytes]]


@contextmanager
def asking(depot: Depot) -> Iterator[Ask]:
    line = Line(depot.socket)

    def ask(method: str, path: str, data: bytes | None = None) -> tuple[int, bytes]:
        line.request(method, path, data)
        answer = line.getresponse()
        return answer.status, answer.read()

    try:
        yield ask
    finally:
        line.close()


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def said() -> list[str]:
    return []


def test_what_is_put_is_got_and_counted(objects: Objects, said: list[str]) -> None:
    with Depot("redis://:secret@host:6379/0?x=y", objects, said.append, gives=True) as depot:
        with asking(depot) as ask:
            assert ask("GET", KEY) == (404, b"")
            assert ask("PUT", KEY, b"object") == (200, b"")
            assert ask("GET", KEY) == (200, b"object")
            objects.fails = {"get"}
            assert ask("GET", KEY) == (200, b"object"), "sccache asks twice, and it is fetched once"
        assert (depot.taken, depot.given, depot.errors) == (1, 1, 0)
        assert depot.where == "redis://host:6379/0"
    assert objects.held == {KEY.removeprefix("/shared/"): b"object"}
    assert not depot.folder.exists()
    assert said == []


@pytest.mark.parametrize("path", ["/shared/.sccache_check", "/shared/../x", "/other/a", "/shared/a b", "/"])
def test_what_is_no_key_goes_no_further(objects: Objects, said: list[str], path: str) -> None:
    with Depot("s3://b", objects, said.append, gives=True) as depot, asking(depot) as ask:
        assert ask("PUT", path.replace(" ", "%20"), b"x") == (200, b"")
        assert ask("GET", path.replace(" ", "%20")) == (404, b"")
    assert objects.held == {}


def test_one_that_does_not_answer_is_asked_once(objects: Objects, said: list[str]) -> None:
    objects.fails = {"get"}
    with Depot("s3://b", objects, said.append, gives=True) as depot, asking(depot) as ask:
        assert ask("GET", KEY)[0] == ask("GET", KEY)[0] == 404
        assert ask("PUT", KEY, b"object")[0] == 200
        assert (depot.errors, depot.given) == (1, 0)
    assert objects.held == {}
    (told,) = said
    assert told.startswith("    note: cannot read redis://host/a/b/c/aaa")
    assert told.endswith("; the rest is compiled without the shared cache")


def test_one_that_takes_nothing_still_serves(objects: Objects, said: list[str]) -> None:
    objects.held[KEY.removeprefix("/shared/")] = b"object"
    objects.fails = {"put"}
    with Depot("s3://b", objects, said.append, gives=True) as depot, asking(depot) as ask:
        assert ask("PUT", KEY, b"other")[0] == ask("PUT", KEY, b"other")[0] == 200
        assert ask("GET", KEY) == (200, b"object")
        assert (depot.errors, depot.taken) == (1, 1)
    (told,) = said
    assert told.endswith("; what is compiled here is not given to others")


def test_whoever_only_reads_gives_nothing(objects: Objects, said: list[str]) -> None:
    with Depot("s3://b", objects, said.append, gives=False) as depot, asking(depot) as ask:
        assert ask("PUT", KEY, b"object") == (200, b"")
    assert (objects.held, said) == ({}, [])


def test_a_cold_compile_knows_of_no_cache() -> None:
    caller = {"RETREAD_SCCACHE": "redis://host", "SCCACHE_DIR": "/kept", "PATH": "/bin"}
    assert caching.caller(Wish(cold=True), caller) == {"PATH": "/bin"}
    assert caching.caller(Wish(), caller) == caller
