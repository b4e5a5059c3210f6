"""Killed at many moments, in a build and in what removes from the store: what counts is whole, the next run goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kills
from retread.doors.store import Kind, Store
from tinycuda import BUILT, Project, names, sha256


def _contents(path: Path) -> dict[str, str]:
    """Return every file below a folder with its digest."""
    return {
        str(one.relative_to(path)): sha256(one.read_bytes())
        for one in sorted(path.rglob("*"))
        if one.is_file() and one.name != "stamp.json"
    }


def _finished(root: Path) -> dict[tuple[Kind, str], dict[str, str]]:
    """Return what the store's finished entries hold."""
    return {(one.kind, one.key): _contents(one.path) for one in Store(root).entries()}


def _wholly_built(project: Project, wheel: bytes, moment: kills.Moment) -> None:
    result = project.build()
    assert result.code == 0, (moment, result)
    assert project.built.read_bytes() == wheel, moment
    assert names(project.root / "dist") == [BUILT, f"{BUILT}.audit.json"], moment
    pruned = project.run("store", "prune", "--json")
    assert json.loads(pruned.out)["removed"] == [], moment
    assert not list((project.store / "scratch").glob("*")), moment


def test_a_build_that_is_killed_is_finished_by_the_next_with_the_same_bytes(project: Project) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")

    def again() -> None:
        shutil.rmtree(project.store, ignore_errors=True)
        shutil.rmtree(project.root / "dist", ignore_errors=True)

    total = kills.changes(project.build)
    again()
    assert project.build().code == 0
    wheel, whole = project.built.read_bytes(), _finished(project.store)
    hit = 0
    for moment in kills.moments(total, 8, (700, 5_000, len(wheel) - 30)):
        again()
        hit += kills.killed(project.build, moment)
        found = _finished(project.store)
        assert {key: whole.get(key) for key in found} == found, moment
        _wholly_built(project, wheel, moment)
        assert _finished(project.store) == whole, moment
    assert hit >= 10, hit


def test_a_prune_that_is_killed_leaves_nothing_that_counts_and_is_not_whole(
    project: Project, tmp_path: Path
) -> None:
    project.add_toolchain("8.0", "9.0a", "10.0")
    assert project.build().code == 0
    wheel, whole, kept = project.built.read_bytes(), _finished(project.store), tmp_path / "kept"
    shutil.copytree(project.store, kept)

    def again() -> None:
        shutil.rmtree(project.store)
        shutil.copytree(kept, project.store)

    def prune() -> None:
        assert project.run("store", "prune", "--days", "0").code == 0

    total, hit = kills.changes(prune), 0
    for moment in kills.moments(total, 30):
        again()
        hit += kills.killed(prune, moment)
        found = _finished(project.store)
        assert {key: whole[key] for key in found} == found, moment
        prune()
        assert not list(Store(project.store).entries())
    assert hit >= 30
    again()
    kills.killed(prune, kills.Moment(at=total // 2))
    _wholly_built(project, wheel, kills.Moment(at=total // 2))
