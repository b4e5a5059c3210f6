"""Each limit, by a small input that would take minutes or gigabytes without it."""

from __future__ import annotations

import io
import itertools
import struct
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gpucode
from retread import limits
from retread.doors import tar
from retread.doors.net import pages, transfer
from retread.elf import device, fatbin, image, kernels, library
from retread.errors import ElfError, FatbinError, SeriesError, UsageError, WheelError
from retread.lockfile import readers
from retread.queue import header, incoming
from retread.recipe import series, symptom
from retread.wheel import faults, metadata

DATA = Path(__file__).parents[2] / "data" / "fatbin"
LIBRARY = (DATA / "libadd.so").read_bytes()
FAT = image.parse(LIBRARY, where="x")


def test_every_limit_says_why() -> None:
    named = {name for name in vars(limits) if name.isupper()}
    text = Path(limits.__file__).read_text("utf-8")
    assert [name for name in named if f"\n{name}: Final = " not in text] == []
    assert text.count('"""') == 2 * len(named) + 2


# Wheels


def test_tags_are_counted_over_all_lines_of_a_wheel_s_statement() -> None:
    line = f"Tag: {'.'.join('abcdefghijklmno')}-{'.'.join('abcdefghijklmno')}-{'.'.join('abcdefghijklmno')}\n"
    with pytest.raises(WheelError, match="WHEEL has more than 4,096 tags"):
        metadata.parse_wheel_file(f"Wheel-Version: 1.0\n{line * 20_000}")


def test_requirements_of_a_wheel_are_counted() -> None:
    with pytest.raises(WheelError, match="10,001 requirements; 10,000 are taken"):
        metadata.requirements("Requires-Dist: a\n" * 10_001)


def test_a_field_with_many_lines_is_read_in_one_pass() -> None:
    text = "Metadata-Version: 2.1\nName: demo\nVersion: 1\nLicense: x\n" + " y\n" * 60_000
    assert metadata.parse_metadata(text) == ("demo", "1")


def test_deep_names_are_compared_component_by_component() -> None:
    deep = [f"{'a/' * 30_000}{number}" for number in range(8)]
    assert metadata.name_clash(deep) is None
    assert metadata.name_clash([*deep, f"{'a/' * 20_000}a"]) is not None
    assert [one.check for one in faults.of_names([*deep, "A/b"])].count("names") == 9


# Shared objects


def changed(at: int, form: str, value: int) -> bytes:
    """Return the library with another number at an offset."""
    out = bytearray(LIBRARY)
    struct.pack_into(f"<{form}", out, at, value)
    return bytes(out)


def section(name: str) -> tuple[int, image.Section]:
    """Return where a section's header stands, and the section."""
    found = next(one for one in FAT.sections if one.name == name)
    return FAT.shoff + found.index * image.SHDR.size, found


def test_a_name_without_an_end_is_looked_for_no_further_than_names_are_long() -> None:
    names = image.Strings(b"a" * (1 << 20), "x")
    with pytest.raises(ElfError, match="a name is too long"):
        names.at(0)
    with pytest.raises(ElfError, match="a name leaves its string table"):
        names.at((1 << 20) - 5)


def test_names_that_share_a_huge_one_are_in_proportion_to_their_table() -> None:
    names = image.Strings(b"a" * 60_000 + b"\0", "x")
    assert len({id(names.at(0)) for _ in range(60_000)}) == 1
    with pytest.raises(ElfError, match="names overlap to more than 16 times their string table"):
        list(map(names.at, range(60_000)))


def test_segments_are_counted_before_sections_are_looked_for_in_them() -> None:
    with pytest.raises(ElfError, match="or too many"):
        image.parse(changed(56, "H", 300), where="x")


def test_a_symbol_table_is_read_once_however_many_sections_name_it() -> None:
    at, _ = section(".rodata")
    with pytest.raises(ElfError, match="several symbol tables of one kind"):
        image.parse(changed(at + 4, "I", image.SHT_DYNSYM), where="x")


