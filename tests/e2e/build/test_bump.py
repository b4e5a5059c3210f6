"""A recipe carried to the next release: from the index and the repository alone, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patchwork import killed
from tinycuda import (
    FILES,
    OPS,
    WHEEL,
    Project,
    diff,
    git,
    ops,
)  # fmt: skip
from upcoming import Next
from winbase import add_base


@pytest.fixture
def upcoming(project: Project, tmp_path: Path) -> Next:
    return Next(project, tmp_path)


def test_a_series_that_goes_by_itself_makes_a_recipe_that_builds(upcoming: Next) -> None:
    upcoming.project.series(diff(OPS, FILES[OPS], ops(VALUE_20=2)))
    upcoming.release({**FILES, OPS: "ADDED = 0\n" + FILES[OPS]})
    code, data, told = upcoming.bump()
    assert code == 0, told
    commit = git(upcoming.clone, "rev-parse", "HEAD").strip()
    assert data["written"] == [
        "patches/tinycuda/1.1/series",
        "patches/tinycuda/1.1/0001-change.patch",
        f"recipes/commits/tinycuda-{commit[:12]}.tree",
        f"recipes/commits/lib-{upcoming.project.upstream.inner_commit[:12]}.tree",
        "recipes/tinycuda-1.1.toml",
    ]
    text = (upcoming.project.root / "recipes" / "tinycuda-1.1.toml").read_text()
    assert f'commit = "{commit}"' in text
    assert 'name = "tinycuda-1.1"' in text
    assert "@@ -18,7 +18,7 @@" in (upcoming.series / "1.1" / "0001-change.patch").read_text()
    for line in (
        ("recipe", "check"),
        ("patch", "check", "tinycuda-1.1"),
        ("patch", "refresh", "tinycuda-1.1", "--check"),
    ):
        result = upcoming.project.run(*line)
        assert result.code == 0, result
    assert "1:  " in str(data["range_diff"])
    again, data, _ = upcoming.bump()
    assert again == 0
    assert data["proven"]
    assert data["written"] == []


def test_a_release_without_a_wheel_for_windows_is_carried_without_that_platform(
    project: Project, tmp_path: Path
) -> None:
    add_base(project)
    upcoming = Next(project, tmp_path)
    upcoming.release(FILES)
    code, data, told = upcoming.bump()
    assert code == 0, told
    assert data["look_at"] == [
        "targets.cu128: the release has no wheel for win_amd64, so the target is not made for it any more, and what "
        "the recipe said for it is left out: nothing compiles for that platform"
    ]
    assert "win_amd64" not in (project.root / "recipes" / "tinycuda-1.1.toml").read_text()
    assert project.run("recipe", "check").code == 0
    assert [
        line.split()[1] for line in project.run("recipe", "list").out.splitlines() if "cu128" in line
    ] == [
        "x86_64",
        "win_amd64",
        "x86_64",
    ]


def test_a_conflict_writes_nothing_and_a_skip_says_why(upcoming: Next) -> None:
    upcoming.project.series(
        diff(OPS, FILES[OPS], ops(VALUE_3=30)), diff(OPS, ops(VALUE_3=30), ops(VALUE_3=30, VALUE_30=3))
    )
    upcoming.release({**FILES, OPS: ops(VALUE_3=33)})
    upcoming.refused(5, said=("0001-change.patch: conflict", "nothing was written"))
    shown = upcoming.bump()[1]["patches"]
    day = "2023-11-14"
    assert isinstance(shown, list)
    assert f" {day} second\n@@ -1,6 +1,6 @@" in shown[0]["hunks"][0]["upstream"]
    assert "-VALUE_3 = 3\n+VALUE_3 = 33\n" in shown[0]["hunks"][0]["upstream"]
    upcoming.refused(5, "--accept", "three-way:1", said=("0001-change.patch: conflict",))
    upcoming.refused(2, "--accept", "conflict:1", said=("accepts nothing", "three-way, upstream"))
    upcoming.refused(2, "--skip", "1", said=("say of each patch why",))
    upcoming.refused(2, "--skip", "9", "--because", "x", said=("has no patch '9'",))
    code, _, told = upcoming.bump("--skip", "1", "--because", "upstream says 33")
    assert code == 0, told
    listed = (upcoming.series / "1.1" / "series").read_text()
    assert listed == "# change.patch was dropped: upstream says 33\n0001-change.patch\n"
    assert upcoming.project.run("patch", "check", "tinycuda-1.1").code == 0


def test_what_upstream_took_is_dropped_when_that_is_accepted(upcoming: Next) -> None:
    upcoming.release({**FILES, OPS: ops(VALUE_3=30)})
    upcoming.refused(5, said=("0001-change.patch: already upstream",))
    code, _, told = upcoming.bump("--accept", "upstream:0001")
    assert code == 0, told
    assert (
        upcoming.series / "1.1" / "series"
    ).read_text() == "# change.patch was dropped: already upstream, accepted\n"


def test_check_writes_nothing(upcoming: Next) -> None:
    upcoming.release(FILES)
    before = upcoming.state()
    code, data, _ = upcoming.bump("--check")
    assert (code, data["written"]) == (0, [])
    assert upcoming.state() == before


def test_an_archive_that_is_not_the_tag_is_refused(upcoming: Next) -> None:
    upcoming.release(FILES, sdist={**FILES, "setup.py": "import evil\n"})
    upcoming.refused(4, said=("is not the commit", "setup.py: differs from the commit's"))


def test_a_tag_that_is_not_there_is_told(upcoming: Next) -> None:
    upcoming.release(FILES, tag="other")
    upcoming.refused(4, said=("has none of refs/tags/v1.1, refs/tags/1.1", "--tag"))
    code, _, told = upcoming.bump("--tag", "refs/tags/other")
    assert code == 0, told


def test_a_release_that_the_index_lacks_is_told(upcoming: Next) -> None:
    upcoming.refused(7, said=("no source archive of tinycuda 1.1", "are 1.0"))
    upcoming.release(FILES)
    del upcoming.project.index.files["tinycuda"][WHEEL.replace("1.0", "1.1")]
    upcoming.refused(7, said=("tinycuda 1.1 lacks base wheels", WHEEL))


def test_a_foreign_file_in_the_way_is_not_overwritten(upcoming: Next) -> None:
    upcoming.release(FILES)
    (upcoming.series / "1.1").mkdir()
    (upcoming.series / "1.1" / "series").write_text("# mine\n")
    upcoming.refused(2, said=("patches/tinycuda/1.1/series: there already",))
    shutil.rmtree(upcoming.series / "1.1")
    assert upcoming.bump()[0] == 0


def _two(upcoming: Next) -> Path:
    """Return the worktree of a bump that stops at the first of two patches, which is in conflict."""
    first, both = ops(VALUE_3=30), ops(VALUE_3=30, VALUE_30=3)
    upcoming.project.series(diff(OPS, FILES[OPS], first), diff(OPS, first, both))
    upcoming.release({**FILES, OPS: ops(VALUE_3=33)})
    code, data, told = upcoming.bump("--edit")
    assert code == 5, told
    assert data["written"] == []
    assert "a rebase stops at 'Change 0001-change.patch'" in told
    (place,) = (path for path in (upcoming.project.store / "worktrees").iterdir() if path.is_dir())
    return place


def test_a_conflict_is_solved_in_a_worktree_and_gone_on_from(upcoming: Next) -> None:
    place = _two(upcoming)
    assert "<<<<<<<" in (place / OPS).read_text()
    upcoming.refused(5, "--continue", said=("a rebase is under way",))
    upcoming.refused(2, said=("is under way in", "--continue", "--abort"))
    upcoming.refused(2, "--edit", said=("is under way in",))
    (place / OPS).write_text(ops(VALUE_3=333))
    git(place, "add", OPS)
    git(place, "-c", "core.editor=true", "rebase", "--continue")
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert [(one["fate"], one["reason"]) for one in data["patches"]] == [
        ("conflict", "by hand"),
        ("clean", ""),
    ]
    old, new = (upcoming.series / version for version in ("1.0", "1.1"))
    assert (new / "series").read_text() == (old / "series").read_text()
    header = (old / "0001-change.patch").read_text().partition("\n---\n")[0]
    assert (new / "0001-change.patch").read_text().startswith(f"{header}\n---\n")
    assert "-VALUE_3 = 33\n+VALUE_3 = 333\n" in (new / "0001-change.patch").read_text()
    assert (new / "0002-change.patch").read_bytes() == (old / "0002-change.patch").read_bytes()
    assert not place.exists()
    assert upcoming.project.run("patch", "check", "tinycuda-1.1").code == 0


def test_two_commits_tell_what_retread_made_from_what_a_person_did(
    upcoming: Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = upcoming.project.root
    place = _two(upcoming)
    (place / OPS).write_text(ops(VALUE_3=333))
    git(place, "add", OPS)
    monkeypatch.setenv("EMAIL", "me@example")
    git(root, "init", "--quiet")
    git(root, "add", "recipes", "patches")
    git(root, "commit", "--quiet", "--message", "first")
    (root / "mine").write_text("of another matter\n")
    git(root, "add", "mine")
    code, data, told = upcoming.bump("--continue", "--commit")
    assert code == 0, told
    assert git(root, "log", "--format=%s", "-2").splitlines() == [
        "Solve what conflicts, tinycuda-1.0 to 1.1", "Carry tinycuda-1.0 to 1.1",
    ]  # fmt: skip
    second, first = git(root, "log", "--format=%H", "-2").split()
    assert data["commits"] == [first, second]
    solved = "patches/tinycuda/1.1/0001-change.patch"
    by_hand = git(root, "show", "--name-only", "--format=", second).split()
    assert solved in by_hand
    assert {path.rpartition("/")[0] for path in by_hand} == {
        "patches/tinycuda/1.1",
        "patches/tinycuda/resolutions",
    }
    assert (
        git(root, "show", f"{first}:{solved}") == (upcoming.series / "1.0" / "0001-change.patch").read_text()
    )
    assert git(root, "status", "--porcelain", "recipes", "patches", "mine") == "A  mine\n"


def test_nothing_is_committed_outside_of_a_repository(upcoming: Next) -> None:
    upcoming.project.series(diff(OPS, FILES[OPS], ops(VALUE_20=2)))
    upcoming.release({**FILES, OPS: "ADDED = 0\n" + FILES[OPS]})
    result = upcoming.project.run(
        "recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--commit", "--repository", str(upcoming.clone)
    )
    assert result.code == 2
    assert "git does not commit in" in result.err
    assert "not a git repository" in result.err
    assert (upcoming.project.root / "recipes" / "tinycuda-1.1.toml").is_file()


def test_a_conflict_that_was_solved_is_not_asked_for_again(upcoming: Next) -> None:
    place = _two(upcoming)
    (place / OPS).write_text(ops(VALUE_3=333))
    git(place, "add", OPS)
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert [one for one in data["written"] if "resolutions" in one]
    first = (upcoming.series / "1.1" / "0001-change.patch").read_bytes()
    undo = ("recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--undo")
    assert upcoming.project.run(*undo).code == 0
    code, data, told = upcoming.bump("--check")
    assert code == 0, told
    assert [(one["fate"], one["open"]) for one in data["patches"]] == [
        ("resolved as before", False),
        ("clean", False),
    ]
    code, data, told = upcoming.bump("--edit", "--exec", "true")
    assert (code, "the rebase went through" in told) == (0, True), told
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert (upcoming.series / "1.1" / "0001-change.patch").read_bytes() == first
    assert upcoming.project.run(*undo).code == 0
    (kept,) = (upcoming.project.root / "patches/tinycuda/resolutions").iterdir()
    kept.write_bytes(b"{}")
    upcoming.refused(5, said=(f"resolutions/{kept.name}", "remove it"))


def test_what_was_changed_outside_of_a_conflict_too_is_not_kept(upcoming: Next) -> None:
    place = _two(upcoming)
    (place / OPS).write_text(ops(VALUE_3=333))
    (place / "README.md").write_text("# changed by the way\n")
    git(place, "add", "--all")
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert "0001-change.patch: changed outside of its conflicts, too, so they are not kept" in told
    assert not [one for one in data["written"] if "resolutions" in one]


def test_what_is_left_out_while_a_bump_is_under_way_is_left_out_of_that_one(upcoming: Next) -> None:
    _two(upcoming)
    code, data, told = upcoming.bump("--skip", "1", "--because", "no more")
    assert code == 0, told
    assert [(one["name"], one["kept"]) for one in data["patches"]] == [
        ("0001-change.patch", False),
        ("0002-change.patch", True),
    ]
    assert "was dropped: no more" in (upcoming.series / "1.1" / "series").read_text()


def test_who_goes_on_looks_at_every_stop(upcoming: Next) -> None:
    first, both = ops(VALUE_10=0), ops(VALUE_10=0, VALUE_30=0)
    upcoming.project.series(diff(OPS, FILES[OPS], first), diff(OPS, first, both))
    upcoming.release({**FILES, OPS: ops(VALUE_8=8888, VALUE_28=2828)})
    code, _, told = upcoming.bump("--edit")
    assert (code, "a rebase stops at 'Change 0001" in told) == (5, True), told
    upcoming.refused(5, "--continue", said=("a rebase is under way",))
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert [(one["fate"], one["reason"]) for one in data["patches"]] == [("three-way", "by hand")] * 2


def test_a_patch_that_is_skipped_in_the_rebase_needs_a_reason(upcoming: Next) -> None:
    place = _two(upcoming)
    git(place, "rebase", "--skip")
    upcoming.refused(5, "--continue", said=("0001-change.patch left no commit", "--because"))
    code, _, told = upcoming.bump("--continue", "--skip", "1", "--because", "no more")
    assert code == 0, told
    assert "was dropped: no more" in (upcoming.series / "1.1" / "series").read_text()


def test_a_series_that_changed_under_a_bump_is_told(upcoming: Next) -> None:
    place = _two(upcoming)
    git(place, "rebase", "--skip")
    file = upcoming.series / "1.0" / "0002-change.patch"
    file.write_bytes(file.read_bytes().replace(b"everyone", b"nobody"))
    upcoming.refused(5, "--continue", said=("changed since the bump began",))


def test_a_pin_that_changed_under_a_bump_is_told(upcoming: Next) -> None:
    _two(upcoming)
    recipe = upcoming.project.root / "recipes" / "tinycuda-1.0.toml"
    recipe.write_text(recipe.read_text().replace("written by setuptools", "somebody says so"))
    upcoming.refused(5, "--continue", said=("pins another source than when the bump began", "--abort"))


def test_a_merge_that_git_could_do_stops_all_the_same(upcoming: Next) -> None:
    upcoming.release({**FILES, OPS: ops(VALUE_5=55)})
    code, _, told = upcoming.bump("--edit")
    assert (code, "0001-change.patch: three-way" in told) == (5, True)
    (place,) = (path for path in (upcoming.project.store / "worktrees").iterdir() if path.is_dir())
    assert (place / ".git" / "rebase-merge").is_dir()
    git(place, "rebase", "--continue")
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert [(one["fate"], one["reason"]) for one in data["patches"]] == [("three-way", "by hand")]


def test_abort_leaves_everything_as_it_was(upcoming: Next) -> None:
    upcoming.refused(2, "--abort", said=("no bump to 1.1 is under way",))
    place = _two(upcoming)
    before = upcoming.state()
    result = upcoming.project.run("recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--abort")
    assert (result.code, result.out) == (0, f"{place}\n")
    assert not place.exists()
    assert upcoming.state() == before


def test_undo_removes_what_was_written_unless_it_changed(upcoming: Next) -> None:
    upcoming.release(FILES)
    line = ("recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--undo")
    assert upcoming.project.run(*line).code == 2
    before = upcoming.state()
    _, data, _ = upcoming.bump()
    file = upcoming.series / "1.1" / "series"
    listed = file.read_bytes()
    file.write_bytes(b"# mine\n" + listed)
    result = upcoming.project.run(*line)
    assert result.code == 5
    assert "patches/tinycuda/1.1/series changed since the bump; nothing was removed" in result.err
    file.write_bytes(listed)
    result = upcoming.project.run(*line)
    assert result.code == 0
    inner = upcoming.project.upstream.inner_commit[:12]
    kept = [f"recipes/commits/lib-{inner}.tree"]
    assert isinstance(data["written"], list)
    assert sorted([*result.out.splitlines(), *kept]) == sorted(data["written"])
    assert upcoming.state() == before


def test_a_command_after_each_patch_stops_where_it_fails_and_keeps_what_is_done(upcoming: Next) -> None:
    first, both = ops(VALUE_3=30), ops(VALUE_3=30, VALUE_30=3)
    upcoming.project.series(diff(OPS, FILES[OPS], first), diff(OPS, first, both))
    upcoming.release({**FILES, "README.md": "# other\n"})
    upcoming.refused(2, "--exec", "true", said=("--exec runs in the rebase of --edit",))
    code, _, told = upcoming.bump("--edit", "--exec", f"! grep -qx 'VALUE_30 = 3' {OPS}")
    assert code == 0, told
    assert "a rebase stops at 'Change 0002-change.patch'" in told
    (place,) = (path for path in (upcoming.project.store / "worktrees").iterdir() if path.is_dir())
    assert git(place, "log", "-2", "--format=%s").splitlines() == [
        f"Change 000{at}-change.patch" for at in (2, 1)
    ]
    git(place, "rebase", "--continue")
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert data["written"]


@pytest.mark.slow
def test_killed_at_any_write_the_same_command_goes_on_and_undo_leads_back(upcoming: Next) -> None:
    upcoming.release(FILES)
    before, at, recipe = upcoming.state(), 0, "recipes/tinycuda-1.1.toml"
    while killed(upcoming.bump, at):
        if recipe in upcoming.state():
            assert upcoming.project.run("recipe", "check").code == 0
        code, _, told = upcoming.bump()
        assert code == 0, told
        assert not [path for path in upcoming.state() if path.endswith(".new")]
        line = ("recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--undo")
        assert upcoming.project.run(*line).code == 0
        assert upcoming.state() == before
        at += 4  # each of the few files is made in six steps
    assert at > 12


@pytest.mark.slow
def test_killed_at_any_write_of_a_continue_what_a_person_did_is_not_lost(
    upcoming: Next, tmp_path: Path
) -> None:
    before = upcoming.state()
    place = _two(upcoming)
    before |= upcoming.state()
    (place / OPS).write_text(ops(VALUE_3=333))
    git(place, "add", OPS)
    saved, at = tmp_path / "saved", 0
    shutil.copytree(place, saved)
    kept = upcoming.project.root / "patches/tinycuda/resolutions"
    line = ("recipe", "bump", "tinycuda-1.0", "--to", "1.1")
    while killed(lambda: upcoming.bump("--continue"), at):
        assert place.exists()
        if at % 3:
            code, _, told = upcoming.bump("--continue")
            assert code == 0, told
            assert not place.exists()
            assert "+VALUE_3 = 333\n" in (upcoming.series / "1.1" / "0001-change.patch").read_text()
            assert [path.suffix for path in kept.iterdir()] == [".json"]
        else:
            assert upcoming.project.run(*line, "--abort").code == 0
            assert not place.exists()
        undone = upcoming.project.run(*line, "--undo")
        assert undone.code == 0 or "there is nothing to undo" in undone.err
        shutil.rmtree(kept, ignore_errors=True)
        assert upcoming.state() == before
        shutil.copytree(saved, place)
        at += 4
    assert at > 12


def test_what_the_new_wheel_and_archive_hold_otherwise_is_taken_over_and_builds(upcoming: Next) -> None:
    upcoming.edit('torch = ">=2.8"', 'torch = "==2.8.0"')
    upcoming.edit('paths = ["PKG-INFO"]', 'paths = ["PKG-INFO", "tinycuda.egg-info/*"]')
    upcoming.project.series(diff(OPS, FILES[OPS], ops(VALUE_20=2)))
    upcoming.release({**FILES, "more/add.cu": FILES["csrc/add.cu"]})
    version = b'__version__ = "1.1"\n'
    upcoming.require("torch==2.9.1", **{"tinycuda/version.py": version, "tinycuda/made.py": b"MADE = 1\n"})
    code, data, told = upcoming.bump()
    assert code == 0, told
    assert data["adjusted"] == [
        "native-inputs: +more/**",
        "sdist.unproven: -tinycuda.egg-info/*",
        "targets.cu128.torch: ==2.8.0 -> ==2.9.1",
        "targets.cu128.generated: +tinycuda/made.py",
        'targets.cu128.edit: looks for "1.1" in tinycuda/version.py',
    ]
    assert data["look_at"] == []
    result = upcoming.project.run("build", "tinycuda-1.1")
    assert result.code == 0, result
