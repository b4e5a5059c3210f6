"""The order of the stages, and nothing else: who needs what, what is in the store, what is told meanwhile.

Every result is kept under a key made of everything that went into it, so a second build does only what changed.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from retread import version
from retread.arch import Arch
from retread.audit.promise import proof
from retread.audit.report import AuditReport
from retread.build import sbom, statement
from retread.build.cubins import assembler, assembly
from retread.doors import fs
from retread.doors.machine import Machine, code_digest
from retread.doors.store import Kind, digest
from retread.elf.facts import LibraryFacts
from retread.errors import PlanError
from retread.evidence.beside import AUDIT, COMPILE
from retread.lanes.lane import Origin, Wish
from retread.lanes.overlay import Official
from retread.lanes.source import Compiled
from retread.recipe import plan
from retread.recipe.model import Target
from retread.recipe.plan import Lane, Plan, Step, step
from retread.recipe.workspace import Loaded
from retread.records import Record, Sha256
from retread.source.records import PatchedTree
from retread.source.trees import Trees
from retread.toolkit.inquiry import obstacles
from retread.units import size
from retread.wheel import zipwriter
from retread.wheel.statement import Statement

if TYPE_CHECKING:
    from retread.build.graft import Grafted, Request
    from retread.lanes.lane import ProvenBase
    from retread.toolkit.ptxas import Assembler
    from retread.wheel.contents import Known


class Built(Record, frozen=True, kw_only=True):
    """A finished wheel, where it lies, and whether it had been made before."""

    path: str
    sha256: Sha256
    size: int
    cached: bool
    audit: str
    """Path of the audit's evidence."""


