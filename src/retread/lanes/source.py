"""The source lane, and how every lane compiles: a wheel of the tree with the series' native changes, in a place."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from retread.code import COMPILING
from retread.compile.measures import Measures
from retread.doors import cores, proc
from retread.doors.machine import code_digest, essence_digest
from retread.doors.store import Kind, digest
from retread.environment import host
from retread.errors import CompileError, PlanError, RecipeError
from retread.lanes import caching, early
from retread.lanes.base import proven
from retread.lanes.cross import CrossPlace
from retread.lanes.lane import Goal, Origin, Steps, Wish
from retread.lanes.place import HostPlace, Place, missing
from retread.recipe import native
from retread.recipe.lane import Compile
from retread.recipe.model import Build, locked
from retread.recipe.plan import Effort, demand_served, step
from retread.recipe.proof import blob_id
from retread.recipe.series import Change
from retread.records import all_but
from retread.source.records import SourceTree
from retread.source.tree import pristine
from retread.toolkit.inquiry import obstacles
from retread.toolkit.toolkit import device_tools, known_digest, pinned_key, stored_toolkit, toolkit
from retread.units import counted, size
from retread.wheel.statement import CompileStatement

if TYPE_CHECKING:
    from retread.compile.jobserver import State
    from retread.compile.stage import CompileFacts
    from retread.lanes.lane import ProvenBase
    from retread.recipe.toolchain import Toolchain
    from retread.toolkit.layout import Toolkit


_SHARE: Final = 0.9
"""Of the memory that is free, what all compilers together may use: the rest is for the build's Python, the linker and
retread itself, which ask for no leave. Not measured."""
_ENVIRONMENT: Final = 11_000_000_000
"""Bytes on the disk of a build environment with torch and its CUDA libraries, 7 GB, of their downloads, which lie
beside it while it is made, 3 GB, and of a toolkit with its archives, 0.8 GB: measured with torch 2.11."""
_ROOM: Final = 1_500_000_000
"""The same of a room with its objects, the compile cache and the wheel: five times what the default recipe takes."""
NOT_OF_RECIPE: Final = {
    "name": "it names folders and is in messages",
    "summary": "people read it",
    "pin": "its tree is in the keys, file by file",
    "sdist": "its tree is in the keys, file by file",
    "source": "a wheel that stands for the source is compiled nowhere",
    "source_root": "with it nothing is compiled",
    "native_inputs": "what was read is held against them whenever the wheel is taken",
    "targets": "the one that is compiled is in the setting",
    "smoke": "how a wheel is tried changes no byte of it",
}
"""Fields of a recipe that change nothing of what is compiled -> why."""
NOT_OF_TARGET: Final = {
    "torch": "a requirement of the finished wheel; what is compiled against is locked",
    "revision": "of the finished wheel's version",
    "base": "of the overlay lane",
    "build": "in the setting, field by field",
    "container": "in the setting of the container lane, field by field",
    "toolchain": "the toolkit that it names has a digest",
    "fallback": "as toolchain",
    "proving": "of the overlay lane",
    "waive": "the audit of the finished wheel knows them",
    "note": "people read it",
    "generated": "the proof of what was compiled allows these files, under a key of its own",
    "exempt": "the audit of the finished wheel knows them",
    "requires": "they are written into the finished wheel",
    "run_path": "it is set in the finished wheel",
    "edit": "they are made in the finished wheel",
    "smoke": NOT_OF_RECIPE["smoke"],
    "platforms": "the one that it is compiled for is laid over the target",
}
"""Fields of a target that change nothing of what is compiled -> why."""
NOT_OF_BUILD: Final = {
    "python": "a range; the interpreter that was found has a digest",
    "requires": "the lock pins what it asks for, and is held to it",
    "links": "for another platform, what is taken from its wheels is in the place's manner",
}
"""Fields of a build's table that change nothing of what is compiled -> why."""


