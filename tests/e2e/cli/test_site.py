"""The site that 'make docs' builds: no warning, nothing loaded from elsewhere, no link that leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx", reason="the extra 'docs' is not installed")

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())


class Page(HTMLParser):
    """What a page loads, where its links lead, and which names stand in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attributes}
        self.names |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a":
            self.links.append(said.get("href", ""))
        elif tag != "link" or said.get("rel") not in {"canonical", "next", "prev", "index", "search"}:
            self.loads += [said[name] for name in ("src", "href", "srcset", "data", "action") if name in said]


def foreign(address: str) -> bool:
    return bool(urlsplit(address).netloc)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built as 'make docs' builds it."""
    folder = tmp_path_factory.mktemp("site")
    line = [
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        "--keep-going",
        "--builder",
        "html",
    ]
    line += ["--doctree-dir", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def lost(pages: dict[Path, Page], site: Path) -> Iterator[str]:
    """Yield the links between pages that lead nowhere."""
    for path, page in pages.items():
        for link in (one for one in page.links if one and not urlsplit(one).scheme):
            parts = urlsplit(link)
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = place.is_file() and place.is_relative_to(site)
            names = pages[place].names if there and place in pages else {unquote(parts.fragment)}
            if not there or (parts.fragment and unquote(parts.fragment) not in names):
                yield f"{path.name}: {link}"


def test_every_page_of_the_repository_is_a_page_of_the_site(pages: dict[Path, Page], site: Path) -> None:
    made = {str(path.relative_to(site).with_suffix("")) for path in pages}
    wanted = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    assert wanted <= made
    assert "Which wheel" in (site / "index.html").read_text()
    assert "Add an audit rule" in (site / "development" / "contributing.html").read_text()


def test_every_link_of_the_site_leads_somewhere(pages: dict[Path, Page], site: Path) -> None:
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert list(lost(pages, site)) == []


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    assert [(path.name, one) for path, page in pages.items() for one in page.loads if foreign(one)] == []
    for path in site.rglob("*.css"):
        asked = re.findall(r"""@import\s+["']([^"']+)|url\(\s*["']?([^"')]+)""", path.read_text())
        assert [one for one in asked if foreign(one[0] or one[1])] == [], path


def test_what_is_foreign_or_lost_is_found(tmp_path: Path) -> None:
    page = Page(
        '<script src="//cdn.example/x.js"></script><img src="a.png"><a href="gone.html">x</a><p id="here">'
    )
    assert [one for one in page.loads if foreign(one)] == ["//cdn.example/x.js"]
    assert page.names == {"here"}
    assert list(lost({tmp_path / "page.html": page}, tmp_path)) == ["page.html: gone.html"]
