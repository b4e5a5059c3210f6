"""The first recipe of a project, as far as its wheel and its source archive say what belongs into it. Pure.

Nothing is invented: what they do not say is left empty, with a remark, and reading such a recipe names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier

from retread import pypa
from retread import version as ours
from retread.arch import Arch
from retread.elf.facts import LibraryFacts, common, counted
from retread.recipe.model import NO_PIN, Base, Build, Exemption, Pin, Recipe, Sdist, Source, Target
from retread.recipe.native import CODE
from retread.recipe.toolchain import Toolchain
from retread.recipe.writing import Remarks
from retread.upstream.clue import Said
from retread.wheel.facts import WheelFacts

OPEN: Final = ""
"""What a field holds that is left to a person."""
_BUILD: Final = (
    "setup.py",
    "pyproject.toml",
    "requirements.txt",
    "CMakeLists.txt",
    "meson.build",
    "Makefile",
)
"""Files at the top that a build reads, in the order in which recipes name them."""
_ASIDE: Final = re.compile(r"(^|/)(tests?|docs?|examples?|benchmarks?)(/|$)")
_CUDA_CODE: Final = (".cu", ".cuh")
_NVIDIA: Final = re.compile(r"(^|/)lib(cu|nv|npp)[a-z]*[.-]")
"""Libraries of CUDA's own that wheels bring: the project's are the others."""
_NAMED: Final = 30
"""Files that a build made and that are listed one by one; more are no list that a person reads."""


class Read(NamedTuple):
    """A wheel that was read: what it holds, its files outside of .dist-info with their blob ids, CUDA by library."""

    facts: WheelFacts
    files: Mapping[str, str]
    releases: Mapping[str, str]


class Found(NamedTuple):
    """All that was found of a project's release."""

    project: str
    version: str
    said: Said
    wheel: Read | None
    bases: tuple[Base, ...]
    sdist: Sdist
    """With empty fields where the index has none."""
    source: Mapping[str, str]
    """What it holds: path -> blob id."""
    builds_with: tuple[str, ...]
    """What pyproject.toml says that a build requires."""
    pin: Pin
    proven: bool
    """Whether the pinned commit has a proof."""
    toolchains: Sequence[Toolchain]
    machine: str
    """That compiles: ``x86_64``."""


class Draft(NamedTuple):
    """A recipe with its remarks, and what a person has to hear beside them."""

    recipe: Recipe
    remarks: Remarks
    notes: tuple[str, ...]
    unfit: str
    """Why the wheel cannot be a base, where that is known already."""


class _Part(NamedTuple):
    """A part of a recipe with its remarks, by key path."""

    value: Target
    above: dict[str, str]
    behind: dict[str, str]


def draft(found: Found) -> Draft:
    """Return the recipe that the findings make; what they do not say is left empty, with a remark."""
    at = source_root(found)
    made = dict([_taken_over(found, found.wheel, at)] if found.wheel else _compiled(found))
    inputs = native_inputs(found, at)
    alone = found.bases[0] if found.wheel and not found.source else None
    recipe = Recipe(
        name=f"{found.project}-{found.version}",
        project=found.project,
        version=found.version,
        summary=found.said.summary or f"{found.project} {found.version}",
        pin=NO_PIN if alone else found.pin,
        sdist=found.sdist,
        source=Source(wheel=alone.file, sha256=alone.sha256) if alone else None,
        source_root=at.rstrip("/"),
        native_inputs=() if alone else inputs or (OPEN,),
        targets={name: part.value for name, part in made.items()},
    )
    above = {key: words for part in made.values() for key, words in part.above.items()}
    behind = {key: words for part in made.values() for key, words in part.behind.items()}
    if inputs:
        above["native-inputs"] = (
            "Folders of code of which the wheel holds nothing, and what builds read at the top; what setup.py imports "
            "from elsewhere belongs here, too. A compile names what is missing."
        )
    else:
        behind["native-inputs"] = "TODO: globs over the files that can change compiled code"
    if alone:
        above["source"] = (
            f"The index has no source archive, so that the wheel's own files stand for it. {_instead(found)}"
        )
        return Draft(recipe, Remarks(above, behind), tuple(_notes(found, at)), _unfit(found))
    if not found.sdist.file:
        above["pin"] = (
            "The index has no source archive: git fetches this commit, of which its ids are the proof."
        )
    if not found.pin.repository:
        behind["pin.repository"] = "TODO: the project's metadata names none"
    if not found.pin.commit:
        behind["pin.commit"] = "TODO: the commit of the release; its listing goes to 'retread recipe proof'"
    elif found.sdist.file and not found.proven:
        behind["pin.commit"] = "as the wheel says; not proven yet: its listing goes to 'retread recipe proof'"
    for index, one in enumerate(found.pin.submodules):
        if not one.repository:
            behind[f"pin.submodules[{index}].repository"] = "TODO: .gitmodules could not be read"
    for index, unproven in enumerate(found.sdist.unproven):
        if not unproven.reason:
            behind[f"sdist.unproven[{index}].reason"] = "TODO: why nobody has to prove them"
    return Draft(recipe, Remarks(above, behind), tuple(_notes(found, at)), _unfit(found))


