"""``retread init``: a repository of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups


class InitOptions(Options):
    """What is typed after ``init``."""

    folder: Path
    recipe: str
    retread: str


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "init")
    command.add_argument("folder", type=Path, metavar="DIR", help="one that is empty, or is not there yet")
    command.add_argument(
        "--recipe",
        metavar="NAME",
        default="",
        help="copy this recipe of the workspace, with its patches, proofs and smoke suites",
    )
    command.add_argument(
        "--retread",
        metavar="OWNER/REPOSITORY@COMMIT",
        default="",
        help="whose reusable workflow is called; default: where this retread was installed from",
    )
    add_common(command, init, InitOptions)


def init(options: InitOptions) -> int:
    """Write a repository; stdout is its files."""
    from retread.recipe import starter

    shipped = session.root(options) if options.recipe else None
    made = starter.make(options.folder, starter.origin(options.retread), shipped, options.recipe)
    if options.json:
        session.print_json({"folder": str(made.folder), "files": made.files})
    else:
        session.put("\n".join(str(made.folder / name) for name in made.files))
    say = session.machine(options).console.say
    if not made.origin:
        say(
            "note: no workflow: nobody knows which commit of retread's repository this one is; "
            "name it with --retread OWNER/REPOSITORY@COMMIT"
        )
    say(f"next: cd {made.folder} && git init && make")
    return 0
