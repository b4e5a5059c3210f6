"""Images packed anew: the bytes of NVIDIA's own packer where it packs by zstd, and never other code."""

from __future__ import annotations

from pathlib import Path

import pytest

from retread.elf import fatbin, packing
from retread.elf.facts import Mode
from retread.elf.fatbin import FatBinary

DATA = Path(__file__).parents[2] / "data" / "fatbin"


def one(mode: str) -> FatBinary:
    (found,) = fatbin.parse((DATA / f"nvidia.{mode}.fatbin").read_bytes(), where="lib.so")
    return found


def packed(old: FatBinary, mode: Mode) -> bytes:
    return fatbin.parted(old, {index: packing.packed(each, mode) for index, each in enumerate(old.entries)})


@pytest.mark.parametrize("old", ["none", "speed", "balance", "size"])
@pytest.mark.parametrize("mode", [Mode.BALANCE, Mode.SIZE])
def test_zstd_is_what_nvidia_s_packer_writes(old: str, mode: Mode) -> None:
    assert packed(one(old), mode) == bytes(one(mode).data)


def test_lz4_unpacks_to_the_same_and_takes_no_more_than_nvidia_s() -> None:
    (ours,) = fatbin.parse(packed(one("size"), Mode.SPEED), where="new.so")
    assert [fatbin.image(each) for each in ours.entries] == [
        fatbin.image(each) for each in one("speed").entries
    ]
    assert [each.flags for each in ours.entries] == [each.flags for each in one("speed").entries]
    assert ours.size < one("speed").size


@pytest.mark.parametrize(
    ("mode", "release"), [("none", ""), ("speed", ""), ("balance", "12.4"), ("size", "12.4")]
)
def test_zstd_asks_for_a_driver_and_lz4_for_none(mode: str, release: str) -> None:
    assert packing.driver([one(mode)]) == release


def test_what_packing_makes_larger_stays_plain() -> None:
    first = one("none").entries[0]
    noise = bytes(range(256))
    entry = fatbin.stored(first, noise, None)
    (small,) = fatbin.parse(fatbin.parted(one("none"), {0: entry}), where="new.so")
    assert packing.packed(small.entries[0], Mode.SPEED) == entry


def test_some_images_alone_keep_every_byte() -> None:
    old = one("size")
    (new,) = fatbin.parse(fatbin.parted(old, {1: None, 3: None}), where="new.so")
    assert [(each.header, each.payload) for each in new.entries] == [
        (each.header, each.payload) for each in (old.entries[1], old.entries[3])
    ]