def _instead(found: Found) -> str:
    """Return what a person can pin in the place of the wheel."""
    where = f" of {found.pin.repository}" if found.pin.repository else ""
    said = f"{found.pin.commit}, which the wheel names," if found.pin.commit else "Its commit"
    return f"{said}{where} under [pin] would prove more."


def _unfit(found: Found) -> str:
    wrong = found.wheel.facts.faults if found.wheel else ()
    return f"the wheel is not sound: {wrong[0].check}: {wrong[0].detail}" if wrong else ""


def _notes(found: Found, at: str) -> Iterator[str]:
    """Yield what a person has to know of what can be done with this recipe."""
    if found.wheel and not found.source:
        yield (
            "there is no source archive and no commit that could be had: patches apply to the wheel's own files, and "
            "the wheel that is made says that its source is not proven"
        )
    if at:
        yield f"the package lies in {at} of the source, which the overlay lane alone takes: a build starts at the top"
    for one in found.wheel.facts.faults if found.wheel else ():
        yield f"{one.subject}: {one.check}: {one.detail}: the overlay lane refuses such a wheel"
    libraries = _libraries(found.wheel.facts).values() if found.wheel else ()
    if found.wheel and not any(module.ptx for one in libraries for module in one.modules):
        yield "the wheel holds no PTX: no architecture can be added by assembling; that takes a compile"
    if not found.wheel:
        yield "the index has no wheel for this machine: everything has to be compiled, and no architecture is known"


# Where things lie.


def source_root(found: Found) -> str:
    """Return the folder of the source in which the wheel's files lie, with its slash; nothing at the top."""
    if not found.wheel or not found.source:
        return ""
    counts: Counter[str] = Counter()
    plain = [path for path in found.wheel.files if path.endswith(".py")]
    for path in found.source:
        for one in plain:
            if path == one or path.endswith(f"/{one}"):
                counts[path[: len(path) - len(one)]] += 1
    return max(counts, key=lambda at: (counts[at], -len(at))) if counts else ""


def native_inputs(found: Found, at: str) -> tuple[str, ...]:
    """Return globs over what the build compiles or reads: what the source holds and the wheel does not."""
    inside = {f"{at}{path}" for path in found.wheel.files} if found.wheel else _packages(found.source)
    held = {str(folder) for path in inside for folder in PurePosixPath(path).parents}
    globs: list[str] = [one for one in _BUILD if one in found.source]
    for path in sorted(found.source):
        if PurePosixPath(path).suffix not in CODE or _ASIDE.search(path):
            continue
        folders = [str(one) for one in reversed(PurePosixPath(path).parents) if str(one) != "."]
        free = next((one for one in folders if one not in held), "")
        globs.append(f"{free}/**" if free else path)
    return tuple(dict.fromkeys(globs))


def _packages(source: Mapping[str, str]) -> set[str]:
    """Return what a wheel of this source will hold, as far as that can be told: the Python files of its packages."""
    tops = {
        str(PurePosixPath(path).parent)
        for path in source
        if re.fullmatch(r"((src|python|lib)/)?[^/]+/__init__\.py", path) and not _ASIDE.search(path)
    }
    return {
        path for path in source if path.endswith(".py") and any(path.startswith(f"{top}/") for top in tops)
    }


