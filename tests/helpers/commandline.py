"""The command line's commands, and what can be typed after each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

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
