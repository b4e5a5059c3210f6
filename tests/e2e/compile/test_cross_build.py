"""The source lane for another machine than this: the pinned CUDA 13.0, Debian's cross compiler, the real nvcc."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nativecuda import ADD, FILES, SETUP
from retread.doors.store import Kind
from tinycuda import Project, Result, diff

pytestmark = [pytest.mark.network, pytest.mark.slow]
PLATFORM = ("--platform", "aarch64")


@pytest.fixture
def work(make_native: Callable[[str], Project]) -> Project:
    project = make_native("project")
    there = '[targets.cu130.platforms.aarch64]\narchitectures = ["9.0", "12.1"]\nptx = []\n'
    project.write_recipe(f"{project.recipe_text}\n{there}")
    return project


def test_a_wheel_for_another_machine(work: Project) -> None:
    result = work.build(*PLATFORM)
    assert result.code == 0, result.err
    wheel = work.root / result.wheel
    assert wheel.name.endswith("_aarch64.whl"), wheel.name
    facts = json.loads(work.run("inspect", str(wheel), "--json").out)
    library = facts["libraries"]["tinycuda/_C.so"]
    assert library["machine"] == "aarch64"
    assert [one["sass"] for one in library["modules"]] == [["9.0", "12.1"]] * 2
