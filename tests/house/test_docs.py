"""Every link between pages leads to a file that is committed and to a heading that is there; nothing is fetched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]*)>?[^)]*\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the names that a repository's page gives to the headings."""
    found: list[str] = []
    for heading in HEADING.findall(prose(text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.append(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return {f"{one}-{found[:at].count(one)}" if one in found[:at] else one for at, one in enumerate(found)}


def targets(text: str) -> Iterator[str]:
    """Yield where the links of a page lead, those in code left out."""
    yield from LINK.findall(CODE.sub("", prose(text)))


def faults(page: Path) -> Iterator[str]:
    """Yield every link of a page that leads nowhere."""
    for target in targets(page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        place = Path(os.path.normpath(page.parent / path)) if path else page
        if not target or path.startswith("/") or ":" in path:
            yield f"{target!r} is neither a relative path nor an http address"
        elif not place.is_relative_to(ROOT) or not place.exists():
            yield f"{target}: there is no such file"
        elif place.is_dir() and not (place / "README.md").is_file():
            yield f"{target}: a folder without README.md is no page of the site"
        elif anchor and anchor not in anchors(place.read_text()):
            yield f"{target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(faults(page)) == []


def test_the_pages_are_found() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "docs/architecture.md", "docs/guides/recipes.md"} <= names


def test_a_link_that_leads_nowhere_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# A `code` heading, and more\n\n# Twice\n\n# Twice\n")
    (tmp_path / "folder").mkdir()
    page = tmp_path / "page.md"
    good = "[a](there.md) [b](there.md#a-code-heading-and-more) [c](there.md#twice-1) [d](https://example.org/x.md)"
    page.write_text(f"{good} `[e](in-code.md)`\n\n```\n[f](in-a-block.md)\n```\n")
    assert list(faults(page)) == []
    page.write_text(
        "[a](gone.md) [b](there.md#gone) [c](/there.md) [d](../x.md) [e](folder/) [f](mailto:me)\n"
    )
    assert [fault.partition(":")[0].partition(" ")[0] for fault in faults(page)] == [
        "gone.md", "there.md#gone", "'/there.md'", "../x.md", "folder/", "'mailto",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if not page.stem.startswith("benchmarks")],  # scripts write those
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_lines_of_prose_end_before_column_121(page: Path) -> None:
    lines = prose(page.read_text()).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
