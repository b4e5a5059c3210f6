"""A shared store in S3: a real server on the loopback, that serves, refuses, breaks and goes."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from retread.doors.store import Kind, Store
from retread.evidence import keyfiles
from retread.evidence.signing import Key
from retread.shared import remote
from retread.shared.remote import Shared

moto = pytest.importorskip("moto.server")
KEY = "ab" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[object]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    made = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def address(server: object, monkeypatch: pytest.MonkeyPatch) -> str:
    host, port = server.get_host_and_port()  # type: ignore[attr-defined]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for method, path in (("POST", "/moto-api/reset"), ("PUT", "/store")):
        asked = http.client.HTTPConnection(host, port)
        asked.request(method, path)
        asked.getresponse().read()
        asked.close()
    return "s3://store/of/all"


class Machine:
    """A machine with a store of its own and the shared one."""

    def __init__(self, folder: Path, address: str, signer: Key | None, *trusted: Key) -> None:
        self.said: list[str] = []
        self.built = 0
        self.shared = Shared(address, lambda: remote.means(trusted, signer, self.said.append))
        self.store = Store(folder, elsewhere=self.shared)

    def make(self, content: bytes, key: str = KEY) -> bytes:
        def build(into: Path) -> None:
            self.built += 1
            (into / "a.whl").write_bytes(content)

        return (self.store.make(Kind.COMPILED, key, build) / "a.whl").read_bytes()


def test_an_entry_goes_through_s3(tmp_path: Path, address: str) -> None:
    key = keyfiles.new(tmp_path, "ci")
    content = bytes(range(256)) * 60_000  # in more than one part
    one, other = Machine(tmp_path / "one", address, key), Machine(tmp_path / "other", address, None, key)
    assert one.make(content) == other.make(content) == content
    assert (one.built, other.built) == (1, 0)
    assert other.said == [f"    compiled {KEY[:16]} comes from the shared store, signed by ci"]
    assert [(found.kind, found.key) for found in one.shared.entries()] == [(Kind.COMPILED, KEY)]
    assert list(other.shared.faults()) == []
    assert [found.key for found in one.shared.prune(unused_days=-1)] == [KEY]
    assert list(one.shared.entries()) == []


def test_a_bucket_that_is_not_there_is_done_without(tmp_path: Path, address: str) -> None:
    key = keyfiles.new(tmp_path, "ci")
    one = Machine(tmp_path / "one", "s3://another", key)
    assert one.make(b"here") == b"here"
    assert len(one.said) == 1
    assert one.said[0].startswith("    note: cannot ")
    one.make(b"more", "cd" * 32)
    assert len(one.said) == 1, "it is said once, and not asked again"


def test_a_server_that_is_gone_is_done_without(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    one = Machine(tmp_path / "one", address, keyfiles.new(tmp_path, "ci"))
    assert one.make(b"here") == b"here"
    assert one.said == [
        f"    note: cannot list {address}/entries/compiled/{KEY}/: no answer, or one that breaks off; "
        "the rest is done without the shared store"
    ]
