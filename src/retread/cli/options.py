"""What is typed: a record for every command, and the options that several share.

Read before anything runs, for ``--help`` too: what turns what was typed into a record is imported when it is done.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar, dataclass_transform, get_type_hints

from retread.cli.commands import SENTENCES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    Groups: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
    """Commands, or the actions of one: what a noun's ``add`` puts its own into."""

DEFAULT_RECIPE = "xformers-0.0.35"
POLICY = "index-policy.toml"
"""The policy of a workspace's index, which need not be named."""

COLOURS = ("auto", "always", "never")
"""When words are coloured; ``text.colour`` knows what each means, and is not needed for ``--help``."""

Typed = TypeVar("Typed", bound="Record")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """Base of what is typed after a command: annotations, which ``typed`` fills, and which cannot be changed."""

    def __init__(self, **values: object) -> None:
        vars(self).update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse."""
        raise AttributeError(f"what was typed stays as it is, {name} too")


class Options(Record):
    """What every command takes."""

    json: bool = False
    """Print data as JSON; False of a command that has no such option."""
    quiet: bool
    color: str = "auto"
    """A ``Colour``: ``auto``, ``always`` or ``never``."""
    root: Path | None


class Source(StrEnum):
    """Where a recipe's source comes from."""

    SDIST = "sdist"
    GIT = "git"


def add_command(groups: Groups, name: str) -> argparse.ArgumentParser:
    """Add a command, which the table of commands has."""
    return add_action(groups, name, SENTENCES[name])


def add_action(actions: Groups, name: str, text: str) -> argparse.ArgumentParser:
    """Add an action of a command; ``text`` says in one sentence what it does."""
    return actions.add_parser(name, help=text, description=text)


def index_place(text: str) -> str:
    """Return where an index lies: a folder or a bucket; ArgumentTypeError for an address of another kind."""
    if "://" in text and not text.startswith(("s3://", "gs://")):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a folder nor a bucket (s3://, gs://)")
    if "://" in text and set(text) & {"?", "#"}:
        raise argparse.ArgumentTypeError(f"{text!r}: the address of a bucket has no '?' and no '#'")
    return text


def told(what: str) -> Callable[[str], str]:
    """Return what refuses an empty text, as of a variable of a shell that is not set; ``what`` is wanted there."""

    def read(text: str) -> str:
        if not text:
            raise argparse.ArgumentTypeError(f"{what} is wanted, and nothing was typed")
        return text

    return read


def amount(text: str) -> float:
    """Return a number of something that is measured, from 0 on; ArgumentTypeError for any other, inf and nan too."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number from 0 on")
    return found


def some(text: str) -> float:
    """Return a number of something that is measured, above 0; ArgumentTypeError for any other."""
    if not (found := amount(text)):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is none: a number above 0 is wanted")
    return found


def handle(command: argparse.ArgumentParser, run: Callable[[Typed], int], record: type[Typed]) -> None:
    """Let ``run`` do what the command is for; it gets what was typed as ``record`` and returns the exit code."""
    command.set_defaults(run=run, record=record)


def typed(
    namespace: argparse.Namespace, attended: Callable[[Options, str], AbstractContextManager[None]]
) -> int:
    """Run the command that was typed; return its exit code. Work goes on within what ``attended`` makes of its name."""
    import msgspec

    kinds = get_type_hints(namespace.record)
    given = {name: value for name, value in vars(namespace).items() if name in kinds}
    values = {name: msgspec.convert(value, kinds[name]) for name, value in given.items()}
    found, run = namespace.record(**values), namespace.run
    if getattr(namespace, "waits", True):
        return int(run(found))
    with attended(found, _title(namespace)):
        return int(run(found))


def _title(namespace: argparse.Namespace) -> str:
    """Return the words by which a command is known: ``index check``."""
    return " ".join(filter(None, (namespace.command, getattr(namespace, "action", ""))))


def add_common(
    command: argparse.ArgumentParser,
    run: Callable[[Typed], int],
    record: type[Typed],
    *,
    json: bool = True,
    waits: bool = False,
) -> None:
    """Let ``run`` do what the command is for, and add what all commands take.

    One that ``waits`` for others, not for work of its own, is not shown as being at work.
    """
    handle(command, run, record)
    command.set_defaults(waits=waits)
    if json:
        command.add_argument("--json", action="store_true", help="print data as JSON")
    command.add_argument(
        "-q", "--quiet", action="store_true", help="say on stderr only errors, and what changes the product"
    )
    command.add_argument(
        "--color", choices=COLOURS, default=COLOURS[0], help="default: auto, as NO_COLOR and FORCE_COLOR say"
    )
    command.add_argument(
        "--root", type=Path, help="the folder with recipes/ and patches/; default: found upwards"
    )


def add_source(command: argparse.ArgumentParser) -> None:
    """Add where the source comes from."""
    command.add_argument(
        "--source", choices=words(Source), default=Source.SDIST.value, help="where the source comes from"
    )


def add_address(command: argparse.ArgumentParser) -> None:
    """Add the address of an index."""
    command.add_argument(
        "--base", metavar="URL", help="the index's address, which its pages name; default: the last"
    )


def add_policy(command: argparse.ArgumentParser) -> None:
    """Add the policy that names whose keys count."""
    command.add_argument("--policy", type=Path, metavar="FILE", help=f"whose keys count; default: {POLICY}")


def words(kind: Iterable[StrEnum]) -> list[str]:
    """Return what may be typed for an option of this kind; plain texts, as messages show them."""
    return [one.value for one in kind]
