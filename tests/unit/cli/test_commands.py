"""The command line as it is put together: one file for each noun, one row for each file."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator

from house import SOURCE
from retread.cli import main


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield every command and action that does something."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                if one.get_default("run"):
                    yield one
                yield from commands(one)


def test_every_file_that_adds_commands_has_its_row() -> None:
    found = {
        path.stem
        for path in (SOURCE / "cli").glob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == "add"
    }
    assert sorted(main.NOUNS) == sorted(found)


def test_every_command_says_what_it_does() -> None:
    found = list(commands(main.parser()))
    assert len(found) > 30
    assert [one.prog for one in found if not one.description] == []
