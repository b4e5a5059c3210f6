"""What is wrong with an environment, or good to know of it: one generator for each kind. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from packaging.version import InvalidVersion

from retread import pypa
from retread.arch import FIRST_CUDA, Arch
from retread.fit import conditions, explain, serving
from retread.fit import driver as drivers
from retread.fit.catalogue import Catalogue, Except, Fault, has
from retread.fit.conditions import Appears
from retread.fit.driver import Cuda
from retread.fit.environment import DESCRIBED, Environment, Library, Package
from retread.fit.report import Finding, Served
from retread.recipe import platforms

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_ORDER: Final = (
    "torch", "driver", "triton", "requirement", "library", "symbol", "patch", "gpu", "metadata", "import",
)  # fmt: skip
"""Kinds, causes before what follows from them."""
_RUNTIME: Final = re.compile(r"libcudart\.so\.(\d+)")
_SHOWN: Final = 3
"""Symbols that a message shows; all of them are of one cause."""


def findings(environment: Environment, known: Catalogue, libraries: Sequence[Served]) -> tuple[Finding, ...]:
    """Return every finding, faults first."""
    found = [
        *_torch(environment, known),
        *_packages(environment, known),
        *_driver(environment),
        *_gpus(environment, known, libraries),
        *_patches(environment, known),
        *_imports(environment, known),
    ]
    return tuple(sorted(found, key=lambda one: (not one.fault, _ORDER.index(one.kind))))


def _torch(environment: Environment, known: Catalogue) -> Iterator[Finding]:
    torch = environment.package("torch")
    if torch is None:
        described = environment.interpreter.executable == DESCRIBED
        hint = "install the torch that your code wants, or name its environment: --python VENV/bin/python"
        yield Finding(
            kind="torch",
            package="torch",
            subject="torch",
            fault=True,
            says="is not in the lock file" if described else "is not installed here",
            next="lock the torch that your code wants" if described else hint,
        )
    elif not environment.torch_cuda:
        says = f"{torch.version} is not built for CUDA: no GPU code runs with it"
        yield Finding(
            kind="torch",
            package="torch",
            subject="torch",
            fault=True,
            says=says
            + ("; the package index has torch for Windows for CPU alone" if environment.windows else ""),
            next=_with_cuda(torch, known) if environment.windows else "install a torch for CUDA",
        )


def _with_cuda(torch: Package, known: Catalogue) -> str:
    """Return what to install on Windows, where torch for CUDA comes from PyTorch's own index: for the wheels' CUDA."""
    version = str(torch.public or torch.version)
    made = [
        one
        for release in reversed(known.releases)
        for one in release.made
        if one.torch and any(platforms.is_windows(platforms.of_wheel(base)) for base in one.bases)
    ]
    fits = next((one for one in made if _within(one.torch, version)), None)
    if fits is None:
        return "install a torch for CUDA, from PyTorch's own index"
    where = f"PYTORCHS_INDEX/cu{fits.cuda.replace('.', '')}"
    return (
        f"pip install torch=={version} --index-url {where}: PyTorch's own index has it for CUDA {fits.cuda}"
    )


def _packages(environment: Environment, known: Catalogue) -> Iterator[Finding]:
    projects = {one.project for one in known.releases}
    for package in environment.packages:
        matters = bool(package.libraries) or package.name in projects | {"torch", "triton"}
        if package.fault:
            again = f"install it again: {package.name}=={package.version}"
            yield Finding(
                kind="metadata",
                package=package.name,
                subject=f"{package.name} {package.version}",
                fault=matters,
                says=package.fault,
                next=again,
            )
        if matters:
            yield from _requirements(package, environment)
        yield from _missing(package, environment)
        for library in package.libraries:
            yield from _library(package, library, environment)


def _requirements(package: Package, environment: Environment) -> Iterator[Finding]:
    missing: list[str] = []
    for text in package.requires:
        wanted = pypa.requirement(text)
        there = environment.package(wanted.name)
        if there is None:
            missing.append(text)
        elif not _satisfies(wanted, there.version):
            yield _other(package, wanted, there)
    if missing:
        one = len(missing) == 1
        yield Finding(
            kind="requirement",
            package=package.name,
            subject=f"{package.name} {package.version}",
            fault=True,
            says=f"requires {', '.join(missing)}: {'it is' if one else 'they are'} not installed",
            next=f"install {'it' if one else 'them'}",
        )


def _other(package: Package, wanted: Requirement, there: Package) -> Finding:
    """Return what is said of a requirement of which another version is there: of torch and Triton, it is a fault."""
    binds = wanted.name in {"torch", "triton"}
    hint = f"install {wanted.name}{wanted.specifier}"
    if wanted.name == "torch":
        hint = f"take the {package.name} that is made for your torch"
    elif binds:
        hint += f", which torch {package.version} was made with"
    return Finding(
        kind="triton" if wanted.name == "triton" else "requirement",
        package=package.name,
        subject=f"{package.name} {package.version}",
        fault=binds,
        says=f"requires {wanted.name}{wanted.specifier}, {there.version} is installed",
        next=hint,
    )


def _satisfies(wanted: Requirement, version: str) -> bool:
    return _within(str(wanted.specifier), version)


def _within(allowed: str, version: str) -> bool:
    try:
        return pypa.specifiers(allowed).contains(pypa.version(version), prereleases=True)
    except InvalidVersion:
        return False


def _missing(package: Package, environment: Environment) -> Iterator[Finding]:
    """Yield what nothing provides: once for all the libraries of a package that need the same."""
    needing: dict[tuple[str, ...], list[str]] = {}
    for library in package.libraries:
        if library.missing:
            needing.setdefault(tuple(library.missing), []).append(library.path)
    for missing, (first, *others) in needing.items():
        more = f" and {len(others)} more" if others else ""
        yield Finding(
            kind="library",
            package=package.name,
            subject=f"{package.name} {first}{more}",
            fault=True,
            says=f"nothing here provides {', '.join(missing)}, which {'they need' if others else 'it needs'}",
            next=_instead(package, missing, environment.torch_cuda),
        )


def _instead(package: Package, missing: Sequence[str], cuda: str) -> str:
    """Return what to do about missing libraries: a wheel for another CUDA than torch's may require nothing more."""
    runtime = next((found[1] for one in missing if (found := _RUNTIME.fullmatch(one))), "")
    if runtime and cuda and runtime != cuda.partition(".")[0]:
        made = f"it is made for CUDA {runtime}, torch for CUDA {cuda}"
        return f"{made}; take the build of it for torch's, or one that brings its own runtime"
    return f"install what {package.name} requires" + (f", or the build of it for CUDA {cuda}" if cuda else "")


