"""``retread fit``: what an environment has, what is wrong with it, which wheel it should take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common, told

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.fit.catalogue import Catalogue


class FitOptions(Options):
    """What is typed after ``fit``."""

    python: Path | None
    lock: Path | None
    platform: str | None
    gpu: tuple[str, ...] | None
    driver: str | None
    index: str | None
    usage: Path | None
    no_import: bool


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "fit")
    command.add_argument(
        "--python",
        type=Path,
        metavar="VENV/bin/python",
        help="whose environment; default: the activated one's, else python3; with --lock a version, like 3.12",
    )
    command.add_argument(
        "--lock", type=Path, metavar="FILE", help="read this lock file instead of an environment"
    )
    command.add_argument(
        "--platform",
        metavar="NAME",
        type=told("a platform"),
        help="with --lock: for which machines, like win_amd64; default: x86_64",
    )
    command.add_argument(
        "--gpu", action="append", metavar="12.0", help="instead of the GPUs here; may be given again"
    )
    command.add_argument(
        "--driver", metavar="570.124", type=told("a version"), help="instead of the driver here"
    )
    command.add_argument("--index", metavar="ADDRESS|DIR", help="take wheels from this index, or folder")
    command.add_argument(
        "--usage",
        type=Path,
        metavar="FOLDER",
        help="list what the code there calls, and what torch has for it",
    )
    command.add_argument("--no-import", action="store_true", help="import nothing, in no process either")
    add_common(command, fit, FitOptions)


def fit(options: FitOptions) -> int:
    """Say what an environment has, and what fits it; the exit code of FitError when something has to change."""
    from retread.errors import FitError, UsageError
    from retread.fit import driver as drivers
    from retread.fit import inquiry, table
    from retread.recipe import platforms

    try:
        driver = drivers.parse(options.driver) if options.driver else ""
    except ValueError as error:
        raise UsageError(f"--driver: {error}") from None
    if options.platform and not options.lock:
        raise UsageError(
            "--platform says for which machines a lock file is read", hint="name the file: --lock FILE"
        )
    machine = session.machine(options)
    gpus = [session.architecture(text) for text in options.gpu or ()]
    with machine.console.step("read the lock file" if options.lock else "read the environment"):
        if options.lock:
            python, platform = str(options.python or ""), options.platform or platforms.COMPILED[0]
            found = inquiry.fit_lock(
                catalogue(options),
                machine.environment,
                inquiry.Lock(session.existing(options.lock), python, platform),
                gpus=gpus,
                driver=driver,
                index=options.index or "",
                folder=options.usage,
            )
        else:
            found = inquiry.fit(
                catalogue(options),
                machine.environment,
                python=options.python,
                gpus=gpus,
                driver=driver,
                index=options.index or "",
                folder=options.usage,
                tries=not options.no_import,
            )
    if options.json:
        session.print_json(found)
    else:
        session.put(table.line(found) if options.quiet else table.report(found))
    return 0 if found.fits else FitError.exit_code


def catalogue(options: Options) -> Catalogue:
    """Return the catalogue of the workspace that is named, else the one that came with retread."""
    from retread.fit import inquiry

    return inquiry.of_workspace(session.root(options)) if options.root else inquiry.packaged()
