"""The order of a smoke test: kit, environments, levels, audit, one report; what lies beside a wheel as evidence."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name

from retread import pypa
from retread.audit import audit as auditing
from retread.audit import promise as audit_promise
from retread.doors import proc, walls
from retread.doors.console import NOTE, Step
from retread.doors.machine import Machine, download
from retread.doors.net import settings
from retread.doors.store import digest
from retread.environment import host
from retread.environment import venv as environment
from retread.errors import HostError, UsageError
from retread.recipe import platforms, workspace
from retread.recipe.plan import choose_target
from retread.recipe.trial import Trial
from retread.recipe.workspace import Loaded
from retread.smoke import kit, launch, reading
from retread.smoke.known import Keeper
from retread.smoke.launch import Options
from retread.smoke.level import Level
from retread.smoke.report import Run, SmokeReport
from retread.smoke.tally import Tally, Verdict, tally, whole
from retread.units import size
from retread.wheel import contents, statement
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Promise

EVERY = (Level.STATIC, Level.JIT, Level.GPU)


class Subject(NamedTuple):
    """A wheel to be tried: what it holds, what is promised of it, and the recipe that says how it is tried."""

    wheel: Path
    facts: WheelFacts
    promise: Promise
    loaded: Loaded
    target: str

    @property
    def trial(self) -> Trial:
        """Under what it is tried: where the recipe does not say, with what is every wheel's."""
        return self.loaded.recipe.targets[self.target].smoke or Trial()

    @property
    def torch(self) -> str:
        """The torch for the levels that need no GPU: the recipe's, else the newest that the wheel takes; or none."""
        return f"torch=={self.trial.torch}" if self.trial.torch else f"torch{self.promise.torch}"


class Request(NamedTuple):
    """What a user asks of a smoke test."""

    levels: tuple[Level, ...] = ()
    """Empty: every level that can run here."""
    only: str = "*"
    python: str = ""
    """A Python whose environment has torch; empty: retread makes one."""
    host: str = ""
    """Another machine, by ssh; ``python`` is one of its own then."""
    any_torch: bool = False
    emulate: bool = False
    """Whether a wheel of another machine is tried on this one, under an emulator and without a GPU."""
    compare_ptx_jit: bool = False
    cold: bool = False
    """Whether every case is tried, whatever the store has of it."""
    durations: bool = False
    """Whether the report says where the seconds of each case go."""

    def options(self, *levels: Level, paths: tuple[Path, ...] = ()) -> Options:
        """Return what the kit is told for some of the levels."""
        compared = self.compare_ptx_jit and Level.GPU in (levels or EVERY)
        return Options(levels, self.only, self.any_torch, compared, self.durations, paths)


def subject(root: Path, wheel: Path, recipe: str | None, target: str | None, scratch: Path) -> Subject:
    """Return the wheel with the recipe that it names, or the one that is asked for."""
    facts = contents.facts(wheel, scratch)
    said = facts.statement
    if said and not recipe:
        named = statement.recipe(said, "name one that says how it is tried: --recipe, --target")
        loaded = _loaded(root, named, wheel)
        return Subject(
            wheel, facts, said.promise, loaded, choose_target(loaded.recipe, target or said.target)
        )
    if not recipe:
        raise UsageError(
            f"{wheel.name} does not say which recipe made it", hint="name one: --recipe, --target"
        )
    loaded = _loaded(root, recipe, wheel)
    name = choose_target(loaded.recipe, target)
    promise = audit_promise.promise(loaded.recipe, loaded.recipe.targets[name], facts.version)
    return Subject(wheel, facts, promise, loaded, name)


def _loaded(root: Path, recipe: str, wheel: Path) -> Loaded:
    """Return a recipe as the wheel's platform has it."""
    loaded = workspace.load(root, recipe)
    return loaded._replace(recipe=loaded.recipe.on(platforms.of_wheel(wheel.name)))


