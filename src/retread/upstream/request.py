"""What a bump means for a pull request: its words, whether it is a draft, and what changed since the last time.

The last state stands in the request itself, in marks that a page does not show: so the same is never said twice, and
nobody has to keep anything elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from retread import strict
from retread.queue.fate import PASSES, PatchFate
from retread.records import digest
from retread.text.markup import code
from retread.upstream.bump import Bumped
from retread.upstream.outlook import Action, Outlook

_STATE: Final = re.compile(r"<!-- retread verdicts ([^\n]*) -->")
_SAID: Final = re.compile(r"<!-- retread said ([0-9a-f]{16}) -->")
_SHOWN: Final = 40
"""Hunks of a patch that are listed: a page takes 65,536 characters."""


class Wanted(NamedTuple):
    """A recipe that is to be carried to a release."""

    recipe: str
    project: str
    to: str

    @property
    def branch(self) -> str:
        """The branch of its request."""
        return f"bump/{self.project}-{self.to}"


class Draft(NamedTuple):
    """A request as it is to be."""

    title: str
    body: str
    ready: bool
    """Whether the branch holds a whole recipe, of which nobody has to decide anything."""


def wanted(found: Outlook) -> list[Wanted]:
    """Return the recipes that a watch wants carried to a release that has none."""
    return [
        Wanted(one.recipe, one.project, task.subject)
        for one in found.recipes
        for task in one.tasks
        if task.action is Action.PIN
    ]


def draft(found: Bumped, error: str) -> Draft:
    """Return the request for a bump; ``error`` is why nothing was written although no patch is open."""
    opened = [one for one in found.patches if one.open]
    ready = bool(found.written) and not opened and all(one.fate in PASSES for one in found.patches)
    return Draft(
        title=f"Carry {found.recipe} to {found.to}",
        body="\n".join([*_body(found, opened, error), "", _state(found.patches)]) + "\n",
        ready=ready,
    )


def _body(found: Bumped, opened: Sequence[PatchFate], error: str) -> Iterator[str]:
    yield f"{code(found.recipe)} on {code(found.file)}, sha256 {code(found.sha256)}."
    if opened:
        yield from (
            "",
            f"{len(opened)} of {len(found.patches)} patches are left to a person; nothing was written:",
        )
        yield from ("", "```", f"retread recipe bump {found.recipe} --to {found.to} --edit", "```")
    elif error:
        yield from ("", f"Every patch passes, but nothing was written: {code(error)}")
    yield from ("", "| patch | verdict | hunks |", "| --- | --- | --- |")
    for one in found.patches:
        yield f"| {_cell(code(one.name))} | {one.fate}{' (open)' if one.open else ''} | {_hunks(one)} |"
    if found.adjusted:
        taken = (f"- {code(one)}" for one in found.adjusted)
        yield from ("", "Taken over from the new wheels and the archive:", "", *taken)
    if found.look_at:
        yield from ("", "A person looks at:", "", *(f"- {code(one)}" for one in found.look_at))


def _hunks(one: PatchFate) -> str:
    if one.fate in PASSES:
        return ""
    told = [f"{code(f'{hunk.path}:{hunk.line}')} {hunk.fate}" for hunk in one.hunks[:_SHOWN]]
    more = len(one.hunks) - _SHOWN
    return _cell("<br>".join([*told, *([f"and {more} more"] if more > 0 else [])]))


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _state(patches: Sequence[PatchFate]) -> str:
    words = msgspec.json.encode({one.name: str(one.fate) for one in patches}).decode()
    return f"<!-- retread verdicts {words.replace('>', chr(92) + 'u003e')} -->"


def comment(before: str, comments: Sequence[str], patches: Sequence[PatchFate]) -> str:
    """Return what has to be said of verdicts that changed; nothing where none did, or it was said last.

    ``before`` is the request's body as it is; ``comments`` are those that are there, the last one last.
    """
    old, new = _verdicts(before), {one.name: str(one.fate) for one in patches}
    changes = [_change(name, old.get(name), new.get(name)) for name in dict.fromkeys((*old, *new))]
    told = [words for words in changes if words]
    if not old or not told:
        return ""
    mark = digest(repr(sorted(new.items())).encode())[:16]
    said = [found[1] for text in comments if (found := _SAID.search(text))]
    if said and said[-1] == mark:
        return ""
    return (
        "\n".join(["What becomes of the series changed:", "", *told, "", f"<!-- retread said {mark} -->"])
        + "\n"
    )


def _change(name: str, old: str | None, new: str | None) -> str:
    if old == new:
        return ""
    return (
        f"- {code(name)}: {code(old or 'not in the series')} before, {code(new or 'not in the series')} now"
    )


def _verdicts(body: str) -> Mapping[str, str]:
    """Return what the mark of a body says; nothing for one that is none, since anybody may edit it."""
    found = _STATE.findall(body)  # the last is ours: others' words stand above it
    try:
        return strict.decoded(found[-1], dict[str, str]) if found else {}
    except ValueError:
        return {}
