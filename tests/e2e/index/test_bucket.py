"""An index in a bucket, over S3's real protocol on the loopback: refused at every write, it stands and mends itself."""

from __future__ import annotations

import http.client
import json
import logging
import os
import posixpath
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from retread.doors import durable
from retread.doors.bucket import Bucket
from retread.errors import PublishError, RetreadError, StoreError
from retread.index import actions
from retread.index.bucket import lease as leases
from retread.index.bucket import mirror, remote
from retread.index.bucket.lease import Lease, Times
from retread.index.bucket.mirror import EVERYTHING
from retread.index.bucket.remote import Visit
from retread.index.headers import attributes
from retread.shared import remote as shared_store
from tinycuda import sha256
from tinyindex import Shelf, make_keys

obstore = pytest.importorskip("obstore")
moto = pytest.importorskip("moto.server")
SECRETS = ("AKIATHISISAKEYID", "this/is+a/secret")
QUICK = Times(lifetime=6, margin=2, patience=30)


class Proxy:
    """Stands before the storage; counts what writes, one at a time, and refuses, breaks off or loses an answer."""

    def __init__(self, host: str, port: int) -> None:
        self.behind = (host, port)
        self.door = threading.Lock()
        self.after: Callable[[], object] = lambda: None
        self.reset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reset(self) -> None:
        self.writes: list[str] = []
        self.refuse_from = self.lose = self.cut = 0
        self.status = 403

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._forward(0)

        do_HEAD = do_GET  # noqa: N815

        def do_PUT(self) -> None:
            with proxy.door:
                proxy.writes.append(f"{self.command} {unquote(self.path)}")
                self._forward(len(proxy.writes))

        do_POST = do_DELETE = do_PUT  # noqa: N815

        def _forward(self, write: int) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if write and write == proxy.cut:
                self._break_off()
                return
            if write and proxy.refuse_from and write >= proxy.refuse_from:
                told = (
                    f"<Error><Code>AccessDenied</Code><AWSAccessKeyId>{SECRETS[0]}</AWSAccessKeyId></Error>"
                )
                self._answer(proxy.status, [], told.encode())
                return
            behind = http.client.HTTPConnection(*proxy.behind)
            behind.request(self.command, self.path, body, dict(self.headers))
            found = behind.getresponse()
            data = found.read()
            behind.close()
            if write and write == proxy.lose:
                self._break_off()
            else:
                self._answer(found.status, found.getheaders(), data)

        def _break_off(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def _answer(self, status: int, told: list[tuple[str, str]], data: bytes) -> None:
            self.send_response_only(status)
            size = str(len(data))
            for name, value in told:
                if name.lower() == "content-length":
                    size = value
                elif name.lower() not in {"connection", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", size)
            self.end_headers()
            self.wfile.write(data)

    return Handler


@pytest.fixture(scope="module")
def storage() -> Iterator[Proxy]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    made = Proxy(*server.get_host_and_port())
    yield made
    made.stop()
    server.stop()


@pytest.fixture
def proxy(storage: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    storage.reset()
    for name, value in {
        "AWS_ENDPOINT_URL": storage.url,
        "AWS_ACCESS_KEY_ID": SECRETS[0],
        "AWS_SECRET_ACCESS_KEY": SECRETS[1],
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    made = http.client.HTTPConnection(*storage.behind)
    made.request("PUT", "/wheels")
    made.getresponse().read()
    made.close()
    return storage


class Box(Shelf):
    """An index in a bucket, and a clock."""

    def __init__(self, folder: Path, keys: Any, address: str) -> None:
        super().__init__(folder, keys)
        self.address = address
        self.times = QUICK

    def publish(self, *wheels: Path, **changes: Any) -> Any:
        def run(folder: Path) -> Any:
            return super(Box, self).publish(*wheels, root=folder, **changes)

        return remote.act(self.visit(), mirror.of_wheels(wheels), run)

    def act(self, function: Callable[..., Any], *arguments: Any, **changes: Any) -> Any:
        if function is actions.refresh:
            need = EVERYTHING
        elif function is actions.rollback:
            need = mirror.back_to(arguments[0])
        else:
            need = mirror.of_version(*arguments[:2])

        def run(folder: Path) -> Any:
            return super(Box, self).act(function, *arguments, root=folder, **changes)

        return remote.act(self.visit(), need, run)

    def visit(self) -> Visit:
        return Visit(self.address, self.scratch, self.said.append, self.times)

    def check(self) -> Any:
        return remote.check(self.visit(), self.keys.policy)

    def page(self, project: str = "demo", channel: str = "cu128") -> Any:
        return json.loads(self.objects()[f"{channel}/simple/{project}/index.json"])

    def objects(self) -> dict[str, bytes]:
        """Return what the storage holds, asked behind its back, which is quicker."""
        return {name: key.value for name, key in _keys(self.address)}


def _keys(address: str) -> list[tuple[str, Any]]:
    from moto.s3.models import s3_backends

    prefix = f"{address.removeprefix('s3://wheels/')}/"
    found = s3_backends["123456789012"]["aws"].buckets["wheels"].keys
    return [(name.removeprefix(prefix), key) for name, key in found.items() if name.startswith(prefix)]


@pytest.fixture
def box(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, proxy: Proxy) -> Box:
    keys = make_keys(tmp_path_factory.getbasetemp() / "keys")
    return Box(tmp_path, keys, f"s3://wheels/{tmp_path.name}/box")


def _seen(box: Box) -> dict[str, bytes]:
    """Return each project as readers see it; every file that its page names is there."""
    found = box.objects()
    for name, data in found.items():
        if name.endswith("/index.json") and name.count("/") == 3:
            for entry in json.loads(data)["files"]:
                for url in (entry["url"], f"{entry['url']}.metadata"):
                    file = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(url)))
                    assert file in found, (name, file)
        elif name.endswith("/simple/index.json"):
            for one in json.loads(data)["projects"]:
                assert f"{name.removesuffix('index.json')}{one['name']}/index.json" in found, one
    return {name: data for name, data in found.items() if not name.startswith((".retread/", "files/"))}


def _hidden(box: Box) -> set[str]:
    return {name.split("/")[1] for name in box.objects() if name.startswith(".retread/")}


# What lies there.


def test_a_bucket_holds_what_a_folder_holds(box: Box, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "folder", box.keys)
    wheels = [box.wheel(), box.wheel("other")]
    for one in (shelf, box):
        one.publish(*wheels)
        one.publish(box.wheel("demo", "1.2+cu128.2", patches=("b",)))
        one.publish(box.wheel("third", "1.0+cu130.1"))
        one.act(actions.yank, "demo", "1.2+cu128.1", "wrong results")
        one.act(actions.remove, "other", "1.2+cu128.1", "it leaks")
        one.act(actions.rollback, 2)
        one.act(actions.refresh, base="https://other.example")
    served = {
        str(path.relative_to(shelf.root)): path.read_bytes()
        for pattern in ("index.html", "cu*/*", "cu*/simple/*", "cu*/simple/*/*", "files/**/*")
        for path in shelf.root.glob(pattern)
        if path.is_file()
    }
    found = box.objects()
    assert {name: data for name, data in found.items() if not name.startswith(".retread/")} == served
    models = {name for name in found if name.startswith(".retread/snapshots/")}
    assert models == {
        str(path.relative_to(shelf.root)) for path in shelf.root.glob(".retread/snapshots/*/*/*.json")
    }
    assert _hidden(box) == {"actions", "lock", "names", "revisions", "snapshots", "state"}
    assert remote.history(box.address) == actions.history(shelf.root)
    checked = box.check()
    assert checked == shelf.check()
    assert (checked.faults, checked.actions, checked.files) == ((), 7, 2)


def test_objects_say_what_they_are_and_how_long_they_may_be_kept(box: Box) -> None:
    wheel = box.wheel()
    box.publish(wheel)
    bucket = Bucket(box.address, attributes)
    told = {one.name: dict(bucket.facts(one.name).attributes) for one in bucket.list("")}  # type: ignore[union-attr]
    page = {"Cache-Control": "max-age=0, must-revalidate"}
    assert told["cu128/simple/demo/index.json"] == {
        **page,
        "Content-Type": "application/vnd.pypi.simple.v1+json",
    }
    assert told["cu128/simple/index.json"] == {**page, "Content-Type": "application/vnd.pypi.simple.v1+json"}
    assert told["cu128/simple/demo/index.html"] == {**page, "Content-Type": "text/html; charset=utf-8"}
    digest = sha256(wheel.read_bytes())
    file = told[f"files/{digest[:2]}/{digest}/{wheel.name}"]
    assert file == {
        "Cache-Control": "max-age=31536000, immutable",
        "Content-Type": "application/octet-stream",
        "retread-sha256": digest,
    }
    assert all(told[name]["Cache-Control"] == "no-store" for name in told if name.startswith(".retread/"))


def test_what_is_refused_writes_nothing_and_speaks_of_the_bucket(box: Box) -> None:
    with pytest.raises(PublishError, match="box holds no index"):
        box.act(actions.yank, "demo", "1.2+cu128.1", "wrong results")
    with pytest.raises(PublishError, match="box holds no index"):
        box.check()
    box.publish(box.wheel())
    before = {name: data for name, data in box.objects().items() if name != ".retread/lock"}
    for version in ("1.2+cu128.3", "1.2+cu128.1"):
        with pytest.raises(RetreadError):
            box.publish(box.wheel("demo", version, code="# other bytes\n", prove_it=version.endswith("3")))
    with pytest.raises(PublishError, match=r"demo 9\+cu128.1 is not listed"):
        box.act(actions.remove, "demo", "9+cu128.1", "it leaks")
    assert {name: data for name, data in box.objects().items() if name != ".retread/lock"} == before
    assert box.check().faults == ()


def test_the_same_wheel_again_writes_nothing_but_the_lock(box: Box, proxy: Proxy) -> None:
    box.times = Times()  # or a slow machine would renew the lock meanwhile
    wheel = box.wheel()
    box.publish(wheel)
    proxy.reset()
    assert box.publish(wheel).known == (wheel.name,)
    assert len(proxy.writes) == 2
    assert all(one.endswith("/.retread/lock") for one in proxy.writes)


def test_a_publish_into_a_large_index_asks_for_little(box: Box, proxy: Proxy) -> None:
    box.publish(*(box.wheel(f"filler{n}", prove_it=False) for n in range(12)), unproven="a test")
    box.publish(box.wheel())
    proxy.reset()
    box.publish(box.wheel("demo", "1.2+cu128.2", patches=("b",)))
    touched = [one for one in proxy.writes if "filler" in one]
    assert touched == []


@pytest.mark.slow
def test_a_large_wheel_goes_up_in_parts_and_the_memory_stays_small(box: Box, proxy: Proxy) -> None:
    code = "".join(f"# {sha256(str(n).encode())}\n" for n in range(250_000))
    wheel = box.wheel(code=code, prove_it=False)
    box.publish(wheel, unproven="a test")
    digest = sha256(wheel.read_bytes())
    parts = [one for one in proxy.writes if "partNumber" in one]
    assert len(parts) == -(-wheel.stat().st_size // (5 << 20)) > 1
    name = f"files/{digest[:2]}/{digest}/{wheel.name}"
    facts = Bucket(box.address, attributes).facts(name)
    assert facts
    assert (facts.size, facts.attributes["retread-sha256"]) == (wheel.stat().st_size, digest)
    assert box.check().faults == ()


# What a check finds.


def test_a_check_finds_what_was_changed_behind_the_index(box: Box) -> None:
    wheel = box.wheel()
    box.publish(wheel, box.wheel("other"))
    bucket, before = Bucket(box.address, attributes), box.objects()
    digest = sha256(wheel.read_bytes())
    home = f"files/{digest[:2]}/{digest}"
    page = "cu128/simple/demo/index.json"
    cases: dict[str, tuple[Callable[[], object], str]] = {
        "wheel": (lambda: bucket.write(f"{home}/{wheel.name}", wheel.read_bytes()[:-1] + b"x", digest), "its bytes"),
        "gone": (lambda: bucket.remove(f"{home}/{wheel.name}"), f"{home}/{wheel.name} is missing"),
        "sidecar": (lambda: bucket.remove(f"{home}/{wheel.name}.metadata"), "cannot read"),
        "page": (lambda: bucket.write(page, b"{}"), f"{page} is not the page that the model gives"),
        "no page": (lambda: bucket.remove(page), f"{page} is missing"),
        "type": (lambda: obstore.put(bucket._quick, page, before[page]), "its Content-Type is"),
        "stray": (lambda: bucket.write(f"files/ab/{64 * 'a'}/x.whl", b""), f"files/ab/{64 * 'a'} is not the index's"),
        "foreign": (lambda: bucket.write("cu128/simple/no/index.html", b""), "no/index.html is not the index's"),
        "name": (lambda: bucket.remove(next(n for n in before if f"/{wheel.name}" in n and "names" in n)), "not bound"),
    }  # fmt: skip
    for case, (break_it, told) in cases.items():
        break_it()
        faults = box.check().faults
        assert any(told in fault for fault in faults), (case, faults)
        for name in set(box.objects()) - set(before):
            bucket.remove(name)
        for name, data in before.items():
            bucket.write(name, data, sha256(data) if name.startswith("files/") else "")
        assert box.check().faults == (), case


def test_digests_of_what_lies_beside_a_wheel_are_noted_and_held(box: Box) -> None:
    """By a publish, and by a refresh of what a retread published that noted none."""
    box.publish(box.wheel())
    bucket = Bucket(box.address, attributes)
    [shot] = [name for name in box.objects() if name.startswith(".retread/snapshots/")]
    model = json.loads(box.objects()[shot])
    noted = model["files"][0].pop("evidence")
    home = f"files/{model['files'][0]['sha256'][:2]}/{model['files'][0]['sha256']}"
    assert noted == {one: sha256(box.objects()[f"{home}/{one}"]) for one in model["files"][0]["sidecars"]}
    name = next(one for one in noted if ".smoke-" in one and one.endswith(".json") and "dsse" not in one)
    report = box.objects()[f"{home}/{name}"]
    bucket.write(shot, json.dumps(model).encode())
    other = report + b"\n"  # as sound
    bucket.write(f"{home}/{name}", other, sha256(other))
    assert box.check().faults == ()
    bucket.write(f"{home}/{name}", report, sha256(report))
    box.act(actions.refresh)
    [shot] = [one for one in box.objects() if one.startswith(".retread/snapshots/2/")]
    assert json.loads(box.objects()[shot])["files"][0]["evidence"] == noted
    assert box.check().faults == ()
    bucket.write(f"{home}/{name}", other, sha256(other))
    [told] = box.check().faults
    assert told.endswith(f"{name} has other bytes than were published with it")


def test_a_refresh_notes_no_object_with_other_bytes_than_were_uploaded(box: Box) -> None:
    box.publish(box.wheel())
    bucket = Bucket(box.address, attributes)
    [shot] = [name for name in box.objects() if name.startswith(".retread/snapshots/")]
    model = json.loads(box.objects()[shot])
    noted = model["files"][0].pop("evidence")
    bucket.write(shot, json.dumps(model).encode())
    [where] = [name for name in box.objects() if ".smoke-" in name and "dsse" not in name]
    report, name = box.objects()[where], where.rpartition("/")[2]
    for data, words in ((report + b"\n", "its bytes are not those"), (bytes(17 << 20), "over 16 MiB")):
        bucket.write(where, data, sha256(report))
        box.said.clear()
        box.act(actions.refresh)
        [told] = [one for one in box.said if "not noted" in one]
        assert told.startswith(f"note: not noted: {where}")
        assert words in told
    bucket.write(where, report, sha256(report))
    last = json.loads(box.objects()[".retread/snapshots/3/cu128/demo.json"])
    assert last["files"][0]["evidence"] == {one: noted[one] for one in noted if one != name}
    box.act(actions.refresh)
    last = json.loads(box.objects()[".retread/snapshots/4/cu128/demo.json"])
    assert last["files"][0]["evidence"] == noted
    assert box.check().faults == ()


@pytest.mark.parametrize("place", ["sub", "cu128/zz"])
def test_no_index_begins_inside_another(box: Box, place: str) -> None:
    box.publish(box.wheel())
    outer, before = box.address, box.objects()
    box.address = f"{outer}/{place}"
    with pytest.raises(
        PublishError, match=rf"{re.escape(box.address)} lies in the index {re.escape(outer)}\n"
    ):
        box.publish(box.wheel())
    box.address = outer
    assert box.objects() == before


def test_a_version_of_no_channel_is_not_listed(box: Box) -> None:
    box.publish(box.wheel(), box.wheel("demo", "1.2+cu130.1"))
    for function, reason in ((actions.yank, ("x",)), (actions.unyank, ()), (actions.remove, ("x",))):
        with pytest.raises(PublishError, match=r"demo 1\.2 is not listed") as told:
            box.act(function, "demo", "1.2", *reason)
        assert told.value.hint == "listed are: 1.2+cu128.1, 1.2+cu130.1"


# Refused halfway.

ACTIONS: dict[str, Callable[[Box], object]] = {
    "publish": lambda box: box.publish(*_waiting(box), unproven="a test"),
    "yank": lambda box: box.act(actions.yank, "demo", "1.2+cu128.1", "wrong results"),
    "remove": lambda box: box.act(actions.remove, "demo", "1.2+cu128.1", "it leaks"),
    "rollback": lambda box: box.act(actions.rollback, 1),
}


def _waiting(box: Box) -> list[Path]:
    """Return a new revision, and the first wheel of a new project and of a new channel."""
    found = [("demo", "1.2+cu128.2"), ("third", "1.0+cu130.1")]
    return [next((box.folder / "dist").glob(f"{name}-{version}-*.whl")) for name, version in found]


def _prepare(box: Box) -> None:
    """Publish twice, and make wheels that are not published yet."""
    box.publish(box.wheel())
    box.publish(box.wheel("other", prove_it=False), unproven="a test")
    box.wheel("demo", "1.2+cu128.2", patches=("b",))
    box.wheel("third", "1.0+cu130.1", prove_it=False)
    box.wheel("last", "1.0+cu128.1", prove_it=False)


def _seed(box: Box, number: int) -> None:
    """Let the bucket's content be a copy of what it is, below another prefix."""
    from moto.s3.models import s3_backends

    source = box.address
    box.address = f"{source.rpartition('/')[0]}/{number}"
    for name, key in _keys(source):
        into = f"{box.address.removeprefix('s3://wheels/')}/{name}"
        s3_backends["123456789012"]["aws"].copy_object(key, "wheels", into)


def _expire(box: Box) -> None:
    """Let the lifetime of a dead publisher's lock be over."""
    Bucket(box.address, attributes).remove(".retread/lock")


def _mended(box: Box, at: int, states: tuple[dict[str, bytes], ...]) -> int:
    """Publish one more wheel; return which state it stands on: 0 the old one, 1 the new one."""
    last = next((box.folder / "dist").glob("last-*.whl"))
    box.publish(last, unproven="a test")
    found = box.check()
    assert found.faults == (), at
    seen = _seen(box)
    assert "cu128/simple/last/index.json" in seen
    pages = {name: data for name, data in seen.items() if name.count("/") == 3 and "/last/" not in name}
    stands = [
        {name: data for name, data in state.items() if name.count("/") == 3 and "/last/" not in name} == pages
        for state in states
    ]
    assert any(stands), at
    assert found.actions == 3 + stands.index(True), at
    assert _hidden(box) == {"actions", "lock", "names", "revisions", "snapshots", "state"}, at
    return stands.index(True)


STEP = {"publish": 7}
"""Of its fifty writes every seventh is tried here, each of which takes seconds; of the others every one."""


@pytest.mark.slow
@pytest.mark.parametrize(("action", "how"), [*((name, "refuse") for name in ACTIONS), ("publish", "lose")])
def test_refused_at_any_write_the_index_stands_and_mends_itself(
    box: Box, proxy: Proxy, action: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        durable, "change", lambda act, *arguments: None if act is os.fsync else act(*arguments)
    )
    _prepare(box)
    now, first, old = box.now, box.address, _seen(box)
    _seed(box, 0)
    proxy.reset()
    ACTIONS[action](box)
    new, total = _seen(box), len(proxy.writes)
    assert new != old
    ended, told = [], set()
    for at in range(1, total + 1, STEP.get(action, 1)):
        box.address, box.now = first, now
        _seed(box, at)
        proxy.reset()
        setattr(proxy, "refuse_from" if how == "refuse" else "lose", at)
        try:
            ACTIONS[action](box)
        except RetreadError as error:
            told.add(str(error).replace(box.address, ""))
        proxy.reset()
        seen = _seen(box)
        assert all(data in {old.get(name), new.get(name)} for name, data in seen.items()), at
        assert {*old} <= {*seen} <= {*new}, at
        _expire(box)
        ended.append(_mended(box, at, (old, new)))
    assert ended == sorted(ended)
    assert {*ended} == ({0, 1} if how == "refuse" else {1})
    text = "\n".join([*told, *box.said])
    assert not any(secret in text for secret in SECRETS)
    if how == "lose":
        assert told == set()  # the answer was lost, not the write
    else:
        assert "AccessDenied" in text
        assert "is decided: the next change finishes it" in text
        assert "nothing of it is listed" in text
        assert total > 10


@pytest.mark.parametrize("status", [500, 503])
def test_a_storage_that_fails_is_told_of_and_finished_later(box: Box, proxy: Proxy, status: int) -> None:
    _prepare(box)
    proxy.reset()
    proxy.refuse_from, proxy.status = 12, status
    with pytest.raises(StoreError, match=r"cannot write s3://wheels/.*: the storage answers 50[03]"):
        ACTIONS["publish"](box)
    proxy.reset()
    _expire(box)
    ACTIONS["publish"](box)
    assert box.check().faults == ()


def test_a_connection_that_breaks_once_is_no_matter(box: Box, proxy: Proxy) -> None:
    _prepare(box)
    proxy.reset()
    proxy.cut = 9
    ACTIONS["publish"](box)
    assert box.check().faults == ()


# Who writes.


def test_a_second_publisher_waits_and_says_so(box: Box, tmp_path: Path) -> None:
    box.publish(box.wheel())
    other = Box(tmp_path / "other", box.keys, box.address)
    bucket, said = Bucket(box.address, attributes), []
    lease = Lease(bucket, said.append, QUICK)
    wheel = other.wheel("demo", "1.2+cu128.2", patches=("b",))
    thread = threading.Thread(target=other.publish, args=(wheel,))
    with lease.held():
        thread.start()
        _until(lambda: other.said)
        assert "which changes s3://wheels/" in other.said[0]
        assert box.listed() == ["1.2+cu128.1"]
    thread.join()
    assert box.listed() == ["1.2+cu128.1", "1.2+cu128.2"]
    assert box.check().faults == ()


def test_a_second_publisher_that_may_not_wait_says_who_holds_it(box: Box) -> None:
    box.times = Times(lifetime=6, margin=2, patience=0)
    with (
        Lease(Bucket(box.address, attributes), box.said.append, QUICK).held(),
        pytest.raises(PublishError, match=r"process \d+ is changing s3://wheels/"),
    ):
        box.publish(box.wheel())


def test_many_publishers_at_once_all_succeed(box: Box, tmp_path: Path) -> None:
    others = [Box(tmp_path / str(n), box.keys, box.address) for n in range(4)]
    wheels = [one.wheel(f"demo{n}") for n, one in enumerate(others)]
    threads = [
        threading.Thread(target=one.publish, args=(wheel,)) for one, wheel in zip(others, wheels, strict=True)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = box.check()
    assert (found.faults, found.actions, found.files) == ((), 4, 4)


def test_a_lock_is_renewed_while_its_holder_lives_and_taken_over_when_it_does_not(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.times = times = Times(lifetime=1.5, margin=0.5, patience=30)
    bucket, said, now = Bucket(box.address, attributes), [], [0.0]
    # Time passes when the test says so, and, for whoever waits for another, as soon as he says that he does.
    monkeypatch.setattr(leases, "_clock", lambda: now[0] + (times.lifetime + 1 if box.said else 0))
    alive = Lease(bucket, said.append, times)
    with alive.held():
        for _ in range(3):  # more than a lifetime in all
            now[0] += 0.6
            first = bucket.read(leases.LOCK)
            _until(lambda was=first: bucket.read(leases.LOCK) != was)
            _until(lambda: alive._renewed == now[0])
        alive.demand()
        first = bucket.read(leases.LOCK)
    dead = Lease(bucket, said.append, times)
    dead._take()  # and nothing more is heard of it
    assert bucket.read(leases.LOCK) != first
    box.publish(box.wheel())
    assert any("taking over" in one for one in box.said)
    with pytest.raises(StoreError, match="could not be held: nothing more is written"):
        dead.demand()
    assert box.check().faults == ()


def test_whoever_lost_the_lock_cannot_decide_what_another_decided_already(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that believes in its lock: of each action there is one object, which is made once."""
    box.times = Times(
        lifetime=120, margin=2, patience=30
    )  # or it would renew its lock meanwhile, and not believe
    box.publish(box.wheel())
    other = Box(tmp_path / "other", box.keys, box.address)
    slow, quick = box.wheel("slow"), other.wheel("quick")
    upload = remote._Remote._upload

    def stall(self: Any, *arguments: Any) -> None:
        upload(self, *arguments)
        monkeypatch.setattr(remote._Remote, "_upload", upload)
        _expire(box)
        other.publish(quick)

    monkeypatch.setattr(remote._Remote, "_upload", stall)
    with pytest.raises(PublishError, match="somebody else was first to change"):
        box.publish(slow)
    assert {"cu128/simple/quick/index.json"} <= {*_seen(box)}
    assert "cu128/simple/slow/index.json" not in _seen(box)
    box.publish(slow)
    found = box.check()
    assert (found.faults, found.actions) == ((), 3)


def _until(told: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not told():
        assert time.monotonic() < end
        time.sleep(0.01)


# What the door says.


def test_a_missing_bucket_and_a_missing_storage_are_told_without_secrets(
    box: Box, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.address = "s3://nothing/there"
    with pytest.raises(StoreError, match="NoSuchBucket") as caught:
        box.publish(box.wheel())
    assert "make the bucket first" in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="no answer"):
        remote.history("s3://wheels/x")
    with pytest.raises(PublishError, match="is no bucket that can be opened"):
        remote.history("s3:///x")


@pytest.mark.parametrize(
    ("there", "missing"),
    [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")],
)
def test_half_of_the_credentials_is_told_by_the_other(
    there: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing, raising=False)
    monkeypatch.setenv(there, "half")
    for opened in (remote.history, lambda address: shared_store._opened(address, None)):
        with pytest.raises(StoreError, match=f"cannot open s3://wheels/x: {missing} is not set"):
            opened("s3://wheels/x")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cu128/index.html", "text/html; charset=utf-8"),
        (f"files/ab/{64 * 'a'}/a.whl.metadata", "text/plain; charset=utf-8"),
        (f"files/ab/{64 * 'a'}/a.whl.audit.json", "application/json"),
        (".retread/state/cu128/simple.json", "application/json"),
    ],
)
def test_types(name: str, kind: str) -> None:
    assert attributes(name)["Content-Type"] == kind
