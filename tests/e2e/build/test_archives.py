"""Archives of every hostile category: refused with words by whatever reads a wheel, or taken; nothing is left."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import archives
from fields import RECIPE
from retread.errors import PublishError, RetreadError, SourceError, WheelError
from retread.lanes import base
from retread.recipe import workspace
from retread.source import tree
from retread.source.records import Manifest, SourceTree
from sdists import cases as sdists_of
from tinycuda import SDIST, Project, Upstream, make_sdist, names
from tinyindex import Shelf, make_keys

NOTHING = Manifest(commit=40 * "0", time=0, files={}, unproven=())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", make_keys(tmp_path / "keys"))


def _told(act: Callable[[], object], kind: type[RetreadError]) -> str:
    """Return what is said when something is refused; nothing when it is not."""
    try:
        act()
    except kind as error:
        return str(error)
    return ""


def _build(wheel: Path, into: Path) -> None:
    """Take a wheel as the base of a build."""
    into.mkdir()
    recipe = msgspec.structs.replace(RECIPE, version="1.2+cu128.1")
    base.prove(wheel, SourceTree(root=into, manifest=NOTHING), into, recipe=recipe, generated=("**",))


@pytest.mark.parametrize("name", archives.ZIPS)
def test_a_hostile_wheel_is_refused_with_words_everywhere(
    project: Project, shelf: Shelf, tmp_path: Path, name: str
) -> None:
    case = archives.ZIPS[name]
    wheel = project.root / archives.WHEEL
    wheel.write_bytes(case.data)
    said = {command: project.run(command, wheel.name) for command in ("inspect", "audit")}
    assert {one.code for one in said.values()} == {9 if case.words else 0}, said
    told = {command: one.err for command, one in said.items()}
    told["build"] = _told(lambda: _build(wheel, tmp_path / "into"), WheelError)
    told["publish"] = _told(lambda: shelf.publish(wheel, unproven="a test"), PublishError)
    for text in told.values():
        assert (archives.WHEEL in text and case.words in text) if case.words else text == "", told
    assert "Traceback" not in "".join(told.values())
    if case.words:
        assert [one.out for one in said.values()] == ["", ""]
        assert not shelf.root.exists()
        assert names(tmp_path / "into") == []
    assert list(shelf.scratch.iterdir()) == []
    assert project.leftovers() == []


@pytest.fixture(scope="module")
def sdists(upstream: Upstream) -> dict[str, archives.Case]:
    return sdists_of(upstream.sdist)


SDISTS = tuple(sdists_of({"tinycuda-1.0/setup.py": b""}))


@pytest.mark.parametrize("name", SDISTS)
def test_a_hostile_source_archive_is_refused_or_is_the_commit(
    project: Project, tmp_path: Path, sdists: dict[str, archives.Case], name: str
) -> None:
    loaded = workspace.load(project.root, "tiny-1.0")
    case, sdist = sdists[name], tmp_path / SDIST
    sdist.write_bytes(case.data)
    into = tmp_path / "into"
    told = _told(lambda: tree.from_sdist(loaded.recipe, sdist, loaded.parsed_proofs(), into), SourceError)
    if told or not re.fullmatch(case.words, ""):
        assert SDIST in told
        assert case.words
        assert re.search(case.words, told), told
        assert not (into / tree.MANIFEST).exists()
    else:
        found = tree.load(into).manifest.files
        sdist.write_bytes(make_sdist(project.upstream.sdist))
        tree.from_sdist(loaded.recipe, sdist, loaded.parsed_proofs(), tmp_path / "clean")
        assert found == tree.load(tmp_path / "clean").manifest.files
        assert _files(into / tree.TREE) == set(found)
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("evil")] == []


def _files(root: Path) -> set[str]:
    return {str(one.relative_to(root)) for one in root.rglob("*") if not one.is_dir()}
