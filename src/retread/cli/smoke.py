"""``retread smoke``, ``kit``, ``evidence``: try a finished wheel, and show what is known of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import engines, session
from retread.cli.options import Options, add_command, add_common, told, words
from retread.smoke.level import Level

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.smoke.report import SmokeReport


class SubjectOptions(Options):
    """Whose tests are run."""

    recipe: str | None
    target: str | None


class SmokeOptions(SubjectOptions):
    """What is typed after ``smoke``."""

    wheel: Path | None
    attach: Path | None
    out: Path
    level: tuple[Level, ...] | None
    only: str
    python: str | None
    ssh: str | None
    any_torch: bool
    emulate: bool
    compare_ptx_jit: bool
    cold: bool
    durations: bool
    report: Path | None
    """``--json FILE``."""
    junit: Path | None
    html: Path | None
    on: str | None


class KitOptions(SubjectOptions):
    """What is typed after ``kit``."""

    wheel: Path
    out: Path | None


class EvidenceOptions(Options):
    """What is typed after ``evidence``."""

    wheel: Path


def add(groups: Groups) -> None:
    """Add the commands."""
    command = add_command(groups, "smoke")
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
    engines.add_on(command)
    _add_recipe(command)
    add_common(command, smoke, SmokeOptions, json=False)

    command = add_command(groups, "kit")
    command.add_argument("wheel", type=Path)
    command.add_argument("-o", "--out", type=Path, help="default: WHEEL.kit.pyz")
    _add_recipe(command)
    add_common(command, kit, KitOptions)

    command = add_command(groups, "evidence")
    command.add_argument("wheel", type=Path)
    add_common(command, evidence, EvidenceOptions)


def _add_trying(command: argparse.ArgumentParser) -> None:
    """Add what is tried, and where."""
    command.add_argument(
        "--level",
        action="append",
        choices=words(Level),
        help="default: all that this machine can run",
    )
    command.add_argument(
        "--only", metavar="PATTERN", default="*", help="cases whose id matches, like 'attention/*'"
    )
    command.add_argument(
        "--python",
        metavar="PATH",
        type=told("a Python"),
        help="a Python whose environment has torch; default: one is made",
    )
    command.add_argument("--ssh", metavar="HOST", help="try it there: only Python and torch are needed")
    command.add_argument(
        "--emulate",
        action="store_true",
        help="try a wheel for aarch64 under qemu, without a GPU: static and jit",
    )
    command.add_argument(
        "--any-torch", action="store_true", help="also under a torch that the wheel is not made for"
    )
    command.add_argument(
        "--compare-ptx-jit",
        action="store_true",
        help="run the gpu level twice natively and once from PTX, by the driver's compiler, and compare the bits",
    )
    command.add_argument(
        "--cold",
        action="store_true",
        help="try every case and compile every kernel, whatever the store has of them",
    )
    command.add_argument(
        "--durations",
        action="store_true",
        help="say where the seconds go: starting, importing, compiling, running",
    )


def _add_recipe(command: argparse.ArgumentParser) -> None:
    """Add whose tests are run."""
    command.add_argument("--recipe", help="try it as this recipe says; default: the one that made it")
    command.add_argument(
        "--target", type=told("a target"), help="default: the one that made it, or the recipe's first"
    )


def smoke(options: SmokeOptions) -> int:
    """Try a wheel and say what became of it; SmokeError when a case failed or nothing ran. Or attach a kit's report."""
    from retread.errors import UsageError
    from retread.smoke import reading
    from retread.smoke import run as smoke

    if options.on:
        engines.demand_none("smoke", options)
    if options.attach:
        return _attach(options, options.attach)
    if not options.wheel:
        raise UsageError("name a wheel, or a report with --attach")
    if options.compare_ptx_jit and Level.GPU not in (options.level or (Level.GPU,)):
        raise UsageError("--compare-ptx-jit compares what the gpu level computes", hint="add --level gpu")
    if options.on:
        return _smoke_on(options, session.existing(options.wheel))
    machine, wheel = session.machine(options), session.existing(options.wheel)
    request = smoke.Request(
        levels=options.level or (),
        only=options.only,
        python=options.python or "",
        host=options.ssh or "",
        any_torch=options.any_torch,
        emulate=options.emulate,
        compare_ptx_jit=options.compare_ptx_jit,
        cold=options.cold,
        durations=options.durations,
    )
    if options.emulate and (options.ssh or options.python):
        raise UsageError("--emulate makes a Python of its own; leave --python and --ssh out")
    with machine.store.scratch() as scratch, machine.console.fold(f"smoke {wheel.name}"):
        (scratch / "read").mkdir()
        tried = smoke.subject(session.root(options), wheel, options.recipe, options.target, scratch / "read")
        try:
            report = smoke.run(machine, tried, request, scratch)
        except smoke.EndedError as error:
            levels = ", ".join(dict.fromkeys(one.level for one in error.report.runs))
            machine.console.say(
                f"note: interrupted: what level {levels} found is kept, and nothing of the rest"
            )
            _keep(options, error.report, wheel)
            raise
    _keep(options, report, wheel)
    reading.demand(report)
    return 0


def _keep(options: SmokeOptions, report: SmokeReport, wheel: Path) -> None:
    """Put a report beside its wheel, if every case was asked for, and show it."""
    from retread.evidence import beside
    from retread.smoke import reading

    data = reading.write(report)
    if options.only == "*":
        session.machine(options).console.say(f"evidence: {beside.keep(report, data, wheel)}")
    _show(options, report, data)


def _smoke_on(options: SmokeOptions, wheel: Path) -> int:
    """Try a wheel on an engine's machines, and show every report."""
    from retread.doors import fs
    from retread.smoke import reading, table

    trial = engines.Trial(wheel, options.recipe, options.target, options.level or ())
    found = engines.smoke(options, options.on or "", trial)
    reports = [reading.parse(fs.read(one), name=one.name) for one in found]
    session.show("\n\n".join(table.table(one) for one in reports), options)
    for one in reports:
        reading.demand(one)
    return 0


def _attach(options: SmokeOptions, report: Path) -> int:
    from retread.errors import UsageError
    from retread.evidence import beside
    from retread.smoke import reading

    if options.wheel:
        raise UsageError("--attach takes a report; the wheel is the one that it names, below --out")
    place = beside.attach(session.existing(report), options.out)
    session.machine(options).console.say(f"attached: {place}")
    data = place.read_bytes()
    _show(options, reading.parse(data, name=place.name), data)
    return 0


def _show(options: SmokeOptions, report: SmokeReport, data: bytes) -> None:
    """Write a report, which ``data`` holds, in every form that is asked for; the table goes to standard output."""
    from retread.doors import fs
    from retread.smoke import junit, page, table

    if options.report:
        fs.write(options.report, data)
    if options.junit:
        fs.write(options.junit, junit.xml(report).encode())
    if options.html:
        fs.write(options.html, page.page(report).encode())
    session.show(table.table(report), options)


def kit(options: KitOptions) -> int:
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
        session.put(out)
    return 0


def evidence(options: EvidenceOptions) -> int:
    """Show all that is known of a wheel."""
    from retread.cli import show
    from retread.evidence import beside, inheritance
    from retread.smoke import table

    found = beside.evidence(session.existing(options.wheel))
    if options.json:
        session.print_json(found)
        return 0
    with session.scratch(options) as scratch:
        inherited = inheritance.beside_of(options.wheel, scratch)
    audit = show.audit(found.audit) if found.audit else "no audit"
    told = [audit, table.evidence(found.reports), *map(table.inherited, inherited)]
    session.show("\n\n".join(told), options)
    return 0
