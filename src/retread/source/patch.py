"""Stage *patch*: the whole series on the pinned tree, or nothing.

Only the files that the series touches are copied and patched, by ``git apply``, which knows no fuzz and leaves no
reject files. The result is the difference: what the patched tree has otherwise than the pinned one.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from retread import strict
from retread.doors import gitenv, proc
from retread.errors import SeriesError, ToolError
from retread.recipe.proof import blob_id
from retread.recipe.series import NO_NEWLINE, Change, ChangeKind, Patch
from retread.records import Record
from retread.source import syntax
from retread.source.records import Applied, PatchedTree, SourceTree, Verdict
from retread.source.tree import pristine
from retread.strict import near_miss

DELTA = "delta.json"
TREE = "tree"
_FILE = re.compile(r"Checking patch (?:.* => )?(.+)\.\.\.")
_HUNK = re.compile(r"Hunk #(\d+) succeeded at (\d+) \(offset (-?\d+) lines?\)")
"""What ``git apply --verbose`` says of a file, and of a hunk that did not go in at its own lines."""


def load(entry: Path) -> PatchedTree:
    """Return the difference that lies in a finished store entry."""
    delta = strict.decoded((entry / DELTA).read_bytes(), _Delta)
    return PatchedTree(root=entry / TREE, changes=delta.changes, applied=delta.applied)


class _Delta(Record, frozen=True, kw_only=True):
    changes: tuple[Change, ...]
    applied: tuple[Applied, ...]


class _Git:
    """``git apply`` in one directory, deaf to the user's configuration and to repositories around it."""

    def __init__(self, work: Path, environment: Mapping[str, str]) -> None:
        self._program = proc.find("git", why="it applies the patches")
        self._work = work
        self._environment = environment
        self._env = {**gitenv.deaf(environment), "GIT_DIR": os.devnull}

    def at(self, work: Path) -> _Git:
        """Return the same in another directory."""
        return _Git(work, self._environment)

    def apply(self, patch: Path, *options: str) -> proc.Finished:
        command: list[str | Path] = [
            self._program,
            "apply",
            "--verbose",
            "--whitespace=nowarn",
            *options,
            patch,
        ]
        return proc.run(command, env=self._env, cwd=self._work, check=False)


def apply(
    source: SourceTree,
    patches: Sequence[Patch],
    files: Mapping[str, bytes],
    into: Path,
    *,
    environment: Mapping[str, str],
    judge: Callable[[Sequence[str]], None] = syntax.demand_whole,
) -> None:
    """Apply ``patches`` (their bytes in ``files``) in order; SeriesError names the first that does not go in.

    ``judge`` gets what they break: each Python file that compiled before, or is new.
    """
    applied = try_series(source, patches, files, into, environment=environment)
    for patch, result in zip(patches, applied, strict=False):
        if result.verdict not in {Verdict.APPLIES, Verdict.OFFSET}:
            raise _refusal(source, patch, result)
    judge(syntax.broken(source, patches, into / TREE))
    changes = _difference(source, patches, into / TREE)
    (into / DELTA).write_bytes(msgspec.json.encode(_Delta(changes=changes, applied=tuple(applied))))


def try_series(
    source: SourceTree,
    patches: Sequence[Patch],
    files: Mapping[str, bytes],
    into: Path,
    *,
    environment: Mapping[str, str],
) -> list[Applied]:
    """Try every patch in order in ``into`` and say what became of each; a failed one is passed over."""
    work = into / TREE
    work.mkdir()
    git = _Git(work, environment)
    for path in {change.path for patch in patches for change in patch.changes}:
        if path in source.manifest.files:
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(pristine(source, path).read_bytes())
            (work / path).chmod(0o755 if _executable(source.root / path) else 0o644)
    results = []
    for number, patch in enumerate(patches):
        file = into / patch.name
        file.write_bytes(files[patch.name])
        result = _try(git, source, patch, file, work)
        if result.verdict is Verdict.UPSTREAM and not _is_upstream(git, source, patch, file, into):
            detail = f"{_earlier(patch, patches[:number])} makes this change"
            result = Applied(name=patch.name, verdict=result.verdict, detail=detail)
        results.append(result)
        file.unlink()
    return results


def _is_upstream(git: _Git, source: SourceTree, patch: Patch, file: Path, into: Path) -> bool:
    """Say whether the pinned source, without any patch, holds the change of one."""
    with tempfile.TemporaryDirectory(dir=into) as name:
        pinned = Path(name)
        for path in (change.path for change in patch.changes if change.path in source.manifest.files):
            (pinned / path).parent.mkdir(parents=True, exist_ok=True)
            (pinned / path).write_bytes(pristine(source, path).read_bytes())
        return git.at(pinned).apply(file, "--reverse", "--check").code == 0


def _earlier(patch: Patch, before: Sequence[Patch]) -> str:
    """Return the last patch before one that touches a file of its."""
    paths = {change.path for change in patch.changes}
    touching = [one.name for one in before if not paths.isdisjoint(change.path for change in one.changes)]
    return touching[-1] if touching else "another patch"