def holds_cuda(source: Mapping[str, str]) -> bool:
    """Say whether a source has CUDA code of its own."""
    return any(PurePosixPath(path).suffix in _CUDA_CODE and not _ASIDE.search(path) for path in source)


def generated(wheel: Read, source: Mapping[str, str], at: str) -> tuple[str, ...]:
    """Return globs over the files of a wheel that its build made: libraries, and what the source does not hold."""
    libraries = {_library_glob(name) for name in wheel.facts.libraries}
    others = sorted(
        path
        for path, blob in wheel.files.items()
        if path not in wheel.facts.libraries and source and source.get(f"{at}{path}") != blob
    )
    return (*others[:_NAMED], *sorted(libraries))


def _library_glob(name: str) -> str:
    top = name.partition("/")[0]
    if "/" not in name:
        return name
    return f"{top}/**" if top.endswith(".libs") else f"{top}/**.so" if name.endswith(".so") else name


# Targets.


def _taken_over(found: Found, wheel: Read, at: str) -> tuple[str, _Part]:
    """Return the target whose compiled parts are the wheel's."""
    main = max(
        _libraries(wheel.facts).items(), key=lambda item: (not _NVIDIA.search(item[0]), _size(item[1]))
    )
    cuda, above, behind = _cuda(wheel, main[0])
    name = ours.channel(cuda) if cuda else "cu"
    key = f"targets.{name}"
    architectures, ptx = common(main[1])
    torch = _torch(found.said.requires)
    tool = _toolchain(found.toolchains, cuda)
    above |= {
        "": f"{_intent(found)} {_listed(main[0], main[1], architectures)}",
        "generated": "What the wheel's build made: libraries, and files that the source does not hold as they are.",
        "exempt": "What upstream built otherwise; the wheel keeps it.",
        "run-path": "The folders of the machine that built the wheel are left out.",
    }
    if not architectures:
        behind["architectures"] = "TODO: its modules have none in common"
    if not tool:
        above["base"] = (
            f"No toolchain of CUDA {cuda or '?'} is known: nothing is assembled until recipes/toolchains/ has one."
        )
    target = Target(
        cuda=cuda,
        torch=torch,
        revision=1,
        architectures=architectures or (Arch(OPEN),),
        ptx=ptx,
        base=found.bases,
        toolchain=tool,
        generated=generated(wheel, found.source, at),
        exempt=tuple(_exempt(wheel.facts, main[0], architectures, ptx)),
        run_path=dict(_run_paths(wheel.facts)),
    )
    return name, _Part(target, _below(key, above), _below(key, behind))


def _intent(found: Found) -> str:
    unfit = _unfit(found)
    return f"No lane yet: {unfit}." if unfit else "Overlay lane: a base wheel is pinned."


def _below(key: str, words: Mapping[str, str]) -> dict[str, str]:
    return {f"{key}.{at}" if at else key: said for at, said in words.items()}


def _libraries(facts: WheelFacts) -> dict[str, LibraryFacts]:
    return {name: one for name, one in facts.libraries.items() if one.modules}


def _size(facts: LibraryFacts) -> int:
    return sum(one.count for one in facts.kernels) or len(facts.modules)


