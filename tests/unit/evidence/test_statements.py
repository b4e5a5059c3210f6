"""Statements: valid in the words of in-toto and SLSA, read back as they were written, and strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from reports import case, failed, on_gpu, report, run, sample, skipped, surroundings
from retread.arch import Arch
from retread.errors import EvidenceError, GateError
from retread.evidence import statements
from retread.evidence.statements import Attested, Kind
from retread.records import Sha256
from retread.smoke.level import Level
from retread.smoke.report import Run
from retread.wheel.statement import (
    CompileStatement,
    FileStatement,
    LibraryStatement,
    PatchStatement,
    Promise,
    Statement,
    SubmoduleStatement,
    ToolchainStatement,
)

WHEEL = "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl"
DIGEST = Sha256(64 * "a")
FINISHED = 1_763_805_600
INSIDE = Sha256(64 * "e")
"""Of retread.json, as it lies in the wheel."""
SAMPLE = sample()
STATIC, JIT, OLDER, GPU = SAMPLE.runs

SAID = Statement(
    schema=1,
    tool="retread 0.1.0",
    recipe="demo-1.2",
    target="cu128",
    project="demo",
    version="1.2+cu128.1",
    lane="overlay",
    repository="https://example.org/demo.git",
    commit=40 * "1",
    submodules=(SubmoduleStatement(path="third/part", repository="https://example.org/part", commit=40 * "2"),),
    commit_time=1_700_000_000,
    sdist=FileStatement(file="demo-1.2.tar.gz", sha256=Sha256(64 * "3")),
    base=FileStatement(file="demo-1.2-cp39-abi3-linux_x86_64.whl", sha256=Sha256(64 * "4")),
    compiled=None,
    series=(
        PatchStatement(
            name="0001-mend.patch", sha256=Sha256(64 * "5"), subject="Mend", breaks="b", affects="a",
            upstream="u", drop_when="d",
        ),
    ),
    toolchain=ToolchainStatement(name="cuda-12.8", cuda="12.8", ptxas="V12.8.93", reproduced=True),
    libraries={
        "demo/_C.so": LibraryStatement(modules=1, before=(Arch("8.0"),), after=(Arch("8.0"), Arch("10.0")), ptx=()),
    },
    promise=Promise(
        project="demo", version="1.2+cu128.1", cuda="12.8", torch=">=2.9", architectures=(Arch("8.0"),), ptx=(),
        exempt=(), requires=(), run_path={}, note="",
    ),
)  # fmt: skip
COMPILED = CompileStatement(
    native_digest="n",
    toolkit="nvcc 12.8, V12.8.93",
    toolkit_digest="t",
    toolkit_origin="pinned parts",
    compiler="g++ 13.2",
    python="3.12.1",
    lock="l",
    requires=("torch==2.9.1",),
    environment={"LIST": "{torch-architectures}"},
)


def built(said: Statement = SAID) -> bytes:
    return statements.provenance(WHEEL, DIGEST, said, INSIDE, builder="ci", finished=FINISHED)


def result_of(one: Run) -> bytes:
    return statements.test_result(SAMPLE, one, tester="lab")


def altered(payload: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    table = json.loads(payload)
    change(table)
    return json.dumps(table).encode()


def test_a_build_is_read_back() -> None:
    found = statements.parse(built(), name="p")
    assert found == Attested(
        wheel=WHEEL, sha256=DIGEST, kind=Kind.PROVENANCE, by="ci", ok=True, made=found.made
    )
    assert found.made
    assert found.made.build_definition == statements.definition(SAID)


def test_the_same_build_gives_the_same_bytes() -> None:
    assert built() == built()


def test_a_build_names_everything_that_it_started_from() -> None:
    definition = json.loads(built())["predicate"]["buildDefinition"]
    assert definition["buildType"] == "urn:retread:build:1"
    assert definition["externalParameters"] == {"recipe": "demo-1.2", "target": "cu128", "lane": "overlay"}
    assert definition["internalParameters"]["sourceDateEpoch"] == 1_700_000_000
    assert definition["resolvedDependencies"] == [
        {
            "uri": f"git+https://example.org/demo.git@{40 * '1'}",
            "digest": {"gitCommit": 40 * "1"},
        },
        {
            "name": "third/part",
            "uri": f"git+https://example.org/part@{40 * '2'}",
            "digest": {"gitCommit": 40 * "2"},
        },
        {"name": "demo-1.2.tar.gz", "digest": {"sha256": 64 * "3"}},
        {"name": "demo-1.2-cp39-abi3-linux_x86_64.whl", "digest": {"sha256": 64 * "4"}},
        {"name": "0001-mend.patch", "digest": {"sha256": 64 * "5"}},
    ]


def test_a_build_tells_who_when_and_the_digest_of_what_the_wheel_says_of_itself() -> None:
    details = json.loads(built())["predicate"]["runDetails"]
    assert details["builder"]["id"] == "urn:retread:builder:ci"
    assert details["metadata"] == {"finishedOn": "2025-11-22T10:00:00Z"}
    assert details["byproducts"] == [
        {
            "name": "retread.json",
            "mediaType": "application/json",
            "digest": {"sha256": INSIDE},
        }
    ]


def test_what_a_compile_left_is_named_by_its_digest() -> None:
    said = replace(SAID, lane="source", base=None, compiled=COMPILED, toolchain=None)
    payload = statements.provenance(
        "demo-1.2-py3-none-any.whl", 64 * "a", said, INSIDE, builder="ci", finished=7, record=64 * "9"
    )
    assert statements.parse(payload, name="p").ok
    byproducts = json.loads(payload)["predicate"]["runDetails"]["byproducts"]
    assert [(one["name"], one["digest"]["sha256"]) for one in byproducts][1:] == [("compile.json", 64 * "9")]


def test_a_compile_is_told_with_every_tool() -> None:
    payload = built(replace(SAID, lane="source", base=None, compiled=COMPILED, toolchain=None))
    assert statements.parse(payload, name="p").ok
    internal = json.loads(payload)["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["compiled"]["toolkit"] == "nvcc 12.8, V12.8.93"
    assert internal["toolchain"] is None


@pytest.mark.parametrize("one", SAMPLE.runs, ids=["static", "jit", "older", "gpu"])
def test_a_test_result_is_read_back(one: Run) -> None:
    found = statements.parse(result_of(one), name="t")
    assert (found.wheel, found.sha256, found.kind, found.by) == (WHEEL, DIGEST, Kind.TEST, "lab")
    assert (found.level, found.triton, found.torch) == (
        one.level, one.surroundings.triton, one.surroundings.torch,
    )  # fmt: skip
    assert (found.outside, found.report) == (one.surroundings.outside, SAMPLE.digest)
    outcomes = [str(made.outcome) for made in one.cases]
    assert (found.passed, found.failed, found.skipped) == tuple(
        outcomes.count(word) for word in ("passed", "failed", "skipped")
    )


def test_a_failure_is_told_by_its_id() -> None:
    found = statements.parse(result_of(GPU), name="t")
    assert not found.ok
    assert found.failures == ("sparse24/sparsify/bf16",)
    assert json.loads(result_of(GPU))["predicate"]["result"] == "FAILED"
    assert (found.gpu, found.capability) == ("NVIDIA H200", "9.0")


def test_the_capability_is_of_the_gpu_that_the_cases_ran_on() -> None:
    first, second = replace(on_gpu().gpus[0], capability="12.0", name="A"), on_gpu().gpus[0]
    two = report(run(case("x/y"), surroundings=on_gpu(gpus=(first, second))))
    assert (
        statements.parse(statements.test_result(two, two.runs[0], tester="lab"), name="t").capability
        == "12.0"
    )


def test_a_level_without_gpu_tells_none_though_the_machine_has_one() -> None:
    static = report(run(case("x/y"), level=Level.STATIC, surroundings=on_gpu()))
    found = statements.parse(statements.test_result(static, static.runs[0], tester="lab"), name="t")
    assert (found.capability, found.gpu) == ("", "")


def test_nothing_is_signed_of_skipped_cases_alone() -> None:
    idle = report(run(skipped("x/y", "no f32"), level=Level.JIT))
    with pytest.raises(EvidenceError, match="there is no jit run to sign: nothing ran, 1 skipped: no f32"):
        statements.test_result(idle, idle.runs[0], tester="lab")


def test_a_statement_of_skipped_cases_from_before_can_be_read_and_proves_nothing() -> None:
    def idle(table: dict[str, Any]) -> None:
        table["predicate"]["result"] = "FAILED"
        _found(table).update(passed=0, failed=0, skipped=3)

    found = statements.parse(altered(result_of(JIT), idle), name="t")
    assert (found.ok, found.passed, found.failed, found.skipped) == (False, 0, 0, 3)


def test_a_run_that_did_not_run_or_is_of_another_report_is_not_stated() -> None:
    idle = report(run(unable="there is no GPU"))
    with pytest.raises(EvidenceError, match="there is no gpu run to sign: nothing ran, there is no GPU"):
        statements.test_result(idle, idle.runs[0], tester="lab")
    with pytest.raises(EvidenceError, match="there is no jit run to sign: it is of another report"):
        statements.test_result(idle, JIT, tester="lab")


def test_the_statements_are_those_of_in_toto() -> None:
    statement = pytest.importorskip("in_toto_attestation.v1.statement")
    protobuf = pytest.importorskip("google.protobuf.json_format")
    slsa = pytest.importorskip("in_toto_attestation.predicates.provenance.v1.provenance_pb2")
    results = pytest.importorskip("in_toto_attestation.predicates.test_result.v0.test_result_pb2")
    official = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    compiled = built(replace(SAID, base=None, compiled=COMPILED))
    for payload, message in (
        (built(), slsa.Provenance()),
        (compiled, slsa.Provenance()),
        *((result_of(one), results.TestResult()) for one in SAMPLE.runs),
    ):
        whole = protobuf.Parse(payload, official.Statement())  # refuses what the format does not know
        statement.Statement.copy_from_pb(whole).validate()
        protobuf.ParseDict(json.loads(payload)["predicate"], message)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "holds no statement"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "holds no statement"),
        (b'"\xff"', "holds no statement"),
        (b'{"a": NaN}', "holds no statement"),
        (b'{"a": "\\ud800"}', "holds no statement"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' is there twice"),
        (b"{}", "predicateType is None"),
        (b'{"predicateType": ["x"]}', r"predicateType is \['x'\]"),
        (b'{"predicateType": "https://slsa.dev/provenance/v0.2"}', "neither a build nor a test result"),
    ],
)
def test_what_is_no_statement_is_refused(payload: bytes, told: str) -> None:
    with pytest.raises(GateError, match=told) as caught:
        statements.parse(payload, name="p")
    assert caught.value.hint


def _definition(table: dict[str, Any]) -> Any:
    return table["predicate"]["buildDefinition"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.update(subject=[]), "subject: expected one wheel, got 0"),
        (lambda table: table["subject"].append(table["subject"][0]), "subject: expected one wheel, got 2"),
        (lambda table: table["subject"][0].update(name="demo.tar.gz"), "subject[0].name: expected the file name of"),
        (lambda table: table["subject"][0].update(name="../x.whl"), "subject[0].name: expected the file name of"),
        (lambda table: table["subject"][0]["digest"].update(sha256="A" * 64), "subject[0].digest.sha256: expected"),
        (lambda table: table["subject"][0]["digest"].pop("sha256"), "subject[0].digest.sha256: missing"),
        (lambda table: table.update(_type="https://in-toto.io/Statement/v0.1"), "_type: invalid enum value"),
        (lambda table: table.update(more=1), "more: unknown key"),
        (lambda table: _definition(table).update(buildType="urn:other"), "predicate.buildDefinition.buildType: inv"),
        (lambda table: _definition(table).update(resolvedDependencies=[]), "no gitCommit"),
        (
            lambda table: _definition(table)["resolvedDependencies"][0]["digest"].update(gitCommit="main"),
            "resolvedDependencies[0].digest.gitCommit: expected a digest",
        ),
        (
            lambda table: table["predicate"]["runDetails"]["builder"].update(id="https://ci.example"),
            "predicate.runDetails.builder.id: expected urn:retread:builder:",
        ),
    ],
)  # fmt: skip
def test_a_build_with_a_fault_is_refused_by_its_place(
    change: Callable[[dict[str, Any]], object], told: str
) -> None:
    with pytest.raises(GateError, match="p is no statement as retread writes it") as caught:
        statements.parse(altered(built(), change), name="p")
    assert [fault for fault in caught.value.faults if told in fault]


def _found(table: dict[str, Any]) -> Any:
    return table["predicate"]["configuration"][0]["annotations"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table["predicate"].update(result="PASSED"), "predicate.result: PASSED, with"),
        (lambda table: table["predicate"].update(result="passed"), "predicate.result: invalid enum value"),
        (lambda table: table["predicate"].update(failedTests=[]), "predicate.failedTests: 0, and"),
        (lambda table: table["predicate"].update(configuration=[]), "predicate.configuration: expected one, got 0"),
        (lambda table: _found(table).update(capability=""), "annotations.capability: '' for the gpu level"),
        (lambda table: _found(table).update(level="jit"), "annotations.capability: '9.0' for the jit level"),
        (lambda table: _found(table).update(level="jti"), "annotations.level: invalid enum value 'jti'"),
        (lambda table: _found(table).update(capability="sm_90"), "expected a GPU's capability"),
        (lambda table: _found(table).update(passed=-1), "annotations.passed: expected a number of cases"),
        (lambda table: _found(table).update(passed=True), "annotations.passed: expected a number of cases"),
        (lambda table: _found(table).pop("report"), "annotations.report: missing"),
        (lambda table: _found(table).update(startedOn="yesterday"), "annotations.startedOn: expected a time"),
    ],
)  # fmt: skip
def test_a_test_result_with_a_fault_is_refused_by_its_place(
    change: Callable[[dict[str, Any]], object], told: str
) -> None:
    with pytest.raises(GateError, match="t is no statement as retread writes it") as caught:
        statements.parse(altered(result_of(GPU), change), name="t")
    assert [fault for fault in caught.value.faults if told in fault]


def test_every_fault_is_told_at_once() -> None:
    def spoil(table: dict[str, Any]) -> None:
        table["subject"][0]["name"] = ""
        _found(table).update(level="x", passed="many", extra=1)

    with pytest.raises(GateError) as caught:
        statements.parse(altered(result_of(JIT), spoil), name="t")
    assert len(caught.value.faults) == 4


def test_no_time_decides_anything() -> None:
    for moment in (0, 4_102_444_800, 253_402_300_799):
        assert statements.parse(
            statements.provenance(WHEEL, DIGEST, SAID, INSIDE, builder="ci", finished=moment), name="p"
        ).ok
        early = report(run(case("x/y"), started=moment))
        assert statements.parse(statements.test_result(early, early.runs[0], tester="lab"), name="t").ok


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a statement."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


@pytest.mark.parametrize("payload", [built(), result_of(GPU)], ids=["build", "test"])
def test_whatever_stands_in_whatever_place_is_read_or_refused_in_words(payload: bytes) -> None:
    refused = []
    for path in places(json.loads(payload)):
        for value in (None, -1, 1e400, "\ud800", [None], {"x": {}}):
            table = place = json.loads(payload)
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            try:
                statements.parse(json.dumps(table).encode(), name="p")
            except GateError as error:
                refused.append(error)
    assert len(refused) > 100
    assert all(error.hint for error in refused)


def test_strange_cases_and_machines_can_be_stated() -> None:
    odd = report(
        run(
            failed("x/é\u2028'\"<"),
            case("x/y"),
            level=Level.JIT,
            surroundings=surroundings(torch="", triton="git"),
        )
    )
    found = statements.parse(statements.test_result(odd, odd.runs[0], tester="lab"), name="t")
    assert (found.failures, found.triton) == (("x/é\u2028'\"<",), "git")
