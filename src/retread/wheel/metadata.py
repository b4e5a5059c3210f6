"""What a wheel says about itself, as text: file and member names, METADATA, WHEEL, RECORD.

Text in, text out. An edit changes the lines that it is about and leaves every other byte as it was, so that a
patched wheel differs from its base only where it means to.

Source: PyPA specifications "Binary distribution format", "Core metadata", "Recording installed projects".
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import structs
from packaging.utils import InvalidWheelFilename, canonicalize_name

from retread import limits, pypa
from retread.errors import WheelError
from retread.records import Record, Sha256

if TYPE_CHECKING:
    from installer.records import RecordEntry
    from packaging.version import Version

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FIELD: Final = re.compile(r"([!-9;-~]+):[ \t]*")
_HASHES: Final = frozenset(
    ("sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s")
)
"""What RECORD may state: sha256 or better, of what every Python has. Source: "Recording installed projects"."""
SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")
"""Files of .dist-info that RECORD need not list; they sign RECORD, so that no edit outlives them."""


class WheelName(Record, frozen=True, kw_only=True):
    """The parts of a wheel's file name."""

    distribution: str
    """As the file name spells it: ``nvidia_cuda_nvcc_cu12``."""
    project: str
    """Normalised: ``nvidia-cuda-nvcc-cu12``."""
    version: str
    """Normalised: ``0.0.35+cu128.1``."""
    spelled_version: str
    """As the file name spells it."""
    build: str
    """Build tag with its hyphen behind (``1-``), or nothing."""
    tags: str
    """Compressed, as the file name spells them: ``cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64``."""

    @property
    def stem(self) -> str:
        """What ``.dist-info`` and ``.data`` stand behind: ``demo-1.2``."""
        return f"{self.distribution}-{self.spelled_version}"

    @property
    def file_name(self) -> str:
        """The whole file name."""
        return f"{self.stem}-{self.build}{self.tags}.whl"

    @property
    def tag_set(self) -> frozenset[str]:
        """Every single tag: ``cp39-abi3-manylinux_2_17_x86_64``, ``cp39-abi3-manylinux2014_x86_64``."""
        return expand_tags(self.tags)

    @property
    def normal(self) -> str:
        """The file name in its normal spelling, without a build tag; tags are each once, in the order that they have.

        Installers compare versions and projects by what they mean: two spellings are one wheel.
        """
        tags = "-".join(".".join(dict.fromkeys(part.split("."))) for part in self.tags.lower().split("-"))
        return f"{self.project.replace('-', '_')}-{self.version}-{tags}.whl"

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every file name that means the same wheel as ``normal``: the tags in every order; the normal one is first.

        WheelError when there are more than 120.
        """
        stem, *parts = self.normal.removesuffix(".whl").rsplit("-", 3)
        each = [part.split(".") for part in parts]
        if math.prod(math.factorial(len(part)) for part in each) > limits.SPELLINGS:
            raise WheelError(
                f"{self.file_name}: has too many tags in one part of its name",
                hint="name the oldest platform that it runs on, and no other",
            )
        orders = itertools.product(*map(itertools.permutations, each))
        return tuple(f"{stem}-{'-'.join(map('.'.join, order))}.whl" for order in orders)

    def with_version(self, version: str) -> WheelName:
        """Return the name for another version, spelled as specified; WheelError if it is none."""
        normal = normal_version(version)
        return WheelName(
            distribution=self.distribution,
            project=self.project,
            version=normal,
            spelled_version=normal,
            build=self.build,
            tags=self.tags,
        )

    def with_platform(self, platform: str) -> WheelName:
        """Return the name for another platform tag; ``any`` stays."""
        python, abi, old = self.tags.split("-")
        return structs.replace(self, tags=f"{python}-{abi}-{old if old == 'any' else platform}")


def parse_name(file_name: str) -> WheelName:
    """Return the parts of a wheel's file name; raise WheelError if it is not one."""
    try:
        project, version, build, _ = pypa.wheel_name(file_name)
    except InvalidWheelFilename as error:
        hint = "give the file the name under which its index lists it"
        raise WheelError(f"{file_name}: is not the file name of a wheel ({error})", hint=hint) from error
    parts = file_name.removesuffix(".whl").split("-")
    return WheelName(
        distribution=parts[0],
        project=project,
        version=str(version),
        spelled_version=parts[1],
        build=f"{parts[2]}-" if build else "",
        tags="-".join(parts[-3:]),
    )


