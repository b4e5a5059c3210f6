"""What the commands do that try finished wheels: smoke, kit, evidence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session

if TYPE_CHECKING:
    from retread.smoke.report import SmokeReport


def smoke(options: argparse.Namespace) -> int:
    """Try a wheel and say what became of it; SmokeError when a case failed or nothing ran. Or attach a kit's report."""
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
        machine.console.say(f"evidence: {beside.keep(report, reading.write(report), wheel)}")
    _show(options, report, reading.write(report))
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
    data = place.read_bytes()
    _show(options, reading.parse(data, name=place.name), data)
    return 0


def _show(options: argparse.Namespace, report: SmokeReport, data: bytes) -> None:
    """Write a report, which ``data`` holds, in every form that is asked for; the table goes to standard output."""
    from retread.doors import fs
    from retread.smoke import junit, page, table

    if options.report:
        fs.write(options.report, data)
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
