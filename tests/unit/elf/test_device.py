"""GPU code in any bytes, and whom it serves: the kernel counts, not the module."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import lz4.block
import pytest
import zstandard

import gpucode
from gpucode import ADD80, ADD90, PTX, RELOCATABLE, STUB, entry, fat, renamed
from retread.arch import Arch
from retread.elf import device, facts, fatbin, kernels
from retread.elf.facts import CodeFacts, Served
from retread.elf.fatbin import Packed
from retread.elf.finding import Finder, Passing

A80, A90, A100 = Arch("8.0"), Arch("9.0"), Arch("10.0")


def read(*fatbins: bytes, names: bool = False) -> CodeFacts:
    """Return the facts of a section of these fat binaries."""
    codes, unread = device.of_section(memoryview(b"".join(fatbins)), where="x.so")
    found = device.survey(codes, names=names)
    return CodeFacts(
        kind="x",
        modules=found.modules,
        relocatable=found.relocatable,
        kernels=found.kernels,
        unread=tuple(unread),
    )


def test_a_module_without_kernels_has_no_say() -> None:
    """nvcc's link step adds one to every library; it has machine code for what was linked, and never PTX."""
    found = read(fat(entry(STUB)), fat(entry(ADD80), entry(PTX, kind=1)))
    assert [one.kernels for one in found.modules] == [0, 1]
    assert facts.coverage(found, A80) == "native"
    assert facts.coverage(found, A100) == "jit"
    assert facts.coverage(found, Arch("7.5")) == "none"
    assert facts.served(found, A100) == Served(native=0, jit=1, none=0, modules=1, of_modules=1)


def test_modules_for_some_gpus_each_serve_theirs() -> None:
    found = read(fat(entry(ADD80)), fat(entry(renamed(ADD90, b"sub_one"), sm=90, flags=0x100011)), names=True)
    assert facts.served(found, A90) == Served(native=1, jit=0, none=1, modules=1, of_modules=2)
    assert facts.coverage(found, A90) == facts.coverage(found, A80) == "part"
    assert facts.coverage(found, A100) == "none"
    assert facts.lacking(found, A90) == ("add_one",)
    assert facts.lacking(found, A100) == ("add_one", "sub_one")


def test_a_kernel_that_any_module_offers_is_there() -> None:
    found = read(fat(entry(ADD80)), fat(entry(ADD90, sm=90, flags=0x100011)))
    assert [one.count for one in found.kernels] == [1]
    assert facts.coverage(found, A80) == facts.coverage(found, A90) == "native"


def test_names_are_there_only_when_they_were_asked_for() -> None:
    assert read(gpucode.PLAIN).kernels[0].names == ()
    assert read(gpucode.PLAIN, names=True).kernels[0].names == ("add_one",)


def test_what_must_be_linked_first_offers_its_ptx_and_no_machine_code() -> None:
    later = fat(entry(RELOCATABLE), entry(PTX, kind=1, options=b"--compile-only"))
    found = read(fat(entry(ADD80)), later)
    assert (len(found.modules), len(found.relocatable)) == (1, 1)
    assert facts.coverage(found, A80) == "native"
    assert facts.coverage(found, A100) == "jit"
    alone = read(later)
    assert (len(alone.modules), facts.coverage(alone, A80)) == (0, "jit")


def test_code_for_link_time_optimisation_counts_for_no_kernel() -> None:
    found = read(fat(entry(b"LTO IR..", kind=8)), gpucode.PLAIN)
    assert [(one.sass, one.kernels) for one in found.modules] == [((), None), (("8.0", "9.0a"), 1)]
    assert facts.served(found, A80) == Served(native=1, jit=0, none=0, modules=1, of_modules=1)


def test_an_image_that_cannot_be_read_is_named_and_counts_as_one_kernel() -> None:
    found = read(fat(entry(ADD80)), fat(entry(b"no cubin", sm=90)))
    assert found.unread == ("x.so: module 1, offset 0xb08: no ELF file",)
    assert facts.served(found, A80) == Served(native=1, jit=0, none=1, modules=1, of_modules=2)


@pytest.mark.parametrize("before", [0, 1, 5, 4093])
def test_fat_binaries_and_cubins_are_found_wherever_they_lie(before: int) -> None:
    data = b"\x50" * before + gpucode.PLAIN + b"\x7fELF" + ADD90 + bytes(3) + fat(entry(STUB)) + b"\xed"
    codes, unread = device.elsewhere(memoryview(data), (), where="x")
    assert [[(one.arch, sorted(one.kernels or ())) for one in code.images] for code in codes] == [
        [("8.0", ["add_one"]), ("8.0", ["add_one"]), ("9.0a", ["add_one"])],
        [("9.0a", ["add_one"])],
        [("8.0", [])],
    ]
    assert not unread


def test_what_is_taken_is_not_found_again() -> None:
    data = gpucode.PLAIN * 3
    size = len(gpucode.PLAIN)
    for taken, left in (((), 3), (((0, size),), 2), (((size, 2 * size),), 2), (((0, 3 * size),), 0)):
        assert len(device.elsewhere(memoryview(data), taken, where="x")[0]) == left


