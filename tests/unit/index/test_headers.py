"""What readers are told of the files of an index, by every server that retread ships a configuration for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from retread.index import headers
from retread.index.headers import CHECKED, FOR_EVER, HTML, JSON, NEVER, Told

SERVING = Path(__file__).parents[3] / "docs" / "serving"
HOME = f"files/aa/{64 * 'a'}"
PAGE = "text/html; charset=utf-8"
FILES = {
    f"{HOME}/a-1+cu128.1-py3-none-any.whl": Told("application/octet-stream", FOR_EVER),
    f"{HOME}/a-1+cu128.1-py3-none-any.whl.metadata": Told("text/plain; charset=utf-8", FOR_EVER),
    f"{HOME}/a-1+cu128.1-py3-none-any.whl.provenance.dsse.json": Told("application/json", CHECKED),
    "cu128/simple/demo/index.json": Told(JSON, CHECKED),
    "cu128/simple/demo/index.html": Told(PAGE, CHECKED),
    "cu128/simple/demo/page.html": Told(PAGE, CHECKED),
    "cu128/simple/index.json": Told(JSON, CHECKED),
    "cu128/simple/index.html": Told(PAGE, CHECKED),
    "cu128/index.html": Told(PAGE, CHECKED),
    "index.html": Told(PAGE, CHECKED),
}
FACES = {"json": JSON, "simple": HTML, "html": PAGE}
"""What an installer's page is sent as, whichever is asked for."""


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_type_and_its_time(name: str) -> None:
    assert headers.told(name) == FILES[name]


@pytest.mark.parametrize("name", ["state/cu128/simple.json", "lock", "names/ab/a.whl", "staged/1-a.zip"])
def test_what_is_hidden_is_kept_by_nobody(name: str) -> None:
    assert headers.told(f".retread/{name}").keep == NEVER


# nginx.


class Location(NamedTuple):
    """One location of nginx's configuration."""

    kind: str
    """``~``, ``^~``, or nothing."""
    where: str
    body: str


def _locations() -> list[Location]:
    text = re.sub(r"(?m)\s*#.*$", "", (SERVING / "nginx.conf").read_text())
    found = re.findall(r'location (?:(~|\^~) )?"?(\S+?)"? \{\n(.*?)\n    \}', text, re.DOTALL)
    return [Location(*one) for one in found]


def _nginx(name: str) -> Told:
    """Return what nginx says of an address; it writes charset=utf-8 behind text/html and the charset_types."""
    patterns = [one for one in _locations() if one.kind == "~"]
    return _of_nginx(
        next(one for one in patterns if re.search(one.where.replace(r"\z", r"\Z"), f"/{name}")), name
    )


def _of_nginx(one: Location, name: str) -> Told:
    [listed] = re.findall(r"types \{(.*)\}", one.body)
    types = {suffix: kind for kind, suffix in re.findall(r"(\S+) (\w+);", listed)}
    default = re.search(r"default_type (\S+);", one.body)
    kind = types.get(name.rpartition(".")[2], default[1] if default else "")
    encoded = {"text/html", *re.findall(r"charset_types (\S+);", one.body)}
    [keep] = re.findall(r'add_header Cache-Control "(.*)";', one.body)
    return Told(f"{kind}; charset=utf-8" if kind in encoded else kind, keep)


@pytest.mark.parametrize("name", FILES)
def test_nginx_says_the_same(name: str) -> None:
    assert _nginx(name) == FILES[name]


@pytest.mark.parametrize("face", FACES)
def test_nginx_says_it_of_the_page_of_an_installer(face: str) -> None:
    [one] = [one for one in _locations() if one.where == f"/-{face}/"]
    assert _of_nginx(one, "cu128/simple/demo/") == Told(FACES[face], CHECKED)


# Caddy.


def _handles() -> Iterator[tuple[str, str]]:
    """Yield the pattern of each address that Caddy knows, and what is done about it."""
    text = re.sub(r"(?m)^\s*#.*$", "", (SERVING / "Caddyfile").read_text())
    bodies = dict(re.findall(r"\n\thandle @(\w+) \{\n(.*?)\n\t\}", text, re.DOTALL))
    for name, pattern in re.findall(r"@(\w+) path_regexp (?:\w+ )?(\S+)\n", text):
        yield pattern, bodies[name]


def _of_caddy(body: str) -> Iterator[Told]:
    """Yield what a handle says, one for each that is in it."""
    [keep] = re.findall(r'header Cache-Control "?([^"\n]+)"?', body)
    for kind in re.findall(r'header Content-Type "?([^"\n]+)"?', body):
        yield Told(kind, keep)


def _caddy(name: str) -> list[Told]:
    return list(_of_caddy(next(body for pattern, body in _handles() if re.search(pattern, f"/{name}"))))


@pytest.mark.parametrize("name", FILES)
def test_caddy_says_the_same(name: str) -> None:
    assert _caddy(name) == [FILES[name]]


def test_caddy_says_it_of_the_page_of_an_installer() -> None:
    assert {one.kind for one in _caddy("cu128/simple/demo/")} == {*FACES.values()}
    assert {one.keep for one in _caddy("cu128/simple/demo/")} == {CHECKED}
