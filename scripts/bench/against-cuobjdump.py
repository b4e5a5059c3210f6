"""Hold what retread reads in wheels against NVIDIA's cuobjdump: every image and every kernel of every file.

    python scripts/bench/against-cuobjdump.py [--cuobjdump PROGRAM ...] [--json FILE] WHEEL ...

Without PROGRAM, cuobjdump is that of the package index's nvidia-cuda-cuobjdump (``pip download``); where it cannot be
had, nothing is compared and the exit code is 77. Of several programs the next is asked where one gives up, since new
ones do not read machine code of CUDA 12.1. A line for each file with GPU code: images and kernels of both, how long
each took, and what only one of the two finds, by name. What is known to differ is counted apart, with its reason.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from retread import arch as archs
from retread.binary import files
from retread.elf import device, library
from retread.elf import image as ei
from retread.elf.fatbin import Kind

_SKIPPED: Final = 77
_LOOKED: Final = (".nv_fatbin", "__nv_relfatbin")
"""The sections in which cuobjdump looks."""
_HEAD: Final = re.compile(r"(?:Fatbin |Member .*:)?(elf|ptx) code:$", re.IGNORECASE)
_ARCH: Final = re.compile(r"arch = sm_(\d+[af]?)$")
_ENTRY: Final = re.compile(r"(?:STT_)?FUNC +\S+ +(?:\S+ +)?(?:STO_)?ENTRY +(\S+)$")
_KINDS: Final = {Kind.ELF: "elf", Kind.PTX: "ptx", Kind.OTHER: "other"}


class Found(NamedTuple):
    """Images by (kind, architecture) and kernels of machine code by (architecture, name), each with its number."""

    images: Counter[tuple[str, ...]]
    kernels: Counter[tuple[str, ...]]


class Row(NamedTuple):
    """One file: what both found, and what only one did."""

    file: str
    images: int
    kernels: int
    theirs: int
    their_kernels: int
    seconds: float
    their_seconds: float
    beyond: dict[str, int]
    """What cuobjdump does not show, by reason -> number of images."""
    missing: list[str]
    """What only cuobjdump found."""
    more: list[str]
    """What only retread found, without a reason that is known."""
    fault: str
    """Why cuobjdump gave up; then nothing is compared."""
    program: str = ""
    """Which cuobjdump read the file."""


def main() -> int:
    """Compare every wheel; 0 when all was compared and all differences are known ones, 1 when not, 77 without a
    cuobjdump.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, nargs="+")
    parser.add_argument("--cuobjdump", type=Path, action="append", default=[], help="may be given again")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="against-cuobjdump-") as folder:
        programs = [one.absolute() for one in options.cuobjdump] or _download(Path(folder))
        if not programs:
            print("there is no cuobjdump: nothing was compared")
            return _SKIPPED
        rows = [row for wheel in options.wheel for row in _wheel(wheel, programs, Path(folder))]
    if options.json:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    unknown = sum(len(row.missing) + len(row.more) for row in rows)
    compared = [row for row in rows if not row.fault]
    images, kernels = sum(row.theirs for row in compared), sum(row.their_kernels for row in compared)
    print(
        f"{len(compared)} files, {images} images and {kernels} kernels of cuobjdump's, {unknown} unknown differences; "
        f"{len(rows) - len(compared)} files not compared"
    )
    return 1 if unknown or len(compared) < len(rows) else 0


