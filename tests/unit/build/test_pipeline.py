"""The keys of a finished wheel and of a library: every field of what they are made of, but those that are excepted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fields import RECIPE, TARGET, fields, grown, loaded, machine, other
from retread.arch import Arch
from retread.build import pipeline
from retread.build.graft import Request
from retread.build.pipeline import Job
from retread.lanes.lane import Goal
from retread.recipe.workspace import Loaded
from retread.source.trees import Trees

REQUEST = Request(member="demo/_C.so", architectures=(Arch("10.0"),), run_path=None)


def job(found: Loaded) -> Job:
    made = Trees(found, machine(Path("/nowhere")))
    made.__dict__["patched_key"] = "patched"
    origin: Any = SimpleNamespace(key="base", goal=Goal(made, "cu130"))
    return Job(origin, "it was asked for")


def test_a_field_that_is_added_voids_the_wheel() -> None:
    keys = [job(found).wheel_key for found in (loaded(), loaded(grown(RECIPE)), loaded(target=grown(TARGET)))]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("field", fields(RECIPE))
def test_a_recipe_s_field_decides_or_is_excepted(field: str) -> None:
    same = job(loaded(other(RECIPE, field))).wheel_key == job(loaded()).wheel_key
    assert same == (field in pipeline.NOT_OF_WHEEL)


@pytest.mark.parametrize("field", fields(TARGET))
def test_a_target_s_field_decides_or_is_excepted(field: str) -> None:
    same = job(loaded(target=other(TARGET, field))).wheel_key == job(loaded()).wheel_key
    assert same == (field in pipeline.NOT_OF_TARGET)


def test_all_that_is_asked_of_a_library_decides_it() -> None:
    keys = {job(loaded()).library_key(other(REQUEST, field)) for field in fields(REQUEST)}
    keys |= {job(loaded()).library_key(one) for one in (REQUEST, grown(REQUEST))}
    assert len(keys) == len(fields(REQUEST)) + 2
