"""Series: the rules of the house, each broken once, all told at once; and what a sound patch says and touches."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retread.errors import SeriesError
from retread.recipe.series import Change, ChangeKind, Patch, parse_series, subject
from retread.units import counted

SERIES = sorted(
    {path.parent / "series" for path in (Path(__file__).parents[3] / "patches").glob("*/*/0*.patch")}
)
NAME = "0001-demo.patch"
HEADER = """\
Subject: Do the thing
Breaks: everything, and that
 over two lines
Affects: all GPUs
Upstream: reported as #12
Drop-when: it is fixed

Why this is so.
"""
DIFF = """\
diff --git a/demo/x.py b/demo/x.py
index 1111111..2222222 100644
--- a/demo/x.py
+++ b/demo/x.py
@@ -1,3 +1,3 @@ def f():
 one
-two
+zwei
 three
"""


def patch(diff: str = DIFF, header: str = HEADER) -> bytes:
    return f"{header}---\n{diff}".encode()


def parsed(data: bytes) -> Patch:
    (found,) = parse_series({"series": f"{NAME}\n".encode(), NAME: data}, where="patches/demo/1.2")
    return found


def faults(files: dict[str, bytes]) -> list[str]:
    with pytest.raises(SeriesError) as caught:
        parse_series(files, where="patches/demo/1.2")
    found = caught.value.faults
    assert str(caught.value).startswith(
        f"patches/demo/1.2: the series breaks {counted(len(found), 'rule')}\n  - "
    )
    return list(found)


def faults_of(data: bytes) -> list[str]:
    told = faults({"series": NAME.encode(), NAME: data})
    assert all(one.startswith(f"{NAME}: ") for one in told)
    return [one.removeprefix(f"{NAME}: ") for one in told]


def changes(diff: str) -> list[tuple[str, str]]:
    return [(change.path, str(change.kind)) for change in parsed(patch(diff)).changes]


@pytest.mark.parametrize("path", SERIES, ids=lambda path: path.parent.name)
def test_shipped_series_keep_the_rules(path: Path) -> None:
    files = {item.name: item.read_bytes() for item in path.parent.iterdir()}
    patches = parse_series(files, where=str(path.parent))
    assert patches
    assert {one.name for one in patches} == set(files) - {"series"}


def test_there_are_shipped_series() -> None:
    assert len(SERIES) >= 6


def test_a_sound_patch_says_and_touches() -> None:
    assert parsed(patch()) == Patch(
        name=NAME,
        sha256=hashlib.sha256(patch()).hexdigest(),
        subject="Do the thing",
        breaks="everything, and that over two lines",
        affects="all GPUs",
        upstream="reported as #12",
        drop_when="it is fixed",
        changes=(Change(path="demo/x.py", kind=ChangeKind.MODIFY),),
        crlf=False,
    )


def test_order_and_comments_of_the_series_file() -> None:
    files = {
        "series": b"# why\n\n0002-b.patch  # last\n  0001-a.patch\r\n",
        "0001-a.patch": patch(),
        "0002-b.patch": patch(DIFF.replace("x.py", "y.py")),
        "README": b"not a patch",
    }
    assert [one.name for one in parse_series(files, where="x")] == ["0002-b.patch", "0001-a.patch"]


def test_an_empty_series_is_sound() -> None:
    assert parse_series({"series": b"# nothing yet\n"}, where="x") == ()


def test_no_series_file() -> None:
    with pytest.raises(SeriesError) as caught:
        parse_series({NAME: patch()}, where="patches/demo/1.2")
    assert str(caught.value) == (
        "patches/demo/1.2: there is no file 'series'\n  next: list the patches in it, one name a line"
    )


@pytest.mark.parametrize(
    "name", ["1-x.patch", "0001_x.patch", "0001-X.patch", "0001-x.diff", "../0001-x.patch"]
)
def test_bad_names(name: str) -> None:
    assert faults({"series": name.encode()}) == [
        f"series: {name!r} is not a patch name like 0001-what-it-does.patch"
    ]


def test_series_file_against_folder() -> None:
    told = faults({"series": b"0001-dema.patch\n0001-dema.patch\n", NAME: patch(), "0009-z.diff": b""})
    assert told == [
        "series: 0001-dema.patch is listed twice",
        "series: 0001-dema.patch is listed, but there is no such file (did you mean '0001-demo.patch'?)",
        "0001-demo.patch: not listed in series",
        "0009-z.diff: not listed in series",
    ]


@pytest.mark.parametrize("field", ["Subject", "Breaks", "Affects", "Upstream", "Drop-when"])
def test_every_field_is_asked_for(field: str) -> None:
    lines = [line for line in HEADER.splitlines() if not line.startswith(field)]
    assert f"header: {field} is missing" in " ".join(faults_of(patch(header="\n".join(lines) + "\n")))
    assert any(
        one.startswith(f"header: {field} is missing")
        for one in faults_of(patch(header=HEADER.replace(f"{field}: ", f"{field}:\nX-", 1)))
    )


def test_a_near_miss_of_a_field() -> None:
    assert faults_of(patch(header=HEADER.replace("Drop-when", "Drop-When"))) == [
        "header: Drop-when is missing (did you mean 'Drop-When'?)"
    ]


def test_a_field_twice() -> None:
    assert faults_of(patch(header=f"Subject: One\n{HEADER}")) == ["header: Subject stands there twice"]


@pytest.mark.parametrize(
    "upstream",
    [
        "not reported",
        "reported as #12",
        "reported as https://example.org/1; also #2",
        "fixed in 0.0.35 (f146faa3)",
        "fixed in 0.0.35\n (f146faa3)",
    ],
)
def test_what_upstream_may_say(upstream: str) -> None:
    found = parsed(patch(header=HEADER.replace("reported as #12", upstream)))
    assert found.upstream == " ".join(upstream.split())


@pytest.mark.parametrize(
    "upstream", ["yes", "reported", "fixed in 0.0.35", "fixed in 0.0.35 (main)", "not reported yet"]
)
def test_what_upstream_may_not_say(upstream: str) -> None:
    assert faults_of(patch(header=HEADER.replace("reported as #12", upstream))) == [
        f"header: Upstream says {upstream!r}; write 'not reported', 'reported as <where>' or "
        "'fixed in <version> (<commit>)'"
    ]


def only(compiler: str) -> bytes:
    return patch(header=HEADER.replace("Drop-when:", f"Only-with: {compiler}\nDrop-when:"))


def test_a_patch_may_be_for_compiles_by_one_compiler() -> None:
    assert parsed(patch()).only_with == ""
    assert parsed(only("clang")).only_with == "clang"


def test_a_compiler_that_nobody_has() -> None:
    assert faults_of(only("gcc")) == ["header: Only-with says 'gcc'; it is one of nvcc, clang"]


def test_what_only_one_compiler_needs_stands_last() -> None:
    files = {
        "series": b"0001-a.patch\n0002-b.patch\n",
        "0001-a.patch": only("clang"),
        "0002-b.patch": patch(DIFF.replace("x.py", "y.py")),
    }
    assert faults(files) == [
        "0002-b.patch: comes after 0001-a.patch, which is applied with clang alone: put patches with Only-with last"
    ]


def test_a_header_that_is_not_utf8() -> None:
    data = HEADER.replace("thing", "th\xefng").encode("latin-1") + b"---\n" + DIFF.encode()
    assert faults_of(data) == ["header: not UTF-8"]


def test_no_separator() -> None:
    assert faults_of((HEADER + DIFF).encode())[0] == "no line '---' between header and diff"


@pytest.mark.parametrize(
    ("diff", "says"),
    [
        ("", "touches no file"),
        ("just words\n", "touches no file"),
        (
            DIFF.replace(" three\n", ""),
            "line 18: the end, where the hunk of line 14 counts 1 more of the old file and",
        ),
        (
            DIFF.replace("-two", "*two"),
            "line 16: '*two', where the hunk of line 14 counts 2 more of the old file and 2",
        ),
        (DIFF.removesuffix("\n"), "does not end with a newline, so its last line may be cut: add one"),
        ("@@ -1 +1 @@\n-a\n+b\n", "not a unified diff: line 10: Unexpected hunk found: @@ -1 +1 @@"),
    ],
)
def test_what_is_no_diff(diff: str, says: str) -> None:
    (told,) = faults_of(patch(diff))
    assert told.startswith(says)


@pytest.mark.parametrize("added", [b"+# not counted\n", b"junk\n\xff\n", b"\xff\xfe\n"])
def test_what_no_hunk_counts_is_refused_with_its_line(added: bytes) -> None:
    with pytest.raises(SeriesError) as caught:
        parse_series({"series": NAME.encode(), NAME: patch() + added}, where="patches/demo/1.2")
    shown = repr(added.decode("utf-8", "surrogateescape").split("\n")[0])
    assert str(caught.value) == (
        "patches/demo/1.2: the series breaks 1 rule\n"
        f"  - {NAME}: line 19: no hunk counts {shown}: mend the '@@' line above, or take it out\n"
        "  next: mend what is named; 'retread patch check' then tries every patch"
    )
    assert caught.value.exit_code == 5


def on(source: str, target: str) -> str:
    return f"--- {source}\n+++ {target}\n@@ -1 +1 @@\n-a\n+b\n"


SAME_FAULT = {
    "/x/../../y": "leaves the source tree",
    "/../x": "leaves the source tree",
    "/.git/config": "leaves the source tree",
    "/sub/.git/config": "leaves the source tree",
    "//etc/x": "not a plain relative path",
    "/x\\y": "not a plain relative path",
}


@pytest.mark.parametrize("path", SAME_FAULT)
def test_paths_stay_in_the_tree(path: str) -> None:
    told = [f"{prefix}{path}: {SAME_FAULT[path]}" for prefix in "ab"]
    assert faults_of(patch(on(f"a{path}", f"b{path}"))) == told


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("/etc/passwd", "/etc/passwd", ["/etc/passwd: not a plain relative path"] * 2),
        ("a/x", "b/y/../../../x", ["b/y/../../../x: leaves the source tree"]),
        ("a/./x", "b/x", ["a/./x: write it as a/x"]),
        ("a/x/y", "b/x//y", ["b/x//y: write it as b/x/y"]),
        ("a/x", "x", ["x: expected a path that starts with 'b/'"]),
        ("x", "b/x", ["x: expected a path that starts with 'a/'"]),
        ("a/x\x07", "b/x", ["'a/x\\x07': not a plain relative path"]),
        (
            '"a/x\\ty"',
            "b/x",
            ["\"a/x\\ty\": git quoted this name; make the patch with 'git -c core.quotePath=false'"],
        ),
    ],
)
def test_paths_are_plain(source: str, target: str, told: list[str]) -> None:
    assert faults_of(patch(on(source, target))) == told


def test_a_path_that_is_not_utf8() -> None:
    data = patch(on("a/x", "b/x")).replace(b"/x", b"/\xff")
    assert faults_of(data) == [
        "'a/\\udcff': not a plain relative path",
        "'b/\\udcff': not a plain relative path",
    ]


@pytest.mark.parametrize(
    ("diff", "told"),
    [
        (
            "diff --git a/x.bin b/x.bin\nindex 1234567..89abcde 100644\n"
            "GIT binary patch\nliteral 3\nKcmZQzU|?Wi00961\n\n",
            "x.bin: a binary blob; patches hold text",
        ),
        (
            "diff --git a/x.bin b/x.bin\nindex 1234567..89abcde 100644\nBinary files a/x.bin and b/x.bin differ\n",
            "x.bin: a binary blob; patches hold text",
        ),
        (
            "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+../x\n",
            "l: makes a symbolic link or a submodule",
        ),
        (
            "diff --git a/l b/l\nindex 1234567..89abcde 120000\n--- a/l\n+++ b/l\n@@ -1 +1 @@\n-x\n+y\n",
            "l: makes a symbolic link or a submodule",
        ),
        (
            "diff --git a/x b/x\nold mode 100644\nnew mode 120000\n",
            "x: makes a symbolic link or a submodule",
        ),
        (
            "diff --git a/s b/s\nindex 1111111..2222222 160000\n--- a/s\n+++ b/s\n@@ -1 +1 @@\n"
            "-Subproject commit 1111111\n+Subproject commit 2222222\n",
            "s: makes a symbolic link or a submodule",
        ),
    ],
)
def test_only_text_in_plain_files(diff: str, told: str) -> None:
    assert faults_of(patch(diff)) == [told]


def test_a_blob_id_is_not_taken_for_a_mode() -> None:
    assert changes(DIFF.replace("1111111", "1120000f160000a")) == [("demo/x.py", "modify")]


def test_all_faults_of_all_patches_come_at_once() -> None:
    told = faults(
        {
            "series": b"0001-a.patch\n0002-b.patch\n0003-c.patch\n",
            "0001-a.patch": patch(on("x", "b/../x"), HEADER.replace("Affects", "Effects")),
            "0002-b.patch": patch(),
            "0004-d.patch": patch(),
        }
    )
    assert told == [
        "series: 0003-c.patch is listed, but there is no such file (did you mean '0004-d.patch'?)",
        "0004-d.patch: not listed in series",
        "0001-a.patch: header: Affects is missing (did you mean 'Effects'?)",
        "0001-a.patch: x: expected a path that starts with 'a/'",
        "0001-a.patch: b/../x: leaves the source tree",
    ]


CUT = "does not end with a newline, so its last line may be cut: add one, or copy the patch anew"
WINDOWS = (
    "lines of its own end with CR LF, as an editor or git's autocrlf leaves them: save it with LF; "
    "only a diff's lines of a source with CR LF keep it"
)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (patch().replace(b"\n", b"\r\n"), [WINDOWS]),
        (HEADER.encode() + b"---\n" + DIFF.encode().replace(b"\n", b"\r\n"), [WINDOWS]),
        (patch().removesuffix(b"\n"), [CUT]),
        (b"\xef\xbb\xbf" + patch(), ["begins with a byte order mark: save it as UTF-8 without one"]),
        (patch().replace(b"\n", b"\r\n").removesuffix(b"\r\n"), [WINDOWS, CUT]),
        (
            patch(header=HEADER.replace("Affects", "Effects")).removesuffix(b"\n"),
            [CUT, "header: Affects is missing (did you mean 'Effects'?)"],
        ),
    ],
    ids=["crlf", "crlf diff", "cut", "mark", "crlf and cut", "cut and more"],
)
def test_what_an_editor_did_to_a_patch_is_told_as_that(data: bytes, told: list[str]) -> None:
    assert faults_of(data) == told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            patch().decode().encode("utf-16"),
            "is UTF-16, as PowerShell writes what is redirected: save it as UTF-8",
        ),
        (
            patch().decode().encode("utf-16-le"),
            "holds zero bytes: a binary file, or UTF-16; patches are text in UTF-8",
        ),
    ],
    ids=["mark", "no mark"],
)
def test_what_is_no_utf8_is_told_as_that_alone(data: bytes, told: str) -> None:
    assert faults_of(data) == [told]


def test_a_diff_that_stands_there_twice_is_told_before_anything_is_tried() -> None:
    files = {"series": b"0001-a.patch\n0002-b.patch\n", "0001-a.patch": patch()}
    files["0002-b.patch"] = patch(header=HEADER.replace("Do the thing", "Do it again"))
    assert faults(files) == ["0002-b.patch: is 0001-a.patch once more: the same diff; drop one of the two"]


def test_line_ends() -> None:
    data = patch(DIFF.replace("two\n", "two\r\n"))
    assert parsed(data).crlf
    assert not parsed(patch()).crlf


# What real git writes.


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "demo").mkdir()
    for name in ("old.py", "gone.py", "kept.py", "run.sh"):
        (tmp_path / "demo" / name).write_text(f"{name}\n" + "line\n" * 9)
    git(tmp_path, "add", ".")
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_adding_deleting_and_renaming(repository: Path) -> None:
    demo = repository / "demo"
    git(repository, "write-tree")
    before = git(repository, "write-tree").strip()
    (demo / "old.py").rename(demo / "new.py")
    (demo / "gone.py").unlink()
    (demo / "kept.py").write_text("another\n" + "line\n" * 9)
    (demo / "added file.py").write_text("text\n")
    (demo / "empty.py").touch()
    (demo / "run.sh").write_text("another\n" + "line\n" * 9)
    git(repository, "add", "-A")
    diff = git(repository, "diff", "--cached", "-M", before)
    assert sorted(changes(diff)) == [
        ("demo/added file.py", "add"),
        ("demo/empty.py", "add"),
        ("demo/gone.py", "delete"),
        ("demo/kept.py", "modify"),
        ("demo/new.py", "add"),
        ("demo/old.py", "delete"),
        ("demo/run.sh", "modify"),
    ]


@pytest.mark.parametrize("also", [False, True], ids=["alone", "with content"])
def test_a_mode_that_changes_is_told_of_the_file(repository: Path, also: bool) -> None:
    before = git(repository, "write-tree").strip()
    script = repository / "demo" / "run.sh"
    script.chmod(0o755)
    script.write_text(script.read_text() + "more\n" * also)
    (repository / "demo" / "new.sh").write_text("text\n")
    (repository / "demo" / "new.sh").chmod(0o755)
    git(repository, "add", "-A")
    (found,) = parse_series(
        {"series": b"0001-a.patch\n", "0001-a.patch": patch(git(repository, "diff", "--cached", before))},
        where="x",
    )
    assert [(one.path, one.kind, one.mode) for one in found.changes] == [
        ("demo/new.sh", "add", "100755"),
        ("demo/run.sh", "modify", "100755"),
    ]
    odd = git(repository, "diff", "--cached", before).replace("new mode 100755", "new mode 100700")
    assert faults_of(patch(odd)) == ["demo/run.sh: has mode 100700; git keeps 100644 and 100755 alone"]


def committed(repository: Path, message: str) -> bytes:
    """Commit a change with this message and return what ``git format-patch`` makes of it."""
    who = ("-c", "user.name=Jörg", "-c", "user.email=j@example.org")
    git(repository, *who, "commit", "-q", "-m", "first")
    (repository / "demo" / "kept.py").write_text("another\n" + "line\n" * 9)
    git(repository, *who, "commit", "-q", "-a", "-m", message)
    return git(repository, "format-patch", "--stdout", "-1").encode()


FIELDS = """\
Breaks: everything, and that
 over two lines
