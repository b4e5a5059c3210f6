"""Wheels: a zip whose name, METADATA, WHEEL and RECORD agree with each other and with every byte it holds.

pip and uv check no hash of RECORD when they install, so whoever passes a wheel on has to. Checking means
inflating everything; members whose compressed bytes were checked before, in this wheel or in another, are
recognised by the hash of these bytes and not inflated again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from retread import limits
from retread.doors import cores
from retread.doors.cores import Beside
from retread.errors import WheelError, first
from retread.records import Sha256, T
from retread.wheel import metadata
from retread.wheel.facts import Fault
from retread.wheel.hashing import BackgroundHash, Scan
from retread.wheel.members import Member, Verified
from retread.wheel.metadata import SIGNATURES, WheelName
from retread.wheel.ziparchive import Archive, Entry, Limits
from retread.wheel.zipwriter import Copied, Later, NewBytes, NewDeflated, Source

Through = Callable[[Entry, Iterator[bytes]], None]
"""What sees a member's content as it is inflated; what it leaves of the chunks is inflated all the same."""


class Wheel:
    """An open wheel whose structure and names have been checked; ``verify`` checks what it holds.

    Raises WheelError when the archive is not one plain zip, when it has not exactly one .dist-info, or when
    file name, .dist-info, METADATA and WHEEL disagree about name, version, build or tags. For who wants to see whatever
    there is, ``lenient`` notes what METADATA, WHEEL and RECORD say wrongly in ``faults`` instead; ``waived`` names the
    only ones of these rules that are noted.
    """

    path: Path
    name: WheelName
    archive: Archive
    dist_info: str
    """Name of the .dist-info folder, without a slash."""
    metadata: str
    """Text of METADATA, line ends as they are."""
    wheel: str
    """Text of WHEEL, line ends as they are."""
    faults: list[Fault]

    def __init__(
        self, path: Path, *, limits: Limits | None = None, lenient: bool = False, waived: Collection[str] = ()
    ) -> None:
        self.path = path
        self.lenient = lenient
        self.waived = waived
        self.faults = []
        self.name = metadata.parse_name(path.name)
        self.archive = Archive(path, limits=limits)
        try:
            self.dist_info = self._find_dist_info()
            self.metadata, self.wheel = self._statement("METADATA"), self._statement("WHEEL")
        except BaseException:
            self.archive.close()
            raise

    def __enter__(self) -> Wheel:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    @property
    def files(self) -> tuple[Entry, ...]:
        """Every member that is not a folder, in the order of the archive."""
        return tuple(entry for entry in self.archive.entries if not entry.is_dir)

    def text(self, name: str) -> str:
        """Return a file of .dist-info as text, line ends as they are."""
        full = f"{self.dist_info}/{name}"
        try:
            return self.archive.read(full, limit=limits.METADATA).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.archive.refuse("is not UTF-8 text", full) from error

    def verify(
        self, known: Iterable[Member] = (), through: Through | None = None, scan: Scan | None = None
    ) -> Verified:
        """Check every byte against its header and RECORD, and return what the wheel holds.

        ``known`` are members of wheels verified before, which the caller trusts; one with the same compressed
        bytes is not inflated again. Of any other the content goes ``through`` what is given, perhaps in another
        thread, so that who wants to see it need not inflate it again. ``scan`` is what was read of this very file
        while it was written. Raises WheelError with all faults of RECORD.
        """
        seen = {(one.method, one.raw_sha256): one for one in known}
        with Beside(lambda: self.archive.scan(scan)) as scanned:
            raw = scanned.result().raw if seen else {}
            members = {one.name: _recognised(one, raw[one.name], seen) for one in self.files} if seen else {}
            found = self._contents([one for one in self.files if not members.get(one.name)], through)
            sha256, raw, _ = scanned.result()
        every = [members.get(one.name) or _member(one, found[one.name], raw[one.name]) for one in self.files]
        facts = {one.name: (one.sha256, one.size) for one in every}
        self._check_record(facts)
        return Verified(
            file_name=self.path.name,
            sha256=sha256,
            size=self.archive.size,
            dist_info=self.dist_info,
            members=tuple(every),
        )

    def check(self, through: Through | None = None) -> Sha256:
        """Check every byte as ``verify`` does, and return the SHA-256 of the file: for who need not know members again.

        What tells them apart, the hash of each as it is packed, is another pass over all of the file.
        """
        with Beside(self.archive.sha256) as hashed:
            found = self._contents(self.files, through)
            sha256 = hashed.result()
        self._check_record({one.name: (found[one.name], one.size) for one in self.files})
        return sha256

    def _contents(self, entries: Iterable[Entry], through: Through | None) -> dict[str, Sha256]:
        """Check what members hold, and return the SHA-256 of each by its name."""
        todo = sorted(entries, key=lambda one: one.size, reverse=True)
        return dict(cores.spread(lambda one: (one.name, self._inflated(one, through)), todo))

    def fault(self, check: str, found: Callable[[], T], otherwise: T) -> T:
        """Return what ``found`` returns, or ``otherwise`` where it raises and that is noted as a fault."""
        try:
            return found()
        except WheelError as error:
            if not self.lenient and check not in self.waived:
                raise
            details = error.faults or (error.message.removeprefix(f"{self.path.name}: "),)
            self.faults += [Fault(check=check, subject=self.path.name, detail=detail) for detail in details]
            return otherwise

    def _check_record(self, facts: Mapping[str, tuple[Sha256, int]]) -> None:
        """Hold RECORD against SHA-256 and size of every member."""

        def check() -> None:
            text = self.text("RECORD")
            others = {name: self._digest(name, kind) for name, kind in metadata.other_hashes(text).items()}
            faults = metadata.check_record(text, f"{self.dist_info}/RECORD", facts, others)
            if faults:
                hint = "it was changed after it was built, or built wrongly: fetch it again or take another"
                raise WheelError(
                    f"{self.path.name}: RECORD does not describe the wheel", hint=hint, faults=first(faults)
                )

        self.fault("record", check, None)

    def _digest(self, name: str, kind: str) -> str:
        """Return the hexadecimal digest of a member by another function than SHA-256; nothing for one not there."""
        entry, found = self.archive.by_name.get(name), hashlib.new(kind)
        for data in self.archive.chunks(entry) if entry else ():
            found.update(data)
        return found.hexdigest() if entry else ""

    def _inflated(self, entry: Entry, through: Through | None) -> Sha256:
        """Check what a member holds, and return the SHA-256 of it."""
        with BackgroundHash() as content:
            chunks = content.passing(self.archive.chunks(entry))
            if through:
                through(entry, chunks)
            for _ in chunks:
                pass
            return content.digest()

    def _find_dist_info(self) -> str:
        tops = {entry.name.split("/")[0] for entry in self.archive.entries if "/" in entry.name}
        found = sorted(top for top in tops if top.endswith(".dist-info"))
        if len(found) != 1:
            raise self.archive.refuse(f"has {len(found)} .dist-info folders, not one: {', '.join(found)}")
        for top in sorted(top for top in tops if top.endswith((".dist-info", ".data"))):
            self._check_stem(top)
        return found[0]

    def _check_stem(self, top: str) -> None:
        """Check that a folder is called after the same project and version as the wheel."""
        project, _, version = top.rpartition(".")[0].partition("-")
        try:
            same = metadata.same_release(project, version, self.name)
        except WheelError as error:
            raise self.archive.refuse(f"is named after no release: {error.message}", top) from error
        if not same:
            raise self.archive.refuse(f"is not named after {self.name.stem}", top)

    def _statement(self, name: str) -> str:
        """Return the text of METADATA or WHEEL, having checked that it says what the file name says."""
        text = self.fault(name.lower(), lambda: self.text(name), "")
        check = self._metadata_faults if name == "METADATA" else self._tag_faults

        def agree() -> None:
            try:
                pairs = check(text)
            except WheelError as error:
                raise WheelError(f"{self.path.name}: {error.message}", hint=error.hint) from error
            faults = [
                f"{what} is {inside!r}, the file name says {outside!r}" for what, inside, outside in pairs
            ]
            if faults:
                hint = "give the file the name under which its index lists it, or take another wheel"
                raise WheelError(f"{self.path.name}: the name is not the wheel's", hint=hint, faults=faults)

        if text or not self.lenient:
            self.fault(name.lower(), agree, None)
        return text

    def _metadata_faults(self, text: str) -> list[tuple[str, str, str]]:
        """Return (what, there, in the file name) of what METADATA says otherwise; 1.0 is 1.0.0."""
        project, version = metadata.parse_metadata(text)
        found = [("METADATA: Name", project, self.name.project)] if project != self.name.project else []
        if metadata.same_version(version) != metadata.same_version(self.name.version):
            found.append(("METADATA: Version", version, self.name.version))
        return found

    def _tag_faults(self, text: str) -> list[tuple[str, str, str]]:
        """Return the same of what WHEEL says otherwise."""
        tags, build = metadata.parse_wheel_file(text)
        pairs = [
            ("WHEEL: Tag", " ".join(sorted(tags)), " ".join(sorted(self.name.tag_set))),
            ("WHEEL: Build", build, self.name.build.removesuffix("-")),
        ]
        return [pair for pair in pairs if pair[1] != pair[2]]


