"""An index on 127.0.0.1 that answers in every bad way: pages and files are not what they say, or never end."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Final, NamedTuple

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "text/html"
ESCAPE: Final = "\x1b[31mred\x1b[0m\r"
FAR: Final = "/far/"
"""Below it, whatever was asked is noted: it is another place, to which nothing secret may go."""


class Asked(NamedTuple):
    """One request: its path, and whether it brought a password."""

    path: str
    secret: bool


Answer = Callable[["Hostile", str], Iterable[bytes]]
"""What is sent for a path, piece by piece; then the connection is closed."""


class Hostile:
    """The server. ``pages`` and ``files`` say how each kind of path is answered."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.pages: Answer = absent
        self.files: Answer = absent
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hostile = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address of the index, with a password."""
        return f"http://me:s3cret@{self.host}/simple/"

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    hostile: Hostile


class _Handler(StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError, ValueError):
            path = self.rfile.readline(65536).split()[1].decode()
            headers = b"".join(iter(lambda: self.rfile.readline(65536).strip(), b""))
            hostile = self.server.hostile
            hostile.asked.append(Asked(path, b"authorization" in headers.lower()))
            answer = hostile.pages if path.startswith("/simple/") else hostile.files
            for piece in answer(hostile, path):
                self.wfile.write(piece)
            self.connection.shutdown(socket.SHUT_WR)


def http(
    body: bytes = b"", kind: str = HTML, status: str = "200 OK", *headers: str, length: str = ""
) -> bytes:
    """Return an answer; without a length it is the right one."""
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {length or len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape") + body


def says(answer: bytes) -> Answer:
    """Return what always answers the same."""
    return lambda *_: [answer]


def endless(head: bytes, piece: bytes) -> Answer:
    """Return what never stops."""

    def answer(*_: object) -> Iterable[bytes]:
        yield head
        while True:
            yield piece

    return answer


def first(times: int, bad: Answer, rest: Answer) -> Answer:
    """Return what answers one way some times, and another way then."""
    left = [bad] * times

    def answer(hostile: Hostile, path: str) -> Iterable[bytes]:
        return (left.pop() if left else rest)(hostile, path)

    return answer


absent: Final = says(http(b"no", status="404 Not Found"))
broken: Final = says(http(b"no", status="500 Internal Server Error"))


def page(names: Iterable[str], base: str = "../../files/", **more: object) -> Answer:
    """Return a page as JSON that names files, as it should be but for ``more``."""
    listed = [{"filename": one, "url": f"{base}{one.replace('+', '%2B')}", "hashes": {}} for one in names]
    return says(
        http(
            json.dumps(
                {"meta": {"api-version": "1.0"}, "name": "tinycuda", "files": listed, **more}
            ).encode(),
            JSON,
        )
    )


def html(text: str) -> Answer:
    """Return a page of HTML."""
    return says(http(text.encode("utf-8", "surrogateescape"), HTML))


def links(files: Iterable[str], head: str = "") -> str:
    """Return HTML that links to files."""
    return head + "".join(f'<a href="../../files/{one}">{one}</a>' for one in files)


def pages(files: tuple[str, ...]) -> dict[str, Answer]:
    """Return every bad page of a project that has these files, by what is bad about it."""
    moved = "302 Found"
    zeros = gzip.compress(bytes(8 << 20), 9)
    typed: dict[str, object] = {
        "files that are a text": {"files": "x"}, "files that are numbers": {"files": [1, 2]},
        "files that are null": {"files": None},
        "a name that is a number": {"files": [{"filename": 1, "url": "x", "hashes": {}}]},
        "no address": {"files": [{"filename": files[0], "hashes": {}}]},
        "an address that is null": {"files": [{"filename": files[0], "url": None, "hashes": {}}]},
        "digests that are a list": {"files": [{"filename": files[0], "url": "x", "hashes": ["sha256"]}]},
        "a digest that is a number": {"files": [{"filename": files[0], "url": "x", "hashes": {"sha256": 5}}]},
        "yanked by a table": {"files": [{"filename": files[0], "url": "x", "hashes": {}, "yanked": {}}]},
        "a size that is a text": {"files": [{"filename": files[0], "url": "x", "hashes": {}, "size": "x"}]},
        "meta that is a list": {"meta": []}, "another major version": {"meta": {"api-version": "2.0"}},
        "a version that is a number": {"meta": {"api-version": 1}}, "no version": {"meta": {}},
        "a project that is a number": {"name": 5},
    }  # fmt: skip
    deep = b'{"files": ' + b"[" * 100_000
    return {
        "redirect to itself": lambda hostile, path: [http(b"", HTML, moved, f"Location: {path}")],
        "redirect to a file": says(http(b"", HTML, moved, "Location: file:///etc/passwd")),
        "redirect to another scheme": says(http(b"", HTML, moved, "Location: javascript:alert(1)")),
        "redirect to nowhere": says(http(b"", HTML, moved, "Location: http://127.0.0.1:9/")),
        "redirect to what is no address": says(http(b"", HTML, moved, "Location: http://[::1/x")),
        "redirect to what is no text": says(http(b"", HTML, moved, "Location: http://\udcff\udcfe/")),
        "redirect without an end": endless(
            b"HTTP/1.1 302 Found\r\nLocation: /simple/x/\r\n\r\n", bytes(1 << 16)
        ),
        "always 500": broken,
        "500 without an end": endless(b"HTTP/1.1 500 No\r\n\r\n", bytes(1 << 16)),
        "busy until another time": says(
            http(b"no", HTML, "503 No", "Retry-After: Wed, 99 Foo 99999 00:00:00")
        ),
        "busy for minus a second": says(http(b"no", HTML, "429 No", "Retry-After: -1")),
        "forbidden": says(http(b"no", HTML, "403 Forbidden")),
        "a status that is none": says(b"HTTP/1.1 9x9 No\r\n\r\n"),
        "no HTTP": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        "nothing": says(b""),
        "no content": says(http(b"", HTML, "204 No Content")),
        "a header without end": endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 60_000),
        "headers without end": endless(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n"),
        "more than it says": says(http(links(files).encode(), length="20")),
        "less than it says": says(http(links(files).encode(), length="99999")),
        "a length that is no number": says(http(b"\xff", length="abc")),
        "a negative length": says(http(b"\xff", length="-5")),
        "two lengths": says(http(b"\xff", HTML, "200 OK", "Content-Length: 77")),
        "packed and huge": says(http(zeros, HTML, "200 OK", "Content-Encoding: gzip")),
        "packed, not as it says": says(http(b"no gzip", HTML, "200 OK", "Content-Encoding: gzip")),
        "chunks that are none": says(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        ),
        "without end": endless(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"<!-- " + b"x" * 60_000
        ),
        "byte by byte": endless(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", b"x"),
        "too many links": html("<a href=x>x</a>" * 3000),
        "too many files": page([f"tinycuda-{n}.tar.gz" for n in range(3000)]),
        "of another kind": says(http(b"PK\3\4", "application/zip")),
        "of another character set": says(http(b"\xff\xfe<\0a\0", "text/html; charset=utf-16")),
        "of a character set that is none": says(http(b"<a>", "text/html; charset=\x7f")),
        "no JSON": says(http(b"{", JSON)),
        "deep JSON": says(http(deep, JSON)),
        "JSON of half a character": says(http(b'{"name": "\\ud800", "files": []}', JSON)),
        "JSON of a number with 5,000 digits": says(http(b'{"files": ' + b"9" * 5000 + b"}", JSON)),
        "a list": says(http(b"[]", JSON)),
        **{f"JSON with {what}": page(files, **table) for what, table in typed.items()},  # type: ignore[arg-type]
        "an empty page": html(""),
        "a base that is no address": html(links(files, '<base href="http://[::1/">')),
        "a base of another scheme": html(links(files, '<base href="javascript:">')),
        "addresses that are none": html("".join(f'<a href="http://[::1/{one}">{one}</a>' for one in files)),
        "addresses of files on this machine": html(
            "".join(f'<a href="file:///etc/{one}">{one}</a>' for one in files)
        ),
        "HTML that does not end": html('<a href="' * 500),
        "a version of HTML's own": html('<meta name="pypi:repository-version" content="2.0">' + links(files)),
        "names of another project": page(["other-1.0.tar.gz", "other-1.0-py3-none-any.whl"]),
        "names with escapes": page([f"tinycuda-1.1{ESCAPE}.tar.gz"]),
        "names that lead out": page(["../../../etc/passwd", "tinycuda-1.1/../../x.tar.gz"]),
    }


def files(name: str, right: bytes) -> dict[str, Answer]:
    """Return every bad answer to who wants a file, which has these bytes, by what is bad about it."""
    binary = "application/octet-stream"
    moved = "302 Found"
    return {
        "other bytes": says(http(right[::-1], binary)),
        "nothing": says(http(b"", binary)),
        "a page": says(http(b"<html>sign in</html>")),
        "truncated": says(http(right[:-5], binary, length=str(len(right)))),
        "more than it says": says(http(right + right, binary, length=str(len(right) - 1))),
        "a length that is no number": says(http(right[::-1], binary, length="abc")),
        "a negative length": says(http(right[::-1], binary, length="-1")),
        "a huge length": says(http(right, binary, length=str(1 << 50))),
        "without end": endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 16)),
        "byte by byte": endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        "packed and huge": says(
            http(gzip.compress(bytes(8 << 20), 9), binary, "200 OK", "Content-Encoding: gzip")
        ),
        "a part that nobody asked for": says(
            http(right[5:], binary, "206 Partial Content", "Content-Range: bytes 5-/9")
        ),
        "not satisfiable": says(http(b"", binary, "416 Range Not Satisfiable")),
        "always 500": broken,
        "500 without an end": endless(b"HTTP/1.1 500 No\r\n\r\n", bytes(1 << 16)),
        "redirect without an end": endless(
            b"HTTP/1.1 302 Found\r\nLocation: /simple/x/\r\n\r\n", bytes(1 << 16)
        ),
        "gone": absent,
        "redirect to itself": lambda hostile, path: [http(b"", binary, moved, f"Location: {path}")],
        "redirect to a file": says(http(b"", binary, moved, "Location: file:///etc/passwd")),
        "redirect to nowhere": says(http(b"", binary, moved, f"Location: http://127.0.0.1:9/{name}")),
        "nothing at all": says(b""),
    }
