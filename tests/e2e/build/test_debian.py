"""Toolkits made of packages of Debian's: from apt's mirror, from one's own, and what is said where neither has them."""

from __future__ import annotations

import platform
import subprocess
import tarfile
from pathlib import Path

import pytest

from debparts import CLANG, LIBC, OLD, Pinned, clang_deb, libc_deb, make_deb, nvidia_files, pinned
from loopback import Index
from retread.doors.store import Kind
from retread.recipe import workspace
from retread.variables import DEBIAN_MIRROR
from tinycuda import Project, Result, names
from toolparts import link

FILE = CLANG.rpartition("/")[2]
NAME = "cuda-12.8-clang22"


class Workplace:
    """A workspace with a small toolchain whose compiler is clang."""

    def __init__(self, project: Project, index: Index, folder: Path) -> None:
        self.project, self.index, self.folder = project, index, folder
        (project.root / "recipes" / "toolchains").mkdir()
        self.pin(pinned())

    def pin(self, made: Pinned) -> None:
        """Serve these parts, and pin them in the toolchain file."""
        self.index.mirror = dict(made.debs)
        self.index.files |= made.wheels
        (self.project.root / "recipes" / "toolchains" / f"{NAME}.toml").write_text(made.text)

    def run(self, *arguments: str) -> Result:
        return self.project.run("toolchain", *arguments)

    def tree(self) -> Path:
        result = self.run("get", NAME)
        assert result.code == 0, result
        return Path(result.out.strip())

    def refused(self, code: int, *words: str) -> str:
        """Get the toolkit, and check the exit code, the words, and that nothing half-made stays."""
        result = self.run("get", NAME)
        assert result.code == code, result
        for word in words:
            assert word in result.err, (word, result.err)
        assert result.out == ""
        assert self.project.leftovers() == []
        assert self.project.entries(Kind.TOOLKITS) == []
        return result.err

    def apt(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        """Put an apt that is set to these mirrors on the PATH, in place of a variable."""
        monkeypatch.delenv(DEBIAN_MIRROR)
        program = self.folder / "bin" / "apt-get"
        program.parent.mkdir()
        asked = "indextargets --no-release-info --format $(REPO_URI)"
        lines = "\n".join(f"echo {one}" for one in addresses)
        program.write_text(f"#!/bin/sh\n[ \"$*\" = '{asked}' ] || exit 1\n{lines}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.fixture
def place(project: Project, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv(DEBIAN_MIRROR, index.mirror_url)
    monkeypatch.setattr(workspace, "_OWN", tmp_path / "none")  # its parts are those of the real one
    return Workplace(project, index, tmp_path)


# What is made.


def test_packages_and_wheels_become_one_toolkit(place: Workplace) -> None:
    tree = place.tree()
    assert names(tree) == ["bin", "include", "llvm", "nvvm"]
    assert names(tree / "bin") == ["fatbinary", "nvcc", "nvcc.json", "ptxas"], (
        "of a wheel, what is named alone"
    )
    assert names(tree / "llvm") == ["bin", "debian", "lib", "libexec"]
    assert (tree / "llvm/lib/clang/22/include/x.h").is_file()
    said = subprocess.run([tree / "bin/nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "nvcc: Debian clang 22.1.8 (1~deb13u5) stands in its place; no NVIDIA compiler runs",
        "ptxas 12.8.93 assembles, fatbinary 12.8.93 packs",
        "Cuda compilation tools, release 12.8, V12.8.93",
    ]
    told = place.run("list").out.splitlines()[0]
    assert "Debian clang 22.1.8 (1~deb13u5), ptxas 12.8.93, fatbinary 12.8.93, no nvcc in " in told
    place.index.log.clear()
    assert place.tree() == tree
    assert place.index.log == [], "the store has it"


def test_a_mirror_may_be_a_folder(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, data in place.index.mirror.items():
        (place.folder / "copy" / path).parent.mkdir(parents=True)
        (place.folder / "copy" / path).write_bytes(data)
    place.index.mirror = {}
    monkeypatch.setenv(DEBIAN_MIRROR, str(place.folder / "copy"))
    assert (place.tree() / "llvm/libexec/clang").is_file()


def test_the_mirrors_that_apt_is_set_to_are_asked_in_turn(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = place.folder / "security"
    empty.mkdir()
    place.apt(monkeypatch, empty.as_uri(), place.index.mirror_url, "cdrom:[Debian]/", place.index.mirror_url)
    checked = place.run("check")
    assert f"{place.index.mirror_url}{CLANG}" in checked.out
    place.tree()
    assert [one.path for one in place.index.log if one.method == "GET" and "/pool/" in one.path] == [
        f"/mirror/{CLANG}", f"/mirror/{LIBC}",
    ]  # fmt: skip


def test_what_a_package_has_elsewhere_is_not_looked_at(place: Workplace) -> None:
    place.pin(
        pinned(
            clang=clang_deb(
                [link("./etc/alternatives/x", "/usr/bin/x"), link("./dev/x", "", tarfile.CHRTYPE)]
            )
        )
    )
    assert (place.tree() / "llvm/libexec/clang").is_file()


# What is refused.


def test_a_package_that_the_archive_replaced_is_told_with_its_version(place: Workplace) -> None:
    del place.index.mirror[CLANG]
    ways = (
        "the toolchain pins clang-22 22.1.8-1~deb13u5, and Debian's archive keeps a version only until the next one: "
        f"set RETREAD_DEBIAN_MIRROR to an address or a folder that has {CLANG}, like Debian's archive of snapshots"
    )
    place.refused(
        7,
        f"{FILE} could not be had from Debian's archive",
        f"{place.index.mirror_url}{CLANG}: ",
        "404",
        f"next: {ways}",
    )
    checked = place.run("check")
    assert checked.code == 6
    assert (
        f"{NAME}: clang: RETREAD_DEBIAN_MIRROR: {place.index.mirror_url}{CLANG}: the server answered 404 Not Found; "
        f"{ways}" in checked.err
    )


def test_other_bytes_under_the_same_name_are_refused(place: Workplace) -> None:
    place.index.mirror[CLANG] = b"other"
    place.refused(
        7,
        f"{FILE} is not what the recipe pins: sha256 ",
        "(5 bytes)",
        "clang-22 22.1.8-1~deb13u5",
        DEBIAN_MIRROR,
    )


def test_a_machine_without_apt_is_told_the_variable(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEBIAN_MIRROR)
    (place.folder / "none").mkdir()
    monkeypatch.setenv("PATH", str(place.folder / "none"))
    place.refused(7, "there is no apt here whose mirror could be asked", "set RETREAD_DEBIAN_MIRROR")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it holds no data.tar.xz, but nothing"),
        (b"rubbish", "it holds no data.tar.xz, but nothing"),
        (make_deb({}, data="data.tar.zst"), "but debian-binary, control.tar.xz, data.tar.zst"),
        (clang_deb()[:-40], "it holds no data.tar.xz, but debian-binary, control.tar.xz"),
    ],
    ids=["empty", "rubbish", "zstd", "cut"],
)
def test_what_is_no_package_is_refused(place: Workplace, data: bytes, words: str) -> None:
    place.pin(pinned(clang=data or b" "))
    place.refused(3, FILE, words)


def test_a_package_that_leaves_its_folder_is_refused(place: Workplace) -> None:
    place.pin(pinned(clang=clang_deb([link("./usr/lib/llvm-22/bin/evil", "../../../../../etc/passwd")])))
    place.refused(3, FILE, "is a link that leaves the archive's folder")


@pytest.mark.parametrize("missing", ["nvvm/libdevice/libdevice.10.bc", "bin/fatbinary", "include/cuda.h"])
def test_a_part_that_lacks_what_clang_needs_is_told(place: Workplace, missing: str) -> None:
    place.pin(pinned(nvidia={name: data for name, data in nvidia_files().items() if name != missing}))
    place.refused(3, f"toolchain {NAME}: its parts hold no {missing}")


def test_a_c_library_that_is_too_old_for_clang_is_told(place: Workplace) -> None:
    place.pin(pinned(libc=libc_deb(OLD)))
    place.refused(
        3, f"toolchain {NAME}: its clang does not run: clang: libc.so.6: version 'GLIBC_2.38' not found",
        "pin libc6, libstdc++6 and the other libraries of the very release of Debian that clang is from",
    )  # fmt: skip


def test_another_machine_has_no_parts(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    place.refused(6, f"toolchain {NAME} has no toolkit for aarch64 machines, only for x86_64")
