"""Waivers in a recipe: a rule that is one, and a reason."""

from __future__ import annotations

import pytest

from retread.recipe import waiver


@pytest.mark.parametrize(
    ("rule", "reason", "fault"),
    [
        ("glibc", "built on a newer system, and nobody runs it elsewhere", None),
        ("miscompile-nvcc13-sm103", "our tests passed on B300", None),
        (
            "glib",
            "why",
            "waive.\"glib\": there is no such rule (did you mean 'glibc'?); an audit names those that a wheel breaks",
        ),
        ("sass", "why", 'waive."sass": there is no such rule; an audit names those that a wheel breaks'),
        ("wheel", "  ", 'waive."wheel": a waiver needs its reason'),
    ],
)
def test_a_waiver_is_of_a_rule_and_has_a_reason(rule: str, reason: str, fault: str | None) -> None:
    assert next(waiver.faults({rule: reason}), None) == fault


def test_a_waiver_is_named_as_the_recipe_writes_it() -> None:
    assert waiver.key("cu128", "glibc") == "targets.cu128.waive.glibc"
    assert waiver.key("cu128", "entry points") == 'targets.cu128.waive."entry points"'
