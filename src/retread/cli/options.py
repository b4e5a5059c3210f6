"""Options that several commands share. Read before anything runs, for ``--help`` too: nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from retread.cli.session import POLICY

if TYPE_CHECKING:
    Groups: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
    """Commands, or the actions of one: what a noun's ``add`` puts its own into."""


def add_command(groups: Groups, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command, or an action of one; ``text`` says in one sentence what it does."""
    return groups.add_parser(name, help=text, description=text)


def add_common(
    command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], *, json: bool = True
) -> None:
    """Let ``run`` do what the command is for, and add what all commands take."""
    command.set_defaults(run=run)
    if json:
        command.add_argument("--json", action="store_true", help="print data as JSON")
    command.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors on stderr")
    command.add_argument(
        "--root", type=Path, help="the folder with recipes/ and patches/; default: found upwards"
    )


def add_source(command: argparse.ArgumentParser) -> None:
    """Add where the source comes from."""
    command.add_argument(
        "--source", choices=["sdist", "git"], default="sdist", help="where the source comes from"
    )


def add_address(command: argparse.ArgumentParser) -> None:
    """Add the address of an index."""
    command.add_argument(
        "--base", metavar="URL", help="the index's address, which its pages name; default: the last"
    )


def add_policy(command: argparse.ArgumentParser) -> None:
    """Add the policy that names whose keys count."""
    command.add_argument("--policy", type=Path, metavar="FILE", help=f"whose keys count; default: {POLICY}")
