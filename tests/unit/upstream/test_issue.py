"""The issue and the table: what is to do in plain words, and foreign words that can do nothing on the page."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from retread.errors import FetchError
from retread.records import Sha256
from retread.source.records import Applied, Verdict
from retread.upstream import issue, outlook, table
from retread.upstream.outlook import Action, Jit, JitState, Need, Outlook, RecipeOutlook, Task, Upstream

EVIL = "x` @everyone <img src=x> [a](http://b) #1 ``\n# title\n\x1b[2J| y"
UPSTREAM = Upstream(
    version="1.3", file="demo-1.3.tar.gz", sha256=Sha256(64 * "a"), newer=True, proven=False, without_source=(),
    series=(
        Applied(name="0001-a.patch", verdict=Verdict.APPLIES),
        Applied(name="0002-b.patch", verdict=Verdict.CONFLICT, detail="demo/b.py:3"),
        Applied(name="0003-c.patch", verdict=Verdict.CONFLICT, detail=EVIL),
        Applied(name="0004-d.patch", verdict=Verdict.GONE, detail="demo/d.py"),
    ),
    superfluous=("0002-b.patch", "0004-d.patch"),
)  # fmt: skip
NEW = RecipeOutlook(
    recipe="demo-1.2", project="demo", version="1.2", heir="demo-1.2", upstream=UPSTREAM, errors=(),
    need=Need(wheel="", kept_by=("0001-a.patch (applies)", "0003-c.patch (does not apply)")),
    jit=Jit(state=JitState.PASSED, torch="2.15.0", triton="3.9.0", passed=4, skipped=1, skips=("1 skipped: too old",)),
    tasks=(
        Task(action=Action.PIN, subject="1.3", why="the newest release has no recipe"),
        Task(action=Action.REMAKE, subject="0003-c.patch", why="it does not apply to 1.3", detail=EVIL),
    ),
)  # fmt: skip
OLD = replace(
    NEW,
    recipe="demo-1.1",
    need=Need(wheel="demo-1.3-py3-none-any.whl", kept_by=()),
    jit=Jit(state=JitState.UNFIT, why="cu128 is for torch ==2.6.0, the newest is 2.15.0"),
    tasks=(),
)
UNKNOWN = outlook.unread("demo-1.0", FetchError("no connection"))


def whole(*recipes: RecipeOutlook) -> Outlook:
    return outlook.outlook(recipes)


def test_the_issue_says_what_to_do_then_how_all_stand() -> None:
    assert issue.text(whole(NEW, OLD, UNKNOWN)) == (
        "### `demo-1.2`\n\n"
        "- [ ] pin `1.3` in a recipe: the newest release has no recipe\n"
        "- [ ] make `0003-c.patch` anew: it does not apply to 1.3 "
        "(``` x` @everyone <img src=x> [a](http://b) #1 `` # title [2J| y ```)\n\n"
        "### `demo-1.0`\n\n"
        "- [ ] ask again for `demo-1.0`: it stopped with a fetch error (`no connection`)\n\n"
        "### How the recipes stand\n\n"
        "- `demo-1.2`: newest is `1.3`; kept by `0001-a.patch (applies)` and 1 more; "
        "jit `torch 2.15.0, Triton 3.9.0: 4 passed, 1 skipped`\n"
        "- `demo-1.1`: newest is `1.3`, see `demo-1.2`; "
        "jit `not made for it: cu128 is for torch ==2.6.0, the newest is 2.15.0`\n"
        "- `demo-1.0`: nothing is known of it\n\n"
        "`retread watch` wrote this; what it prints for one recipe says more: `retread watch RECIPE`.\n"
    )
    assert issue.text(whole(OLD)).startswith("Nothing is to do.\n\n### How the recipes stand\n\n- `demo-1.1`")


@given(st.text())
def test_a_code_span_holds_any_words_on_one_line(words: str) -> None:
    span = str(issue.code(words))
    fence = span[: len(span) - len(span.lstrip("`"))]
    inside = span.removeprefix(fence).removesuffix(fence)
    assert span == f"{fence}{inside}{fence}"
    assert len(fence) not in map(len, re.findall("`+", inside))
    assert not inside.startswith("`")
    assert not inside.endswith("`")
    assert inside.isprintable()


def test_a_code_span_is_short_and_never_empty() -> None:
    assert issue.code("") == issue.code("\n\x00") == "`-`"
    assert issue.code("`") == "`` ` ``"
    assert len(issue.code(500 * "x")) == 205


def test_the_table_has_a_row_and_the_reasons_for_each_recipe() -> None:
    lines = table.table(whole(NEW, OLD, UNKNOWN)).splitlines()
    assert [line.split("  ")[0] for line in (one.strip() for one in lines[:4])] == [
        "recipe",
        "demo-1.2",
        "demo-1.1",
        "demo-1.0",
    ]
    assert "1.3, NEW" in lines[1]
    assert "1 as it is, 1 target gone, 2 conflicting" in lines[1]
    assert [line.split()[-1] for line in lines[1:4]] == ["passed", "it", "out"]
    text = "\n".join(lines)
    assert "0002-b.patch  does not apply  demo/b.py:3; its header says that upstream fixed it" in text
    assert "0004-d.patch  target deleted  demo/d.py; nothing is left to patch" in text
    assert "    kept by: nothing: demo-1.3-py3-none-any.whl does all that it does" in text
    assert "3.9.0: 4 passed, 1 skipped\n        1 skipped: too old\n" in text
    assert "    to do: pin 1.3 in a recipe: the newest release has no recipe" in text
    assert "    error: no connection" in text
    assert lines[-1] == "Upstream: demo-1.2 and demo-1.0 want attention"
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("jit", "words"),
    [
        (Jit(state=JitState.FAILED, torch="2", triton="3", passed=2, failed=1), "torch 2, Triton 3: 1 FAILED, 2"),
        (Jit(state=JitState.UNTRIED, why="no base"), "not tried: no base"),
    ],
)  # fmt: skip
def test_the_jit_level_in_words(jit: Jit, words: str) -> None:
    assert outlook.jit_words(jit).startswith(words)
