"""Which patch needs which, found by applying without the others; and which native inputs each one touches.

It says what the text of a patch needs. That code of one calls code of another, no applying can tell.
"""

from __future__ import annotations

from collections.abc import Sequence

from retread.queue.desk import Desk
from retread.queue.pieces import Piece
from retread.queue.repository import Failed, Repository
from retread.recipe import native
from retread.recipe.series import Patch
from retread.records import Record


class Node(Record, frozen=True, kw_only=True):
    """A patch: the earlier ones that it needs, without those that these need already, and what it touches."""

    name: str
    subject: str
    needs: tuple[str, ...]
    touches: tuple[str, ...]
    native: tuple[str, ...]
    """Those of the files that it touches that can change compiled code."""


class Graph(Record, frozen=True, kw_only=True):
    """A series as a graph."""

    schema: int
    recipe: str
    patches: tuple[Node, ...]


def graph(desk: Desk) -> Graph:
    """Return what each patch of a series needs and touches; SeriesError when the series does not go in."""
    loaded = desk.loaded()
    with desk.held() as scratch:
        repository, source, base, stack = desk.stack(loaded, scratch)
        needed = [_needed(repository, base, stack, index) for index in range(len(stack))]
    nodes = (
        _node(desk, patch, [stack[one].name for one in direct(needed, index)], source.manifest.files)
        for index, patch in enumerate(loaded.patches)
    )
    return Graph(schema=1, recipe=desk.recipe.name, patches=tuple(nodes))


def _node(desk: Desk, patch: Patch, needs: list[str], files: dict[str, str]) -> Node:
    compiled = (change.path for change in patch.changes if native.is_native(change, desk.recipe, files))
    return Node(
        name=patch.name,
        subject=patch.subject,
        needs=tuple(needs),
        touches=tuple(dict.fromkeys(change.path for change in patch.changes)),
        native=tuple(dict.fromkeys(compiled)),
    )


def _needed(repository: Repository, base: str, stack: Sequence[Piece], index: int) -> list[int]:
    """Return the earlier patches without which one does not go in: each is left out once, the latest first."""
    wanted = list(range(index))
    for one in reversed(range(index)):
        rest = [other for other in wanted if other != one]
        if _goes_in(repository, base, [stack[other] for other in (*rest, index)]):
            wanted = rest
    return wanted


def _goes_in(repository: Repository, base: str, some: Sequence[Piece]) -> bool:
    tree = base
    for one in some:
        assert one.diff is not None
        made = repository.apply_bytes(tree, one.diff)
        if isinstance(made, Failed):
            return False
        tree = made
    return True


def direct(needed: Sequence[Sequence[int]], index: int) -> list[int]:
    """Return what a patch needs without what those that it needs do need; ``needed`` holds all, place by place."""
    through = {far for near in needed[index] for far in needed[near]}
    return [one for one in needed[index] if one not in through]
