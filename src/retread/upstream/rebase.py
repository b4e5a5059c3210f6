"""What a bump leaves to a person: a rebase in a worktree that stops at every patch with an open verdict.

git keeps what is done and what is left, so it can be gone on from at any time. A patch that merely could be merged
stops, too: nobody takes it for clean.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from retread.errors import SeriesError
from retread.queue import carry, header, pieces, resolution, sides
from retread.queue.fate import PatchFate
from retread.queue.pieces import Piece
from retread.queue.resolution import Solved
from retread.queue.sides import Sides
from retread.queue.worktree import Worktree, digests
from retread.recipe.workspace import Loaded
from retread.source.records import SourceTree

BY_HAND: Final = "by hand"
_RUNNING: Final = "rebase-merge"
"""What git's folder has while a rebase is under way."""


def begin(
    tree: Worktree, loaded: Loaded, new: SourceTree, fates: Collection[PatchFate], command: str
) -> None:
    """Make the worktree: the series on its own source, and a rebase to the new one under way; open patches stop it.

    ``command`` is run after each patch, and stops it where it fails; what is done by then stays.
    """
    stops = {one.name: one.open for one in fates}
    left_out = {one.name for one in fates if not one.open and not one.kept}

    def fill(made: Worktree) -> None:
        git = made.repository
        source = tree.desk.trees(loaded).source
        base = git.commit(git.base(source), None, "The old source.\n", time=source.manifest.time)
        onto = git.commit(git.base(new), None, "The new source.\n", time=source.manifest.time)
        made.configure(loaded)
        head = base
        for one in pieces.stacked(git, git.tree_of(base), loaded.files):
            head = git.commit(
                one.after, head, header.message(one.head), time=source.manifest.time, name=one.name
            )
        git.ask("config", "merge.conflictStyle", "diff3")
        git.ask("checkout", "--quiet", "--force", "-B", "series", head)
        made.remember(loaded, onto, "")
        step = 2 if command else 1  # git writes the command below each patch of its list
        script = [
            f"{step * at + 1}s/^pick /{'edit' if stops[patch.name] else 'drop' if patch.name in left_out else 'pick'} /"
            for at, patch in enumerate(loaded.patches)
        ]
        run = ["--exec", command] if command else []
        made.rebase(";".join(script), "--empty=drop", *run, "--onto", onto, base)

    tree.found(fill)


def advance(tree: Worktree, known: Solved, gone: AbstractSet[str], *, looked: bool) -> None:
    """Go on with a rebase as far as no person is needed: over conflicts that were solved before, and patches left out.

    With ``looked`` somebody was at the stop where it is now; a later stop is for somebody to look at.
    """
    state = tree.repository.metadata / _RUNNING
    while state.is_dir():
        stopped = tree.repository.run("rev-parse", "--quiet", "--verify", "REBASE_HEAD")
        patch = tree.repository.one(stopped.stdout.strip()).names if stopped.code == 0 else ()
        amends, way = (state / "amend").exists(), "--continue"
        if not gone.isdisjoint(patch):
            way = "--continue" if amends else "--skip"
            tree.repository.ask("reset", "--quiet", "--hard", "HEAD~1" if amends else "HEAD")
        elif _filled(tree, known) or ((amends or stopped.code) and not looked):
            return
        looked = False
        if not _went_on(tree, state, way):
            return


def _went_on(tree: Worktree, state: Path, way: str) -> bool:
    """Go on with a rebase; say whether it came farther."""
    place = state / "msgnum"
    before = place.read_text()
    who = {f"GIT_COMMITTER_{key}": "retread" for key in ("NAME", "EMAIL")}
    tree.repository.run("rebase", way, more={"GIT_EDITOR": "true", **who})
    return not place.exists() or place.read_text() != before