def _library(package: Package, library: Library, environment: Environment) -> Iterator[Finding]:
    subject, again = f"{package.name} {library.path}", f"install it again: {package.name}=={package.version}"
    if library.fault:
        yield Finding(
            kind="library", package=package.name, subject=subject, fault=True, says=library.fault, next=again
        )
    if library.undefined:
        count, shown = len(library.undefined), ", ".join(library.undefined[:_SHOWN])
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        says = f"undefined symbols: torch {environment.version('torch')} does not have {shown}{more}"
        hint = f"it is made for another torch; take the {package.name} that is made for yours"
        yield Finding(kind="symbol", package=package.name, subject=subject, fault=True, says=says, next=hint)


def _driver(environment: Environment) -> Iterator[Finding]:
    hardware = environment.hardware
    if not hardware.gpus:
        says = f"no GPU is known: {hardware.source}"
        yield Finding(
            kind="gpu",
            package="",
            subject="GPU",
            fault=False,
            says=says,
            next="say which: --gpu 12.0 --driver 570.124",
        )
    if not hardware.driver:
        return
    release = environment.driver.cuda
    subject = f"driver {hardware.driver}"
    for gpu in hardware.gpus:
        if not environment.driver.knows(gpu):
            first = environment.driver.first(FIRST_CUDA[gpu])
            says = f"is of CUDA {drivers.shown(release)} and does not know a GPU of capability {gpu}"
            yield _wants(subject, says, first)
    if environment.torch_cuda:
        yield from _torch_on(subject, release, environment)


