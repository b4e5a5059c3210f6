"""An index that answers in every bad way: whoever asks it says so in words, soon, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import hostile
from fitting import KNOWN
from hostile import Hostile
from retread import limits
from retread.doors.net import asking, transfer
from retread.errors import FetchError, RetreadError, ToolError
from retread.fit import listing
from tinycuda import SDIST, WHEEL, Project, Result

NEW = ("tinycuda-1.1.tar.gz", WHEEL.replace("1.0", "1.1"))
PAGES = tuple(hostile.pages(NEW))
FILES = tuple(hostile.files("x", b""))
COMMANDS = {
    "build": ("build", "tiny-1.0"),
    "watch": ("watch",),
    "bump": ("recipe", "bump", "tiny-1.0", "--to", "1.1"),
    "toolchain": ("toolchain", "check", "fake-12.8"),
}


@pytest.fixture(scope="module")
def _bad() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.stop()


@pytest.fixture
def bad(_bad: Hostile, project: Project, monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """Return the only index, with limits that are quick to reach; the project's pins are unchanged."""
    project.add_toolchain("8.0", "9.0a", "10.0")
    _bad.asked.clear()
    _bad.pages, _bad.files = hostile.page((SDIST, WHEEL)), hostile.absent
    monkeypatch.setenv("PIP_INDEX_URL", _bad.url)
    for name, value in {
        "PAGE": 1 << 20,
        "LINKS": 500,
        "DOWNLOAD": 1 << 20,
        "PACE_OVER": 0.05,
        "PAGE_TIME": 0.2,
    }.items():
        assert hasattr(limits, name)
        monkeypatch.setattr(limits, name, value)
    monkeypatch.setattr(limits, "PACE", 1 << 40)
    monkeypatch.setattr(asking, "WAITS", (0.0, 0.0))
    assert transfer.limits is limits
    return _bad


def _answer_well(bad: Hostile, project: Project, **more: object) -> None:
    """Let the index be as it should, but for what its pages say more."""
    index = project.index
    bad.pages = lambda here, path: hostile.page(index.files.get(path.split("/")[2], ()), **more)(here, path)
    bad.files = lambda _, path: [
        hostile.http(index.content(path.rpartition("/")[2]) or b"", "application/zip")
    ]


def _sound(result: Result) -> str:
    """Check what holds of every end: a known exit code, no traceback, no escapes, no password; return what was said."""
    said = result.out + result.err
    assert result.code != 1, said
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert "s3cret" not in said
    return said


def _fit(address: str) -> set[str]:
    """Return which files fit is offered; none where it is told why not."""
    try:
        return {one.file for there in listing.listed(address, KNOWN, {}) for one in there.offers}
    except RetreadError as error:
        said = str(error)
    assert "s3cret" not in said
    return set()


@pytest.mark.parametrize("name", PAGES)
def test_a_bad_page_is_told(bad: Hostile, project: Project, name: str) -> None:
    bad.pages = hostile.pages((SDIST, WHEEL))[name]
    said = {command: _sound(project.run(*words)) for command, words in COMMANDS.items()}
    assert "retread: " in said["build"]
    assert SDIST in said["build"]
    assert project.leftovers() == []
    assert project.partials() == []
    bad.pages = hostile.pages(("demo-1.3-py3-none-any.whl",))[name]
    assert _fit(bad.url) <= {"demo-1.3-py3-none-any.whl"}
    assert {one.path for one in bad.asked if one.path.startswith(hostile.FAR) and one.secret} == set()


@pytest.mark.parametrize("name", ["an empty page", "names with escapes"])
def test_a_lock_is_not_written_of_a_bad_page(
    bad: Hostile, project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for name_ in ("HOME", "XDG_CACHE_HOME"):  # where uv keeps pages
        monkeypatch.setenv(name_, str(project.root / "home"))
    project.edit_recipe(
        'ptx = ["8.0"]', 'ptx = ["8.0"]\nbuild = { python = ">=3.10", requires = ["tinycuda==1.1"] }'
    )
    bad.pages = hostile.pages(NEW)[name]
    result = project.run("recipe", "lock", "tiny-1.0")
    assert result.code == ToolError.exit_code, result
    assert "tinycuda" in _sound(result)
    assert not list((project.root / "recipes").rglob("*.lock"))


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_told_and_the_right_one_is_taken_then(
    bad: Hostile, project: Project, name: str
) -> None:
    right = project.index.content(SDIST)
    assert right
    bad.files = hostile.files(SDIST, right)[name]
    result = project.build()
    assert f"{SDIST}" in _sound(result)
    assert result.code == FetchError.exit_code, result
    assert project.leftovers() == []
    _answer_well(bad, project)
    assert project.build().code == 0


@pytest.mark.parametrize(("times", "code"), [(1, 0), (2, 0), (3, FetchError.exit_code)])
def test_a_server_at_fault_is_asked_again_with_patience(
    bad: Hostile, project: Project, times: int, code: int
) -> None:
    _answer_well(bad, project)
    bad.pages = hostile.first(times, hostile.broken, bad.pages)
    bad.files = hostile.first(times, hostile.broken, bad.files)
    result = project.build()
    assert result.code == code, result
    if code:
        assert "the server answered 500 Internal Server Error" in result.err
        assert len([one for one in bad.asked if one.path == "/simple/tinycuda/"]) == 3


def test_what_is_yanked_is_still_what_is_pinned_and_never_offered(bad: Hostile, project: Project) -> None:
    there = (*project.index.files["tinycuda"], *project.index.files["fakenvcc"], *NEW)
    yanked = [
        {"filename": one, "url": f"../../files/{one}", "hashes": {}, "yanked": "wrong"} for one in there
    ]
    _answer_well(bad, project, files=yanked)
    assert project.build().code == 0
    assert "1.1" not in _sound(project.run("watch"))


def test_a_password_does_not_follow_to_another_host(bad: Hostile, project: Project) -> None:
    other = Hostile()
    try:
        bad.files = lambda _, path: [
            hostile.http(b"", hostile.HTML, "302 Found", f"Location: http://{other.host}{hostile.FAR}x")
        ]
        _sound(project.build())
        assert [one.secret for one in other.asked] == [False]
        assert all(one.secret for one in bad.asked)
    finally:
        other.stop()
