"""What a wheel holds: every byte checked, every library read; what was read before is recognised by its bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.requirements import InvalidRequirement

from retread import arch, pypa, strict
from retread.arch import Arch
from retread.binary import files
from retread.doors import fs
from retread.elf.facts import CodeFacts, Facts, LibraryFacts
from retread.elf.resources import Kernel
from retread.errors import UNREADABLE, WheelError
from retread.records import Sha256
from retread.wheel import faults, metadata
from retread.wheel.facts import Fault, WheelFacts, is_called_library
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


def examine(
    path: Path,
    scratch: Path,
    known: Known | None = None,
    *,
    lenient: bool = False,
    names: bool = False,
    waived: Collection[str] = (),
) -> tuple[WheelFacts, Verified]:
    """Check every byte of the wheel and read every file in it that holds code; ``scratch`` is an empty folder.

    WheelError, ElfError or FatbinError for a wheel that is not sound. If ``lenient``, only for one of which nothing can
    be said: the rest stands in the facts, as does what breaks a ``waived`` rule. With ``names``, they hold the names of
    kernels.
    """
    with Wheel(path, lenient=lenient, waived=waived) as wheel:
        return look(wheel, scratch, known, names=names)


def look(
    wheel: Wheel, scratch: Path, known: Known | None = None, *, names: bool = False
) -> tuple[WheelFacts, Verified]:
    """Check and read an open wheel as ``examine`` does."""
    known = known or Known()
    verified = wheel.verify(known.members)
    raw = {member.name: member.raw_sha256 for member in verified.members}
    seen: dict[str, Facts | str] = {}
    for entry in wheel.files:
        found = known.libraries.get(raw[entry.name]) or _code(wheel, entry, scratch, names=names)
        if found is not None:
            seen[entry.name] = found
    facts = WheelFacts(
        file=wheel.path.name,
        sha256=verified.sha256,
        size=verified.size,
        project=wheel.name.project,
        version=wheel.name.version,
        tags=tuple(sorted(wheel.name.tag_set)),
        requires=wheel.fault("metadata", lambda: _requirements(wheel), ()),
        members=len(verified.members),
        libraries={name: found for name, found in seen.items() if isinstance(found, LibraryFacts)},
        statement=wheel.fault("statement", lambda: _statement(wheel), None),
        code={name: found for name, found in seen.items() if isinstance(found, CodeFacts)},
        unread={name: found for name, found in seen.items() if isinstance(found, str)},
        faults=(*_faults(wheel), *wheel.faults),
    )
    return msgspec.structs.replace(
        facts, faults=tuple(dict.fromkeys((*facts.faults, *wheel.faults)))
    ), verified


def _faults(wheel: Wheel) -> Iterator[Fault]:
    """Yield what installers and file systems do not take of a wheel."""
    yield from faults.of_names([entry.name for entry in wheel.archive.entries])
    name = f"{wheel.dist_info}/entry_points.txt"
    if name in wheel.archive.by_name:
        try:
            yield from faults.of_entry_points(wheel.text("entry_points.txt"))
        except WheelError as error:
            yield Fault(check="entry points", subject="entry_points.txt", detail=error.message)
    yield from faults.of_requires_python(wheel.fault("metadata", lambda: _pythons(wheel), ()))


def read(path: Path, scratch: Path, *, names: bool = False) -> WheelFacts | Facts:
    """Return what a wheel holds, or any other file with GPU code, as far as it can be read.

    Raises as ``examine`` does; what is neither called a wheel nor looks like code is refused as no wheel.
    """
    if is_wheel(path):
        return examine(path, scratch, lenient=True, names=names)[0]
    return files.read(path, where=path.name, names=names, lenient=True)


def is_wheel(path: Path) -> bool:
    """Say whether a file is to be read as a wheel: by its name, or because it is no file that may hold code."""
    if path.name.endswith(".whl"):
        return True
    with fs.naming(path), path.open("rb") as stream:
        return files.told(stream.read(files.HEAD), path.name) is None


def unpack(wheel: Wheel, entry: Entry, destination: Path) -> Path:
    """Write a member's content to ``destination``, chunk by chunk."""
    with destination.open("wb") as stream:
        for chunk in wheel.archive.chunks(entry):
            stream.write(chunk)
    return destination