def _cuda(wheel: Read, main: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the CUDA release of a wheel's main library, and remarks; nothing where majors differ, or none is said."""
    told = {name: one for name, one in sorted(wheel.releases.items()) if one and not _NVIDIA.search(name)}
    told = told or {name: one for name, one in sorted(wheel.releases.items()) if one}
    words = ", ".join(f"{name} is of CUDA {one}" for name, one in told.items())
    if len({one.partition(".")[0] for one in told.values()}) > 1:
        return OPEN, {}, {"cuda": f"TODO: a target has one CUDA; {words}"}
    if main in told:
        return told[main], {"cuda": f"As the code itself says: {words}."}, {}
    loaded = sorted({one for lib in wheel.facts.libraries.values() for one in lib.needed if "cudart" in one})
    return OPEN, {}, {"cuda": f"TODO: {main} does not say it; loaded is {', '.join(loaded) or 'no runtime'}"}


def _listed(name: str, facts: LibraryFacts, architectures: Sequence[Arch]) -> str:
    modules = counted(facts.modules)
    if not architectures:
        return f"No architecture is in all {len(modules)} modules of {name}."
    other = sum(set(one.sass) != set(architectures) for one in modules)
    more = f"; {other} of them hold more, which the audit will name" if other else ""
    return f"Architectures and PTX are what all {len(modules)} modules of {name} have{more}."


def _exempt(
    facts: WheelFacts, main: str, architectures: Sequence[Arch], ptx: Sequence[Arch]
) -> Iterator[Exemption]:
    for name, one in sorted(_libraries(facts).items()):
        sass, text = common(one)
        if name != main and (set(sass), set(text)) != (set(architectures), set(ptx)):
            yield Exemption(
                library=name,
                architectures=sass,
                ptx=text,
                reason="as upstream's wheel has it; nothing is added",
            )


def _run_paths(facts: WheelFacts) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, one in sorted(facts.libraries.items()):
        if any(entry.startswith("/") for entry in one.run_path):
            yield name, tuple(entry for entry in one.run_path if not entry.startswith("/"))


def _torch(requires: Sequence[str]) -> str:
    """Return the range of torch that METADATA requires; nothing where it requires none, or any."""
    for text in requires:
        with suppress(InvalidRequirement):
            one = pypa.requirement(text)
            if one.name.lower() == "torch" and (not one.marker or one.marker.evaluate({"extra": ""})):
                return str(one.specifier)
    return ""


def _toolchain(toolchains: Sequence[Toolchain], cuda: str, compiler: str = ours.NVCC) -> str:
    return next((one.name for one in toolchains if one.cuda == cuda and one.compiler == compiler), "")


def _compiled(found: Found) -> Iterator[tuple[str, _Part]]:
    """Yield a target to compile for each CUDA release of which there is a whole toolkit; one without where is none."""
    usable = [one for one in found.toolchains if one.compiler == ours.NVCC and _is_whole(one, found.machine)]
    for cuda, name in {one.cuda: one.name for one in usable}.items() or [(OPEN, "")]:
        yield _to_compile(found, cuda, name)


def _to_compile(found: Found, cuda: str, toolchain: str) -> tuple[str, _Part]:
    name = ours.channel(cuda) if cuda else "cu"
    key = f"targets.{name}"
    torch = _torch(found.said.requires)
    wants_torch = any(re.match(r"torch\b", one) for one in (*found.said.requires, *found.builds_with))
    target = Target(
        cuda=cuda,
        torch=torch,
        revision=1,
        architectures=(Arch(OPEN),),
        ptx=(),
        toolchain=toolchain,
        fallback=_toolchain(found.toolchains, cuda, ours.CLANG),
        build=Build(
            python=_python(found.said.python),
            requires=_requires(found.builds_with),
            environment={"TORCH_CUDA_ARCH_LIST": "{torch-architectures}"} if wants_torch else {},
        ),
    )
    above = {
        "": f"Source lane: the index has no wheel for this machine; {toolchain or 'no toolchain here'} compiles.",
        "build": "As pyproject.toml says. Pin torch as 'torch==...'; variables that the build looks for belong here.",
    }
    behind = {"architectures": "TODO: for which GPUs it is to be compiled"}
    behind |= {} if cuda else {"cuda": "TODO: no whole toolkit for this machine is known"}
    return name, _Part(target, _below(key, above), _below(key, behind))


def _is_whole(tool: Toolchain, machine: str) -> bool:
    return any(one.component == "nvcc" and one.folder and one.machine == machine for one in tool.part)


def _python(said: str) -> str:
    try:
        return str(pypa.specifiers(said)) or ">=3.10"
    except InvalidSpecifier:
        return ">=3.10"


def _requires(said: Sequence[str]) -> tuple[str, ...]:
    """Return what a build environment holds: what the project asks for, and what retread builds with."""
    known: dict[str, str] = {}
    for text in (*said, *("setuptools>=77", "wheel>=0.45") * (not said), "build>=1.3", "ninja>=1.12"):
        try:
            one = pypa.requirement(text)
        except InvalidRequirement:
            continue
        known.setdefault(one.name.lower(), str(one))
    return tuple(known.values())
