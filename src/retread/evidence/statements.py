"""Statements about a wheel, in the words of in-toto: who built it from what, and what its tests found.

Pure. The records are the statement, written and read alike: what is written can be read, and what is read holds
nothing that was not asked for. Formats: in-toto Statement v1, SLSA provenance v1, in-toto test-result v0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec

from retread import strict
from retread.errors import EvidenceError, GateError, first
from retread.fields import Digest, Text
from retread.prooflevel import ProofLevel
from retread.records import Record, Sha256
from retread.smoke import details
from retread.smoke.level import Level
from retread.smoke.report import Run, SmokeReport
from retread.smoke.tally import Inherited, Verdict, counts, tally, where
from retread.units import utc
from retread.version import __version__
from retread.wheel.statement import CompileStatement, Statement, ToolchainStatement

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
INHERITED: Final = "urn:retread:inherited:1"
BUILD_TYPE: Final = "urn:retread:build:1"
BUILDER: Final = "urn:retread:builder:"
"""Before a key's name: the builder's id."""


def _of(pattern: str, told: str) -> msgspec.Meta:
    return msgspec.Meta(pattern=rf"^{pattern}$(?!\n)", description=told)


Hexadecimal = Annotated[str, _of(r"[0-9a-f]{40,128}", "a digest in hexadecimal")]
WheelName = Annotated[str, _of(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl", "the file name of a wheel")]
BuilderId = Annotated[str, _of(rf"{BUILDER}[a-z0-9][a-z0-9._-]*", f"{BUILDER} and the name of a key")]
Capability = Annotated[str, _of(r"([1-9][0-9]?\.[0-9])?", "a GPU's capability, like 9.0, or nothing")]
Time = Annotated[str, _of(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", "a time in UTC, with a Z")]
Count = Annotated[int, msgspec.Meta(ge=0, description="a number of cases")]


class Named(Record, frozen=True, rename="camel"):
    """A table of a statement: keys are written in camel case."""


class Hashed(Record, frozen=True, kw_only=True):
    """The digest of a file."""

    sha256: Digest


class Subject(Record, frozen=True, kw_only=True):
    """The wheel that a statement is about."""

    name: WheelName
    digest: Hashed


class Material(Named, frozen=True, kw_only=True, omit_defaults=True):
    """Something that went into a build, or came out beside the wheel."""

    name: str = ""
    uri: str = ""
    media_type: str = ""
    digest: dict[str, Hexadecimal]


class External(Named, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for."""

    recipe: Text
    target: Text
    lane: Text
    source: ProofLevel = ProofLevel.PROVEN
    """How far the source is proven; written where it is not proven whole."""


class Internal(Named, frozen=True, kw_only=True):
    """With what it was made; the records are those of retread.json."""

    tool: Text
    source_date_epoch: int
    toolchain: ToolchainStatement | None
    compiled: CompileStatement | None


class Definition(Named, frozen=True, kw_only=True):
    """What was built, and from what."""

    build_type: Literal["urn:retread:build:1"]
    external_parameters: External
    internal_parameters: Internal
    resolved_dependencies: tuple[Material, ...]


class Builder(Named, frozen=True, kw_only=True):
    """Who says so."""

    id: BuilderId
    version: dict[str, str]


class Times(Named, frozen=True, kw_only=True):
    """When the wheel was finished. Nothing is decided by it: a builder may write what it likes."""

    finished_on: Time


class Details(Named, frozen=True, kw_only=True):
    """One run of the build."""

    builder: Builder
    metadata: Times
    byproducts: tuple[Material, ...]


class Provenance(Named, frozen=True, kw_only=True):
    """The predicate of SLSA provenance v1."""

    build_definition: Definition
    run_details: Details


class Conditions(Named, frozen=True, kw_only=True):
    """Under what one level ran, what it found, and of which report that is a part."""

    tester: Text
    level: Level
    capability: Capability
    """Of the GPU that the cases ran on, the first; empty for a level without one."""
    gpu: str
    torch: str
    triton: str
    outside: str
    """Which promise of the wheel this torch is outside of; such a result proves nothing of the promise."""
    started_on: Time
    passed: Count
    failed: Count
    skipped: Count
    kit: Digest
    report: Digest
    """The digest that the report bears, of its contents in one fixed form, not of a file."""
    emulator: str | msgspec.UnsetType = msgspec.UNSET
    """What ran the programs, where that was no machine of the wheel's: then no GPU can have been there."""


