"""A wheel of another machine on this one: what is asked for, what is said, and what reports and the gate make of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fields import machine
from retread.errors import HostError, PlanError
from retread.recipe import workspace
from retread.smoke import emulation
from retread.smoke.tally import where
from retread.toolkit import system


def test_no_emulator_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="there is no qemu-aarch64 on the PATH") as caught:
        emulation.emulated(machine(tmp_path)._replace(environment={"PATH": str(tmp_path)}), "aarch64", None)
    assert "apt-get install qemu-user-static" in caught.value.hint


def test_a_machine_of_which_nothing_is_pinned(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="nothing is pinned of riscv64 machines"):
        emulation.emulated(machine(tmp_path), "riscv64", None)


def test_an_emulator_is_named_wherever_a_level_ran() -> None:
    assert where("static", "", ()) == ""
    assert where("static", "", (), "qemu-aarch64 7.2") == "under qemu-aarch64 7.2"
    assert where("jit", "3.6.0", (), "qemu-aarch64 7.2") == "Triton 3.6.0, under qemu-aarch64 7.2"


def test_triton_assembles_by_this_machine_s_ptxas_for_every_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulation, "toolkit", lambda *_: SimpleNamespace(root=Path("/kit")))
    toolchain = workspace.load_toolchain(None, "cuda-13.0")
    there = emulation.Emulated(machine(tmp_path), system.known("aarch64"), Path("/qemu"), "qemu", toolchain)
    names = ("TRITON_PTXAS_PATH", "TRITON_PTXAS_BLACKWELL_PATH")
    assert [there.environment[name] for name in names] == ["/kit/bin/ptxas"] * 2
