#!/usr/bin/env python3
"""Measure `inspect` and `audit` of large wheels beside inflating and hashing the same members on the same cores.

The wheels are named on the command line (`pip download --no-deps libcuvs-cu12 triton` brings some). The limit is
another program: it inflates every member, the largest first, on all cores, checks the CRC and takes the SHA-256.
Processor seconds are told beside the clock's: other work on the machine changes them less. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import say

CHUNK = 1 << 20


def main() -> None:
    """Print the table; with --limit, be the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--limit", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.limit:
        inflate(options.wheels[0])
        return
    print("| wheel | what | clock | processor | x limit, clock | x limit, processor | peak memory |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for wheel in options.wheels:
        limit = took([sys.executable, __file__, "--limit", str(wheel)])
        words = ("inspect", "audit")
        lines = [("inflate and hash", limit)]
        lines += [(f"`{word}`", took([sys.executable, "-m", "retread", word, str(wheel)])) for word in words]
        for what, one in lines:
            times = f"{one[0]:.1f} s | {one[1]:.1f} s | {one[0] / limit[0]:.2f} | {one[1] / limit[1]:.2f}"
            name = f"{wheel.name.split('-')[0]}, {wheel.stat().st_size / 1e6:.0f} MB"
            print(f"| {name} | {what} | {times} | {one[2]:.0f} MB |", flush=True)


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


def inflate(path: Path) -> None:
    """Inflate and hash every member of a wheel."""
    with zipfile.ZipFile(path) as archive:
        members = sorted(archive.infolist(), key=lambda one: -one.file_size)
    fd = os.open(path, os.O_RDONLY)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda one: _member(fd, one), members))


def _member(fd: int, member: zipfile.ZipInfo) -> None:
    head = os.pread(fd, 30, member.header_offset)
    at = (
        member.header_offset
        + 30
        + int.from_bytes(head[26:28], "little")
        + int.from_bytes(head[28:30], "little")
    )
    machine = zlib.decompressobj(-zlib.MAX_WBITS if member.compress_type else zlib.MAX_WBITS)
    digest, crc, end = hashlib.sha256(), 0, at + member.compress_size
    while at < end:
        data = os.pread(fd, min(CHUNK, end - at), at)
        at += len(data)
        while data:
            out = machine.decompress(data, CHUNK) if member.compress_type else data
            data = machine.unconsumed_tail if member.compress_type else b""
            digest.update(out)
            crc = zlib.crc32(out, crc)
    if crc != member.CRC:
        raise SystemExit(f"{member.filename} is corrupt")


if __name__ == "__main__":
    main()