class Configuration(Named, frozen=True, kw_only=True):
    """The report that the result is taken from."""

    name: Text
    annotations: Conditions


class TestResult(Named, frozen=True, kw_only=True):
    """The predicate of a test result."""

    result: Literal["PASSED", "FAILED"]
    configuration: tuple[Configuration, ...]
    """Exactly one."""
    failed_tests: tuple[Text, ...]


class Built(Named, frozen=True, kw_only=True):
    """The statement of a builder."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: tuple[Subject, ...]
    predicate_type: Literal["https://slsa.dev/provenance/v1"]
    predicate: Provenance


class Tested(Named, frozen=True, kw_only=True):
    """The statement of a tester."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: tuple[Subject, ...]
    predicate_type: Literal["https://in-toto.io/attestation/test-result/v0.1"]
    predicate: TestResult


class Inheritance(Named, frozen=True, kw_only=True):
    """What a run of another wheel on a GPU says of this one: which kernels have the machine code that ran."""

    ran: Subject
    """The other wheel."""
    run: Conditions
    """What was found of it there; no case of this wheel was run."""
    kernels: dict[Text, Digest]
    """Kernel -> digest of the machine code that this GPU takes of it; the same in both wheels."""
    others: tuple[Text, ...]
    """The kernels of this wheel that have other code there than the other wheel's, or that it lacks."""
    without: Count
    """How many kernels of this wheel have no machine code for this GPU."""

    @property
    def count(self) -> int:
        """How many kernels this wheel has."""
        return len(self.kernels) + len(self.others) + self.without

    @property
    def short(self) -> Inherited:
        """What pages and messages say of it."""
        return Inherited(
            wheel=self.ran.name,
            sha256=self.ran.digest.sha256,
            where=where(self.run.level, "", ((self.run.gpu, self.run.capability),)),
            kernels=len(self.kernels),
            of=self.count,
        )


class Inherits(Named, frozen=True, kw_only=True):
    """The statement of a tester about a wheel that was not run, and another one that was."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: tuple[Subject, ...]
    predicate_type: Literal["urn:retread:inherited:1"]
    predicate: Inheritance


_Said = Built | Tested | Inherits
_RECORDS: Final[dict[str, type[_Said]]] = {PROVENANCE: Built, TEST_RESULT: Tested, INHERITED: Inherits}


class Kind(StrEnum):
    """What a statement is about."""

    PROVENANCE = "provenance"
    TEST = "test"
    INHERITED = "inherited"


class Attested(Record, frozen=True, kw_only=True):
    """What a statement says, as far as the gate asks. Of a build, everything from ``level`` on is empty."""

    wheel: str
    sha256: Sha256
    kind: Kind
    by: str
    """The name under which the builder or the tester speaks."""
    ok: bool
    """Whether something passed and nothing failed; always, of a build."""
    level: str = ""
    capability: str = ""
    gpu: str = ""
    torch: str = ""
    triton: str = ""
    outside: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()
    report: str = ""
    emulator: str = ""
    made: Provenance | None = None
    """All that a builder says; None of a test."""
    inherited: Inheritance | None = None
    """All that is said of another wheel's run, whose level, GPU and counts the fields above hold; None otherwise."""


def provenance(
    wheel: str, sha256: str, said: Statement, told: Sha256, *, builder: str, finished: int, record: str = ""
) -> bytes:
    """Return the statement that ``builder`` made this wheel as ``said``; ``finished`` is in seconds since 1970.

    ``told`` is the digest of ``retread.json`` as it lies in the wheel: written again, it may get other bytes.
    ``record`` is that of what a compile left beside it: what was taken from a cache is told there.
    """
    details = Details(
        builder=Builder(id=f"{BUILDER}{builder}", version={"retread": __version__}),
        metadata=Times(finished_on=utc(finished)),
        byproducts=(_file("retread.json", told), *([_file("compile.json", record)] if record else [])),
    )
    statement = Built(
        type=STATEMENT,
        subject=subject(wheel, sha256),
        predicate_type=PROVENANCE,
        predicate=Provenance(build_definition=definition(said), run_details=details),
    )
    return msgspec.json.encode(statement, order="deterministic")


