"""What a wheel holds: every byte checked, every library read; what was read before is recognised by its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from retread import arch, strict
from retread.elf import library
from retread.elf.facts import LibraryFacts
from retread.elf.kernels import Kernel
from retread.errors import WheelError
from retread.records import Sha256
from retread.wheel import metadata
from retread.wheel.facts import WheelFacts
from retread.wheel.statement import Proof, Statement
from retread.wheel.wheelfile import Verified, Wheel
from retread.wheel.ziparchive import Entry
from retread.wheel.zipwriter import Member

STATEMENT = "retread.json"


class Known(NamedTuple):
    """What earlier steps proved: members by content, and libraries by the SHA-256 of their compressed bytes."""

    members: tuple[Member, ...] = ()
    libraries: Mapping[Sha256, LibraryFacts] = {}


def is_library(name: str) -> bool:
    """Say whether a member is a shared object by its name."""
    file = name.rpartition("/")[2]
    return file.endswith(".so") or ".so." in file


def examine(path: Path, scratch: Path, known: Known | None = None) -> tuple[WheelFacts, Verified]:
    """Check every byte of the wheel and read every library in it; ``scratch`` is an empty folder for large members.

    WheelError, ElfError or FatbinError for a wheel that is not sound.
    """
    with Wheel(path) as wheel:
        return look(wheel, scratch, known)


def look(wheel: Wheel, scratch: Path, known: Known | None = None) -> tuple[WheelFacts, Verified]:
    """Check and read an open wheel as ``examine`` does."""
    known = known or Known()
    verified = wheel.verify(known.members)
    raw = {member.name: member.raw_sha256 for member in verified.members}
    libraries = {
        entry.name: known.libraries.get(raw[entry.name]) or read_library(wheel, entry, scratch)
        for entry in wheel.files
        if is_library(entry.name)
    }
    facts = WheelFacts(
        file=wheel.path.name,
        sha256=verified.sha256,
        size=verified.size,
        project=wheel.name.project,
        version=wheel.name.version,
        tags=tuple(sorted(wheel.name.tag_set)),
        requires=_requirements(wheel),
        members=len(verified.members),
        libraries=libraries,
        statement=_statement(wheel),
    )
    return facts, verified


def unpack(wheel: Wheel, entry: Entry, destination: Path) -> Path:
    """Write a member's content to ``destination``, chunk by chunk."""
    with destination.open("wb") as stream:
        for chunk in wheel.archive.chunks(entry):
            stream.write(chunk)
    return destination


def read_library(wheel: Wheel, entry: Entry, scratch: Path) -> LibraryFacts:
    """Read one library of a wheel; messages name it by its member name."""
    path = unpack(wheel, entry, scratch / entry.name.replace("/", "-"))
    try:
        return library.read(path)
    finally:
        path.unlink()


def kernels(path: Path, scratch: Path) -> dict[str, tuple[Kernel, ...]]:
    """Return library -> what each of its kernels takes; ``scratch`` is an empty folder for the libraries.

    WheelError, ElfError or FatbinError for a wheel that is not sound.
    """
    found = {}
    with Wheel(path) as wheel:
        for entry in wheel.files:
            if is_library(entry.name):
                file = unpack(wheel, entry, scratch / entry.name.replace("/", "-"))
                found[entry.name] = library.kernels(file)
                file.unlink()
    return found


def _requirements(wheel: Wheel) -> tuple[str, ...]:
    found = metadata.requirements(wheel.metadata)
    for text in found:
        try:
            Requirement(text)
        except InvalidRequirement as error:
            said = str(error).splitlines()[0]
            raise WheelError(f"{wheel.path.name}: METADATA: Requires-Dist {text!r}: {said}") from None
    return found


def _statement(wheel: Wheel) -> Statement | None:
    name = f"{wheel.dist_info}/{STATEMENT}"
    if name not in wheel.archive.by_name:
        return None
    try:
        data = wheel.archive.read(name)
        strict.json(data)
        found = msgspec.json.decode(data, type=Statement)
        promise = found.promise
        for text in (f"torch{promise.torch}", *promise.requires):
            Requirement(text)
        listed = [(one.architectures, one.ptx) for one in promise.exempt]
        proof = promise.proof or Proof(gpu=(), triton=())
        for text in proof.triton:
            Version(text)
        for architectures in chain((promise.architectures, promise.ptx, proof.gpu), *listed):
            for one in architectures:
                arch.parse(one)
    except (ValueError, RecursionError) as error:  # so are InvalidRequirement, InvalidVersion and DecodeError
        raise WheelError(f"{wheel.path.name}: {name} is not retread's: {error}") from None
    return found
