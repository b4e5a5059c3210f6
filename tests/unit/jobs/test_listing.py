"""Which jobs there are of a workspace, and what changes their keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retread.compile.schedule import Cost
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import StoreError
from retread.jobs import forecast, job, run
from retread.jobs.job import Job
from retread.jobs.launch import Ended
from tinycuda import FILES, OPS, Project, diff, ops

TRIAL = '\n[targets.cu128.smoke]\ntorch = "2.9.0"\ntriton = ["3.5.0"]\ngpu = ["9.0", "12.0"]\n'


def jobs(project: Project, *arguments: str) -> dict[str, Job]:
    listed = project.run("jobs", "--json", *arguments)
    assert listed.code == 0, listed
    return {one.name: one for one in job.parse(listed.out.encode(), name="jobs.json")}


def changed(before: dict[str, Job], after: dict[str, Job]) -> list[str]:
    return [name for name in before if before[name].key != after[name].key]


@pytest.fixture
def tried(project: Project) -> Project:
    project.write_recipe(project.recipe_text + TRIAL)
    return project


def test_each_wheel_is_a_job_and_its_trials_come_after_it(tried: Project) -> None:
    found = jobs(tried)
    build, *trials = found.values()
    assert list(found) == [
        "build-tiny-1.0-cu128-py3.9",
        "smoke-tiny-1.0-cu128-py3.9",
        "smoke-tiny-1.0-cu128-py3.9-cc9.0",
        "smoke-tiny-1.0-cu128-py3.9-cc12.0",
    ]
    assert [one.needs.gpu for one in found.values()] == [None, None, "9.0", "12.0"]
    assert [one.level for one in found.values()] == [(), ("static", "jit"), ("gpu",), ("gpu",)]
    assert all(one.after == (build.key,) for one in trials)
    assert "patches/tinycuda/1.0/0001-change.patch" in build.inputs


def test_a_folder_of_results_that_is_not_there_is_refused(project: Project) -> None:
    (project.root / "file").touch()
    for name, said in {"typo": "is not there", "file": "is no folder"}.items():
        for more in ((), ("--collect", "dist"), ("--json",)):
            result = project.run("jobs", "--results", name, *more)
            assert (result.code, result.out) == (2, "")
            assert result.err.startswith(f"retread: usage: --results: {name} {said}\n")
    refused = {
        "--results out --slurm s --json": (2, "usage: --slurm writes the job file as well"),
        "--results file/out --slurm s": (13, "store: cannot write file/out: a file is in the way"),
        "--results out --slurm s --lane source": (2, "usage: --slurm: tiny-1.0: no build with --lane source"),
        "--results . --collect file": (13, "store: cannot write file: a file is in the way"),
    }
    for words, (code, said) in refused.items():
        result = project.run("jobs", *words.split())
        assert (result.code, result.out) == (code, ""), result
        assert f"retread: {said}" in result.err
    assert not (project.root / "s").exists()
    (project.root / "results").mkdir()
    assert "is not there" not in project.run("jobs", "--results", "results").err


def test_results_that_are_removed_while_a_job_runs_are_no_result(project: Project) -> None:
    out = project.root / "out"

    def removing(*_: object, **__: object) -> Ended:
        shutil.rmtree(out)
        return Ended(0, "[]", 0)

    (build, *_) = jobs(project).values()
    place = run.Place(project.root, Machine(Store(project.store), Console(), {}), removing)
    with pytest.raises(
        StoreError, match=f"{out} was removed, or what lay in it, while {build.name} ran"
    ) as told:
        run.run_job(build, out, place)
    assert told.value.hint == "run the same command again"
    assert not out.exists()


def test_an_edited_patch_changes_the_keys_of_its_recipe_alone(tried: Project) -> None:
    other = tried.root / "recipes" / "other-1.0.toml"
    text = tried.recipe_text.replace('"tiny-1.0"', '"other-1.0"').replace(
        'version = "1.0"', 'version = "1.1"'
    )
    other.write_text(text.replace("tinycuda-1.0", "tinycuda-1.1"))
    (tried.root / "patches" / "tinycuda" / "1.1").mkdir()
    (tried.root / "patches" / "tinycuda" / "1.1" / "series").write_text("")
    before = jobs(tried)
    tried.series(diff(OPS, FILES[OPS], ops(VALUE_3=31)))
    assert changed(before, jobs(tried)) == [name for name in before if "-tiny-" in name]


def test_another_trial_leaves_the_build_as_it_is(tried: Project) -> None:
    before = jobs(tried)
    tried.write_recipe(f'{tried.recipe_text}\n[smoke]\ncommands = ["-m tinycuda"]\n')
    assert changed(before, jobs(tried)) == [name for name in before if name.startswith("smoke-")]


def test_two_workspaces_with_the_same_files_list_the_same_keys(
    make_project: Callable[[str], Project],
) -> None:
    assert jobs(make_project("one")) == jobs(make_project("other"))


def test_a_table_shows_what_each_needs(tried: Project) -> None:
    said = tried.run("jobs", "tiny-1.0").out.splitlines()
    assert said[0].split(" | ")[1].strip() == "job"
    assert "12.0" in said[-1]
    assert "1.1 GB" in said[2]


def test_what_a_job_took_here_is_its_next_forecast(tried: Project) -> None:
    machine = Machine(Store(tried.store), Console(), {})
    name = "build-tiny-1.0-cu128-py3.9"
    forecast.learn(machine, name, Cost(seconds=400.0, memory=4 << 30), cached=False)
    needs = jobs(tried)[name].needs
    assert (needs.seconds, needs.memory_bytes) == (660, 6 << 30)
    assert "the last run here took 400 s" in needs.why


def test_what_never_ran_is_no_quicker_than_another_job_of_its_target(project: Project) -> None:
    machine = Machine(Store(project.store), Console(), {})
    for name, seconds in {"build-tiny-1.0-cu128-py3.13": 800.0, "build-tiny-1.0-cu130-py3.9": 9000.0}.items():
        forecast.learn(machine, name, Cost(seconds=seconds, memory=1 << 20), cached=False)
    needs = jobs(project)["build-tiny-1.0-cu128-py3.9"].needs
    assert (needs.seconds, needs.memory_bytes) == (1260, 1 << 30)
    assert "another job of its target here took 800 s" in needs.why
    forecast.learn(machine, "build-tiny-1.0-cu128-py3.13", Cost(seconds=9.0, memory=1), cached=False)
    assert jobs(project)["build-tiny-1.0-cu128-py3.9"].needs.seconds == 300


@pytest.mark.parametrize(
    ("measured", "wanted", "why"),
    [
        ({}, (8, 8 * (4 << 30) + (1 << 30), 6 * 3600), "never compiled here"),
        ({"a.cu": (100, 4 << 30), "b.cu": (50, 2 << 30)}, (2, 10 << 30, 750), "2 units measured here"),
    ],
)
def test_a_compile_is_forecast_by_its_units(
    tmp_path: Path, measured: dict[str, tuple[int, int]], wanted: tuple[int, int, int], why: str
) -> None:
    from retread.recipe.lane import Lane
    from retread.recipe.matrix import Entry

    (tmp_path / "measures").mkdir()
    units = {name: {"seconds": cost[0], "memory": cost[1]} for name, cost in measured.items()}
    (tmp_path / "measures" / "demo-1-cu128.json").write_text(json.dumps(units))
    entry = Entry(
        name="x", recipe="demo-1", target="cu128", platform="x86_64", lane=Lane.SOURCE, python="3.12",
        cuda="12.8", architectures=(), gpu=(), why="",
    )  # fmt: skip
    machine = Machine(Store(tmp_path), Console(), {})
    needs = forecast.of_build(machine, "x", entry, 8)
    assert (needs.cores, needs.memory_bytes, needs.seconds) == wanted
    assert why in needs.why
    elsewhere = forecast.of_build(machine, "x", entry, 8, {"a.cu": 300.0, "b.cu": 3000.0})
    assert elsewhere.seconds == (wanted[2] if measured else 6600)
