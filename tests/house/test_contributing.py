"""CONTRIBUTING shows changes as commits: the files that they touch are there, and so are the lines around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from retread.recipe.reading import parse_recipe

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
NAMING = ("src", "tests", "scripts", "recipes", ".github")
DOCS = re.compile(r"\bdocs/[a-z][\w./-]*\w")
INVENTED = {"docs/new.md", "docs/page.md"}
"""Pages that tests make in trees of their own."""


class Change(NamedTuple):
    """A file in a shown commit."""

    title: str
    path: str
    new: bool
    lines: tuple[str, ...]


def changes() -> Iterator[Change]:
    """Yield every file that the shown commits touch."""
    for title, block in re.findall(
        r"^## (Add [^\n]*)\n.*?^```diff\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    ):
        for old, new, lines in re.findall(
            r"^--- (\S+)\n\+\+\+ b/(\S+)\n((?:(?!--- ).*\n)*)", block, re.MULTILINE
        ):
            yield Change(title, new, old == "/dev/null", tuple(lines.splitlines()))


CHANGES = list(changes())
MADE = {change.path for change in CHANGES if change.new}


def test_each_kind_of_change_is_shown() -> None:
    kinds = ["recipe", "audit rule", "lane", "level", "command", "suite"]
    assert list(dict.fromkeys(change.title.split(" ", 2)[2] for change in CHANGES)) == kinds


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.title}: {change.path}")
def test_a_shown_change_fits_the_tree(change: Change) -> None:
    place = ROOT / change.path
    assert place.exists() is not (change.new or change.path in MADE), change.path
    if not change.new and change.path not in MADE:
        kept = [line[1:] for line in change.lines if line.startswith((" ", "-"))]
        kept += [line[3:] for line in change.lines if line.startswith("@@ ") and "(" in line]
        text = place.read_text()
        assert [line for line in kept if line.strip() not in text] == []


def test_the_shown_recipe_can_be_read() -> None:
    (shown,) = [change for change in CHANGES if change.new and change.path == "recipes/demo-1.3.toml"]
    text = "\n".join(line[1:] for line in shown.lines)
    assert parse_recipe(text.encode(), name="demo-1.3").targets["cu128"].architectures[-1] == "12.0"


def test_every_page_that_code_names_is_there() -> None:
    named = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in NAMING
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".sh", ".toml", ".yml", ".html"}
        for name in DOCS.findall(path.read_text())
        if name not in INVENTED and not (ROOT / name).exists()
    ]
    assert named == []
