"""Downloads: from the user's own indexes, resumed, checked, and no secret is ever shown."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from loopback import Index, Request
from retread.doors import fs
from retread.doors.net import asking, download, patience, settings
from retread.doors.net.asking import Wanted
from retread.doors.net.settings import Settings
from retread.errors import FetchError, StoreError
from retread.records import Sha256

DATA = hashlib.shake_128(b"data").digest(100_000)
FILE = "demo-1.0.tar.gz"
WANTED = Wanted("demo", FILE, Sha256(hashlib.sha256(DATA).hexdigest()))


@pytest.fixture
def demo(index: Index, monkeypatch: pytest.MonkeyPatch) -> Index:
    index.files = {"demo": {FILE: DATA}}
    monkeypatch.setattr(fs, "CHUNK", 1000)
    return index


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "partial"


def _fetch(partial: Path, *indexes: str, folders: tuple[Path, ...] = (), wanted: Wanted = WANTED) -> None:
    using = Settings(indexes=indexes, folders=folders, verify=True)
    download.fetch(wanted, partial, using=using, progress=lambda done, total: None)


# Where from.


def _settings(**environment: str) -> Settings:
    return settings.settings({"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, **environment})


@pytest.fixture
def _no_pip(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let variables be all that there is: pip takes a third of a second to say that it has no file."""
    settings._pip_configuration.cache_clear()
    monkeypatch.setattr(settings.sys, "executable", "/nowhere/python")
    yield
    settings._pip_configuration.cache_clear()


@pytest.mark.usefixtures("_no_pip")
@pytest.mark.parametrize(
    ("environment", "indexes"),
    [
        ({}, [PYPI_SIMPLE_ENDPOINT]),
        ({"PIP_INDEX_URL": "http://a/simple"}, ["http://a/simple"]),
        ({"UV_INDEX_URL": "http://b/simple"}, ["http://b/simple"]),
        ({"UV_DEFAULT_INDEX": "http://c/simple"}, ["http://c/simple"]),
        ({"UV_DEFAULT_INDEX": "mine=http://c/simple"}, ["http://c/simple"]),
        (
            {"UV_DEFAULT_INDEX": "http://c/", "UV_INDEX_URL": "http://b/", "PIP_INDEX_URL": "http://a/"},
            ["http://c/"],
        ),
        (
            {"PIP_INDEX_URL": "http://a/", "PIP_EXTRA_INDEX_URL": "http://x/ http://y/"},
            ["http://a/", "http://x/", "http://y/"],
        ),
        (
            {"PIP_INDEX_URL": "http://a/", "UV_INDEX": "n=http://x/?key=v http://y/?key=v"},
            ["http://a/", "http://x/?key=v", "http://y/?key=v"],
        ),
        ({"PIP_INDEX_URL": "http://a/", "UV_EXTRA_INDEX_URL": "http://a/"}, ["http://a/"]),
        ({"PIP_INDEX_URL": "http://a/", "PIP_NO_INDEX": "1"}, []),
        ({"PIP_INDEX_URL": "http://a/", "PIP_NO_INDEX": "0"}, ["http://a/"]),
        ({"PIP_INDEX_URL": "http://a/", "UV_OFFLINE": "1"}, []),
        ({"PIP_INDEX_URL": "http://a/", "UV_OFFLINE": "0"}, ["http://a/"]),
    ],
)
def test_the_user_s_variables_are_honoured(environment: dict[str, str], indexes: list[str]) -> None:
    assert list(_settings(**environment).indexes) == indexes


@pytest.mark.usefixtures("_no_pip")
def test_a_bundle_of_certificates_is_honoured() -> None:
    assert _settings().verify is True
    assert _settings(REQUESTS_CA_BUNDLE="/a", SSL_CERT_FILE="/b").verify == "/a"
    assert _settings(SSL_CERT_FILE="/b", PIP_CERT="/c").verify == "/b"
    assert _settings(PIP_CERT="/c").verify == "/c"


@pytest.mark.usefixtures("_no_pip")
def test_folders_are_taken_and_pages_are_not(tmp_path: Path) -> None:
    links = f"{tmp_path} file://{tmp_path}/a%20b https://page/"
    assert _settings(PIP_FIND_LINKS=links).folders == (tmp_path, tmp_path / "a b")
    assert _settings(UV_FIND_LINKS=links.replace(" ", ",")).folders == (tmp_path, tmp_path / "a b")


