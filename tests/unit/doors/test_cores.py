"""Work is spread over the cores, in order, and its first failure is what is told."""

from __future__ import annotations

import threading

import pytest

from retread.doors import cores
from retread.doors.cores import Beside


@pytest.mark.usefixtures("four")
def test_results_come_in_the_order_of_the_items() -> None:
    assert cores.spread(lambda one: one * 2, range(100)) == list(range(0, 200, 2))
    assert cores.spread(str, []) == []


@pytest.mark.usefixtures("four")
def test_work_within_work_ends_though_all_helpers_are_busy() -> None:
    rows = cores.spread(lambda row: sum(cores.spread(lambda one: row * one, range(20))), range(20))
    assert rows == [row * 190 for row in range(20)]


@pytest.mark.usefixtures("four")
def test_after_a_failure_nothing_more_is_begun_and_the_first_one_is_told() -> None:
    begun = list[int]()

    def fail(one: int) -> None:
        begun.append(one)
        raise ValueError(one)

    with pytest.raises(ValueError, match=r"^0$"):
        cores.spread(fail, range(1000))
    assert len(begun) <= 4


def test_what_is_done_beside_is_done_once_whoever_begins() -> None:
    told = list[str]()
    with Beside(lambda: told.append(threading.current_thread().name) or "done") as one:
        assert one.result() == "done"
    assert len(told) == 1
    with pytest.raises(ZeroDivisionError), Beside(lambda: 1 // 0) as broken:
        broken.result()


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "count", lambda: 4)
