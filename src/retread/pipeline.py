"""The order of the stages, and nothing else: who needs what, what is in the store, what is told meanwhile.

Every result is kept under a key made of everything that went into it, so a second build does only what changed.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import zlib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from retread import fs, metadata, plan, sbom, statement, version, zipwrite
from retread.arch import Arch
from retread.errors import PlanError
from retread.machine import Machine, assembler, assembly, code_digest, download
from retread.model import (
    Applied,
    AuditReport,
    LibraryFacts,
    PatchedTree,
    Record,
    Sha256,
    SourceTree,
    Statement,
)
from retread.plan import Lane, Plan, Step
from retread.recipe import Base, Target, part_for
from retread.store import Kind, digest
from retread.units import size
from retread.workspace import Loaded

if TYPE_CHECKING:
    from retread.contents import Known
    from retread.stages.base import ProvenBase
    from retread.stages.graft import Grafted, Request
    from retread.stages.toolchain import Assembler

AUDIT = "audit.json"


class Built(Record, frozen=True, kw_only=True):
    """A finished wheel, where it lies, and whether it had been made before."""

    path: str
    sha256: Sha256
    size: int
    cached: bool
    audit: str
    """Path of the audit's evidence."""


class Job:
    """One wheel to make: a target of a recipe on one of its base wheels."""

    def __init__(
        self, loaded: Loaded, target: str, base: Base, machine: Machine, *, use_git: bool = False
    ) -> None:
        self.loaded = loaded
        self.recipe = loaded.recipe
        self.name = target
        self.target: Target = loaded.recipe.targets[target]
        self.base = base
        self.machine = machine
        self.use_git = use_git
        self.version = version.patched(self.recipe.version, self.target.cuda, self.target.revision)
        self.wheel = metadata.parse_name(base.file).with_version(self.version).file_name
        self.toolchain = loaded.toolchains.get(self.target.toolchain)

    # Keys: everything that decides a result.

    @functools.cached_property
    def source_key(self) -> str:
        """Key of the pinned tree."""
        proofs = {commit: hashlib.sha256(data).hexdigest() for commit, data in self.loaded.proofs.items()}
        kind = "git" if self.use_git else "sdist"
        return digest("source", code_digest(), kind, self.recipe.pin, self.recipe.sdist, proofs)

    @functools.cached_property
    def patched_key(self) -> str:
        """Key of the patched tree."""
        return digest(
            "patched", code_digest(), self.source_key, [(one.name, one.sha256) for one in self.loaded.patches]
        )

    @functools.cached_property
    def base_key(self) -> str:
        """Key of the base wheel's proof."""
        return digest(
            "base", code_digest(), self.source_key, self.base, self.target.generated, self.recipe.version
        )

    @functools.cached_property
    def wheel_key(self) -> str:
        """Key of the finished wheel."""
        made_of = (self.recipe.name, self.name, self.target, self.toolchain, zipwrite.DEFLATE, sbom.writer())
        return digest("wheel", code_digest(), self.base_key, self.patched_key, made_of)

    def library_key(self, member: str, architectures: tuple[Arch, ...]) -> str:
        """Key of a library with these architectures added."""
        asked = (member, architectures, self.run_path(member), self.toolchain, zipwrite.DEFLATE)
        return digest("library", code_digest(), self.base.sha256, asked)

    def run_path(self, member: str) -> tuple[str, ...] | None:
        """Return the run path that the recipe gives a library, or None when it gives none."""
        return next((path for glob, path in self.target.run_path.items() if fnmatchcase(member, glob)), None)

    def exempt(self, member: str) -> bool:
        """Say whether the recipe exempts a library from the target's architectures."""
        return any(item.library == member for item in self.target.exempt)

    # Stages, each behind the store.

    def base_wheel(self) -> Path:
        """Return the base wheel's file."""
        return download(self.machine, self.recipe.project, self.base.file, self.base.sha256)

    def source(self) -> SourceTree:
        """Return the pinned tree, proven."""
        from retread.stages import source

        def build(into: Path) -> None:
            if self.use_git:
                source.from_git(
                    self.recipe, into, environment=self.machine.environment, say=self.machine.console.say
                )
                return
            pinned = self.recipe.sdist
            sdist = download(self.machine, self.recipe.project, pinned.file, pinned.sha256)
            with self.machine.console.step("prove the source") as step:
                source.from_sdist(self.recipe, sdist, self.loaded.parsed_proofs(), into)
                manifest = source.load(into).manifest
                proven = len(manifest.files) - len(manifest.unproven)
                named = len(manifest.unproven)
                step.detail = f"{proven} files are {self.recipe.pin.commit[:12]}'s, {named} allowed by name"

        return source.load(self.machine.store.make(Kind.TREES, self.source_key, build))

    def patched(self) -> PatchedTree:
        """Return the difference that the series makes."""
        from retread.stages import patch

        def build(into: Path) -> None:
            tree = self.source()
            with self.machine.console.step("apply the series") as step:
                patch.apply(
                    tree, self.loaded.patches, self.loaded.files, into, environment=self.machine.environment
                )
                step.detail = f"{len(self.loaded.patches)} patches"

        return patch.load(self.machine.store.make(Kind.PATCHED, self.patched_key, build))

    def try_series(self) -> list[Applied]:
        """Return what becomes of each patch of the series; nothing is kept."""
        from retread.stages import patch

        tree = self.source()
        with self.machine.store.scratch() as scratch:
            return patch.try_series(
                tree, self.loaded.patches, self.loaded.files, scratch, environment=self.machine.environment
            )

    def proven_base(self) -> ProvenBase:
        """Return the base wheel's facts, proven against the source."""
        from retread.stages import base

        def build(into: Path) -> None:
            tree, wheel = self.source(), self.base_wheel()
            with self.machine.console.step("prove the base wheel") as step:
                base.prove(self.recipe, self.target, wheel, tree, into)
                step.detail = f"{base.load(into).proven} files are the source's"

        return base.load(self.machine.store.make(Kind.BASES, self.base_key, build))

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
        from retread.stages import graft

        found = []
        for member, facts in base.libraries.items():
            missing = () if self.exempt(member) else graft.wanted(facts, self.target.architectures)
            run_path = self.run_path(member)
            if missing or (run_path is not None and run_path != facts.run_path):
                found.append(graft.Request(member=member, architectures=missing, run_path=run_path))
        return found

    def library(self, request: Request) -> tuple[Grafted, Path]:
        """Return one finished library and the file of its deflated bytes."""
        from retread.stages import graft
        from retread.wheelfile import Wheel

        def build(into: Path) -> None:
            added = " ".join(request.architectures)
            title = f"graft {added} into" if added else "set the run path of"
            path = self.base_wheel()
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
        patched = self.patched()
        tree = self.source()
        base = self.proven_base()
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
        from retread.stages import audit, seal
        from retread.wheelfile import Wheel

        with self.machine.console.step("seal the wheel") as step, Wheel(self.base_wheel()) as wheel:
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
        (into / AUDIT).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")

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
            self.base,
            self.loaded.patches,
            version=self.version,
            lane=Lane.OVERLAY,
            time=time,
            toolchain=tool,
            libraries=found,
        )

    # The plan.

    def plan(self, lane: Lane, reason: str) -> Plan:
        """Return what a build would do, with what is in the store and what is not, and why."""
        return Plan(
            schema=1,
            recipe=self.recipe.name,
            target=self.name,
            wheel=self.wheel,
            lane=lane,
            reason=reason,
            steps=tuple(self._steps()),
        )

    def _steps(self) -> Iterator[Step]:
        store, recipe = self.machine.store, self.recipe
        part = part_for(self.toolchain, platform.machine()) if self.toolchain else None
        pinned = [(self.base.file, self.base.sha256)] + ([(part.file, part.sha256)] if part else [])
        for file, sha256 in [(recipe.sdist.file, recipe.sdist.sha256), *pinned]:
            if not (self.use_git and file == recipe.sdist.file):
                yield _step(
                    "fetch", file, store.get(Kind.DOWNLOADS, sha256), f"pinned by sha256 {sha256[:12]}"
                )
        what = f"{recipe.pin.commit[:12]} from {'git' if self.use_git else 'the sdist'}"
        yield _step(
            "source", what, store.get(Kind.TREES, self.source_key), "changes with the pin and its proofs"
        )
        patches = f"{len(self.loaded.patches)} patches"
        yield _step(
            "patch", patches, store.get(Kind.PATCHED, self.patched_key), "changes with any byte of the series"
        )
        proven = store.get(Kind.BASES, self.base_key)
        yield _step("base", self.base.file, proven, "changes with the base wheel and the source")
        if proven is None:
            yield Step(
                stage="graft", subject="libraries", cached=False, reason="known when the base wheel is read"
            )
        else:
            for request in self.library_requests(self.proven_base()):
                key = self.library_key(request.member, request.architectures)
                does = (
                    f"lacks {' '.join(request.architectures)}" if request.architectures else "gets a run path"
                )
                yield _step("graft", request.member, store.get(Kind.LIBRARIES, key), does)
        yield _step("seal", self.wheel, self.finished(), "changes with anything above")
        yield _step("audit", self.wheel, self.finished(), "is part of the finished wheel")


