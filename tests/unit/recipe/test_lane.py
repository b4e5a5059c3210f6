"""The table of lanes: a row for each, a module behind each row, and names that cost next to nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from retread.recipe.lane import LANES, Lane

HEAVY = ("msgspec", "packaging", "retread.lanes", "retread.recipe.model")


def test_every_lane_has_its_row() -> None:
    assert list(LANES) == list(Lane)


@pytest.mark.parametrize("lane", Lane)
def test_a_row_s_module_makes_its_wheels(lane: Lane) -> None:
    origins = import_module(LANES[lane].module).origins
    assert list(inspect.signature(origins).parameters) == ["goal", "own", "wish"]


def test_names_of_lanes_cost_no_import() -> None:
    code = "import sys; from retread.recipe import lane; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [one for one in HEAVY if one in said.split()] == []
