"""Which CUDA made a library: its machine code says it, or the version of its PTX; each way is named."""

from __future__ import annotations

import pytest

from retread.arch import Arch
from retread.elf import release
from retread.elf.release import HEADER, LANGUAGE, NAMED, Told

NAME = b"Cuda compilation tools, release 13.2, V13.2.86\0"


def _cubin(*, version: int, abi: int) -> bytes:
    return bytes([0x7F, *b"ELF", 2, 1, 1, 51, abi, *bytes(11), version, 0, 0, 0])


@pytest.mark.parametrize(
    ("data", "notes", "told"),
    [
        (_cubin(version=126, abi=7), [], Told("12.6", HEADER)),
        (_cubin(version=118, abi=7), [b"something else"], Told("11.8", HEADER)),
        (_cubin(version=1, abi=8), [b"\0ptxas\0" + NAME], Told("13.2.86", NAMED)),
        (_cubin(version=126, abi=8), [], Told()),
        (_cubin(version=1, abi=7), [], Told()),
    ],
)
def test_machine_code_says_which_ptxas_made_it(data: bytes, notes: list[bytes], told: Told) -> None:
    assert release.of_cubin(data, map(memoryview, notes)) == told


def test_ptx_says_its_release_where_only_one_wrote_it() -> None:
    assert release.of_ptx((8, 7)) == Told("12.8", LANGUAGE)
    assert release.of_ptx((8, 5)) == Told()


def test_the_release_of_most_machine_code_built_the_library() -> None:
    found = [(Told("12.6", HEADER), Arch("8.0"), False)] * 2
    found += [(Told("12.6", HEADER), Arch("9.0"), False), (Told("12.8.93", NAMED), Arch("10.0"), False)]
    found += [(Told("12.8", LANGUAGE), Arch("8.0"), True)] * 9 + [(Told(), Arch("7.0"), True)]
    made = release.grouped(found)
    assert [(one.cuda, one.images, one.sass, one.ptx) for one in made] == [
        ("12.8", 9, (), ("8.0",)),
        ("12.6", 3, ("8.0", "9.0"), ()),
        ("12.8.93", 1, ("10.0",), ()),
    ]
    assert list(release.assemblers(made)) == ["12.6", "12.8"]
    assert release.builder(made) == "12.6"
    assert release.builder(made[:1]) == "12.8"
    assert not release.builder(())
