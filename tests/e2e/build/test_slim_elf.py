"""Slim libraries in the hands of others: the loader, readelf, another reader of ELF, and NVIDIA's cuobjdump."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from retread.arch import Arch
from retread.build import slim
from retread.elf import fatbin, library
from retread.elf.facts import Mode

DATA = Path(__file__).parents[2] / "data" / "fatbin"
LIBRARIES = ("libadd.so", "libadd-relr.so", "libadd-rpath.so", "libadd-aarch64.so")
FOLLOW = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.wrappers.restype = ctypes.c_void_p
first = library.wrappers()
library.caller()
for number in range(3):
    pointer = ctypes.c_uint64.from_address(first + 24 * number + 8).value
    size = 16 + ctypes.c_uint64.from_address(pointer + 8).value
    print(ctypes.string_at(pointer, size).hex())
"""


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("mode", [None, Mode.SPEED, Mode.SIZE])
def test_the_loader_and_other_readers_find_what_is_left(name: str, mode: Mode | None, tmp_path: Path) -> None:
    source, new = DATA / name, tmp_path / name
    wish = slim.Slim(keep=(Arch("9.0"),), drop_ptx=True, compress=mode)
    slim.slim(source, new, wish, lambda done, total: None)
    assert new.stat().st_size < source.stat().st_size
    assert not subprocess.run(["readelf", "-aW", new], capture_output=True, check=True).stderr
    before, after = _sections(source), _sections(new)
    changed = {one for one, data in before.items() if after[one] != data}
    assert changed <= {".nv_fatbin", ".nvFatBinSegment", ".rela.dyn", ".data", ".dynamic", ".symtab"}
    modules = [bytes(one.data) for one in fatbin.parse(after[".nv_fatbin"], where=name)]
    assert [one.arch for one in fatbin.parse(modules[0], where=name)[0].entries] == ["9.0a"]
    if "aarch64" not in name:
        line = [sys.executable, "-c", FOLLOW, str(new)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert [bytes.fromhex(line) for line in done.stdout.split()] == modules[:3]


def _sections(path: Path) -> dict[str, bytes]:
    """Return every section's bytes, read by somebody else's code."""
    with path.open("rb") as file:
        return {section.name: section.data() for section in ELFFile(file).iter_sections()}


@pytest.mark.parametrize("strip", [("strip",), ("strip", "--strip-debug")])
def test_it_can_be_stripped_and_slimmed_again(strip: tuple[str, ...], tmp_path: Path) -> None:
    first, second = tmp_path / "1.so", tmp_path / "2.so"
    both = slim.Slim(keep=(Arch("8.0"), Arch("9.0")), drop_ptx=True, compress=Mode.BALANCE)
    slim.slim(DATA / "libadd.so", first, both, lambda done, total: None)
    subprocess.run([*strip, first], check=True)
    one = slim.Slim(keep=(Arch("8.0"),), drop_ptx=True, compress=None)
    slim.slim(first, second, one, lambda done, total: None)
    assert {module.sass for module in library.read(second).modules} == {("8.0",)}
    assert second.stat().st_size < first.stat().st_size
