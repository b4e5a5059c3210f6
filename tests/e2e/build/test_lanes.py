"""A lane of one's own: a module and a row, and plan, build, matrix and the command line know it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from retread.cli import main
from retread.recipe.lane import LANES, Found, Lane, Way
from retread.recipe.model import Recipe
from retread.recipe.series import Patch
from tinycuda import BUILT, WHEEL, Project, make_wheel, wheel_files

MODULE = """\
from retread.lanes.overlay import Official
from retread.recipe.lane import Lane


class Local(Official):
    lane = Lane("toy")

    def wheel(self):
        return self.folder / self.base.file


def origins(goal, own, wish):
    found = [Local(goal, one) for one in goal.target.base]
    for one in found:
        one.folder = own.folder
    return found
"""


class Folder:
    """What the toy lane takes: a folder with wheels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pythons(self) -> list[str]:
        """Return one."""
        return ["3.12"]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Project) -> Path:
    """Register a lane that takes its base wheels from a folder, before all others; return the folder."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "toylane.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    _add_member(monkeypatch)

    def find(recipe: Recipe, target: str, patches: Sequence[Patch]) -> Found:
        own, there = Folder(tmp_path / "wheels"), (tmp_path / "wheels").is_dir()
        return Found(own) if there else Found(None, ("there is no folder",))

    monkeypatch.setitem(LANES, Lane("toy"), Way("toylane", find, compiles=False, unasked=False))
    monkeypatch.setitem(LANES, Lane.OVERLAY, LANES[Lane.OVERLAY]._replace(for_others=Lane("toy")))
    monkeypatch.setattr(main, "parser", main.parser.args[0])  # type: ignore[attr-defined]  # not the one made before
    del project.index.files["tinycuda"][WHEEL]
    return tmp_path / "wheels"


def _add_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do to ``Lane`` what a line of its source would do."""
    member = str.__new__(Lane, "toy")
    member._name_, member._value_ = "TOY", "toy"
    monkeypatch.setattr(Lane, "_member_names_", [*Lane._member_names_, "TOY"])
    monkeypatch.setitem(Lane._member_map_, "TOY", member)
    monkeypatch.setitem(Lane._value2member_map_, "toy", member)
    # msgspec keeps the members that were there when a record was first read: records with a lane are made anew.
    monkeypatch.delattr(Lane, "__msgspec_cache__", raising=False)
    monkeypatch.delitem(sys.modules, "retread.cli.build", raising=False)


def test_a_lane_is_a_module_and_a_row(project: Project, toy: Path) -> None:
    toy.mkdir()
    (toy / WHEEL).write_bytes(make_wheel(wheel_files()))
    plan = json.loads(project.run("plan", "tiny-1.0", "--lane", "toy", "--json").out)
    assert (plan[0]["lane"], plan[0]["reason"]) == ("toy", "it was asked for")
    result = project.build("--lane", "toy")
    assert (result.code, result.out) == (0, f"dist/{BUILT}\n"), result.err
    assert json.loads(project.run("inspect", str(project.built), "--json").out)["statement"]["lane"] == "toy"
    matrix = json.loads(project.run("matrix", "--json").out)
    assert [(one["lane"], one["python"]) for one in matrix["include"]] == [("toy", "3.12")]


def test_a_wheel_of_a_lane_that_is_not_there_is_not_reproduced(
    project: Project, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.mkdir()
    (toy / WHEEL).write_bytes(make_wheel(wheel_files()))
    assert project.build("--lane", "toy").code == 0
    monkeypatch.delitem(Lane._value2member_map_, "toy")
    monkeypatch.setattr(Lane, "_member_names_", ["OVERLAY", "SOURCE", "CONTAINER"])
    result = project.run("reproduce", str(project.built))
    assert result.code == 6
    assert "comes from a lane 'toy', which this retread does not have" in result.err
    assert "it has overlay, source, container; use the retread that made it: retread " in result.err


def test_a_lane_says_itself_what_stands_in_its_way(project: Project, toy: Path) -> None:
    result = project.build("--lane", "toy")
    assert result.code == 6
    assert "  - cu128: the toy lane is not allowed; there is no folder\n" in result.err
    assert project.leftovers() == []


def test_a_lane_that_is_not_there_is_refused_with_those_that_are(project: Project, toy: Path) -> None:
    result = project.build("--lane", "train")
    assert result.code == 2
    assert "'overlay', 'source', 'container', 'toy'" in result.err
