"""A shared store in S3: a real server on the loopback, that serves, refuses, breaks and goes."""

from __future__ import annotations

import http.client
import http.server
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import jsonschema
import pytest

from retread import limits
from retread.cli import main
from retread.doors import bucket
from retread.doors.store import Kind, Store
from retread.evidence import keyfiles, signing
from retread.evidence.signing import Key
from retread.shared import claim as claims
from retread.shared import remote
from retread.shared.remote import Shared

moto = pytest.importorskip("moto.server")
KEY = "ab" * 32
DOCS = Path(__file__).parents[3] / "docs"


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


@pytest.fixture(params=["folder", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("address"))
    (tmp_path / "shared").mkdir()
    return f"file://{tmp_path}/shared"


@pytest.fixture
def run(
    anywhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs a command on the shared store of a machine that trusts the builder ``ci``."""
    keys = {"builder": keyfiles.new(tmp_path, "ci"), "tester": keyfiles.new(tmp_path, "lab")}
    rows = [f'[[{role}]]\nname = "{key.name}"\nkey = "{signing.line(key)}"\n' for role, key in keys.items()]
    (tmp_path / "policy.toml").write_text("".join(rows))
    monkeypatch.setenv("RETREAD_SHARED", anywhere)
    monkeypatch.setenv("RETREAD_SHARED_POLICY", str(tmp_path / "policy.toml"))

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main.run(["store", *words])
        return code, *capsys.readouterr()

    return command


def test_all_that_a_stranger_signed_goes_at_once(
    run: Callable[..., tuple[int, str, str]], anywhere: str, tmp_path: Path
) -> None:
    """What somebody trusted vouches for stays, and so does what other strangers left."""
    ci, theirs = keyfiles.load(tmp_path / "ci.key"), keyfiles.new(tmp_path, "theirs")
    third = keyfiles.new(tmp_path, "third")
    made = {"a": theirs, "b": theirs, "c": third, "d": ci}
    for digit, key in made.items():
        Machine(tmp_path / digit, anywhere, key).make(b"of " + digit.encode(), 64 * digit)
    both = Machine(tmp_path / "both", anywhere, ci).shared
    at = claims.Place(Kind.COMPILED, 64 * "d", next(one.parcel for one in both.entries() if "d" in one.key))
    vouched = json.loads(both._bucket.read(claims.name(*at)))
    vouched["signatures"].append({"keyid": theirs.id, "sig": "AAAA"})
    both._bucket.write(claims.name(*at), json.dumps(vouched).encode())

    assert theirs.id[:16] in run("check")[2]
    code, out, _ = run("check", "--json")
    checked = json.loads(out)
    jsonschema.validate(checked, json.loads((DOCS / "schemas" / "store-check.json").read_bytes()))
    strangers = {key for one in checked["faults"] for key in one["strangers"]}
    assert (code, strangers) == (13, {theirs.id[:16], third.id[:16]})
    code, out, _ = run("remove", "--shared", "--by", theirs.id[:16])
    *gone, summed = out.splitlines()
    assert (code, gone) == (0, [f"compiled/{64 * 'a'}", f"compiled/{64 * 'b'}"])
    assert summed.startswith("removed 2 entries, ")
    assert {one.key for one in both.entries()} == {64 * "c", 64 * "d"}
    assert len(list(both._bucket.list(claims.PARCELS))) == 2, "what they alone had went with them"

    code, out, _ = run("remove", "--shared", "--by", third.id, "--json")
    told = json.loads(out)
    jsonschema.validate(told, json.loads((DOCS / "schemas" / "store-removed.json").read_bytes()))
    assert (code, told["removed"]) == (0, [f"compiled/{64 * 'c'}"])
    assert told["freed"] > 0
    assert {one.key for one in both.entries()} == {64 * "d"}
    assert run("check")[0] == 0


def test_an_entry_that_several_machines_gave_is_told_once_with_its_claims(
    run: Callable[..., tuple[int, str, str]], anywhere: str, tmp_path: Path
) -> None:
    signers = [keyfiles.new(tmp_path, name) for name in ("one", "two", "three", "four")]
    for number, key in enumerate(signers):
        Machine(tmp_path / key.name, anywhere, key).make(b"of %d" % number)
    by = [word for key in signers[:2] for word in ("--by", key.id)]
    assert json.loads(run("remove", "--shared", *by, "--json")[1])["removed"] == [f"compiled/{KEY}"]
    assert run("prune", "--shared", "--keep", "0")[1].startswith("removed 1 entry (2 claims), ")


def test_who_signs_without_a_name_or_with_several_keys_goes_too(
    run: Callable[..., tuple[int, str, str]], anywhere: str, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "a", anywhere, keyfiles.new(tmp_path, "theirs"))
    for digit, name in {"a": "", "b": "fresh-one", "c": "fresh-two"}.items():
        machine.make(digit.encode(), 64 * digit)
        (found,) = (one for one in machine.shared.entries() if one.key == 64 * digit)
        claim = json.loads(machine.shared._bucket.read(claims.name(*found[:3])))
        claim["signatures"][0]["keyid"] = name
        machine.shared._bucket.write(claims.name(*found[:3]), json.dumps(claim).encode())
    code, _, err = run("remove", "--shared", "--by", "fresh-one", "--by", "fresh-on")
    assert (code, len(list(machine.shared.entries()))) == (0, 2), err
    code, _, err = run("remove", "--shared", "--by", "a key without id", "--by", "fresh-two")
    assert (code, list(machine.shared.entries())) == (0, []), err


def test_nothing_goes_unless_it_is_clear_whose_it_is(
    run: Callable[..., tuple[int, str, str]], anywhere: str, tmp_path: Path
) -> None:
    ci, theirs = keyfiles.load(tmp_path / "ci.key"), keyfiles.new(tmp_path, "theirs")
    shared = Machine(tmp_path / "one", anywhere, theirs)
    shared.make(b"poison")
    wrong = {
        ("--by", ci.id[:16]): f"--by: {ci.id[:16]} is ci, who is trusted here",
        ("--by", theirs.id[:7]): f"'{theirs.id[:7]}' names no key: eight digits of its id are wanted",
        ("--by", 64 * "0"): f"no entry there is signed by {64 * '0'}",
        ("--by", theirs.id, "--by", 64 * "0"): f"no entry there is signed by {64 * '0'}",
        ("--by", theirs.id, KEY): "name entries, or with --by who signed them",
        (): "name entries, or with --by who signed them",
    }
    for words, told in wrong.items():
        code, out, err = run("remove", "--shared", *words)
        assert (code, out) == (2, ""), (words, err)
        assert told in err
    assert "--by is for --shared" in run("remove", "--by", theirs.id)[2]
    assert [one.key for one in shared.shared.entries()] == [KEY]


def test_a_bucket_that_is_not_there_is_done_without(tmp_path: Path, address: str) -> None:
    key = keyfiles.new(tmp_path, "ci")
    one = Machine(tmp_path / "one", "s3://another", key)
    assert one.make(b"here") == b"here"
    assert len(one.said) == 1
    assert one.said[0].startswith("    note: cannot ")
    one.make(b"more", "cd" * 32)
    assert len(one.said) == 1, "it is said once, and not asked again"


class Faulty(http.server.BaseHTTPRequestHandler):
    """A storage with nothing in it that answers some methods as it is told to, or not at all."""

    answers: ClassVar[dict[str, int]] = {}
    asked: ClassVar[list[str]] = []
    released = threading.Event()

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(self.path)
        status = self.answers.get(self.command, 200)
        if not status:
            self.released.wait(60)
        listing = b'<?xml version="1.0"?><ListBucketResult><Name>store</Name></ListBucketResult>'
        answer = listing if status == 200 else b"<Error><Code>Told</Code></Error>"
        self.send_response(status or 500)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faulty]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Faulty.released.clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(bucket, "_QUICK", timedelta(seconds=0.5))
    monkeypatch.setattr(bucket, "_LONG", timedelta(seconds=0.5))
    yield Faulty
    Faulty.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 500), ("GET", 403), ("GET", 0), ("PUT", 403), ("PUT", 500), ("PUT", 507), ("PUT", 0)],
)
def test_a_storage_that_is_broken_slow_or_full_is_told_once(
    tmp_path: Path, address: str, faulty: type[Faulty], method: str, status: int
) -> None:
    faulty.answers = {method: status}
    one = Machine(tmp_path / "one", address, keyfiles.new(tmp_path, "ci"))
    assert one.make(b"here") == b"here"
    assert one.make(b"more", "cd" * 32) == b"more"
    what = f"list {address}/entries/compiled/{KEY}/" if method == "GET" else f"write {address}/parcels/"
    (told,) = one.said
    assert told.startswith(f"    note: cannot {what}")
    why = f"the storage answers {status} Told" if status else "no answer, or one that breaks off"
    then = (
        "the rest is done without the shared store"
        if method == "GET"
        else "what is made here is not given to others"
    )
    assert told.endswith(f": {why}; {then}")
    assert [one.name for one in (tmp_path / "one" / "scratch").iterdir()] == []


@pytest.mark.parametrize("status", [0, 403, 500])
def test_a_storage_that_does_not_answer_is_asked_once_for_a_note_that_is_left_out(
    tmp_path: Path, address: str, faulty: type[Faulty], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NOTED", 0.3)
    monkeypatch.setattr(bucket, "_QUICK", timedelta(seconds=20))
    faulty.answers, faulty.asked = {"GET": status}, []
    one = Machine(tmp_path / "one", address, keyfiles.new(tmp_path, "ci"))
    assert [one.store.is_here_alone(Kind.COMPILED, key) for key in (KEY, "cd" * 32)] == [False, False]
    assert one.said == []
    assert len(faulty.asked) == 1


def test_a_storage_that_answers_says_that_it_has_no_such_entry(
    tmp_path: Path, address: str, faulty: type[Faulty]
) -> None:
    faulty.answers = {}
    one = Machine(tmp_path / "one", address, keyfiles.new(tmp_path, "ci"))
    assert one.store.is_here_alone(Kind.COMPILED, KEY)


def test_a_folder_that_is_full_is_told_once(tmp_path: Path) -> None:
    """The shared store is a file system of 100 kB."""
    keyfiles.new(tmp_path, "ci")
    (tmp_path / "shared").mkdir()
    program = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import test_shared_s3 as t\n"
        "from retread.evidence import keyfiles; at = Path(sys.argv[1])\n"
        "one = t.Machine(at / 'one', f'file://{at}/shared', keyfiles.load(at / 'ci.key'))\n"
        "one.make(os.urandom(500_000)); one.make(os.urandom(500_000), 'cd' * 32)\n"
        "print(*one.said, one.built, sep='\\n')"
    )
    mounted = f'mount -t tmpfs -o size=100k tmpfs {tmp_path}/shared && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(
        [
            *("unshare", *user, "--mount", "--propagation", "private", "sh", "-c", mounted, "sh"),
            *(sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, built = done.stdout.splitlines()
    assert told.startswith(f"    note: cannot write file://{tmp_path}/shared/parcels/")
    assert told.endswith("; what is made here is not given to others")
    assert built == "2"


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
