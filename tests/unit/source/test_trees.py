"""The key of the pinned tree holds every field of the recipe, but those that are excepted by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from fields import RECIPE, TARGET, fields, grown, loaded, machine, other
from retread.recipe.model import Base, Recipe
from retread.source import syntax, trees


def key(recipe: Recipe = RECIPE) -> str:
    return trees.Trees(loaded(recipe), machine(Path("/nowhere"))).source_key


def test_a_field_that_is_added_voids_the_tree() -> None:
    assert key(grown(RECIPE)) != key()


@pytest.mark.parametrize("field", fields(RECIPE))
def test_a_field_decides_or_is_excepted(field: str) -> None:
    assert (key(other(RECIPE, field)) == key()) == (field in trees.NOT_OF_SOURCE)


@pytest.mark.parametrize(
    ("tags", "refused"), [("py3-none-any", ["0001: x.py:3: no"]), ("cp399-cp399-linux_x86_64", [])]
)
def test_a_python_that_no_wheel_is_for_refuses_no_file(
    tags: str, refused: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = Base(file=f"demo-1.2-{tags}.whl", sha256=TARGET.base[0].sha256)
    made = trees.Trees(loaded(target=replace(TARGET, base=(base,))), machine(Path("/nowhere")))
    assert made._judged(["0001: x.py:3: no"]) == refused
    note = f"note: 0001: x.py:3: no; so says Python {syntax.PYTHON}, which no wheel is for"
    assert (note in capsys.readouterr().err) == (not refused)
