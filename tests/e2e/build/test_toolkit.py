"""Toolkits: what pinned parts make, what no archive may do, and which of the machine's own is taken."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from retread import limits
from retread.arch import Arch
from retread.errors import RecipeError, ToolError, WheelError
from retread.recipe.toolchain import Part, Toolchain
from retread.toolkit import layout
from tinycuda import DATA, record, zip_bytes
from toolparts import (
    CUDART,
    NVCC,
    SCRIPT,
    cudart_files,
    link,
    make_archive,
    make_part_wheel,
    nvcc_files,
    part,
    toolchain,
    top,
)

ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
TOP = top(NVCC)
WHEEL = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"
LINKS = {"lib64": "lib", "lib/libcudart.so": "libcudart.so.12.8.90"}


class Pieces:
    """Parts and their files, to be laid out as one tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: list[tuple[Part, Path]] = []

    def add(self, one: Part, data: bytes) -> Pieces:
        (self.folder / one.file).write_bytes(data)
        self.parts.append((one, self.folder / one.file))
        return self

    def archive(self, data: bytes, *, path: str = NVCC, component: str = "nvcc") -> Pieces:
        file = path.rpartition("/")[2]
        return self.add(part(component, data, file=file, folder=top(path), path=path), data)

    def wheel(self, files: dict[str, bytes], mode: int = 0o644) -> Pieces:
        data = make_part_wheel(
            "demo", "1.0", {f"nvidia/demo/{name}": one for name, one in files.items()}, mode
        )
        return self.add(part("demo", data, file=WHEEL, folder="nvidia/demo"), data)

    def toolchain(self, links: dict[str, str] | None = None, cuda: str = "12.8") -> Toolchain:
        return toolchain(*(one for one, _ in self.parts), links=links, cuda=cuda)

    def lay_out(self, links: dict[str, str] | None = None, cuda: str = "12.8") -> Path:
        into = self.folder / "entry"
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        layout.lay_out(self.toolchain(links, cuda), self.parts, into, ENV)
        return into

    def refused(self, links: dict[str, str] | None = None) -> str:
        with pytest.raises(RecipeError) as caught:
            self.lay_out(links)
        return str(caught.value)


@pytest.fixture
def pieces(tmp_path: Path) -> Pieces:
    (tmp_path / "pieces").mkdir()
    return Pieces(tmp_path / "pieces")


def nvcc(more: Sequence[tarfile.TarInfo] = (), **files: bytes) -> bytes:
    return make_archive(TOP, nvcc_files() | files, more)


def modes(tree: Path) -> dict[str, int]:
    return {
        str(path.relative_to(tree)): path.stat().st_mode & 0o777 for path in tree.rglob("*") if path.is_file()
    }


# What is made.


def test_archives_and_wheels_become_one_tree(pieces: Pieces) -> None:
    pieces.archive(nvcc()).archive(make_archive(top(CUDART), cudart_files()), path=CUDART, component="cudart")
    pieces.wheel({"include/nv/target": b"#pragma once\n"})
    old = os.umask(0o077)
    try:
        entry = pieces.lay_out(LINKS)
    finally:
        os.umask(old)
    assert sorted(path.name for path in entry.iterdir()) == ["toolkit.json", "tree"]
    tree = entry / "tree"
    assert modes(tree) == {
        "LICENSE.nvcc": 0o644, "LICENSE.cudart": 0o644,
        "bin/nvcc": 0o755, "bin/nvcc.profile": 0o644, "nvvm/bin/cicc": 0o755, "nvvm/lib64/libnvvm.so.4.0.0": 0o644,
        "include/crt/host_config.h": 0o644, "include/cuda_runtime.h": 0o644, "include/nv/target": 0o644,
        "lib/libcudart.so.12.8.90": 0o644, "lib/libcudart_static.a": 0o644, "lib/libcudart.so": 0o644,
    }  # fmt: skip
    assert (tree / "lib64").readlink() == Path("lib")
    assert (tree / "lib64" / "libcudart.so").read_bytes() == b"libcudart"
    found = layout.load(entry, pieces.toolchain(LINKS), [one for one, _ in pieces.parts])
    assert found[:3] == (tree, "12.8", "nvcc 12.8, V12.8.93")
    assert found.origin == "pinned parts"


