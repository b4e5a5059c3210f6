"""Wheels into an index that others run: devpi and pypiserver, real, and every way in which one goes wrong."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends import null
from keyring.credentials import SimpleCredential
from packaging.version import Version

import otherindexes
from clients import Client, Trial
from otherindexes import LOGIN, PASSWORD, USER, Other, Played
from retread import limits
from retread.cli import main
from retread.doors import extras
from retread.doors.net import asking
from standins import until
from tinyindex import make_keys, make_wheel, prove

VERSIONS = ("1.2+cu128.1", "1.2+cu128.2", "1.3+cu128.1")
TRYING = ("--allow-unproven", "trying it")


def names(*versions: str) -> list[str]:
    return [f"demo-{version}-py3-none-any.whl" for version in versions or VERSIONS]


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    return [make_wheel(tmp_path / "dist", version=version, patches=(version,)) for version in VERSIONS]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of this machine's user count, and wait for nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("TWINE_REPOSITORY", "TWINE_REPOSITORY_URL", "TWINE_PASSWORD", "TWINE_CERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWINE_USERNAME", USER)
    monkeypatch.setenv("TWINE_PASSWORD", PASSWORD)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setattr(asking, "WAITS", (0.0,))


@pytest.fixture
def played() -> Iterator[Played]:
    made = Played()
    yield made
    made.close()


class Run:
    """``retread publish --to``, and what came of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, to: str, *words: str | Path, code: int = 0, terms: tuple[str, ...] = TRYING) -> str:
        """Publish; return what was said, or on success the files that were uploaded."""
        found = main.run(["publish", *map(str, words), "--to", to, *terms])
        told = self._capsys.readouterr()
        assert found == code, told.err
        assert PASSWORD not in told.out + told.err
        return told.err if code else told.out


