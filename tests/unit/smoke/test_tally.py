"""How a run ended is said once: by its cases, in one word."""

from __future__ import annotations

from typing import Any

import pytest

from reports import case, failed, report, run, skipped
from retread.smoke import tally


@pytest.mark.parametrize(
    ("cases", "changes", "words"),
    [
        ((case("a/b"), skipped("a/c", "no")), {}, "smoke tests passed (1 passed, 1 skipped)"),
        ((case("a/b"), failed("a/c")), {}, "SMOKE TESTS FAILED (1 of 2 cases)"),
        ((case("a/b"), failed("a/c")), {"ok": True}, "SMOKE TESTS FAILED (1 of 2 cases)"),
        ((skipped("a/c", "no"),), {}, "NOT PROVEN (nothing ran)"),
        ((case("a/b"),), {"ok": False}, "NOT PROVEN"),
        ((), {}, "NOT PROVEN (nothing ran)"),
    ],
)
def test_nothing_is_called_passed_that_is_not(cases: Any, changes: Any, words: str) -> None:
    assert tally.verdict(report(run(*cases), **changes)) == words
