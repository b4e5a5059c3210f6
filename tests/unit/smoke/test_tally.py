"""How cases ended is counted once, and the verdict is one word: in the terminal, in the kit, wherever it is asked."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reports import case, failed, on_gpu, report, run, sample, skipped, surroundings
from retread.smoke import tally
from retread.smoke.level import Level
from retread.smoke.report import Case, Gpu, Outcome, Run
from retread.smoke.runtime import program
from retread.smoke.tally import Tally, Tried, Verdict
from retread.upstream.outlook import Jit, JitState

ENDS = st.lists(st.sampled_from(Outcome), max_size=6)
COUNT = st.integers(0, 5)


def cases(ends: list[Outcome]) -> tuple[Case, ...]:
    """Return a case for each end."""
    return tuple(case(f"a/{number}", outcome=end) for number, end in enumerate(ends))


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ((case("a/b"), skipped("a/c", "no")), "smoke tests passed (1 passed, 1 skipped)"),
        ((case("a/b"), failed("a/c")), "SMOKE TESTS FAILED (1 of 2 cases)"),
        ((skipped("a/b", "no"), failed("a/c")), "SMOKE TESTS FAILED (1 of 2 cases)"),
        ((skipped("a/c", "no"),), "NOT PROVEN (nothing ran)"),
        ((), "NOT PROVEN (nothing ran)"),
    ],
)
@pytest.mark.parametrize("ok", [True, False])
def test_the_cases_decide_whatever_a_report_takes_of_them(cases: Any, words: str, ok: bool) -> None:
    assert tally.headline(report(run(*cases), ok=ok)) == words


@given(COUNT, COUNT, COUNT)
def test_one_failure_fails_and_skipped_cases_say_nothing(passed: int, failed: int, skipped: int) -> None:
    found = Tally(passed, failed, skipped).verdict
    assert (found is Verdict.FAILED) == (failed > 0)
    assert (found is Verdict.NOTHING) == (passed == failed == 0)
    assert found is Tally(passed, failed, skipped + 1).verdict


@given(st.lists(ENDS, max_size=4))
@example([])
@example([[Outcome.SKIPPED]])
def test_the_kit_which_has_no_retread_comes_to_the_same_verdict(runs: list[list[Outcome]]) -> None:
    made = report(*(run(*cases(ends)) for ends in runs))
    tables = [case for one in msgspec.to_builtins(made)["runs"] for case in one["cases"]]
    assert program.verdict(tables) == tally.whole(made).verdict


@given(ENDS)
def test_every_record_that_counts_gives_the_tally_that_it_was_made_of(ends: list[Outcome]) -> None:
    counted = tally.tally(cases(ends))
    tried = tally.tried(run(*cases(ends)))
    assert tally.counts(tried) == counted
    assert tally.counts(Jit(state=JitState.PASSED, **counted._asdict())) == counted


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (run(), "nothing ran"),
        (run(skipped("a/b", "no")), "nothing ran"),
        (run(unable="there is no GPU"), "unable"),
        (run(case("a/b")), "passed"),
        (run(case("a/b"), failed("a/c")), "FAILED"),
    ],
)
def test_a_run_that_could_not_start_says_so_before_all(made: Run, words: str) -> None:
    assert tally.fate(made) == words


TWO = (Gpu(name="A", capability="9.0", memory=1, free=1), Gpu(name="B", capability="12.0", memory=1, free=1))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (run(level=Level.STATIC), ""),
        (run(level=Level.JIT, surroundings=on_gpu()), "Triton 3.5.1"),
        (run(level=Level.JIT, surroundings=surroundings(triton="")), ""),
        (run(surroundings=on_gpu(gpus=TWO)), "A, 9.0, B, 12.0"),
    ],
)
def test_where_a_run_ran_is_worded_once(made: Run, words: str) -> None:
    assert tally.place(made) == tally.tried(made).where == words


def test_a_run_in_short_and_the_tritons_that_passed() -> None:
    static, jit, older, gpu = sample().runs
    idle = run(skipped("a/b", "no"), level=Level.JIT, surroundings=surroundings(triton="3.9.0"))
    assert tally.tried(gpu) == Tried(
        level="gpu", where="NVIDIA H200, 9.0", torch="2.9.1", passed=69, failed=1, skipped=5
    )
    assert tally.tritons([static, jit, older, gpu, idle]) == ("3.4.0", "3.5.1")
