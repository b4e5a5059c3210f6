#!/usr/bin/env python3
"""Measure `inspect` and `audit` of large wheels beside inflating and hashing the same members on the same cores.

The wheels are named on the command line (`pip download --no-deps libcuvs-cu12 triton` brings some). The limit is
another program: it inflates every member, the largest first, on all cores, checks the CRC and takes the SHA-256. Where
libraries hold packed images of GPU code, a second limit unpacks these as well, each from a file that was made of them
before: their kernels have no names elsewhere. It inflates by zlib, as Python does; the last limit is told a second time
with zlib-ng, by which retread inflates. Each is the median of some runs, taken in turn. Processor seconds are
told beside the clock's: other work on the machine changes them less. Nothing is asserted; ``--write`` puts the table
into docs/development/benchmarks-looking.md.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import mmap
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import cramjam
import zstandard
from zlib_ng import zlib_ng

from measure import ROOT, say

CHUNK = 1 << 20
PAGE = ROOT / "docs" / "development" / "benchmarks-looking.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEAD = struct.Struct("<?QQ")
"""Of an image in the file of images: whether it is packed by zstd, its bytes as packed and unpacked."""


def main() -> None:
    """Print the table; with --limit, be the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    parser.add_argument("--runs", type=int, default=3, help="default: 3")
    parser.add_argument("--limit", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.limit:
        inflate(options.wheels[0], options.images, zlib_ng if options.quick else zlib)
        return
    lines = [
        "| wheel | what | clock | processor | x limit, clock | x limit, processor | x limit by zlib-ng, processor"
        " | peak memory |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for wheel in options.wheels:
        with tempfile.TemporaryDirectory(prefix="retread-bench-") as folder:
            lines += rows(wheel, Path(folder), options.runs)
    table = "\n".join(lines)
    print(table)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")


def rows(wheel: Path, work: Path, runs: int) -> Iterator[str]:
    """Yield the lines of a wheel; ratios are to the last limit, by zlib and by zlib-ng."""
    images = work / "images"
    unpacked = collect(wheel, work, images)
    limit = [sys.executable, __file__, "--limit", str(wheel)]
    commands = {"inflate and hash": limit}
    last = "inflate and hash"
    if unpacked:
        last = f"the same, and unpack {unpacked / 1e9:.2f} GB of images"
        commands[last] = [*limit, "--images", str(images)]
    commands[quick := "that, inflated by zlib-ng"] = [*commands[last], "--quick"]
    for word in ("inspect", "audit"):
        commands[f"`{word}`"] = [sys.executable, "-m", "retread", word, str(wheel)]
    found: dict[str, list[tuple[float, float, float]]] = {what: [] for what in commands}
    for _ in range(runs):
        for what, command in commands.items():
            found[what].append(took(command))
    middle = {
        what: [statistics.median(column) for column in zip(*each, strict=True)]
        for what, each in found.items()
    }
    for what, (clock, processor, memory) in middle.items():
        ratios = (clock / middle[last][0], processor / middle[last][1], processor / middle[quick][1])
        times = f"{clock:.1f} s | {processor:.1f} s | " + " | ".join(f"{ratio:.2f}" for ratio in ratios)
        name = f"{wheel.name.split('-')[0]}, {wheel.stat().st_size / 1e6:.0f} MB"
        yield f"| {name} | {what} | {times} | {memory:.0f} MB |"


def collect(wheel: Path, work: Path, images: Path) -> int:
    """Write the packed images of a wheel's members to a file; return how many bytes they unpack to."""
    from retread.elf import device, fatbin, library
    from retread.elf.fatbin import Entry

    say(f"collecting the images of {wheel.name}")
    total, member = 0, work / "member"
    with zipfile.ZipFile(wheel) as archive, images.open("wb") as out:
        for one in archive.infolist():
            if one.is_dir() or not one.file_size:
                continue
            with archive.open(one) as stream, member.open("wb") as content:
                while data := stream.read(CHUNK):
                    content.write(data)
            data = library.mapped(member, where=one.filename)
            for code in device.elsewhere(data, (), where=one.filename, means=library.means(data))[0]:
                for image in code.images:
                    held = image.held
                    if isinstance(held, Entry) and held.size and fatbin.is_packed(held):
                        out.write(
                            HEAD.pack(fatbin.is_zstd(held), len(held.payload), held.size)
                            + bytes(held.payload)
                        )
                        total += held.size
    return total


def took(command: list[str]) -> tuple[float, float, float]:
    """Return the seconds of a command by the clock and of the processor, and its peak memory in MB."""
    say(" ".join(command[1:]))
    program = (
        "import resource, subprocess, sys, time; t = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(time.perf_counter() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", program, *command], check=True, stdout=subprocess.PIPE)
    clock, processor, memory = map(float, done.stdout.split())
    return clock, processor, memory


def inflate(path: Path, images: Path | None, by: ModuleType) -> None:
    """Inflate and hash every member of a wheel, and unpack its images."""
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.infolist(), key=lambda one: -one.file_size)
    fd = os.open(path, os.O_RDONLY)
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda one: _member(fd, one, by), members))
        if images:
            list(
                pool.map(
                    lambda first: _unpack(itertools.islice(_images(images), first, None, cores)), range(cores)
                )
            )


def _images(path: Path) -> Iterator[tuple[bool, memoryview, int]]:
    """Yield the images of the file of images."""
    with path.open("rb") as file:
        data, at = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), 0
    while at < len(data):
        zstd, packed, size = HEAD.unpack_from(data, at)
        yield zstd, data[at + HEAD.size : at + HEAD.size + packed], size
        at += HEAD.size + packed


def _unpack(images: Iterator[tuple[bool, memoryview, int]]) -> None:
    """Unpack images one after the other, into memory that is there."""
    memory = bytearray()
    for zstd, packed, size in images:
        if size > len(memory):
            memory = bytearray(size)
        into = memoryview(memory)[:size]
        if zstd:
            with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
                reader.readinto(into)
        else:
            cramjam.lz4.decompress_block_into(packed, into, size)


def _member(fd: int, member: zipfile.ZipInfo, by: ModuleType) -> None:
    head = os.pread(fd, 30, member.header_offset)
    at = (
        member.header_offset
        + 30
        + int.from_bytes(head[26:28], "little")
        + int.from_bytes(head[28:30], "little")
    )
    machine = by.decompressobj(-zlib.MAX_WBITS if member.compress_type else zlib.MAX_WBITS)
    digest, crc, end = hashlib.sha256(), 0, at + member.compress_size
    while at < end:
        data = os.pread(fd, min(CHUNK, end - at), at)
        at += len(data)
        while data:
            out = machine.decompress(data, CHUNK) if member.compress_type else data
            data = machine.unconsumed_tail if member.compress_type else b""
            digest.update(out)
            crc = by.crc32(out, crc)
    if crc != member.CRC:
        raise SystemExit(f"{member.filename} is corrupt")


if __name__ == "__main__":
    main()
