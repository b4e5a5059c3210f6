"""Packing the images of fat binaries again, as ``nvcc --compress-mode`` has it done. Pure.

Measured on fatbinary 13.0.88, whose zstd frames come out of ``balance`` and ``size`` byte for byte. Its LZ4 is another
program than ours, which packs closer; both are LZ4 blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import lz4.block
import zstandard

from retread import limits
from retread.elf import fatbin
from retread.elf.facts import Mode
from retread.elf.fatbin import Entry, FatBinary, Kind, Packed

_LEVELS: Final = {Mode.BALANCE: 5, Mode.SIZE: 19}
_LZ4: Final = 12
ZSTD_DRIVER: Final = "12.4"
"""The CUDA release of the first driver that reads zstd. Source: NVIDIA's manual of nvcc, ``--compress-mode``."""


def packed(entry: Entry, mode: Mode) -> bytes:
    """Return an image's entry, packed anew; plain where that is not larger. Raises FatbinError.

    Machine code keeps the zeros behind it, of which nothing tells how many are its own; plain PTX keeps one.
    """
    content = fatbin.image(entry)
    if entry.kind is Kind.PTX and not fatbin.is_packed(entry):
        content = fatbin.ptx(entry) + b"\0"
    payload = _zstd(content, _LEVELS[mode]) if mode in _LEVELS else _lz4(content)
    if len(payload) >= len(content) or len(content) > limits.RATIO * len(payload) + limits.ANY_RATIO:
        return fatbin.stored(entry, content, None)
    return fatbin.stored(entry, payload, Packed.ZSTD if mode in _LEVELS else Packed.LZ4, size=len(content))


def driver(modules: Iterable[FatBinary]) -> str:
    """Return the CUDA release of the oldest driver that unpacks all images; nothing where each does."""
    return ZSTD_DRIVER if any(fatbin.is_zstd(one) for module in modules for one in module.entries) else ""


def _zstd(content: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(content)


def _lz4(content: bytes) -> bytes:
    return bytes(lz4.block.compress(content, mode="high_compression", compression=_LZ4, store_size=False))