def definition(said: Statement) -> Definition:
    """Return what was built and from what, as ``retread.json`` says it."""
    return Definition(
        build_type=BUILD_TYPE,
        external_parameters=External(
            recipe=said.recipe, target=said.target, lane=said.lane, source=said.source
        ),
        internal_parameters=Internal(
            tool=said.tool,
            source_date_epoch=said.commit_time,
            toolchain=said.toolchain,
            compiled=said.compiled,
        ),
        resolved_dependencies=tuple(_materials(said)),
    )


def test_result(report: SmokeReport, run: Run, *, tester: str) -> bytes:
    """Return the statement that ``tester`` found this in one run of a report; EvidenceError when nothing ran."""
    if run not in report.runs or tally(run.cases).verdict is Verdict.NOTHING:
        why = (
            f"{Verdict.NOTHING}, {details.reasons(run)}" if run in report.runs else "it is of another report"
        )
        raise EvidenceError(
            f"{report.wheel}: there is no {run.level} run to sign: {why}",
            hint=f"run 'retread smoke {report.wheel} --level {run.level}' where it can run",
        )
    if others := details.borrowed(run, report.sha256):
        count = f"{len(others)} of {len(run.cases)} results"
        raise EvidenceError(
            f"{report.wheel}: {count} of the {details.label(run)} run are of other wheels",
            hint=f"try every case of this one: retread smoke {report.wheel} --cold",
        )
    ok = tally(run.cases).verdict is Verdict.PASSED
    found = Configuration(name="smoke report", annotations=_conditions(report, run, tester))
    failures = tuple(case.id for case in details.failures(run))
    statement = Tested(
        type=STATEMENT,
        subject=subject(report.wheel, report.sha256),
        predicate_type=TEST_RESULT,
        predicate=TestResult(
            result="PASSED" if ok else "FAILED", configuration=(found,), failed_tests=failures
        ),
    )
    return msgspec.json.encode(statement, order="deterministic")


def inherited(
    wheel: Subject, report: SmokeReport, run: Run, code: Mapping[str, Any], *, tester: str
) -> bytes:
    """Return the statement that what ``tester`` found of another wheel on a GPU holds for kernels of this one.

    ``code`` has the fields of Inheritance that tell of them.
    """
    (ran,) = subject(report.wheel, report.sha256)
    statement = Inherits(
        type=STATEMENT,
        subject=(wheel,),
        predicate_type=INHERITED,
        predicate=Inheritance(ran=ran, run=_conditions(report, run, tester), **code),
    )
    return msgspec.json.encode(statement, order="deterministic")


def parse(payload: bytes, *, name: str) -> Attested:
    """Return what the statement in ``payload`` says; GateError with every fault for one that is none of retread's."""
    table = _table(payload, name)
    kind = table.get("predicateType")
    if not isinstance(kind, str) or kind not in _RECORDS:
        raise GateError(
            f"{name} states neither a build nor a test result: its predicateType is {kind!r}",
            hint=f"what counts are {PROVENANCE} and {TEST_RESULT}, as retread writes them",
        )
    found, faults = _read(_RECORDS[kind], table)
    if found is None or faults:
        raise GateError(
            f"{name} is no statement as retread writes it",
            faults=first(faults),
            hint="have it made again; one of a newer retread needs a newer retread to read it",
        )
    return _attested(found)


def _read(record: type[_Said], table: dict[str, Any]) -> tuple[_Said | None, list[str]]:
    try:
        found = msgspec.convert(table, record, strict=True)
    except msgspec.ValidationError:
        return strict.read(record, table)  # which finds every fault, and takes its time
    return found, list(_faults(found))


def _faults(said: _Said) -> Iterator[str]:
    if len(said.subject) != 1:
        yield f"subject: expected one wheel, got {len(said.subject)}"
    if isinstance(said, Built):
        sources = said.predicate.build_definition.resolved_dependencies
        level = said.predicate.build_definition.external_parameters.source
        if level is not ProofLevel.WHEEL and not any("gitCommit" in one.digest for one in sources):
            yield "predicate.buildDefinition.resolvedDependencies: no gitCommit; nobody knows the source"
    elif isinstance(said, Inherits):
        yield from _inheritance_faults(said)
    else:
        yield from _result_faults(said.predicate)