TREES = {1: "597e34e103ab609db321b4eb03432f4f8ff16d67f412cc95a9dff8c7f105914d"}
"""What the number of the layout stands for: the tree of these parts, by name, mode and content."""


def test_code_that_makes_another_tree_of_the_same_parts_has_another_number(pieces: Pieces) -> None:
    """A toolkit is kept for long under a key without retread's code: only the number tells one tree from the next."""
    pieces.archive(nvcc([link(f"{TOP}/nvvm/lib64/libnvvm.so", "libnvvm.so.4.0.0")]))
    pieces.wheel({"include/nv/target": b"#pragma once\n", "LICENSE": b"of cccl\n"}, 0o600)
    tree = pieces.lay_out({"lib64": "nvvm/lib64"}) / "tree"
    found = hashlib.sha256()
    for path in sorted(one for one in tree.rglob("*") if one.is_symlink() or one.is_file()):
        held = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        found.update(f"{path.relative_to(tree)} {path.lstat().st_mode:o} {len(held)}\n".encode() + held)
    assert found.hexdigest() == TREES[layout._LAYOUT], "raise _LAYOUT, and say here what it stands for"


def test_a_wheel_that_lost_its_modes_still_gives_programs(pieces: Pieces) -> None:
    tree = pieces.wheel(nvcc_files() | {"bin/ptxas": b"\x7fELF"}, 0o600).lay_out() / "tree"
    runs = {name for name, mode in modes(tree).items() if mode == 0o755}
    assert runs == {"bin/nvcc", "bin/ptxas", "nvvm/bin/cicc"}


def test_links_of_an_archive_stay_links_and_may_go_up(pieces: Pieces) -> None:
    links = [link(f"{TOP}/nvvm/lib64/libnvvm.so", "libnvvm.so.4.0.0"), link(f"{TOP}/lib/up", "../bin/nvcc")]
    tree = pieces.archive(nvcc(links)).lay_out() / "tree"
    assert (tree / "nvvm/lib64/libnvvm.so").readlink() == Path("libnvvm.so.4.0.0")
    assert (tree / "lib/up").resolve() == (tree / "bin/nvcc").resolve()


def test_what_lies_outside_the_part_s_folder_is_left_out(pieces: Pieces) -> None:
    data = make_archive(".", {f"{TOP}/{name}": one for name, one in nvcc_files().items()} | {"other/x": b"x"})
    tree = pieces.archive(data).lay_out() / "tree"
    assert sorted(path.name for path in tree.iterdir()) == ["LICENSE.nvcc", "bin", "include", "nvvm"]


def test_parts_may_bring_the_same_file(pieces: Pieces) -> None:
    same = {"include/crt/host_config.h": b"#pragma once\n"}
    assert (pieces.archive(nvcc()).wheel(same).lay_out() / "tree/include/crt/host_config.h").is_file()


def test_the_digest_is_that_of_parts_and_links(pieces: Pieces) -> None:
    first, second = part("a", b"a", file="a.whl", folder="x"), part("b", b"b", file="b.whl", folder="x")

    def digest(*parts: Part, links: dict[str, str] | None = None, cuda: str = "12.8") -> str:
        return layout.parts_digest(toolchain(*parts, links=links, cuda=cuda), parts)

    assert digest(first, second) == digest(second, first)
    changed = [
        digest(first),
        digest(first, second, links={"lib64": "lib"}),
        digest(first, second, cuda="12.9"),
        digest(first, part("b", b"c", file="b.whl", folder="x")),
        digest(first, part("b", b"b", file="b.whl", folder="y")),
    ]
    assert len({digest(first, second), *changed}) == 6