def test_a_template_is_no_code_and_a_broken_one_is_named() -> None:
    """Programs that read fat binaries hold such headers; one that promises more than there is, is corrupt."""
    assert device.elsewhere(memoryview(fat() + bytes(64)), (), where="x") == ([], [])
    broken = memoryview(bytes(16) + gpucode.PLAIN[:3000])
    codes, unread = device.elsewhere(broken, (), where="lib.dll")
    assert [[one.arch for one in code.images] for code in codes] == [["8.0"]], (
        "its cubins are there all the same"
    )
    assert unread == ["lib.dll: at 0x10: offset 0x10 promises 6472 bytes, more than there are"]


def test_a_file_full_of_broken_ones_is_given_up() -> None:
    codes, unread = device.elsewhere(memoryview(fatbin.START * 100_000), (), where="x")
    assert not codes
    assert len(unread) == 21
    assert unread[-1] == "x: what lies behind 0xa0, after 20 broken ones"


def test_an_image_that_grows_without_measure_is_not_unpacked() -> None:
    packed = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    bomb = bytearray(fat(entry(packed, kind=1, flags=0x8011)))
    struct.pack_into("<I", bomb, 16 + 16, len(packed))
    struct.pack_into("<Q", bomb, 16 + 56, 64 << 20)
    found = read(bytes(bomb))
    assert found.unread == ("x.so: module 0, offset 0x10: claims to unpack to 67108864 bytes",)
    assert [one.kernels for one in found.modules] == [None]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PTX, True), (b"\n\n.version 8.7\n", True), (b"/* a */ // b\n.version 1.4", True), (b".version x", False),
        (b"version 8.7", False), (b"", False), (b"/**/" * 1000, False), (b"/*" * 2000, False),
    ],
)  # fmt: skip
def test_ptx_is_told_by_its_first_words(head: bytes, expected: bool) -> None:
    assert device.is_ptx(head) is expected


@pytest.mark.parametrize("window", [20, 21, 64, device.WINDOW])
@pytest.mark.parametrize("find", [device.PLAIN.find, Finder()])
def test_code_is_found_wherever_the_windows_of_the_search_end(
    window: int, find: Callable[[memoryview], Sequence[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "WINDOW", window)
    looked, behind = list[int](), list[None]()

    def counted(data: memoryview) -> Sequence[int]:
        looked.append(len(data))
        return find(data)

    data = memoryview(bytes(50) + ADD80[:2000] + gpucode.PLAIN + bytes(13) + gpucode.PLAIN)
    means = device.PLAIN._replace(behind=lambda: behind.append(None), find=counted)
    codes, _ = device.elsewhere(data, (), where="x", means=means)
    assert len(codes) == 2
    assert max(looked) <= window
    assert len(behind) >= len(looked) // 32


@pytest.mark.parametrize("size", [1, 7, 19, 20, 21, 64, 5000])
@pytest.mark.parametrize("code", [gpucode.PLAIN, ADD80], ids=["fat binary", "cubin"])
def test_what_begins_nothing_is_not_read_again_and_nothing_else_is_passed_over(
    size: int, code: bytes
) -> None:
    host = b"\x7fELF\x02\x01\x01" + bytes(500) + fatbin.START[:-1]
    data = memoryview(host + code)
    passing, looked = Passing(), list[int]()
    assert (
        b"".join(passing.through(data[at : at + size].tobytes() for at in range(0, len(data), size))) == data
    )
    assert len(host) - size - 20 <= passing.bare <= len(host)

    def counted(window: memoryview) -> Sequence[int]:
        looked.append(len(window))
        return device.PLAIN.find(window)

    means = device.PLAIN._replace(find=counted, bare=passing.bare)
    found, plain = (device.elsewhere(data, (), where="x", means=one)[0] for one in (means, device.PLAIN))
    assert [one.images[0].kernels for one in found] == [one.images[0].kernels for one in plain]
    assert len(found) == 1
    assert looked == [len(data) - passing.bare]


def test_images_of_one_room_do_not_see_what_was_there_before() -> None:
    """Memory is used again: what a longer image left behind a shorter one is no part of it."""
    [one] = fatbin.parse(fat(entry(PTX, kind=1)), where="x")
    texts = [PTX + b"\n.entry left_over()", PTX]
    packs = [lz4.block.compress(text, store_size=False) for text in texts]
    made = [
        fatbin.stored(one.entries[0], pack, Packed.LZ4, size=len(text))
        for pack, text in zip(packs, texts, strict=True)
    ]
    [one] = fatbin.parse(fat(*made), where="x")
    room = fatbin.Room()
    assert [bytes(fatbin.unpacked(each, room)) for each in one.entries] == texts
    found = [kernels.of_entry(each, room).kernels for each in one.entries]
    assert found == [{"add_one", "left_over"}, {"add_one"}]


def test_memory_for_the_images_of_a_fat_binary_is_asked_for_once() -> None:
    [one] = fatbin.parse(fat(entry(PTX, kind=1)), where="x")
    texts = [PTX + bytes(size) for size in (0, 5000, 90_000, 2_000_000)]
    packs = [lz4.block.compress(text, store_size=False) for text in texts]
    made = [
        fatbin.stored(one.entries[0], pack, Packed.LZ4, size=size)
        for pack, size in zip((*packs, PTX), (*map(len, texts), 1 << 40), strict=True)
    ]
    [one] = fatbin.parse(fat(*made), where="x")
    room = fatbin.Room()
    room.make(one)
    memory = room.of(0).obj
    _, unread = device.of_fat_binary(one, room)
    assert room.of(0).obj is memory
    assert [fault.rpartition(": ")[2] for fault in unread] == [f"claims to unpack to {1 << 40} bytes"]