def _try(git: _Git, source: SourceTree, patch: Patch, file: Path, work: Path) -> Applied:
    if _is_there(git, file):
        return Applied(name=patch.name, verdict=Verdict.UPSTREAM)
    before = {change.path: _state(work / change.path) for change in patch.changes}
    done = git.apply(file)
    if done.code == 0:
        untouched = [path for path, state in before.items() if state == _state(work / path)]
        if len(untouched) == len(before):  # the source of a copy stays as it was
            if all(change.mode for change in patch.changes):
                return Applied(name=patch.name, verdict=Verdict.UPSTREAM)
            raise ToolError(f"git apply says that {patch.name} went in, but {untouched[0]} is as it was")
        moved = list(_moved(done.stderr))
        verdict = Verdict.OFFSET if moved else Verdict.APPLIES
        return Applied(name=patch.name, verdict=verdict, detail="; ".join(moved))
    for change in patch.changes:
        if change.kind is not ChangeKind.ADD and not (work / change.path).exists():
            name = Path(change.path).name
            same_name = [path for path in source.manifest.files if Path(path).name == name]
            hint = (
                f"; there is {same_name[0]}" if same_name else near_miss(change.path, source.manifest.files)
            )
            return Applied(name=patch.name, verdict=Verdict.GONE, detail=f"{change.path}{hint}")
    return Applied(name=patch.name, verdict=Verdict.CONFLICT, detail=_where(done.stderr, patch, work))


def _is_there(git: _Git, file: Path) -> bool:
    """Say whether the source holds what a patch does: its reverse applies, and it does not, or only farther away.

    Where lines repeat, git finds another place for code that is there already, and would insert it once more.
    """
    there = git.apply(file, "--reverse", "--check")
    if there.code:
        return False
    could = git.apply(file, "--check")
    return could.code != 0 or _distance(there.stderr) < _distance(could.stderr)


def _distance(said: str) -> int:
    return sum(abs(int(offset)) for _, _, offset in _HUNK.findall(said))


def _moved(said: str) -> Iterator[str]:
    """Yield where hunks went in that did not at their own lines."""
    path = ""
    for line in said.splitlines():
        if file := _FILE.fullmatch(line):
            path = file[1]
        elif found := _HUNK.match(line):
            by = "a line" if found[3] in {"1", "-1"} else f"{abs(int(found[3]))} lines"
            where = "above" if found[3].startswith("-") else "below"
            yield f"{path}: hunk {found[1]} at line {found[2]}, {by} {where} its own"


def _state(path: Path) -> tuple[str, bool] | None:
    return (blob_id(path.read_bytes()), _executable(path)) if path.is_file() else None


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def _where(said: str, patch: Patch, work: Path) -> str:
    """Return file:line of the first hunk that failed, and the line endings when they are the cause."""
    failed = re.search(r"patch failed: (.+):(\d+)$", said, re.MULTILINE)
    exists = re.search(r"error: (.+): already exists in working directory", said)
    if exists:
        return f"{exists[1]} exists already"
    if not failed:
        lines = [line for line in said.splitlines() if line.startswith("error:")]
        return lines[0].removeprefix("error: ") if lines else said.strip()
    path, line = failed[1], failed[2]
    content = (work / path).read_bytes()
    if not content.endswith(b"\n") and not patch.unended:
        return f"{path}:{line}: the source ends without a newline, which '{NO_NEWLINE}' says in a diff"
    crlf = b"\r\n" in content
    if crlf != patch.crlf:
        ends = ("CR LF", "LF") if patch.crlf else ("LF", "CR LF")
        return f"{path}:{line}: its lines end with {ends[0]}, the source's with {ends[1]}"
    return f"{path}:{line}"


def _refusal(source: SourceTree, patch: Patch, result: Applied) -> SeriesError:
    commit = source.manifest.title
    match result.verdict:
        case Verdict.UPSTREAM if result.detail:
            return SeriesError(
                f"{patch.name}: {result.detail} already (its reverse applies)",
                hint="drop one of the two from series",
            )
        case Verdict.UPSTREAM:
            return SeriesError(
                f"{patch.name}: {commit} holds this change already (its reverse applies)",
                hint="drop it from series; if it was made the wrong way round, reverse it",
            )
        case Verdict.GONE:
            return SeriesError(
                f"{patch.name}: target deleted: {commit} has no {result.detail}",
                hint="aim it at the file that took over, or drop it from series",
            )
        case _:
            return SeriesError(
                f"{patch.name} does not apply to {commit} ({result.detail})",
                hint="make it anew on this source, or drop it from series",
            )


def _difference(source: SourceTree, patches: Sequence[Patch], work: Path) -> tuple[Change, ...]:
    changes = []
    for path in sorted({change.path for patch in patches for change in patch.changes}):
        known = source.manifest.files.get(path)
        before = (known, _executable(source.root / path)) if known else None
        after = _state(work / path)
        if before == after:
            (work / path).unlink(missing_ok=True)
        elif after is None:
            changes.append(Change(path=path, kind=ChangeKind.DELETE))
        else:
            kind = ChangeKind.ADD if before is None else ChangeKind.MODIFY
            mode = "" if after[1] == bool(before and before[1]) else "100755" if after[1] else "100644"
            changes.append(Change(path=path, kind=kind, mode=mode))
    return tuple(changes)
