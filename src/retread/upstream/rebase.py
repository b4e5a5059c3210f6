"""What a bump leaves to a person: a rebase in a worktree that stops at every patch with an open verdict.

git keeps what is done and what is left, so it can be gone on from at any time. A patch that merely could be merged
stops, too: nobody takes it for clean.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from retread.errors import SeriesError
from retread.queue import header, pieces
from retread.queue.fate import PatchFate
from retread.queue.pieces import Piece
from retread.queue.worktree import Worktree, digests
from retread.recipe.workspace import Loaded
from retread.source.records import SourceTree

BY_HAND = "by hand"


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


def told(tree: Worktree) -> str:
    """Return what is to be done in the worktree."""
    if not (tree.repository.metadata / "rebase-merge").is_dir():
        return f"{tree.folder}: the rebase went through; take it with 'retread recipe bump ... --continue'"
    stopped = tree.repository.run("log", "-1", "--format=%s", "REBASE_HEAD").stdout.strip() or tree.subject
    return (
        f"{tree.folder}: a rebase stops at {stopped!r}; solve it there, then 'git add' and 'git rebase --continue', "
        "or '--skip'; when it is done: 'retread recipe bump ... --continue'"
    )


def solved(
    tree: Worktree, loaded: Loaded, new: SourceTree, fates: Collection[PatchFate], gone: Collection[str]
) -> tuple[list[Piece], list[PatchFate]]:
    """Return the series that the rebase made, and the verdicts, with those that a person solved.

    SeriesError while it is under way, when the series changed meanwhile, and when a patch is gone for no reason.
    """
    state = tree.demand_state()
    tree.demand_quiet()
    if state.series != digests(loaded.files) or tree.repository.base(new) != tree.repository.tree_of(
        state.base
    ):
        raise SeriesError(
            f"{tree.desk.series} changed since the bump began",
            hint="put it back with git, or begin anew after --abort",
        )
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
