"""Source archives that are not the commit: refused by the build, with every file named and nothing left."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable

import pytest

from retread.doors.store import Kind
from retread.source import tree as source
from tinycuda import FILES, INNER, SDIST, Project, make_sdist

TOP = "tinycuda-1.0"


def _link(name: str, kind: bytes = tarfile.SYMTYPE, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files.update({f"{TOP}/setup.py": b"evil"}), "setup.py: differs from the commit's"),
        (lambda files: files.update({f"{TOP}/evil.py": b"evil"}), "evil.py: not in the commit"),
        (
            lambda files: files.update({f"{TOP}/third_party/lib/LICENSE": b"pay me"}),
            "third_party/lib/LICENSE: differs from the commit's",
        ),
        (lambda files: files.update({f"{TOP}/../evil": b""}), "leaves the folder that it is unpacked into"),
        (lambda files: files.update({"/etc/evil": b""}), "leaves the folder that it is unpacked into"),
        (lambda files: files.update({f"{TOP}\\evil": b""}), "leaves the folder that it is unpacked into"),
        (lambda files: files.update({"evil": b""}), "is outside the archive's one folder"),
        (lambda files: files.update({"other/setup.py": FILES["setup.py"].encode()}), "setup.py occurs twice"),
    ],
)
def test_an_sdist_that_is_not_the_commit_is_refused(
    project: Project, change: Callable[[dict[str, bytes]], object], words: str
) -> None:
    project.publish_sdist(change)
    project.fails(4, "retread: source: ", SDIST, words, room=Kind.TREES)


@pytest.mark.parametrize("name", [f"{TOP}/link", f"{TOP}/setup.cfg"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_no_plain_file_is_refused(project: Project, name: str, kind: bytes) -> None:
    project.publish_sdist(lambda files: None, _link(name, kind))
    project.fails(4, f"member {name!r} is not a plain file", room=Kind.TREES)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_archive_is_refused(project: Project, keep: int) -> None:
    project.publish(sdist=make_sdist(project.upstream.sdist)[:keep])
    project.fails(4, f"{SDIST} cannot be read as a source archive", room=Kind.TREES)


def test_what_slips_through_our_own_rules_falls_into_python_s(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_plain", lambda sdist, member: member.name)
    project.publish_sdist(lambda files: files.update({f"{TOP}/../../evil": b""}))
    project.fails(4, SDIST, "cannot be read as a source archive", "outside the destination", room=Kind.TREES)


def test_an_archive_that_was_packed_truncated_is_refused(project: Project) -> None:
    cut = gzip.decompress(make_sdist(project.upstream.sdist))[:530]
    project.publish(sdist=gzip.compress(cut, mtime=0))
    project.fails(4, f"{SDIST} cannot be read as a source archive", room=Kind.TREES)


@pytest.mark.parametrize("at", [30, 200, 300])
def test_a_damaged_archive_is_refused(project: Project, at: int) -> None:
    data = bytearray(make_sdist(project.upstream.sdist))
    data[at : at + 8] = b"\xff" * 8
    project.publish(sdist=bytes(data))
    assert project.fails(4, room=Kind.TREES).err.startswith("tiny-1.0 cu128")


def test_all_faults_are_named_up_to_twenty(project: Project) -> None:
    project.publish_sdist(lambda files: files.update({f"{TOP}/evil{n:02}": b"" for n in range(30)}))
    result = project.fails(4, "30 files without proof", "evil19: not in the commit")
    assert "evil20" not in result.err


def test_a_file_that_is_allowed_by_name_passes(project: Project) -> None:
    project.publish_sdist(lambda files: files.update({f"{TOP}/setup.cfg": b"[egg_info]\n"}))
    project.fails(4, "setup.cfg: not in the commit", "sdist.unproven")
    project.edit_recipe('paths = ["PKG-INFO"]', 'paths = ["PKG-INFO", "setup.*"]')
    assert project.build().code == 0


def test_a_copy_is_held_to_the_folder_that_it_copies(project: Project) -> None:
    copied = {f"{TOP}/tinycuda/lib/lib.h": INNER["include/lib.h"].encode()}
    project.publish_sdist(lambda files: files.update(copied))
    project.edit_recipe(
        "[[sdist.unproven]]",
        '[sdist.copies]\n"tinycuda/lib" = "third_party/lib/include"\n\n[[sdist.unproven]]',
    )
    assert project.build().code == 0
    recipe = project.recipe_text
    project.publish_sdist(lambda files: files.update({f"{TOP}/tinycuda/lib/lib.h": b"evil"}))
    old, new = ((text.split("sha256 = ")[1].split("\n")[0]) for text in (recipe, project.recipe_text))
    project.write_recipe(recipe.replace(old, new))
    assert project.build().code == 4


def test_git_and_sdist_give_the_same_wheel(make_project: Callable[[str], Project]) -> None:
    one, other = make_project("one"), make_project("other")
    first, second = one.build("--json"), other.build("--json", "--source", "git")
    assert (first.code, second.code) == (0, 0)
    assert one.built.read_bytes() == other.built.read_bytes()
    assert one.built.stat().st_ino != other.built.stat().st_ino, "built twice, not shared by the store"
