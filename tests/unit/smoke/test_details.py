"""What a report says in detail: numbers are finite or none, and what is concluded stands in the cases."""

from __future__ import annotations

from typing import Any

import pytest

from reports import case, failed, measured, run, skipped
from retread.smoke import details


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
