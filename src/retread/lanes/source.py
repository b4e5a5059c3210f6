"""Where the compiled parts of a wheel come from: an official wheel of the same commit, or a compile of our own.

Both give a base wheel that is proven against the tree it claims to be made of; what follows is the same for both.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from retread.audit import manylinux
from retread.compile.measures import Measures
from retread.compile.sandbox import Namespaces, Sandbox
from retread.doors.machine import code_digest
from retread.doors.store import Kind, digest
from retread.environment import host
from retread.environment.host import Compiler, Python
from retread.errors import RecipeError
from retread.lanes.base import proven
from retread.lanes.lane import Wish
from retread.recipe import native
from retread.recipe.model import Build, Target, locked
from retread.recipe.plan import Lane, Step, step
from retread.recipe.proof import blob_id
from retread.recipe.series import Change
from retread.records import all_but
from retread.source.records import PatchedTree, SourceTree
from retread.source.tree import pristine
from retread.source.trees import Trees
from retread.toolkit.toolkit import stored_toolkit, toolkit
from retread.units import size
from retread.wheel.statement import CompileStatement

if TYPE_CHECKING:
    from retread.compile.jobserver import State
    from retread.compile.stage import CompileFacts
    from retread.lanes.lane import ProvenBase
    from retread.toolkit.layout import Toolkit


_FORMAT = 1
"""To be raised when the same tree and setting give other objects."""
NOT_OF_RECIPE: Final = {
    "name": "it names folders and is in messages",
    "summary": "people read it",
    "pin": "its tree is in the keys, file by file",
    "sdist": "its tree is in the keys, file by file",
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
    "note": "people read it",
    "generated": "the proof of what was compiled allows these files, under a key of its own",
    "exempt": "the audit of the finished wheel knows them",
    "requires": "they are written into the finished wheel",
    "run_path": "it is set in the finished wheel",
    "edit": "they are made in the finished wheel",
    "smoke": NOT_OF_RECIPE["smoke"],
}
"""Fields of a target that change nothing of what is compiled -> why."""
NOT_OF_BUILD: Final = {
    "python": "a range; the interpreter that was found has a digest",
    "requires": "the lock pins what it asks for, and is held to it",
}
"""Fields of a build's table that change nothing of what is compiled -> why."""


