"""Where commands write to: a folder that is missing on the way is made, whichever command it is."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from commandline import COMMANDS
from house import ROOT
from retread.cli import main
from retread.errors import PlanError

FILES = {
    "retread release plan": ("release", "plan", "xformers-0.0.35", "-o"),
    "retread smoke": None, "retread kit": None, "retread recipe proof": None, "retread build": None,
    "retread run-job": None, "retread slim": None, "retread index variants": None, "retread graft": None,
    "retread patch export": None,
}  # fmt: skip
"""Every command with ``-o``, and how the quick ones are typed; the others write through the same door (``fs.write``)
or into a folder, and the whole is tried with what lies in the way in ``tests/e2e/cli/test_bad_paths.py``."""


def test_every_command_that_writes_where_it_is_told_is_listed() -> None:
    found = {name for name, one in COMMANDS.items() if "-o" in one._option_string_actions}
    assert found == set(FILES)
    assert all(isinstance(one, argparse.ArgumentParser) for one in COMMANDS.values())


@pytest.mark.parametrize("name", [name for name, line in FILES.items() if line])
def test_a_missing_folder_is_made(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "missing" / "too" / "file"
    assert main.run([*(FILES[name] or ()), str(place), "--root", str(ROOT)]) == 0
    assert place.stat().st_size
    assert str(place) in "".join(capsys.readouterr()), "and it is said where"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["--target", "cu128", "--lane", "source"], "leave --lane or --target out"),
        (["--base", "HEAD", "--lane", "source"], "leave --base or --lane out"),
        (["--platform", "win_amd64", "--target", "cu124"], "leave --target or --platform out"),
    ],
)
def test_a_release_of_nothing_names_the_options_that_were_given(
    given: list[str], hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retread.doors.git.changed", lambda *_: [])
    monkeypatch.setattr("retread.recipe.matrix.matrix", _nothing)
    assert main.run(["release", "plan", *given, "--root", str(ROOT)]) == PlanError.exit_code
    assert capsys.readouterr().err.endswith(f"there is nothing to release\n  next: {hint}\n")


def _nothing(*_: object) -> argparse.Namespace:
    return argparse.Namespace(include=())