def expand_tags(tags: str) -> frozenset[str]:
    """Return every single tag of a compressed set: ``py2.py3-none-any`` is py2-none-any and py3-none-any.

    WheelError for a set of more than 4,096.
    """
    if _count(tags) > limits.TAGS:
        raise _malformed(f"the tags {tags[:60]}... are more than {limits.TAGS:,}")
    pythons, abis, platforms = (part.split(".") for part in tags.split("-"))
    return frozenset(f"{a}-{b}-{c}" for a in pythons for b in abis for c in platforms)


def _count(tags: str) -> int:
    return math.prod(part.count(".") + 1 for part in tags.split("-"))


def normal_version(version: str) -> str:
    """Return the normal form of a version; raise WheelError if it is none."""
    try:
        return str(pypa.version(version))
    except ValueError as error:  # so is InvalidVersion, and a number of thousands of digits
        hint = "write one like 0.0.35+cu128.1"
        told = repr(version) if len(version) <= 60 else f"{version[:60]!r}..."
        raise WheelError(f"{told} is not a version (PEP 440)", hint=hint) from error


def name_fault(name: str) -> str:
    """Say why a member may not be called ``name``, or return nothing; a folder's name ends with a slash."""
    if not name or _CONTROL.search(name):
        return "its name is empty or holds control characters"
    if "\\" in name:
        return "its name holds a backslash"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "its name is an absolute path"
    if {"", ".", ".."} & set(name.removesuffix("/").split("/")):
        return "its name has an empty, '.' or '..' component"
    return ""


