"""Whatever is wrong with what a variable of retread's says is told by the variable's name, in the message itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from retread import variables
from retread.cli import main
from retread.doors import bucket, walls
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.errors import RetreadError
from retread.evidence import keyfiles
from retread.lanes import caching
from retread.lanes.lane import Wish
from retread.recipe import workspace
from retread.recipe.toolchain import Part
from retread.toolkit import debian, toolkit

WRONG = [
    ("RETREAD_STORE", "file", ["store", "list"], 13, "a file is in the way"),
    ("RETREAD_STORE", "file/below", ["store", "prune"], 13, "a file is in the way"),
    ("RETREAD_STORE", 300 * "a", ["store", "list"], 13, "the name is too long"),
    ("RETREAD_SHARED", "http://x", ["store", "list", "--shared"], 2, "no shared store is reached by http://"),
    ("RETREAD_SHARED", "file:///nowhere", ["store", "check"], 2, "it is not there"),
    (
        "RETREAD_SHARED",
        "s3://b/pre?x=1",
        ["store", "check"],
        2,
        "s3://b/pre cannot be opened: the address of a store has no '?' and no '#'",
    ),
    ("RETREAD_SHARED", "~/sh", ["store", "check"], 2, "/sh cannot be opened: a folder is written file:///"),
    ("RETREAD_SHARED_KEY", "~/none.key", ["store", "check"], 2, "/none.key"),
    ("RETREAD_SHARED_KEY", "none.key", ["store", "check"], 2, "there is no file none.key"),
    ("RETREAD_SHARED_KEY", "ci.pub", ["store", "check"], 2, "ci.pub is a public key, which signs nothing"),
    ("RETREAD_SHARED_KEY", "file", ["store", "check"], 19, "file is no key"),
    ("RETREAD_SHARED_KEY", "ci.key", ["store", "check"], 19, "is a secret that others may read"),
    ("RETREAD_SHARED_POLICY", ".", ["store", "check"], 2, "is a folder, where a file is wanted"),
    ("RETREAD_SHARED_POLICY", "file", ["store", "check"], 19, "policy file is not TOML"),
    ("RETREAD_SHARED_POLICY", "faults.toml", ["store", "check"], 19, "policy faults.toml has "),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "store"))
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv("RETREAD_SHARED", f"file://{tmp_path}/shared")
    (tmp_path / "file").write_text("x = [")
    (tmp_path / "faults.toml").write_text("gpu = 3\n")
    keyfiles.new(tmp_path, "ci")
    (tmp_path / "ci.key").chmod(0o644)
    return tmp_path


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong[0]}-{wrong[4]}")
def test_what_is_wrong_with_a_variable_names_it(
    wrong: tuple[str, str, list[str], int, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    variable, value, line, code, told = wrong
    monkeypatch.setenv(variable, value)
    assert main.run(line) == code
    said = next(one for one in capsys.readouterr().err.splitlines() if one.startswith("retread: "))
    assert f": {variable}: " in said
    assert told in said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("more", [[], ["--shared"]])
def test_an_entry_that_is_not_there_is_looked_for_in_the_store_that_was_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setenv("RETREAD_SHARED_POLICY", "")
    assert main.run(["store", "remove", "wheels/0123456789", *more]) == 2
    shows = " ".join(["retread store list", *more])
    assert f"  next: '{shows}' shows every key with --json" in capsys.readouterr().err


def of_sandbox(_: Machine) -> object:
    return walls.absence({variables.SANDBOX: "nonsense"})


def of_cache(machine: Machine) -> object:
    with caching.cache(Wish(cache=True), machine.store.root, machine.store.root, os.environ, print):
        return None


def of_cuda(machine: Machine) -> object:
    toolchain = next(one for one in workspace.every_toolchain(None) if one.redistributables)
    return toolkit.fetch_part(
        machine, toolchain, Part(machine="x86_64", component="x", file="x.tar.xz", sha256=64 * "0", path="x")
    )


def of_debian(machine: Machine) -> object:
    return debian.fetch(
        machine, Part(machine="x86_64", component="x", file="x_1_amd64.deb", sha256=64 * "0", deb="x")
    )


@pytest.mark.parametrize(
    "wrong",
    [
        (variables.SANDBOX, "nonsense", of_sandbox, "'nonsense' is neither 'demand' nor 'off'"),
        (variables.SCCACHE, "ftp://there", of_cache, "ftp://there is no cache that can be opened"),
        (variables.SCCACHE, "s3://", of_cache, "is no bucket that can be opened"),
        (
            variables.CUDA_MIRROR,
            "ftp://there",
            of_cuda,
            "ftp://there is neither an http address nor a folder",
        ),
        (variables.CUDA_MIRROR, "/nowhere", of_cuda, "there is no file /nowhere/x"),
        (variables.DEBIAN_MIRROR, "/nowhere", of_debian, "there is no file /nowhere/x"),
    ],
)
def test_who_needs_a_variable_names_it(
    wrong: tuple[str, str, Callable[[Machine], object], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, value, ask, told = wrong
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("retread.doors.proc.find", lambda name, why: Path(name))
    machine = Machine(Store(tmp_path), Console(quiet=True), dict(os.environ))
    with pytest.raises(RetreadError) as caught:
        ask(machine)
    said = "\n".join((caught.value.message, *caught.value.faults))
    assert f"{variable}: " in said
    assert told in said


def test_every_variable_is_tried_here_and_shown_by_help() -> None:
    tried = {one[0] for one in WRONG}
    assert {*variables.EVERY} - tried == {
        variables.SANDBOX, variables.SCCACHE, variables.CUDA_MIRROR, variables.DEBIAN_MIRROR,
    }  # fmt: skip
    shown = main.outline().format_help()
    assert [name for name in variables.EVERY if f"  {name} " not in shown] == []


def test_a_missing_package_is_told_of_what_needs_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    assert main.run(["store", "check"]) == 14
    said = capsys.readouterr().err
    assert f"retread: tool: RETREAD_SHARED: file://{here}/shared needs the package obstore\n" in said
    assert "pip install 'obstore>=" in said or "pip install --python" in said
    with pytest.raises(RetreadError, match="s3://there needs the package obstore"):
        bucket.Bucket("s3://there")


@pytest.mark.parametrize("number", [1, 2])
def test_a_policy_that_lies_in_the_workspace_names_no_variable(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    monkeypatch.delenv("RETREAD_SHARED_POLICY", raising=False)
    (here / "recipes").mkdir()
    (here / "index-policy.toml").write_text("gpu = 3\n" if number == 1 else "[")
    assert main.run(["store", "check", "--root", str(here)]) == 19
    said = capsys.readouterr().err
    assert f"retread: gate: policy {here}/index-policy.toml " in said
    assert "RETREAD" not in said
