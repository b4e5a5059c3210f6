"""Which cases share a process, and which begin first."""

from __future__ import annotations

from typing import Any

import pytest

from retread.smoke.runtime.crew import Work, plan, run
from retread.smoke.runtime.runner import Suite


def work(name: str, seconds: dict[str, float], **alone: bool) -> Work:
    cases = [{"case": one, "alone": alone.get(one, False), "env": {}} for one in (*seconds, *alone)]
    return Work(Suite(f"{name}.py", {}, ""), cases, print, {**seconds, **dict.fromkeys(alone, 50.0)})


def planned(*some: Work, workers: int, split: bool) -> list[tuple[str, list[Any]]]:
    return [(job.suite.name, [one["case"] for one in job.cases]) for job in plan(some, workers, split=split)]


def test_cases_are_cut_into_equal_parts_the_slowest_first() -> None:
    one, other = work("a", {"1": 10, "2": 40, "3": 20}), work("b", {"4": 30, "5": 20})
    assert planned(one, other, workers=2, split=True) == [("a", ["2", "3"]), ("b", ["4", "5"]), ("a", ["1"])]


@pytest.mark.parametrize(
    ("seconds", "workers", "sizes"),
    [(4.0, 3, [2, 1, 1]), (4.0, 2, [2, 2]), (0.5, 8, [4]), (9.0, 8, [1, 1, 1, 1])],
)
def test_no_process_is_started_for_less_than_it_costs(seconds: float, workers: int, sizes: list[int]) -> None:
    jobs = planned(work("a", dict.fromkeys("1234", seconds)), workers=workers, split=True)
    assert [len(cases) for _, cases in jobs] == sizes


def test_a_level_that_is_not_split_keeps_its_order_and_what_is_alone_is_alone() -> None:
    some = work("a", {"1": 1, "2": 3}, by=True, itself=True)
    assert planned(some, workers=4, split=False) == [("a", ["by"]), ("a", ["itself"]), ("a", ["1", "2"])]


def test_timed_cases_run_when_no_others_do() -> None:
    began = []

    class Noted(Suite):
        def batch(self, cases: Any, _more: Any, _ended: Any) -> None:
            began.extend(one["case"] for one in cases)

    cases = [{"case": name, "alone": True, "env": {}, "timed": name < "c"} for name in "abcd"]
    run(plan([Work(Noted("a.py", {}, ""), cases, print)], 4, split=False), 4)
    assert set(began[:2]) == {"c", "d"}
    assert began[2:] == ["a", "b"]