def origins(goal: Goal, own: Compile, wish: Wish) -> list[Origin]:
    """Return one wheel, for the Python asked for or one of the recipe's range."""
    demand_sound(goal)
    demand_served(goal.title, own.build.python, wish.python)
    kind = HostPlace if goal.platform in {"", host.here()} else CrossPlace
    return [Compiled(goal, own.build, kind(goal.machine, own.build, wish.python, goal.platform), wish)]


def demand_sound(goal: Goal) -> None:
    """Raise RecipeError with all that the recipe says which no wheel that is compiled can hold."""
    _demand(goal, list(early.of_recipe(goal.recipe, goal.name)))


def _demand(goal: Goal, faults: list[str]) -> None:
    if faults:
        raise RecipeError(
            f"{goal.title}: nothing is compiled, since the wheel would not be what the recipe says",
            faults=faults,
            hint="correct the recipe, or the patch",
        )


class Compiled:
    """A wheel that retread compiles in a place."""

    def __init__(self, goal: Goal, build: Build, place: Place, wish: Wish) -> None:
        self.goal = goal
        self.build = build
        self.place = place
        self.lane = place.lane
        self.wish = wish
        project = goal.recipe.project.replace("-", "_")
        self.wheel_name = f"{project}-{goal.version}-*.whl"

    @property
    def lock_name(self) -> str:
        """The stem of the lock's file in ``recipes/locks/``."""
        return f"{self.goal.recipe.name}-{self.goal.name}"

    @functools.cached_property
    def lock(self) -> bytes:
        """The lock, checked against what the recipe requires; RecipeError without one."""
        from retread.lockfile import requirements

        found = self.goal.trees.loaded.locks.get(self.goal.name)
        if found is None:
            raise RecipeError(
                f"there is no recipes/locks/{self.lock_name}.txt",
                hint=f"make it: retread recipe lock {self.goal.recipe.name}",
            )
        versions = requirements.check_lock(found, locked(self.goal.target), name=self.lock_name)
        _demand(self.goal, list(early.of_lock(self.goal.target, self.goal.name, versions)))
        return found

    @functools.cached_property
    def toolkit(self) -> Toolkit:
        """The CUDA toolkit of exactly the target's release; PlanError when it cannot be had."""
        return toolkit(self.goal.machine, self._toolchain, self.goal.platform)

    @functools.cached_property
    def toolkit_digest(self) -> str:
        """The toolkit's digest; it is had for that only where nobody can know which it will be."""
        return known_digest(self.goal.machine, self._toolchain, self.goal.platform) or self.toolkit.digest

    @property
    def _toolchain(self) -> Toolchain:
        """The toolchain, which a target with a build names: the recipe was not read otherwise."""
        assert self.goal.toolchain is not None
        return self.goal.toolchain

    @functools.cached_property
    def files(self) -> dict[str, str]:
        """Path -> blob id of the tree that is compiled: the pinned one with what of the series is compiled in."""
        source, patched = self.goal.trees.source.manifest.files, self.goal.trees.patched
        changes = [one for one in patched.changes if self.compiles(one)]
        blobs = {
            one.path: blob_id((patched.root / one.path).read_bytes())
            for one in changes
            if (patched.root / one.path).is_file()
        }
        return native.tree(source, changes, blobs)

    def compiles(self, change: Change) -> bool:
        """Say whether a change of the series is in the tree that is compiled, or comes over it later."""
        source = self.goal.trees.source.manifest.files
        return self.place.whole or native.is_native(change, self.goal.recipe, source)

    @functools.cached_property
    def setting(self) -> str:
        """Digest of all that decides what is compiled but the tree's bytes: code, tools, environment, variables."""
        said = (
            all_but(self.goal.recipe, NOT_OF_RECIPE),
            all_but(self.goal.target, NOT_OF_TARGET),
            all_but(self.build, NOT_OF_BUILD),
        )
        made_with = (self.toolkit_digest, self.lock, self.place.manner)
        patches = self.goal.trees.loaded.patches
        modes = [(one.path, one.mode) for patch in patches for one in patch.changes if one.mode]
        return digest("setting", self._code, *made_with, *said, *modes)

    @property
    def _code(self) -> str:
        """Digest of the code that decides what is compiled."""
        return essence_digest((*COMPILING, *self.place.programs))

    @functools.cached_property
    def native_digest(self) -> str:
        """Digest of every native input and of the setting."""
        return digest("native", self.setting, native.inputs(self.files, self.goal.recipe))

    @functools.cached_property
    def compiled_key(self) -> str:
        """Key of the compiled wheel: it holds files of the tree that are no native inputs, too."""
        return digest("compiled", self.setting, self.files, self.goal.trees.source.manifest.time)

    @functools.cached_property
    def key(self) -> str:
        """Key of the compiled wheel's proof: which compile it is, what the proof is given, and what is stated.

        The same inputs may be compiled to other bytes, and headers of the machine are in no key of the compile: so this
        is known when there is a compile, and not before.
        """
        facts = _facts(self.entry)
        compiled = (self.compiled_key, facts.sha256, facts.outside)
        proved = (self.goal.target.generated, self.goal.waived, self.goal.recipe.version)
        return digest("base", code_digest(), *compiled, *proved, self.place.image)

    def known(self) -> bool:
        """Say whether there is a compile that is still true."""
        return self._standing() is not None

    def _standing(self) -> Path | None:
        """Return the compiled wheel's store entry if it is there and still true; this reads every header."""
        from retread.compile import stage

        there = self.goal.machine.store.get(Kind.COMPILED, self.compiled_key)
        return there if there and stage.still_true(_facts(there)) else None

    def wheel(self) -> Path:
        """Return the compiled wheel's file."""
        return self.entry / _facts(self.entry).wheel

    @functools.cached_property
    def entry(self) -> Path:
        """The store entry with the wheel, its log and facts, compiled when there is none that is still true.

        Looked up once: that reads every header of the machine that was compiled in.
        """
        from retread.compile import stage

        store = self.goal.machine.store
        if store.get(Kind.COMPILED, self.compiled_key) and not self._standing():
            self.goal.machine.console.say("note: headers of this machine changed since the last compile")
            store.discard(Kind.COMPILED, self.compiled_key)
        self._demand_possible()
        entry = store.make(Kind.COMPILED, self.compiled_key, self._compile)
        stage.demand_covered(self.goal.recipe, self.files, _facts(entry).read)
        return entry

    def _demand_possible(self) -> None:
        """Refuse what no compile of this tree can give, before one."""
        touched = [one.path for one in self.goal.trees.patched.changes]
        _demand(
            self.goal, list(early.of_tree(self.goal.recipe, self.goal.name, self.files, touched, self._text))
        )

    def _compile(self, into: Path) -> None:
        from retread.compile import jobserver, stage
        from retread.compile.room import EXECUTED, PLACE
        from retread.compile.schedule import Budget, Cost
        from retread.environment import bytecode

        goal, machine, store = self.goal, self.goal.machine, self.goal.machine.store
        environment = self.environment()
        cross = self.place.cross(self.lock, self.lock_name)
        jobs = self.wish.jobs or cores.count()
        budget = Budget(jobs, self.wish.memory or int(jobserver.memory()[1] * _SHARE))
        measures = self.measures
        order = stage.Order(
            recipe=goal.recipe,
            target=goal.target,
            build=self.build,
            files=self.files,
            native_digest=self.native_digest,
            setting=self.setting,
            time=goal.trees.source.manifest.time,
            toolkit=self.toolkit.root,
            compiler=self.place.compiler,
            python=self.place.python,
            environment=environment,
            cross=cross,
        )
        with (
            store.workroom(f"{self.lock_name}-{self.place.python.number}{self.place.room}") as room,
            store.scratch() as scratch,
            caching.cache(
                self.wish, store.root / "sccache", scratch, self._caller, machine.console.say
            ) as cache,
            bytecode.kept(environment, f"{PLACE}/environment", room / EXECUTED, self.place.python, scratch),
            machine.console.step(f"compile {goal.recipe.name}") as step,
        ):
            step.phase("preparing")

            def changed(state: State) -> None:
                asked = len(state.running) + state.waiting
                known = max(state.done + asked, len(measures.known)) if measures.known else None
                running = ", ".join(map(_short, state.running))
                step.units("compiling" if asked else "linking", state.done, known, state.left, running)

            means = stage.Means(
                room=room,
                budget=budget,
                measures=measures.known,
                cache=cache,
                caller=self._caller,
                file=self._file,
                changed=changed,
                sandbox=self.place.sandbox(room, scratch, cache.folder),
            )
            made = stage.make(order, means, into)
            facts = _facts(into)
            step.phase("checking")
            self.place.check(into / facts.wheel, scratch)
            costs = {one.name: Cost(seconds=one.seconds, memory=one.memory) for one in facts.units}
            measures.learn(costs, cached=bool(facts.cache and facts.cache.hits))
            step.detail = f"{counted(facts.compiled, 'unit')}, {size(facts.peak)} of memory at most"
        self._tell(facts, made)

    @property
    def _caller(self) -> Mapping[str, str]:
        return caching.caller(self.wish, self.goal.machine.environment)

    def environment(self) -> Path:
        """Return the folder of the build environment: what uv makes of the lock, every file by hash."""
        laid_out = essence_digest(("environment/venv.py",))
        return self.installed(
            digest("environment", laid_out, self.lock, *self.place.fits), self.place.install
        )

    def installed(self, key: str, install: Callable[[Path, Path, Path], None]) -> Path:
        """Return an environment from the store, or have it made of a lock, into a folder, with a cache."""
        from retread.environment import venv as environment

        def of_lock(into: Path, cache: Path) -> None:
            lock = into / f"{self.lock_name}.txt"
            lock.write_bytes(self.lock)
            install(lock, into, cache)

        title = f"install the build environment of {self.lock_name}"
        return environment.stored(self.goal.machine, key, title, of_lock)

    def _file(self, path: str) -> Path:
        """Return a file of the tree that is compiled; StoreError when the store's copy was changed."""
        trees = self.goal.trees
        file = trees.patched.root / path
        if not file.is_file() or blob_id(file.read_bytes()) != self.files[path]:
            file = pristine(trees.source, path)
        return file

    def _text(self, path: str) -> str:
        return self._file(path).read_text("utf-8", "replace")

    def _tell(self, facts: CompileFacts, made: Collection[str]) -> None:
        """Say what a user wants to know after a long compile: of the units that were ``made`` now, the slowest."""
        say = self.goal.machine.console.say
        for unit in [one for one in facts.units if one.name in made][:3]:
            say(f"    {unit.name}: {unit.seconds:.0f} s, {size(unit.memory)}")
        if facts.cache:
            for line in caching.told(facts.cache, self.wish, self._caller):
                say(line)

    def proven(self) -> ProvenBase:
        """Return the compiled wheel's facts, proven against the tree that was compiled."""
        source = self.goal.trees.source
        manifest = msgspec.structs.replace(source.manifest, files=self.files)
        return proven(self, SourceTree(root=source.root, manifest=manifest))

    @property
    def _toolkit_origin(self) -> str:
        """Where the toolkit comes from, without its place on this machine."""
        return self.toolkit.origin.partition(",")[0]

    def stated(self) -> CompileStatement:
        """Return with what it was compiled."""
        return CompileStatement(
            native_digest=self.native_digest,
            toolchain=self._toolchain.name,
            device=device_tools(self.goal.machine, self.toolkit),
            toolkit=self.toolkit.version,
            toolkit_digest=self.toolkit.digest,
            toolkit_origin=self._toolkit_origin,
            compiler=self.place.compiler.version,
            compiler_digest=self.place.compiler.digest,
            system=self.place.system,
            python=self.place.python.version,
            lock=hashlib.sha256(self.lock).hexdigest(),
            requires=self.build.requires,
            environment=dict(sorted(self.build.environment.items())),
            image=self.place.image,
        )

    def platform(self) -> str:
        """Return the platform tag for the finished wheel; empty keeps the compiled one's."""
        return self.place.platform(self.proven().libraries.values())

    def evidence(self) -> bytes:
        """Return what the compile left: its units, memory and cache."""
        return msgspec.json.encode(_facts(self.entry))

    @property
    def python(self) -> str:
        """The Python that it is compiled for; the recipe's range where there is none here."""
        try:
            return self.place.number
        except (CompileError, PlanError):
            return self.build.python

    def lacks(self) -> tuple[str, ...]:
        """Return what this machine lacks of the place, the toolkit and the programs that compile."""
        programs = ["uv", *(["sccache"] if self.wish.cache else [])]
        faults = [*self.place.lacks()]
        for one in programs:
            faults += missing(functools.partial(proc.find, one, why="a compile needs it"))
        why = obstacles(self.goal.machine, self._toolchain, self.goal.platform)
        return (*faults, *(f"{self._toolchain.name}: {one}" for one in why))

    def effort(self) -> Effort:
        """Return what the last compile here took, by its units; None of what was never measured."""
        known = list(self.measures.own.values())
        jobs = self.wish.jobs or cores.count()
        spent = [one.seconds for one in known]
        largest = sorted((one.memory for one in known), reverse=True)[:jobs]
        disk = (
            _ROOM
            if stored_toolkit(self.goal.machine, self._toolchain, self.goal.platform)
            else _ROOM + _ENVIRONMENT
        )
        return Effort(
            seconds=max(*spent, sum(spent) / jobs) if spent else None,
            memory=sum(largest) or None,
            disk=disk,
        )

    @property
    def measures(self) -> Measures:
        """What each unit took when it was compiled last, here or where the recipe's times come from."""
        elsewhere = self.goal.trees.loaded.times.get(self.goal.name, {})
        return Measures(self.goal.machine.store.root / "measures" / f"{self.lock_name}.json", elsewhere)

    def steps(self) -> Steps:
        """Return what makes the place, then toolkit and compile; what is not there hides what would come of it."""
        store, before = self.goal.machine.store, [*self.place.steps()]
        kit = stored_toolkit(self.goal.machine, self._toolchain, self.goal.platform)
        shared = kit is None and store.is_elsewhere(
            Kind.TOOLKITS, pinned_key(self._toolchain, self.goal.platform)
        )
        why, name = "changes with the pinned parts", self._toolchain.name
        before.append(step("toolkit", name, kit and kit.root, why, shared=shared))
        known = (
            all(one.cached for one in before)
            and not self.place.lacks()
            and store.get(Kind.PATCHED, self.goal.trees.patched_key)
        )
        why = f"native digest {self.native_digest[:12]}" if known else "changes with native inputs and tools"
        made = self._standing() if known else None
        if known and not made and store.get(Kind.COMPILED, self.compiled_key):
            why = "headers of this machine changed"
        shared = bool(known) and store.is_elsewhere(Kind.COMPILED, self.compiled_key)
        before.append(step("compile", self.lock_name, made, why, shared=shared))
        proof = store.get(Kind.BASES, self.key) if made else None
        shared = bool(made) and store.is_elsewhere(Kind.BASES, self.key)
        base = step("base", "the compiled wheel", proof, "changes with what was compiled", shared=shared)
        return Steps(tuple(before), base, known=proof is not None)


def _facts(entry: Path) -> CompileFacts:
    from retread.compile import stage

    return stage.load(entry)


def _short(name: str) -> str:
    return name.rpartition("/")[2]
