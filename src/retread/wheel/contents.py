"""What a wheel holds: every byte checked, every library read; what was read before is recognised by its bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import msgspec
from packaging.requirements import InvalidRequirement

from retread import arch, pypa, strict
from retread.arch import Arch
from retread.binary import files
from retread.doors import cores
from retread.elf.facts import CodeFacts, Facts, LibraryFacts
from retread.elf.finding import Passing
from retread.elf.resources import Kernel
from retread.errors import UNREADABLE, RetreadError, WheelError
from retread.records import Sha256
from retread.wheel import faults, metadata
from retread.wheel.facts import Fault, WheelFacts, is_called_library
from retread.wheel.hashing import Scan
from retread.wheel.members import Member, Verified
from retread.wheel.statement import STATEMENT, Proof, Statement
from retread.wheel.wheelfile import Wheel
from retread.wheel.ziparchive import Entry


class Known(NamedTuple):
    """What earlier steps proved: members by content, and libraries by the SHA-256 of their compressed bytes."""

    members: tuple[Member, ...] = ()
    libraries: Mapping[Sha256, LibraryFacts] = {}
    scan: Scan | None = None
    """The digests of the wheel itself, read while it was written."""


def is_library(name: str) -> bool:
    """Say whether a member is a shared object by its name."""
    file = name.rpartition("/")[2]
    return file.endswith(".so") or ".so." in file


def examine(
    path: Path, scratch: Path, known: Known | None = None, *, waived: Collection[str] = ()
) -> tuple[WheelFacts, Verified]:
    """Check every byte of the wheel and read every file in it that holds code, as ``facts``; tell its members, too.

    What breaks a ``waived`` rule stands in the facts.
    """
    with Wheel(path, waived=waived) as wheel:
        return look(wheel, scratch, known)


def facts(
    path: Path, scratch: Path, known: Known | None = None, *, lenient: bool = False, names: bool = False
) -> WheelFacts:
    """Check every byte of the wheel and read every file in it that holds code; ``scratch`` is an empty folder.

    WheelError, ElfError or FatbinError for a wheel that is not sound. If ``lenient``, only for one of which nothing can
    be said: the rest stands in the facts. With ``names``, they hold the names of kernels.
    """
    with Wheel(path, lenient=lenient) as wheel:
        if known:
            return look(wheel, scratch, known, names=names)[0]
        reading = _Reading(wheel, scratch, names=names)
        sha256 = wheel.check(reading.through)
        return _facts(wheel, sha256, {one.name: reading.of(one) for one in wheel.files})


def look(
    wheel: Wheel, scratch: Path, known: Known | None = None, *, names: bool = False
) -> tuple[WheelFacts, Verified]:
    """Check and read an open wheel as ``examine`` does; ``names`` are as for ``facts``."""
    known = known or Known()
    reading = _Reading(wheel, scratch, names=names)
    verified = wheel.verify(known.members, reading.through, known.scan)
    raw = {member.name: member.raw_sha256 for member in verified.members}
    read_before = {name: known.libraries[one] for name, one in raw.items() if one in known.libraries}
    left = [one for one in wheel.files if one.name not in reading.found and one.name not in read_before]
    cores.spread(reading.look, left)
    seen = {one.name: read_before.get(one.name) or reading.of(one) for one in wheel.files}
    return _facts(wheel, verified.sha256, seen), verified


def _facts(wheel: Wheel, sha256: Sha256, seen: Mapping[str, Facts | str | None]) -> WheelFacts:
    """Return what a wheel holds that was checked, and of whose members this was seen."""
    found = WheelFacts(
        file=wheel.path.name,
        sha256=sha256,
        size=wheel.archive.size,
        project=wheel.name.project,
        version=wheel.name.version,
        tags=tuple(sorted(wheel.name.tag_set)),
        requires=wheel.fault("metadata", lambda: _requirements(wheel), ()),
        members=len(wheel.files),
        libraries={name: one for name, one in seen.items() if isinstance(one, LibraryFacts)},
        statement=wheel.fault("statement", lambda: _statement(wheel), None),
        code={name: one for name, one in seen.items() if isinstance(one, CodeFacts)},
        unread={name: one for name, one in seen.items() if isinstance(one, str)},
        faults=(*_faults(wheel), *wheel.faults),
    )
    return msgspec.structs.replace(found, faults=tuple(dict.fromkeys((*found.faults, *wheel.faults))))


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

    Raises as ``facts`` does; what is neither called a wheel nor looks like code is refused as no wheel.
    """
    if files.is_wheel(path):
        return facts(path, scratch, lenient=True, names=names)
    return files.read(path, where=path.name, names=names, lenient=True)


def unpack(wheel: Wheel, entry: Entry, destination: Path) -> Path:
    """Write a member's content to ``destination``, chunk by chunk."""
    return _write(wheel.archive.chunks(entry), destination)


def _write(chunks: Iterable[bytes], destination: Path) -> Path:
    with destination.open("wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
    return destination


class _Reading:
    """What the members of a wheel hold, each read once its content has passed by."""

    def __init__(self, wheel: Wheel, scratch: Path, *, names: bool) -> None:
        self._wheel, self._scratch, self._names = wheel, scratch, names
        self.found: dict[str, Facts | str | RetreadError | None] = {}

    def of(self, entry: Entry) -> Facts | str | None:
        """Return what a member holds, why it was not looked into, or None for one that is no code; or raise why."""
        found = self.found[entry.name]
        if isinstance(found, RetreadError):
            raise found
        return found

    def through(self, entry: Entry, chunks: Iterator[bytes]) -> None:
        """Look into a member if it is code; its content is on the disk meanwhile.

        What is called a shared object has to be one, unless the wheel is read leniently.
        """
        head = b""
        while len(head) < files.HEAD and (chunk := next(chunks, None)) is not None:
            head += chunk
        if self._is_passed_over(entry, head[: files.HEAD]):
            return
        passing = Passing()
        path = _write(
            passing.through(chain((head,), chunks)), self._scratch / f"member-{entry.header_offset}"
        )
        self.found[entry.name] = self._read(entry, path, passing.bare)

    def look(self, entry: Entry) -> None:
        """Look into a member that was checked before; of one that is no code only the head is inflated."""
        if not self._is_passed_over(entry, self._wheel.archive.head(entry, files.HEAD)):
            self.through(entry, self._wheel.archive.chunks(entry))

    def _is_passed_over(self, entry: Entry, head: bytes) -> bool:
        told = files.told(head, entry.name)
        lenient = self._wheel.lenient or not _is_shared(entry.name)
        if told is None or (not isinstance(told, files.Format) and lenient):
            self.found[entry.name] = told
            return True
        return False

    def _read(self, entry: Entry, path: Path, bare: int) -> Facts | str | RetreadError:
        where, lenient = f"{self._wheel.path.name}: {entry.name}", self._wheel.lenient
        try:
            return files.read(path, where=where, names=self._names, lenient=lenient, bare=bare)
        except UNREADABLE as error:
            if lenient or not is_called_library(entry.name):
                return error.message.removeprefix(f"{where}: ")
            return error
        finally:
            path.unlink()


def kernels(path: Path, scratch: Path, *, lenient: bool = False) -> dict[str, tuple[Kernel, ...]]:
    """Return file -> what each of its kernels takes, of a wheel's members or of another file that may hold GPU code.

    ``scratch`` is an empty folder. ElfError or FatbinError for code that cannot be read, WheelError for a wheel that is
    not sound: if ``lenient``, only for one of which nothing can be said.
    """
    if not files.is_wheel(path):
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
    if not files.is_wheel(path):
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
