"""The container's place: what decides in it is known without a container, and every field of its table decides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from fields import BUILD, CONTAINER, fields, grown, loaded, machine, other
from retread.errors import PlanError
from retread.lanes import container as lane
from retread.lanes.container import ImagePlace
from retread.lanes.lane import Goal, Wish
from retread.recipe.lane import Contained
from retread.recipe.model import Container
from retread.source.trees import Trees

PODMAN = """\
#!/bin/sh
echo "$*" >>"$HEARD"
case $1 in image) [ -e "$HEARD.image" ] && cat "$HEARD.image";; pull) echo sha256:abc >"$HEARD.image";; esac
"""
INSPECT = "image inspect --format {{.Id}} many"


@pytest.fixture
def goal(tmp_path: Path) -> Goal:
    """Return a target on a machine with a podman that writes down what it is told."""
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(PODMAN)
    program.chmod(0o755)
    heard = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HEARD": str(tmp_path / "heard")}
    return Goal(Trees(loaded(), machine(tmp_path)._replace(environment=heard)), "cu130")


def place(goal: Goal, table: Container = CONTAINER, python: str = "3.12") -> ImagePlace:
    return ImagePlace(goal, Contained(BUILD, table), "many", python)


def heard(goal: Goal) -> list[str]:
    return Path(goal.machine.environment["HEARD"]).read_text().splitlines()


def here(goal: Goal, digest: str = "abc") -> None:
    Path(f"{goal.machine.environment['HEARD']}.image").write_text(f"sha256:{digest}\n")


def test_what_decides_is_known_without_a_container(goal: Goal) -> None:
    here(goal)
    found = place(goal)
    assert [one.cached for one in found.steps()] == [True]
    assert found.manner == found.manner
    assert found.image == "many abc"
    assert heard(goal) == ["ps --quiet", INSPECT]


def test_a_plan_says_who_named_the_image(goal: Goal) -> None:
    pinned = ImagePlace(goal, Contained(BUILD, CONTAINER), CONTAINER.image, "3.12")
    assert [one.reason for named in (pinned, place(goal)) for one in named.steps()] == [
        "pinned by the recipe",
        "changes with --image",
    ]


def test_an_image_is_fetched_once_and_a_plan_fetches_none(goal: Goal) -> None:
    assert [one.cached for one in place(goal).steps()] == [False]
    assert heard(goal) == ["ps --quiet", INSPECT]
    found = place(goal)
    assert (found.manner[0], found.image) == ("abc", "many abc")
    assert heard(goal)[2:] == ["ps --quiet", INSPECT, "pull --quiet many", INSPECT]


def test_another_image_and_another_python_decide(goal: Goal) -> None:
    here(goal)
    manners = [place(goal).manner, place(goal, python="3.13").manner]
    here(goal, "other")
    assert len({repr(one) for one in (*manners, place(goal).manner)}) == 3


def test_a_python_is_a_folder_of_the_image(goal: Goal) -> None:
    here(goal)
    assert place(goal, python="3.12.1").manner == place(goal).manner


@pytest.mark.parametrize("field", fields(CONTAINER))
def test_a_field_of_its_table_decides_or_is_excepted(goal: Goal, field: str) -> None:
    here(goal)
    same = place(goal, other(CONTAINER, field)).manner == place(goal).manner
    assert same == (field in lane.NOT_OF_CONTAINER)


def test_a_field_that_is_added_decides(goal: Goal) -> None:
    here(goal)
    assert place(goal, grown(CONTAINER)).manner != place(goal).manner


@pytest.mark.parametrize(("asked", "number"), [(None, 2), ("3.11", 1)])
def test_there_is_a_wheel_for_each_python_or_for_the_one_asked_for(
    goal: Goal, asked: str | None, number: int
) -> None:
    here(goal)
    own = Contained(BUILD, replace(CONTAINER, pythons=("3.12", "3.13")))
    found = lane.origins(goal, own, Wish(python=asked, image="many"))
    assert len(found) == number


def test_another_patchelf_decides(goal: Goal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """auditwheel edits libraries with it; it may come from the system, where no package tells its version."""
    here(goal)
    manners = []
    for said in ("one", "two"):
        (tmp_path / said).write_text(said)
        monkeypatch.setattr("retread.doors.proc.find", lambda program, *, why, file=said: tmp_path / file)
        manners.append(place(goal).manner)
    assert manners[0] != manners[1]


def test_no_image_compiles_for_another_machine(goal: Goal) -> None:
    with pytest.raises(PlanError) as caught:
        lane.origins(goal._replace(platform="riscv64"), Contained(BUILD, CONTAINER), Wish())
    assert "an image for riscv64 does not run on" in caught.value.message
    assert "one that does has no compiler and no C library of riscv64" in caught.value.message
    assert "'--lane source' compiles for it with a cross compiler" in caught.value.hint
