"""The pages that installers read: parsed as they are by clients, HTML and JSON held against each other."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from listings import hosted, project
from retread.index.layout import place
from retread.index.listing import Hosted, Project
from retread.index.pages.simple import address, root_html, root_json, simple_html, simple_json

if TYPE_CHECKING:
    from pypi_simple import DistributionPackage, ProjectPage  # slow to import, and every worker reads this

BASE = "https://wheels.example/cu128/simple/demo/"
NASTY = "</a><script>alert(1)</script>\"'&amp;"
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
VERSIONS = ("0.0.9+cu128.1", "0.0.35+cu128.1", "0.0.35+cu128.2", "0.0.35+cu128.10", "0.0.36.dev1+cu128.1")


class Markup(HTMLParser):
    """Which elements a browser would find, and the attributes of the links."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[dict[str, str | None]] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.links.append(dict(attrs))


def from_html(given: Project) -> ProjectPage:
    from pypi_simple import ProjectPage

    return ProjectPage.from_html(given.name, simple_html(given), BASE)


def from_json(given: Project) -> ProjectPage:
    from pypi_simple import ProjectPage

    return ProjectPage.from_json_data(json.loads(simple_json(given)), BASE)


def common(one: DistributionPackage) -> tuple[Any, ...]:
    """Return what both faces say of a file."""
    return (
        one.filename, one.url, one.digests, one.requires_python, one.is_yanked, one.yanked_reason or "",
        one.metadata_digests, one.metadata_url,
    )  # fmt: skip


def releases(*versions: str) -> list[Hosted]:
    return [hosted(version=version) for version in versions]


def test_both_faces_list_the_same_files() -> None:
    given = project(
        *releases(*VERSIONS),
        hosted(version="0.0.34+cu128.1", yanked="wrong kernel", requires_python=""),
        hosted(version="0.0.33+cu128.1", yanked="", unproven="no GPU at hand"),
    )
    html, data = from_html(given), from_json(given)
    assert [common(one) for one in html.packages] == [common(one) for one in data.packages]
    assert {one.filename: one.digests for one in data.packages} == {
        one.file: {"sha256": one.sha256} for one in given.files
    }
    yanks = {one.version: one.yanked_reason for one in html.packages if one.is_yanked}
    assert yanks == {"0.0.34+cu128.1": "wrong kernel", "0.0.33+cu128.1": ""}
    for page in (html, data):
        assert (page.repository_version, page.status) == ("1.4", "active")


def test_json_says_all_that_the_api_has() -> None:
    one = hosted()
    assert json.loads(simple_json(project(one))) == {
        "meta": {"api-version": "1.4"},
        "project-status": {"status": "active"},
        "name": "demo",
        "versions": ["0.0.35+cu128.1"],
        "files": [
            {
                "filename": "demo-0.0.35+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl",
                "url": f"../../../files/{one.sha256[:2]}/{one.sha256}/"
                "demo-0.0.35%2Bcu128.1-cp39-abi3-manylinux_2_28_x86_64.whl",
                "hashes": {"sha256": one.sha256},
                "size": 117_300_000,
                "upload-time": "2026-11-22T10:00:00.000000Z",
                "core-metadata": {"sha256": 64 * "b"},
                "data-dist-info-metadata": {"sha256": 64 * "b"},
                "yanked": False,
                "requires-python": ">=3.9",
            }
        ],
    }


def test_html_says_all_that_the_api_has() -> None:
    one = hosted(yanked="wrong kernel")
    page = simple_html(project(one))
    assert page.startswith(b"<!DOCTYPE html>\n")
    assert Markup(page).links == [
        {
            "href": f"{address(one.file, one.sha256)}#sha256={one.sha256}",
            "data-core-metadata": f"sha256={64 * 'b'}",
            "data-dist-info-metadata": f"sha256={64 * 'b'}",
            "data-requires-python": ">=3.9",
            "data-yanked": "wrong kernel",
        }
    ]


def test_an_empty_reason_is_still_a_yank() -> None:
    given = project(hosted(yanked=""))
    assert json.loads(simple_json(given))["files"][0]["yanked"] is True
    assert b'data-yanked=""' in simple_html(given)


def test_addresses_lead_from_the_page_to_the_file() -> None:
    one = hosted()
    found = urljoin(BASE, address(one.file, one.sha256))
    assert unquote(found) == f"https://wheels.example/{place(one.file, one.sha256)}"
    assert "+" not in found