class Job:
    """One wheel to make: a target of a recipe on one base wheel, which is official or compiled."""

    def __init__(self, trees: Trees, target: str, origin: Origin, reason: str) -> None:
        self.trees = trees
        self.loaded = trees.loaded
        self.recipe = trees.recipe
        self.machine = trees.machine
        self.name = target
        self.target: Target = trees.recipe.targets[target]
        self.origin = origin
        self.reason = reason
        """Why this lane."""
        self.version = patched_version(trees.loaded, target)
        self.toolchain = trees.loaded.toolchains.get(self.target.toolchain)

    @functools.cached_property
    def wheel_key(self) -> str:
        """Key of the finished wheel."""
        target = msgspec.structs.replace(
            self.target, smoke=None
        )  # of how it is tried, it tells by what it is proven
        told = (self.recipe.name, self.name, target, proof(self.target))
        made_of = (*told, self.toolchain, zipwriter.DEFLATE, sbom.writer())
        return digest("wheel", code_digest(), self.origin.key, self.trees.patched_key, made_of)

    def library_key(self, member: str, architectures: tuple[Arch, ...]) -> str:
        """Key of a library with these architectures added."""
        asked = (member, architectures, self.run_path(member), self.toolchain, zipwriter.DEFLATE)
        return digest("library", code_digest(), self.origin.key, asked)

    def run_path(self, member: str) -> tuple[str, ...] | None:
        """Return the run path that the recipe gives a library, or None when it gives none."""
        return next((path for glob, path in self.target.run_path.items() if fnmatchcase(member, glob)), None)

    def exempt(self, member: str) -> bool:
        """Say whether the recipe exempts a library from the target's architectures."""
        return any(item.library == member for item in self.target.exempt)

    # Stages, each behind the store.

    def assembler(self) -> Assembler:
        """Return the target's own ptxas, ready to run; PlanError when the target names no toolchain."""
        if self.toolchain is None:
            raise PlanError(
                f"{self.recipe.name} {self.name}: the base wheel lacks architectures, and no toolchain is named",
                hint=f"name one for CUDA {self.target.cuda} under targets.{self.name}.toolchain",
            )
        return assembler(self.machine, self.toolchain)

    def library_requests(self, base: ProvenBase) -> list[Request]:
        """Return what every library of the base wheel has to get: missing architectures, a run path."""
        from retread.build import graft

        found = []
        for member, facts in base.libraries.items():
            missing = () if self.exempt(member) else graft.wanted(facts, self.target.architectures)
            run_path = self.run_path(member)
            if missing or (run_path is not None and run_path != facts.run_path):
                found.append(graft.Request(member=member, architectures=missing, run_path=run_path))
        return found

    def library(self, request: Request) -> tuple[Grafted, Path]:
        """Return one finished library and the file of its deflated bytes."""
        from retread.build import graft
        from retread.wheel.wheelfile import Wheel

        def build(into: Path) -> None:
            added = " ".join(request.architectures)
            title = f"graft {added} into" if added else "set the run path of"
            path = self.origin.wheel()
            tool = self.assembler() if request.architectures else None
            with self.machine.console.step(f"{title} {request.member}") as step, Wheel(path) as wheel:
                graft.graft_member(
                    wheel,
                    request,
                    into,
                    assembly=assembly(self.machine, tool) if tool else None,
                    progress=lambda done, total: step.progress(done, total, "B"),
                )
                grafted, content = graft.load(into)
                step.detail = f"{len(grafted.facts.modules)} modules, {size(content.stat().st_size)} deflated"

        key = self.library_key(request.member, request.architectures)
        return graft.load(self.machine.store.make(Kind.LIBRARIES, key, build))

    # The wheel.

    def finished(self) -> Path | None:
        """Return the finished wheel's store entry, if there is one."""
        return self.machine.store.use(Kind.WHEELS, self.wheel_key)

    def build(self) -> Path:
        """Return the finished wheel's store entry: sealed, audited, with its evidence."""
        patched = self.trees.patched()
        tree = self.trees.source()
        base = self.origin.proven()
        libraries = {request.member: self.library(request) for request in self.library_requests(base)}
        said = self.statement(tree.manifest.time, base, libraries)
        return self.machine.store.make(
            Kind.WHEELS, self.wheel_key, lambda into: self._seal(base, patched, libraries, said, into)
        )

    def _seal(
        self,
        base: ProvenBase,
        patched: PatchedTree,
        libraries: Mapping[str, tuple[Grafted, Path]],
        said: Statement,
        into: Path,
    ) -> None:
        from retread.audit import audit
        from retread.build import seal
        from retread.wheel.wheelfile import Wheel

        with self.machine.console.step("seal the wheel") as step, Wheel(self.origin.wheel()) as wheel:
            path = seal.seal(
                wheel,
                base.verified,
                target=self.target,
                patched=patched,
                libraries={
                    member: (content, grafted.deflated) for member, (grafted, content) in libraries.items()
                },
                statement=said,
                patches=self.loaded.files,
                platform=self.origin.platform(),
                into=into,
            )
            step.detail = size(path.stat().st_size)
            outside = seal.unreached(wheel, patched, path)
        if outside:
            self.machine.console.say(
                f"  note: the wheel holds nothing of {', '.join(outside)}, which the series changes"
            )
        with self.machine.console.step("audit the wheel") as step, self.machine.store.scratch() as scratch:
            report = audit.audit(
                path,
                scratch,
                promise=said.promise,
                target=f"{self.recipe.name} {self.name}",
                base=base.libraries,
                known=_known(base, libraries),
            )
            audit.demand(report)
            step.detail = f"{len(report.checks)} checks hold"
        (into / AUDIT[1:]).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if evidence := self.origin.evidence():
            (into / COMPILE[1:]).write_bytes(msgspec.json.format(evidence) + b"\n")

    def statement(
        self, time: int, base: ProvenBase, libraries: Mapping[str, tuple[Grafted, Path]]
    ) -> Statement:
        """Return what the wheel says of itself: ``retread.json``."""
        facts = {member: grafted.facts for member, (grafted, _) in libraries.items()}
        found = {
            member: statement.library(before, facts.get(member, before))
            for member, before in base.libraries.items()
        }
        tool = None
        if self.toolchain and any(one.before != one.after for one in found.values()):
            tool = statement.toolchain(
                self.toolchain, self.assembler().version, [one.reproduced for one, _ in libraries.values()]
            )
        return statement.statement(
            self.recipe,
            self.name,
            self.origin.stated(),
            self.loaded.patches,
            version=self.version,
            lane=self.origin.lane,
            time=time,
            toolchain=tool,
            libraries=found,
        )

    # The plan.

    def plan(self) -> Plan:
        """Return what a build would do, with what is in the store and what is not, and why."""
        return Plan(
            schema=1,
            recipe=self.recipe.name,
            target=self.name,
            wheel=self.origin.wheel_name,
            lane=self.origin.lane,
            reason=self.reason,
            steps=tuple(self._steps()),
        )

    def _steps(self) -> Iterator[Step]:
        store, wheel = self.machine.store, self.origin.wheel_name
        yield from self.trees.steps()
        *before, base = self.origin.steps()
        yield from (*before, base)
        finished = None
        if not base.cached:
            yield step("graft", "libraries", None, "known when the base wheel is read")
        else:
            finished = self.finished()
            for request in self.library_requests(self.origin.proven()):
                key = self.library_key(request.member, request.architectures)
                does = (
                    f"lacks {' '.join(request.architectures)}" if request.architectures else "gets a run path"
                )
                yield step("graft", request.member, store.get(Kind.LIBRARIES, key), does)
        yield step("seal", wheel, finished, "changes with anything above")
        yield step("audit", wheel, finished, "is part of the finished wheel")


def patched_version(loaded: Loaded, target: str) -> str:
    """Return the version of the wheels of a target."""
    wanted = loaded.recipe.targets[target]
    return version.patched(loaded.recipe.version, wanted.cuda, wanted.revision)