def copies(wheel: Wheel, verified: Verified, *, stem: str = "") -> list[Copied]:
    """Return raw copies of all members but RECORD and its signatures, which no edit outlives.

    With ``stem``, like ``demo-1.2+cu128.1``, the folders .dist-info and .data are renamed after it.
    ``verified`` must be of this wheel; the wheel must stay open until the copies are written.
    """
    gone = {f"{wheel.dist_info}/{name}" for name in ("RECORD", *SIGNATURES)}
    kept = [one for one in verified.members if one.name not in gone]
    names = [metadata.moved(one.name, stem) if stem else one.name for one in kept]
    return [
        Copied(name=name, archive=wheel.archive, member=one) for name, one in zip(names, kept, strict=True)
    ]


def sealed(sources: Iterable[Source], dist_info: str) -> list[Source]:
    """Return the sources in canonical order, with a new RECORD of them at the end."""
    by_name = {one.name: one for one in sources}
    record = f"{dist_info}/RECORD"
    names = metadata.canonical_order(by_name, dist_info)

    def text() -> bytes:
        files = ((name, *_content(by_name[name])) for name in names)
        return metadata.record_text(files, record).encode("utf-8")

    return [*(by_name[name] for name in names), Later(record, text)]


def _content(source: Source) -> tuple[Sha256, int]:
    """Return SHA-256 and size in bytes of what the member will hold."""
    if isinstance(source, Copied):
        return source.member.sha256, source.member.size
    if isinstance(source, NewDeflated):
        return source.deflated.sha256, source.deflated.size
    if isinstance(source, NewBytes | Later):
        return Sha256(hashlib.sha256(source.content).hexdigest()), len(source.content)
    with source.path.open("rb") as file:
        return Sha256(hashlib.file_digest(file, "sha256").hexdigest()), source.path.stat().st_size


def _recognised(entry: Entry, raw_sha256: Sha256, seen: Mapping[tuple[int, Sha256], Member]) -> Member | None:
    """Return the entry's facts if its compressed bytes were checked before and its headers fit them."""
    known = seen.get((entry.method, raw_sha256))
    if known is None or (known.crc, known.size) != (entry.crc, entry.size):
        return None
    return _member(entry, known.sha256, raw_sha256)


def _member(entry: Entry, sha256: Sha256, raw_sha256: Sha256) -> Member:
    return Member(
        name=entry.name,
        method=entry.method,
        crc=entry.crc,
        size=entry.size,
        compressed_size=entry.compressed_size,
        sha256=sha256,
        raw_sha256=raw_sha256,
        executable=entry.executable,
    )