def name_clash(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the first name that cannot be unpacked beside the others, and why; None when all can.

    Names are compared in Unicode's composed form (NFC), as file systems that normalise names do.
    """
    plain = [unicodedata.normalize("NFC", name) for name in names]
    seen: set[str] = set()
    for name, one in zip(names, plain, strict=True):
        if one.removesuffix("/") in seen:
            return name, "occurs twice"
        seen.add(one.removesuffix("/"))
    # With a sign that no name has in the place of slashes, what lies in a file follows it at once when sorted.
    ordered = sorted(
        (one.removesuffix("/").replace("/", "\0"), name) for name, one in zip(names, plain, strict=True)
    )
    for (above, file), (below, name) in itertools.pairwise(ordered):
        if below.startswith(f"{above}\0") and not file.endswith("/"):
            return name, f"lies in {file!r}, which is a file"
    return None


def same_release(project: str, version: str, name: WheelName) -> bool:
    """Say whether project and version, however they are spelled, are those of the wheel: 1.0 is 1.0.0."""
    return (canonicalize_name(project), same_version(version)) == (name.project, same_version(name.version))


def same_version(version: str) -> Version:
    """Return what is equal for all spellings of a version; raise WheelError if it is none."""
    return pypa.version(normal_version(version))


def moved(name: str, stem: str) -> str:
    """Return a member's name with its .dist-info or .data folder, if any, called after ``stem``."""
    top, slash, rest = name.partition("/")
    _, dot, ending = top.rpartition(".")
    return f"{stem}.{ending}/{rest}" if slash and dot and ending in ("dist-info", "data") else name


def canonical_order(names: Iterable[str], dist_info: str) -> list[str]:
    """Return the names as a wheel should hold them: files sorted, then .dist-info sorted, RECORD last.

    The specification wants .dist-info physically at the end, so that it can be read and replaced cheaply.
    """
    record = f"{dist_info}/RECORD"
    return sorted(names, key=lambda name: (name.startswith(f"{dist_info}/"), name == record, name))


def parse_metadata(text: str) -> tuple[str, str]:
    """Return (name, version), both normalised, of a METADATA text; raise WheelError if it is malformed."""
    from packaging.metadata import parse_email

    for field in ("Metadata-Version", "Name", "Version"):
        if len(_values(text, field)) != 1:
            raise _malformed(f"METADATA states {field} {len(_values(text, field))} times, not once")
    raw, _ = parse_email(text)
    try:
        format_version, name, version = raw["metadata_version"], raw["name"], raw["version"]
    except KeyError as error:
        raise _malformed(f"METADATA holds an unreadable {error}") from error
    if format_version.split(".")[0] not in ("1", "2"):
        raise _malformed(f"METADATA has Metadata-Version {format_version}, which retread does not know")
    return canonicalize_name(name), normal_version(version)


def requires_python(text: str) -> tuple[str, ...]:
    """Return the Requires-Python entries of a METADATA text, as written."""
    return tuple(_values(text, "Requires-Python"))


def requirements(text: str) -> tuple[str, ...]:
    """Return the Requires-Dist entries of a METADATA text, in order, as written."""
    found = _values(text, "Requires-Dist")
    if len(found) > limits.REQUIREMENTS:
        raise _malformed(f"METADATA has {len(found):,} requirements; {limits.REQUIREMENTS:,} are taken")
    return tuple(found)


def set_version(text: str, version: str) -> str:
    """Return the METADATA text with another version; nothing else changes."""
    parse_metadata(text)
    return _replace(text, "Version", [normal_version(version)], [True])


def set_requirement(text: str, requirement: str) -> str:
    """Return the METADATA text with ``requirement`` instead of those for the same thing, or else added.

    The same thing is the same project with the same extras and the same marker: ``torch>=2.9`` replaces
    ``torch==2.8`` but neither ``torch[opt]`` nor ``torch; extra == "dev"``.
    """
    there = rivals(text, requirement)
    return _replace(text, "Requires-Dist", [requirement], [one in there for one in requirements(text)])


def rivals(text: str, requirement: str) -> tuple[str, ...]:
    """Return the Requires-Dist entries of a METADATA text for the same thing as ``requirement``, as written."""
    wanted = _requirement_key(requirement)
    return tuple(one for one in requirements(text) if _requirement_key(one) == wanted)


def parse_wheel_file(text: str) -> tuple[frozenset[str], str]:
    """Return (tags, build tag) of a WHEEL text; raise WheelError if malformed or of another major version."""
    versions = _values(text, "Wheel-Version", "WHEEL")
    if len(versions) != 1 or not re.fullmatch(r"\d+\.\d+", versions[0]):
        raise _malformed(f"WHEEL states Wheel-Version as {versions}, not once as '1.0'")
    if versions[0].split(".")[0] != "1":
        raise _malformed(f"WHEEL has Wheel-Version {versions[0]}; retread knows version 1")
    tags = _values(text, "Tag", "WHEEL")
    if not tags or any(tag.count("-") != 2 for tag in tags):
        raise _malformed("WHEEL has no Tag, or one that is not like 'cp39-abi3-manylinux_2_28_x86_64'")
    if sum(map(_count, tags)) > limits.TAGS:
        raise _malformed(f"WHEEL has more than {limits.TAGS:,} tags")
    builds = _values(text, "Build", "WHEEL")
    if len(builds) > 1:
        raise _malformed("WHEEL states Build more than once")
    return frozenset().union(*map(expand_tags, tags)), "".join(builds)


def set_tags(text: str, tags: Iterable[str]) -> str:
    """Return the WHEEL text with other tags; the text itself when it has these already."""
    wanted = sorted(set(tags))
    if parse_wheel_file(text)[0] == frozenset(wanted):
        return text
    return _replace(text, "Tag", wanted, [True] * len(_values(text, "Tag", "WHEEL")))


def set_name(text: str, name: WheelName) -> str:
    """Return the WHEEL text with a wheel's tags and build tag; the text itself when it has these already."""
    text = set_tags(text, name.tag_set)
    wanted, old = [name.build.removesuffix("-")] if name.build else [], _values(text, "Build", "WHEEL")
    return text if wanted == old else _replace(text, "Build", wanted, [True] * len(old))


def parse_record(text: str) -> tuple[list[RecordEntry], list[str]]:
    """Return the entries of a RECORD text, and what is wrong with those that are no entry."""
    from installer.records import InvalidRecordEntry, RecordEntry, parse_record_file

    entries, faults = [], []
    try:
        for row in parse_record_file(io.StringIO(text, newline="")):
            try:
                entry = RecordEntry.from_elements(*row)
            except InvalidRecordEntry as error:
                faults.append(f"RECORD lists {row[0]!r}: {error}")
            else:
                entries.append(entry)
                if entry.to_row() != row:
                    faults.append(f"RECORD lists {row[0]!r} with size {row[2]!r}, not a plain number")
    except (InvalidRecordEntry, csv.Error) as error:
        faults.append(f"RECORD cannot be read: {error}")
    return entries, faults


def record_text(files: Iterable[tuple[str, Sha256, int]], record: str) -> str:
    """Return the RECORD for (name, sha256, size), in that order; RECORD itself, named ``record``, is last."""
    from installer.records import Hash, RecordEntry

    entries = [RecordEntry(name, Hash("sha256", _urlsafe(sha256)), size) for name, sha256, size in files]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(entry.to_row() for entry in [*entries, RecordEntry(record, None, None)])
    return out.getvalue()


def other_hashes(text: str) -> dict[str, str]:
    """Return file -> hash function of what RECORD lists by another than sha256 that is allowed as well."""
    return {
        entry.path: entry.hash_.name
        for entry in parse_record(text)[0]
        if entry.hash_ and entry.hash_.name in _HASHES and entry.hash_.name != "sha256"
    }


def check_record(
    text: str, record: str, files: Mapping[str, tuple[Sha256, int]], others: Mapping[str, str] | None = None
) -> list[str]:
    """Return every way in which a RECORD text fails to describe ``files``.

    ``files`` gives sha256 and size by name, for RECORD (called ``record``) too, and ``others`` the hexadecimal digests
    that ``other_hashes`` asks for. Every file must be listed once with hash and size, RECORD without, and nothing else;
    signatures may be left out.
    """
    entries, faults = parse_record(text)
    listed: set[str] = set()
    for entry in entries:
        if entry.path in listed:
            faults.append(f"RECORD lists {entry.path!r} twice")
        elif entry.path not in files:
            faults.append(f"RECORD lists {entry.path!r}, which is not in the wheel")
        elif entry.path == record:
            if entry.hash_ or entry.size is not None:
                faults.append("RECORD lists itself with a hash or a size")
        elif fault := _entry_fault(entry, *files[entry.path], (others or {}).get(entry.path, "")):
            faults.append(f"{entry.path!r}: {fault}")
        listed.add(entry.path)
    folder = record.removesuffix("RECORD")
    unlisted = sorted(set(files) - listed - {folder + one for one in SIGNATURES})
    return faults + [f"RECORD does not list {name!r}" for name in unlisted]


def _entry_fault(entry: RecordEntry, sha256: Sha256, size: int, other: str) -> str:
    if entry.hash_ is None or entry.size is None:
        return "RECORD states no hash or no size"
    name, stated = entry.hash_.name, entry.hash_.value
    if name not in _HASHES:
        return f"RECORD states a {name} hash; retread checks sha256 and stronger ones"
    if entry.size != size:
        return f"RECORD states {entry.size} bytes, the wheel holds {size}"
    found = _urlsafe(sha256 if name == "sha256" else other)
    return "" if stated == found else f"RECORD states {name} {stated}, the wheel holds {found}"


def _urlsafe(digest: str) -> str:
    """Return a hexadecimal digest as RECORD writes it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(binascii.unhexlify(digest)).rstrip(b"=").decode("ascii")


def _requirement_key(text: str) -> tuple[str, frozenset[str], str]:
    try:
        one = pypa.requirement(text)
    except ValueError as error:  # InvalidRequirement
        hint = "write one like 'torch==2.9.0'"
        raise WheelError(f"METADATA: {text!r} is not a requirement (PEP 508)", hint=hint) from error
    return canonicalize_name(one.name), frozenset(map(canonicalize_name, one.extras)), str(one.marker or "")


def _fields(text: str, what: str = "METADATA") -> tuple[list[tuple[str, str]], str]:
    """Return the header fields as (lower-case name, all its lines), and the rest; joined they are the text.

    Lines end at LF or CRLF. A lone CR, where some readers see a new line, and a line without a field are
    refused.
    """
    fields: list[tuple[str, list[str]]] = []
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        line = text[at:end]
        if not line.strip("\r\n"):
            break
        match = _FIELD.match(line)
        if "\r" in line.removesuffix("\n").removesuffix("\r"):
            raise _malformed(f"{what} has a lone carriage return in {line[:60]!r}")
        if line[0] in " \t" and fields:
            fields[-1][1].append(line)
        elif match:
            fields.append((match[1].lower(), [line]))
        else:
            raise _malformed(f"{what} has a line that is no 'Field: value': {line[:60]!r}")
        at = end
    return [(name, "".join(lines)) for name, lines in fields], text[at:]


def _values(text: str, name: str, what: str = "METADATA") -> list[str]:
    lines = [lines for field, lines in _fields(text, what)[0] if field == name.lower()]
    return [re.sub(r"\r?\n[ \t]+", " ", one.partition(":")[2]).strip() for one in lines]


def _replace(text: str, name: str, values: Sequence[str], old: Sequence[bool]) -> str:
    """Return the text with new fields called ``name`` in place of those of which ``old`` says True.

    Without such a one they follow the last field of that name, or else the last field.
    """
    fields, rest = _fields(text)
    own = [index for index, (field, _) in enumerate(fields) if field == name.lower()]
    gone = {index for index, is_old in zip(own, old, strict=True) if is_old}
    place = min(gone) if gone else own[-1] + 1 if own else len(fields)
    model = fields[min(place, len(fields) - 1)][1] if fields else "\n"
    newline = "\r\n" if model.endswith("\r\n") else "\n"
    before = [lines for _, lines in fields[:place]]
    after = [lines for index, (_, lines) in enumerate(fields) if index >= place and index not in gone]
    if before and not before[-1].endswith("\n"):
        before[-1] += newline
    return "".join([*before, *(f"{name}: {value}{newline}" for value in values), *after, rest])


def _malformed(fault: str) -> WheelError:
    return WheelError(fault, hint="this wheel was not made by a working builder: take another base wheel")
