"""What another release's wheels and archive hold otherwise than the pinned ones, and what a recipe makes of that. Pure.

A merge of three: what the old release says, what the recipe has, what the new release says. Where the recipe has what
the old one said, the new one's word takes its place. Where a person decided otherwise, and upstream changed what they
decided about, that is a question; where upstream changed nothing, it is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace
from packaging.requirements import InvalidRequirement
from packaging.utils import canonicalize_name

from retread import arch, pypa
from retread.arch import Arch
from retread.elf.facts import LibraryFacts, common
from retread.recipe import platforms
from retread.recipe.amending import Place, Value
from retread.recipe.model import Exemption, Recipe, Target
from retread.recipe.native import matches
from retread.upstream import outlook
from retread.version import channel
from retread.wheel.facts import WheelFacts


class Held(NamedTuple):
    """What one base wheel of a target holds."""

    facts: WheelFacts
    said: Target
    """What 'recipe new' would make of it."""
    inputs: tuple[str, ...]
    """Which native inputs it would name."""
    files: Collection[str]
    texts: Mapping[str, str]
    """Of the files that the target edits."""


class Side(NamedTuple):
    """A release."""

    version: str
    source: Collection[str]
    """The files of its archive."""
    inputs: tuple[str, ...]
    """The native inputs that 'recipe new' would name."""
    builds_with: tuple[str, ...]
    targets: Mapping[str, Sequence[Held]]


class Change(NamedTuple):
    """A value of the recipe, None for a key that goes; without a key, the table goes."""

    place: Place
    value: Value | None


class Rename(NamedTuple):
    """Another name for a table."""

    table: str
    name: str


class Table(NamedTuple):
    """One more table of a list."""

    name: str
    values: Mapping[str, Value]
    below: str


Edit = Change | Rename | Table


class Step(NamedTuple):
    """Something that the recipe takes over, and in words what."""

    words: str
    edits: tuple[Edit, ...]


Found = Step | str
"""What is taken over, or a question: what a person has to decide, and why."""


def _step(words: str, place: Place, value: Value | None) -> Step:
    return Step(words, (Change(place, value),))


def drift(recipe: Recipe, old: Side, new: Side) -> Iterator[Found]:
    """Yield what the new release makes of a recipe, tables that go from the last to the first."""
    yield from _inputs(recipe, old, new)
    yield from _archive(recipe, new)
    if set(old.builds_with) != set(new.builds_with) and any(one.build for one in recipe.targets.values()):
        yield (
            f"pyproject.toml: a build required {_words(old.builds_with)} and requires {_words(new.builds_with)} now: "
            "see what the targets' build tables require"
        )
    for name, target in recipe.targets.items():
        was, now = old.targets.get(name, ()), new.targets.get(name, ())
        if was and now:
            yield from _platforms(f"targets.{name}", target, was, now)
        yield from _edits(f"targets.{name}", target, (old.version, new.version), now, new)
    for name in recipe.targets:  # they change names, so they come last
        if old.targets.get(name) and new.targets.get(name):
            yield from _cuda(recipe, name, old.targets[name], new.targets[name])


# The archive.


def _inputs(recipe: Recipe, old: Side, new: Side) -> Iterator[Found]:
    had = recipe.native_inputs
    gone = [one for one in had if _any(old.source, one) and not _any(new.source, one)]
    kept = tuple(one for one in had if one not in gone)
    came = [one for one in new.inputs if one not in old.inputs and not matches(one, kept)]
    yield from (
        f"native-inputs: {one} was named by a person and is gone: see what took its place in what the build reads"
        for one in gone
        if one not in old.inputs
    )
    if gone or came:
        yield _step(_moved("native-inputs", gone, came), Place("", "native-inputs"), (*kept, *came))


def _archive(recipe: Recipe, new: Side) -> Iterator[Found]:
    """Yield what the recipe says of files that the archive has no more."""
    copies = {copy: origin for copy, origin in recipe.sdist.copies.items() if _below(new.source, copy)}
    if copies != recipe.sdist.copies:
        gone = [one for one in recipe.sdist.copies if one not in copies]
        yield _step(_moved("sdist.copies", gone, ()), Place("sdist", "copies"), copies or None)
    for copy, origin in copies.items():
        if not _below(new.source, origin):
            yield f"sdist.copies: {copy} is a copy of {origin}, which is gone: of what is it one now?"
    for index, one in reversed(list(enumerate(recipe.sdist.unproven))):
        paths = tuple(glob for glob in one.paths if _any(new.source, glob))
        if paths != one.paths:
            gone = [glob for glob in one.paths if glob not in paths]
            place = Place("sdist.unproven", "paths" if paths else "", index)
            yield _step(_moved("sdist.unproven", gone, ()), place, paths or None)


# The wheels.


def _platforms(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    """Yield what becomes of a target.

    Of a further platform's wheels what the recipe says for that alone is taken over, and the rest left to a person
    unless the first platform's say the same.
    """
    every = dict.fromkeys(platforms.of_base(one.facts.file) for one in now)
    first, *further = sorted(every, key=lambda one: one in target.platforms)
    told: set[str] = set()
    for platform in (first, *further):
        some = [[one for one in side if platforms.of_base(one.facts.file) == platform] for side in (was, now)]
        there = replace(target.on(platform), platforms=target.platforms)
        for one in _target(at, there, *some) if all(some) else ():
            words = one if isinstance(one, str) else one.words
            if platform == first and platform not in target.platforms:
                told.add(words)
                yield one
                continue
            edits = () if isinstance(one, str) else _own(at, target, platform, one.edits)
            if edits:
                yield Step(f"{words}, of {platform}", edits)
            elif words not in told:
                yield f"{words}, of {platform}"


def _own(at: str, target: Target, platform: str, edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """Return changes of a target, put where the recipe says it for a platform alone; none unless it says each there."""
    own = target.platforms.get(platform)
    found = []
    for one in edits:
        if own is None or not isinstance(one, Change):
            return ()
        table, key, index = one.place
        inner = table.removeprefix(at)
        part = (inner.strip(".") or key).partition(".")[0]
        if getattr(own, part.replace("-", "_"), None) is None:
            return ()
        found.append(Change(Place(f"{at}.platforms.{platform}{inner}", key, index), one.value))
    return tuple(found)


def _target(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    for one in now:
        for fault in one.facts.faults:
            yield f"{at}: {one.facts.file}: {fault.check}: {fault.detail}: the overlay lane refuses such a wheel"
    yield from _torch(at, target, was, now)
    yield from _code(at, target, was, now)
    yield from _exemptions(at, target, was, now)
    yield from _generated(at, target, was, now)
    yield from _run_paths(at, target, was, now)
    yield from _requirements(at, target, was, now)


def _torch(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    old, new = (_same(one.said.torch for one in some) for some in (was, now))
    one_each = target.torch.startswith("==") and re.fullmatch(r"==[^,]+", new)
    if new and new != target.torch and (target.torch == old or one_each):
        yield Step(f"{at}.torch: {target.torch} -> {new}", tuple(_for_torch(at, target, new)))
    elif target.torch == old and not new and all(not one.said.torch for one in now):
        yield _step(f"{at}.torch: {old} is required no more", Place(at, "torch"), None)
    elif new != target.torch:
        yield from _told(at, [lack for one in now for lack in outlook.torch_lacks(target, one.facts)])


def _for_torch(at: str, target: Target, new: str) -> Iterator[Change]:
    """Yield the changes for another torch: of the one version that a target is for, also what it is tried with."""
    old = target.torch
    yield Change(Place(at, "torch"), new)
    requires = tuple(f"torch{new}" if one == f"torch{old}" else one for one in target.requires)
    if requires != target.requires:
        yield Change(Place(at, "requires"), requires)
    if not (old.startswith("==") and new.startswith("==")):
        return
    tried = {"": target.smoke, **{f".platforms.{name}": own.smoke for name, own in target.platforms.items()}}
    for table, trial in tried.items():
        if trial and f"=={trial.torch}" == old:
            yield Change(Place(f"{at}{table}.smoke", "torch"), new.removeprefix("=="))
    if target.build:
        builds = tuple(f"torch{new}" if one == f"torch{old}" else one for one in target.build.requires)
        if builds != target.build.requires:
            yield Change(Place(f"{at}.build", "requires"), builds)


def _cuda(recipe: Recipe, name: str, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    """Yield what becomes of a target whose wheel is of another CUDA: one of the same major release moves with it."""
    target, at = recipe.targets[name], f"targets.{name}"
    old, new = (_same(one.said.cuda for one in some) for some in (was, now))
    if not new or new in {old, target.cuda}:
        majors = {one for held in now for lib in _modules(held).values() for one in outlook.cuda_majors(lib)}
        if majors - {target.cuda.partition(".")[0]}:
            loaded = _words(sorted(majors))
            yield f"{at}: the new wheel loads the runtime of CUDA {loaded}; the target is for {target.cuda}"
        return
    toolchain = now[0].said.toolchain
    same = old == target.cuda and old.partition(".")[0] == new.partition(".")[0]
    if not same or channel(new) in recipe.targets or (target.toolchain and not toolchain):
        lacks = f"; no toolchain of CUDA {new} is known" if target.toolchain and not toolchain else ""
        yield (
            f"{at}: the old wheel was of CUDA {old or '?'}, the new one is of {new}{lacks}: a target of that name with "
            "its toolchain and its runtime takes the place of this one, or it is compiled as before"
        )
        return
    tools = {"toolchain": toolchain, "fallback": ""} if target.toolchain else {}
    there = {key: value for key, value in tools.items() if getattr(target, key)}
    edits = (Change(Place(at, key), value or None) for key, value in {"cuda": new, **there}.items())
    yield Step(f"{at}: CUDA {old} -> {new}", (*edits, Rename(at, f"targets.{channel(new)}")))
    if target.smoke and target.smoke.runtime:
        yield f"targets.{channel(new)}.smoke.runtime: pins what a wheel of CUDA {old} loads"


def _code(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    """Yield what modules hold more, which is promised then, and what they lack that cannot be assembled."""
    for key in ("architectures", "ptx"):
        promised: tuple[Arch, ...] = getattr(target, key)
        old, new = (_all(getattr(one.said, key) for one in some) for some in (was, now))
        came = [one for one in new if one and one not in old and one not in promised]
        if came:
            value = tuple(sorted({*promised, *came}, key=arch.sort_key))
            yield _step(_moved(f"{at}.{key}", (), came), Place(at, key), value)
        if key == "ptx":
            gone = [one for one in promised if one in old and one not in new]
            why = "newer GPUs have no code then: compile the target, or promise it no more"
            yield from (f"{at}.ptx: the new wheel has no PTX for {one}: {why}" for one in gone)
    if target.architectures and not any(_modules(one) for one in now):
        yield f"{at}: the new wheel holds no GPU code: compile the target, or drop it"
    old_lacks = {lack for one in was for lack in _lacking(target, one)}
    yield from _told(at, [lack for one in now for lack in _lacking(target, one) if lack not in old_lacks])


def _lacking(target: Target, held: Held) -> Iterator[str]:
    """Yield for each library that is not exempt for what it has neither machine code nor PTX to assemble it from."""
    exempt = {one.library for one in target.exempt}
    for name, facts in _modules(held).items():
        if name in exempt:
            continue
        sass, ptx = common(facts)
        usable = ptx if target.toolchain else ()
        lacks = [
            one
            for one in target.architectures
            if one not in sass and not any(arch.compiles(text, one) for text in usable)
        ]
        more = [one for one in sass if one not in {*target.architectures, *held.said.architectures}]
        if lacks:
            yield (
                f"{name} has no native code for {' '.join(lacks)}, and nothing to assemble it from: exempt it, compile "
                "the target, or promise it no more"
            )
        if more:
            yield f"{name} has native code for {' '.join(more)}, too, which is not promised: exempt it"


def _exemptions(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    for index, one in reversed(list(enumerate(target.exempt))):
        old, new = (_library(some, one.library) for some in (was, now))
        place = Place(f"{at}.exempt", "", index)
        if new is None:
            if old is not None:
                yield _step(f"{at}.exempt: {one.library} is gone", place, None)
        elif common(new) != (one.architectures, one.ptx):
            yield from _exemption(place, one, old, new)


def _exemption(place: Place, one: Exemption, old: LibraryFacts | None, new: LibraryFacts) -> Iterator[Found]:
    """Yield what becomes of an exemption whose library holds something else; a person's own is asked about."""
    if old is None or common(old) != (one.architectures, one.ptx):
        if old is None or common(old) != common(new):
            held = " ".join(common(new)[0]) or "nothing"
            wanted = " ".join(one.architectures)
            yield f"{place.table}: {one.library} has native code for {held} now; the recipe says {wanted}"
        return
    for key, value in zip(("architectures", "ptx"), common(new), strict=True):
        if value != getattr(one, key):
            had = set(getattr(one, key))
            words = _moved(f"{place.table}.{key} of {one.library}", had - set(value), set(value) - had)
            yield _step(words, place._replace(key=key), value)