def make_kit(machine: Machine, tried: Subject, path: Path) -> None:
    """Write the kit of a wheel to ``path``; the small wheels that it needs come from the store or the index."""
    trial, loaded = tried.trial, tried.loaded
    programs = kit.suites(loaded.recipe, loaded.root)
    runtime = tuple(download(machine, one.package, one.file, one.sha256) for one in trial.runtime)
    parts = kit.Parts(loaded.recipe, tried.target, tried.promise, programs, runtime)
    with machine.console.step(f"pack the kit of {tried.wheel.name}") as step:
        kit.write(path, parts, (tried.wheel, tried.facts))
        step.detail = size(path.stat().st_size)


class EndedError(KeyboardInterrupt):
    """An interrupt after some of the levels had ended."""

    def __init__(self, report: SmokeReport) -> None:
        super().__init__()
        self.report = report
        """What those found."""


def run(machine: Machine, tried: Subject, request: Request, scratch: Path) -> SmokeReport:
    """Try a wheel on every level that is asked for and return one report.

    EndedError when that is interrupted after some had ended.
    """
    path = scratch / "kit.pyz"
    make_kit(machine, tried, path)
    if not request.host and (why := walls.absence(machine.environment)):
        machine.console.say(f"    {NOTE} {why}, so what this wheel runs {walls.OPEN}")
    parts = list[SmokeReport]()
    try:
        for one in _parts(machine, tried, request, path):
            parts.append(one)
    except KeyboardInterrupt:
        if not parts:
            machine.console.say(
                f"{NOTE} interrupted before a level had ended: nothing of what was tried is kept"
            )
            raise
        raise EndedError(_whole(machine, tried, request, parts)) from None
    return _whole(machine, tried, request, parts)


def _whole(machine: Machine, tried: Subject, request: Request, parts: Sequence[SmokeReport]) -> SmokeReport:
    """Return one report of all parts; with the static level, the audit is a part of it."""
    report = reading.joined(parts)
    if Level.STATIC not in (request.levels or EVERY) or request.only != "*":
        return report
    clock = time.monotonic()
    with machine.console.step("audit the wheel") as step:
        audit = auditing.judge(tried.facts, promise=tried.promise, target=tried.target)
        cases = reading.audit_cases(audit)
        _tell(step, tally(cases))
    seconds = time.monotonic() - clock
    runs = [reading.audited(one, cases, seconds) if one.level is Level.STATIC else one for one in report.runs]
    return reading.sealed(report, runs)


def _tell(step: Step, found: Tally) -> None:
    """Let a step end with what became of its cases: those of all steps are those that the report is told with."""
    step.detail = ", ".join(f"{count} {end}" for end, count in found._asdict().items() if count)
    step.mark = "ok" if found.verdict is Verdict.PASSED else "failed"


def _parts(machine: Machine, tried: Subject, request: Request, path: Path) -> Iterator[SmokeReport]:
    """Run the kit once in each environment that the levels need."""
    here, heard = machine.environment, machine.console.say
    options = request.options(*request.levels)
    if request.host:
        python = request.python or "python3"
        with _trying(machine, options, f"on {request.host}") as tell:
            there = tell(launch.run_there(path, request.host, python, options, environment=here, heard=heard))
        yield there
    elif request.python:
        with _trying(machine, options, "in the named environment") as tell:
            found = tell(launch.run(path, request.python, options, environment=here, heard=heard))
        yield found
    elif request.emulate:
        yield from _under_emulator(machine, tried, request, path)
    else:
        yield from _here(machine, tried, request, path, _Own(machine, _interpreter(machine, tried)))


@contextmanager
def _trying(machine: Machine, options: Options, where: str) -> Iterator[Callable[[SmokeReport], SmokeReport]]:
    """Show a run of the kit as a step, which ends with what became of the cases that its report is told with."""
    with machine.console.step(f"try {', '.join(options.levels) or 'every level'} {where}".rstrip()) as step:

        def tell(report: SmokeReport) -> SmokeReport:
            _tell(step, whole(report))
            return report

        yield tell