def test_pip_s_file_is_read_with_downloads_above_global_and_variables_above_all(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[download]\nindex-url = http://download/\n[install]\ncert = /install.pem\n"
        "[global]\nindex-url = http://global/\nextra-index-url =\n  http://one/\n  http://two/\n"
        f"find-links = {tmp_path}\nno-index = false\ncert = /global.pem\n"
    )
    found = _settings(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert found.indexes == ("http://download/", "http://one/", "http://two/")
    assert found.folders == (tmp_path,)
    assert found.verify == "/install.pem"
    mine = _settings(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"), PIP_INDEX_URL="http://mine/")
    assert mine.indexes == ("http://mine/", "http://one/", "http://two/")


# What arrives.


@pytest.mark.parametrize("kind", ["json", "html"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_is_found_on_a_page_of_one_kind_alone(
    demo: Index, partial: Path, kind: str, absolute: bool
) -> None:
    demo.kinds, demo.absolute = {kind}, absolute
    _fetch(partial, demo.url)
    assert partial.read_bytes() == DATA


def test_a_page_without_digests_is_enough(demo: Index, partial: Path) -> None:
    demo.digests = {FILE: ""}
    _fetch(partial, demo.url)
    assert partial.read_bytes() == DATA


def test_the_next_index_is_asked_when_one_has_it_not(demo: Index, partial: Path) -> None:
    _fetch(partial, "http://127.0.0.1:9/simple/", "file:///opt/simple", f"http://{demo.host}/none/", demo.url)
    assert partial.read_bytes() == DATA


def test_a_folder_of_the_user_s_is_asked_first(demo: Index, partial: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / FILE).write_bytes(b"another")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / FILE).write_bytes(DATA)
    _fetch(partial, folders=(tmp_path / "none", tmp_path / "wrong", tmp_path / "links"))
    assert partial.read_bytes() == DATA
    assert demo.log == []


def test_progress_ends_with_all_of_it(demo: Index, partial: Path) -> None:
    seen: list[tuple[int, int]] = []
    using = Settings(indexes=(demo.url,), folders=(), verify=True)
    download.fetch(WANTED, partial, using=using, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100_000, 100_000)
    assert seen == sorted(seen)
    assert len(seen) > 10


def _refused(partial: Path, *indexes: str) -> str:
    with pytest.raises(FetchError) as caught:
        _fetch(partial, *indexes)
    assert caught.value.hint
    return str(caught.value)


def test_a_truncated_download_is_kept_and_the_next_run_asks_for_the_rest(demo: Index, partial: Path) -> None:
    demo.truncate = {FILE: 40_500}
    text = _refused(partial, demo.url)
    assert "the download of demo-1.0.tar.gz stopped after 40,500 bytes" in text
    assert "it goes on from there" in text
    assert partial.read_bytes() == DATA[:40_500]
    demo.truncate = {}
    _fetch(partial, demo.url)
    assert partial.read_bytes() == DATA
    assert demo.asked_for(FILE)[-1] == Request(f"/files/{FILE}", "bytes=40500-", 206)


def test_a_server_without_ranges_sends_it_all_again(demo: Index, partial: Path) -> None:
    partial.write_bytes(DATA[:500])
    demo.ranges = False
    _fetch(partial, demo.url)
    assert partial.read_bytes() == DATA
    assert demo.asked_for(FILE)[-1] == Request(f"/files/{FILE}", "bytes=500-", 200)


def test_a_download_that_is_complete_already_is_only_checked(demo: Index, partial: Path) -> None:
    partial.write_bytes(DATA)
    _fetch(partial, demo.url)
    assert [one.status for one in demo.asked_for(FILE)] == [416]
    assert partial.read_bytes() == DATA


@pytest.mark.parametrize("begun", [b"rubbish", DATA + b"more"], ids=["other bytes", "too long"])
def test_a_partial_download_of_something_else_is_removed(demo: Index, partial: Path, begun: bytes) -> None:
    partial.write_bytes(begun)
    assert "is not what the recipe pins" in _refused(partial, demo.url)
    assert not partial.exists()
    _fetch(partial, demo.url)
    assert partial.read_bytes() == DATA


def test_wrong_bytes_are_refused_with_both_digests_and_removed(demo: Index, partial: Path) -> None:
    demo.wrong = {FILE: b"wrong"}
    text = _refused(partial, demo.url)
    assert hashlib.sha256(b"wrong").hexdigest() in text
    assert WANTED.sha256 in text
    assert "(5 bytes)" in text
    assert not partial.exists()


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_answer_that_is_an_error_is_named(demo: Index, partial: Path, status: int) -> None:
    demo.status = {f"/files/{FILE}": status}
    assert f"the server answered {status}" in _refused(partial, demo.url)
    demo.status = {"/simple/demo/": status}
    text = _refused(partial, demo.url)
    assert "demo-1.0.tar.gz could not be found" in text
    expected = "has no project demo" if status == 404 else f"the server answered {status}"
    assert f"{demo.url}: {expected}" in text
    assert not partial.exists()


def test_a_server_that_is_busy_for_a_while_is_asked_again_which_is_told(
    demo: Index, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept, said = list[float](), list[str]()
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    monkeypatch.setattr(asking, "WAITS", (1.0, 4.0))
    demo.passing = {"/simple/demo/": [(500, ""), (503, "")], f"/files/{FILE}": [(429, "7"), (429, "86400")]}
    using = Settings(indexes=(demo.url,), folders=(), verify=True, say=said.append)
    download.fetch(WANTED, partial, using=using, progress=lambda done, total: None)
    assert partial.read_bytes() == DATA
    assert slept == [1.0, 4.0, 7.0, 60.0]
    assert said[0] == "  the server answered 500; it is asked again in 1 s"
    assert said[2] == "  the server answered 429; it is asked again in 7 s"


def test_patience_ends(demo: Index, partial: Path) -> None:
    demo.status = {f"/files/{FILE}": 502}
    assert "the server answered 502" in _refused(partial, demo.url)
    assert len(demo.asked_for(FILE)) == 1 + len(asking.WAITS)


def test_redirects_and_tries_have_one_time_together(
    demo: Index, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, slept = [0.0], list[float]()
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        patience.time, "sleep", lambda seconds: (slept.append(seconds), now.append(now.pop() + seconds))
    )
    monkeypatch.setattr(asking, "WAITS", 20 * (60.0,))
    demo.status = {f"/files/{FILE}": 502}
    assert "the server did not answer in time" in _refused(partial, demo.url)
    assert slept == 4 * [60.0], "300 s are what there is"


def test_every_index_says_why_it_has_it_not(demo: Index, partial: Path) -> None:
    demo.digests = {FILE: "0" * 64}
    faults = _refused(partial, "http://127.0.0.1:9/", "file:///opt/x", f"http://{demo.host}/x/", demo.url)
    assert "http://127.0.0.1:9/: no connection" in faults
    assert "file:///opt/x: not an http address" in faults
    assert f"http://{demo.host}/x/: has no project demo" in faults
    assert f"{demo.url}: its demo-1.0.tar.gz has sha256 " in faults
    demo.files = {"demo": {"demo-2.0.tar.gz": DATA}}
    assert f"{demo.url}: has no file demo-1.0.tar.gz" in _refused(partial, demo.url)


def test_no_index_at_all_is_a_message(partial: Path) -> None:
    text = _refused(partial)
    assert "no index is configured" in text
    assert "PIP_INDEX_URL" in text


@pytest.mark.parametrize(
    "page",
    [b"{", b"[]", b'{"meta": {"api-version": "2.0"}, "name": "demo", "files": []}', b'{"files": 3}', b"\xff"],
)
def test_a_page_that_is_none_is_a_message(demo: Index, partial: Path, page: bytes) -> None:
    demo.pages = {"demo": page}
    assert f"{demo.url}: its page for demo cannot be read" in _refused(partial, demo.url)


def test_a_server_that_falls_silent_is_a_message(
    demo: Index, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", (5.0, 0.1))
    demo.stall = {FILE: 5000}
    assert "stopped after 5,000 bytes: the server did not answer in time" in _refused(partial, demo.url)
    assert partial.stat().st_size == 5000


def test_a_full_disk_is_a_message(demo: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(self: Path, mode: str = "r") -> object:
        return opened(Path("/dev/full"), mode, buffering=0) if self.name == "partial" else opened(self, mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StoreError, match="the disk is full"):
        _fetch(tmp_path / "partial", demo.url)


# Secrets.


@pytest.mark.parametrize("absolute", [True, False])
def test_credentials_are_used_and_never_shown(demo: Index, partial: Path, absolute: bool) -> None:
    demo.secret, demo.absolute = "me:s3cret", absolute
    address = f"http://me:s3cret@{demo.host}/simple/"
    _fetch(partial, address)
    assert partial.read_bytes() == DATA
    partial.unlink()
    demo.secret = "me:other"
    text = _refused(partial, address)
    assert f"http://{demo.host}/simple/: the server answered 401" in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "address",
    ["http://me:s3cret@127.0.0.1:9/x/", "http://s3cret@127.0.0.1:9/?key=s3cret", "http://a:s3cret@[::1/x",
     "http://a:s3cret@127.0.0.1:port/", "ftp://me:s3cret@host/"],
)  # fmt: skip
def test_no_address_shows_its_secret(partial: Path, address: str) -> None:
    assert "s3cret" not in _refused(partial, address)


def test_a_page_of_a_strange_kind_does_not_show_the_secret(demo: Index, partial: Path) -> None:
    demo.secret, demo.status = "me:s3cret", {"/simple/demo/": 200}
    text = _refused(partial, f"http://me:s3cret@{demo.host}/simple/")
    assert "its page for demo cannot be read" in text
    assert "s3cret" not in text


def test_credentials_are_not_sent_to_another_host() -> None:
    index = "https://me:s3cret@index/simple/"
    assert asking.with_secrets("https://index/f", index) == "https://me:s3cret@index/f"
    for other in ("https://files/f", "http://index/f", "https://index:444/f"):
        assert asking.with_secrets(other, index) == other
