"""An index over HTTP: the small server by itself, and the shipped configurations in the servers that they are for."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import webservers
from retread.errors import PublishError, UsageError
from retread.index import actions, serve
from retread.index.headers import CHECKED, FOR_EVER
from tinyindex import Shelf, make_keys

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PAGE = "text/html; charset=utf-8"
PIP = f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
DEMO = "/cu128/simple/demo/"
WHEEL = "demo-1.2+cu128.1-py3-none-any.whl"


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes


class Site(NamedTuple):
    """A served index, and where it lies."""

    kind: str
    host: str
    root: Path

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for a path exactly as it is written."""
        connection = http.client.HTTPConnection(self.host, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            found: dict[str, str] = {}
            for name, value in answer.getheaders():
                found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def file(self, suffix: str = "") -> str:
        """Return the address of the wheel, or of what lies beside it."""
        path = next(self.root.glob(f"files/*/*/{WHEEL}{suffix}"))
        return "/" + str(path.relative_to(self.root)).replace("+", "%2B")

    def bytes(self, suffix: str = "") -> bytes:
        """Return what lies there."""
        return next(self.root.glob(f"files/*/*/{WHEEL}{suffix}")).read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index with one wheel, one name without files, and things that are not the index's."""
    folder = tmp_path_factory.mktemp("serving")
    shelf = Shelf(folder, make_keys(tmp_path_factory.getbasetemp() / "keys"))
    shelf.publish(shelf.wheel(), shelf.wheel("demo-two", "1.0+cu128.1"))
    shelf.act(actions.remove, "demo-two", "1.0+cu128.1", "to have a name without files")
    (folder / "secret").write_text("secret")
    (shelf.root / "stray.txt").write_text("secret")
    (shelf.root / "files" / "stray.json").write_text("secret")
    home = next(shelf.root.glob("files/*/*"))
    (home / "out-1.0-py3-none-any.whl").symlink_to(folder / "secret")
    (home / ".hidden-1.0-py3-none-any.whl").write_text("secret")
    (shelf.root / DEMO[1:] / "stray.html").write_text("secret")
    return shelf.root


@pytest.fixture(scope="module", params=["small", "nginx", "caddy"])
def site(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    start = getattr(webservers, request.param)
    with start(root, tmp_path_factory.mktemp(request.param)) as served:
        yield Site(request.param, served.host, root)


# What every server does.


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (PIP, JSON),
        (f"{JSON}, {HTML};q=0.2, text/html;q=0.01", JSON),
        (JSON.upper(), JSON),
        ("application/vnd.pypi.simple.latest+json", JSON),
        (HTML, HTML),
        ("application/vnd.pypi.simple.latest+html", HTML),
        (f"{HTML};q=0.5, {JSON};q=0", HTML),
        (f"text/html, {JSON};q=0.0", PAGE),
        ("text/html", PAGE),
        (BROWSER, PAGE),
        ("*/*", PAGE),
        ("text/*", PAGE),
        (None, PAGE),
    ],
)
@pytest.mark.parametrize("path", [DEMO, "/cu128/simple/", "/cu128/simple/demo-two/"])
def test_a_page_comes_in_the_type_that_is_asked_for(
    site: Site, path: str, accept: str | None, kind: str
) -> None:
    answer = site.ask(path, **({"Accept": accept} if accept else {}))
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    file = "index.json" if kind == JSON else "index.html"
    assert answer.body == (site.root / path[1:] / file).read_bytes()
    assert "Accept" in answer.headers["vary"].split(", ")


def test_a_page_is_asked_for_anew_and_costs_little_when_it_is_the_same(site: Site) -> None:
    answer = site.ask(DEMO, Accept=PIP)
    assert answer.headers["cache-control"] == CHECKED
    again = site.ask(DEMO, Accept=PIP, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]
    other = site.ask(DEMO, Accept="text/html")
    assert other.headers["etag"] != answer.headers["etag"]
    assert site.ask(DEMO, Accept=PIP, If_None_Match='"another"').status == 200
    many = site.ask(
        DEMO, Accept=PIP, If_None_Match=f'"another", W/{answer.headers["etag"].removeprefix("W/")}'
    )
    assert many.status == 304


