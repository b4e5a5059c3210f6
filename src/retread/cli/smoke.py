"""``retread smoke``, ``kit``, ``evidence``: try a finished wheel, and show what is known of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.smoke.report import SmokeReport


def add(groups: Groups) -> None:
    """Add the commands."""
    command = add_command(
        groups,
        "smoke",
        "try a finished wheel: without a GPU, for GPUs that are not there, and on the one that is",
    )
    command.add_argument("wheel", type=Path, nargs="?")
    command.add_argument("--attach", type=Path, metavar="REPORT", help="put a kit's report beside its wheel")
    command.add_argument(
        "-o", "--out", type=Path, default=Path("dist"), help="with --attach: where the wheel is; dist/"
    )
    _add_trying(command)
    command.add_argument("--json", dest="report", type=Path, metavar="FILE", help="write the report there")
    command.add_argument("--junit", type=Path, metavar="FILE", help="and as JUnit XML, for CI")
    command.add_argument(
        "--html", type=Path, metavar="FILE", help="and as a page, with errors and speed plotted"
    )
    _add_recipe(command)
    add_common(command, smoke, json=False)

    command = add_command(
        groups, "kit", "pack a wheel with its tests into one file for a machine without network or retread"
    )
    command.add_argument("wheel", type=Path)
    command.add_argument("-o", "--out", type=Path, help="default: WHEEL.kit.pyz")
    _add_recipe(command)
    add_common(command, kit)

    command = add_command(groups, "evidence", "show all that is known of a wheel: audit, smoke reports")
    command.add_argument("wheel", type=Path)
    add_common(command, evidence)


def _add_trying(command: argparse.ArgumentParser) -> None:
    """Add what is tried, and where."""
    command.add_argument(
        "--level",
        action="append",
        choices=["static", "jit", "gpu"],
        help="default: all that this machine can run",
    )
    command.add_argument(
        "--only", metavar="PATTERN", default="*", help="cases whose id matches, like 'attention/*'"
    )
    command.add_argument(
        "--python", metavar="PATH", help="a Python whose environment has torch; default: one is made"
    )
    command.add_argument("--ssh", metavar="HOST", help="try it there: only Python and torch are needed")
    command.add_argument(
        "--any-torch", action="store_true", help="also under a torch that the wheel is not made for"
    )


def _add_recipe(command: argparse.ArgumentParser) -> None:
    """Add whose tests are run."""
    command.add_argument("--recipe", help="try it as this recipe says; default: the one that made it")
    command.add_argument("--target", help="default: the one that made it, or the recipe's first")


def smoke(options: argparse.Namespace) -> int:
    """Try a wheel and say what became of it; SmokeError when a case failed. Or attach a report that a kit left."""
    from retread.errors import UsageError
    from retread.evidence import beside
    from retread.smoke import reading
    from retread.smoke import run as smoke
    from retread.smoke.report import Level

    if options.attach:
        return _attach(options)
    if not options.wheel:
        raise UsageError("name a wheel, or a report with --attach")
    machine, wheel = session.machine(options), session.existing(options.wheel)
    request = smoke.Request(
        levels=tuple(map(Level, options.level or ())),
        only=options.only,
        python=options.python or "",
        host=options.ssh or "",
        any_torch=options.any_torch,
    )
    with machine.store.scratch() as scratch, machine.console.fold(f"smoke {wheel.name}"):
        (scratch / "read").mkdir()
        tried = smoke.subject(session.root(options), wheel, options.recipe, options.target, scratch / "read")
        report = smoke.run(machine, tried, request, scratch)
    if options.only == "*":
        machine.console.say(f"evidence: {beside.keep(report, wheel)}")
    _show(options, report)
    reading.demand(report)
    return 0


def _attach(options: argparse.Namespace) -> int:
    from retread.errors import UsageError
    from retread.evidence import beside
    from retread.smoke import reading

    if options.wheel:
        raise UsageError("--attach takes a report; the wheel is the one that it names, below --out")
    place = beside.attach(session.existing(options.attach), options.out)
    session.machine(options).console.say(f"attached: {place}")
    _show(options, reading.parse(place.read_bytes(), name=place.name))
    return 0


def _show(options: argparse.Namespace, report: SmokeReport) -> None:
    """Write a report in every form that is asked for; the table goes to standard output."""
    from retread.doors import fs
    from retread.smoke import junit, page, reading, table

    if options.report:
        fs.write(options.report, reading.write(report))
    if options.junit:
        fs.write(options.junit, junit.xml(report).encode())
    if options.html:
        fs.write(options.html, page.page(report).encode())
    print(table.table(report))


def kit(options: argparse.Namespace) -> int:
    """Pack a wheel with its tests into one file; stdout is its path."""
    from retread.smoke import run as smoke

    machine, wheel = session.machine(options), session.existing(options.wheel)
    out = options.out or Path(f"{wheel.name.removesuffix('.whl')}.kit.pyz")
    with machine.store.scratch() as scratch:
        tried = smoke.subject(session.root(options), wheel, options.recipe, options.target, scratch)
        smoke.make_kit(machine, tried, out)
    if options.json:
        session.print_json({"kit": str(out), "wheel": wheel.name, "sha256": tried.facts.sha256})
    else:
        print(out)
    return 0


def evidence(options: argparse.Namespace) -> int:
    """Show all that is known of a wheel."""
    from retread.cli import show
    from retread.evidence import beside
    from retread.smoke import table

    found = beside.evidence(session.existing(options.wheel))
    if options.json:
        session.print_json(found)
    else:
        print(show.audit(found.audit) if found.audit else "no audit", end="\n\n")
        print(table.evidence(found.reports))
    return 0
