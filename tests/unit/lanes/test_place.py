"""The machine as a place for compiles: what is said where it has no walls."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import ROOT
from retread.doors import walls
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import AuditError, ToolError
from retread.lanes.place import HostPlace, demand_machine
from retread.recipe.model import Build
from retread.variables import SANDBOX
from tinyindex import make_wheel


@pytest.mark.parametrize("policy", ["", "demand"])
def test_a_build_without_walls_is_told_or_refused_before_it_runs(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(walls, "_impossible", lambda: "bubblewrap is not installed")
    machine = Machine(Store(tmp_path), Console(quiet=True), {"PATH": "/usr/bin:/bin", SANDBOX: policy})
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


@pytest.mark.parametrize(
    ("library", "tag", "faults"),
    [
        ("libadd-aarch64.so", "py3-none-linux_aarch64", ()),
        ("libadd.so", "py3-none-linux_aarch64", ("demo/_C.so: is for x86_64",)),
        ("libadd-aarch64.so", "py3-none-linux_x86_64", ("the build tags it py3-none-linux_x86_64",)),
    ],
)
def test_a_wheel_for_another_machine_has_that_one_s_libraries_and_tags(
    library: str, tag: str, faults: tuple[str, ...], tmp_path: Path
) -> None:
    members = {"demo/_C.so": (ROOT / "tests" / "data" / "fatbin" / library).read_bytes()}
    wheel = make_wheel(tmp_path, tag=tag, members=members)
    if not faults:
        demand_machine(wheel, "aarch64", tmp_path)
        return
    with pytest.raises(AuditError, match="was to be for aarch64, and is not") as caught:
        demand_machine(wheel, "aarch64", tmp_path)
    assert (caught.value.faults, caught.value.exit_code) == (faults, 12)
