"""The machine as a place for compiles: what is said where it has no walls."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.doors import walls
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import ToolError
from retread.lanes.place import HostPlace
from retread.recipe.model import Build


@pytest.mark.parametrize("policy", ["", "demand"])
def test_a_build_without_walls_is_told_or_refused_before_it_runs(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(walls, "_impossible", lambda: "bubblewrap is not installed")
    machine = Machine(Store(tmp_path), Console(quiet=True), {"PATH": "/usr/bin:/bin", walls.POLICY: policy})
    place = HostPlace(machine, Build(python=">=3.9", requires=()), None)
    if policy:
        with pytest.raises(ToolError, match="nothing is run without walls"):
            place.sandbox(tmp_path, tmp_path, tmp_path)
        return
    place.__dict__.update(python=None, compiler=None)
    place.sandbox(tmp_path, tmp_path, tmp_path)
    assert capsys.readouterr().err == (
        "    note: bubblewrap is not installed, so this build can read and write what you can, and reach the network\n"
    )