def _code(wheel: Wheel, entry: Entry, scratch: Path, *, names: bool) -> Facts | str | None:
    """Return what a member holds, why it was not looked into, or None for one that is no code.

    What is called a shared object has to be one, unless the wheel is read leniently.
    """
    told = files.told(wheel.archive.head(entry, files.HEAD), entry.name)
    if told is None or (not isinstance(told, files.Format) and (wheel.lenient or not _is_shared(entry.name))):
        return told
    where = f"{wheel.path.name}: {entry.name}"
    path = unpack(wheel, entry, scratch / "member")
    try:
        return files.read(path, where=where, names=names, lenient=wheel.lenient)
    except UNREADABLE as error:
        if wheel.lenient or not is_called_library(entry.name):
            return error.message.removeprefix(f"{where}: ")
        raise
    finally:
        path.unlink()


def kernels(path: Path, scratch: Path, *, lenient: bool = False) -> dict[str, tuple[Kernel, ...]]:
    """Return file -> what each of its kernels takes, of a wheel's members or of another file that may hold GPU code.

    ``scratch`` is an empty folder. ElfError or FatbinError for code that cannot be read, WheelError for a wheel that is
    not sound: if ``lenient``, only for one of which nothing can be said.
    """
    if not is_wheel(path):
        return {path.name: files.kernels(path, where=path.name)}
    found = {}
    with Wheel(path, lenient=lenient) as wheel:
        for entry in wheel.files:
            told = files.told(wheel.archive.head(entry, files.HEAD), entry.name)
            if isinstance(told, files.Format):
                file = unpack(wheel, entry, scratch / "member")
                found[entry.name] = files.kernels(file, where=f"{path.name}: {entry.name}")
                file.unlink()
    return found


def bodies(path: Path, scratch: Path) -> dict[tuple[Arch, str], tuple[Sha256, ...]]:
    """Return (architecture, name) -> digests of the machine code of a wheel's kernels of that name, or of a file's.

    Raises as ``kernels`` does.
    """
    if not is_wheel(path):
        return files.bodies(path, where=path.name)
    found: dict[tuple[Arch, str], tuple[Sha256, ...]] = {}
    with Wheel(path) as wheel:
        for entry in wheel.files:
            if isinstance(files.told(wheel.archive.head(entry, files.HEAD), entry.name), files.Format):
                file = unpack(wheel, entry, scratch / "member")
                for key, digests in files.bodies(file, where=f"{path.name}: {entry.name}").items():
                    found[key] = tuple(sorted((*found.get(key, ()), *digests)))
                file.unlink()
    return found


def _is_shared(name: str) -> bool:
    """Say whether a member ends as shared objects do: ``.so``, ``.so.1.2``."""
    return is_library(name) and not name.rpartition(".so")[2].strip(".0123456789")


def _pythons(wheel: Wheel) -> tuple[str, ...]:
    return metadata.requires_python(wheel.metadata)


def _requirements(wheel: Wheel) -> tuple[str, ...]:
    found = metadata.requirements(wheel.metadata)
    for text in found:
        try:
            pypa.requirement(text)
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
        found = strict.decoded(data, Statement)
        promise = found.promise
        for text in (f"torch{promise.torch}", *promise.requires):
            pypa.requirement(text)
        listed = [(one.architectures, one.ptx) for one in promise.exempt]
        proof = promise.proof or Proof(gpu=(), triton=())
        for text in proof.triton:
            pypa.version(text)
        for architectures in chain((promise.architectures, promise.some, promise.ptx, proof.gpu), *listed):
            for one in architectures:
                arch.parse(one)
    except ValueError as error:
        raise WheelError(f"{wheel.path.name}: {name} is not retread's: {error}") from None
    return found