def _filled(tree: Worktree, known: Solved) -> list[str]:
    """Solve what is in conflict as it was solved before; return the files that are left."""
    stages: dict[str, dict[str, str]] = {}
    for row in tree.repository.ask("ls-files", "--unmerged", "-z").split("\0")[:-1]:
        facts, _, path = row.partition("\t")
        _, blob, stage = facts.split(" ")
        stages.setdefault(path, {})[stage] = blob
    for path, found in list(stages.items()):
        blobs = [("", found[stage]) if stage in found else None for stage in "213"]
        outcome = sides.solved(tree.repository, Sides(path, "", *blobs), known)
        if outcome is None:
            continue
        if outcome.text is None:
            (tree.folder / path).unlink(missing_ok=True)
        else:
            (tree.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tree.folder / path).write_bytes(outcome.text)
        tree.repository.ask("add", "--all", "--", path)
        del stages[path]
    return list(stages)


def lessons(
    tree: Worktree, loaded: Loaded, found: Collection[Piece], solved: Collection[str]
) -> dict[str, bytes]:
    """Return name -> bytes of what was made of the conflicts of those patches that a person ``solved``.

    Of a patch that was changed elsewhere too nothing is kept, and that is said: taken again it would be another one.
    """
    git, made = tree.repository, dict[str, bytes]()
    source = tree.desk.trees(loaded).source
    old = pieces.stacked(git, git.base(source, pieces.paths(loaded.patches)), loaded.files)
    before = {one.name: one for one in old}
    renames = git.renamed(git.base(source), git.tree_of(tree.demand_state().base))
    for one in (piece for piece in found if piece.name in solved):
        every = sides.sides(git, one.before, before[one.name], renames)
        learned = {side.path: sides.learned(git, side, git.blob(one.after, side.path)) for side in every}
        known = {key: text for path in learned.values() for key, text in path.items()}
        if carry.as_before(git, one.before, before[one.name], known, renames).tree == one.after:
            for path, texts in learned.items():
                made |= resolution.files(texts, path, one.name)
        else:
            tree.desk.machine.console.say(
                f"{one.name}: changed outside of its conflicts, too, so they are not kept"
            )
    return made


def told(tree: Worktree) -> str:
    """Return what is to be done in the worktree."""
    if not (tree.repository.metadata / _RUNNING).is_dir():
        return f"{tree.folder}: the rebase went through; take it with 'retread recipe bump ... --continue'"
    stopped = tree.repository.run("log", "-1", "--format=%s", "REBASE_HEAD").stdout.strip() or tree.subject
    return (
        f"{tree.folder}: a rebase stops at {stopped!r}; solve it there, then 'git add' and 'git rebase --continue', "
        "or '--skip'; when it is done: 'retread recipe bump ... --continue'"
    )


def demand_same(tree: Worktree, loaded: Loaded, new: SourceTree) -> None:
    """Raise SeriesError when the pin, the series or the other source is not what it was when the bump began."""
    state, git = tree.demand_state(), tree.repository
    other = ""
    if state.pin != tree.desk.trees(loaded).source_key:
        other = f"{tree.desk.recipe.name} pins another source than when the bump began"
    elif state.series != digests(loaded.files):
        other = f"{tree.desk.series} changed since the bump began"
    elif git.base(new) != git.tree_of(state.base):
        other = f"what {tree.desk.recipe.name} is carried to is another source than when the bump began"
    if other:
        raise SeriesError(other, hint="put it back with git, or begin anew after --abort")


def solved(
    tree: Worktree, loaded: Loaded, fates: Collection[PatchFate], gone: Collection[str]
) -> tuple[list[Piece], list[PatchFate]]:
    """Return the series that the rebase made, and the verdicts, with those that a person solved.

    SeriesError while it is under way, and when a patch is gone for no reason.
    """
    state = tree.demand_state()
    tree.demand_quiet()
    found = tree.pieces(tree.commits(state), state.base, loaded.files)
    there = {one.name for one in found}
    lost = [one.name for one in fates if one.name not in there and one.name not in gone]
    if lost:
        raise SeriesError(
            f"{tree.folder}: {', '.join(lost)} left no commit",
            hint="say why with --skip PATCH --because TEXT, or accept the verdict that says it is needless",
        )
    return found, [_by_hand(one) if one.open and one.name in there else one for one in fates]


def _by_hand(one: PatchFate) -> PatchFate:
    return replace(one, open=False, kept=True, reason=BY_HAND)
