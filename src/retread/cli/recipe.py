"""``retread recipe``: recipes, their faults, locks and schemas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_action, add_command, add_common, told
from retread.cli.schemas import SCHEMAS, schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from retread.cli.options import Groups
    from retread.recipe.model import Target
    from retread.recipe.workspace import Loaded
    from retread.upstream.bump import Way


class ListOptions(Options):
    """What is typed after ``recipe list``."""

    torch: str | None
    gpu: str | None
    python: str | None


class CheckOptions(Options):
    """What is typed after ``recipe check``."""

    recipe: tuple[str, ...]


class LockOptions(Options):
    """What is typed after ``recipe lock``."""

    recipe: tuple[str, ...]
    target: str | None


class TimesOptions(Options):
    """What is typed after ``recipe times``."""

    recipe: str
    built: Path
    target: str | None


class ProofOptions(Options):
    """What is typed after ``recipe proof``."""

    listing: Path
    sdist: Path
    at: str
    out: Path | None


class NewOptions(Options):
    """What is typed after ``recipe new``."""

    release: str
    repository: str
    every_python: bool


class SchemaOptions(Options):
    """What is typed after ``recipe schema``."""

    of: str | None
    all: Path | None


class BumpOptions(Options):
    """What is typed after ``recipe bump``."""

    recipe: str
    to: str
    accept: tuple[str, ...] | None
    skip: tuple[str, ...] | None
    because: tuple[str, ...] | None
    repository: str
    tag: str
    check: bool
    edit: bool
    exec: str
    go_on: bool
    abort: bool
    undo: bool
    commit: bool


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    recipe = add_command(groups, "recipe")
    actions = recipe.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = add_action(
        actions, "new", "write a project's first recipe, as far as the index says what belongs into it"
    )
    new.add_argument("release", metavar="PROJECT==VERSION", help="a release of the package index")
    new.add_argument(
        "--repository",
        metavar="URL",
        default="",
        help="where the commit is; default: what the metadata names",
    )
    new.add_argument(
        "--every-python",
        action="store_true",
        help="pin the wheels of every Python; default: that of this one",
    )
    add_common(new, recipe_new, NewOptions)

    listed = add_action(actions, "list", "show recipes and their targets")
    listed.add_argument(
        "--torch",
        metavar="VERSION",
        type=told("a version"),
        help="only targets for this torch, like 2.9.1",
    )
    listed.add_argument(
        "--gpu",
        metavar="CAPABILITY",
        type=told("a capability"),
        help="only with machine code for this GPU, like 9.0",
    )
    listed.add_argument(
        "--python",
        metavar="VERSION",
        type=told("a version"),
        help="only for this Python, like 3.12",
    )
    add_common(listed, recipe_list, ListOptions)

    check = add_action(actions, "check", "read recipes strictly and report every fault")
    check.add_argument("recipe", nargs="*", help="default: all")
    add_common(check, recipe_check, CheckOptions)

    _add_kept(actions)
    _add_bump(actions)
    command = add_action(actions, "schema", "print the JSON Schema of a recipe, or of what --json prints")
    command.add_argument("of", nargs="?", choices=list(SCHEMAS), help="default: recipe")
    command.add_argument(
        "--all", type=Path, metavar="DIR", help="write every schema there; stdout is the files"
    )
    add_common(command, recipe_schema, SchemaOptions)


def _add_kept(actions: Groups) -> None:
    """Add what writes files that are kept beside recipes."""
    lock = add_action(
        actions, "lock", "pin what the source lane's builds need, by hash, as the index has it today"
    )
    lock.add_argument("recipe", nargs="*", help="default: all")
    lock.add_argument("--target", type=told("a target"), help="default: all that the source lane makes")
    add_common(lock, recipe_lock, LockOptions)

    times = add_action(
        actions,
        "times",
        "keep how long each unit took to compile, so that other machines begin with the longest",
    )
    times.add_argument("recipe")
    times.add_argument(
        "built", metavar="RECORD", type=Path, help="what a build left beside its wheel: <wheel>.compile.json"
    )
    times.add_argument("--target", type=told("a target"), help="default: the recipe's only one")
    add_common(times, recipe_times, TimesOptions)

    proof = add_action(
        actions, "proof", "keep of a commit's listing what a source archive needs; stdout is the proof's path"
    )
    proof.add_argument("listing", type=Path, help="the commit with every file of its tree")
    proof.add_argument("sdist", type=Path, help="the source archive that is to be proven")
    proof.add_argument(
        "--at", metavar="PATH", default=".", help="where the archive has the repository: a submodule's path"
    )
    proof.add_argument("-o", "--out", type=Path, help="default: its place in recipes/commits/")
    add_common(proof, recipe_proof, ProofOptions)


def _add_bump(actions: Groups) -> None:
    bump = add_action(
        actions,
        "bump",
        "carry a recipe to another release: a verdict for each patch and hunk, then the new recipe",
    )
    bump.add_argument("recipe")
    bump.add_argument(
        "--to",
        metavar="VERSION|COMMIT",
        required=True,
        help="a release of the index, or of another recipe; a commit is only looked at",
    )
    bump.add_argument(
        "--accept",
        action="append",
        metavar="KIND:PATCH",
        help="let a verdict pass, like three-way:0002; repeatable",
    )
    bump.add_argument("--skip", action="append", metavar="PATCH", help="leave a patch out; repeatable")
    bump.add_argument("--because", action="append", metavar="TEXT", help="why, once for each --skip")
    bump.add_argument(
        "--repository",
        "--clone",
        metavar="PLACE",
        default="",
        help="where the commit is, a clone or an address; default: what the recipe pins",
    )
    bump.add_argument(
        "--tag", metavar="REF", default="", help="the release's tag or commit; default: its version"
    )
    way = bump.add_mutually_exclusive_group()
    way.add_argument("--check", action="store_true", help="write nothing")
    way.add_argument(
        "--edit", action="store_true", help="solve what is open in a worktree: a rebase stops there"
    )
    way.add_argument("--continue", dest="go_on", action="store_true", help="take what the rebase made")
    way.add_argument("--abort", action="store_true", help="throw the worktree away")
    way.add_argument("--undo", action="store_true", help="remove what the bump to this release wrote")
    bump.add_argument(
        "--exec", metavar="CMD", default="", help="with --edit: run this after each patch, stop if it fails"
    )
    bump.add_argument(
        "--commit",
        action="store_true",
        help="commit what is written: what retread made, then what a person made of conflicts",
    )
    add_common(bump, recipe_bump, BumpOptions)


def recipe_new(options: NewOptions) -> int:
    """Write a project's first recipe; stdout is what was found, what is left to a person, and the files."""
    from retread.cli import show
    from retread.upstream import first

    wanted = first.asked(options.release, options.repository, every=options.every_python)
    found = first.first(session.machine(options), session.root(options), wanted)
    if options.json:
        session.print_json(found)
    else:
        session.put(show.first_recipe(found))
    return 0