def test_fat_binaries_are_read_once_however_many_sections_name_them() -> None:
    (fat_at, _), (at, _) = section(".nv_fatbin"), section(".rodata")
    out = bytearray(LIBRARY)
    out[at : at + 40] = out[fat_at : fat_at + 40]
    found = image.loaded(bytes(out), where="x")
    with pytest.raises(FatbinError, match=r"two sections of fat binaries overlap"):
        library.code(found, lenient=False)
    assert library.code(found, lenient=True)[1] == ["x: two sections of fat binaries overlap"]


def test_relocations_are_no_more_than_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_relative", lambda _: itertools.repeat((0, 0, 0)))
    with pytest.raises(ElfError, match="more relocations than words"):
        list(image.relative(FAT))


def test_versions_of_symbols_are_no_more_than_their_table_has_room_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "_version_names", lambda *_: itertools.repeat(0))
    (tmp_path / "x.so").write_bytes(LIBRARY)
    assert library.read(tmp_path / "x.so").versions in {(), ("",)}


def packed(count: int) -> bytes:
    """Return a fat binary whose entries claim to unpack to a megabyte each."""
    one = bytearray(gpucode.entry(bytes(8), flags=0x8011))
    struct.pack_into("<I", one, 16, 8)
    struct.pack_into("<Q", one, 56, 1 << 20)
    return gpucode.fat(*[bytes(one)] * count)


def test_what_is_packed_is_in_proportion_to_its_file() -> None:
    data = memoryview(packed(2_000))
    assert len(data) < 200_000
    with pytest.raises(FatbinError, match="its images claim to unpack to 2097152000 bytes"):
        device.of_section(data, where="x")
    assert "claim to unpack" in device.elsewhere(data, (), where="x")[1][0]
    assert len(fatbin.parse(data, where="x")) == 1


def test_kernels_of_ptx_in_one_line_are_found_in_one_pass() -> None:
    text = b".version 8.0\n.target sm_80\n" + b"".join(
        b".entry k%d() {} " % number for number in range(50_000)
    )
    assert len(kernels.of_ptx(text)) == 50_000


# Lock files and patches


def requirements(text: str) -> str:
    """Return why a requirements.txt is refused."""
    with pytest.raises(UsageError) as refused:
        readers.read(text.encode(), name="requirements.txt")
    return str(refused.value)


def test_spaces_in_requirements_are_passed_over_in_one_step() -> None:
    assert "is not pinned with ==" in requirements(f"demo{' ' * 200_000}#x")
    assert "a requirement of 200,001 characters" in requirements(f"demo{' ' * 199_996}x")
    assert readers.read(f"demo==1{' ' * 200_000}# x".encode(), name="requirements.txt")[0].version == "1"


def test_lines_and_words_of_requirements_have_an_end() -> None:
    assert "262,144 are taken" in requirements("demo==1" + " \\\n --hash=sha256:a" * 20_000)
    assert "an option of more than 4,096 characters" in requirements("--hash=" + "a" * 100_000)


def test_lines_of_a_lock_are_counted_once_for_all_its_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    count = readers._lines
    monkeypatch.setattr(readers, "_lines", lambda text, head: asked.append(head) or count(text, head))
    with pytest.raises(UsageError, match=r"line 57: package\[18\] \(a\): version: missing") as refused:
        readers.read(b"version = 1\n\n" + b'[[package]]\nname = "a"\n\n' * 2_001, name="uv.lock")
    assert asked == ["[[package]]"]
    assert "and 1981 more" in str(refused.value)


def test_headers_of_patches_are_taken_apart_in_one_pass() -> None:
    found = header.parts("Breaks: a\n" + " b\n" * 200_000 + "\ntext")
    assert len(found.fields) == 1
    assert found.text == "text"


def test_a_series_of_many_names_is_read_in_one_pass() -> None:
    names = "".join(f"{number:04}-x{number}.patch\n" for number in range(30_000))
    with pytest.raises(SeriesError):
        series.parse_series({"series": names.encode()}, where="x")


def test_a_mail_in_a_mail_in_a_mail_is_refused() -> None:
    inside = "From a Mon Sep 17 00:00:00 2001\nSubject: x\n"
    inside += "Content-Type: message/rfc822\n\n" * 3_000
    with pytest.raises(SeriesError, match=r"nested too deeply|holds no diff"):
        incoming.read(inside.encode(), name="x.mbox")


