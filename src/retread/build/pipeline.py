"""The order of the stages, and nothing else: who needs what, what is in the store, what is told meanwhile.

Every result is kept under a key made of everything that went into it, so a second build does only what changed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from retread import strict
from retread.audit.promise import proof
from retread.audit.report import AuditReport
from retread.build import grafts, statement
from retread.doors import fs
from retread.doors.machine import code_digest, installed
from retread.doors.store import Kind, digest
from retread.errors import KEEP_LIBRARY, PeError, PlanError, RecipeError
from retread.evidence.names import AUDIT, COMPILE, RESOURCES
from retread.lanes.lane import Origin
from retread.recipe import plan, waiver, workspace
from retread.recipe.plan import Effort, Forecast, Plan, Step, step
from retread.records import Record, Sha256, all_but
from retread.source.records import Manifest, PatchedTree
from retread.units import counted, size
from retread.wheel import members
from retread.wheel.statement import SlimStatement, Statement

if TYPE_CHECKING:
    from retread.arch import Arch
    from retread.build.graft import Means
    from retread.build.grafts import Grafted, Request, Slim
    from retread.elf.facts import LibraryFacts
    from retread.lanes.lane import ProvenBase
    from retread.toolkit.ptxas import Assembler


class Built(Record, frozen=True, kw_only=True):
    """A finished wheel, where it lies, and whether it had been made before."""

    path: str
    sha256: Sha256
    size: int
    cached: bool
    audit: str
    """Path of the audit's evidence."""
    replaced: bool = False
    """Whether other bytes lay in its place."""
    new: bool = False
    """Whether nothing lay in its place."""


_AUDIT, _COMPILE, _RESOURCES = "audit.json", "compile.json", "resources.json"
"""What lies beside the wheel in its store entry."""
NOT_OF_WHEEL: Final = {
    "summary": "people read it",
    "native_inputs": "they choose the lane, which has a key of its own",
    "targets": "the one that is made is in the key",
    "smoke": "how a wheel is tried changes no byte of it",
}
"""Fields of a recipe that change nothing of a finished wheel -> why."""
NOT_OF_TARGET: Final = {
    "smoke": "of how it is tried, a wheel tells by what it is proven, which is in the key",
    "platforms": "the one that it is made for is laid over the target",
}
"""Fields of a target that change nothing of its finished wheels -> why."""


_WRITERS: Final = (
    "cyclonedx-python-lib",
    "packageurl-python",
    "msgspec",
    "installer",
    "auditwheel",
    "lz4",
    "zstandard",
)
"""Packages whose code writes bytes of a wheel: its bill of materials, its JSON, RECORD, and its platform tag."""


def writers() -> dict[str, str]:
    """Return the version of each package that writes bytes of a wheel; nothing for one that is not installed."""
    return installed(_WRITERS)  # auditwheel is there for lanes that compile


