"""Commit proofs: tree id and commit id come out of the listing itself, as real git made them."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retread.errors import SourceError
from retread.recipe import proof
from retread.recipe.proof import Entry

PROOFS = sorted((Path(__file__).parents[3] / "recipes" / "commits").glob("*.tree"))
SUB = "1234567890123456789012345678901234567890"
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A > B",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "Committer",
    "GIT_COMMITTER_EMAIL": "c@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0100",
    "GIT_COMMITTER_DATE": "1700000001 -0230",
}


def git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], env=ENVIRONMENT, check=True, capture_output=True
    ).stdout


class Repository:
    """A commit that real git made, with every kind of entry and with names that sort in surprising ways."""

    def __init__(self, root: Path) -> None:
        git(root, "init", "-q")
        # As files foo.py < foo0, as directories foo.py < foo/ < foo0: the slash counts.
        for path in ("foo/a.py", "foo/deep/b.py", "foo.py", "foo0", "foo-bar/x", "ü/ö.txt", "a b", "third/c"):
            (root / path).parent.mkdir(exist_ok=True, parents=True)
            (root / path).write_text(path)
        (root / "run.sh").write_text("#!/bin/sh\n")
        (root / "run.sh").chmod(0o755)
        (root / "link").symlink_to("foo/a.py")
        git(root, "add", ".")
        git(root, "update-index", "--add", "--cacheinfo", f"160000,{SUB},third/sub")
        git(root, "commit", "-q", "-m", "Initial\n\ncommitter in the body > 5 +0000")
        self.commit = git(root, "rev-parse", "HEAD").decode().strip()
        self.tree = git(root, "rev-parse", "HEAD^{tree}").decode().strip()
        self.object = git(root, "cat-file", "commit", "HEAD")
        listing = git(root, "ls-tree", "-r", "-t", "-z", "HEAD").decode().split("\0")[:-1]
        self.rows = []
        for line in listing:
            attributes, path = line.split("\t")
            mode, _, identity = attributes.split(" ")
            self.rows.append((mode, identity, path))

    def files(self) -> list[str]:
        """Return the listing without directories."""
        return [" ".join(row) for row in self.rows if row[0] != proof.DIRECTORY]

    def pruned(self, *folders: str) -> list[str]:
        """Return the listing with some directories standing for all that is in them."""
        inside = tuple(f"{folder}/" for folder in folders)
        return [
            " ".join(row)
            for row in self.rows
            if (row[2] in folders or row[0] != proof.DIRECTORY) and not row[2].startswith(inside)
        ]

    def proof(self, lines: list[str], **head: str) -> bytes:
        fields = {
            "repository": "example/demo",
            "commit": self.commit,
            "commit_object": base64.b64encode(self.object).decode(),
        }
        return "\n".join([json.dumps(fields | head), *lines, ""]).encode()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("git"))


def refusal(data: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        proof.parse(data, name="demo.tree")
    text = str(caught.value)
    assert text.startswith("demo.tree: ")
    return text.removeprefix("demo.tree: ")


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_shipped_proofs_recompute_to_their_commit(path: Path) -> None:
    found = proof.parse(path.read_bytes(), name=path.name)
    assert path.stem == f"{found.repository.rpartition('/')[2]}-{found.commit[:12]}"
    assert 1_600_000_000 < found.time < 1_800_000_000
    assert found.entries


def test_there_are_shipped_proofs() -> None:
    assert len(PROOFS) >= 6


def test_real_gits_commit_is_recomputed(repository: Repository) -> None:
    found = proof.parse(repository.proof(repository.files()), name="demo.tree")
    assert (found.repository, found.commit, found.time) == ("example/demo", repository.commit, 1_700_000_001)
    assert found.submodules() == {"third/sub": SUB}
    assert {found.entries[path].mode for path in ("run.sh", "link", "foo.py")} == {
        "100755",
        "120000",
        "100644",
    }
    assert found.entries["ü/ö.txt"].id == proof.blob_id("ü/ö.txt".encode())
    assert proof.tree_id(proof.nested(found.entries)) == repository.tree


@pytest.mark.parametrize(
    "folders", [("foo",), ("foo/deep",), ("third", "ü"), ("foo", "foo-bar", "third", "ü")]
)
def test_a_pruned_listing_makes_the_same_ids(repository: Repository, folders: tuple[str, ...]) -> None:
    lines = repository.pruned(*folders)
    assert len(lines) < len(repository.rows)
    found = proof.parse(repository.proof(lines), name="demo.tree")
    assert found.commit == repository.commit
    assert all(found.entries[folder].mode == proof.DIRECTORY for folder in folders)
    assert proof.tree_id(proof.nested(found.entries)) == repository.tree


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_a_shipped_proof_pruned_again_stays_as_it_is(path: Path) -> None:
    entries = proof.parse(path.read_bytes(), name=path.name).entries
    files = [name for name, entry in entries.items() if entry.mode != proof.DIRECTORY]
    assert proof.pruned(path.read_bytes(), files, name=path.name) == path.read_bytes()


@pytest.mark.parametrize(
    ("files", "folded"),
    [
        (["foo/deep/b.py"], ("foo-bar", "third", "ü")),
        (["foo.py", "foo0"], ("foo", "foo-bar", "third", "ü")),
        (["foo/a.py", "ü/ö.txt", "third/c", "PKG-INFO"], ("foo/deep", "foo-bar")),
    ],
)
def test_pruning_folds_every_folder_without_a_needed_file(
    repository: Repository, files: list[str], folded: tuple[str, ...]
) -> None:
    found = proof.pruned(repository.proof(repository.files()), files, name="demo.tree")
    assert sorted(found.splitlines()) == sorted(repository.proof(repository.pruned(*folded)).splitlines())


def test_the_order_of_the_lines_is_no_matter(repository: Repository) -> None:
    found = proof.parse(repository.proof(repository.files()[::-1]), name="demo.tree")
    assert found.commit == repository.commit


def test_blob_id_is_gits(tmp_path: Path) -> None:
    for data in (b"", b"text\n", bytes(range(256))):
        (tmp_path / "file").write_bytes(data)
        assert git(tmp_path, "hash-object", "file").decode().strip() == proof.blob_id(data)


def test_a_changed_listing_makes_another_tree(repository: Repository) -> None:
    lines = repository.files()
    at = next(index for index, line in enumerate(lines) if line.endswith(" run.sh"))
    mode, identity, path = lines[at].split(" ")
    for changed in (
        [f"100644 {identity} {path}"],
        [f"{mode} {hashlib.sha1(b'').hexdigest()} {path}"],
        [f"{mode} {identity} Run.sh"],
        [],
        [lines[at], f"100644 {identity} more.sh"],
        [lines[at], f"100644 {identity} foo/more.sh"],
    ):
        said = refusal(repository.proof([*lines[:at], *changed, *lines[at + 1 :]]))
        assert said.startswith("its listing makes tree ")
        assert said.endswith(f"the commit {repository.commit[:12]} has {repository.tree}")


def test_a_changed_commit_object_is_another_commit(repository: Repository) -> None:
    changed = repository.object.replace(b"Initial", b"initial")
    other = hashlib.sha1(b"commit %d\0" % len(changed) + changed).hexdigest()
    data = repository.proof(repository.files(), commit_object=base64.b64encode(changed).decode())
    assert refusal(data) == f"its commit object is {other}, not {repository.commit}"


@pytest.mark.parametrize(
    "made", [b"", b"tree\n", b"\xff", b"tree " + 40 * b"0" + b"\n\ncommitter x <> 1 +0000\n"]
)
def test_a_commit_object_that_is_none(repository: Repository, made: bytes) -> None:
    commit = hashlib.sha1(b"commit %d\0" % len(made) + made).hexdigest()
    data = repository.proof(repository.files(), commit=commit, commit_object=base64.b64encode(made).decode())
    assert refusal(data) == "not a commit proof: its commit object names no tree and committer"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["100644 " + 40 * "0" + " a/b", "100644 " + 40 * "0" + " a"], "a is a file and a directory"),
        (["100644 " + 40 * "0" + " a", "100644 " + 40 * "0" + " a/b"], "a/b: a is a file and a directory"),
        (["040000 " + 40 * "0" + " a", "100644 " + 40 * "0" + " a/b"], "a/b: a is a file and a directory"),
        (["100644 " + 40 * "0" + " a", "100644 " + 40 * "1" + " a"], "a is listed twice"),
        (["100644 " + 40 * "0"], "line 2 is not 'mode id path': '100644 " + 40 * "0" + "'"),
        (["100644 " + 40 * "0" + " a", ""], "line 3 is not 'mode id path': ''"),
        (["100644 " + 39 * "0" + "g a"], "line 2 is not 'mode id path': '100644 " + 39 * "0" + "g a'"),
        (["100644 " + 40 * "0" + " a\0b"], "line 2 is not 'mode id path': '100644 " + 40 * "0" + " a\\x00b'"),
        (["40000 " + 40 * "0" + " a"], "line 2 is not 'mode id path': '40000 " + 40 * "0" + " a'"),
    ],
)
def test_a_listing_that_is_none(repository: Repository, lines: list[str], says: str) -> None:
    assert refusal(repository.proof(lines)) == f"not a commit proof: {says}"


def test_a_file_cannot_be_smuggled_in_under_a_submodule(repository: Repository) -> None:
    """The ids come out right when the submodule's line is put over the extra file, so only the clash tells."""
    lines = [f"100644 {40 * '0'} third/sub/evil.py", *repository.files()]
    assert refusal(repository.proof(lines)) == "not a commit proof: third/sub is a file and a directory"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "Input data was truncated"),
        (b"[]\n", "Expected `object`, got `array`"),
        (b'{"repository": "a"}\n', "Object missing required field `commit`"),
        (b'{"repository":"a","commit":"b","commit_object":"c","x":1}\n', "Object contains unknown field `x`"),
        (b'{"repository":"a","commit":"b","commit_object":"***"}\n', "Only base64 data is allowed"),
        (b'{"repository":"a","commit":"b","commit_object":"QQ"}\n', "Incorrect padding"),
    ],
)
def test_a_head_that_is_none(data: bytes, says: str) -> None:
    assert refusal(data) == f"not a commit proof: {says}"


def test_a_listing_that_is_not_utf8(repository: Repository) -> None:
    data = repository.proof(repository.files()) + b"100644 " + 40 * b"0" + b" \xff\n"
    assert "can't decode byte 0xff" in refusal(data)


def test_folders_without_end_are_refused(repository: Repository) -> None:
    said = refusal(repository.proof([f"100644 {40 * '0'} {'a/' * 5_000}b"]))
    assert said.startswith("not a commit proof: line 2: a path of more than 256 folders")


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=1, max_size=6), st.floats(0, 1))
def test_changed_bytes_never_prove_another_listing(repository: Repository, junk: bytes, where: float) -> None:
    sound = repository.proof(repository.files())
    at = int(where * len(sound))
    with suppress(SourceError):
        found = proof.parse(sound[:at] + junk + sound[at + len(junk) :], name="demo.tree")
        assert found.commit == repository.commit
        assert found.entries == proof.parse(sound, name="demo.tree").entries


def test_an_entry_is_mode_and_id() -> None:
    assert (
        proof.tree_id({"a": Entry("100644", proof.blob_id(b""))})
        == "496d6428b9cf92981dc9495211e6e1120fb6f2ba"
    )
