"""Which wheels ``--on`` makes: those that ``build`` makes without it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from retread.cli import engines, session
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.recipe import workspace

ROOT: Final = Path(__file__).parents[3]
RECIPE: Final = "xformers-0.0.35"


@pytest.mark.parametrize(
    ("every", "platform", "made"),
    [
        (False, None, ["x86_64"]),
        (False, "win_amd64", ["win_amd64"]),
        (True, None, ["x86_64", "win_amd64"]),
        (True, "x86_64", ["x86_64"]),
    ],
)
def test_one_recipe_is_made_for_this_machine_and_all_for_every_one(
    every: bool, platform: str | None, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(Store(tmp_path / "store"), Console(stream=io.StringIO()), {})
    monkeypatch.setattr(session, "machine", lambda _: machine)
    wanted = engines.Wanted((RECIPE,), every, "cu128", None, platform, None, None, None)
    options: Any = SimpleNamespace()
    jobs = engines._builds(options, wanted, [workspace.load(ROOT, RECIPE)])
    assert [one.platform for one in jobs if one.target == "cu128"] == made