class Job:
    """One wheel to make: a target of a recipe on one base wheel, which is official or compiled."""

    def __init__(self, origin: Origin, reason: str) -> None:
        self.origin = origin
        self.goal = origin.goal
        self.reason = reason
        """Why this lane."""

    @functools.cached_property
    def wheel_key(self) -> str:
        """Key of the finished wheel; that of the base wheel is part of it, which is made if need be."""
        return digest("wheel", code_digest(), self.origin.key, self.goal.trees.patched_key, self.made_of)

    @property
    def made_of(self) -> tuple[object, ...]:
        """All that decides the finished wheel but its base wheel, the patched tree and retread's own code."""
        recipe, target = all_but(self.goal.recipe, NOT_OF_WHEEL), all_but(self.goal.target, NOT_OF_TARGET)
        told = (recipe, self.goal.name, target, proof(self.goal.target))
        tools = (self.goal.toolchain, self.goal.proving)
        return (*told, *tools, members.DEFLATE, writers())

    def library_key(self, request: Request) -> str:
        """Key of a library that has what is requested."""
        tools = (self.goal.toolchain, self.goal.proving)
        return digest("library", code_digest(), self.origin.key, request, *tools, members.DEFLATE)

    def run_path(self, member: str) -> tuple[str, ...] | None:
        """Return the run path that the recipe gives a library, or None when it gives none."""
        return next(
            (path for glob, path in self.goal.target.run_path.items() if fnmatchcase(member, glob)), None
        )

    def exempt(self, member: str) -> bool:
        """Say whether the recipe exempts a library from the target's architectures."""
        return any(item.library == member for item in self.goal.target.exempt)

    # Stages, each behind the store.

    def assembler(self) -> Assembler:
        """Return the target's own ptxas, ready to run; PlanError when the target names no toolchain."""
        from retread.build.cubins import assembler

        if self.goal.toolchain is None:
            raise PlanError(
                f"{self.goal.title}: the base wheel lacks architectures, and no toolchain is named",
                faults=[
                    f"{one.member} lacks {' '.join(one.architectures)}"
                    for one in self.library_requests(self.origin.proven())
                    if one.architectures
                ],
                hint=f"name one for CUDA {self.goal.target.cuda} under targets.{self.goal.name}.toolchain, or, where a "
                f"library is to stay as it is, that library under targets.{self.goal.name}.exempt",
            )
        return assembler(self.goal.machine, self.goal.toolchain)

    def means(self, architectures: tuple[Arch, ...]) -> Means:
        """Return the ptxas that grafts, and the one that proves; PlanError for one that is known to miscompile."""
        from retread.build import graft, proving
        from retread.build.cubins import assembly

        means = graft.alone(assembly(self.goal.machine, self.assembler()))
        proving.demand_right(means.assembly.ptxas, architectures, self.goal)
        if other := self.goal.proving:
            means = means._replace(provers=proving.named(self.goal.machine, other))
        return means

    def _hint(self, cuda: str) -> str:
        from retread.build import proving

        tried = self.goal.proving or self.goal.toolchain
        every = workspace.every_toolchain(self.goal.trees.loaded.root)
        return proving.hint(every, self.goal.name, cuda, tried.name if tried else "")

    def library_requests(self, base: ProvenBase) -> list[Request]:
        """Return what every library of the base wheel has to get: missing architectures, a run path, fewer images."""
        found, wish = [], grafts.of_target(self.goal.target)
        for member, facts in base.libraries.items():
            missing = () if self.exempt(member) else grafts.wanted(facts, self.goal.target.architectures)
            run_path = self.run_path(member)
            thin = None if self.exempt(member) or wish is None or not _thinner(facts, wish) else wish
            if missing or thin or (run_path is not None and run_path != facts.run_path):
                found.append(
                    grafts.Request(member=member, architectures=missing, run_path=run_path, slim=thin)
                )
        _demand_open({one.member: base.libraries[one.member].closed for one in found})
        return found

    def library(self, request: Request) -> tuple[Grafted, Path]:
        """Return one finished library and the file of its deflated bytes."""

        def build(into: Path) -> None:
            from retread.build import graft
            from retread.wheel.wheelfile import Wheel

            added = " ".join(request.architectures)
            title = f"graft {added} into" if added else "slim" if request.slim else "set the run path of"
            path = self.origin.wheel()
            means = self.means(request.architectures) if request.architectures else None
            with (
                self.goal.machine.console.step(f"{title} {request.member}") as step,
                Wheel(path, waived=waiver.READ) as wheel,
            ):
                graft.graft_member(
                    wheel,
                    request,
                    into,
                    means=means,
                    progress=lambda done, total: step.progress(done, total, "B"),
                )
                grafted, content = grafts.load(into)
                graft.demand_own(request.member, grafted.proof, self._hint)
                step.detail = (
                    f"{counted(len(grafted.facts.modules), 'module')}, {size(content.stat().st_size)}"
                )

        return grafts.load(self.goal.machine.store.make(Kind.LIBRARIES, self.library_key(request), build))

    # The wheel.

    def finished(self) -> Path | None:
        """Return the finished wheel's store entry, if there is one; nothing is made to know it."""
        return self.goal.machine.store.use(Kind.WHEELS, self.wheel_key) if self.origin.known() else None

    def build(self) -> Path:
        """Return the finished wheel's store entry: sealed, audited, with its evidence.

        What it is made of is not asked for where a store has it: the base wheel and the tools may be far away.
        """
        return self.goal.machine.store.make(Kind.WHEELS, self.wheel_key, self._make)

    def _make(self, into: Path) -> None:
        patched, manifest = self.goal.trees.patched, self.goal.trees.source.manifest
        base = self.origin.proven()
        self._demand_waivers_used(base)
        libraries = {request.member: self.library(request) for request in self.library_requests(base)}
        said = self.statement(manifest, base, libraries)
        self._seal(base, patched, libraries, said, into)

    def _demand_waivers_used(self, base: ProvenBase) -> None:
        """Raise RecipeError for a waiver of a rule that the base wheel does not break."""
        target = self.goal.target
        waived = [rule for rule in target.waive if rule in waiver.RULES]
        if not waived:
            return
        from retread.audit import audit
        from retread.audit.promise import promise

        broken = audit.broken(base.facts, promise(self.goal.recipe, target, self.goal.version))
        stale = [rule for rule in waived if rule not in dict(broken)]
        if stale:
            raise RecipeError(
                f"{self.goal.title}: {base.verified.file_name} does not break what is waived",
                faults=[waiver.key(self.goal.name, rule) for rule in stale],
                hint="take the waiver out of the recipe",
            )

    def _seal(
        self,
        base: ProvenBase,
        patched: PatchedTree,
        libraries: Mapping[str, tuple[Grafted, Path]],
        said: Statement,
        into: Path,
    ) -> None:
        from retread.build import seal
        from retread.doors.cores import Beside
        from retread.wheel.wheelfile import Wheel

        with (
            self.goal.machine.console.step("seal the wheel") as step,
            Wheel(self.origin.wheel(), waived=waiver.READ) as wheel,
            Beside(_prepare_audit),
        ):
            made = seal.seal(
                wheel,
                base.verified,
                target=self.goal.target,
                patched=patched.within(self.goal.recipe),
                libraries={
                    member: (content, grafted.deflated) for member, (grafted, content) in libraries.items()
                },
                statement=said,
                patches=self.goal.trees.loaded.files,
                platform=self.origin.platform(),
                crlf=base.crlf,
                into=into,
            )
            path = made.path
            step.detail = size(made.written.size)
            uncompiled = [one for one in patched.changes if not self.origin.compiles(one)]
            outside = seal.unreached(wheel, uncompiled, made, self.goal.recipe)
        if outside:
            self.goal.machine.console.say(
                f"  note: the wheel holds nothing of {', '.join(outside)}, which the series changes"
            )
        from retread.audit import audit

        with (
            self.goal.machine.console.step("audit the wheel") as step,
            self.goal.machine.store.scratch() as scratch,
        ):
            report = audit.audit(
                path,
                scratch,
                promise=said.promise,
                target=self.goal.title,
                base=base.libraries,
                broken=audit.broken(base.facts, said.promise),
                known=grafts.known(
                    base.verified,
                    base.libraries,
                    {member: grafted for member, (grafted, _) in libraries.items()},
                    made.written,
                ),
            )
            audit.demand(report)
            step.detail = f"{len(report.checks)} checks hold"
        (into / _AUDIT).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if evidence := self.origin.evidence():
            (into / _COMPILE).write_bytes(msgspec.json.format(evidence) + b"\n")
        if audit.without_nvcc(said):
            (into / _RESOURCES).write_bytes(msgspec.json.format(self._resources(path, report.sha256)) + b"\n")

    def _resources(self, wheel: Path, sha256: Sha256) -> bytes:
        """Return what each kernel of the wheel takes, as evidence of a compiler that is not NVIDIA's."""
        from retread.audit import resources
        from retread.wheel import contents

        with self.goal.machine.store.scratch() as scratch:
            found = resources.report(wheel.name, sha256, contents.kernels(wheel, scratch))
        return msgspec.json.encode(found)

    def statement(
        self, manifest: Manifest, base: ProvenBase, libraries: Mapping[str, tuple[Grafted, Path]]
    ) -> Statement:
        """Return what the wheel says of itself: ``retread.json``."""
        facts = {member: grafted.facts for member, (grafted, _) in libraries.items()}
        found = {
            member: statement.library(before, facts.get(member, before))
            for member, before in base.libraries.items()
        }
        tool = None
        if self.goal.toolchain and any(set(one.after) - {*one.before} for one in found.values()):
            tool = statement.toolchain(
                self.goal.toolchain.name,
                self.goal.toolchain.cuda,
                self.assembler().version,
                [one.proof for one, _ in libraries.values()],
            )
        return statement.statement(
            self.goal.recipe,
            self.goal.name,
            self.origin.stated(),
            self.goal.trees.loaded.patches,
            applied=self.goal.trees.patched.applied,
            version=self.goal.version,
            lane=self.origin.lane,
            manifest=manifest,
            toolchain=tool,
            libraries=found,
            slimmed=self._slimmed([one.driver for one, _ in libraries.values()]),
        )

    def _slimmed(self, drivers: list[str]) -> SlimStatement | None:
        wish = grafts.of_target(self.goal.target)
        return statement.slim(wish, drivers) if wish else None

    # The plan.

    def plan(self) -> Plan:
        """Return what a build would do, with what is in the store and what is not, and why."""
        steps, target = plan.settled([*self._steps()]), self.goal.target
        wheel = steps[-1]
        return Plan(
            schema=1,
            recipe=self.goal.recipe.name,
            target=self.goal.name,
            wheel=self.origin.wheel_name,
            lane=self.origin.lane,
            reason=self.reason,
            torch=target.torch,
            python=self.origin.python,
            architectures=target.architectures,
            ptx=target.ptx,
            forecast=self._forecast(done=wheel.cached or wheel.shared),
            steps=steps,
        )

    def _forecast(self, *, done: bool) -> Forecast:
        """Return what the build takes and what is there of it; next to nothing when it is ``done``."""
        import shutil

        from retread.compile import jobserver

        effort = Effort(0.0, 0, 0) if done else self.origin.effort()
        root = self.goal.machine.store.root
        there = next(path for path in (root, *root.parents) if path.exists())
        return Forecast(
            seconds=effort.seconds,
            memory=effort.memory,
            free_memory=jobserver.memory()[1],
            disk=effort.disk,
            free_disk=shutil.disk_usage(there).free,
            lacks=() if done else self.origin.lacks(),
        )

    def _steps(self) -> Iterator[Step]:
        store, wheel = self.goal.machine.store, self.origin.wheel_name
        yield from self.goal.trees.steps()
        origin = self.origin.steps()
        yield from (*origin.before, origin.base)
        if not origin.base.cached:
            yield step("graft", "libraries", None, "known with the base wheel")
        else:
            for request in self.library_requests(self.origin.proven()):
                key, does = self.library_key(request), _does(request)
                made, shared = store.get(Kind.LIBRARIES, key), store.is_elsewhere(Kind.LIBRARIES, key)
                yield step("graft", request.member, made, does, shared=shared)
        finished = self.finished() if origin.known else None
        shared = origin.known and store.is_elsewhere(Kind.WHEELS, self.wheel_key)
        yield step("seal", wheel, finished, "changes with anything above", shared=shared)
        yield step("audit", wheel, finished, "is part of the finished wheel", shared=shared)


