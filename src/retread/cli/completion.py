"""``retread completion``, and what a shell offers at TAB: recipes, targets, toolchains, wheels, files.

argcomplete asks this very command at each TAB, so what it offers is what is there: a script made of the parser alone,
as shtab writes it, would need the same functions once more in the language of every shell.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retread.cli import session
from retread.cli.options import DEFAULT_RECIPE, Record, add_command, handle
from retread.errors import RetreadError

if TYPE_CHECKING:
    from retread.cli.options import Groups

SHELLS: Final = ("bash", "zsh", "fish", "tcsh")
_WHEELS: Final = Path("dist")
"""Where wheels lie unless they were put elsewhere; they are offered without its name being typed."""


class CompletionOptions(Record):
    """What is typed after ``completion``."""

    shell: str


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "completion")
    command.add_argument(
        "shell",
        choices=SHELLS,
        help="bash and zsh: source <(retread completion bash); fish: retread completion fish | source",
    )
    handle(command, completion, CompletionOptions)


def completion(options: CompletionOptions) -> int:
    """Print what makes a shell ask this command what may follow."""
    from argcomplete.shell_integration import shellcode

    session.print_bytes(f"{shellcode(['retread'], shell=options.shell)}\n".encode())
    return 0


def before_cursor(environment: Mapping[str, str]) -> list[str]:
    """Return the words that were typed before the one that is to be completed, as a shell tells them, but the first."""
    line, point = environment.get("COMP_LINE", ""), environment.get("COMP_POINT", "")
    typed = line[: int(point)] if point.isdecimal() else line
    return typed.rpartition(" ")[0].split()[1:]


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell that asked what may follow what was typed, and end the process."""
    import argcomplete

    for action in _actions(parser):
        if action.nargs != 0 and action.choices is None:
            action.completer = _completer(action)  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, always_complete_options=False)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


Completer = Callable[..., Iterable[str]]
"""What argcomplete calls, by keywords, for the values that may stand at a place."""


def _completer(action: argparse.Action) -> Completer:
    """Return what offers values for an option or argument: by its name, else files where it takes a path."""
    found: Completer = _OFFERED.get(action.dest, _files if action.type is Path else _nothing)

    def offer(**known: Any) -> list[str]:
        try:
            return list(found(**known))
        except (OSError, RetreadError):  # nothing is there to be offered; the command itself says why
            return []

    return offer


def _nothing(**_: Any) -> tuple[str, ...]:
    return ()


def _recipes(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    from retread.recipe import workspace

    return workspace.recipes(_root(parsed_args))


def _targets(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Return the targets of the recipes that were typed, or of the one that is taken when none is."""
    from retread import strict
    from retread.recipe import files

    typed = getattr(parsed_args, "recipe", None) or DEFAULT_RECIPE
    found: dict[str, None] = {}
    for name in [typed] if isinstance(typed, str) else typed:
        with suppress(
            OSError, ValueError
        ):  # a recipe with a fault offers nothing; a build says what is wrong
            table = strict.table((_root(parsed_args) / files.recipe_file(name)).read_text("utf-8"))
            found |= dict.fromkeys(table.get("targets", {}))
    return list(found)


def _toolchains(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    from retread.recipe import workspace

    return list(workspace.toolchains(_root(parsed_args)))


def _names(parser: argparse.ArgumentParser, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    return _toolchains(parsed_args) if " toolchain " in parser.prog else []


def _wheels(prefix: str, **_: Any) -> list[str]:
    """Return wheels, and folders on the way to others."""
    here = [] if "/" in prefix else [str(path) for path in sorted(_WHEELS.glob("*.whl"))]
    below = [path for path in _files(prefix) if path.endswith(("/", ".whl"))]
    return [*here, *below]


def _files(prefix: str, **_: Any) -> list[str]:
    """Return the files and folders that begin with what was typed; hidden ones only when a dot was."""
    folder, slash, start = prefix.rpartition("/")
    there = sorted(Path(folder + slash or ".").expanduser().iterdir())
    found = [one for one in there if one.name.startswith(start) and (start or one.name[0] != ".")]
    return [f"{folder}{slash}{one.name}{'/' if one.is_dir() else ''}" for one in found]


def _root(parsed_args: argparse.Namespace) -> Path:
    from retread.recipe import workspace

    return getattr(parsed_args, "root", None) or workspace.find_root(Path.cwd())


_OFFERED: Final[dict[str, Completer]] = {
    "recipe": _recipes,
    "target": _targets,
    "toolchain": _toolchains,
    "name": _names,
    "wheel": _wheels,
}
"""Name of an option or argument -> what offers its values. What takes a path and is not here is offered files."""