def _result_faults(predicate: TestResult) -> Iterator[str]:
    if len(predicate.configuration) != 1:
        yield f"predicate.configuration: expected one, got {len(predicate.configuration)}"
        return
    here, found = "predicate.configuration[0].annotations", predicate.configuration[0].annotations
    ok = counts(found).verdict is Verdict.PASSED
    if (predicate.result == "PASSED") != ok:
        yield f"predicate.result: {predicate.result}, with {found.passed} passed and {found.failed} failed"
    if len(predicate.failed_tests) != found.failed:
        yield f"predicate.failedTests: {len(predicate.failed_tests)}, and {here}.failed says {found.failed}"
    if bool(found.capability) != (found.level is Level.GPU):
        yield f"{here}.capability: {found.capability!r} for the {found.level} level"
    if found.emulator and found.level is Level.GPU:
        yield f"{here}.emulator: {found.emulator!r} has no GPU, and the level is gpu"


def _inheritance_faults(said: Inherits) -> Iterator[str]:
    made, found = said.predicate, said.predicate.run
    if found.level is not Level.GPU or not found.capability or found.emulator:
        yield f"predicate.run: the {found.level} level tells nothing of machine code; a GPU has to have run it"
    if counts(found).verdict is not Verdict.PASSED or found.outside:
        yield f"predicate.run: {found.outside or counts(found).verdict}, and only what passed can be inherited"
    if not made.kernels:
        yield "predicate.kernels: there is none, so nothing is inherited"
    if twice := sorted(made.kernels.keys() & set(made.others)):
        yield f"predicate.others: {twice[0]} is among the kernels, too"
    if said.subject and made.ran.digest == said.subject[0].digest:
        yield "predicate.ran: is the wheel itself"


def _attested(said: _Said) -> Attested:
    wheel, sha256 = said.subject[0].name, said.subject[0].digest.sha256
    if isinstance(said, Built):
        by = said.predicate.run_details.builder.id.removeprefix(BUILDER)
        return Attested(wheel=wheel, sha256=sha256, kind=Kind.PROVENANCE, by=by, ok=True, made=said.predicate)
    if isinstance(said, Inherits):
        run, inherited = said.predicate.run, said.predicate
    else:
        run, inherited = said.predicate.configuration[0].annotations, None
    same = set(Conditions.__struct_fields__) & set(Attested.__struct_fields__) - {"emulator"}
    return Attested(
        wheel=wheel,
        sha256=sha256,
        kind=Kind.INHERITED if inherited else Kind.TEST,
        by=run.tester,
        ok=counts(run).verdict is Verdict.PASSED,
        failures=said.predicate.failed_tests if isinstance(said, Tested) else (),
        emulator=run.emulator or "",
        inherited=inherited,
        **{field: getattr(run, field) for field in same},
    )


def _table(payload: bytes, name: str) -> dict[str, Any]:
    try:
        table = strict.json(payload)
    except ValueError as error:
        raise GateError(f"{name} holds no statement: {error}", hint="have it made again") from None
    if not isinstance(table, dict):
        raise GateError(f"{name} holds no statement: it is no JSON object", hint="have it made again")
    return table


def subject(wheel: str, sha256: str) -> tuple[Subject]:
    """Return what a statement about one wheel is about."""
    return (Subject(name=wheel, digest=Hashed(sha256=Sha256(sha256))),)


def _materials(said: Statement) -> Iterator[Material]:
    if said.commit:
        yield _source("", said.repository, said.commit)
    for one in said.submodules:
        yield _source(one.path, one.repository, one.commit)
    for file in (said.sdist, said.packed, said.base):
        if file is not None:
            yield Material(name=file.file, digest={"sha256": file.sha256})
    for patch in said.series:
        yield Material(name=patch.name, digest={"sha256": patch.sha256})


def _source(path: str, repository: str, commit: str) -> Material:
    return Material(name=path, uri=f"git+{repository}@{commit}", digest={"gitCommit": commit})


def _file(name: str, digest: str) -> Material:
    return Material(name=name, media_type="application/json", digest={"sha256": digest})


def _conditions(report: SmokeReport, run: Run, tester: str) -> Conditions:
    around = run.surroundings
    gpu = around.gpus[0] if run.level is Level.GPU and around.gpus else None  # cases run on torch's first
    return Conditions(
        tester=tester,
        level=run.level,
        capability=gpu.capability if gpu else "",
        gpu=gpu.name if gpu else "",
        torch=around.torch,
        triton=around.triton,
        outside=around.outside,
        started_on=utc(run.started),
        **tally(run.cases)._asdict(),
        kit=report.kit,
        report=report.digest,
        emulator=around.emulator or msgspec.UNSET,
    )