# What is refused.


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (link(f"{TOP}/../../evil", "", tarfile.REGTYPE), "its name has an empty, '.' or '..' component"),
        (link("/etc/evil", "", tarfile.REGTYPE), "its name is an absolute path"),
        (link(f"{TOP}/a\\b", "", tarfile.REGTYPE), "its name holds a backslash"),
        (link(f"{TOP}/evil", "/etc/passwd"), "is a link that leaves the archive's folder: '/etc/passwd'"),
        (link(f"{TOP}/bin/evil", "../../x"), "is a link that leaves the archive's folder: '../../x'"),
        (link(f"{TOP}/bin/evil", f"../../{TOP}x/y"), "is a link that leaves the archive's folder"),
        (link(f"{TOP}/bin/evil", f"{TOP}/bin/nvcc", tarfile.LNKTYPE), "is not a plain file, a folder or"),
        (link(f"{TOP}/bin/evil", "", tarfile.FIFOTYPE), "is not a plain file, a folder or"),
        (link(f"{TOP}/bin/evil", "", tarfile.CHRTYPE), "is not a plain file, a folder or"),
        (link("outside", "", tarfile.BLKTYPE), "is not a plain file, a folder or"),
        (link(f"{TOP}/bin/nvcc", "", tarfile.REGTYPE), "'bin/nvcc': occurs twice, or lies in what is no folder"),
        (link(f"{TOP}/bin/nvcc", "cicc"), "'bin/nvcc': occurs twice"),
        (link(f"{TOP}/bin", "nvvm"), "'bin': occurs twice"),
        (link(f"{TOP}/bin/nvcc/x", "", tarfile.REGTYPE), "'bin/nvcc': occurs twice, or lies in what is no folder"),
        (link(f"{TOP}/bin/nowhere", "nothing"), "the link bin/nowhere -> nothing leads nowhere"),
        (link(f"{TOP}/bin/loop", "loop"), "the link bin/loop -> loop leads nowhere"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else None,
)  # fmt: skip
def test_an_archive_that_is_no_plain_tree_is_refused(
    pieces: Pieces, member: tarfile.TarInfo, words: str
) -> None:
    assert words in pieces.archive(nvcc([member])).refused()
    assert not (pieces.folder / "entry" / "toolkit.json").exists()
    assert not (pieces.folder / "evil").exists()


def test_links_that_leave_only_together_are_refused(pieces: Pieces) -> None:
    links = [link(f"{TOP}/a/b/root", "../.."), link(f"{TOP}/evil", "a/b/root/../toolkit.json")]
    assert (
        "the link evil -> a/b/root/../toolkit.json leaves the toolkit"
        in pieces.archive(nvcc(links)).refused()
    )


