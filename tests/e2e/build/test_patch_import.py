"""Patches come in as upstream and distributions give them, and go out as they take them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from loopback import Index
from patchwork import FULL, MESSAGE, Work, commit, write
from tinycuda import FILES, OPS, Project, diff, git, ops

ALL = ["0001-change.patch", "0002-change.patch", "0003-change.patch"]
LAST = ops(VALUE_3=30, VALUE_30=3)
NEXT = ops(VALUE_3=30, VALUE_30=3, VALUE_20=2)
DIFF = diff(OPS, LAST, NEXT)
BARE = DIFF[DIFF.index("---") :].replace("a/", "", 1).replace("b/", "", 1)


@pytest.fixture
def work(project: Project) -> Work:
    return Work(project)


def _file(tmp_path: Path, text: str) -> str:
    (tmp_path / "some.patch").write_bytes(text.encode())
    return str(tmp_path / "some.patch")


@pytest.mark.parametrize(
    "text",
    [
        DIFF,
        DIFF[DIFF.index("---") :],
        BARE,
        f"Index: tinycuda/ops.py\n{67 * '='}\n{BARE}",
        f"Index: tiny/tinycuda/ops.py\n{67 * '='}\n"
        + BARE.replace("--- ", "--- tiny.orig/").replace("+++ ", "+++ tiny/"),
        BARE.replace("ops.py", "ops.py\t2026-11-28 10:00:00.000000000 +0000"),
    ],
    ids=["git", "a and b", "no prefix", "Index", "quilt", "times"],
)
def test_a_plain_diff_goes_in_whatever_its_paths_begin_with(work: Work, tmp_path: Path, text: str) -> None:
    origin = _file(tmp_path, text)
    work.done("import", origin, "--set", "Subject: Twenty", *FULL)
    assert work.listed() == [*ALL, "0004-twenty.patch"]
    assert b"diff --git a/tinycuda/ops.py b/tinycuda/ops.py\n" in work.state()["0004-twenty.patch"]
    assert work.source()[OPS] == NEXT
    assert work.project.run("patch", "check").code == 0


def test_mails_of_git_come_in_one_after_the_other(work: Work, tmp_path: Path) -> None:
    place = work.edit()
    write(place, OPS, NEXT)
    commit(place, MESSAGE.format(subject="Twenty is two"))
    write(place, "tinycuda/z.py", "Z = 1\n")
    commit(place, MESSAGE.format(subject="Größe"))
    box = git(place, "format-patch", "--stdout", "--cover-letter", "HEAD~2")
    work.done("edit", "--anew")
    result = work.run("import", _file(tmp_path, box))
    assert result.code == 0, result
    assert "left out: some.patch, mail 1: a cover letter" in result.err
    assert work.listed() == [*ALL, "0004-twenty-is-two.patch", "0005-gr-e.patch"]
    assert "Subject: Größe\n" in (work.folder / "0005-gr-e.patch").read_text()
    assert work.source()["tinycuda/z.py"] == "Z = 1\n"
    assert (place / "tinycuda/z.py").exists()
    work.done("import", "--undo")
    assert work.listed() == ALL
    work.refused(
        2, "import", _file(tmp_path, box), "--name", "x", said=("2 patches, and --name is one name",)
    )


def test_what_a_header_lacks_is_asked_for_and_nothing_is_written(work: Work, tmp_path: Path) -> None:
    origin = _file(tmp_path, "Description: Twenty\nUpstream-Status: Pending\n" + DIFF)
    words = (
        "0004-twenty.patch (some.patch): header: Breaks is missing", "Affects is missing", "Drop-when is missing",
    )  # fmt: skip
    told = work.refused(5, "import", origin, said=words)
    assert "Upstream is missing" not in told


def test_one_bad_mail_keeps_all_out(work: Work, tmp_path: Path) -> None:
    place = work.edit()
    write(place, OPS, NEXT)
    commit(place, MESSAGE.format(subject="Twenty"))
    box = git(place, "format-patch", "--stdout", "HEAD~1")
    work.done("edit", "--anew")
    evil = box.replace("tinycuda/ops.py", "../../evil.py")
    work.refused(5, "import", _file(tmp_path, box + evil), said=("mail 2", "leaves the source tree"))
    other = box.replace("-VALUE_20 = 20", "-VALUE_20 = 21")
    work.refused(5, "import", _file(tmp_path, box + other), said=("some.patch, mail 2 does not go in",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DIFF.replace("\n", "\r\n"), "CR LF"),
        (
            "diff --git a/x.bin b/x.bin\nnew file mode 100644\nindex 0000000..1\nGIT binary patch\nliteral 0\n",
            "binary",
        ),
        ("nothing\n", "holds no diff"),
        ("--- README.md\n+++ README.md\n@@ -1 +1 @@\n-x\n+y\n", "does not go in (README.md:1)"),
        (diff("../../evil.py", "", "X = 1\n"), "leaves the source tree"),
        (diff("tinycuda/l.py", "", "/etc/passwd\n").replace("100644", "120000"), "symbolic link"),
    ],
)
def test_what_no_series_may_hold_is_refused(work: Work, tmp_path: Path, text: str, words: str) -> None:
    work.refused(5, "import", _file(tmp_path, text), "--set", "Subject: x", *FULL, said=(words,))
    assert not (work.project.root.parent / "evil.py").exists()


def test_an_address_is_pinned(work: Work, index: Index) -> None:
    data = DIFF.encode()
    index.mirror["twenty.patch"] = data
    address = f"{index.mirror_url}twenty.patch"
    right = hashlib.sha256(data).hexdigest()
    words = ("--set", "Subject: Twenty", *FULL)
    work.refused(7, "import", address, *words, said=("is not pinned", "--sha256"))
    work.refused(7, "import", address, *words, "--sha256", 64 * "0", said=(right, "twenty.patch"))
    work.refused(2, "import", address, *words, "--sha256", "abc", said=("'abc' is no SHA-256",))
    work.done("import", address, *words, "--sha256", right)
    assert f"Origin: {address} (sha256 {right})" in (work.folder / "0004-twenty.patch").read_text()


def test_a_mailbox_for_upstream_is_taken_by_git_and_comes_back_the_same(work: Work, tmp_path: Path) -> None:
    box = work.done("export", "--mbox", "--author", "Jö Doe <jo@example.org>")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(work.project.upstream.repository), "clone")
    (tmp_path / "box").write_text(box)
    git(clone, "am", "--quiet", str(tmp_path / "box"))
    assert git(clone, "log", "-3", "--format=%an: %s").splitlines() == [
        f"Jö Doe: Change {name}" for name in reversed(ALL)
    ]
    assert (clone / OPS).read_text() == LAST
    before = [work.state()[name].partition(b"\n---\n")[0] for name in ALL]
    work.project.series()
    work.done("import", str(tmp_path / "box"))
    after = [work.state()[name].partition(b"\n---\n")[0] for name in work.listed()]
    author = "From: Jö Doe <jo@example.org>\n\n".encode()
    assert [one.replace(author, b"") for one in after] == before
    assert work.source()[OPS] == LAST


def test_patches_for_debian_are_taken_by_quilt_s_rules(work: Work, tmp_path: Path) -> None:
    text = (work.folder / ALL[1]).read_text()
    (work.folder / ALL[1]).write_text(text.replace("not reported", "fixed in 1.2 (0123456789ab)"))
    place = tmp_path / "debian" / "patches"
    work.done("export", "2", "3", "--dep3", "--output", str(place))
    assert (place / "series").read_text() == f"{ALL[1]}\n{ALL[2]}\n"
    one = (place / ALL[1]).read_text()
    assert one.startswith(
        "Subject: Change 0002-change.patch\nApplied-Upstream: 1.2, commit:0123456789ab\nBreaks:"
    )
    assert "Forwarded: no\n" in (place / ALL[2]).read_text()
    source = tmp_path / "tree"
    (source / "tinycuda").mkdir(parents=True)
    (source / OPS).write_text(FILES[OPS])
    subprocess.run(["git", "apply", str(place / ALL[1])], cwd=source, check=True)
    assert (source / OPS).read_text() == ops(VALUE_30=3)


def test_export_asks_who_wrote_it(work: Work) -> None:
    work.refused(2, "export", "--mbox", said=("0001-change.patch: nobody says who wrote it", "--author"))
    work.refused(2, "export", "--mbox", "--author", "jo", said=("'jo' is no author",))
    work.refused(2, "export", "9", "--mbox", "--author", "J <j@x>", said=("has no patch '9'",))