class _Home(Protocol):
    """Where a kit is run: the Pythons that retread makes for it."""

    def python(self, *requires: str) -> Path:
        """Return a Python with what is required."""

    def packages(self, requirement: str) -> Path:
        """Return a folder with a package alone."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of which a trial sees those that speak of Python, torch and GPUs."""

    @property
    def keeps(self) -> bool:
        """Whether what a trial finds there may be taken another time."""


class _Own(NamedTuple):
    """The machine that retread runs on, with an interpreter of its own."""

    machine: Machine
    interpreter: str

    def python(self, *requires: str) -> Path:
        """Return the interpreter of an environment with what is required."""
        return _environment(self.machine, self.interpreter, *requires) / "bin" / "python"

    def packages(self, requirement: str) -> Path:
        """Return the packages of an environment with nothing but this."""
        return _packages(_environment(self.machine, self.interpreter, requirement, alone=True))

    @property
    def environment(self) -> Mapping[str, str]:
        """The caller's."""
        return self.machine.environment

    @property
    def keeps(self) -> bool:
        """Yes: nothing else changes these environments."""
        return True


def _under_emulator(machine: Machine, tried: Subject, request: Request, path: Path) -> Iterator[SmokeReport]:
    """Run the levels that need no GPU under an emulator of the wheel's machine."""
    from retread.smoke import emulation

    platform = platforms.of_wheel(tried.wheel.name)
    if platform not in platforms.COMPILED or platform == host.here():
        raise UsageError(
            f"--emulate: {tried.wheel.name} is for {platform}; it is for wheels of another Linux machine",
            hint="leave --emulate out"
            if platform == host.here()
            else "try the wheel's kit on such a machine",
        )
    if Level.GPU in request.levels:
        raise UsageError("--emulate: there is no GPU under an emulator", hint="leave --level gpu out")
    target = tried.loaded.recipe.targets[tried.target]
    home = emulation.emulated(machine, platform, tried.loaded.toolchains.get(target.toolchain))
    can = (Level.STATIC, Level.JIT) if tried.trial.triton else (Level.STATIC,)
    asked = request._replace(levels=request.levels or can)
    machine.console.say(f"    {NOTE} under {home.told}, CPU only: GPU code is assembled, and none of it runs")
    yield from _here(machine, tried, asked, path, home)


def _here(
    machine: Machine, tried: Subject, request: Request, path: Path, home: _Home
) -> Iterator[SmokeReport]:
    """Run every level on this machine, in environments that retread makes."""
    levels, trial = request.levels or EVERY, tried.trial
    if Level.JIT in request.levels and not trial.triton:
        raise UsageError(
            f"recipe {tried.loaded.recipe.name} names no Triton under which {tried.target} is tried",
            hint=f"add triton to targets.{tried.target}.smoke, or name an environment that has it (--python)",
        )
    torch = [tried.torch] if trial.torch or tried.promise.torch else []
    first: SmokeReport | None = None

    def run(options: Options, torch: Sequence[str]) -> SmokeReport:
        python = home.python(*torch, *_others(tried))
        keeper = None
        if home.keeps and Level.GPU not in options.levels:
            subject = (tried.loaded.recipe.name, tried.target, *options.levels)
            handed, heard = path.with_name("known.json"), machine.console.say
            keeper = Keeper(machine.store, subject, python, options.paths, handed, request.cold, heard)
        with _trying(machine, options, f"with {torch[0].partition(',')[0]}" if torch else "") as tell:
            return tell(
                launch.run(
                    path,
                    python,
                    options,
                    environment=home.environment,
                    heard=machine.console.say,
                    keeper=keeper,
                )
            )

    def with_triton(level: Level, version: str) -> SmokeReport:
        return run(request.options(level, paths=(home.packages(f"triton=={version}"),)), torch)

    if Level.STATIC in levels:
        first = (
            with_triton(Level.STATIC, trial.triton[0])
            if trial.triton
            else run(request.options(Level.STATIC), torch)
        )
        yield first
    for version in trial.triton if Level.JIT in levels else ():
        first = with_triton(Level.JIT, version)
        yield first
    if Level.GPU not in levels:
        return
    if host.has_gpu():
        yield run(
            request.options(Level.GPU),
            [f"{one},!={trial.torch}+cpu" if trial.torch else one for one in torch],
        )
    elif request.levels or first is None:
        raise HostError(
            "the gpu level cannot run here: there is no NVIDIA driver",
            hint="'retread kit' packs the test for another machine; --ssh HOST runs it there",
        )
    else:
        machine.console.say("    note: gpu: not run: there is no NVIDIA driver here")
        yield _unable(first, tried, "there is no NVIDIA driver here")