def _known(base: ProvenBase, libraries: Mapping[str, tuple[Grafted, Path]]) -> Known:
    """Return what the audit need not inflate again: the base's members, and the libraries that were made from it."""
    from retread.wheel.contents import Known
    from retread.wheel.zipwriter import Member

    raw = {member.name: member.raw_sha256 for member in base.verified.members}
    read: dict[Sha256, LibraryFacts] = {raw[name]: facts for name, facts in base.libraries.items()}
    made = []
    for name, (grafted, _) in libraries.items():
        deflated = grafted.deflated
        read[deflated.raw_sha256] = grafted.facts
        made.append(
            Member(
                name=name,
                method=zlib.DEFLATED,
                crc=deflated.crc,
                size=deflated.size,
                compressed_size=deflated.compressed_size,
                sha256=deflated.sha256,
                raw_sha256=deflated.raw_sha256,
                executable=True,
            )
        )
    return Known(members=(*base.verified.members, *made), libraries=read)


def jobs(
    loaded: Loaded,
    target: str | None,
    machine: Machine,
    *,
    lane: Lane | None = None,
    use_git: bool = False,
    wish: Wish | None = None,
) -> list[Job]:
    """Return one job for every wheel of the target, each with its lane and why; PlanError when no lane will do.

    When no target is named, the recipe's first that this machine can build is taken.
    """
    name = plan.choose_target(loaded.recipe, target) if target else _possible_target(loaded, machine, lane)
    chosen, reason = plan.choose_lane(loaded.recipe, name, loaded.patches, lane)
    trees, called = Trees(loaded, machine, use_git=use_git), patched_version(loaded, name)
    origins = _origins(trees, name, called, chosen, wish or Wish())
    return [Job(trees, name, origin, reason) for origin in origins]


def _origins(trees: Trees, name: str, called: str, lane: Lane, wish: Wish) -> list[Origin]:
    """Return where the compiled parts of each wheel of a target come from."""
    target = trees.recipe.targets[name]
    if lane is Lane.SOURCE:
        return [Compiled(trees, name, called, wish)]
    if lane is Lane.CONTAINER:
        from retread.lanes.container import Contained

        pythons = [wish.python] if wish.python else target.container.pythons if target.container else ()
        return [Contained(trees, name, called, wish._replace(python=python)) for python in pythons]
    version = re.fullmatch(r"3\.\d+(\.\d+)?", wish.python or "")
    bases = [base for base in target.base if not version or plan.serves(base.file, version[0])]
    if target.base and not bases:
        raise PlanError(
            f"{trees.recipe.name} {name}: no base wheel serves Python {wish.python}",
            hint=f"there are {', '.join(base.file for base in target.base)}",
        )
    return [Official(trees, name, called, base) for base in bases]


def _possible_target(loaded: Loaded, machine: Machine, lane: Lane | None) -> str:
    """Return the first target that this machine can build, and say why it is not the recipe's first."""
    passed: list[str] = []
    for name, target in loaded.recipe.targets.items():
        try:
            chosen, _ = plan.choose_lane(loaded.recipe, name, loaded.patches, lane)
        except PlanError as error:
            passed.append(f"{name}: {error.message}" + "".join(f"; {fault}" for fault in error.faults))
            continue
        found = obstacles(machine, loaded.toolchains[target.toolchain]) if chosen is not Lane.OVERLAY else []
        if not found:
            if passed:
                machine.console.say(f"note: building {name}, since this machine cannot build {passed[0]}")
            return name
        passed.append(f"{name}: {found[0]}")
    raise PlanError(
        f"{loaded.recipe.name}: no target can be built here",
        faults=passed,
        hint="'retread toolchain check' says what is missing; --target and --lane choose",
    )


def build(job: Job, out: Path) -> Built:
    """Make the job's wheel, or take the finished one, and put it with its evidence under ``out``."""
    machine = job.machine
    entry = job.finished()
    cached = entry is not None
    if entry is None:
        machine.store.tidy()
        with machine.console.fold(f"{job.recipe.name} {job.name}: {job.origin.wheel_name}"):
            entry = job.build()
    report = msgspec.json.decode((entry / AUDIT[1:]).read_bytes(), type=AuditReport)
    destination = out / report.wheel
    if destination.exists() and not fs.is_same(entry / report.wheel, destination):
        machine.console.say(
            f"note: {destination} held other bytes; raise targets.{job.name}.revision if they were published"
        )
    fs.place(entry / report.wheel, destination)
    for evidence in (AUDIT, COMPILE):
        if (entry / evidence[1:]).exists():
            fs.place(entry / evidence[1:], destination.with_name(f"{report.wheel}{evidence}"))
    return Built(
        path=str(destination),
        sha256=report.sha256,
        size=report.size,
        cached=cached,
        audit=str(destination.with_name(f"{report.wheel}{AUDIT}")),
    )
