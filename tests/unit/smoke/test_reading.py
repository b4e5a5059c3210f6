"""Smoke reports as bytes: what is read is what was written, and nothing else is taken for one."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

import older
import reports as samples
from reports import case, failed, on_gpu, run, skipped, surroundings
from retread.audit.report import AuditReport, Check
from retread.canonical import digest
from retread.errors import EvidenceError, SmokeError
from retread.records import Sha256
from retread.smoke import reading
from retread.smoke.level import Level
from retread.smoke.report import Case, Gpu, Outcome, Run, SmokeReport, Surroundings, Taken

SAMPLE = reading.sealed(samples.sample(), samples.sample().runs)
WRITTEN = reading.write(SAMPLE)


def altered(**changes: Any) -> bytes:
    """Return the sample with other values and the digest that belongs to them."""
    table = {**json.loads(WRITTEN), **changes}
    return json.dumps({**table, "digest": digest(table)}).encode()


def first_case(**changes: Any) -> bytes:
    runs = json.loads(WRITTEN)["runs"]
    runs[0]["cases"][0].update(changes)
    return altered(runs=runs)


def refused(data: bytes) -> EvidenceError:
    with pytest.raises(EvidenceError) as caught:
        reading.parse(data, name="r.json")
    return caught.value


# Reading.


def test_a_key_that_is_there_twice_is_refused() -> None:
    """Of two values readers take one or the other."""
    twice = WRITTEN.replace(b'"ok": ', b'"ok": true,\n  "ok": ', 1)
    assert twice != WRITTEN
    assert "is not a smoke report: 'ok' is there twice" in refused(twice).message


def test_a_report_is_read_as_it_was_written() -> None:
    assert reading.parse(WRITTEN, name="r.json") == SAMPLE
    assert WRITTEN.endswith(b"}\n")
    assert reading.parse(json.dumps(json.loads(WRITTEN), sort_keys=True).encode(), name="r.json") == SAMPLE


def test_a_table_that_python_wrote_bears_the_same_digest() -> None:
    table = json.loads(WRITTEN)
    assert digest(table) == table["digest"] == SAMPLE.digest


def without(value: Any, name: str) -> Any:
    """Return a table without the fields of a name, at every depth."""
    if isinstance(value, dict):
        return {key: without(one, name) for key, one in value.items() if key != name}
    return [without(one, name) for one in value] if isinstance(value, list) else value


RECORDS = (SmokeReport, Run, Surroundings, Case)
LATER = [field.name for record in RECORDS for field in structs.fields(record) if not field.required]
"""What a report may lack: what has a default, as everything has that is added to a report."""


@pytest.mark.parametrize("name", LATER)
def test_a_report_from_before_a_field_was_added_can_be_read(name: str) -> None:
    table = without(json.loads(WRITTEN), name)
    assert json.dumps(table) != json.dumps(json.loads(WRITTEN))
    before = json.dumps({**table, "digest": digest(table)})
    found = reading.parse(before.encode(), name="r.json")
    assert (found.digest, len(found.runs)) == (digest(table), len(SAMPLE.runs))
    assert "was edited" in refused(before.replace("NVIDIA H200", "NVIDIA B200").encode()).message


def test_a_report_from_before_its_newest_fields_bears_its_digest() -> None:
    table = older.before(samples.sample())
    assert not table.keys() & {"only"}
    assert not table["runs"][0].keys() & {"unable"}
    data = json.dumps({**table, "digest": digest(table)}).encode()
    found = reading.parse(data, name="r.json")
    assert (found.digest, found.only, len(found.runs)) == (digest(table), "*", len(SAMPLE.runs))
    assert "was edited" in refused(data.replace(b"NVIDIA H200", b"NVIDIA B200")).message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "r.json is not a smoke report: Expecting value: "),
        (b"\xff\xfe{", "r.json is not a smoke report: it is no text in UTF-8"),
        (b"null", "r.json is not a smoke report: it is nothing, and no table"),
        (b"[]", "r.json is not a smoke report: it is an array, and no table"),
        (b'{"digest": "x"}', "r.json is not a smoke report: it does not say its schema"),
        (20_000 * b"[", "r.json is not a smoke report: "),
        (altered(schema=2), "r.json has schema 2; this retread reads up to 1"),
        (altered(schema="1"), "r.json is not a smoke report: its schema is a string, and no number"),
        (altered(schema=True), "r.json is not a smoke report: its schema is a boolean, and no number"),
        (altered(schema=0), "r.json is not a smoke report: its schema is 0"),
        (b'{"schema": 1}', "r.json is not a smoke report of schema 1"),
    ],
)
def test_what_is_no_report_is_told(data: bytes, words: str) -> None:
    assert refused(data).message.startswith(words)


def test_every_fault_of_a_report_is_told_with_its_place_and_at_most_twenty() -> None:
    bad = refused(altered(wheel=5, extra=1))
    assert bad.faults == ("wheel: expected a string, got an integer", "extra: unknown key")
    (fault,) = refused(first_case(outcome="splendid")).faults
    assert fault.startswith("runs[0].cases[0].outcome: invalid enum value 'splendid'")
    assert refused(first_case(fault={})).faults[0] == "runs[0].cases[0].fault.type: missing"
    many = refused(altered(**{f"extra{number}": 1 for number in range(30)})).faults
    assert (len(many), many[-1]) == (21, "... and 10 more")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"outcome": "failed"', b'"outcome": "passed"'),
        (b'"ok": false', b'"ok": true'),
        (b'"NVIDIA H200"', b'"NVIDIA B200"'),
        (b'"seconds": 93.14', b'"seconds": 93.15'),
        (SAMPLE.sha256.encode(), 64 * b"0"),
        (SAMPLE.digest.encode(), 64 * b"0"),
    ],
)
def test_an_edited_report_is_refused(old: bytes, new: bytes) -> None:
    assert old in WRITTEN
    error = refused(WRITTEN.replace(old, new, 1))
    assert error.message == "r.json was edited or damaged: its digest is not that of what it says"
    assert error.hint == "run the tests again"


@pytest.mark.parametrize(
    "changes",
    [{"seconds": 1}, {"seconds": float("nan")}, {"reason": "half \ud800 of a character"}],
    ids=["integer", "nan", "surrogate"],
)
def test_what_could_not_be_written_again_as_it_is_is_refused(changes: dict[str, Any]) -> None:
    said = refused(first_case(**changes)).message
    assert "was edited or damaged" in said or "is not a smoke report: JSON is malformed" in said


@settings(deadline=None, max_examples=20)
@given(st.integers(0, len(WRITTEN) - 1), st.binary(max_size=4))
def test_damage_raises_nothing_but_an_evidence_error(at: int, junk: bytes) -> None:
    data = WRITTEN[:at] + junk + WRITTEN[at + len(junk) :]
    with suppress(EvidenceError):
        assert reading.parse(data, name="r.json") == SAMPLE


@settings(deadline=None, max_examples=20)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        max_size=4,
    )
)  # fmt: skip
def test_every_number_that_a_suite_gives_comes_back(numbers: dict[str, Any]) -> None:
    found = json.loads(reading.write(reading.sealed(SAMPLE, [run(case("a/b", numbers=numbers))])))
    assert found["runs"][0]["cases"][0]["numbers"] == numbers
    reading.parse(json.dumps(found).encode(), name="r.json")


# Joining.


def test_reports_of_several_environments_become_one() -> None:
    one, two = (samples.report(run(case(name), level=Level.JIT)) for name in ("a/b", "a/c"))
    joined = reading.joined([one, two])
    assert [found.cases[0].id for found in joined.runs] == ["a/b", "a/c"]
    assert joined.ok
    assert reading.parse(reading.write(joined), name="r.json") == joined


@pytest.mark.parametrize(
    ("runs", "ok"),
    [
        ([run(case("a/b"))], True),
        ([run(case("a/b")), run(skipped("a/c", "no"))], True),
        ([run(case("a/b")), run(failed("a/c"))], False),
        ([run(skipped("a/c", "no")), run(case("a/b"))], True),
        ([run(skipped("a/c", "no"))], False),
        ([run(unable="no GPU")], False),
        ([], False),
    ],
)
def test_a_report_is_good_when_something_passed_and_nothing_failed(runs: list[Run], ok: bool) -> None:
    assert reading.sealed(SAMPLE, runs).ok is ok


def test_the_audit_s_checks_come_before_the_cases_of_a_static_run() -> None:
    audit = AuditReport(
        schema=1, wheel=SAMPLE.wheel, sha256=SAMPLE.sha256, size=1, target="demo-1.2 cu128", ok=False,
        checks=(
            Check(check="native", subject="demo/_C.so", ok=True, detail="8.0 10.0"),
            Check(check="tags", subject="demo", ok=False, detail="it says linux"),
        ),
    )  # fmt: skip
    made = reading.audited(
        run(case("a/b"), level=Level.STATIC, seconds=1.0), reading.audit_cases(audit), 0.256
    )
    assert [(one.id, one.suite, one.outcome) for one in made.cases] == [
        ("audit/native/demo/_C.so", "audit", Outcome.PASSED),
        ("audit/tags/demo", "audit", Outcome.FAILED),
        ("a/b", "a", Outcome.PASSED),
    ]
    assert made.cases[1].reason == "it says linux"
    assert made.cases[1].fault is not None
    assert (made.cases[1].fault.type, made.cases[1].fault.message) == ("Audit", "it says linux")
    assert made.seconds == 1.26


# Judging.


def test_a_good_report_is_not_complained_of() -> None:
    reading.demand(reading.sealed(SAMPLE, [run(case("a/b"), skipped("a/c", "no"))]))


def test_every_failed_case_is_named_and_at_most_twenty() -> None:
    def complained(*cases: Any) -> SmokeError:
        with pytest.raises(SmokeError) as caught:
            reading.demand(reading.sealed(SAMPLE, [run(case("a/0")), run(*cases)]))
        return caught.value

    error = complained(failed("a/1", reason="wrong"), case("a/2"))
    assert error.message == f"{SAMPLE.wheel}: 1 of 3 cases failed"
    assert error.faults == ("a/1: wrong",)
    assert error.exit_code == 16
    error = complained(*(failed(f"a/{number}", reason=f"wrong: {number}") for number in range(1, 24)))
    assert error.message == f"{SAMPLE.wheel}: 23 of 24 cases failed"
    assert len(error.faults) == 21
    assert error.faults[-2:] == ("a/20: wrong: 20", "... and 3 more")
    assert complained(*(failed(f"a/{number}", reason="wrong") for number in range(1, 24))).faults == (
        "a/1 and 22 others, alike: wrong",
    )


def test_a_report_in_which_nothing_ran_is_no_proof_and_says_why() -> None:
    idle = [skipped(f"a/{number}", "no f32") for number in range(3)]
    runs = [
        run(*idle, skipped("a/9", "too old"), level=Level.JIT),
        run(unable="there is no GPU"),
        run(level=Level.STATIC),
    ]
    with pytest.raises(SmokeError) as caught:
        reading.demand(reading.sealed(SAMPLE, runs))
    assert (caught.value.message, caught.value.exit_code) == (f"{SAMPLE.wheel}: nothing ran", 16)
    assert caught.value.faults == (
        "jit (Triton 3.5.1): 3 skipped: no f32; 1 skipped: too old",
        "gpu (NVIDIA H200, 9.0): there is no GPU",
        "static: no case",
    )
    assert caught.value.hint == "a machine that has what is lacking can try it: --ssh HOST, or 'retread kit'"
    with pytest.raises(SmokeError) as caught:
        reading.demand(reading.sealed(replace(SAMPLE, only="b/*"), [run(level=Level.STATIC)]))
    assert caught.value.hint == "name other cases, or take away --only"


OUTSIDE = "torch 2.5 is below 2.9"


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([run(case("a/b")), run(unable="no GPU")], []),
        ([run(case("a/b")), run(level=Level.JIT)], []),
        ([run(case("a/b")), run(failed("a/c"))], ["tells of a failure"]),
        (
            [run(case("a/b")), run(skipped("a/c", "no"), level=Level.JIT)],
            ["tells of jit (Triton 3.5.1): nothing ran, 1 skipped: no"],
        ),
        ([run(skipped("a/c", "no"), surroundings=on_gpu(outside=OUTSIDE))], []),
        ([run(unable="no GPU")], ["tells of gpu (NVIDIA H200, 9.0): nothing ran, no GPU"]),
        ([], ["tells of no run: nothing ran"]),
    ],
)
def test_what_speaks_against_a_wheel(runs: list[Run], told: list[str]) -> None:
    assert list(reading.doubts(reading.sealed(SAMPLE, runs))) == told


B200 = Gpu(name="NVIDIA B200 (SXM/1)", capability="10.0", memory=1, free=1)


@pytest.mark.parametrize(
    ("runs", "name"),
    [
        ([run(case("a/b"), level=Level.STATIC)], "static"),
        ([run(case("a/b"), level=Level.JIT), run(case("a/c"), level=Level.JIT)], "jit"),
        ([run(case("a/b"), level=Level.STATIC), run(case("a/b"))], "static-gpu-nvidia-h200"),
        ([run(case("a/b"), surroundings=on_gpu(gpus=(B200, B200)))], "gpu-nvidia-b200--sxm-1-"),
        ([run(case("a/b"), level=Level.STATIC, surroundings=on_gpu()), run(unable="no")], "static"),
        ([run(case("a/b"), surroundings=surroundings())], "gpu"),
        ([run(unable="no")], "none"),
        ([run(skipped("a/b", "no"))], "none"),
        ([run(case("a/b"), level=Level.STATIC), run(skipped("a/b", "no"))], "static"),
    ],
)
def test_a_report_is_called_after_what_ran_and_on_which_gpu(runs: list[Run], name: str) -> None:
    assert reading.file_name(reading.sealed(SAMPLE, runs)) == f"{SAMPLE.wheel}.smoke-{name}.json"


def test_a_report_belongs_to_one_wheel() -> None:
    reading.demand_of(SAMPLE, "dist/x.whl", SAMPLE.sha256, name="r.json")
    with pytest.raises(EvidenceError) as caught:
        reading.demand_of(SAMPLE, "dist/x.whl", Sha256(64 * "9"), name="r.json")
    assert caught.value.message == f"r.json is a report of another {SAMPLE.wheel}"
    assert caught.value.faults == (
        f"the wheel that was tried has sha256 {SAMPLE.sha256}",
        f"dist/x.whl has {64 * '9'}",
    )


def test_results_of_other_wheels_are_doubted_and_those_of_this_one_are_not() -> None:
    own, other = (Taken(when=0, wheel=Sha256(64 * word), kit=Sha256(64 * "b")) for word in "ad")
    runs = (
        run(case("a", taken=own), level=Level.STATIC),
        run(case("b", taken=other), case("c"), level=Level.JIT),
    )
    [doubt] = reading.doubts(samples.report(*runs))
    assert doubt.startswith(
        "tells of jit (Triton 3.5.1): 1 of 2 results are of other wheels: try every case of this one"
    )