@pytest.mark.parametrize(
    "member",
    [link(f"{TOP}/../../evil", "", tarfile.REGTYPE), link(f"{TOP}/evil", "../../..")],
    ids=["file", "link"],
)
def test_what_slips_through_our_own_rules_falls_into_python_s(
    pieces: Pieces, member: tarfile.TarInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_check_member", lambda part, member, name: None)
    assert "outside the destination" in pieces.archive(nvcc([member])).refused()
    assert not (pieces.folder / "evil").exists()


def test_nothing_is_written_through_a_link(pieces: Pieces, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    through = [link(f"{TOP}/way", "bin"), link(f"{TOP}/way/nvcc", "", tarfile.REGTYPE)]
    assert "'way': occurs twice, or lies in what is no folder" in pieces.archive(nvcc(through)).refused()


@pytest.mark.parametrize("data", [b"", b"rubbish", nvcc()[:200]], ids=["empty", "rubbish", "cut"])
def test_an_archive_that_cannot_be_read_is_refused(pieces: Pieces, data: bytes) -> None:
    text = pieces.archive(data).refused()
    assert f"{NVCC.rpartition('/')[2]} cannot be read as a .tar.xz archive" in text


def test_a_tar_that_is_packed_in_another_way_is_refused(pieces: Pieces, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(DATA, TOP)
    assert "cannot be read as a .tar.xz" in pieces.archive((tmp_path / "x.tar.gz").read_bytes()).refused()


def test_an_archive_that_is_too_large_is_refused(pieces: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOOLKIT", 100)
    assert "makes it larger than a toolkit may be" in pieces.archive(nvcc()).refused()


def test_a_wheel_whose_bytes_are_not_those_of_its_record_is_refused(pieces: Pieces) -> None:
    data = zip_bytes(
        {
            "nvidia/demo/bin/nvcc": b"other",
            f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n",
            f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n\n",
            f"{INFO}/RECORD": record({"nvidia/demo/bin/nvcc": b"first"}, INFO),
        }
    )
    pieces.add(part("demo", data, file=WHEEL, folder="nvidia/demo"), data)
    with pytest.raises(WheelError, match="RECORD does not describe the wheel"):
        pieces.lay_out()


@pytest.mark.parametrize(
    "files",
    [
        {"include/crt/host_config.h": b"#pragma twice\n"},
        {"bin": b"a file where a folder is"},
        {"bin/nvcc/deeper": b"a folder where a file is"},
    ],
    ids=lambda files: next(iter(files)),
)
def test_parts_that_disagree_are_both_named(pieces: Pieces, files: dict[str, bytes]) -> None:
    text = pieces.archive(nvcc()).wheel(files).refused()
    (name,) = files
    assert f"{NVCC.rpartition('/')[2]} and {WHEEL} disagree about {name}" in text
    assert "next: pin parts of one release" in text


def test_a_program_and_a_plain_file_of_the_same_bytes_disagree(pieces: Pieces) -> None:
    assert (
        "disagree about lib/x" in pieces.archive(nvcc(**{"lib/x": b"#!"})).wheel({"lib/x": b"#!"}).refused()
    )


def test_a_link_and_a_file_disagree(pieces: Pieces) -> None:
    pieces.archive(nvcc([link(f"{TOP}/include/x.h", "crt/host_config.h")]))
    assert "disagree about include/x.h" in pieces.wheel({"include/x.h": b"#pragma once\n"}).refused()


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ({"lib64": "lib"}, "the link lib64 -> lib leads nowhere"),
        ({"bin/nvcc": "nvcc.profile"}, 'links."bin/nvcc": a part brings that file'),
        ({"nothing/here": "x"}, 'links."nothing/here": no part brings the folder'),
    ],
)
def test_links_that_do_not_fit_are_refused(pieces: Pieces, links: dict[str, str], words: str) -> None:
    assert words in pieces.archive(nvcc()).refused(links)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (SCRIPT.format(cuda="12.9"), "its nvcc is 12.9, not 12.8"),
        (SCRIPT.format(cuda="12.80"), "its nvcc is 12.80, not 12.8"),
        ("#!/bin/sh\necho hello\n", "its nvcc is of an unknown release, not 12.8"),
    ],
)
def test_nvcc_of_another_release_is_refused(pieces: Pieces, script: str, words: str) -> None:
    assert f"toolchain cuda-12.8: {words}" in pieces.archive(nvcc(**{"bin/nvcc": script.encode()})).refused()


def test_parts_without_nvcc_are_refused(pieces: Pieces) -> None:
    assert "its parts hold no bin/nvcc" in pieces.wheel({"include/x.h": b""}).refused()


def test_nvcc_that_does_not_run_is_told(pieces: Pieces) -> None:
    with pytest.raises(ToolError, match="nvcc failed with exit code 3"):
        pieces.archive(nvcc(**{"bin/nvcc": b"#!/bin/sh\nexit 3\n"})).lay_out()


# The machine's own.


def install(root: Path, cuda: str) -> Path:
    for name, data in (nvcc_files(cuda) | {"lib/libcudart.so": b"cudart"}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755)
    return root


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(layout, "SYSTEM", tmp_path / "local")
    return tmp_path / "local"