def test_a_wheel_is_the_wheel_and_stays_in_caches(site: Site) -> None:
    answer = site.ask(site.file(), Accept_Encoding="gzip")
    assert answer.status == 200
    assert hashlib.sha256(answer.body).hexdigest() == site.file().split("/")[3]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == FOR_EVER
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.headers
    assert site.ask(site.file(), If_None_Match=answer.headers["etag"]).status == 304
    head = site.ask(site.file(), "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(answer.body)), b"")


def test_what_lies_beside_the_wheel_is_served(site: Site) -> None:
    answer = site.ask(site.file(".metadata"))
    assert (answer.status, answer.body) == (200, site.bytes(".metadata"))
    assert answer.headers["content-type"] == PAGE.replace("html", "plain")
    assert "immutable" in answer.headers["cache-control"]
    answer = site.ask(site.file(".provenance.dsse.json"))
    assert (answer.status, answer.body) == (200, site.bytes(".provenance.dsse.json"))
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == (
        "application/json",
        CHECKED,
    )


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, None),
        ("bytes=-22", -22, None),
        ("bytes=3-99999999", 3, None),
    ],
)
def test_part_of_a_wheel(site: Site, asked: str, start: int, end: int | None) -> None:
    whole = site.bytes()
    answer = site.ask(site.file(), Range=asked)
    assert (answer.status, answer.body) == (206, whole[start:end])
    first = start % len(whole)
    last = first + len(answer.body) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"


def test_no_part_of_a_wheel(site: Site) -> None:
    whole = site.bytes()
    answer = site.ask(site.file(), Range=f"bytes={len(whole)}-")
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(whole)}")
    for strange in ("bytes=", "bytes=a-b", "lines=1-2"):
        assert site.ask(site.file(), Range=strange).status in {200, 416}
    assert site.ask(site.file(), Range="bytes=1-2", If_Range='"another"').body == whole
    tag = site.ask(site.file()).headers["etag"]
    assert site.ask(site.file(), Range="bytes=1-2", If_Range=tag).body == whole[1:3]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/cu128", "/cu128/"),
        ("/cu128/simple", "/cu128/simple/"),
        ("/cu128/simple/demo", DEMO),
        ("/cu128/simple/demo-two", "/cu128/simple/demo-two/"),
    ],
)
def test_what_lacks_its_slash_is_sent_on(site: Site, path: str, where: str) -> None:
    answer = site.ask(path)
    assert (answer.status, answer.headers["location"]) == (301, where)


@pytest.mark.parametrize(
    ("path", "file", "kind"),
    [
        ("/", "index.html", PAGE),
        ("/index.html", "index.html", PAGE),
        ("/cu128/", "cu128/index.html", PAGE),
        ("/cu128/index.html", "cu128/index.html", PAGE),
        (f"{DEMO}page.html", f"{DEMO[1:]}page.html", PAGE),
        (f"{DEMO}index.html", f"{DEMO[1:]}index.html", PAGE),
        (f"{DEMO}index.json", f"{DEMO[1:]}index.json", JSON),
        ("/cu128/simple/index.json", "cu128/simple/index.json", JSON),
    ],
)
def test_pages_by_the_names_of_their_files(site: Site, path: str, file: str, kind: str) -> None:
    answer = site.ask(path, Accept="*/*")
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.body == (site.root / file).read_bytes()
    assert answer.headers["cache-control"] == CHECKED


@pytest.mark.parametrize(
    "path",
    [
        "/.retread/", "/.retread/history.jsonl", "/%2eretread/history.jsonl", "//.retread/history.jsonl",
        "/cu128/../.retread/history.jsonl", "/cu128/simple/..%2f..%2f.retread/history.jsonl",
        "/cu128/simple/demo/../../../.retread/history.jsonl", "/cu128/simple/demo/../../../../secret",
        "/..%2fsecret", "/files/", "/files/00/", "/files/stray.json", "/stray.txt", "/-json/cu128/simple/demo/",
        "/-html/cu128/simple/demo/", "/cu128/simple/demo/stray.html", "/cu128/simple/nothing/",
        "/cu130/simple/demo/", "/cu128/simple/demo%0a", "/cu128/simple/demo%00/", "/cu128%5c..%5c.retread/",
        "/cu128/simple/demo/index.html/", "/cu128/simple/demo/page.html%20", "/simple/demo/",
    ],
)  # fmt: skip
def test_nothing_else_is_there(site: Site, path: str) -> None:
    answer = site.ask(path)
    assert answer.status in {400, 404}
    assert b"secret" not in answer.body
    assert b"Index of" not in answer.body


