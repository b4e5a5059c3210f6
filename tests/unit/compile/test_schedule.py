"""Which compiles may run together: by memory and cores, the longest first, and never none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retread.compile import schedule
from retread.compile.schedule import GIB, Budget, Cost, Unit


def cu(name: str, size: int = 0) -> Unit:
    return Unit(name=name, tool="nvcc", size=size)


def took(seconds: float, memory: float = 0) -> Cost:
    return Cost(seconds=seconds, memory=int(memory * GIB))


def admitted(
    waiting: list[Unit],
    measures: dict[str, Cost],
    *,
    jobs: int = 9,
    memory: float = 64,
    reserved: list[float] | None = None,
) -> list[str]:
    budget = Budget(jobs, int(memory * GIB))
    running = [int(one * GIB) for one in reserved or []]
    return [one.name for one in schedule.admit(waiting, running, budget, measures)]


def test_a_known_unit_needs_what_it_needed_and_some_more() -> None:
    assert schedule.needed(cu("a.cu"), {"a.cu": took(1, 10)}) == pytest.approx(11.5 * GIB, abs=1)


@pytest.mark.parametrize("measures", [{}, {"a": took(5, 0)}], ids=["never seen", "never measured"])
def test_an_unknown_unit_needs_a_safe_amount_by_its_tool(measures: dict[str, Cost]) -> None:
    assert schedule.needed(Unit(name="a", tool="nvcc", size=1), measures) == 4 * GIB
    assert schedule.needed(Unit(name="a", tool="g++", size=1), measures) == 1.5 * GIB


def test_the_longest_go_first_and_what_was_never_seen_before_them_by_size() -> None:
    measures = {"short.cu": took(1), "long.cu": took(900)}
    waiting = [cu("short.cu", 999), cu("small.cu", 1), cu("long.cu", 1), cu("large.cu", 50)]
    assert [one.name for one in schedule.order(waiting, measures)] == [
        "large.cu", "small.cu", "long.cu", "short.cu",
    ]  # fmt: skip


def test_as_many_start_as_there_are_cores() -> None:
    waiting = [cu(f"{number}.cu", number) for number in range(5)]
    assert admitted(waiting, {}, jobs=3) == ["4.cu", "3.cu", "2.cu"]
    assert admitted(waiting, {}, jobs=3, reserved=[1, 1]) == ["4.cu"]
    assert admitted(waiting, {}, jobs=3, reserved=[1, 1, 1]) == []


def test_as_many_start_as_the_memory_holds() -> None:
    waiting = [cu(f"{number}.cu", number) for number in range(5)]
    assert admitted(waiting, {}, memory=8) == ["4.cu", "3.cu"]
    assert admitted(waiting, {}, memory=8, reserved=[2]) == ["4.cu"]
    assert admitted(waiting, {}, memory=8, reserved=[5]) == []


def test_smaller_ones_pass_a_unit_that_does_not_fit() -> None:
    measures = {"huge.cu": took(900, 20), "a.cu": took(20, 2), "b.cu": took(10, 2)}
    waiting = [cu(name) for name in measures]
    assert admitted(waiting, measures, memory=10, reserved=[4]) == ["a.cu", "b.cu"]


def test_one_starts_even_if_it_alone_is_over_the_budget_and_then_it_is_alone() -> None:
    measures = {"huge.cu": took(900, 20), "a.cu": took(20, 2)}
    waiting = [cu(name) for name in measures]
    assert admitted(waiting, measures, memory=10) == ["huge.cu"]
    assert admitted(waiting, measures, memory=10, reserved=[23]) == []


_SIZE = st.one_of(st.none(), st.integers(0, 12 * GIB))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["nvcc", "g++"]), _SIZE, st.floats(0, 1000)), max_size=12),
    st.integers(1, 6),
    st.integers(0, 40 * GIB),
    st.lists(st.integers(0, 20 * GIB), max_size=6),
)
def test_the_budget_is_never_exceeded_unless_one_unit_alone_is_over_it(
    units: list[tuple[str, int | None, float]], jobs: int, memory: int, reserved: list[int]
) -> None:
    waiting = [Unit(name=str(number), tool=tool, size=number) for number, (tool, _, _) in enumerate(units)]
    measures = {
        str(number): Cost(seconds=seconds, memory=size)
        for number, (_, size, seconds) in enumerate(units)
        if size is not None
    }
    chosen = schedule.admit(waiting, reserved, Budget(jobs, memory), measures)
    held = [*reserved, *(schedule.needed(one, measures) for one in chosen)]
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(waiting)
    if chosen:
        assert len(held) <= jobs
        assert sum(held) <= memory or len(held) == 1
    if waiting and not reserved:
        assert chosen, "nothing runs, and nothing starts"
    free, rest = memory - sum(held), [one for one in waiting if one not in chosen]
    if len(held) < jobs and held:
        assert all(schedule.needed(one, measures) > free for one in rest), "a core idles while memory is free"


def test_what_remains_is_told_at_this_build_s_pace() -> None:
    measures = {"a": took(100), "b": took(50)}
    assert schedule.left(["a", "b"], 30, 60, measures) == 300
    assert schedule.left(["b"], 200, 100, measures) == 25


def test_what_remains_is_not_guessed() -> None:
    measures = {"a": took(100)}
    assert schedule.left(["a", "new"], 30, 60, measures) is None
    assert schedule.left(["a"], 0, 60, measures) is None
    assert schedule.left([], 30, 60, measures) is None