def _download(folder: Path) -> list[Path]:
    """Return the package index's cuobjdump, or nothing."""
    line: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "-d",
        folder,
        "nvidia-cuda-cuobjdump",
    ]
    if subprocess.run(line, check=False).returncode:
        return []
    (wheel,) = folder.glob("nvidia_cuda_cuobjdump*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "cuobjdump")
    program = next((folder / "cuobjdump").rglob("bin/cuobjdump"))
    program.chmod(0o755)
    return [program]


def _wheel(wheel: Path, programs: list[Path], folder: Path) -> Iterator[Row]:
    """Yield a row for every member with GPU code, and print it."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            with archive.open(info) as stream:
                told = files.told(stream.read(files.HEAD), info.filename)
            if not isinstance(told, files.Format) or told is files.Format.PTX:
                continue
            path = folder / "member"
            with archive.open(info) as stream, path.open("wb") as out:
                while block := stream.read(1 << 20):
                    out.write(block)
            row = _compare(f"{wheel.name.split('-')[0]}: {info.filename}", path, told, programs)
            path.unlink()
            if row.images or row.theirs:
                _show(row)
                yield row


def _compare(name: str, path: Path, told: files.Format, programs: list[Path]) -> Row:
    """Return how the two read one file."""
    start = time.perf_counter()
    ours, beyond = _ours(path, told)
    seconds = time.perf_counter() - start
    single = next(iter(ours.images)) if told is files.Format.CUBIN else ("", "")
    for program in programs:
        start = time.perf_counter()
        theirs, fault = _theirs(path, program, *single)
        if not fault:
            break
    return Row(
        file=name,
        images=sum(ours.images.values()) + sum(beyond.values()),
        kernels=len({name for _, name in ours.kernels}),
        theirs=sum(theirs.images.values()),
        their_kernels=len({name for _, name in theirs.kernels}),
        seconds=round(seconds, 2),
        their_seconds=round(time.perf_counter() - start, 2),
        beyond=dict(beyond),
        missing=[] if fault else _only(theirs, ours),
        more=[] if fault else _only(ours, theirs),
        fault=fault,
        program=str(program),
    )


def _only(one: Found, two: Found) -> list[str]:
    """Return what is in the first and not in the second, by name."""
    return [
        f"{what} {' '.join(key)}" + (f" ({count} times)" if count > 1 else "")
        for what, mine, others in (("image", one.images, two.images), ("kernel", one.kernels, two.kernels))
        for key, count in sorted((mine - others).items())
    ]


def _ours(path: Path, told: files.Format) -> tuple[Found, Counter[str]]:
    """Return what retread finds where cuobjdump looks, and how many images elsewhere, by the reason."""
    data = library.mapped(path, where=path.name)
    if told is files.Format.CUBIN:
        return _found([device.of_cubin(data, where=path.name)]), Counter()
    if told is files.Format.FAT_BINARY:
        return _found(device.of_section(data, where=path.name)[0]), Counter()
    if told is not files.Format.LIBRARY:
        return _found(device.elsewhere(data, (), where=path.name)[0]), Counter()
    codes: list[device.Code] = []
    beyond: Counter[str] = Counter()
    image = ei.loaded(data, where=path.name)
    rest = 0
    for section in sorted((one for one in image.sections if one.in_file), key=lambda one: one.offset):
        start, end = section.offset, section.offset + section.in_file
        if section.name in _LOOKED:
            codes += device.of_section(ei.contents(image, section), where=path.name)[0]
        else:
            beyond += _beyond(data, (start, end), f"in {section.name}", where=path.name)
        beyond += _beyond(data, (rest, start), "in no section", where=path.name)
        rest = max(rest, end)
    return _found(codes), beyond + _beyond(data, (rest, len(data)), "in no section", where=path.name)


def _beyond(data: memoryview, part: tuple[int, int], name: str, *, where: str) -> Counter[str]:
    """Return what begins in a part of a file in which cuobjdump does not look."""
    found: Counter[str] = Counter()
    start, end = part
    if start < end:
        for code in device.elsewhere(data, [(0, start), (end, len(data))], where=where)[0]:
            found[f"{name}, where cuobjdump does not look"] += len(code.images)
            found["for link-time optimisation, not looked into by either"] += code.untold
    return +found


def _found(codes: Iterable[device.Code]) -> Found:
    """Return the images and the kernels of machine code, each as often as it is there."""
    images: Counter[tuple[str, ...]] = Counter()
    kernels: Counter[tuple[str, ...]] = Counter()
    for one in (image for code in codes for image in code.images):
        images[_KINDS[one.kind], archs.sm(one.arch)] += 1
        if one.kind is Kind.ELF:
            kernels.update((archs.sm(one.arch), name) for name in one.kernels or ())
    return Found(images, kernels)


def _theirs(path: Path, program: Path, kind: str, arch: str) -> tuple[Found, str]:
    """Return what cuobjdump lists (every image, and the entry points among their symbols), and why it gave up.

    Of a cubin alone it does not say what it is: that is ``kind`` and ``arch``.
    """
    line: list[str | Path] = [program, "-all", "-symbols", path]
    done = subprocess.run(line, capture_output=True, text=True, check=False, errors="replace")
    images: Counter[tuple[str, ...]] = Counter()
    kernels: Counter[tuple[str, ...]] = Counter()
    images.update([(kind, arch)] if kind else [])
    for line_ in done.stdout.splitlines():
        if match := _HEAD.match(line_):
            kind = match[1]
        elif match := _ARCH.match(line_):
            arch = f"sm_{match[1]}"
            images[kind, arch] += 1
        elif match := _ENTRY.match(line_):
            kernels[arch, match[1]] += 1
    fault = (
        f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else ""
    )
    return Found(images, kernels), fault


def _show(row: Row) -> None:
    """Print a row, and what only one of the two found."""
    print(
        f"{row.file}: {row.images} images, {row.kernels} kernels, {row.seconds} s; "
        f"cuobjdump {row.theirs}, {row.their_kernels}, {row.their_seconds} s"
    )
    if row.fault:
        print(f"  not compared: cuobjdump {row.fault}")
    for reason, count in row.beyond.items():
        print(f"  {count} images {reason}")
    for what, found in (("only cuobjdump", row.missing), ("only retread", row.more)):
        for one in found[:20]:
            print(f"  {what}: {one}")
        if len(found) > 20:
            print(f"  {what}: and {len(found) - 20} more")


if __name__ == "__main__":
    sys.exit(main())