@pytest.fixture
def publish(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


# Real indexes.


@pytest.fixture(
    scope="module", params=[otherindexes.devpi, otherindexes.pypiserver], ids=["devpi", "pypiserver"]
)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    with request.param(tmp_path_factory.mktemp("other")) as found:
        yield found


def test_what_was_uploaded_is_installed_by_its_hash_and_again_nothing_happens(
    other: Other, wheels: list[Path], publish: Run, tmp_path: Path
) -> None:
    (tmp_path / ".pypirc").write_text(
        f"[distutils]\nindex-servers = ours\n[ours]\nrepository = {other.upload}\nusername = {USER}\n"
        f"password = {PASSWORD}\n"
    )
    for name in ("TWINE_USERNAME", "TWINE_PASSWORD"):
        del os.environ[name]
    assert publish("ours", *wheels[:2]).split() == names(*VERSIONS[:2])
    assert publish("ours", *wheels).split() == names(VERSIONS[2]), "what is there is done"
    assert publish("ours", *wheels) == ""
    for name in ("pip", "uv"):
        trial = Trial(Client(name, Version("0"), Path(sys.executable).parent), tmp_path / name)
        trial.folder.mkdir()
        digest = hashlib.sha256(wheels[1].read_bytes()).hexdigest()
        wanted = trial.folder / "wanted.txt"
        wanted.write_text(f"demo==1.2+cu128.2 --hash=sha256:{digest}\n")
        done = trial.install(index=other.pages, options=["--require-hashes", "--requirement", str(wanted)])
        assert done.installed == {"demo": "1.2+cu128.2"}, done.output


def test_another_file_under_a_name_that_is_there_is_told_before_anything_is_sent(
    other: Other, wheels: list[Path], publish: Run, tmp_path: Path
) -> None:
    """devpi would put it in the place of the other: its index is volatile."""
    publish(other.upload, *wheels)
    changed = make_wheel(tmp_path / "other", version=VERSIONS[0], patches=("x",), code="changed = 1\n")
    more = make_wheel(tmp_path / "other", version="1.4+cu128.1", patches=("y",))
    told = publish(other.upload, changed, more, code=20)
    assert "the index has something else under a name that is to be uploaded; nothing was" in told
    assert f"{changed.name}: the index has other bytes under this name (sha256 " in told
    assert publish(other.upload, more).split() == [more.name], "it had not been sent"


def test_a_wrong_password_is_told_without_it(
    other: Other, wheels: list[Path], publish: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TWINE_PASSWORD", f"{PASSWORD[:-1]}x")
    new = make_wheel(tmp_path / "new", "login", "1+cu128.1")
    told = publish(other.upload, new, code=20)
    assert ": 0 of 1 wheels are there: the release is not complete" in told
    assert re_status(told, new, ("401 Unauthorized", "403 Forbidden"))
    assert "next: TWINE_USERNAME and TWINE_PASSWORD, the keyring, or ~/.pypirc say who may upload" in told
    assert PASSWORD[:-1] not in told


def re_status(told: str, wheel: Path, statuses: tuple[str, ...]) -> bool:
    return any(f"{wheel.name}: the index answered {one}" in told for one in statuses)


def test_a_page_without_digests_is_told(tmp_path: Path, wheels: list[Path], publish: Run) -> None:
    with otherindexes.pypiserver(tmp_path / "other", "md5") as other:
        told = publish(other.upload, *wheels[:1], code=20)
        assert ": 0 of 1 wheels are there" in told
        assert f"{wheels[0].name}: its page gives no sha256 of it" in told


# Who may, and where to.


class Ring(null.Keyring):
    """A keyring that knows one index."""

    priority = 1
    address = ""

    def get_credential(self, service: str, username: str | None) -> SimpleCredential | None:
        return SimpleCredential(USER, PASSWORD) if service == self.address else None

    def get_password(self, service: str, username: str) -> str | None:
        return PASSWORD if (service, username) == (self.address, USER) else None


@pytest.fixture
def ring() -> Iterator[Ring]:
    before, made = keyring.get_keyring(), Ring()
    keyring.set_keyring(made)
    yield made
    keyring.set_keyring(before)


@pytest.mark.parametrize("how", ["keyring", "address"])
def test_the_keyring_and_the_address_of_a_section_say_who_may(
    played: Played, publish: Run, ring: Ring, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for name in ("TWINE_USERNAME", "TWINE_PASSWORD"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("TWINE_REPOSITORY_URL", "http://127.0.0.1:9/elsewhere/")  # --to was said
    address = played.address
    if how == "address":
        address = address.replace("://", f"://{USER}:{PASSWORD}@")
    else:
        ring.address = address
    Path(".pypirc").write_text(f"[distutils]\nindex-servers = ours\n[ours]\nrepository = {address}\n")
    wheel = make_wheel(Path("dist"))
    played.login = "another"
    told = publish("ours", wheel, code=20)
    assert f"retread: index: {played.address}: 0 of 1 wheels are there" in told
    assert f"{wheel.name}: the index answered 401 Unauthorized" in told
    played.login = LOGIN
    assert publish("ours", wheel) == f"{wheel.name}\n"


def test_a_name_that_nobody_knows_is_told_with_the_near_one(
    publish: Run, wheels: list[Path], tmp_path: Path
) -> None:
    (tmp_path / ".pypirc").write_text("[distutils]\nindex-servers = internal\n[internal]\nusername = x\n")
    told = publish("internel", *wheels, code=2)
    assert "--to: ~/.pypirc has no index 'internel' (did you mean 'internal'?)" in told
    assert "--to: ~/.pypirc gives internal no address" in publish("internal", *wheels, code=2)
    (tmp_path / ".pypirc").write_text(f"password = {PASSWORD}\n")
    assert "~/.pypirc cannot be read" in publish("internal", *wheels, code=2)
    assert "is no address of an index" in publish("ftp://127.0.0.1/x", *wheels, code=2)
    told = publish(f"http://{USER}:{PASSWORD}@127.0.0.1/x", *wheels, code=2)
    assert "--to: http://127.0.0.1/x was given with a user or a password" in told


@pytest.mark.parametrize("name", ["pypi", "testpypi"])
def test_the_public_index_takes_no_local_versions(publish: Run, wheels: list[Path], name: str) -> None:
    told = publish(name, *wheels, code=20)
    assert "takes no local versions, which say for which CUDA a wheel is; nothing was uploaded" in told
    assert wheels[0].name in told


def test_without_twine_the_line_that_installs_it_is_told(
    publish: Run, wheels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == "twine"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "twine", None)
    told = publish("pypi", *wheels, code=14)
    assert "an upload needs the package twine" in told
    assert f"next: {extras.installs('upload')}" in told


def test_what_the_gate_refuses_is_not_sent(played: Played, publish: Run, tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    wheel = prove(make_wheel(tmp_path / "dist"), keys)
    told = publish(played.address, wheel, code=19, terms=())
    assert f"{wheel.name}: no policy says whose evidence counts" in told
    assert played.taken == 0
    publish(played.address, wheel, "--evidence", tmp_path / "kept")
    kept = {path.name.removeprefix(wheel.name) for path in (tmp_path / "kept").iterdir()}
    assert ".provenance.dsse.json" in kept


def test_options_of_another_kind_of_index_are_told(publish: Run, wheels: list[Path]) -> None:
    assert "--base is not for --to" in publish("pypi", *wheels, "--base", "http://x.example", code=2)
    found = main.run(["publish", str(wheels[0]), "--index", "x", "--evidence", "y"])
    assert found == 2


# What goes wrong on the way.


def test_an_upload_that_ends_in_the_middle_is_completed_by_the_same_command(
    played: Played, wheels: list[Path], publish: Run
) -> None:
    played.answers = [200, 500]
    told = publish(played.address, *wheels, code=20)
    assert told.splitlines()[-4:] == [
        f"retread: index: {played.address}: 1 of 3 wheels are there: the release is not complete",
        f"  - {names()[1]}: the index answered 500 Internal Server Error",
        f"  - {names()[2]}: it is not listed",
        "  next: run the same command again: it uploads what is missing",
    ]
    assert publish(played.address, *wheels).split() == names()[1:]
    assert played.taken == 4


@pytest.mark.parametrize(("status", "said"), [(400, "Bad Request"), (403, "Forbidden"), (409, "Conflict")])
def test_a_refusal_is_told_and_what_somebody_else_brought_is_done(
    played: Played, wheels: list[Path], publish: Run, status: int, said: str
) -> None:
    """The page did not show it before: another machine uploads the same release."""
    played.answers = [status]
    told = publish(played.address, *wheels[:1], code=20)
    assert f"{wheels[0].name}: the index answered {status} {said}" in told
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    played.answers = [status]
    played.hold = lambda _: played.files.update({wheels[0].name: digest})
    assert publish(played.address, *wheels[:1]).split() == names(VERSIONS[0])
    played.answers, played.files = [status], {}
    played.hold = lambda _: played.files.update({wheels[0].name: 64 * "0"})
    told = publish(played.address, *wheels[:1], code=20)
    assert f"{wheels[0].name}: the index answered {status}" in told


def test_what_is_taken_and_not_listed_is_told(
    played: Played, wheels: list[Path], publish: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.answers = [202, 204, 200]
    told = publish(played.address, *wheels, code=20)
    assert "1 of 3 wheels are there: the release is not complete" in told
    assert f"{names()[0]}: it is not listed" in told


def test_nothing_is_sent_to_another_host(played: Played, wheels: list[Path], publish: Run) -> None:
    elsewhere = Played()
    try:
        played.place = f"{elsewhere.address}simple/demo/"
        told = publish(played.address, *wheels[:1], code=20)
        assert elsewhere.seen == []
    finally:
        elsewhere.close()
    assert f"the index sends on to {played.place}; nothing was sent there" in told
    assert f"next: if you trust it, name that address: --to {played.place}" in told
    assert LOGIN in played.seen


def test_an_address_without_its_slash_is_told_with_it(
    played: Played, wheels: list[Path], publish: Run
) -> None:
    played.place = "/up/there/"
    told = publish(played.address, *wheels[:1], code=20)
    assert f"next: if you trust it, name that address: --to {played.address}there/" in told


def test_pages_that_want_another_login_are_told(played: Played, wheels: list[Path], publish: Run) -> None:
    played.page_status = 401
    told = publish(played.address, *wheels[:1], code=20)
    assert (
        f"the index does not say what it has: {played.address}simple/: the server answered 401 Unauthorized"
        in told
    )
    assert "next: TWINE_USERNAME and TWINE_PASSWORD, the keyring, or ~/.pypirc say who may upload" in told
    assert played.taken == 0


def test_a_server_that_is_gone_is_told(played: Played, wheels: list[Path], publish: Run) -> None:
    played.gone_at = 2
    told = publish(played.address, *wheels, code=20)
    assert "the index does not say which wheels are there: the release is not complete" in told
    assert f"{names()[1]}: no connection" in told
    told = publish(played.address, *wheels, code=20)
    assert f"the index does not say what it has: {played.address}simple/: no connection" in told
    played.gone_at = 0
    assert publish(played.address, *wheels).split() == names()[1:]


def test_a_server_that_does_not_answer_is_given_up(
    played: Played, wheels: list[Path], publish: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TAKEN", 0.2)
    played.hold = lambda _: until(lambda: limits.TAKEN != 0.2)
    told = publish(played.address, *wheels[:1], code=20)
    monkeypatch.setattr(limits, "TAKEN", 1)
    assert f"{wheels[0].name}: the server did not answer in time" in told


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_one_that_is_ended_is_completed_by_the_same_command(
    played: Played, wheels: list[Path], publish: Run, how: signal.Signals, code: int
) -> None:
    ended: list[bool] = []
    played.hold = lambda number: until(lambda: ended) if number == 2 else None
    line = [sys.executable, "-m", "retread", "publish", *map(str, wheels), "--to", played.address, *TRYING]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    until(lambda: played.taken == 2)
    process.send_signal(how)
    played.answers = [500]
    _, told = process.communicate(timeout=60)
    ended.append(True)
    assert process.returncode == code
    if how is signal.SIGINT:
        assert "interrupted: 1 of 3 wheels are there" in told
    until(lambda: not played.answers)
    assert publish(played.address, *wheels).split() == names()[1:]