def _thinner(facts: LibraryFacts, wish: Slim) -> bool:
    from retread.build import slim

    return slim.changes(facts, wish)


def _demand_open(libraries: Mapping[str, str]) -> None:
    """Raise PeError for libraries in which nothing can be changed, and that are to be: member -> why, if so."""
    closed = [f"{member}: {why}" for member, why in libraries.items() if why]
    if closed:
        raise PeError(
            closed[0] if len(closed) == 1 else f"nothing can be changed in {len(closed)} libraries",
            faults=closed if len(closed) > 1 else (),
            hint=f"{KEEP_LIBRARY}, or compile it where its compiler runs",
        )


def _does(request: Request) -> str:
    if request.architectures:
        return f"lacks {' '.join(request.architectures)}"
    return f"becomes slim for {' '.join(request.slim.keep)}" if request.slim else "gets a run path"


def _prepare_audit() -> None:
    """Import what the audit takes, while a wheel is copied and hashed."""
    from retread.audit import audit  # noqa: F401


def _prepare() -> None:
    """Import what sealing takes, while the first stages wait for git."""
    from packaging import metadata  # noqa: F401

    from retread.build import seal  # noqa: F401


def build(job: Job, out: Path) -> Built:
    """Make the job's wheel, or take the finished one, and put it with its evidence under ``out``."""
    goal, machine = job.goal, job.goal.machine
    entry = job.finished()
    cached = entry is not None
    if entry is None:
        from retread.doors.cores import Beside

        machine.store.tidy()
        with machine.console.fold(goal.title):
            for line in (job.origin.wheel_name, *plan.purpose(goal.target, job.origin.python)):
                machine.console.say(f"  {line}")
            with Beside(_prepare):
                entry = job.build()
    report = strict.decoded((entry / _AUDIT).read_bytes(), AuditReport)
    destination = out / report.wheel
    new = not destination.exists()
    replaced = fs.place(entry / report.wheel, destination)
    if replaced:
        machine.console.say(replacing(destination, goal.name))
    for evidence, beside in ((_AUDIT, AUDIT), (_COMPILE, COMPILE), (_RESOURCES, RESOURCES)):
        if (entry / evidence).exists():
            fs.place(entry / evidence, destination.with_name(f"{report.wheel}{beside}"))
    if cached and machine.store.is_here_alone(Kind.WHEELS, job.wheel_key):
        machine.console.say(
            "note: the shared store has not this wheel, which was here before; nothing says who made it, so it is not "
            f"given: 'retread store remove wheels/{job.wheel_key[:8]}' has the next build make and give it"
        )
    return Built(
        path=str(destination),
        sha256=report.sha256,
        size=report.size,
        cached=cached,
        audit=str(destination.with_name(f"{report.wheel}{AUDIT}")),
        replaced=replaced,
        new=new,
    )


def replacing(wheel: Path, target: str) -> str:
    """Return what is said of a wheel in whose place other bytes lay."""
    return (
        f"note: {wheel} held other bytes, of an earlier build or changed since, and was replaced; "
        f"if they were published, raise targets.{target}.revision"
    )
