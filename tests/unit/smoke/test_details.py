"""What a report says in detail: numbers are finite or none, and what is concluded stands in the cases."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import reports
from reports import case, failed, measured, run, skipped
from retread.records import Sha256
from retread.smoke import details
from retread.smoke.report import Fault, Taken
from retread.smoke.runtime import course


@pytest.mark.parametrize(
    ("error", "tolerance", "ratio"),
    [
        (0.5, 2, 0.25),
        (-0.5, 2, 0.25),
        (0, 0.1, 0.0),
        (None, 0.1, None),
        ("nan", 0.1, None),
        (True, 0.1, None),
        (float("nan"), 0.1, None),
        (float("inf"), 0.1, None),
        (10**400, 0.1, None),
        (0.1, 0, None),
        (0.1, -1, None),
        (0.1, None, None),
        (0.1, float("inf"), None),
    ],
)
def test_an_error_is_finite_or_it_is_none(error: Any, tolerance: Any, ratio: float | None) -> None:
    assert [one.ratio for one in details.errors(run(measured("a/b", error, tolerance)))] == [ratio]


def test_a_case_that_measured_nothing_has_no_error() -> None:
    assert details.errors(run(case("a/b", numbers={"error": 0.1}), case("a/c"))) == []


@pytest.mark.parametrize(
    ("name", "numbers", "operator", "dtype"),
    [
        ("attention/flash/bf16/7", {}, "attention/flash", "bf16"),
        ("attention/flash/forward-float16", {}, "attention/flash", "float16"),
        ("attention/flash/e4m3fn", {}, "attention/flash", "e4m3fn"),
        ("attention/flash/16", {}, "attention/flash", "other"),
        ("attention", {"operator": "cutlass", "dtype": "torch.half"}, "cutlass", "half"),
        ("attention/x/f16", {"operator": None, "dtype": 7}, "attention/x", "f16"),
    ],
)
def test_operator_and_dtype_are_found(name: str, numbers: Any, operator: str, dtype: str) -> None:
    (found,) = details.errors(run(case(name, numbers={"error": 0.1, "tolerance": 1, **numbers})))
    assert (found.operator, found.dtype) == (operator, dtype)


def test_a_ratio_is_always_torch_by_own() -> None:
    both = case("speed/a", numbers={"demo_ms": 2.0, "torch_ms": 1.0, "ratio": 2.0})
    only = case("speed/b", numbers={"ratio": 1.5, "torch_ms": "slow", "demo_ms": float("inf")})
    none = case("speed/c", numbers={"items": 3})
    found = details.speeds(run(both, only, none))
    assert [(one.shape, one.own, one.torch, one.ratio) for one in found] == [
        ("a", 2.0, 1.0, 0.5),
        ("b", None, None, 1.5),
    ]


def test_a_sentence_has_to_be_one() -> None:
    assert details.sentence(run(case("speed/verdict", numbers={"sentence": 7}))) == ""
    assert details.sentence(run(case("speed/verdict"))) == ""


def test_only_architectures_that_passed_are_named() -> None:
    cases = [
        case("k/sm_103a"),
        failed("k/sm_90"),
        skipped("k/sm_80", "no"),
        case("k/sm_100/x"),
        case("k/asm_75x"),
    ]
    named = case("k/other", numbers={"architecture": "7.5"})
    assert details.architectures(run(*cases, named)) == ["7.5", "10.0", "10.3a"]


def test_cases_that_failed_alike_are_one() -> None:
    other = replace(reports.FAULT, where="demo/ops/rope.py:7 in rope")
    found = details.alike(
        run(
            failed("a/1", again=None),
            case("a/2"),
            failed("a/3"),
            failed("a/4", fault=other),
            failed("a/5", reason="AssertionError: 0.5 > 0.1"),
            failed("a/6", again=None),
        )
    )
    assert [[one.id for one in group.cases] for group in found] == [["a/1", "a/3", "a/6"], ["a/4"], ["a/5"]]
    assert found[0].case.id == "a/3", "it ran again, so most is known of it"
    assert [group.title for group in found] == ["a/3 and 2 others, alike", "a/4", "a/5"]


def test_failures_without_words_are_told_by_their_fault() -> None:
    died = Fault(type="SIGSEGV", message="", where="", kernel="", stack="")
    [group] = details.alike(run(*(failed(f"a/{number}", reason="", fault=died) for number in range(2))))
    assert (group.title, group.reason) == ("a/0 and 1 other, alike", "SIGSEGV")


@pytest.mark.parametrize(
    ("name", "reason", "alike"),
    [
        ("import/a.b", "AssertionError: import a.b: no x", "AssertionError: import *: no x"),
        ("sum/fp16", "0.5 > 0.1", "0.5 > 0.1"),
        ("a/b", "RuntimeError: bad cab", "RuntimeError: bad cab"),
        ("a/1", "takes 1 argument", "takes 1 argument"),
        ("a/", "no reason given", "no reason given"),
    ],
)
def test_a_case_s_own_name_makes_no_other_failure_and_the_kit_agrees(
    name: str, reason: str, alike: str
) -> None:
    assert details.nameless(name, reason) == alike
    assert course.nameless(name, reason) == alike


def test_modules_that_cannot_be_imported_for_one_reason_are_one_failure() -> None:
    cases = [failed(f"package/import/demo.{one}", reason=f"import demo.{one}: TypeError: x") for one in "abc"]
    assert [group.title for group in details.alike(run(*cases))] == [
        "package/import/demo.a and 2 others, alike"
    ]


def test_results_of_the_store_say_how_many_when_and_whose_they_are() -> None:
    own, other = (
        Taken(when=when, wheel=Sha256(64 * word), kit=Sha256(64 * "k"))
        for when, word in ((60, "a"), (0, "b"))
    )
    tried = run(case("a"), case("b", taken=own))
    assert (
        details.taken_words(tried, Sha256(64 * "a"))
        == "1 of 2 taken from the store, made on 1970-01-01T00:01:00Z, of this wheel"
    )
    mixed = run(case("a", taken=own), case("b", taken=other))
    assert details.taken_words(mixed, Sha256(64 * "a")) == (
        "2 of 2 taken from the store, made on 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z, 1 of other wheels"
    )
    assert details.taken_words(run(case("a")), Sha256(64 * "a")) == ""


def test_durations_are_told_by_suite_and_of_the_slowest_cases_first() -> None:
    slow = case("a/slow", suite="a", seconds=9.0, parts={"start": 1.0, "import": 6.0, "compile": 2.0})
    quick = case("a/quick", suite="a", seconds=0.5)
    assert details.durations(run(quick, slow)) == [
        ("a", 10.5, {"start": 1.0, "import": 6.0, "compile": 2.0, "run": 1.5}),
        ("a/slow", 10.0, {"start": 1.0, "import": 6.0, "compile": 2.0, "run": 1.0}),
        ("a/quick", 0.5, {"start": 0.0, "import": 0.0, "compile": 0.0, "run": 0.5}),
    ]
    assert details.durations(run(quick)) == []
