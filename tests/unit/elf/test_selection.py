"""What the driver picks of a module, and what therefore has to stay in it."""

from __future__ import annotations

import pytest

from gpucode import entry, fat
from retread.arch import Arch
from retread.elf import fatbin, selection

F, A = 0x20_0011, 0x10_0011


def module(*images: bytes) -> fatbin.FatBinary:
    (found,) = fatbin.parse(fat(*images), where="lib.so")
    return found


def elf(sm: int, flags: int = 0x11) -> bytes:
    return entry(bytes(64), sm=sm, flags=flags)


def ptx(sm: int, flags: int = 0x11) -> bytes:
    return entry(b".version 8.7", kind=1, sm=sm, flags=flags)


ALL = module(elf(80), elf(86), elf(90), elf(90, A), elf(100, F), ptx(80), ptx(90, A))


@pytest.mark.parametrize(
    ("device", "picked"),
    [
        ("7.5", []),
        ("8.0", ["ELF 8.0"]),
        ("8.6", ["ELF 8.6"]),
        ("8.7", ["PTX 8.0"]),  # no machine code crosses into a system on a chip
        ("8.9", ["ELF 8.6"]),
        ("9.0", ["ELF 9.0", "ELF 9.0a"]),  # which is first, nothing says
        ("10.0", ["ELF 10.0f"]),
        ("10.3", ["ELF 10.0f"]),
        ("12.0", ["PTX 8.0"]),  # PTX for 9.0a serves 9.0 alone
    ],
)
def test_a_gpu_runs_the_newest_code_for_it(device: str, picked: list[str]) -> None:
    assert [f"{one.kind.name} {one.arch}" for one in selection.chosen(ALL, Arch(device))] == picked


@pytest.mark.parametrize(
    ("devices", "drop", "kept"),
    [
        (["8.6"], False, [1, 5, 6]),
        (["8.6", "10.3"], True, [1, 4]),
        (["12.0"], True, [5]),  # what is needed stays
        (["7.5"], True, [5]),  # nothing is: the smallest stays
    ],
)
def test_what_stays_is_what_they_pick(devices: list[str], drop: bool, kept: list[int]) -> None:
    found = selection.kept(ALL, [Arch(one) for one in devices], drop_ptx=drop)
    assert sorted(found) == kept
