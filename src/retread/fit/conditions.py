"""Whether a fault that users know by a text appears in an environment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from packaging.version import InvalidVersion

from retread import pypa
from retread.fit.catalogue import Fault
from retread.fit.environment import Environment, Package, with_files
from retread.recipe.symptom import Symptom


class Appears(Enum):
    """Whether something appears here: no, for some code or on some GPU, or for everybody."""

    NO = 0
    PERHAPS = 1
    YES = 2


_ORDER: Final = list(Appears)


def fault(one: Fault, package: Package | None, environment: Environment) -> Appears:
    """Return whether a fault of a package's release appears; None for a package that is not installed yet."""
    found = [symptom(seen, package, environment) for seen in one.seen_as]
    return max(found, key=_ORDER.index, default=Appears.PERHAPS)


def symptom(seen: Symptom, package: Package | None, environment: Environment) -> Appears:
    """Return whether all conditions of a text hold."""
    found = [_holds(key, value, package, environment) for key, value in seen.when.items()]
    return min(found, key=_ORDER.index, default=Appears.YES)


def _holds(key: str, value: str, package: Package | None, environment: Environment) -> Appears:
    if key == "use":
        return Appears.PERHAPS
    if key == "library":
        return _appears(package is None or with_files(package, value))
    if key == "gpu":
        gpus = environment.hardware.gpus
        return _appears(any(_within(gpu, value) for gpu in gpus)) if gpus else Appears.PERHAPS
    version = _versions(environment)[key]
    return _appears(bool(version) and _within(version, value))


def _versions(environment: Environment) -> Mapping[str, str]:
    return {
        "torch": environment.version("torch"),
        "triton": environment.version("triton"),
        "python": environment.interpreter.version,
        "cuda": environment.torch_cuda or "0",
    }


def _within(version: str, allowed: str) -> bool:
    try:
        return pypa.specifiers(allowed).contains(pypa.version(version).public, prereleases=True)
    except InvalidVersion:
        return False


def _appears(holds: bool) -> Appears:
    return Appears.YES if holds else Appears.NO


def needs(one: Fault) -> str:
    """Return under which conditions a fault appears, in words."""
    texts = ("; ".join(f"{key} {value}" for key, value in seen.when.items()) for seen in one.seen_as)
    return ", or ".join(dict.fromkeys(filter(None, texts)))