def _torch_on(subject: str, release: Cuda, environment: Environment) -> Iterator[Finding]:
    major, _, minor = environment.torch_cuda.partition(".")
    made = (int(major), int(minor))
    if not environment.driver.serves(made):
        says = f"is of CUDA {drivers.shown(release)}: torch for CUDA {environment.torch_cuda} does not start on it"
        yield _wants(subject, says, environment.driver.first((made[0], 0)))
    elif release < made:
        says = (
            f"is of CUDA {drivers.shown(release)}: by minor version compatibility it runs the machine code of CUDA "
            f"{environment.torch_cuda}, but compiles no PTX that is newer than its own"
        )
        yield Finding(kind="driver", package="", subject=subject, fault=False, says=says)


def _wants(subject: str, says: str, first: str) -> Finding:
    return Finding(
        kind="driver",
        package="",
        subject=subject,
        fault=True,
        says=says,
        next=f"install driver {first} or newer",
    )


def _gpus(environment: Environment, known: Catalogue, libraries: Sequence[Served]) -> Iterator[Finding]:
    for one in libraries:
        why = _exempt(known, environment.package(one.package), one.library)
        for gpu, words in one.gpus.items():
            if serving.runs(words):
                continue
            subject = f"{one.package} {one.library}"
            if words.startswith(serving.TOO_NEW):
                says, hint = (
                    f"on capability {gpu}: {words}",
                    "install a newer driver, or a wheel with native code",
                )
            else:
                has_code = " ".join(one.native) or "no architecture throughout"
                says = f"no code for capability {gpu}: native {has_code}, PTX {' '.join(one.ptx) or 'none'}"
                hint = "" if why else _another(one.package, gpu, environment)
            says += f". {why.reason}" if why else ""
            kind = "torch" if one.package == "torch" else "gpu"  # then nothing else runs there either
            yield Finding(
                kind=kind, package=one.package, subject=subject, fault=not why, says=says, next=hint
            )


def _another(package: str, gpu: str, environment: Environment) -> str:
    """Return which build of a package has code for a GPU; torch's says for which CUDA it is."""
    first, made = FIRST_CUDA[Arch(gpu)], environment.torch_cuda
    if package == "torch" and made and pypa.version(made) < pypa.version(drivers.shown(first)):
        other = f"take a torch that is built for CUDA {drivers.shown(first)} or newer"
        return f"CUDA {made} does not know this GPU: {other}"
    return f"take a {package} with native code for it"


def _exempt(known: Catalogue, package: Package | None, library: str) -> Except | None:
    """Return why a library of an upstream release need not have code for every GPU."""
    version = str(package.public) if package else ""
    for release in known.releases:
        if package and (release.project, release.version) == (package.name, version):
            for made in release.made:
                found = next((one for one in made.exempt if one.library == library), None)
                if found:
                    return found
    return None


def of_package(
    known: Catalogue, package: Package, environment: Environment
) -> Iterator[tuple[Fault, Appears]]:
    """Yield the faults of an installed release that appear here, and that its wheel has not mended."""
    version = str(package.public) if package.public else ""
    for one in known.faults:
        unmended = version and one.project == package.name and one.name not in package.mends
        appears = (
            conditions.fault(one, package, environment) if unmended and has(one, version) else Appears.NO
        )
        if appears is not Appears.NO:
            yield one, appears


def _patches(environment: Environment, known: Catalogue) -> Iterator[Finding]:
    for package in environment.packages:
        for one, appears in of_package(known, package, environment):
            needs = conditions.needs(one)
            where = f" (when {needs})" if needs and appears is Appears.PERHAPS else ""
            yield Finding(
                kind="patch",
                package=package.name,
                subject=f"{package.name} {package.version}",
                fault=appears is Appears.YES,
                says=f"{one.breaks.rstrip('.')}{where}",
                next=f"{one.upstream}; patch {one.name} mends it",
            )


def _imports(environment: Environment, known: Catalogue) -> Iterator[Finding]:
    for one in environment.imports:
        explained = explain.explain(known, [one.said.encode()])
        if one.ok and not one.said:
            continue
        yield Finding(
            kind="import",
            package=one.module.partition(".")[0],
            subject=f"import {one.module}",
            fault=not one.ok and one.ended,
            says=f"goes well and warns: {one.said}" if one.ok else one.said,
            next=explained[0].take if explained and not one.ok else "",
        )
