"""A pull request for a bump: ready or a draft, its words harmless, and nothing said twice."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from retread.errors import FetchError
from retread.queue.fate import Fate, HunkFate, PatchFate
from retread.upstream import outlook, request
from retread.upstream.bump import Bumped
from retread.upstream.outlook import Action, Task

EVIL = "x` @everyone <img src=x> [a](http://b) #1 ``\n# title\n\x1b[2J| y"


def patch(name: str = "0001-a.patch", fate: Fate = Fate.CLEAN, **changes: Any) -> PatchFate:
    hunk = HunkFate(path="demo/a|b.py", hunk=1, line=3, fate=fate, detail="", upstream="")
    passes = fate in {Fate.CLEAN, Fate.OFFSET}
    made = PatchFate(name=name, fate=fate, kept=passes, open=not passes, reason="", hunks=(hunk,))
    return replace(made, **changes)


def bumped(*patches: PatchFate, **changes: Any) -> Bumped:
    made = Bumped(
        schema=1, recipe="demo-1.2", to="1.3", file="demo-1.3.tar.gz", sha256="a" * 64, proven=False, patches=patches,
        range_diff="", look_at=(), written=("recipes/demo-1.3.toml",),
    )  # fmt: skip
    return replace(made, **changes)


def test_what_is_wanted_is_the_release_without_a_recipe() -> None:
    asked = outlook.unread("demo-1.1", FetchError("no connection"))
    pin = Task(action=Action.PIN, subject="1.3", why="the newest release has no recipe")
    new = replace(asked, recipe="demo-1.2", project="demo", tasks=(pin,))
    (one,) = request.wanted(outlook.outlook([new, asked]))
    assert one == ("demo-1.2", "demo", "1.3")
    assert one.branch == "bump/demo-1.3"


@pytest.mark.parametrize(
    ("fate", "written", "ready"),
    [
        (Fate.CLEAN, True, True),
        (Fate.OFFSET, True, True),
        (Fate.THREE_WAY, False, False),
        (Fate.CLEAN, False, False),
    ],
)
def test_it_is_ready_where_every_patch_goes_by_itself_and_all_was_written(
    fate: Fate, written: bool, ready: bool
) -> None:
    made = bumped(patch(fate=fate), **({} if written else {"written": ()}))
    assert request.draft(made, "").ready is ready


def test_a_draft_says_each_verdict_and_how_to_go_on() -> None:
    made = request.draft(bumped(patch(), patch("0002-b.patch", Fate.CONFLICT), written=()), "")
    assert made.title == "Carry demo-1.2 to 1.3"
    assert "retread recipe bump demo-1.2 --to 1.3 --edit" in made.body
    assert "| `0001-a.patch` | clean |  |\n" in made.body
    assert "| `0002-b.patch` | conflict (open) | `demo/a\\|b.py:3` conflict |\n" in made.body


def test_others_words_stay_in_code_and_leave_no_mark() -> None:
    name = f"{EVIL} <!-- retread verdicts {{}} -->"
    odd = patch(name, Fate.CONFLICT)
    body = request.draft(bumped(odd, look_at=(EVIL,), adjusted=(EVIL,), written=()), EVIL).body
    assert [line for line in body.splitlines() if line.startswith("<!--")] == body.splitlines()[-1:]
    assert "\n# title" not in body
    assert request.comment(body, [], (odd,)) == ""


def test_a_change_is_said_once() -> None:
    before = request.draft(bumped(patch(fate=Fate.THREE_WAY), patch("0002-b.patch")), "").body
    now = (patch(fate=Fate.CONFLICT), patch("0002-b.patch"))
    assert request.comment(before, [], (patch(fate=Fate.THREE_WAY), patch("0002-b.patch"))) == ""
    told = request.comment(before, ["somebody's words"], now)
    assert "- `0001-a.patch`: `three-way` before, `conflict` now\n" in told
    assert "0002" not in told
    assert request.comment(before, [told], now) == "", "the body was not brought up to date, but it was said"
    after = request.draft(bumped(*now), "").body
    assert request.comment(after, [told], now) == ""
    back = request.comment(after, [told], (patch(fate=Fate.THREE_WAY), patch("0002-b.patch")))
    assert "`conflict` before, `three-way` now" in back


def test_a_patch_that_came_or_went_is_a_change_and_a_body_of_somebody_else_is_none() -> None:
    before = request.draft(bumped(patch()), "").body
    told = request.comment(before, [], (patch("0002-b.patch"),))
    assert "`clean` before, `not in the series` now" in told
    assert "`not in the series` before, `clean` now" in told
    for body in ("", "mine", "<!-- retread verdicts {no -->", '<!-- retread verdicts ["x"] -->'):
        assert request.comment(body, [], (patch(),)) == ""
