"""The keys of a finished wheel and of a library: every field of what they are made of, but those that are excepted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from fields import RECIPE, TARGET, fields, grown, loaded, machine, other
from retread.arch import Arch
from retread.build import pipeline
from retread.build.graft import Request
from retread.build.pipeline import Job
from retread.doors.store import Kind, Store
from retread.lanes.lane import Goal
from retread.recipe.trial import Runtime, Trial
from retread.recipe.workspace import Loaded
from retread.records import Sha256
from retread.source.trees import Trees
from retread.wheel.statement import Proof

TRIAL = Trial(torch="2.8.0")
DIFFERENT: dict[str, Any] = {
    "torch": "2.9.0", "triton": ("3.4.0",), "gpu": (Arch("9.0"),), "expect": {"kernels": ("k",)},
    "runtime": (Runtime(package="p", file="p.whl", sha256=Sha256(64 * "a")),),
}  # fmt: skip
REQUEST = Request(member="demo/_C.so", architectures=(Arch("10.0"),), run_path=None)


def job(found: Loaded, *, key: str = "base", known: bool = True) -> Job:
    made = Trees(found, machine(Path("/nowhere")))
    made.__dict__["patched_key"] = "patched"
    origin: Any = SimpleNamespace(key=key, known=lambda: known, goal=Goal(made, "cu130"))
    return Job(origin, "it was asked for")


def test_a_field_that_is_added_voids_the_wheel() -> None:
    keys = [job(found).wheel_key for found in (loaded(), loaded(grown(RECIPE)), loaded(target=grown(TARGET)))]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("field", fields(RECIPE))
def test_a_recipe_s_field_decides_or_is_excepted(field: str) -> None:
    same = job(loaded(other(RECIPE, field))).wheel_key == job(loaded()).wheel_key
    assert same == (field in pipeline.NOT_OF_WHEEL)


@pytest.mark.parametrize("field", [field for field in fields(TARGET) if field != "smoke"])
def test_a_target_s_field_decides_or_is_excepted(field: str) -> None:
    same = job(loaded(target=other(TARGET, field))).wheel_key == job(loaded()).wheel_key
    assert same == (field in pipeline.NOT_OF_TARGET)


@pytest.mark.parametrize("field", fields(TRIAL))
def test_of_how_it_is_tried_a_wheel_tells_by_what_it_is_proven(field: str) -> None:
    """The promise in it names GPUs and Tritons; the rest changes no byte of it."""
    trials = (TRIAL, structs.replace(TRIAL, **{field: DIFFERENT[field]}))
    keys = {job(loaded(target=structs.replace(TARGET, smoke=trial))).wheel_key for trial in trials}
    assert (len(keys) == 2) == (field in Proof.__struct_fields__)


def test_all_that_is_asked_of_a_library_decides_it() -> None:
    keys = {job(loaded()).library_key(other(REQUEST, field)) for field in fields(REQUEST)}
    keys |= {job(loaded()).library_key(one) for one in (REQUEST, grown(REQUEST))}
    assert len(keys) == len(fields(REQUEST)) + 2


@pytest.mark.parametrize(
    "package",
    ["cyclonedx-python-lib", "packageurl-python", "msgspec", "installer", "auditwheel", "lz4", "zstandard"],
)
def test_another_version_of_what_writes_bytes_voids_the_wheel(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, there = job(loaded()).wheel_key, pipeline.writers()
    assert there[package]
    monkeypatch.setattr(pipeline, "writers", lambda: there | {package: "0"})
    assert job(loaded()).wheel_key != before


def test_a_base_wheel_that_has_yet_to_be_made_has_no_finished_wheel() -> None:
    assert job(loaded(), known=False).finished() is None
    assert job(loaded(), key="other").wheel_key != job(loaded()).wheel_key


def test_a_finished_wheel_of_another_machine_is_taken_and_nothing_that_it_is_made_of(tmp_path: Path) -> None:
    asked = []

    class Others:
        def take(self, kind: Kind, key: str, into: Path) -> bool:
            asked.append((kind, key))
            (into / "demo.whl").touch()
            return True

        def give(self, *_: object) -> None:
            raise AssertionError("it was not made here")

    found = job(loaded())
    here = found.goal.machine._replace(store=Store(tmp_path, elsewhere=Others()))
    found.goal.trees.machine = here
    assert (found.build() / "demo.whl").exists()
    assert asked == [(Kind.WHEELS, found.wheel_key)]