Affects: all GPUs
Upstream: reported as #12
Drop-when: it is fixed
"""


@pytest.mark.parametrize(
    "message",
    [f"Do the thing\n\n{FIELDS}\nWhy this is so.\n", f"Do the thing\n\nWhy this is so.\n\n{FIELDS}"],
    ids=["first", "trailers"],
)
def test_what_git_format_patch_writes_is_taken(repository: Path, message: str) -> None:
    data = committed(repository, message)
    assert data.startswith(b"From ")
    assert b"\n-- \n" in data
    found = parsed(data)
    assert (found.subject, found.breaks) == ("Do the thing", "everything, and that over two lines")
    assert (found.affects, found.upstream) == ("all GPUs", "reported as #12")
    assert found.drop_when == "it is fixed"
    assert found.changes == (Change(path="demo/kept.py", kind=ChangeKind.MODIFY),)


def test_a_subject_that_a_mail_encodes_is_read(repository: Path) -> None:
    assert parsed(committed(repository, f"Größe lesen\n\n{FIELDS}")).subject == "Größe lesen"


@pytest.mark.parametrize("text", ["=?utf-\ufffd?q?x?=", "=?none?q?x?=", "=?utf-8?b?a?=", "=?utf-8?q?x"])
def test_what_only_looks_encoded_is_no_fault_of_the_reader(text: str) -> None:
    assert "[PATCH]" not in subject(f"[PATCH] {text}")


def test_a_message_without_the_fields_still_lacks_them(repository: Path) -> None:
    assert faults_of(committed(repository, "Do the thing\n\nAffect: all\n"))[:2] == [
        "header: Breaks is missing",
        "header: Affects is missing (did you mean 'Affect'?)",
    ]


def test_a_field_of_the_header_is_not_taken_from_the_prose() -> None:
    assert parsed(patch(header=f"{HEADER}Affects: nobody, some say.\n")).affects == "all GPUs"


def test_a_copy_leaves_its_source(repository: Path) -> None:
    before = git(repository, "write-tree").strip()
    (repository / "demo" / "copy.py").write_bytes((repository / "demo" / "old.py").read_bytes())
    git(repository, "add", "-A")
    diff = git(repository, "diff", "--cached", "-C", "--find-copies-harder", before)
    assert "copy from demo/old.py" in diff
    assert changes(diff) == [("demo/old.py", "modify"), ("demo/copy.py", "add")]


@settings(deadline=None, max_examples=33)
@given(
    st.sampled_from(SERIES),
    st.lists(
        st.tuples(st.floats(0, 0.999), st.sampled_from(["cut", "twice", "junk"]), st.binary(max_size=4)),
        max_size=4,
    ),
)
def test_mutated_patches_raise_nothing_but_a_series_error(
    path: Path, mutations: list[tuple[float, str, bytes]]
) -> None:
    name = path.read_text().split("\n")[1]
    lines = (path.parent / name).read_bytes().split(b"\n")
    for where, kind, junk in mutations:
        at = int(where * len(lines))
        lines[at : at + 1] = {"cut": [], "twice": [lines[at]] * 2, "junk": [lines[at][:4] + junk]}[kind]
    with suppress(SeriesError):
        (found,) = parse_series({"series": name.encode(), name: b"\n".join(lines)}, where="x")
        assert found.changes
        assert found.subject
        assert all(change.path.isprintable() for change in found.changes)