def _generated(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    old, new = ({path for one in some for path in one.files} for some in (was, now))
    gone = [one for one in target.generated if _any(old, one) and not _any(new, one)]
    kept = tuple(one for one in target.generated if one not in gone)
    said_old, said_new = (
        dict.fromkeys(glob for one in some for glob in one.said.generated) for some in (was, now)
    )
    came = [one for one in said_new if one not in said_old and not matches(one, kept)]
    if gone or came:
        yield _step(_moved(f"{at}.generated", gone, came), Place(at, "generated"), (*kept, *came))


def _run_paths(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    libraries = [{name for one in some for name in one.facts.libraries} for some in (was, now)]
    old, new = (
        {name: entries for one in some for name, entries in one.said.run_path.items()} for some in (was, now)
    )
    for glob, entries in target.run_path.items():
        place = Place(f"{at}.run-path", glob)
        if _any(libraries[0], glob) and not _any(libraries[1], glob):
            yield _step(f"{at}.run-path: {glob} is gone", place, None)
        elif entries == old.get(glob) and glob in new and new[glob] != entries:
            words = f"{at}.run-path: {glob}: {_words(entries)} -> {_words(new[glob])}"
            yield _step(words, place, new[glob])
    for name, entries in new.items():
        if name not in old and not matches(name, tuple(target.run_path)):
            words = f"{at}.run-path: {name}: the folders of the machine that built the wheel are left out"
            yield _step(words, Place(f"{at}.run-path", name), entries)


def _requirements(at: str, target: Target, was: Sequence[Held], now: Sequence[Held]) -> Iterator[Found]:
    """Yield requirements that upstream changed and that the recipe replaces."""
    old, new = (_required(some) for some in (was, now))
    for text in target.requires:
        name = canonicalize_name(pypa.requirement(text).name)
        before, after = old.get(name, ()), new.get(name, ())
        if name != "torch" and before != after:
            yield (
                f"{at}.requires: upstream required {_words(before)} and requires {_words(after)} now, the recipe has "
                f"{text} in its place"
            )


def _required(some: Sequence[Held]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in dict.fromkeys(text for one in some for text in one.facts.requires):
        try:
            name = canonicalize_name(pypa.requirement(text).name)
        except InvalidRequirement:
            continue
        found[name] = (*found.get(name, ()), text)
    return found


def _edits(
    at: str, target: Target, versions: tuple[str, str], now: Sequence[Held], new: Side
) -> Iterator[Found]:
    """Yield edits that have to look for the new version, and those that nothing can be said of."""
    for index, one in enumerate(target.edit):
        aimed = one.find.replace(*versions)
        texts = [held.texts[one.file] for held in now if one.file in held.texts]
        # What a target is compiled to is not there yet; the wheel of another one says how upstream writes the file.
        texts = texts or [
            held.texts[one.file] for some in new.targets.values() for held in some if one.file in held.texts
        ]
        place = Place(f"{at}.edit", "find", index)
        if texts and all(text.count(aimed) == 1 for text in texts):
            if aimed != one.find:
                yield _step(f"{at}.edit: looks for {aimed} in {one.file}", place, aimed)
        elif not texts or any(text.count(one.find) != 1 for text in texts):
            counts = ", ".join(str(text.count(one.find)) for text in texts)
            where = f"it stands there {counts} times" if texts else "no wheel has that file"
            yield f"{at}.edit[{index}]: looks for {one.find} in {one.file}, and has to find it once: {where}"


# Words and sets.


def _told(at: str, lacks: Iterable[str]) -> Iterator[str]:
    yield from (f"{at}: {one}" for one in dict.fromkeys(lacks))


def _moved(what: str, gone: Iterable[str], came: Iterable[str]) -> str:
    signs = [*(f"-{one}" for one in gone), *(f"+{one}" for one in came)]
    return f"{what}: {' '.join(sorted(signs, reverse=True))}"


def _words(some: Iterable[str]) -> str:
    return ", ".join(some) or "nothing"


def _any(paths: Collection[str], glob: str) -> bool:
    return any(matches(path, (glob,)) for path in paths)


def _below(paths: Collection[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)


def _same(values: Iterable[str]) -> str:
    """Return what all say; nothing where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _all(values: Iterable[tuple[Arch, ...]]) -> list[Arch]:
    """Return what every one has, in the order of the first."""
    some = list(values)
    return [one for one in some[0] if all(one in other for other in some)] if some else []


def _modules(held: Held) -> dict[str, LibraryFacts]:
    return {name: one for name, one in held.facts.libraries.items() if one.modules}


def _library(some: Sequence[Held], name: str) -> LibraryFacts | None:
    return next((one.facts.libraries[name] for one in some if name in one.facts.libraries), None)
