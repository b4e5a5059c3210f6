"""What a wheel is made of: whatever is read for a recipe is among its inputs, so that a change of it starts the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from retread.recipe import files, workspace
from retread.recipe.trial import Smoke
from retread.smoke import kit

ROOT = Path(__file__).parents[3]
RECIPES = workspace.recipes(ROOT)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that are opened from here on, below the repository."""
    found: list[str] = []
    original = Path.open

    def recording(path: Path, *arguments: Any, **named: Any) -> Any:
        found.append(path.relative_to(ROOT).as_posix())
        return original(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", recording)
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_every_file_that_is_read_for_a_shipped_recipe_is_an_input(name: str, reads: list[str]) -> None:
    recipe = workspace.load(ROOT, name).recipe
    kit.suites(recipe, ROOT)
    inputs = {path for target in recipe.targets for path in files.inputs(recipe, target)}
    inputs |= {
        files.times(recipe.name, target) for target in recipe.targets
    }  # they change no byte of a wheel
    assert {
        path for path in reads if path not in inputs and f"{path.rpartition('/')[0]}/" not in inputs
    } == set()
    kinds = {path.rpartition("/")[0] for path in reads}
    assert {"recipes", files.series(recipe)} <= kinds
    assert ("recipes/commits" in kinds) == bool(recipe.sdist.file)
    assert ("recipes/locks" in kinds) == any(target.build for target in recipe.targets.values())
    assert (files.OWN_TOOLCHAINS in kinds) == any(target.toolchain for target in recipe.targets.values())


def test_inputs_name_a_folder_of_suites_once() -> None:
    recipe = workspace.load(ROOT, RECIPES[-1]).recipe
    tried = replace(recipe, smoke=Smoke(suites=("a/x.py", "a/y.py", "top.py")))
    found = files.inputs(tried, next(iter(recipe.targets)))
    assert [one for one in found if one in {"a/", "top.py", "/"}] == ["a/", "top.py"]
