"""Where a release's commit comes from, and what a bump says when it is not there, or is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinycuda import FILES, OPS, Project, commit, diff, git, ops
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