def test_the_folder_of_a_wheel_is_not_listed(site: Site) -> None:
    folder = site.file().rpartition("/")[0]
    assert site.ask(f"{folder}/").status == site.ask(folder).status == 404
    assert site.ask(f"{folder}/{WHEEL}.other").status == 404
    assert site.ask(f"{folder}/.hidden-1.0-py3-none-any.whl").status == 404
    assert site.ask(f"/files/00/{folder.rpartition('/')[2]}/{WHEEL}").status == 404


def test_no_link_leads_out_of_the_wheels(site: Site) -> None:
    if site.kind == "caddy":
        pytest.skip("Caddy follows every link; docs/serving says so")
    answer = site.ask(f"{site.file().rpartition('/')[0]}/out-1.0-py3-none-any.whl")
    assert answer.status in {403, 404}
    assert b"secret" not in answer.body


def test_nobody_can_write(site: Site) -> None:
    before = site.bytes()
    for method in ("POST", "PUT", "DELETE"):
        assert site.ask(site.file(), method).status >= 400
    assert site.bytes() == before


# What the small server does beyond.


@pytest.fixture(scope="module")
def small(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with webservers.small(root, tmp_path_factory.mktemp("alone")) as served:
        yield Site("small", served.host, root)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", serve.TEXT),
        ("application/*", HTML),
        (f"{JSON};q=0.5, text/html;q=0.9", serve.TEXT),
        (f"{JSON};q=0.9, text/html;q=0.9", JSON),
        (f"*/*, {JSON}", JSON),
        ("*/*;q=0.1, text/html;q=0", HTML),
        (f"{JSON};q=2, text/html;q=0.1", serve.TEXT),
        (f"{JSON};q=nan, {HTML}", HTML),
        (f"{JSON} ; charset=utf-8 ; Q=0.7", JSON),
        ("application/json", ""),
        ("image/png, text/html;q=0", ""),
        (",;,;q=1", ""),
    ],
)
def test_types_are_weighed(accept: str, kind: str) -> None:
    assert serve.negotiate(accept) == kind


def test_who_takes_none_of_the_types_is_told_which_there_are(small: Site) -> None:
    answer = small.ask(DEMO, Accept="application/json")
    assert answer.status == 406
    assert JSON.encode() in answer.body


@pytest.mark.parametrize("name", ["Demo-Two", "demo_two", "demo.two", "DEMO-_.two"])
@pytest.mark.parametrize("end", ["", "/"])
def test_names_are_normalised(small: Site, name: str, end: str) -> None:
    answer = small.ask(f"/cu128/simple/{name}{end}")
    assert (answer.status, answer.headers["location"]) == (301, "/cu128/simple/demo-two/")


def test_a_connection_is_kept_and_ranges_of_no_bytes_are_refused(small: Site) -> None:
    connection = http.client.HTTPConnection(small.host, timeout=30)
    for asked, status in (("bytes=-0", 416), ("bytes=9-5", 200), ("bytes=0-1,3-4", 200), ("bytes=-", 200)):
        connection.request("GET", small.file(), headers={"Range": asked})
        answer = connection.getresponse()
        assert (answer.status, answer.read() == small.bytes()) == (status, status == 200)
        connection.request("HEAD", small.file())
        assert connection.getresponse().read() == b""
    connection.close()


def test_it_listens_on_this_machine_alone_and_ends_when_interrupted(root: Path) -> None:
    code = "import sys; from pathlib import Path; from retread.index import serve as serving;"
    code += "serving.serve(Path(sys.argv[1]), ready=lambda url: print(url, flush=True)); print('over')"
    line = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert Site("small", url.removeprefix("http://").rstrip("/"), root).ask("/").status == 200
        with pytest.raises(
            UsageError, match=r"cannot listen on 127.0.0.1 port \d+: .*in use\n  next: name another"
        ):
            serve.serve(root, port=int(url.rstrip("/").rpartition(":")[2]), ready=_never)
        os.kill(process.pid, signal.SIGINT)
        told, complaint = process.communicate(timeout=30)
    assert (process.returncode, told, complaint) == (0, "over\n", "")


def test_what_cannot_be_served_is_told(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="holds no index"):
        serve.serve(tmp_path, ready=_never)


def test_an_address_that_is_none_is_told(root: Path) -> None:
    for host, port in (("127.0.0.1", 99999), ("no such host", 0), ("::g", 0)):
        with pytest.raises(UsageError, match="cannot listen on"):
            serve.serve(root, host, port, ready=_never)


def _never(url: str) -> Any:
    pytest.fail(f"it serves {url}")