def recipe_list(options: ListOptions) -> int:
    """Show recipes and their targets: for which torch, Python and GPUs, and by which lane they are made."""
    from retread.cli import show
    from retread.doors.store import Kind
    from retread.recipe import workspace

    wanted = _wanted(options)
    root, before = session.root(options), session.readings(options)
    narrowed = options.json or options.torch or options.gpu or options.python
    opened = {} if narrowed else workspace.unfinished(root, before)
    names = workspace.recipes(root) if opened else session.finished(options, before)
    every = [workspace.load(root, name, before) for name in names if name not in opened]
    loaded = [one for one in (_narrowed(one, wanted) for one in every) if one.recipe.targets]
    if every and not loaded:
        session.machine(options).console.say("note: no target fits; 'retread recipe list' shows them all")
    if options.json:
        session.print_json([one.recipe for one in loaded])
    elif loaded or opened:
        session.put(show.recipes(loaded, session.machine(options).store.names(Kind.WHEELS), opened, wanted))
    return 0


def _narrowed(loaded: Loaded, wanted: Callable[[Target], bool]) -> Loaded:
    """Return what is left of a recipe: the targets that are asked for on any of their platforms."""
    import msgspec

    found = {
        name: target
        for name, target in loaded.recipe.targets.items()
        if any(wanted(target.on(platform)) for platform in target.made_for)
    }
    return loaded._replace(recipe=msgspec.structs.replace(loaded.recipe, targets=found))


def _wanted(options: ListOptions) -> Callable[[Target], bool]:
    """Return what says whether a target, as a platform has it, is asked for; UsageError for what is no version."""
    from retread import pypa
    from retread.errors import UsageError
    from retread.recipe.plan import demand_python, fits

    try:
        pypa.version(options.torch or "0")
    except ValueError:
        raise UsageError(f"--torch: {options.torch!r} is not a version like '2.9.1'") from None
    if options.python:
        demand_python(options.python, path=False)
    gpu = session.architecture(options.gpu) if options.gpu else None
    return lambda target: fits(target, torch=options.torch or "", gpu=gpu, python=options.python or "")


def recipe_check(options: CheckOptions) -> int:
    """Read recipes strictly; the error lists every fault."""
    from retread.errors import RecipeError, RetreadError
    from retread.recipe import workspace

    root = session.root(options)
    faults: list[str] = []
    kinds: set[type[RetreadError]] = set()
    for name in options.recipe or workspace.recipes(root):
        try:
            workspace.demand_sound(root, name)
        except RetreadError as error:
            faults += [f"{name}: {fault}" for fault in error.faults or (error.message,)]
            kinds.add(type(error))
    if faults:
        from retread.units import counted

        kind = kinds.pop() if len(kinds) == 1 else RecipeError
        raise kind(counted(len(faults), "fault"), faults=faults)
    session.put('{"faults": []}' if options.json else "sound: recipes, series, toolchains and proofs")
    return 0