class Compiled:
    """A wheel that retread compiles from the tree with the series' native changes."""

    lane = Lane.SOURCE
    stand_ins: tuple[str, ...] = ("compiler.py", "enter.sh", "host.sh")
    """Programs that run inside the build."""

    def __init__(self, trees: Trees, target: str, version: str, wish: Wish) -> None:
        self.trees = trees
        self.machine = trees.machine
        self.recipe = trees.recipe
        self.name = target
        self.target: Target = trees.recipe.targets[target]
        assert self.target.build is not None
        self.build: Build = self.target.build
        self.wish = wish
        project = self.recipe.project.replace("-", "_")
        self.wheel_name = f"{project}-{version}-*.whl"

    @property
    def lock_name(self) -> str:
        """The stem of the lock's file in ``recipes/locks/``."""
        return f"{self.recipe.name}-{self.name}"

    @functools.cached_property
    def lock(self) -> bytes:
        """The lock, checked against what the recipe requires; RecipeError without one."""
        from retread.lockfile import requirements

        found = self.trees.loaded.locks.get(self.name)
        if found is None:
            raise RecipeError(
                f"there is no recipes/locks/{self.lock_name}.txt",
                hint=f"make it: retread recipe lock {self.recipe.name}",
            )
        requirements.check_lock(found, locked(self.target), name=self.lock_name)
        return found

    @property
    def manner(self) -> tuple[object, ...]:
        """What beside tools and variables decides how it is compiled."""
        return ()

    @functools.cached_property
    def toolkit(self) -> Toolkit:
        """The CUDA toolkit of exactly the target's release; PlanError when it cannot be had."""
        return toolkit(self.machine, self.trees.loaded.toolchains[self.target.toolchain])

    @functools.cached_property
    def python(self) -> Python:
        """The interpreter that the wheel is built for."""
        return host.python(self.build.python, self.wish.python, self.machine.environment)

    @functools.cached_property
    def compiler(self) -> Compiler:
        """The host's C++ compiler."""
        return host.compiler(self.machine.environment)

    @functools.cached_property
    def source(self) -> SourceTree:
        """The pinned tree, looked up once: thousands of files are taken from it."""
        return self.trees.source()

    @functools.cached_property
    def patched(self) -> PatchedTree:
        """What the series changes, looked up once."""
        return self.trees.patched()

    @functools.cached_property
    def files(self) -> dict[str, str]:
        """Path -> blob id of the tree that is compiled: the pinned one with the series' native changes."""
        source, patched = self.source.manifest.files, self.patched
        changes = [one for one in patched.changes if self.compiles(one)]
        blobs = {
            one.path: blob_id((patched.root / one.path).read_bytes())
            for one in changes
            if (patched.root / one.path).is_file()
        }
        return native.tree(source, changes, blobs)

    def compiles(self, change: Change) -> bool:
        """Say whether a change of the series is in the tree that is compiled, or comes over it later."""
        return native.is_native(change, self.recipe, self.source.manifest.files)

    @functools.cached_property
    def setting(self) -> str:
        """Digest of everything but the tree that decides what is compiled: tools, environment, variables."""
        stand_ins = [
            resources.files("retread.compile.inside").joinpath(name).read_text("utf-8")
            for name in self.stand_ins
        ]
        made_of = (self.toolkit.digest, self.compiler.digest, self.python.digest, self.lock)
        said = (
            all_but(self.recipe, NOT_OF_RECIPE),
            all_but(self.target, NOT_OF_TARGET),
            all_but(self.build, NOT_OF_BUILD),
        )
        return digest("setting", _FORMAT, stand_ins, *made_of, *said, *self.manner)

    @functools.cached_property
    def native_digest(self) -> str:
        """Digest of every native input and of the setting."""
        return digest("native", self.setting, native.inputs(self.files, self.recipe))

    @functools.cached_property
    def compiled_key(self) -> str:
        """Key of the compiled wheel: it holds files of the tree that are no native inputs, too."""
        return digest("compiled", self.setting, self.files, self.source.manifest.time)

    @functools.cached_property
    def key(self) -> str:
        """Key of the compiled wheel's proof: beside the wheel itself, what the proof is given."""
        return digest("base", code_digest(), self.compiled_key, self.target.generated, self.recipe.version)

    def wheel(self) -> Path:
        """Return the compiled wheel's file."""
        return self.entry / _facts(self.entry).wheel

    @functools.cached_property
    def entry(self) -> Path:
        """The store entry with the wheel, its log and facts, compiled when there is none that is still true.

        Looked up once: that reads every header of the machine that was compiled in.
        """
        from retread.compile import stage

        store = self.machine.store
        there = store.get(Kind.COMPILED, self.compiled_key)
        if there and not stage.still_true(_facts(there)):
            self.machine.console.say("note: headers of this machine changed since the last compile")
            store.discard(Kind.COMPILED, self.compiled_key)
        entry = store.make(Kind.COMPILED, self.compiled_key, self._compile)
        stage.demand_covered(self.recipe, self.files, _facts(entry).read)
        return entry

    @property
    def room_name(self) -> str:
        """The name of the room that it is compiled in."""
        return f"{self.lock_name}-{self.python.number}"

    def sandbox(self, room: Path, scratch: Path) -> Sandbox:
        """Return where the build in ``room`` runs; ``scratch`` is there for as long."""
        return Namespaces(self.python, self.compiler)

    def check(self, wheel: Path, scratch: Path) -> None:
        """Refuse a wheel that was compiled and may not stand; here every wheel may."""

    def _compile(self, into: Path) -> None:
        from retread.compile import jobserver, stage
        from retread.compile.schedule import Budget
        from retread.doors import proc

        machine, store = self.machine, self.machine.store
        environment = self.environment()
        jobs = self.wish.jobs or host.cores()
        budget = Budget(jobs, self.wish.memory or int(jobserver.memory()[1] * 0.9))
        measures = Measures(store.root / "measures" / f"{self.lock_name}.json")
        order = stage.Order(
            recipe=self.recipe,
            target=self.target,
            files=self.files,
            native_digest=self.native_digest,
            setting=self.setting,
            time=self.source.manifest.time,
            toolkit=self.toolkit.root,
            compiler=self.compiler,
            python=self.python,
            environment=environment,
        )
        with (
            store.workroom(self.room_name) as place,
            store.scratch() as scratch,
            machine.console.step(f"compile {self.recipe.name}") as step,
        ):

            def changed(state: State) -> None:
                known = max(state.done + len(state.running) + state.waiting, len(measures.known))
                step.units(state.done, known, state.left, ", ".join(map(_short, state.running)))

            means = stage.Means(
                room=place,
                budget=budget,
                measures=measures.known,
                cache=proc.find("sccache", why="it caches what is compiled") if self.wish.cache else None,
                cache_folder=store.root / "sccache",
                recache=self.wish.fresh,
                caller=machine.environment,
                file=self._file,
                changed=changed,
                sandbox=self.sandbox(place, scratch),
            )
            stage.make(order, means, into)
            facts = _facts(into)
            self.check(into / facts.wheel, scratch)
            measures.learn(facts.units, cached=bool(facts.cache and facts.cache["hits"]))
            step.detail = f"{facts.compiled} units, {size(facts.peak)} of memory at most"
        self._tell(facts)

    def environment(self) -> Path:
        """Return the folder of the build environment: what uv makes of the lock, every file by hash."""
        return self.installed(digest("environment", self.lock, self.python), self._install)

    def installed(self, key: str, install: Callable[[Path, Path, Path], None]) -> Path:
        """Return an environment from the store, or have it made of a lock, into a folder, with a cache."""
        from retread.doors import fs
        from retread.environment import venv as environment

        store = self.machine.store

        def build(into: Path) -> None:
            cache, lock = store.root / "uv" / key, into / f"{self.lock_name}.txt"
            lock.write_bytes(self.lock)
            with self.machine.console.step(f"install the build environment of {self.lock_name}"):
                install(lock, into, cache)
            fs.remove(cache)

        return store.make(Kind.ENVIRONMENTS, key, build) / environment.VENV

    def _install(self, lock: Path, into: Path, cache: Path) -> None:
        from retread.doors.net import settings
        from retread.environment import venv as environment

        environment.install(
            lock,
            self.python.executable,
            into,
            cache=cache,
            settings=settings.settings(self.machine.environment),
            environment=self.machine.environment,
        )

    def _file(self, path: str) -> Path:
        """Return a file of the tree that is compiled; StoreError when the store's copy was changed."""
        place = self.patched.root / path
        if not place.is_file() or blob_id(place.read_bytes()) != self.files[path]:
            place = pristine(self.source, path)
        return place

    def _tell(self, facts: CompileFacts) -> None:
        """Say what a user wants to know after a long compile."""
        say = self.machine.console.say
        for unit in facts.units[:3]:
            say(f"    {unit.name}: {unit.seconds:.0f} s, {size(unit.memory)}")
        if facts.cache:
            say(f"    compile cache: {facts.cache['hits']} hits, {facts.cache['misses']} misses")
        if facts.network:
            say("    note: this kernel gives no namespaces, so the build could have reached the network")

    def proven(self) -> ProvenBase:
        """Return the compiled wheel's facts, proven against the tree that was compiled."""
        source = self.source
        manifest = msgspec.structs.replace(source.manifest, files=self.files)
        return proven(self, SourceTree(root=source.root, manifest=manifest))

    def stated(self) -> CompileStatement:
        """Return with what it was compiled."""
        return CompileStatement(
            native_digest=self.native_digest,
            toolkit=self.toolkit.version,
            toolkit_digest=self.toolkit.digest,
            toolkit_origin=self.toolkit.origin.partition(",")[0],
            compiler=self.compiler.version,
            python=self.python.version,
            lock=hashlib.sha256(self.lock).hexdigest(),
            requires=self.build.requires,
            environment=dict(sorted(self.build.environment.items())),
        )

    def platform(self) -> str:
        """Return the oldest manylinux that offers every symbol version that the libraries ask for."""
        return manylinux.platform_tag(self.proven().libraries.values())

    def evidence(self) -> bytes:
        """Return what the compile left: its units, memory and cache."""
        return msgspec.json.encode(_facts(self.entry))

    def steps(self) -> Iterator[Step]:
        """Yield toolkit, environment and compile; what is not there yet hides what would come of it."""
        store, tool = self.machine.store, self.trees.loaded.toolchains[self.target.toolchain]
        there = stored_toolkit(self.machine, tool)
        yield step("toolkit", tool.name, there and there.root, "changes with the pinned parts")
        patched = store.get(Kind.PATCHED, self.trees.patched_key)
        made = store.get(Kind.COMPILED, self.compiled_key) if there and patched else None
        why = (
            f"native digest {self.native_digest[:12]}"
            if there and patched
            else "changes with native inputs and tools"
        )
        yield step("compile", self.lock_name, made, why)
        proven = store.get(Kind.BASES, self.key) if made else None
        yield step("base", "the compiled wheel", proven, "changes with what was compiled")


def _facts(entry: Path) -> CompileFacts:
    from retread.compile import stage

    return stage.load(entry)


def _short(name: str) -> str:
    return name.rpartition("/")[2]