def test_only_a_toolkit_of_exactly_this_release_is_taken(local: Path) -> None:
    install(local / "cuda-13.0", "13.0")
    (local / "cuda").symlink_to("cuda-13.0")
    assert layout.find_system("12.8", {}, ENV) == (
        None, [f"{local}/cuda-12.8 is not there", f"{local}/cuda is 13.0"],
    )  # fmt: skip
    found, reasons = layout.find_system("13.0", {}, ENV)
    assert found
    assert reasons == []
    assert found.root == local / "cuda-13.0"
    assert found.version == "nvcc 13.0, V13.0.93"
    assert found.origin == f"system, {local}/cuda-13.0"


@pytest.mark.parametrize("name", ["CUDA_HOME", "CUDA_PATH"])
def test_the_user_s_variables_come_first(local: Path, tmp_path: Path, name: str) -> None:
    install(local / "cuda-12.8", "12.8")
    mine = install(tmp_path / "mine", "12.8")
    found, _ = layout.find_system("12.8", {name: str(mine)}, ENV)
    assert found
    assert found.root == mine


def test_every_place_says_what_it_is(local: Path, tmp_path: Path) -> None:
    install(local / "cuda", "12.4")
    broken = install(tmp_path / "broken", "12.8")
    (broken / "bin/nvcc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "empty").mkdir()
    found, reasons = layout.find_system(
        "12.8", {"CUDA_HOME": str(broken), "CUDA_PATH": str(tmp_path / "empty")}, ENV
    )
    assert found is None
    assert reasons == [
        f"{broken}: nvcc failed with exit code 1: {broken}/bin/nvcc --version",
        f"{tmp_path}/empty has no bin/nvcc",
        f"{local}/cuda-12.8 is not there",
        f"{local}/cuda is 12.4",
    ]


@pytest.mark.parametrize(
    "name", ["bin/nvcc.profile", "nvvm/bin/cicc", "include/crt/host_config.h", "lib/libcudart.so"]
)
def test_a_system_toolkit_that_is_changed_is_another_one(local: Path, name: str) -> None:
    root = install(local / "cuda", "12.8")

    def digest() -> str:
        found, _ = layout.find_system("12.8", {}, ENV)
        assert found
        return found.digest

    before = digest()
    assert digest() == before
    os.utime(root / name, (1, 1))
    touched = digest()
    (root / f"{name}.new").write_bytes(b"")
    assert len({before, touched, digest()}) == 3


# Trying it.


def _compiler(tmp_path: Path, body: str) -> layout.Toolkit:
    root = install(tmp_path / "toolkit", "12.8")
    (root / "bin/nvcc").write_text(f"#!/bin/sh\nfor out; do :; done\n{body}\n")
    (tmp_path / "scratch").mkdir()
    return layout.Toolkit(root, "12.8", "nvcc 12.8", "", "pinned parts")


def test_code_for_the_asked_architecture_is_enough(tmp_path: Path) -> None:
    found = _compiler(tmp_path, f'[ "$1" = -arch=sm_90a ] && cp {DATA}/libadd.so "$out"')
    layout.compile_for(found, Arch("9.0a"), tmp_path / "scratch", ENV)


def test_code_for_something_else_is_told(tmp_path: Path) -> None:
    found = _compiler(tmp_path, f'cp {DATA}/libadd.so "$out"')
    with pytest.raises(ToolError, match="asked for sm_100 and made code for something else"):
        layout.compile_for(found, Arch("10.0"), tmp_path / "scratch", ENV)


def test_a_compiler_that_fails_is_shown_with_its_last_words(tmp_path: Path) -> None:
    found = _compiler(tmp_path, 'echo "nvcc fatal : no host compiler" >&2; exit 1')
    with pytest.raises(ToolError, match="no host compiler"):
        layout.compile_for(found, Arch("10.0"), tmp_path / "scratch", ENV)