def recipe_lock(options: LockOptions) -> int:
    """Lock the build environments of targets; stdout is the files that were written."""
    from retread.doors import fs
    from retread.doors.net import settings
    from retread.environment import venv
    from retread.recipe import workspace
    from retread.recipe.model import locked
    from retread.recipe.plan import choose_target

    machine, root = session.machine(options), session.root(options)
    written = []
    for name in options.recipe or session.finished(options):
        recipe = workspace.load(root, name).recipe
        for target in [choose_target(recipe, options.target)] if options.target else recipe.targets:
            build = recipe.targets[target].build
            if build is None:
                continue
            path = workspace.lock_path(root, recipe.name, target)
            with machine.console.step(f"lock {path.stem}"), machine.store.scratch() as scratch:
                text = venv.resolve(
                    locked(recipe.targets[target]),
                    build.python,
                    settings=settings.settings(machine.environment),
                    environment=machine.environment,
                    scratch=scratch,
                )
            fs.write(path, text.encode())
            written.append(str(path))
    if options.json:
        session.print_json(written)
    else:
        session.put("\n".join(written))
    return 0


def recipe_times(options: TimesOptions) -> int:
    """Keep beside a recipe how long each unit took in a build; stdout is the file that was written."""
    from retread.compile import measures
    from retread.doors import fs
    from retread.recipe import files, workspace
    from retread.recipe.plan import choose_target

    root, record = session.root(options), session.existing(options.built)
    recipe = workspace.load(root, options.recipe).recipe
    path = root / files.times(recipe.name, choose_target(recipe, options.target))
    fs.write(path, measures.to_ship(fs.read(record), record.name))
    if options.json:
        session.print_json([str(path)])
    else:
        session.put(str(path))
    return 0


def recipe_proof(options: ProofOptions) -> int:
    """Keep of a commit's listing what a source archive needs; stdout is the proof's path."""
    from retread.doors import fs
    from retread.errors import UsageError
    from retread.recipe import proof, workspace
    from retread.source import tree

    listing, sdist = session.existing(options.listing), session.existing(options.sdist)
    below = "" if options.at == "." else f"{options.at.rstrip('/')}/"
    files = {path.removeprefix(below) for path in tree.paths(sdist) if path.startswith(below)}
    proven = proof.parse(fs.read(listing), name=listing.name)
    if files.isdisjoint(proven.entries):
        raise UsageError(
            f"{sdist.name} holds no file of {proven.repository} {proven.commit[:12]} in {options.at}",
            hint="--at PATH says where the archive has the repository, as third_party/cutlass",
        )
    data = proof.pruned(fs.read(listing), files, name=listing.name)
    out = options.out or workspace.proof_path(session.root(options), proven.repository, proven.commit)
    fs.write(out, data)
    if options.json:
        session.print_json({"proof": str(out), "repository": proven.repository, "commit": proven.commit})
    else:
        session.put(out)
    return 0


def recipe_bump(options: BumpOptions) -> int:
    """Carry a recipe to another release; SeriesError when somebody has to decide about a patch."""
    from retread.cli import show
    from retread.errors import UsageError
    from retread.queue import order
    from retread.queue.desk import Desk
    from retread.upstream import bump, written

    desk = Desk(session.machine(options), session.root(options), options.recipe, to=options.to)
    if options.abort or options.undo:
        session.put("\n".join(written.undo(desk) if options.undo else [bump.abort(desk, options.to)]))
        return 0
    if options.exec and not options.edit:
        raise UsageError("--exec runs in the rebase of --edit", hint="add --edit")
    names = order.names(order.read(desk.loaded().files))
    wish = bump.wish(names, options.recipe, bump.accepted(options.accept or ()), _skipped(options))
    found = bump.bump(
        desk, bump.Request(options.to, wish, options.repository, options.tag, _way(options), options.exec)
    )
    if options.commit:
        found = bump.committed(desk, found)
    if options.json:
        session.print_json(found)
    else:
        session.put(show.bumped(found))
    bump.demand_closed(found, _way(options))
    return 0


def _way(options: BumpOptions) -> Way:
    from retread.upstream.bump import Way

    if options.edit:
        return Way.EDIT
    return Way.CONTINUE if options.go_on else Way.CHECK if options.check else Way.ONCE


def _skipped(options: BumpOptions) -> dict[str, str]:
    from retread.errors import UsageError

    skip, because = options.skip or (), options.because or ()
    if len(skip) != len(because) or not all(one.strip() for one in because):
        raise UsageError(
            f"{len(skip)} --skip and {len(because)} --because", hint="say of each patch why it is left out"
        )
    return dict(zip(skip, because, strict=True))


def recipe_schema(options: SchemaOptions) -> int:
    """Print the JSON Schema of a recipe, or of what ``--json`` prints; or write every schema into a folder."""
    from retread.doors import fs
    from retread.errors import UsageError

    if not options.all:
        session.print_json(schema(options.of or "recipe"))
        return 0
    if options.of:
        raise UsageError(f"--all writes every schema; leave {options.of} out")
    written = [options.all / f"{name}.json" for name in SCHEMAS]
    for path in written:
        fs.write(path, session.json(schema(path.stem)))
    if options.json:
        session.print_json(list(map(str, written)))
    else:
        session.put("\n".join(map(str, written)))
    return 0
