"""Downloads that go wrong: one message, nothing left but what can be resumed."""

from __future__ import annotations

import pytest

from loopback import Index
from tinycuda import (
    SDIST,
    WHEEL,
    Project,
)


def test_a_digest_in_the_recipe_that_no_file_has(project: Project) -> None:
    wheel = project.index.files["tinycuda"][WHEEL]
    pinned = project.recipe_text.split(WHEEL)[1].split('"')[2]
    assert len(pinned) == 64
    project.edit_recipe(pinned, "0" * 64)
    project.fails(7, f"{WHEEL} could not be found", f"its {WHEEL} has sha256 ", f"pinned is {64 * '0'}")
    project.index.digests = {WHEEL: ""}
    project.fails(7, f"{WHEEL} is not what the recipe pins", "0" * 64, pinned, f"({len(wheel):,} bytes)")


@pytest.mark.parametrize("file", [SDIST, WHEEL])
@pytest.mark.parametrize("fault", ["wrong bytes", "403", "404", "500", "no project", "no index"])
def test_a_download_that_fails_leaves_nothing(
    project: Project, index: Index, monkeypatch: pytest.MonkeyPatch, file: str, fault: str
) -> None:
    match fault:
        case "wrong bytes":
            index.wrong = {file: b"wrong"}
            words = "is not what the recipe pins"
        case "no project":
            del index.files["tinycuda"][file]
            words = f"has no file {file}"
        case "no index":
            monkeypatch.setenv("UV_OFFLINE", "1")
            words = "no index is configured"
        case status:
            index.status = {f"/files/{file}": int(status)}
            words = f"the server answered {status}"
    result = project.fails(7, "retread: fetch: ", words)
    assert file in result.err or fault == "no index"
    assert "next: " in result.err


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_is_lost_is_taken_up_again(project: Project, index: Index, ranges: bool) -> None:
    index.drop_once, index.ranges = {WHEEL: 3_500}, ranges
    project.fails(7, f"the download of {WHEEL} stopped after 3,500 bytes", partial=True)
    assert [path.stat().st_size for path in project.partials()] == [3500]
    assert project.build().code == 0
    last = index.asked_for(WHEEL)[-1]
    assert (last.range, last.status) == ("bytes=3500-", 206 if ranges else 200)
    assert project.partials() == []
