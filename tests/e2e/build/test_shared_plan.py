"""What a plan, and a build that finds all made, say of a shared store: asked for claims and for no parcel."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from retread import variables
from retread.doors.bucket import Bucket
from retread.doors.store import Kind
from retread.errors import StoreError
from retread.evidence import keyfiles
from tinycuda import OPS, Project, diff, ops


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a shared store, which the environment names, with a key of this machine's."""
    found = tmp_path / "shared"
    found.mkdir()
    keyfiles.new(tmp_path, "ci")
    monkeypatch.setenv(variables.SHARED, f"file://{found}")
    monkeypatch.setenv(variables.SHARED_KEY, str(tmp_path / "ci.key"))
    return found


def states(project: Project) -> list[tuple[str, bool, bool]]:
    """Return each step of the plan: whether the store has it, or the shared one."""
    (plan,) = json.loads(project.run("plan", "tiny-1.0", "--json").out)
    return [(one["stage"], one["cached"], one["shared"]) for one in plan["steps"]]


def on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(variables.STORE, str(tmp_path / "another"))
    return tmp_path / "another"


def test_the_plan_says_what_the_shared_store_would_give_and_fetches_nothing(
    project: Project, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.build()
    assert not any(shared for _, _, shared in states(project)), "what is here is asked of nobody"
    store = on_another_machine(tmp_path, monkeypatch)
    monkeypatch.setattr(Bucket, "fetch", lambda *_, **__: pytest.fail("a parcel was fetched"))
    asked = len(project.index.log)
    plan = project.run("plan", "tiny-1.0")
    assert plan.code == 0, plan
    assert "time: next to none, since the finished wheel is in a store" in plan.out
    rows = {line.split()[0]: line for line in plan.out.splitlines()}
    for stage in ("fetch", "source", "base", "seal", "audit"):
        assert " in the shared store " in rows[stage]
    assert " not needed " in rows["patch"]
    assert "to do" not in plan.out
    (read,) = json.loads(project.run("plan", "tiny-1.0", "--json").out)
    assert {one["state"] for one in read["steps"]} == {"in the shared store", "not needed"}
    assert all(f" {one['state']} " in rows[one["stage"]] for one in read["steps"])

    project.series(diff(OPS, ops(), ops(VALUE_3=31)))
    found = states(project)
    assert ("seal", False, False) in found
    assert ("base", False, True) in found
    (read,) = json.loads(project.run("plan", "tiny-1.0", "--json").out)
    assert {one["state"] for one in read["steps"]} == {"in the shared store", "to do"}
    assert " to do " in project.run("plan", "tiny-1.0").out
    assert len(project.index.log) == asked
    assert not [path for kind in Kind for path in (store / kind).glob("*/*")]


def test_a_wheel_that_was_made_before_is_not_given_and_said_not_to_be(
    project: Project, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.delenv(variables.SHARED)
        project.build()
    said = project.build().err
    assert [*place.iterdir()] == []
    told = re.search(
        r"note: the shared store has not this wheel.* 'retread store remove (wheels/\w{8})'", said
    )
    assert told, said
    with monkeypatch.context() as taker:
        taker.delenv(variables.SHARED_KEY)
        assert "note" not in project.build().err, "who gives nothing is not told"
    assert project.run("store", "remove", told[1]).code == 0
    project.build()
    assert [path.name for path in (place / "entries").iterdir()] == ["wheels"]
    assert "note" not in project.build().err


def test_what_nobody_trusted_signed_is_not_in_the_shared_store(
    project: Project, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.build()
    on_another_machine(tmp_path, monkeypatch)
    monkeypatch.delenv(variables.SHARED_KEY)
    assert {stage for stage, _, shared in states(project) if shared} == {"fetch"}, "its key is its SHA-256"


def test_a_shared_store_that_does_not_answer_is_told_once_and_the_plan_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Bucket, prefix: str) -> None:
        raise StoreError(f"cannot list {self.address}/{prefix}: no answer")

    monkeypatch.setenv(variables.SHARED, "s3://builds/retread")
    monkeypatch.setattr(Bucket, "list", refuse)
    plan = project.run("plan", "tiny-1.0")
    assert plan.code == 0
    assert plan.out.count("to do") == 8
    assert plan.err.count("cannot list s3://builds/retread/entries/") == 1
    assert plan.err.count("the rest is done without the shared store") == 1


def test_a_plan_without_the_package_for_buckets_says_so(
    project: Project, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    plan = project.run("plan", "tiny-1.0")
    assert plan.code == 0
    assert "needs the package obstore; the rest is done without the shared store" in plan.err


@pytest.mark.parametrize(
    ("variable", "value"), [(variables.SHARED, "/no/address"), (variables.SHARED_KEY, "/none.key")]
)
def test_plan_and_build_refuse_the_same_settings_when_all_is_made(
    project: Project, place: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    wheel = Path(project.build().out.strip())
    monkeypatch.setenv(variable, value)
    done = [project.run("plan", "tiny-1.0"), project.build(), project.run("reproduce", str(wheel))]
    assert [one.code for one in done] == [2, 2, 2]
    assert all(f"{variable}: " in one.err for one in done)