def _unable(other: SmokeReport, tried: Subject, why: str) -> SmokeReport:
    run = Run(
        level=Level.GPU,
        started=other.runs[0].started,
        seconds=0.0,
        surroundings=other.runs[0].surroundings,
        cases=(),
        untouched=tuple(tried.facts.libraries),
        unable=why,
    )
    return msgspec.structs.replace(other, runs=(run,))


def _others(tried: Subject) -> list[str]:
    """Return what the wheel requires beside torch and what the kit brings."""
    brought = {"torch", *(canonicalize_name(one.package) for one in tried.trial.runtime)}
    found = [pypa.requirement(text) for text in tried.facts.requires]
    return [
        f"{one.name}{one.specifier}"
        for one in found
        if canonicalize_name(one.name) not in brought
        and (not one.marker or one.marker.evaluate({"extra": ""}))
    ]


def _interpreter(machine: Machine, tried: Subject) -> str:
    """Return a Python that can install the wheel: retread's own, or another of this machine."""
    if not {str(tag) for tag in sys_tags()}.isdisjoint(tried.facts.tags):
        return sys.executable
    platform = platforms.of_wheel(tried.wheel.name)
    if platform in platforms.COMPILED and platform != host.here():
        raise HostError(
            f"{tried.facts.file} is for {platform}, and this machine is {host.here()}",
            hint="--emulate tries what needs no GPU under qemu; 'retread kit' packs the rest for such a machine",
        )
    if platforms.is_windows(platform):
        raise HostError(
            f"{tried.facts.file} is for Windows, and nothing of it runs on this machine",
            hint="'retread kit' packs its tests for a machine with Windows",
        )
    numbers = [match for tag in tried.facts.tags if (match := re.match(r"(?:cp|py)3(\d+)", tag))]
    if not numbers:
        raise HostError(
            f"{tried.facts.file} is for {', '.join(tried.facts.tags)}; retread knows no such Python"
        )
    return host.find_python(f"3.{numbers[0][1]}", machine.environment)


def _environment(machine: Machine, python: str, *requires: str, alone: bool = False) -> Path:
    """Return an environment with what is required, made when the store has none."""
    key = digest("trial", python, sys.version, requires, alone, "bytecode")

    def install(into: Path, cache: Path) -> None:
        environment.gather(
            requires,
            python,
            into,
            cache=cache,
            settings=settings.settings(machine.environment),
            environment=machine.environment,
            alone=alone,
        )
        _compile(into / environment.VENV, machine)

    return environment.stored(machine, key, f"install {' '.join(requires)}", install)


def _compile(venv: Path, machine: Machine) -> None:
    """Compile an environment's modules once: no trial may write there, and each would compile torch's anew."""
    command: list[str | Path] = [
        venv / "bin" / "python",
        "-m",
        "compileall",
        "-q",
        "-j",
        "0",
        _packages(venv),
    ]
    proc.run(
        command, env=machine.environment, check=False
    )  # some packages hold templates, which are no Python


def _packages(venv: Path) -> Path:
    return next((venv / "lib").glob("python3*/site-packages"))
