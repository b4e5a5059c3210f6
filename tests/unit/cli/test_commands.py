"""The command line as it is put together: one file for each noun, one row for each file."""

from __future__ import annotations

import argparse
import ast
import importlib
import subprocess
import sys
import typing
from collections.abc import Iterator

import msgspec
import pytest

from house import SOURCE, is_in
from retread.cli import main


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield every command and action that does something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                if one.get_default("run"):
                    yield one
                yield from commands(one)


COMMANDS = {one.prog: one for one in commands(main.parser())}


def typed(command: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return what can be typed after a command."""
    return {
        one.dest: one
        for one in command._actions
        if not isinstance(one, argparse._HelpAction | argparse._SubParsersAction)
    }


def test_every_file_that_adds_commands_has_its_row() -> None:
    found = {
        path.stem
        for path in (SOURCE / "cli").glob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "add"
    }
    assert sorted(main.NOUNS) == sorted(found)


HEAVY = {
    "ast", "asyncio", "concurrent", "ctypes", "dataclasses", "decimal", "email", "fractions", "hashlib", "http",
    "inspect", "json", "logging", "multiprocessing", "platform", "socket", "ssl", "statistics", "subprocess",
    "tempfile", "threading", "tomllib", "urllib.request", "uuid", "xml", "zipfile",
}  # fmt: skip
"""Of Python's own, what takes milliseconds to import, and what it would be imported by."""


def test_every_file_adds_the_commands_of_its_row() -> None:
    for noun, names in main.NOUNS.items():
        groups = argparse.ArgumentParser().add_subparsers()
        importlib.import_module(f"retread.cli.{noun}").add(groups)
        assert tuple(groups.choices) == names


@pytest.mark.parametrize("name", [name for names in main.NOUNS.values() for name in names])
def test_a_command_alone_is_read_as_in_the_whole(name: str) -> None:
    part, whole = (
        next(one.choices[name] for one in parser._actions if isinstance(one, argparse._SubParsersAction))
        for parser in (main.parser(name), main.parser())
    )
    assert part.format_help() == whole.format_help()


@pytest.mark.parametrize("arguments", [["--help"], ["index", "yank", "--help"]])
def test_help_imports_only_what_it_shows(arguments: list[str]) -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from retread.cli import main\n"
        f"try: main.run({arguments})\n"
        "except SystemExit: print(*set(sys.modules) - before, file=sys.stderr)"
    )
    # Nothing that is imported at the start counts, be it by a .pth of the environment.
    done = subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(SOURCE.parent)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    names = set(done.stderr.split())
    assert {name for name in names if is_in(name, tuple(HEAVY))} == set()
    ours = {name.removeprefix("retread.") for name in names if name.startswith("retread.")}
    light = {"errors", "recipe", "recipe.lane", "smoke", "smoke.level"}
    assert {name for name in ours if not is_in(name, ("cli",))} <= light
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"retread"}


def test_every_command_says_what_it_does() -> None:
    assert len(COMMANDS) > 30
    assert [name for name, one in COMMANDS.items() if not one.description] == []


CHANGES = {
    "retread index yank",
    "retread index unyank",
    "retread index remove",
    "retread index rollback",
    "retread index refresh",
}
"""They share a record, of which each fills some; ``action`` says which it is."""


@pytest.mark.parametrize("name", COMMANDS)
def test_what_can_be_typed_is_what_the_command_gets(name: str) -> None:
    fields = typing.get_type_hints(COMMANDS[name].get_default("record"))
    found = typed(COMMANDS[name])
    assert set(found) <= set(fields), "it can be typed, and is never looked at"
    spare = {"project", "release", "reason", "number", "action"} if name in CHANGES else set()
    assert set(fields) - set(found) <= {"json", *spare}, "it is looked at, and can never be typed"


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_and_choices_are_of_the_type_that_the_command_gets(name: str) -> None:
    fields = typing.get_type_hints(COMMANDS[name].get_default("record"))
    for dest, action in typed(COMMANDS[name]).items():
        several = isinstance(action, argparse._AppendAction)
        for choice in action.choices or ():
            msgspec.convert([choice] if several else choice, fields[dest])
        if not action.required and action.nargs != "*":
            msgspec.convert(action.default, fields[dest])
