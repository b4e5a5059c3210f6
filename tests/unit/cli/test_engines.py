"""Which wheels ``--on`` makes: those that ``build`` makes without it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from retread.cli import engines, main, session
from retread.doors.console import Console
from retread.doors.machine import Machine
from retread.doors.store import Store
from retread.recipe import workspace
from tinycuda import Project

GO: Final = {
    "build": {
        "--target",
        "--lane",
        "--platform",
        "--toolchain",
        "--python",
        "--jobs",
        "--all",
        "--out",
        "--json",
    },
    "smoke": {"--level", "--recipe", "--target"},
}
"""What goes with --on: whoever adds an option to a command says here that it does, or refuses it in ``ALONE``."""
COMMON: Final = {"--help", "--on", "--quiet", "--color", "--root"}
ROOT: Final = Path(__file__).parents[3]
RECIPE: Final = "xformers-0.0.35"


@pytest.mark.parametrize(
    ("every", "platform", "made"),
    [
        (False, None, ["x86_64"]),
        (False, "win_amd64", ["win_amd64"]),
        (True, None, ["x86_64", "win_amd64"]),
        (True, "x86_64", ["x86_64"]),
    ],
)
def test_one_recipe_is_made_for_this_machine_and_all_for_every_one(
    every: bool, platform: str | None, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(Store(tmp_path / "store"), Console(stream=io.StringIO()), {})
    monkeypatch.setattr(session, "machine", lambda _: machine)
    wanted = engines.Wanted((RECIPE,), every, "cu128", None, platform, None, None, None)
    options: Any = SimpleNamespace()
    jobs = engines._builds(options, wanted, [workspace.load(ROOT, RECIPE)])
    assert [one.platform for one in jobs if one.target == "cu128"] == made


@pytest.mark.parametrize("command", list(engines.ALONE))
def test_every_option_goes_with_on_or_is_refused_by_name_and_the_guide_lists_it(
    command: str, tmp_path: Path
) -> None:
    actions = main.parser(command)._subparsers._group_actions[0].choices[command]._actions  # type: ignore[union-attr]
    known = {one.option_strings[-1]: one for one in actions if one.option_strings}
    alone = engines.ALONE[command].usual
    assert known.keys() - COMMON - GO[command] == alone.keys()
    assert {name: known[name].default for name in alone} == alone
    guide = (ROOT / "docs/guides/many-machines.md").read_text("utf-8")
    row = next(line for line in guide.splitlines() if line.startswith(f"| `{command}` |"))
    assert re.findall(r"`(--[a-z-]+)`", row) == list(alone)


@pytest.mark.parametrize("command", list(engines.ALONE))
def test_all_that_does_not_go_with_on_is_named_in_one_line(
    command: str, project: Project, tmp_path: Path
) -> None:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    wheel.touch()
    values = {"--source": "git", "--memory": "1"}
    flags = {one for one, usual in engines.ALONE[command].usual.items() if usual is False}
    for name in engines.ALONE[command].usual:
        words = [name] if name in flags else [name, values.get(name, "x")]
        result = project.run(command, *([str(wheel)] if command == "smoke" else []), *words, "--on", "ray")
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"retread: usage: --on does not go with {name}: each node ")


def test_options_that_leave_no_build_are_named_with_what_there_is(project: Project) -> None:
    result = project.run("build", "tiny-1.0", "--python", "3.15", "--lane", "source", "--on", "ray")
    assert result.code == 2
    assert result.err.splitlines() == [
        "retread: usage: tiny-1.0: no build with --lane source --python 3.15",
        "  - --lane source: there is overlay",
        "  - --python 3.15: there is 3.9",
        "  next: 'retread jobs' lists them all",
    ]
    listed = project.run("jobs", "tiny-1.0", "--lane", "source")
    assert (listed.code, listed.out) == (0, "")
    assert listed.err.splitlines() == [
        "tiny-1.0: no build with --lane source",
        "  - --lane source: there is overlay",
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "RETREAD_SHARED",
            "file:///no/such/folder",
            "RETREAD_SHARED: file:///no/such/folder cannot be opened",
        ),
        ("RETREAD_SHARED", "https://example.org", "RETREAD_SHARED: https://example.org cannot be opened"),
        ("RETREAD_SHARED_POLICY", "gone.toml", "RETREAD_SHARED_POLICY: there is no file gone.toml"),
        ("RETREAD_SANDBOX", "on", "RETREAD_SANDBOX: 'on' is neither 'demand' nor 'off'"),
    ],
)
def test_what_every_node_would_refuse_is_refused_before_anything_is_sent(
    name: str, value: str, said: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETREAD_SHARED", project.root.as_uri())
    monkeypatch.setenv(name, value)
    result = project.run("build", "--all", "--on", "ray://127.0.0.1:9")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"retread: usage: {said}")
