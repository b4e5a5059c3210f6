"""Where a release's commit comes from, and what a bump says when it is not there, or is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycuda import FILES, OPS, SDIST, WHEEL, Project, commit, diff, git, ops
from upcoming import Next


@pytest.fixture
def upcoming(project: Project, tmp_path: Path) -> Next:
    return Next(project, tmp_path)


def test_a_commit_is_only_looked_at(upcoming: Next) -> None:
    gone, first = diff("README.md", FILES["README.md"], "# other\n"), ops(VALUE_3=30)
    inner = diff("third_party/lib/LICENSE", "do what you like\n", "do what you want\n")
    upcoming.project.series(diff(OPS, FILES[OPS], first), gone, inner)
    upcoming.release({path: text for path, text in FILES.items() if path != "README.md"})
    sha = git(upcoming.clone, "rev-parse", "HEAD").strip()
    before = upcoming.state()
    line = ("recipe", "bump", "tinycuda-1.0", "--to", sha, "--repository", str(upcoming.clone))
    result = upcoming.project.run(*line)
    assert result.code == 5, result
    assert "0001-change.patch: clean, kept" in result.out
    assert "0002-change.patch: target deleted, open" in result.out
    assert "0003-change.patch: clean, kept" in result.out
    result = upcoming.project.run(*line, "--accept", "deleted:2")
    assert (result.code, "written" in result.out) == (0, False), result
    assert upcoming.state() == before
    assert upcoming.project.leftovers() == []


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        ("1234567", 7, "the index has no source archive"),
        ("deadbeef", 2, "a commit has 40 digits"),
        ("newest", 2, "is neither a version nor a commit"),
        ("1" * 40, 4, f"has none of {'1' * 40}"),
    ],
)
def test_what_is_no_release_and_no_commit_is_told(upcoming: Next, to: str, code: int, said: str) -> None:
    before = upcoming.state()
    result = upcoming.project.run("recipe", "bump", "tinycuda-1.0", "--to", to)
    assert result.code == code, result
    assert said in result.err
    assert upcoming.state() == before


def test_a_tag_that_moved_is_told_and_the_commit_can_be_named(upcoming: Next) -> None:
    upcoming.release(FILES)
    (upcoming.clone / "setup.py").write_text("import later\n")
    git(upcoming.clone, "commit", "--quiet", "--all", "--message", "later")
    git(upcoming.clone, "tag", "--force", "v1.1")
    upcoming.refused(4, said=("setup.py: differs from the commit's", "the tag may have moved", "--tag"))
    code, _, told = upcoming.bump("--tag", git(upcoming.clone, "rev-parse", "HEAD~1").strip())
    assert code == 0, told


def test_a_repository_that_is_not_the_pinned_one_is_told(upcoming: Next, tmp_path: Path) -> None:
    upcoming.release(FILES)
    other = tmp_path / "other"
    commit(other, {"setup.py": "import other\n"})
    git(other, "tag", "v1.1")
    pinned = upcoming.project.upstream.commit[:12]
    said = (f"has not the commit {pinned} that tinycuda-1.0 pins", "is it the right repository?")
    upcoming.refused(4, "--repository", str(other), said=said)


def test_a_repository_that_cannot_be_reached_is_told_and_nothing_is_lost(upcoming: Next) -> None:
    upcoming.release(FILES)
    address = upcoming.project.index.url.partition("/simple")[0]
    upcoming.refused(
        7, "--repository", f"{address}/nowhere.git", said=("cannot be asked for refs/tags/v1.1",)
    )
    upcoming.refused(7, "--repository", "/nowhere", said=("does not appear to be a git repository",))
    assert upcoming.bump()[0] == 0


def test_the_proof_at_hand_is_enough(upcoming: Next) -> None:
    upcoming.release(FILES)
    code, data, told = upcoming.bump()
    assert code == 0, told
    for path in ("recipes/tinycuda-1.1.toml", "patches/tinycuda/1.1/series"):
        (upcoming.project.root / path).unlink()
    sha = git(upcoming.clone, "rev-parse", "HEAD").strip()
    (upcoming.project.root / "patches/tinycuda/1.1/0001-change.patch").unlink()
    code, again, told = upcoming.bump("--repository", "/nowhere", "--tag", sha)
    assert code == 0, told
    assert again["written"] == data["written"]


def test_a_patch_follows_a_file_that_was_renamed(upcoming: Next) -> None:
    upcoming.project.series(diff(OPS, FILES[OPS], ops(VALUE_3=30)))
    files = {**FILES, "tinycuda/moved.py": FILES[OPS]}
    del files[OPS]
    upcoming.release(files)
    upcoming.refused(5, said=("0001-change.patch: target renamed",))
    code, _, told = upcoming.bump("--accept", "renamed:1")
    assert code == 0, told
    assert "+++ b/tinycuda/moved.py\n" in (upcoming.series / "1.1" / "0001-change.patch").read_text()


@pytest.mark.parametrize(
    "case", ["deleted upstream", "added upstream, too", "deleted by the patch", "renamed upstream"]
)
def test_a_file_that_comes_goes_or_is_renamed_is_solved_once(upcoming: Next, case: str) -> None:
    new, other, files = "tinycuda/new.py", "NEW = 2\n", dict(FILES)
    patch, path, final = diff(OPS, FILES[OPS], ops(VALUE_3=30)), OPS, ops(VALUE_3=300)
    if case == "deleted upstream":
        del files[OPS]
    elif case == "added upstream, too":
        patch, path, final, files[new] = diff(new, "", "NEW = 1\n"), new, "NEW = 12\n", other
    elif case == "deleted by the patch":
        patch, files[OPS], final = diff(OPS, FILES[OPS], ""), ops(VALUE_3=33), ""
    else:
        path, files["tinycuda/moved.py"] = "tinycuda/moved.py", ops(VALUE_3=33)
        del files[OPS]
    upcoming.project.series(patch)
    upcoming.release(files)
    code, _, told = upcoming.bump("--edit")
    assert code == 5, told
    (place,) = (one for one in (upcoming.project.store / "worktrees").iterdir() if one.is_dir())
    if final:
        (place / path).write_text(final)
    else:
        (place / path).unlink(missing_ok=True)
    git(place, "add", "--all")
    code, data, told = upcoming.bump("--continue")
    assert code == 0, told
    assert [one for one in data["written"] if "resolutions" in one], told
    first = (upcoming.series / "1.1" / "0001-change.patch").read_bytes()
    undo = ("recipe", "bump", "tinycuda-1.0", "--to", "1.1", "--undo")
    assert upcoming.project.run(*undo).code == 0
    code, data, told = upcoming.bump()
    assert code == 0, (data, told)
    assert [one["fate"] for one in data["patches"]] == ["resolved as before"]
    assert (upcoming.series / "1.1" / "0001-change.patch").read_bytes() == first
    assert upcoming.project.run(*undo).code == 0
    code, data, told = upcoming.bump("--edit", "--exec", "true")
    assert "the rebase went through" in told, told


@pytest.mark.parametrize("under_way", [False, True])
@pytest.mark.parametrize("file", [SDIST, WHEEL])
def test_a_download_that_breaks_loses_nothing_and_is_gone_on_with(
    upcoming: Next, file: str, under_way: bool
) -> None:
    new, index = file.replace("1.0", "1.1"), upcoming.project.index
    first = ops(VALUE_3=30)
    upcoming.project.series(diff(OPS, FILES[OPS], first))
    upcoming.release({**FILES, OPS: ops(VALUE_3=33) if under_way else FILES[OPS]})
    if under_way and file == WHEEL:
        assert upcoming.bump("--edit")[0] == 5
        (place,) = (one for one in (upcoming.project.store / "worktrees").iterdir() if one.is_dir())
        (place / OPS).write_text(ops(VALUE_3=333))
        git(place, "add", "--all")
    way = ["--continue"] if under_way and file == WHEEL else ["--edit"] if under_way else []
    before, index.drop_once[new] = upcoming.state(), 100
    code, _, told = upcoming.bump(*way)
    assert code == 7, told
    assert f"the download of {new} stopped after 100 bytes" in told
    assert "run the same command again; it goes on from there" in told
    assert upcoming.state() == before
    code, data, told = upcoming.bump(*way)
    assert code == (5 if way == ["--edit"] else 0), told
    assert [one.range for one in index.asked_for(new)] == ["", "bytes=100-"]
    assert bool(data["written"]) is (way != ["--edit"])
