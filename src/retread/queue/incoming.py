"""Patches as others write them: git's mails, plain diffs, quilt's, Debian's and Yocto's headers. Pure.

What they say of a fault's life upstream becomes the header's ``Upstream``; their own fields are kept word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from retread import limits
from retread.errors import SeriesError
from retread.queue import header
from retread.recipe import difflines
from retread.recipe.series import NO_END, NO_NEWLINE, encoding_fault, subject

_POSTMARK: Final = re.compile(rb"^From (?=[^\n]*[0-9]{4})[^\n]*+\n(?=[A-Za-z-]++: )", re.MULTILINE)
"""In which no way is tried twice: a line of digits took quadratic time."""
_DIFF: Final = re.compile(rb"^(?:diff |Index: |--- [^\n]*\n\+\+\+ )", re.MULTILINE)
_WINDOWS: Final = re.compile(rb"^(?:diff |--- |\+\+\+ |@@ )[^\n]*\r\n", re.MULTILINE)
_BINARY: Final = re.compile(rb"^(?:GIT binary patch$|Binary files (.*) differ$)", re.MULTILINE)
_PATHS: Final = re.compile(
    r"^(?:---|\+\+\+|rename from|rename to|copy from|copy to) ([^\t\n]+)", re.MULTILINE
)
_SAME: Final = re.compile(r"^diff --git a/(.{1,4096}) b/\1$", re.MULTILINE)
_SAME_QUOTED: Final = re.compile(r'^diff --git "a/.{1,4096}" ("b/.{1,4096}")$', re.MULTILINE)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\[0-3][0-7]{2})+)"')
"""Other escapes are of signs that no path of a series may hold; such a path stays quoted, and is refused."""
_ESCAPED: Final = re.compile(rb"\\([0-3][0-7]{2})")
_COVER: Final = re.compile(r"\[[^]]*\b0+/[0-9]+\]")
_COMMIT: Final = re.compile(r"\b[0-9a-f]{7,40}\b")
_VERSION: Final = re.compile(r"\bv?([0-9]+(?:\.[0-9a-z]+)+)\b")
_TEXTS: Final = {"text/plain", "text/x-patch", "text/x-diff"}


class Incoming(NamedTuple):
    """One patch from outside: a header of the house as far as it could be filled, and the diff as it came."""

    head: bytes
    diff: bytes
    origin: str
    """Where it stands, for messages."""


class Read(NamedTuple):
    """What a file holds: patches, and the mails that are none."""

    patches: tuple[Incoming, ...]
    skipped: tuple[str, ...]


def read(data: bytes, *, name: str) -> Read:
    """Return the patches in a file; SeriesError with every one that is none, or holds what no series may."""
    if coded := encoding_fault(data):
        raise SeriesError(f"{name}: {coded}")
    mails = list(_mails(data))
    texts = [_mail(one) for one in mails] if mails else [data]
    found: list[Incoming] = []
    skipped: list[str] = []
    faults: list[str] = []
    for number, text in enumerate(texts, start=1):
        where = f"{name}, mail {number}" if len(texts) > 1 else name
        one = _read(text, where)
        if one.diff:
            if not text.endswith((b"\n", NO_NEWLINE.encode())):
                faults.append(f"{where}: {NO_END}")
            faults += [f"{where}: {fault}" for fault in (*_faults(one.diff), *_uncounted(data, one.diff))]
            found.append(one)
        elif _COVER.search(text.partition(b"\n")[0][: limits.SUBJECT].decode("utf-8", "replace")):
            skipped.append(f"{where}: a cover letter")
        else:
            faults.append(f"{where}: holds no diff")
    if faults:
        raise SeriesError(
            f"{name} cannot be taken in", faults=faults, hint="nothing was written; mend it, or leave it out"
        )
    return Read(tuple(found), tuple(skipped))


def paths(diff: bytes) -> set[str]:
    """Return every path that a diff may mean, with up to two folders less."""
    found = set()
    for path in _named(diff):
        pieces = path.split("/")
        found |= {"/".join(pieces[less:]) for less in range(3) if less < len(pieces)}
    return found


def _named(diff: bytes) -> list[str]:
    """Return the paths that a diff names, as it writes them; of a file whose mode alone changes there is one place."""
    text = diff.decode("utf-8", "surrogateescape")
    found = (*_PATHS.findall(text), *_SAME.findall(text), *_SAME_QUOTED.findall(text))
    return [_plain_path(one) for one in found]


def _plain_path(path: str) -> str:
    """Return a path without the quotes and escapes that git puts around letters beyond ASCII; others stay."""
    if not (quoted := _QUOTED.fullmatch(path.rstrip(" \r"))):
        return path
    data = quoted[1].encode("utf-8", "surrogateescape")
    return _ESCAPED.sub(lambda one: bytes((int(one[1], 8),)), data).decode("utf-8", "surrogateescape")


def _mails(data: bytes) -> Iterator[bytes]:
    starts = [one.start() for one in _POSTMARK.finditer(data)]
    if starts and not data[: starts[0]].strip():
        yield from (data[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True))


def _mail(data: bytes) -> bytes:
    """Return a mail as a header, its text and the diff: what transport did to it is undone."""
    try:
        mail = BytesParser().parsebytes(data.partition(b"\n")[2])
        body = b"\n".join(_payloads(mail))
    except RecursionError:
        raise SeriesError("a mail is nested too deeply") from None
    said = {name: _plain(value) for name, value in mail.raw_items()}
    lines = [f"Subject: {said.get('Subject', '')}"]
    if author := said.get("From"):
        lines.append(f"From: {subject(author)}")
    return "\n".join(lines).encode("utf-8", "replace") + b"\n\n" + body


def _plain(value: str) -> str:
    """Return a mail's field on one line; one that was not encoded, though it should be, is UTF-8."""
    return " ".join(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").split())


def _payloads(mail: Message) -> Iterator[bytes]:
    for part in mail.walk():
        data = part.get_payload(decode=True)
        if part.get_content_type() in _TEXTS and isinstance(data, bytes):
            yield data


def _read(text: bytes, where: str) -> Incoming:
    start = _DIFF.search(text)
    head, diff = (text[: start.start()], text[start.start() :]) if start else (text, b"")
    head = re.split(rb"^---[ \t]*\n", head, maxsplit=1, flags=re.MULTILINE)[0]
    return Incoming(filled(head), diff if diff.endswith(b"\n") or not diff else diff + b"\n", where)


def _uncounted(data: bytes, diff: bytes) -> Iterator[str]:
    """Yield the lines that would be left out, by their numbers in the file; in the diff where a mail was encoded."""
    start = data.find(diff.removesuffix(b"\n"))
    lines = diff.decode("utf-8", "surrogateescape").split("\n")[:-1]
    found = difflines.faults(lines, first=data.count(b"\n", 0, max(start, 0)) + 1, mail=True)
    yield from found if start >= 0 else (f"of the diff, {one}" for one in found)


def _faults(diff: bytes) -> Iterator[str]:
    if _WINDOWS.search(diff):
        yield (
            "lines of its own end with CR LF, as an editor or a mailer leaves them: save it with LF; "
            "only a diff's lines of a source with CR LF keep it"
        )
    if _BINARY.search(diff):
        yield "changes a binary file; patches hold text"
    for path in dict.fromkeys(_named(diff)):
        pure = PurePosixPath(path.strip())
        if path.strip() == "/dev/null":
            continue
        if ".." in pure.parts or ".git" in pure.parts:
            yield f"{_shown(path)}: leaves the source tree"
        elif pure.is_absolute() or "\\" in path or path.startswith('"') or not path.isprintable():
            yield f"{_shown(path)}: not a plain relative path"


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def filled(head: bytes) -> bytes:
    """Return a header in the house's form, filled as far as the fields of others tell."""
    found = header.parts(head.decode("utf-8", "replace").replace("\r\n", "\n"))
    fields, text = list(found.fields), found.text
    names = {name for name, _ in fields}
    said = dict(_in_text(text)) | {name: header.value(raw) for name, raw in reversed(fields)}
    if "Subject" not in names and "Description" in names:
        raw = next(raw for name, raw in fields if name == "Description")
        title, _, rest = raw.partition(":")[2].strip().partition("\n")
        fields = [("Subject", f"Subject: {title}"), *(item for item in fields if item[0] != "Description")]
        text = "\n\n".join(filter(None, (_unfolded(rest), text)))
    fields = [
        (name, f"Subject: {subject(header.value(raw))}" if name == "Subject" else raw) for name, raw in fields
    ]
    if "Upstream" not in said and (upstream := _upstream(said)):
        fields.append(("Upstream", f"Upstream: {upstream}"))
    return header.assembled(fields, text)


def _in_text(text: str) -> Iterator[tuple[str, str]]:
    for raw, name in re.findall(r"^(([A-Za-z][A-Za-z-]*):.*(?:\n[ \t]+.*)*)", text, re.MULTILINE):
        yield name, header.value(raw)


def _unfolded(rest: str) -> str:
    """Return the long part of Debian's description as paragraphs: a line with a dot alone is an empty one."""
    lines = [line.strip() for line in rest.split("\n")]
    return "\n".join("" if line == "." else line for line in lines).strip("\n")


def _upstream(said: Mapping[str, str]) -> str:
    """Return the house's ``Upstream`` of what DEP-3 and Upstream-Status say; nothing when that is not enough."""
    if applied := said.get("Applied-Upstream"):
        return _fixed(applied)
    if status := said.get("Upstream-Status"):
        word, _, where = status.partition(" ")
        return _status(word.lower(), where.strip().removeprefix("[").removesuffix("]").strip())
    forwarded = said.get("Forwarded", "")
    if forwarded.lower() in {"no", "not-needed"}:
        return "not reported"
    bug = said.get("Bug") or said.get("Bug-Upstream") or ""
    return _reported(bug if forwarded.lower() in {"", "yes"} else forwarded, "")


def _status(word: str, where: str) -> str:
    """Return what Yocto's Upstream-Status says."""
    match word:
        case "backport" | "accepted":
            return _fixed(where)
        case "submitted":
            return _reported(where, "")
        case "denied":
            return _reported(where, "denied")
        case "inappropriate":
            return f"not reported; inappropriate: {where}" if where else "not reported; inappropriate"
        case _:
            return "not reported" if word in {"pending", "inactive-upstream"} else ""


def _fixed(where: str) -> str:
    version, commit = _VERSION.search(where), _COMMIT.search(where)
    return f"fixed in {version[1]} ({commit[0]})" if version and commit else ""


def _reported(where: str, remark: str) -> str:
    place, _, more = where.partition(" ")
    remarks = " ".join(filter(None, (remark, more.strip())))
    return f"reported as {place}{f'; {remarks}' if remarks else ''}" if place else ""