def test_versions_ascend_and_are_listed_once() -> None:
    wheels = [*releases(*reversed(VERSIONS)), hosted(file="demo-0.0.9+cu128.1-cp310-cp310-linux_x86_64.whl",
                                                     version="0.0.9+cu128.1")]  # fmt: skip
    data = json.loads(simple_json(project(*wheels)))
    assert data["versions"] == list(VERSIONS)
    assert [one["filename"].split("-")[1] for one in data["files"]] == ["0.0.9+cu128.1", *VERSIONS]
    assert data["files"][0]["filename"] < data["files"][1]["filename"]


def test_an_owned_name_without_files_has_a_whole_page() -> None:
    given = project(name="torch-private")
    assert json.loads(simple_json(given)) == {
        "meta": {"api-version": "1.4"},
        "project-status": {"status": "active"},
        "name": "torch-private",
        "versions": [],
        "files": [],
    }
    assert from_html(given).packages == []
    assert from_html(given).repository_version == "1.4"


def test_roots_list_every_name_once_and_sorted() -> None:
    names = ["xformers", "demo", "a-b", "demo"]
    from pypi_simple import RepositoryPage

    links = RepositoryPage.from_html(root_html("cu128", names), "https://wheels.example/cu128/simple/")
    assert [(one.text, one.url) for one in links.links] == [
        (name, f"https://wheels.example/cu128/simple/{name}/") for name in ("a-b", "demo", "xformers")
    ]
    data = json.loads(root_json("cu128", names))
    assert data["projects"] == [{"name": "a-b"}, {"name": "demo"}, {"name": "xformers"}]
    assert data["meta"] == {"api-version": "1.4", "_channel": "cu128"}
    assert root_html("cu128", names) == root_html("cu128", sorted(names))
    assert json.loads(root_json("cu128", []))["projects"] == []


@given(st.permutations(releases(*VERSIONS) + releases("1.0", "1.0.0", "1.0a1", "1!0.1")))
def test_the_order_of_the_files_does_not_matter(files: list[Hosted]) -> None:
    ordered = project(*sorted(files, key=lambda one: one.file))
    assert simple_html(project(*files)) == simple_html(ordered)
    assert simple_json(project(*files)) == simple_json(ordered)
    parsed = [Version(version) for version in json.loads(simple_json(ordered))["versions"]]
    assert parsed == sorted(parsed)


FIELDS = {
    "file": TEXTS,
    "sha256": TEXTS,
    "metadata_sha256": TEXTS,
    "requires_python": TEXTS,
    "yanked": st.none() | TEXTS,
}


@given(fields=st.fixed_dictionaries(FIELDS), name=TEXTS, channel=TEXTS)
def test_no_text_becomes_markup(fields: dict[str, Any], name: str, channel: str) -> None:
    one = hosted(**fields)
    given = project(one, name=name, channel=channel)
    found = Markup(simple_html(given))
    assert found.tags == ["html", "head", "meta", "meta", "meta", "title", "body", "h1", "a", "br"]
    (link,) = found.links
    assert link.get("data-yanked") == one.yanked
    assert link.get("data-requires-python", "") == one.requires_python
    assert link["data-core-metadata"] == link["data-dist-info-metadata"] == f"sha256={one.metadata_sha256}"
    entry = json.loads(simple_json(given))["files"][0]
    assert str(link["href"]) == f"{entry['url']}#sha256={one.sha256}"
    assert (entry["filename"], entry["hashes"]["sha256"]) == (one.file, one.sha256)
    assert unquote(entry["url"]) == f"../../../{place(one.file, one.sha256)}"
    assert re.fullmatch(r"[A-Za-z0-9_.~/%-]*", entry["url"])
    assert Markup(root_html(channel, [name])).tags[-3:] == ["h1", "a", "br"]


@pytest.mark.parametrize("reason", [NASTY, "two\nlines", "π und \N{SNOWMAN}", "\ud800"])
def test_odd_reasons_survive(reason: str) -> None:
    given = project(hosted(yanked=reason))
    assert json.loads(simple_json(given))["files"][0]["yanked"] == reason
    (link,) = Markup(simple_html(given)).links
    assert link["data-yanked"] == reason.replace("\ud800", "?")
    assert "script" not in Markup(simple_html(given)).tags


@given(st.text(st.characters(categories=None)))
def test_json_is_printable_ascii_whatever_it_says(reason: str) -> None:
    page = simple_json(project(hosted(yanked=reason)))
    assert re.fullmatch(rb"[ -~]+\n", page)
    assert page == json.dumps(json.loads(page), separators=(",", ":")).encode() + b"\n"
