"""Lines of a diff, each of them counted: what no hunk counts goes in nowhere, and nobody would be told. Pure.

``git apply`` passes over what stands between two files and behind the last one, as a mail's signature does. So would a
line that somebody added to a hunk without counting it in the ``@@`` line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

_HUNK: Final = re.compile(r"@@ -\d+(?:,(\d{1,9}))? \+\d+(?:,(\d{1,9}))? @@")
_START: Final = re.compile(r"diff -|Index: \S")
_ABOUT: Final = re.compile(
    r"(?:index|old mode|new mode|new file mode|deleted file mode|(?:rename|copy) (?:from|to)|(?:dis)?similarity index)"
    r" |=+$|RCS file: |retrieving revision "
)
"""What git, and older systems, say of a file before its hunks."""
_BINARY: Final = re.compile(r"GIT binary patch$|Binary files? ")
_BASE: Final = re.compile(r"(?:base-commit|prerequisite-patch-id): [0-9a-f]{7,64}$")
"""What ``git format-patch --base`` adds."""
_SIGNATURE: Final = re.compile(r"-- ?$")
_VERSION: Final = re.compile(r"\d+\.\d\S*( \([^()]*\))?$")
"""git's own, which it signs with."""
_LIST: Final = re.compile(r"_{20,}$")
"""Below it stands what a mailing list adds to each mail."""
_SHOWN: Final = 60


def faults(lines: Sequence[str], *, first: int = 1, mail: bool = False) -> Iterator[str]:
    """Yield what is wrong with a diff's hunks: lines that none of them counts, and counts that its lines do not fill.

    ``first`` is the number that the first line has in its file. Before the first file's heading anything may stand, and
    in a ``mail`` below the signature, too.
    """
    at = next((index for index in range(len(lines)) if _heading(lines, index)), len(lines))
    told, about = -1, False
    while at < len(lines):
        line = lines[at].rstrip("\r")
        if hunk := _HUNK.match(line):
            end, lacks = _hunk(lines, at, hunk)
            if lacks:
                here = repr(lines[end][:_SHOWN]) if end < len(lines) else "the end"
                yield f"line {first + end}: {here}, where the hunk of line {first + at} counts {lacks} ({hunk[0]})"
            at, about, told = end, False, end - 1 if lacks else -1
            continue
        if _BINARY.match(line):  # which is refused by its name; what follows is no text
            at = next((index for index in range(at, len(lines)) if _START.match(lines[index])), len(lines))
            continue
        if _is_signature(lines, at, mail=mail):
            return
        taken = _heading(lines, at, about=about)
        about = taken > 0 or (about and bool(_ABOUT.match(line)))
        if not (about or not line.strip() or _BASE.match(line)):
            if at != told + 1 or told < 0:
                yield f"line {first + at}: no hunk counts {line[:_SHOWN]!r}: mend the '@@' line above, or take it out"
            told = at
        at += taken or 1


def _heading(lines: Sequence[str], at: int, *, about: bool = False) -> int:
    """Return how many lines begin what a diff says of a file: git's one, or the two paths.

    A line that is taken out may look like the first of them: they stand ``about`` a file already, or before a hunk.
    """
    if _START.match(lines[at]):
        return 1
    pair = lines[at].startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ ")
    return 2 if pair and (about or (at + 2 < len(lines) and _HUNK.match(lines[at + 2]))) else 0


def _is_signature(lines: Sequence[str], at: int, *, mail: bool) -> bool:
    """Say whether a signature begins here: git's with its version alone, at the end; of a mail any."""
    line = lines[at].rstrip("\r")
    if mail and (_SIGNATURE.match(line) or _LIST.match(line)):
        return True
    rest = [one.strip() for one in lines[at + 1 :] if one.strip()] if _SIGNATURE.match(line) else []
    return len(rest) == 1 and bool(_VERSION.match(rest[0]))


def _hunk(lines: Sequence[str], at: int, head: re.Match[str]) -> tuple[int, str]:
    """Return where the hunk ends whose ``@@`` line stands at ``at``, and what of its count is not there."""
    old, new = (int(count) if count else 1 for count in head.groups())
    at += 1
    while (old > 0 or new > 0) and at < len(lines):
        sign = lines[at].rstrip("\r")[:1] or " "
        if sign not in " +-\\" or (sign in " -" and not old) or (sign in " +" and not new):
            break
        old -= sign in " -"
        new -= sign in " +"
        at += 1
    if at < len(lines) and lines[at].startswith("\\ "):  # No newline at end of file
        at += 1
    more = [f"{count} more of the {side} file" for count, side in ((old, "old"), (new, "new")) if count]
    return at, " and ".join(more)
