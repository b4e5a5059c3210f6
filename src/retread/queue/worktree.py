"""The worktree: a repository of its own, the pinned source as the base commit, one commit for each patch.

What it was made of stands in a record inside of ``.git``, so that a series or a pin that changed meanwhile is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from retread import strict
from retread.doors import durable, fs
from retread.doors.proc import Finished
from retread.errors import SeriesError, ToolError, UsageError, first
from retread.queue import header, order, pieces
from retread.queue.desk import Desk
from retread.queue.pieces import Piece
from retread.queue.repository import NOTES, Commit, Repository, first_lines
from retread.recipe.workspace import Loaded
from retread.records import Record
from retread.units import counted

_STATE: Final = "retread.json"
_BRANCH: Final = "series"
_RUNNING: Final = {
    "rebase-merge": ("a rebase", "rebase"),
    "rebase-apply": ("a rebase or 'git am'", "rebase"),
    "MERGE_HEAD": ("a merge", "merge"),
    "CHERRY_PICK_HEAD": ("a cherry-pick", "cherry-pick"),
    "REVERT_HEAD": ("a revert", "revert"),
    "BISECT_LOG": ("a bisect", "bisect"),
}
"""What git leaves in its folder while something is under way -> what that is, and the command that ends it."""


class State(Record, frozen=True, kw_only=True):
    """What a worktree was made of: the recipe, its pin, base and last commit, and each file of the series."""

    schema: int
    root: str
    recipe: str
    pin: str
    base: str
    head: str
    series: dict[str, str]
    """Name -> SHA-256."""


class Worktree:
    """The worktree of a desk, which may not be there."""

    def __init__(self, desk: Desk, scratch: Path, folder: Path | None = None) -> None:
        self.desk = desk
        self.folder = folder or desk.worktree
        self._new = folder is not None
        self.repository = Repository(self.folder, desk.machine.environment, scratch)

    @property
    def state(self) -> State | None:
        """What it was made of; None when it is not there. UsageError for another recipe's, or a foreign folder."""
        file = self.repository.metadata / _STATE
        if self._new or not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            return None
        try:
            found = strict.decoded(file.read_bytes(), State)
        except (OSError, ValueError):
            raise UsageError(
                f"{self.folder} is no worktree of retread's",
                hint="move it away, or name another place with --into",
            ) from None
        if (found.root, found.recipe) != (str(self.desk.root), self.desk.recipe.name):
            raise UsageError(f"{self.folder} is the worktree of {found.recipe} in {found.root}")
        return found

    def demand_state(self) -> State:
        """Return what it was made of; UsageError when there is no worktree."""
        found = self.state
        if found is None:
            name = self.desk.recipe.name
            raise UsageError(
                f"there is no worktree of {name}", hint=f"make one with 'retread patch edit {name}'"
            )
        return found

    # Made, and made anew.

    def make(self, loaded: Loaded) -> None:
        """Make it, or bring it to what the series is now; whatever is in it otherwise is lost."""
        if self.state is not None:
            self._fill(loaded)
        else:
            self.found(lambda new: new._fill(loaded))

    def found(self, fill: Callable[[Worktree], None]) -> None:
        """Make it where there is none: ``fill`` gets one with an empty repository, which is moved in at the end."""
        with fs.disk_errors(self.folder):
            fs.remove(self.folder)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            beside = self.folder.with_name(f".{self.folder.name}.new")
            fs.remove(beside)
            new = Worktree(self.desk, self.repository.scratch, beside)
            try:
                new.repository.init()
                fill(new)
                beside.rename(self.folder)
            except BaseException:
                fs.remove(beside)
                raise

    def _fill(self, loaded: Loaded) -> None:
        git, trees = self.repository, self.desk.trees(loaded)
        time, pin = trees.source.manifest.time, trees.source.manifest.commit
        known = self.state
        if known is not None and known.pin == trees.source_key:
            base, tree = known.base, git.tree_of(known.base)
        else:
            tree = git.base(trees.source)
            base = git.commit(tree, None, f"{pin}\n\nThe pinned source.\n", time=time)
        self.configure(loaded)
        head = base
        for one in pieces.stacked(git, tree, loaded.files):
            head = git.commit(one.after, head, header.message(one.head), time=time, name=one.name)
        git.ask("checkout", "--quiet", "--force", "-B", _BRANCH, head)
        self.remember(loaded, base, head)

    def configure(self, loaded: Loaded) -> None:
        """Let git treat bytes as they are and carry the names of patches along, whatever the user is used to."""
        heads = (header.split(loaded.files[one.name])[0] for one in loaded.patches)
        settings = {
            "core.autocrlf": "false",
            "core.safecrlf": "false",
            "core.commentChar": header.comment_sign(map(header.message, heads)),
            "notes.rewriteRef": NOTES,
            "notes.displayRef": NOTES,
        }
        for key, value in settings.items():
            self.repository.ask("config", key, value)
        (self.repository.metadata / "info" / "exclude").write_text("__pycache__/\n*.pyc\n")

    def remember(self, loaded: Loaded, base: str, head: str) -> None:
        """Note what the worktree stands for now; with no ``head`` it holds work that the series does not."""
        found = State(
            schema=1,
            root=str(self.desk.root),
            recipe=self.desk.recipe.name,
            pin=self.desk.trees(loaded).source_key,
            base=base,
            head=head,
            series=digests(loaded.files),
        )
        durable.replace(self.repository.metadata / _STATE, msgspec.json.format(msgspec.json.encode(found)))

    # Read.

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return self.repository.ask("rev-parse", "HEAD").strip()

    @property
    def subject(self) -> str:
        """The subject of the commit that is checked out."""
        return self.repository.one(self.head).subject

    @property
    def quiet(self) -> bool:
        """Whether everything in it is committed."""
        try:
            self.demand_quiet()
        except SeriesError:
            return False
        return True

    def demand_quiet(self) -> None:
        """Raise SeriesError while git is in the middle of something, or files differ from the last commit."""
        said = self.repository.ask("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
        dirty = [f"{one[3:]}: {_status(one[:2])}" for one in said.split("\0") if one]
        for name, (what, command) in _RUNNING.items():
            if (self.repository.metadata / name).exists():
                way = "reset" if command == "bisect" else "--continue' or 'git " + f"{command} --abort"
                raise SeriesError(
                    f"{self.folder}: {what} is under way",
                    faults=first(dirty),
                    hint=f"end it there with 'git {command} {way}'",
                )
        if dirty:
            raise SeriesError(
                f"{self.folder}: {counted(len(dirty), 'file')} not committed",
                faults=first(dirty),
                hint="commit them there ('git commit --fixup COMMIT' and 'git rebase -i --autosquash' put them into "
                "a patch), or 'git stash'",
            )

    def commits(self, state: State) -> list[Commit]:
        """Return the commits after the base; SeriesError lists those that cannot be patches."""
        if self.repository.run("symbolic-ref", "--quiet", "HEAD").code:
            raise SeriesError(
                f"{self.folder}: no branch is checked out, so a patch that is not behind HEAD would be dropped",
                hint=f"go back with 'git switch {_BRANCH}', or keep what is there with 'git switch -C {_BRANCH}'",
            )
        head = self.head
        inside = self.repository.run("merge-base", "--is-ancestor", state.base, head)
        if inside.code:
            raise SeriesError(
                f"{self.folder}: its commits do not stand on the pinned source, {state.base[:12]}",
                hint=f"put them there with 'git rebase --onto {state.base[:12]} UPSTREAM'",
            )
        found = self.repository.log(state.base, head)
        faults = list(self._faults(state, found))
        if faults:
            raise SeriesError(
                f"{self.folder}: {counted(len(faults), 'commit')} cannot go into a series",
                faults=first(faults),
                hint=f"mend them there with 'git rebase -i --autosquash {state.base[:12]}'; nothing was written",
            )
        return found

    def _faults(self, state: State, found: list[Commit]) -> Iterator[str]:
        before = self.repository.tree_of(state.base)
        for one, line in zip(found, first_lines(found), strict=True):
            if len(one.parents) > 1:
                yield f"{line}: a merge; a series is one line of commits"
            elif one.tree == before:
                yield f"{line}: changes nothing"
            if one.subject.startswith(("fixup! ", "squash! ", "amend! ")):
                yield f"{line}: waits for 'git rebase --autosquash'"
            elif header.ends_early(one.message):
                yield f"{line}: its message holds a line '---', which ends a patch's header"
            before = one.tree

    def pieces(self, commits: list[Commit], base: str, old: Mapping[str, bytes]) -> list[Piece]:
        """Return the commits as pieces: which patch each one is says its note, else its subject."""
        listed = order.names(order.read(old))
        owners = _owners(commits, listed, old)
        before, found = self.repository.tree_of(base), []
        for one in commits:
            name = owners.get(one.id, "")
            head, diff = header.split(old[name]) if name else (None, None)
            kept = diff if diff is not None and self._still(before, one.tree, diff) else None
            made = Piece(
                name or order.slug(one.subject),
                header.from_message(one.message, head),
                before,
                one.tree,
                kept,
            )
            found.append(made)
            before = one.tree
        return found

    def _still(self, before: str, after: str, diff: bytes) -> bool:
        return self.repository.apply_bytes(before, diff) == after

    def start_edit(self, state: State, name: str) -> None:
        """Stop a rebase at the commit of a patch, to be amended and gone on from."""
        self.demand_quiet()
        commits = self.commits(state)
        at = next((index for index, one in enumerate(commits, start=1) if name in one.names), None)
        if at is None:
            raise SeriesError(f"{self.folder}: no commit is {name}")
        done = self.rebase(f"{at}s/^pick /edit /", state.base)
        if done.code or not (self.repository.metadata / "rebase-merge").is_dir():
            raise ToolError(f"git rebase did not stop at {name}: {done.stderr.strip()}")

    def rebase(self, script: str, *where: str) -> Finished:
        """Begin a rebase whose list a script of sed writes anew; it stops as the list, or a conflict, says."""
        who = {f"GIT_COMMITTER_{key}": "retread" for key in ("NAME", "EMAIL")}
        return self.repository.run(
            "rebase", "--quiet", "--no-autosquash", "--interactive", *where,
            more={"GIT_SEQUENCE_EDITOR": f"sed -i '{script}'", **who},
        )  # fmt: skip


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return name -> SHA-256 of the series and its patches."""
    wanted = (order.SERIES, *order.names(order.read(files)))
    return {name: hashlib.sha256(files[name]).hexdigest() for name in wanted if name in files}


def _owners(commits: list[Commit], listed: list[str], old: Mapping[str, bytes]) -> dict[str, str]:
    """Return commit -> the patch that it is."""
    owners: dict[str, str] = {}
    free = list(listed)
    for one in commits:
        for name in one.names:
            if name in free:
                owners[one.id] = name
                free.remove(name)
                break
    subjects = {_subject(old[name]): name for name in reversed(free)}
    for one in commits:
        with suppress(KeyError):
            if one.id not in owners:
                owners[one.id] = subjects.pop(one.subject)
    return owners


def _subject(data: bytes) -> str:
    return header.message(header.split(data)[0]).partition("\n")[0]


def _status(letters: str) -> str:
    return "git does not know it" if letters == "??" else "in conflict" if "U" in letters else "changed"
