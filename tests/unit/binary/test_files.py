"""Files of every kind: told by their content whatever they are called, and read as far as they can be."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpucode
from retread.arch import Arch
from retread.binary import files
from retread.elf import facts, library
from retread.elf.facts import CodeFacts, Format, LibraryFacts
from retread.errors import UNREADABLE, ElfError, FatbinError, PeError

ALL = ("8.0", "9.0a")


def write(folder: Path, data: bytes, name: str = "file") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("data", "kind", "sass"),
    [
        (gpucode.elf(1, 62, gpucode.PLAIN), "object (x86_64)", ALL),
        (gpucode.archive(a=gpucode.elf(1, 62, gpucode.PLAIN)), "archive", ALL),
        (gpucode.archive(odd=b"x", a=gpucode.elf(1, 62, gpucode.PLAIN)), "archive", ALL),
        (gpucode.ADD90, "cubin", ("9.0a",)),
        (gpucode.PLAIN, "fat binary", ALL),
        (gpucode.PTX, "PTX", ()),
    ],
)
@pytest.mark.parametrize("name", ["x.bin", "x.so.1", "x"])
def test_gpu_code_is_read_whatever_the_file_is_called(
    tmp_path: Path, data: bytes, kind: str, sass: tuple[str, ...], name: str
) -> None:
    found = files.read(write(tmp_path, data, name), names=True)
    assert isinstance(found, CodeFacts)
    assert (found.kind, [one.sass for one in found.modules]) == (kind, [sass])
    assert [one.names for one in found.kernels] == [("add_one",)]


@pytest.mark.parametrize(("number", "machine"), [(0x8664, "x86_64"), (0xAA64, "aarch64"), (0x14C, "i686")])
@pytest.mark.parametrize("name", ["x.pyd", "x"])
def test_a_windows_library_is_one_whatever_it_is_called(
    tmp_path: Path, number: int, machine: str, name: str
) -> None:
    found = files.read(write(tmp_path, gpucode.windows(gpucode.PLAIN, machine=number), name), names=True)
    assert isinstance(found, LibraryFacts)
    assert (found.format, found.machine, found.needed) == (Format.PE, machine, ())
    assert [one.sass for one in found.modules] == [ALL]
    assert [one.names for one in found.kernels] == [("add_one",)]


def test_tables_of_a_windows_library_that_are_corrupt_are_told_and_its_code_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, gpucode.WINDOWS[:-1], "x.pyd")
    with pytest.raises(PeError, match=r"^my\.whl: x\.pyd: section \.reloc leaves the file"):
        files.read(path, where="my.whl: x.pyd")
    found = files.read(path, where="my.whl: x.pyd", lenient=True)
    assert isinstance(found, CodeFacts)
    assert [one.sass for one in found.modules] == [ALL] * 3
    assert found.unread == (
        "my.whl: x.pyd: section .reloc leaves the file (offset 0x5a00, 512 bytes): it is cut short",
    )


def test_relocatable_code_of_an_archive_is_native_once_it_is_linked(tmp_path: Path) -> None:
    later = gpucode.fat(gpucode.entry(gpucode.RELOCATABLE))
    for data, verdict in (
        (gpucode.archive(a=gpucode.elf(1, 62, later)), "native"),
        (gpucode.elf(1, 62, later), "native"),
        (later, "none"),
    ):  # fmt: skip
        found = files.read(write(tmp_path, data))
        assert (len(found.modules), len(found.relocatable)) == (0, 1)
        assert facts.coverage(found, Arch("8.0")) == verdict


@pytest.mark.parametrize("name", ["_C.pyd", "plugin.node", "program"])
@pytest.mark.parametrize(
    "data",
    [
        gpucode.LIBRARY, gpucode.section_called(gpucode.LIBRARY, b".my_kernel"),
        gpucode.without_sections(gpucode.LIBRARY),
    ],
    ids=["usual", "renamed", "no sections"],
)  # fmt: skip
def test_a_shared_object_is_one_with_any_name_and_any_sections(
    tmp_path: Path, data: bytes, name: str
) -> None:
    found = files.read(write(tmp_path, data, name))
    usual = library.read(write(tmp_path, gpucode.LIBRARY, "usual.so"))
    assert isinstance(found, LibraryFacts)
    assert found == usual


def test_a_program_at_a_fixed_address_is_read_too(tmp_path: Path) -> None:
    program = bytearray(gpucode.LIBRARY)
    struct.pack_into("<H", program, 16, 2)
    assert files.read(write(tmp_path, bytes(program))) == library.read(write(tmp_path, gpucode.LIBRARY))


def test_an_alignment_that_the_loader_takes_hides_nothing(tmp_path: Path) -> None:
    """glibc does not look at the alignment of sections, nor at how segments that are not loaded are aligned."""
    data = bytearray(gpucode.LIBRARY)
    (shoff,) = struct.unpack_from("<Q", data, 40)
    struct.pack_into("<Q", data, shoff + 64 + 48, 3)
    path = write(tmp_path, bytes(data), "odd.so")
    assert library.read(path) == library.read(write(tmp_path, gpucode.LIBRARY, "usual.so"))
    with pytest.raises(ElfError, match="alignment of 3 makes no sense"):
        library.edit(path, tmp_path / "new.so", run_path=["$ORIGIN"])


def test_corrupt_code_is_refused_or_named(tmp_path: Path) -> None:
    data = bytearray(gpucode.LIBRARY)
    at = data.index(bytes.fromhex("50ed55ba"))
    data[at + 8 : at + 16] = (1 << 40).to_bytes(8, "little")
    path = write(tmp_path, bytes(data), "x.so")
    with pytest.raises(FatbinError, match=r"^my\.whl: x\.so: module 0: offset 0x0 promises"):
        files.read(path, where="my.whl: x.so")
    found = files.read(path, where="my.whl: x.so", lenient=True)
    assert found.unread[0].startswith("my.whl: x.so: module 0: offset 0x0 promises")
    assert len(found.modules) == 5, "the other three, and two cubins of the broken one"
    assert isinstance(found, LibraryFacts)
    assert found.needed == ("libc.so.6",)


@pytest.mark.parametrize(
    ("head", "name", "told"),
    [
        (b"/* GNU ld script */\nINPUT(libx.so.1)\n", "libx.so", "a linker script"),
        (b"some text\n", "a/libx.so.1.2", "a text"),
        (b"some text\n", "a/libx.so.LICENSE", None),
        (b"some text\n", "a/kernel.cubin", "a text"),
        (b"\1\2\0\3", "a/kernel.cubin", "of no format that is known"),
        (b"", "x.pyd", "empty"),
        (b"", "__init__.py", None),
        (gpucode.elf(3, 164, bits=1), "libSkel.so", "an ELF file of 32 bits"),
        (gpucode.elf(3, 21), "x.so", "an ELF file for machine 21"),
        (b"\x7fELF\x02\x02\x01" + bytes(60), "x.so", "an ELF file of big-endian order"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "x.so", "a Mach-O file"),
        (b"PK\3\4" + bytes(60), "data.bin", "a zip archive"),
        (b"\x1f\x8b" + bytes(60), "kernels.gz", "packed by gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(60), "x", "packed by zstd"),
        (bytes(257) + b"ustar\0" + bytes(60), "x", "a tar archive"),
        (b"!<thin>\n", "x.a", "an archive that only names its members"),
        (b"MZ" + bytes(60), "x.dll", "of no format that is known"),
        (b"MZ is a text", "README", None),
        (b"import torch\n", "x.py", None),
    ],
)
def test_what_is_not_looked_into_is_told(head: bytes, name: str, told: str | None) -> None:
    assert files.told(head, name) == told


def test_another_file_is_refused_by_the_name_that_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(
        ElfError, match=r"^my\.whl: x\.so is a text; it is not read\n  next: what is read: wheels"
    ):
        files.read(write(tmp_path, b"text", "x.so"), where="my.whl: x.so")
    with pytest.raises(ElfError, match="nor another that holds GPU code"):
        files.read(write(tmp_path, b"text", "x.py"))


KINDS = (
    gpucode.LIBRARY, gpucode.without_sections(gpucode.LIBRARY), gpucode.WINDOWS, gpucode.ADD90,
    gpucode.archive(a=gpucode.elf(1, 62, gpucode.PLAIN)), gpucode.PLAIN, gpucode.PTX,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from(KINDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=5),
    head=st.booleans(),
    length=st.floats(0.1, 1),
)
def test_mutated_files_raise_only_our_errors(
    tmp_path: Path, data: bytes, edits: list[tuple[float, bytes]], head: bool, length: float
) -> None:
    mutated = bytearray(data)
    for where, new in edits:
        at = int(where * (min(len(data), 1000) if head else len(data)))
        mutated[at : at + len(new)] = new
    path = write(tmp_path, bytes(mutated[: max(1, int(length * len(mutated)))]), "x.so")
    for lenient in (False, True):
        with contextlib.suppress(*UNREADABLE):
            files.read(path, names=True, lenient=lenient)
    with contextlib.suppress(*UNREADABLE):
        files.kernels(path)


ARCHIVE = gpucode.archive(a=b"x" * 40, b=b"y" * 41)


@pytest.mark.parametrize(
    "data",
    [
        ARCHIVE[:-30],
        ARCHIVE[:90],
        ARCHIVE[:130],
        b"!<arch>\nx",
        ARCHIVE.replace(b"40        `", b"-5        `"),
    ],
    ids=["in a member", "in the first", "in a header", "no header", "no size"],
)
def test_a_damaged_archive_is_not_one_without_code(tmp_path: Path, data: bytes) -> None:
    assert files.read(write(tmp_path, ARCHIVE, "x.a")).unread == ()
    (told,) = files.read(write(tmp_path, data, "x.a"), where="x.a").unread
    assert told.endswith("cut short")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x7fELF", "an ELF file that is cut short"), (b"\x7fELF" + bytes(60), "a damaged ELF file"),
        (b"\x7fELF\2\2\1" + bytes(60), "an ELF file of big-endian order"),
        (b"MZ" + b"\xff" * 62, "of no format that is known"), (b"\xb1CbF" * 9, "of no format that is known"),
        ("ü".encode() * files.HEAD, "a text"), (b"x" + "ü".encode() * files.HEAD, "a text"),
    ],
)  # fmt: skip
def test_what_is_not_looked_into_is_called_what_it_is(data: bytes, what: str) -> None:
    assert files.told(data[: files.HEAD], "x.so") == what


def test_of_a_library_of_2_gib_what_is_needed_is_read_and_not_the_rest(tmp_path: Path) -> None:
    size, path = 2 << 30, tmp_path / "large.so"
    before, after = gpucode.hollow(gpucode.ADD80, size)
    with path.open("wb") as file:
        file.write(before)
        file.seek(size, os.SEEK_CUR)
        file.write(after)
    found = files.read(path)
    assert (found.modules[0].sass, found.modules[0].kernels) == (("8.0",), 1)
    assert not found.unread
    assert _held(path) < size >> 6


def _held(path: Path) -> int:
    """Return how many bytes of a file, of which nobody held any, the system holds in memory since it was read."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        pages = (ctypes.c_char * -(-len(data) // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(data)
        asked = ctypes.CDLL(None).mincore(ctypes.byref(start), ctypes.c_size_t(len(data)), pages)
        del start
    assert asked == 0
    return pages.raw.count(1) * mmap.PAGESIZE
