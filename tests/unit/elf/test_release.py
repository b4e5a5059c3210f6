"""Which CUDA made a library: the PTX that it holds says it, or what ptxas left in its machine code."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from retread.elf import fatbin, release
from retread.elf.fatbin import Entry, FatBinary, Kind

DATA = Path(__file__).parents[2] / "data" / "fatbin"
NAMED = b"Cuda compilation tools, release 13.2, V13.2.86"


def _with(entries: tuple[Entry, ...]) -> FatBinary:
    (one,) = fatbin.parse((DATA / "plain.fatbin").read_bytes(), where="lib.so")
    return replace(one, entries=entries)


def _entry(kind: Kind, isa: tuple[int, int] = (1, 7), payload: bytes = b"") -> Entry:
    (one,) = fatbin.parse((DATA / "plain.fatbin").read_bytes(), where="lib.so")
    return replace(one.entries[0], kind=kind, isa=isa, flags=0x11, size=0, payload=memoryview(payload))


def test_ptx_says_its_release_where_only_one_wrote_it() -> None:
    assert release.release([_with((_entry(Kind.PTX, (8, 7)),))]) == "12.8"
    assert release.release([_with((_entry(Kind.PTX, (8, 5)),))]) == ""
    assert release.release([]) == ""


def test_the_release_of_most_modules_counts() -> None:
    some = [_with((_entry(Kind.PTX, isa),)) for isa in ((8, 7), (9, 0), (9, 0))]
    assert release.release(some) == "13.0"


def test_machine_code_names_its_assembler_where_there_is_no_ptx() -> None:
    assert release.release([_with((_entry(Kind.ELF, payload=b"\x7fELF" + NAMED),))]) == "13.2"
    assert release.release([_with((_entry(Kind.ELF, payload=b"\x7fELF"),))]) == ""