def test_texts_by_which_faults_are_known_have_an_end() -> None:
    with pytest.raises(ValueError, match="2,000 are taken"):
        symptom.parse("[when " * 10_000)


# Archives and the network


def test_a_long_name_of_a_tar_member_is_not_read_without_an_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match="8,589,934,592 bytes"), tar.opened(tmp_path / "x.tar") as archive:
        archive.getmembers()


def answer(*pieces: bytes, **headers: str) -> Any:
    """Return what stands for an answer of a server: these pieces, and then it ends."""
    source = io.BytesIO(b"".join(pieces))
    rest = iter(map(len, pieces))
    raw = SimpleNamespace(read1=lambda _, **__: source.read(next(rest, 1)))
    return SimpleNamespace(raw=raw, headers={name.replace("_", "-"): text for name, text in headers.items()})


def ticking(step: float) -> Any:
    """Return a clock that goes on by so many seconds each time it is looked at."""
    times = itertools.count(0.0, step)
    return lambda: next(times)


def test_a_download_has_an_upper_size() -> None:
    found = transfer.pieces(answer(b"a" * 10, b"b" * 10), 15, clock=ticking(0))
    assert next(found) == b"a" * 10
    with pytest.raises(transfer.TransferError, match="sends more than the 0 kB that are taken"):
        next(found)


def test_a_server_that_sends_a_byte_a_minute_is_left() -> None:
    with pytest.raises(
        transfer.TransferError, match="the server sends 0 bytes a second; 1,000 are waited for"
    ):
        list(transfer.pieces(answer(*[b"a"] * 60), 1_000, clock=ticking(59)))
    slow = answer(*[bytes(70_000)] * 60)
    assert sum(map(len, transfer.pieces(slow, 1 << 30, clock=ticking(60)))) == 60 * 70_000


def test_a_page_has_to_come_in_time() -> None:
    with pytest.raises(transfer.TransferError, match="did not send all of it within 300 s"):
        transfer.body(answer(*[bytes(100_000)] * 60), 1 << 30, clock=ticking(30))


@pytest.mark.parametrize(
    ("said", "count"), [("12", 12), ("abc", 0), ("-1", 0), ("", 0), ("9" * 5_000, 0), ("١٢", 0)]
)
def test_a_length_that_is_no_number_announces_nothing(said: str, count: int) -> None:
    assert transfer.announced(answer(Content_Length=said)) == count


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<a>" * 900_000, "text/html"), (b"[" + b"{}," * 900_000, "application/vnd.pypi.simple.v1+json")],
)
def test_links_of_a_page_are_counted_before_it_is_read(body: bytes, kind: str) -> None:
    with pytest.raises(ValueError, match="it has more than 200,000 links"):
        pages.read(body, kind, "https://example.org/demo/", "demo")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'<a href="x">%s.zip</a><a href="demo-1.zip">demo-1.zip</a>', "text/html"),
        (
            b'{"meta": {"api-version": "1.0"}, "name": "demo", "files": ['
            b'{"filename": "%s.zip", "url": "x", "hashes": {}}, {"filename": "demo-1.zip", "url": "x", "hashes": {}}]}',
            "application/vnd.pypi.simple.v1+json",
        ),
    ],
)
def test_a_name_that_no_file_has_is_left_out_before_it_is_taken_apart(body: bytes, kind: str) -> None:
    page = pages.read(body % (b"demo-1" * 20_000), kind, "https://example.org/demo/", "demo")
    assert [one.filename for one in page.packages] == ["demo-1.zip"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"[" * 100_000, "application/vnd.pypi.simple.v1+json"), (b"", "image/png"),
     (b'{"files": 1}', "application/vnd.pypi.simple.v1+json"), (b"\xff", "application/vnd.pypi.simple.v1+json"),
     (b'<meta name="pypi:repository-version" content="9.0">', "text/html; charset=x")],
)  # fmt: skip
def test_a_page_that_is_none_is_a_value_error_without_its_address(body: bytes, kind: str) -> None:
    with pytest.raises(ValueError) as refused:
        pages.read(body, kind, "https://user:secret@example.org/demo/", "demo")
    assert "secret" not in str(refused.value)