def _step(stage: str, subject: str, entry: Path | None, reason: str) -> Step:
    return Step(stage=stage, subject=subject, cached=entry is not None, reason=reason)


def _known(base: ProvenBase, libraries: Mapping[str, tuple[Grafted, Path]]) -> Known:
    """Return what the audit need not inflate again: the base's members, and the libraries that were made from it."""
    from retread.contents import Known
    from retread.zipwrite import Member

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
    loaded: Loaded, target: str | None, machine: Machine, *, lane: Lane | None = None, use_git: bool = False
) -> list[tuple[Job, Lane, str]]:
    """Return one job for every base wheel of the target, with its lane and why; PlanError when no lane will do."""
    name = plan.choose_target(loaded.recipe, target)
    chosen, reason = plan.choose_lane(loaded.recipe, name, loaded.patches, lane)
    bases = loaded.recipe.targets[name].base
    return [(Job(loaded, name, base, machine, use_git=use_git), chosen, reason) for base in bases]


def build(job: Job, out: Path) -> Built:
    """Make the job's wheel, or take the finished one, and put it with its audit under ``out``."""
    entry = job.finished()
    cached = entry is not None
    if entry is None:
        job.machine.store.tidy()
        with job.machine.console.fold(f"{job.recipe.name} {job.name}: {job.wheel}"):
            entry = job.build()
    report = msgspec.json.decode((entry / AUDIT).read_bytes(), type=AuditReport)
    destination = out / job.wheel
    evidence = destination.with_name(f"{job.wheel}.{AUDIT}")
    if destination.exists() and not fs.is_same(entry / job.wheel, destination):
        job.machine.console.say(
            f"note: {destination} held other bytes; raise targets.{job.name}.revision if they were published"
        )
    fs.place(entry / job.wheel, destination)
    fs.place(entry / AUDIT, evidence)
    return Built(
        path=str(destination), sha256=report.sha256, size=report.size, cached=cached, audit=str(evidence)
    )
