"""A change of retread itself makes void what that code decides and nothing else: a copy of its tree builds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import retread
from retread.doors.store import Kind
from tinycuda import Project, Result

MADE_BY_US = (Kind.TREES, Kind.PATCHED, Kind.BASES, Kind.TOOLCHAINS, Kind.LIBRARIES, Kind.WHEELS)


class Copy:
    """A copy of retread that builds a project."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project = project
        self.source = folder / "retread"
        shutil.copytree(
            Path(retread.__file__).parent, self.source, ignore=shutil.ignore_patterns("__pycache__")
        )

    def change(self, path: str) -> None:
        """Add a comment to one of its files."""
        with (self.source / path).open("a") as stream:
            stream.write("# changed\n")

    def build(self) -> Result:
        """Build the project in a process of its own."""
        process = self._project.start("build", "tiny-1.0", PYTHONPATH=str(self.source.parent))
        result = self._project.finish(process)
        assert result.code == 0, result.err
        return result

    def keys(self) -> dict[Kind, set[str]]:
        """Return the keys of all that is made by retread's own code."""
        return {kind: set(self._project.entries(kind)) for kind in MADE_BY_US}


@pytest.fixture
def copy(project: Project, tmp_path: Path) -> Copy:
    """Return a copy of retread that has built a wheel with a graft."""
    project.add_toolchain("8.0", "9.0a", "10.0")
    made = Copy(project, tmp_path / "copy")
    made.build()
    assert {kind: len(found) for kind, found in made.keys().items()} == dict.fromkeys(MADE_BY_US, 1)
    return made


def test_code_that_decides_nothing_changes_no_key(copy: Copy) -> None:
    before = copy.keys()
    outside = ("cli/main.py", "index/folder.py", "doors/console.py", "errors.py", "text/charts.py")
    inside = ("wheel/table.py", "wheel/comparison.py", "recipe/matrix.py", "lockfile/readers.py")
    for path in (*outside, *inside, "compile/measures.py", "toolkit/inquiry.py"):
        copy.change(path)
    assert copy.build().err.startswith("unchanged: ")
    assert copy.keys() == before


@pytest.mark.parametrize("path", ["wheel/metadata.py", "records.py", "compile/inside/enter.sh"])
def test_code_that_decides_changes_every_key(copy: Copy, path: str) -> None:
    before = copy.keys()
    copy.change(path)
    assert "built: " in copy.build().err
    assert {kind: len(found - before[kind]) for kind, found in copy.keys().items()} == dict.fromkeys(
        MADE_BY_US, 1
    )
